/*
 * server/queue_pace.c: how many workers a site gets, and when.
 *
 * The limit of a site's workers grows with success, by one for each until the
 * threshold, which doubles it, then by one for as many as the limit; it grows
 * only while it is used.  It is halved when a connection breaks or is refused,
 * once for all that were under way.  It never passes half of the workers, so
 * that whoever stalls leaves the others to the rest.
 *
 * A site that nobody can reach is left alone, longer each time.  Then one
 * worker tries; not before that has worked do others follow, doubling up to
 * the limit of before.  Its messages wait in their flows meanwhile and are not
 * touched.  Those that say "TLS-Required: No" have a gate of their own, as they
 * may pass where others are refused.
 *
 * What a worker tells is news only if nobody told it since it began.
 */
#include "queue_internal.h"

#include <sys/random.h>

enum { LIMIT_FIRST = 4 };

int64_t
backoff_ms(const struct queue_settings *settings, uint32_t attempts)
{
	int64_t delay = settings->retry_first_ms;
	uint32_t chance = 0;

	for (uint32_t i = 1; i < attempts && delay < settings->retry_most_ms;
	     i++)
		delay *= 2;
	if (delay > settings->retry_most_ms)
		delay = settings->retry_most_ms;
	/* Up to a quarter less, so that what failed together does not come
	 * back together. */
	if (getrandom(&chance, sizeof(chance), 0) < 0)
		chance = 0;
	return delay - (int64_t)((double)delay / 4 * chance / UINT32_MAX);
}

static struct gate *
gate_of(const struct slot *slot)
{
	return &slot->site->gates[slot->tls_optional];
}

void
pace_init(struct site *site)
{
	site->limit = site->before = LIMIT_FIRST;
	site->threshold = UINT32_MAX;
}

static unsigned
most_of(const struct site *site)
{
	const struct queue_settings *settings = &site->queue->settings;
	unsigned most = settings->workers / 2;

	if (settings->site_connections > 0 && settings->site_connections < most)
		most = settings->site_connections;
	return most > 0 ? most : 1;
}

unsigned
pace_limit(const struct site *site)
{
	unsigned most = most_of(site);

	return site->limit < most ? site->limit : most;
}

int64_t
pace_open_ms(const struct site *site, bool tls_optional, int64_t now_ms)
{
	const struct gate *gate = &site->gates[tls_optional];

	if (gate->failures == 0)
		return now_ms;
	return gate->probing ? INT64_MAX : gate->until_ms;
}

void
pace_take(struct site *site, bool tls_optional, bool connected,
    struct slot *slot)
{
	struct gate *gate = &site->gates[tls_optional];

	slot->site = site;
	slot->tls_optional = tls_optional;
	slot->connected = connected;
	slot->failed = false;
	slot->probe = gate->failures > 0;
	slot->epoch = gate->epoch;
	slot->round = site->round;
	gate->probing = slot->probe;
	site->active++;
	site->connected += connected;
	site_settle(site);
}

void
pace_forget(struct site *site)
{
	for (size_t i = 0; i < 2; i++) {
		struct gate *gate = &site->gates[i];

		/* Nor does a worker that tries it still, as it was: another
		 * tries it now. */
		gate->until_ms = 0;
		gate->probing = false;
		gate->epoch++;
	}
	site_gate_changed(site);
	site_settle(site);
}

void
pace_release(struct slot *slot)
{
	struct site *site = slot->site;

	if (site == NULL)
		return;
	site->active--;
	site->connected -= slot->connected;
	if (slot->probe && slot->epoch == gate_of(slot)->epoch) {
		gate_of(slot)->probing = false; /* nothing was learned */
		site_gate_changed(site);
	}
	site_settle(site);
	slot->site = NULL;
}

static void
shrink(struct slot *slot)
{
	struct site *site = slot->site;

	if (slot->round != site->round)
		return;
	site->round++;
	site->limit = pace_limit(site) / 2;
	if (site->limit == 0)
		site->limit = 1;
	site->threshold = site->limit;
	site->grown = 0;
}

static void
grow(struct site *site)
{
	unsigned limit = pace_limit(site);

	if (site->active < limit || limit == most_of(site))
		return;
	if (limit >= site->threshold && ++site->grown < limit)
		return;
	site->grown = 0;
	site->limit = limit + 1;
	site_settle(site);
}

/* A site that was left alone begins anew; where a connection was refused while
 * others worked, the limit is halved already. */
static void
reopen(struct slot *slot, int64_t now_ms)
{
	struct gate *gate = gate_of(slot);
	struct site *site = slot->site;

	if (gate->until_ms <= now_ms) {
		site->limit = 1;
		site->threshold = site->before;
		site->grown = 0;
		site->round++;
	}
	gate->failures = 0;
	gate->until_ms = 0;
	gate->probing = false;
	gate->epoch++;
	site_gate_changed(site);
}

bool
pace_worked(struct slot *slot, int64_t now_ms)
{
	struct site *site = slot->site;
	bool was_away = gate_of(slot)->failures > 0;

	if (was_away)
		reopen(slot, now_ms);
	slot->epoch = gate_of(slot)->epoch;
	slot->round = site->round;
	slot->probe = false;
	if (!slot->connected)
		site->connected++;
	slot->connected = true;
	grow(site);
	return was_away;
}

void
pace_broke(struct slot *slot)
{
	slot->site->connected -= slot->connected;
	slot->connected = false;
	shrink(slot);
}

bool
pace_crowded(struct slot *slot)
{
	if (slot->site->connected == slot->connected)
		return false;
	pace_broke(slot);
	return true;
}

bool
pace_failed(struct slot *slot, int64_t now_ms)
{
	struct site *site = slot->site;
	struct gate *gate = gate_of(slot);

	slot->failed = true;
	if (slot->epoch != gate->epoch)
		return false;
	if (gate->failures == 0)
		site->before = pace_limit(site);
	pace_broke(slot);
	gate->failures++;
	gate->until_ms =
	    now_ms + backoff_ms(&site->queue->settings, gate->failures);
	gate->probing = false;
	gate->epoch++;
	site_gate_changed(site);
	return true;
}
