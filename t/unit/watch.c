/*
 * t/unit/watch.c: what counts as a change of a file, and what does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/watch.h"

#include <cmocka.h>

static char folder[64];

static const char *
path_of(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void
put(const char *name, const char *text)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/sallyport-watch-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return 1;
	put("file", "one");
	put("second", "two");
	return 0;
}

static int
teardown(void **state)
{
	static const char *const names[] = { "file", "second", "link",
		"new/file", "old/file", "new", "old" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		remove(path_of(names[i]));
	return rmdir(folder);
}

static void
count(void *context, const char *path)
{
	(void)path;
	++*(unsigned *)context;
}

static unsigned
changes(struct watch *watch)
{
	unsigned n = 0;

	watch_look(watch, count, &n);
	return n;
}

/* As read a long time before now, or just now. */
static struct watch *
watch_of(const char *name, int64_t read_from)
{
	struct watch_list list = { NULL, 0 };
	struct watch *watch;

	assert_true(watch_list_add(&list, path_of(name)));
	watch = watch_new(&list, read_from);
	assert_non_null(watch);
	watch_list_fini(&list);
	return watch;
}

static void
lists_have_each_path_once(void **state)
{
	struct watch_list list = { NULL, 0 };

	(void)state;
	assert_true(watch_list_add(&list, "/a"));
	assert_true(watch_list_add(&list, "/b"));
	assert_true(watch_list_add(&list, "/a"));
	assert_true(watch_list_add(&list, NULL));
	assert_true(watch_list_add(&list, "pkcs11:token=x"));
	assert_int_equal(list.count, 2);
	watch_list_fini(&list);
}

static void
contents_and_mode_count(void **state)
{
	struct watch *watch = watch_of("file", INT64_MAX);
	uint64_t stamp = watch_stamp(watch);

	(void)state;
	assert_int_equal(changes(watch), 0);
	put("file", "one"); /* the same again */
	assert_int_not_equal(watch_stamp(watch), stamp);
	assert_int_equal(changes(watch), 0);
	put("file", "another");
	assert_int_equal(changes(watch), 1);
	assert_int_equal(changes(watch), 0);
	assert_int_equal(chmod(path_of("file"), 0600), 0);
	assert_int_equal(changes(watch), 1);
	assert_int_equal(unlink(path_of("file")), 0);
	assert_int_equal(changes(watch), 1);
	put("file", "another");
	assert_int_equal(changes(watch), 1);
	watch_free(watch);
}

/* Nobody knows which of the two was read. */
static void
what_changed_while_it_was_read_counts(void **state)
{
	struct watch *watch;
	int64_t before = watch_clock();

	(void)state;
	put("file", "meanwhile");
	watch = watch_of("file", before);
	assert_int_equal(changes(watch), 1);
	assert_int_equal(changes(watch), 0);
	watch_free(watch);
}

static void
links_lead_elsewhere(void **state)
{
	struct watch *watch;
	struct reason why;
	int fd;

	(void)state;
	assert_int_equal(mkdir(path_of("old"), 0700), 0);
	assert_int_equal(mkdir(path_of("new"), 0700), 0);
	put("old/file", "old");
	put("new/file", "new");
	assert_int_equal(symlink("old", path_of("link")), 0);
	watch = watch_of("link/file", INT64_MAX);
	assert_true(watch_listen(watch, &fd, &why));
	assert_false(watch_drain(watch));
	put("second", "of no interest");
	assert_false(watch_drain(watch));
	assert_int_equal(unlink(path_of("link")), 0);
	assert_int_equal(symlink("new", path_of("link")), 0);
	assert_true(watch_drain(watch));
	assert_false(watch_drain(watch));
	assert_int_equal(changes(watch), 1);
	assert_true(watch_listen(watch, &fd, &why));
	put("old/file", "of no interest any more");
	assert_false(watch_drain(watch));
	put("new/file", "newer");
	assert_true(watch_drain(watch));
	assert_int_equal(changes(watch), 1);
	/* In a circle. */
	assert_int_equal(unlink(path_of("link")), 0);
	assert_int_equal(symlink("link", path_of("link")), 0);
	assert_int_equal(changes(watch), 1);
	assert_true(watch_listen(watch, &fd, &why));
	watch_free(watch);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_have_each_path_once),
		cmocka_unit_test(contents_and_mode_count),
		cmocka_unit_test(what_changed_while_it_was_read_counts),
		cmocka_unit_test(links_lead_elsewhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
