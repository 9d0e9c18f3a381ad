/*
 * server/queue_legs.c: a message's recipients, divided over next hops.
 *
 * Each leg is scheduled for itself: one smarthost that is away delays nobody
 * else's mail.  Nearly all messages have one leg, which is part of the message.
 */
#include "queue_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "log.h"
#include "route.h"

struct leg *
leg_of(struct queued *message, uint32_t recipient)
{
	struct leg *leg = &message->leg;

	if (message_more(message)->leg_of == NULL)
		return leg;
	for (uint32_t i = message->more->leg_of[recipient]; i > 0; i--)
		leg = leg->next;
	return leg;
}

void
legs_count_pending(struct queued *message)
{
	struct leg *leg;

	message->pending = 0;
	for (leg = &message->leg; leg != NULL; leg = leg->next)
		leg->pending = 0;
	for (uint32_t i = 0; i < message->recipients; i++) {
		if (message_is_done(message, i))
			continue;
		message->pending++;
		leg_of(message, i)->pending++;
	}
}

/* --- what was known of them before ---------------------------------------- */

struct recalled *
legs_recalled(struct queued *message, const char *host, uint16_t port)
{
	struct queued_more *more = message_need_more(message);
	struct recalled *recalled;

	if (more == NULL)
		return NULL;
	recalled = more->recalled;
	for (uint32_t i = 0; i < more->recalled_count; i++)
		if (recalled[i].port == port &&
		    strcasecmp(recalled[i].host, host) == 0)
			return &recalled[i];
	recalled = reallocarray(recalled, more->recalled_count + 1u,
	    sizeof(*recalled));
	if (recalled == NULL)
		return NULL;
	more->recalled = recalled;
	recalled += more->recalled_count;
	*recalled = (struct recalled){ .host = strdup(host), .port = port };
	if (recalled->host == NULL)
		return NULL;
	more->recalled_count++;
	return recalled;
}

static void
forget_recalled(struct queued *message)
{
	struct queued_more *more = message->more;

	if (more == NULL)
		return;
	for (uint32_t i = 0; i < more->recalled_count; i++)
		free(more->recalled[i].host);
	free(more->recalled);
	more->recalled = NULL;
	more->recalled_count = 0;
	if (more->done != NULL || more->leg_of != NULL || message->is_large)
		return;
	free(more);
	message->more = NULL;
}

static void
forget_legs(struct queued *message)
{
	struct leg *next;

	for (struct leg *leg = message->leg.next; leg != NULL; leg = next) {
		next = leg->next;
		free(leg);
	}
	if (message->more != NULL) {
		free(message->more->leg_of);
		message->more->leg_of = NULL;
	}
	message->leg = (struct leg){ .message = message };
}

bool
legs_recall(struct queued *message)
{
	index_unwait_all(message);
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		struct recalled *recalled;

		/* What is over says nothing of when others are due. */
		if (leg->hop == NULL || leg->pending == 0 ||
		    (leg->attempts == 0 && !leg->told))
			continue;
		recalled = legs_recalled(message, hop_name(leg->hop)->host,
		    hop_name(leg->hop)->port);
		if (recalled == NULL)
			return false;
		recalled->attempts = leg->attempts;
		recalled->next_ms = leg->next_ms;
		recalled->held = leg->held;
		recalled->told = leg->told;
	}
	forget_legs(message);
	return true;
}

void
legs_free(struct queued *message)
{
	forget_legs(message);
	forget_recalled(message);
}

/* --- dividing --------------------------------------------------------------
 */

/* The leg over that hop, made if there is none. */
static struct leg *
find_leg(struct queued *message, struct hop *hop)
{
	struct leg *leg = &message->leg;
	uint32_t index = 0;

	if (leg->hop == NULL) {
		leg->hop = hop;
		return leg;
	}
	for (;; leg = leg->next, index++) {
		if (leg->hop == hop)
			return leg;
		if (leg->next == NULL)
			break;
	}
	leg->next = calloc(1, sizeof(*leg));
	if (leg->next == NULL)
		return NULL;
	*leg->next =
	    (struct leg){ .message = message, .hop = hop, .index = index + 1 };
	return leg->next;
}

/* Note whose leg a recipient is, once there is more than one. */
static bool
put_recipient(struct queued *message, uint32_t recipient, const struct leg *leg)
{
	struct queued_more *more;

	if (leg->index == 0 && message_more(message)->leg_of == NULL)
		return true;
	more = message_need_more(message);
	if (more == NULL)
		return false;
	if (more->leg_of == NULL)
		more->leg_of =
		    calloc(message->recipients, sizeof(*more->leg_of));
	if (more->leg_of == NULL)
		return false;
	more->leg_of[recipient] = leg->index;
	return true;
}

static bool
divide(struct queue *queue, struct queued *message,
    const struct envelope *envelope)
{
	struct way way;
	struct hop *hop;
	struct leg *leg;

	for (uint32_t i = 0; i < message->recipients; i++) {
		if (message_is_done(message, i))
			continue;
		(message->passed ? way_find_released : way_find)(queue->config,
		    queue->routes, envelope->reverse_path,
		    envelope->recipients[i].forward_path, &way);
		hop = hop_get(queue, &way, envelope->tls_optional);
		leg = hop == NULL ? NULL : find_leg(message, hop);
		if (leg == NULL || !put_recipient(message, i, leg))
			return false;
	}
	return true;
}

/* When a leg that was tried before is due. */
static int64_t
first_due(const struct queue *queue, const struct leg *leg)
{
	int64_t wait = 0;

	if (leg->attempts > 0)
		wait = leg->next_ms - queue_now_ms();
	if (wait < 0)
		wait = 0;
	if (wait > queue->settings.retry_most_ms)
		wait = queue->settings.retry_most_ms;
	return queue_monotonic_ms() + wait;
}

/* An attempt is recorded by the hop that was tried last. */
static bool
is_of_way(const struct way *way, const struct recalled *recalled)
{
	size_t i = 0;

	/* Ways that end here have one nameless hop. */
	do {
		if (recalled->port == way->hops[i].port &&
		    strcasecmp(recalled->host, way->hops[i].host) == 0)
			return true;
	} while (++i < way->hop_count);
	return false;
}

static void
take_recalled(struct queued *message, struct leg *leg)
{
	const struct queued_more *more = message_more(message);

	for (uint32_t i = 0; i < more->recalled_count; i++) {
		const struct recalled *recalled = &more->recalled[i];

		if (!is_of_way(&leg->hop->way, recalled))
			continue;
		leg->told = leg->told || recalled->told;
		if (recalled->attempts < leg->attempts)
			continue;
		leg->attempts = recalled->attempts;
		leg->next_ms = recalled->next_ms;
		leg->held = recalled->held;
	}
}

/* Once, on stable storage too: a hold lasts longer than its row. */
static void
hold_by_route(struct queue *queue, struct queued *message, unsigned line)
{
	struct log_entry *entry;

	if (message->held_line != 0)
		return;
	message->held_line = line;
	if (queue->read_only)
		return;
	entry = log_key_entry(JOURNAL_HELD, message->key, "held by its route");
	if (entry == NULL)
		return; /* the row holds it again at the next start */
	entry->record.number = HELD_BY_ROUTE | (uint64_t)line
						   << HELD_LINE_SHIFT;
	entry->message = message;
	log_add(queue, entry);
}

/* Legs whose way is to be held; if there is none (any more) all that is left of
 * a message that a row held before: which were meant is not known. */
static void
hold_legs(struct queue *queue, struct queued *message)
{
	bool some = false;

	if (message->settled)
		return;
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		if (leg->hop == NULL || leg->hop->way.kind != ROUTE_HOLD)
			continue;
		hold_by_route(queue, message, leg->hop->way.line);
		leg->held = some = true;
	}
	for (struct leg *leg = &message->leg;
	     !some && message->held_line != 0 && leg != NULL; leg = leg->next)
		leg->held = leg->hop != NULL;
}

bool
legs_divide(struct queue *queue, struct queued *message,
    const struct envelope *envelope)
{
	message->leg = (struct leg){ .message = message };
	message->owner = flow_owner(queue, envelope);
	if (!divide(queue, message, envelope)) {
		forget_legs(message);
		return false;
	}
	message->generation = queue->generation;
	legs_count_pending(message);
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		if (leg->hop == NULL)
			continue; /* all recipients are done */
		leg->told = message->told;
		take_recalled(message, leg);
	}
	hold_legs(queue, message);
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		if (leg->hop == NULL)
			continue;
		if (message->held || message->settled || leg->held)
			continue;
		index_wait(queue, leg, first_due(queue, leg));
	}
	forget_recalled(message);
	return true;
}

bool
legs_divide_again(struct queue *queue, struct queued *message,
    const struct envelope *envelope)
{
	if (legs_recall(message) && legs_divide(queue, message, envelope))
		return true;
	log_line(SAY_ALARM, "queue",
	    "queue=%s trouble=\"no memory to route it; it waits for a restart\"",
	    message->queue_id);
	return false;
}
