/*
 * t/unit/queue_flow.c: users take turns at a hop, and sites at the workers.
 */
#include "queue_world.h"

#include <unistd.h>

#include "../../server/queue_change.h"

static uint64_t
count(const struct world *world)
{
	struct queue_counts counts;

	queue_count(world->queue, &counts);
	return counts.messages;
}

/* As if that login had submitted it; the relay knows of it. */
static void
submit_to(struct world *world, const char *login, const char *const *to)
{
	uint64_t before = count(world);

	world->login = login;
	assert_true(submit(world, "s@y.example", to, "Received: x\r\n", text,
	    strlen(text), NULL));
	while (count(world) == before)
		usleep(100);
}

static void
submit_as(struct world *world, const char *login, const char *to)
{
	const char *const recipients[] = { to, NULL };

	submit_to(world, login, recipients);
}

static struct delivery *
take(struct world *world)
{
	struct delivery *delivery = queue_take(world->queue, NULL, 3000);

	assert_non_null(delivery);
	return delivery;
}

/* The next one, delivered; whose it was. */
static char
deliver(struct world *world)
{
	struct delivery *delivery = take(world);
	char owner = delivery->envelope.login == NULL
			 ? '-'
			 : delivery->envelope.login[0];

	queue_hop_worked(world->queue, delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	return owner;
}

static unsigned
flows_of(const struct world *world)
{
	/* A flow, a hop: each may set a time to wake. */
	return (unsigned)world->queue->waketimes.members;
}

/* One message is next but one, however many another user has waiting. */
static void
test_one_of_many(void **state)
{
	struct world *world = *state;

	for (int i = 0; i < 50; i++)
		submit_as(world, "alice", "a@x.example");
	for (int i = 0; i < 5; i++)
		assert_int_equal(deliver(world), 'a');
	submit_as(world, "bob", "a@x.example");
	assert_int_equal(deliver(world) == 'b' || deliver(world) == 'b', 1);
	for (int i = 0; i < 43; i++)
		assert_int_equal(deliver(world), 'a');
}

/* The bound: with k flows, the nth of each is there after n * k picks; also for
 * whoever comes back again and again with one. */
static void
test_bound(void **state)
{
	struct world *world = *state;
	const char *const users[] = { "alice", "bob", "carol", "dave" };
	unsigned got[4] = { 0 };

	for (int i = 0; i < 40; i++) {
		submit_as(world, users[0], "a@x.example");
		if (i < 10)
			submit_as(world, users[1], "a@x.example");
		if (i < 3)
			submit_as(world, users[2], "a@x.example");
	}
	submit_as(world, users[3], "a@x.example");
	for (unsigned pick = 1; pick <= 40; pick++) {
		char owner = deliver(world);

		got[owner - 'a']++;
		if (owner == 'd')
			submit_as(world, users[3], "a@x.example");
		assert_true(got[0] >= pick / 4);
		assert_true(got[1] >= (pick / 4 < 10 ? pick / 4 : 10));
		assert_true(got[2] >= (pick / 4 < 3 ? pick / 4 : 3));
		assert_true(got[3] >= pick / 4);
	}
	assert_int_equal(got[1], 10);
	assert_int_equal(got[2], 3);
}

/* Deferred ones are tried again in spite of a stream of new ones of the same
 * user, and in the order they are due. */
static void
test_deferred(void **state)
{
	struct world *world = *state;
	char id[QUEUE_ID_SIZE];
	struct delivery *one;
	unsigned new_ones = 0;

	world->config.retry_first_s = world->config.retry_most_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	submit_as(world, "alice", "a@x.example");
	one = take(world);
	strcpy(id, one->envelope.queue_id);
	finish(world, one, OUTCOME_TEMPORARY, "4.2.0", "450 later");
	for (;;) {
		bool is_it;

		/* Two come for each that goes. */
		submit_as(world, "alice", "a@x.example");
		submit_as(world, "alice", "a@x.example");
		one = take(world);
		is_it = strcmp(one->envelope.queue_id, id) == 0;
		new_ones += !is_it;
		finish(world, one, OUTCOME_DELIVERED, "", "250");
		if (is_it)
			break;
		assert_true(new_ones < 100000);
	}
	assert_true(new_ones > 0);
}

/* Clients without a login go by address; our own bounces are one flow, so those
 * of a thousand failures hold up nobody. */
static void
test_owners(void **state)
{
	struct world *world = *state;
	struct envelope envelope = { .login = NULL };
	uint32_t alice, by_case, address, other, own;

	envelope.login = (char *)(uintptr_t) "alice@x.example";
	alice = flow_owner(world->queue, &envelope);
	envelope.client = (char *)(uintptr_t) "192.0.2.1";
	envelope.login = (char *)(uintptr_t) "Alice@X.example";
	by_case = flow_owner(world->queue, &envelope);
	assert_int_equal(alice, by_case);
	/* Her devices share with her. */
	envelope.device = true;
	envelope.login = (char *)(uintptr_t) "alice+phone@x.example";
	assert_int_equal(flow_owner(world->queue, &envelope), alice);
	envelope.device = false;
	assert_true(flow_owner(world->queue, &envelope) != alice);
	envelope.login = (char *)(uintptr_t) "";
	address = flow_owner(world->queue, &envelope);
	envelope.client = (char *)(uintptr_t) "192.0.2.2";
	other = flow_owner(world->queue, &envelope);
	envelope.client = (char *)(uintptr_t) "";
	own = flow_owner(world->queue, &envelope);
	assert_true(alice != address && address != other && other != own);
	world->queue->owner_seed++;
	assert_true(flow_owner(world->queue, &envelope) != own);
}

/* A flow is there as long as something waits in it, and no longer: also when an
 * operator takes messages away, and for a message on its way to two hops. */
static void
test_memory(void **state)
{
	struct world *world = *state;
	const char *const two[] = { "a@a.example", "b@b.example", NULL };
	struct queue_request request = { .verb = QUEUE_REMOVE, .all = true };
	struct queue_changed changed;
	unsigned hops, before;
	struct reason why;

	submit_as(world, "alice", "a@x.example");
	deliver(world);
	hops = flows_of(world);
	for (int i = 0; i < 20; i++)
		submit_as(world, "alice", "a@x.example");
	submit_as(world, "bob", "a@x.example");
	assert_int_equal(flows_of(world), hops + 2);
	assert_true(queue_change(world->queue, &request, &changed, &why));
	assert_int_equal(flows_of(world), hops);
	route(world, "a.example rcpt hop-a.example:465\n"
		     "b.example rcpt hop-b.example:465\n");
	submit_to(world, "alice", two);
	before = flows_of(world);
	assert_int_equal(before, hops + 4); /* two hops with a flow each */
	assert_int_equal(deliver(world), 'a');
	assert_int_equal(deliver(world), 'a');
	assert_int_equal(flows_of(world), hops + 2);
}

/* Thousands of sites, each with something: each gets its turn, and each user
 * at each. */
static void
test_many_sites(void **state)
{
	enum { SITES = 2000 };
	struct world *world = *state;
	size_t size = SITES * 64;
	char *rows = calloc(1, size), to[32];
	bool *seen = calloc(SITES, sizeof(*seen));
	size_t len = 0;

	for (unsigned i = 0; i < SITES; i++)
		len += (size_t)snprintf(rows + len, size - len,
		    "d%u.example rcpt hop-%u.example:465\n", i, i);
	route(world, rows);
	for (unsigned i = 0; i < SITES; i++) {
		snprintf(to, sizeof(to), "a@d%u.example", i);
		submit_as(world, "alice", to);
	}
	/* Again the first: it is not before those that wait. */
	submit_as(world, "alice", "a@d0.example");
	for (unsigned i = 0; i < SITES; i++) {
		struct delivery *one = take(world);
		unsigned site;

		assert_int_equal(sscanf(one->hop.host, "hop-%u.example", &site),
		    1);
		assert_false(seen[site]);
		seen[site] = true;
		finish(world, one, OUTCOME_DELIVERED, "", "250");
	}
	free(rows);
	free(seen);
}

/* A worker stays with the site its connection leads to, but not for ever while
 * another has work. */
static void
test_preferred(void **state)
{
	struct world *world = *state;
	struct next_hop kept = { "hop-a.example", 465, true };
	struct delivery *one;
	unsigned at_a = 0;

	route(world, "a.example rcpt hop-a.example:465\n"
		     "b.example rcpt hop-b.example:465\n");
	submit_as(world, "alice", "a@a.example");
	submit_as(world, "bob", "b@b.example");
	submit_as(world, "alice", "a@a.example");
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, &kept, 1000);
		assert_non_null(one);
		assert_string_equal(one->hop.host, "hop-a.example");
		finish(world, one, OUTCOME_DELIVERED, "", "250");
	}
	for (;;) {
		bool is_b;

		submit_as(world, "alice", "a@a.example");
		one = queue_take(world->queue, &kept, 1000);
		assert_non_null(one);
		is_b = strcmp(one->hop.host, "hop-b.example") == 0;
		finish(world, one, OUTCOME_DELIVERED, "", "250");
		if (is_b)
			break;
		assert_true(++at_a < 100000);
	}
	assert_true(at_a > 0);
}

#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_one_of_many),
		WITH_WORLD(test_bound),
		WITH_WORLD(test_deferred),
		WITH_WORLD(test_owners),
		WITH_WORLD(test_memory),
		WITH_WORLD(test_many_sites),
		WITH_WORLD(test_preferred),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
