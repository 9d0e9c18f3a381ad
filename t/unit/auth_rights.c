/*
 * t/unit/auth_rights.c: sender rights: patterns, and what they allow.
 */
#include "../../auth/rights.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define TEN "0123456789"
#define LOCAL_64 TEN TEN TEN TEN TEN TEN "abcd"
#define LABEL_63 TEN TEN TEN TEN TEN TEN "xyz"
#define DOMAIN_253                                                             \
	LABEL_63 "." LABEL_63 "." LABEL_63 "." TEN TEN TEN TEN TEN TEN "a"

static const struct {
	const char *what;     /* what a "not ok" should teach */
	const char *in, *out; /* out NULL: refused */
} patterns[] = {
	{ "exact", "alice@example.org", "alice@example.org" },
	{ "in lower case", "Alice@EXAMPLE.Org", "alice@example.org" },
	{ "dot at the end of the domain", "alice@example.org.",
	    "alice@example.org" },
	{ "domain", "@Example.org", "@example.org" },
	{ "domains under it", "@.Example.org.", "@.example.org" },
	{ "everything", "*", "*" },
	{ "star in the local part", "alice+*@example.org",
	    "alice+*@example.org" },
	{ "a star alone is the domain", "*@example.org", "@example.org" },
	{ "two stars are one", "a**b@x.org", "a*b@x.org" },
	{ "two stars alone are the domain", "**@x.org", "@x.org" },
	{ "U-labels become A-labels",
	    "a@b\xc3\xbc"
	    "cher.example",
	    "a@xn--bcher-kva.example" },
	{ "upper case A-label", "@XN--bcher-kva.example",
	    "@xn--bcher-kva.example" },
	{ "UTF-8 in the local part", "\xc3\xa9ric@x.org", "\xc3\xa9ric@x.org" },
	{ "SASLprep composes, as in names", "e\xcc\x81ric@x.org",
	    "\xc3\xa9ric@x.org" },
	{ "not UTF-8", "\xe9ric@x.org", NULL },
	{ "UTF-8 that is too long for what it says", "\xc0\xafric@x.org",
	    NULL },
	{ "needless quotes go", "\"alice\"@x.org", "alice@x.org" },
	{ "needless backslash goes", "\"al\\ice\"@x.org", "alice@x.org" },
	{ "quotes stay where needed", "\"a b\"@x.org", "\"a b\"@x.org" },
	{ "quotes keep a star from being one", "\"a*b\"@x.org",
	    "\"a*b\"@x.org" },
	{ "backslashes stay where needed", "\"a\\\"\\\\\"@x.org",
	    "\"a\\\"\\\\\"@x.org" },
	{ "@ within quotes", "\"a@b\"@x.org", "\"a@b\"@x.org" },
	{ "literal", "a@[192.0.2.1]", "a@[192.0.2.1]" },
	{ "literal of IPv6, one text", "a@[IPv6:2001:DB8:0::1]",
	    "a@[ipv6:2001:db8::1]" },
	{ "all of a literal", "@[192.0.2.1]", "@[192.0.2.1]" },
	{ "longest local part", LOCAL_64 "@x.org", LOCAL_64 "@x.org" },
	{ "longest domain", "@" DOMAIN_253, "@" DOMAIN_253 },
	{ "longest address", LOCAL_64 "@" DOMAIN_253, LOCAL_64 "@" DOMAIN_253 },
	{ "stars are beyond what they match", "*" LOCAL_64 "*@x.org",
	    "*" LOCAL_64 "*@x.org" },
	{ "domain of 254 octets", "@" DOMAIN_253 "b", NULL },
	{ "empty", "", NULL },
	{ "no @", "alice", NULL },
	{ "no domain", "alice@", NULL },
	{ "only @", "@", NULL },
	{ "only suffix", "@.", NULL },
	{ "star in the domain", "alice@*.example.org", NULL },
	{ "star as domain", "alice@*", NULL },
	{ "stars for all", "*@*", NULL },
	{ "local part with domains under one", "alice@.example.org", NULL },
	{ "two @", "a@b@x.org", NULL },
	{ "blank", "al ice@x.org", NULL },
	{ "line end", "alice@x.org\n", NULL },
	{ "line end in quotes", "\"a\nb\"@x.org", NULL },
	{ "quote not closed", "\"a@x.org", NULL },
	{ "quote not closed, backslash at the end", "\"a\\", NULL },
	{ "text after the quotes", "\"a\"b@x.org", NULL },
	{ "angle brackets", "<a@x.org>", NULL },
	{ "two dots", "a..b@x.org", NULL },
	{ "dot first", ".a@x.org", NULL },
	{ "dot last", "a.@x.org", NULL },
	{ "domain with an empty label", "@x..org", NULL },
	{ "domain begins with a hyphen", "@-x.org", NULL },
	{ "domain ends with a hyphen", "@x-.org", NULL },
	{ "domain ends with a hyphen and dot", "@x.org-.", NULL },
	{ "label of 64 octets", "@" LABEL_63 "a.org", NULL },
	{ "literal without end", "a@[192.0.2.1", NULL },
	{ "literal that is none", "a@[192.0.2.256]", NULL },
	{ "text after a literal", "a@[192.0.2.1]x", NULL },
	{ "domains under a literal", "@.[192.0.2.1]", NULL },
};

static void
test_patterns(void **state)
{
	char out[ENTRY_RIGHT_MAX + 1];
	char again[ENTRY_RIGHT_MAX + 1];
	struct reason why;
	size_t bad = 0;

	(void)state;
	for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
		bool want = patterns[i].out != NULL, ok;

		strcpy(out, "untouched");
		ok = rights_pattern_parse(out, patterns[i].in, &why);
		if (ok == want &&
		    strcmp(out, want ? patterns[i].out : "untouched") == 0 &&
		    (!ok || (rights_pattern_parse(again, out, &why) &&
				strcmp(again, out) == 0)))
			continue;
		print_message("# %s: %s -> %s (%s)\n", patterns[i].what,
		    patterns[i].in, ok ? out : "refused", ok ? "" : why.text);
		bad++;
	}
	assert_int_equal(bad, 0);
}

static void
test_too_long(void **state)
{
	char text[1024], out[ENTRY_RIGHT_MAX + 1];

	(void)state;
	/* Quoting doubles: 64 octets of local part, 130 in quotes. */
	memset(text, '"', sizeof text);
	text[0] = '"';
	for (size_t i = 1; i < 129; i += 2)
		memcpy(text + i, "\\\"", 2);
	snprintf(text + 129, sizeof text - 129, "\"@" LABEL_63 ".org");
	assert_true(rights_pattern_parse(out, text, NULL));
	assert_string_equal(out, text);
	snprintf(text + 129, sizeof text - 129, "\"@" DOMAIN_253);
	assert_false(rights_pattern_parse(out, text, NULL));
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_false(rights_pattern_parse(out, text, NULL));
	memcpy(text + 300, "@x.org", 7);
	assert_false(rights_pattern_parse(out, text, NULL));
}

static const struct {
	const char *what, *pattern, *address;
	bool allowed;
} matches[] = {
	{ "exact", "a@x.org", "a@x.org", true },
	{ "another local part", "a@x.org", "b@x.org", false },
	{ "another domain", "a@x.org", "a@y.org", false },
	{ "longer local part", "a@x.org", "aa@x.org", false },
	{ "longer domain", "a@x.org", "a@x.orgg", false },
	{ "case of the local part", "a@x.org", "A@x.org", true },
	{ "case of the domain", "a@x.org", "a@X.ORG", true },
	{ "dot at the end", "a@x.org", "a@x.org.", true },
	{ "quotes that say nothing", "a@x.org", "\"a\"@x.org", true },
	{ "backslash that says nothing", "a@x.org", "\"\\a\"@x.org", true },
	{ "a quoted @ is of the local part", "a@x.org", "\"a@x.org\"@evil.org",
	    false },
	{ "a quoted @ does not make a domain", "@x.org", "\"a@x.org\"@evil.org",
	    false },
	{ "quoted blank", "\"a b\"@x.org", "\"a b\"@x.org", true },
	{ "quoted blank, another mailbox", "\"a b\"@x.org", "ab@x.org", false },
	{ "quoted blank with a backslash", "\"a b\"@x.org", "\"a\\ b\"@x.org",
	    true },
	{ "unquoted blank is no address", "\"a b\"@x.org", "a b@x.org", false },
	{ "quoted star is a star", "\"a*b\"@x.org", "a*b@x.org", true },
	{ "quoted star is no other octet", "\"a*b\"@x.org", "acb@x.org",
	    false },
	{ "domain", "@x.org", "any.one@x.org", true },
	{ "domain is not what is under it", "@x.org", "a@b.x.org", false },
	{ "domain is not what ends like it", "@x.org", "a@yx.org", false },
	{ "domain with quoted local part", "@x.org", "\"a b\"@x.org", true },
	{ "under it", "@.x.org", "a@b.x.org", true },
	{ "deep under it", "@.x.org", "a@c.b.X.org.", true },
	{ "under it is not itself", "@.x.org", "a@x.org", false },
	{ "under it needs the dot", "@.x.org", "a@yx.org", false },
	{ "star at the end", "alice+*@x.org", "alice+shop@x.org", true },
	{ "star for nothing", "alice+*@x.org", "alice+@x.org", true },
	{ "star wants what is before it", "alice+*@x.org", "alice@x.org",
	    false },
	{ "star at the start", "*-bounces@x.org", "list-bounces@x.org", true },
	{ "star at the start, other end", "*-bounces@x.org",
	    "list-bounces-x@x.org", false },
	{ "star does not cross the @", "alice*@x.org", "alice@evil.org",
	    false },
	{ "star and another domain", "a*@x.org", "\"a@x.org\"@evil.org",
	    false },
	{ "star matches a quoted @ within the domain", "a*@x.org",
	    "\"a@evil.org\"@x.org", true },
	{ "stars give back", "*aab@x.org", "aaab@x.org", true },
	{ "stars in between", "a*b*c@x.org", "aXbYbZc@x.org", true },
	{ "stars in between, not met", "a*b*c@x.org", "aXcYb@x.org", false },
	{ "case beside a star", "alice+*@x.org", "ALICE+Shop@x.org", true },
	{ "all", "*", "a@x.org", true },
	{ "all, even what is no address", "*", "no address", true },
	{ "A-label for an A-label", "@xn--bcher-kva.example",
	    "a@XN--BCHER-KVA.example", true },
	{ "U-label for an A-label", "@xn--bcher-kva.example",
	    "a@b\xc3\xbc"
	    "cher.example",
	    true },
	{ "another U-label", "@xn--bcher-kva.example",
	    "a@b\xc3\xbb"
	    "cher.example",
	    false },
	{ "literal", "a@[192.0.2.1]", "a@[192.0.2.1]", true },
	{ "literal of IPv6", "a@[ipv6:2001:db8::1]", "a@[IPV6:2001:DB8:0:0::1]",
	    true },
	{ "no literal for a name", "@192.0.2.1", "a@[192.0.2.1]", false },
	{ "longest", LOCAL_64 "@" DOMAIN_253, LOCAL_64 "@" DOMAIN_253, true },
	{ "longest local part by star", "*d@" DOMAIN_253,
	    LOCAL_64 "@" DOMAIN_253, true },
	{ "local part of 65 octets", "@x.org", LOCAL_64 "e@x.org", false },
	{ "domain of 254 octets", "@.org", "a@" DOMAIN_253 "b", false },
	{ "empty", "@x.org", "", false },
	{ "no domain", "a@x.org", "a", false },
	{ "empty local part", "@x.org", "@x.org", false },
	{ "empty local part in quotes", "a*@x.org", "\"\"@x.org", false },
	{ "route", "@x.org", "@x.org:a@x.org", false },
	{ "blank at the end", "@x.org", "a@x.org ", false },
	{ "comment", "@x.org", "a(b)@x.org", false },
};

static void
test_matches(void **state)
{
	char pattern[ENTRY_RIGHT_MAX + 1];
	size_t bad = 0;

	(void)state;
	for (size_t i = 0; i < sizeof matches / sizeof matches[0]; i++) {
		struct rights rights = { "nobody@nowhere.example", pattern, 0 };
		const char *by;

		assert_true(
		    rights_pattern_parse(pattern, matches[i].pattern, NULL));
		rights.len = strlen(pattern) + 1;
		by = rights_match(&rights, matches[i].address);
		if (by == (matches[i].allowed ? pattern : NULL))
			continue;
		print_message("# %s: %s for %s\n", matches[i].what, pattern,
		    matches[i].address);
		bad++;
	}
	assert_int_equal(bad, 0);
}

static void
test_own(void **state)
{
	struct rights star = { "a*@x.org", NULL, 0 };
	struct rights own = { "Alice@x.org", NULL, 0 };
	static const char other[] = "bob@x.org";
	struct rights more = { "alice@x.org", other, sizeof other };

	(void)state;
	assert_ptr_equal(rights_match(&own, "Alice@x.org"), own.own);
	assert_ptr_equal(rights_match(&own, "alice@X.org."), own.own);
	assert_ptr_equal(rights_match(&own, "\"alice\"@x.org"), own.own);
	assert_null(rights_match(&own, "bob@x.org"));
	assert_null(rights_match(&own, "Alice@x.org@y.org"));
	assert_null(rights_match(&own, ""));
	/* A login name is an address, never a pattern. */
	assert_null(rights_match(&star, "ab@x.org"));
	assert_ptr_equal(rights_match(&star, "a*@x.org"), star.own);
	/* Patterns say all that is allowed: one's own address as well. */
	assert_null(rights_match(&more, "alice@x.org"));
	assert_ptr_equal(rights_match(&more, "bob@x.org"), other);
}

static void
test_first_pattern_speaks(void **state)
{
	static const char list[] = "b@x.org\0a*@x.org\0@x.org";
	struct rights rights = { "l@x.org", list, sizeof list };

	(void)state;
	assert_ptr_equal(rights_match(&rights, "b@x.org"), list);
	assert_ptr_equal(rights_match(&rights, "ab@x.org"), list + 8);
	assert_ptr_equal(rights_match(&rights, "c@x.org"), list + 17);
	assert_null(rights_match(&rights, "c@y.org"));
}

static void
test_owner(void **state)
{
	static const char both[] = "@x.org\0phone@y.org", narrow[] = "z@x.org",
			  wide[] = "*";
	struct rights owner = { "alice@x.org", NULL, 0 };
	struct rights device = { "alice+phone@x.org", NULL, 0 };
	struct rights_decision by;

	(void)state;
	assert_true(rights_allow(&device, &owner, "alice@x.org", &by));
	assert_null(by.login_pattern);
	assert_ptr_equal(by.owner_pattern, owner.own);
	/* A device has no address of its own. */
	assert_false(rights_allow(&device, &owner, "alice+phone@x.org", &by));
	owner.patterns = both;
	owner.len = sizeof both;
	assert_true(rights_allow(&device, &owner, "phone@y.org", &by));
	assert_string_equal(by.owner_pattern, "phone@y.org");
	device.patterns = narrow;
	device.len = sizeof narrow;
	assert_true(rights_allow(&device, &owner, "z@x.org", &by));
	assert_string_equal(by.login_pattern, "z@x.org");
	assert_string_equal(by.owner_pattern, "@x.org");
	assert_false(rights_allow(&device, &owner, "phone@y.org", &by));
	assert_null(by.login_pattern);
	assert_string_equal(by.owner_pattern, "phone@y.org");
	/* Never more than the owner. */
	device.patterns = wide;
	device.len = sizeof wide;
	assert_false(rights_allow(&device, &owner, "a@z.org", &by));
	assert_string_equal(by.login_pattern, "*");
	assert_null(by.owner_pattern);
	assert_true(rights_allow(&device, &owner, "a@x.org", NULL));
	assert_true(rights_allow(&owner, NULL, "a@x.org", &by));
	assert_string_equal(by.login_pattern, "@x.org");
	assert_null(by.owner_pattern);
}

static void
test_all(void **state)
{
	static const char list[] = "a@x.org\0*", none[] = "a*@x.org";
	struct rights star = { "a@x.org", list, sizeof list };
	struct rights some = { "a@x.org", none, sizeof none };
	struct rights own = { "a@x.org", NULL, 0 };

	(void)state;
	assert_true(rights_allow_all(&star, NULL));
	assert_false(rights_allow_all(&some, NULL));
	assert_false(rights_allow_all(&own, NULL));
	assert_true(rights_allow_all(&own, &star));
	assert_true(rights_allow_all(&star, &star));
	assert_false(rights_allow_all(&some, &star));
	assert_false(rights_allow_all(&star, &own));
}

/* Stars and what nearly matches them: not in exponential time. */
static void
test_time(void **state)
{
	static char list[ENTRY_RIGHTS_MAX];
	char address[NAME_SIZE];
	struct rights rights = { "l@x.org", list, 0 };
	clock_t begun = clock();

	(void)state;
	while (rights.len + 80 < sizeof list) {
		for (int i = 0; i < 30; i++)
			memcpy(list + rights.len + 2 * i, "*a", 2);
		memcpy(list + rights.len + 60, "b@x.org", 8);
		rights.len += 68;
	}
	memset(address, 'a', 64);
	memcpy(address + 64, "@x.org", 7);
	for (int i = 0; i < 1000; i++)
		assert_null(rights_match(&rights, address));
	assert_true(clock() - begun < 5 * CLOCKS_PER_SEC);
	address[63] = 'b';
	assert_ptr_equal(rights_match(&rights, address), list);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_first_pattern_speaks),
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_time),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
