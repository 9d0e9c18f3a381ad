/*
 * server/queue_control.h: "sallyport queue", from both ends of the relay's
 * control socket.
 *
 * CONTROL_QUEUE carries: verb u8, queue id s ("" for all; not for REMOVE and
 * SHOW).  For LIST and SHOW each CONTROL_DATA is one JSON object as text, told
 * apart by "kind":
 *
 *     message    one a message: queue, state (queued, deferred, active, held),
 *                arrival and next (Unix seconds), size, attempts, from,
 *                recipients (pending ones, at most 16) and recipient_count,
 *                recipient_total, host, port, reason, login, client
 *     attempt    SHOW: number, when, next, host, port, remote, decision, and
 *                outcomes (rcpt, outcome, status, text); a long one comes in
 *                several
 *     header     SHOW: text; the message's header in pieces, in order
 */
#ifndef SERVER_QUEUE_CONTROL_H
#define SERVER_QUEUE_CONTROL_H

#include "queue.h"

enum queue_verb { QUEUE_LIST = 1, QUEUE_SHOW, QUEUE_FLUSH, QUEUE_REMOVE };

/* Answer one request packet (without its type octet) on a connected control
 * socket; blocks at most a few seconds, and for each DATA until the tool takes
 * it. */
void queue_control_answer(struct queue *queue, int fd, const void *packet,
    size_t len);

/*
 * LIST (id "": all) and SHOW, for a tool that has opened the files itself.
 * tell gets one JSON object as text and may end it by false.  REASON_ABSENT if
 * there is no such message.
 */
bool queue_control_tell(struct queue *queue, enum queue_verb verb,
    const char *id, bool (*tell)(void *context, const char *text, size_t len),
    void *context, struct reason *why);

#endif
