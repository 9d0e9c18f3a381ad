/*
 * server/queue_route.c: messages that wait are routed anew after a reload.
 *
 * A worker that takes a message routes it again.  But nobody takes what waits
 * for a site that is full, or left alone, and it may be just for that that the
 * routes were changed.  So the keeper goes through all of them, a little at a
 * time, between two groups of the log: their envelopes are read from disk.
 */
#include "queue_internal.h"

#include <stdlib.h>

enum {
	PIECE_MS = 20,       /* before the log is looked after again */
	PLACES_MOST = 16384, /* of the table, under one lock */
};

bool
route_is_stale(const struct queue *queue, const struct queued *message)
{
	return message->state == MESSAGE_WAITING &&
	       message->generation != queue->generation;
}

void
route_later(struct queue *queue, const struct queued *message)
{
	size_t place = index_place(queue, message->key);

	if (place < queue->routed)
		queue->routed = place;
	pthread_cond_signal(&queue->keep);
}

bool
route_is_behind(const struct queue *queue)
{
	return queue->routed < queue->table_size;
}

/* NULL if none was found in a while. */
static struct queued *
find_stale(struct queue *queue)
{
	struct queued *message = NULL;

	for (size_t i = 0; i < PLACES_MOST && route_is_behind(queue);
	     i++, queue->routed++) {
		message = queue->table[queue->routed];
		while (message != NULL && !route_is_stale(queue, message))
			message = message->chain;
		if (message != NULL)
			break;
	}
	return message;
}

/* Where it stands only the keeper changes, and that is who we are. */
static bool
read_envelope(struct queue *queue, const struct queued *message,
    struct envelope *envelope, void **octets_out)
{
	struct segment *segment = message->segment;
	struct journal_record record;
	struct reason why;
	bool ok;
	int fd;

	if (!store_segment_use(queue, segment, &fd, &why))
		return false;
	ok = journal_read_front(fd, &segment->header, message->offset, &record,
	    octets_out, &why);
	store_segment_release(queue, segment);
	if (!ok)
		return false;
	if (envelope_decode(envelope, *octets_out, record.envelope_len, &why))
		return true;
	free(*octets_out);
	return false;
}

/* What cannot be read now is left to the worker that takes it, and said
 * there. */
static void
route_one(struct queue *queue, struct queued *message)
{
	struct envelope envelope;
	bool ok, routed = false;
	void *octets;

	ok = read_envelope(queue, message, &envelope, &octets);
	pthread_mutex_lock(&queue->lock);
	/* Meanwhile others may have had it; it is still there, as only we free
	 * messages. */
	if (ok && route_is_stale(queue, message)) {
		routed = legs_divide_again(queue, message, &envelope);
		index_settle(queue, message);
	}
	/* Then whoever shares its place is left too. */
	if (!routed && route_is_stale(queue, message))
		queue->routed++;
	pthread_mutex_unlock(&queue->lock);
	if (!ok)
		return;
	envelope_fini(&envelope);
	free(octets);
}

void
route_some(struct queue *queue)
{
	int64_t until = queue_monotonic_ms() + PIECE_MS;
	struct queued *message;
	bool more;

	do {
		pthread_mutex_lock(&queue->lock);
		message = find_stale(queue);
		more = route_is_behind(queue);
		pthread_mutex_unlock(&queue->lock);
		if (message != NULL)
			route_one(queue, message);
	} while (more && queue_monotonic_ms() < until);
}
