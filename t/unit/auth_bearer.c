/*
 * t/unit/auth_bearer.c: messages of OAUTHBEARER and XOAUTH2.
 */
#include "../../auth/bearer.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define O BEARER_OAUTHBEARER
#define X BEARER_XOAUTH2

static const struct {
	const char *what; /* what a "not ok" should teach */
	enum bearer_form form;
	const char *message;
	const char *name, *token; /* NULL: refused */
} rows[] = {
	{ "RFC 7628, 4.1", O,
	    "n,a=user@example.com,\1host=server.example.com\1port=143\1"
	    "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1",
	    "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" },
	{ "no authorization identity", O, "n,,\1auth=Bearer abc\1\1", "",
	    "abc" },
	{ "a client that could bind channels", O, "y,,\1auth=Bearer abc\1\1",
	    "", "abc" },
	{ "the scheme in any case", O, "n,,\1auth=bEARER abc\1\1", "", "abc" },
	{ "more than one blank after the scheme", O,
	    "n,,\1auth=Bearer   abc\1\1", "", "abc" },
	{ "keys in any order", O, "n,,\1auth=Bearer abc\1host=h\1\1", "",
	    "abc" },
	{ "a key nobody knows is ignored", O,
	    "n,,\1color=blue\1auth=Bearer abc\1\1", "", "abc" },
	{ "saslname: comma and equals sign", O,
	    "n,a=a=2Cb=3Dc@x,\1auth=Bearer abc\1\1", "a,b=c@x", "abc" },
	{ "saslname in UTF-8", O, "n,a=\xc3\xa9ric,\1auth=Bearer a\1\1",
	    "\xc3\xa9ric", "a" },
	{ "all characters of a token", O, "n,,\1auth=Bearer aZ09-._~+/==\1\1",
	    "", "aZ09-._~+/==" },
	{ "empty auth asks what is wanted", O, "n,,\1auth=\1\1", "", "" },

	{ "no auth at all", O, "n,,\1host=h\1\1", NULL, NULL },
	{ "no keys", O, "n,,\1\1", NULL, NULL },
	{ "channel binding", O, "p=tls-exporter,,\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "empty message", O, "", NULL, NULL },
	{ "only the separator", O, "\1", NULL, NULL },
	{ "another flag", O, "x,,\1auth=Bearer abc\1\1", NULL, NULL },
	{ "no GS2 header", O, "auth=Bearer abc\1\1", NULL, NULL },
	{ "the header's standard flag is not in the profile", O,
	    "F,n,,\1auth=Bearer abc\1\1", NULL, NULL },
	{ "header cut off", O, "n,a=x\1auth=Bearer abc\1\1", NULL, NULL },
	{ "octets after the header", O, "n,,x\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "empty saslname", O, "n,a=,\1auth=Bearer abc\1\1", NULL, NULL },
	{ "saslname with a bare equals sign", O,
	    "n,a=a=b,\1auth=Bearer abc\1\1", NULL, NULL },
	{ "saslname in lower-case escapes", O, "n,a=a=2c,\1auth=Bearer abc\1\1",
	    NULL, NULL },
	{ "saslname, overlong UTF-8", O, "n,a=\xc0\xaf,\1auth=Bearer a\1\1",
	    NULL, NULL },
	{ "saslname, a surrogate", O, "n,a=\xed\xa0\x80,\1auth=Bearer a\1\1",
	    NULL, NULL },
	{ "saslname, beyond Unicode", O,
	    "n,a=\xf4\x90\x80\x80,\1auth=Bearer a\1\1", NULL, NULL },
	{ "saslname, cut off UTF-8", O, "n,a=\xe2\x82,\1auth=Bearer a\1\1",
	    NULL, NULL },
	{ "saslname, control character", O, "n,a=a\tb,\1auth=Bearer a\1\1",
	    NULL, NULL },
	{ "no separator at the end", O, "n,,\1auth=Bearer abc\1", NULL, NULL },
	{ "octets after the end", O, "n,,\1auth=Bearer abc\1\1x", NULL, NULL },
	{ "three separators", O, "n,,\1auth=Bearer abc\1\1\1", NULL, NULL },
	{ "two tokens", O, "n,,\1auth=Bearer abc\1auth=Bearer abd\1\1", NULL,
	    NULL },
	{ "empty, then a token", O, "n,,\1auth=\1auth=Bearer abd\1\1", NULL,
	    NULL },
	{ "two hosts", O, "n,,\1host=a\1host=b\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "key without value", O, "n,,\1host\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "empty key", O, "n,,\1=x\1auth=Bearer abc\1\1", NULL, NULL },
	{ "key with a digit", O, "n,,\1h0st=x\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "value that is not ASCII", O,
	    "n,,\1host=\xc3\xa9\1auth=Bearer abc\1\1", NULL, NULL },
	{ "another scheme", O, "n,,\1auth=Basic abc\1\1", NULL, NULL },
	{ "scheme alone", O, "n,,\1auth=Bearer \1\1", NULL, NULL },
	{ "token with a blank", O, "n,,\1auth=Bearer a b\1\1", NULL, NULL },
	{ "token with a quote", O, "n,,\1auth=Bearer a\"b\1\1", NULL, NULL },
	{ "padding inside a token", O, "n,,\1auth=Bearer a=b\1\1", NULL, NULL },
	{ "padding alone", O, "n,,\1auth=Bearer ==\1\1", NULL, NULL },
	{ "XOAUTH2's form", O, "user=a\1auth=Bearer abc\1\1", NULL, NULL },

	{ "XOAUTH2", X, "user=a@x.org\1auth=Bearer abc\1\1", "a@x.org", "abc" },
	{ "XOAUTH2, nothing is escaped", X, "user=a=2C,\1auth=Bearer a\1\1",
	    "a=2C,", "a" },
	{ "XOAUTH2, no name", X, "user=\1auth=Bearer abc\1\1", "", "abc" },
	{ "XOAUTH2, no user", X, "auth=Bearer abc\1\1", NULL, NULL },
	{ "XOAUTH2, no token", X, "user=a\1\1\1", NULL, NULL },
	{ "XOAUTH2, empty auth", X, "user=a\1auth=\1\1", NULL, NULL },
	{ "XOAUTH2, another key", X, "user=a\1host=h\1auth=Bearer a\1\1", NULL,
	    NULL },
	{ "XOAUTH2, one separator", X, "user=a\1auth=Bearer abc\1", NULL,
	    NULL },
	{ "XOAUTH2, octets after the end", X, "user=a\1auth=Bearer a\1\1a",
	    NULL, NULL },
	{ "XOAUTH2, not UTF-8", X, "user=\xff\1auth=Bearer abc\1\1", NULL,
	    NULL },
	{ "OAUTHBEARER's form", X, "n,,\1auth=Bearer abc\1\1", NULL, NULL },
};

static gnutls_datum_t
datum(const void *octets, size_t len)
{
	return (gnutls_datum_t){ (unsigned char *)(uintptr_t)octets,
		(unsigned)len };
}

static void
test_rows(void **state)
{
	static struct bearer b;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		gnutls_datum_t m =
		    datum(rows[i].message, strlen(rows[i].message));
		struct reason why = { 0 };

		if (bearer_parse(&b, rows[i].form, &m, &why) !=
		    (rows[i].name != NULL))
			fail_msg("%s: %s", rows[i].what, why.text);
		if (rows[i].name == NULL) {
			assert_int_not_equal(why.code, REASON_NONE);
			continue;
		}
		if (strcmp(b.name, rows[i].name) != 0 ||
		    strcmp(b.token, rows[i].token) != 0)
			fail_msg("%s: \"%s\" and \"%s\"", rows[i].what, b.name,
			    b.token);
	}
}

static void
test_nul(void **state)
{
	static const char name[] = "user=a\0b\1auth=Bearer abc\1\1";
	static const char token[] = "n,,\1auth=Bearer a\0c\1\1";
	gnutls_datum_t m = datum(name, sizeof name - 1);
	static struct bearer b;

	(void)state;
	assert_false(bearer_parse(&b, X, &m, NULL));
	m = datum(token, sizeof token - 1);
	assert_false(bearer_parse(&b, O, &m, NULL));
	m = datum(NULL, 0);
	assert_false(bearer_parse(&b, O, &m, NULL));
	assert_false(bearer_parse(&b, X, &m, NULL));
}

/* A message with a name of so many octets and a token of so many. */
static bool
fits(enum bearer_form form, size_t name_len, size_t token_len)
{
	static char message[2 * BEARER_MESSAGE_MAX];
	char *at = message;
	static struct bearer b;
	gnutls_datum_t m;

	at = stpcpy(at, form == X ? "user=" : "n,a=");
	memset(at, 'n', name_len);
	at = stpcpy(at + name_len, form == X ? "" : ",");
	at = stpcpy(at, "\1auth=Bearer ");
	memset(at, 't', token_len);
	at = stpcpy(at + token_len, "\1\1");
	m = datum(message, (size_t)(at - message));
	if (!bearer_parse(&b, form, &m, NULL))
		return false;
	return strlen(b.name) == name_len && strlen(b.token) == token_len;
}

static void
test_bounds(void **state)
{
	(void)state;
	for (int form = O; form <= X; form++) {
		assert_true(fits((enum bearer_form)form, NAME_SIZE - 1,
		    BEARER_TOKEN_MAX));
		assert_false(fits((enum bearer_form)form, NAME_SIZE, 10));
		assert_false(
		    fits((enum bearer_form)form, 10, BEARER_TOKEN_MAX + 1));
	}
}

static void
test_giving_up(void **state)
{
	char out = 'x';
	size_t len = 7;

	(void)state;
	bearer_give_up(&out, &len, O);
	assert_int_equal(len, 1);
	assert_int_equal(out, 1);
	bearer_give_up(&out, &len, X);
	assert_int_equal(len, 0);
}

/* What is made is what is read. */
static void
test_make(void **state)
{
	static const char *const names[] = { "a@x.org", "a,b=c", "=2C",
		"\xc3\xa9" };
	static char out[BEARER_MESSAGE_MAX], longest[BEARER_TOKEN_MAX + 2];
	char long_name[NAME_SIZE + 1];
	static struct bearer b;
	size_t len;

	(void)state;
	for (int form = O; form <= X; form++)
		for (size_t i = 0; i < 4; i++) {
			gnutls_datum_t m;

			assert_true(bearer_make(out, &len,
			    (enum bearer_form)form, names[i], "t.o.k", NULL));
			m = datum(out, len);
			assert_true(
			    bearer_parse(&b, (enum bearer_form)form, &m, NULL));
			assert_string_equal(b.name, names[i]);
			assert_string_equal(b.token, "t.o.k");
		}
	assert_true(bearer_make(out, &len, O, "", "t", NULL));
	assert_int_equal(len, strlen("n,,\1auth=Bearer t\1\1"));
	assert_memory_equal(out, "n,,\1auth=Bearer t\1\1", len);
	/* The longest there is still fits. */
	memset(longest, 't', BEARER_TOKEN_MAX);
	memset(long_name, ',', NAME_SIZE);
	long_name[NAME_SIZE - 1] = '\0';
	assert_true(bearer_make(out, &len, O, long_name, longest, NULL));
	assert_true(len <= BEARER_MESSAGE_MAX);
	longest[BEARER_TOKEN_MAX] = 't';
	assert_false(bearer_make(out, &len, O, "a", longest, NULL));
	assert_false(bearer_make(out, &len, X, "a\1b", "t", NULL));
	assert_false(bearer_make(out, &len, X, "a", "t t", NULL));
	assert_false(bearer_make(out, &len, X, "a", "", NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_giving_up),
		cmocka_unit_test(test_make),
	};

	return cmocka_run_group_tests_name("auth_bearer", tests, NULL, NULL);
}
