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

enum { OPEN_FILES_MOST = 128 /* kept open without being used */ };

void
store_name(const struct segment *segment, char out[static JOURNAL_NAME_SIZE])
{
	if (segment->own)
		snprintf(out, JOURNAL_NAME_SIZE, "log.%" PRIu32, segment->file);
	else
		journal_segment_name(out, segment->start_id, segment->file);
}

/* Descriptors. */

static int
segment_folder(const struct queue *queue, const struct segment *segment)
{
	return segment->own ? queue->relay_folder : queue->in_folder;
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
	if (message->is_large)
		journal_large_name(name, message->segment->start_id,
		    message->large);
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

static struct segment *
take_finished(struct queue *queue)
{
	struct segment **at, *segment, *gone = NULL;

	pthread_mutex_lock(&queue->lock);
	for (at = &queue->segments; (segment = *at) != NULL;) {
		if (segment->own || !segment->whole || segment->stuck ||
		    segment->incomplete > 0 || segment->users > 0) {
			at = &segment->next;
			continue;
		}
		*at = segment->next;
		segment->next = gone;
		gone = segment;
		if (segment->fd >= 0)
			queue->open_files--;
	}
	pthread_mutex_unlock(&queue->lock);
	return gone;
}

/* Only now may the completions of its messages go. */
static void
forget_segment(struct queue *queue, struct segment *segment)
{
	struct queued *message, *next;

	pthread_mutex_lock(&queue->lock);
	for (message = segment->messages; message != NULL; message = next) {
		next = message->sibling;
		index_remove(queue, message);
		message_free(message);
	}
	pthread_mutex_unlock(&queue->lock);
	free(segment);
}

/* It may be there after a restart, so its completions have to stay; it is not
 * tried again before. */
static void
keep_finished(struct queue *queue, struct segment *segment)
{
	pthread_mutex_lock(&queue->lock);
	segment->stuck = true;
	segment->next = queue->segments;
	queue->segments = segment;
	pthread_mutex_unlock(&queue->lock);
}

void
store_unlink_finished(struct queue *queue)
{
	struct segment *gone = take_finished(queue), *segment;
	char name[JOURNAL_NAME_SIZE];

	if (gone == NULL)
		return;
	for (segment = gone; segment != NULL; segment = segment->next) {
		store_name(segment, name);
		if (segment->fd >= 0)
			close(segment->fd);
		segment->fd = -1;
		segment->unlinked =
		    unlinkat(queue->in_folder, name, 0) == 0 || errno == ENOENT;
		if (!segment->unlinked)
			log_line(SAY_ALARM, "queue",
			    "file=%s trouble=\"unlink: %s\"", name,
			    strerror(errno));
	}
	if (fsync(queue->in_folder) < 0) {
		log_line(SAY_ALARM, "queue", "trouble=\"in folder: fsync: %s\"",
		    strerror(errno));
		for (segment = gone; segment != NULL; segment = segment->next)
			segment->unlinked = false;
	}
	while ((segment = gone) != NULL) {
		gone = segment->next;
		if (segment->unlinked)
			forget_segment(queue, segment);
		else
			keep_finished(queue, segment);
	}
}
