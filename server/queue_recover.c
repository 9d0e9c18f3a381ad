/*
 * server/queue_recover.c: what the relay's log of before says, read at a start.
 *
 * Everything here can be read twice, or in part of an older file and then
 * whole in a newer one, with the same result: done stays done.
 */
#include "queue_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* All of them are open. */
enum { LOG_FILES_MAX = 1024 };

/* What a record says of the message's way over one hop.  Without memory it is
 * tried sooner than it would have been. */
static void
recall(struct queued *message, const char *host, uint16_t port,
    uint32_t attempts, int64_t next_ms, bool held, bool told)
{
	struct recalled *recalled = legs_recalled(message, host, port);

	if (attempts > message->attempts)
		message->attempts = attempts;
	if (recalled == NULL)
		return;
	if (attempts > recalled->attempts)
		recalled->attempts = attempts;
	recalled->next_ms = next_ms;
	recalled->held = held;
	if (told)
		recalled->told = true;
}

/* Who is done with is no reason for others to wait. */
static bool
leaves_some(const struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->count; i++)
		if (attempt->recipients[i].outcome == OUTCOME_TEMPORARY)
			return true;
	return (attempt->flags & ATTEMPT_HELD) != 0;
}

static void
apply_attempt(struct queue *queue, const struct segment *segment,
    const struct journal_record *record, const void *octets)
{
	struct attempt attempt;
	struct queued *message;
	struct reason why;
	bool bounced;

	if (!attempt_decode(&attempt, octets, record->envelope_len, &why)) {
		log_line(SAY_ALARM, "damaged", "trouble=\"%s\"", why.text);
		return;
	}
	/* A crash can have kept this and lost the bounce it rests on: then
	 * the recipients are not done with. */
	bounced = attempt.bounce == 0 ||
		  index_find(queue,
		      (struct message_key){ 0, attempt.bounce }) != NULL;
	message = index_get(queue, attempt.key);
	if (message != NULL) {
		for (size_t i = 0; i < attempt.count; i++) {
			enum outcome outcome = attempt.recipients[i].outcome;

			if (outcome == OUTCOME_DELIVERED ||
			    outcome == OUTCOME_DISCARDED ||
			    (outcome == OUTCOME_PERMANENT && bounced &&
				(attempt.flags & ATTEMPT_HELD) == 0))
				message_set_done(message,
				    attempt.recipients[i].index);
		}
	}
	/* The STATE that follows a copy says how things stood in the end; a
	 * rotation that was cut off has none, and the older file says all. */
	if (message != NULL && (attempt.flags & ATTEMPT_COPIED) == 0) {
		recall(message, attempt.host, attempt.port, attempt.number,
		    leaves_some(&attempt) ? attempt.next_ms : 0, (attempt.flags & ATTEMPT_HELD) != 0,
		    (attempt.flags & ATTEMPT_TOLD) != 0 && bounced);
		if ((attempt.flags & ATTEMPT_COMPLETE) != 0 && bounced)
			message->settled = true;
		message->last_file = segment->file;
		message->last_offset = record->offset;
	}
	attempt_fini(&attempt);
}

/* Nothing that was recalled is held. */
static void
release_ways(struct queued *message)
{
	for (uint32_t i = 0; i < message_more(message)->recalled_count; i++)
		message->more->recalled[i].held = false;
}

/* Absent in logs that know of one way only. */
static void
recall_ways(struct queued *message, struct wire_reader *r)
{
	uint32_t count;

	if (wire_reader_done(r))
		return;
	/* All ways are told: an attempt that was copied may be of a hop that
	 * was released since. */
	release_ways(message);
	count = wire_get_u32(r);

	for (uint32_t i = 0; i < count && !r->failed; i++) {
		char host[sizeof(((struct next_hop *)0)->host)];
		uint32_t attempts;
		uint16_t port;
		int64_t next_ms;
		unsigned flags;

		wire_get_string(r, host, sizeof(host));
		port = wire_get_u16(r);
		attempts = wire_get_u32(r);
		next_ms = (int64_t)wire_get_u64(r);
		flags = wire_get_u8(r);
		if (!r->failed)
			recall(message, host, port, attempts, next_ms,
			    (flags & WAY_HELD) != 0, (flags & WAY_TOLD) != 0);
	}
}

/* Absent in logs that kept one attempt only, whose place is its own. */
static void
recall_place(struct queued *message, const struct segment *segment,
    struct wire_reader *r)
{
	uint64_t offset;

	if (r->failed || wire_reader_done(r))
		return;
	message->held_line = wire_get_u32(r);
	offset = wire_get_u64(r);
	message->last_file = offset != 0 ? segment->file : 0;
	message->last_offset = offset;
}

static void
apply_state(struct queue *queue, const struct segment *segment,
    const struct journal_record *record, const void *octets)
{
	struct wire_reader r;
	struct message_key key;
	struct queued *message;
	uint32_t attempts, words;
	unsigned flags;

	wire_reader_init(&r, octets, record->envelope_len);
	key = log_get_key(&r);
	attempts = wire_get_u32(&r);
	wire_get_u64(&r);
	flags = wire_get_u8(&r);
	words = wire_get_u32(&r);
	if (r.failed || words > ENVELOPE_RECIPIENTS_MAX / 64 + 1)
		return;
	message = index_get(queue, key);
	if (message == NULL)
		return;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t word = wire_get_u64(&r);

		for (uint32_t bit = 0; word != 0; bit++, word >>= 1) {
			if ((word & 1) != 0)
				message_set_done(message, i * 64 + bit);
		}
	}
	if (attempts > message->attempts)
		message->attempts = attempts;
	message->held = (flags & ATTEMPT_HELD) != 0;
	message->by_operator = (flags & STATE_BY_OPERATOR) != 0;
	message->passed = (flags & STATE_PASSED) != 0;
	if ((flags & ATTEMPT_COMPLETE) != 0)
		message->settled = true;
	recall_ways(message, &r);
	recall_place(message, segment, &r);
}

static void
apply_key(struct queue *queue, const struct journal_record *record,
    const void *octets)
{
	struct wire_reader r;
	struct message_key key;
	struct queued *message;

	wire_reader_init(&r, octets, record->envelope_len);
	key = log_get_key(&r);
	message = r.failed ? NULL : index_get(queue, key);
	if (message == NULL)
		return;
	if (record->type == JOURNAL_HELD &&
	    record->number >> HELD_LINE_SHIFT != 0) {
		message->held_line =
		    (uint32_t)(record->number >> HELD_LINE_SHIFT);
	} else if (record->type == JOURNAL_HELD) {
		message->held = true;
		message->by_operator = record->number == HELD_BY_OPERATOR;
	} else if (record->type == JOURNAL_RELEASED) {
		message->held = message->by_operator = false;
		message->held_line = 0;
		if (record->number == RELEASED_ROUTE)
			message->passed = true;
		release_ways(message);
	} else {
		message->settled = true;
	}
}

/* Where one of our own messages stands; it is indexed when all is known. */
static void
apply_message(struct queue *queue, struct segment *segment,
    const struct journal_record *record)
{
	struct queued *message =
	    index_get(queue, (struct message_key){ 0, record->number });

	if (message == NULL)
		return;
	if (!message_place(message, segment, record))
		return;
	if (record->number > queue->serial)
		queue->serial = record->number;
}

static void
apply(struct queue *queue, struct segment *segment,
    const struct journal_record *record, const void *octets)
{
	switch (record->type) {
	case JOURNAL_MESSAGE:
		apply_message(queue, segment, record);
		break;
	case JOURNAL_ATTEMPT:
		apply_attempt(queue, segment, record, octets);
		break;
	case JOURNAL_STATE:
		apply_state(queue, segment, record, octets);
		break;
	case JOURNAL_HELD:
	case JOURNAL_REMOVED:
	case JOURNAL_RELEASED:
		apply_key(queue, record, octets);
		break;
	case JOURNAL_CLOSED:
	case JOURNAL_KEPT_END:
		break;
	}
}

static bool
recover_records(struct queue *queue, struct segment *segment,
    struct reason *why)
{
	struct journal_reader reader;
	struct journal_record record;
	char name[JOURNAL_NAME_SIZE];
	enum journal_found found;
	const void *octets;
	uint64_t from, to;
	struct stat st;

	if (fstat(segment->fd, &st) < 0)
		return fail_errno(why, "relay log");
	store_name(segment, name);
	segment->end = (uint64_t)st.st_size;
	journal_reader_init(&reader, segment->fd, &segment->header, 0,
	    segment->end, false, true);
	while ((found = journal_reader_next(&reader, &record, &octets, &from,
		    &to, why)) != JOURNAL_END) {
		if (found == JOURNAL_TROUBLE)
			break;
		if (found == JOURNAL_FOUND)
			apply(queue, segment, &record, octets);
		else if (found == JOURNAL_DAMAGE)
			store_set_aside(queue, segment->fd, name, from, to,
			    "deliveries may be repeated");
	}
	journal_reader_fini(&reader);
	return found == JOURNAL_END;
}

/* A file that has no header: set aside, unless it never held a record. */
static void
reject_file(struct queue *queue, int fd, const char *name)
{
	struct stat st;
	bool kept = true;

	if (fstat(fd, &st) == 0 && st.st_size > JOURNAL_HEADER_OCTETS)
		kept = store_set_aside(queue, fd, name, 0, (uint64_t)st.st_size,
		    "deliveries may be repeated");
	if (kept && !queue->read_only)
		unlinkat(queue->relay_folder, name, 0);
}

static bool
recover_file(struct queue *queue, uint32_t file, struct reason *why)
{
	struct journal_header header;
	struct segment *segment;
	char name[JOURNAL_NAME_SIZE];
	int fd;

	snprintf(name, sizeof(name), "log.%" PRIu32, file);
	fd = journal_open_file(queue->relay_folder, name, O_RDONLY);
	if (fd < 0)
		return fail_errno(why, "relay/%s", name);
	if (!journal_read_header(fd, &header, why)) {
		if (why->code == REASON_DAMAGED)
			reject_file(queue, fd, name);
		close(fd);
		return why->code == REASON_DAMAGED;
	}
	segment = log_segment_new(queue, file, fd, &header);
	if (segment == NULL) {
		close(fd);
		return fail(why, REASON_NO_MEMORY, "relay log");
	}
	return recover_records(queue, segment, why);
}

static int
compare_files(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* "log.<n>" */
static bool
parse_name(const char *name, uint32_t *file_out)
{
	char again[JOURNAL_NAME_SIZE];
	unsigned long file;

	if (strncmp(name, "log.", 4) != 0)
		return false;
	file = strtoul(name + 4, NULL, 10);
	snprintf(again, sizeof(again), "log.%lu", file);
	if (file >= UINT32_MAX || strcmp(again, name) != 0)
		return false;
	*file_out = (uint32_t)file;
	return true;
}

/* Numbers of the log's files in order. */
static bool
list_files(struct queue *queue, uint32_t out[static LOG_FILES_MAX],
    size_t *count_out, struct reason *why)
{
	int fd = openat(queue->relay_folder, ".",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	size_t count = 0;
	bool ok = true;

	if (folder == NULL) {
		fail_errno(why, "relay folder");
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (ok && (entry = readdir(folder)) != NULL) {
		uint32_t file;

		if (!parse_name(entry->d_name, &file))
			continue;
		ok = count < LOG_FILES_MAX;
		if (ok)
			out[count++] = file;
	}
	closedir(folder);
	/* Without what the others say mail would be delivered again. */
	if (!ok)
		return fail(why, REASON_RANGE,
		    "relay folder: more than %d files log.N, which could not "
		    "be removed",
		    LOG_FILES_MAX);
	qsort(out, count, sizeof(*out), compare_files);
	*count_out = count;
	return true;
}

bool
log_recover(struct queue *queue, struct reason *why)
{
	uint32_t files[LOG_FILES_MAX];
	size_t count = 0;

	if (!list_files(queue, files, &count, why))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!recover_file(queue, files[i], why))
			return false;
	}
	queue->log_number = count > 0 ? files[count - 1] : 0;
	/* Even if the clock stood still: no serial is used twice. */
	if (queue->serial < (uint64_t)queue_now_ms() * 1000)
		queue->serial = (uint64_t)queue_now_ms() * 1000;
	return true;
}

bool
log_read_attempt(struct queue *queue, uint32_t file, uint64_t offset,
    struct attempt *attempt_out, struct reason *why)
{
	struct journal_record record;
	struct segment *segment;
	void *octets;
	bool ok;

	pthread_mutex_lock(&queue->lock);
	segment = log_segment_find(queue, file);
	if (segment != NULL)
		segment->users++; /* own files are always open */
	pthread_mutex_unlock(&queue->lock);
	if (file == 0 || segment == NULL)
		return fail(why, REASON_ABSENT, "no attempt is recorded");
	ok = journal_read_front(segment->fd, &segment->header, offset, &record,
	    &octets, why);
	if (ok) {
		ok = attempt_decode(attempt_out, octets, record.envelope_len,
		    why);
		free(octets);
	}
	store_segment_release(queue, segment);
	return ok;
}
