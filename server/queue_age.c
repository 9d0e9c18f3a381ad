/*
 * server/queue_age.c: what becomes of a message by its age alone: its sender is
 * told that it is delayed, and it expires.
 *
 * Both are looked for here and not after attempts, as messages for a next hop
 * that is away wait without any.
 */
#include "queue_internal.h"

#include <stdio.h>

enum {
	LOOK_MS = 60 * 1000,
	/* Before the log is written: what is made waits in memory for it. */
	AT_ONCE = 256,
};

static void
recall_recipient(struct delivery *delivery, struct delivery_recipient *one,
    const struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->count; i++) {
		const struct attempt_recipient *last = &attempt->recipients[i];

		if (last->index != one->index)
			continue;
		snprintf(one->status, sizeof(one->status), "%s", last->status);
		snprintf(one->text, sizeof(one->text), "%s", last->text);
		one->decided =
		    delivery->decision[0] != '\0' && !queue_is_reply(one->text);
	}
}

/* What was said at the last attempt, for the notification.  It may have been
 * another leg's, and tells nothing of ours then. */
static void
recall_last(struct queue *queue, struct delivery *delivery)
{
	const struct queued *message = delivery_leg(delivery)->message;
	struct attempt attempt;
	struct reason why;

	if (!log_read_attempt(queue, message->last_file, message->last_offset,
		&attempt, &why))
		return;
	snprintf(delivery->decision, sizeof(delivery->decision), "%s",
	    attempt.decision);
	for (size_t i = 0; i < delivery->recipient_count; i++)
		recall_recipient(delivery, &delivery->recipients[i], &attempt);
	attempt_fini(&attempt);
}

/* With what was said of it before as the outcomes; NULL if it cannot be read.
 */
static struct delivery *
open_as_tried(struct queue *queue, struct leg *leg)
{
	struct delivery *delivery;
	struct reason why;

	if (!delivery_open(queue, leg, &delivery, &why)) {
		queue_unreadable(queue, leg, &why);
		return NULL;
	}
	pthread_mutex_lock(&queue->lock);
	delivery->way = &leg->hop->way;
	delivery->hop = *hop_name(leg->hop);
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		delivery->recipients[i].outcome = OUTCOME_TEMPORARY;
		snprintf(delivery->recipients[i].text,
		    sizeof(delivery->recipients[i].text), "%s",
		    leg->hop->last_text);
	}
	pthread_mutex_unlock(&queue->lock);
	recall_last(queue, delivery);
	return delivery;
}

/* False if it could not be done now. */
static bool
expire_one(struct queue *queue, struct leg *leg)
{
	struct delivery *delivery = open_as_tried(queue, leg);
	bool remains;

	if (delivery == NULL)
		return false;
	/* It is too old, so queue_done makes a permanent failure of this. */
	queue_done(queue, delivery);
	/* Still there: messages are freed by this thread only. */
	pthread_mutex_lock(&queue->lock);
	remains = leg->due_at != 0;
	pthread_mutex_unlock(&queue->lock);
	return !remains;
}

static bool
tell_one(struct queue *queue, struct leg *leg)
{
	struct delivery *delivery = open_as_tried(queue, leg);

	if (delivery == NULL)
		return false;
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *one = &delivery->recipients[i];

		if (one->text[0] == '\0')
			snprintf(one->text, sizeof(one->text),
			    "not tried yet, it waits for %s",
			    delivery->hop.host);
	}
	return queue_tell_delay(queue, delivery);
}

static struct leg *
waiting_leg(struct queued *message)
{
	struct leg *leg = &message->leg;

	while (leg != NULL && leg->due_at == 0)
		leg = leg->next;
	return leg;
}

/* The first that waits, or that a worker has, and whose delay was not told. */
static struct leg *
untold_leg(struct queued *message, bool active)
{
	struct leg *leg = &message->leg;

	while (leg != NULL && (leg->told || leg->pending == 0 ||
				  !(active ? leg->active : leg->due_at != 0)))
		leg = leg->next;
	return leg;
}

/*
 * A leg, that nobody has, of the first message whose age matters now, and what
 * is to be done with it.  One that a worker has comes back when the worker is
 * done, and is looked at then.
 */
static struct leg *
take_aged(struct queue *queue, bool *expired_out)
{
	int64_t now_ms = queue_now_ms();
	struct leg *leg = NULL;

	pthread_mutex_lock(&queue->lock);
	while (leg == NULL && queue->ages.count > 0) {
		struct queued *message = queue->ages.slots[0]->message;

		if (message->age_ms > now_ms)
			break;
		*expired_out =
		    queue_is_expired(&queue->settings, message, now_ms);
		leg = *expired_out ? waiting_leg(message)
				   : untold_leg(message, false);
		if (leg != NULL) {
			queue_lend(queue, leg);
		} else if (*expired_out || untold_leg(message, true) != NULL) {
			heap_remove(&queue->ages, &message->leg);
		} else {
			message->told = true;
			index_age(queue, message);
		}
	}
	pthread_mutex_unlock(&queue->lock);
	return leg;
}

int64_t
queue_look_at_ages(struct queue *queue)
{
	int64_t look = LOOK_MS;
	struct leg *leg;
	bool expired;

	for (unsigned i = 0; (leg = take_aged(queue, &expired)) != NULL; i++) {
		if (!(expired ? expire_one(queue, leg) : tell_one(queue, leg)))
			return queue_monotonic_ms() + LOOK_MS;
		if (i + 1 == AT_ONCE)
			return queue_monotonic_ms();
	}
	pthread_mutex_lock(&queue->lock);
	if (queue->settings.expire_ms > 0 && queue->settings.expire_ms < look)
		look = queue->settings.expire_ms;
	if (queue->settings.delay_ms > 0 && queue->settings.delay_ms < look)
		look = queue->settings.delay_ms;
	pthread_mutex_unlock(&queue->lock);
	return queue_monotonic_ms() + look;
}
