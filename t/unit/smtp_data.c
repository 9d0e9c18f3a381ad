/*
 * t/unit/smtp_data.c: where mail data ends, what it means, what is refused.
 *
 * Every case is fed in every way of cutting it in two, and octet by octet: the
 * answer must not depend on how the network delivered it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../server/smtp_data.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct outcome {
	char text[8192];
	size_t len;
	size_t taken;
	struct smtp_data data;
};

static void
feed(struct outcome *o, const char *at, size_t len)
{
	struct slice in = { at, len }, text;
	size_t n;

	while (in.len > 0 && !smtp_data_ended(&o->data)) {
		n = smtp_data_scan(&o->data, in, &text);
		assert_true(n > 0 && n <= in.len);
		assert_true(
		    text.at >= in.at && text.at + text.len <= in.at + n);
		memcpy(o->text + o->len, text.at, text.len);
		o->len += text.len;
		o->taken += n;
		in.at += n;
		in.len -= n;
	}
}

enum wrong { FINE = 0, CR = 1, LF = 2, NUL = 4, LONG = 8 };

static unsigned
wrongs(const struct smtp_data *data)
{
	return (data->bare_cr ? CR : 0) | (data->bare_lf ? LF : 0) |
	       (data->nul ? NUL : 0) | (data->long_line ? LONG : 0);
}

struct row {
	const char *what;
	const char *in;
	size_t in_len;
	const char *text; /* NULL: whatever, it is refused */
	size_t end;       /* octets taken; 0: it does not end */
	unsigned wrong;
};

#define IN(s) s, sizeof(s) - 1
static const struct row rows[] = {
	{ "an empty message", IN(".\r\n"), "", 3, FINE },
	{ "one line", IN("a\r\n.\r\n"), "a\r\n", 6, FINE },
	{ "commands may follow", IN("a\r\n.\r\nQUIT\r\n"), "a\r\n", 6, FINE },
	{ "a stuffed dot goes", IN("..\r\n.\r\n"), ".\r\n", 7, FINE },
	{ "one of two goes", IN("a\r\n..b\r\n.\r\n"), "a\r\n.b\r\n", 11, FINE },
	{ "a lone dot goes too", IN(".b\r\n.\r\n"), "b\r\n", 7, FINE },
	{ "dots inside stay", IN("a..b.\r\n.\r\n"), "a..b.\r\n", 10, FINE },
	{ "empty lines stay", IN("\r\n\r\n.\r\n"), "\r\n\r\n", 7, FINE },
	{ "no end yet", IN("a\r\n."), "a\r\n", 0, FINE },
	{ "no end yet, CR", IN("a\r\n.\r"), "a\r\n", 0, FINE },
	{ "LF.LF is no end", IN("a\n.\nb\r\n.\r\n"), NULL, 10, LF },
	{ "LF.CRLF is no end", IN("a\n.\r\nb\r\n.\r\n"), NULL, 11, LF },
	{ "CRLF.LF is no end", IN("a\r\n.\nb\r\n.\r\n"), NULL, 11, LF },
	{ "CR.CR is no end", IN("a\r.\rb\r\n.\r\n"), NULL, 10, CR },
	{ "CRLF.CR is no end", IN("a\r\n.\rb\r\n.\r\n"), NULL, 11, CR },
	{ "CRLF.CR CRLF is no end", IN("a\r\n.\r\r\n.\r\n"), NULL, 10, CR },
	{ "CR CR LF is bare, and ends a line", IN("a\r\r\n.\r\n"), NULL, 7,
	    CR },
	{ "a NUL", IN("a\0b\r\n.\r\n"), NULL, 8, NUL },
	{ "a NUL after a dot", IN(".\0\r\n.\r\n"), NULL, 7, NUL },
	{ "a bare LF first", IN("\n.\r\n"), NULL, 0, LF },
	{ "eight bits are nothing special", IN("\xff\xfe\r\n.\r\n"),
	    "\xff\xfe\r\n", 7, FINE },
};

static void
check(const struct row *row, const struct outcome *o, const char *how)
{
	if (smtp_data_ended(&o->data) != (row->end != 0))
		fail_msg("%s (%s): end", row->what, how);
	if (row->end != 0 && o->taken != row->end)
		fail_msg("%s (%s): took %zu", row->what, how, o->taken);
	if (wrongs(&o->data) != row->wrong)
		fail_msg("%s (%s): noticed %u", row->what, how,
		    wrongs(&o->data));
	if (row->text != NULL && (o->len != strlen(row->text) ||
				     memcmp(o->text, row->text, o->len) != 0))
		fail_msg("%s (%s): text", row->what, how);
}

static void
finds_the_end_however_it_is_cut(void **state)
{
	static struct outcome o;
	size_t i, cut, n;

	(void)state;
	for (i = 0; i < COUNT(rows); i++) {
		for (cut = 0; cut <= rows[i].in_len; cut++) {
			memset(&o, 0, sizeof o);
			smtp_data_init(&o.data);
			feed(&o, rows[i].in, cut);
			feed(&o, rows[i].in + cut, rows[i].in_len - cut);
			check(&rows[i], &o, "in two");
		}
		memset(&o, 0, sizeof o);
		smtp_data_init(&o.data);
		for (n = 0; n < rows[i].in_len; n++)
			feed(&o, rows[i].in + n, 1);
		check(&rows[i], &o, "one by one");
	}
}

static bool
line_of_is_long(size_t octets, const char *prefix)
{
	static struct outcome o;
	char in[2048];
	size_t len = strlen(prefix);

	memset(&o, 0, sizeof o);
	smtp_data_init(&o.data);
	memcpy(in, prefix, len);
	memset(in + len, 'x', octets);
	len += octets;
	memcpy(in + len, "\r\nshort\r\n.\r\n", 13);
	feed(&o, in, len + 12);
	assert_true(smtp_data_ended(&o.data));
	return o.data.long_line;
}

static void
lines_are_bounded_without_their_stuffed_dot(void **state)
{
	(void)state;
	assert_false(line_of_is_long(998, ""));
	assert_true(line_of_is_long(999, ""));
	assert_false(line_of_is_long(998, "."));
	assert_false(line_of_is_long(997, ".."));
	assert_true(line_of_is_long(998, ".."));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_end_however_it_is_cut),
		cmocka_unit_test(lines_are_bounded_without_their_stuffed_dot),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
