/*
 * t/unit/queue_history.c: every attempt is told, over restarts and rotations of
 * the log, or how many are not.
 */
#include "queue_world.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../server/queue_change.h"
#include "../../server/queue_control.h"
#include "../../server/queue_history.h"

static atomic_int sync_fails;

/* Of the relay's log and of the spool, when a test wants it. */
int
fdatasync(int fd)
{
	if (atomic_load(&sync_fails) > 0) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static struct queue_request
about(enum queue_verb verb, const char *id)
{
	struct queue_request request = { .verb = verb };

	snprintf(request.filter.id, sizeof(request.filter.id), "%s", id);
	return request;
}

static bool
gather(void *context, const char *octets, size_t len)
{
	json_t *object = json_loadb(octets, len, 0, NULL);

	assert_non_null(object);
	json_array_append_new(context, object);
	return true;
}

static void
again(struct world *world)
{
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
}

/* The notice of a message comes after the reply to it. */
static void
wait_for_it(struct world *world)
{
	struct queue_counts counts = { .messages = 0 };

	for (int i = 0; i < 500 && counts.messages != 1; i++) {
		queue_count(world->queue, &counts);
		usleep(10000);
	}
	assert_int_equal(counts.messages, 1);
}

/* The next attempt, now. */
static struct delivery *
take_now(struct world *world, const char *id)
{
	const struct queue_request flush = about(QUEUE_FLUSH, id);
	struct queue_changed changed;
	struct delivery *delivery;
	struct reason why;

	if (!queue_change(world->queue, &flush, &changed, &why))
		end_with(&why);
	delivery = queue_take(world->queue, NULL, 5000);
	assert_non_null(delivery);
	return delivery;
}

/* One attempt, that fails for now with the given reply. */
static void
defer(struct world *world, const char *id, const char *reply)
{
	finish(world, take_now(world, id), OUTCOME_TEMPORARY, "4.2.0", reply);
}

struct told {
	unsigned count, left_out;
	unsigned numbers[1000];
	char last[512];
};

/* The attempts that show tells. */
static struct told
tell(struct world *world, const char *id)
{
	const struct queue_request show = about(QUEUE_SHOW, id);
	struct told told = { .count = 0 };
	json_t *objects = json_array(), *one;
	struct reason why;
	size_t i;

	assert_true(log_wait(world->queue, 60000));
	if (!queue_control_tell(world->queue, &show, gather, objects, &why))
		end_with(&why);
	json_array_foreach(objects, i, one)
	{
		const char *kind =
		    json_string_value(json_object_get(one, "kind"));
		const json_t *outcome;

		if (strcmp(kind, "attempt") != 0)
			continue;
		told.left_out += (unsigned)json_integer_value(
		    json_object_get(one, "left_out"));
		told.numbers[told.count++] = (unsigned)json_integer_value(
		    json_object_get(one, "number"));
		outcome = json_array_get(json_object_get(one, "outcomes"), 0);
		snprintf(told.last, sizeof(told.last), "%s",
		    json_string_value(json_object_get(outcome, "text")));
	}
	json_decref(objects);
	return told;
}

/* Attempts from first on, without a gap. */
static void
assert_all(const struct told *told, unsigned count)
{
	assert_int_equal(told->count, count);
	assert_int_equal(told->left_out, 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(told->numbers[i], i + 1);
}

static void
log_path(const struct world *world, unsigned file, char out[static 200])
{
	snprintf(out, 200, "%s/log.%u", world->own, file);
}

/* The number of the only file of the log. */
static unsigned
log_file(const struct world *world)
{
	DIR *folder = opendir(world->own);
	struct dirent *entry;
	unsigned file = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		sscanf(entry->d_name, "log.%u", &file);
	closedir(folder);
	return file;
}

/* The log is rewritten at each restart, and now and then between. */
static void
test_all_kept(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE], reply[40];
	struct told told;

	submit_one(world, id);
	wait_for_it(world);
	for (unsigned i = 1; i <= 12; i++) {
		snprintf(reply, sizeof(reply), "450 try %u", i);
		defer(world, id, reply);
		if (i % 3 == 0)
			again(world);
	}
	told = tell(world, id);
	assert_all(&told, 12);
	assert_string_equal(told.last, "450 try 12");
	again(world);
	again(world);
	told = tell(world, id);
	assert_all(&told, 12);
}

/* Rotations while the queue runs chain what is written with them, too. */
static void
test_rotations(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	struct told told;

	unsigned file;

	world->rotate = 1024;
	submit_one(world, id);
	wait_for_it(world);
	again(world);
	file = log_file(world);
	for (unsigned i = 1; i <= 70; i++)
		defer(world, id, "450 later");
	told = tell(world, id);
	assert_all(&told, 70);
	assert_true(log_file(world) > file);
}

/* The first and the latest stay, in the room there is; all are counted. */
static void
test_bounded(void **state)
{
	enum { ATTEMPTS = 120, LONG = 450 };
	struct world *world = *state;
	char id[QUEUE_ID_SIZE], reply[LONG + 1];
	struct told told;

	memset(reply, 'x', LONG);
	memcpy(reply, "450 ", 4);
	reply[LONG] = '\0';
	submit_one(world, id);
	wait_for_it(world);
	for (unsigned i = 1; i <= ATTEMPTS; i++)
		defer(world, id, reply);
	again(world);
	for (int i = 0; i < 3; i++) {
		told = tell(world, id);
		assert_int_equal(told.count + told.left_out, ATTEMPTS + i);
		assert_true(told.left_out > 0);
		assert_true((told.count - 1) * LONG < HISTORY_MESSAGE);
		assert_true((told.count + 2) * (LONG + 350) > HISTORY_MESSAGE);
		assert_int_equal(told.numbers[0], 1);
		for (unsigned n = 1; n < told.count; n++)
			assert_int_equal(told.numbers[n],
			    ATTEMPTS + i + 1 - told.count + n);
		defer(world, id, reply);
		again(world);
	}
}

/* What one message's attempts may take depends on how many there are. */
static void
test_share(void **state)
{
	struct world *world = *state;
	struct journal journal = { .fd = -1 };
	struct history *history;
	struct reason why;

	history = history_begin(world->queue, &journal, 1000);
	assert_int_equal(history->room, HISTORY_MESSAGE);
	assert_true(history_end(history, false, &why) == false);
	history = history_begin(world->queue, &journal, 1000000);
	assert_true(history->room * 1000000 <= HISTORY_ALL);
	assert_true(history_end(history, false, &why) == false);
}

/* A rotation that a crash cut off: the older file says all, and copies of
 * earlier attempts undo nothing of it. */
static void
test_cut_off(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE], old[200], kept[210], new[200], command[500];
	struct told told;
	struct stat st;

	/* From nobody: the last attempt holds it. */
	assert_true(submit(world, "", one_rcpt, "", text, strlen(text), id));
	wait_for_it(world);
	defer(world, id, "450 later");
	defer(world, id, "450 later");
	again(world);
	finish(world, take_now(world, id), OUTCOME_PERMANENT, "5.1.1",
	    "550 no");
	told = tell(world, id);
	assert_all(&told, 3);
	log_path(world, log_file(world), old);
	snprintf(kept, sizeof(kept), "%s.kept", old);
	snprintf(command, sizeof(command), "cp %s %s", old, kept);
	assert_int_equal(system(command), 0);
	again(world);
	queue_close(world->queue);
	log_path(world, log_file(world), new);
	assert_string_not_equal(old, new);
	/* The last of the three copies is torn, and there is no STATE. */
	assert_int_equal(stat(new, &st), 0);
	assert_int_equal(truncate(new, st.st_size * 2 / 3), 0);
	assert_int_equal(rename(kept, old), 0);
	queue_start(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
	told = tell(world, id);
	assert_all(&told, 3);
	assert_string_equal(told.last, "550 no");
	assert_null(queue_take(world->queue, NULL, 100)); /* held still */
}

/* What could not be synced is written anew, and told once. */
static void
test_written_again(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	struct told told;

	submit_one(world, id);
	wait_for_it(world);
	defer(world, id, "450 first");
	assert_true(log_wait(world->queue, 60000));
	atomic_store(&sync_fails, 1);
	defer(world, id, "450 second");
	assert_false(log_wait(world->queue, 1500));
	atomic_store(&sync_fails, 0);
	told = tell(world, id);
	assert_all(&told, 2);
	again(world);
	told = tell(world, id);
	assert_all(&told, 2);
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_all_kept),
		WITH_WORLD(test_rotations),
		WITH_WORLD(test_bounded),
		WITH_WORLD(test_share),
		WITH_WORLD(test_cut_off),
		WITH_WORLD(test_written_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
