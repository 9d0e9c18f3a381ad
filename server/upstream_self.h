/*
 * server/upstream_self.h: is the other end of a connection ourselves?
 *
 * What a server says its name is proves nothing here: a smarthost on the same
 * machine, or another instance, rightly has ours.  What is certain is its
 * address and port: a connection within this machine to one of our listeners.
 * Loops over others are found by the Received fields (submission_header.h).
 */
#ifndef SERVER_UPSTREAM_SELF_H
#define SERVER_UPSTREAM_SELF_H

#include <stdbool.h>

#include "config.h"

/* The listener that fd, a connected socket, leads to; NULL: another's.
 * Threads: any. */
const struct config_listener *upstream_self(int fd,
    const struct config *config);

#endif
