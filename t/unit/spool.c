/*
 * t/unit/spool.c: the committer: groups, budget, full disks, failing syncs,
 * and what SIGKILL leaves.
 *
 * The disk's faults are made by definitions of fdatasync and pwritev of our
 * own, which take the place of libc's for all objects of this program.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#undef fail /* ours is in policy/reason.h */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/journal.h"
#include "../../server/spool.h"

static atomic_uint syncs;
static atomic_int sync_fails, write_fails; /* errno for the next call */

int fdatasync(int fd);
ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset);

int
fdatasync(int fd)
{
	int error = atomic_exchange(&sync_fails, 0);

	atomic_fetch_add(&syncs, 1);
	if (error != 0) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	int error = atomic_exchange(&write_fails, 0);

	if (error != 0) {
		/* Part of it gets there, as on a full disk. */
		(void)!pwrite(fd, vector[0].iov_base, vector[0].iov_len,
		    offset);
		errno = error;
		return -1;
	}
	return syscall(SYS_pwritev, fd, vector, count, (long)offset, 0L);
}

struct world {
	char path[64];
	struct spool *spool;
	atomic_uint notices, closed;
	uint64_t segment, memory, reserve;
	uint64_t start_id;
};

static void
notice(void *context, uint32_t segment, uint64_t end, bool closed)
{
	struct world *world = context;

	assert_true(segment > 0 && end >= JOURNAL_HEADER_OCTETS);
	atomic_fetch_add(&world->notices, 1);
	atomic_fetch_add(&world->closed, closed);
}

static void
spool_start(struct world *world)
{
	struct spool_options options = {
		.folder = world->path,
		.start_id = ++world->start_id,
		.memory = world->memory,
		.reserve = world->reserve,
		.segment = world->segment,
		.committed = notice,
		.context = world,
	};
	struct reason why;

	if (!spool_open(&world->spool, &options, &why)) {
		print_error("%s\n", why.text);
		_fail(__FILE__, __LINE__);
	}
}

static int
world_new(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	snprintf(world->path, sizeof(world->path), "/tmp/t-spool-XXXXXX");
	assert_non_null(mkdtemp(world->path));
	world->segment = 1 << 20;
	world->memory = 64 << 20;
	atomic_store(&syncs, 0);
	*state = world;
	return 0;
}

static int
world_free(void **state)
{
	struct world *world = *state;
	char command[128];

	umount2(world->path, MNT_DETACH); /* if a test mounted and failed */
	snprintf(command, sizeof(command), "rm -rf %s", world->path);
	assert_int_equal(system(command), 0);
	free(world);
	return 0;
}

/* One message and its end. */
struct post {
	struct world *world;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, ok;
	struct reason why;
	char id[QUEUE_ID_SIZE];
	pthread_t thread;
	unsigned count;
	int acknowledge; /* ids are written here */
};

static void
post_done(void *context, bool ok, const struct reason *why)
{
	struct post *post = context;

	pthread_mutex_lock(&post->lock);
	assert_false(post->done); /* once */
	post->done = true;
	post->ok = ok;
	if (!ok)
		post->why = *why;
	pthread_cond_signal(&post->cond);
	pthread_mutex_unlock(&post->lock);
}

static void
post_init(struct post *post, struct world *world)
{
	memset(post, 0, sizeof(*post));
	pthread_mutex_init(&post->lock, NULL);
	pthread_cond_init(&post->cond, NULL);
	post->world = world;
	post->acknowledge = -1;
}

static void
post_message(struct post *post, struct spool_message *message)
{
	struct envelope envelope;

	post->done = false;
	envelope_init(&envelope);
	spool_queue_id(post->world->spool, envelope.queue_id);
	strcpy(post->id, envelope.queue_id);
	envelope.reverse_path = strdup("s@y.example");
	assert_true(envelope_add_recipient(&envelope, "a@x.example"));
	spool_commit(post->world->spool, message, &envelope, "H: x\r\n", 6,
	    post_done, post);
	envelope_fini(&envelope);
	pthread_mutex_lock(&post->lock);
	while (!post->done)
		pthread_cond_wait(&post->cond, &post->lock);
	pthread_mutex_unlock(&post->lock);
}

static bool
post_octets(struct post *post, size_t len)
{
	struct spool_message *message = spool_message_new(post->world->spool);
	char octets[1000];

	for (size_t i = 0; i < sizeof(octets); i++)
		octets[i] = (char)('a' + i % 26);
	for (size_t at = 0; at < len; at += sizeof(octets)) {
		size_t piece =
		    len - at < sizeof(octets) ? len - at : sizeof(octets);

		if (!spool_message_append(message, octets, piece, &post->why)) {
			spool_message_free(message);
			return false;
		}
	}
	assert_int_equal(spool_message_size(message), len);
	post_message(post, message);
	return post->ok;
}

static void *
post_many(void *arg)
{
	struct post *post = arg;

	for (unsigned i = 0; i < post->count; i++) {
		if (!post_octets(post, 500 + i % 7 * 900))
			return post; /* not NULL: it failed */
		if (post->acknowledge >= 0 &&
		    write(post->acknowledge, post->id, QUEUE_ID_SIZE) !=
			QUEUE_ID_SIZE)
			return post;
	}
	return NULL;
}

/* Ids of all messages in the folder's segments, by the reader alone. */
struct ids {
	char (*id)[QUEUE_ID_SIZE];
	size_t count, damages, torn;
};

static void
read_segment(struct ids *ids, int folder, const char *name)
{
	int fd = journal_open_file(folder, name, O_RDONLY);
	struct journal_header header;
	struct journal_record record;
	struct journal_reader reader;
	enum journal_found found;
	const void *octets;
	uint64_t from, to;
	struct reason why;
	struct stat st;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	if (st.st_size == 0) { /* killed when it was being made */
		close(fd);
		return;
	}
	assert_true(journal_read_header(fd, &header, &why));
	journal_reader_init(&reader, fd, &header, 0, (uint64_t)st.st_size,
	    false, true);
	while ((found = journal_reader_next(&reader, &record, &octets, &from,
		    &to, &why)) != JOURNAL_END) {
		struct envelope envelope;

		ids->damages += found == JOURNAL_DAMAGE;
		ids->torn += found == JOURNAL_TORN;
		if (found != JOURNAL_FOUND || record.type != JOURNAL_MESSAGE)
			continue;
		assert_true(envelope_decode(&envelope, octets,
		    record.envelope_len, &why));
		ids->id =
		    reallocarray(ids->id, ids->count + 1, sizeof(*ids->id));
		memcpy(ids->id[ids->count++], envelope.queue_id, QUEUE_ID_SIZE);
		envelope_fini(&envelope);
	}
	journal_reader_fini(&reader);
	close(fd);
}

static struct ids
read_folder(struct world *world)
{
	struct ids ids = { .id = NULL };
	DIR *folder = opendir(world->path);
	struct dirent *entry;
	uint64_t start_id, number;
	bool large;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		if (journal_parse_name(entry->d_name, &start_id, &number,
			&large) &&
		    !large)
			read_segment(&ids, dirfd(folder), entry->d_name);
	}
	closedir(folder);
	return ids;
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static unsigned
count_files(struct world *world, const char *part)
{
	DIR *folder = opendir(world->path);
	struct dirent *entry;
	unsigned count = 0;

	while ((entry = readdir(folder)) != NULL)
		count += strstr(entry->d_name, part) != NULL;
	closedir(folder);
	return count;
}

/* Many threads share a sync, and nothing is lost or doubled. */
static void
test_group_commit(void **state)
{
	struct world *world = *state;
	enum { THREADS = 16, EACH = 40 };
	struct post posts[THREADS];
	struct ids ids;

	spool_start(world);
	for (int i = 0; i < THREADS; i++) {
		post_init(&posts[i], world);
		posts[i].count = EACH;
		pthread_create(&posts[i].thread, NULL, post_many, &posts[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(posts[i].thread, &failed);
		assert_null(failed);
	}
	spool_close(world->spool);
	assert_true(atomic_load(&syncs) < THREADS * EACH);
	ids = read_folder(world);
	assert_int_equal(ids.count, THREADS * EACH);
	assert_int_equal(ids.damages + ids.torn, 0);
	qsort(ids.id, ids.count, QUEUE_ID_SIZE, compare_ids);
	for (size_t i = 1; i < ids.count; i++)
		assert_string_not_equal(ids.id[i - 1], ids.id[i]);
	/* 2 MiB went into segments of 1 MiB. */
	assert_true(atomic_load(&world->closed) >= 2);
	free(ids.id);
}

/* A new segment begins by saying where the one before ends. */
static void
test_closed_record(void **state)
{
	struct world *world = *state;
	struct journal_header header;
	struct journal_record record;
	unsigned char octets[12];
	char path[JOURNAL_NAME_SIZE + 80];
	struct wire_reader r;
	struct post post;
	struct reason why;
	struct stat st;
	int fd;

	world->segment = 1000;
	spool_start(world);
	post_init(&post, world);
	assert_true(post_octets(&post, 2000));
	assert_true(post_octets(&post, 100));
	spool_close(world->spool);
	snprintf(path, sizeof(path), "%s/%016llx.1", world->path,
	    (unsigned long long)world->start_id);
	assert_int_equal(stat(path, &st), 0);
	path[strlen(path) - 1] = '2';
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && journal_read_header(fd, &header, &why));
	assert_true(journal_read_record(fd, &header, JOURNAL_HEADER_OCTETS,
	    &record, &why));
	assert_int_equal(record.type, JOURNAL_CLOSED);
	assert_int_equal(record.envelope_len, sizeof(octets));
	assert_true(journal_read_parts(fd, &record, octets, &why));
	wire_reader_init(&r, octets, sizeof(octets));
	assert_int_equal(wire_get_u32(&r), 1);
	assert_int_equal(wire_get_u64(&r), st.st_size);
	close(fd);
}

static void
test_large(void **state)
{
	struct world *world = *state;
	struct post post;

	spool_start(world);
	post_init(&post, world);
	assert_true(post_octets(&post, SPOOL_MEMORY_MAX));
	assert_int_equal(count_files(world, ".m"), 0);
	assert_true(post_octets(&post, SPOOL_MEMORY_MAX + 1));
	assert_int_equal(count_files(world, ".m"), 1);
	assert_true(post_octets(&post, 3 << 20));
	assert_int_equal(count_files(world, ".m"), 2);
	spool_close(world->spool);
}

/* Beyond the budget even small ones go to a file of their own; what is freed
 * leaves nothing. */
static void
test_budget(void **state)
{
	struct world *world = *state;
	struct spool_message *held[4], *message;
	struct post post;
	struct reason why;

	world->memory = 40 * 1024;
	spool_start(world);
	post_init(&post, world);
	for (int i = 0; i < 4; i++) {
		held[i] = spool_message_new(world->spool);
		assert_true(spool_message_append(held[i], "x", 1, &why));
	}
	assert_int_equal(count_files(world, ".m"), 0);
	message = spool_message_new(world->spool);
	assert_true(spool_message_append(message, "y", 1, &why));
	assert_int_equal(count_files(world, ".m"), 0);
	spool_message_free(message);
	assert_true(post_octets(&post, 20000));
	assert_int_equal(count_files(world, ".m"), 1);
	for (int i = 0; i < 4; i++)
		spool_message_free(held[i]);
	assert_true(post_octets(&post, 20000));
	assert_int_equal(count_files(world, ".m"), 1);
	message = spool_message_new(world->spool);
	for (int i = 0; i < 40; i++)
		assert_true(spool_message_append(message, post.id,
		    sizeof(post.id), &why));
	spool_message_free(message);
	assert_int_equal(count_files(world, ".m"), 1);
	spool_close(world->spool);
}

/* Too many open files: the same words as for a full disk. */
static void
test_descriptors(void **state)
{
	static const char octets[SPOOL_MEMORY_MAX + 1];
	struct world *world = *state;
	struct spool_message *message;
	struct rlimit before, none = { 0 };
	struct reason why;
	struct post post;
	bool ok;

	spool_start(world);
	post_init(&post, world);
	message = spool_message_new(world->spool);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ok = spool_message_append(message, octets, sizeof(octets), &why);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_false(ok);
	assert_int_equal(why.code, REASON_NO_SPACE);
	spool_message_free(message);
	assert_int_equal(count_files(world, ".m"), 0);
	assert_true(post_octets(&post, SPOOL_MEMORY_MAX + 1));
	spool_close(world->spool);
}

/* The disk is full: refused, nothing of it is left, and later ones go on. */
static void
test_write_fails(void **state)
{
	struct world *world = *state;
	struct post post;
	struct ids ids;

	spool_start(world);
	post_init(&post, world);
	assert_true(post_octets(&post, 100));
	atomic_store(&write_fails, ENOSPC);
	assert_false(post_octets(&post, 200));
	assert_int_equal(post.why.code, REASON_NO_SPACE);
	assert_true(post_octets(&post, 300));
	spool_close(world->spool);
	ids = read_folder(world);
	assert_int_equal(ids.count, 2);
	assert_int_equal(ids.damages + ids.torn, 0);
	free(ids.id);
}

/* After a failed sync the segment is never added to again. */
static void
test_sync_fails(void **state)
{
	struct world *world = *state;
	uint32_t before, after;
	struct post post;
	struct ids ids;
	uint64_t end;

	spool_start(world);
	post_init(&post, world);
	assert_true(post_octets(&post, 100));
	spool_position(world->spool, &before, &end);
	atomic_store(&sync_fails, EIO);
	assert_false(post_octets(&post, 200));
	assert_int_equal(post.why.code, REASON_IO);
	assert_int_equal(atomic_load(&world->closed), 1);
	assert_true(post_octets(&post, 300));
	spool_position(world->spool, &after, &end);
	assert_int_equal(after, before + 1);
	spool_close(world->spool);
	ids = read_folder(world);
	assert_int_equal(ids.count, 2);
	free(ids.id);
}

static void
test_reserve(void **state)
{
	struct world *world = *state;
	struct reason why;

	world->reserve = 1;
	spool_start(world);
	assert_true(spool_has_room(world->spool, 0, &why));
	assert_false(spool_has_room(world->spool, UINT64_MAX / 2, &why));
	assert_int_equal(why.code, REASON_NO_SPACE);
	spool_close(world->spool);
	world->reserve = UINT64_MAX;
	spool_start(world);
	assert_false(spool_has_room(world->spool, 0, &why));
	spool_close(world->spool);
}

/* Free space is looked at once a second. */
static bool
post_until_good(struct post *post, size_t len)
{
	for (int i = 0; i < 300; i++) {
		if (post_octets(post, len))
			return true;
		assert_int_equal(post->why.code, REASON_NO_SPACE);
		usleep(100000);
	}
	return false;
}

/* Somebody else takes all that is left. */
static void
fill(const char *name)
{
	static const char octets[4096];
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	while (write(fd, octets, sizeof(octets)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

/* A real file system of 2 MiB that fills up and is emptied again. */
static void
test_full_disk(void **state)
{
	struct world *world = *state;
	struct post post;
	unsigned good = 0;
	char name[JOURNAL_NAME_SIZE + 80];
	struct ids ids;

	if (mount("none", world->path, "tmpfs", 0, "size=2m") != 0) {
		print_message("# no tmpfs here (not root): skipped\n");
		skip();
	}
	world->segment = 64 * 1024;
	spool_start(world);
	post_init(&post, world);
	while (good < 1000 && post_octets(&post, 30000))
		good++;
	assert_in_range(good, 10, 100);
	assert_int_equal(post.why.code, REASON_NO_SPACE);
	assert_false(post_octets(&post, 30000));
	/* The relay has delivered: a segment goes, and all is well again. */
	snprintf(name, sizeof(name), "%s/%016llx.1", world->path,
	    (unsigned long long)world->start_id);
	assert_int_equal(unlink(name), 0);
	assert_true(post_until_good(&post, 30000));
	snprintf(name, sizeof(name), "%s/foreign", world->path);
	fill(name);
	assert_false(post_octets(&post, 30000));
	assert_int_equal(post.why.code, REASON_NO_SPACE);
	assert_false(post_octets(&post, SPOOL_MEMORY_MAX + 1));
	assert_int_equal(post.why.code, REASON_NO_SPACE);
	assert_int_equal(count_files(world, ".m"), 0);
	assert_int_equal(unlink(name), 0);
	assert_true(post_until_good(&post, 30000));
	spool_close(world->spool);
	ids = read_folder(world);
	assert_int_equal(ids.damages, 0);
	assert_true(ids.count < good + 2); /* segment 1 is gone */
	free(ids.id);
	umount(world->path);
}

/* SIGKILL under load: every acknowledged message is there. */
static void
test_kill(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	size_t acknowledged = 0;
	struct ids ids;
	int ends[2], status;
	pid_t child;

	for (int round = 0; round < 5; round++) {
		world->start_id += 100;
		assert_int_equal(pipe(ends), 0);
		fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		child = fork();
		if (child == 0) {
			struct post posts[8];

			spool_start(world);
			for (int i = 0; i < 8; i++) {
				post_init(&posts[i], world);
				posts[i].count = 1000000;
				posts[i].acknowledge = ends[1];
				pthread_create(&posts[i].thread, NULL,
				    post_many, &posts[i]);
			}
			pause();
		}
		close(ends[1]);
		usleep(60000 + 37000 * (useconds_t)round);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		ids = read_folder(world);
		assert_int_equal(ids.damages, 0);
		qsort(ids.id, ids.count, QUEUE_ID_SIZE, compare_ids);
		while (read(ends[0], id, sizeof(id)) == sizeof(id)) {
			acknowledged++;
			assert_non_null(bsearch(id, ids.id, ids.count,
			    QUEUE_ID_SIZE, compare_ids));
		}
		close(ends[0]);
		free(ids.id);
	}
	print_message("# %zu acknowledged, all found\n", acknowledged);
	assert_true(acknowledged > 0);
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_kill), /* before there are threads */
		WITH_WORLD(test_group_commit),
		WITH_WORLD(test_closed_record),
		WITH_WORLD(test_large),
		WITH_WORLD(test_budget),
		WITH_WORLD(test_descriptors),
		WITH_WORLD(test_write_fails),
		WITH_WORLD(test_sync_fails),
		WITH_WORLD(test_reserve),
		WITH_WORLD(test_full_disk),
	};

	signal(SIGPIPE, SIG_IGN);
	umask(027); /* as the role has it */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
