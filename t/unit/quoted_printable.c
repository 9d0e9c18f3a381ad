/*
 * t/unit/quoted_printable.c: octets as lines of ASCII (RFC 2045, section 6.7).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/quoted_printable.h"

#include <cmocka.h>

static char *
encode(const char *octets, size_t len)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	quoted_printable_put(out, octets, len);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void
octets_are_encoded_where_they_must_be(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ "plain. (text) ~!\r\n", "plain. (text) ~!\r\n" },
		{ "no line end", "no line end" },
		{ "1=2\r\n", "1=3D2\r\n" },
		{ "\xc3\xbc\r\n", "=C3=BC\r\n" },
		{ "a b\t c\r\n", "a b\t c\r\n" },
		{ "blank \r\n", "blank=20\r\n" },
		{ "tab\t\r\n\r\n", "tab=09\r\n\r\n" },
		{ "at the end ", "at the end=20" },
		{ "bare\rCR and\nLF", "bare=0DCR and=0ALF" },
		{ "CR at the end\r", "CR at the end=0D" },
		{ "\x01\x7f\xff", "=01=7F=FF" },
	};
	char *text;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		text = encode(rows[i].in, strlen(rows[i].in));
		assert_string_equal(text, rows[i].out);
		free(text);
	}
	text = encode("a\0b", 3);
	assert_string_equal(text, "a=00b");
	free(text);
}

/* What a reader gets who knows soft line breaks and nothing else. */
static size_t
decode(const char *text, char *out)
{
	char *to = out;

	for (; *text != '\0'; text++) {
		if (*text != '=') {
			*to++ = *text;
		} else if (strncmp(text, "=\r\n", 3) == 0) {
			text += 2;
		} else {
			char hex[] = { text[1], text[2], '\0' };

			*to++ = (char)strtoul(hex, NULL, 16);
			text += 2;
		}
	}
	return (size_t)(to - out);
}

static void
lines_are_short_and_nothing_is_lost(void **state)
{
	char octets[1024], back[1024];

	(void)state;
	for (size_t begin = 0; begin < 80; begin++) {
		size_t len = sizeof octets - begin, column = 0;
		char *text;

		for (size_t i = 0; i < len; i++)
			octets[i] = i < begin ? 'x' : (char)(i * 7);
		text = encode(octets, len);
		assert_int_equal(decode(text, back), len);
		assert_memory_equal(back, octets, len);
		for (const char *at = text; *at != '\0'; at++) {
			column = *at == '\n' ? 0 : column + (*at != '\r');
			assert_true(column <= 76);
			assert_true((unsigned char)*at < 127);
		}
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(octets_are_encoded_where_they_must_be),
		cmocka_unit_test(lines_are_short_and_nothing_is_lost),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
