/*
 * server/queue_compact.c: a segment of which little is left, in less room.
 *
 * A message that cannot go anywhere would keep the 64 MiB it came with for
 * days. What is left of such a segment is copied to an image in our own folder,
 * under a name that says nothing yet; once it is synced and renamed it counts,
 * and the segment goes the way of a finished one.  An image is compacted the
 * same way and replaced by its successor in one step.
 *
 * The keeper does it, piece by piece: completions are written in between. While
 * it copies, workers deliver, and what they complete stays known, because the
 * image holds it too.
 */
#include "queue_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "log.h"

enum {
	IMAGE_MODE = 0600,
	PIECE_OCTETS = 1024 * 1024, /* copied and synced in one go */
	GAIN_LEAST = 64 * 1024,     /* octets for which it is worth a sync */
	WAIT_RETRIES = 4,           /* first retries that what is left gets */
	LOOK_MS = 60 * 1000,
	TROUBLE_MS = 5 * 60 * 1000, /* until it is tried again */
};

struct copied {
	struct queued *message;
	uint64_t offset; /* in the image; 0: not there */
};

struct compaction {
	struct segment *from; /* in use */
	int fd;               /* of it */
	struct journal image;
	struct copied *messages;
	size_t count, next;
	uint64_t held; /* messages in the image */
};

void
compact_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint32_t file)
{
	snprintf(out, JOURNAL_NAME_SIZE, "kept.%016" PRIx64 ".%" PRIu32,
	    start_id, file);
}

/* --- when ----------------------------------------------------------------- */

bool
compact_is_due(const struct segment *segment)
{
	return segment->whole && !segment->own && !segment->stuck &&
	       !segment->uncopied && segment->incomplete > 0 &&
	       segment->cursor <= JOURNAL_ORIGIN_MAX &&
	       segment->living < segment->cursor / 4 &&
	       segment->cursor - segment->living >= GAIN_LEAST;
}

/* Soon the session role refuses messages for want of room. */
static bool
disk_is_short(struct queue *queue)
{
	uint64_t reserve;
	struct statvfs st;

	pthread_mutex_lock(&queue->lock);
	reserve = queue->settings.reserve;
	pthread_mutex_unlock(&queue->lock);
	return fstatvfs(queue->relay_folder, &st) == 0 &&
	       (uint64_t)st.f_bavail * st.f_frsize / 2 < reserve;
}

/* One that has waited long enough: most of what is left after the first
 * retries stays for long.  Else *next_out is when to look again. */
static struct segment *
find_due(struct queue *queue, int64_t now, int64_t *next_out)
{
	struct segment *found = NULL;
	bool is_short = disk_is_short(queue);
	int64_t wait;

	pthread_mutex_lock(&queue->lock);
	wait = queue->settings.retry_first_ms * WAIT_RETRIES;
	*next_out = now + LOOK_MS;
	for (size_t i = 0; found == NULL && i < queue->segment_count; i++) {
		struct segment *segment = queue->segments[i];
		int64_t at = segment->whole_ms + wait;

		if (!compact_is_due(segment))
			continue;
		if (is_short || at <= now)
			found = segment;
		else if (at < *next_out)
			*next_out = at;
	}
	queue->compact_at = *next_out;
	pthread_mutex_unlock(&queue->lock);
	return found;
}

/* --- how ------------------------------------------------------------------ */

static void
compaction_free(struct queue *queue, struct compaction *work)
{
	journal_close(&work->image);
	if (work->fd >= 0)
		store_segment_release(queue, work->from);
	free(work->messages);
	free(work);
}

/* In the order in which they stand in the file; only the keeper completes any,
 * so there is room for all. */
static void
list_living(struct queue *queue, struct compaction *work, size_t room)
{
	size_t first = room;

	pthread_mutex_lock(&queue->lock);
	for (struct queued *message = work->from->messages; message != NULL;
	     message = message->sibling)
		if (!message->settled && first > 0)
			work->messages[--first].message = message;
	pthread_mutex_unlock(&queue->lock);
	work->next = first;
	work->count = room;
}

static bool
begin(struct queue *queue, struct segment *segment, struct reason *why)
{
	size_t room = (size_t)segment->incomplete;
	struct compaction *work = calloc(1, sizeof(*work));

	if (work == NULL)
		return fail(why, REASON_NO_MEMORY, "compaction");
	work->from = segment;
	work->image.fd = work->fd = -1;
	work->messages = calloc(room, sizeof(*work->messages));
	if (work->messages == NULL) {
		fail(why, REASON_NO_MEMORY, "compaction");
	} else if (store_segment_use(queue, segment, &work->fd, why)) {
		if (journal_create_kept(&work->image, queue->relay_folder,
			COMPACT_UNFINISHED, IMAGE_MODE, &segment->header,
			why)) {
			list_living(queue, work, room);
			queue->compaction = work;
			return true;
		}
	} else {
		work->fd = -1;
	}
	compaction_free(queue, work);
	return false;
}

/* Flags share their octet with those that workers set. */
static bool
is_settled(struct queue *queue, const struct queued *message)
{
	bool settled;

	pthread_mutex_lock(&queue->lock);
	settled = message->settled;
	pthread_mutex_unlock(&queue->lock);
	return settled;
}

static bool
copy_piece(struct queue *queue, struct compaction *work, struct reason *why)
{
	uint64_t until = work->image.end + PIECE_OCTETS;

	for (; work->next < work->count && work->image.end < until;
	     work->next++) {
		struct copied *one = &work->messages[work->next];

		if (is_settled(queue, one->message))
			continue; /* meanwhile */
		if (!journal_copy(&work->image, queue->batch, work->fd,
			&work->from->header, one->message->offset,
			one->message->key.number, &one->offset, why))
			return false;
		work->held++;
	}
	return journal_sync(&work->image, why);
}

/* How many there are: an image that was cut off shows it. */
static bool
write_end(struct queue *queue, struct compaction *work, struct reason *why)
{
	struct journal_record record = {
		.type = JOURNAL_KEPT_END,
		.number = work->held,
	};

	record.envelope_crc = record.head_crc = record.body_crc =
	    crc32c(0, NULL, 0);
	journal_batch_begin(queue->batch, &work->image);
	journal_batch_add(queue->batch, &record, NULL, 0);
	return journal_batch_write(queue->batch, why) &&
	       journal_sync(&work->image, why);
}

/* Callers hold lock.  What was copied is the image's from now on, the rest are
 * completions that nothing needs once the segment is gone. */
static void
move_messages(struct compaction *work, struct segment *image)
{
	struct queued **at = &work->from->messages, *message;

	for (size_t i = 0; i < work->count; i++) {
		struct copied *one = &work->messages[i];

		if (one->message == NULL || one->offset == 0)
			continue;
		one->message->segment = image;
		one->message->offset = one->offset;
		if (one->message->settled)
			continue;
		image->incomplete++;
		image->living += one->message->extent;
	}
	while ((message = *at) != NULL) {
		if (message->segment != image) {
			at = &message->sibling;
			continue;
		}
		*at = message->sibling;
		message->sibling = image->messages;
		image->messages = message;
	}
	work->from->incomplete = work->from->living = 0;
}

/* Registered before it counts: afterwards nothing may fail. */
static struct segment *
register_image(struct queue *queue, const struct compaction *work)
{
	const struct segment *from = work->from;
	struct segment *image;

	pthread_mutex_lock(&queue->lock);
	image = store_segment_new(queue, from->start_id, from->file,
	    work->image.fd, &work->image.header, true);
	if (image != NULL) {
		image->before = work->from;
		image->cursor = image->end = work->image.end;
		image->closed = image->whole = true;
		image->whole_ms = from->whole_ms;
	}
	pthread_mutex_unlock(&queue->lock);
	return image;
}

static bool
rename_image(struct queue *queue, const char *name, struct segment *image,
    struct reason *why)
{
	if (renameat(queue->relay_folder, COMPACT_UNFINISHED,
		queue->relay_folder, name) == 0)
		return true;
	fail_errno(why, "%s: rename", name);
	pthread_mutex_lock(&queue->lock);
	queue->open_files--;
	store_segment_free(queue, image);
	pthread_mutex_unlock(&queue->lock);
	return false;
}

/* If the folder cannot be synced either may be there after a crash: then all
 * stays, and so do the completions. */
static void
put_in_force(struct queue *queue, struct compaction *work,
    struct segment *image)
{
	bool certain = fsync(queue->relay_folder) == 0;

	if (!certain)
		log_line(SAY_ALARM, "queue",
		    "trouble=\"relay folder: fsync: %s\"", strerror(errno));
	pthread_mutex_lock(&queue->lock);
	move_messages(work, image);
	work->from->replaced = work->from->kept;
	work->from->stuck = !certain;
	pthread_mutex_unlock(&queue->lock);
	work->image.fd = -1; /* the segment's now */
}

static bool
finish(struct queue *queue, struct compaction *work, struct reason *why)
{
	const struct segment *from = work->from;
	struct segment *image;
	char name[JOURNAL_NAME_SIZE];

	if (!write_end(queue, work, why))
		return false;
	image = register_image(queue, work);
	if (image == NULL)
		return fail(why, REASON_NO_MEMORY, "compaction");
	compact_name(name, from->start_id, from->file);
	if (!rename_image(queue, name, image, why))
		return false;
	put_in_force(queue, work, image);
	store_name(from, name);
	log_line(SAY_NOTE, "queue",
	    "file=%s compacted messages=%" PRIu64 " octets=%" PRIu64
	    " now=%" PRIu64,
	    name, work->held, from->cursor, work->image.end);
	queue->compaction = NULL;
	compaction_free(queue, work);
	return true;
}

void
compact_abandon(struct queue *queue)
{
	struct compaction *work = queue->compaction;

	if (work == NULL)
		return;
	unlinkat(queue->relay_folder, COMPACT_UNFINISHED, 0);
	queue->compaction = NULL;
	compaction_free(queue, work);
}

/* All is as it was; what no copy can be made of is not tried again. */
static int64_t
give_up(struct queue *queue, struct segment *segment, int64_t now,
    const struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];

	store_name(segment, name);
	log_line(SAY_ERROR, "queue", "file=%s compaction=failed trouble=\"%s\"",
	    name, why->text);
	compact_abandon(queue);
	pthread_mutex_lock(&queue->lock);
	segment->uncopied = why->code == REASON_DAMAGED;
	now += segment->uncopied ? 0 : (int64_t)TROUBLE_MS;
	queue->compact_at = 0;
	pthread_mutex_unlock(&queue->lock);
	queue->compact_after = now;
	return now;
}

int64_t
compact_some(struct queue *queue, int64_t now_ms)
{
	struct compaction *work = queue->compaction;
	struct segment *segment;
	struct reason why;
	int64_t next;
	bool ok;

	if (work != NULL) {
		segment = work->from;
		ok = copy_piece(queue, work, &why) &&
		     (work->next < work->count || finish(queue, work, &why));
		return ok ? now_ms : give_up(queue, segment, now_ms, &why);
	}
	pthread_mutex_lock(&queue->lock);
	next = queue->compact_at;
	pthread_mutex_unlock(&queue->lock);
	if (next < queue->compact_after)
		next = queue->compact_after;
	if (next > now_ms)
		return next;
	segment = find_due(queue, now_ms, &next);
	if (segment == NULL)
		return next;
	return begin(queue, segment, &why)
		   ? now_ms
		   : give_up(queue, segment, now_ms, &why);
}
