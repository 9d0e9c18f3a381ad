/*
 * server/queue_history.c: what a rotation of the relay's log keeps of the
 * attempts at messages that still wait.
 */
#include "queue_history.h"

#include <stdlib.h>
#include <string.h>

enum { GAP_ROOM = 4 };

struct history *
history_begin(struct queue *queue, struct journal *journal, size_t messages)
{
	struct history *history = calloc(1, sizeof(*history));

	if (history == NULL)
		return NULL;
	history->queue = queue;
	history->journal = journal;
	history->room = HISTORY_ALL / (messages + 1);
	if (history->room > HISTORY_MESSAGE)
		history->room = HISTORY_MESSAGE;
	journal_batch_begin(queue->batch, journal);
	return history;
}

/* --- reading the chain ---------------------------------------------------- */

/* Files of ours are as many as were not dropped yet: the same most times. */
static struct segment *
find_file(struct history *history, uint32_t file)
{
	if (history->segment == NULL || history->segment->file != file) {
		pthread_mutex_lock(&history->queue->lock);
		history->segment = log_segment_find(history->queue, file);
		pthread_mutex_unlock(&history->queue->lock);
	}
	return history->segment;
}

/* False if it is no attempt at that message. */
static bool
take_links(struct past *past, struct message_key key)
{
	struct attempt attempt;
	struct reason why;
	bool same;

	if (!attempt_decode(&attempt, past->octets, past->record.envelope_len,
		&why))
		return false;
	same = attempt.key.mark == key.mark && attempt.key.number == key.number;
	past->prev_file = attempt.prev_file;
	past->prev_offset = attempt.prev_offset;
	past->gap = attempt.gap;
	past->has_gap = attempt.has_gap;
	attempt_fini(&attempt);
	return same;
}

/* False if there is none. */
static bool
read_past(struct history *history, struct message_key key, uint32_t file,
    uint64_t offset, struct past *past)
{
	struct segment *segment = file == 0 ? NULL : find_file(history, file);
	struct journal_record *record = &past->record;
	struct reason why;

	if (segment == NULL ||
	    !journal_read_record(segment->fd, &segment->header, offset, record,
		&why) ||
	    record->type != JOURNAL_ATTEMPT || record->head_len != 0)
		return false;
	past->octets = malloc((size_t)record->envelope_len + GAP_ROOM);
	if (past->octets != NULL &&
	    journal_read_parts(segment->fd, record, past->octets, &why) &&
	    take_links(past, key))
		return true;
	free(past->octets);
	past->octets = NULL;
	return false;
}

/* How many are left out with it. */
static uint32_t
forget(struct past *past)
{
	uint32_t gone = past->gap + 1;

	free(past->octets);
	past->octets = NULL;
	return gone;
}

/* The last of those that are kept comes after the ones left out. */
static void
add_gap(struct history *history, uint32_t gone)
{
	history->kept[history->count - 1].gap += gone;
}

static void
take_past(struct history *history, const struct past *past)
{
	uint64_t extent = journal_extent(&past->record);

	if (history->count == 0 ||
	    (history->oldest.octets == NULL &&
		history->count < HISTORY_KEPT - 1 &&
		history->used + extent <= history->room)) {
		history->kept[history->count++] = *past;
		history->used += extent;
		return;
	}
	if (history->oldest.octets != NULL)
		add_gap(history, forget(&history->oldest));
	history->oldest = *past;
}

/* The first attempt rather than one in the middle. */
static void
make_room_for_oldest(struct history *history)
{
	uint64_t extent = journal_extent(&history->oldest.record);

	if (history->oldest.octets == NULL)
		return;
	while (history->count > 1 && history->used + extent > history->room) {
		struct past *last = &history->kept[--history->count];

		history->used -= journal_extent(&last->record);
		add_gap(history, forget(last));
	}
	if (history->used + extent > history->room) {
		add_gap(history, forget(&history->oldest));
		return;
	}
	history->kept[history->count++] = history->oldest;
	history->used += extent;
	history->oldest.octets = NULL;
}

/* Back from the last; places only ever become earlier. */
static void
read_chain(struct history *history, struct message_key key, uint32_t file,
    uint64_t offset)
{
	struct past past = { .octets = NULL };

	history->count = 0;
	history->used = 0;
	history->oldest.octets = NULL;
	while (read_past(history, key, file, offset, &past)) {
		bool earlier =
		    past.prev_file < file ||
		    (past.prev_file == file && past.prev_offset < offset);

		file = earlier ? past.prev_file : 0;
		offset = past.prev_offset;
		take_past(history, &past);
	}
	/* One that should be there cannot be read. */
	if (file != 0 && history->oldest.octets != NULL)
		history->oldest.gap++;
	else if (file != 0 && history->count > 0)
		add_gap(history, 1);
	make_room_for_oldest(history);
}

/* --- writing it ----------------------------------------------------------- */

static void
free_gathered(struct history *history)
{
	for (size_t i = 0; i < history->gathered_count; i++)
		free(history->gathered[i]);
	history->gathered_count = history->gathered_octets = 0;
}

static bool
flush(struct history *history, struct reason *why)
{
	bool ok = journal_batch_write(history->queue->batch, why);

	free_gathered(history);
	journal_batch_begin(history->queue->batch, history->journal);
	return ok;
}

/* After the one at prev in the new file; 0: the first.  The octets become the
 * batch's. */
static bool
write_past(struct history *history, struct past *past, uint64_t prev,
    struct reason *why)
{
	struct iovec part;

	attempt_copied(&past->record, past->octets, past->has_gap,
	    prev == 0 ? 0 : history->journal->header.file, prev, past->gap);
	part.iov_base = past->octets;
	part.iov_len = past->record.envelope_len;
	if (!journal_batch_add(history->queue->batch, &past->record, &part,
		1)) {
		if (!flush(history, why))
			return false;
		journal_batch_add(history->queue->batch, &past->record, &part,
		    1);
	}
	history->gathered[history->gathered_count++] = past->octets;
	history->gathered_octets += past->record.envelope_len;
	past->octets = NULL;
	return history->gathered_octets < HISTORY_GATHERED ||
	       flush(history, why);
}

bool
history_copy(struct history *history, struct message_key key, uint32_t file,
    uint64_t offset, uint64_t *copied_out, struct reason *why)
{
	uint64_t prev = 0;
	bool ok = true;

	read_chain(history, key, file, offset);
	for (size_t i = history->count; i > 0; i--) {
		struct past *past = &history->kept[i - 1];

		ok = ok && write_past(history, past, prev, why);
		prev = past->record.offset;
		free(past->octets); /* unless it was handed over */
	}
	if (ok)
		*copied_out = prev;
	return ok;
}

bool
history_end(struct history *history, bool ok, struct reason *why)
{
	if (ok)
		ok = flush(history, why);
	free_gathered(history);
	free(history);
	return ok;
}
