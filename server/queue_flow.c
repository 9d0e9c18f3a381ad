/*
 * server/queue_flow.c: what waits for one hop, in turn by user.
 *
 * The legs of one user that wait for one hop are a flow: a heap by the time
 * they are due, so that among his own nothing is passed over for ever.  Flows
 * whose first leg is due take turns, a leg a turn; one that becomes ready goes
 * to the end.  So a flow waits for no more picks than there are flows before
 * it, however many messages these have, and its nth message for n times as
 * many.  A flow that empties ends: it gains nothing by coming back.
 *
 * A pick costs O(log n) of the flow's legs and O(log n) of what sleeps.
 */
#include "queue_internal.h"

#include <ctype.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* Timers. */

static void
waketime_put(struct waketimes *timers, size_t at, struct waketime *timer)
{
	timers->slots[at] = timer;
	timer->place = at + 1;
}

static void
waketime_up(struct waketimes *timers, size_t at, struct waketime *timer)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (timers->slots[parent]->at_ms <= timer->at_ms)
			break;
		waketime_put(timers, at, timers->slots[parent]);
		at = parent;
	}
	waketime_put(timers, at, timer);
}

static void
waketime_down(struct waketimes *timers, size_t at, struct waketime *timer)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < timers->count &&
		    timers->slots[child + 1]->at_ms <
			timers->slots[child]->at_ms)
			child++;
		if (child >= timers->count ||
		    timer->at_ms <= timers->slots[child]->at_ms)
			break;
		waketime_put(timers, at, timers->slots[child]);
		at = child;
	}
	waketime_put(timers, at, timer);
}

bool
waketimes_reserve(struct waketimes *timers)
{
	size_t capacity = timers->capacity == 0 ? 64 : timers->capacity * 2;
	struct waketime **grown;

	if (timers->members == timers->capacity) {
		grown = reallocarray(timers->slots, capacity, sizeof(*grown));
		if (grown == NULL)
			return false;
		timers->slots = grown;
		timers->capacity = capacity;
	}
	timers->members++;
	return true;
}

void
waketime_cancel(struct waketimes *timers, struct waketime *timer)
{
	size_t at = timer->place - 1;
	struct waketime *last;

	if (timer->place == 0)
		return;
	timer->place = 0;
	last = timers->slots[--timers->count];
	if (last == timer)
		return;
	if (at > 0 && last->at_ms < timers->slots[(at - 1) / 2]->at_ms)
		waketime_up(timers, at, last);
	else
		waketime_down(timers, at, last);
}

/* Whoever waits for work has to know of a time before that it knows. */
void
waketime_set(struct waketimes *timers, struct waketime *timer, int64_t at_ms)
{
	if (timer->place != 0 && timer->at_ms == at_ms)
		return;
	waketime_cancel(timers, timer);
	timer->at_ms = at_ms;
	waketime_up(timers, timers->count++, timer);
	if (timers->slots[0] == timer)
		pthread_cond_signal(timers->work);
}

/* Flows. */

static int
compare_owners(const void *a, const void *b)
{
	const struct flow *x = a, *y = b;

	return (x->owner > y->owner) - (x->owner < y->owner);
}

static uint64_t
hash_text(uint64_t hash, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint64_t)tolower((unsigned char)text[i])) *
		       UINT64_C(0x100000001b3);
	return hash;
}

/* A person's devices, alice+phone@realm, share with her. */
static uint64_t
hash_login(uint64_t hash, const char *login, bool device)
{
	const char *at = strrchr(login, '@');
	size_t local = at == NULL ? strlen(login) : (size_t)(at - login);
	const char *plus = device ? memrchr(login, '+', local) : NULL;

	hash = hash_text(hash, "login ", 6);
	hash = hash_text(hash, login,
	    plus == NULL ? local : (size_t)(plus - login));
	return at == NULL ? hash : hash_text(hash, at, strlen(at));
}

/* Two users of one number share a flow, no more; who that is nobody can choose,
 * as the seed is another at each start. */
uint32_t
flow_owner(const struct queue *queue, const struct envelope *envelope)
{
	uint64_t hash = queue->owner_seed;

	if (envelope->login != NULL && envelope->login[0] != '\0')
		hash = hash_login(hash, envelope->login, envelope->device);
	else if (envelope->client != NULL)
		hash =
		    hash_text(hash, envelope->client, strlen(envelope->client));
	hash ^= hash >> 32;
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(hash >> 32);
}

static struct flow *
flow_find(const struct hop *hop, uint32_t owner)
{
	const struct flow key = { .owner = owner };
	struct flow *const *found = tfind(&key, &hop->flows, compare_owners);

	return found == NULL ? NULL : *found;
}

static struct flow *
flow_new(struct hop *hop, uint32_t owner)
{
	struct flow *flow = calloc(1, sizeof(*flow));

	if (flow == NULL || !waketimes_reserve(&hop->queue->waketimes)) {
		free(flow);
		return NULL;
	}
	flow->owner = owner;
	flow->hop = hop;
	flow->timer.flow = flow;
	if (tsearch(flow, &hop->flows, compare_owners) == NULL) {
		hop->queue->waketimes.members--;
		free(flow);
		return NULL;
	}
	return flow;
}

static void
flow_end(struct flow *flow)
{
	struct hop *hop = flow->hop;

	if (flow->ready)
		TAILQ_REMOVE(&hop->ready, flow, turn);
	waketime_cancel(&hop->queue->waketimes, &flow->timer);
	hop->queue->waketimes.members--;
	tdelete(flow, &hop->flows, compare_owners);
	free(flow->due.slots);
	free(flow);
}

/* After its legs have changed, or its time has come. */
static void
flow_settle(struct flow *flow)
{
	struct hop *hop = flow->hop;
	struct waketimes *timers = &hop->queue->waketimes;
	bool had_work = !TAILQ_EMPTY(&hop->ready);

	if (flow->due.count == 0) {
		flow_end(flow);
	} else if (flow->due.slots[0]->due_ms > queue_monotonic_ms()) {
		if (flow->ready)
			TAILQ_REMOVE(&hop->ready, flow, turn);
		flow->ready = false;
		waketime_set(timers, &flow->timer, flow->due.slots[0]->due_ms);
	} else if (!flow->ready) {
		waketime_cancel(timers, &flow->timer);
		flow->ready = true;
		TAILQ_INSERT_TAIL(&hop->ready, flow, turn);
	}
	if (had_work == TAILQ_EMPTY(&hop->ready))
		hop_settle(hop);
}

bool
flow_add(struct leg *leg)
{
	struct flow *flow = flow_find(leg->hop, leg->message->owner);
	bool ok;

	if (flow == NULL)
		flow = flow_new(leg->hop, leg->message->owner);
	if (flow == NULL)
		return false;
	ok = heap_add(&flow->due, leg);
	flow_settle(flow);
	return ok;
}

void
flow_remove(struct leg *leg)
{
	struct flow *flow = flow_find(leg->hop, leg->message->owner);

	heap_remove(&flow->due, leg);
	flow_settle(flow);
}

struct leg *
flow_turn(struct hop *hop)
{
	struct flow *flow = TAILQ_FIRST(&hop->ready);

	TAILQ_REMOVE(&hop->ready, flow, turn);
	TAILQ_INSERT_TAIL(&hop->ready, flow, turn);
	return flow->due.slots[0];
}

int64_t
waketimes_run(struct waketimes *timers, int64_t now_ms)
{
	while (timers->count > 0) {
		struct waketime *timer = timers->slots[0];

		if (timer->at_ms > now_ms)
			return timer->at_ms;
		waketime_cancel(timers, timer);
		if (timer->flow != NULL)
			flow_settle(timer->flow);
		else
			hop_settle(timer->hop);
	}
	return INT64_MAX;
}
