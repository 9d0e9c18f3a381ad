/*
 * t/unit/session_io.c: lines out of a session's buffer, however they came.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../server/session.h"

/* After ours: it has a macro of the name of policy/reason.h's fail. */
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { MOST = 16 };

static struct session s;
static int client;

static int
set_up(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	memset(&s, 0, sizeof s);
	s.fd = ends[0];
	client = ends[1];
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	session_free_buffers(&s);
	close(s.fd);
	close(client);
	return 0;
}

/* What session_line says, one letter a line: g(ot), l(ong), b(roken); text of
 * those it got goes to got. */
static void
take_lines(char *said, char *got)
{
	struct slice line;

	said += strlen(said);
	got += strlen(got);
	for (;;) {
		switch (session_line(&s, MOST, &line)) {
		case LINE_MORE:
			return;
		case LINE_GOT:
			*said++ = 'g';
			memcpy(got, line.at, line.len);
			got += line.len;
			*got++ = '|';
			break;
		case LINE_LONG:
			*said++ = 'l';
			break;
		case LINE_BROKEN:
			*said++ = 'b';
			return;
		}
	}
}

static void
send_piece(const char *at, size_t len, char *said, char *got)
{
	if (len == 0 || strchr(said, 'b') != NULL)
		return;
	assert_int_equal(write(client, at, len), (ssize_t)len);
	assert_int_equal(session_fill(&s), IO_DONE);
	take_lines(said, got);
}

#define IN(text) text, sizeof(text) - 1
static const struct {
	const char *what, *in;
	size_t len;
	const char *said, *got;
} rows[] = {
	{ "one line", IN("NOOP\r\n"), "g", "NOOP|" },
	{ "several", IN("A\r\nB\r\nC\r\n"), "ggg", "A|B|C|" },
	{ "an empty one", IN("\r\n"), "g", "|" },
	{ "an open one", IN("A\r\nNOO"), "g", "A|" },
	{ "the longest", IN("12345678901234\r\n"), "g", "12345678901234|" },
	{ "one octet more, then another line", IN("123456789012345\r\nB\r\n"),
	    "lg", "B|" },
	{ "far too long, then another line",
	    IN("1234567890123456789012345678901234567890\r\nB\r\n"), "lg",
	    "B|" },
	{ "a bare LF", IN("A\nB\r\n"), "b", "" },
	{ "a bare LF first", IN("\n"), "b", "" },
	{ "a bare CR", IN("A\rB\r\n"), "b", "" },
	{ "CR CR LF", IN("A\r\r\n"), "b", "" },
	{ "a NUL", IN("A\0\r\n"), "b", "" },
	{ "a good line, then a bad one", IN("A\r\nB\n"), "gb", "A|" },
	{ "a bare LF in a line too long", IN("12345678901234567890\n12345\r\n"),
	    NULL, "" },
};

static void
lines_do_not_depend_on_how_they_came(void **state)
{
	char said[64], got[256];
	size_t i, cut;

	(void)state;
	for (i = 0; i < COUNT(rows); i++)
		for (cut = 0; cut <= rows[i].len; cut++) {
			memset(said, 0, sizeof said);
			memset(got, 0, sizeof got);
			s.skip_line = false;
			send_piece(rows[i].in, cut, said, got);
			send_piece(rows[i].in + cut, rows[i].len - cut, said,
			    got);
			session_free_buffers(&s);
			/* Broken or too long first: either is a refusal. */
			if (rows[i].said == NULL) {
				assert_non_null(strchr(said, 'b'));
				continue;
			}
			if (strcmp(said, rows[i].said) != 0 ||
			    strcmp(got, rows[i].got) != 0)
				fail_msg("%s, cut at %zu: %s %s", rows[i].what,
				    cut, said, got);
		}
}

static void
replies_are_collected_and_written_at_once(void **state)
{
	char in[64];
	ssize_t n;

	(void)state;
	session_reply(&s, "250 %s", "a");
	session_reply(&s, "250 b");
	assert_int_equal(session_flush(&s), IO_DONE);
	n = recv(client, in, sizeof in, MSG_DONTWAIT);
	assert_int_equal(n, 14);
	assert_memory_equal(in, "250 a\r\n250 b\r\n", 14);
	assert_false(session_has_output(&s));
}

static void
a_reply_is_at_most_512_octets(void **state)
{
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	session_reply(&s, "250 %s", text);
	assert_int_equal(s.output.len, 512);
	assert_memory_equal(s.output.data + 510, "\r\n", 2);
}

static void
output_is_bounded(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 2 * OUTPUT_MOST / 500 && !s.broken; i++)
		session_reply(&s, "250 %0490d", 1);
	assert_true(s.broken);
	assert_true(s.output.len <= OUTPUT_MOST);
}

static void
what_was_consumed_can_be_wiped(void **state)
{
	struct slice line;
	size_t i;

	(void)state;
	assert_int_equal(write(client, "secret\r\nNEXT", 12), 12);
	assert_int_equal(session_fill(&s), IO_DONE);
	assert_int_equal(session_line(&s, MOST, &line), LINE_GOT);
	session_wipe_input(&s);
	for (i = 0; i < 8; i++)
		assert_int_equal(s.input.data[i], 0);
	assert_memory_equal(session_input(&s).at, "NEXT", 4);
}

static void
a_waiting_session_keeps_no_empty_buffer(void **state)
{
	struct slice line;

	(void)state;
	assert_int_equal(write(client, "A\r\nB", 4), 4);
	assert_int_equal(session_fill(&s), IO_DONE);
	assert_int_equal(session_line(&s, MOST, &line), LINE_GOT);
	session_release_buffers(&s);
	assert_non_null(s.input.data);
	session_consume(&s, 1);
	session_release_buffers(&s);
	assert_null(s.input.data);
	assert_int_equal(session_fill(&s), IO_WAIT_INPUT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    lines_do_not_depend_on_how_they_came, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    replies_are_collected_and_written_at_once, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(a_reply_is_at_most_512_octets,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(output_is_bounded, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(what_was_consumed_can_be_wiped,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_waiting_session_keeps_no_empty_buffer, set_up, tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
