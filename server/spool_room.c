/*
 * server/spool_room.c: how much the spool may take: free space of the file
 * system, and the budget for messages in memory.
 */
#include "spool_internal.h"

#include <inttypes.h>
#include <sys/statvfs.h>
#include <time.h>

enum { SAMPLE_MS = 1000 };

static int64_t
monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
spool_room_sample(struct spool *spool)
{
	struct statvfs st;

	if (fstatvfs(spool->folder, &st) == 0)
		atomic_store(&spool->free_octets,
		    (uint64_t)st.f_bavail * (uint64_t)st.f_frsize);
}

/* At most once a second, by whoever asks first; the others go by what was
 * found before. */
static void
sample_free_again(struct spool *spool)
{
	int_fast64_t now = monotonic_ms();
	int_fast64_t last = atomic_load(&spool->sampled_ms);

	if (now - last >= SAMPLE_MS &&
	    atomic_compare_exchange_strong(&spool->sampled_ms, &last, now))
		spool_room_sample(spool);
}

bool
spool_has_room(struct spool *spool, uint64_t size, struct reason *why)
{
	uint64_t octets;

	sample_free_again(spool);
	octets = atomic_load(&spool->free_octets);
	if (octets < spool->reserve || octets - spool->reserve < size)
		return fail(why, REASON_NO_SPACE,
		    "spool: %" PRIu64 " octets free, %" PRIu64
		    " are kept in reserve, %" PRIu64 " asked for",
		    octets, spool->reserve, size);
	return true;
}

bool
spool_memory_charge(struct spool *spool, uint64_t octets)
{
	uint64_t used = atomic_fetch_add(&spool->memory_used, octets);

	if (used + octets <= spool->memory)
		return true;
	atomic_fetch_sub(&spool->memory_used, octets);
	return false;
}

void
spool_memory_release(struct spool *spool, uint64_t octets)
{
	atomic_fetch_sub(&spool->memory_used, octets);
}
