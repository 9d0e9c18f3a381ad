/*
 * t/unit/queue_delay.c: senders are told once of what is delayed, and whether
 * they were survives a restart.
 */
#include "queue_world.h"

#include <unistd.h>

#include "../../policy/routes.h"

static int
delay_world(void **state)
{
	struct world *world;

	world_new(state);
	world = *state;
	world->config.delay_notice_s = 1;
	world->config.retry_first_s = world->config.retry_most_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	return 0;
}

/* What the notices say that were taken. */
struct seen {
	unsigned notices, attempts;
	char text[8192]; /* of the last */
};

static void
read_notice(const struct delivery *delivery, struct seen *seen)
{
	size_t len = (size_t)delivery->body_len;

	assert_true(len < sizeof(seen->text));
	assert_int_equal(
	    pread(delivery->body_fd, seen->text, len, delivery->body_offset),
	    len);
	seen->text[len] = '\0';
	seen->notices++;
}

enum { LATE_MS = 60000 };

/* For so long, and longer while there is less than wanted (the machine may be
 * slow), notices are delivered and all else is put off. */
static struct seen
watch(struct world *world, int64_t ms, unsigned notices, unsigned attempts)
{
	int64_t begun = queue_now_ms();
	struct seen seen = { 0, 0, "" };
	struct delivery *one;

	while (queue_now_ms() - begun < ms ||
	       ((seen.notices < notices || seen.attempts < attempts) &&
		   queue_now_ms() - begun < LATE_MS)) {
		one = queue_take(world->queue, NULL, 100);
		if (one == NULL)
			continue;
		if (strcmp(one->envelope.recipients[0].forward_path,
			"s@y.example") == 0) {
			assert_string_equal(one->envelope.reverse_path, "");
			read_notice(one, &seen);
			finish(world, one, OUTCOME_DELIVERED, "", "250");
		} else {
			seen.attempts++;
			finish(world, one, OUTCOME_TEMPORARY, "4.2.2",
			    "450 4.2.2 mailbox full");
		}
	}
	return seen;
}

static void
restart(struct world *world)
{
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
}

static void
assert_has(const char *octets, const char *what)
{
	if (strstr(octets, what) == NULL)
		print_error("no \"%s\" in\n%s", what, octets);
	assert_non_null(strstr(octets, what));
}

static void
test_told_once(void **state)
{
	struct world *world = *state;
	struct seen seen;

	submit_one(world, NULL);
	seen = watch(world, 3000, 1, 3);
	assert_int_equal(seen.notices, 1);
	assert_has(seen.text, "\r\nAction: delayed\r\nStatus: 4.2.2\r\n");
	assert_has(seen.text, "450 4.2.2 mailbox full");
	assert_has(seen.text, "\r\nWill-Retry-Until: ");
	assert_has(seen.text, "Final-Recipient: rfc822; a@x.example\r\n");
}

/* The first start reads that it was told as an attempt's record, the next as
 * part of a snapshot. */
static void
test_restarts(void **state)
{
	struct world *world = *state;
	struct seen seen;

	submit_one(world, NULL);
	assert_int_equal(watch(world, 1500, 1, 0).notices, 1);
	for (int i = 0; i < 2; i++) {
		restart(world);
		seen = watch(world, 2500, 0, 1);
		assert_int_equal(seen.notices, 0);
		assert_true(seen.attempts > 0);
	}
}

/* Before any attempt: its next hop may be known to be away. */
static void
test_untried(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;
	struct seen seen;

	world->config.retry_first_s = world->config.retry_most_s = 60;
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	for (int i = 0; i < LATE_MS / 100; i++) {
		queue_count(world->queue, &counts);
		if (counts.messages == 2)
			break;
		usleep(100000);
	}
	assert_int_equal(counts.messages, 2);
	/* From its record, and from a snapshot, as in test_restarts. */
	for (int i = 0; i < 2; i++) {
		restart(world);
		usleep(2500000);
		queue_count(world->queue, &counts);
		assert_int_equal(counts.messages, 2);
	}
	seen = watch(world, 500, 1, 0);
	assert_int_equal(seen.notices, 1);
	assert_has(seen.text, "not tried yet, it waits for smtp.isp.example");
}

/* Each leg for itself; one that was delivered is not delayed. */
static void
test_legs(void **state)
{
	static const char *const to[] = { "x@a.example", "y@b.example",
		"z@c.example", NULL };
	struct world *world = *state;
	struct delivery *one;
	struct seen seen;

	route(world, "a.example rcpt hop-a.example:465\n"
		     "b.example rcpt hop-b.example:465\n");
	assert_true(submit(world, "s@y.example", to, "Received: x\r\n", text,
	    strlen(text), NULL));
	for (int i = 0; i < 3; i++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		if (strcmp(one->hop.host, "hop-a.example") == 0)
			finish(world, one, OUTCOME_DELIVERED, "", "250");
		else
			finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	}
	seen = watch(world, 2500, 2, 0);
	assert_int_equal(seen.notices, 2);
	assert_null(strstr(seen.text, "x@a.example"));
	restart(world);
	assert_int_equal(watch(world, 2500, 0, 0).notices, 0);
	/* Told already: another way is no other delay. */
	route(world, "* any elsewhere.example:465\n");
	seen = watch(world, 2500, 0, 1);
	assert_int_equal(seen.notices, 0);
	assert_true(seen.attempts > 0);
}

static void
test_not_wanted(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->notify = NOTIFY_FAILURE | NOTIFY_SUCCESS;
	submit_one(world, NULL);
	world->notify = NOTIFY_NEVER;
	submit_one(world, NULL);
	world->notify = NOTIFY_DELAY;
	assert_true(submit(world, "", one_rcpt, "", text, strlen(text), NULL));
	for (int i = 0; i < 30; i++) {
		one = queue_take(world->queue, NULL, 100);
		if (one == NULL)
			continue;
		assert_string_equal(one->envelope.recipients[0].forward_path,
		    "a@x.example");
		finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	}
	one = queue_take(world->queue, NULL, 3000);
	assert_non_null(one);
	finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
}

static void
test_asked_for(void **state)
{
	struct world *world = *state;

	world->notify = NOTIFY_DELAY;
	submit_one(world, NULL);
	assert_int_equal(watch(world, 1500, 1, 0).notices, 1);
}

/* Off, and then put in force for what waits already. */
static void
test_configured(void **state)
{
	struct world *world = *state;

	world->config.delay_notice_s = 0;
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	submit_one(world, NULL);
	assert_int_equal(watch(world, 2500, 0, 0).notices, 0);
	world->config.delay_notice_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	restart(world);
	assert_int_equal(watch(world, 1500, 2, 0).notices, 2);
}

/* What expires first fails, and is not told as delayed before. */
static void
test_expired_first(void **state)
{
	struct world *world = *state;
	struct seen seen;

	world->config.expire_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	submit_one(world, NULL);
	seen = watch(world, 2000, 1, 0);
	assert_int_equal(seen.notices, 1);
	assert_has(seen.text, "\r\nAction: failed\r\n");
}

#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, delay_world, world_free)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_told_once),
		WITH_WORLD(test_restarts),
		WITH_WORLD(test_untried),
		WITH_WORLD(test_legs),
		WITH_WORLD(test_not_wanted),
		WITH_WORLD(test_asked_for),
		WITH_WORLD(test_configured),
		WITH_WORLD(test_expired_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
