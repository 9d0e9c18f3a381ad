/*
 * t/unit/relay_dots.c: mail data on its way out: dots are doubled, and no bare
 * CR or LF leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../server/relay_dots.h"

static const struct {
	const char *name;     /* what a "not ok" should teach */
	const char *in, *out; /* out NULL: refused */
} rows[] = {
	{ "an empty message is a dot", "", ".\r\n" },
	{ "a line as it is", "a\r\n", "a\r\n.\r\n" },
	{ "a dot at the start", ".\r\n", "..\r\n.\r\n" },
	{ "two dots", "..\r\n", "...\r\n.\r\n" },
	{ "a dot in a line", "a.b\r\n", "a.b\r\n.\r\n" },
	{ "a dot after CRLF", "a\r\n.b\r\n", "a\r\n..b\r\n.\r\n" },
	{ "an end of data inside", "a\r\n.\r\nMAIL\r\n",
	    "a\r\n..\r\nMAIL\r\n.\r\n" },
	{ "the last line gets its CRLF", "a", "a\r\n.\r\n" },
	{ "a dot as the whole of it", ".", "..\r\n.\r\n" },
	{ "empty lines", "\r\n\r\n", "\r\n\r\n.\r\n" },
	{ "bare LF", "a\nb\r\n", NULL },
	{ "bare LF at the start", "\n", NULL },
	{ "LF dot LF", "a\n.\nb\r\n", NULL },
	{ "LF dot CRLF", "a\n.\r\n", NULL },
	{ "bare CR", "a\rb\r\n", NULL },
	{ "CR CR LF", "a\r\r\n", NULL },
	{ "CR dot CR", "a\r.\r", NULL },
	{ "CR at the end", "a\r", NULL },
};

/* Stuff in in pieces of size octets; false if refused. */
static bool
stuff(const char *in, size_t len, size_t size, char *out, size_t *len_out)
{
	struct relay_dots dots;
	size_t n, at;

	*len_out = 0;
	relay_dots_init(&dots);
	for (at = 0; at < len; at += size) {
		size_t piece = len - at < size ? len - at : size;
		/* Its own room, so that the sanitizers see a step too far. */
		char *room = malloc(relay_dots_room(piece));
		bool ok = relay_dots_add(&dots, in + at, piece, room, &n);

		assert_true(n <= relay_dots_room(piece));
		memcpy(out + *len_out, room, n);
		*len_out += n;
		free(room);
		if (!ok) {
			assert_false(relay_dots_end(&dots, out, &n));
			return false;
		}
	}
	if (!relay_dots_end(&dots, out + *len_out, &n))
		return false;
	*len_out += n;
	return true;
}

static void
test_rows(void **state)
{
	char out[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		size_t len = strlen(rows[i].in), n;

		print_message("# %s\n", rows[i].name);
		for (size_t size = 1; size <= len + 1; size++) {
			bool ok = stuff(rows[i].in, len, size, out, &n);

			assert_int_equal(ok, rows[i].out != NULL);
			if (!ok)
				continue;
			assert_int_equal(n, strlen(rows[i].out));
			assert_memory_equal(out, rows[i].out, n);
		}
	}
}

/* Every message of a few of the octets that matter, against the plain
 * definition: after unstuffing, the message; before the end, no end. */
static void
test_all_short(void **state)
{
	static const char alphabet[] = { 'a', '.', '\r', '\n' };
	enum { LEN = 6 };
	char in[LEN], out[100];

	(void)state;
	for (unsigned n = 0; n < 1u << (2 * LEN); n++) {
		bool bare = false;
		size_t len;

		for (size_t i = 0; i < LEN; i++)
			in[i] = alphabet[n >> (2 * i) & 3];
		for (size_t i = 0; i < LEN; i++) {
			if (in[i] == '\n' && (i == 0 || in[i - 1] != '\r'))
				bare = true;
			if (in[i] == '\r' &&
			    (i + 1 == LEN || in[i + 1] != '\n'))
				bare = true;
		}
		assert_int_equal(stuff(in, LEN, 2, out, &len), !bare);
		if (bare)
			continue;
		out[len] = '\0';
		if (strcmp(out, ".\r\n") == 0)
			continue;
		assert_ptr_equal(strstr(out, "\r\n.\r\n"), out + len - 5);
	}
}

/* Counted octets pass as they are, under the same conditions. */
static void
test_counted(void **state)
{
	char out[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *in = rows[i].in;
		struct relay_dots dots;
		size_t len = strlen(in), n, end = 0;
		bool ok;

		print_message("# %s\n", rows[i].name);
		relay_dots_init_counted(&dots);
		ok = relay_dots_add(&dots, in, len, out, &n) &&
		     relay_dots_end(&dots, out + n, &end);
		assert_int_equal(ok, rows[i].out != NULL);
		if (!ok)
			continue;
		assert_int_equal(n, len);
		assert_memory_equal(out, in, len);
		assert_int_equal(end,
		    len == 0 || in[len - 1] == '\n' ? 0 : 2);
		assert_memory_equal(out + n, "\r\n", end);
	}
}

static void
test_large(void **state)
{
	size_t len = 300000, n;
	char *in = malloc(len), *out = malloc(2 * len + RELAY_DOTS_END_MAX);

	(void)state;
	for (size_t i = 0; i < len; i++)
		in[i] = ".\r\n"[i % 3];
	assert_true(stuff(in, len, 65536, out, &n));
	assert_int_equal(n, len / 3 * 4 + 3);
	free(in);
	free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_all_short),
		cmocka_unit_test(test_counted),
		cmocka_unit_test(test_large),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
