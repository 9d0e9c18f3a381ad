/*
 * server/spool.c: the committer: many messages, one write, one fdatasync.
 *
 * Locks: spool.lock guards the two lists, the position and stopping, and is
 * never held across I/O.  The current and next segment belong to the
 * committer's thread alone.
 */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "journal.h"
#include "log.h"

enum {
	CHUNK_FIRST = 8 * 1024,
	CHUNK_MORE = 32 * 1024,
	CHUNK_FILE = 64 * 1024, /* gathers writes to a large file */
	CHUNKS_MAX = 1 + SPOOL_MEMORY_MAX / CHUNK_MORE + 1,
	WRITEBACK_OCTETS = 1024 * 1024,
	SAMPLE_MS = 1000,
	SPOOL_FILE_MODE = 0640, /* the relay's group reads */
	CLOSED_OCTETS = 4 + 8,
};

struct chunk {
	struct chunk *next;
	size_t len, capacity;
	unsigned char octets[];
};

struct spool_message {
	struct spool *spool;
	struct spool_message *next;
	uint64_t size;
	uint32_t crc;
	struct chunk *first, *last;
	int fd; /* of the large file, or -1 */
	uint64_t counter;
	uint64_t written, writeback; /* octets of the large file */
	bool failed;
	struct reason why; /* it failed */

	/* Once it is handed over. */
	struct journal_record record;
	unsigned char *front; /* envelope and head */
	void (*done)(void *context, bool ok, const struct reason *why);
	void *context;
};

struct list {
	struct spool_message *first, **end;
};

struct spool {
	int folder;
	uint64_t start_id, memory, reserve, segment;
	void (*committed)(void *, uint32_t, uint64_t, bool);
	void *context;

	atomic_uint_fast64_t memory_used;
	atomic_uint_fast64_t large_counter;
	atomic_uint_fast64_t free_octets; /* as sampled */
	atomic_int_fast64_t sampled_ms;

	pthread_mutex_t lock;
	pthread_cond_t some, some_large;
	struct list waiting;       /* for the committer */
	struct list waiting_large; /* for their file's sync */
	bool stop, stop_large;
	uint32_t position_file;
	uint64_t position_end;

	pthread_t committer, syncer;
	/* The committer's own. */
	struct journal current, next;
	uint32_t next_number; /* of the next segment made */
	bool to_close;        /* the next batch begins with JOURNAL_CLOSED */
	uint32_t closed_file;
	uint64_t closed_end;
	unsigned char closed[CLOSED_OCTETS];
	struct journal_batch batch;
};

static void
list_init(struct list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void
list_append(struct list *list, struct spool_message *message)
{
	message->next = NULL;
	*list->end = message;
	list->end = &message->next;
}

static struct spool_message *
list_take_all(struct list *list)
{
	struct spool_message *first = list->first;

	list_init(list);
	return first;
}

static int64_t
monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Room. */

static void
sample_free(struct spool *spool)
{
	struct statvfs st;

	if (fstatvfs(spool->folder, &st) == 0)
		atomic_store(&spool->free_octets,
		    (uint64_t)st.f_bavail * (uint64_t)st.f_frsize);
}

/* At most once a second, by whoever asks first; the others go by what was
 * found before. */
static void
sample_free_again(struct spool *spool)
{
	int_fast64_t now = monotonic_ms();
	int_fast64_t last = atomic_load(&spool->sampled_ms);

	if (now - last >= SAMPLE_MS &&
	    atomic_compare_exchange_strong(&spool->sampled_ms, &last, now))
		sample_free(spool);
}

bool
spool_has_room(struct spool *spool, uint64_t size, struct reason *why)
{
	uint64_t octets;

	sample_free_again(spool);
	octets = atomic_load(&spool->free_octets);
	if (octets < spool->reserve || octets - spool->reserve < size)
		return fail(why, REASON_NO_SPACE,
		    "spool: %" PRIu64 " octets free, %" PRIu64
		    " are kept in reserve, %" PRIu64 " asked for",
		    octets, spool->reserve, size);
	return true;
}

static bool
memory_charge(struct spool *spool, uint64_t octets)
{
	uint64_t used = atomic_fetch_add(&spool->memory_used, octets);

	if (used + octets <= spool->memory)
		return true;
	atomic_fetch_sub(&spool->memory_used, octets);
	return false;
}

/* Ids. */

void
spool_queue_id(struct spool *spool, char out[static QUEUE_ID_SIZE])
{
	(void)spool;
	envelope_queue_id(out);
}

/* Receiving. */

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

static void
chunks_free(struct spool_message *message)
{
	struct chunk *chunk, *next;

	for (chunk = message->first; chunk != NULL; chunk = next) {
		next = chunk->next;
		atomic_fetch_sub(&message->spool->memory_used, chunk->capacity);
		free(chunk);
	}
	message->first = message->last = NULL;
}

static struct chunk *
chunk_new(struct spool_message *message, size_t capacity)
{
	struct chunk *chunk;

	if (!memory_charge(message->spool, capacity))
		return NULL;
	chunk = malloc(sizeof(*chunk) + capacity);
	if (chunk == NULL) {
		atomic_fetch_sub(&message->spool->memory_used, capacity);
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
	chunks_free(message);
	large_remove(message);
	free(message->front);
	free(message);
}

static bool
large_write(struct spool_message *message, const unsigned char *octets,
    size_t len, struct reason *why)
{
	while (len > 0) {
		ssize_t wrote = write(message->fd, octets, len);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return fail_errno(why, "spool: large file: write");
		octets += wrote;
		len -= (size_t)wrote;
		message->written += (uint64_t)wrote;
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

static bool
large_flush(struct spool_message *message, struct reason *why)
{
	for (struct chunk *chunk = message->first; chunk != NULL;
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
	if (message->fd < 0 && (errno == EMFILE || errno == ENFILE))
		return fail(why, REASON_NO_SPACE,
		    "spool: large file: too many open files");
	if (message->fd < 0)
		return fail_errno(why, "spool: large file: create");
	if (fchmod(message->fd, SPOOL_FILE_MODE) < 0)
		return fail_errno(why, "spool: large file: chmod");
	if (!large_flush(message, why))
		return false;
	chunks_free(message);
	return true;
}

static bool
large_append(struct spool_message *message, const unsigned char *octets,
    size_t len, struct reason *why)
{
	struct chunk *chunk = message->last;

	if (chunk == NULL)
		chunk = chunk_new(message, CHUNK_FILE);
	if (chunk == NULL) /* no budget: at the price of more writes */
		return large_write(message, octets, len, why);
	if (len > chunk->capacity - chunk->len && !large_flush(message, why))
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
		struct chunk *chunk = message->last;
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
spool_message_append(struct spool_message *message, const void *octets,
    size_t len, struct reason *why)
{
	if (!message->failed && !append(message, octets, len, &message->why))
		message->failed = true;
	if (message->failed)
		return fail(why, message->why.code, "%s", message->why.text);
	message->size += len;
	message->crc = crc32c(message->crc, octets, len);
	return true;
}

/* Committing: the caller's side. */

static void
message_done(struct spool_message *message, bool ok, const struct reason *why)
{
	if (ok && message->fd >= 0) {
		close(message->fd); /* the file is the relay's now */
		message->fd = -1;
	}
	message->done(message->context, ok, why);
	spool_message_free(message);
}

/* Encode the envelope and copy the head, one after the other. */
static bool
front_make(struct spool_message *message, const struct envelope *envelope,
    const void *head, size_t head_len, struct reason *why)
{
	size_t envelope_len = envelope_encoded_size(envelope);
	struct journal_record *record = &message->record;
	struct wire_writer w;

	if (envelope_len > JOURNAL_ENVELOPE_MAX || head_len > JOURNAL_HEAD_MAX)
		return fail(why, REASON_RANGE,
		    "spool: envelope or head: more "
		    "octets than a record takes");
	message->front = malloc(envelope_len + head_len);
	if (message->front == NULL)
		return fail(why, REASON_NO_MEMORY, "spool: envelope");
	wire_writer_init(&w, message->front, envelope_len);
	envelope_encode(envelope, &w);
	if (w.failed || w.len != envelope_len)
		return fail(why, REASON_INTERNAL, "spool: envelope");
	if (head_len > 0)
		memcpy(message->front + envelope_len, head, head_len);
	record->type = JOURNAL_MESSAGE;
	record->envelope_len = (uint32_t)envelope_len;
	record->envelope_crc = crc32c(0, message->front, envelope_len);
	record->head_len = (uint32_t)head_len;
	record->head_crc = crc32c(0, message->front + envelope_len, head_len);
	record->body_len = message->size;
	record->body_crc = message->crc;
	if (message->fd >= 0) {
		record->flags = JOURNAL_LARGE;
		record->number = message->counter;
	}
	return true;
}

static void
queue_up(struct spool *spool, struct spool_message *message)
{
	pthread_mutex_lock(&spool->lock);
	if (message->fd >= 0 && !message->failed) {
		list_append(&spool->waiting_large, message);
		pthread_cond_signal(&spool->some_large);
	} else {
		list_append(&spool->waiting, message);
		pthread_cond_signal(&spool->some);
	}
	pthread_mutex_unlock(&spool->lock);
}

void
spool_commit(struct spool *spool, struct spool_message *message,
    const struct envelope *envelope, const void *head, size_t head_len,
    void (*done)(void *context, bool ok, const struct reason *why),
    void *context)
{
	message->done = done;
	message->context = context;
	if (!message->failed)
		message->failed = !front_make(message, envelope, head, head_len,
		    &message->why);
	if (!message->failed && message->fd >= 0) {
		message->failed = !large_flush(message, &message->why);
		chunks_free(message);
	}
	/* A failed one too: done is called on the spool's thread only. */
	queue_up(spool, message);
}

/* The thread that syncs large files, so that no batch waits for them. */

/* Those whose own sync worked; the others are told. */
static struct spool_message *
sync_each(struct spool_message *message)
{
	struct list good;
	struct spool_message *next;
	struct reason why;

	list_init(&good);
	for (; message != NULL; message = next) {
		next = message->next;
		if (fsync(message->fd) == 0) {
			list_append(&good, message);
			continue;
		}
		fail_errno(&why, "spool: large file: fsync");
		log_line(SAY_ALARM, "spool", "trouble=\"%s\"", why.text);
		message_done(message, false, &why);
	}
	return good.first;
}

static void
sync_large(struct spool *spool, struct spool_message *message)
{
	struct spool_message *next;
	struct reason why = { REASON_NONE, "" };
	bool ok;

	message = sync_each(message);
	if (message == NULL)
		return;
	ok = fsync(spool->folder) == 0;
	if (!ok) {
		fail_errno(&why, "spool: folder: fsync");
		log_line(SAY_ALARM, "spool", "trouble=\"%s\"", why.text);
	}
	for (; message != NULL; message = next) {
		next = message->next;
		if (!ok) {
			message_done(message, false, &why);
			continue;
		}
		pthread_mutex_lock(&spool->lock);
		list_append(&spool->waiting, message);
		pthread_cond_signal(&spool->some);
		pthread_mutex_unlock(&spool->lock);
	}
}

static void *
syncer_run(void *arg)
{
	struct spool *spool = arg;
	struct spool_message *message;
	bool more;

	do {
		pthread_mutex_lock(&spool->lock);
		while (spool->waiting_large.first == NULL && !spool->stop_large)
			pthread_cond_wait(&spool->some_large, &spool->lock);
		message = list_take_all(&spool->waiting_large);
		more = message != NULL || !spool->stop_large;
		pthread_mutex_unlock(&spool->lock);
		sync_large(spool, message);
	} while (more);
	return NULL;
}

/* The committer. */

static void
position_set(struct spool *spool)
{
	pthread_mutex_lock(&spool->lock);
	spool->position_file = spool->current.header.file;
	spool->position_end = spool->current.settled;
	pthread_mutex_unlock(&spool->lock);
}

void
spool_position(struct spool *spool, uint32_t *segment_out, uint64_t *end_out)
{
	pthread_mutex_lock(&spool->lock);
	*segment_out = spool->position_file;
	*end_out = spool->position_end;
	pthread_mutex_unlock(&spool->lock);
}

static bool
segment_make(struct spool *spool, struct journal *journal, struct reason *why)
{
	char name[JOURNAL_NAME_SIZE];

	journal_segment_name(name, spool->start_id, spool->next_number);
	if (!journal_create(journal, spool->folder, name, SPOOL_FILE_MODE,
		JOURNAL_SPOOL, spool->start_id, spool->next_number, true,
		why)) {
		journal->fd = -1;
		return false;
	}
	spool->next_number++;
	return true;
}

/* Nothing will be added to the current segment. */
static void
segment_end(struct spool *spool)
{
	uint32_t file = spool->current.header.file;
	uint64_t end = spool->current.settled;

	if (spool->current.fd < 0)
		return;
	journal_close(&spool->current);
	spool->closed_file = file;
	spool->closed_end = end;
	spool->to_close = true;
	if (spool->committed != NULL)
		spool->committed(spool->context, file, end, true);
}

static bool
segment_ready(struct spool *spool, struct reason *why)
{
	if (spool->current.fd >= 0 && spool->current.end >= spool->segment)
		segment_end(spool);
	if (spool->current.fd >= 0)
		return true;
	if (spool->next.fd < 0 && !segment_make(spool, &spool->next, why))
		return false;
	spool->current = spool->next;
	spool->next.fd = -1;
	position_set(spool);
	return true;
}

/* Ahead of need, so that no 250 waits for a folder's sync.  Trouble is seen
 * again, and told, when the segment is needed. */
static void
segment_make_ahead(struct spool *spool)
{
	struct reason why;

	if (spool->next.fd < 0 && spool->current.fd >= 0 &&
	    spool->current.end >= spool->segment / 2)
		segment_make(spool, &spool->next, &why);
}

/* What the new segment says about the one before, for recovery. */
static void
batch_add_closed(struct spool *spool)
{
	struct journal_record record = { .type = JOURNAL_CLOSED,
		.envelope_len = CLOSED_OCTETS };
	struct iovec part = { spool->closed, CLOSED_OCTETS };
	struct wire_writer w;

	wire_writer_init(&w, spool->closed, CLOSED_OCTETS);
	wire_put_u32(&w, spool->closed_file);
	wire_put_u64(&w, spool->closed_end);
	record.envelope_crc = crc32c(0, spool->closed, CLOSED_OCTETS);
	journal_batch_add(&spool->batch, &record, &part, 1);
}

static bool
batch_add_message(struct spool *spool, struct spool_message *message)
{
	struct iovec parts[1 + CHUNKS_MAX];
	size_t count = 0;

	parts[count++] = (struct iovec){ message->front,
		(size_t)message->record.envelope_len +
		    message->record.head_len };
	for (struct chunk *chunk = message->first;
	     chunk != NULL && count < 1 + CHUNKS_MAX; chunk = chunk->next)
		parts[count++] = (struct iovec){ chunk->octets, chunk->len };
	return journal_batch_add(&spool->batch, &message->record, parts, count);
}

/* Write and sync as many as one batch takes; returns the first it does not
 * take. */
static bool
batch_commit(struct spool *spool, struct spool_message *first,
    struct spool_message **rest_out, struct reason *why)
{
	struct spool_message *message = first;
	bool synced;

	if (!segment_ready(spool, why)) {
		*rest_out = NULL; /* the others would fare no better */
		return false;
	}
	journal_batch_begin(&spool->batch, &spool->current);
	if (spool->to_close)
		batch_add_closed(spool);
	while (message != NULL && batch_add_message(spool, message))
		message = message->next;
	*rest_out = message;
	if (!journal_batch_write(&spool->batch, why)) {
		if (!journal_abandon(&spool->current))
			segment_end(spool);
		return false;
	}
	synced = journal_sync(&spool->current, why);
	if (!synced) {
		/* The kernel may have dropped the pages and will not say so
		 * twice: that file is never added to again. */
		journal_abandon(&spool->current);
		segment_end(spool);
		return false;
	}
	spool->to_close = false;
	position_set(spool);
	return true;
}

/* Those that failed before they came here are told; the others remain. */
static struct spool_message *
drop_failed(struct spool_message *message)
{
	struct list good;
	struct spool_message *next;

	list_init(&good);
	for (; message != NULL; message = next) {
		next = message->next;
		if (message->failed)
			message_done(message, false, &message->why);
		else
			list_append(&good, message);
	}
	return good.first;
}

static void
commit_all(struct spool *spool, struct spool_message *message)
{
	struct spool_message *rest, *next;
	struct reason why = { REASON_NONE, "" };

	for (message = drop_failed(message); message != NULL; message = rest) {
		bool ok = batch_commit(spool, message, &rest, &why);

		if (!ok)
			log_line(SAY_ALARM, "spool", "trouble=\"%s\"",
			    why.text);
		for (; message != rest; message = next) {
			next = message->next;
			message_done(message, ok, ok ? NULL : &why);
		}
		if (ok && spool->committed != NULL)
			spool->committed(spool->context,
			    spool->current.header.file, spool->current.settled,
			    false);
	}
}

static void *
committer_run(void *arg)
{
	struct spool *spool = arg;
	struct spool_message *message;
	bool more;

	do {
		pthread_mutex_lock(&spool->lock);
		while (spool->waiting.first == NULL && !spool->stop)
			pthread_cond_wait(&spool->some, &spool->lock);
		message = list_take_all(&spool->waiting);
		more = message != NULL || !spool->stop;
		pthread_mutex_unlock(&spool->lock);
		commit_all(spool, message);
		segment_make_ahead(spool);
	} while (more);
	segment_end(spool);
	return NULL;
}

/* Opening and closing. */

/* Signals are for the role's own threads. */
static bool
thread_start(pthread_t *thread, void *(*run)(void *), struct spool *spool,
    struct reason *why)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, run, spool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		errno = error;
		return fail_errno(why, "spool: thread");
	}
	return true;
}

static void
spool_free(struct spool *spool)
{
	journal_close(&spool->current);
	journal_close(&spool->next);
	if (spool->folder >= 0)
		close(spool->folder);
	pthread_mutex_destroy(&spool->lock);
	pthread_cond_destroy(&spool->some);
	pthread_cond_destroy(&spool->some_large);
	free(spool);
}

static struct spool *
spool_alloc(const struct spool_options *options)
{
	struct spool *spool = calloc(1, sizeof(*spool));

	if (spool == NULL)
		return NULL;
	spool->start_id = options->start_id;
	spool->memory = options->memory;
	spool->reserve = options->reserve;
	spool->segment = options->segment != 0
			     ? options->segment
			     : (uint64_t)SPOOL_SEGMENT_DEFAULT;
	spool->committed = options->committed;
	spool->context = options->context;
	spool->current.fd = spool->next.fd = -1;
	spool->next_number = 1;
	pthread_mutex_init(&spool->lock, NULL);
	pthread_cond_init(&spool->some, NULL);
	pthread_cond_init(&spool->some_large, NULL);
	list_init(&spool->waiting);
	list_init(&spool->waiting_large);
	return spool;
}

static void
thread_stop(struct spool *spool, bool *stop, pthread_cond_t *cond,
    pthread_t thread)
{
	pthread_mutex_lock(&spool->lock);
	*stop = true;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(&spool->lock);
	pthread_join(thread, NULL);
}

bool
spool_open(struct spool **spool_out, const struct spool_options *options,
    struct reason *why)
{
	struct spool *spool = spool_alloc(options);

	if (spool == NULL)
		return fail(why, REASON_NO_MEMORY, "spool");
	spool->folder =
	    open(options->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->folder < 0) {
		fail_errno(why, "%s", options->folder);
		goto fail;
	}
	sample_free(spool);
	/* On a full disk the first commit tries again. */
	if ((!segment_ready(spool, why) && why->code != REASON_NO_SPACE) ||
	    !thread_start(&spool->committer, committer_run, spool, why))
		goto fail;
	if (!thread_start(&spool->syncer, syncer_run, spool, why)) {
		thread_stop(spool, &spool->stop, &spool->some,
		    spool->committer);
		goto fail;
	}
	*spool_out = spool;
	return true;
fail:
	spool_free(spool);
	return false;
}

void
spool_close(struct spool *spool)
{
	if (spool == NULL)
		return;
	/* In this order: the syncer feeds the committer. */
	thread_stop(spool, &spool->stop_large, &spool->some_large,
	    spool->syncer);
	thread_stop(spool, &spool->stop, &spool->some, spool->committer);
	spool_free(spool);
}
