/* server/auth_timer.c: what is due when; a binary heap. */
#include "auth_timer.h"

#include <stdlib.h>

bool
timers_init(struct timers *timers, size_t room)
{
	timers->heap = calloc(room + 1, sizeof *timers->heap);
	timers->count = 0;
	timers->room = room;
	return timers->heap != NULL;
}

static void
place(struct timers *timers, size_t at, struct timer *timer)
{
	timers->heap[at] = timer;
	timer->place = at;
}

static void
rise(struct timers *timers, size_t at)
{
	struct timer *timer = timers->heap[at];

	while (at > 1 && timers->heap[at / 2]->due_ms > timer->due_ms) {
		place(timers, at, timers->heap[at / 2]);
		at /= 2;
	}
	place(timers, at, timer);
}

static void
sink(struct timers *timers, size_t at)
{
	struct timer *timer = timers->heap[at];

	for (size_t child; (child = 2 * at) <= timers->count; at = child) {
		if (child < timers->count && timers->heap[child + 1]->due_ms <
						 timers->heap[child]->due_ms)
			child++;
		if (timers->heap[child]->due_ms >= timer->due_ms)
			break;
		place(timers, at, timers->heap[child]);
	}
	place(timers, at, timer);
}

bool
timer_set(struct timers *timers, struct timer *timer, int64_t due_ms)
{
	if (timer->place == 0) {
		if (timers->count == timers->room)
			return false;
		place(timers, ++timers->count, timer);
	}
	timer->due_ms = due_ms;
	rise(timers, timer->place);
	sink(timers, timer->place);
	return true;
}

void
timer_clear(struct timers *timers, struct timer *timer)
{
	size_t at = timer->place;
	struct timer *last;

	if (at == 0)
		return;
	timer->place = 0;
	last = timers->heap[timers->count--];
	if (last == timer)
		return;
	place(timers, at, last);
	rise(timers, at);
	sink(timers, last->place);
}

int64_t
timers_next(const struct timers *timers)
{
	return timers->count > 0 ? timers->heap[1]->due_ms : -1;
}

void
timers_fire(struct timers *timers, int64_t now_ms)
{
	while (timers->count > 0 && timers->heap[1]->due_ms <= now_ms) {
		struct timer *timer = timers->heap[1];

		timer_clear(timers, timer);
		timer->fire(timer->owner);
	}
}
