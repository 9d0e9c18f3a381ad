/*
 * server/queue.c: the relay's queue: opening, notices, and deliveries.
 */
#include "queue_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "route.h"

enum {
	LOG_ROTATE_LEAST = 16 * 1024 * 1024,
	UNREADABLE_RETRY_MS = 60 * 1000,
	READ_AGAIN_MS = 5000,
};

/* Opening. */

/* Callers hold lock, or are alone. */
static void
settings_take(struct queue *queue, const struct config *config,
    const struct routes *routes)
{
	struct queue_settings *settings = &queue->settings;

	queue->config = config;
	queue->routes = routes;
	queue->generation++;
	snprintf(settings->hostname, sizeof(settings->hostname), "%s",
	    config->hostname != NULL ? config->hostname : "localhost");
	settings->retry_first_ms = (int64_t)config->retry_first_s * 1000;
	settings->retry_most_ms = (int64_t)config->retry_most_s * 1000;
	settings->expire_ms = (int64_t)config->expire_s * 1000;
	settings->delay_ms = (int64_t)config->delay_notice_s * 1000;
	settings->reserve = config->spool_reserve;
	settings->workers = config->relay_threads;
	settings->site_connections = config->site_connections;
}

static bool
open_folder(const char *path, int *fd_out, struct reason *why)
{
	*fd_out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd_out >= 0 || fail_errno(why, "%s", path);
}

static bool
open_folders(struct queue *queue, const struct queue_options *options,
    struct reason *why)
{
	if (!open_folder(options->in_folder, &queue->in_folder, why) ||
	    !open_folder(options->relay_folder, &queue->relay_folder, why))
		return false;
	if (queue->read_only)
		return true;
	if (mkdirat(queue->relay_folder, "damaged", 0700) < 0 &&
	    errno != EEXIST)
		return fail_errno(why, "%s/damaged", options->relay_folder);
	queue->damaged_folder = openat(queue->relay_folder, "damaged",
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (queue->damaged_folder < 0)
		return fail_errno(why, "%s/damaged", options->relay_folder);
	return true;
}

static struct queue *
queue_alloc(const struct queue_options *options)
{
	struct queue *queue = calloc(1, sizeof(*queue));
	pthread_condattr_t attributes;

	if (queue == NULL)
		return NULL;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_mutex_init(&queue->ingest, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&queue->work, &attributes);
	pthread_cond_init(&queue->keep, &attributes);
	pthread_cond_init(&queue->settled, &attributes);
	pthread_condattr_destroy(&attributes);
	queue->in_folder = queue->relay_folder = queue->damaged_folder = -1;
	queue->entries_end = &queue->entries;
	queue->ages.by_age = true;
	LIST_INIT(&queue->all_sites);
	TAILQ_INIT(&queue->turn);
	queue->waketimes.work = &queue->work;
	queue->routed = SIZE_MAX;
	if (getrandom(&queue->owner_seed, sizeof(queue->owner_seed), 0) < 0)
		queue->owner_seed = (uint64_t)queue_now_ms();
	queue->start_id = options->start_id;
	queue->read_only = options->read_only;
	queue->log_rotate_least =
	    options->rotate != 0 ? options->rotate : (uint64_t)LOG_ROTATE_LEAST;
	queue->log.fd = -1;
	settings_take(queue, options->config, options->routes);
	return queue;
}

/* Index the messages we made ourselves, now that the whole log is known. */
static bool
index_own(struct queue *queue, struct queued *message, struct reason *why)
{
	struct journal_record record;
	void *octets;
	bool ok;

	if (!journal_read_front(message->segment->fd, &message->segment->header,
		message->offset, &record, &octets, why))
		return false;
	ok =
	    store_message_found(queue, message->segment, &record, octets, why);
	free(octets);
	return ok;
}

static int
compare_marks(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Marks of the segments that may hold messages that were not read yet: all but
 * images that were, unless an image's segment may come back.  NULL without
 * memory. */
static uint64_t *
list_marks(const struct queue *queue, size_t *count_out)
{
	uint64_t *marks = calloc(queue->segment_count + 1, sizeof(*marks));
	size_t count = 0;

	if (marks == NULL)
		return NULL;
	for (size_t i = 0; i < queue->segment_count; i++) {
		const struct segment *segment = queue->segments[i];

		if (!segment->kept || segment->stuck || !segment->whole)
			marks[count++] = segment->header.mark;
	}
	qsort(marks, count, sizeof(*marks), compare_marks);
	*count_out = count;
	return marks;
}

/* Ghosts whose segment is there still, or whose own record was found, stay;
 * the segment of the others is gone, and so their completions may go. */
static void
tidy_slot(struct queue *queue, size_t slot, const uint64_t *marks,
    size_t mark_count)
{
	struct queued *message, *next;
	struct reason why;

	for (message = queue->table[slot]; message != NULL; message = next) {
		bool own = message->key.mark == 0;

		next = message->chain;
		if (own && message->state == MESSAGE_GHOST &&
		    message->segment != NULL &&
		    !index_own(queue, message, &why)) {
			log_line(SAY_ALARM, "queue",
			    "serial=%" PRIu64 " trouble=\"%s\"",
			    message->key.number, why.text);
			continue;
		}
		if ((own && message->state == MESSAGE_COMPLETE) ||
		    (message->state == MESSAGE_GHOST &&
			message->segment == NULL && !queue->trouble &&
			!queue->damage &&
			(own || bsearch(&message->key.mark, marks, mark_count,
				    sizeof(*marks), compare_marks) == NULL))) {
			index_remove(queue, message);
			message_free(message);
		}
	}
}

static bool
tidy(struct queue *queue, struct reason *why)
{
	size_t count;
	uint64_t *marks = list_marks(queue, &count);

	if (marks == NULL)
		return fail(why, REASON_NO_MEMORY, "queue");
	for (size_t i = 0; i < queue->table_size; i++)
		tidy_slot(queue, i, marks, count);
	free(marks);
	return true;
}

bool
queue_open(struct queue **queue_out, const struct queue_options *options,
    struct reason *why)
{
	struct queue *queue = queue_alloc(options);

	if (queue == NULL)
		return fail(why, REASON_NO_MEMORY, "queue");
	if (!open_folders(queue, options, why))
		goto fail;
	if (!queue->read_only) {
		queue->sent = sent_new(queue->relay_folder, SENT_FILE_MAX);
		if (queue->sent == NULL) {
			fail(why, REASON_NO_MEMORY, "queue");
			goto fail;
		}
	}
	if (!log_recover(queue, why) || !kept_recover(queue, why) ||
	    !store_scan(queue, why) || !tidy(queue, why))
		goto fail;
	if (!queue->read_only && !log_start(queue, why))
		goto fail;
	*queue_out = queue;
	return true;
fail:
	queue_close(queue);
	return false;
}

static void
free_segment(struct segment *segment)
{
	if (segment->fd >= 0)
		close(segment->fd);
	free(segment);
}

static void
free_segments(struct queue *queue)
{
	struct segment *segment, *next;

	for (segment = queue->log_files; segment != NULL; segment = next) {
		next = segment->next;
		free_segment(segment);
	}
	for (size_t i = 0; i < queue->segment_count; i++)
		free_segment(queue->segments[i]);
	free(queue->segments);
}

static void
free_index(struct queue *queue)
{
	struct queued *message, *next;

	for (size_t i = 0; i < queue->table_size; i++) {
		for (message = queue->table[i]; message != NULL;
		     message = next) {
			next = message->chain;
			message_free(message);
		}
	}
	free(queue->table);
	free(queue->ages.slots);
	hops_free(queue);
	free_segments(queue);
}

void
queue_close(struct queue *queue)
{
	if (queue == NULL)
		return;
	log_stop(queue);
	free_index(queue);
	sent_free(queue->sent);
	if (queue->in_folder >= 0)
		close(queue->in_folder);
	if (queue->relay_folder >= 0)
		close(queue->relay_folder);
	if (queue->damaged_folder >= 0)
		close(queue->damaged_folder);
	pthread_mutex_destroy(&queue->lock);
	pthread_mutex_destroy(&queue->ingest);
	pthread_cond_destroy(&queue->work);
	pthread_cond_destroy(&queue->keep);
	pthread_cond_destroy(&queue->settled);
	free(queue);
}

bool
queue_settle(struct queue *queue, int timeout_ms)
{
	return log_wait(queue, timeout_ms);
}

void
queue_configure(struct queue *queue, const struct config *config,
    const struct routes *routes)
{
	struct site *site;

	pthread_mutex_lock(&queue->lock);
	settings_take(queue, config, routes);
	index_age_all(queue);
	queue->aged = true;
	queue->routed = 0;
	queue->compact_at = 0; /* it may be short of another room */
	pthread_cond_signal(&queue->keep);
	LIST_FOREACH (site, &queue->all_sites, all)
		pace_forget(site);
	pthread_cond_broadcast(&queue->work);
	pthread_mutex_unlock(&queue->lock);
}

/* Notices. */

/* Under ingest: all that was not read yet and is certain. */
static void
read_again(struct queue *queue)
{
	struct reason why;

	queue->unread = false;
	if (!store_scan(queue, &why))
		return;
	if (queue->noticed.start_id != 0 &&
	    queue->noticed.start_id == queue->live)
		store_committed(queue, queue->noticed.start_id,
		    queue->noticed.file, queue->noticed.end,
		    queue->noticed.closed);
	if (queue->unread || !queue->unread_told)
		return;
	pthread_mutex_lock(&queue->lock);
	queue->unread_told = false;
	pthread_mutex_unlock(&queue->lock);
	log_line(SAY_NOTE, "queue", "files=read");
}

void
queue_live(struct queue *queue, uint64_t start_id)
{
	pthread_mutex_lock(&queue->ingest);
	if (start_id != 0 && queue->live != start_id) {
		queue->live = start_id;
		read_again(queue);
	}
	pthread_mutex_unlock(&queue->ingest);
}

void
queue_committed(struct queue *queue, uint64_t start_id, uint32_t segment,
    uint64_t end, bool closed)
{
	pthread_mutex_lock(&queue->ingest);
	queue->noticed.start_id = start_id;
	queue->noticed.file = segment;
	queue->noticed.end = end;
	queue->noticed.closed = closed;
	store_committed(queue, start_id, segment, end, closed);
	pthread_mutex_unlock(&queue->ingest);
}

void
queue_tick(struct queue *queue)
{
	int64_t now = queue_monotonic_ms();

	pthread_mutex_lock(&queue->ingest);
	if (queue->trouble && now >= queue->read_again_ms) {
		read_again(queue);
		queue->read_again_ms = queue_monotonic_ms() + READ_AGAIN_MS;
	}
	pthread_mutex_unlock(&queue->ingest);
}

/* Deliveries. */

struct loan {
	struct leg *leg;
	bool verified; /* the message's body was right once */
	struct segment *segment;
	struct journal_record record;
	void *octets;  /* envelope and head */
	bool own_body; /* body_fd is ours to close */
	struct slot slot; /* the worker's, if one has it */
};

struct leg *
delivery_leg(const struct delivery *delivery)
{
	const struct loan *loan = delivery->queue_private;

	return loan->leg;
}

struct slot *
delivery_slot(const struct delivery *delivery)
{
	struct loan *loan = delivery->queue_private;

	return &loan->slot;
}

void
delivery_close(struct queue *queue, struct delivery *delivery)
{
	struct loan *loan = delivery->queue_private;

	if (loan != NULL) {
		if (loan->own_body)
			close(delivery->body_fd);
		if (loan->segment != NULL)
			store_segment_release(queue, loan->segment);
		pthread_mutex_lock(&queue->lock);
		pace_release(&loan->slot);
		pthread_mutex_unlock(&queue->lock);
		free(loan->octets);
		free(loan);
	}
	envelope_fini(&delivery->envelope);
	free(delivery->recipients);
	free(delivery);
}

static bool
read_front(struct delivery *delivery, struct loan *loan, int fd,
    uint64_t offset, struct reason *why)
{
	if (!journal_read_front(fd, &loan->segment->header, offset,
		&loan->record, &loan->octets, why) ||
	    !envelope_decode(&delivery->envelope, loan->octets,
		loan->record.envelope_len, why))
		return false;
	delivery->head =
	    (unsigned char *)loan->octets + loan->record.envelope_len;
	delivery->head_len = loan->record.head_len;
	return true;
}

static bool
find_body(struct queue *queue, struct delivery *delivery, struct loan *loan,
    int fd, struct reason *why)
{
	const struct journal_record *record = &loan->record;

	delivery->body_fd = fd;
	delivery->body_offset = (off_t)journal_body_offset(record);
	delivery->body_len = record->body_len;
	if ((record->flags & JOURNAL_LARGE) != 0) {
		if (!store_body_open(queue, loan->segment, record->number,
			&delivery->body_fd, why))
			return false;
		loan->own_body = true;
		delivery->body_offset = 0;
	}
	if (loan->verified)
		return true;
	if (!journal_check_octets(delivery->body_fd,
		(uint64_t)delivery->body_offset, delivery->body_len,
		record->body_crc, why))
		return false;
	pthread_mutex_lock(&queue->lock);
	loan->leg->message->verified = true;
	pthread_mutex_unlock(&queue->lock);
	return true;
}

static bool
list_recipients(struct queue *queue, struct delivery *delivery, struct leg *leg,
    struct reason *why)
{
	struct queued *message = leg->message;
	size_t count = delivery->envelope.recipient_count;

	delivery->recipients = calloc(count, sizeof(struct delivery_recipient));
	if (delivery->recipients == NULL)
		return fail(why, REASON_NO_MEMORY, "queue: recipients");
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < count; i++) {
		if (!message_is_done(message, (uint32_t)i) &&
		    leg_of(message, (uint32_t)i) == leg)
			delivery->recipients[delivery->recipient_count++]
			    .index = (unsigned)i;
	}
	pthread_mutex_unlock(&queue->lock);
	return true;
}

/* Our own log may move its messages to a new file at any time: the place and
 * the hold on the file are taken at one moment. */
static uint64_t
borrow_place(struct queue *queue, struct loan *loan)
{
	uint64_t offset;

	pthread_mutex_lock(&queue->lock);
	offset = loan->leg->message->offset;
	loan->segment = loan->leg->message->segment;
	loan->segment->users++;
	loan->verified = loan->leg->message->verified;
	pthread_mutex_unlock(&queue->lock);
	return offset;
}

bool
delivery_open(struct queue *queue, struct leg *leg,
    struct delivery **delivery_out, struct reason *why)
{
	struct delivery *delivery = calloc(1, sizeof(*delivery));
	struct loan *loan = calloc(1, sizeof(*loan));
	uint64_t offset;
	bool ok;
	int fd;

	if (delivery == NULL || loan == NULL) {
		free(delivery);
		free(loan);
		return fail(why, REASON_NO_MEMORY, "queue: delivery");
	}
	delivery->queue_private = loan;
	delivery->body_fd = -1;
	loan->leg = leg;
	offset = borrow_place(queue, loan);
	ok = store_segment_use(queue, loan->segment, &fd, why);
	if (ok)
		store_segment_release(queue, loan->segment);
	ok = ok && read_front(delivery, loan, fd, offset, why) &&
	     find_body(queue, delivery, loan, fd, why) &&
	     list_recipients(queue, delivery, leg, why);
	if (!ok) {
		delivery_close(queue, delivery);
		return false;
	}
	delivery->attempt = leg->attempts + 1;
	*delivery_out = delivery;
	return true;
}

void
queue_lend(struct queue *queue, struct leg *leg)
{
	index_unwait(leg);
	leg->active = true;
	leg->message->active++;
	index_settle(queue, leg->message);
}

void
queue_give_back(struct leg *leg)
{
	leg->active = false;
	leg->message->active--;
}

void
queue_unreadable(struct queue *queue, struct leg *leg, const struct reason *why)
{
	struct queued *message = leg->message;
	bool damaged = why->code == REASON_DAMAGED;
	struct log_entry *entry = NULL;

	log_line(SAY_ALARM, damaged ? "held" : "queue",
	    "queue=%s trouble=\"%s\"", message->queue_id, why->text);
	pthread_mutex_lock(&queue->lock);
	queue_give_back(leg);
	if (message->remove || damaged)
		entry = log_key_entry(message->remove ? JOURNAL_REMOVED
						      : JOURNAL_HELD,
		    message->key, why->text);
	if (entry == NULL) {
		index_wait(queue, leg,
		    queue_monotonic_ms() + UNREADABLE_RETRY_MS);
	} else if (message->remove) {
		entry->message = message;
		entry->completes = message->active == 0;
	} else {
		message->held = true;
		message->by_operator = false;
		index_unwait_all(message);
	}
	if (entry != NULL)
		log_add(queue, entry);
	index_settle(queue, message);
	pthread_mutex_unlock(&queue->lock);
}

void
queue_stop(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stop = true;
	pthread_cond_broadcast(&queue->work);
	pthread_mutex_unlock(&queue->lock);
}

void
queue_count(struct queue *queue, struct queue_counts *out)
{
	pthread_mutex_lock(&queue->lock);
	*out = queue->counts;
	pthread_mutex_unlock(&queue->lock);
}

void
queue_condition(struct queue *queue, struct queue_condition *out)
{
	pthread_mutex_lock(&queue->lock);
	out->failing = queue->log_trouble;
	out->waiting = queue->entries_added - queue->entries_settled;
	out->trouble = queue->log_why;
	out->unread = queue->unread_told;
	out->unread_why = queue->unread_why;
	pthread_mutex_unlock(&queue->lock);
}
