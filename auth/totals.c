/* auth/totals.c: what the credential store knows of itself as a whole. */
#include "totals.h"

#include <stddef.h>

enum { TOTALS_VERSION = 2 };

static void
put_u64(unsigned char *at, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		at[i] = (unsigned char)(v >> (56 - 8 * i));
}

static uint64_t
get_u64(const unsigned char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | at[i];
	return v;
}

void
totals_put(unsigned char out[static TOTALS_OCTETS], const struct totals *totals)
{
	unsigned char *at = out;

	*at++ = TOTALS_VERSION;
	put_u64(at, totals->count);
	put_u64(at + 8, totals->keys);
	put_u64(at + 16, totals->change);
	at += 24;
	for (int i = 0; i < TALLIES; i++, at += TALLY_OCTETS) {
		const struct tally *tally = &totals->tallies[i];

		at[0] = tally->hash;
		for (int octet = 0; octet < 4; octet++)
			at[1 + octet] = (unsigned char)(tally->iterations >>
							(24 - 8 * octet));
		put_u64(at + 5, tally->entries);
	}
}

bool
totals_get(struct totals *totals, const unsigned char in[static TOTALS_OCTETS])
{
	const unsigned char *at = in + 25;

	totals->count = get_u64(in + 1);
	totals->keys = get_u64(in + 9);
	totals->change = get_u64(in + 17);
	for (int i = 0; i < TALLIES; i++, at += TALLY_OCTETS) {
		struct tally *tally = &totals->tallies[i];

		tally->hash = at[0];
		tally->iterations = (uint32_t)at[1] << 24 |
				    (uint32_t)at[2] << 16 |
				    (uint32_t)at[3] << 8 | at[4];
		tally->entries = get_u64(at + 5);
		if (tally->hash >= VERIFIER_HASHES)
			return false;
	}
	return in[0] == TOTALS_VERSION;
}

/* Count one verifier in (1) or out (-1).  Counts beyond TALLIES different ones
 * are not told apart: they are just not shown to names that do not exist. */
static void
tally_one(struct totals *totals, uint8_t hash, uint32_t iterations, int by)
{
	struct tally *free = NULL;

	for (int i = 0; i < TALLIES; i++) {
		struct tally *tally = &totals->tallies[i];

		if (tally->entries == 0) {
			free = free == NULL ? tally : free;
		} else if (tally->hash == hash &&
			   tally->iterations == iterations) {
			tally->entries += (uint64_t)(int64_t)by;
			return;
		}
	}
	if (by > 0 && free != NULL)
		*free = (struct tally){ hash, iterations, 1 };
}

void
totals_tally(struct totals *totals, const struct entry *entry, int by)
{
	for (int h = 0; entry != NULL && h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present && entry->verifiers[h].has_keys)
			tally_one(totals, (uint8_t)h,
			    entry->verifiers[h].iterations, by);
}

uint32_t
totals_draw(const struct totals *totals, enum verifier_hash hash,
    const unsigned char octets[static 32], uint32_t standard)
{
	uint64_t number = get_u64(octets);
	uint64_t total = 0;

	for (int i = 0; i < TALLIES; i++)
		if (totals->tallies[i].hash == hash)
			total += totals->tallies[i].entries;
	if (total == 0)
		return standard;
	number %= total;
	for (int i = 0; i < TALLIES; i++) {
		const struct tally *tally = &totals->tallies[i];

		if (tally->hash != hash)
			continue;
		if (number < tally->entries)
			return tally->iterations;
		number -= tally->entries;
	}
	return standard;
}
