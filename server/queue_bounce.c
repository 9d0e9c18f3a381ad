/*
 * server/queue_bounce.c: the notifications that an attempt leads to, as
 * messages for our own log.
 */
#include "queue_verdict.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

bool
verdict_tells(const struct delivery *delivery,
    const struct delivery_recipient *one, enum bounce_action action)
{
	bool is = false;

	switch (action) {
	case BOUNCE_FAILED:
		is = one->outcome == OUTCOME_PERMANENT;
		break;
	case BOUNCE_DELAYED:
		is = one->outcome == OUTCOME_TEMPORARY;
		break;
	case BOUNCE_RELAYED:
		/* RFC 3461, section 5.2.2. */
		is = one->outcome == OUTCOME_DELIVERED && !one->dsn;
		break;
	}
	return is && bounce_is_wanted(
			 &delivery->envelope.recipients[one->index], action);
}

/* Head and the beginning of the body, where the header is; or all of it, if
 * that was asked for and is not too much. */
static bool
read_original(const struct delivery *delivery, struct bounce *bounce,
    char **octets_out, struct reason *why)
{
	size_t most = BOUNCE_HEADER_MAX, body;
	char *octets;

	if (bounce->action == BOUNCE_FAILED &&
	    delivery->envelope.ret == RET_FULL &&
	    delivery->head_len + delivery->body_len <= BOUNCE_FULL_MAX)
		most = BOUNCE_FULL_MAX;
	body = delivery->body_len < most ? (size_t)delivery->body_len : most;
	octets = malloc(delivery->head_len + body + 1);

	if (octets == NULL)
		return fail(why, REASON_NO_MEMORY, "bounce");
	if (delivery->head_len > 0)
		memcpy(octets, delivery->head, delivery->head_len);
	if (!journal_pread(delivery->body_fd, octets + delivery->head_len, body,
		(uint64_t)delivery->body_offset, why)) {
		free(octets);
		return false;
	}
	bounce->octets = *octets_out = octets;
	bounce->octets_len = delivery->head_len + body;
	bounce->whole = body == delivery->body_len;
	return true;
}

static struct log_entry *
bounce_entry(const struct bounce *bounce, struct reason *why)
{
	struct envelope envelope;
	struct log_entry *entry;
	char *octets;
	size_t len;

	if (!bounce_make(bounce, &envelope, &octets, &len, why))
		return NULL;
	entry = log_message_entry(&envelope, octets, len);
	if (entry == NULL)
		fail(why, REASON_NO_MEMORY, "bounce of %zu octets", len);
	else
		log_line(SAY_NOTE, "bounce",
		    "queue=%s for=%s action=%s octets=%zu", envelope.queue_id,
		    bounce->original->queue_id, bounce_word(bounce->action),
		    len);
	free(octets);
	envelope_fini(&envelope);
	return entry;
}

static void
verdict_add_bounce(struct queue *queue, struct verdict *verdict,
    enum bounce_action action, struct log_entry *entry)
{
	pthread_mutex_lock(&queue->lock);
	entry->record.number = ++queue->serial;
	pthread_mutex_unlock(&queue->lock);
	/* What was delivered is, whether its notice is lost or not. */
	if (action != BOUNCE_RELAYED)
		verdict->bounce_serial = entry->record.number;
	*verdict->bounces_end = entry;
	verdict->bounces_end = &entry->next;
}

static struct bounce_recipient
told_recipient(const struct delivery_recipient *one)
{
	return (struct bounce_recipient){
		.index = one->index,
		.status = one->status,
		.text = one->text,
		.remote = queue_is_reply(one->text),
		.undecided = !one->decided,
	};
}

bool
verdict_bounce(struct queue *queue, const struct queue_settings *settings,
    const struct delivery *delivery, struct verdict *verdict,
    enum bounce_action action, struct reason *why)
{
	struct bounce_recipient told[BOUNCE_RECIPIENTS_MAX];
	struct bounce bounce = {
		.action = action,
		.hostname = settings->hostname,
		.now_ms = verdict->now_ms,
		.original = &delivery->envelope,
		.retry_until_ms =
		    settings->expire_ms > 0
			? delivery->envelope.arrival_ms + settings->expire_ms
			: 0,
		.remote_host = delivery->hop.host,
		.decision = "",
		.recipients = told,
	};
	struct log_entry *entry;
	char *octets = NULL;
	bool ok = true;

	if (!read_original(delivery, &bounce, &octets, why))
		return false;
	for (size_t i = 0; ok && i < delivery->recipient_count; i++) {
		const struct delivery_recipient *one = &delivery->recipients[i];

		if (verdict_tells(delivery, one, action)) {
			if (one->decided)
				bounce.decision = delivery->decision;
			told[bounce.recipient_count++] = told_recipient(one);
		}
		if (bounce.recipient_count == 0 ||
		    (bounce.recipient_count < BOUNCE_RECIPIENTS_MAX &&
			i + 1 < delivery->recipient_count))
			continue;
		entry = bounce_entry(&bounce, why);
		ok = entry != NULL;
		if (ok)
			verdict_add_bounce(queue, verdict, action, entry);
		bounce.recipient_count = 0;
		bounce.decision = "";
	}
	free(octets);
	return ok;
}

static void
free_entries(struct log_entry *entry)
{
	struct log_entry *next;

	for (; entry != NULL; entry = next) {
		next = entry->next;
		log_entry_free(entry);
	}
}

void
verdict_forget_bounces(struct verdict *verdict)
{
	*verdict->bounces_end = NULL;
	free_entries(verdict->bounces);
	verdict->bounces = NULL;
	verdict->bounces_end = &verdict->bounces;
	verdict->bounce_serial = 0;
}
