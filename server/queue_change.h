/*
 * server/queue_change.h: what an operator does to messages of the queue.
 */
#ifndef SERVER_QUEUE_CHANGE_H
#define SERVER_QUEUE_CHANGE_H

#include "queue_filter.h"
#include "queue.h"

struct queue_changed {
	size_t matched;   /* the filter means them */
	size_t changed;   /* on stable storage */
	size_t unchanged; /* nothing was to be done, or nothing could be */
	size_t active;    /* a worker has some of it: what it does counts */
	size_t refused;   /* BOUNCE: from the null reverse-path */
	size_t failed;    /* could not be read, or no memory */
};

/*
 * FLUSH, HOLD, RELEASE, REMOVE and BOUNCE, one message after the other; the
 * queue's lock is held for one at a time.  False (REASON_ABSENT: no message of
 * that id; REASON_IO: the log does not write): *changed says how far it came.
 */
bool queue_change(struct queue *queue, const struct queue_request *request,
    struct queue_changed *changed, struct reason *why);

#endif
