/*
 * server/queue_change.c: what an operator does to messages of the queue.
 */
#include "queue_change.h"

#include <stdio.h>
#include <string.h>

#include "bounce.h"
#include "log.h"
#include "queue_look.h"

enum {
	BATCH = 256, /* messages whose records are waited for together */
	SETTLE_WAIT_MS = 4000,
};

enum change {
	CHANGE_DONE,
	CHANGE_NOTHING, /* it is so already, or does not apply */
	CHANGE_GONE,    /* no more what the filter means */
	CHANGE_ACTIVE,  /* not done, because a worker has it */
	CHANGE_REFUSED,
	CHANGE_FAILED,
};

struct change_run {
	struct queue *queue;
	const struct queue_request *request;
	struct queue_changed *changed;
	char ids[BATCH][QUEUE_ID_SIZE]; /* done, not yet settled */
	size_t count;
};

/* --- one message; callers hold lock --------------------------------------- */

static enum change
flush(struct queue *queue, struct queued *message)
{
	enum change change =
	    message->active > 0 ? CHANGE_ACTIVE : CHANGE_NOTHING;

	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		if (leg->due_at == 0)
			continue;
		hop_flush(leg->hop);
		leg->next_ms = queue_now_ms();
		index_wait(queue, leg, queue_monotonic_ms());
		change = CHANGE_DONE;
	}
	return change;
}

/* What a worker has comes back and stays. */
static enum change
hold(struct queue *queue, struct queued *message)
{
	struct log_entry *entry;

	if (message->held && message->by_operator)
		return CHANGE_NOTHING;
	entry =
	    log_key_entry(JOURNAL_HELD, message->key, "held by the operator");
	if (entry == NULL)
		return CHANGE_FAILED;
	entry->record.number = HELD_BY_OPERATOR;
	message->held = message->by_operator = true;
	index_unwait_all(message);
	index_settle(queue, message);
	log_add(queue, entry);
	return CHANGE_DONE;
}

/* Due now; attempts go on being counted.  What a route held is routed again. */
static enum change
release(struct queue *queue, struct queued *message)
{
	struct log_entry *entry;

	if (!message->held && !look_has_held_leg(message))
		return CHANGE_NOTHING;
	entry = log_key_entry(JOURNAL_RELEASED, message->key,
	    "released by the operator");
	if (entry == NULL)
		return CHANGE_FAILED;
	if (message->held_line != 0) {
		entry->record.number = RELEASED_ROUTE;
		message->passed = true;
		message->held_line = 0;
		message->generation = queue->generation - 1;
	}
	message->held = message->by_operator = false;
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		leg->held = false;
		if (leg->hop == NULL || leg->active || leg->pending == 0)
			continue;
		leg->next_ms = queue_now_ms();
		index_wait(queue, leg, queue_monotonic_ms());
	}
	index_settle(queue, message);
	log_add(queue, entry);
	return CHANGE_DONE;
}

static enum change
remove_message(struct queue *queue, struct queued *message)
{
	struct log_entry *entry = log_key_entry(JOURNAL_REMOVED, message->key,
	    "removed by the operator");

	if (entry == NULL)
		return CHANGE_FAILED;
	message->remove = true;
	index_unwait_all(message);
	/* Workers that have a leg of it go on; what the last of them does then
	 * is the end. */
	if (message->active == 0) {
		entry->message = message;
		entry->completes = true;
	}
	index_settle(queue, message);
	log_add(queue, entry);
	return CHANGE_DONE;
}

/* --- bounce --------------------------------------------------------------- */

/* Lend a leg, from the one of that index on, that nobody has. */
static struct leg *
lend_leg(struct queue *queue, struct message_key key, uint32_t from)
{
	struct queued *message;
	struct leg *leg = NULL;

	pthread_mutex_lock(&queue->lock);
	message = index_find(queue, key);
	if (message != NULL && look_is_listed(message))
		leg = &message->leg;
	while (leg != NULL && (leg->index < from || leg->hop == NULL ||
				  leg->active || leg->pending == 0))
		leg = leg->next;
	if (leg != NULL)
		queue_lend(queue, leg);
	pthread_mutex_unlock(&queue->lock);
	return leg;
}

/* As it is put, and what was said last to that recipient. */
static void
fail_recipient(const struct queue_request *request, const struct look *look,
    struct delivery_recipient *one)
{
	const char *last = "";

	if (one->index < look->recipients &&
	    look->leg_of[one->index] < look->leg_count)
		last = look->legs[look->leg_of[one->index]].text;
	one->outcome = OUTCOME_PERMANENT;
	snprintf(one->status, sizeof(one->status), "%s",
	    request->status[0] != '\0' ? request->status : "5.0.0");
	snprintf(one->text, sizeof(one->text),
	    "returned by the operator%s%.200s%s%.230s",
	    request->text[0] != '\0' ? ": " : "", request->text,
	    last[0] != '\0' ? "; the last try: " : "", last);
}

static bool
bounce_leg(struct change_run *run, const struct look *look, struct leg *leg)
{
	struct queue *queue = run->queue;
	struct delivery *delivery;
	struct reason why;

	if (!delivery_open(queue, leg, &delivery, &why)) {
		queue_unreadable(queue, leg, &why);
		return false;
	}
	pthread_mutex_lock(&queue->lock);
	delivery->way = &leg->hop->way;
	delivery->hop = *hop_name(leg->hop);
	pthread_mutex_unlock(&queue->lock);
	for (size_t i = 0; i < delivery->recipient_count; i++)
		fail_recipient(run->request, look, &delivery->recipients[i]);
	queue_done(queue, delivery);
	return true;
}

/* What became of it. */
static enum change
left_of(struct queue *queue, struct message_key key)
{
	const struct queued *message;
	enum change change = CHANGE_DONE;

	pthread_mutex_lock(&queue->lock);
	message = index_find(queue, key);
	if (message != NULL && look_is_listed(message))
		change = message->active > 0 ? CHANGE_ACTIVE : CHANGE_FAILED;
	pthread_mutex_unlock(&queue->lock);
	return change;
}

static enum change
bounce(struct change_run *run, struct look *look)
{
	struct reason why;
	struct leg *leg;
	uint32_t next = 0;

	if (!look_read(run->queue, look, &why))
		return CHANGE_FAILED;
	if (!bounce_is_possible(&look->envelope))
		return CHANGE_REFUSED;
	look_read_reasons(run->queue, look);
	while ((leg = lend_leg(run->queue, look->key, next)) != NULL) {
		next = leg->index + 1;
		if (!bounce_leg(run, look, leg))
			return CHANGE_FAILED;
	}
	return left_of(run->queue, look->key);
}

/* --- all of them ---------------------------------------------------------- */

static enum change
change_locked(struct queue *queue, const struct queue_request *request,
    struct queued *message)
{
	switch (request->verb) {
	case QUEUE_FLUSH:
		return flush(queue, message);
	case QUEUE_HOLD:
		return hold(queue, message);
	case QUEUE_RELEASE:
		return release(queue, message);
	case QUEUE_REMOVE:
		return remove_message(queue, message);
	default:
		return CHANGE_NOTHING;
	}
}

/* Meanwhile it may have gone, or changed: then it is not meant any more. */
static enum change
change_now(struct change_run *run, struct message_key key, bool *active)
{
	struct queue *queue = run->queue;
	enum change change = CHANGE_GONE;
	struct queued *message;

	pthread_mutex_lock(&queue->lock);
	message = index_find(queue, key);
	if (message != NULL &&
	    look_fits(message, &run->request->filter, queue_now_ms())) {
		*active = message->active > 0;
		change = change_locked(queue, run->request, message);
	}
	pthread_mutex_unlock(&queue->lock);
	return change;
}

static const char *
verb_word(enum queue_verb verb)
{
	switch (verb) {
	case QUEUE_HOLD:
		return "hold";
	case QUEUE_RELEASE:
		return "release";
	case QUEUE_REMOVE:
		return "removed";
	default:
		return NULL; /* a bounce is logged by itself */
	}
}

/* What was done is on stable storage, and said. */
static bool
settle(struct change_run *run, struct reason *why)
{
	const char *word = verb_word(run->request->verb);

	if (run->count == 0)
		return true;
	if (run->request->verb != QUEUE_FLUSH &&
	    !log_wait(run->queue, SETTLE_WAIT_MS))
		return fail(why, REASON_IO, "the queue's log does not write");
	for (size_t i = 0; i < run->count && word != NULL; i++)
		log_line(SAY_NOTE, word, "queue=%s by=operator", run->ids[i]);
	run->changed->changed += run->count;
	run->count = 0;
	return true;
}

static void
count_change(struct change_run *run, enum change change, bool active,
    const char *id)
{
	struct queue_changed *changed = run->changed;

	if (change == CHANGE_GONE)
		return;
	changed->matched++;
	changed->active += active;
	changed->unchanged += change == CHANGE_NOTHING;
	changed->refused += change == CHANGE_REFUSED;
	changed->failed += change == CHANGE_FAILED;
	if (change == CHANGE_DONE)
		memcpy(run->ids[run->count++], id, QUEUE_ID_SIZE);
}

static bool
change_one(struct change_run *run, struct message_key key, struct reason *why)
{
	enum change change = CHANGE_GONE;
	bool active = false;
	struct look look;

	if (!look_copy(run->queue, key, &run->request->filter, &look))
		return true; /* gone since */
	if (look_fits_deep(run->queue, &look, &run->request->filter)) {
		if (run->request->verb == QUEUE_BOUNCE) {
			change = bounce(run, &look);
			active = change == CHANGE_ACTIVE;
		} else {
			change = change_now(run, key, &active);
		}
	}
	count_change(run, change, active, look.queue_id);
	look_fini(run->queue, &look);
	return run->count < BATCH || settle(run, why);
}

bool
queue_change(struct queue *queue, const struct queue_request *request,
    struct queue_changed *changed, struct reason *why)
{
	struct change_run run = {
		.queue = queue,
		.request = request,
		.changed = changed,
	};
	struct selection selection = { .count = 0 };
	bool ok;

	memset(changed, 0, sizeof(*changed));
	if (request->verb != QUEUE_FLUSH && !request->all &&
	    queue_filter_is_empty(&request->filter))
		return fail(why, REASON_SYNTAX,
		    "a queue id, a filter or --all was expected");
	ok = selection_make(queue, &request->filter, &selection, why);
	for (size_t i = 0; ok && i < selection.count; i++)
		ok = change_one(&run, selection.messages[i].key, why);
	ok = ok && settle(&run, why);
	selection_free(&selection);
	if (ok && changed->matched == 0 && request->filter.id[0] != '\0')
		return fail(why, REASON_ABSENT, "no message %s in the queue",
		    request->filter.id);
	return ok;
}
