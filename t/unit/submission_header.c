/*
 * t/unit/submission_header.c: what is noticed in a message's header, and what
 * is put before it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../server/submission_header.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *what, *message;
	bool date, message_id, field, text;
	unsigned received;
} rows[] = {
	{ "both are there", "Date: x\r\nMessage-ID: <y>\r\n\r\nbody\r\n", true,
	    true, true, false, 0 },
	{ "case does not matter", "DATE: x\r\nmessage-id: <y>\r\n\r\n", true,
	    true, true, false, 0 },
	{ "names are whole", "Dates: x\r\nX-Date: y\r\n\r\n", false, false,
	    true, false, 0 },
	{ "a folded line is no field", "Subject: a\r\n Date: b\r\n\r\n", false,
	    false, true, false, 0 },
	{ "nor is one folded by a tab", "Subject: a\r\n\tDate: b\r\n\r\n",
	    false, false, true, false, 0 },
	{ "the body is not looked at", "Subject: a\r\n\r\nDate: b\r\n", false,
	    false, true, false, 0 },
	{ "a blank before the colon", "Date : b\r\n\r\n", true, false, true,
	    false, 0 },
	{ "a blank inside is no field", "From me: b\r\nDate: x\r\n", false,
	    false, false, true, 0 },
	{ "a message of text alone", "hello\r\nDate: x\r\n", false, false,
	    false, true, 0 },
	{ "a message without header", "\r\nhello\r\n", false, false, false,
	    false, 0 },
	{ "an empty message", "", false, false, false, false, 0 },
	{ "Received fields are counted",
	    "Received: a\r\n b\r\nreceived: c\r\n\r\nReceived: d\r\n", false,
	    false, true, false, 2 },
	{ "a name that is very long",
	    "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: c\r\nDate: x\r\n\r\n",
	    true, false, true, false, 0 },
};

static void
notices_fields_however_it_is_cut(void **state)
{
	struct submission_header header;
	size_t i, cut, len;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		len = strlen(rows[i].message);
		for (cut = 0; cut <= len; cut++) {
			submission_header_init(&header);
			submission_header_look(&header, rows[i].message, cut);
			submission_header_look(&header, rows[i].message + cut,
			    len - cut);
			if (header.has_date != rows[i].date ||
			    header.has_message_id != rows[i].message_id ||
			    header.has_field != rows[i].field ||
			    header.has_text != rows[i].text ||
			    header.received != rows[i].received)
				fail_msg("%s, cut at %zu", rows[i].what, cut);
		}
	}
}

static const struct {
	const char *what, *message;
	bool optional;
} required[] = {
	{ "the field", "TLS-Required: No\r\n\r\n", true },
	{ "case does not matter", "tls-required: nO\r\n\r\n", true },
	{ "no blank is needed", "TLS-Required:No\r\n\r\n", true },
	{ "nor are few forbidden", "TLS-Required: \t No \t \r\n\r\n", true },
	{ "a blank before the colon", "TLS-Required : No\r\n\r\n", true },
	{ "folded", "TLS-Required:\r\n No\r\n\r\n", true },
	{ "folded twice and after", "TLS-Required:\r\n \r\n\tNo\r\n \r\n\r\n",
	    true },
	{ "among others", "Subject: a\r\nTLS-Required: No\r\nDate: x\r\n\r\n",
	    true },
	{ "a header without body", "Subject: a\r\nTLS-Required: No\r\n", true },
	{ "Yes is no value", "TLS-Required: Yes\r\n\r\n", false },
	{ "nothing is no value", "TLS-Required:\r\n\r\n", false },
	{ "half of it", "TLS-Required: N\r\n\r\n", false },
	{ "more than it", "TLS-Required: Not\r\n\r\n", false },
	{ "more after a blank", "TLS-Required: No way\r\n\r\n", false },
	{ "more after a fold", "TLS-Required: No\r\n way\r\n\r\n", false },
	{ "torn by a fold", "TLS-Required: N\r\n o\r\n\r\n", false },
	{ "a comment is not allowed", "TLS-Required: No (way)\r\n\r\n", false },
	{ "twice", "TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false },
	{ "twice, the first another",
	    "TLS-Required: Yes\r\nTLS-Required: No\r\n\r\n", false },
	{ "twice, the last another",
	    "TLS-Required: No\r\nSubject: a\r\nTLS-Required: x\r\n\r\n",
	    false },
	{ "a longer name", "X-TLS-Required: No\r\n\r\n", false },
	{ "a name that only begins so", "TLS-Requireds: No\r\n\r\n", false },
	{ "in the body", "Subject: a\r\n\r\nTLS-Required: No\r\n", false },
	{ "after what is no header", "hello\r\nTLS-Required: No\r\n", false },
	{ "in another field's value", "Subject: TLS-Required: No\r\n\r\n",
	    false },
	{ "in another field's folded line",
	    "Subject: a\r\n TLS-Required: No\r\n\r\n", false },
	{ "the fold of the next field",
	    "TLS-Required:\r\nSubject:\r\n No\r\n\r\n", false },
};

static void
tls_required_however_it_is_cut(void **state)
{
	struct submission_header header;
	size_t i, cut, len;

	(void)state;
	for (i = 0; i < COUNT(required); i++) {
		len = strlen(required[i].message);
		for (cut = 0; cut <= len; cut++) {
			submission_header_init(&header);
			submission_header_look(&header, required[i].message,
			    cut);
			submission_header_look(&header,
			    required[i].message + cut, len - cut);
			if (submission_header_is_tls_optional(&header) !=
			    required[i].optional)
				fail_msg("%s, cut at %zu", required[i].what,
				    cut);
		}
	}
}

static const struct submission_trace trace = {
	.hostname = "mail.example.org",
	.queue_id = "Q1",
	.tls_version = "TLS1.3",
	.tls_suite = "TLS_AES_256_GCM_SHA384",
	.now = 1763690400, /* Fri, 21 Nov 2025 02:00:00 UTC */
};

static const char *
head_of(const char *message, const struct submission_trace *with)
{
	static char head[SUBMISSION_HEAD_MAX];
	struct submission_header header;

	submission_header_init(&header);
	submission_header_look(&header, message, strlen(message));
	assert_true(
	    submission_head(&header, with, head, sizeof head) == strlen(head));
	return head;
}

#define RECEIVED                                                               \
	"by mail.example.org (Sallyport) with ESMTPSA (TLS1.3)\r\n"            \
	"\tid Q1 tls TLS_AES_256_GCM_SHA384;\r\n"                              \
	"\tFri, 21 Nov 2025 02:00:00 +0000\r\n"

static void
adds_what_is_missing(void **state)
{
	(void)state;
	assert_string_equal(
	    head_of("Date: x\r\nMessage-ID: <y>\r\n\r\n", &trace),
	    "Received: " RECEIVED);
	assert_string_equal(head_of("Subject: x\r\n\r\n", &trace),
	    "Received: " RECEIVED "Date: Fri, 21 Nov 2025 02:00:00 +0000\r\n"
	    "Message-ID: <Q1@mail.example.org>\r\n");
}

static void
keeps_text_apart_from_the_header(void **state)
{
	const char *head = head_of("hello\r\n", &trace);

	(void)state;
	assert_string_equal(head + strlen(head) - 6, "g>\r\n\r\n");
	head = head_of("\r\nhello\r\n", &trace);
	assert_string_equal(head + strlen(head) - 4, "g>\r\n");
}

static void
names_the_client_only_when_told(void **state)
{
	struct submission_trace with = trace;

	(void)state;
	assert_null(strstr(head_of("", &trace), "from"));
	with.client = "[192.0.2.1]";
	with.greeting_name = "laptop";
	assert_non_null(
	    strstr(head_of("", &with), "from laptop ([192.0.2.1])\r\n\tby"));
}

static const struct {
	const char *what, *message;
	unsigned own;
} passed[] = {
	{ "ours",
	    "Received: from a (b)\r\n\tby mx.example (Sallyport) with X\r\n"
	    "\r\n",
	    1 },
	{ "folded anew",
	    "Received: from a\r\n by\r\n\tMX.example\r\n "
	    "(Sallyport)\r\n\r\n",
	    1 },
	{ "twice",
	    "Received: by mx.example (Sallyport) x\r\nRECEIVED: by "
	    "mx.example (Sallyport)\r\n\r\n",
	    2 },
	{ "once a field",
	    "Received: by mx.example (Sallyport) by mx.example "
	    "(Sallyport)\r\n by mx.example (Sallyport) x\r\n\r\n",
	    1 },
	{ "of another name",
	    "Received: by mx.example.org (Sallyport) x\r\n"
	    "\r\n",
	    0 },
	{ "cut short", "Received: by mx.exampl (Sallyport) x\r\n\r\n", 0 },
	{ "of our name, by another program",
	    "Received: by mx.example (Postfix) x\r\n\r\n", 0 },
	{ "not by us", "Received: from mx.example (Sallyport) by a\r\n\r\n",
	    0 },
	{ "over two fields",
	    "Received: x by\r\nReceived: mx.example "
	    "(Sallyport) x\r\n\r\n",
	    0 },
	{ "of another field", "X: by mx.example (Sallyport) x\r\n\r\n", 0 },
	{ "in the body", "\r\nReceived: by mx.example (Sallyport) x\r\n", 0 },
};

static void
counts_what_passed_here_however_it_is_cut(void **state)
{
	struct submission_header header;
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT(passed); i++) {
		len = strlen(passed[i].message);
		for (size_t cut = 0; cut <= len; cut++) {
			submission_header_init(&header);
			header.hostname = "mx.example";
			submission_header_look(&header, passed[i].message, cut);
			submission_header_look(&header, passed[i].message + cut,
			    len - cut);
			if (header.own != passed[i].own)
				fail_msg("%s, cut at %zu", passed[i].what, cut);
		}
	}
}

static void
names_the_protocol(void **state)
{
	struct submission_trace with = trace;

	(void)state;
	with.smtputf8 = true;
	assert_non_null(
	    strstr(head_of("", &with), " with UTF8SMTPSA (TLS1.3)"));
}

/* Of the fields alone, however they are cut. */
static void
notices_octets_beyond_ascii(void **state)
{
	static const struct {
		const char *message;
		bool has_high, good;
	} cases[] = {
		{ "Subject: x\r\n\r\n\xc3\xbc\r\n", false, true },
		{ "Subject: \xc3\xbc\r\n\r\nx\r\n", true, true },
		{ "Subject: x\r\n \xc3\xbc\r\n\r\n", true, true },
		{ "From: \xc3\xbc\r\n\r\n", true, true },
		{ "X-Mailer: \xc3\xbc\r\n\r\n", true, true },
		{ "TLS-Required: \xc3\xbc\r\n\r\n", true, true },
		{ "Subject: \xfc\r\n\r\n", true, false },
		{ "Subject: \xc3\r\n\r\n", true, false },
		{ "Subject: \xc3", true, false },
		{ "\xc3\xbc is a letter\r\n", false, true },
		{ "Z\xc3\xbcrich\r\n", false, true },
		{ "Subject: x\r\n\xc3\xbc\r\n", false, true },
	};
	struct submission_header header;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t len = strlen(cases[i].message);

		for (size_t cut = 0; cut <= len; cut++) {
			submission_header_init(&header);
			submission_header_look(&header, cases[i].message, cut);
			submission_header_look(&header, cases[i].message + cut,
			    len - cut);
			if (header.utf8.has_high != cases[i].has_high ||
			    utf8_scan_is_good(&header.utf8) != cases[i].good)
				fail_msg("case %zu, cut at %zu", i, cut);
			submission_header_fini(&header);
		}
	}
}

static void
a_head_that_does_not_fit_is_none(void **state)
{
	struct submission_header header;
	char head[64];

	(void)state;
	submission_header_init(&header);
	assert_int_equal(submission_head(&header, &trace, head, sizeof head),
	    0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notices_fields_however_it_is_cut),
		cmocka_unit_test(tls_required_however_it_is_cut),
		cmocka_unit_test(adds_what_is_missing),
		cmocka_unit_test(keeps_text_apart_from_the_header),
		cmocka_unit_test(names_the_client_only_when_told),
		cmocka_unit_test(names_the_protocol),
		cmocka_unit_test(notices_octets_beyond_ascii),
		cmocka_unit_test(counts_what_passed_here_however_it_is_cut),
		cmocka_unit_test(a_head_that_does_not_fit_is_none),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
