/* t/unit/auth_legacy.c: words and bits of old ways of logging in. */
#include "../../auth/legacy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void
test_words(void **state)
{
	static const struct {
		const char *words;
		unsigned practices;
		const char *printed;
	} rows[] = {
		{ "", 0, "" },
		{ "  ", 0, "" },
		{ "login", LEGACY_LOGIN, "login" },
		{ " sha-1   tls1.2 ", LEGACY_SHA_1 | LEGACY_TLS_1_2,
		    "tls1.2 sha-1" },
		{ "auth-in-clear tls1.2 login unbound md5 sha-1", LEGACY_ALL,
		    "auth-in-clear tls1.2 login unbound md5 sha-1" },
	};
	static const char *const wrong[] = { "LOGIN", "log", "logins",
		"login login", "login,md5", "none", "login\tmd5" };
	char text[LEGACY_TEXT];
	unsigned got;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_true(legacy_parse(&got, rows[i].words));
		assert_int_equal(got, rows[i].practices);
		legacy_print(got, text);
		assert_string_equal(text, rows[i].printed);
	}
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		got = 1000;
		if (legacy_parse(&got, wrong[i]) || got != 1000)
			fail_msg("\"%s\" was taken", wrong[i]);
	}
	/* Bits of nobody are not printed. */
	legacy_print(~0U, text);
	assert_string_equal(text, rows[4].printed);
}

static void
test_mechanisms(void **state)
{
	static const struct {
		const char *mechanism, *practices;
	} rows[] = {
		{ "EXTERNAL", "" },
		{ "SCRAM-SHA-256-PLUS", "" },
		{ "SCRAM-SHA-1-PLUS", "sha-1" },
		{ "SCRAM-SHA-256", "unbound" },
		{ "SCRAM-SHA-1", "unbound sha-1" },
		{ "PLAIN", "unbound" },
		{ "LOGIN", "login unbound" },
		{ "CRAM-MD5", "unbound md5" },
		{ "DIGEST-MD5", "unbound md5" },
		{ "GSSAPI", "unbound" },
		{ "OAUTHBEARER", "unbound" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[LEGACY_TEXT];
		unsigned got = legacy_practices(rows[i].mechanism, 13);

		legacy_print(got, text);
		assert_string_equal(text, rows[i].practices);
		assert_int_equal(legacy_practices(rows[i].mechanism, 12),
		    got | LEGACY_TLS_1_2);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_mechanisms),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
