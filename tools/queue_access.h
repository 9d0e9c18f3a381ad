/*
 * tools/queue_access.h: the queue, by the running relay or from its files.
 */
#ifndef TOOLS_QUEUE_ACCESS_H
#define TOOLS_QUEUE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "../server/config.h"
#include "../server/queue_control.h"

struct queue_access;

/* config is borrowed.  may_read: without a server the files are read, which
 * serves LIST, SHOW and SUMMARY alone; else that is REASON_AWAY. */
bool queue_access_open(struct queue_access **access_out,
    const struct config *config, bool may_read, struct reason *why);
void queue_access_close(struct queue_access *access);

/* take is called with each JSON object of the answer; see
 * server/queue_control.h. */
bool queue_access_ask(struct queue_access *access,
    const struct queue_request *request,
    void (*take)(void *context, const char *text, size_t len), void *context,
    struct reason *why);

#endif
