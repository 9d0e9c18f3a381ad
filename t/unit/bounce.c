/*
 * t/unit/bounce.c: what a notification returns of a message that asked for
 * TLS all the way (RFC 8689, section 5), and of others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/bounce.h"

/* After ours: it has a macro of the name of policy/reason.h's fail. */
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char message[] = "Subject: caf\xc3\xa9 with the secret plan\r\n"
			      "\r\n"
			      "the secret body\r\n";
static const char record[] = "site=smtp.isp.example row=sites:3 asked=lock "
			     "reached=verify verdict=refuse-permanent "
			     "reason=certificate-name";

static const struct {
	const char *what;
	bool requiretls;
	const char *decision;
	bool remote[2];
	bool undecided; /* the decision is about others */
	/* What is to come of it. */
	bool has_header, promises;
} rows[] = {
	{ "a message that asked for nothing", false, "", { true, true }, false,
	    true, false },
	{ "one that asked for nothing, refused by the table", false, record,
	    { false, false }, false, true, false },
	{ "a promise that was kept until the remote server refused", true, "",
	    { true, true }, false, true, true },
	{ "a promise that our decision could not keep", true, record,
	    { false, false }, false, false, false },
	{ "a promise that was not tested, as time is up", true, "",
	    { false, false }, false, false, false },
	{ "one recipient alone speaks for it", true, "", { true, false }, false,
	    false, false },
	{ "a reply in the text is not proof where a decision refused", true,
	    record, { true, true }, false, false, false },
	{ "a decision about other recipients", true, record, { true, true },
	    true, true, true },
};

static char *
make(size_t i, struct envelope *envelope_out)
{
	const struct bounce_recipient told[2] = {
		{ 0, "5.1.1", "550 5.1.1 nobody here", rows[i].remote[0],
		    rows[i].undecided },
		{ 1, "5.1.1", "550 5.1.1 nobody here", rows[i].remote[1],
		    rows[i].undecided },
	};
	struct envelope original;
	struct bounce bounce = {
		.hostname = "mail.example.org",
		.now_ms = 1700000000000,
		.original = &original,
		.octets = message,
		.octets_len = sizeof message - 1,
		.remote_host = "smtp.isp.example",
		.decision = rows[i].decision,
		.recipients = told,
		.recipient_count = 2,
	};
	struct reason why;
	char *octets, *text;
	size_t len;

	envelope_init(&original);
	envelope_queue_id(original.queue_id);
	original.requiretls = rows[i].requiretls;
	original.ret = 1; /* RET=FULL is disregarded */
	original.reverse_path = strdup("alice@example.org");
	assert_true(envelope_add_recipient(&original, "bob@example.net"));
	assert_true(envelope_add_recipient(&original, "eve@example.net"));
	assert_true(bounce_make(&bounce, envelope_out, &octets, &len, &why));
	assert_int_equal(envelope_out->size, len);
	text = strndup(octets, len);
	free(octets);
	envelope_fini(&original);
	return text;
}

static bool
has(const char *text, const char *word)
{
	return strstr(text, word) != NULL;
}

/* The parts are closed by the boundary that the header names. */
static void
check_end(const char *text, const char *what)
{
	const char *at = strstr(text, "boundary=\"");
	char end[128];
	size_t len;

	assert_non_null(at);
	at += strlen("boundary=\"");
	snprintf(end, sizeof end, "\r\n--%.*s--\r\n", (int)strcspn(at, "\""),
	    at);
	len = strlen(end);
	if (strlen(text) < len || strcmp(text + strlen(text) - len, end) != 0)
		fail_msg("%s: no end", what);
}

static void
returns_no_more_than_the_promise_allows(void **state)
{
	struct envelope envelope;
	const char *what;
	size_t i;
	char *text;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		what = rows[i].what;
		text = make(i, &envelope);
		if (has(text, "secret plan") != rows[i].has_header)
			fail_msg("%s: header", what);
		if (has(text, "text/rfc822-headers") != rows[i].has_header)
			fail_msg("%s: third part", what);
		if (envelope.requiretls != rows[i].promises)
			fail_msg("%s: REQUIRETLS", what);
		if (envelope.eight_bit != rows[i].has_header)
			fail_msg("%s: BODY=8BITMIME", what);
		if (has(text, "secret body"))
			fail_msg("%s: body", what);
		if (!has(text, "bob@example.net") || !has(text, "5.1.1"))
			fail_msg("%s: who and why", what);
		if (has(text, "reason=certificate-name") !=
		    (rows[i].decision[0] != '\0' && !rows[i].undecided))
			fail_msg("%s: decision", what);
		assert_string_equal(envelope.reverse_path, "");
		check_end(text, what);
		envelope_fini(&envelope);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(returns_no_more_than_the_promise_allows),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
