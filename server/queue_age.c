/*
 * server/queue_age.c: what becomes of a message by its age alone: it expires.
 */
#include "queue_internal.h"

#include <stdio.h>

enum { LOOK_MS = 60 * 1000 };

/* What was said at the last attempt, for the bounce. */
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
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *one = &delivery->recipients[i];

		for (size_t j = 0; j < attempt.count; j++) {
			if (attempt.recipients[j].index == one->index)
				snprintf(one->text, sizeof(one->text), "%s",
				    attempt.recipients[j].text);
		}
		one->decided =
		    delivery->decision[0] != '\0' && !queue_is_reply(one->text);
	}
	attempt_fini(&attempt);
}

/* False if it could not be done now. */
static bool
expire_one(struct queue *queue, struct leg *leg)
{
	struct delivery *delivery;
	struct reason why;
	bool remains;

	if (!delivery_open(queue, leg, &delivery, &why)) {
		queue_unreadable(queue, leg, &why);
		return false;
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
	/* It is too old, so queue_done makes a permanent failure of this. */
	queue_done(queue, delivery);
	/* Still there: messages are freed by this thread only. */
	pthread_mutex_lock(&queue->lock);
	remains = leg->due_at != 0;
	pthread_mutex_unlock(&queue->lock);
	return !remains;
}

static struct leg *
waiting_leg(struct queued *message)
{
	struct leg *leg = &message->leg;

	while (leg != NULL && leg->due_at == 0)
		leg = leg->next;
	return leg;
}

/* A leg, that nobody has, of the oldest message if it is expired. */
static struct leg *
take_expired(struct queue *queue)
{
	int64_t now_ms = queue_now_ms();
	struct leg *leg = NULL;

	pthread_mutex_lock(&queue->lock);
	while (leg == NULL && queue->ages.count > 0) {
		struct queued *message = queue->ages.slots[0]->message;

		if (!queue_is_expired(&queue->settings, message, now_ms))
			break;
		leg = waiting_leg(message);
		/* One that a worker has comes back when the worker is done,
		 * and expires then. */
		if (leg == NULL)
			heap_remove(&queue->ages, &message->leg);
		else
			queue_lend(queue, leg);
	}
	pthread_mutex_unlock(&queue->lock);
	return leg;
}

int64_t
queue_expire(struct queue *queue)
{
	int64_t look = LOOK_MS;
	struct leg *leg;

	while ((leg = take_expired(queue)) != NULL) {
		if (!expire_one(queue, leg))
			return queue_monotonic_ms() + LOOK_MS;
	}
	pthread_mutex_lock(&queue->lock);
	if (queue->settings.expire_ms > 0 && queue->settings.expire_ms < look)
		look = queue->settings.expire_ms;
	pthread_mutex_unlock(&queue->lock);
	return queue_monotonic_ms() + look;
}
