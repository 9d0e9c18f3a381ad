/*
 * t/unit/queue_disk.c: the queue's disk fails, on both of its sides: what is
 * refused stays refused, what is acknowledged arrives, and all goes on when the
 * disk is well again.
 *
 * The faults are made by definitions of the calls of our own, which take the
 * place of libc's for all objects of this program.
 */
#undef _FORTIFY_SOURCE /* its inline functions would stand before ours */

#include "queue_world.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SHORT = -1, FOREVER = 1 << 30, FAULTS = 6 };

/* The next times calls of call on files of that name fail with error. */
static struct fault {
	const char *call, *pattern;
	int error;
	atomic_int times;
} faults[FAULTS];
static atomic_uint fault_count;

static void
fault(const char *call, const char *pattern, int error, int times)
{
	unsigned n = atomic_load(&fault_count);

	assert_true(n < FAULTS);
	faults[n].call = call;
	faults[n].pattern = pattern;
	faults[n].error = error;
	atomic_store(&faults[n].times, times);
	atomic_store(&fault_count, n + 1);
}

static void
well(void)
{
	for (unsigned i = 0; i < FAULTS; i++)
		atomic_store(&faults[i].times, 0);
	atomic_store(&fault_count, 0);
}

static int
judge(const char *call, const char *path)
{
	const char *slash = strrchr(path, '/');
	unsigned count = atomic_load(&fault_count);

	path = slash != NULL ? slash + 1 : path;
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(faults[i].call, call) == 0 &&
		    fnmatch(faults[i].pattern, path, 0) == 0 &&
		    atomic_load(&faults[i].times) > 0) {
			atomic_fetch_sub(&faults[i].times, 1);
			return faults[i].error;
		}
	}
	return 0;
}

static int
judge_fd(const char *call, int fd)
{
	char link[64], path[256];
	ssize_t len;

	if (atomic_load(&fault_count) == 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0)
		return 0;
	path[len] = '\0';
	return judge(call, path);
}

static int
refuse(int error)
{
	errno = error;
	return -1;
}

int __openat_2(int folder, const char *path, int flags);
int fdatasync(int fd);
int fsync(int fd);
int ftruncate(int fd, off_t length);
int unlinkat(int folder, const char *path, int flags);
ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset);

int
openat(int folder, const char *path, int flags, ...)
{
	int error = judge("open", path);
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return error != 0 ? refuse(error)
			  : (int)syscall(SYS_openat, folder, path, flags, mode);
}

/* What fortified objects call where no mode is given. */
int
__openat_2(int folder, const char *path, int flags)
{
	return openat(folder, path, flags);
}

int
fdatasync(int fd)
{
	int error = judge_fd("fdatasync", fd);

	return error != 0 ? refuse(error) : (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	int error = judge_fd("fsync", fd);

	return error != 0 ? refuse(error) : (int)syscall(SYS_fsync, fd);
}

int
ftruncate(int fd, off_t length)
{
	int error = judge_fd("ftruncate", fd);

	return error != 0 ? refuse(error)
			  : (int)syscall(SYS_ftruncate, fd, length);
}

int
unlinkat(int folder, const char *path, int flags)
{
	int error = judge("unlink", path);

	return error != 0 ? refuse(error)
			  : (int)syscall(SYS_unlinkat, folder, path, flags);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	int error = judge_fd("write", fd);

	if (error > 0) {
		/* All of it gets there, and the disk says no. */
		if (error != EINTR)
			(void)syscall(SYS_pwritev, fd, vector, count,
			    (long)offset, 0L);
		return refuse(error);
	}
	if (error == SHORT)
		count = 1;
	return syscall(SYS_pwritev, fd, vector, count, (long)offset, 0L);
}

static const char segments[] = "????????????????.[0-9]*";

static bool
submit_text(struct world *world, char *id_out)
{
	return submit(world, "s@y.example", one_rcpt, "Received: x\r\n", text,
	    strlen(text), id_out);
}

/* The ids that are delivered after a kill of everything now, as a list in one
 * string.  The disk is well again then. */
static void
delivered_after_kill(struct world *world, char *ids, size_t size)
{
	struct world other = { .config = world->config,
		.start_id = world->start_id + 1000 };
	struct delivery *delivery;
	char command[256];

	snprintf(other.root, sizeof(other.root), "/tmp/t-queue-XXXXXX");
	assert_non_null(mkdtemp(other.root));
	snprintf(other.in, sizeof(other.in), "%s/in", other.root);
	snprintf(other.own, sizeof(other.own), "%s/relay", other.root);
	snprintf(command, sizeof(command), "cp -a %s/in %s/relay %s/",
	    world->root, world->root, other.root);
	assert_int_equal(system(command), 0);
	queue_start(&other);
	ids[0] = '\0';
	while ((delivery = queue_take(other.queue, NULL, 0)) != NULL) {
		size_t used = strlen(ids);

		snprintf(ids + used, size - used, "%s ",
		    delivery->envelope.queue_id);
		finish(&other, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	}
	queue_close(other.queue);
	snprintf(command, sizeof(command), "rm -rf %s", other.root);
	assert_int_equal(system(command), 0);
}

/* A sync fails, and what was written can be read and cannot be cut off: the
 * next segment says where this one ended, before anybody hears of the failure.
 */
static void
test_refused_stays_refused(void **state)
{
	struct world *world = *state;
	char good[QUEUE_ID_SIZE], bad[QUEUE_ID_SIZE], after[QUEUE_ID_SIZE];
	char ids[256];

	submit_one(world, good);
	fault("fdatasync", segments, EIO, 1);
	fault("ftruncate", segments, EIO, FOREVER);
	assert_false(submit_text(world, bad));
	delivered_after_kill(world, ids, sizeof(ids));
	well();
	assert_non_null(strstr(ids, good));
	assert_null(strstr(ids, bad));
	submit_one(world, after);
	delivered_after_kill(world, ids, sizeof(ids));
	assert_non_null(strstr(ids, good));
	assert_null(strstr(ids, bad));
	assert_non_null(strstr(ids, after));
}

/* The same where the segment held nothing before: it goes, also twice in a
 * row, and the end of the one before is known all the same. */
static void
test_refused_in_new_segment(void **state)
{
	struct world *world = *state;
	char good[QUEUE_ID_SIZE], bad[QUEUE_ID_SIZE], ids[256];

	world->deaf = true; /* else the relay removes what is of no use */
	fault("fdatasync", segments, EIO, 1);
	fault("ftruncate", segments, EIO, FOREVER);
	assert_false(submit_text(world, bad));
	delivered_after_kill(world, ids, sizeof(ids));
	assert_string_equal(ids, "");
	well();
	submit_one(world, good);
	/* The batch, and twice the record of where it should have ended. */
	fault("fdatasync", segments, EIO, 3);
	fault("ftruncate", segments, EIO, FOREVER);
	assert_false(submit_text(world, bad));
	assert_false(submit_text(world, bad));
	well();
	submit_one(world, NULL);
	delivered_after_kill(world, ids, sizeof(ids));
	assert_non_null(strstr(ids, good));
	assert_null(strstr(ids, bad));
	assert_int_equal(strlen(ids), 2 * (strlen(good) + 1));
}

/* A write that is cut off on the disk too: the segment goes on being used. */
static void
test_write_fails(void **state)
{
	static const int errors[] = { ENOSPC, EDQUOT, EIO, EROFS };
	struct world *world = *state;
	char bad[QUEUE_ID_SIZE], ids[512];
	uint32_t before, after;
	uint64_t end;

	submit_one(world, NULL);
	spool_position(world->spool, &before, &end);
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fault("write", segments, errors[i], 1);
		assert_false(submit_text(world, bad));
		delivered_after_kill(world, ids, sizeof(ids));
		assert_null(strstr(ids, bad));
		well();
		submit_one(world, NULL);
	}
	spool_position(world->spool, &after, &end);
	assert_int_equal(after, before);
	/* Cut off, but for how long?  Not even that can be synced. */
	fault("write", segments, ENOSPC, 1);
	fault("fdatasync", segments, EIO, 1);
	assert_false(submit_text(world, bad));
	well();
	spool_position(world->spool, &after, &end);
	assert_int_equal(after, before + 1);
	delivered_after_kill(world, ids, sizeof(ids));
	assert_null(strstr(ids, bad));
}

/* Interrupted, or in pieces: nobody notices. */
static void
test_interrupted(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;

	fault("write", segments, EINTR, 2);
	fault("fdatasync", segments, EINTR, 2);
	submit_one(world, NULL);
	well();
	fault("write", segments, SHORT, 3);
	submit_one(world, NULL);
	well();
	for (int i = 0; i < 2; i++) {
		delivery = queue_take(world->queue, NULL, 10000);
		assert_non_null(delivery);
		assert_int_equal(delivery->body_len, strlen(text));
		fault("write", "log.*", i == 0 ? EINTR : SHORT, 2);
		fault("fdatasync", "log.*", EINTR, 1);
		finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
		assert_true(log_wait(world->queue, 30000));
		well();
	}
	queue_restart(world);
	assert_null(queue_take(world->queue, NULL, 0));
}

/* The disk is in trouble from the start on. */
static void
test_start_in_trouble(void **state)
{
	struct world *world = *state;
	struct queue_condition log;
	struct spool_condition disk;
	struct delivery *delivery;

	submit_one(world, NULL);
	spool_close(world->spool);
	fault("fsync", segments, EIO, FOREVER);
	fault("fsync", "log.*", EROFS, FOREVER);
	spool_start(world);
	assert_false(submit_text(world, NULL));
	spool_condition(world->spool, &disk);
	assert_true(disk.failing);
	assert_int_equal(disk.trouble.code, REASON_IO);
	queue_restart(world);
	queue_condition(world->queue, &log);
	assert_true(log.failing);
	assert_null(queue_take(world->queue, NULL, 200));
	well();
	delivery = queue_take(world->queue, NULL, 30000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 30000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	for (int i = 0; disk.failing && i < 600; i++) {
		usleep(100000);
		spool_condition(world->spool, &disk);
	}
	assert_false(disk.failing);
}

static unsigned
files_in(const char *folder)
{
	char command[160], line[32];
	FILE *pipe;

	snprintf(command, sizeof(command), "ls %s | wc -l", folder);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	return (unsigned)strtoul(line, NULL, 10);
}

/* A file that cannot be read for a while: its messages wait, and what belongs
 * to them is not taken for rubbish. */
static void
test_read_fails(void **state)
{
	static char body[SPOOL_MEMORY_MAX + 1];
	struct world *world = *state;
	struct queue_condition condition;
	struct delivery *delivery;
	char name[120];

	memset(body, 'x', sizeof(body));
	submit_one(world, NULL);
	assert_true(submit(world, "s@y.example", one_rcpt, "", body,
	    sizeof(body), NULL));
	spool_close(world->spool);
	spool_start(world); /* the writer of before is dead now */
	fault("open", segments, EIO, FOREVER);
	queue_restart(world);
	assert_null(queue_take(world->queue, NULL, 200));
	queue_tick(world->queue);
	assert_null(queue_take(world->queue, NULL, 200));
	snprintf(name, sizeof(name), "%s/damaged", world->own);
	assert_int_equal(files_in(name), 0);
	/* Nobody takes it for an empty queue. */
	queue_condition(world->queue, &condition);
	assert_true(condition.unread);
	assert_non_null(strstr(condition.unread_why.text, ".1: "));
	assert_false(ask(world, QUEUE_LIST, ""));
	assert_false(ask(world, QUEUE_SUMMARY, ""));
	well();
	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 600; j++) {
			queue_tick(world->queue);
			delivery = queue_take(world->queue, NULL, 50);
			if (delivery != NULL)
				break;
		}
		assert_non_null(delivery);
		finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	}
	assert_true(log_wait(world->queue, 30000));
	queue_condition(world->queue, &condition);
	assert_false(condition.unread);
	assert_true(ask(world, QUEUE_LIST, ""));
}

/* The folder: told once, and what the session role's next start finds well is
 * said to be. */
static void
test_list_fails(void **state)
{
	struct world *world = *state;
	struct queue_condition condition;

	world->deaf = true;
	submit_one(world, NULL);
	spool_close(world->spool);
	spool_start(world);
	fault("open", ".", EIO, FOREVER);
	queue_live(world->queue, world->start_id);
	queue_condition(world->queue, &condition);
	assert_true(condition.unread);
	assert_int_equal(messages_now(world), 0);
	well();
	queue_live(world->queue, world->start_id + 1);
	assert_int_equal(messages_now(world), 1);
	queue_condition(world->queue, &condition);
	assert_false(condition.unread);
}

/* Nothing new is delivered while outcomes cannot be recorded, what was under
 * way is kept, and recorded once the log can be written. */
static void
log_fails(struct world *world, const char *call, int error)
{
	struct delivery *first, *second, *third;
	struct queue_condition log;

	for (int i = 0; i < 3; i++)
		submit_one(world, NULL);
	first = queue_take(world->queue, NULL, 10000);
	second = queue_take(world->queue, NULL, 10000);
	assert_true(first != NULL && second != NULL);
	fault(call, "log.*", error, FOREVER);
	finish(world, first, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_false(log_wait(world->queue, 1500));
	queue_condition(world->queue, &log);
	assert_true(log.failing);
	assert_int_equal(log.waiting, 1);
	assert_null(queue_take(world->queue, NULL, 200));
	finish(world, second, OUTCOME_TEMPORARY, "4.0.0", "450 later");
	queue_condition(world->queue, &log);
	assert_int_equal(log.waiting, 2);
	well();
	third = queue_take(world->queue, NULL, 30000);
	assert_non_null(third);
	finish(world, third, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_true(log_wait(world->queue, 30000));
	queue_condition(world->queue, &log);
	assert_false(log.failing);
	assert_int_equal(log.waiting, 0);
	/* And nothing is delivered again. */
	queue_restart(world);
	assert_null(queue_take(world->queue, NULL, 0));
}

static void
test_log_write_fails(void **state)
{
	log_fails(*state, "write", ENOSPC);
}

static void
test_log_sync_fails(void **state)
{
	log_fails(*state, "fdatasync", EIO);
}

/* A finished segment that cannot be removed goes when that works again, and
 * what it held is not delivered again if it does not. */
static void
unlink_fails(struct world *world, const char *call, const char *pattern)
{
	struct delivery *delivery;
	char ids[256];

	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 10000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_true(log_wait(world->queue, 30000));
	fault(call, pattern, EIO, FOREVER);
	spool_close(world->spool); /* that segment is whole now */
	world->spool = NULL;
	delivered_after_kill(world, ids, sizeof(ids));
	assert_string_equal(ids, "");
	/* As often as it has been tried. */
	for (int i = 0; i < 600 && atomic_load(&faults[0].times) == FOREVER;
	     i++)
		usleep(50000);
	assert_true(atomic_load(&faults[0].times) < FOREVER);
	well();
	for (int i = 0; i < 600 && files_in(world->in) > 0; i++)
		usleep(50000);
	assert_int_equal(files_in(world->in), 0);
	spool_start(world);
	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 10000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
}

static void
test_unlink_fails(void **state)
{
	unlink_fails(*state, "unlink", segments);
}

static void
test_unlink_sync_fails(void **state)
{
	unlink_fails(*state, "fsync", "in");
}

/* An older file of the log that cannot go keeps the later ones: the bounce
 * stands in one, that it was delivered in another. */
static void
test_old_logs_go_in_order(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char ids[256];

	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 10000);
	assert_non_null(delivery);
	fault("unlink", "log.1", EIO, FOREVER);
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 no");
	delivery = queue_take(world->queue, NULL, 10000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	finish(world, delivery, OUTCOME_NONE, "", "");
	assert_true(log_wait(world->queue, 30000));
	queue_restart(world); /* log.2 */
	delivery = queue_take(world->queue, NULL, 10000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 ok");
	assert_true(log_wait(world->queue, 30000));
	queue_restart(world); /* log.3 */
	delivered_after_kill(world, ids, sizeof(ids));
	assert_string_equal(ids, "");
	well();
	queue_restart(world);
	assert_int_equal(files_in(world->own), 2); /* and damaged/ */
}

/* None of them is left unread: completions may stand in it. */
static void
test_too_many_logs(void **state)
{
	struct world *world = *state;
	struct queue_options options = {
		.in_folder = world->in,
		.relay_folder = world->own,
		.config = &world->config,
		.start_id = 77,
	};
	struct queue *queue;
	struct reason why;
	char path[120];

	queue_close(world->queue);
	world->queue = NULL;
	for (int i = 1; i <= 1025; i++) {
		snprintf(path, sizeof(path), "%s/log.%d", world->own, i);
		close(open(path, O_WRONLY | O_CREAT, 0600));
	}
	assert_false(queue_open(&queue, &options, &why));
	assert_non_null(strstr(why.text, "more than 1024 files"));
	assert_int_equal(unlink(path), 0);
	queue_start(world);
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_refused_stays_refused),
		WITH_WORLD(test_refused_in_new_segment),
		WITH_WORLD(test_write_fails),
		WITH_WORLD(test_interrupted),
		WITH_WORLD(test_start_in_trouble),
		WITH_WORLD(test_read_fails),
		WITH_WORLD(test_list_fails),
		WITH_WORLD(test_log_write_fails),
		WITH_WORLD(test_log_sync_fails),
		WITH_WORLD(test_unlink_fails),
		WITH_WORLD(test_unlink_sync_fails),
		WITH_WORLD(test_old_logs_go_in_order),
		WITH_WORLD(test_too_many_logs),
	};

	umask(027);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
