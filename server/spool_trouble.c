/*
 * server/spool_trouble.c: what is said of a disk in trouble: once when it
 * begins, once when it is over.
 *
 * A disk that fails now and then would begin and end trouble with every
 * message, so it is over only after it was quiet for a while and something was
 * written then.
 */
#include "spool_internal.h"

#include <inttypes.h>
#include <time.h>

#include "log.h"

enum { QUIET_MS = 5000 };

int64_t
spool_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
spool_trouble_failed(struct spool *spool, const struct reason *why)
{
	bool tell;

	pthread_mutex_lock(&spool->lock);
	tell = !spool->failing;
	spool->failing = true;
	spool->failed_ms = spool_now_ms();
	spool->trouble = *why;
	pthread_cond_signal(&spool->some);
	pthread_mutex_unlock(&spool->lock);
	if (tell)
		log_line(SAY_ALARM, "spool",
		    "spool=failing messages=refused trouble=\"%s\"", why->text);
}

void
spool_trouble_low(struct spool *spool)
{
	uint64_t reserve = atomic_load(&spool->reserve);
	bool tell;

	pthread_mutex_lock(&spool->lock);
	tell = !spool->low;
	spool->low = true;
	if (tell)
		pthread_cond_signal(&spool->some);
	pthread_mutex_unlock(&spool->lock);
	if (tell)
		log_line(SAY_ALARM, "spool",
		    "room=low messages=refused reserve=%" PRIu64, reserve);
}

bool
spool_trouble_is(struct spool *spool)
{
	bool is;

	pthread_mutex_lock(&spool->lock);
	is = spool->failing || spool->low;
	pthread_mutex_unlock(&spool->lock);
	return is;
}

bool
spool_trouble_wants_proof(struct spool *spool)
{
	bool wants;

	pthread_mutex_lock(&spool->lock);
	wants = spool->failing && spool_now_ms() - spool->failed_ms >= QUIET_MS;
	pthread_mutex_unlock(&spool->lock);
	return wants;
}

void
spool_trouble_proved(struct spool *spool)
{
	bool tell;

	pthread_mutex_lock(&spool->lock);
	/* Another thread may have failed meanwhile. */
	tell = spool->failing && spool_now_ms() - spool->failed_ms >= QUIET_MS;
	if (tell)
		spool->failing = false;
	pthread_mutex_unlock(&spool->lock);
	if (tell)
		log_line(SAY_NOTE, "spool", "spool=recovered");
}

void
spool_trouble_look_at_room(struct spool *spool)
{
	uint64_t reserve = atomic_load(&spool->reserve);
	bool tell;

	spool_room_sample(spool);
	pthread_mutex_lock(&spool->lock);
	/* With some more, so that it does not come and go with every message.
	 */
	tell = spool->low && !spool_room_is_low(spool) &&
	       atomic_load(&spool->free_octets) >= reserve + reserve / 8;
	if (tell)
		spool->low = false;
	pthread_mutex_unlock(&spool->lock);
	if (tell)
		log_line(SAY_NOTE, "spool", "room=recovered");
}

void
spool_condition(struct spool *spool, struct spool_condition *out)
{
	spool_room_sample(spool);
	out->free_octets = atomic_load(&spool->free_octets);
	out->promised = atomic_load(&spool->promised);
	out->reserve = atomic_load(&spool->reserve);
	pthread_mutex_lock(&spool->lock);
	out->failing = spool->failing;
	out->low = spool->low;
	out->trouble = spool->trouble;
	pthread_mutex_unlock(&spool->lock);
}
