/*
 * tools/queue_feed.h: the relay's answer, read ahead of who prints it.
 */
#ifndef TOOLS_QUEUE_FEED_H
#define TOOLS_QUEUE_FEED_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

/*
 * As control_ask (server/control.h), for CONTROL_QUEUE: take is called on this
 * thread with each object of the answer, in order, without its line end.
 *
 * The relay waits for nobody longer than a few seconds, but an operator reads a
 * list in a pager for as long as he likes: another thread takes the answer, up
 * to 128 MiB of it ahead.
 */
bool queue_feed(int fd, const void *request, size_t len,
    void (*take)(void *context, const char *text, size_t len), void *context,
    struct reason *why);

#endif
