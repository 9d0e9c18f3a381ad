/*
 * server/queue_take.c: work for workers, and what they say of the sites they
 * were sent to.
 */
#include "queue_internal.h"

#include <inttypes.h>
#include <time.h>

#include "log.h"

enum { ENTRIES_MOST = 4096 /* beyond, workers wait for the log */ };

/* Routes. */

/* Callers hold lock; the leg is the only active one.  True: it is the message's
 * only one again, for the same recipients, and still the caller's. */
static bool
divide_again(struct queue *queue, struct leg *leg,
    const struct envelope *envelope)
{
	struct queued *message = leg->message;
	bool was_alone = message->leg.next == NULL;

	queue_give_back(leg);
	leg->next_ms = queue_now_ms(); /* it was due */
	if (legs_divide_again(queue, message, envelope) && was_alone &&
	    message->leg.next == NULL && !message->leg.held) {
		queue_lend(queue, &message->leg);
		return true;
	}
	index_settle(queue, message);
	return false;
}

/* The site it was picked for, or another the leg may be sent to now. */
static bool
place_worker(struct slot *slot, struct hop *hop, size_t *index_out)
{
	for (size_t i = 0; i < hop->site_count; i++) {
		if (hop->sites[i].site != slot->site)
			continue;
		*index_out = i;
		slot->tried = 1u << i;
		return true;
	}
	slot->tried = 0;
	return hop_next_site(hop, slot, index_out) == QUEUE_NEXT_TAKEN;
}

/*
 * Routes may be others than when the message was divided.  True: it was divided
 * anew, and the leg is gone, or waits for another site.  While another worker
 * has a leg of it, it goes the way it was to go.
 */
static bool
route_again(struct queue *queue, struct leg *leg, struct delivery *delivery)
{
	struct queued *message = leg->message;
	bool gone = false;
	size_t index = 0;

	pthread_mutex_lock(&queue->lock);
	if (message->generation != queue->generation && message->active == 1) {
		gone = !divide_again(queue, leg, &delivery->envelope);
		if (!gone)
			delivery->attempt = leg->attempts + 1;
	}
	if (!gone && !place_worker(delivery_slot(delivery), leg->hop, &index)) {
		gone = true;
		queue_give_back(leg);
		index_wait(queue, leg, leg->due_ms);
		index_settle(queue, message);
	}
	if (!gone) {
		delivery->way = &leg->hop->way;
		delivery->hop = leg->hop->way.hops[index];
	}
	pthread_mutex_unlock(&queue->lock);
	return gone;
}

/* Work. */

/* Wait for a leg that is due; NULL at the deadline. */
static struct leg *
wait_for_work(struct queue *queue, struct site *prefer, int64_t deadline,
    struct slot *slot)
{
	struct leg *leg = NULL;

	while (!queue->stop) {
		int64_t now = queue_monotonic_ms(), next = deadline;
		struct timespec until;

		if (!queue->log_trouble && queue->entry_count < ENTRIES_MOST)
			leg = hop_pick(queue, prefer, now, slot, &next);
		if (leg != NULL) {
			queue_lend(queue, leg);
			/* One signal came for all that is ready: pass it on. */
			if (!TAILQ_EMPTY(&queue->turn))
				pthread_cond_signal(&queue->work);
			break;
		}
		if (now >= deadline)
			break;
		if (next > deadline)
			next = deadline;
		until.tv_sec = next / 1000;
		until.tv_nsec = next % 1000 * 1000000;
		pthread_cond_timedwait(&queue->work, &queue->lock, &until);
	}
	return leg;
}

/* The same; a worker that keeps a connection counts at its site as long as it
 * waits. */
static struct leg *
take_leg(struct queue *queue, const struct next_hop *prefer, int64_t deadline,
    struct slot *slot)
{
	struct site *site;
	struct leg *leg;

	pthread_mutex_lock(&queue->lock);
	site = prefer == NULL ? NULL : site_find(queue, prefer);
	if (site != NULL)
		site->connected++;
	leg = wait_for_work(queue, site, deadline, slot);
	if (site != NULL)
		site->connected--;
	pthread_mutex_unlock(&queue->lock);
	return leg;
}

/* Nothing was learned of the site. */
static void
leave_slot(struct queue *queue, struct slot *slot)
{
	pthread_mutex_lock(&queue->lock);
	pace_release(slot);
	pthread_mutex_unlock(&queue->lock);
}

struct delivery *
queue_take(struct queue *queue, const struct next_hop *prefer, int timeout_ms)
{
	int64_t deadline = queue_monotonic_ms() + timeout_ms;
	struct delivery *delivery;
	struct slot slot = { .site = NULL };
	struct reason why;
	struct leg *leg;

	while ((leg = take_leg(queue, prefer, deadline, &slot)) != NULL) {
		if (!delivery_open(queue, leg, &delivery, &why)) {
			queue_unreadable(queue, leg, &why);
			leave_slot(queue, &slot);
			continue;
		}
		*delivery_slot(delivery) = slot;
		if (!route_again(queue, leg, delivery))
			return delivery;
		delivery_close(queue, delivery);
	}
	return NULL;
}

/* Sites. */

/* Callers do not hold lock: this is said. */
static void
say_away(const struct next_hop *hop, unsigned failures, int64_t wait_ms)
{
	char site[NEXT_HOP_TEXT];

	next_hop_print(hop, site);
	log_line(SAY_NOTE, "site",
	    "site=%s state=away failures=%u seconds=%" PRId64, site, failures,
	    (wait_ms + 999) / 1000);
}

void
queue_hop_failed(struct queue *queue, const struct delivery *delivery,
    const char *text)
{
	struct slot *slot = delivery_slot(delivery);
	int64_t now = queue_monotonic_ms(), wait;
	struct gate *gate;
	unsigned failures;
	bool is_news;

	pthread_mutex_lock(&queue->lock);
	is_news = pace_failed(slot, now);
	gate = &slot->site->gates[slot->tls_optional];
	failures = gate->failures;
	wait = gate->until_ms - now;
	if (is_news)
		snprintf(gate->text, sizeof(gate->text), "%s", text);
	is_news = is_news && !queue->stop; /* we gave up waiting then */
	pthread_mutex_unlock(&queue->lock);
	if (is_news)
		say_away(&delivery->hop, failures, wait);
}

bool
queue_hop_refused(struct queue *queue, const struct delivery *delivery,
    const char *text)
{
	bool works;

	pthread_mutex_lock(&queue->lock);
	works = pace_crowded(delivery_slot(delivery));
	pthread_mutex_unlock(&queue->lock);
	if (!works)
		queue_hop_failed(queue, delivery, text);
	return works;
}

void
queue_hop_broke(struct queue *queue, const struct delivery *delivery)
{
	pthread_mutex_lock(&queue->lock);
	pace_broke(delivery_slot(delivery));
	pthread_mutex_unlock(&queue->lock);
}

void
queue_hop_worked(struct queue *queue, const struct delivery *delivery)
{
	struct hop *hop = delivery_leg(delivery)->hop;
	char site[NEXT_HOP_TEXT];
	bool was_away;

	pthread_mutex_lock(&queue->lock);
	was_away = pace_worked(delivery_slot(delivery), queue_monotonic_ms());
	if (was_away)
		hop->last_text[0] = '\0';
	pthread_mutex_unlock(&queue->lock);
	if (!was_away)
		return;
	next_hop_print(&delivery->hop, site);
	log_line(SAY_NOTE, "site", "site=%s state=back", site);
}

enum queue_next
queue_next_hop(struct queue *queue, struct delivery *delivery)
{
	struct hop *hop = delivery_leg(delivery)->hop;
	enum queue_next next;
	size_t index;

	pthread_mutex_lock(&queue->lock);
	next = hop_next_site(hop, delivery_slot(delivery), &index);
	if (next == QUEUE_NEXT_TAKEN)
		delivery->hop = hop->way.hops[index];
	pthread_mutex_unlock(&queue->lock);
	return next;
}
