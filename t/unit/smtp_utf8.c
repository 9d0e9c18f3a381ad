/*
 * t/unit/smtp_utf8.c: addresses beyond ASCII (RFC 6531, RFC 6533): what is
 * UTF-8, what is let through, and the forms of the address type utf-8.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/smtp_utf8.h"

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *what, *octets;
	bool good, plain;
} texts[] = {
	{ "nothing", "", true, true },
	{ "ASCII", "a b", true, true },
	{ "two octets", "\xc2\xa1", true, true },
	{ "the last of two", "\xdf\xbf", true, true },
	{ "the first of three", "\xe0\xa0\x80", true, true },
	{ "before the surrogates", "\xed\x9f\xbf", true, true },
	{ "after the surrogates", "\xee\x80\x80", true, true },
	{ "the first of four", "\xf0\x90\x80\x80", true, true },
	{ "a joiner, which words of India need", "\xe0\xa4\x95\xe2\x80\x8d",
	    true, true },
	{ "Hebrew, which turns by itself", "\xd7\xa9\xd7\x9c", true, true },
	/* No UTF-8. */
	{ "a lone octet of the middle", "a\x80", false, false },
	{ "Latin 1", "J\xfcrgen", false, false },
	{ "cut off", "a\xc3", false, false },
	{ "cut off by ASCII", "\xe2\x82z", false, false },
	{ "a slash of two octets", "\xc0\xaf", false, false },
	{ "the largest overlong of two", "\xc1\xbf", false, false },
	{ "overlong of three", "\xe0\x9f\xbf", false, false },
	{ "overlong of four", "\xf0\x8f\xbf\xbf", false, false },
	{ "the first surrogate", "\xed\xa0\x80", false, false },
	{ "the last surrogate", "\xed\xbf\xbf", false, false },
	{ "beyond Unicode", "\xf4\x90\x80\x80", false, false },
	{ "far beyond", "\xf5\x80\x80\x80", false, false },
	{ "an octet that UTF-8 does not have", "\xff", false, false },
	/* UTF-8 that does not show. */
	{ "C1: next line", "a\xc2\x85z", true, false },
	{ "C1: the last", "\xc2\x9f", true, false },
	{ "right-to-left override", "a\xe2\x80\xaez", true, false },
	{ "right-to-left mark", "\xe2\x80\x8f", true, false },
	{ "Arabic letter mark", "\xd8\x9c", true, false },
	{ "an isolate", "\xe2\x81\xa7", true, false },
	{ "line separator", "\xe2\x80\xa8", true, false },
	{ "byte order mark", "\xef\xbb\xbf", true, false },
	{ "a tag", "\xf3\xa0\x81\xa1", true, false },
	{ "a noncharacter", "\xef\xbf\xbf", true, false },
	{ "a noncharacter of a higher plane", "\xf4\x8f\xbf\xbe", true, false },
};

static void
utf8_is_judged_strictly(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		size_t len = strlen(texts[i].octets);

		/* However it is cut. */
		for (size_t cut = 0; cut <= len; cut++) {
			struct utf8_scan scan = { 0 };

			utf8_scan(&scan, texts[i].octets, cut);
			utf8_scan(&scan, texts[i].octets + cut, len - cut);
			if (utf8_scan_is_good(&scan) != texts[i].good)
				fail_msg("%s, cut at %zu", texts[i].what, cut);
		}
		if (utf8_is_plain(slice_of(texts[i].octets)) != texts[i].plain)
			fail_msg("%s: plain", texts[i].what);
	}
}

static void
domains_become_a_labels(void **state)
{
	static const struct {
		const char *args, *mailbox;
		enum smtp_syntax syntax;
	} rows[] = {
		{ "FROM:<a@b\xc3\xbc"
		  "cher.example>",
		    "a@xn--bcher-kva.example", SMTP_SYNTAX_OK },
		{ "FROM:<j\xc3\xbc@B\xc3\x9c"
		  "CHER.Example>",
		    "j\xc3\xbc@xn--bcher-kva.example", SMTP_SYNTAX_OK },
		/* Decomposed, and dots and letters of full width: one name. */
		{ "FROM:<a@bu\xcc\x88"
		  "cher.example>",
		    "a@xn--bcher-kva.example", SMTP_SYNTAX_OK },
		{ "FROM:<a@b\xc3\xbc"
		  "cher\xe3\x80\x82"
		  "example>",
		    "a@xn--bcher-kva.example", SMTP_SYNTAX_OK },
		{ "FROM:<a@\xef\xbd\x82.example>", "a@b.example",
		    SMTP_SYNTAX_OK },
		{ "FROM:<a@fa\xc3\x9f.example>", "a@xn--fa-hia.example",
		    SMTP_SYNTAX_OK },
		{ "FROM:<j\xc3\xbc@b.Example>", "j\xc3\xbc@b.Example",
		    SMTP_SYNTAX_OK },
		{ "FROM:<>", "", SMTP_SYNTAX_OK },
		{ "FROM:<a@x\xcd\xb8.example>", NULL, SMTP_SYNTAX_BAD },
		{ "FROM:<a@\xef\xbc\x91.\xef\xbc\x92>", NULL, SMTP_SYNTAX_BAD },
	};
	char ascii[SMTP_PATH_MAX + 1];
	struct smtp_path path;
	struct slice rest;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(
		    smtp_parse_mail(slice_of(rows[i].args), &path, &rest),
		    SMTP_SYNTAX_OK);
		if (smtp_path_to_ascii(&path, ascii) != rows[i].syntax)
			fail_msg("%s", rows[i].args);
		if (rows[i].syntax != SMTP_SYNTAX_OK)
			continue;
		if (path.mailbox.len != strlen(rows[i].mailbox) ||
		    memcmp(path.mailbox.at, rows[i].mailbox,
			path.mailbox.len) != 0)
			fail_msg("%s: %.*s", rows[i].args,
			    (int)path.mailbox.len, path.mailbox.at);
	}
}

/* The A-labels may be longer than what they stand for. */
static void
a_path_that_grows_too_long_is_refused(void **state)
{
	char args[SMTP_PATH_MAX + 64] = "FROM:<", ascii[SMTP_PATH_MAX + 1];
	struct smtp_path path;
	struct slice rest;

	(void)state;
	memset(args + 6, 'l', 64);
	strcpy(args + 6 + 64, "@");
	for (int i = 0; i < 10; i++)
		strcat(args, "aaaaaaaaaaaaaa\xc3\xbc.");
	strcat(args, "example>");
	assert_int_equal(smtp_parse_mail(slice_of(args), &path, &rest),
	    SMTP_SYNTAX_OK);
	assert_int_equal(smtp_path_to_ascii(&path, ascii),
	    SMTP_SYNTAX_TOO_LONG);
}

static void
paths_of_a_spool_are_checked(void **state)
{
	(void)state;
	assert_true(smtp_is_utf8_path("j\xc3\xbc@b.example"));
	assert_true(smtp_is_utf8_path("\"a\xc3\xbc@b\"@b.example"));
	assert_false(smtp_is_utf8_path("j@b\xc3\xbc.example"));
	assert_false(smtp_is_utf8_path("j\xfc@b.example"));
	assert_false(smtp_is_utf8_path("j\xe2\x80\xae@b.example"));
	assert_false(smtp_is_utf8_path("j\xc3\xbc"));
}

static void
the_address_type_utf8_has_three_forms(void **state)
{
	static const struct {
		const char *given, *address; /* NULL: none of them */
	} rows[] = {
		{ "bob@b.example", "bob@b.example" },
		{ "j\\x{FC}@b.example", "j\xc3\xbc@b.example" },
		{ "j\xc3\xbc@b.example", "j\xc3\xbc@b.example" },
		{ "\\x{20AC}@b", "\xe2\x82\xac@b" },
		{ "\\x{1F600}@b", "\xf0\x9f\x98\x80@b" },
		{ "a\\x{2B}\\x{3D}\\x{5C}\\x{20}@b", "a+=\\ @b" },
		{ "", NULL },
		{ "a+b@c", NULL },
		{ "a=b@c", NULL },
		{ "a b@c", NULL },
		{ "a\\b@c", NULL },
		{ "\\x{}@b", NULL },
		{ "\\x{FC", NULL },
		{ "\\x{F", NULL },
		{ "\\x{fc}@b", NULL },
		{ "\\x{0FC}@b", NULL },
		{ "\\x{61}@b", NULL },
		{ "\\x{0D}\\x{0A}@b", NULL },
		{ "\\x{7F}@b", NULL },
		{ "\\x{85}@b", NULL },
		{ "\\x{202E}@b", NULL },
		{ "\\x{D800}@b", NULL },
		{ "\\x{110000}@b", NULL },
		{ "\\x{1000000}@b", NULL },
		{ "j\xfc@b", NULL },
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		bool ok = utf8_address_decode(slice_of(rows[i].given), text);

		if (ok != (rows[i].address != NULL) ||
		    (ok && strcmp(text, rows[i].address) != 0))
			fail_msg("%s", rows[i].given);
	}
}

static void
what_is_written_is_read(void **state)
{
	static const char *const paths[] = { "bob@b.example",
		"j\xc3\xbc@b.example", "a+b=c@b.example",
		"\"a b\\\\c\"@b.example", "\xf0\x9f\x98\x80\xe2\x82\xac@b" };
	char xtext[UTF8_XTEXT_SIZE], text[UTF8_XTEXT_SIZE];
	char longest[UTF8_XTEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT(paths); i++) {
		assert_true(utf8_xtext_encode(paths[i], xtext));
		assert_false(utf8_has_high(slice_of(xtext)));
		assert_true(utf8_address_decode(slice_of(xtext), text));
		assert_string_equal(text, paths[i]);
	}
	assert_false(utf8_xtext_encode("j\xfc@b", xtext));
	/* What a spool may hold is cut where a character ends. */
	memset(longest, '+', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_true(utf8_xtext_encode(longest, xtext));
	assert_true(utf8_address_decode(slice_of(xtext), text));
}

static void
orcpt_goes_where_smtputf8_does_not(void **state)
{
	char ascii[SMTP_ORCPT_MAX + 1], wide[SMTP_ORCPT_MAX + 1] = "utf-8;";

	(void)state;
	assert_true(utf8_orcpt_to_ascii("rfc822;b+2Bx@b", ascii));
	assert_string_equal(ascii, "rfc822;b+2Bx@b");
	assert_true(utf8_orcpt_to_ascii("utf-8;j\xc3\xbc\\x{FC}@b", ascii));
	assert_string_equal(ascii, "utf-8;j\\x{FC}\\x{FC}@b");
	for (int i = 0; i < 200; i++)
		strcat(wide, "\xc3\xbc");
	assert_true(smtp_is_orcpt(slice_of(wide)));
	assert_false(utf8_orcpt_to_ascii(wide, ascii));
	assert_false(utf8_orcpt_to_ascii("utf-8;\xfc", ascii));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_is_judged_strictly),
		cmocka_unit_test(domains_become_a_labels),
		cmocka_unit_test(a_path_that_grows_too_long_is_refused),
		cmocka_unit_test(paths_of_a_spool_are_checked),
		cmocka_unit_test(the_address_type_utf8_has_three_forms),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(orcpt_goes_where_smtputf8_does_not),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
