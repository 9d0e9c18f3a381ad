/*
 * t/unit/log.c: a line is one line, whatever a stranger puts into it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "../../server/log.h"

#include <cmocka.h> /* last: it has a macro named fail */

static int reader;

static int
open_log(void **state)
{
	int ends[2];

	(void)state;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	reader = ends[0];
	log_open(ends[1]);
	return 0;
}

/* All that has been logged, as a string. */
static const char *
logged(void)
{
	static char text[4 * LOG_LINE_MAX];
	ssize_t got = read(reader, text, sizeof(text) - 1);

	text[got < 0 ? 0 : got] = '\0';
	return text;
}

static void
a_line_begins_with_its_level(void **state)
{
	(void)state;
	log_line(SAY_NOTE, "connect", "session=%s", "abc");
	assert_string_equal(logged(), "3connect session=abc\n");
	log_line(SAY_ALARM, "x", "a=1");
	assert_string_equal(logged(), "0x a=1\n");
}

static void
debugging_lines_only_when_asked(void **state)
{
	(void)state;
	log_line(SAY_DEBUG, "x", "a=1");
	assert_string_equal(logged(), "");
	log_set_debug(true);
	log_line(SAY_DEBUG, "x", "a=1");
	assert_string_equal(logged(), "4x a=1\n");
	log_set_debug(false);
}

static void
control_octets_are_escaped(void **state)
{
	(void)state;
	log_line(SAY_NOTE, "x", "a=%s", "1\n0fake line\x1b[2J\xff");
	assert_string_equal(logged(), "3x a=1\\x0a0fake line\\x1b[2J\\xff\n");
}

static void
a_long_line_is_cut(void **state)
{
	char text[3 * LOG_LINE_MAX];
	const char *line;

	(void)state;
	memset(text, '\n', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_line(SAY_NOTE, "x", "a=%s", text);
	line = logged();
	assert_true(strlen(line) <= LOG_LINE_MAX);
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void
a_full_pipe_does_not_block_and_is_counted(void **state)
{
	const char *line;
	int lines = 0;

	(void)state;
	for (int i = 0; i < 20000; i++)
		log_line(SAY_NOTE, "x", "a=%d", i);
	while (*logged() != '\0')
		lines++;
	assert_true(lines > 0);
	log_line(SAY_NOTE, "after", "a=1");
	line = logged();
	assert_non_null(strstr(line, "log-lost lines="));
	assert_non_null(strstr(line, "after a=1"));
}

static void
values_are_quoted_when_they_must(void **state)
{
	static const struct {
		const char *octets;
		size_t len;
		const char *value, *name;
	} rows[] = {
		{ "plain", 5, "plain", "printable stands as it is" },
		{ "", 0, "\"\"", "empty is quoted" },
		{ "a b", 3, "\"a b\"", "a blank quotes" },
		{ "a\"b\\", 4, "\"a\\\"b\\\\\"", "quote and backslash" },
		{ "a\r\nb", 4, "\"a\\x0d\\x0ab\"", "line ends" },
		{ "a\0b", 3, "\"a\\x00b\"", "NUL" },
		{ "\xc3\xa4", 2, "\"\\xc3\\xa4\"", "not ASCII" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *got =
		    log_value(out, sizeof(out), rows[i].octets, rows[i].len);

		if (strcmp(got, rows[i].value) != 0)
			fail_msg("%s: %s", rows[i].name, got);
	}
}

static void
values_are_cut_to_what_fits(void **state)
{
	char out[64], long_text[200];

	(void)state;
	memset(long_text, 'a', sizeof(long_text));
	for (size_t size = 1; size < sizeof(out); size++) {
		memset(out, 0x55, sizeof(out));
		log_value(out, size, long_text, sizeof(long_text));
		assert_true(strlen(out) < size);
		if (size > 8)
			assert_string_equal(out + strlen(out) - 4, "...\"");
		memset(long_text, size % 2 ? '\n' : 'a', sizeof(long_text));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_begins_with_its_level),
		cmocka_unit_test(debugging_lines_only_when_asked),
		cmocka_unit_test(control_octets_are_escaped),
		cmocka_unit_test(a_long_line_is_cut),
		cmocka_unit_test(a_full_pipe_does_not_block_and_is_counted),
		cmocka_unit_test(values_are_quoted_when_they_must),
		cmocka_unit_test(values_are_cut_to_what_fits),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, open_log, NULL);
}
