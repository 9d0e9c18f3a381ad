/*
 * server/auth_timer.h: what is due when; a binary heap.
 *
 * Timers are part of the structs they belong to.  Threads: one.
 */
#ifndef SERVER_AUTH_TIMER_H
#define SERVER_AUTH_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
	int64_t due_ms;
	size_t place; /* in the heap, from 1; 0: not set */
	void (*fire)(void *owner);
	void *owner;
};

struct timers {
	struct timer **heap; /* from 1 */
	size_t count, room;
};

/* Room for that many timers at once; false without memory. */
bool timers_init(struct timers *timers, size_t room);

/* Set, or move; false only if there is no room. */
bool timer_set(struct timers *timers, struct timer *timer, int64_t due_ms);
void timer_clear(struct timers *timers, struct timer *timer);

/* When the first is due; -1: none is. */
int64_t timers_next(const struct timers *timers);

/* Clear and fire all that are due. */
void timers_fire(struct timers *timers, int64_t now_ms);

#endif
