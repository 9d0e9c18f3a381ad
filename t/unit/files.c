/* t/unit/files.c: a file is replaced whole, or stays as it was. */
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/files.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char folder[64], path[128], aside[128];

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/files.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/a", folder);
	snprintf(aside, sizeof aside, "%s/a.new", folder);
	return 0;
}

static int
teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static void
assert_file(const char *text, mode_t mode)
{
	gnutls_datum_t file;
	struct stat st;

	assert_true(files_read(path, &file, NULL));
	assert_int_equal(file.size, strlen(text));
	assert_string_equal((const char *)file.data, text);
	files_free(&file);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void
test_replaced(void **state)
{
	struct stat st;

	(void)state;
	assert_true(files_replace(path, "one", 3, 0600, NULL));
	assert_file("one", 0600);
	assert_true(files_replace(path, "", 0, 0600, NULL));
	assert_file("", 0600);
	/* What an earlier attempt has left does not matter. */
	assert_true(
	    files_replace(aside, "left over, and longer", 21, 0600, NULL));
	assert_true(files_replace(path, "two", 3, 0600, NULL));
	assert_file("two", 0600);
	assert_int_not_equal(lstat(aside, &st), 0);
}

static void
test_not_replaced(void **state)
{
	char longer[PATH_MAX + 10], target[160];
	struct reason why;
	struct stat st;

	(void)state;
	assert_true(files_replace(path, "one", 3, 0600, NULL));
	/* A link that somebody has put there leads nowhere. */
	snprintf(target, sizeof target, "%s/target", folder);
	assert_int_equal(symlink(target, aside), 0);
	assert_false(files_replace(path, "two", 3, 0600, &why));
	assert_non_null(strstr(why.text, aside));
	assert_int_not_equal(stat(target, &st), 0);
	assert_file("one", 0600);
	unlink(aside);
	assert_int_equal(mkdir(aside, 0700), 0);
	assert_false(files_replace(path, "two", 3, 0600, &why));
	assert_file("one", 0600);
	rmdir(aside);
	/* Nor is a folder replaced, and nothing is left. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(files_replace(path, "two", 3, 0600, &why));
	assert_int_not_equal(lstat(aside, &st), 0);
	snprintf(target, sizeof target, "%s/none/a", folder);
	assert_false(files_replace(target, "two", 3, 0600, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	memset(longer, 'x', sizeof longer);
	longer[PATH_MAX - 3] = '\0';
	assert_false(files_replace(longer, "two", 3, 0600, &why));
	assert_int_equal(why.code, REASON_RANGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_replaced, setup,
		    teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
