/* t/unit/legacy_book.c: the report of old practices, and what is no report. */
#include "../../server/legacy_book.h"

#include "../../auth/legacy.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void
assert_row(const struct legacy_row *row, const char *login, const char *program,
    unsigned practices, uint64_t count)
{
	assert_non_null(row);
	assert_string_equal(row->login, login);
	assert_string_equal(row->program, program);
	assert_int_equal(row->practices, practices);
	assert_int_equal(row->count, count);
}

static const struct legacy_row *
first(const struct legacy_book *book)
{
	return legacy_book_next(book, NULL);
}

static size_t
rows_of(const struct legacy_book *book)
{
	const struct legacy_row *row = NULL;
	size_t n = 0;

	while ((row = legacy_book_next(book, row)) != NULL)
		n++;
	return n;
}

static void
test_rows(void **state)
{
	struct legacy_book *book = legacy_book_new();
	const struct legacy_row *row;

	(void)state;
	assert_null(first(book));
	assert_true(legacy_book_add(book, "a@x.org", "Mutt", "192.0.2.1",
	    LEGACY_LOGIN, 100));
	assert_true(legacy_book_add(book, "b@x.org", "Mutt", "192.0.2.1",
	    LEGACY_LOGIN, 110));
	/* Another program, and other practices of the same. */
	assert_true(legacy_book_add(book, "a@x.org", "Pine", "192.0.2.1",
	    LEGACY_LOGIN, 120));
	assert_true(legacy_book_add(book, "a@x.org", "Mutt", "192.0.2.1",
	    LEGACY_LOGIN | LEGACY_TLS_1_2, 130));
	/* The same again, from elsewhere, by a clock that was set back. */
	assert_true(legacy_book_add(book, "a@x.org", "Mutt", "2001:db8::1",
	    LEGACY_LOGIN, 140));
	assert_true(legacy_book_add(book, "a@x.org", "Pine", "192.0.2.1",
	    LEGACY_LOGIN, 90));
	row = first(book);
	assert_row(row, "b@x.org", "Mutt", LEGACY_LOGIN, 1);
	row = legacy_book_next(book, row);
	assert_row(row, "a@x.org", "Mutt", LEGACY_LOGIN | LEGACY_TLS_1_2, 1);
	row = legacy_book_next(book, row);
	assert_row(row, "a@x.org", "Mutt", LEGACY_LOGIN, 2);
	assert_string_equal(row->client, "2001:db8::1");
	assert_int_equal(row->first, 100);
	assert_int_equal(row->last, 140);
	row = legacy_book_next(book, row);
	assert_row(row, "a@x.org", "Pine", LEGACY_LOGIN, 2);
	assert_int_equal(row->first, 120);
	assert_int_equal(row->last, 120);
	assert_null(legacy_book_next(book, row));
	legacy_book_free(book);
}

/* The sender may be compromised. */
static void
test_refused(void **state)
{
	static const struct {
		const char *login, *client;
		unsigned practices;
	} rows[] = {
		{ "", "192.0.2.1", 1 },
		{ "alice", "192.0.2.1", 1 },
		{ "alice@X.org", "192.0.2.1", 1 },
		{ "al\"ice@x.org", "192.0.2.1", 1 },
		{ "al\nice@x.org", "192.0.2.1", 1 },
		{ "alice@x.org", "localhost", 1 },
		{ "alice@x.org", "", 1 },
		{ "alice@x.org", "192.0.2.1", 0 },
		{ "alice@x.org", "192.0.2.1", LEGACY_ALL + 1 },
	};
	struct legacy_book *book = legacy_book_new();
	char longer[2 * AUTH_PROGRAM_MAX], wanted[AUTH_PROGRAM_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (legacy_book_add(book, rows[i].login, "Mutt", rows[i].client,
			rows[i].practices, 100))
			fail_msg("row %zu was taken", i);
	assert_null(first(book));
	/* Of a program's name what a terminal may show. */
	assert_true(legacy_book_add(book, "a@x.org", "\033[2J\"\\x\n\xc3\xa9",
	    "192.0.2.1", 1, 100));
	assert_row(first(book), "a@x.org", "?[2J\"\\x???", 1, 1);
	memset(longer, 'x', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	memset(wanted, 'x', sizeof wanted);
	wanted[AUTH_PROGRAM_MAX] = '\0';
	assert_true(
	    legacy_book_add(book, "a@x.org", longer, "192.0.2.1", 1, 100));
	assert_row(legacy_book_next(book, first(book)), "a@x.org", wanted, 1,
	    1);
	legacy_book_free(book);
}

static void
test_text(void **state)
{
	struct legacy_book *book = legacy_book_new(), *again;
	const struct legacy_row *row;
	char *text, *second;
	struct reason why;
	size_t len, second_len;

	(void)state;
	text = legacy_book_print(book, &len);
	assert_true(legacy_book_parse(&again, text, len, &why));
	assert_null(first(again));
	legacy_book_free(again);
	free(text);
	legacy_book_add(book, "a@x.org", "Mutt \"x\\y\" {}", "192.0.2.1",
	    LEGACY_ALL, 100);
	legacy_book_add(book, "\xc3\xa9@x.org", "", "::1", LEGACY_LOGIN, 200);
	legacy_book_add(book, "a@x.org", "Mutt \"x\\y\" {}", "192.0.2.2",
	    LEGACY_ALL, 300);
	text = legacy_book_print(book, &len);
	assert_int_equal(strlen(text), len);
	assert_true(legacy_book_parse(&again, text, len, &why));
	row = first(again);
	assert_row(row, "\xc3\xa9@x.org", "", LEGACY_LOGIN, 1);
	row = legacy_book_next(again, row);
	assert_row(row, "a@x.org", "Mutt \"x\\y\" {}", LEGACY_ALL, 2);
	assert_string_equal(row->client, "192.0.2.2");
	assert_int_equal(row->first, 100);
	assert_int_equal(row->last, 300);
	assert_null(legacy_book_next(again, row));
	second = legacy_book_print(again, &second_len);
	assert_string_equal(text, second);
	/* Cut anywhere it is no report. */
	legacy_book_free(book);
	for (size_t cut = 0; cut + 2 < len; cut++)
		assert_false(legacy_book_parse(&book, text, cut, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
	legacy_book_free(again);
	free(second);
	free(text);
}

static void
test_damaged(void **state)
{
#define ROW(login, program, practices, client, count, first, last)             \
	"{\"login\":" login ",\"program\":" program                            \
	",\"practices\":" practices ",\"client\":" client ",\"count\":" count  \
	",\"first\":" first ",\"last\":" last "}"
#define GOOD                                                                   \
	ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"", "\"::1\"", "1", "2", "3")
	static const char *const wrong[] = {
		"",
		"[]",
		"{}",
		"{\"rows\":{}}",
		"{\"rows\":[1]}",
		"{\"rows\":[{}]}",
		"{\"rows\":[" GOOD "," GOOD "]}",
		"{\"rows\":[" GOOD "],\"more\":1}",
		"{\"rows\":[],\"rows\":[]}",
		"{\"rows\":[" ROW("\"a\"", "\"Mutt\"", "\"login\"", "\"::1\"",
		    "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"\\u001b[2J\"", "\"login\"",
		    "\"::1\"", "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"M\\u0000t\"", "\"login\"",
		    "\"::1\"", "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "7", "\"login\"", "\"::1\"",
		    "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"\"", "\"::1\"",
		    "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"ssl\"",
		    "\"::1\"", "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"",
		    "\"host\"", "1", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"",
		    "\"::1\"", "0", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"",
		    "\"::1\"", "1.5", "2", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"",
		    "\"::1\"", "1", "4", "3") "]}",
		"{\"rows\":[" ROW("\"a@x.org\"", "\"Mutt\"", "\"login\"",
		    "\"::1\"", "1", "2", "3,\"more\":1") "]}",
	};
	static const char good[] = "{\"rows\":[" GOOD "]}";
	struct legacy_book *book;
	struct reason why;

	(void)state;
	assert_true(legacy_book_parse(&book, good, strlen(good), &why));
	legacy_book_free(book);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		if (legacy_book_parse(&book, wrong[i], strlen(wrong[i]), &why))
			fail_msg("%s", wrong[i]);
}

static void
test_most(void **state)
{
	struct legacy_book *book = legacy_book_new(), *again;
	char program[32], *text;
	struct reason why;
	size_t len;

	(void)state;
	for (int i = 0; i < LEGACY_PROVED_MAX; i++) {
		snprintf(program, sizeof program, "p%d", i);
		assert_true(legacy_book_add(book, "a@x.org", program, "::1",
		    LEGACY_MD5, 100 + i));
	}
	/* What strangers claim pushes out nothing else. */
	for (int i = 0; i < 2 * LEGACY_CLAIMED_MAX; i++) {
		snprintf(program, sizeof program, "p%d", i);
		assert_true(legacy_book_add(book, "a@x.org", program, "::1",
		    LEGACY_IN_CLEAR, 100 + i));
	}
	assert_string_equal(first(book)->program, "p0");
	/* Seen again: p1 goes first. */
	assert_true(
	    legacy_book_add(book, "a@x.org", "p0", "::1", LEGACY_MD5, 20000));
	assert_true(
	    legacy_book_add(book, "a@x.org", "new", "::1", LEGACY_MD5, 20001));
	assert_int_equal(rows_of(book), LEGACY_ROWS_MAX);
	assert_string_equal(first(book)->program, "p2");
	text = legacy_book_print(book, &len);
	assert_true(legacy_book_parse(&again, text, len, &why));
	assert_int_equal(rows_of(again), LEGACY_ROWS_MAX);
	assert_string_equal(first(again)->program, "p2");
	/* p1 is forgotten, p0 is not. */
	assert_true(
	    legacy_book_add(again, "a@x.org", "p0", "::1", LEGACY_MD5, 20002));
	assert_string_equal(first(again)->program, "p2");
	assert_true(
	    legacy_book_add(again, "a@x.org", "p1", "::1", LEGACY_MD5, 20003));
	assert_string_equal(first(again)->program, "p3");
	legacy_book_free(again);
	legacy_book_free(book);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_most),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
