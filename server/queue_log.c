/*
 * server/queue_log.c: the keeper: writes the relay's own log in groups, and
 * acts on what is settled.
 */
#include "queue_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

enum { LOG_RETRY_MS = 1000 };

void
log_add(struct queue *queue, struct log_entry *entry)
{
	entry->next = NULL;
	*queue->entries_end = entry;
	queue->entries_end = &entry->next;
	queue->entry_count++;
	queue->entries_added++;
	pthread_cond_signal(&queue->keep);
}

bool
log_wait(struct queue *queue, int timeout_ms)
{
	int64_t until_ms = queue_monotonic_ms() + timeout_ms;
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};
	uint64_t wanted;
	bool ok;

	pthread_mutex_lock(&queue->lock);
	wanted = queue->entries_added;
	while (queue->entries_settled < wanted) {
		if (pthread_cond_timedwait(&queue->settled, &queue->lock,
			&until) == ETIMEDOUT)
			break;
	}
	ok = queue->entries_settled >= wanted;
	pthread_mutex_unlock(&queue->lock);
	return ok;
}

struct segment *
log_segment_new(struct queue *queue, uint32_t file, int fd,
    const struct journal_header *header)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (segment == NULL)
		return NULL;
	segment->own = true;
	segment->file = file;
	segment->fd = fd;
	segment->header = *header;
	segment->next = queue->log_files;
	queue->log_files = segment;
	return segment;
}

struct segment *
log_segment_find(const struct queue *queue, uint32_t file)
{
	struct segment *segment;

	for (segment = queue->log_files; segment != NULL;
	     segment = segment->next)
		if (segment->file == file)
			break;
	return segment;
}

/* The keeper's writing. */

/* Several workers may have ended attempts at one message: which came before
 * which is known only now. */
static bool
write_entry(struct queue *queue, uint32_t file, struct log_entry *entry)
{
	struct iovec part = { entry->octets,
		entry->record.envelope_len + (size_t)entry->record.head_len +
		    (size_t)entry->record.body_len };
	struct queued *message =
	    entry->record.type == JOURNAL_ATTEMPT ? entry->message : NULL;
	bool ok;

	if (message == NULL)
		return journal_batch_add(queue->batch, &entry->record, &part,
		    1);
	pthread_mutex_lock(&queue->lock);
	log_chain_attempt(entry, message->last_file, message->last_offset);
	ok = journal_batch_add(queue->batch, &entry->record, &part, 1);
	if (ok) {
		message->last_file = file;
		message->last_offset = entry->record.offset;
	}
	pthread_mutex_unlock(&queue->lock);
	return ok;
}

bool
log_write_entries(struct queue *queue, struct journal *journal, uint32_t file,
    struct log_entry *entry, struct reason *why)
{
	while (entry != NULL) {
		journal_batch_begin(queue->batch, journal);
		while (entry != NULL && write_entry(queue, file, entry))
			entry = entry->next;
		if (!journal_batch_write(queue->batch, why))
			return false;
	}
	return true;
}

/* Each message's last attempt is again the one before the first of these. */
void
log_unchain_entries(struct queue *queue, uint32_t file, struct log_entry *entry)
{
	pthread_mutex_lock(&queue->lock);
	for (; entry != NULL; entry = entry->next) {
		struct queued *message = entry->message;

		if (entry->record.type == JOURNAL_ATTEMPT && message != NULL &&
		    entry->record.offset != 0 && message->last_file == file &&
		    message->last_offset >= entry->record.offset)
			log_unchain_attempt(entry, &message->last_file,
			    &message->last_offset);
		entry->record.offset = 0;
	}
	pthread_mutex_unlock(&queue->lock);
}

void
log_settle_entries(struct queue *queue, struct log_entry *entry)
{
	struct log_entry *next;
	struct reason why;
	uint64_t count = 0;

	for (; entry != NULL; entry = next, count++) {
		next = entry->next;
		if (entry->record.type == JOURNAL_MESSAGE &&
		    !store_message_found(queue, queue->log_segment,
			&entry->record, entry->octets, &why))
			log_line(SAY_ALARM, "queue", "trouble=\"%s\"",
			    why.text);
		if (entry->record.type == JOURNAL_HELD &&
		    entry->record.number >> HELD_LINE_SHIFT != 0)
			log_line(SAY_NOTE, "hold",
			    "queue=%s by=route line=%" PRIu64,
			    entry->message->queue_id,
			    entry->record.number >> HELD_LINE_SHIFT);
		if (entry->completes)
			store_completed(queue, entry->message);
		log_entry_free(entry);
	}
	pthread_mutex_lock(&queue->lock);
	queue->entries_settled += count;
	pthread_cond_broadcast(&queue->settled);
	pthread_mutex_unlock(&queue->lock);
}

struct log_entry *
log_take_entries(struct queue *queue)
{
	struct log_entry *first = queue->entries;

	queue->entries = NULL;
	queue->entries_end = &queue->entries;
	queue->entry_count = 0;
	return first;
}

void
log_put_back_entries(struct queue *queue, struct log_entry *first)
{
	struct log_entry *last = first;
	size_t count = 1;

	if (first == NULL)
		return;
	while (last->next != NULL) {
		last = last->next;
		count++;
	}
	pthread_mutex_lock(&queue->lock);
	last->next = queue->entries;
	if (queue->entries == NULL)
		queue->entries_end = &last->next;
	queue->entries = first;
	queue->entry_count += count;
	pthread_mutex_unlock(&queue->lock);
}

/* Write and sync all that waits. */
static bool
log_flush(struct queue *queue, struct reason *why)
{
	struct log_entry *taken;
	bool wrote, synced;

	if (queue->log_broken)
		return log_rotate(queue, why);
	if (queue->log.end >= queue->log_rotate_at) {
		if (log_rotate(queue, why))
			return true;
		/* A rotation needs more room than these few records do. */
		log_line(SAY_ERROR, "queue", "rotation=failed trouble=\"%s\"",
		    why->text);
		queue->log_rotate_at = queue->log.end + queue->log_rotate_least;
	}
	pthread_mutex_lock(&queue->lock);
	taken = log_take_entries(queue);
	pthread_mutex_unlock(&queue->lock);
	if (taken == NULL)
		return true;
	wrote = log_write_entries(queue, &queue->log, queue->log_segment->file,
	    taken, why);
	synced = wrote && journal_sync(&queue->log, why);
	if (synced) {
		log_settle_entries(queue, taken);
		return true;
	}
	log_unchain_entries(queue, queue->log_segment->file, taken);
	/* After a failed sync the file is never added to again. */
	if (!journal_abandon(&queue->log) || wrote)
		queue->log_broken = true;
	log_put_back_entries(queue, taken);
	return false;
}

static void
log_say_trouble(struct queue *queue, bool ok, const struct reason *why)
{
	bool before;

	pthread_mutex_lock(&queue->lock);
	before = queue->log_trouble;
	queue->log_trouble = !ok;
	if (!ok)
		queue->log_why = *why;
	if (before && ok)
		pthread_cond_broadcast(&queue->work);
	pthread_mutex_unlock(&queue->lock);
	if (before && ok)
		log_line(SAY_NOTE, "queue", "log=recovered");
	if (!before && !ok)
		log_line(SAY_ALARM, "queue",
		    "log=failed deliveries=stopped trouble=\"%s\"", why->text);
}

/* Wait until there is something to write, or until a time. */
static bool
keeper_wait(struct queue *queue, int64_t until_ms)
{
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};
	bool stop;

	pthread_mutex_lock(&queue->lock);
	while (!queue->keeper_stop && !queue->sweep &&
	       (queue->log_trouble ||
		   (!queue->aged && queue->entries == NULL &&
		       !route_is_behind(queue)))) {
		if (pthread_cond_timedwait(&queue->keep, &queue->lock,
			&until) == ETIMEDOUT)
			break;
	}
	queue->sweep = false;
	stop = queue->keeper_stop;
	pthread_mutex_unlock(&queue->lock);
	return !stop;
}

/* Once for every change. */
static bool
has_aged(struct queue *queue)
{
	bool aged;

	pthread_mutex_lock(&queue->lock);
	aged = queue->aged;
	queue->aged = false;
	pthread_mutex_unlock(&queue->lock);
	return aged;
}

/* When there is something to do again, if nobody says so before. */
static int64_t
next_turn(bool ok, int64_t look, int64_t again)
{
	int64_t until = look < again ? look : again;
	int64_t retry = queue_monotonic_ms() + LOG_RETRY_MS;

	/* What ages lead to would only wait for the log. */
	return ok ? until : again < retry ? again : retry;
}

static void *
keeper_run(void *arg)
{
	struct queue *queue = arg;
	int64_t look = queue_monotonic_ms(), again, compact;
	struct reason why = { REASON_NONE, "" };
	bool ok = true, more = true;

	while (more) {
		if (ok && (has_aged(queue) || queue_monotonic_ms() >= look))
			look = queue_look_at_ages(queue);
		ok = log_flush(queue, &why);
		log_say_trouble(queue, ok, &why);
		again = store_unlink_finished(queue);
		compact = compact_some(queue, queue_monotonic_ms());
		if (compact < again)
			again = compact;
		route_some(queue);
		more = keeper_wait(queue, next_turn(ok, look, again));
	}
	compact_abandon(queue);
	if (!log_flush(queue, &why))
		log_line(SAY_ALARM, "queue", "log=failed trouble=\"%s\"",
		    why.text);
	store_unlink_finished(queue);
	return NULL;
}

bool
log_start(struct queue *queue, struct reason *why)
{
	sigset_t all, before;
	int error;

	queue->batch = malloc(sizeof(*queue->batch));
	if (queue->batch == NULL)
		return fail(why, REASON_NO_MEMORY, "relay log");
	queue->log.fd = -1;
	if (!log_rotate(queue, why)) {
		if (why->code != REASON_NO_SPACE && why->code != REASON_IO)
			return false;
		/* Nothing is delivered until the keeper finds the disk well. */
		queue->log_broken = true;
		log_say_trouble(queue, false, why);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&queue->keeper, NULL, keeper_run, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		errno = error;
		return fail_errno(why, "relay log: thread");
	}
	queue->log_started = true;
	return true;
}

void
log_stop(struct queue *queue)
{
	struct log_entry *entry, *next;

	if (queue->log_started) {
		pthread_mutex_lock(&queue->lock);
		queue->keeper_stop = true;
		pthread_cond_signal(&queue->keep);
		pthread_mutex_unlock(&queue->lock);
		pthread_join(queue->keeper, NULL);
		queue->log_started = false;
	}
	for (entry = queue->entries; entry != NULL; entry = next) {
		next = entry->next;
		log_entry_free(entry);
	}
	queue->entries = NULL;
	queue->entries_end = &queue->entries;
	free(queue->batch);
	queue->batch = NULL;
}
