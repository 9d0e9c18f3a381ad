/*
 * t/unit/queue_legs.c: one message over several next hops, each scheduled for
 * itself.
 */
#include "queue_world.h"

#include <unistd.h>

#include "../../policy/routes.h"

static const char ROUTES[] =
    "a.example rcpt hop-a.example:465\n"
    "b.example rcpt hop-b.example:465\n"
    "gone.example rcpt error:5.1.2 \"gone\"\n"
    "drop.example rcpt discard\n"
    "two.example rcpt one.example:465,two.example:465\n";

static void
submit_to(struct world *world, const char *const *to)
{
	assert_true(submit(world, "s@y.example", to, "Received: x\r\n", text,
	    strlen(text), NULL));
}

static const char *const three[] = { "x@a.example", "y@b.example",
	"z@a.example", NULL };

/* The next delivery, which is for that hop. */
static struct delivery *
take(struct world *world, const char *host)
{
	struct delivery *delivery = queue_take(world->queue, NULL, 3000);

	assert_non_null(delivery);
	assert_string_equal(delivery->hop.host, host);
	return delivery;
}

static void
test_divided(void **state)
{
	struct world *world = *state;
	struct delivery *a, *b;
	struct queue_counts counts;

	route(world, ROUTES);
	submit_to(world, three);
	a = queue_take(world->queue, NULL, 3000);
	b = queue_take(world->queue, NULL, 3000);
	assert_non_null(a);
	assert_non_null(b);
	if (strcmp(a->hop.host, "hop-b.example") == 0) {
		struct delivery *other = a;

		a = b;
		b = other;
	}
	assert_string_equal(a->hop.host, "hop-a.example");
	assert_int_equal(a->recipient_count, 2);
	assert_int_equal(a->recipients[0].index, 0);
	assert_int_equal(a->recipients[1].index, 2);
	assert_string_equal(b->hop.host, "hop-b.example");
	assert_int_equal(b->recipient_count, 1);
	assert_int_equal(b->recipients[0].index, 1);
	finish(world, a, OUTCOME_DELIVERED, "", "250");
	queue_count(world->queue, &counts);
	assert_int_equal(counts.messages, 1); /* b's is under way */
	finish(world, b, OUTCOME_DELIVERED, "", "250");
	queue_count(world->queue, &counts);
	assert_int_equal(counts.messages, 0);
	assert_int_equal(counts.delivered, 3);
}

/* One hop that fails backs off by itself, and its attempts are its own; after
 * a restart, too. */
static void
test_back_off(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->config.retry_first_s = world->config.retry_most_s = 2;
	route(world, ROUTES);
	submit_to(world, three);
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		if (one->recipient_count == 2)
			finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
		else
			finish(world, one, OUTCOME_DELIVERED, "", "250");
	}
	assert_null(queue_take(world->queue, NULL, 200));
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	one = take(world, "hop-a.example");
	assert_int_equal(one->attempt, 2);
	assert_int_equal(one->recipient_count, 2);
	finish(world, one, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 100));
}

/* Each start begins a new log with what is known of both. */
static void
test_restarts(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	route(world, ROUTES);
	submit_to(world, three);
	for (unsigned attempt = 1; attempt <= 3; attempt++) {
		for (int leg = 0; leg < 2; leg++) {
			one = queue_take(world->queue, NULL, 3000);
			assert_non_null(one);
			assert_int_equal(one->attempt, attempt);
			finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
		}
		queue_restart(world);
		queue_committed(world->queue, world->start_id, 1, 1 << 20,
		    false);
		queue_restart(world);
		queue_committed(world->queue, world->start_id, 1, 1 << 20,
		    false);
	}
	for (int leg = 0; leg < 2; leg++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		assert_int_equal(one->attempt, 4);
		finish(world, one, OUTCOME_DELIVERED, "", "250");
	}
	assert_null(queue_take(world->queue, NULL, 100));
}

/* Other routes divide what waits anew; what was tried of a hop stays known. */
static void
test_routed_again(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	route(world, ROUTES);
	submit_to(world, three);
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	}
	route(world, "* any hop-a.example:465\n");
	one = take(world, "hop-a.example");
	assert_int_equal(one->recipient_count, 3);
	assert_int_equal(one->attempt, 2);
	finish(world, one, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 1500));
}

/* While a worker has one leg the other goes the way it was to go. */
static void
test_routed_while_active(void **state)
{
	struct world *world = *state;
	struct delivery *a, *b;

	route(world, ROUTES);
	submit_to(world, three);
	a = queue_take(world->queue, NULL, 3000);
	assert_non_null(a);
	route(world, "* any elsewhere.example:465\n");
	b = queue_take(world->queue, NULL, 3000);
	assert_non_null(b);
	assert_true(strcmp(a->hop.host, b->hop.host) != 0);
	assert_int_equal(a->recipient_count + b->recipient_count, 3);
	finish(world, a, OUTCOME_DELIVERED, "", "250");
	finish(world, b, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 100));
}

static void
test_kinds(void **state)
{
	static const char *const to[] = { "x@gone.example", "y@drop.example",
		"z@two.example", NULL };
	struct world *world = *state;
	unsigned seen = 0;

	route(world, ROUTES);
	submit_to(world, to);
	for (int i = 0; i < 3; i++) {
		struct delivery *one = queue_take(world->queue, NULL, 3000);

		assert_non_null(one);
		assert_int_equal(one->recipient_count, 1);
		seen |= 1u << one->way->kind;
		switch (one->way->kind) {
		case ROUTE_RELAY:
			assert_int_equal(one->way->hop_count, 2);
			assert_string_equal(one->way->hops[1].host,
			    "two.example");
			finish(world, one, OUTCOME_DELIVERED, "", "250");
			break;
		case ROUTE_ERROR:
			assert_string_equal(one->way->status, "5.1.2");
			finish(world, one, OUTCOME_DISCARDED, "", "");
			break;
		case ROUTE_DISCARD:
			finish(world, one, OUTCOME_DISCARDED, "", "");
			break;
		}
	}
	assert_int_equal(seen,
	    1u << ROUTE_RELAY | 1u << ROUTE_ERROR | 1u << ROUTE_DISCARD);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	assert_null(queue_take(world->queue, NULL, 100));
}

/* A recipient that nobody can be told of is held; the others go on. */
static void
test_held(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;
	struct delivery *one;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	route(world, ROUTES);
	assert_true(submit(world, "", three, "", text, strlen(text), NULL));
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		if (one->recipient_count == 2)
			finish(world, one, OUTCOME_PERMANENT, "5.0.0", "550");
		else
			finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	}
	one = take(world, "hop-b.example");
	finish(world, one, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 1200));
	queue_count(world->queue, &counts);
	assert_int_equal(counts.held, 1);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	assert_null(queue_take(world->queue, NULL, 1200));
	queue_count(world->queue, &counts);
	assert_int_equal(counts.held, 1);
}

/* What was tried over the second hop of a way is known after a restart. */
static void
test_second_hop(void **state)
{
	static const char *const to[] = { "z@two.example", NULL };
	struct world *world = *state;
	struct delivery *one;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	route(world, ROUTES);
	submit_to(world, to);
	one = take(world, "one.example");
	one->hop = one->way->hops[1];
	finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	one = take(world, "one.example");
	assert_int_equal(one->attempt, 2);
	finish(world, one, OUTCOME_DELIVERED, "", "250");
}

/* All legs of a message that is too old bounce. */
static void
test_expired(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->config.expire_s = 5;
	route(world, ROUTES);
	queue_restart(world);
	submit_to(world, three);
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 3000);
		assert_non_null(one);
		finish(world, one, OUTCOME_TEMPORARY, "4.0.0", "450");
	}
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 20000);
		assert_non_null(one);
		assert_string_equal(one->envelope.reverse_path, "");
		finish(world, one, OUTCOME_DELIVERED, "", "250");
	}
	assert_null(queue_take(world->queue, NULL, 300));
}

#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_divided),
		WITH_WORLD(test_back_off),
		WITH_WORLD(test_restarts),
		WITH_WORLD(test_routed_again),
		WITH_WORLD(test_routed_while_active),
		WITH_WORLD(test_kinds),
		WITH_WORLD(test_held),
		WITH_WORLD(test_second_hop),
		WITH_WORLD(test_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
