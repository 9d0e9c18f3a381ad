/*
 * server/queue_index.c: the queue in memory: a table of messages by key, heaps
 * of legs that wait and of messages by age, and their states.
 */
#include "queue_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TABLE_FIRST = 1024, HEAP_FIRST = 8 };

static int64_t
clock_ms(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
queue_now_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

int64_t
queue_monotonic_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

/* The table. */

/* Marks are random, numbers are not: mix both. */
static size_t
table_slot(size_t size, struct message_key key)
{
	uint64_t h = key.mark ^ (key.number * UINT64_C(0x9e3779b97f4a7c15));

	h ^= h >> 29;
	return (size_t)(h & (size - 1));
}

size_t
index_place(const struct queue *queue, struct message_key key)
{
	return table_slot(queue->table_size, key);
}

struct queued *
index_find(const struct queue *queue, struct message_key key)
{
	struct queued *message;

	if (queue->table_size == 0)
		return NULL;
	for (message = queue->table[table_slot(queue->table_size, key)];
	     message != NULL; message = message->chain) {
		if (message->key.mark == key.mark &&
		    message->key.number == key.number)
			return message;
	}
	return NULL;
}

static bool
table_grow(struct queue *queue)
{
	size_t size =
	    queue->table_size == 0 ? TABLE_FIRST : queue->table_size * 2;
	struct queued **table, *message, *next;

	if (queue->table_count < queue->table_size)
		return true;
	table = calloc(size, sizeof(struct queued *));
	if (table == NULL)
		return queue->table_size > 0; /* chains grow instead */
	for (size_t i = 0; i < queue->table_size; i++) {
		for (message = queue->table[i]; message != NULL;
		     message = next) {
			size_t slot = table_slot(size, message->key);

			next = message->chain;
			message->chain = table[slot];
			table[slot] = message;
		}
	}
	free(queue->table);
	queue->table = table;
	if (queue->routed < queue->table_size)
		queue->routed = 0; /* their places are others */
	queue->table_size = size;
	return true;
}

struct queued *
index_get(struct queue *queue, struct message_key key)
{
	struct queued *message = index_find(queue, key);
	size_t slot;

	if (message != NULL)
		return message;
	if (!table_grow(queue))
		return NULL;
	message = calloc(1, sizeof(*message));
	if (message == NULL)
		return NULL;
	message->key = key;
	message->state = MESSAGE_GHOST;
	message->leg.message = message;
	slot = table_slot(queue->table_size, key);
	message->chain = queue->table[slot];
	queue->table[slot] = message;
	queue->table_count++;
	return message;
}

void
index_remove(struct queue *queue, struct queued *message)
{
	struct queued **at =
	    &queue->table[table_slot(queue->table_size, message->key)];

	while (*at != message)
		at = &(*at)->chain;
	*at = message->chain;
	queue->table_count--;
}

const struct queued_more *
message_more(const struct queued *message)
{
	static const struct queued_more nothing;

	return message->more != NULL ? message->more : &nothing;
}

struct queued_more *
message_need_more(struct queued *message)
{
	if (message->more == NULL)
		message->more = calloc(1, sizeof(*message->more));
	return message->more;
}

bool
message_place(struct queued *message, struct segment *segment,
    const struct journal_record *record)
{
	bool is_large = (record->flags & JOURNAL_LARGE) != 0;

	if (is_large && message_need_more(message) == NULL)
		return false;
	if (is_large)
		message->more->large = record->number;
	message->segment = segment;
	message->offset = record->offset;
	message->octets = record->head_len + record->body_len;
	message->extent = (uint32_t)journal_extent(record);
	message->is_large = is_large;
	return true;
}

void
message_free(struct queued *message)
{
	if (message == NULL)
		return;
	legs_free(message);
	free(message_more(message)->done);
	free(message->more);
	free(message);
}

/* Recipients. */

bool
message_is_done(const struct queued *message, uint32_t recipient)
{
	uint32_t word = recipient / 64;
	uint64_t bit = UINT64_C(1) << (recipient % 64);

	if (word == 0)
		return (message->done & bit) != 0;
	return word - 1 < message_more(message)->done_words &&
	       (message->more->done[word - 1] & bit) != 0;
}

bool
message_set_done(struct queued *message, uint32_t recipient)
{
	uint32_t word = recipient / 64;
	uint64_t bit = UINT64_C(1) << (recipient % 64);
	struct queued_more *more;
	uint64_t *grown;

	if (recipient >= ENVELOPE_RECIPIENTS_MAX)
		return false;
	if (word == 0) {
		message->done |= bit;
		return true;
	}
	more = message_need_more(message);
	if (more == NULL)
		return false;
	if (word > more->done_words) {
		grown = reallocarray(more->done, word, sizeof(uint64_t));
		if (grown == NULL)
			return false;
		memset(grown + more->done_words, 0,
		    (word - more->done_words) * sizeof(uint64_t));
		more->done = grown;
		more->done_words = word;
	}
	more->done[word - 1] |= bit;
	return true;
}

/* Heaps. */

static bool
heap_before(const struct heap *heap, const struct leg *a, const struct leg *b)
{
	return heap->by_age ? a->message->age_ms < b->message->age_ms
			    : a->due_ms < b->due_ms;
}

static uint32_t *
heap_place(const struct heap *heap, struct leg *leg)
{
	return heap->by_age ? &leg->message->age_at : &leg->due_at;
}

static void
heap_put(struct heap *heap, size_t at, struct leg *leg)
{
	heap->slots[at] = leg;
	*heap_place(heap, leg) = (uint32_t)(at + 1);
}

static void
heap_up(struct heap *heap, size_t at, struct leg *leg)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (!heap_before(heap, leg, heap->slots[parent]))
			break;
		heap_put(heap, at, heap->slots[parent]);
		at = parent;
	}
	heap_put(heap, at, leg);
}

static void
heap_down(struct heap *heap, size_t at, struct leg *leg)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap_before(heap, heap->slots[child + 1],
			heap->slots[child]))
			child++;
		if (!heap_before(heap, heap->slots[child], leg))
			break;
		heap_put(heap, at, heap->slots[child]);
		at = child;
	}
	heap_put(heap, at, leg);
}

bool
heap_reserve(struct heap *heap, size_t count)
{
	size_t capacity = heap->capacity == 0 ? HEAP_FIRST : heap->capacity;
	struct leg **grown;

	if (count <= heap->capacity)
		return true;
	if (count > UINT32_MAX / 2)
		return false; /* places are counted in 32 bits */
	while (capacity < count)
		capacity *= 2;
	grown = reallocarray(heap->slots, capacity, sizeof(struct leg *));
	if (grown == NULL)
		return false;
	heap->slots = grown;
	heap->capacity = capacity;
	return true;
}

bool
heap_add(struct heap *heap, struct leg *leg)
{
	if (*heap_place(heap, leg) != 0)
		heap_remove(heap, leg);
	if (!heap_reserve(heap, heap->count + 1))
		return false;
	heap->count++;
	heap_up(heap, heap->count - 1, leg);
	return true;
}

void
heap_remove(struct heap *heap, struct leg *leg)
{
	uint32_t *place = heap_place(heap, leg);
	size_t at = *place - (size_t)1;
	struct leg *last;

	if (*place == 0)
		return;
	*place = 0;
	last = heap->slots[--heap->count];
	if (last == leg)
		return;
	if (at > 0 && heap_before(heap, last, heap->slots[(at - 1) / 2]))
		heap_up(heap, at, last);
	else
		heap_down(heap, at, last);
}

/* States. */

static bool
is_in_queue(enum message_state state)
{
	return state == MESSAGE_WAITING || state == MESSAGE_ACTIVE ||
	       state == MESSAGE_HELD;
}

static void
count_message(struct queue *queue, const struct queued *message,
    enum message_state state, bool add)
{
	uint64_t one = add ? 1 : UINT64_MAX; /* minus one, by wrapping */

	if (!is_in_queue(state))
		return;
	queue->counts.messages += one;
	queue->counts.octets += add ? message->octets : 0 - message->octets;
	if (state == MESSAGE_HELD)
		queue->counts.held += one;
	if (state == MESSAGE_WAITING && message->attempts > 0)
		queue->counts.deferred += one;
}

void
index_set_state(struct queue *queue, struct queued *message,
    enum message_state state)
{
	count_message(queue, message, message->state, false);
	count_message(queue, message, state, true);
	message->state = state;
	if (state == MESSAGE_HELD || state == MESSAGE_COMPLETE)
		heap_remove(&queue->ages, &message->leg);
}

static bool
some_leg_waits(const struct queued *message)
{
	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next)
		if (leg->pending > 0 && !leg->active && !leg->held)
			return true;
	return false;
}

void
index_settle(struct queue *queue, struct queued *message)
{
	enum message_state state = MESSAGE_HELD;

	if (message->active > 0)
		state = MESSAGE_ACTIVE;
	else if (message->pending == 0 || message->settled || message->remove)
		state = MESSAGE_COMPLETE;
	else if (!message->held && some_leg_waits(message))
		state = MESSAGE_WAITING;
	index_set_state(queue, message, state);
	if (route_is_stale(queue, message))
		route_later(queue, message);
}

void
index_wait(struct queue *queue, struct leg *leg, int64_t due_ms)
{
	leg->due_ms = due_ms;
	/* Without memory for it the leg waits nowhere, but is on disk and
	 * listed; the next start takes it up again. */
	if (!flow_add(leg))
		leg->due_at = 0;
	if (leg->message->age_at == 0)
		index_age(queue, leg->message);
}

static int64_t
age_ms(const struct queue_settings *settings, const struct queued *message)
{
	int64_t age = settings->expire_ms;

	if (!message->told && settings->delay_ms > 0 &&
	    (age == 0 || settings->delay_ms < age))
		age = settings->delay_ms;
	return age == 0 ? INT64_MAX : message->arrival_ms + age;
}

void
index_age(struct queue *queue, struct queued *message)
{
	/* Its place is that of its old age: first out of it. */
	heap_remove(&queue->ages, &message->leg);
	message->age_ms = age_ms(&queue->settings, message);
	heap_add(&queue->ages, &message->leg);
}

void
index_age_all(struct queue *queue)
{
	struct heap *ages = &queue->ages;

	for (size_t i = 0; i < ages->count; i++)
		ages->slots[i]->message->age_ms =
		    age_ms(&queue->settings, ages->slots[i]->message);
	for (size_t i = ages->count / 2; i > 0; i--)
		heap_down(ages, i - 1, ages->slots[i - 1]);
}

void
index_unwait(struct leg *leg)
{
	if (leg->due_at != 0)
		flow_remove(leg);
}

void
index_unwait_all(struct queued *message)
{
	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next)
		index_unwait(leg);
}
