/*
 * t/unit/queue_compact.c: what is left of a segment, in less room: nothing is
 * lost and nothing comes twice, whenever the process ends.
 */
#include "queue_world.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "../../server/journal.h"

enum { BODY = 8 * 1024, STUCK_BODY = 30 * 1024 };

/* In place of libc's, for all objects of this program: the disk's faults. */
static atomic_int renames_fail, syncs_fail; /* how many of the next calls */

int renameat(int from, const char *name, int to, const char *as);
int fsync(int fd);

int
renameat(int from, const char *name, int to, const char *as)
{
	if (strcmp(name, COMPACT_UNFINISHED) == 0 &&
	    atomic_load(&renames_fail) > 0) {
		atomic_fetch_sub(&renames_fail, 1);
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from, name, to, as, 0);
}

/* Of a folder, right after the image was renamed. */
int
fsync(int fd)
{
	struct stat st;

	if (atomic_load(&syncs_fail) > 0 && fstat(fd, &st) == 0 &&
	    S_ISDIR(st.st_mode)) {
		atomic_fetch_sub(&syncs_fail, 1);
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static const char *const stuck_rcpt[] = { "stuck@x.example", NULL };

/* Where room is short nothing waits: neither what is left of a segment nor what
 * is tried again.  Else it waits for longer than a test lasts. */
static void
set_room(struct world *world, bool is_short)
{
	world->config.spool_reserve = is_short ? UINT64_MAX / 4 : 0;
	world->config.retry_first_s = is_short ? 1 : 3600;
	world->config.retry_most_s = world->config.retry_first_s;
	queue_configure(world->queue, &world->config, world->routes);
}

static int
short_world(void **state)
{
	world_new(state);
	set_room(*state, true);
	return 0;
}

static void
fill_body(char *body, size_t len)
{
	for (size_t i = 0; i < len; i++)
		body[i] = i % 64 == 63 ? '\n' : (char)('a' + i * 7 % 23);
}

static void
submit_sized(struct world *world, const char *const *to, size_t len, char *id)
{
	char *body = malloc(len);
	unsigned before = messages_now(world);

	fill_body(body, len);
	assert_true(
	    submit(world, "s@y.example", to, "H: x\r\n", body, len, id));
	free(body);
	/* The notice of it comes after the reply to it. */
	for (int i = 0; i < 300000 && messages_now(world) == before; i++)
		usleep(100);
	assert_int_equal(messages_now(world), before + 1);
}

/* Deliver all that is due but what is stuck, which gets outcome. */
static unsigned
deliver_rest(struct world *world, enum outcome outcome)
{
	struct delivery *delivery;
	unsigned delivered = 0;

	while ((delivery = queue_take(world->queue, NULL, 20)) != NULL) {
		const char *to = delivery->envelope.recipients[0].forward_path;

		if (strcmp(to, stuck_rcpt[0]) == 0) {
			finish(world, delivery, outcome, "4.2.0",
			    "450 mailbox is full");
			continue;
		}
		finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250");
		delivered++;
	}
	settle(world);
	return delivered;
}

/* One segment, and the next one begun: stuck messages and others. */
static void
fill_segment(struct world *world, unsigned stuck, char ids[][QUEUE_ID_SIZE])
{
	uint32_t segment;
	uint64_t end;

	/* No message stands in the image where it stood before. */
	submit_sized(world, one_rcpt, BODY, NULL);
	for (unsigned i = 0; i < stuck; i++)
		submit_sized(world, stuck_rcpt, STUCK_BODY, ids[i]);
	do {
		submit_sized(world, one_rcpt, BODY, NULL);
		spool_position(world->spool, &segment, &end);
	} while (segment == 1);
}

static unsigned
images_now(struct world *world)
{
	return count_files(world->own, "kept.");
}

static bool
has_first_segment(struct world *world)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%016llx.1", world->in,
	    (unsigned long long)world->start_id);
	return access(path, F_OK) == 0;
}

static unsigned
first_segments_now(struct world *world)
{
	return has_first_segment(world);
}

static void
image_path(struct world *world, char out[static 200])
{
	snprintf(out, 200, "%s/kept.%016llx.1", world->own,
	    (unsigned long long)world->start_id);
}

static void
segment_path(struct world *world, char out[static 200])
{
	snprintf(out, 200, "%s/%016llx.1", world->in,
	    (unsigned long long)world->start_id);
}

static void
aside_path(struct world *world, char out[static 200])
{
	snprintf(out, 200, "%s/aside", world->root);
}

/* A segment with stuck messages, until there is an image instead, of them
 * alone; the segment's file is kept aside. */
static void
make_image(struct world *world, unsigned stuck, char ids[][QUEUE_ID_SIZE])
{
	char path[200], aside[200];

	segment_path(world, path);
	aside_path(world, aside);
	set_room(world, false);
	fill_segment(world, stuck, ids);
	unlink(aside);
	assert_int_equal(link(path, aside), 0);
	assert_true(deliver_rest(world, OUTCOME_TEMPORARY) > 20);
	set_room(world, true);
	assert_true(becomes(first_segments_now, world, 0));
	assert_int_equal(images_now(world), 1);
}

static off_t
size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* As after kill -9 of the relay, with what the disk shows changed by then. */
static void
restart_after(struct world *world, void (*change)(struct world *))
{
	struct queue *queue = world->queue;

	pthread_mutex_lock(&world->lock);
	world->queue = NULL;
	queue_close(queue);
	if (change != NULL)
		change(world);
	queue_start(world);
	pthread_mutex_unlock(&world->lock);
	/* The session tells its position. */
	queue_committed(world->queue, world->start_id, 2, JOURNAL_HEADER_OCTETS,
	    false);
}

/* The stuck ones, each once, with their text, and nothing else. */
static void
expect_stuck(struct world *world, unsigned count, enum outcome outcome)
{
	char *wanted = malloc(STUCK_BODY), *got = malloc(STUCK_BODY);
	struct delivery *delivery;
	unsigned found = 0;

	fill_body(wanted, STUCK_BODY);
	assert_int_equal(messages_now(world), count);
	for (; found < count; found++) {
		delivery = queue_take(world->queue, NULL, 5000);
		assert_non_null(delivery);
		assert_string_equal(
		    delivery->envelope.recipients[0].forward_path,
		    stuck_rcpt[0]);
		assert_true(delivery->attempt > 1);
		assert_int_equal(delivery->body_len, STUCK_BODY);
		assert_int_equal(pread(delivery->body_fd, got, STUCK_BODY,
				     delivery->body_offset),
		    STUCK_BODY);
		assert_memory_equal(got, wanted, STUCK_BODY);
		finish(world, delivery, outcome, "2.0.0", "250");
	}
	settle(world);
	free(wanted);
	free(got);
}

/* --- the ordinary way ----------------------------------------------------- */

static void
test_stuck(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE], path[200];

	make_image(world, 1, ids);
	image_path(world, path);
	assert_true(size_of(path) < STUCK_BODY + 1024);
	assert_int_equal(count_files(world->own, COMPACT_UNFINISHED), 0);
	expect_stuck(world, 1, OUTCOME_DELIVERED);
	assert_true(becomes(images_now, world, 0));
	restart_after(world, NULL);
	assert_int_equal(messages_now(world), 0);
}

static void
test_restart(void **state)
{
	struct world *world = *state;
	char ids[2][QUEUE_ID_SIZE];

	make_image(world, 2, ids);
	restart_after(world, NULL);
	expect_stuck(world, 2, OUTCOME_TEMPORARY);
	restart_after(world, NULL);
	expect_stuck(world, 2, OUTCOME_DELIVERED);
	assert_true(becomes(images_now, world, 0));
}

static unsigned
segments_now(struct world *world)
{
	return count_files(world->in, "");
}

/* Of a session role that is gone: when its time has come, and not before. */
static void
test_dead_writer(void **state)
{
	struct world *world = *state;
	int64_t start = queue_monotonic_ms();
	uint64_t before = world->start_id;
	char dead[32];

	world->config.spool_reserve = 0;
	queue_configure(world->queue, &world->config, world->routes);
	for (int i = 0; i < 20; i++)
		submit_sized(world, i == 7 ? stuck_rcpt : one_rcpt, BODY, NULL);
	deliver_rest(world, OUTCOME_TEMPORARY);
	snprintf(dead, sizeof(dead), "%016llx.1", (unsigned long long)before);
	spool_close(world->spool);
	spool_start(world);
	queue_live(world->queue, world->start_id);
	assert_true(becomes(images_now, world, 1));
	assert_true(queue_monotonic_ms() - start >= 4000);
	assert_true(becomes(segments_now, world, 1));
	assert_int_equal(count_files(world->in, dead), 0);
}

/* Enough is left, or there is nothing to gain. */
static void
test_not_due(void **state)
{
	struct world *world = *state;
	char ids[12][QUEUE_ID_SIZE];

	fill_segment(world, 12, ids); /* 360 KiB of a MiB */
	deliver_rest(world, OUTCOME_TEMPORARY);
	usleep(200000);
	assert_int_equal(images_now(world), 0);
	assert_true(has_first_segment(world));
	/* One more is done, and another: until it is worth it. */
	for (int i = 0; i < 4; i++)
		assert_true(ask(world, QUEUE_REMOVE, ids[i]));
	assert_true(becomes(images_now, world, 1));
	expect_stuck(world, 8, OUTCOME_DELIVERED);
}

/* What a worker has at that time it reads on from where it was. */
static void
test_borrowed(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE], *got = malloc(STUCK_BODY),
				    *wanted = malloc(STUCK_BODY);
	struct delivery *delivery;

	fill_segment(world, 1, ids);
	delivery = queue_take(world->queue, NULL, 5000);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	delivery = queue_take(world->queue, NULL, 5000);
	assert_string_equal(delivery->envelope.queue_id, ids[0]);
	deliver_rest(world, OUTCOME_TEMPORARY);
	assert_true(becomes(images_now, world, 1));
	/* Its segment stays as long as it is read. */
	assert_true(has_first_segment(world));
	fill_body(wanted, STUCK_BODY);
	assert_int_equal(
	    pread(delivery->body_fd, got, STUCK_BODY, delivery->body_offset),
	    STUCK_BODY);
	assert_memory_equal(got, wanted, STUCK_BODY);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_true(becomes(first_segments_now, world, 0));
	assert_true(becomes(images_now, world, 0));
	restart_after(world, NULL);
	assert_int_equal(messages_now(world), 0);
	free(got);
	free(wanted);
}

/* Of five that were left one is: again, and its worker notices nothing. */
static void
test_again(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char ids[5][QUEUE_ID_SIZE], path[200], octet;
	off_t before;

	make_image(world, 5, ids);
	image_path(world, path);
	before = size_of(path);
	delivery = queue_take(world->queue, NULL, 5000);
	assert_non_null(delivery);
	for (int i = 0; i < 5; i++)
		if (strcmp(ids[i], delivery->envelope.queue_id) != 0)
			assert_true(ask(world, QUEUE_REMOVE, ids[i]));
	for (int i = 0; i < 3000 && size_of(path) == before; i++)
		usleep(10000);
	assert_true(size_of(path) < STUCK_BODY + 1024);
	assert_int_equal(
	    pread(delivery->body_fd, &octet, 1, delivery->body_offset), 1);
	assert_int_equal(octet, 'a');
	finish(world, delivery, OUTCOME_TEMPORARY, "4.2.0", "450 full");
	expect_stuck(world, 1, OUTCOME_TEMPORARY);
	restart_after(world, NULL);
	expect_stuck(world, 1, OUTCOME_DELIVERED);
	assert_true(becomes(images_now, world, 0));
}

/* --- whatever is in an image ---------------------------------------------- */

/* The completion stays while the image does. */
static void
test_completed_in_image(void **state)
{
	struct world *world = *state;
	char ids[3][QUEUE_ID_SIZE];

	make_image(world, 3, ids);
	assert_true(ask(world, QUEUE_REMOVE, ids[1]));
	for (int i = 0; i < 3; i++) { /* each start rewrites the log */
		restart_after(world, NULL);
		assert_int_equal(images_now(world), 1);
		expect_stuck(world, 2, OUTCOME_TEMPORARY);
	}
	assert_true(ask(world, QUEUE_REMOVE, ids[0]));
	assert_true(ask(world, QUEUE_REMOVE, ids[2]));
	assert_true(becomes(images_now, world, 0));
}

static void
test_held(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE];

	fill_segment(world, 1, ids);
	assert_true(ask(world, QUEUE_HOLD, ids[0]));
	deliver_rest(world, OUTCOME_TEMPORARY);
	assert_true(becomes(first_segments_now, world, 0));
	restart_after(world, NULL);
	assert_null(queue_take(world->queue, NULL, 50));
	assert_int_equal(messages_now(world), 1);
	assert_true(ask(world, QUEUE_RELEASE, ids[0]));
	assert_int_equal(deliver_rest(world, OUTCOME_DELIVERED), 0);
	assert_int_equal(messages_now(world), 0);
}

static void
test_bounced(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE];
	struct delivery *delivery;

	make_image(world, 1, ids);
	delivery = queue_take(world->queue, NULL, 5000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 unknown");
	settle(world);
	assert_true(becomes(images_now, world, 0));
	restart_after(world, NULL);
	delivery = queue_take(world->queue, NULL, 5000);
	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 20));
}

static void
test_large_body(void **state)
{
	struct world *world = *state;
	size_t len = 2 * 1024 * 1024;
	struct delivery *delivery;
	char ids[1][QUEUE_ID_SIZE], octet;

	submit_sized(world, stuck_rcpt, len, NULL);
	fill_segment(world, 1, ids);
	deliver_rest(world, OUTCOME_TEMPORARY);
	assert_true(becomes(first_segments_now, world, 0));
	assert_int_equal(count_files(world->in, ".m"), 1);
	restart_after(world, NULL);
	assert_int_equal(count_files(world->in, ".m"), 1);
	do {
		delivery = queue_take(world->queue, NULL, 5000);
		assert_non_null(delivery);
		octet = 0;
		assert_int_equal(pread(delivery->body_fd, &octet, 1,
				     delivery->body_offset + 1),
		    1);
		assert_int_equal(octet, 'a' + 7);
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	} while (messages_now(world) > 0);
	settle(world);
	assert_int_equal(count_files(world->in, ".m"), 0);
	assert_true(becomes(images_now, world, 0));
}

/* --- whenever it ends ----------------------------------------------------- */

static void
leave_unfinished(struct world *world)
{
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", world->own, COMPACT_UNFINISHED);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "SALLYJNL", 8), 8);
	close(fd);
}

static void
test_unfinished(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE];

	make_image(world, 1, ids);
	restart_after(world, leave_unfinished);
	assert_int_equal(count_files(world->own, COMPACT_UNFINISHED), 0);
	expect_stuck(world, 1, OUTCOME_DELIVERED);
}

static void
restore_segment(struct world *world)
{
	char path[200], aside[200];

	segment_path(world, path);
	aside_path(world, aside);
	assert_int_equal(link(aside, path), 0);
}

/* Between the image's rename and the segment's unlink. */
static void
test_both(void **state)
{
	struct world *world = *state;
	char ids[2][QUEUE_ID_SIZE];

	make_image(world, 2, ids);
	restart_after(world, restore_segment);
	assert_false(has_first_segment(world));
	expect_stuck(world, 2, OUTCOME_TEMPORARY);
	restart_after(world, NULL);
	expect_stuck(world, 2, OUTCOME_DELIVERED);
	assert_true(becomes(images_now, world, 0));
}

static void
change_octet(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	char octet;

	assert_int_equal(pread(fd, &octet, 1, at), 1);
	octet ^= 16;
	assert_int_equal(pwrite(fd, &octet, 1, at), 1);
	close(fd);
}

static off_t damage_at; /* negative: from the end */

static void
damage_image(struct world *world)
{
	char path[200];

	image_path(world, path);
	change_octet(path,
	    damage_at < 0 ? size_of(path) + damage_at : damage_at);
}

static void
damage_image_of_two(struct world *world)
{
	restore_segment(world);
	damage_image(world);
}

/* As long as the segment is there a damaged image costs nothing: a bit of each
 * part of it. */
static void
test_damaged_copy(void **state)
{
	static const off_t bits[] = { JOURNAL_HEADER_OCTETS + 1, /* mark */
		JOURNAL_HEADER_OCTETS + 57,                      /* origin */
		JOURNAL_HEADER_OCTETS + JOURNAL_RECORD_OCTETS +
		    3,                        /* envelope */
		-JOURNAL_RECORD_OCTETS - 200, /* body */
		-20 };                        /* end */
	struct world *world = *state;
	char ids[2][QUEUE_ID_SIZE], path[200];

	make_image(world, 2, ids);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		damage_at = bits[i];
		restart_after(world, damage_image_of_two);
		assert_int_equal(count_files(path, "kept."), 1);
		/* The segment is read when the session speaks of the next; then
		 * there is an image again. */
		expect_stuck(world, 2, OUTCOME_TEMPORARY);
		assert_true(becomes(first_segments_now, world, 0));
	}
}

/* The only copy: what is damaged is set aside, the rest lives. */
static void
test_damaged(void **state)
{
	struct world *world = *state;
	char ids[3][QUEUE_ID_SIZE], path[200];

	make_image(world, 3, ids);
	damage_at = JOURNAL_HEADER_OCTETS + 9;
	restart_after(world, damage_image);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	assert_int_equal(count_files(path, ".1.128"), 1);
	expect_stuck(world, 2, OUTCOME_DELIVERED);
}

static void
cut_image(struct world *world)
{
	char path[200];

	image_path(world, path);
	assert_int_equal(truncate(path, size_of(path) + damage_at), 0);
}

static void
cut_image_of_two(struct world *world)
{
	restore_segment(world);
	cut_image(world);
}

static void
test_cut(void **state)
{
	struct world *world = *state;
	char ids[2][QUEUE_ID_SIZE], path[200];

	make_image(world, 2, ids);
	damage_at = -JOURNAL_RECORD_OCTETS; /* all but the end */
	restart_after(world, cut_image_of_two);
	snprintf(path, sizeof(path), "%s/damaged", world->own);
	assert_int_equal(count_files(path, "kept."), 1);
	expect_stuck(world, 2, OUTCOME_TEMPORARY);
	assert_true(becomes(first_segments_now, world, 0));
	/* The same without the segment. */
	restart_after(world, cut_image);
	expect_stuck(world, 2, OUTCOME_TEMPORARY);
	/* Into the last message. */
	damage_at = -16;
	restart_after(world, cut_image);
	expect_stuck(world, 1, OUTCOME_DELIVERED);
}

/* --- faults of the disk --------------------------------------------------- */

static unsigned
renames_left(struct world *world)
{
	(void)world;
	return (unsigned)atomic_load(&renames_fail);
}

static unsigned
unfinished_now(struct world *world)
{
	return count_files(world->own, COMPACT_UNFINISHED);
}

/* No room for it: all is as it was, and a later time will do. */
static void
test_no_room(void **state)
{
	struct world *world = *state;
	char ids[1][QUEUE_ID_SIZE];

	atomic_store(&renames_fail, 1);
	fill_segment(world, 1, ids);
	deliver_rest(world, OUTCOME_TEMPORARY);
	assert_true(becomes(renames_left, world, 0));
	assert_true(becomes(unfinished_now, world, 0));
	assert_int_equal(images_now(world), 0);
	assert_true(has_first_segment(world));
	expect_stuck(world, 1, OUTCOME_TEMPORARY);
	restart_after(world, NULL);
	expect_stuck(world, 1, OUTCOME_TEMPORARY);
	assert_true(becomes(first_segments_now, world, 0));
	assert_int_equal(images_now(world), 1);
	expect_stuck(world, 1, OUTCOME_DELIVERED);
}

static unsigned
syncs_left(struct world *world)
{
	(void)world;
	return (unsigned)atomic_load(&syncs_fail);
}

/* Whether the image is there after a crash is not known: the segment stays, and
 * all completions. */
static void
test_failed_sync(void **state)
{
	struct world *world = *state;
	char ids[2][QUEUE_ID_SIZE];

	fill_segment(world, 2, ids);
	atomic_store(&syncs_fail, 1);
	deliver_rest(world, OUTCOME_TEMPORARY);
	assert_true(becomes(syncs_left, world, 0));
	assert_true(becomes(images_now, world, 1));
	expect_stuck(world, 2, OUTCOME_DELIVERED);
	usleep(100000);
	assert_int_equal(images_now(world), 1);
	assert_true(has_first_segment(world));
	restart_after(world, NULL);
	assert_int_equal(messages_now(world), 0);
	assert_true(becomes(images_now, world, 0));
}

#define IN_WORLD(t) cmocka_unit_test_setup_teardown(t, short_world, world_free)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_stuck),
		IN_WORLD(test_restart),
		IN_WORLD(test_dead_writer),
		IN_WORLD(test_not_due),
		IN_WORLD(test_borrowed),
		IN_WORLD(test_again),
		IN_WORLD(test_completed_in_image),
		IN_WORLD(test_held),
		IN_WORLD(test_bounced),
		IN_WORLD(test_large_body),
		IN_WORLD(test_unfinished),
		IN_WORLD(test_both),
		IN_WORLD(test_damaged_copy),
		IN_WORLD(test_damaged),
		IN_WORLD(test_cut),
		IN_WORLD(test_no_room),
		IN_WORLD(test_failed_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
