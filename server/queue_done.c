/*
 * server/queue_done.c: what becomes of a message after an attempt: done,
 * tried again, bounced, or held.
 */
#include "queue_verdict.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

enum {
	NOT_TRIED_MS = 1000, /* before it is offered again */
	VALUE_PATH = 400,
	VALUE_TEXT = 700,
};

bool
queue_is_reply(const char *text)
{
	return isdigit((unsigned char)text[0]) &&
	       isdigit((unsigned char)text[1]) &&
	       isdigit((unsigned char)text[2]) &&
	       (text[3] == ' ' || text[3] == '-' || text[3] == '\0');
}

static const char *
path_of(const struct delivery *delivery,
    const struct delivery_recipient *recipient)
{
	return delivery->envelope.recipients[recipient->index].forward_path;
}

bool
queue_is_expired(const struct queue_settings *settings,
    const struct queued *message, int64_t now_ms)
{
	return settings->expire_ms > 0 &&
	       now_ms - message->arrival_ms >= settings->expire_ms;
}

/* One more try would come too late. */
static void
recipient_expire(struct delivery_recipient *recipient, int64_t expire_ms)
{
	char last[sizeof(recipient->text)];

	memcpy(last, recipient->text, sizeof(last));
	last[sizeof(last) - 1] = '\0';
	recipient->outcome = OUTCOME_PERMANENT;
	snprintf(recipient->status, sizeof(recipient->status), "4.4.7");
	snprintf(recipient->text, sizeof(recipient->text),
	    "not delivered within %" PRId64 " seconds%s%.400s",
	    expire_ms / 1000, last[0] != '\0' ? "; the last try: " : "", last);
}

/* An alarm's mail that fails is dropped: held or bounced it would be an alarm
 * of its own.  Whoever writes the in folder cannot make one. */
static bool
is_notice(const struct delivery *delivery, const struct queued *message)
{
	return delivery->envelope.notice && message->key.mark == 0;
}

/* Terminated, in bounds, and expired where it is time. */
static void
check_outcomes(const struct queue_settings *settings, struct delivery *delivery,
    struct verdict *verdict)
{
	bool expired =
	    queue_is_expired(settings, verdict->message, verdict->now_ms);

	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *one = &delivery->recipients[i];

		one->status[sizeof(one->status) - 1] = '\0';
		one->text[sizeof(one->text) - 1] = '\0';
		if (one->outcome == OUTCOME_TEMPORARY && expired)
			recipient_expire(one, settings->expire_ms);
		if (one->outcome != OUTCOME_NONE)
			verdict->tried = true;
		if (one->outcome == OUTCOME_PERMANENT)
			verdict->failed++;
		if (verdict_tells(delivery, one, BOUNCE_RELAYED))
			verdict->relayed++;
	}
	if (verdict->failed > 0 && !bounce_is_possible(&delivery->envelope)) {
		verdict->drop = is_notice(delivery, verdict->message);
		verdict->hold = !verdict->drop;
	}
}

/* Nobody could be told now: the recipients stay, and are tried again. */
static void
undo_failures(struct delivery *delivery, struct verdict *verdict)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		if (delivery->recipients[i].outcome == OUTCOME_PERMANENT)
			delivery->recipients[i].outcome = OUTCOME_TEMPORARY;
	}
	verdict->failed = 0;
	verdict_forget_bounces(verdict);
}

/* The log. */

static const char *
outcome_word(enum outcome outcome, const struct verdict *verdict)
{
	switch (outcome) {
	case OUTCOME_DELIVERED:
		return "delivered";
	case OUTCOME_TEMPORARY:
		return "deferred";
	case OUTCOME_PERMANENT:
		return verdict->hold   ? "held"
		       : verdict->drop ? "dropped"
				       : "bounced";
	case OUTCOME_DISCARDED:
		return "discarded";
	case OUTCOME_NONE:
		break;
	}
	return NULL;
}

static void
say_recipient(const struct delivery *delivery, const struct verdict *verdict,
    const struct delivery_recipient *one)
{
	const char *word = outcome_word(one->outcome, verdict);
	const char *path;
	char rcpt[VALUE_PATH], reply[VALUE_TEXT], decision[VALUE_TEXT];
	char remote[128], host[320], status[32];

	if (word == NULL)
		return;
	path = path_of(delivery, one);
	log_line(one->outcome != OUTCOME_PERMANENT ? SAY_NOTE
		 : verdict->hold                   ? SAY_ALARM
		 : verdict->drop                   ? SAY_WARNING
						   : SAY_NOTE,
	    word,
	    "queue=%s rcpt=%s host=%s remote=%s status=%s attempt=%u "
	    "reply=%s%s%s",
	    delivery->envelope.queue_id,
	    log_value(rcpt, sizeof(rcpt), path, strlen(path)),
	    log_value(host, sizeof(host), delivery->hop.host,
		strlen(delivery->hop.host)),
	    log_value(remote, sizeof(remote), delivery->remote,
		strlen(delivery->remote)),
	    log_value(status, sizeof(status), one->status, strlen(one->status)),
	    delivery->attempt,
	    log_value(reply, sizeof(reply), one->text, strlen(one->text)),
	    one->decided ? " decision=" : "",
	    one->decided ? log_value(decision, sizeof(decision),
			       delivery->decision, strlen(delivery->decision))
			 : "");
}

static void
say_outcomes(const struct delivery *delivery, const struct verdict *verdict)
{
	for (size_t i = 0; i < delivery->recipient_count; i++)
		say_recipient(delivery, verdict, &delivery->recipients[i]);
}

/* Recipients that are done with after this attempt. */
static size_t
count_done(const struct delivery *delivery, const struct verdict *verdict)
{
	size_t done = 0;

	for (size_t i = 0; i < delivery->recipient_count; i++) {
		enum outcome outcome = delivery->recipients[i].outcome;

		if (outcome == OUTCOME_DELIVERED ||
		    outcome == OUTCOME_DISCARDED ||
		    (outcome == OUTCOME_PERMANENT && !verdict->hold))
			done++;
	}
	return done;
}

static struct log_entry *
attempt_entry(const struct delivery *delivery, const struct verdict *verdict,
    bool complete, int64_t next_ms)
{
	struct queued *message = verdict->message;
	struct attempt attempt = {
		.key = message->key,
		.when_ms = verdict->now_ms,
		.next_ms = next_ms,
		.number = delivery->attempt,
		.flags = (verdict->hold ? ATTEMPT_HELD : 0u) |
			 (complete ? ATTEMPT_COMPLETE : 0u) |
			 (verdict->tells ? ATTEMPT_TOLD : 0u),
		.bounce = verdict->bounce_serial,
		.host = (char *)(uintptr_t)delivery->hop.host,
		.port = delivery->hop.port,
		.remote = (char *)(uintptr_t)delivery->remote,
		.decision = (char *)(uintptr_t)delivery->decision,
	};
	struct log_entry *entry = NULL;

	attempt.recipients = calloc(delivery->recipient_count + 1,
	    sizeof(struct attempt_recipient));
	if (attempt.recipients == NULL)
		return NULL;
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *one = &delivery->recipients[i];

		if (one->outcome == OUTCOME_NONE)
			continue;
		attempt.recipients[attempt.count++] =
		    (struct attempt_recipient){ .index = one->index,
			    .outcome = one->outcome,
			    .status = one->status,
			    .text = one->text };
	}
	entry = log_attempt_entry(&attempt);
	free(attempt.recipients);
	if (entry != NULL)
		entry->message = message;
	return entry;
}

/* The queue. */

static void
mark_done(struct queue *queue, const struct delivery *delivery,
    const struct verdict *verdict)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		const struct delivery_recipient *one = &delivery->recipients[i];

		if (one->outcome == OUTCOME_DELIVERED)
			queue->counts.delivered++;
		else if (one->outcome == OUTCOME_PERMANENT && !verdict->hold)
			queue->counts.bounced += !verdict->drop;
		else if (one->outcome != OUTCOME_DISCARDED)
			continue;
		message_set_done(verdict->message, one->index);
	}
	legs_count_pending(verdict->message);
}

/* Callers hold lock; bounces go before the attempt that rests on them. */
static void
add_entries(struct queue *queue, struct verdict *verdict)
{
	struct log_entry *entry, *next;

	for (entry = verdict->bounces; entry != NULL; entry = next) {
		next = entry->next;
		log_add(queue, entry);
	}
	log_add(queue, verdict->attempt);
}

static void
apply_verdict(struct queue *queue, struct delivery *delivery,
    struct verdict *verdict, int64_t delay_ms)
{
	struct queued *message = verdict->message;
	struct leg *leg = verdict->leg;

	pthread_mutex_lock(&queue->lock);
	queue_give_back(leg);
	if (verdict->attempt != NULL) {
		mark_done(queue, delivery, verdict);
		leg->attempts = delivery->attempt;
		leg->next_ms = verdict->now_ms + delay_ms;
		if (leg->attempts > message->attempts)
			message->attempts = leg->attempts;
		/* Whoever comes back last, however many there were. */
		verdict->attempt->completes =
		    message->active == 0 &&
		    (message->remove || message->pending == 0);
		add_entries(queue, verdict);
	}
	leg->held = verdict->hold;
	if (leg->pending > 0 && !leg->held && !message->held &&
	    !message->remove)
		index_wait(queue, leg, queue_monotonic_ms() + delay_ms);
	index_settle(queue, message);
	pthread_mutex_unlock(&queue->lock);
}

/* What failed was the site, so the leg waits as long as that is left alone:
 * its gate holds back all at once, and lets them through as soon as it is well
 * again.  A wait of the message's own would outlast that. */
static int64_t
site_delay_ms(struct queue *queue, const struct delivery *delivery)
{
	int64_t wait;

	pthread_mutex_lock(&queue->lock);
	wait = hop_wait_ms(delivery_leg(delivery)->hop, queue_monotonic_ms());
	pthread_mutex_unlock(&queue->lock);
	return wait > NOT_TRIED_MS ? wait : NOT_TRIED_MS;
}

/* Why a hop is not even tried, for "queue list". */
static void
note_hop_text(struct queue *queue, const struct delivery *delivery)
{
	struct hop *hop;

	if (delivery->recipient_count == 0 ||
	    delivery->recipients[0].text[0] == '\0')
		return;
	pthread_mutex_lock(&queue->lock);
	hop = delivery_leg(delivery)->hop;
	snprintf(hop->last_text, sizeof(hop->last_text), "%.255s",
	    delivery->recipients[0].text);
	pthread_mutex_unlock(&queue->lock);
}

static void
decide_bounces(struct queue *queue, const struct queue_settings *settings,
    struct delivery *delivery, struct verdict *verdict)
{
	struct reason why;

	if (verdict->failed > 0 && !verdict->hold && !verdict->drop &&
	    !verdict_bounce(queue, settings, delivery, verdict, BOUNCE_FAILED,
		&why)) {
		log_line(SAY_ALARM, "queue",
		    "queue=%s bounce=failed trouble=\"%s\"",
		    delivery->envelope.queue_id, why.text);
		undo_failures(delivery, verdict);
	}
	if (verdict->relayed > 0 && bounce_is_possible(&delivery->envelope) &&
	    !verdict_bounce(queue, settings, delivery, verdict, BOUNCE_RELAYED,
		&why))
		log_line(SAY_ALARM, "queue",
		    "queue=%s notice=failed trouble=\"%s\"",
		    delivery->envelope.queue_id, why.text);
}

/* Nothing is left of the message after this attempt, as far as is known before
 * the legs that others have come back. */
static bool
is_last(struct queue *queue, const struct delivery *delivery,
    const struct verdict *verdict)
{
	size_t done = count_done(delivery, verdict);
	bool last;

	pthread_mutex_lock(&queue->lock);
	last = verdict->message->pending == done;
	pthread_mutex_unlock(&queue->lock);
	return last;
}

/* Without memory for its record an attempt is as if it had not been made. */
static void
record_attempt(struct queue *queue, struct delivery *delivery,
    struct verdict *verdict, bool removed, int64_t delay_ms)
{
	bool complete = removed || is_last(queue, delivery, verdict);

	verdict->attempt = attempt_entry(delivery, verdict, complete,
	    complete ? 0 : verdict->now_ms + delay_ms);
	if (verdict->attempt != NULL)
		return;
	log_line(SAY_ALARM, "queue",
	    "queue=%s trouble=\"no memory to record an attempt\"",
	    delivery->envelope.queue_id);
	undo_failures(delivery, verdict);
	verdict->hold = false;
}

void
queue_done(struct queue *queue, struct delivery *delivery)
{
	struct leg *leg = delivery_leg(delivery);
	struct verdict verdict = {
		.leg = leg,
		.message = leg->message,
		.now_ms = queue_now_ms(),
	};
	bool site_failed = delivery_slot(delivery)->failed;
	struct queue_settings settings;
	int64_t delay_ms = NOT_TRIED_MS;
	bool removed;

	verdict.bounces_end = &verdict.bounces;
	pthread_mutex_lock(&queue->lock);
	settings = queue->settings;
	removed = verdict.message->remove;
	pthread_mutex_unlock(&queue->lock);
	delivery->remote[sizeof(delivery->remote) - 1] = '\0';
	delivery->decision[sizeof(delivery->decision) - 1] = '\0';
	check_outcomes(&settings, delivery, &verdict);
	if (removed)
		verdict.hold = false;
	else
		decide_bounces(queue, &settings, delivery, &verdict);
	if (verdict.tried || removed) {
		delay_ms = site_failed
			       ? site_delay_ms(queue, delivery)
			       : backoff_ms(&settings, delivery->attempt);
		record_attempt(queue, delivery, &verdict, removed, delay_ms);
		say_outcomes(delivery, &verdict);
	}
	if (site_failed || !verdict.tried)
		note_hop_text(queue, delivery);
	apply_verdict(queue, delivery, &verdict, delay_ms);
	delivery_close(queue, delivery);
}

/* Delays. */

/* The notices, and the record that they were made.  True with neither where
 * nobody wants to know. */
static bool
tell_delay(struct queue *queue, const struct queue_settings *settings,
    struct delivery *delivery, struct verdict *verdict)
{
	struct reason why;
	bool ok;

	if (!bounce_is_possible(&delivery->envelope))
		return true;
	ok = verdict_bounce(queue, settings, delivery, verdict, BOUNCE_DELAYED,
	    &why);
	if (ok && verdict->bounces != NULL) {
		verdict->attempt = attempt_entry(delivery, verdict, false,
		    verdict->leg->next_ms);
		ok = verdict->attempt != NULL ||
		     fail(&why, REASON_NO_MEMORY, "record");
	}
	if (ok)
		return true;
	log_line(SAY_ALARM, "queue", "queue=%s notice=failed trouble=\"%s\"",
	    delivery->envelope.queue_id, why.text);
	verdict_forget_bounces(verdict);
	return false;
}

/* Callers hold lock.  An operator may have removed the message meanwhile. */
static void
leg_told(struct queue *queue, struct verdict *verdict)
{
	struct queued *message = verdict->message;
	struct leg *leg = verdict->leg;
	struct log_entry *removed = NULL;

	queue_give_back(leg);
	if (message->remove)
		removed =
		    log_key_entry(JOURNAL_REMOVED, message->key, "removed");
	if (removed != NULL) {
		removed->message = message;
		removed->completes = message->active == 0;
		log_add(queue, removed);
	} else if (!message->held) {
		index_wait(queue, leg, leg->due_ms);
	}
	index_settle(queue, message);
}

bool
queue_tell_delay(struct queue *queue, struct delivery *delivery)
{
	struct leg *leg = delivery_leg(delivery);
	struct verdict verdict = {
		.leg = leg,
		.message = leg->message,
		.now_ms = queue_now_ms(),
		.tells = true,
	};
	struct queue_settings settings;
	bool ok;

	verdict.bounces_end = &verdict.bounces;
	pthread_mutex_lock(&queue->lock);
	settings = queue->settings;
	pthread_mutex_unlock(&queue->lock);
	delivery->attempt = leg->attempts;
	ok = tell_delay(queue, &settings, delivery, &verdict);
	pthread_mutex_lock(&queue->lock);
	if (verdict.attempt != NULL)
		add_entries(queue, &verdict);
	leg->told = leg->told || ok;
	leg_told(queue, &verdict);
	pthread_mutex_unlock(&queue->lock);
	delivery_close(queue, delivery);
	return ok;
}
