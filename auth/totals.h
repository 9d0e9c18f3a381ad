/*
 * auth/totals.h: what the credential store knows of itself as a whole: how many
 * records it must have, and which salts and iteration counts its verifiers
 * have.
 */
#ifndef AUTH_TOTALS_H
#define AUTH_TOTALS_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"

enum {
	TALLIES = 16, /* different shapes that are told apart */
	TALLY_OCTETS = 1 + 4 + 8,
	TOTALS_OCTETS = 1 + 8 + 8 + 8 + TALLIES * TALLY_OCTETS,
};

/* What a stranger sees of a verifier before he has proved anything. */
struct shape {
	uint8_t hash;
	uint8_t salt_len;
	uint32_t iterations;
};

/* How many verifiers have one shape. */
struct tally {
	struct shape shape;
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

/*
 * A shape, as likely as it is among the verifiers of a hash that there are, by
 * 32 octets that nobody can tell; false if there are none.  Where few verifiers
 * come or go, few octets get another shape.
 */
bool totals_draw(const struct totals *totals, enum verifier_hash hash,
    const unsigned char octets[static 32], struct shape *out);

#endif
