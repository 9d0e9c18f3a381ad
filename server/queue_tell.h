/*
 * server/queue_tell.h: what the queue says of its messages, as JSON objects;
 * which ones there are says server/queue_control.h.
 */
#ifndef SERVER_QUEUE_TELL_H
#define SERVER_QUEUE_TELL_H

#include <jansson.h>

#include "queue_look.h"

/* Who listens; tell is false when nobody does any more. */
struct queue_teller {
	bool (*tell)(void *context, const char *text, size_t len);
	void *context;
};

/* object is handed over. */
bool queue_tell_object(const struct queue_teller *told, json_t *object);

/* LIST and SHOW. */
bool queue_tell_messages(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, struct reason *why);

/* SUMMARY: queue_summary.c. */
bool queue_tell_summary(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, struct reason *why);

#endif
