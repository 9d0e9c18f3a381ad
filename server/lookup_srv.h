/*
 * server/lookup_srv.h: where DNS says a domain's submission servers are: the
 * targets of its SRV records (RFC 2782, 6186 and 8314), as lookup sends them
 * and relay uses them.
 */
#ifndef SERVER_LOOKUP_SRV_H
#define SERVER_LOOKUP_SRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "messages.h"
#include "wire.h"

enum {
	/* Of both services together; of more those of the best priorities. */
	SRV_TARGETS_MAX = 16,
	SRV_HOST_MAX = 253,        /* octets of a target's name */
	SRV_PACKET_MAX = 8 * 1024, /* LOOKUP_SRV_ANSWER fits */
};

struct srv_target {
	char host[SRV_HOST_MAX + 1]; /* lower case, no trailing dot */
	uint16_t port;               /* never 0 */
	uint16_t priority, weight;
	bool implicit_tls; /* of _submissions._tcp; else _submission._tcp */
	bool secure;       /* DNSSEC proves the record */
};

struct srv_answer {
	/* FOUND: at least one target.  NONE: no usable record, or ".", which
	 * means that the domain offers no such service.  TROUBLE: no answer. */
	enum lookup_answer answer;
	size_t count;
	/* By priority, of equal ones _submissions._tcp first. */
	struct srv_target targets[SRV_TARGETS_MAX];
	bool denied;                /* some record said "." */
	char text[REASON_TEXT_MAX]; /* why not FOUND; printable ASCII */
};

/* No targets, with that answer and text. */
void srv_answer_init(struct srv_answer *answer, enum lookup_answer what,
    const char *text);

/*
 * Adds a record by its RDATA.  One that is malformed, has port 0 or names no
 * host, or an address, is passed over, as is the same place once more.
 */
void srv_answer_add(struct srv_answer *answer, const void *rdata, size_t len,
    bool implicit_tls, bool secure);

/* The fields of LOOKUP_SRV_ANSWER behind its number; denied is not sent. */
void srv_answer_put(struct wire_writer *w, const struct srv_answer *answer);
/* The same, read and checked up to the packet's end; false if malformed, and
 * answer is not to be used. */
bool srv_answer_get(struct wire_reader *r, struct srv_answer *answer);

#endif
