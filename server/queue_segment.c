/*
 * server/queue_segment.c: the files that messages stand in, as the queue holds
 * them: descriptors, and unlinking what is finished.
 */
#include "queue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

enum {
	OPEN_FILES_MOST = 128, /* kept open without being used */
	UNLINK_AGAIN_MS = 5000,
};

void
store_name(const struct segment *segment, char out[static JOURNAL_NAME_SIZE])
{
	if (segment->own)
		snprintf(out, JOURNAL_NAME_SIZE, "log.%" PRIu32, segment->file);
	else if (segment->kept)
		compact_name(out, segment->start_id, segment->file);
	else
		journal_segment_name(out, segment->start_id, segment->file);
}

/* The array. */

size_t
store_position(const struct queue *queue, uint64_t start_id, uint64_t file)
{
	size_t low = 0, high = queue->segment_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct segment *segment = queue->segments[middle];

		if (segment->start_id < start_id ||
		    (segment->start_id == start_id && segment->file < file))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct segment *
store_find(const struct queue *queue, uint64_t start_id, uint32_t file)
{
	size_t at = store_position(queue, start_id, file);

	if (at < queue->segment_count &&
	    queue->segments[at]->start_id == start_id &&
	    queue->segments[at]->file == file)
		return queue->segments[at];
	return NULL;
}

static bool
array_reserve(struct queue *queue)
{
	size_t capacity =
	    queue->segment_capacity == 0 ? 64 : queue->segment_capacity * 2;
	struct segment **grown;

	if (queue->segment_count < queue->segment_capacity)
		return true;
	grown = reallocarray(queue->segments, capacity, sizeof(*grown));
	if (grown == NULL)
		return false;
	queue->segments = grown;
	queue->segment_capacity = capacity;
	return true;
}

struct segment *
store_segment_new(struct queue *queue, uint64_t start_id, uint32_t file, int fd,
    const struct journal_header *header, bool kept)
{
	struct segment *segment;
	size_t at;

	if (!array_reserve(queue))
		return NULL;
	segment = calloc(1, sizeof(*segment));
	if (segment == NULL)
		return NULL;
	segment->start_id = start_id;
	segment->file = file;
	segment->fd = fd;
	segment->header = *header;
	segment->kept = kept;
	segment->cursor = JOURNAL_HEADER_OCTETS;
	/* An image stands before what it is of, as it is found first. */
	at = store_position(queue, start_id, file);
	memmove(queue->segments + at + 1, queue->segments + at,
	    (queue->segment_count - at) * sizeof(*queue->segments));
	queue->segments[at] = segment;
	queue->segment_count++;
	queue->open_files++;
	return segment;
}

void
store_segment_free(struct queue *queue, struct segment *segment)
{
	size_t at = store_position(queue, segment->start_id, segment->file);

	/* Its images stand before it. */
	for (; queue->segments[at] != segment; at++)
		if (queue->segments[at]->before == segment)
			queue->segments[at]->before = NULL;
	queue->segment_count--;
	memmove(queue->segments + at, queue->segments + at + 1,
	    (queue->segment_count - at) * sizeof(*queue->segments));
	free(segment);
}

/* Descriptors. */

static int
segment_folder(const struct queue *queue, const struct segment *segment)
{
	return segment->own || segment->kept ? queue->relay_folder
					     : queue->in_folder;
}

bool
store_segment_use(struct queue *queue, struct segment *segment, int *fd_out,
    struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];
	int fd = -1;
	bool is_open;

	pthread_mutex_lock(&queue->lock);
	segment->users++;
	is_open = segment->fd >= 0;
	pthread_mutex_unlock(&queue->lock);
	if (!is_open) {
		store_name(segment, name);
		fd = journal_open_file(segment_folder(queue, segment), name,
		    O_RDONLY);
		if (fd < 0) {
			fail_errno(why, "%s", name);
			store_segment_release(queue, segment);
			return false;
		}
	}
	pthread_mutex_lock(&queue->lock);
	if (!is_open && segment->fd < 0) {
		segment->fd = fd;
		queue->open_files++;
		fd = -1;
	}
	*fd_out = segment->fd;
	pthread_mutex_unlock(&queue->lock);
	if (fd >= 0)
		close(fd); /* another thread was first */
	return true;
}

void
store_segment_release(struct queue *queue, struct segment *segment)
{
	int fd = -1;

	pthread_mutex_lock(&queue->lock);
	segment->users--;
	if (segment->users == 0 && !segment->own && segment->fd >= 0 &&
	    queue->open_files > OPEN_FILES_MOST) {
		fd = segment->fd;
		segment->fd = -1;
		queue->open_files--;
	}
	if (segment->users == 0 && segment->whole && segment->incomplete == 0) {
		queue->sweep = true;
		pthread_cond_signal(&queue->keep);
	}
	pthread_mutex_unlock(&queue->lock);
	if (fd >= 0)
		close(fd);
}

bool
store_body_open(struct queue *queue, const struct segment *segment,
    uint64_t number, int *fd_out, struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];
	int fd;

	journal_large_name(name, segment->start_id, number);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT
			   ? fail(why, REASON_DAMAGED, "%s: is missing", name)
			   : fail_errno(why, "%s", name);
	*fd_out = fd;
	return true;
}

/* Finishing: the keeper. */

void
store_completed(struct queue *queue, struct queued *message)
{
	char name[JOURNAL_NAME_SIZE] = "";

	pthread_mutex_lock(&queue->lock);
	message->settled = true;
	message->segment->incomplete--;
	message->segment->living -= message->extent;
	if (compact_is_due(message->segment))
		queue->compact_at = 0;
	if (message->is_large)
		journal_large_name(name, message->segment->start_id,
		    message->more->large);
	/* A message in our own log is done with; one in a segment stays
	 * known until the segment is gone. */
	if (message->segment->own) {
		index_remove(queue, message);
		message_free(message);
	}
	pthread_mutex_unlock(&queue->lock);
	if (name[0] != '\0')
		unlinkat(queue->in_folder, name, 0);
}

/* Nobody has any business with them from here on.  An image's completions are
 * also those of what it is of.  *again_out: when those are tried that could not
 * go before. */
static struct segment *
take_finished(struct queue *queue, int64_t *again_out)
{
	int64_t now = queue_monotonic_ms();
	struct segment *gone = NULL;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < queue->segment_count; i++) {
		struct segment *segment = queue->segments[i];

		if (!segment->whole || segment->stuck ||
		    segment->incomplete > 0 || segment->users > 0 ||
		    segment->before != NULL)
			continue;
		if (segment->again_ms > now) {
			if (segment->again_ms < *again_out)
				*again_out = segment->again_ms;
			continue;
		}
		segment->next = gone;
		gone = segment;
		if (segment->fd >= 0)
			queue->open_files--;
	}
	pthread_mutex_unlock(&queue->lock);
	return gone;
}

/* Told once, however many files there are and however often it is tried. */
static void
say_unlink_trouble(struct queue *queue, const char *what, const char *name)
{
	int error = errno;

	if (!queue->unlink_trouble)
		log_line(SAY_ALARM, "queue",
		    "files=not-removed file=%s trouble=\"%s: %s\"", name,
		    what, strerror(error));
	queue->unlink_trouble = true;
}

static void
unlink_segment(struct queue *queue, struct segment *segment)
{
	char name[JOURNAL_NAME_SIZE];

	if (segment->fd >= 0)
		close(segment->fd);
	segment->fd = -1;
	if (segment->replaced) {
		segment->unlinked = true;
		return;
	}
	store_name(segment, name);
	segment->unlinked =
	    unlinkat(segment_folder(queue, segment), name, 0) == 0 ||
	    errno == ENOENT;
	if (!segment->unlinked)
		say_unlink_trouble(queue, "unlink", name);
}

static bool
sync_folder(struct queue *queue, int folder, const char *name)
{
	if (journal_fsync(folder))
		return true;
	say_unlink_trouble(queue, "fsync", name);
	return false;
}

/* The folders that names were taken out of; where that fails the files may be
 * there again after a crash. */
static void
sync_folders(struct queue *queue, struct segment *gone)
{
	bool in = false, own = false, in_ok, own_ok;

	for (const struct segment *one = gone; one != NULL; one = one->next) {
		in = in || !one->kept;
		own = own || (one->kept && !one->replaced);
	}
	in_ok = !in || sync_folder(queue, queue->in_folder, "in");
	own_ok = !own || sync_folder(queue, queue->relay_folder, "relay");
	for (struct segment *one = gone; one != NULL; one = one->next)
		if (!one->replaced && !(one->kept ? own_ok : in_ok))
			one->unlinked = false;
}

/* Only now may the completions of its messages go, and its image. */
static void
forget_segment(struct queue *queue, struct segment *segment)
{
	struct queued *message, *next;

	pthread_mutex_lock(&queue->lock);
	queue->sweep = true;
	for (message = segment->messages; message != NULL; message = next) {
		next = message->sibling;
		index_remove(queue, message);
		message_free(message);
	}
	store_segment_free(queue, segment);
	pthread_mutex_unlock(&queue->lock);
}

/* It may be there after a restart, so its completions have to stay. */
static void
keep_finished(struct queue *queue, struct segment *segment, int64_t again_ms)
{
	pthread_mutex_lock(&queue->lock);
	segment->again_ms = again_ms;
	pthread_mutex_unlock(&queue->lock);
}

int64_t
store_unlink_finished(struct queue *queue)
{
	int64_t again = INT64_MAX, later;
	struct segment *gone = take_finished(queue, &again), *segment;
	bool worked = gone != NULL;

	for (segment = gone; segment != NULL; segment = segment->next)
		unlink_segment(queue, segment);
	sync_folders(queue, gone);
	later = queue_monotonic_ms() + UNLINK_AGAIN_MS;
	while ((segment = gone) != NULL) {
		gone = segment->next;
		if (segment->unlinked) {
			forget_segment(queue, segment);
		} else {
			keep_finished(queue, segment, later);
			again = later < again ? later : again;
		}
	}
	if (worked && again == INT64_MAX && queue->unlink_trouble) {
		queue->unlink_trouble = false;
		log_line(SAY_NOTE, "queue", "files=removed");
	}
	return again;
}
