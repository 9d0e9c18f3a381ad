/*
 * t/unit/policy_kch.c: compiled tables as files: whole, damaged, kept.
 */
#include "policy_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <kclangc.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char TEXT[] =
    "mx.example out lock dane ratchet\n"
    "192.0.2.0/24 in encrypt\n"
    "old.example both encrypt tls-optional=yes until=2026-07-01 reason=\"a "
    "b\"\n"
    "* both encrypt\n";

static char folder[400], name[80], path[500];

static bool
compile(const char *text, struct reason *why)
{
	struct table_source source = source_of(scratch_path("sites"), text);

	return table_compile(&source, folder, name, note_said, NULL, why);
}

static unsigned
files_in_folder(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	unsigned count = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		count += e->d_name[0] != '.';
	closedir(d);
	return count;
}

static int
make_folder(void **state)
{
	struct reason why;

	(void)state;
	(void)snprintf(folder, sizeof(folder), "%s/tables", scratch);
	if (mkdir(folder, 0755) != 0 || !compile(TEXT, &why))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return 0;
}

static int
remove_folder(void **state)
{
	char command[500];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static void
test_file(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(strlen(name), strlen("sites..kch") + 64);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(files_in_folder(), 1);
}

static void
test_same_text_same_file(void **state)
{
	struct stat before, after;
	struct reason why;
	char first[80];

	(void)state;
	strcpy(first, name);
	assert_int_equal(stat(path, &before), 0);
	assert_true(compile(TEXT, &why));
	assert_string_equal(name, first);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(files_in_folder(), 1);
	assert_true(compile("* both verify\n", &why));
	assert_string_not_equal(name, first);
	assert_int_equal(files_in_folder(), 2);
}

static void
test_nothing_left(void **state)
{
	struct reason why;

	(void)state;
	assert_false(compile("* both frobnicate\n", &why));
	assert_int_equal(why.code, REASON_SYNTAX);
	assert_int_equal(files_in_folder(), 1);
}

static size_t
slurp(unsigned char **out)
{
	FILE *f = fopen(path, "rb");
	size_t len;

	assert_non_null(f);
	*out = malloc(1 << 20);
	len = fread(*out, 1, 1 << 20, f);
	fclose(f);
	return len;
}

static void
spew(const unsigned char *octets, size_t len)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(octets, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* Each octet in turn, one bit of it: refused whole. */
static void
test_flipped(void **state)
{
	unsigned char *octets;
	size_t len = slurp(&octets);
	struct table *table;
	struct reason why;

	(void)state;
	assert_true(len > 500);
	for (size_t i = 0; i < len; i++) {
		octets[i] ^= (unsigned char)(1u << i % 8);
		spew(octets, len);
		assert_false(table_open(&table, path, true, &why));
		assert_int_equal(why.code, REASON_DAMAGED);
		octets[i] ^= (unsigned char)(1u << i % 8);
	}
	spew(octets, len);
	assert_true(table_open(&table, path, true, &why));
	table_close(table);
	free(octets);
}

static void
test_cut(void **state)
{
	unsigned char *octets;
	size_t len = slurp(&octets);
	struct table *table;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < len; i += 13) {
		spew(octets, i);
		assert_false(table_open(&table, path, true, &why));
	}
	free(octets);
}

/* A damaged one of the same name is replaced. */
static void
test_replaced(void **state)
{
	static const unsigned char damaged[] = "no table";
	struct table *table;
	struct reason why;

	(void)state;
	spew(damaged, sizeof(damaged));
	assert_true(compile(TEXT, &why));
	assert_true(table_open(&table, path, true, &why));
	table_close(table);
}

static KCDB *
database(void)
{
	char full[600];
	KCDB *db = kcdbnew();

	(void)snprintf(full, sizeof(full), "%s#msiz=0", path);
	assert_true(kcdbopen(db, full, KCOWRITER));
	return db;
}

static void
done(KCDB *db)
{
	assert_true(kcdbclose(db));
	kcdbdel(db);
}

/* Opened without the whole check, as roles do after the master's: damage is a
 * temporary refusal, never "no row". */
static void
test_value_damaged(void **state)
{
	struct demand *demand = demand_new();
	struct table *table;
	struct reason why;
	char value[256];
	int32_t len;
	KCDB *db = database();

	(void)state;
	len = kcdbgetbuf(db, "ohmx.example", 12, value, sizeof(value));
	assert_in_range(len, 36, sizeof(value));
	for (int32_t i = 0; i < len; i++) {
		value[i] ^= 1;
		assert_true(
		    kcdbset(db, "ohmx.example", 12, value, (size_t)len));
		assert_true(kcdbsync(db, 0, NULL, NULL));
		assert_true(table_open(&table, path, false, &why));
		assert_false(
		    demand_out(demand, table, "mx.example", 25, NOW, &why));
		assert_int_equal(why.code, REASON_TABLE);
		table_close(table);
		value[i] ^= 1;
	}
	done(db);
	demand_free(demand);
}

/* A whole value of another key is not this key's. */
static void
test_value_of_another_key(void **state)
{
	struct demand *demand = demand_new();
	struct table *table;
	struct reason why;
	char value[256];
	KCDB *db = database();
	int32_t len = kcdbgetbuf(db, "o**", 3, value, sizeof(value));

	(void)state;
	assert_true(len > 0);
	assert_true(kcdbset(db, "ohmx.example", 12, value, (size_t)len));
	done(db);
	assert_true(table_open(&table, path, false, &why));
	assert_false(demand_out(demand, table, "mx.example", 25, NOW, &why));
	assert_int_equal(why.code, REASON_TABLE);
	table_close(table);
	demand_free(demand);
}

static void
test_record_missing(void **state)
{
	struct table *table;
	struct reason why;
	KCDB *db = database();

	(void)state;
	assert_true(kcdbremove(db, "ohmx.example", 12));
	done(db);
	assert_false(table_open(&table, path, false, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
}

static void
test_meta_missing(void **state)
{
	struct table *table;
	struct reason why;
	KCDB *db = database();

	(void)state;
	assert_true(kcdbremove(db, "M", 1));
	done(db);
	assert_false(table_open(&table, path, false, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
}

static void
test_meta_damaged(void **state)
{
	struct table *table;
	struct reason why;
	char value[1024];
	int32_t len;
	KCDB *db = database();

	(void)state;
	len = kcdbgetbuf(db, "M", 1, value, sizeof(value));
	assert_in_range(len, 100, sizeof(value));
	for (int32_t i = 0; i < len; i++) {
		value[i] ^= 1;
		assert_true(kcdbset(db, "M", 1, value, (size_t)len));
		assert_true(kcdbsync(db, 0, NULL, NULL));
		assert_false(table_open(&table, path, false, &why));
		assert_int_equal(why.code, REASON_DAMAGED);
		value[i] ^= 1;
	}
	done(db);
}

static void
test_paths(void **state)
{
	struct table_source source = source_of(scratch_path("sites"), TEXT);
	struct table *table;
	struct reason why;
	char other[80];

	(void)state;
	assert_false(table_open(&table, "/nowhere/a#b.kch", false, &why));
	assert_non_null(strstr(why.text, "#"));
	assert_false(table_open(&table, "/nowhere/a.kch", true, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	assert_false(
	    table_compile(&source, "/a#b", other, note_said, NULL, &why));
	assert_false(
	    table_compile(&source, "/nowhere", other, note_said, NULL, &why));
	assert_int_equal(why.code, REASON_ABSENT);
}

/* A role opens it in its own root directory, as a user who may only read. */
static void
test_in_chroot(void **state)
{
	struct reason why;
	pid_t child;
	int status;

	(void)state;
	if (geteuid() != 0) {
		print_message("# not root: no chroot\n");
		skip();
	}
	child = fork();
	if (child == 0) {
		struct demand *demand = demand_new();
		struct table *table;
		char inside[100];

		(void)snprintf(inside, sizeof(inside), "/%s", name);
		if (chroot(folder) != 0 || chdir("/") != 0 ||
		    setgid(65534) != 0 || setuid(65534) != 0)
			_exit(1);
		if (!table_open(&table, inside, false, &why) ||
		    !demand_out(demand, table, "mx.example", 1, NOW, &why))
			_exit(2);
		_exit(demand->level == LEVEL_LOCK ? 0 : 3);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static bool
stop_at_second(void *context, unsigned line, const char *text)
{
	unsigned *last = context;

	(void)text;
	assert_int_equal(line, *last + 1);
	*last = line;
	return line < 2;
}

static void
test_each_stops(void **state)
{
	struct table *table;
	struct reason why;
	unsigned last = 0;

	(void)state;
	assert_true(table_open(&table, path, true, &why));
	assert_int_equal(table_rows(table), 4);
	assert_true(table_each(table, stop_at_second, &last, &why));
	assert_int_equal(last, 2);
	table_close(table);
}

/* --- what the table knows of itself --------------------------------------- */

static void
test_has(void **state)
{
	struct table *some = table_of("* out encrypt\na.example rcpt lock\n");
	struct table *both = table_of("* both encrypt dane\n");
	struct table *none = table_of("");

	(void)state;
	assert_true(table_has(some, 2));
	assert_true(table_has(some, 8));
	assert_false(table_has(some, 1));
	assert_false(table_has(some, 4));
	assert_false(table_wants_dane(some));
	assert_true(table_has(both, 1));
	assert_true(table_has(both, 2));
	assert_false(table_has(both, 4 | 8));
	assert_true(table_wants_dane(both));
	assert_false(table_has(none, 15));
	assert_false(table_wants_dane(none));
	table_close(some);
	table_close(both);
	table_close(none);
}

/* What was told, one line each; stops after `most` of them. */
struct told {
	char text[1024];
	unsigned count, most;
};

static bool
note_exception(void *context, unsigned line, const char *site,
    const char *direction, long long until, const char *reason)
{
	struct told *told = context;
	size_t len = strlen(told->text);

	(void)snprintf(told->text + len, sizeof(told->text) - len,
	    "%u %s %s %lld %s\n", line, site, direction, until, reason);
	return ++told->count < told->most;
}

/* In the order of the text; a row for two directions once. */
static void
test_exceptions(void **state)
{
	struct told told = { .most = 99 };
	struct told first = { .most = 1 };
	struct table *table = table_of(
	    "z.example out may until=2026-06-02 reason=\"no TLS\"\n"
	    "* both encrypt\n"
	    "a.example both verify mode=observe until=2027-01-01 reason=try\n"
	    "192.0.2.9 in verify eku=any until=2026-06-01 reason=e\n"
	    "u@b.example rcpt lock tls-optional=yes until=2026-12-31 "
	    "reason=t\n");
	struct reason why;

	(void)state;
	assert_true(table_exceptions(table, note_exception, &told, &why));
	assert_string_equal(told.text, "1 z.example out 1780444799 no TLS\n"
				       "3 a.example both 1798847999 try\n"
				       "4 192.0.2.9 in 1780358399 e\n"
				       "5 u@b.example rcpt 1798761599 t\n");
	assert_true(table_exceptions(table, note_exception, &first, &why));
	assert_int_equal(first.count, 1);
	table_close(table);
	table = table_of("* both encrypt\n");
	told.count = 0;
	assert_true(table_exceptions(table, note_exception, &told, &why));
	assert_int_equal(told.count, 0);
	table_close(table);
}

static bool
count_exception(void *context, unsigned line, const char *site,
    const char *direction, long long until, const char *reason)
{
	unsigned *last = context;

	(void)site;
	(void)direction;
	(void)until;
	(void)reason;
	assert_int_equal(line, *last + 1);
	*last = line;
	return true;
}

/* More than one list holds. */
static void
test_many_exceptions(void **state)
{
	enum { MANY = 3000 };
	char *text = malloc(MANY * 64);
	struct table *table;
	struct reason why;
	unsigned last = 0;
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		len += (size_t)sprintf(text + len,
		    "h%u.example out may until=2027-01-01 reason=r\n", i);
	table = table_of(text);
	assert_true(table_exceptions(table, count_exception, &last, &why));
	assert_int_equal(last, MANY);
	assert_int_equal(table_rows(table), MANY);
	table_close(table);
	free(text);
}

/* A role that opened it unchecked: damage is never "no exceptions". */
static void
test_list_damaged(void **state)
{
	static const char key[5] = "x\0\0\0\0";
	struct told told = { .most = 99 };
	struct table *table;
	struct reason why;
	char value[256];
	int32_t len;
	KCDB *db = database();

	(void)state;
	len = kcdbgetbuf(db, key, sizeof(key), value, sizeof(value));
	assert_in_range(len, 8, sizeof(value));
	for (int32_t i = 0; i < len; i++) {
		value[i] ^= 1;
		assert_true(kcdbset(db, key, sizeof(key), value, (size_t)len));
		assert_true(kcdbsync(db, 0, NULL, NULL));
		assert_true(table_open(&table, path, false, &why));
		assert_false(
		    table_exceptions(table, note_exception, &told, &why));
		assert_int_equal(why.code, REASON_TABLE);
		table_close(table);
		value[i] ^= 1;
	}
	assert_true(kcdbremove(db, key, sizeof(key)));
	assert_true(kcdbset(db, "o*", 2, "", 0));
	done(db);
	assert_true(table_open(&table, path, false, &why));
	assert_false(table_exceptions(table, note_exception, &told, &why));
	table_close(table);
	assert_int_equal(told.count, 0);
}

/* The old one serves on while another is put in its place. */
static void
test_swap(void **state)
{
	struct demand *demand = demand_new();
	struct table *old, *next;
	struct reason why;
	char other[600];

	(void)state;
	assert_true(table_open(&old, path, true, &why));
	assert_true(compile("* both verify\n", &why));
	(void)snprintf(other, sizeof(other), "%s/%s", folder, name);
	assert_true(table_open(&next, other, true, &why));
	assert_int_equal(unlink(path), 0);
	assert_true(demand_out(demand, old, "mx.example", 1, NOW, &why));
	assert_int_equal(demand->level, LEVEL_LOCK);
	assert_true(demand_out(demand, next, "mx.example", 1, NOW, &why));
	assert_int_equal(demand->level, LEVEL_VERIFY);
	table_close(old);
	table_close(next);
	demand_free(demand);
}

static void
test_empty(void **state)
{
	struct table *table = table_of("");
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_int_equal(table_rows(table), 0);
	assert_true(demand_out(demand, table, "mx.example", 1, NOW, &why));
	assert_int_equal(demand->level, LEVEL_ENCRYPT);
	table_close(table);
	demand_free(demand);
}

#define TEST(function)                                                         \
	cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file),
		TEST(test_same_text_same_file),
		TEST(test_nothing_left),
		TEST(test_flipped),
		TEST(test_cut),
		TEST(test_replaced),
		TEST(test_value_damaged),
		TEST(test_value_of_another_key),
		TEST(test_record_missing),
		TEST(test_meta_missing),
		TEST(test_meta_damaged),
		TEST(test_paths),
		TEST(test_in_chroot),
		TEST(test_each_stops),
		TEST(test_has),
		TEST(test_exceptions),
		TEST(test_many_exceptions),
		TEST(test_list_damaged),
		TEST(test_swap),
		TEST(test_empty),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("kch", tests, scratch_make,
	    scratch_remove);
}
