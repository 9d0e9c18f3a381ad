/*
 * t/unit/policy_reason.c: reasons have words, and text is cut, not spilt.
 */
#include "policy_fixture.h"

#include <errno.h>

static void
test_words_differ(void **state)
{
	(void)state;
	for (int i = 0; i < REASON_CODES; i++) {
		const char *word = reason_word((enum reason_code)i);

		assert_non_null(word);
		assert_true(word[0] != '\0');
		assert_non_null(reason_result_type((enum reason_code)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(word,
			    reason_word((enum reason_code)j));
	}
	assert_string_equal(reason_word((enum reason_code)9999), "unknown");
	assert_string_equal(reason_word((enum reason_code) - 1), "unknown");
}

/* RFC 8460, section 4.3. */
static void
test_result_types(void **state)
{
	(void)state;
	assert_string_equal(reason_result_type(REASON_STARTTLS_NOT_OFFERED),
	    "starttls-not-supported");
	assert_string_equal(reason_result_type(REASON_CERT_NAME),
	    "certificate-host-mismatch");
	assert_string_equal(reason_result_type(REASON_CERT_EXPIRED),
	    "certificate-expired");
	assert_string_equal(reason_result_type(REASON_CERT_UNTRUSTED),
	    "certificate-not-trusted");
	assert_string_equal(reason_result_type(REASON_CERT_PIN),
	    "validation-failure");
	assert_string_equal(reason_result_type(REASON_DANE_REQUIRED),
	    "dane-required");
	assert_string_equal(reason_result_type(REASON_TLSA_INVALID),
	    "tlsa-invalid");
	assert_string_equal(reason_result_type(REASON_DNSSEC_INVALID),
	    "dnssec-invalid");
	assert_string_equal(reason_result_type(REASON_RATCHET),
	    "validation-failure");
	assert_string_equal(reason_result_type(REASON_REQUIRETLS), "");
	assert_string_equal(reason_result_type(REASON_NO_MEMORY), "");
}

static void
test_text(void **state)
{
	struct reason why;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false((fail)(&why, REASON_RANGE, "%s", text));
	assert_int_equal(why.code, REASON_RANGE);
	assert_int_equal(strlen(why.text), REASON_TEXT_MAX - 1);
	assert_false((fail)(NULL, REASON_RANGE, "%s", text));
}

static void
test_errno(void **state)
{
	static const struct {
		int error;
		enum reason_code code;
	} rows[] = {
		{ ENOSPC, REASON_NO_SPACE },
		{ EDQUOT, REASON_NO_SPACE },
		{ EACCES, REASON_PERMISSION },
		{ EPERM, REASON_PERMISSION },
		{ ENOENT, REASON_ABSENT },
		{ ENOMEM, REASON_NO_MEMORY },
		{ EIO, REASON_IO },
	};
	struct reason why;

	(void)state;
	for (size_t i = 0; i < ROWS(rows); i++) {
		errno = rows[i].error;
		assert_false(fail_errno(&why, "file %d", 7));
		assert_int_equal(why.code, rows[i].code);
		assert_int_equal(errno, rows[i].error);
		assert_memory_equal(why.text, "file 7: ", 8);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_differ),
		cmocka_unit_test(test_result_types),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_errno),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("reason", tests, NULL, NULL);
}
