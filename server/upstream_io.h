/*
 * server/upstream_io.h: octets and replies over one upstream socket, in clear
 * or in TLS, as straight-line calls with deadlines.
 *
 * One input buffer, one owner: once TLS has begun no octet is read in clear
 * from the same socket again, and what was received before is an attack.
 */
#ifndef SERVER_UPSTREAM_IO_H
#define SERVER_UPSTREAM_IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "../policy/reason.h"
#include "../tls/tls.h"
#include "upstream_reply.h"

/* Milliseconds of the monotonic clock. */
long long upstream_now_ms(void);

struct upstream_io {
	int fd;
	struct tls_session *tls; /* NULL: in clear */
	bool dead;               /* nothing may be sent or read any more */
	/* When the relay must have stopped, by upstream_now_ms; 0: not soon. */
	const atomic_llong *stop_at_ms;
	size_t in_len;
	unsigned char in[REPLY_CHALLENGE_MAX];
};

void upstream_io_init(struct upstream_io *io, const atomic_llong *stop_at_ms);
/* close_notify where there is TLS, then close. */
void upstream_io_close(struct upstream_io *io);

bool upstream_io_connect(struct upstream_io *io,
    const struct sockaddr_storage *address, int timeout_ms, struct reason *why);

/*
 * All of data, or as much as the other side took before it had something to
 * say: then *put_out is less than len, and a reply is to be read before the
 * rest is sent, lest both sides wait for each other (RFC 2920, section 3.1).
 * What follows must begin with that rest.  False: REASON_TIMEOUT, however much
 * was taken by then, or REASON_IO, and io is dead.
 */
bool upstream_io_send_some(struct upstream_io *io, const void *data, size_t len,
    size_t *put_out, int timeout_ms, struct reason *why);

/* All of data.  A side that speaks before, or instead of taking it, is out of
 * step: its next reply would be taken for something else's. */
bool upstream_io_send(struct upstream_io *io, const void *data, size_t len,
    int timeout_ms, struct reason *why);

/* One reply; the caller has called upstream_reply_init.  After false
 * (REASON_PROTOCOL for a malformed one) io is dead. */
bool upstream_io_reply(struct upstream_io *io, struct upstream_reply *reply,
    int timeout_ms, struct reason *why);

/* What the other side said before the connection broke under our writing, or
 * while we still write; within a second.  io is dead afterwards. */
bool upstream_io_last_reply(struct upstream_io *io,
    struct upstream_reply *reply);

/* Has the other side said something nobody asked for?  Looks into the buffer
 * and the socket without reading; end of file counts. */
bool upstream_io_has_input(struct upstream_io *io);

/* The same, but end of file does not count. */
bool upstream_io_has_reply(struct upstream_io *io);

/* For what upstream_io_has_input has found: always false, and io is dead. */
bool upstream_io_unasked(struct upstream_io *io, struct reason *why);

/* In clear: has it sent octets that nobody has taken yet? */
bool upstream_io_has_octets(const struct upstream_io *io);

/* TLS over the socket from here on.  False with why of the handshake, or
 * REASON_PROTOCOL if octets were received and not used; io is dead. */
bool upstream_io_start_tls(struct upstream_io *io,
    const struct tls_connect_options *options, int timeout_ms,
    struct reason *why);

#endif
