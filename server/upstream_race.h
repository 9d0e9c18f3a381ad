/*
 * server/upstream_race.h: one TCP connection to one of several addresses, by
 * attempts that overlap (RFC 8305, section 5).
 *
 * A family that goes nowhere costs a quarter of a second, not a timeout.  Plain
 * sockets: what is said over the connection is the caller's, who comes back for
 * the next address where this one does not serve.
 */
#ifndef SERVER_UPSTREAM_RACE_H
#define SERVER_UPSTREAM_RACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "../policy/reason.h"

enum {
	RACE_ADDRESSES = 16,
	/* "Connection Attempt Delay", RFC 8305, section 8. */
	RACE_DELAY_MS = 250,
};

/* Families take turns, IPv6 first; the order within each stays (RFC 8305,
 * section 4). */
void race_order(struct sockaddr_storage *addresses, size_t count);

struct race {
	const struct sockaddr_storage *addresses; /* borrowed */
	size_t count;                             /* at most RACE_ADDRESSES */
	const atomic_llong *stop_at_ms;           /* as in upstream_io.h */
	struct race_attempt {
		int fd;             /* -1: none under way */
		long long deadline; /* by upstream_now_ms */
		bool over;          /* failed, or was handed out */
	} attempts[RACE_ADDRESSES];
};

void race_init(struct race *race, const struct sockaddr_storage *addresses,
    size_t count, const atomic_llong *stop_at_ms);

/* Is any address left? */
bool race_has_more(const struct race *race);

/*
 * The first connection that is made to one of the addresses left; the socket
 * is the caller's, non-blocking, and index_out says whose it is.  Those that
 * were overtaken are closed and stay left.  Each address has timeout_ms, and
 * failed is told of each that does not connect.  False when none is left, or
 * the relay stops: index_out and why are of the last that failed.
 */
bool race_connect(struct race *race, int timeout_ms,
    void (*failed)(void *context, size_t index, const struct reason *why),
    void *context, int *fd_out, size_t *index_out, struct reason *why);

#endif
