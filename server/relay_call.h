/*
 * server/relay_call.h: a relay thread's questions to auth and lookup.
 *
 * Every thread has a channel of its own to each of them, so that calls need no
 * queue.  The main thread puts channels in as the master sends them.
 */
#ifndef SERVER_RELAY_CALL_H
#define SERVER_RELAY_CALL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "wire.h"

enum { RELAY_CALL_AWAY_MS = 5000 };

struct relay_call {
	pthread_mutex_t lock; /* guards the rest; never held during a call */
	pthread_cond_t set;   /* relay_call_set was called */
	int fd;               /* -1: the other role is away */
	int fd_next;          /* takes fd's place when the call ends */
	bool busy, replaced;
	uint64_t number; /* of the last new exchange */
};

void relay_call_init(struct relay_call *call);

/* The channel is fd from now on; fd is handed over.  A call under way on the
 * earlier one is told to end.  Threads: any; never waits. */
void relay_call_set(struct relay_call *call, int fd);

/* A number no earlier exchange on this call has had. */
uint64_t relay_call_number(struct relay_call *call);

/*
 * Send request and wait for the answer of the same number; answer_out reads
 * from answer, past type and number, and *type_out is the type.  While the
 * other role is being restarted, waits RELAY_CALL_AWAY_MS for its channel; a
 * request that begins an exchange (is_first) is sent once more if the role
 * died over it.  False with REASON_AWAY, REASON_TIMEOUT or REASON_PROTOCOL.
 */
bool relay_call_ask(struct relay_call *call, const struct wire_writer *request,
    bool is_first, uint64_t number, void *answer, size_t capacity,
    int timeout_ms, uint8_t *type_out, struct wire_reader *answer_out,
    struct reason *why);

/* Send a packet that has no answer; nothing is reported if nobody is there. */
void relay_call_tell(struct relay_call *call, const struct wire_writer *packet);

#endif
