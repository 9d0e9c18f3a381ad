/*
 * t/unit/smtp_parse.c: the grammar of SMTP commands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/envelope.h"
#include "../../server/smtp_parse.h"

/* After ours: it has a macro of the name of policy/reason.h's fail. */
#include <cmocka.h>

#define LABEL_63                                                               \
	"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij123"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void
assert_slice(struct slice s, const char *expected, const char *what)
{
	if (s.len != strlen(expected) || memcmp(s.at, expected, s.len) != 0)
		fail_msg("%s: got \"%.*s\", expected \"%s\"", what, (int)s.len,
		    s.at, expected);
}

static void
splits_verb_and_arguments(void **state)
{
	static const struct {
		const char *line, *verb, *args;
	} rows[] = {
		{ "NOOP", "NOOP", "" },
		{ "MAIL FROM:<a@b>", "MAIL", "FROM:<a@b>" },
		{ "EHLO   x  ", "EHLO", "x" },
		{ "", "", "" },
		{ " EHLO x", "", "EHLO x" },
		{ "AUTH\tPLAIN", "AUTH", "PLAIN" },
	};
	struct slice verb, args;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		smtp_split(slice_of(rows[i].line), &verb, &args);
		assert_slice(verb, rows[i].verb, rows[i].line);
		assert_slice(args, rows[i].args, rows[i].line);
	}
}

static void
mail_takes_reverse_paths(void **state)
{
	static const struct {
		const char *args;
		enum smtp_syntax syntax;
		const char *mailbox;
	} rows[] = {
		{ "FROM:<a@b.example>", SMTP_SYNTAX_OK, "a@b.example" },
		{ "from:<a@b.example>", SMTP_SYNTAX_OK, "a@b.example" },
		{ "FROM: <a@b.example>", SMTP_SYNTAX_OK, "a@b.example" },
		{ "FROM:<>", SMTP_SYNTAX_OK, "" },
		{ "FROM:<@x.example,@y.example:a@b>", SMTP_SYNTAX_OK, "a@b" },
		{ "FROM:<\"a b\"@c>", SMTP_SYNTAX_OK, "\"a b\"@c" },
		{ "FROM:<\"a\\\"b\"@c>", SMTP_SYNTAX_OK, "\"a\\\"b\"@c" },
		{ "FROM:<\"a>b\"@c>", SMTP_SYNTAX_OK, "\"a>b\"@c" },
		{ "FROM:<a@[192.0.2.1]>", SMTP_SYNTAX_OK, "a@[192.0.2.1]" },
		{ "FROM:<a@[IPv6:2001:db8::1]>", SMTP_SYNTAX_OK,
		    "a@[IPv6:2001:db8::1]" },
		{ "FROM:<a+b-c=d/e@b>", SMTP_SYNTAX_OK, "a+b-c=d/e@b" },
		{ "FROM:<j\xc3\xbc.x@b>", SMTP_SYNTAX_OK, "j\xc3\xbc.x@b" },
		{ "FROM:<\"j\xc3\xbc >\"@b>", SMTP_SYNTAX_OK,
		    "\"j\xc3\xbc >\"@b" },
		{ "FROM:<a@b\xc3\xbc.example>", SMTP_SYNTAX_OK,
		    "a@b\xc3\xbc.example" },
		/* What must not pass. */
		{ "", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:a@b", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b>x", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<@b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b.>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@-b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b_c>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<.a@b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a..b@c>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a b@c>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<\"a@b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@[192.0.2]>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@[x:y]>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<Postmaster>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b\x01>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<\xc3@b>", SMTP_SYNTAX_NOT_UTF8, NULL },
		{ "FROM:<\xc0\xaf@b>", SMTP_SYNTAX_NOT_UTF8, NULL },
		{ "FROM:<a@\xfc.example>", SMTP_SYNTAX_NOT_UTF8, NULL },
		{ "FROM:<\xc2\x85@b>", SMTP_SYNTAX_NOT_UTF8, NULL },
		{ "FROM:<a\xe2\x80\xae@b>", SMTP_SYNTAX_NOT_UTF8, NULL },
		{ "FROM:<\"\\\xc3\xbc\"@b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<@\xc3\xbc:a@b>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@[\xc3\xbc]>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@-\xc3\xbc>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<\xc3\xbc..b@c>", SMTP_SYNTAX_BAD, NULL },
		{ "FROM:<a@b\xc3\xbc." LABEL_63 "x>", SMTP_SYNTAX_BAD, NULL },
		{ "TO:<a@b>", SMTP_SYNTAX_BAD, NULL },
	};
	struct smtp_path path;
	struct slice params;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		enum smtp_syntax syntax =
		    smtp_parse_mail(slice_of(rows[i].args), &path, &params);

		if (syntax != rows[i].syntax)
			fail_msg("%s: %d", rows[i].args, (int)syntax);
		if (syntax == SMTP_SYNTAX_OK)
			assert_slice(path.mailbox, rows[i].mailbox,
			    rows[i].args);
		if (syntax == SMTP_SYNTAX_OK &&
		    path.is_utf8 != (strpbrk(rows[i].mailbox, "\xc3") != NULL))
			fail_msg("%s: is_utf8", rows[i].args);
	}
}

static void
rcpt_takes_forward_paths(void **state)
{
	struct smtp_path path;
	struct slice params;

	(void)state;
	assert_int_equal(
	    smtp_parse_rcpt(slice_of("TO:<postMaster>"), &path, &params),
	    SMTP_SYNTAX_OK);
	assert_slice(path.mailbox, "postMaster", "Postmaster alone");
	assert_int_equal(path.domain.len, 0);
	assert_int_equal(smtp_parse_rcpt(slice_of("TO:<Postmaster@x.example>"),
			     &path, &params),
	    SMTP_SYNTAX_OK);
	assert_slice(path.domain, "x.example", "domain");
	assert_int_equal(smtp_parse_rcpt(slice_of("TO:<>"), &path, &params),
	    SMTP_SYNTAX_BAD);
	assert_int_equal(
	    smtp_parse_rcpt(slice_of("TO:<postmasterx>"), &path, &params),
	    SMTP_SYNTAX_BAD);
}

/* "FROM:<" local "@" domain labels of 60 ">" of a given shape. */
static enum smtp_syntax
parse_long(size_t local, size_t domain)
{
	char args[1024] = "FROM:<";
	size_t len = strlen(args), i;
	struct smtp_path path;
	struct slice params;

	for (i = 0; i < local; i++)
		args[len++] = 'l';
	args[len++] = '@';
	for (i = 0; i < domain; i++)
		args[len++] = i % 61 == 60 && i + 1 < domain ? '.' : 'd';
	args[len++] = '>';
	return smtp_parse_mail((struct slice){ args, len }, &path, &params);
}

static void
lengths_are_those_of_the_rfc(void **state)
{
	(void)state;
	assert_int_equal(parse_long(64, 10), SMTP_SYNTAX_OK);
	assert_int_equal(parse_long(65, 10), SMTP_SYNTAX_TOO_LONG);
	assert_int_equal(parse_long(63, 190), SMTP_SYNTAX_OK);
	assert_int_equal(parse_long(64, 190), SMTP_SYNTAX_TOO_LONG);
	assert_int_not_equal(parse_long(1, 256), SMTP_SYNTAX_OK);
	assert_true(smtp_is_greeting_name(slice_of(LABEL_63 ".example")));
	assert_false(smtp_is_greeting_name(slice_of("x" LABEL_63 ".example")));
}

static void
parameters_come_one_by_one(void **state)
{
	struct slice rest =
	    slice_of(" SIZE=100  BODY=8BITMIME ORCPT=utf-8;\xc3\xbc X");
	struct smtp_param param;

	(void)state;
	assert_int_equal(smtp_next_param(&rest, &param), SMTP_PARAM_GOT);
	assert_slice(param.keyword, "SIZE", "keyword");
	assert_slice(param.value, "100", "value");
	assert_int_equal(smtp_next_param(&rest, &param), SMTP_PARAM_GOT);
	assert_true(slice_is(param.value, "8bitmime"));
	assert_int_equal(smtp_next_param(&rest, &param), SMTP_PARAM_GOT);
	assert_slice(param.value, "utf-8;\xc3\xbc", "value in UTF-8");
	assert_int_equal(smtp_next_param(&rest, &param), SMTP_PARAM_GOT);
	assert_false(param.has_value);
	assert_int_equal(smtp_next_param(&rest, &param), SMTP_PARAM_END);
}

static void
malformed_parameters_are_seen(void **state)
{
	static const char *const rows[] = { "=1", "-A=1", "A=", "A=b=c",
		"A=\x01", "A=\xfc", "A=\xc2\x85", "A\xc3", "(A)" };
	struct smtp_param param;
	struct slice rest;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		rest = slice_of(rows[i]);
		if (smtp_next_param(&rest, &param) != SMTP_PARAM_BAD)
			fail_msg("%s passed", rows[i]);
	}
}

static void
sizes_are_digits_that_fit(void **state)
{
	uint64_t size;

	(void)state;
	assert_true(smtp_parse_size(slice_of("18446744073709551615"), &size));
	assert_true(size == UINT64_MAX);
	assert_false(smtp_parse_size(slice_of("18446744073709551616"), &size));
	assert_false(smtp_parse_size(slice_of("000000000000000000001"), &size));
	assert_false(smtp_parse_size(slice_of(""), &size));
	assert_false(smtp_parse_size(slice_of("-1"), &size));
	assert_false(smtp_parse_size(slice_of("1 "), &size));
}

static void
names_after_ehlo(void **state)
{
	static const struct {
		const char *name;
		bool ok;
	} rows[] = {
		{ "mail.example.org", true },
		{ "localhost", true },
		{ "my_laptop", true },
		{ "[192.0.2.1]", true },
		{ "[IPv6:::1]", true },
		{ "", false },
		{ "a b", false },
		{ "a..b", false },
		{ "[192.0.2.1", false },
		{ "[]", false },
		{ "a\"b", false },
		{ "b\xc3\xbc", false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		if (smtp_is_greeting_name(slice_of(rows[i].name)) != rows[i].ok)
			fail_msg("\"%s\"", rows[i].name);
}

static void
base64_is_strict(void **state)
{
	static const struct {
		const char *text;
		int len; /* -1: refused */
	} rows[] = {
		{ "", 0 },
		{ "AA==", 1 },
		{ "AAA=", 2 },
		{ "AAAA", 3 },
		{ "AAAAAA==", 4 },
		{ "A", -1 },
		{ "AA", -1 },
		{ "AAA", -1 },
		{ "A===", -1 },
		{ "====", -1 },
		{ "AA=A", -1 },
		{ "AA==AAAA", -1 },
		{ "AB==", -1 }, /* bits under the padding */
		{ "AAB=", -1 },
		{ "AA A", -1 },
		{ "AA-_", -1 },
		{ "AA\n=", -1 },
	};
	unsigned char out[64];
	size_t i, len;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		bool ok = smtp_base64_decode(slice_of(rows[i].text), out, &len);

		if (ok != (rows[i].len >= 0) ||
		    (ok && len != (size_t)rows[i].len))
			fail_msg("\"%s\"", rows[i].text);
	}
}

static void
base64_goes_there_and_back(void **state)
{
	unsigned char in[70], out[72];
	char text[128];
	size_t len, text_len, i, n;

	(void)state;
	for (i = 0; i < sizeof in; i++)
		in[i] = (unsigned char)(i * 37 + 11);
	for (n = 0; n <= sizeof in; n++) {
		text_len = smtp_base64_encode(in, n, text);
		assert_int_equal(text_len, (n + 2) / 3 * 4);
		assert_true(smtp_base64_decode((struct slice){ text, text_len },
		    out, &len));
		assert_int_equal(len, n);
		assert_memory_equal(in, out, n);
	}
}

static void
xtext_is_checked(void **state)
{
	(void)state;
	assert_true(smtp_is_xtext(slice_of("e+3Dmc2@example.com")));
	assert_false(smtp_is_xtext(slice_of("e+3dmc2")));
	assert_false(smtp_is_xtext(slice_of("e+3")));
	assert_false(smtp_is_xtext(slice_of("a=b")));
	assert_false(smtp_is_xtext(slice_of("a b")));
}

static void
xtext_is_decoded(void **state)
{
	char text[32];

	(void)state;
	assert_true(smtp_xtext_decode(slice_of("a+2Bb+20c+3D"), text));
	assert_string_equal(text, "a+b c=");
	assert_false(smtp_xtext_decode(slice_of("a+0Db"), text));
	assert_false(smtp_xtext_decode(slice_of("a+7Fb"), text));
	assert_false(smtp_xtext_decode(slice_of("a+E9b"), text));
	assert_false(smtp_xtext_decode(slice_of("a+2"), text));
}

/* RFC 3461, section 4.1. */
static void
notify_is_checked(void **state)
{
	static const struct {
		const char *value;
		int notify; /* -1: refused */
	} rows[] = {
		{ "NEVER", NOTIFY_NEVER },
		{ "never", NOTIFY_NEVER },
		{ "SUCCESS", NOTIFY_SUCCESS },
		{ "delay,Failure", NOTIFY_DELAY | NOTIFY_FAILURE },
		{ "SUCCESS,FAILURE,DELAY",
		    NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY },
		{ "", -1 },
		{ "NEVER,DELAY", -1 },
		{ "DELAY,NEVER", -1 },
		{ "SUCCESS,", -1 },
		{ ",SUCCESS", -1 },
		{ "SUCCESS,,DELAY", -1 },
		{ "SUCCESSFUL", -1 },
		{ "NEVERMORE", -1 },
		{ "SUCCESS;DELAY", -1 },
		{ "ALWAYS", -1 },
	};
	uint8_t notify;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		bool ok = smtp_parse_notify(slice_of(rows[i].value), &notify);

		if (ok != (rows[i].notify >= 0) ||
		    (ok && notify != rows[i].notify))
			fail_msg("NOTIFY=%s", rows[i].value);
	}
}

/* RFC 3461, section 4.3. */
static void
ret_is_checked(void **state)
{
	uint8_t ret;

	(void)state;
	assert_true(smtp_parse_ret(slice_of("full"), &ret));
	assert_int_equal(ret, RET_FULL);
	assert_true(smtp_parse_ret(slice_of("HDRS"), &ret));
	assert_int_equal(ret, RET_HDRS);
	assert_false(smtp_parse_ret(slice_of(""), &ret));
	assert_false(smtp_parse_ret(slice_of("HDR"), &ret));
	assert_false(smtp_parse_ret(slice_of("FULL,HDRS"), &ret));
}

/* RFC 3461, section 4.4. */
static void
envid_is_checked(void **state)
{
	char longest[SMTP_ENVID_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof longest);
	assert_true(smtp_is_envid(slice_of("QQ314159")));
	assert_true(smtp_is_envid(slice_of("a+20b")));
	assert_false(smtp_is_envid(slice_of("")));
	assert_false(smtp_is_envid(slice_of("a+0Ab")));
	assert_false(smtp_is_envid(slice_of("a+b")));
	assert_true(smtp_is_envid((struct slice){ longest, SMTP_ENVID_MAX }));
	assert_false(
	    smtp_is_envid((struct slice){ longest, SMTP_ENVID_MAX + 1 }));
}

/* RFC 3461, section 4.2. */
static void
orcpt_is_checked(void **state)
{
	char longest[SMTP_ORCPT_MAX + 2] = "rfc822;";
	struct slice type, xtext;

	(void)state;
	memset(longest + 7, 'x', sizeof longest - 7);
	assert_true(smtp_is_orcpt(slice_of("rfc822;b+2Bx@example.net")));
	assert_true(smtp_is_orcpt(slice_of("x-a+b;c")));
	assert_false(smtp_is_orcpt(slice_of("")));
	assert_false(smtp_is_orcpt(slice_of("b@example.net")));
	assert_false(smtp_is_orcpt(slice_of(";b@example.net")));
	assert_false(smtp_is_orcpt(slice_of("rfc822;")));
	assert_false(smtp_is_orcpt(slice_of("rf c;b")));
	assert_false(smtp_is_orcpt(slice_of("rfc822;b+0D+0Ac")));
	assert_false(smtp_is_orcpt(slice_of("rfc822;b+")));
	assert_true(smtp_is_orcpt(slice_of("utf-8;j\xc3\xbc@b")));
	assert_true(smtp_is_orcpt(slice_of("UTF-8;j\\x{FC}@b")));
	assert_false(smtp_is_orcpt(slice_of("rfc822;j\xc3\xbc@b")));
	assert_false(smtp_is_orcpt(slice_of("utf-8;j\xfc@b")));
	assert_true(smtp_is_orcpt((struct slice){ longest, SMTP_ORCPT_MAX }));
	assert_false(
	    smtp_is_orcpt((struct slice){ longest, SMTP_ORCPT_MAX + 1 }));
	smtp_split_orcpt(slice_of("x-a+b;c;d"), &type, &xtext);
	assert_true(slice_is(type, "x-a+b"));
	assert_true(slice_is(xtext, "c;d"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_verb_and_arguments),
		cmocka_unit_test(mail_takes_reverse_paths),
		cmocka_unit_test(rcpt_takes_forward_paths),
		cmocka_unit_test(lengths_are_those_of_the_rfc),
		cmocka_unit_test(parameters_come_one_by_one),
		cmocka_unit_test(malformed_parameters_are_seen),
		cmocka_unit_test(sizes_are_digits_that_fit),
		cmocka_unit_test(names_after_ehlo),
		cmocka_unit_test(base64_is_strict),
		cmocka_unit_test(base64_goes_there_and_back),
		cmocka_unit_test(xtext_is_checked),
		cmocka_unit_test(xtext_is_decoded),
		cmocka_unit_test(notify_is_checked),
		cmocka_unit_test(ret_is_checked),
		cmocka_unit_test(envid_is_checked),
		cmocka_unit_test(orcpt_is_checked),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
