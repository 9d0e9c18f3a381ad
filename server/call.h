/*
 * server/call.h: a thread's questions to another role, one at a time.
 *
 * Every thread has a channel of its own to each role it asks, so that calls
 * need no queue.  The main thread puts channels in as the master sends them.
 */
#ifndef SERVER_CALL_H
#define SERVER_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "wire.h"

struct call {
	pthread_mutex_t lock; /* guards the rest; never held during a call */
	pthread_cond_t set;   /* call_set was called */
	int away_ms;          /* how long a call waits for a channel */
	int fd;               /* -1: the other role is away */
	int fd_next;          /* takes fd's place when the call ends */
	bool busy, replaced;
	uint64_t number; /* of the last new exchange */
};

/* While the other role is being restarted a call waits up to away_ms for its
 * channel. */
void call_init(struct call *call, int away_ms);

/* The channel is fd from now on; fd is handed over, -1: none.  The earlier
 * one is closed, at once or when the call under way on it ends; such a call is
 * told to end.  Threads: any; never waits. */
void call_set(struct call *call, int fd);

/* Is there somebody at the other end?  Threads: any. */
bool call_is_alive(struct call *call);

/* A number no earlier exchange on this call has had. */
uint64_t call_number(struct call *call);

/*
 * Send request and wait for the answer of the same number; answer_out reads
 * from answer, past type and number, and *type_out is the type.  A request
 * that begins an exchange (is_first) is sent once more if the role died over
 * it.  False with REASON_AWAY, REASON_TIMEOUT or REASON_PROTOCOL.
 */
bool call_ask(struct call *call, const struct wire_writer *request,
    bool is_first, uint64_t number, void *answer, size_t capacity,
    int timeout_ms, uint8_t *type_out, struct wire_reader *answer_out,
    struct reason *why);

/* Send a packet that has no answer; nothing is reported if nobody is there. */
void call_tell(struct call *call, const struct wire_writer *packet);

#endif
