/*
 * server/session_proof.h: what each next hop proved last, as the relay says,
 * for the early answer at RCPT.
 *
 * Proofs are kept as they came and never changed; who looks at one holds a
 * reference, so that the only lock is held for a search among a few.
 */
#ifndef SERVER_SESSION_PROOF_H
#define SERVER_SESSION_PROOF_H

#include <stdbool.h>

#include "proof.h"
#include "wire.h"

enum { PROOFS_MOST = 256 }; /* next hops; the oldest proof makes room */

/* Threads: any, all below. */
struct proofs;
struct proofs *proofs_new(void); /* NULL without memory */
void proofs_free(struct proofs *proofs);

/* A proof as proof_put wrote it, in place of the one its next hop had; false
 * if it is none.  Without memory all are forgotten: the old one may be wrong.
 */
bool proofs_take(struct proofs *proofs, struct wire_reader *r);
/* Nothing is known of any next hop. */
void proofs_forget(struct proofs *proofs);

/* The last proof of a next hop, for proof_release; NULL if there is none. */
const struct proof *proofs_find(struct proofs *proofs,
    const struct next_hop *hop);
void proof_release(const struct proof *proof); /* NULL is fine */

#endif
