/*
 * server/queue_hop.c: hops, the sites they lead to, and whose turn it is.
 *
 * Sites that have work and room for a worker take turns; at a site the hops
 * with work for it do, and at a hop its flows (queue_flow.c).  So a pick looks
 * at one of each, however many routes there are.  A hop of several sites stands
 * in line at the first that may be tried; while none may, a timer is set.
 */
#include "queue_internal.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	NEVER_MS = 3600 * 1000,
	/* A worker whose connection leads to a site with work stays there,
	 * unless another site has waited so long, and no other worker has left
	 * for such a one just before: a handshake a message would cost more
	 * than it gives. */
	TURN_MS = 1000,
	TURN_EVERY_MS = 100,
};

/* Sites. */

/* Of a site only its name is read, and that comes first in it: so a name alone
 * finds it. */
_Static_assert(offsetof(struct site, name) == 0, "a name finds a site");

static int
compare_sites(const void *x, const void *y)
{
	const struct next_hop *a = x, *b = y;

	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	if (a->implicit_tls != b->implicit_tls)
		return a->implicit_tls ? 1 : -1;
	return strcasecmp(a->host, b->host);
}

struct site *
site_find(const struct queue *queue, const struct next_hop *name)
{
	struct site *const *found = tfind(name, &queue->sites, compare_sites);

	return found == NULL ? NULL : *found;
}

static struct site *
site_get(struct queue *queue, const struct next_hop *name)
{
	struct site *site = site_find(queue, name);

	if (site != NULL)
		return site;
	site = calloc(1, sizeof(*site));
	if (site == NULL)
		return NULL;
	site->name = *name;
	site->queue = queue;
	if (tsearch(site, &queue->sites, compare_sites) == NULL) {
		free(site);
		return NULL;
	}
	LIST_INIT(&site->members);
	TAILQ_INIT(&site->ready);
	LIST_INSERT_HEAD(&queue->all_sites, site, all);
	pace_init(site);
	return site;
}

void
site_settle(struct site *site)
{
	struct queue *queue = site->queue;
	bool in_turn =
	    !TAILQ_EMPTY(&site->ready) && site->active < pace_limit(site);

	if (in_turn == site->in_turn)
		return;
	site->in_turn = in_turn;
	if (!in_turn) {
		TAILQ_REMOVE(&queue->turn, site, turn);
		return;
	}
	site->turn_ms = queue_monotonic_ms();
	TAILQ_INSERT_TAIL(&queue->turn, site, turn);
	pthread_cond_signal(&queue->work);
}

void
site_gate_changed(struct site *site)
{
	struct member *member;

	LIST_FOREACH(member, &site->members, others)
	hop_settle(member->hop);
}

/* Hops. */

static int
compare_ways(const struct way *a, const struct way *b)
{
	int order = (a->kind > b->kind) - (a->kind < b->kind);

	if (order == 0)
		order = (a->hop_count > b->hop_count) -
			(a->hop_count < b->hop_count);
	for (size_t i = 0; order == 0 && i < a->hop_count; i++)
		order = compare_sites(&a->hops[i], &b->hops[i]);
	if (order == 0)
		order = strcmp(a->status, b->status);
	return order != 0 ? order : strcmp(a->text, b->text);
}

static int
compare_hops(const void *a, const void *b)
{
	const struct hop *x = a, *y = b;

	if (x->tls_optional != y->tls_optional)
		return x->tls_optional ? 1 : -1;
	return compare_ways(&x->way, &y->way);
}

static bool
add_sites(struct hop *hop)
{
	/* Ways that end here have one nameless hop. */
	hop->site_count = hop->way.hop_count > 0 ? hop->way.hop_count : 1;
	for (size_t i = 0; i < hop->site_count; i++) {
		struct site *site = site_get(hop->queue, &hop->way.hops[i]);

		if (site == NULL)
			return false;
		hop->sites[i].hop = hop;
		hop->sites[i].site = site;
	}
	return true;
}

static bool
hop_add(struct hop *hop)
{
	if (!add_sites(hop) || !waketimes_reserve(&hop->queue->waketimes))
		return false;
	if (tsearch(hop, &hop->queue->hops, compare_hops) == NULL)
		return false; /* the timer's room is lost, no more */
	TAILQ_INIT(&hop->ready);
	hop->timer.hop = hop;
	for (size_t i = 0; i < hop->site_count; i++)
		LIST_INSERT_HEAD(&hop->sites[i].site->members, &hop->sites[i],
		    others);
	return true;
}

struct hop *
hop_get(struct queue *queue, const struct way *way, bool tls_optional)
{
	struct hop *hop = queue->last_hop, *const * found;

	if (hop != NULL && hop->tls_optional == tls_optional &&
	    compare_ways(&hop->way, way) == 0)
		return hop;
	hop = calloc(1, sizeof(*hop));
	if (hop == NULL)
		return NULL;
	hop->queue = queue;
	hop->way = *way;
	hop->tls_optional = tls_optional;
	found = tfind(hop, &queue->hops, compare_hops);
	if (found != NULL) {
		free(hop);
		hop = *found;
	} else if (!hop_add(hop)) {
		free(hop);
		return NULL;
	}
	queue->last_hop = hop;
	return hop;
}

static void
flow_free(void *context)
{
	struct flow *flow = context;

	free(flow->due.slots);
	free(flow);
}

static void
hop_free(void *context)
{
	struct hop *hop = context;

	tdestroy(hop->flows, flow_free);
	free(hop);
}

void
hops_free(struct queue *queue)
{
	tdestroy(queue->hops, hop_free);
	tdestroy(queue->sites, free);
	free(queue->waketimes.slots);
}

const struct next_hop *
hop_name(const struct hop *hop)
{
	return &hop->way.hops[0];
}

void
hop_flush(struct hop *hop)
{
	for (size_t i = 0; i < hop->site_count; i++) {
		struct site *site = hop->sites[i].site;
		struct gate *gate = &site->gates[hop->tls_optional];

		if (gate->until_ms == 0)
			continue;
		gate->until_ms = 0;
		site_gate_changed(site);
	}
}

/* Turns. */

int64_t
hop_wait_ms(const struct hop *hop, int64_t now_ms)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < hop->site_count; i++) {
		int64_t open =
		    pace_open_ms(hop->sites[i].site, hop->tls_optional, now_ms);

		if (open < first)
			first = open;
	}
	/* A worker that tries one of them just now will say. */
	return first > now_ms && first < INT64_MAX ? first - now_ms : 0;
}

/* The first site that may be tried now, or NULL and when one may. */
static struct site *
find_target(const struct hop *hop, int64_t now_ms, int64_t *open_out)
{
	*open_out = INT64_MAX;
	for (size_t i = 0; i < hop->site_count; i++) {
		struct site *site = hop->sites[i].site;
		int64_t open = pace_open_ms(site, hop->tls_optional, now_ms);

		if (open <= now_ms)
			return site;
		if (open < *open_out)
			*open_out = open;
	}
	return NULL;
}

void
hop_settle(struct hop *hop)
{
	struct waketimes *timers = &hop->queue->waketimes;
	struct site *before = hop->target, *target = NULL;
	int64_t open = INT64_MAX;

	if (!TAILQ_EMPTY(&hop->ready))
		target = find_target(hop, queue_monotonic_ms(), &open);
	if (open < INT64_MAX && target == NULL)
		waketime_set(timers, &hop->timer, open);
	else
		waketime_cancel(timers, &hop->timer);
	if (target == before)
		return;
	hop->target = target;
	if (before != NULL) {
		TAILQ_REMOVE(&before->ready, hop, turn);
		site_settle(before);
	}
	if (target != NULL) {
		TAILQ_INSERT_TAIL(&target->ready, hop, turn);
		site_settle(target);
	}
}

static struct site *
whose_turn(struct queue *queue, struct site *prefer, int64_t now_ms)
{
	struct site *first = TAILQ_FIRST(&queue->turn);

	if (prefer == NULL || !prefer->in_turn)
		return first;
	if (now_ms - first->turn_ms < TURN_MS ||
	    now_ms - queue->turned_ms < TURN_EVERY_MS)
		return prefer;
	queue->turned_ms = now_ms;
	return first;
}

/* To the ends of their lines. */
static void
pass_turn(struct site *site, struct hop *hop, int64_t now_ms)
{
	TAILQ_REMOVE(&site->ready, hop, turn);
	TAILQ_INSERT_TAIL(&site->ready, hop, turn);
	TAILQ_REMOVE(&site->queue->turn, site, turn);
	TAILQ_INSERT_TAIL(&site->queue->turn, site, turn);
	site->turn_ms = now_ms;
}

static unsigned
site_bit(const struct hop *hop, const struct site *site)
{
	for (size_t i = 0; i < hop->site_count; i++)
		if (hop->sites[i].site == site)
			return 1u << i;
	return 0;
}

struct leg *
hop_pick(struct queue *queue, struct site *prefer, int64_t now_ms,
    struct slot *slot, int64_t *next_out)
{
	int64_t next = waketimes_run(&queue->waketimes, now_ms);
	struct site *site;

	while ((site = whose_turn(queue, prefer, now_ms)) != NULL) {
		struct hop *hop = TAILQ_FIRST(&site->ready);
		struct leg *leg;

		/* Another may just be trying the site alone. */
		hop_settle(hop);
		if (hop->target != site)
			continue;
		pass_turn(site, hop, now_ms);
		leg = flow_turn(hop);
		slot->tried = site_bit(hop, site);
		pace_take(site, hop->tls_optional, site == prefer, slot);
		return leg;
	}
	*next_out = next < now_ms + NEVER_MS ? next : now_ms + NEVER_MS;
	return NULL;
}

enum queue_next
hop_next_site(struct hop *hop, struct slot *slot, size_t *index_out)
{
	enum queue_next next = QUEUE_NEXT_NONE;
	int64_t now_ms = queue_monotonic_ms();

	for (size_t i = 0; i < hop->site_count; i++) {
		struct site *site = hop->sites[i].site;

		if ((slot->tried & (1u << i)) != 0 ||
		    pace_open_ms(site, hop->tls_optional, now_ms) > now_ms)
			continue;
		if (site->active >= pace_limit(site)) {
			next = QUEUE_NEXT_LATER;
			continue;
		}
		pace_release(slot);
		slot->tried |= 1u << i;
		pace_take(site, hop->tls_optional, false, slot);
		*index_out = i;
		return QUEUE_NEXT_TAKEN;
	}
	return next;
}
