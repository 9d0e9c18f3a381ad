/*
 * server/relay_deliver.h: one delivery attempt: demands, connection, decision,
 * transaction, outcomes.
 */
#ifndef SERVER_RELAY_DELIVER_H
#define SERVER_RELAY_DELIVER_H

#include "queue.h"
#include "relay_config.h"
#include "upstream.h"

/* What a relay thread keeps between deliveries. */
struct relay_deliverer {
	struct upstream_thread thread;
	struct upstream *upstream; /* kept connection, or NULL */
};

/*
 * Fill the outcomes of all recipients; those left OUTCOME_NONE were not tried.
 * Tells the queue whether the hop worked.  queue_done is the caller's.
 */
void relay_deliver(struct relay_deliverer *deliverer, struct queue *queue,
    struct relay_config *config, struct delivery *delivery);

/* Mail transactions that went without TLS because a row said may, since the
 * process began.  Threads: any. */
unsigned long long relay_deliver_clear_count(void);

#endif
