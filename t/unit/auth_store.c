/*
 * t/unit/auth_store.c: the credential store: what it keeps, what it refuses,
 * and that a kill at any moment loses nothing it has acknowledged.
 */
#include <fcntl.h>
#include <kclangc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../auth/control.h"
#include "../../auth/store.h"
#include "../../auth/totals.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char folder[64];
static char path[96];

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/auth_store.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/users.kch", folder);
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
create(void)
{
	struct reason why;

	if (!store_create(path, &why))
		fail_msg("%s", why.text);
}

static struct store *
open_it(void)
{
	struct store *store;
	struct reason why;

	if (!store_open(&store, path, &why))
		fail_msg("%s", why.text);
	return store;
}

static struct entry
user(const char *name)
{
	struct entry entry = { .enabled = true };

	strcpy(entry.name, name);
	assert_true(verifier_derive(&entry.verifiers[VERIFIER_SHA_256],
	    VERIFIER_SHA_256, name, 4096, "0123456789abcdef", 16, NULL));
	return entry;
}

static void
put(struct store *store, const char *name)
{
	struct entry entry = user(name);
	struct reason why;

	if (!store_put(store, &entry, &why))
		fail_msg("%s", why.text);
}

static void
refused(enum reason_code code, const char *text)
{
	struct store *store;
	struct reason why = { 0 };

	if (store_open(&store, path, &why))
		fail_msg("opened, expected \"%s\"", text);
	if (why.code != code || strstr(why.text, text) == NULL)
		fail_msg("%s: %s, expected \"%s\"", reason_word(why.code),
		    why.text, text);
}

static void
test_create(void **state)
{
	struct reason why;
	struct stat st;

	(void)state;
	umask(0);
	create();
	assert_int_equal(umask(022), 0); /* as it was before */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_false(store_create(path, &why));
	assert_int_equal(why.code, REASON_EXISTS);
	store_close(open_it());
}

static void
test_create_for_the_folders_owner(void **state)
{
	uid_t uid = geteuid();
	struct stat st;

	(void)state;
	if (uid == 0) {
		uid = 12345;
		assert_int_equal(chown(folder, uid, 12346), 0);
	}
	create();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, uid);
	if (uid != geteuid())
		refused(REASON_PERMISSION, "belongs to uid 12345");
}

static void
test_put_get_remove(void **state)
{
	struct store *store;
	struct entry in = user("alice@x.org"), out;
	struct reason why;

	(void)state;
	create();
	store = open_it();
	assert_false(store_get(store, "alice@x.org", &out, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	assert_true(store_put(store, &in, &why));
	assert_int_equal(store_count(store), 1);
	assert_true(store_get(store, "alice@x.org", &out, &why));
	assert_memory_equal(&in, &out, sizeof in);
	assert_true(store_put(store, &in, &why));
	assert_int_equal(in.change, 2);
	assert_int_equal(store_count(store), 1);
	put(store, "bob@x.org");
	store_close(store);

	store = open_it();
	assert_int_equal(store_count(store), 2);
	assert_true(store_get(store, "alice@x.org", &out, &why));
	assert_memory_equal(&in, &out, sizeof in);
	assert_true(store_remove(store, "alice@x.org", &why));
	assert_false(store_remove(store, "alice@x.org", &why));
	assert_int_equal(why.code, REASON_ABSENT);
	assert_false(store_get(store, "alice@x.org", &out, &why));
	/* Counted on: a cache must not take the new one for the old one. */
	assert_true(store_put(store, &in, &why));
	assert_int_equal(in.change, 5);
	store_close(store);
	store = open_it();
	assert_int_equal(store_count(store), 2);
	store_close(store);
}

static bool
collect(void *context, const struct entry *entry)
{
	strcat(context, entry->name);
	strcat(context, " ");
	return strcmp(entry->name, "c@x") != 0;
}

static void
test_each_is_sorted(void **state)
{
	static const char *const names[] = { "d@x", "b@x", "a@x", "c@x",
		"a@x.y" };
	struct store *store;
	struct store_walk *walk;
	struct entry entry;
	struct reason why;
	char all[256] = "";
	int n = 0;

	(void)state;
	create();
	store = open_it();
	for (int i = 0; i < 5; i++)
		put(store, names[i]);
	assert_true(store_each(store, collect, all, &why));
	assert_string_equal(all, "a@x a@x.y b@x c@x ");
	assert_true(store_walk_new(&walk, store, &why));
	while (store_walk_next(walk, &entry, &why))
		n++;
	assert_int_equal(why.code, REASON_NONE);
	assert_int_equal(n, 5);
	store_walk_free(walk);
	store_close(store);
}

static struct verifier
fake(struct store *store, enum verifier_hash hash, const char *name)
{
	struct verifier out;

	assert_true(store_fake(store, hash, name, 7777, &out, NULL));
	assert_true(out.present);
	assert_false(out.has_keys);
	return out;
}

static bool
is_alike(const struct verifier *a, const struct verifier *b)
{
	return a->iterations == b->iterations && a->salt_len == b->salt_len &&
	       memcmp(a->salt, b->salt, a->salt_len) == 0;
}

static void
test_fake(void **state)
{
	struct verifier a, b;
	struct store *store;

	(void)state;
	create();
	store = open_it();
	a = fake(store, VERIFIER_SHA_256, "n@x");
	assert_int_equal(a.iterations, 7777);
	assert_int_equal(a.salt_len, VERIFIER_SALT_OCTETS);
	b = fake(store, VERIFIER_SHA_1, "n@x");
	assert_memory_not_equal(a.salt, b.salt, VERIFIER_SALT_OCTETS);
	b = fake(store, VERIFIER_SHA_256, "m@x");
	assert_memory_not_equal(a.salt, b.salt, VERIFIER_SALT_OCTETS);
	store_close(store);
	store = open_it();
	b = fake(store, VERIFIER_SHA_256, "n@x");
	assert_true(is_alike(&a, &b));
	store_close(store);
	/* Another store has another secret. */
	assert_int_equal(unlink(path), 0);
	create();
	store = open_it();
	b = fake(store, VERIFIER_SHA_256, "n@x");
	assert_memory_not_equal(a.salt, b.salt, VERIFIER_SALT_OCTETS);
	store_close(store);
}

static void
put_shape(struct store *store, int number, uint32_t iterations, size_t salt_len)
{
	struct entry entry = { .enabled = true };

	for (int h = 0; h < VERIFIER_HASHES; h++) {
		struct verifier *v = &entry.verifiers[h];

		v->present = v->has_keys = true;
		v->iterations = iterations;
		v->salt_len = salt_len;
		memset(v->salt, number, salt_len);
	}
	snprintf(entry.name, sizeof entry.name, "u%d@x", number);
	assert_true(store_put(store, &entry, NULL));
}

/* Names that do not exist are shown the counts and lengths of salts that users
 * have, as often. */
static void
test_fake_shapes(void **state)
{
	unsigned few = 0, many = 0;
	struct store *store;
	struct verifier a;
	char name[32];

	(void)state;
	create();
	store = open_it();
	for (int i = 0; i < 3; i++)
		put_shape(store, i, 5000, 12);
	put_shape(store, 3, 20000, VERIFIER_SALT_MAX);
	store_close(store);
	store = open_it();
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof name, "n%d@x", i);
		a = fake(store, VERIFIER_SHA_1, name);
		assert_true(
		    (a.iterations == 5000 && a.salt_len == 12) ||
		    (a.iterations == 20000 && a.salt_len == VERIFIER_SALT_MAX));
		few += a.iterations == 5000;
		many += a.iterations == 20000;
	}
	assert_true(few > 2 * many && many > 40);
	/* Shapes that nobody has any more are not shown. */
	assert_true(store_remove(store, "u3@x", NULL));
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "n%d@x", i);
		a = fake(store, VERIFIER_SHA_256, name);
		assert_int_equal(a.iterations, 5000);
	}
	store_close(store);
}

/* What was written before salts' lengths were counted. */
static void
test_old_totals(void **state)
{
	struct totals totals = { .count = 3 }, got;
	unsigned char octets[TOTALS_OCTETS];

	(void)state;
	totals.tallies[1] = (struct tally){ { VERIFIER_SHA_1, 64, 5000 }, 3 };
	totals_put(octets, &totals);
	assert_true(totals_get(&got, octets));
	assert_int_equal(got.tallies[1].shape.hash, VERIFIER_SHA_1);
	assert_int_equal(got.tallies[1].shape.salt_len, 64);
	for (int i = 0; i < TALLIES; i++)
		octets[25 + i * TALLY_OCTETS] &= 3;
	octets[0] = 2;
	assert_true(totals_get(&got, octets));
	assert_int_equal(got.tallies[1].shape.hash, VERIFIER_SHA_1);
	assert_int_equal(got.tallies[1].shape.salt_len, 16);
	assert_int_equal(got.tallies[1].shape.iterations, 5000);
	assert_int_equal(got.tallies[1].entries, 3);
	octets[0] = 1;
	assert_false(totals_get(&got, octets));
}

/* One user more: nearly all names that do not exist look as before, and
 * where one has another count, it has another salt, as with a new password. */
static void
test_fake_is_steady(void **state)
{
	enum { NAMES = 500 };
	struct verifier before[NAMES], now;
	unsigned changed = 0;
	struct store *store;
	char name[32];

	(void)state;
	create();
	store = open_it();
	for (int i = 0; i < 40; i++)
		put_shape(store, i, i % 2 == 0 ? 5000 : 20000, 16);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "n%d@x", i);
		before[i] = fake(store, VERIFIER_SHA_256, name);
	}
	put_shape(store, 40, 20000, 16);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "n%d@x", i);
		now = fake(store, VERIFIER_SHA_256, name);
		if (now.iterations == before[i].iterations) {
			assert_true(is_alike(&now, &before[i]));
		} else {
			changed++;
			assert_memory_not_equal(now.salt, before[i].salt, 16);
		}
	}
	assert_true(changed < NAMES / 20);
	store_close(store);
}

static void
test_modes(void **state)
{
	char other[128];

	(void)state;
	refused(REASON_ABSENT, "sallyport init");
	create();
	assert_int_equal(chmod(path, 0640), 0);
	refused(REASON_PERMISSION, "mode 640, expected 600");
	assert_int_equal(chmod(path, 0604), 0);
	refused(REASON_PERMISSION, "mode 604, expected 600");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(folder, 0777), 0);
	refused(REASON_PERMISSION, "lets others write");
	assert_int_equal(chmod(folder, 0700), 0);
	snprintf(other, sizeof other, "%s/other", folder);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	refused(REASON_IO, "");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(REASON_PERMISSION, "not a regular file");
}

static void
test_strange_paths(void **state)
{
	struct store *store;
	struct reason why;

	(void)state;
	assert_false(store_open(&store, "/tmp/a#b/users.kch", &why));
	assert_int_equal(why.code, REASON_SYNTAX);
	assert_false(store_create("/nonexistent/users.kch", &why));
	assert_int_equal(why.code, REASON_ABSENT);
}

/* In a child: locks are a process's. */
static void
test_one_process(void **state)
{
	struct store *store, *other;
	struct reason why;
	int status;

	(void)state;
	create();
	store = open_it();
	if (fork() == 0) {
		bool ok = store_open(&other, path, &why);

		_exit(!ok && why.code == REASON_AWAY ? 0 : 1);
	}
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	store_close(store);
}

/* Change octets of the file. */
static void
scribble(long at, const void *octets, size_t len)
{
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, octets, len, at), len);
	close(fd);
}

static long
find_octets(const char *what)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	char *all, *at;
	long found;

	assert_int_equal(fstat(fd, &st), 0);
	all = malloc((size_t)st.st_size);
	assert_int_equal(read(fd, all, (size_t)st.st_size), st.st_size);
	at = memmem(all, (size_t)st.st_size, what, strlen(what));
	assert_non_null(at);
	found = at - all;
	free(all);
	close(fd);
	return found;
}

static void
test_damage(void **state)
{
	struct store *store;
	struct entry entry;
	struct reason why;
	long at;

	(void)state;
	create();
	store = open_it();
	put(store, "alice@x.org");
	put(store, "bob@x.org");
	store_close(store);
	/* In the salt of bob's verifier: the library would not notice. */
	at = find_octets("ubob@x.org");
	scribble(at + 90, "\xaa", 1);
	store = open_it();
	assert_true(store_get(store, "alice@x.org", &entry, &why));
	assert_false(store_get(store, "bob@x.org", &entry, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
	assert_false(store_each(store, collect, (char[64]){ 0 }, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
	store_close(store);
}

/* A key that a value does not belong to. */
static void
test_renamed_record(void **state)
{
	struct store *store;
	struct reason why;
	struct entry entry;
	char *value;
	size_t len;
	KCDB *db = kcdbnew();

	(void)state;
	create();
	store = open_it();
	put(store, "alice@x.org");
	put(store, "bob@x.org");
	store_close(store);
	/* As one would who can write the file: bob gets alice's verifier. */
	char options[128];
	snprintf(options, sizeof options, "%s#msiz=0", path);
	assert_true(kcdbopen(db, options, KCOWRITER));
	value = kcdbget(db, "ualice@x.org", 12, &len);
	assert_non_null(value);
	assert_true(kcdbset(db, "ubob@x.org", 10, value, len));
	kcfree(value);
	assert_true(kcdbclose(db));
	kcdbdel(db);
	store = open_it();
	assert_true(store_get(store, "alice@x.org", &entry, &why));
	assert_false(store_get(store, "bob@x.org", &entry, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
	store_close(store);
}

/* Certificates' keys lead to their entries, whatever is done to these. */
static void
test_certificate_keys(void **state)
{
	unsigned char one[SPKI_OCTETS], two[SPKI_OCTETS];
	struct entry entry = { .name = "relay@x.org", .enabled = true };
	char name[NAME_SIZE];
	struct store *store;
	struct reason why;

	(void)state;
	memset(one, 1, sizeof one);
	memset(two, 2, sizeof two);
	create();
	store = open_it();
	entry.key_count = 1;
	memcpy(entry.keys[0], one, SPKI_OCTETS);
	assert_true(store_put(store, &entry, &why));
	assert_true(store_find_key(store, one, name, &why));
	assert_string_equal(name, "relay@x.org");
	assert_false(store_find_key(store, two, name, &why));
	assert_int_equal(why.code, REASON_ABSENT);

	/* Nobody else's, and the refused change has changed nothing. */
	strcpy(entry.name, "thief@x.org");
	assert_false(store_put(store, &entry, &why));
	assert_int_equal(why.code, REASON_EXISTS);
	assert_non_null(strstr(why.text, "relay@x.org"));
	assert_int_equal(store_count(store), 1);

	/* Another key in its place. */
	assert_true(store_get(store, "relay@x.org", &entry, &why));
	memcpy(entry.keys[0], two, SPKI_OCTETS);
	assert_true(store_put(store, &entry, &why));
	assert_false(store_find_key(store, one, name, &why));
	assert_true(store_find_key(store, two, name, &why));
	store_close(store);

	store = open_it(); /* the counts are right */
	assert_true(store_find_key(store, two, name, &why));
	assert_true(store_remove(store, "relay@x.org", &why));
	assert_false(store_find_key(store, two, name, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	store_close(store);
	store_close(open_it());
}

static void
test_lost_record(void **state)
{
	struct store *store;
	KCDB *db = kcdbnew();
	char options[128];

	(void)state;
	create();
	store = open_it();
	put(store, "alice@x.org");
	put(store, "bob@x.org");
	store_close(store);
	snprintf(options, sizeof options, "%s#msiz=0", path);
	assert_true(kcdbopen(db, options, KCOWRITER));
	assert_true(kcdbremove(db, "ubob@x.org", 10));
	assert_true(kcdbclose(db));
	kcdbdel(db);
	refused(REASON_DAMAGED, "holds 1 records, expected 2");
}

static void
test_broken_files(void **state)
{
	struct stat st;

	(void)state;
	create();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 100), 0);
	refused(REASON_DAMAGED, "put the store back");
	assert_int_equal(truncate(path, 0), 0);
	refused(REASON_DAMAGED, "put the store back");
	scribble(0, "not a database at all, but quite long enough", 44);
	refused(REASON_DAMAGED, "put the store back");
}

/* A full disk: the change fails, all else is as before. */
static void
test_full_disk(void **state)
{
	struct store *store;
	struct entry entry;
	struct reason why;
	struct stat st;
	int status;

	(void)state;
	create();
	store = open_it();
	put(store, "alice@x.org");
	store_close(store);
	assert_int_equal(stat(path, &st), 0);
	if (fork() == 0) {
		/* Not even the library's journal can be written. */
		const struct rlimit none = { 0, 0 };
		bool ok;

		signal(SIGXFSZ, SIG_IGN);
		store = open_it();
		setrlimit(RLIMIT_FSIZE, &none);
		entry = user("bob@x.org");
		ok = store_put(store, &entry, &why);
		_exit(ok ? 1 : 0);
	}
	assert_true(wait(&status) > 0);
	assert_int_equal(status, 0);
	store = open_it();
	assert_int_equal(store_count(store), 1);
	assert_true(store_get(store, "alice@x.org", &entry, &why));
	assert_false(store_get(store, "bob@x.org", &entry, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	put(store, "bob@x.org");
	store_close(store);
}

/* In a loop until it is killed: add, change, remove, and say so when done. */
static void
write_on(int out, unsigned first)
{
	struct store *store;
	struct entry entry = { .enabled = true };
	struct reason why;

	if (!store_open(&store, path, &why))
		_exit(1);
	for (unsigned i = first;; i++) {
		snprintf(entry.name, sizeof entry.name, "u%u@x.org", i);
		entry.created = i;
		if (!store_put(store, &entry, &why))
			_exit(1);
		entry.changed = i;
		if (!store_put(store, &entry, &why))
			_exit(1);
		if (i % 3 == 0 && !store_remove(store, entry.name, &why))
			_exit(1);
		if (write(out, &i, sizeof i) != sizeof i)
			_exit(1);
	}
}

static void
check_written(struct store *store, unsigned upto)
{
	struct entry entry;
	struct reason why;
	char name[32];

	for (unsigned i = 1; i <= upto; i++) {
		snprintf(name, sizeof name, "u%u@x.org", i);
		if (i % 3 == 0) {
			assert_false(store_get(store, name, &entry, &why));
			assert_int_equal(why.code, REASON_ABSENT);
			continue;
		}
		if (!store_get(store, name, &entry, &why))
			fail_msg("acknowledged and lost: %s", why.text);
		assert_int_equal(entry.created, i);
		assert_int_equal(entry.changed, i);
	}
}

static void
test_kill(void **state)
{
	unsigned done = 0, acknowledged;
	struct timespec nap = { 0 };
	struct store *store;
	int ends[2];
	pid_t pid;

	(void)state;
	create();
	for (int round = 0; round < 20; round++) {
		assert_int_equal(pipe(ends), 0);
		pid = fork();
		if (pid == 0)
			write_on(ends[1], done + 1);
		close(ends[1]);
		/* However slow the disk is, something has been acknowledged;
		 * then at another place of a transaction each time. */
		assert_int_equal(
		    read(ends[0], &acknowledged, sizeof acknowledged),
		    sizeof acknowledged);
		done = acknowledged;
		nap.tv_nsec = round * 1370000;
		nanosleep(&nap, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		while (read(ends[0], &acknowledged, sizeof acknowledged) ==
		       sizeof acknowledged)
			done = acknowledged;
		close(ends[0]);
		store = open_it();
		check_written(store, done);
		store_close(store);
	}
	assert_true(done >= 20);
	print_message("# %u acknowledged\n", done);
}

static void
test_control(void **state)
{
	struct entry entry = user("alice@x.org"), was;
	struct store *store;
	struct reason why;

	(void)state;
	create();
	store = open_it();
	assert_false(
	    control_user_apply(store, CONTROL_USER_SET, &entry, 10, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	assert_true(
	    control_user_apply(store, CONTROL_USER_ADD, &entry, 10, &why));
	assert_false(
	    control_user_apply(store, CONTROL_USER_ADD, &entry, 11, &why));
	assert_int_equal(why.code, REASON_EXISTS);
	assert_true(
	    control_user_apply(store, CONTROL_USER_DISABLE, &entry, 12, &why));
	was = entry;
	assert_true(
	    control_user_apply(store, CONTROL_USER_SHOW, &entry, 0, &why));
	assert_false(entry.enabled);
	assert_int_equal(entry.created, 10);
	assert_int_equal(entry.changed, 12);
	/* Another password neither enables nor makes it another kind. */
	was.kind = ENTRY_SERVER;
	was.verifiers[0].salt[0] ^= 1;
	assert_true(
	    control_user_apply(store, CONTROL_USER_SET, &was, 13, &why));
	assert_true(store_get(store, "alice@x.org", &entry, &why));
	assert_false(entry.enabled);
	assert_int_equal(entry.kind, ENTRY_PERSON);
	assert_memory_equal(&entry.verifiers, &was.verifiers,
	    sizeof was.verifiers);
	assert_true(
	    control_user_apply(store, CONTROL_USER_ENABLE, &entry, 14, &why));
	assert_true(
	    control_user_apply(store, CONTROL_USER_REMOVE, &entry, 15, &why));
	assert_int_equal(store_count(store), 0);
	/* A verifier that costs nothing to guess at is none. */
	entry.verifiers[0].iterations = 4095;
	assert_false(
	    control_user_apply(store, CONTROL_USER_ADD, &entry, 16, &why));
	store_close(store);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* An export's secret goes into an empty store, and makes the same salts. */
static void
test_secret_is_restored(void **state)
{
	unsigned char secret[STORE_SECRET_OCTETS];
	struct entry entry = user("a@example.org");
	struct verifier salts[2];
	struct store *store;
	struct reason why;

	(void)state;
	memset(secret, 7, sizeof secret);
	for (int i = 0; i < 2; i++) {
		create();
		store = open_it();
		assert_true(store_set_secret(store, secret, NULL));
		assert_true(store_put(store, &entry, NULL));
		assert_false(store_set_secret(store, secret, &why));
		assert_int_equal(why.code, REASON_EXISTS);
		store_close(store);
		store = open_it();
		store_secret(store, secret);
		for (size_t o = 0; o < sizeof secret; o++)
			assert_int_equal(secret[o], 7);
		salts[i] = fake(store, VERIFIER_SHA_1, "x@example.org");
		store_close(store);
		assert_int_equal(unlink(path), 0);
	}
	assert_true(is_alike(&salts[0], &salts[1]));
}

static bool
apply(struct store *store, enum control_user_verb verb, struct entry entry)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	size_t len = control_user_encode(packet, 0, verb, &entry);
	struct entry decoded;

	return control_user_decode(packet + 1, len - 1, &verb, &decoded,
		   NULL) &&
	       control_user_apply(store, verb, &decoded, 1000, NULL);
}

/* What an import may bring, and what other requests do to a foreign hash. */
static void
test_imports(void **state)
{
	struct entry entry = user("a@example.org"), none = { .enabled = true };
	struct entry hash = { .name = "h@example.org", .enabled = true };
	struct store *store;

	(void)state;
	strcpy(none.name, "n@example.org");
	strcpy(hash.foreign, "$1$abcdefgh$ZE59VolIMROFw2UgfozW8/");
	create();
	store = open_it();
	entry.created = 5;
	assert_true(apply(store, CONTROL_USER_IMPORT, entry));
	assert_false(apply(store, CONTROL_USER_IMPORT, entry));
	entry.enabled = false;
	assert_true(apply(store, CONTROL_USER_REPLACE, entry));
	assert_true(store_get(store, entry.name, &entry, NULL));
	assert_false(entry.enabled);
	assert_int_equal(entry.created, 5);
	assert_int_equal(entry.changed, 1000);
	/* One without credential: others say who it is. */
	assert_true(apply(store, CONTROL_USER_IMPORT, none));
	assert_false(apply(store, CONTROL_USER_ADD, hash));
	assert_true(apply(store, CONTROL_USER_IMPORT, hash));
	assert_int_equal(store_count(store), 3);
	/* With salt and keys left out it is no verifier. */
	entry.verifiers[VERIFIER_SHA_256].has_keys = false;
	assert_false(apply(store, CONTROL_USER_REPLACE, entry));
	entry = user("h@example.org");
	assert_true(apply(store, CONTROL_USER_SET, entry));
	assert_true(store_get(store, "h@example.org", &entry, NULL));
	assert_string_equal(entry.foreign, "");
	assert_true(entry.verifiers[VERIFIER_SHA_256].present);
	strcpy(hash.foreign, "$2y$31$abcdefghijklmnopqrstuu"
			     "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe");
	assert_false(apply(store, CONTROL_USER_REPLACE, hash));
	store_close(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(test_create),
		store_test(test_create_for_the_folders_owner),
		store_test(test_put_get_remove),
		store_test(test_each_is_sorted),
		store_test(test_fake),
		store_test(test_fake_shapes),
		store_test(test_fake_is_steady),
		cmocka_unit_test(test_old_totals),
		store_test(test_modes),
		store_test(test_strange_paths),
		store_test(test_one_process),
		store_test(test_damage),
		store_test(test_renamed_record),
		store_test(test_certificate_keys),
		store_test(test_lost_record),
		store_test(test_broken_files),
		store_test(test_full_disk),
		store_test(test_kill),
		store_test(test_control),
		store_test(test_secret_is_restored),
		store_test(test_imports),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
