/*
 * server/queue_rotate.c: the relay's own log rewritten, when most of it is
 * history: a new file with what is left, then the old ones go.
 */
#include "queue_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "queue_history.h"

enum {
	LOG_FILE_MODE = 0600,
	SNAPSHOT_LARGE = 64 * 1024, /* messages */
};

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
	/* Who was told of a delay may never have been tried. */
	if (!own && message->attempts == 0 && message->last_file == 0 &&
	    message->done == 0 &&
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
		snapshot->taken = log_take_entries(queue);
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
	    !log_write_entries(queue, journal, file, snapshot->taken, why) ||
	    !journal_sync(journal, why))
		return false;
	place_states(queue, snapshot, file);
	return log_write_entries(queue, journal, file, snapshot->states, why) &&
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

bool
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
		log_unchain_entries(queue, segment->file, snapshot.taken);
		rotate_undo(queue, &snapshot, segment, name);
		log_put_back_entries(queue, snapshot.taken);
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
	log_settle_entries(queue, snapshot.taken);
	snapshot_free(&snapshot);
	drop_old_files(queue);
	return true;
}
