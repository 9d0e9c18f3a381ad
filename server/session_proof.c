/*
 * server/session_proof.c: the last proof of each next hop.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "route.h"
#include "session_proof.h"

/* proof is the first member: one is found from the other. */
struct kept {
	struct proof proof;
	atomic_uint references;
};

struct proofs {
	pthread_rwlock_t lock;
	size_t count;
	struct kept *kept[PROOFS_MOST]; /* a reference each */
};

struct proofs *
proofs_new(void)
{
	struct proofs *proofs = calloc(1, sizeof *proofs);

	if (proofs != NULL)
		pthread_rwlock_init(&proofs->lock, NULL);
	return proofs;
}

void
proofs_free(struct proofs *proofs)
{
	if (proofs == NULL)
		return;
	proofs_forget(proofs);
	pthread_rwlock_destroy(&proofs->lock);
	free(proofs);
}

static void
unref(struct kept *kept)
{
	if (atomic_fetch_sub(&kept->references, 1) == 1)
		free(kept);
}

void
proof_release(const struct proof *proof)
{
	if (proof != NULL)
		unref((struct kept *)(uintptr_t)proof);
}

void
proofs_forget(struct proofs *proofs)
{
	size_t i;

	pthread_rwlock_wrlock(&proofs->lock);
	for (i = 0; i < proofs->count; i++)
		unref(proofs->kept[i]);
	proofs->count = 0;
	pthread_rwlock_unlock(&proofs->lock);
}

/* Under the lock: where the proof of hop is, or else count. */
static size_t
place_of(const struct proofs *proofs, const struct next_hop *hop)
{
	size_t i;

	for (i = 0; i < proofs->count; i++)
		if (next_hop_same(&proofs->kept[i]->proof.hop, hop))
			break;
	return i;
}

/* Under the lock, when there is no room left. */
static size_t
place_of_oldest(const struct proofs *proofs)
{
	size_t i, oldest = 0;

	for (i = 1; i < proofs->count; i++)
		if (proofs->kept[i]->proof.at < proofs->kept[oldest]->proof.at)
			oldest = i;
	return oldest;
}

/* The reference is handed over. */
static void
keep(struct proofs *proofs, struct kept *kept)
{
	size_t i;

	pthread_rwlock_wrlock(&proofs->lock);
	i = place_of(proofs, &kept->proof.hop);
	if (i == PROOFS_MOST)
		i = place_of_oldest(proofs);
	if (i == proofs->count)
		proofs->count++;
	else
		unref(proofs->kept[i]);
	proofs->kept[i] = kept;
	pthread_rwlock_unlock(&proofs->lock);
}

bool
proofs_take(struct proofs *proofs, struct wire_reader *r)
{
	struct kept *kept = calloc(1, sizeof *kept);

	/* It cannot be known whose it is, so that all may be outdated. */
	if (kept == NULL) {
		proofs_forget(proofs);
		return true;
	}
	if (!proof_get(r, &kept->proof) || !wire_reader_done(r)) {
		free(kept);
		return false;
	}
	atomic_init(&kept->references, 1);
	keep(proofs, kept);
	return true;
}

const struct proof *
proofs_find(struct proofs *proofs, const struct next_hop *hop)
{
	struct kept *kept = NULL;
	size_t i;

	pthread_rwlock_rdlock(&proofs->lock);
	i = place_of(proofs, hop);
	if (i < proofs->count) {
		kept = proofs->kept[i];
		atomic_fetch_add(&kept->references, 1);
	}
	pthread_rwlock_unlock(&proofs->lock);
	return kept == NULL ? NULL : &kept->proof;
}
