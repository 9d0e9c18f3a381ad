/*
 * server/queue_control.h: "sallyport queue", from both ends of the relay's
 * control socket.
 *
 * CONTROL_QUEUE carries a struct queue_request (server/queue_filter.h).  Each
 * CONTROL_DATA is as many JSON objects as fit, a line each, told apart by
 * "kind":
 *
 *     message    LIST and SHOW, one a message, the oldest first: queue, state
 *                (queued, deferred, active, held), arrival and next (Unix
 *                seconds; null if that is not known), size, attempts, from,
 *                recipients (pending ones, at most 16) and recipient_count,
 *                recipient_total, host, port, status, reason, login, client;
 *                held ones have by_operator, those of which a route holds some
 *                have route_line; where some is held, but not what goes next,
 *                held_reason;
 *                SHOW: session, listener, tls, envid, smtputf8, requiretls
 *                TRACE: as SHOW, but for header and body; also of one that
 *                is done with (state done) and known still
 *     leg        SHOW: one a next hop: host, port, state, recipients (how many
 *                are pending), attempts, next, status, reason
 *     attempt    SHOW: number, when, next, host, port, remote, decision,
 *                left_out (how many before it were not kept), and outcomes
 *                (rcpt, outcome, status, text); a long one comes in several;
 *                delay-notice: the same, when the sender was told of it
 *     header     SHOW: text; the message's header in pieces, in order
 *     body       SHOW, if asked: text; the empty line and the body, the same
 *     row        SUMMARY, one a next hop and reason, the most first: host, port,
 *                reason, messages, and ages (an object: 5m, 15m, 1h, 4h, 1d,
 *                3d, older)
 *     total      SUMMARY: messages, octets, ages; a message that goes several
 *                ways counts once here and in several rows
 *     site       SUMMARY, one a next hop that has workers or failed: host,
 *                port, active (workers), limit (of them), failures since it
 *                last worked, until (Unix seconds: nothing goes there before;
 *                null if it is tried now, or well), reason (what failed), and
 *                tls_optional (true: for messages that say so alone)
 *     result     all others: matched, changed, unchanged, active, refused,
 *                failed; see server/queue_change.h
 */
#ifndef SERVER_QUEUE_CONTROL_H
#define SERVER_QUEUE_CONTROL_H

#include "queue.h"
#include "queue_filter.h"

/* Answer one request packet (without its type octet) on a connected control
 * socket; blocks at most a few seconds for each DATA until the tool takes it,
 * and as long for the log. */
void queue_control_answer(struct queue *queue, int fd, const void *packet,
    size_t len);

/*
 * The same for a tool that has opened the files itself (LIST, SHOW and
 * SUMMARY), and for tests.  tell gets one JSON object as text and may end it by
 * false.  REASON_ABSENT if there is no message of the id that is asked for.
 */
bool queue_control_tell(struct queue *queue,
    const struct queue_request *request,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why);

#endif
