/*
 * server/queue_damage.c: octets that are no record any more: kept aside, and
 * named.
 */
#include "queue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "log.h"

enum { COPY_OCTETS = 64 * 1024 };

static bool
copy_octets(int from_fd, uint64_t from, uint64_t to, int to_fd)
{
	unsigned char octets[COPY_OCTETS];

	while (from < to) {
		size_t piece = to - from < sizeof(octets) ? (size_t)(to - from)
							  : sizeof(octets);
		ssize_t got = pread(from_fd, octets, piece, (off_t)from);

		if (got == 0)
			break;
		if (got < 0 || write(to_fd, octets, (size_t)got) != got)
			return false;
		from += (uint64_t)got;
	}
	return fsync(to_fd) == 0;
}

/* Whole and on stable storage, or not there. */
static bool
keep_copy(struct queue *queue, int fd, uint64_t from, uint64_t to,
    const char *aside)
{
	int out = openat(queue->damaged_folder, aside,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool ok;

	if (out < 0)
		return errno == EEXIST; /* kept at an earlier start */
	ok =
	    copy_octets(fd, from, to, out) && fsync(queue->damaged_folder) == 0;
	close(out);
	if (!ok)
		unlinkat(queue->damaged_folder, aside, 0);
	return ok;
}

bool
store_set_aside(struct queue *queue, int fd, const char *name, uint64_t from,
    uint64_t to, const char *text)
{
	char aside[JOURNAL_NAME_SIZE + 24];
	bool kept;

	snprintf(aside, sizeof(aside), "%s.%" PRIu64, name, from);
	kept = !queue->read_only && keep_copy(queue, fd, from, to, aside);
	log_line(SAY_ALARM, "damaged",
	    "file=%s from=%" PRIu64 " to=%" PRIu64
	    " set-aside=%s trouble=\"%s\"",
	    name, from, to, kept ? aside : "no", text);
	return kept;
}

void
store_set_aside_of(struct queue *queue, struct segment *segment, int fd,
    const char *name, uint64_t from, uint64_t to, const char *text)
{
	queue->damage = true;
	if (store_set_aside(queue, fd, name, from, to, text))
		return;
	pthread_mutex_lock(&queue->lock);
	segment->stuck = true;
	pthread_mutex_unlock(&queue->lock);
}
