/*
 * server/spool_message.c: receiving a message: in memory, or in a file of its
 * own.
 */
#include "spool_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../policy/crc32c.h"

enum {
	CHUNK_FIRST = 8 * 1024,
	CHUNK_MORE = 32 * 1024,
	CHUNK_FILE = 64 * 1024, /* gathers writes to a large file */
	WRITEBACK_OCTETS = 1024 * 1024,
};
_Static_assert(SPOOL_CHUNKS_MAX >= 1 + SPOOL_MEMORY_MAX / CHUNK_MORE + 1,
    "what a message in memory takes");

struct spool_message *
spool_message_new(struct spool *spool)
{
	struct spool_message *message = calloc(1, sizeof(*message));

	if (message == NULL)
		return NULL;
	message->spool = spool;
	message->fd = -1;
	return message;
}

uint64_t
spool_message_size(const struct spool_message *message)
{
	return message->size;
}

void
spool_chunks_free(struct spool_message *message)
{
	struct spool_chunk *chunk, *next;

	for (chunk = message->first; chunk != NULL; chunk = next) {
		next = chunk->next;
		spool_memory_release(message->spool, chunk->capacity);
		free(chunk);
	}
	message->first = message->last = NULL;
}

static struct spool_chunk *
chunk_new(struct spool_message *message, size_t capacity)
{
	struct spool_chunk *chunk;

	if (!spool_memory_charge(message->spool, capacity))
		return NULL;
	chunk = malloc(sizeof(*chunk) + capacity);
	if (chunk == NULL) {
		spool_memory_release(message->spool, capacity);
		return NULL;
	}
	chunk->next = NULL;
	chunk->len = 0;
	chunk->capacity = capacity;
	if (message->last != NULL)
		message->last->next = chunk;
	else
		message->first = chunk;
	message->last = chunk;
	return chunk;
}

static void
large_remove(struct spool_message *message)
{
	char name[JOURNAL_NAME_SIZE];

	if (message->fd < 0)
		return;
	journal_large_name(name, message->spool->start_id, message->counter);
	unlinkat(message->spool->folder, name, 0);
	close(message->fd);
	message->fd = -1;
}

void
spool_message_free(struct spool_message *message)
{
	if (message == NULL)
		return;
	spool_chunks_free(message);
	large_remove(message);
	spool_room_release(message);
	free(message->front);
	free(message);
}

/* The disk said no, and the operator hears of it. */
static bool
large_refused(struct spool_message *message, struct reason *why)
{
	spool_trouble_failed(message->spool, why);
	return false;
}

static bool
large_write(struct spool_message *message, const unsigned char *octets,
    size_t len, struct reason *why)
{
	while (len > 0) {
		ssize_t wrote = write(message->fd, octets, len);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0) {
			fail_errno(why, "spool: large file: write");
			return large_refused(message, why);
		}
		octets += wrote;
		len -= (size_t)wrote;
		message->written += (uint64_t)wrote;
		spool_room_written(message, (uint64_t)wrote);
	}
	if (message->written - message->writeback < WRITEBACK_OCTETS)
		return true;
	/* Let the disk begin now, so that the sync at the end finds little
	 * left; and look at the reserve again. */
	sync_file_range(message->fd, (off_t)message->writeback,
	    (off_t)(message->written - message->writeback),
	    SYNC_FILE_RANGE_WRITE);
	message->writeback = message->written;
	return spool_has_room(message->spool, 0, why);
}

bool
spool_large_flush(struct spool_message *message, struct reason *why)
{
	for (struct spool_chunk *chunk = message->first; chunk != NULL;
	     chunk = chunk->next) {
		if (!large_write(message, chunk->octets, chunk->len, why))
			return false;
		chunk->len = 0;
	}
	return true;
}

/* From memory to a file of its own. */
static bool
large_begin(struct spool_message *message, struct reason *why)
{
	struct spool *spool = message->spool;
	char name[JOURNAL_NAME_SIZE];

	message->counter = atomic_fetch_add(&spool->large_counter, 1) + 1;
	journal_large_name(name, spool->start_id, message->counter);
	message->fd = openat(spool->folder, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    SPOOL_FILE_MODE);
	if (message->fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		fail(why, REASON_NO_SPACE,
		    "spool: large file: too many open files");
		return large_refused(message, why);
	}
	if (message->fd < 0) {
		fail_errno(why, "spool: large file: create");
		return large_refused(message, why);
	}
	if (fchmod(message->fd, SPOOL_FILE_MODE) < 0) {
		fail_errno(why, "spool: large file: chmod");
		return large_refused(message, why);
	}
	if (!spool_large_flush(message, why))
		return false;
	spool_chunks_free(message);
	return true;
}

static bool
large_append(struct spool_message *message, const unsigned char *octets,
    size_t len, struct reason *why)
{
	struct spool_chunk *chunk = message->last;

	if (chunk == NULL)
		chunk = chunk_new(message, CHUNK_FILE);
	if (chunk == NULL) /* no budget: at the price of more writes */
		return large_write(message, octets, len, why);
	if (len > chunk->capacity - chunk->len &&
	    !spool_large_flush(message, why))
		return false;
	if (len >= chunk->capacity)
		return large_write(message, octets, len, why);
	memcpy(chunk->octets + chunk->len, octets, len);
	chunk->len += len;
	return true;
}

/* Takes what it can; *taken_out < len means the budget is used up. */
static void
memory_append(struct spool_message *message, const unsigned char *octets,
    size_t len, size_t *taken_out)
{
	size_t taken = 0;

	while (taken < len) {
		struct spool_chunk *chunk = message->last;
		size_t room;

		if (chunk == NULL)
			chunk = chunk_new(message, CHUNK_FIRST);
		else if (chunk->len == chunk->capacity)
			chunk = chunk_new(message, CHUNK_MORE);
		if (chunk == NULL)
			break;
		room = chunk->capacity - chunk->len;
		if (room > len - taken)
			room = len - taken;
		memcpy(chunk->octets + chunk->len, octets + taken, room);
		chunk->len += room;
		taken += room;
	}
	*taken_out = taken;
}

static bool
append(struct spool_message *message, const unsigned char *octets, size_t len,
    struct reason *why)
{
	size_t taken = 0;

	if (message->fd < 0 && message->size + len <= SPOOL_MEMORY_MAX) {
		memory_append(message, octets, len, &taken);
		if (taken == len)
			return true;
	}
	if (message->fd < 0 && !large_begin(message, why))
		return false;
	return large_append(message, octets + taken, len - taken, why);
}

bool
spool_message_expect(struct spool_message *message, uint64_t size,
    struct reason *why)
{
	if (size == 0)
		return true;
	if (!spool_has_room(message->spool, size, why))
		return false;
	spool_room_promise(message, size);
	return true;
}

/* More than was expected needs room of its own. */
static bool
promise_more(struct spool_message *message, size_t len, struct reason *why)
{
	uint64_t after = message->size + len;
	uint64_t before = message->written + message->promised;

	return after <= before ||
	       spool_message_expect(message, after - before, why);
}

bool
spool_message_append(struct spool_message *message, const void *octets,
    size_t len, struct reason *why)
{
	if (!message->failed &&
	    (!promise_more(message, len, &message->why) ||
		!append(message, octets, len, &message->why)))
		message->failed = true;
	if (message->failed)
		return fail(why, message->why.code, "%s", message->why.text);
	message->size += len;
	message->crc = crc32c(message->crc, octets, len);
	return true;
}
