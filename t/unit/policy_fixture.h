/*
 * t/unit/policy_fixture.h: tables made of a few lines, in a scratch folder.
 */
#ifndef T_UNIT_POLICY_FIXTURE_H
#define T_UNIT_POLICY_FIXTURE_H

#include "../../policy/decide.h"
#include "../../policy/table.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ROWS(array) (sizeof(array) / sizeof((array)[0]))

/* 2026-06-01 12:00 UTC */
enum { NOW = 1780315200, DAY = 86400 };

static char scratch[256]; /* the folder */

/* What the compiler said, one line each. */
static struct said {
	char text[65536];
	size_t len;
	unsigned errors, warnings;
} said;

static inline void
note_said(void *context, bool is_error, const char *text)
{
	(void)context;
	if (is_error)
		said.errors++;
	else
		said.warnings++;
	said.len += (size_t)snprintf(said.text + said.len,
	    sizeof(said.text) - said.len, "%s\n", text);
	assert_true(said.len < sizeof(said.text));
}

static inline int
scratch_make(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	(void)snprintf(scratch, sizeof(scratch), "%s/policy-XXXXXX",
	    base != NULL ? base : "/tmp");
	return mkdtemp(scratch) == NULL;
}

static inline int
scratch_remove(void **state)
{
	char command[300];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
	return system(command);
}

static inline void
scratch_file(const char *name, const void *octets, size_t len)
{
	char path[512];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(octets, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* text need not outlive the call's use. */
static inline struct table_source
source_of(const char *path, const char *text)
{
	struct table_source source = {
		.path = path,
		.text = { (void *)(uintptr_t)text, (unsigned)strlen(text) },
		.now = NOW,
	};

	memset(&said, 0, sizeof(said));
	return source;
}

static inline const char *
scratch_path(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

/* Compiled as of then, opened; the file is gone again. */
static inline struct table *
table_at(const char *text, time_t then)
{
	struct table_source source = source_of(scratch_path("sites"), text);
	struct table *table = NULL;
	struct reason why = { 0 };
	char name[80], path[512];

	source.now = then;
	if (!table_compile(&source, scratch, name, note_said, NULL, &why))
		print_error("%s\n%s", why.text, said.text);
	assert_int_equal(said.errors, 0);
	(void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
	assert_true(table_open(&table, path, true, &why));
	(void)unlink(path);
	return table;
}

static inline struct table *
table_of(const char *text)
{
	return table_at(text, NOW);
}

/* One test a row, named by what its "not ok" should teach; the row is the
 * test's state. */
static inline struct CMUnitTest
row_test(const char *what, CMUnitTestFunction run, const void *row)
{
	struct CMUnitTest test = { .name = what,
		.test_func = run,
		.initial_state = (void *)(uintptr_t)row };

	return test;
}

#endif
