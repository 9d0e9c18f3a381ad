/*
 * t/unit/upstream_reply.c: what counts as a reply of an upstream server, and
 * what ends the connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../../server/upstream_reply.h"

static enum reply_step
feed(struct upstream_reply *reply, const char *octets, size_t len,
    size_t *used_out)
{
	upstream_reply_init(reply);
	return upstream_reply_feed(reply, (const unsigned char *)octets, len,
	    used_out);
}

static const struct {
	const char *name; /* what a "not ok" should teach */
	const char *octets;
	unsigned code;
	const char *status, *text;
	unsigned lines;
} good[] = {
	{ "one line", "250 OK\r\n", 250, "", "250 OK", 1 },
	{ "enhanced status code", "550 5.1.1 no such user\r\n", 550, "5.1.1",
	    "550 5.1.1 no such user", 1 },
	{ "two lines", "250-first\r\n250 second\r\n", 250, "",
	    "250 first; second", 2 },
	{ "a code alone is a last line", "354\r\n", 354, "", "354", 1 },
	{ "a code and a blank", "220 \r\n", 220, "", "220", 1 },
	{ "other octets are escaped", "250 a\tb\\c\x80\r\n", 250, "",
	    "250 a\\x09b\\x5cc\\x80", 1 },
	{ "status of another class is no status", "550 2.1.1 x\r\n", 550, "",
	    "550 2.1.1 x", 1 },
	{ "status needs three parts", "550 5.1 x\r\n", 550, "", "550 5.1 x",
	    1 },
	{ "status parts have three digits at most", "550 5.1.1234 x\r\n", 550,
	    "", "550 5.1.1234 x", 1 },
	{ "status ends at a blank", "550 5.1.1x\r\n", 550, "", "550 5.1.1x",
	    1 },
	{ "status alone", "450 4.7.123\r\n", 450, "4.7.123", "450 4.7.123", 1 },
};

static void
test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		struct upstream_reply reply;
		size_t used, len = strlen(good[i].octets);

		print_message("# %s\n", good[i].name);
		assert_int_equal(feed(&reply, good[i].octets, len, &used),
		    REPLY_DONE);
		assert_int_equal(used, len);
		assert_int_equal(reply.code, good[i].code);
		assert_string_equal(reply.status, good[i].status);
		assert_string_equal(reply.text, good[i].text);
		assert_int_equal(reply.lines, good[i].lines);
	}
}

static const struct {
	const char *name, *octets;
	size_t len; /* 0: strlen */
} bad[] = {
	{ "no digits", "OK fine\r\n", 0 },
	{ "an empty line", "\r\n", 0 },
	{ "two digits", "25\r\n", 0 },
	{ "first digit below 2", "150 x\r\n", 0 },
	{ "first digit above 5", "650 x\r\n", 0 },
	{ "second digit above 5", "260 x\r\n", 0 },
	{ "a letter as third digit", "25x x\r\n", 0 },
	{ "four digits", "2500 x\r\n", 0 },
	{ "a tab after the code", "250\tx\r\n", 0 },
	{ "codes that differ", "250-a\r\n251 b\r\n", 0 },
	{ "second line without a code", "250-a\r\nb\r\n", 0 },
	{ "bare LF", "250 x\n", 0 },
	{ "bare LF in a second line", "250-a\r\n250 x\n", 0 },
	{ "bare CR", "250 a\rb\r\n", 0 },
	{ "CR CR LF", "250 a\r\r\n", 0 },
	{ "NUL for a digit", "25\0 x\r\n", 8 },
	{ "HTTP", "HTTP/1.1 400 Bad Request\r\n", 0 },
};

static void
test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct upstream_reply reply;
		size_t used, len = bad[i].len;

		if (len == 0)
			len = strlen(bad[i].octets);
		print_message("# %s\n", bad[i].name);
		assert_int_equal(feed(&reply, bad[i].octets, len, &used),
		    REPLY_BROKEN);
		assert_non_null(reply.broken);
	}
}

static void
test_line_bound(void **state)
{
	char line[REPLY_LINE_MAX + 1];
	struct upstream_reply reply;
	size_t used;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "250 ", 4);
	memcpy(line + REPLY_LINE_MAX - 2, "\r\n", 2);
	assert_int_equal(feed(&reply, line, REPLY_LINE_MAX, &used), REPLY_DONE);
	memset(line + REPLY_LINE_MAX - 2, 'x', 3);
	assert_int_equal(feed(&reply, line, REPLY_LINE_MAX - 1, &used),
	    REPLY_MORE);
	assert_int_equal(feed(&reply, line, REPLY_LINE_MAX, &used),
	    REPLY_BROKEN);
	memcpy(line + REPLY_LINE_MAX - 1, "\r\n", 2);
	assert_int_equal(feed(&reply, line, REPLY_LINE_MAX + 1, &used),
	    REPLY_BROKEN);
}

static void
test_lines_bound(void **state)
{
	struct upstream_reply reply;
	enum reply_step step = REPLY_MORE;
	size_t used;

	(void)state;
	upstream_reply_init(&reply);
	for (int i = 0; i < REPLY_LINES_MAX - 1; i++) {
		step = upstream_reply_feed(&reply,
		    (const unsigned char *)"250-long line of text\r\n", 23,
		    &used);
		assert_int_equal(step, REPLY_MORE);
	}
	step = upstream_reply_feed(&reply,
	    (const unsigned char *)"250-one more\r\n", 14, &used);
	assert_int_equal(step, REPLY_BROKEN);
	assert_true(strlen(reply.text) < REPLY_TEXT_MAX);
}

/* What follows a reply is left for whoever asks next; a reply in pieces is
 * the same reply. */
static void
test_pieces(void **state)
{
	static const char octets[] = "250-a\r\n250 b\r\n354 go\r\n";
	struct upstream_reply reply;
	size_t used, at = 0;

	(void)state;
	assert_int_equal(feed(&reply, octets, strlen(octets), &used),
	    REPLY_DONE);
	assert_int_equal(used, 14);
	upstream_reply_init(&reply);
	for (size_t len = 1; len <= 14; len++) {
		enum reply_step step;

		step = upstream_reply_feed(&reply,
		    (const unsigned char *)octets + at, len - at, &used);
		at += used;
		assert_int_equal(step, len < 14 ? REPLY_MORE : REPLY_DONE);
	}
	assert_string_equal(reply.text, "250 a; b");
}

static void
test_limits(void **state)
{
	static const struct {
		const char *line;
		unsigned rcpt_max, mail_max;
	} limits[] = {
		{ "LIMITS RCPTMAX=100 MAILMAX=20", 100, 20 },
		{ "limits mailmax=20 OTHER rcptmax=999999", 999999, 20 },
		{ "LIMITS", 0, 0 },
		{ "LIMITS RCPTMAX=", 0, 0 },
		{ "LIMITS RCPTMAX=0", 0, 0 },
		{ "LIMITS RCPTMAX=1000000", 0, 0 }, /* seven digits */
		{ "LIMITS RCPTMAX=1x RCPTMAXX=3 XRCPTMAX=3", 0, 0 },
		{ "LIMITS RCPTMAX=-1", 0, 0 },
		{ "LIMITS  RCPTMAX=5", 5, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		struct upstream_extensions extensions = { .rcpt_max = 0 };

		print_message("# %s\n", limits[i].line);
		upstream_extensions_line(&extensions, 1, limits[i].line,
		    strlen(limits[i].line));
		assert_int_equal(extensions.rcpt_max, limits[i].rcpt_max);
		assert_int_equal(extensions.mail_max, limits[i].mail_max);
	}
}

static void
test_extensions(void **state)
{
	static const char octets[] = "250-STARTTLS is my name\r\n"
				     "250-pipelining\r\n"
				     "250-SIZE 1048576\r\n"
				     "250-CHUNKING\r\n"
				     "250-8BITMIME\r\n"
				     "250-RequireTLS\r\n"
				     "250-dsn\r\n"
				     "250-X-STARTTLS\r\n"
				     "250-AUTH plain LOGIN bad! SCRAM-SHA-256"
				     "\r\n"
				     "250 SMTPUTF8\r\n";
	struct upstream_extensions extensions = { .starttls = false };
	struct upstream_reply reply;
	size_t used;

	(void)state;
	upstream_reply_init(&reply);
	reply.line = upstream_extensions_line;
	reply.context = &extensions;
	assert_int_equal(upstream_reply_feed(&reply,
			     (const unsigned char *)octets, strlen(octets),
			     &used),
	    REPLY_DONE);
	assert_false(extensions.starttls);
	assert_true(extensions.pipelining);
	assert_true(extensions.chunking);
	assert_true(extensions.size);
	assert_true(extensions.size_max == 1048576);
	assert_true(extensions.eight_bit_mime);
	assert_true(extensions.requiretls);
	assert_true(extensions.dsn);
	assert_true(extensions.smtputf8);
	assert_string_equal(extensions.mechanisms, "PLAIN LOGIN SCRAM-SHA-256");
}

static void
test_extension_bounds(void **state)
{
	struct upstream_extensions extensions = { .starttls = false };
	char line[400];

	(void)state;
	upstream_extensions_line(&extensions, 1, "SIZE 99999999999999999999999",
	    28);
	assert_true(extensions.size);
	assert_true(extensions.size_max == 0);
	memcpy(line, "AUTH", 4);
	for (size_t i = 4; i + 4 <= sizeof(line); i += 4)
		memcpy(line + i, " ABC", 4);
	for (int i = 0; i < 5; i++)
		upstream_extensions_line(&extensions, 1, line, sizeof(line));
	assert_true(
	    strlen(extensions.mechanisms) < sizeof(extensions.mechanisms));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_line_bound),
		cmocka_unit_test(test_lines_bound),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_extension_bounds),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
