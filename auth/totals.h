/*
 * auth/totals.h: what the credential store knows of itself as a whole: how many
 * records it must have, and which iteration counts its verifiers have.
 */
#ifndef AUTH_TOTALS_H
#define AUTH_TOTALS_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"

enum {
	TALLIES = 16, /* different iteration counts that are told apart */
	TALLY_OCTETS = 1 + 4 + 8,
	TOTALS_OCTETS = 1 + 8 + 8 + 8 + TALLIES * TALLY_OCTETS,
};

/* How many verifiers of one hash have one iteration count. */
struct tally {
	uint8_t hash;
	uint32_t iterations;
	uint64_t entries; /* 0: free */
};

/* What stands in the state record. */
struct totals {
	uint64_t count;  /* entries */
	uint64_t keys;   /* of certificates, and names in them */
	uint64_t change; /* the last one made */
	struct tally tallies[TALLIES];
};

void totals_put(unsigned char out[static TOTALS_OCTETS],
    const struct totals *totals);
/* False: of another version, or damaged. */
bool totals_get(struct totals *totals,
    const unsigned char in[static TOTALS_OCTETS]);

/* Count the entry's verifiers in (by 1) or out (-1); NULL has none. */
void totals_tally(struct totals *totals, const struct entry *entry, int by);

/* An iteration count, as likely as it is among the verifiers there are, by 32
 * octets that nobody can tell; standard if there are none. */
uint32_t totals_draw(const struct totals *totals, enum verifier_hash hash,
    const unsigned char octets[static 32], uint32_t standard);

#endif
