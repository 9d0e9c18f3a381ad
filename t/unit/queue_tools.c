/*
 * t/unit/queue_tools.c: what an operator sees of the queue, and does to it.
 */
#include "queue_world.h"

#include <jansson.h>
#include <unistd.h>

#include "../../policy/routes.h"
#include "../../server/queue_change.h"
#include "../../server/queue_control.h"
#include "../../server/queue_look.h"

static bool
gather(void *context, const char *octets, size_t len)
{
	json_t *object = json_loadb(octets, len, 0, NULL);

	assert_non_null(object);
	assert_true(len < 30000);
	json_array_append_new(context, object);
	return true;
}

/* What is answered; json_decref it. */
static json_t *
answer(struct world *world, const struct queue_request *request)
{
	json_t *objects = json_array();
	struct reason why;

	if (!queue_control_tell(world->queue, request, gather, objects, &why))
		end_with(&why);
	return objects;
}

static const char *
text_of(const json_t *objects, size_t i, const char *key)
{
	return json_string_value(
	    json_object_get(json_array_get(objects, i), key));
}

static json_int_t
number_of(const json_t *objects, size_t i, const char *key)
{
	return json_integer_value(
	    json_object_get(json_array_get(objects, i), key));
}

static struct queue_request
about(enum queue_verb verb, const char *id)
{
	struct queue_request request = { .verb = verb };

	snprintf(request.filter.id, sizeof(request.filter.id), "%s", id);
	return request;
}

/* Do it to the message, and say how it went. */
static struct queue_changed
act(struct world *world, enum queue_verb verb, const char *id)
{
	const struct queue_request request = about(verb, id);
	struct queue_changed changed;
	struct reason why;

	if (!queue_change(world->queue, &request, &changed, &why))
		end_with(&why);
	return changed;
}

static void
assert_state(struct world *world, const char *id, const char *state)
{
	const struct queue_request list = about(QUEUE_LIST, id);
	json_t *objects = answer(world, &list);

	assert_int_equal(json_array_size(objects), 1);
	assert_string_equal(text_of(objects, 0, "state"), state);
	json_decref(objects);
}

/* Notices of messages come after the replies to them. */
static void
wait_for(struct world *world, unsigned messages)
{
	struct queue_counts counts = { .messages = 0 };

	for (int i = 0; i < 500 && counts.messages != messages; i++) {
		queue_count(world->queue, &counts);
		usleep(10000);
	}
	assert_int_equal(counts.messages, messages);
}

static void
again(struct world *world)
{
	queue_restart(world);
	queue_committed(world->queue, world->start_id, 1, 4096, false);
}

static void
defer(struct world *world, const char *reply)
{
	struct delivery *delivery = queue_take(world->queue, NULL, 2000);

	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_TEMPORARY, "4.2.0", reply);
}

/* Held over restarts and rewritten logs, until it is released; attempts go on
 * being counted. */
static void
test_hold(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE];

	submit_one(world, id);
	defer(world, "450 first");
	assert_int_equal(act(world, QUEUE_HOLD, id).changed, 1);
	assert_int_equal(act(world, QUEUE_HOLD, id).unchanged, 1);
	assert_int_equal(act(world, QUEUE_FLUSH, id).changed, 0);
	assert_null(queue_take(world->queue, NULL, 50));
	for (int i = 0; i < 2; i++) { /* the second reads a snapshot */
		again(world);
		assert_state(world, id, "held");
		assert_null(queue_take(world->queue, NULL, 50));
	}
	assert_int_equal(act(world, QUEUE_RELEASE, id).changed, 1);
	assert_int_equal(act(world, QUEUE_RELEASE, id).unchanged, 1);
	again(world);
	assert_state(world, id, "deferred");
	act(world, QUEUE_FLUSH, id);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_int_equal(delivery->attempt, 2);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

/* What a worker has goes on, and then stays. */
static void
test_hold_active(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	struct queue_changed changed;
	char id[QUEUE_ID_SIZE];

	submit_one(world, id);
	delivery = queue_take(world->queue, NULL, 2000);
	changed = act(world, QUEUE_HOLD, id);
	assert_int_equal(changed.changed, 1);
	assert_int_equal(changed.active, 1);
	finish(world, delivery, OUTCOME_TEMPORARY, "4.2.0", "450 later");
	assert_state(world, id, "held");
	act(world, QUEUE_RELEASE, id);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

/* One that could be neither delivered nor bounced is tried again. */
static void
test_release_failed(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE];

	assert_true(submit(world, "", one_rcpt, "", text, strlen(text), id));
	delivery = queue_take(world->queue, NULL, 2000);
	finish(world, delivery, OUTCOME_PERMANENT, "5.1.1", "550 no");
	assert_state(world, id, "held");
	again(world);
	assert_state(world, id, "held");
	assert_int_equal(act(world, QUEUE_BOUNCE, id).refused, 1);
	assert_state(world, id, "held");
	assert_int_equal(act(world, QUEUE_RELEASE, id).changed, 1);
	again(world);
	again(world);
	act(world, QUEUE_FLUSH, id);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	assert_int_equal(delivery->attempt, 2);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

/* The octets of what is delivered next. */
static void
take_report(struct world *world, char *out, size_t size)
{
	struct delivery *delivery = queue_take(world->queue, NULL, 2000);
	size_t len;

	assert_non_null(delivery);
	assert_string_equal(delivery->envelope.reverse_path, "");
	assert_string_equal(delivery->envelope.recipients[0].forward_path,
	    "s@y.example");
	len = delivery->body_len < size ? (size_t)delivery->body_len : size - 1;
	assert_int_equal(
	    pread(delivery->body_fd, out, len, delivery->body_offset), len);
	out[len] = '\0';
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
}

/* Held or waiting: the sender is told why, and what was said last. */
static void
test_bounce(void **state)
{
	struct world *world = *state;
	struct queue_request request = { .verb = QUEUE_BOUNCE };
	struct queue_changed changed;
	char id[QUEUE_ID_SIZE], report[8192];
	struct reason why;

	submit_one(world, id);
	defer(world, "450 4.2.0 full");
	act(world, QUEUE_HOLD, id);
	request = about(QUEUE_BOUNCE, id);
	strcpy(request.status, "5.7.1");
	strcpy(request.text, "not wanted here");
	assert_true(queue_change(world->queue, &request, &changed, &why));
	assert_int_equal(changed.changed, 1);
	take_report(world, report, sizeof(report));
	assert_non_null(strstr(report, "a@x.example"));
	assert_non_null(strstr(report, "Status: 5.7.1"));
	assert_non_null(strstr(report, "not wanted here"));
	assert_non_null(strstr(report, "450 4.2.0 full"));
	assert_false(queue_change(world->queue, &request, &changed, &why));
	assert_int_equal(why.code, REASON_ABSENT);
}

static void
test_bounce_active(void **state)
{
	struct world *world = *state;
	struct delivery *delivery;
	struct queue_changed changed;
	char id[QUEUE_ID_SIZE];

	submit_one(world, id);
	delivery = queue_take(world->queue, NULL, 2000);
	changed = act(world, QUEUE_BOUNCE, id);
	assert_int_equal(changed.active, 1);
	assert_int_equal(changed.changed, 0);
	finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	assert_null(queue_take(world->queue, NULL, 50));
}

static size_t
count_of(struct world *world, const struct queue_request *request)
{
	json_t *objects = answer(world, request);
	size_t count = json_array_size(objects);

	json_decref(objects);
	return count;
}

/* Each leg has its own reason; filters mean any of them; a summary counts each,
 * and the message once. */
static void
test_legs(void **state)
{
	static const char *const both[] = { "x@a.example", "y@b.example",
		NULL };
	struct world *world = *state;
	struct queue_request request = { .verb = QUEUE_LIST };
	struct queue_filter *filter = &request.filter;
	struct delivery *delivery;
	json_t *objects;

	route(world, "a.example rcpt hop-a.example\n"
		     "b.example rcpt hop-b.example\n");
	assert_true(
	    submit(world, "s@y.example", both, "", text, strlen(text), NULL));
	for (int i = 0; i < 2; i++) {
		delivery = queue_take(world->queue, NULL, 2000);
		assert_non_null(delivery);
		finish(world, delivery, OUTCOME_TEMPORARY,
		    delivery->hop.host[4] == 'a' ? "4.1.1" : "4.2.2",
		    delivery->hop.host[4] == 'a' ? "450 id 4711 busy"
						 : "450 full");
	}
	assert_true(log_wait(world->queue, 60000));
	strcpy(filter->reason, "4.1");
	assert_int_equal(count_of(world, &request), 1);
	strcpy(filter->reason, "FULL");
	assert_int_equal(count_of(world, &request), 1);
	strcpy(filter->reason, "empty");
	assert_int_equal(count_of(world, &request), 0);
	filter->reason[0] = '\0';
	strcpy(filter->site, "hop-b.example");
	assert_int_equal(count_of(world, &request), 1);
	strcpy(filter->site, "b.example");
	assert_int_equal(count_of(world, &request), 1);
	strcpy(filter->site, "c.example");
	assert_int_equal(count_of(world, &request), 0);
	filter->site[0] = '\0';
	request.verb = QUEUE_SUMMARY;
	objects = answer(world, &request);
	assert_int_equal(json_array_size(objects), 3);
	assert_string_equal(text_of(objects, 0, "host"), "hop-a.example");
	assert_string_equal(text_of(objects, 0, "reason"), "450 id # busy");
	assert_int_equal(number_of(objects, 0, "messages"), 1);
	assert_string_equal(text_of(objects, 1, "reason"), "450 full");
	assert_string_equal(text_of(objects, 2, "kind"), "total");
	assert_int_equal(number_of(objects, 2, "messages"), 1);
	json_decref(objects);
}

/* Of what a route holds some of, the rest goes on; it is found as held. */
static void
test_held_in_part(void **state)
{
	static const char *const both[] = { "x@kept.example", "y@b.example",
		NULL };
	struct world *world = *state;
	struct queue_request held = { .verb = QUEUE_LIST,
		.filter.states = QUEUE_HELD };
	char id[QUEUE_ID_SIZE];
	json_t *objects;

	route(world, "kept.example rcpt hold \"under review\"\n");
	assert_true(
	    submit(world, "s@y.example", both, "", text, strlen(text), id));
	defer(world, "450 full");
	assert_null(queue_take(world->queue, NULL, 50));
	objects = answer(world, &held);
	assert_int_equal(json_array_size(objects), 1);
	assert_string_equal(text_of(objects, 0, "state"), "deferred");
	assert_string_equal(text_of(objects, 0, "reason"), "450 full");
	assert_string_equal(text_of(objects, 0, "held_reason"),
	    "held by line 1 of the routes: under review");
	assert_true(number_of(objects, 0, "next") > time(NULL));
	json_decref(objects);
	held.verb = QUEUE_SUMMARY;
	objects = answer(world, &held);
	assert_int_equal(json_array_size(objects), 3);
	json_decref(objects);
	assert_int_equal(act(world, QUEUE_RELEASE, id).changed, 1);
	held.verb = QUEUE_LIST;
	assert_int_equal(count_of(world, &held), 0);
}

/* What was not tried waits for no time, unless nothing goes there for now. */
static void
test_next(void **state)
{
	struct world *world = *state;
	struct queue_request list;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE];
	json_t *objects;

	submit_one(world, NULL);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	list = (struct queue_request){ .verb = QUEUE_SUMMARY };
	objects = answer(world, &list);
	assert_int_equal(number_of(objects, 2, "active"), 1);
	assert_int_equal(number_of(objects, 2, "limit"), 2);
	assert_true(json_is_null(
	    json_object_get(json_array_get(objects, 2), "until")));
	json_decref(objects);
	submit_one(world, id);
	wait_for(world, 2);
	list = about(QUEUE_LIST, id);
	objects = answer(world, &list);
	assert_true(json_is_null(
	    json_object_get(json_array_get(objects, 0), "next")));
	json_decref(objects);
	queue_hop_failed(world->queue, delivery, "refused");
	finish(world, delivery, OUTCOME_TEMPORARY, "4.4.1", "refused");
	objects = answer(world, &list);
	assert_string_equal(text_of(objects, 0, "state"), "queued");
	assert_string_equal(text_of(objects, 0, "reason"), "refused");
	assert_true(number_of(objects, 0, "next") > time(NULL) + 30);
	json_decref(objects);
	list = (struct queue_request){ .verb = QUEUE_SUMMARY };
	objects = answer(world, &list);
	assert_int_equal(json_array_size(objects), 3);
	assert_string_equal(text_of(objects, 2, "kind"), "site");
	assert_string_equal(text_of(objects, 2, "host"), "smtp.isp.example");
	assert_string_equal(text_of(objects, 2, "reason"), "refused");
	assert_int_equal(number_of(objects, 2, "failures"), 1);
	assert_int_equal(number_of(objects, 2, "active"), 0);
	assert_true(number_of(objects, 2, "until") > time(NULL) + 30);
	json_decref(objects);
	strcpy(list.filter.site, "other.example");
	assert_int_equal(count_of(world, &list), 1);
}

/* What is done with is known to a trace, and to nothing else. */
static void
test_trace(void **state)
{
	struct world *world = *state;
	struct queue_request list = { .verb = QUEUE_LIST }, trace;
	struct delivery *delivery;
	char id[QUEUE_ID_SIZE];
	json_t *objects;
	struct reason why;

	submit_one(world, id);
	defer(world, "450 first");
	assert_int_equal(act(world, QUEUE_FLUSH, id).changed, 1);
	delivery = queue_take(world->queue, NULL, 2000);
	assert_non_null(delivery);
	finish(world, delivery, OUTCOME_DELIVERED, "2.0.0", "250 taken");
	assert_true(log_wait(world->queue, 60000));
	assert_int_equal(count_of(world, &list), 0);
	trace = about(QUEUE_TRACE, id);
	objects = answer(world, &trace);
	assert_int_equal(json_array_size(objects), 3);
	assert_string_equal(text_of(objects, 0, "state"), "done");
	assert_int_equal(number_of(objects, 1, "number"), 1);
	assert_int_equal(number_of(objects, 2, "number"), 2);
	json_decref(objects);
	trace.verb = QUEUE_REMOVE;
	objects = json_array();
	assert_false(
	    queue_control_tell(world->queue, &trace, gather, objects, &why));
	json_decref(objects);
	assert_int_equal(why.code, REASON_ABSENT);
}

/* Nothing is done to all without the word. */
static void
test_all(void **state)
{
	struct world *world = *state;
	struct queue_request request = { .verb = QUEUE_REMOVE };
	struct queue_changed changed;
	struct reason why;

	for (int i = 0; i < 3; i++)
		submit_one(world, NULL);
	wait_for(world, 3);
	for (int verb = QUEUE_HOLD; verb <= QUEUE_BOUNCE; verb++) {
		request.verb = (enum queue_verb)verb;
		assert_false(
		    queue_change(world->queue, &request, &changed, &why));
		assert_int_equal(why.code, REASON_SYNTAX);
		assert_int_equal(changed.matched, 0);
	}
	request.verb = QUEUE_REMOVE;
	request.all = true;
	assert_true(queue_change(world->queue, &request, &changed, &why));
	assert_int_equal(changed.changed, 3);
	again(world);
	assert_null(queue_take(world->queue, NULL, 50));
}

/* The body as it is, in pieces that divide no character. */
static void
test_body(void **state)
{
	struct world *world = *state;
	size_t len = 3 * 4096 + 100;
	char *body = malloc(len + 64), *told = calloc(1, len + 64);
	struct queue_request show;
	char id[QUEUE_ID_SIZE];
	json_t *objects;
	size_t at;

	at = (size_t)sprintf(body, "Subject: x\r\n\r\nab");
	for (; at < len; at += 3)
		memcpy(body + at, "\xe2\x82\xac", 3);
	assert_true(
	    submit(world, "s@y.example", one_rcpt, "A: b\r\n", body, at, id));
	wait_for(world, 1);
	show = about(QUEUE_SHOW, id);
	show.body = true;
	objects = answer(world, &show);
	for (size_t i = 0; i < json_array_size(objects); i++) {
		if (strcmp(text_of(objects, i, "kind"), "body") == 0)
			strcat(told, text_of(objects, i, "text"));
		if (strcmp(text_of(objects, i, "kind"), "header") == 0)
			assert_string_equal(text_of(objects, i, "text"),
			    "A: b\r\nSubject: x\r\n");
	}
	assert_int_equal(strlen(told), at - strlen("Subject: x\r\n"));
	assert_memory_equal(told, body + strlen("Subject: x\r\n"),
	    strlen(told));
	json_decref(objects);
	free(body);
	free(told);
}

/* A table that doubles between slices, after any number of slots: each hash is
 * met once. */
static void
test_growing(void **state)
{
	enum { SMALL = 8, LARGE = 64, STEPS = SMALL + LARGE };

	(void)state;
	for (unsigned first = 0; first < STEPS; first++) {
		for (unsigned second = first; second < STEPS; second++) {
			unsigned met[LARGE] = { 0 }, step = 0;
			uint64_t slot = 0, size = SMALL;

			do {
				for (unsigned hash = 0; hash < LARGE; hash++)
					met[hash] +=
					    (hash & (size - 1)) == slot;
				slot = look_next_slot(slot, size);
				size *= step == first ? 2 : 1;
				size *= step == second ? 4 : 1;
			} while (slot != 0 && step++ < STEPS);
			for (unsigned hash = 0; hash < LARGE; hash++)
				assert_int_equal(met[hash], 1);
		}
	}
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_hold),
		WITH_WORLD(test_hold_active),
		WITH_WORLD(test_release_failed),
		WITH_WORLD(test_bounce),
		WITH_WORLD(test_bounce_active),
		WITH_WORLD(test_legs),
		WITH_WORLD(test_held_in_part),
		WITH_WORLD(test_next),
		WITH_WORLD(test_trace),
		WITH_WORLD(test_all),
		WITH_WORLD(test_body),
		cmocka_unit_test(test_growing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
