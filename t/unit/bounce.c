/*
 * t/unit/bounce.c: what a notification returns of a message that asked for
 * TLS all the way (RFC 8689, section 5), and of others; what is told, and how
 * (RFC 3461, 3464).
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
	original.ret = RET_FULL; /* but it is not whole */
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
		if (envelope.eight_bit || envelope.smtputf8)
			fail_msg("%s: more than ASCII", what);
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

/* Of the envelope that tell made. */
static struct {
	bool eight_bit, smtputf8;
} made;

/* The notification about one recipient; of message, unless bounce has other
 * octets. */
static char *
tell(struct envelope *original, struct bounce *bounce, const char *status)
{
	const struct bounce_recipient told = { 0, status, "250 2.0.0 text",
		true, false };
	struct envelope envelope;
	struct reason why;
	char *octets, *text;
	size_t len;

	bounce->hostname = "mail.example.org";
	bounce->now_ms = 1700000000000;
	bounce->original = original;
	if (bounce->octets == NULL) {
		bounce->octets = message;
		bounce->octets_len = sizeof message - 1;
	}
	bounce->remote_host = "smtp.isp.example";
	bounce->decision = "";
	bounce->recipients = &told;
	bounce->recipient_count = 1;
	assert_true(bounce_make(bounce, &envelope, &octets, &len, &why));
	text = strndup(octets, len);
	made.eight_bit = envelope.eight_bit;
	made.smtputf8 = envelope.smtputf8;
	assert_true(envelope.utf8_header == envelope.smtputf8);
	envelope_fini(&envelope);
	free(octets);
	return text;
}

static void
original_init(struct envelope *original)
{
	envelope_init(original);
	envelope_queue_id(original->queue_id);
	original->reverse_path = strdup("alice@example.org");
	assert_true(envelope_add_recipient(original, "bob@example.net"));
}

/* RFC 3461, section 4.1. */
static void
notify_says_what_is_told(void **state)
{
	static const struct {
		uint8_t notify;
		bool failed, delayed, relayed;
	} wanted[] = {
		{ 0, true, true, false },
		{ NOTIFY_NEVER, false, false, false },
		{ NOTIFY_SUCCESS, false, false, true },
		{ NOTIFY_FAILURE, true, false, false },
		{ NOTIFY_DELAY, false, true, false },
		{ NOTIFY_SUCCESS | NOTIFY_DELAY, false, true, true },
		/* No client can say so, but a spool could. */
		{ NOTIFY_NEVER | NOTIFY_FAILURE, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(wanted); i++) {
		struct envelope_recipient r = { .notify = wanted[i].notify };

		if (bounce_is_wanted(&r, BOUNCE_FAILED) != wanted[i].failed ||
		    bounce_is_wanted(&r, BOUNCE_DELAYED) != wanted[i].delayed ||
		    bounce_is_wanted(&r, BOUNCE_RELAYED) != wanted[i].relayed)
			fail_msg("row %zu", i);
	}
}

/* RFC 3461, section 6.3: as they were before they became xtext. */
static void
returns_what_names_it(void **state)
{
	struct bounce bounce = { .action = BOUNCE_FAILED };
	struct envelope original;
	char *text;

	(void)state;
	original_init(&original);
	original.envid = strdup("a+2Bb+20c");
	original.recipients[0].orcpt = strdup("rfc822;b+2Bx@example.net");
	text = tell(&original, &bounce, "5.1.1");
	assert_true(has(text, "\r\nOriginal-Envelope-Id: a+b c\r\n"));
	assert_true(
	    has(text, "\r\nOriginal-Recipient: rfc822; b+x@example.net\r\n"));
	free(text);

	/* Of a spool that somebody else has written. */
	free(original.envid);
	free(original.recipients[0].orcpt);
	original.envid = strdup("a+0D+0AAction: relayed");
	original.recipients[0].orcpt = strdup("no type");
	text = tell(&original, &bounce, "5.1.1");
	assert_false(has(text, "Original-"));
	assert_false(has(text, "relayed"));
	free(text);
	envelope_fini(&original);
}

static void
says_what_has_become_of_it(void **state)
{
	struct bounce failed = { .action = BOUNCE_FAILED,
		.retry_until_ms = 1700100000000 };
	struct bounce delayed = { .action = BOUNCE_DELAYED,
		.retry_until_ms = 1700100000000 };
	struct bounce relayed = { .action = BOUNCE_RELAYED,
		.retry_until_ms = 1700100000000 };
	struct envelope original;
	char *text;

	(void)state;
	original_init(&original);
	text = tell(&original, &failed, "");
	assert_true(has(text, "\r\nAction: failed\r\nStatus: 5.0.0\r\n"));
	assert_true(has(text, "could not be delivered"));
	assert_false(has(text, "Will-Retry-Until"));
	free(text);
	text = tell(&original, &delayed, "");
	assert_true(has(text, "\r\nAction: delayed\r\nStatus: 4.0.0\r\n"));
	assert_true(has(text, "\r\nSubject: Your message is delayed\r\n"));
	assert_true(has(text,
	    "\r\nWill-Retry-Until: Thu, 16 Nov 2023 02:00:00 +0000\r\n"));
	assert_false(has(text, "could not be delivered"));
	free(text);
	text = tell(&original, &relayed, "2.1.5");
	assert_true(has(text, "\r\nAction: relayed\r\nStatus: 2.1.5\r\n"));
	assert_false(has(text, "Will-Retry-Until"));
	assert_false(has(text, "not be"));
	free(text);
	envelope_fini(&original);
}

/* RFC 3461, section 4.3. */
static void
returns_what_was_asked_for(void **state)
{
	static const struct {
		const char *what;
		uint8_t ret;
		bool whole;
		enum bounce_action action;
		const char *status;
		bool full;
	} asked[] = {
		{ "RET=FULL", RET_FULL, true, BOUNCE_FAILED, "5.1.1", true },
		{ "RET=HDRS", RET_HDRS, true, BOUNCE_FAILED, "5.1.1", false },
		{ "no RET", 0, true, BOUNCE_FAILED, "5.1.1", false },
		{ "cut off", RET_FULL, false, BOUNCE_FAILED, "5.1.1", false },
		{ "delayed", RET_FULL, true, BOUNCE_DELAYED, "4.1.1", false },
		{ "relayed", RET_FULL, true, BOUNCE_RELAYED, "2.1.5", false },
		{ "no 8bit there", RET_FULL, true, BOUNCE_FAILED, "5.6.3",
		    false },
	};
	struct envelope original;

	(void)state;
	original_init(&original);
	for (size_t i = 0; i < COUNT(asked); i++) {
		struct bounce bounce = { .action = asked[i].action,
			.whole = asked[i].whole };
		char *text;

		original.ret = asked[i].ret;
		text = tell(&original, &bounce, asked[i].status);
		if (has(text, "\r\n\r\nthe secret body\r\n\r\n--=_") !=
			asked[i].full ||
		    has(text, "Content-Type: message/rfc822\r\n") !=
			asked[i].full ||
		    !has(text, "secret plan"))
			fail_msg("%s", asked[i].what);
		if (made.eight_bit != asked[i].full)
			fail_msg("%s: 8bit", asked[i].what);
		free(text);
	}
	envelope_fini(&original);
}

#define SENDER                                                                 \
	"al\xc3\xbc"                                                           \
	"ce@example.org"
#define RECIPIENT "j\xc3\xbcrgen@example.net"
#define XTEXT "j\\x{FC}rgen@example.net"

/* RFC 6533. */
static void
speaks_utf8_where_the_sender_does(void **state)
{
	static const struct {
		const char *what, *sender, *recipient, *orcpt;
		bool smtputf8, full;
		/* What is to come of it. */
		bool global;
		const char *has[5];
	} cases[] = {
		{ "a sender in UTF-8", SENDER, RECIPIENT, "utf-8;" XTEXT, true,
		    false, true,
		    { "\r\nTo: <" SENDER ">\r\n",
			"Content-Type: message/global-delivery-status\r\n",
			"\r\nFinal-Recipient: utf-8; " RECIPIENT "\r\n",
			"\r\nOriginal-Recipient: utf-8; " RECIPIENT "\r\n",
			"Content-Type: message/global-headers\r\n"
			"Content-Transfer-Encoding: 8bit\r\n\r\n"
			"Subject: caf\xc3\xa9 " } },
		{ "and a message returned whole", SENDER, "bob@example.net",
		    NULL, true, true, true,
		    { "\r\nFinal-Recipient: rfc822; bob@example.net\r\n",
			"Content-Type: message/global\r\n" } },
		{ "a sender in ASCII", "alice@example.org", RECIPIENT,
		    "utf-8;" RECIPIENT, true, false, false,
		    { "Content-Type: message/delivery-status\r\n",
			"\r\nFinal-Recipient: utf-8; " XTEXT "\r\n",
			"\r\nOriginal-Recipient: utf-8; " XTEXT "\r\n",
			"<j=C3=BCrgen@example.net>:\r\n",
			"Content-Type: message/global-headers\r\n"
			"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
			"Subject: caf=C3=A9 " } },
		{ "and a message returned whole", "alice@example.org",
		    "bob@example.net", NULL, true, true, false,
		    { "Content-Type: message/global\r\n",
			"Subject: caf=C3=A9 " } },
		{ "a header in some charset", "alice@example.org",
		    "bob@example.net", NULL, false, false, false,
		    { "Content-Type: text/rfc822-headers\r\n"
		      "Content-Transfer-Encoding: quoted-printable\r\n",
			"Subject: caf=C3=A9 " } },
		/* Of a spool that somebody else has written. */
		{ "a sender in UTF-8 without SMTPUTF8", SENDER, RECIPIENT, NULL,
		    false, false, false,
		    { "\r\nTo: <al??ce@example.org>\r\n",
			"\r\nFinal-Recipient: rfc822; j??rgen@" } },
		{ "addresses that are no UTF-8",
		    "al\xfc"
		    "ce@example.org",
		    "j\xfcrgen@example.net", "utf-8;j\xfc", true, false, false,
		    { "\r\nTo: <al?ce@example.org>\r\n",
			"\r\nFinal-Recipient: rfc822; j?rgen@" } },
	};
	struct bounce bounce = { .action = BOUNCE_FAILED, .whole = true };
	struct envelope original;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		envelope_init(&original);
		envelope_queue_id(original.queue_id);
		original.reverse_path = strdup(cases[i].sender);
		original.smtputf8 = cases[i].smtputf8;
		original.ret = cases[i].full ? RET_FULL : RET_HDRS;
		assert_true(
		    envelope_add_recipient(&original, cases[i].recipient));
		if (cases[i].orcpt != NULL)
			original.recipients[0].orcpt = strdup(cases[i].orcpt);
		text = tell(&original, &bounce, "5.1.1");
		if (made.smtputf8 != cases[i].global ||
		    made.eight_bit != cases[i].global)
			fail_msg("%s: envelope", cases[i].what);
		for (size_t n = 0; n < 5 && cases[i].has[n] != NULL; n++)
			if (!has(text, cases[i].has[n]))
				fail_msg("%s: no %s in %s", cases[i].what,
				    cases[i].has[n], text);
		for (const char *at = text; !made.eight_bit && *at != '\0';
		     at++)
			assert_true((unsigned char)*at < 127);
		free(text);
		envelope_fini(&original);
	}
}

static void
returns_no_more_than_the_bound(void **state)
{
	static char large[BOUNCE_FULL_MAX + 1];
	struct bounce bounce = { .action = BOUNCE_FAILED,
		.whole = true,
		.octets = large };
	struct envelope original;
	char *text;

	(void)state;
	memset(large, 'x', sizeof large);
	memcpy(large, message, sizeof message - 1);
	original_init(&original);
	original.ret = RET_FULL;
	bounce.octets_len = sizeof large;
	text = tell(&original, &bounce, "5.1.1");
	assert_false(has(text, "message/rfc822"));
	assert_true(strlen(text) < 8192);
	free(text);
	bounce.octets_len = BOUNCE_FULL_MAX;
	text = tell(&original, &bounce, "5.1.1");
	assert_true(strlen(text) > BOUNCE_FULL_MAX);
	free(text);
	envelope_fini(&original);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(returns_no_more_than_the_promise_allows),
		cmocka_unit_test(notify_says_what_is_told),
		cmocka_unit_test(returns_what_names_it),
		cmocka_unit_test(says_what_has_become_of_it),
		cmocka_unit_test(returns_what_was_asked_for),
		cmocka_unit_test(speaks_utf8_where_the_sender_does),
		cmocka_unit_test(returns_no_more_than_the_bound),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
