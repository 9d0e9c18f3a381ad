/*
 * server/queue_look.c: looking at the queue's messages one at a time.
 */
#include "queue_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLICE_SLOTS = 1024,  /* of the table, in one go under the lock */
	REASON_ATTEMPTS = 32 /* looked through for what was said last */
};

/* --- selecting ------------------------------------------------------------ */

bool
look_is_listed(const struct queued *message)
{
	return message->state == MESSAGE_WAITING ||
	       message->state == MESSAGE_ACTIVE ||
	       message->state == MESSAGE_HELD;
}

enum queue_state
look_state(const struct queued *message)
{
	switch (message->state) {
	case MESSAGE_ACTIVE:
		return QUEUE_ACTIVE;
	case MESSAGE_HELD:
		return QUEUE_HELD;
	case MESSAGE_COMPLETE:
		return QUEUE_DONE;
	default:
		return message->attempts > 0 ? QUEUE_DEFERRED : QUEUE_QUEUED;
	}
}

bool
look_has_held_leg(const struct queued *message)
{
	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next)
		if (leg->held && leg->pending > 0)
			return true;
	return false;
}

static bool
is_in_state(const struct queued *message, unsigned states)
{
	return (states & look_state(message)) != 0 ||
	       ((states & QUEUE_HELD) != 0 && look_has_held_leg(message));
}

/* Done with, and not about to be forgotten: see take_finished in
 * server/queue_segment.c. */
static bool
is_remembered(const struct queued *message)
{
	return message->state == MESSAGE_COMPLETE && message->segment != NULL &&
	       (!message->segment->whole || message->segment->incomplete > 0);
}

bool
look_fits(const struct queued *message, const struct queue_filter *filter,
    int64_t now_ms)
{
	if (!look_is_listed(message) &&
	    ((filter->states & QUEUE_DONE) == 0 || !is_remembered(message)))
		return false;
	if (filter->id[0] != '\0' && strcmp(filter->id, message->queue_id) != 0)
		return false;
	if (filter->states != 0 && !is_in_state(message, filter->states))
		return false;
	return queue_filter_age(filter, now_ms - message->arrival_ms);
}

static bool
selection_reserve(struct selection *selection, size_t more)
{
	size_t capacity = selection->count + more;
	struct selected *grown;

	if (capacity <= selection->capacity)
		return true;
	if (capacity < 2 * selection->capacity)
		capacity = 2 * selection->capacity;
	grown = reallocarray(selection->messages, capacity, sizeof(*grown));
	if (grown == NULL)
		return false;
	selection->messages = grown;
	selection->capacity = capacity;
	return true;
}

static uint64_t
reverse_bits(uint64_t value)
{
	uint64_t reversed = 0;

	for (int i = 0; i < 64; i++, value >>= 1)
		reversed = reversed << 1 | (value & 1);
	return reversed;
}

uint64_t
look_next_slot(uint64_t slot, uint64_t size)
{
	return reverse_bits(reverse_bits(slot | ~(size - 1)) + 1);
}

/* One slice; true: there is more. */
static bool
select_slice(struct queue *queue, const struct queue_filter *filter,
    struct selection *selection, uint64_t *slot, int64_t now_ms, bool *failed)
{
	bool more = true;

	pthread_mutex_lock(&queue->lock);
	if (queue->table_size == 0)
		more = false;
	for (int i = 0; more && i < SLICE_SLOTS; i++) {
		for (const struct queued *message = queue->table[*slot];
		     message != NULL; message = message->chain) {
			if (!look_fits(message, filter, now_ms))
				continue;
			/* Room was made outside of the lock, unless chains are
			 * unusually long. */
			if (!selection_reserve(selection, 1)) {
				*failed = true;
				break;
			}
			selection->messages[selection->count++] =
			    (struct selected){ message->key,
				    message->arrival_ms };
		}
		*slot = look_next_slot(*slot, queue->table_size);
		more = *slot != 0 && !*failed;
	}
	pthread_mutex_unlock(&queue->lock);
	return more;
}

static int
compare_selected(const void *a, const void *b)
{
	const struct selected *x = a, *y = b;

	if (x->arrival_ms != y->arrival_ms)
		return x->arrival_ms < y->arrival_ms ? -1 : 1;
	if (x->key.mark != y->key.mark)
		return x->key.mark < y->key.mark ? -1 : 1;
	return x->key.number < y->key.number ? -1
					     : x->key.number > y->key.number;
}

bool
selection_make(struct queue *queue, const struct queue_filter *filter,
    struct selection *selection, struct reason *why)
{
	int64_t now_ms = queue_now_ms();
	uint64_t slot = 0;
	bool failed = false;

	*selection = (struct selection){ .count = 0 };
	do {
		if (!selection_reserve(selection, SLICE_SLOTS * 2))
			failed = true;
	} while (!failed && select_slice(queue, filter, selection, &slot,
				now_ms, &failed));
	if (failed)
		return fail(why, REASON_NO_MEMORY, "queue: list of messages");
	qsort(selection->messages, selection->count, sizeof(struct selected),
	    compare_selected);
	return true;
}

void
selection_free(struct selection *selection)
{
	free(selection->messages);
	*selection = (struct selection){ .count = 0 };
}

/* --- copying -------------------------------------------------------------- */

static size_t
count_legs(const struct queued *message)
{
	size_t count = 0;

	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next)
		count++;
	return count;
}

/* What was said at an attempt before is not why it waits. */
static void
tell_route_hold(struct look_leg *out, const struct leg *leg, uint32_t line)
{
	const struct way *way = &leg->hop->way;
	bool speaks = way->kind == ROUTE_HOLD;

	snprintf(out->text, sizeof(out->text),
	    "held by line %u of the routes%s%s", speaks ? way->line : line,
	    speaks && way->text[0] != '\0' ? ": " : "",
	    speaks ? way->text : ", as they were");
	out->told = true;
}

/* Its own turn, but no attempt is made while none of the sites its way leads to
 * may be tried. */
static void
tell_due(struct look_leg *out, const struct leg *leg)
{
	int64_t wait_ms = hop_wait_ms(leg->hop, queue_monotonic_ms());
	int64_t open_ms = queue_now_ms() + wait_ms;

	out->due_known = leg->attempts > 0 || wait_ms > 0;
	if (wait_ms > 0 && open_ms > out->next_ms)
		out->next_ms = open_ms;
}

static void
copy_legs(struct look *look, const struct queued *message)
{
	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next) {
		struct look_leg *out = &look->legs[look->leg_count++];

		out->pending = leg->pending;
		out->attempts = leg->attempts;
		out->active = leg->active;
		out->held = leg->held;
		out->next_ms = leg->next_ms;
		if (leg->hop == NULL)
			continue;
		out->hop = *hop_name(leg->hop);
		snprintf(out->text, sizeof(out->text), "%s",
		    leg->hop->last_text);
		tell_due(out, leg);
		if (leg->held && message->held_line != 0)
			tell_route_hold(out, leg, message->held_line);
	}
}

static bool
copy_locked(const struct queue *queue, struct look *look,
    struct queued *message)
{
	look->key = message->key;
	memcpy(look->queue_id, message->queue_id, QUEUE_ID_SIZE);
	look->state = look_state(message);
	look->by_operator = message->held && message->by_operator;
	look->held_line = message->held_line;
	look->offset = message->offset;
	look->message_octets = message->octets;
	look->attempts = message->attempts;
	look->pending = message->pending;
	look->recipients = message->recipients;
	look->arrival_ms = message->arrival_ms;
	look->last_file = message->last_file;
	look->last_offset = message->last_offset;
	look->legs = calloc(count_legs(message), sizeof(*look->legs));
	look->done = calloc(message->recipients + 1u, sizeof(*look->done));
	look->leg_of = calloc(message->recipients + 1u, sizeof(*look->leg_of));
	if (look->legs == NULL || look->done == NULL || look->leg_of == NULL)
		return false;
	copy_legs(look, message);
	for (uint32_t i = 0; i < message->recipients; i++) {
		look->done[i] = message_is_done(message, i);
		if (message_more(message)->leg_of != NULL)
			look->leg_of[i] = message->more->leg_of[i];
	}
	look->segment = message->segment;
	look->segment->users++;
	/* A chain stands in one file, but for a tool's that reads the files of
	 * before: nobody drops those. */
	if (queue->log_segment != NULL &&
	    look->last_file == queue->log_segment->file) {
		look->attempts_in = queue->log_segment;
		look->attempts_in->users++;
	}
	return true;
}

bool
look_copy(struct queue *queue, struct message_key key,
    const struct queue_filter *filter, struct look *look)
{
	int64_t now_ms = queue_now_ms();
	struct queued *message;
	bool ok;

	*look = (struct look){ .octets = NULL };
	pthread_mutex_lock(&queue->lock);
	message = index_find(queue, key);
	ok = message != NULL && look_fits(message, filter, now_ms) &&
	     copy_locked(queue, look, message);
	pthread_mutex_unlock(&queue->lock);
	if (!ok)
		look_fini(queue, look);
	return ok;
}

void
look_fini(struct queue *queue, struct look *look)
{
	if (look->octets != NULL)
		envelope_fini(&look->envelope);
	if (look->segment != NULL)
		store_segment_release(queue, look->segment);
	if (look->attempts_in != NULL)
		store_segment_release(queue, look->attempts_in);
	free(look->octets);
	free(look->done);
	free(look->leg_of);
	free(look->legs);
	*look = (struct look){ .octets = NULL };
}

bool
look_read(struct queue *queue, struct look *look, struct reason *why)
{
	void *octets = NULL;
	bool ok;
	int fd;

	if (look->octets != NULL)
		return true;
	if (!store_segment_use(queue, look->segment, &fd, why))
		return false;
	ok = journal_read_front(fd, &look->segment->header, look->offset,
		 &look->record, &octets, why) &&
	     envelope_decode(&look->envelope, octets, look->record.envelope_len,
		 why);
	store_segment_release(queue, look->segment);
	if (ok)
		look->octets = octets;
	else
		free(octets);
	return ok;
}

/* --- what was said last --------------------------------------------------- */

static void
take_reasons(struct look *look, const struct attempt *attempt)
{
	for (size_t i = 0; i < attempt->count; i++) {
		const struct attempt_recipient *one = &attempt->recipients[i];
		struct look_leg *leg;

		if (one->index >= look->recipients ||
		    look->leg_of[one->index] >= look->leg_count ||
		    one->outcome == OUTCOME_DELIVERED ||
		    one->outcome == OUTCOME_DISCARDED)
			continue;
		leg = &look->legs[look->leg_of[one->index]];
		if (leg->told)
			continue;
		leg->told = true;
		snprintf(leg->status, sizeof(leg->status), "%.11s",
		    one->status);
		snprintf(leg->text, sizeof(leg->text), "%.511s", one->text);
	}
}

static bool
is_told(const struct look *look)
{
	for (size_t i = 0; i < look->leg_count; i++)
		if (look->legs[i].pending > 0 && !look->legs[i].told &&
		    look->legs[i].attempts > 0)
			return false;
	return true;
}

void
look_read_reasons(struct queue *queue, struct look *look)
{
	uint32_t file = look->last_file;
	uint64_t offset = look->last_offset;
	struct attempt attempt;
	struct reason why;

	for (int i = 0; i < REASON_ATTEMPTS && file != 0 && !is_told(look);
	     i++) {
		if (!log_read_attempt(queue, file, offset, &attempt, &why))
			break;
		take_reasons(look, &attempt);
		file = attempt.prev_file;
		offset = attempt.prev_offset;
		attempt_fini(&attempt);
	}
}

const struct look_leg *
look_held_leg(const struct look *look)
{
	for (size_t i = 0; i < look->leg_count; i++)
		if (look->legs[i].held && look->legs[i].pending > 0)
			return &look->legs[i];
	return NULL;
}

const struct look_leg *
look_next_leg(const struct look *look)
{
	const struct look_leg *found = NULL;

	for (size_t i = 0; i < look->leg_count; i++) {
		const struct look_leg *leg = &look->legs[i];

		if (leg->pending > 0 && !leg->held &&
		    (found == NULL || leg->next_ms < found->next_ms))
			found = leg;
	}
	return found != NULL ? found : look_held_leg(look);
}

/* --- filtering ------------------------------------------------------------ */

static bool
fits_site(const struct look *look, const struct queue_filter *filter)
{
	for (size_t i = 0; i < look->leg_count; i++)
		if (look->legs[i].pending > 0 &&
		    queue_filter_hop(filter, &look->legs[i].hop))
			return true;
	for (size_t i = 0; i < look->envelope.recipient_count; i++)
		if (i < look->recipients && !look->done[i] &&
		    queue_filter_domain(filter,
			look->envelope.recipients[i].forward_path))
			return true;
	return false;
}

static bool
fits_reason(const struct look *look, const struct queue_filter *filter)
{
	for (size_t i = 0; i < look->leg_count; i++)
		if (look->legs[i].pending > 0 &&
		    queue_filter_reason(filter, look->legs[i].status,
			look->legs[i].text))
			return true;
	return false;
}

bool
look_fits_deep(struct queue *queue, struct look *look,
    const struct queue_filter *filter)
{
	struct reason why;

	if (!queue_filter_is_deep(filter))
		return true;
	if (!look_read(queue, look, &why) ||
	    !queue_filter_user(filter, look->envelope.login,
		look->envelope.device) ||
	    !queue_filter_sender(filter, look->envelope.reverse_path) ||
	    !fits_site(look, filter))
		return false;
	if (filter->reason[0] == '\0')
		return true;
	look_read_reasons(queue, look);
	return fits_reason(look, filter);
}
