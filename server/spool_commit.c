/*
 * server/spool_commit.c: the committer: many messages, one write, one
 * fdatasync.
 */
#include "spool_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "log.h"

enum { LOOK_AFTER_MS = 1000 };

void
spool_list_init(struct spool_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void
list_append(struct spool_list *list, struct spool_message *message)
{
	message->next = NULL;
	*list->end = message;
	list->end = &message->next;
}

static struct spool_message *
list_take_all(struct spool_list *list)
{
	struct spool_message *first = list->first;

	spool_list_init(list);
	return first;
}

/* Committing: the caller's side. */

static void
message_done(struct spool_message *message, bool ok, const struct reason *why)
{
	if (ok)
		spool_room_written(message, message->promised);
	if (ok && message->fd >= 0) {
		close(message->fd); /* the file is the relay's now */
		message->fd = -1;
	}
	message->done(message->context, ok, why);
	spool_message_free(message);
}

/* Encode the envelope and copy the head, one after the other. */
static bool
front_make(struct spool_message *message, const struct envelope *envelope,
    const void *head, size_t head_len, struct reason *why)
{
	size_t envelope_len = envelope_encoded_size(envelope);
	struct journal_record *record = &message->record;
	struct wire_writer w;

	if (envelope_len > JOURNAL_ENVELOPE_MAX || head_len > JOURNAL_HEAD_MAX)
		return fail(why, REASON_RANGE,
		    "spool: envelope or head: more "
		    "octets than a record takes");
	message->front = malloc(envelope_len + head_len);
	if (message->front == NULL)
		return fail(why, REASON_NO_MEMORY, "spool: envelope");
	wire_writer_init(&w, message->front, envelope_len);
	envelope_encode(envelope, &w);
	if (w.failed || w.len != envelope_len)
		return fail(why, REASON_INTERNAL, "spool: envelope");
	if (head_len > 0)
		memcpy(message->front + envelope_len, head, head_len);
	record->type = JOURNAL_MESSAGE;
	record->envelope_len = (uint32_t)envelope_len;
	record->envelope_crc = crc32c(0, message->front, envelope_len);
	record->head_len = (uint32_t)head_len;
	record->head_crc = crc32c(0, message->front + envelope_len, head_len);
	record->body_len = message->size;
	record->body_crc = message->crc;
	if (message->fd >= 0) {
		record->flags = JOURNAL_LARGE;
		record->number = message->counter;
	}
	return true;
}

static void
queue_up(struct spool *spool, struct spool_message *message)
{
	pthread_mutex_lock(&spool->lock);
	if (message->fd >= 0 && !message->failed) {
		list_append(&spool->waiting_large, message);
		pthread_cond_signal(&spool->some_large);
	} else {
		list_append(&spool->waiting, message);
		pthread_cond_signal(&spool->some);
	}
	pthread_mutex_unlock(&spool->lock);
}

void
spool_commit(struct spool *spool, struct spool_message *message,
    const struct envelope *envelope, const void *head, size_t head_len,
    void (*done)(void *context, bool ok, const struct reason *why),
    void *context)
{
	message->done = done;
	message->context = context;
	if (!message->failed)
		message->failed = !front_make(message, envelope, head, head_len,
		    &message->why);
	if (!message->failed && message->fd >= 0) {
		message->failed = !spool_large_flush(message, &message->why);
		spool_chunks_free(message);
	}
	/* A failed one too: done is called on the spool's thread only. */
	queue_up(spool, message);
}

/* The thread that syncs large files, so that no batch waits for them. */

/* Those whose own sync worked; the others are told. */
static struct spool_message *
sync_each(struct spool_message *message)
{
	struct spool_list good;
	struct spool_message *next;
	struct reason why;

	spool_list_init(&good);
	for (; message != NULL; message = next) {
		next = message->next;
		if (journal_fsync(message->fd)) {
			list_append(&good, message);
			continue;
		}
		fail_errno(&why, "spool: large file: fsync");
		spool_trouble_failed(message->spool, &why);
		message_done(message, false, &why);
	}
	return good.first;
}

static void
sync_large(struct spool *spool, struct spool_message *message)
{
	struct spool_message *next;
	struct reason why = { REASON_NONE, "" };
	bool ok;

	message = sync_each(message);
	if (message == NULL)
		return;
	ok = journal_fsync(spool->folder);
	if (!ok) {
		fail_errno(&why, "spool: folder: fsync");
		spool_trouble_failed(spool, &why);
	}
	for (; message != NULL; message = next) {
		next = message->next;
		if (!ok) {
			message_done(message, false, &why);
			continue;
		}
		pthread_mutex_lock(&spool->lock);
		list_append(&spool->waiting, message);
		pthread_cond_signal(&spool->some);
		pthread_mutex_unlock(&spool->lock);
	}
}

void *
spool_sync_run(void *arg)
{
	struct spool *spool = arg;
	struct spool_message *message;
	bool more;

	do {
		pthread_mutex_lock(&spool->lock);
		while (spool->waiting_large.first == NULL && !spool->stop_large)
			pthread_cond_wait(&spool->some_large, &spool->lock);
		message = list_take_all(&spool->waiting_large);
		more = message != NULL || !spool->stop_large;
		pthread_mutex_unlock(&spool->lock);
		sync_large(spool, message);
	} while (more);
	return NULL;
}

/* The committer. */

static void
position_set(struct spool *spool)
{
	pthread_mutex_lock(&spool->lock);
	spool->position_file = spool->current.header.file;
	spool->position_end = spool->current.settled;
	pthread_mutex_unlock(&spool->lock);
}

static bool
segment_make(struct spool *spool, struct journal *journal, struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];

	for (;; spool->next_number++) {
		journal_segment_name(name, spool->start_id, spool->next_number);
		if (journal_create(journal, spool->folder, name,
			SPOOL_FILE_MODE, JOURNAL_SPOOL, spool->start_id,
			spool->next_number, true, why))
			break;
		journal->fd = -1;
		/* What an earlier attempt could neither finish nor remove
		 * stays in the way of that number only. */
		if (errno != EEXIST)
			return false;
	}
	spool->next_number++;
	return true;
}

/* Nothing will be added to the current segment. */
static void
segment_end(struct spool *spool)
{
	uint32_t file = spool->current.header.file;
	uint64_t end = spool->current.settled;

	if (spool->current.fd < 0)
		return;
	journal_close(&spool->current);
	spool->messages = 0;
	/* Of one that holds nothing nobody needs to know the end. */
	if (end > JOURNAL_HEADER_OCTETS) {
		spool->closed_file = file;
		spool->closed_end = end;
		spool->to_close = true;
	}
	if (spool->committed != NULL)
		spool->committed(spool->context, file, end, true);
}

/*
 * A batch failed: what it rests on is not trusted any more.  Some of its
 * records may be on the disk, now or after a crash, and their messages are
 * about to be refused: the next segment has to say, before that, where this one
 * ends. One in which nothing was settled yet goes altogether.
 */
static void
segment_abandon(struct spool *spool)
{
	char name[JOURNAL_NAME_SIZE];

	journal_abandon(&spool->current);
	if (spool->current.settled == JOURNAL_HEADER_OCTETS) {
		journal_segment_name(name, spool->start_id,
		    spool->current.header.file);
		unlinkat(spool->folder, name, 0);
	} else {
		spool->doubtful = true;
	}
	segment_end(spool);
}

bool
spool_segment_ready(struct spool *spool, struct reason *why)
{
	if (spool->current.fd >= 0 && spool->current.end >= spool->segment)
		segment_end(spool);
	if (spool->current.fd >= 0)
		return true;
	if (spool->next.fd < 0 && !segment_make(spool, &spool->next, why))
		return false;
	spool->current = spool->next;
	spool->next.fd = -1;
	position_set(spool);
	return true;
}

/* Ahead of need, so that no 250 waits for a folder's sync.  Trouble is seen
 * again, and told, when the segment is needed. */
static void
segment_make_ahead(struct spool *spool)
{
	struct reason why;

	if (spool->next.fd < 0 && spool->current.fd >= 0 &&
	    spool->current.end >= spool->segment / 2)
		segment_make(spool, &spool->next, &why);
}

/* What the new segment says about the one before, for recovery. */
static void
batch_add_closed(struct spool *spool)
{
	struct journal_record record = { .type = JOURNAL_CLOSED,
		.envelope_len = SPOOL_CLOSED_OCTETS };
	struct iovec part = { spool->closed, SPOOL_CLOSED_OCTETS };
	struct wire_writer w;

	wire_writer_init(&w, spool->closed, SPOOL_CLOSED_OCTETS);
	wire_put_u32(&w, spool->closed_file);
	wire_put_u64(&w, spool->closed_end);
	record.envelope_crc = crc32c(0, spool->closed, SPOOL_CLOSED_OCTETS);
	journal_batch_add(&spool->batch, &record, &part, 1);
}

/* Write and sync what the batch holds. */
static bool
batch_settle(struct spool *spool, struct reason *why)
{
	struct reason unused;

	if (!journal_batch_write(&spool->batch, why)) {
		/* Cut off, on stable storage too: then it is as before. */
		if (!journal_abandon(&spool->current) ||
		    !journal_sync(&spool->current, &unused))
			segment_abandon(spool);
		return false;
	}
	if (!journal_sync(&spool->current, why)) {
		/* The kernel may have dropped the pages and will not say so
		 * twice: that file is never added to again. */
		segment_abandon(spool);
		return false;
	}
	spool->to_close = spool->doubtful = false;
	position_set(spool);
	return true;
}

/*
 * Write where the segment before ends, by itself: after a failure, before
 * anybody hears of it; and to see whether the disk is well again.
 */
static bool
write_closed(struct spool *spool, struct reason *why)
{
	if (!spool_segment_ready(spool, why))
		return false;
	journal_batch_begin(&spool->batch, &spool->current);
	batch_add_closed(spool);
	return batch_settle(spool, why);
}

static bool
batch_add_message(struct spool *spool, struct spool_message *message)
{
	struct iovec parts[1 + SPOOL_CHUNKS_MAX];
	size_t count = 0;

	parts[count++] = (struct iovec){ message->front,
		(size_t)message->record.envelope_len +
		    message->record.head_len };
	for (struct spool_chunk *chunk = message->first;
	     chunk != NULL && count < 1 + SPOOL_CHUNKS_MAX; chunk = chunk->next)
		parts[count++] = (struct iovec){ chunk->octets, chunk->len };
	return journal_batch_add(&spool->batch, &message->record, parts, count);
}

/* Write and sync as many as one batch takes; returns the first it does not
 * take. */
static bool
batch_commit(struct spool *spool, struct spool_message *first,
    struct spool_message **rest_out, struct reason *why)
{
	struct spool_message *message = first;
	uint64_t count = 0;

	if (!spool_segment_ready(spool, why)) {
		*rest_out = NULL; /* the others would fare no better */
		return false;
	}
	journal_batch_begin(&spool->batch, &spool->current);
	if (spool->to_close)
		batch_add_closed(spool);
	for (; message != NULL && batch_add_message(spool, message); count++)
		message = message->next;
	*rest_out = message;
	if (!batch_settle(spool, why))
		return false;
	spool->messages += count;
	return true;
}

/* Those that failed before they came here are told; the others remain. */
static struct spool_message *
drop_failed(struct spool_message *message)
{
	struct spool_list good;
	struct spool_message *next;

	spool_list_init(&good);
	for (; message != NULL; message = next) {
		next = message->next;
		if (message->failed)
			message_done(message, false, &message->why);
		else
			list_append(&good, message);
	}
	return good.first;
}

static void
after_failure(struct spool *spool, const struct reason *why)
{
	struct reason again;

	spool_trouble_failed(spool, why);
	if (spool->doubtful && !write_closed(spool, &again))
		log_line(SAY_ERROR, "spool",
		    "segment=%016" PRIx64 ".%" PRIu32
		    " end=untold trouble=\"%s\"",
		    spool->start_id, spool->closed_file, again.text);
}

static void
commit_all(struct spool *spool, struct spool_message *message)
{
	struct spool_message *rest, *next;
	struct reason why = { REASON_NONE, "" };

	for (message = drop_failed(message); message != NULL; message = rest) {
		bool ok = batch_commit(spool, message, &rest, &why);

		if (!ok)
			after_failure(spool, &why);
		for (; message != rest; message = next) {
			next = message->next;
			message_done(message, ok, ok ? NULL : &why);
		}
		if (ok && spool->committed != NULL)
			spool->committed(spool->context,
			    spool->current.header.file, spool->current.settled,
			    false);
	}
}

/* Once a second while there is trouble. */
static void
look_after(struct spool *spool)
{
	struct reason why;

	spool_trouble_look_at_room(spool);
	/* A segment that nothing is added to goes once all of it is delivered.
	 */
	if (spool_room_is_low(spool) && spool->messages > 0)
		segment_end(spool);
	if (!spool->doubtful && !spool_trouble_wants_proof(spool))
		return;
	if (write_closed(spool, &why))
		spool_trouble_proved(spool);
	else
		spool_trouble_failed(spool, &why);
}

/* Callers hold lock. */
static void
wait_for_some(struct spool *spool)
{
	int64_t until_ms = spool_now_ms() + LOOK_AFTER_MS;
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};

	while (spool->waiting.first == NULL && !spool->stop) {
		if (!spool->failing && !spool->low)
			pthread_cond_wait(&spool->some, &spool->lock);
		else if (pthread_cond_timedwait(&spool->some, &spool->lock,
			     &until) == ETIMEDOUT)
			break;
	}
}

void *
spool_commit_run(void *arg)
{
	struct spool *spool = arg;
	struct spool_message *message;
	int64_t looked_ms = 0;
	struct reason why;
	bool more;

	do {
		pthread_mutex_lock(&spool->lock);
		wait_for_some(spool);
		message = list_take_all(&spool->waiting);
		more = message != NULL || !spool->stop;
		pthread_mutex_unlock(&spool->lock);
		commit_all(spool, message);
		segment_make_ahead(spool);
		if (spool_trouble_is(spool) &&
		    spool_now_ms() - looked_ms >= LOOK_AFTER_MS) {
			look_after(spool);
			looked_ms = spool_now_ms();
		}
	} while (more);
	if (spool->doubtful)
		write_closed(spool, &why);
	segment_end(spool);
	return NULL;
}
