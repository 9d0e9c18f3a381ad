/*
 * server/spool_room.c: how much the spool may take: free space of the file
 * system, and the budget for messages in memory.
 *
 * Free space is sampled; between two samples it is what was found less what was
 * written since.  What messages that are being received may yet take is
 * promised to them, so that many at once cannot eat up the reserve between
 * them.
 */
#include "spool_internal.h"

#include <inttypes.h>
#include <sys/statvfs.h>

enum {
	SAMPLE_MS = 1000,
	/* Files that are kept in reserve: segments, and the relay's log. */
	FILES_KEPT = 16,
};

void
spool_room_sample(struct spool *spool)
{
	struct statvfs st;

	if (fstatvfs(spool->folder, &st) != 0)
		return;
	atomic_store(&spool->free_octets,
	    (uint64_t)st.f_bavail * (uint64_t)st.f_frsize);
	/* Where there is no limit, none is told. */
	atomic_store(&spool->free_files,
	    st.f_files == 0 ? UINT64_MAX : (uint64_t)st.f_favail);
}

/* At most once a second, by whoever asks first; the others go by what was
 * found before. */
static void
sample_again(struct spool *spool)
{
	int_fast64_t now = spool_now_ms();
	int_fast64_t last = atomic_load(&spool->sampled_ms);

	if (now - last >= SAMPLE_MS &&
	    atomic_compare_exchange_strong(&spool->sampled_ms, &last, now))
		spool_room_sample(spool);
}

bool
spool_room_is_low(const struct spool *spool)
{
	return atomic_load(&spool->free_octets) <
		   atomic_load(&spool->reserve) ||
	       atomic_load(&spool->free_files) < FILES_KEPT;
}

bool
spool_has_room(struct spool *spool, uint64_t size, struct reason *why)
{
	uint64_t reserve = atomic_load(&spool->reserve);
	uint64_t octets, promised, files, left;

	sample_again(spool);
	octets = atomic_load(&spool->free_octets);
	promised = atomic_load(&spool->promised);
	files = atomic_load(&spool->free_files);
	left = octets > promised ? octets - promised : 0;
	if (spool_room_is_low(spool))
		spool_trouble_low(spool);
	if (files < FILES_KEPT)
		return fail(why, REASON_NO_SPACE,
		    "spool: room for %" PRIu64 " files, %d are kept in reserve",
		    files, FILES_KEPT);
	if (left < reserve || left - reserve < size)
		return fail(why, REASON_NO_SPACE,
		    "spool: %" PRIu64 " octets free, %" PRIu64
		    " are promised, %" PRIu64 " are kept in reserve, %" PRIu64
		    " asked for",
		    octets, promised, reserve, size);
	return true;
}

void
spool_room_promise(struct spool_message *message, uint64_t octets)
{
	message->promised += octets;
	atomic_fetch_add(&message->spool->promised, octets);
}

static void
promise_less(struct spool_message *message, uint64_t octets)
{
	message->promised -= octets;
	atomic_fetch_sub(&message->spool->promised, octets);
}

void
spool_room_written(struct spool_message *message, uint64_t octets)
{
	struct spool *spool = message->spool;
	uint_fast64_t before = atomic_load(&spool->free_octets), after;

	do
		after = before > octets ? before - octets : 0;
	while (
	    !atomic_compare_exchange_weak(&spool->free_octets, &before, after));
	promise_less(message,
	    octets < message->promised ? octets : message->promised);
}

void
spool_room_release(struct spool_message *message)
{
	promise_less(message, message->promised);
}

bool
spool_memory_charge(struct spool *spool, uint64_t octets)
{
	uint64_t used = atomic_fetch_add(&spool->memory_used, octets);

	if (used + octets <= atomic_load(&spool->memory))
		return true;
	atomic_fetch_sub(&spool->memory_used, octets);
	return false;
}

void
spool_memory_release(struct spool *spool, uint64_t octets)
{
	atomic_fetch_sub(&spool->memory_used, octets);
}
