/*
 * server/alarm.c: which alarms somebody is told about, and what waits.
 */
#include "alarm.h"

#include <stdlib.h>
#include <string.h>

enum { HOUR_MS = 3600 * 1000 };

/* What was told an hour ago counts no more. */
static void
forget_old(struct alarm_filter *filter, int64_t now_ms)
{
	for (size_t i = 0; i < ALARM_AN_HOUR; i++) {
		if (filter->told[i].text == NULL ||
		    now_ms - filter->told[i].at < HOUR_MS)
			continue;
		free(filter->told[i].text);
		filter->told[i].text = NULL;
	}
}

/* A free place for one more of role; ALARM_AN_HOUR if there is none. */
static size_t
find_room(const struct alarm_filter *filter, enum role role)
{
	size_t room = ALARM_AN_HOUR, of_role = 0;

	for (size_t i = 0; i < ALARM_AN_HOUR; i++) {
		if (filter->told[i].text == NULL)
			room = i;
		else if (filter->told[i].role == role)
			of_role++;
	}
	return of_role < ALARM_OF_ROLE ? room : ALARM_AN_HOUR;
}

static bool
was_told(const struct alarm_filter *filter, enum role role, const char *text)
{
	for (size_t i = 0; i < ALARM_AN_HOUR; i++)
		if (filter->told[i].text != NULL &&
		    filter->told[i].role == role &&
		    strcmp(filter->told[i].text, text) == 0)
			return true;
	return false;
}

static bool
note_told(struct alarm_filter *filter, enum role role, const char *text,
    int64_t now_ms)
{
	size_t room = find_room(filter, role);
	char *copy;

	if (room == ALARM_AN_HOUR || (copy = strdup(text)) == NULL)
		return false;
	filter->told[room].text = copy;
	filter->told[room].role = role;
	filter->told[room].at = now_ms;
	return true;
}

enum alarm_fate
alarm_judge(struct alarm_filter *filter, enum role role, const char *text,
    int64_t now_ms)
{
	forget_old(filter, now_ms);
	if (was_told(filter, role, text))
		return ALARM_REPEATED;
	/* How many were left out comes first, or a flood that lasts would take
	 * each place that line could have. */
	if (!(filter->left_out > 0 && role == filter->left_out_role) &&
	    note_told(filter, role, text, now_ms))
		return ALARM_TOLD;
	filter->left_out++;
	filter->left_out_role = role;
	return ALARM_LEFT_OUT;
}

uint64_t
alarm_left_out(struct alarm_filter *filter, int64_t now_ms)
{
	uint64_t count = filter->left_out;

	if (count == 0)
		return 0;
	forget_old(filter, now_ms);
	/* It takes a place of the role that had too much to say, so that a
	 * lasting flood has one such line an hour and not one for each of its
	 * lines. */
	if (!note_told(filter, filter->left_out_role, "", now_ms))
		return 0;
	filter->left_out = 0;
	return count;
}

int64_t
alarm_left_out_at(const struct alarm_filter *filter)
{
	int64_t at = INT64_MAX;

	if (filter->left_out == 0)
		return INT64_MAX;
	for (size_t i = 0; i < ALARM_AN_HOUR; i++)
		if (filter->told[i].text != NULL && filter->told[i].at < at)
			at = filter->told[i].at;
	return at == INT64_MAX ? 0 : at + HOUR_MS;
}

void
alarm_filter_fini(struct alarm_filter *filter)
{
	for (size_t i = 0; i < ALARM_AN_HOUR; i++)
		free(filter->told[i].text);
	memset(filter, 0, sizeof(*filter));
}

/* --- on their way ------------------------------------------------------- */

static void
remove_at(struct alarm_queue *queue, size_t i)
{
	free(queue->waiting[i].text);
	queue->count--;
	memmove(&queue->waiting[i], &queue->waiting[i + 1],
	    (queue->count - i) * sizeof(queue->waiting[0]));
}

/* The first that was not sent; count if there is none. */
static size_t
find_unsent(const struct alarm_queue *queue)
{
	size_t i = 0;

	while (i < queue->count && queue->waiting[i].sent)
		i++;
	return i;
}

static void
make_room(struct alarm_queue *queue)
{
	size_t i = find_unsent(queue);

	queue->dropped++;
	remove_at(queue, i < queue->count ? i : 0);
}

void
alarm_queue_add(struct alarm_queue *queue, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL) {
		queue->dropped++;
		return;
	}
	if (queue->count == ALARM_WAITING)
		make_room(queue);
	queue->waiting[queue->count++] =
	    (struct alarm_waiting){ .number = ++queue->last_number,
		    .text = copy };
}

struct alarm_waiting *
alarm_queue_next(struct alarm_queue *queue)
{
	size_t i = find_unsent(queue);

	return i < queue->count ? &queue->waiting[i] : NULL;
}

bool
alarm_queue_arrived(struct alarm_queue *queue, uint64_t number)
{
	for (size_t i = 0; i < queue->count; i++) {
		if (queue->waiting[i].number != number ||
		    !queue->waiting[i].sent)
			continue;
		remove_at(queue, i);
		return true;
	}
	return false;
}

void
alarm_queue_again(struct alarm_queue *queue)
{
	for (size_t i = 0; i < queue->count; i++)
		queue->waiting[i].sent = false;
}

void
alarm_queue_fini(struct alarm_queue *queue)
{
	while (queue->count > 0)
		remove_at(queue, queue->count - 1);
}
