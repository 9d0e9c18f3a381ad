/*
 * server/queue_verdict.h: what is decided about one attempt, and the
 * notifications that are made of it.
 */
#ifndef SERVER_QUEUE_VERDICT_H
#define SERVER_QUEUE_VERDICT_H

#include "bounce.h"
#include "queue_internal.h"

/* All that is decided about one attempt before the queue is changed. */
struct verdict {
	struct leg *leg;
	struct queued *message; /* the leg's */
	int64_t now_ms;         /* Unix */
	bool tried;             /* some recipient has an outcome */
	bool hold;              /* failed for good, and nobody can be told */
	bool drop;              /* the same of an alarm's mail */
	bool tells;             /* of a delay: it is no attempt of its own */
	size_t failed;          /* recipients that failed for good */
	size_t relayed;         /* whose delivery nobody else will tell */
	struct log_entry *bounces, **bounces_end;
	struct log_entry *attempt;
	uint64_t bounce_serial; /* of the last of failures */
};

/* queue_bounce.c; no lock. */

/* Is the sender to be told of this recipient, in a notification of action? */
bool verdict_tells(const struct delivery *delivery,
    const struct delivery_recipient *one, enum bounce_action action);
/*
 * Tell the sender about all of action, BOUNCE_RECIPIENTS_MAX at a time: the
 * notifications are added to the verdict, which has bounces_end set.  False,
 * with those that were made, if it was not possible.
 */
bool verdict_bounce(struct queue *queue, const struct queue_settings *settings,
    const struct delivery *delivery, struct verdict *verdict,
    enum bounce_action action, struct reason *why);
void verdict_forget_bounces(struct verdict *verdict);

#endif
