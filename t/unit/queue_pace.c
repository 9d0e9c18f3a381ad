/*
 * t/unit/queue_pace.c: how many workers a site gets, and when.
 */
#include "queue_world.h"

#include <stdatomic.h>
#include <unistd.h>

#include "../../server/queue_change.h"

enum { MANY = 64 };

/* Deliveries that workers have. */
struct taken {
	struct delivery *deliveries[MANY];
	unsigned count;
};

static void
settle_config(struct world *world, unsigned threads, unsigned retry_s)
{
	world->config.relay_threads = threads;
	world->config.retry_first_s = world->config.retry_most_s = retry_s;
	queue_configure(world->queue, &world->config, world->routes);
}

static void
submit_many(struct world *world, unsigned count, const char *to)
{
	const char *const recipients[] = { to, NULL };
	struct queue_counts counts;
	uint64_t wanted;

	queue_count(world->queue, &counts);
	wanted = counts.messages + count;
	for (unsigned i = 0; i < count; i++)
		assert_true(submit(world, "s@y.example", recipients,
		    "Received: x\r\n", text, strlen(text), NULL));
	do
		queue_count(world->queue, &counts);
	while (counts.messages < wanted && usleep(100) == 0);
}

/* As many as can be had now. */
static unsigned
fill(struct world *world, struct taken *taken)
{
	while (taken->count < MANY) {
		struct delivery *one = queue_take(world->queue, NULL, 20);

		if (one == NULL)
			break;
		taken->deliveries[taken->count++] = one;
	}
	return taken->count;
}

static struct delivery *
put_back(struct taken *taken)
{
	assert_true(taken->count > 0);
	return taken->deliveries[--taken->count];
}

static void
work(struct world *world, struct delivery *one)
{
	queue_hop_worked(world->queue, one);
	finish(world, one, OUTCOME_DELIVERED, "", "250");
}

static void
fail_site(struct world *world, struct delivery *one)
{
	queue_hop_failed(world->queue, one, "refused");
	finish(world, one, OUTCOME_TEMPORARY, "4.4.1", "connection refused");
}

static void
end_all(struct world *world, struct taken *taken)
{
	while (taken->count > 0)
		finish(world, put_back(taken), OUTCOME_DELIVERED, "", "250");
}

/* One more for each that works while the limit is used, and half of the threads
 * at most; one that is not used does not grow. */
static void
test_growth(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 60);
	submit_many(world, 60, "a@x.example");
	assert_int_equal(fill(world, &taken), 4);
	for (unsigned limit = 5; limit <= 10; limit++) {
		work(world, put_back(&taken));
		assert_int_equal(fill(world, &taken), limit);
	}
	for (int i = 0; i < 5; i++)
		work(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 10);
	end_all(world, &taken);
}

static void
test_unused(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 60);
	submit_many(world, 20, "a@x.example");
	for (int i = 0; i < 10; i++)
		work(world, queue_take(world->queue, NULL, 1000));
	assert_int_equal(fill(world, &taken), 4);
	end_all(world, &taken);
}

/* An operator's bound for what one site bears. */
static void
test_configured(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	world->config.site_connections = 3;
	settle_config(world, 20, 60);
	submit_many(world, 20, "a@x.example");
	assert_int_equal(fill(world, &taken), 3);
	for (int i = 0; i < 10; i++) {
		work(world, put_back(&taken));
		assert_int_equal(fill(world, &taken), 3);
	}
	/* Raised while it runs. */
	world->config.site_connections = 0;
	settle_config(world, 20, 60);
	assert_true(fill(world, &taken) > 3);
	end_all(world, &taken);
}

/* Connections that break halve it, once for all that were under way; then it
 * grows by one for as many as there are. */
static void
test_shrink(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 60);
	submit_many(world, 60, "a@x.example");
	fill(world, &taken);
	for (int i = 0; i < 4; i++) {
		work(world, put_back(&taken));
		fill(world, &taken);
	}
	assert_int_equal(taken.count, 8);
	for (int i = 0; i < 4; i++)
		queue_hop_broke(world->queue, taken.deliveries[i]);
	for (int i = 0; i < 4; i++)
		finish(world, put_back(&taken), OUTCOME_DELIVERED, "", "250");
	assert_int_equal(fill(world, &taken), 4);
	for (int i = 0; i < 3; i++) {
		work(world, put_back(&taken));
		assert_int_equal(fill(world, &taken), 4);
	}
	work(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 5);
	end_all(world, &taken);
}

/* What is away is tried by one, and again by one; once that has worked others
 * follow, doubling up to the number of before. */
static void
test_probe(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 1);
	submit_many(world, 60, "a@x.example");
	fill(world, &taken);
	for (int i = 0; i < 3; i++) {
		work(world, put_back(&taken));
		fill(world, &taken);
	}
	assert_int_equal(taken.count, 7);
	/* All fail, and that is one failure. */
	while (taken.count > 0)
		fail_site(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 0);
	for (int i = 0; i < 2; i++) {
		struct delivery *one = queue_take(world->queue, NULL, 5000);

		assert_non_null(one);
		assert_null(queue_take(world->queue, NULL, 1500));
		if (i == 0)
			fail_site(world, one);
		else
			work(world, one);
	}
	assert_int_equal(fill(world, &taken), 2);
	for (unsigned limit = 3; limit <= 7; limit++) {
		work(world, put_back(&taken));
		assert_int_equal(fill(world, &taken), limit);
	}
	work(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 7); /* by one a round again */
	end_all(world, &taken);
}

/* A probe that says nothing of the site lets the next one try. */
static void
test_probe_unsaid(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	settle_config(world, 20, 1);
	submit_many(world, 3, "a@x.example");
	fail_site(world, queue_take(world->queue, NULL, 1000));
	for (int i = 0; i < 2; i++) {
		one = queue_take(world->queue, NULL, 5000);
		assert_non_null(one);
		assert_null(queue_take(world->queue, NULL, 20));
		finish(world, one, OUTCOME_PERMANENT, "5.7.0", "not by us");
	}
}

/* Whoever was under way and gets through opens it again; the number stays
 * halved, and the news of others that were under way are old. */
static void
test_others_work(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 60);
	submit_many(world, 40, "a@x.example");
	assert_int_equal(fill(world, &taken), 4);
	fail_site(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 3);
	work(world, put_back(&taken));
	fail_site(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 2);
	end_all(world, &taken);
}

/* A refused connection where others have one: no more are wanted, that is all,
 * and the message does not wait for it. */
static void
test_crowded(void **state)
{
	struct world *world = *state;
	struct delivery *first, *second;
	struct next_hop kept;
	struct taken taken = { .count = 0 };

	settle_config(world, 20, 60);
	submit_many(world, 20, "a@x.example");
	first = queue_take(world->queue, NULL, 1000);
	second = queue_take(world->queue, NULL, 1000);
	kept = first->hop;
	queue_hop_worked(world->queue, first);
	assert_true(queue_hop_refused(world->queue, second, "refused"));
	finish(world, second, OUTCOME_NONE, "", "421 too many");
	assert_int_equal(fill(world, &taken), 1); /* two, with the first */
	end_all(world, &taken);
	/* The connection is kept, and used. */
	finish(world, first, OUTCOME_DELIVERED, "", "250");
	first = queue_take(world->queue, &kept, 1000);
	second = queue_take(world->queue, NULL, 1000);
	assert_true(queue_hop_refused(world->queue, second, "refused"));
	finish(world, second, OUTCOME_NONE, "", "421 too many");
	/* It turns out to be stale: nobody has one any more. */
	assert_false(queue_hop_refused(world->queue, first, "refused"));
	finish(world, first, OUTCOME_TEMPORARY, "4.4.1", "refused");
	assert_int_equal(fill(world, &taken), 0);
}

/* However many ways lead to it, one site gets half of the workers. */
static void
test_half_of_all_ways(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };
	struct delivery *other;
	unsigned stalled = 0;

	settle_config(world, 8, 60);
	route(world, "a.example rcpt hop-a.example:465\n"
		     "b.example rcpt hop-a.example:465,hop-b.example:465\n"
		     "c.example rcpt hop-c.example:465,hop-a.example:465\n");
	submit_many(world, 10, "a@a.example");
	submit_many(world, 10, "b@b.example");
	assert_int_equal(fill(world, &taken), 4);
	for (unsigned i = 0; i < taken.count; i++)
		stalled +=
		    strcmp(taken.deliveries[i]->hop.host, "hop-a.example") == 0;
	assert_int_equal(stalled, 4);
	/* A way whose first hop is away would go on to it: not now. */
	submit_many(world, 1, "c@c.example");
	other = queue_take(world->queue, NULL, 1000);
	assert_non_null(other);
	assert_string_equal(other->hop.host, "hop-c.example");
	queue_hop_failed(world->queue, other, "refused");
	assert_int_equal(queue_next_hop(world->queue, other), QUEUE_NEXT_LATER);
	finish(world, other, OUTCOME_NONE, "", "");
	end_all(world, &taken);
}

static unsigned
at_other(struct world *world)
{
	unsigned waiting = 0;
	struct queued *message;

	pthread_mutex_lock(&world->queue->lock);
	for (size_t i = 0; i < world->queue->table_size; i++)
		for (message = world->queue->table[i]; message != NULL;
		     message = message->chain)
			waiting +=
			    message->leg.due_at != 0 &&
			    strcmp(hop_name(message->leg.hop)->host,
				"hop-b.example") == 0;
	pthread_mutex_unlock(&world->queue->lock);
	return waiting;
}

/* What waits for a site that stalls, or that one worker tries still, goes
 * elsewhere when a reload says so. */
static void
test_routed_elsewhere(void **state)
{
	struct world *world = *state;
	struct taken taken = { .count = 0 };
	struct delivery *probe;

	settle_config(world, 8, 60);
	route(world, "x.example rcpt hop-a.example:465\n"
		     "s@y.example from hop-a.example:465\n");
	submit_many(world, 2000, "a@x.example");
	assert_int_equal(fill(world, &taken), 4);
	route(world, "x.example rcpt hop-b.example:465\n");
	assert_true(becomes(at_other, world, 1996));
	/* Those that hung in it follow, whatever is known of it. */
	fail_site(world, put_back(&taken));
	assert_true(becomes(at_other, world, 1997));
	finish(world, put_back(&taken), OUTCOME_NONE, "", "");
	assert_true(becomes(at_other, world, 1998));
	end_all(world, &taken);
	/* A new try after a reload waits for no worker that tries it yet. */
	probe = queue_take(world->queue, NULL, 1000);
	assert_non_null(probe);
	fail_site(world, probe);
	route(world, "x.example rcpt hop-b.example:465\n");
	probe = queue_take(world->queue, NULL, 1000);
	assert_non_null(probe);
	assert_null(queue_take(world->queue, NULL, 20));
	route(world, "x.example rcpt hop-b.example:465\n");
	taken.deliveries[taken.count++] = queue_take(world->queue, NULL, 1000);
	assert_non_null(taken.deliveries[0]);
	finish(world, probe, OUTCOME_NONE, "", "");
	end_all(world, &taken);
}

/* A way's second hop takes what the first cannot, without each message trying
 * the first; that is tried by one when its time has come. */
static void
test_second_hop(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	settle_config(world, 8, 2);
	route(world, "* any hop-a.example:465,hop-b.example:465\n");
	submit_many(world, 8, "a@a.example");
	one = queue_take(world->queue, NULL, 1000);
	assert_string_equal(one->hop.host, "hop-a.example");
	queue_hop_failed(world->queue, one, "refused");
	assert_int_equal(queue_next_hop(world->queue, one), QUEUE_NEXT_TAKEN);
	assert_string_equal(one->hop.host, "hop-b.example");
	work(world, one);
	one = queue_take(world->queue, NULL, 1000);
	assert_non_null(one);
	assert_string_equal(one->hop.host, "hop-b.example");
	assert_int_equal(queue_next_hop(world->queue, one), QUEUE_NEXT_NONE);
	work(world, one);
	sleep(3);
	one = queue_take(world->queue, NULL, 1000);
	assert_non_null(one);
	assert_string_equal(one->hop.host, "hop-a.example");
	work(world, one);
	one = queue_take(world->queue, NULL, 1000);
	assert_non_null(one);
	assert_string_equal(one->hop.host, "hop-a.example");
	work(world, one);
}

/* A message that found its site away waits as long as that is left alone, not
 * for the time its own attempts would ask for. */
static void
test_due_with_site(void **state)
{
	struct world *world = *state;
	struct delivery *one;

	world->config.retry_first_s = 1;
	world->config.retry_most_s = 3600;
	queue_configure(world->queue, &world->config, NULL);
	submit_many(world, 1, "a@x.example");
	one = queue_take(world->queue, NULL, 1000);
	one->attempt = 12;
	fail_site(world, one);
	one = queue_take(world->queue, NULL, 10000);
	assert_non_null(one);
	assert_int_equal(one->attempt, 13);
	work(world, one);
}

/* One that learns late that the site is away, while another tries it again, is
 * tried as soon as that has worked. */
static void
test_late(void **state)
{
	struct world *world = *state;
	struct queue_request request = { .verb = QUEUE_FLUSH, .all = true };
	struct delivery *early, *late, *again;
	struct queue_changed changed;
	struct reason why;

	settle_config(world, 8, 3600);
	submit_many(world, 2, "a@x.example");
	early = queue_take(world->queue, NULL, 1000);
	late = queue_take(world->queue, NULL, 1000);
	assert_non_null(late);
	fail_site(world, early);
	assert_true(queue_change(world->queue, &request, &changed, &why));
	again = queue_take(world->queue, NULL, 1000);
	assert_non_null(again);
	fail_site(world, late);
	work(world, again);
	late = queue_take(world->queue, NULL, 30000);
	assert_non_null(late);
	assert_int_equal(late->attempt, 2);
	work(world, late);
}

/* An operator's flush tries what is away at once, by one worker. */
static void
test_flush(void **state)
{
	struct world *world = *state;
	struct queue_request request = { .verb = QUEUE_FLUSH, .all = true };
	struct taken taken = { .count = 0 };
	struct queue_changed changed;
	struct reason why;

	settle_config(world, 20, 3600);
	submit_many(world, 5, "a@x.example");
	fail_site(world, queue_take(world->queue, NULL, 1000));
	assert_int_equal(fill(world, &taken), 0);
	assert_true(queue_change(world->queue, &request, &changed, &why));
	assert_int_equal(changed.changed, 5);
	assert_int_equal(fill(world, &taken), 1);
	work(world, put_back(&taken));
	assert_int_equal(fill(world, &taken), 2);
	end_all(world, &taken);
}

/* What is too old is bounced while its site is left alone. */
static void
test_expiry(void **state)
{
	struct world *world = *state;
	struct queue_counts counts;

	settle_config(world, 20, 3600);
	submit_many(world, 3, "a@x.example");
	fail_site(world, queue_take(world->queue, NULL, 1000));
	world->config.expire_s = 1;
	queue_configure(world->queue, &world->config, NULL);
	for (int i = 0; i < 600; i++) {
		queue_count(world->queue, &counts);
		if (counts.bounced == 3)
			return;
		usleep(100000);
	}
	_fail(__FILE__, __LINE__);
}

struct crowd {
	struct world *world;
	atomic_uint active, most, delivered;
	unsigned messages;
};

static void
note_most(struct crowd *crowd, unsigned now)
{
	unsigned most = atomic_load(&crowd->most);

	while (now > most &&
	       !atomic_compare_exchange_weak(&crowd->most, &most, now))
		continue;
}

/* A worker whose site works, breaks or fails by turns. */
static void *
worker(void *context)
{
	struct crowd *crowd = context;
	struct queue *queue = crowd->world->queue;
	struct next_hop kept, *prefer = NULL;

	for (unsigned i = 0; atomic_load(&crowd->delivered) < crowd->messages;
	     i++) {
		struct delivery *one = queue_take(queue, prefer, 100);

		if (one == NULL)
			continue;
		note_most(crowd, atomic_fetch_add(&crowd->active, 1) + 1);
		kept = one->hop;
		prefer = NULL;
		if (i % 7 == 3 && queue_hop_refused(queue, one, "refused")) {
			atomic_fetch_sub(&crowd->active, 1);
			finish(crowd->world, one, OUTCOME_NONE, "", "");
			continue;
		}
		if (i % 5 == 4)
			queue_hop_broke(queue, one);
		else
			queue_hop_worked(queue, one);
		prefer = i % 5 == 4 ? NULL : &kept;
		atomic_fetch_sub(&crowd->active, 1);
		finish(crowd->world, one, OUTCOME_DELIVERED, "", "250");
		atomic_fetch_add(&crowd->delivered, 1);
	}
	return NULL;
}

static void
test_crowd(void **state)
{
	enum { THREADS = 12 };
	struct world *world = *state;
	struct crowd crowd = { .world = world, .messages = 400 };
	pthread_t threads[THREADS];
	const struct site *site;

	settle_config(world, 12, 1);
	submit_many(world, crowd.messages, "a@x.example");
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, worker, &crowd), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(atomic_load(&crowd.most) <= THREADS / 2);
	site = LIST_FIRST(&world->queue->all_sites);
	assert_int_equal(site->active, 0);
	assert_int_equal(site->connected, 0);
	assert_in_range(site->limit, 1, THREADS / 2);
}

#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_growth),
		WITH_WORLD(test_unused),
		WITH_WORLD(test_configured),
		WITH_WORLD(test_shrink),
		WITH_WORLD(test_probe),
		WITH_WORLD(test_probe_unsaid),
		WITH_WORLD(test_others_work),
		WITH_WORLD(test_crowded),
		WITH_WORLD(test_half_of_all_ways),
		WITH_WORLD(test_routed_elsewhere),
		WITH_WORLD(test_second_hop),
		WITH_WORLD(test_due_with_site),
		WITH_WORLD(test_late),
		WITH_WORLD(test_flush),
		WITH_WORLD(test_expiry),
		WITH_WORLD(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
