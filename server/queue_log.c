/*
 * server/queue_log.c: the keeper: writes the relay's own log in groups, acts
 * on what is settled, and rewrites the log when most of it is history.
 */
#include "queue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "queue_history.h"

enum {
	LOG_FILE_MODE = 0600,
	LOG_RETRY_MS = 1000,
	SNAPSHOT_LARGE = 64 * 1024, /* messages */
};

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

static bool
write_entries(struct queue *queue, struct journal *journal, uint32_t file,
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

/* They were written to that file, or some of them, and do not stand there: each
 * message's last attempt is again the one before the first of these. */
static void
unchain_entries(struct queue *queue, uint32_t file, struct log_entry *entry)
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

/* What rests on records that are now settled. */
static void
settle_entries(struct queue *queue, struct log_entry *entry)
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

/* Callers hold lock. */
static struct log_entry *
take_entries(struct queue *queue)
{
	struct log_entry *first = queue->entries;

	queue->entries = NULL;
	queue->entries_end = &queue->entries;
	queue->entry_count = 0;
	return first;
}

/* They could not be written: before all that came since. */
static void
put_back_entries(struct queue *queue, struct log_entry *first)
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

/* Rotation. */

/* What is kept of one message over a rotation besides its STATE. */
struct kept {
	struct queued *message;
	bool own;           /* its record too */
	bool wants_history; /* its attempts too */
	/* Where the last attempt stood before. */
	uint32_t last_file;
	uint64_t last_offset;
	uint64_t new_offset; /* of its record */
};

struct snapshot {
	struct log_entry *taken; /* pending when it was made */
	struct log_entry *states, **states_end;
	struct kept *kept;
	size_t count, capacity;
	size_t histories;
};

static bool
snapshot_add(struct snapshot *snapshot, struct queued *message)
{
	bool own = message->segment != NULL && message->segment->own;
	struct log_entry *entry;
	struct kept *grown;

	if (own && message->state == MESSAGE_COMPLETE)
		return true; /* nothing needs it any more */
	if (!own && message->attempts == 0 && message->done == 0 &&
	    message_more(message)->done_words == 0 && !message->held &&
	    message->held_line == 0 && !message->passed &&
	    !message->settled && message->state != MESSAGE_HELD &&
	    message->state != MESSAGE_COMPLETE)
		return true; /* its record says all */
	if (snapshot->count == snapshot->capacity) {
		size_t capacity =
		    snapshot->capacity == 0 ? 256 : snapshot->capacity * 2;

		grown = reallocarray(snapshot->kept, capacity, sizeof(*grown));
		if (grown == NULL)
			return false;
		snapshot->kept = grown;
		snapshot->capacity = capacity;
	}
	entry = log_state_entry(message);
	if (entry == NULL)
		return false;
	*snapshot->states_end = entry;
	snapshot->states_end = &entry->next;
	snapshot->kept[snapshot->count++] = (struct kept){
		.message = message,
		.own = own,
		.wants_history = message->last_file != 0 &&
				 message->state != MESSAGE_COMPLETE,
		.last_file = message->last_file,
		.last_offset = message->last_offset,
	};
	snapshot->histories +=
	    snapshot->kept[snapshot->count - 1].wants_history;
	return true;
}

/*
 * State and pending entries are taken at one moment: the state already shows
 * what the pending entries do.  Messages are freed by the keeper only, so the
 * pointers hold.
 */
static bool
snapshot_make(struct queue *queue, struct snapshot *snapshot,
    struct reason *why)
{
	bool ok = true;

	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->states_end = &snapshot->states;
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; ok && i < queue->table_size; i++) {
		for (struct queued *message = queue->table[i];
		     ok && message != NULL; message = message->chain)
			ok = snapshot_add(snapshot, message);
	}
	if (ok)
		snapshot->taken = take_entries(queue);
	pthread_mutex_unlock(&queue->lock);
	if (!ok)
		return fail(why, REASON_NO_MEMORY, "relay log: snapshot");
	return true;
}

static void
snapshot_free(struct snapshot *snapshot)
{
	struct log_entry *next;

	for (struct log_entry *entry = snapshot->states; entry != NULL;
	     entry = next) {
		next = entry->next;
		log_entry_free(entry);
	}
	free(snapshot->kept);
	/* As much as all messages in memory, and not needed again for long. */
	if (snapshot->count >= SNAPSHOT_LARGE)
		malloc_trim(0);
}

/* A message's own record, from an older file of ours.  What is no record there
 * any more is left where it is: a start sets it aside. */
static bool
copy_own(struct queue *queue, struct kept *kept, struct journal *journal,
    struct reason *why)
{
	struct segment *segment = kept->message->segment;

	if (journal_copy(journal, queue->batch, segment->fd, &segment->header,
		kept->message->offset, 0, &kept->new_offset, why))
		return true;
	if (why->code != REASON_DAMAGED)
		return false;
	log_line(SAY_ALARM, "damaged", "file=log.%" PRIu32 " trouble=\"%s\"",
	    segment->file, why->text);
	kept->own = false;
	segment->stuck = true;
	return true;
}

/* The message's last attempt stands there now: what is pending comes after
 * it. */
static void
place_attempt(struct queue *queue, struct queued *message, uint32_t file,
    uint64_t offset)
{
	pthread_mutex_lock(&queue->lock);
	message->last_file = offset != 0 ? file : 0;
	message->last_offset = offset;
	pthread_mutex_unlock(&queue->lock);
}

static bool
copy_histories(struct queue *queue, struct snapshot *snapshot,
    struct journal *journal, struct reason *why)
{
	struct history *history =
	    history_begin(queue, journal, snapshot->histories);
	bool ok = true;

	if (history == NULL)
		return fail(why, REASON_NO_MEMORY, "relay log: attempts");
	for (size_t i = 0; ok && i < snapshot->count; i++) {
		struct kept *kept = &snapshot->kept[i];
		uint64_t offset;

		if (!kept->wants_history)
			continue;
		ok = history_copy(history, kept->message->key, kept->last_file,
		    kept->last_offset, &offset, why);
		if (ok)
			place_attempt(queue, kept->message,
			    journal->header.file, offset);
	}
	return history_end(history, ok, why);
}

/* Into the STATEs, now that what was pending is written too. */
static void
place_states(struct queue *queue, const struct snapshot *snapshot,
    uint32_t file)
{
	struct log_entry *state = snapshot->states;

	for (size_t i = 0; i < snapshot->count; i++, state = state->next) {
		const struct queued *message = snapshot->kept[i].message;
		uint64_t offset = 0;

		pthread_mutex_lock(&queue->lock);
		if (message->last_file == file)
			offset = message->last_offset;
		pthread_mutex_unlock(&queue->lock);
		log_place_state(state, offset);
	}
}

/* Bounces and pending entries first, and settled, before any STATE that may
 * rest on them. */
static bool
snapshot_write(struct queue *queue, struct snapshot *snapshot,
    struct journal *journal, uint32_t file, struct reason *why)
{
	for (size_t i = 0; i < snapshot->count; i++) {
		struct kept *kept = &snapshot->kept[i];

		if (kept->own && !copy_own(queue, kept, journal, why))
			return false;
	}
	if (!copy_histories(queue, snapshot, journal, why) ||
	    !write_entries(queue, journal, file, snapshot->taken, why) ||
	    !journal_sync(journal, why))
		return false;
	place_states(queue, snapshot, file);
	return write_entries(queue, journal, file, snapshot->states, why) &&
	       journal_sync(journal, why);
}

static void
relocate(struct queue *queue, const struct snapshot *snapshot,
    struct segment *segment)
{
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < snapshot->count; i++) {
		const struct kept *kept = &snapshot->kept[i];

		if (!kept->own)
			continue;
		kept->message->segment = segment;
		kept->message->offset = kept->new_offset;
	}
	pthread_mutex_unlock(&queue->lock);
}

/* The oldest file of ours but the current one, taken out; NULL if there is none
 * or somebody reads it. */
static struct segment *
take_oldest_file(struct queue *queue)
{
	struct segment **oldest = NULL, *segment = NULL;

	pthread_mutex_lock(&queue->lock);
	for (struct segment **at = &queue->log_files; *at != NULL;
	     at = &(*at)->next) {
		if (*at != queue->log_segment && !(*at)->stuck &&
		    (oldest == NULL || (*at)->file < (*oldest)->file))
			oldest = at;
	}
	if (oldest != NULL && (*oldest)->users == 0) {
		segment = *oldest;
		*oldest = segment->next;
	}
	pthread_mutex_unlock(&queue->lock);
	return segment;
}

static void
put_back_file(struct queue *queue, struct segment *segment)
{
	struct segment **at;

	pthread_mutex_lock(&queue->lock);
	for (at = &queue->log_files; *at != NULL; at = &(*at)->next)
		;
	segment->next = NULL;
	*at = segment;
	pthread_mutex_unlock(&queue->lock);
}

/*
 * Files of ours but the current one: all that matters was copied.  The oldest
 * first, and none before an older one is gone: what completes a message may
 * stand in a later file than the message.
 */
static void
drop_old_files(struct queue *queue)
{
	struct segment *segment;
	char name[JOURNAL_NAME_SIZE];

	while ((segment = take_oldest_file(queue)) != NULL) {
		store_name(segment, name);
		if (unlinkat(queue->relay_folder, name, 0) < 0 &&
		    errno != ENOENT) {
			log_line(SAY_WARNING, "queue",
			    "file=%s trouble=\"unlink: %s\"", name,
			    strerror(errno));
			put_back_file(queue, segment);
			break;
		}
		close(segment->fd);
		free(segment);
	}
	if (!journal_fsync(queue->relay_folder))
		log_line(SAY_WARNING, "queue",
		    "trouble=\"relay folder: fsync: %s\"", strerror(errno));
}

/* The new file goes, and the old ones count again; one who reads it yet keeps
 * it until the next rotation. */
static void
rotate_undo(struct queue *queue, const struct snapshot *snapshot,
    struct segment *segment, const char *name)
{
	struct segment **at = &queue->log_files;
	bool read;

	unlinkat(queue->relay_folder, name, 0);
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < snapshot->count; i++) {
		const struct kept *kept = &snapshot->kept[i];

		kept->message->last_file = kept->last_file;
		kept->message->last_offset = kept->last_offset;
	}
	read = segment->users > 0;
	while (!read && *at != segment)
		at = &(*at)->next;
	if (!read)
		*at = segment->next;
	pthread_mutex_unlock(&queue->lock);
	if (read)
		return;
	close(segment->fd);
	free(segment);
}

/* A new file, registered so that what it holds can be read at once. */
static struct segment *
rotate_begin(struct queue *queue, struct journal *fresh,
    char name[static JOURNAL_NAME_SIZE], struct reason *why)
{
	uint32_t file = ++queue->log_number;
	struct segment *segment;

	snprintf(name, JOURNAL_NAME_SIZE, "log.%" PRIu32, file);
	if (!journal_create(fresh, queue->relay_folder, name, LOG_FILE_MODE,
		JOURNAL_LOG, queue->start_id, file, true, why))
		return NULL;
	pthread_mutex_lock(&queue->lock);
	segment = log_segment_new(queue, file, fresh->fd, &fresh->header);
	pthread_mutex_unlock(&queue->lock);
	if (segment != NULL)
		return segment;
	unlinkat(queue->relay_folder, name, 0);
	journal_close(fresh);
	fail(why, REASON_NO_MEMORY, "relay log");
	return NULL;
}

static bool
log_rotate(struct queue *queue, struct reason *why)
{
	struct snapshot snapshot;
	struct segment *segment;
	struct journal fresh;
	char name[JOURNAL_NAME_SIZE];

	segment = rotate_begin(queue, &fresh, name, why);
	if (segment == NULL)
		return false;
	if (!snapshot_make(queue, &snapshot, why) ||
	    !snapshot_write(queue, &snapshot, &fresh, segment->file, why)) {
		rotate_undo(queue, &snapshot, segment, name);
		put_back_entries(queue, snapshot.taken);
		snapshot_free(&snapshot);
		return false;
	}
	relocate(queue, &snapshot, segment);
	queue->log = fresh;
	queue->log_segment = segment;
	queue->log_broken = false;
	queue->log_rotate_at = 4 * fresh.end > queue->log_rotate_least
				   ? 4 * fresh.end
				   : queue->log_rotate_least;
	settle_entries(queue, snapshot.taken);
	snapshot_free(&snapshot);
	drop_old_files(queue);
	return true;
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
	taken = take_entries(queue);
	pthread_mutex_unlock(&queue->lock);
	if (taken == NULL)
		return true;
	wrote = write_entries(queue, &queue->log, queue->log_segment->file,
	    taken, why);
	synced = wrote && journal_sync(&queue->log, why);
	if (synced) {
		settle_entries(queue, taken);
		return true;
	}
	unchain_entries(queue, queue->log_segment->file, taken);
	/* After a failed sync the file is never added to again. */
	if (!journal_abandon(&queue->log) || wrote)
		queue->log_broken = true;
	put_back_entries(queue, taken);
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
		   (!queue->aged && queue->entries == NULL))) {
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
