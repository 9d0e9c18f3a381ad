/* auth/totals.c: what the credential store knows of itself as a whole. */
#include "totals.h"

#include <stddef.h>

/* Version 2 knew of salts of 16 octets only, and left their length out. */
enum { TOTALS_VERSION = 3, TOTALS_OF_16 = 2 };

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

		const struct shape *shape = &tally->shape;
		unsigned char salt = (unsigned char)(shape->salt_len - 1);

		/* The hash in two bits, the salt's length less one in six. */
		at[0] = (unsigned char)(salt << 2 | shape->hash);
		for (int octet = 0; octet < 4; octet++)
			at[1 + octet] = (unsigned char)(shape->iterations >>
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

		tally->shape.hash = at[0] & 3;
		tally->shape.salt_len = in[0] == TOTALS_OF_16
					    ? VERIFIER_SALT_OCTETS
					    : (uint8_t)((at[0] >> 2) + 1);
		tally->shape.iterations = (uint32_t)at[1] << 24 |
					  (uint32_t)at[2] << 16 |
					  (uint32_t)at[3] << 8 | at[4];
		tally->entries = get_u64(at + 5);
		if (tally->shape.hash >= VERIFIER_HASHES)
			return false;
	}
	return in[0] == TOTALS_VERSION || in[0] == TOTALS_OF_16;
}

static bool
is_same(const struct shape *a, const struct shape *b)
{
	return a->hash == b->hash && a->salt_len == b->salt_len &&
	       a->iterations == b->iterations;
}

/* Count one verifier in (1) or out (-1).  Shapes beyond TALLIES different ones
 * are not told apart: they are just not shown to names that do not exist. */
static void
tally_one(struct totals *totals, const struct shape *shape, int by)
{
	struct tally *free = NULL;

	for (int i = 0; i < TALLIES; i++) {
		struct tally *tally = &totals->tallies[i];

		if (tally->entries == 0) {
			free = free == NULL ? tally : free;
		} else if (is_same(&tally->shape, shape)) {
			tally->entries += (uint64_t)(int64_t)by;
			return;
		}
	}
	if (by > 0 && free != NULL)
		*free = (struct tally){ *shape, 1 };
}

void
totals_tally(struct totals *totals, const struct entry *entry, int by)
{
	for (int h = 0; entry != NULL && h < VERIFIER_HASHES; h++) {
		const struct verifier *v = &entry->verifiers[h];
		const struct shape shape = { (uint8_t)h, (uint8_t)v->salt_len,
			v->iterations };

		if (v->present && v->has_keys)
			tally_one(totals, &shape, by);
	}
}

bool
totals_draw(const struct totals *totals, enum verifier_hash hash,
    const unsigned char octets[static 32], struct shape *out)
{
	uint64_t total = 0, number;

	for (int i = 0; i < TALLIES; i++)
		if (totals->tallies[i].shape.hash == hash)
			total += totals->tallies[i].entries;
	/* Not the remainder: that would be another one for each total. */
	number = (uint64_t)((unsigned __int128)get_u64(octets) * total >> 64);
	for (int i = 0; i < TALLIES; i++) {
		const struct tally *tally = &totals->tallies[i];

		if (tally->shape.hash != hash)
			continue;
		if (number < tally->entries) {
			*out = tally->shape;
			return true;
		}
		number -= tally->entries;
	}
	return false;
}
