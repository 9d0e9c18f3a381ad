/*
 * server/queue_log.c: the relay's own log: what was tried, what is complete,
 * and the messages the relay made itself.
 *
 * Numbers in envelopes are written by server/wire.h:
 *     every record  mark u64, number u64: the message it is about
 *     ATTEMPT       when u64, next u64, attempt u32, flags u8, bounce u64,
 *                   earlier attempt's file u32 and offset u64, host s,
 *                   port u16, remote s, decision s, count u32, and each:
 *                   recipient u32, outcome u8, status s, text s
 *     STATE         attempts u32, next u64, flags u8, words u32, u64 each:
 *                   what a snapshot keeps
 *     HELD, REMOVED text s
 */
#include "queue_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "log.h"

enum {
	LOG_FILE_MODE = 0600,
	LOG_ROTATE_LEAST = 16 * 1024 * 1024,
	LOG_RETRY_MS = 1000,
	TEXT_MAX = 1024,
	TEXTS_MAX = 3 * 1024 * 1024, /* of all recipients of one attempt */
	LOG_FILES_MAX = 1024,
};

/* Entries. */

struct log_entry *
log_entry_new(enum journal_type type, const void *envelope,
    size_t envelope_len, const void *head, size_t head_len, const void *body,
    size_t body_len)
{
	struct log_entry *entry = calloc(1, sizeof(*entry));
	struct journal_record *record;

	if (entry == NULL)
		return NULL;
	entry->octets = malloc(envelope_len + head_len + body_len + 1);
	if (entry->octets == NULL) {
		free(entry);
		return NULL;
	}
	memcpy(entry->octets, envelope, envelope_len);
	if (head_len > 0)
		memcpy(entry->octets + envelope_len, head, head_len);
	if (body_len > 0)
		memcpy(entry->octets + envelope_len + head_len, body, body_len);
	record = &entry->record;
	record->type = type;
	record->envelope_len = (uint32_t)envelope_len;
	record->head_len = (uint32_t)head_len;
	record->body_len = body_len;
	record->envelope_crc = crc32c(0, envelope, envelope_len);
	record->head_crc = crc32c(0, head, head_len);
	record->body_crc = crc32c(0, body, body_len);
	return entry;
}

void
log_entry_free(struct log_entry *entry)
{
	if (entry == NULL)
		return;
	free(entry->octets);
	free(entry);
}

void
log_add(struct queue *queue, struct log_entry *entry)
{
	entry->next = NULL;
	*queue->entries_end = entry;
	queue->entries_end = &entry->next;
	queue->entry_count++;
	queue->entries_added++;
	pthread_cond_signal(&queue->keep);
}

bool
log_wait(struct queue *queue, int timeout_ms)
{
	int64_t until_ms = queue_monotonic_ms() + timeout_ms;
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};
	uint64_t wanted;
	bool ok;

	pthread_mutex_lock(&queue->lock);
	wanted = queue->entries_added;
	while (queue->entries_settled < wanted) {
		if (pthread_cond_timedwait(&queue->settled, &queue->lock,
			&until) == ETIMEDOUT)
			break;
	}
	ok = queue->entries_settled >= wanted;
	pthread_mutex_unlock(&queue->lock);
	return ok;
}

static void
put_key(struct wire_writer *w, struct message_key key)
{
	wire_put_u64(w, key.mark);
	wire_put_u64(w, key.number);
}

static struct message_key
get_key(struct wire_reader *r)
{
	struct message_key key;

	key.mark = wire_get_u64(r);
	key.number = wire_get_u64(r);
	return key;
}

static void
put_text(struct wire_writer *w, const char *text, size_t most)
{
	size_t len = text == NULL ? 0 : strlen(text);

	wire_put_bytes(w, text, len < most ? len : most);
}

struct log_entry *
log_attempt_entry(const struct attempt *attempt)
{
	size_t most = TEXTS_MAX / (attempt->count + 1);
	size_t size = 256 + 3 * TEXT_MAX;
	struct log_entry *entry = NULL;
	struct wire_writer w;
	unsigned char *octets;

	if (most > TEXT_MAX)
		most = TEXT_MAX;
	for (size_t i = 0; i < attempt->count; i++)
		size += 4 + 1 + 4 + 4 + strlen(attempt->recipients[i].status) +
		    strlen(attempt->recipients[i].text);
	octets = malloc(size);
	if (octets == NULL)
		return NULL;
	wire_writer_init(&w, octets, size);
	put_key(&w, attempt->key);
	wire_put_u64(&w, (uint64_t)attempt->when_ms);
	wire_put_u64(&w, (uint64_t)attempt->next_ms);
	wire_put_u32(&w, attempt->number);
	wire_put_u8(&w, (uint8_t)attempt->flags);
	wire_put_u64(&w, attempt->bounce);
	wire_put_u32(&w, attempt->prev_file);
	wire_put_u64(&w, attempt->prev_offset);
	put_text(&w, attempt->host, TEXT_MAX);
	wire_put_u16(&w, attempt->port);
	put_text(&w, attempt->remote, TEXT_MAX);
	put_text(&w, attempt->decision, TEXT_MAX);
	wire_put_u32(&w, (uint32_t)attempt->count);
	for (size_t i = 0; i < attempt->count; i++) {
		const struct attempt_recipient *one = &attempt->recipients[i];

		wire_put_u32(&w, one->index);
		wire_put_u8(&w, (uint8_t)one->outcome);
		put_text(&w, one->status, most);
		put_text(&w, one->text, most);
	}
	if (!w.failed)
		entry = log_entry_new(
		    JOURNAL_ATTEMPT, octets, w.len, NULL, 0, NULL, 0);
	free(octets);
	return entry;
}

struct log_entry *
log_key_entry(enum journal_type type, struct message_key key, const char *text)
{
	unsigned char octets[2 * 8 + 4 + TEXT_MAX];
	struct wire_writer w;

	wire_writer_init(&w, octets, sizeof(octets));
	put_key(&w, key);
	put_text(&w, text, TEXT_MAX);
	return log_entry_new(type, octets, w.len, NULL, 0, NULL, 0);
}

static struct log_entry *
state_entry(const struct queued *message)
{
	size_t size = 64 + 8 * (size_t)message->done_more_words;
	bool complete = message->state == MESSAGE_COMPLETE || message->settled;
	bool held = message->state == MESSAGE_HELD || message->held;
	struct log_entry *entry;
	struct wire_writer w;
	unsigned char *octets = malloc(size);

	if (octets == NULL)
		return NULL;
	wire_writer_init(&w, octets, size);
	put_key(&w, message->key);
	wire_put_u32(&w, message->attempts);
	wire_put_u64(&w, (uint64_t)message->next_ms);
	wire_put_u8(&w,
	    (uint8_t)((complete ? ATTEMPT_COMPLETE : 0) |
		(held ? ATTEMPT_HELD : 0)));
	wire_put_u32(&w, 1 + message->done_more_words);
	wire_put_u64(&w, message->done);
	for (uint32_t i = 0; i < message->done_more_words; i++)
		wire_put_u64(&w, message->done_more[i]);
	entry =
	    log_entry_new(JOURNAL_STATE, octets, w.len, NULL, 0, NULL, 0);
	free(octets);
	return entry;
}

/* Decoding. */

void
attempt_fini(struct attempt *attempt)
{
	free(attempt->host);
	free(attempt->remote);
	free(attempt->decision);
	for (size_t i = 0; i < attempt->count; i++) {
		free(attempt->recipients[i].status);
		free(attempt->recipients[i].text);
	}
	free(attempt->recipients);
	memset(attempt, 0, sizeof(*attempt));
}

static bool
attempt_get_recipients(
    struct attempt *attempt, struct wire_reader *r, size_t count)
{
	/* Each takes 13 octets at least: no more than can be there. */
	if (count > ENVELOPE_RECIPIENTS_MAX ||
	    count > (size_t)(r->end - r->at) / 13)
		return false;
	attempt->recipients =
	    calloc(count + 1, sizeof(struct attempt_recipient));
	if (attempt->recipients == NULL)
		return false;
	for (; attempt->count < count; attempt->count++) {
		struct attempt_recipient *one =
		    &attempt->recipients[attempt->count];

		one->index = wire_get_u32(r);
		one->outcome = (enum outcome)wire_get_u8(r);
		one->status = wire_get_string_new(r, TEXT_MAX);
		one->text = wire_get_string_new(r, TEXT_MAX);
		if (one->status == NULL || one->text == NULL ||
		    one->outcome > OUTCOME_PERMANENT) {
			attempt->count++; /* for attempt_fini */
			return false;
		}
	}
	return true;
}

bool
attempt_decode(struct attempt *attempt_out, const void *octets, size_t len,
    struct reason *why)
{
	struct attempt attempt = { .count = 0 };
	struct wire_reader r;
	uint32_t count;

	wire_reader_init(&r, octets, len);
	attempt.key = get_key(&r);
	attempt.when_ms = (int64_t)wire_get_u64(&r);
	attempt.next_ms = (int64_t)wire_get_u64(&r);
	attempt.number = wire_get_u32(&r);
	attempt.flags = wire_get_u8(&r);
	attempt.bounce = wire_get_u64(&r);
	attempt.prev_file = wire_get_u32(&r);
	attempt.prev_offset = wire_get_u64(&r);
	attempt.host = wire_get_string_new(&r, TEXT_MAX);
	attempt.port = wire_get_u16(&r);
	attempt.remote = wire_get_string_new(&r, TEXT_MAX);
	attempt.decision = wire_get_string_new(&r, TEXT_MAX);
	count = wire_get_u32(&r);
	if (r.failed || !attempt_get_recipients(&attempt, &r, count) ||
	    !wire_reader_done(&r)) {
		attempt_fini(&attempt);
		return fail(
		    why, REASON_DAMAGED, "relay log: attempt is malformed");
	}
	*attempt_out = attempt;
	return true;
}

/* Recovery. */

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
	    index_find(queue, (struct message_key){ 0, attempt.bounce }) !=
		NULL;
	message = index_get(queue, attempt.key);
	if (message != NULL) {
		for (size_t i = 0; i < attempt.count; i++) {
			enum outcome outcome = attempt.recipients[i].outcome;

			if (outcome == OUTCOME_DELIVERED ||
			    (outcome == OUTCOME_PERMANENT && bounced &&
				(attempt.flags & ATTEMPT_HELD) == 0))
				message_set_done(
				    message, attempt.recipients[i].index);
		}
		if (attempt.number > message->attempts)
			message->attempts = attempt.number;
		message->next_ms = attempt.next_ms;
		message->held = (attempt.flags & ATTEMPT_HELD) != 0;
		if ((attempt.flags & ATTEMPT_COMPLETE) != 0 && bounced)
			message->settled = true;
		message->last_file = segment->file;
		message->last_offset = record->offset;
	}
	attempt_fini(&attempt);
}

static void
apply_state(struct queue *queue, const struct journal_record *record,
    const void *octets)
{
	struct wire_reader r;
	struct message_key key;
	struct queued *message;
	uint32_t attempts, words;
	int64_t next_ms;
	unsigned flags;

	wire_reader_init(&r, octets, record->envelope_len);
	key = get_key(&r);
	attempts = wire_get_u32(&r);
	next_ms = (int64_t)wire_get_u64(&r);
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
	message->next_ms = next_ms;
	message->held = (flags & ATTEMPT_HELD) != 0;
	if ((flags & ATTEMPT_COMPLETE) != 0)
		message->settled = true;
}

static void
apply_key(struct queue *queue, const struct journal_record *record,
    const void *octets)
{
	struct wire_reader r;
	struct message_key key;
	struct queued *message;

	wire_reader_init(&r, octets, record->envelope_len);
	key = get_key(&r);
	message = r.failed ? NULL : index_get(queue, key);
	if (message == NULL)
		return;
	if (record->type == JOURNAL_HELD)
		message->held = true;
	else
		message->settled = true;
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
	message->segment = segment;
	message->record = *record;
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
		apply_state(queue, record, octets);
		break;
	case JOURNAL_HELD:
	case JOURNAL_REMOVED:
		apply_key(queue, record, octets);
		break;
	case JOURNAL_CLOSED:
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

static struct segment *
log_segment_new(struct queue *queue, uint32_t file, int fd,
    const struct journal_header *header)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (segment == NULL)
		return NULL;
	segment->own = true;
	segment->file = file;
	segment->fd = fd;
	segment->header = *header;
	segment->next = queue->segments;
	queue->segments = segment;
	return segment;
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
		struct stat st;

		if (why->code == REASON_DAMAGED && fstat(fd, &st) == 0 &&
		    st.st_size >= JOURNAL_RECORD_OCTETS)
			store_set_aside(queue, fd, name, 0,
			    (uint64_t)st.st_size,
			    "deliveries may be repeated");
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

	if (folder == NULL) {
		fail_errno(why, "relay folder");
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((entry = readdir(folder)) != NULL && count < LOG_FILES_MAX) {
		char again[JOURNAL_NAME_SIZE];
		unsigned long file;

		if (strncmp(entry->d_name, "log.", 4) != 0)
			continue;
		file = strtoul(entry->d_name + 4, NULL, 10);
		snprintf(again, sizeof(again), "log.%lu", file);
		if (file < UINT32_MAX && strcmp(again, entry->d_name) == 0)
			out[count++] = (uint32_t)file;
	}
	closedir(folder);
	qsort(out, count, sizeof(*out), compare_files);
	*count_out = count;
	return true;
}

bool
log_recover(struct queue *queue, struct reason *why)
{
	uint32_t files[LOG_FILES_MAX];
	size_t count;

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
	unsigned char *octets = NULL;
	bool ok = false;
	int fd;

	pthread_mutex_lock(&queue->lock);
	for (segment = queue->segments; segment != NULL;
	     segment = segment->next) {
		if (segment->own && segment->file == file)
			break;
	}
	if (segment != NULL)
		segment->users++; /* own files are always open */
	pthread_mutex_unlock(&queue->lock);
	if (file == 0 || segment == NULL)
		return fail(why, REASON_ABSENT, "no attempt is recorded");
	fd = segment->fd;
	if (journal_read_record(fd, &segment->header, offset, &record, why)) {
		octets =
		    malloc((size_t)record.envelope_len + record.head_len + 1);
		ok = octets != NULL &&
		    journal_read_parts(fd, &record, octets, why) &&
		    attempt_decode(
			attempt_out, octets, record.envelope_len, why);
	}
	free(octets);
	store_segment_release(queue, segment);
	return ok;
}

/* The keeper's writing. */

static bool
write_entries(struct queue *queue, struct journal *journal,
    struct log_entry *entry, struct reason *why)
{
	while (entry != NULL) {
		journal_batch_begin(queue->batch, journal);
		for (; entry != NULL; entry = entry->next) {
			struct iovec part = { entry->octets,
				entry->record.envelope_len +
				    (size_t)entry->record.head_len +
				    (size_t)entry->record.body_len };

			if (!journal_batch_add(
				queue->batch, &entry->record, &part, 1))
				break;
		}
		if (!journal_batch_write(queue->batch, why))
			return false;
	}
	return true;
}

/* What rests on records that are now settled. */
static void
settle_entries(struct queue *queue, struct log_entry *entry)
{
	struct log_entry *next;
	struct reason why;
	uint64_t count = 0;

	for (; entry != NULL; entry = next, count++) {
		next = entry->next;
		if (entry->record.type == JOURNAL_MESSAGE &&
		    !store_message_found(queue, queue->log_segment,
			&entry->record, entry->octets, &why))
			log_line(SAY_ALARM, "queue", "trouble=\"%s\"",
			    why.text);
		if (entry->record.type == JOURNAL_ATTEMPT &&
		    entry->message != NULL) {
			pthread_mutex_lock(&queue->lock);
			entry->message->last_file = queue->log_segment->file;
			entry->message->last_offset = entry->record.offset;
			pthread_mutex_unlock(&queue->lock);
		}
		if (entry->completes)
			store_completed(queue, entry->message);
		log_entry_free(entry);
	}
	pthread_mutex_lock(&queue->lock);
	queue->entries_settled += count;
	pthread_cond_broadcast(&queue->settled);
	pthread_mutex_unlock(&queue->lock);
}

/* Callers hold lock. */
static struct log_entry *
take_entries(struct queue *queue)
{
	struct log_entry *first = queue->entries;

	queue->entries = NULL;
	queue->entries_end = &queue->entries;
	queue->entry_count = 0;
	return first;
}

/* They could not be written: before all that came since. */
static void
put_back_entries(struct queue *queue, struct log_entry *first)
{
	struct log_entry *last = first;
	size_t count = 1;

	if (first == NULL)
		return;
	while (last->next != NULL) {
		last = last->next;
		count++;
	}
	pthread_mutex_lock(&queue->lock);
	last->next = queue->entries;
	if (queue->entries == NULL)
		queue->entries_end = &last->next;
	queue->entries = first;
	queue->entry_count += count;
	pthread_mutex_unlock(&queue->lock);
}

/* Rotation. */

/* What is kept of one message over a rotation besides its STATE. */
struct kept {
	struct queued *message;
	bool own; /* its record too */
	uint32_t last_file;
	uint64_t last_offset;
	uint64_t new_attempt; /* offset in the new file, 0: none */
	struct journal_record new_record;
};

struct snapshot {
	struct log_entry *taken;  /* pending when it was made */
	struct log_entry *states, **states_end;
	struct kept *kept;
	size_t count, capacity;
};

static bool
snapshot_add(struct snapshot *snapshot, struct queued *message)
{
	bool own = message->segment != NULL && message->segment->own;
	struct log_entry *entry;
	struct kept *grown;

	if (own && message->state == MESSAGE_COMPLETE)
		return true; /* nothing needs it any more */
	if (!own && message->attempts == 0 && message->done == 0 &&
	    message->done_more_words == 0 && !message->held &&
	    !message->settled && message->state != MESSAGE_HELD &&
	    message->state != MESSAGE_COMPLETE)
		return true; /* its record says all */
	if (snapshot->count == snapshot->capacity) {
		size_t capacity =
		    snapshot->capacity == 0 ? 256 : snapshot->capacity * 2;

		grown = reallocarray(
		    snapshot->kept, capacity, sizeof(*grown));
		if (grown == NULL)
			return false;
		snapshot->kept = grown;
		snapshot->capacity = capacity;
	}
	entry = state_entry(message);
	if (entry == NULL)
		return false;
	*snapshot->states_end = entry;
	snapshot->states_end = &entry->next;
	snapshot->kept[snapshot->count++] = (struct kept){
		.message = message,
		.own = own,
		.last_file = message->state == MESSAGE_COMPLETE
		    ? 0
		    : message->last_file,
		.last_offset = message->last_offset,
	};
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
		snapshot->taken = take_entries(queue);
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
}

/* Copy a record of an older file of ours into journal. */
static bool
copy_record(struct queue *queue, struct segment *segment,
    const struct journal_record *record, struct journal *journal,
    struct journal_record *copied_out, struct reason *why)
{
	size_t front = (size_t)record->envelope_len + record->head_len;
	size_t len = front + (size_t)record->body_len;
	unsigned char *octets = malloc(len + 1);
	struct iovec part = { octets, len };
	bool ok;

	if (octets == NULL)
		return fail(why, REASON_NO_MEMORY, "relay log: copy");
	*copied_out = *record;
	ok = journal_pread(segment->fd, octets, len,
	    record->offset + JOURNAL_RECORD_OCTETS, why);
	if (ok) {
		journal_batch_begin(queue->batch, journal);
		journal_batch_add(queue->batch, copied_out, &part, 1);
		ok = journal_batch_write(queue->batch, why);
	}
	free(octets);
	return ok;
}

static struct segment *
own_segment(struct queue *queue, uint32_t file)
{
	struct segment *segment;

	pthread_mutex_lock(&queue->lock);
	for (segment = queue->segments; segment != NULL;
	     segment = segment->next) {
		if (segment->own && segment->file == file)
			break;
	}
	pthread_mutex_unlock(&queue->lock);
	return segment;
}

static bool
copy_attempt(struct queue *queue, struct kept *kept, struct journal *journal,
    struct reason *why)
{
	struct segment *segment = own_segment(queue, kept->last_file);
	struct journal_record record, copied;

	if (kept->last_file == 0 || segment == NULL ||
	    !journal_read_record(segment->fd, &segment->header,
		kept->last_offset, &record, why))
		return true; /* history only: the STATE says what counts */
	if (!copy_record(queue, segment, &record, journal, &copied, why))
		return false;
	kept->new_attempt = copied.offset;
	return true;
}

/* Bounces and pending entries first, and settled, before any STATE that may
 * rest on them. */
static bool
snapshot_write(struct queue *queue, struct snapshot *snapshot,
    struct journal *journal, struct reason *why)
{
	for (size_t i = 0; i < snapshot->count; i++) {
		struct kept *kept = &snapshot->kept[i];

		if (kept->own &&
		    !copy_record(queue, kept->message->segment,
			&kept->message->record, journal, &kept->new_record,
			why))
			return false;
	}
	for (size_t i = 0; i < snapshot->count; i++) {
		if (!copy_attempt(queue, &snapshot->kept[i], journal, why))
			return false;
	}
	return write_entries(queue, journal, snapshot->taken, why) &&
	    journal_sync(journal, why) &&
	    write_entries(queue, journal, snapshot->states, why) &&
	    journal_sync(journal, why);
}

static void
relocate(struct queue *queue, const struct snapshot *snapshot,
    struct segment *segment)
{
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < snapshot->count; i++) {
		const struct kept *kept = &snapshot->kept[i];

		kept->message->last_file =
		    kept->new_attempt != 0 ? segment->file : 0;
		kept->message->last_offset = kept->new_attempt;
		if (!kept->own)
			continue;
		kept->message->segment = segment;
		kept->message->record = kept->new_record;
	}
	pthread_mutex_unlock(&queue->lock);
}

/* Files of ours but the current one: all that matters was copied. */
static void
drop_old_files(struct queue *queue)
{
	struct segment **at, *segment, *gone = NULL;
	char name[JOURNAL_NAME_SIZE];

	pthread_mutex_lock(&queue->lock);
	for (at = &queue->segments; (segment = *at) != NULL;) {
		if (!segment->own || segment == queue->log_segment ||
		    segment->users > 0) {
			at = &segment->next;
			continue;
		}
		*at = segment->next;
		segment->next = gone;
		gone = segment;
	}
	pthread_mutex_unlock(&queue->lock);
	while ((segment = gone) != NULL) {
		gone = segment->next;
		store_name(segment, name);
		unlinkat(queue->relay_folder, name, 0);
		close(segment->fd);
		free(segment);
	}
	fsync(queue->relay_folder);
}

static void
rotate_undo(struct queue *queue, struct journal *fresh, const char *name)
{
	unlinkat(queue->relay_folder, name, 0);
	journal_close(fresh);
}

static bool
log_rotate(struct queue *queue, struct reason *why)
{
	uint32_t file = ++queue->log_number;
	struct snapshot snapshot;
	struct segment *segment;
	struct journal fresh;
	char name[JOURNAL_NAME_SIZE];
	bool ok;

	snprintf(name, sizeof(name), "log.%" PRIu32, file);
	if (!journal_create(&fresh, queue->relay_folder, name, LOG_FILE_MODE,
		JOURNAL_LOG, queue->start_id, file, true, why))
		return false;
	ok = snapshot_make(queue, &snapshot, why) &&
	    snapshot_write(queue, &snapshot, &fresh, why);
	pthread_mutex_lock(&queue->lock);
	segment =
	    ok ? log_segment_new(queue, file, fresh.fd, &fresh.header) : NULL;
	pthread_mutex_unlock(&queue->lock);
	if (segment == NULL) {
		rotate_undo(queue, &fresh, name);
		put_back_entries(queue, snapshot.taken);
		snapshot_free(&snapshot);
		return ok ? fail(why, REASON_NO_MEMORY, "relay log") : false;
	}
	relocate(queue, &snapshot, segment);
	queue->log = fresh;
	queue->log_segment = segment;
	queue->log_broken = false;
	queue->log_rotate_at = 4 * fresh.end > LOG_ROTATE_LEAST
	    ? 4 * fresh.end
	    : (uint64_t)LOG_ROTATE_LEAST;
	settle_entries(queue, snapshot.taken);
	snapshot_free(&snapshot);
	drop_old_files(queue);
	return true;
}

/* Write and sync all that waits. */
static bool
log_flush(struct queue *queue, struct reason *why)
{
	struct log_entry *taken;
	bool wrote, synced;

	if (queue->log_broken || queue->log.end >= queue->log_rotate_at)
		return log_rotate(queue, why);
	pthread_mutex_lock(&queue->lock);
	taken = take_entries(queue);
	pthread_mutex_unlock(&queue->lock);
	if (taken == NULL)
		return true;
	wrote = write_entries(queue, &queue->log, taken, why);
	synced = wrote && journal_sync(&queue->log, why);
	if (synced) {
		settle_entries(queue, taken);
		return true;
	}
	/* After a failed sync the file is never added to again. */
	if (!journal_abandon(&queue->log) || wrote)
		queue->log_broken = true;
	put_back_entries(queue, taken);
	return false;
}

static void
log_say_trouble(struct queue *queue, bool ok, const struct reason *why)
{
	pthread_mutex_lock(&queue->lock);
	if (ok && queue->log_trouble) {
		log_line(SAY_NOTE, "queue", "log=recovered");
		pthread_cond_broadcast(&queue->work);
	} else if (!ok && !queue->log_trouble) {
		log_line(SAY_ALARM, "queue",
		    "log=failed deliveries=stopped trouble=\"%s\"",
		    why->text);
	}
	queue->log_trouble = !ok;
	pthread_mutex_unlock(&queue->lock);
}

/* Wait until there is something to write, or until a time. */
static bool
keeper_wait(struct queue *queue, int64_t until_ms)
{
	struct timespec until = {
		.tv_sec = until_ms / 1000,
		.tv_nsec = until_ms % 1000 * 1000000,
	};
	bool stop;

	pthread_mutex_lock(&queue->lock);
	while (!queue->keeper_stop && !queue->sweep &&
	    (queue->entries == NULL || queue->log_trouble)) {
		if (pthread_cond_timedwait(
			&queue->keep, &queue->lock, &until) == ETIMEDOUT)
			break;
	}
	queue->sweep = false;
	stop = queue->keeper_stop;
	pthread_mutex_unlock(&queue->lock);
	return !stop;
}

static void *
keeper_run(void *arg)
{
	struct queue *queue = arg;
	int64_t look = queue_monotonic_ms();
	struct reason why = { REASON_NONE, "" };
	bool ok, more = true;

	while (more) {
		int64_t now = queue_monotonic_ms();

		if (now >= look)
			look = queue_expire(queue);
		ok = log_flush(queue, &why);
		log_say_trouble(queue, ok, &why);
		store_unlink_finished(queue);
		now = queue_monotonic_ms();
		more = keeper_wait(queue,
		    !ok && now + LOG_RETRY_MS < look ? now + LOG_RETRY_MS
						     : look);
	}
	if (!log_flush(queue, &why))
		log_line(SAY_ALARM, "queue", "log=failed trouble=\"%s\"",
		    why.text);
	store_unlink_finished(queue);
	return NULL;
}

bool
log_start(struct queue *queue, struct reason *why)
{
	sigset_t all, before;
	int error;

	queue->batch = malloc(sizeof(*queue->batch));
	if (queue->batch == NULL)
		return fail(why, REASON_NO_MEMORY, "relay log");
	queue->log.fd = -1;
	if (!log_rotate(queue, why))
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&queue->keeper, NULL, keeper_run, queue);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		errno = error;
		return fail_errno(why, "relay log: thread");
	}
	queue->log_started = true;
	return true;
}

void
log_stop(struct queue *queue)
{
	struct log_entry *entry, *next;

	if (queue->log_started) {
		pthread_mutex_lock(&queue->lock);
		queue->keeper_stop = true;
		pthread_cond_signal(&queue->keep);
		pthread_mutex_unlock(&queue->lock);
		pthread_join(queue->keeper, NULL);
		queue->log_started = false;
	}
	for (entry = queue->entries; entry != NULL; entry = next) {
		next = entry->next;
		log_entry_free(entry);
	}
	queue->entries = NULL;
	queue->entries_end = &queue->entries;
	free(queue->batch);
	queue->batch = NULL;
}
