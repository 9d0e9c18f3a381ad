/*
 * server/relay_pool.h: the relay's threads, each with one upstream connection.
 *
 * queue_take, deliver, queue_done, again.  The functions below are for the
 * role's main thread.
 */
#ifndef SERVER_RELAY_POOL_H
#define SERVER_RELAY_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "book.h"
#include "messages.h"
#include "queue.h"
#include "relay_config.h"

struct relay_pool;

/* count threads, not yet running, so that channels can be put in. */
bool relay_pool_new(struct relay_pool **pool_out, unsigned count,
    struct reason *why);

/* A channel to signer, auth or lookup for the thread of that index; fd is
 * handed over, and closed if it is for nobody. */
void relay_pool_peer(struct relay_pool *pool, enum role peer, unsigned index,
    int fd);

/* New work uses config (the pool takes a reference). */
void relay_pool_configure(struct relay_pool *pool, struct relay_config *config);

/* queue and book are borrowed until relay_pool_join; configure comes first. */
bool relay_pool_start(struct relay_pool *pool, struct queue *queue,
    struct book *book, struct reason *why);

/* After queue_stop: transactions under way may go on for ms. */
void relay_pool_stop(struct relay_pool *pool, uint32_t ms);

/* Readable when the last thread has ended after relay_pool_stop. */
int relay_pool_finished_fd(const struct relay_pool *pool);
void relay_pool_join(struct relay_pool *pool);

/* Threads that are delivering right now. */
unsigned relay_pool_busy(const struct relay_pool *pool);

#endif
