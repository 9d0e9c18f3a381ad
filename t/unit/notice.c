/*
 * t/unit/notice.c: the message made from an alarm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/notice.h"

#include <cmocka.h>

struct made {
	struct envelope envelope;
	char *octets;
	size_t len;
};

static void
make(struct made *made, const char *text)
{
	struct notice notice = { .hostname = "mail.example.org",
		.mailbox = "ops@example.org",
		.now_ms = 1795234567000,
		.text = text };
	struct reason why;

	assert_true(notice_make(&notice, &made->envelope, &made->octets,
	    &made->len, &why));
	assert_int_equal(made->len, strlen(made->octets));
}

static void
done(struct made *made)
{
	envelope_fini(&made->envelope);
	free(made->octets);
}

static void
has(const struct made *made, const char *text)
{
	if (strstr(made->octets, text) == NULL)
		fail_msg("no \"%s\" in:\n%s", text, made->octets);
}

/* CRLF alone ends lines, none too long, nothing but printable ASCII. */
static void
check_lines(const struct made *made)
{
	size_t column = 0;

	for (size_t i = 0; i < made->len; i++) {
		unsigned char c = (unsigned char)made->octets[i];

		if (c == '\r') {
			assert_int_equal(made->octets[i + 1], '\n');
			assert_true(column <= 998);
			column = 0;
			i++;
			continue;
		}
		assert_true(c >= 0x20 && c < 0x7f);
		column++;
	}
	assert_int_equal(column, 0);
}

static void
message_and_envelope(void **state)
{
	struct made made;

	(void)state;
	make(&made, "2026-11-21T06:00:00Z relay alarm site host=x");
	assert_string_equal(made.envelope.reverse_path, "");
	assert_int_equal(made.envelope.recipient_count, 1);
	assert_string_equal(made.envelope.recipients[0].forward_path,
	    "ops@example.org");
	assert_true(made.envelope.notice);
	assert_int_equal(made.envelope.size, made.len);
	has(&made, "From: Sallyport <postmaster@mail.example.org>\r\n");
	has(&made, "\r\nTo: <ops@example.org>\r\n");
	has(&made, "\r\nSubject: Sallyport on mail.example.org:\r\n relay "
		   "alarm site host=x\r\n");
	has(&made, "\r\nDate: Sat, 21 Nov 2026 ");
	has(&made, "\r\nMessage-ID: <");
	has(&made, "\r\nAuto-Submitted: auto-generated\r\n");
	has(&made, "\r\n\r\n");
	has(&made, "\r\n2026-11-21T06:00:00Z relay alarm site host=x\r\n");
	check_lines(&made);
	done(&made);
}

static void
octets_of_strangers(void **state)
{
	struct made made;

	(void)state;
	make(&made, "t role x\r\nBcc: a@b\r\n\r\n.\r\n\001\xff y\nnext");
	assert_null(strstr(made.octets, "\r\n.\r\n"));
	check_lines(&made);
	/* The header ends where it did before. */
	assert_true(
	    strstr(made.octets, "Bcc:") > strstr(made.octets, "\r\n\r\n"));
	has(&made, "\r\nnext\r\n");
	done(&made);
}

static void
long_lines(void **state)
{
	char words[6001], solid[6001];
	struct made made;

	(void)state;
	for (size_t i = 0; i < sizeof(words) - 1; i++)
		words[i] = i % 7 == 6 ? ' ' : 'w';
	words[sizeof(words) - 1] = '\0';
	memset(solid, 's', sizeof(solid) - 1);
	solid[sizeof(solid) - 1] = '\0';
	make(&made, words);
	check_lines(&made);
	done(&made);
	make(&made, solid);
	check_lines(&made);
	done(&made);
	make(&made, "");
	check_lines(&made);
	done(&made);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_and_envelope),
		cmocka_unit_test(octets_of_strangers),
		cmocka_unit_test(long_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
