/*
 * t/unit/upstream_chunk.c: which messages do not go by BDAT, because a server
 * that does not skip them would read a command in them.
 */
#include "../../server/upstream_transaction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *text;
	bool as_mail;
} rows[] = {
	{ "MAIL FROM:<a@example.org>\r\n", true },
	{ "mail from:", true },
	{ "Mail\t  fRoM:<>", true },
	{ "MAILFROM:<>", true },
	/* The line before it may be cut anywhere. */
	{ "xxxxMAIL FROM:<>", true },
	{ "From: a\r\n\r\n: : :MAIL FROM:<>", true },
	{ "", false },
	{ ":", false },
	{ "FROM:", false },
	{ "AIL FROM:", false },
	{ "From: MAIL FROM", false },
	{ "Mail-From: a", false },
	{ "MAIL\r\nFROM:<>", false },
	{ "mail for:", false },
	/* After MAIL of this message it adds one to its recipients. */
	{ "RCPT TO:<a@example.org>\r\n", true },
	{ "\r\nrcpt \t to:", true },
	{ "CPT TO:", false },
	{ "TO:", false },
	{ "To: RCPT TO", false },
	{ "RCPT FROM:<>", false },
	{ "MAIL TO:<>", false },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].text);
		/* Its own room, so that the sanitizers see a step too far. */
		unsigned char *text = malloc(len + 1);

		memcpy(text, rows[i].text, len);
		text = realloc(text, len == 0 ? 1 : len);
		assert_non_null(text);
		print_message("# %s\n", rows[i].text);
		assert_int_equal(chunk_reads_as_mail(text, len),
		    rows[i].as_mail);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
