/*
 * server/queue_store.c: the segments in the in folder, from the relay's side:
 * find them, read what is certain, set damage aside, unlink what is finished.
 *
 * The folder is written by the session role, which may be compromised: names
 * are parsed, files opened without following links, sizes taken from the file
 * and every record checked.
 */
#include "queue_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "route.h"

enum {
	OPEN_FILES_MOST = 128, /* kept open without being used */
	COPY_OCTETS = 64 * 1024,
	NAMES_MOST = 4 * 1024 * 1024,
};

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
store_body_open(struct queue *queue, const struct queued *message, int *fd_out,
    struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];
	int fd;

	journal_large_name(name, message->segment->start_id,
	    message->record.number);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT
			   ? fail(why, REASON_DAMAGED, "%s: is missing", name)
			   : fail_errno(why, "%s", name);
	*fd_out = fd;
	return true;
}

/* Damage. */

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

/* A file with damage that there was no room to keep stays until there is, at
 * another start. */
static void
set_aside_of(struct queue *queue, struct segment *segment, int fd,
    const char *name, uint64_t from, uint64_t to, const char *text)
{
	queue->trouble = true;
	if (store_set_aside(queue, fd, name, from, to, text))
		return;
	pthread_mutex_lock(&queue->lock);
	segment->stuck = true;
	pthread_mutex_unlock(&queue->lock);
}

/* Messages. */

/* The log may already speak of it. */
static bool
message_fill(struct queue *queue, struct queued *message,
    struct segment *segment, const struct journal_record *record,
    const struct envelope *envelope)
{
	int64_t now = queue_now_ms();

	message->segment = segment;
	message->record = *record;
	memcpy(message->queue_id, envelope->queue_id, QUEUE_ID_SIZE);
	message->recipients = (uint32_t)envelope->recipient_count;
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
	if (!message->settled)
		segment->incomplete++;
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
	struct message_key key = { segment->header.mark, record->offset };
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

/* Callers hold lock. */
static struct segment *
segment_find(const struct queue *queue, uint64_t start_id, uint32_t file)
{
	struct segment *segment;

	for (segment = queue->segments; segment != NULL;
	     segment = segment->next) {
		if (!segment->own && segment->start_id == start_id &&
		    segment->file == file)
			return segment;
	}
	return NULL;
}

static bool
is_dead(const struct queue *queue, uint64_t start_id)
{
	return queue->read_only ||
	       (queue->live != 0 && start_id != queue->live);
}

/* A file without a right header: if its writer is dead it is moved away, or
 * removed if it never got as far as having one. */
static void
reject_segment(struct queue *queue, int fd, const char *name, uint64_t start_id,
    const struct reason *why)
{
	struct stat st;

	if (!is_dead(queue, start_id) || queue->read_only || fstat(fd, &st) < 0)
		return;
	if (st.st_size < JOURNAL_RECORD_OCTETS) {
		log_line(SAY_NOTE, "queue", "file=%s removed=unfinished", name);
		unlinkat(queue->in_folder, name, 0);
		return;
	}
	log_line(SAY_ALARM, "damaged", "file=%s set-aside=%s trouble=\"%s\"",
	    name, name, why->text);
	if (renameat(queue->in_folder, name, queue->damaged_folder, name) == 0)
		fsync(queue->damaged_folder);
}

/* Open and register one segment; what is wrong with it is logged. */
static void
register_segment(struct queue *queue, uint64_t start_id, uint32_t file)
{
	char name[JOURNAL_NAME_SIZE];
	struct journal_header header;
	struct segment *segment, **at;
	struct reason why = { REASON_DAMAGED, "header of another file" };
	int fd;

	journal_segment_name(name, start_id, file);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0) {
		queue->trouble = queue->trouble || errno != ENOENT;
		log_line(SAY_ERROR, "queue", "file=%s trouble=\"%s\"", name,
		    strerror(errno));
		return;
	}
	if (!journal_read_header(fd, &header, &why) ||
	    header.kind != JOURNAL_SPOOL || header.start_id != start_id ||
	    header.file != file ||
	    (segment = calloc(1, sizeof(*segment))) == NULL) {
		queue->trouble = true;
		reject_segment(queue, fd, name, start_id, &why);
		close(fd);
		return;
	}
	segment->start_id = start_id;
	segment->file = file;
	segment->header = header;
	segment->fd = fd;
	segment->cursor = JOURNAL_HEADER_OCTETS;
	pthread_mutex_lock(&queue->lock);
	for (at = &queue->segments; *at != NULL; at = &(*at)->next)
		;
	*at = segment;
	queue->open_files++;
	pthread_mutex_unlock(&queue->lock);
}

struct found {
	uint64_t start_id, number;
	bool large;
};

static int
compare_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->start_id != y->start_id)
		return x->start_id < y->start_id ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return (int)x->large - (int)y->large;
}

static bool
found_add(struct found **found, size_t *count, size_t *capacity,
    const struct found *one)
{
	struct found *grown;

	if (*count == *capacity) {
		*capacity = *capacity == 0 ? 64 : *capacity * 2;
		if (*capacity > NAMES_MOST)
			return false;
		grown = reallocarray(*found, *capacity, sizeof(*grown));
		if (grown == NULL)
			return false;
		*found = grown;
	}
	(*found)[(*count)++] = *one;
	return true;
}

/* Segments (or large files) in the folder, in order. */
static bool
list_folder(struct queue *queue, bool large, struct found **found_out,
    size_t *count_out, struct reason *why)
{
	int fd =
	    openat(queue->in_folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	struct found *found = NULL, one;
	size_t count = 0, capacity = 0;
	struct dirent *entry;
	bool ok = true;

	if (folder == NULL) {
		fail_errno(why, "in folder");
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (ok && (entry = readdir(folder)) != NULL) {
		if (journal_parse_name(entry->d_name, &one.start_id,
			&one.number, &one.large) &&
		    one.large == large)
			ok = found_add(&found, &count, &capacity, &one);
	}
	closedir(folder);
	if (!ok) {
		free(found);
		return fail(why, REASON_NO_MEMORY, "in folder: list");
	}
	if (count > 0)
		qsort(found, count, sizeof(*found), compare_found);
	*found_out = found;
	*count_out = count;
	return true;
}

static bool
register_all(struct queue *queue, struct reason *why)
{
	struct found *found;
	size_t count;

	if (!list_folder(queue, false, &found, &count, why))
		return false;
	for (size_t i = 0; i < count; i++) {
		bool known;

		pthread_mutex_lock(&queue->lock);
		known = segment_find(queue, found[i].start_id,
			    (uint32_t)found[i].number) != NULL;
		pthread_mutex_unlock(&queue->lock);
		if (!known)
			register_segment(queue, found[i].start_id,
			    (uint32_t)found[i].number);
	}
	free(found);
	return true;
}

/* What the next segment's first record says about this one's end. */
static void
learn_end(struct queue *queue, struct segment *segment)
{
	char name[JOURNAL_NAME_SIZE];
	struct journal_header header;
	struct journal_record record;
	unsigned char octets[4 + 8];
	struct wire_reader r;
	struct reason why;
	uint32_t file;
	uint64_t end;
	int fd;

	if (segment->closed || segment->file == UINT32_MAX)
		return;
	journal_segment_name(name, segment->start_id, segment->file + 1);
	fd = journal_open_file(queue->in_folder, name, O_RDONLY);
	if (fd < 0)
		return;
	if (journal_read_header(fd, &header, &why) &&
	    journal_read_record(fd, &header, JOURNAL_HEADER_OCTETS, &record,
		&why) &&
	    record.type == JOURNAL_CLOSED &&
	    record.envelope_len == sizeof(octets) && record.head_len == 0 &&
	    journal_read_parts(fd, &record, octets, &why)) {
		wire_reader_init(&r, octets, sizeof(octets));
		file = wire_get_u32(&r);
		end = wire_get_u64(&r);
		if (file == segment->file) {
			pthread_mutex_lock(&queue->lock);
			segment->closed = true;
			segment->end = end;
			pthread_mutex_unlock(&queue->lock);
		}
	}
	close(fd);
}

/* False: come back later. */
static bool
take_record(struct queue *queue, struct segment *segment, int fd,
    const char *name, const struct journal_record *record, const void *octets)
{
	struct reason why;

	if (record->type != JOURNAL_MESSAGE)
		return true;
	if (store_message_found(queue, segment, record, octets, &why))
		return true;
	if (why.code == REASON_NO_MEMORY)
		return false;
	set_aside_of(queue, segment, fd, name, record->offset,
	    record->offset + journal_extent(record), why.text);
	return true;
}

/* Index what stands between the cursor and limit. */
static void
read_segment(struct queue *queue, struct segment *segment, uint64_t limit,
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
		queue->trouble = true;
		log_line(SAY_ALARM, "queue", "trouble=\"%s\"", why.text);
		return;
	}
	journal_reader_init(&reader, fd, &segment->header, segment->cursor,
	    limit, exact, verify);
	while ((found = journal_reader_next(&reader, &record, &octets, &from,
		    &to, &why)) != JOURNAL_END) {
		if (found == JOURNAL_TROUBLE ||
		    (found == JOURNAL_FOUND && !take_record(queue, segment, fd,
						   name, &record, octets))) {
			queue->trouble = true;
			log_line(SAY_ALARM, "queue", "file=%s trouble=\"%s\"",
			    name, why.text);
			break;
		}
		if (found == JOURNAL_DAMAGE) {
			set_aside_of(queue, segment, fd, name, from, to,
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

static void
mark_whole(struct queue *queue, struct segment *segment)
{
	pthread_mutex_lock(&queue->lock);
	segment->whole = true;
	if (segment->incomplete == 0) {
		queue->sweep = true;
		pthread_cond_signal(&queue->keep);
	}
	pthread_mutex_unlock(&queue->lock);
}

static bool
segment_size(struct queue *queue, struct segment *segment, uint64_t *size_out)
{
	struct reason why;
	struct stat st;
	int fd;
	bool ok;

	if (!store_segment_use(queue, segment, &fd, &why)) {
		log_line(SAY_ALARM, "queue", "trouble=\"%s\"", why.text);
		return false;
	}
	ok = fstat(fd, &st) == 0;
	if (ok)
		*size_out = (uint64_t)st.st_size;
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
	read_segment(queue, segment, size < limit ? size : limit, true, false);
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
			mark_whole(queue, segment);
		return;
	}
	if (!segment_size(queue, segment, &size))
		return;
	if (size > segment->cursor)
		read_segment(queue, segment, size, false, true);
	if (segment->cursor >= size)
		mark_whole(queue, segment);
}

/* The next segment after which there is something to read; the list is walked
 * under lock, because the keeper takes finished ones out of it. */
static struct segment *
next_unread(struct queue *queue, uint64_t start_id, uint64_t after_file)
{
	struct segment *segment, *found = NULL;

	pthread_mutex_lock(&queue->lock);
	for (segment = queue->segments; segment != NULL;
	     segment = segment->next) {
		if (!segment->own && !segment->whole &&
		    segment->start_id == start_id &&
		    segment->file >= after_file &&
		    (found == NULL || segment->file < found->file))
			found = segment;
	}
	pthread_mutex_unlock(&queue->lock);
	return found;
}

/* Any start-id of a dead writer with something unread. */
static bool
next_dead(struct queue *queue, uint64_t after, uint64_t *start_id_out)
{
	struct segment *segment;
	bool found = false;

	pthread_mutex_lock(&queue->lock);
	for (segment = queue->segments; segment != NULL;
	     segment = segment->next) {
		if (segment->own || segment->whole ||
		    segment->start_id < after ||
		    !is_dead(queue, segment->start_id) ||
		    (found && segment->start_id >= *start_id_out))
			continue;
		*start_id_out = segment->start_id;
		found = true;
	}
	pthread_mutex_unlock(&queue->lock);
	return found;
}

/* Large files of dead writers that no message needs. */

static bool
large_in_use(struct queue *queue, struct found **found_out, size_t *count_out)
{
	struct found *found = NULL, one = { .large = true };
	size_t count = 0, capacity = 0;
	bool ok = true;

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; ok && i < queue->table_size; i++) {
		for (struct queued *message = queue->table[i];
		     ok && message != NULL; message = message->chain) {
			if ((message->record.flags & JOURNAL_LARGE) == 0 ||
			    message->settled || message->segment == NULL)
				continue;
			one.start_id = message->segment->start_id;
			one.number = message->record.number;
			ok = found_add(&found, &count, &capacity, &one);
		}
	}
	pthread_mutex_unlock(&queue->lock);
	if (!ok) {
		free(found);
		return false;
	}
	if (count > 0)
		qsort(found, count, sizeof(*found), compare_found);
	*found_out = found;
	*count_out = count;
	return true;
}

/* After damage a body that no record names may be a lost message's: it is
 * moved to where the damage lies. */
static void
remove_orphan(struct queue *queue, const struct found *orphan)
{
	char name[JOURNAL_NAME_SIZE];

	journal_large_name(name, orphan->start_id, orphan->number);
	if (!queue->trouble) {
		unlinkat(queue->in_folder, name, 0);
		return;
	}
	if (renameat(queue->in_folder, name, queue->damaged_folder, name) == 0)
		log_line(SAY_ALARM, "damaged",
		    "file=%s set-aside=%s trouble=\"no record names it\"", name,
		    name);
}

static void
remove_orphans(struct queue *queue)
{
	struct found *files = NULL, *used = NULL;
	size_t file_count = 0, used_count = 0;
	struct reason why;

	if (!list_folder(queue, true, &files, &file_count, &why) ||
	    file_count == 0 || !large_in_use(queue, &used, &used_count)) {
		free(files);
		return;
	}
	for (size_t i = 0; i < file_count; i++) {
		if (is_dead(queue, files[i].start_id) &&
		    (used_count == 0 ||
			bsearch(&files[i], used, used_count, sizeof(*used),
			    compare_found) == NULL))
			remove_orphan(queue, &files[i]);
	}
	free(files);
	free(used);
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
	if (!queue->read_only && queue->live != 0)
		remove_orphans(queue);
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
	known = segment_find(queue, start_id, file) != NULL;
	pthread_mutex_unlock(&queue->lock);
	if (!known && !register_all(queue, &why))
		log_line(SAY_ALARM, "queue", "trouble=\"%s\"", why.text);
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

/* Finishing: the keeper. */

void
store_completed(struct queue *queue, struct queued *message)
{
	char name[JOURNAL_NAME_SIZE] = "";

	pthread_mutex_lock(&queue->lock);
	message->settled = true;
	message->segment->incomplete--;
	if ((message->record.flags & JOURNAL_LARGE) != 0)
		journal_large_name(name, message->segment->start_id,
		    message->record.number);
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
