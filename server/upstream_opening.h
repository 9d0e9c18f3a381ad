/*
 * server/upstream_opening.h: what upstream.c and upstream_open.c share: one
 * connection on its way to being of use.
 */
#ifndef SERVER_UPSTREAM_OPENING_H
#define SERVER_UPSTREAM_OPENING_H

#include "upstream_internal.h"
#include "upstream_srv.h"
#include "upstream_tlsa.h"

enum { OPENING_TARGET = NEXT_HOP_TEXT + 16 };

/* One connection being opened. */
struct opening {
	struct upstream *up;
	const struct upstream_thread *thread;
	struct relay_config *config;
	const struct next_hop *hop;
	const struct upstream_place *place;       /* of the hop */
	const struct sockaddr_storage *addresses; /* of the place */
	long long late_at; /* nothing is begun after it; upstream_now_ms */
	struct judgement *judgement;
	struct upstream_failure *failure;
	struct tlsa_answer *tlsa; /* NULL: not wanted */
	bool clear;               /* TLS failed before and clear will do */
	enum reason_code clear_code;
	char clear_detail[REASON_TEXT_MAX];
};

enum open_end {
	OPEN_DONE,
	OPEN_NEXT,  /* this address does not serve: try another */
	OPEN_PLACE, /* no address of this place will do better */
	OPEN_OVER,  /* no place will do better */
	OPEN_CLEAR, /* TLS failed, somebody's demand allows clear: once more */
};

/*
 * Over the socket fd, which is handed over; -1: connect to address first.
 * OPEN_DONE: opening->up is ready for mail; else it is NULL and failure is
 * filled.
 */
enum open_end opening_address(struct opening *opening,
    const struct sockaddr_storage *address, int fd);

/* Of one connection or handshake. */
int opening_timeout_ms(const struct opening *opening);

/* Which of the hop's places it is, where SRV records tell: returns out, with
 * " target=host:port" or "". */
const char *opening_target(const struct opening *opening,
    char out[static OPENING_TARGET]);

void opening_remote(const struct sockaddr_storage *address, char *out,
    size_t size);

#endif
