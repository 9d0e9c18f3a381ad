/*
 * server/upstream_tlsa.h: the relay's question to lookup: which TLSA records
 * has this next hop (RFC 7672)?
 */
#ifndef SERVER_UPSTREAM_TLSA_H
#define SERVER_UPSTREAM_TLSA_H

#include "lookup_tlsa.h"
#include "upstream.h"

/*
 * Blocks for at most 25 s on thread's channel.  Fills *out in any case: a role
 * that is away or answers nonsense is LOOKUP_TROUBLE, an address literal
 * LOOKUP_NONE.  After the handshake, which says out->base by SNI,
 * tlsa_answer_judge() makes facts of it.
 */
void upstream_tlsa(const struct upstream_thread *thread,
    const struct next_hop *hop, struct tlsa_answer *out);

#endif
