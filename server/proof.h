/*
 * server/proof.h: what a next hop proved at its last handshake, and a decision
 * about a client, as they cross between relay and session.
 *
 * The relay publishes a proof for each next hop, so that the session can tell
 * a client at RCPT that a promise cannot be kept, instead of a bounce later.
 */
#ifndef SERVER_PROOF_H
#define SERVER_PROOF_H

#include "../policy/decide.h"
#include "../policy/facts.h"
#include "queue.h"
#include "wire.h"

enum {
	PROOF_NAMES = 4096,    /* octets of names that are kept */
	PROOF_PATH = 1024,     /* of an anchor set */
	PROOF_FRESH_S = 86400, /* an older one says nothing */
};

/* The chain against one set of trust anchors, named as in a demand. */
struct proof_set {
	char anchors[PROOF_PATH], crl[PROOF_PATH];
	enum chain_state state;
};

struct proof {
	struct next_hop hop;
	int64_t at; /* Unix seconds */
	/* facts.chain is unused; facts.names points into names. */
	struct facts facts;
	size_t set_count;
	struct proof_set sets[FACTS_CHAINS];
	char names[PROOF_NAMES];
};

/* facts with its names copied; sets are the caller's to add.  Names that do
 * not fit are left out whole, which only makes the proof say less. */
void proof_init(struct proof *proof, const struct next_hop *hop,
    const struct facts *facts, int64_t at);

/* Without the type octet. */
void proof_put(struct wire_writer *w, const struct proof *proof);
/* Everything is checked: the sender may be compromised. */
bool proof_get(struct wire_reader *r, struct proof *out);

/*
 * Would that next hop meet demand?  False: the proof is too old, or says
 * nothing about a set of anchors, or about DANE, that demand asks for, or what
 * it says may have mended itself (a handshake or lookup that failed, a
 * certificate that has ended since); then nothing is known and out is not
 * filled.
 */
bool proof_decide(const struct proof *proof, const struct demand *demand,
    time_t now, struct decision *out);

/* A decision, without the type octet; for session to relay. */
void decision_put(struct wire_writer *w, const struct decision *decision);
bool decision_get(struct wire_reader *r, struct decision *out);

#endif
