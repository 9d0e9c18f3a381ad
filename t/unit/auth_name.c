/*
 * t/unit/auth_name.c: login names, and entries as octets.
 */
#include "../../auth/control.h"
#include "../../auth/entry.h"
#include "../../auth/name.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *what;     /* what a "not ok" should teach */
	const char *in, *out; /* out NULL: refused */
} rows[] = {
	{ "a name stays", "alice@example.org", "alice@example.org" },
	{ "a bare name gets the default realm", "alice", "alice@home.example" },
	{ "the realm is in lower case", "Alice@EXAMPLE.org",
	    "Alice@example.org" },
	{ "SASLprep: a soft hyphen vanishes", "al\xc2\xadice@x.org",
	    "alice@x.org" },
	{ "UTF-8 is kept", "\xc3\xa9ric@x.org", "\xc3\xa9ric@x.org" },
	{ "SASLprep composes", "e\xcc\x81ric@x.org", "\xc3\xa9ric@x.org" },
	{ "dots inside", "a.b.c@x.org", "a.b.c@x.org" },
	{ "a plus", "a+b@x.org", "a+b@x.org" },
	{ "the last @ divides, and there may be no other", "a@b@x.org", NULL },
	{ "empty", "", NULL },
	{ "empty local part", "@x.org", NULL },
	{ "empty realm", "alice@", NULL },
	{ "blank inside", "al ice@x.org", NULL },
	{ "no-break space is a blank", "al\xc2\xa0ice@x.org", NULL },
	{ "line end", "alice\n@x.org", NULL },
	{ "control character", "al\x01@x.org", NULL },
	{ "not UTF-8", "al\xff@x.org", NULL },
	{ "unassigned code point", "\xf0\x9f\x98\x80@x.org", NULL },
	{ "quote", "\"a\"@x.org", NULL },
	{ "backslash", "a\\b@x.org", NULL },
	{ "colon", "a:b@x.org", NULL },
	{ "dot first", ".a@x.org", NULL },
	{ "dot last", "a.@x.org", NULL },
	{ "two dots", "a..b@x.org", NULL },
	{ "realm with an empty label", "a@x..org", NULL },
	{ "realm with a dot at its end", "a@x.org.", NULL },
	{ "realm label begins with a hyphen", "a@-x.org", NULL },
	{ "realm label ends with a hyphen", "a@x-.org", NULL },
	{ "realm with an underscore", "a@x_y.org", NULL },
	{ "realm with a slash", "a@x/y", NULL },
};

static void
test_rows(void **state)
{
	char out[NAME_SIZE];
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		bool ok = name_parse(out, rows[i].in, "Home.Example", &why);

		if (ok != (rows[i].out != NULL) ||
		    (ok && strcmp(out, rows[i].out) != 0))
			fail_msg("%s: %s gave %s", rows[i].what, rows[i].in,
			    ok ? out : why.text);
	}
	assert_false(name_parse(out, "alice", NULL, &why));
}

static void
test_as_given(void **state)
{
	static const struct {
		const char *given;
		bool same;
	} cases[] = {
		{ "alice@EXAMPLE.org", true }, { "alice", true },
		{ "al\xc2\xadice@example.org", false },    /* soft hyphen */
		{ "\xef\xbd\x81lice@example.org", false }, /* full width */
	};
	char name[NAME_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_true(
		    name_parse(name, cases[i].given, "example.org", NULL));
		assert_string_equal(name, "alice@example.org");
		assert_int_equal(name_is_as_given(name, cases[i].given),
		    cases[i].same);
	}
	assert_false(name_is_as_given("alice@example.org", "alicea"));
	assert_false(name_is_as_given("alice@example.org", "ali"));
}

static void
test_bounds(void **state)
{
	char in[600], out[NAME_SIZE];

	(void)state;
	memset(in, 'a', sizeof in);
	memcpy(in + NAME_LOCAL_MAX, "@x.org", 7);
	assert_true(name_parse(out, in, NULL, NULL));
	memset(in, 'a', sizeof in);
	memcpy(in + NAME_LOCAL_MAX + 1, "@x.org", 7);
	assert_false(name_parse(out, in, NULL, NULL));
	memset(in, 'a', sizeof in);
	in[sizeof in - 1] = '\0';
	assert_false(name_parse(out, in, "x.org", NULL));
	in[1] = '@';
	assert_false(name_parse(out, in, NULL, NULL));
	for (int i = 2; i < 2 + NAME_REALM_MAX; i++)
		in[i] = (i - 2) % 64 == 63 ? '.' : 'b';
	in[2 + NAME_REALM_MAX] = '\0';
	assert_true(name_parse(out, in, NULL, NULL));
	in[2 + NAME_REALM_MAX] = 'b';
	in[3 + NAME_REALM_MAX] = '\0';
	assert_false(name_parse(out, in, NULL, NULL));
}

static void
test_parts(void **state)
{
	char local[NAME_LOCAL_MAX + 1];

	(void)state;
	name_local("alice@x.org", local);
	assert_string_equal(local, "alice");
	assert_string_equal(name_realm("alice@x.org"), "x.org");
}

static void
fill(struct entry *entry)
{
	memset(entry, 0, sizeof *entry);
	strcpy(entry->name, "alice@example.org");
	entry->enabled = true;
	entry->kind = ENTRY_DEVICE;
	entry->change = 77;
	entry->created = 1700000000;
	entry->changed = 1800000000;
	assert_true(verifier_derive(&entry->verifiers[VERIFIER_SHA_256],
	    VERIFIER_SHA_256, "pw", 4096, "0123456789abcdef", 16, NULL));
	assert_true(verifier_derive(&entry->verifiers[VERIFIER_SHA_1],
	    VERIFIER_SHA_1, "pw", 5000, "x", 1, NULL));
}

static void
test_round_trip(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	struct entry in, out;
	size_t len;

	(void)state;
	fill(&in);
	len = entry_encode(&in, true, octets);
	memset(&out, 0xff, sizeof out);
	assert_true(entry_decode(&out, octets, len, NULL));
	assert_memory_equal(&in, &out, sizeof in);
}

static void
test_listing_has_no_keys(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	struct entry in, out;
	size_t len;

	(void)state;
	fill(&in);
	len = entry_encode(&in, false, octets);
	assert_null(
	    memmem(octets, len, in.verifiers[VERIFIER_SHA_256].stored, 8));
	assert_null(memmem(octets, len, "0123456789abcdef", 16));
	assert_true(entry_decode(&out, octets, len, NULL));
	assert_true(out.verifiers[VERIFIER_SHA_1].present);
	assert_false(out.verifiers[VERIFIER_SHA_1].has_keys);
	assert_int_equal(out.verifiers[VERIFIER_SHA_1].iterations, 5000);
}

static void
test_broken_octets(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX + 16];
	struct entry in, out, before;
	size_t len;

	(void)state;
	fill(&in);
	memset(&out, 0x5a, sizeof out);
	before = out;
	len = entry_encode(&in, true, octets);
	for (size_t cut = 0; cut < len; cut++)
		if (entry_decode(&out, octets, cut, NULL)) {
			/* Whole without it, or without both. */
			assert_true(out.verifiers[0].present == false ||
				    out.verifiers[1].present == false);
			out = before;
		}
	octets[0] = 2;
	assert_false(entry_decode(&out, octets, len, NULL)); /* version */
	octets[0] = 1;
	/* A tag of a later version: it may have been what forbids. */
	memcpy(octets + len, "\x63\0\1x", 4);
	assert_false(entry_decode(&out, octets, len + 4, NULL));
	/* The same field twice. */
	memcpy(octets + len, "\2\0\1\1", 4);
	assert_false(entry_decode(&out, octets, len + 4, NULL));
	assert_memory_equal(&out, &before, sizeof out);
}

static void
test_control_packets(void **state)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	enum control_user_verb verb;
	struct entry in, out;
	size_t len;

	(void)state;
	fill(&in);
	len = control_user_encode(packet, 160, CONTROL_USER_ADD, &in);
	assert_true(
	    control_user_decode(packet + 1, len - 1, &verb, &out, NULL));
	assert_int_equal(verb, CONTROL_USER_ADD);
	assert_memory_equal(&in, &out, sizeof in);
	packet[1] = 99;
	assert_false(
	    control_user_decode(packet + 1, len - 1, &verb, &out, NULL));
	strcpy(in.name, "alice@EXAMPLE.org");
	len = control_user_encode(packet, 160, CONTROL_USER_SHOW, &in);
	assert_false(
	    control_user_decode(packet + 1, len - 1, &verb, &out, NULL));
	len = control_user_encode(packet, 160, CONTROL_USER_LIST, &in);
	assert_true(
	    control_user_decode(packet + 1, len - 1, &verb, &out, NULL));
	assert_false(control_user_decode(packet + 1, 0, &verb, &out, NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_as_given),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_listing_has_no_keys),
		cmocka_unit_test(test_broken_octets),
		cmocka_unit_test(test_control_packets),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
