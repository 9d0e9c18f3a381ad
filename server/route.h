/*
 * server/route.h: which next hop a recipient's mail takes.
 *
 * The one place that decides it: today the configuration's smarthost for all.
 */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include <stdbool.h>

#include "config.h"
#include "envelope.h"
#include "queue.h"

/* recipient: index in envelope.recipients.  Quick, asks nobody.  Threads: any,
 * as long as config lives. */
void route_find(const struct config *config, const struct envelope *envelope,
    size_t recipient, struct next_hop *hop_out);

bool next_hop_same(const struct next_hop *a, const struct next_hop *b);

#endif
