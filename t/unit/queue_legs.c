/*
 * t/unit/queue_legs.c: one message over several next hops, each scheduled for
 * itself.
 */
#include "queue_world.h"

#include <jansson.h>
#include <unistd.h>

#include "../../policy/routes.h"
#include "../../server/queue_change.h"
#include "../../server/queue_control.h"

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
		case ROUTE_HOLD:
			assert_true(false); /* workers get none */
		}
	}
	assert_int_equal(seen,
	    1u << ROUTE_RELAY | 1u << ROUTE_ERROR | 1u << ROUTE_DISCARD);
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
	assert_null(queue_take(world->queue, NULL, 100));
}

static bool
gather(void *context, const char *octets, size_t len)
{
	json_t *object = json_loadb(octets, len, 0, NULL);

	assert_non_null(object);
	json_array_append_new(context, object);
	return true;
}

static json_t *
listed(struct world *world)
{
	const struct queue_request list = { .verb = QUEUE_LIST };
	json_t *objects = json_array();
	struct reason why;

	if (!queue_control_tell(world->queue, &list, gather, objects, &why))
		end_with(&why);
	assert_int_equal(json_array_size(objects), 1);
	return objects;
}

static void
assert_listed(struct world *world, const char *state, const char *reason)
{
	json_t *objects = listed(world);
	const json_t *one = json_array_get(objects, 0);

	assert_string_equal(json_string_value(json_object_get(one, "state")),
	    state);
	assert_string_equal(json_string_value(json_object_get(one, "reason")),
	    reason);
	json_decref(objects);
}

static unsigned
release_all(struct world *world)
{
	const struct queue_request release = { .verb = QUEUE_RELEASE,
		.all = true };
	struct queue_changed changed;
	struct reason why;

	if (!queue_change(world->queue, &release, &changed, &why))
		end_with(&why);
	return (unsigned)changed.changed;
}

static void
start_again(struct world *world)
{
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 1 << 20, false);
}

/* What a row holds stays held, over restarts and without the row, until it is
 * released; then it goes as if there were no such rows. */
static void
test_route_hold(void **state)
{
	static const char *const to[] = { "x@kept.example", "y@b.example",
		NULL };
	struct world *world = *state;
	struct delivery *one;

	route(world, "b.example rcpt hop-b.example:465\n"
		     "kept.example rcpt hold \"under review\"\n"
		     ".example rcpt hold\n");
	submit_to(world, to);
	one = take(world, "hop-b.example");
	assert_int_equal(one->recipient_count, 1);
	finish(world, one, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 100));
	assert_listed(world, "held",
	    "held by line 2 of the routes: under review");
	for (int i = 0; i < 2; i++) { /* the second reads a snapshot */
		start_again(world);
		assert_null(queue_take(world->queue, NULL, 100));
		assert_listed(world, "held",
		    "held by line 2 of the routes: under review");
	}
	route(world, "* any hop-c.example:465\n");
	start_again(world);
	assert_null(queue_take(world->queue, NULL, 100));
	assert_listed(world, "held",
	    "held by line 2 of the routes, as they were");
	route(world, "* any hop-c.example:465\nx@kept.example rcpt hold\n");
	start_again(world);
	assert_int_equal(release_all(world), 1);
	assert_int_equal(release_all(world), 0);
	one = take(world, "hop-c.example");
	assert_int_equal(one->recipient_count, 1);
	finish(world, one, OUTCOME_TEMPORARY, "4.2.0", "450 later");
	/* Not again by that row, nor after a restart. */
	for (int i = 0; i < 2; i++) {
		start_again(world);
		assert_listed(world, "deferred", "450 later");
	}
}

/* Rows that come to hold what waits already do so when it is due. */
static void
test_route_hold_later(void **state)
{
	static const char *const to[] = { "x@kept.example", NULL };
	struct world *world = *state;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	route(world, "b.example rcpt hop-b.example:465\n");
	submit_to(world, to);
	finish(world, take(world, "smtp.isp.example"), OUTCOME_TEMPORARY,
	    "4.2.0", "450 later");
	route(world, "kept.example rcpt hold\n");
	assert_null(queue_take(world->queue, NULL, 2500));
	assert_listed(world, "held", "held by line 1 of the routes");
	assert_int_equal(release_all(world), 1);
	finish(world, take(world, "smtp.isp.example"), OUTCOME_DELIVERED, "",
	    "250");
	assert_null(queue_take(world->queue, NULL, 100));
}

/* Released over a hop that has had another recipient's: at once, also while the
 * server runs. */
static void
test_route_released(void **state)
{
	static const char *const to[] = { "x@kept.example", "y@b.example",
		NULL };
	struct world *world = *state;

	route(world, "kept.example rcpt hold\n");
	submit_to(world, to);
	finish(world, take(world, "smtp.isp.example"), OUTCOME_DELIVERED, "",
	    "250");
	assert_int_equal(release_all(world), 1);
	finish(world, take(world, "smtp.isp.example"), OUTCOME_DELIVERED, "",
	    "250");
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
		WITH_WORLD(test_route_hold),
		WITH_WORLD(test_route_hold_later),
		WITH_WORLD(test_route_released),
		WITH_WORLD(test_held),
		WITH_WORLD(test_second_hop),
		WITH_WORLD(test_expired),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
