/*
 * server/upstream_srv.h: the places of a next hop: itself, or what the SRV
 * records of its domain name (RFC 2782, 6186, 8314).
 */
#ifndef SERVER_UPSTREAM_SRV_H
#define SERVER_UPSTREAM_SRV_H

#include "lookup_srv.h"
#include "upstream.h"

/* One host to connect to on behalf of a next hop. */
struct upstream_place {
	struct next_hop at; /* a host and port, whatever named it */
	/* Named by a SRV record, and whether DNSSEC proves that. */
	bool by_srv, proved;
};

enum { UPSTREAM_PLACES = SRV_TARGETS_MAX };

/* A number below below, which is at least 1. */
typedef uint32_t (*srv_chance)(void *context, uint32_t below);

/*
 * Into the order in which they are to be tried (RFC 2782): by priority; of
 * equal ones _submissions._tcp before _submission._tcp, as RFC 8314, section
 * 3.3 has it; of those by lot, weighted.  Deterministic but for chance.
 */
void srv_order(struct srv_target *targets, size_t count, srv_chance chance,
    void *context);

/* The places of hop in the order to be tried, at most UPSTREAM_PLACES; asks
 * the lookup role if it is srv:DOMAIN.  False: failure is filled. */
bool upstream_places(const struct upstream_thread *thread,
    const struct next_hop *hop,
    struct upstream_place out[static UPSTREAM_PLACES], size_t *count_out,
    struct upstream_failure *failure);

#endif
