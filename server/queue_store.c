/*
 * server/queue_store.c: the segments in the in folder, from the relay's side:
 * find them, and index what is certain in them.
 *
 * The folder is written by the session role, which may be compromised: names
 * are parsed, files opened without following links, sizes taken from the file
 * and every record checked.
 */
#include "queue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

/* Messages. */

/* The log may already speak of it. */
static bool
message_fill(struct queue *queue, struct queued *message,
    struct segment *segment, const struct journal_record *record,
    const struct envelope *envelope)
{
	int64_t now = queue_now_ms();

	if (!message_place(message, segment, record))
		return false;
	memcpy(message->queue_id, envelope->queue_id, QUEUE_ID_SIZE);
	message->recipients = (uint16_t)envelope->recipient_count;
	message->arrival_ms =
	    envelope->arrival_ms < now ? envelope->arrival_ms : now;
	if (!legs_divide(queue, message, envelope)) {
		message->segment = NULL;
		return false;
	}
	if (!segment->own) {
		message->sibling = segment->messages;
		segment->messages = message;
	}
	if (message->pending == 0)
		message->settled = true;
	if (!message->settled) {
		segment->incomplete++;
		segment->living += message->extent;
	}
	index_settle(queue, message);
	return true;
}

/* Before anybody can deliver it, so that what went out is listed. */
static void
list_device(struct queue *queue, struct message_key key,
    const struct envelope *envelope)
{
	const struct queued *known;
	bool is_new;

	pthread_mutex_lock(&queue->lock);
	known = index_find(queue, key);
	is_new =
	    known == NULL || (known->state == MESSAGE_GHOST && !known->settled);
	pthread_mutex_unlock(&queue->lock);
	if (is_new)
		sent_record(queue->sent, envelope);
}

bool
store_message_found(struct queue *queue, struct segment *segment,
    const struct journal_record *record, const void *octets, struct reason *why)
{
	struct message_key key = { segment->header.mark,
		segment->kept ? record->origin : record->offset };
	struct envelope envelope;
	struct queued *message;
	bool ok;

	if (segment->own)
		key = (struct message_key){ 0, record->number };
	if (!envelope_decode(&envelope, octets, record->envelope_len, why))
		return false;
	if (envelope.device && queue->sent != NULL)
		list_device(queue, key, &envelope);
	pthread_mutex_lock(&queue->lock);
	message = index_get(queue, key);
	ok = message != NULL &&
	     (message->state != MESSAGE_GHOST ||
		 message_fill(queue, message, segment, record, &envelope));
	pthread_mutex_unlock(&queue->lock);
	envelope_fini(&envelope);
	return ok || fail(why, REASON_NO_MEMORY, "queue");
}

/* Segments. */

bool
store_is_dead(const struct queue *queue, uint64_t start_id)
{
	return queue->read_only ||
	       (queue->live != 0 && start_id != queue->live);
}

/* A file without a right header: if its writer is dead it is moved away, or
 * removed if it never came to hold a record.  Then nothing is missing: a power
 * loss can leave a name with no octets, or zeros where the header was to be. */
static void
reject_segment(struct queue *queue, int fd, const char *name, uint64_t start_id,
    const struct reason *why)
{
	bool dead = !queue->read_only && store_is_dead(queue, start_id);
	struct stat st;

	if (dead && fstat(fd, &st) == 0 &&
	    st.st_size <= JOURNAL_HEADER_OCTETS) {
		log_line(SAY_NOTE, "queue", "file=%s removed=unfinished", name);
		unlinkat(queue->in_folder, name, 0);
		return;
	}
	if (!dead) {
		queue->trouble = true; /* its completions have to stay */
		return;
	}
	queue->damage = true;
	log_line(SAY_ALARM, "damaged", "file=%s set-aside=%s trouble=\"%s\"",
	    name, name, why->text);
	if (renameat(queue->in_folder, name, queue->damaged_folder, name) == 0)
		fsync(queue->damaged_folder);
}

/* A file, or all of the folder, cannot be read now; queue_tick comes back to
 * it.  Told once. */
static void
say_unread(struct queue *queue, const char *name, const char *text)
{
	queue->trouble = queue->unread = true;
	if (queue->unread_told)
		return;
	log_line(SAY_ALARM, "queue", "files=not-read file=%s trouble=\"%s\"",
	    name, text);
	pthread_mutex_lock(&queue->lock);
	queue->unread_told = true;
	fail(&queue->unread_why, REASON_IO, "%s: %s", name, text);
	pthread_mutex_unlock(&queue->lock);
}

/* Open and register one segment; what is wrong with it is logged. */
static void
register_segment(struct queue *queue, uint64_t start_id, uint32_t file)
{
	char name[JOURNAL_NAME_SIZE];
	struct journal_header header;
	struct segment *segment;
	struct reason why = { REASON_DAMAGED, "header of another file" };
	int fd;

	journal_segment_name(name, start_id, file);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0) {
		if (errno != ENOENT)
			say_unread(queue, name, strerror(errno));
		return;
	}
	if (!journal_read_header(fd, &header, &why) ||
	    header.kind != JOURNAL_SPOOL || header.start_id != start_id ||
	    header.file != file) {
		if (why.code == REASON_DAMAGED || why.code == REASON_RANGE)
			reject_segment(queue, fd, name, start_id, &why);
		else
			say_unread(queue, name, why.text);
		close(fd);
		return;
	}
	pthread_mutex_lock(&queue->lock);
	segment = store_segment_new(queue, start_id, file, fd, &header, false);
	pthread_mutex_unlock(&queue->lock);
	if (segment == NULL) {
		say_unread(queue, name, "out of memory");
		close(fd);
	}
}

static bool
register_all(struct queue *queue, struct reason *why)
{
	struct folder_file *found;
	size_t count;

	if (!store_list_folder(queue, false, &found, &count, why)) {
		say_unread(queue, "in", why->text);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		bool known;

		pthread_mutex_lock(&queue->lock);
		known = store_find(queue, found[i].start_id,
			    (uint32_t)found[i].number) != NULL;
		pthread_mutex_unlock(&queue->lock);
		if (!known)
			register_segment(queue, found[i].start_id,
			    (uint32_t)found[i].number);
	}
	free(found);
	return true;
}

/* The number of the writer's next segment that is known; 0: none. */
static uint32_t
next_file(struct queue *queue, uint64_t start_id, uint32_t after)
{
	uint32_t file = 0;
	size_t at;

	pthread_mutex_lock(&queue->lock);
	at = store_position(queue, start_id, (uint64_t)after + 1);
	if (at < queue->segment_count &&
	    queue->segments[at]->start_id == start_id)
		file = queue->segments[at]->file;
	pthread_mutex_unlock(&queue->lock);
	return file;
}

/* What a segment's first record says about the end of one before; false if it
 * says nothing. */
static bool
read_closed(struct queue *queue, uint64_t start_id, uint32_t file,
    uint32_t *closed_out, uint64_t *end_out)
{
	char name[JOURNAL_NAME_SIZE];
	struct journal_header header;
	struct journal_record record;
	unsigned char octets[4 + 8];
	struct wire_reader r;
	struct reason why;
	bool ok;
	int fd;

	journal_segment_name(name, start_id, file);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0)
		return false;
	ok = journal_read_header(fd, &header, &why) &&
	     journal_read_record(fd, &header, JOURNAL_HEADER_OCTETS, &record,
		 &why) &&
	     record.type == JOURNAL_CLOSED &&
	     record.envelope_len == sizeof(octets) && record.head_len == 0 &&
	     journal_read_parts(fd, &record, octets, &why);
	close(fd);
	if (!ok)
		return false;
	wire_reader_init(&r, octets, sizeof(octets));
	*closed_out = wire_get_u32(&r);
	*end_out = wire_get_u64(&r);
	return true;
}

/* What the next segment's first record says about this one's end.  It may be
 * missing, or hold nothing: the writer went on to the one after it then. */
static void
learn_end(struct queue *queue, struct segment *segment)
{
	uint32_t file = segment->file, closed;
	uint64_t end;

	if (segment->closed)
		return;
	do {
		file = next_file(queue, segment->start_id, file);
		if (file == 0)
			return;
	} while (!read_closed(queue, segment->start_id, file, &closed, &end));
	if (closed != segment->file)
		return;
	pthread_mutex_lock(&queue->lock);
	segment->closed = true;
	segment->end = end;
	pthread_mutex_unlock(&queue->lock);
}

/* False: come back later. */
static bool
take_record(struct queue *queue, struct segment *segment, int fd,
    const char *name, const struct journal_record *record, const void *octets,
    struct reason *why)
{
	if (record->type != JOURNAL_MESSAGE)
		return true;
	if (store_message_found(queue, segment, record, octets, why))
		return true;
	if (why->code == REASON_NO_MEMORY)
		return false;
	store_set_aside_of(queue, segment, fd, name, record->offset,
	    record->offset + journal_extent(record), why->text);
	return true;
}

/* Index what stands between the cursor and limit. */
void
store_read_range(struct queue *queue, struct segment *segment, uint64_t limit,
    bool exact, bool verify)
{
	char name[JOURNAL_NAME_SIZE];
	struct journal_reader reader;
	struct journal_record record;
	enum journal_found found;
	const void *octets;
	uint64_t from, to;
	struct reason why;
	int fd;

	store_name(segment, name);
	if (!store_segment_use(queue, segment, &fd, &why)) {
		say_unread(queue, name, why.text);
		return;
	}
	journal_reader_init(&reader, fd, &segment->header, segment->cursor,
	    limit, exact, verify);
	while ((found = journal_reader_next(&reader, &record, &octets, &from,
		    &to, &why)) != JOURNAL_END) {
		if (found == JOURNAL_TROUBLE ||
		    (found == JOURNAL_FOUND &&
			!take_record(queue, segment, fd, name, &record, octets,
			    &why))) {
			say_unread(queue, name, why.text);
			break;
		}
		if (found == JOURNAL_DAMAGE) {
			store_set_aside_of(queue, segment, fd, name, from, to,
			    why.text);
		} else if (found == JOURNAL_TORN) {
			log_line(SAY_NOTE, "queue",
			    "file=%s torn-from=%" PRIu64 " to=%" PRIu64, name,
			    from, to);
		}
		segment->cursor = reader.offset;
	}
	journal_reader_fini(&reader);
	store_segment_release(queue, segment);
}

void
store_whole(struct queue *queue, struct segment *segment)
{
	pthread_mutex_lock(&queue->lock);
	segment->whole = true;
	segment->whole_ms = queue_monotonic_ms();
	/* Finished, or a case for compaction. */
	queue->compact_at = 0;
	queue->sweep = true;
	pthread_cond_signal(&queue->keep);
	pthread_mutex_unlock(&queue->lock);
}

static bool
segment_size(struct queue *queue, struct segment *segment, uint64_t *size_out)
{
	char name[JOURNAL_NAME_SIZE];
	struct reason why;
	struct stat st;
	int fd;
	bool ok;

	store_name(segment, name);
	if (!store_segment_use(queue, segment, &fd, &why)) {
		say_unread(queue, name, why.text);
		return false;
	}
	ok = fstat(fd, &st) == 0;
	if (ok)
		*size_out = (uint64_t)st.st_size;
	else
		say_unread(queue, name, strerror(errno));
	store_segment_release(queue, segment);
	return ok;
}

/*
 * Read as far as limit says, if the file goes so far: the rest of what was
 * promised is gone.  A live writer may promise what it likes.
 */
static void
read_promised(struct queue *queue, struct segment *segment, uint64_t limit)
{
	char name[JOURNAL_NAME_SIZE];
	uint64_t size;

	if (limit <= segment->cursor || !segment_size(queue, segment, &size))
		return;
	if (size < limit) {
		store_name(segment, name);
		log_line(SAY_ALARM, "damaged",
		    "file=%s octets=%" PRIu64 " expected=%" PRIu64
		    " trouble=\"the file is too short\"",
		    name, size, limit);
	}
	store_read_range(queue, segment, size < limit ? size : limit, true,
	    false);
	if (size < limit && segment->closed && segment->cursor == size)
		segment->cursor = limit; /* there is no more to come */
}

/* A segment that nothing will be added to: all of it. */
static void
read_finished(struct queue *queue, struct segment *segment)
{
	uint64_t size;

	learn_end(queue, segment);
	if (segment->closed) {
		read_promised(queue, segment, segment->end);
		if (segment->cursor >= segment->end)
			store_whole(queue, segment);
		return;
	}
	if (!segment_size(queue, segment, &size))
		return;
	if (size > segment->cursor)
		store_read_range(queue, segment, size, false, true);
	if (segment->cursor >= size)
		store_whole(queue, segment);
}

/* The next segment in which there is something to read; looked for under lock,
 * because the keeper takes finished ones away. */
static struct segment *
next_unread(struct queue *queue, uint64_t start_id, uint64_t after_file)
{
	struct segment *found = NULL;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = store_position(queue, start_id, after_file);
	     i < queue->segment_count &&
	     queue->segments[i]->start_id == start_id;
	     i++) {
		if (!queue->segments[i]->whole) {
			found = queue->segments[i];
			break;
		}
	}
	pthread_mutex_unlock(&queue->lock);
	return found;
}

/* The next start-id of a dead writer with something unread. */
static bool
next_dead(struct queue *queue, uint64_t after, uint64_t *start_id_out)
{
	bool found = false;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = store_position(queue, after, 0);
	     !found && i < queue->segment_count; i++) {
		const struct segment *segment = queue->segments[i];

		found =
		    !segment->whole && store_is_dead(queue, segment->start_id);
		if (found)
			*start_id_out = segment->start_id;
	}
	pthread_mutex_unlock(&queue->lock);
	return found;
}

bool
store_scan(struct queue *queue, struct reason *why)
{
	uint64_t start_id = 0;
	struct segment *segment;

	queue->trouble = false;
	if (!register_all(queue, why))
		return false;
	while (next_dead(queue, start_id, &start_id)) {
		uint64_t file = 0;

		while ((segment = next_unread(queue, start_id, file)) != NULL) {
			file = (uint64_t)segment->file + 1;
			read_finished(queue, segment);
		}
		if (start_id == UINT64_MAX)
			break;
		start_id++;
	}
	/* What could not be read may need them. */
	if (!queue->read_only && queue->live != 0 && !queue->trouble)
		store_remove_orphans(queue);
	return true;
}

void
store_committed(struct queue *queue, uint64_t start_id, uint32_t file,
    uint64_t end, bool closed)
{
	struct segment *segment;
	uint64_t at = 0;
	struct reason why;
	bool known;

	pthread_mutex_lock(&queue->lock);
	known = store_find(queue, start_id, file) != NULL;
	pthread_mutex_unlock(&queue->lock);
	if (!known)
		register_all(queue, &why);
	while ((segment = next_unread(queue, start_id, at)) != NULL &&
	       segment->file <= file) {
		at = (uint64_t)segment->file + 1;
		if (segment->file == file && closed && !segment->closed) {
			pthread_mutex_lock(&queue->lock);
			segment->closed = true;
			segment->end = end;
			pthread_mutex_unlock(&queue->lock);
		}
		if (segment->file < file || segment->closed)
			/* The writer has gone on to another. */
			read_finished(queue, segment);
		else
			read_promised(queue, segment, end);
	}
}
