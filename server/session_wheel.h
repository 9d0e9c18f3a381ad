/*
 * server/session_wheel.h: deadlines of many sessions, one second apart.
 *
 * A deadline is set on every command and nearly never passes, so setting one
 * is a single store: an entry stays in the slot of an earlier deadline and is
 * only moved when that slot comes up.  The clock is the caller's.
 *
 * Lock: the wheel's own, taken last.  Whoever is told that an entry expired
 * is told under that lock, so that the entry, which must be removed before it
 * is freed, is there for the time of the call.
 */
#ifndef SERVER_SESSION_WHEEL_H
#define SERVER_SESSION_WHEEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WHEEL_SLOTS = 1024 }; /* seconds; later deadlines go round again */

struct wheel_entry {
	struct wheel_entry *next, **link; /* link NULL: not in the wheel */
	_Atomic int64_t deadline;         /* seconds, any monotonic clock */
	_Atomic int64_t due;              /* when its slot comes up */
};

struct wheel {
	pthread_mutex_t lock;
	int64_t now; /* slots up to this second have been looked at */
	struct wheel_entry *slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, int64_t now);
void wheel_add(struct wheel *wheel, struct wheel_entry *entry,
    int64_t deadline);
void wheel_remove(struct wheel *wheel, struct wheel_entry *entry);

/* The owner of the entry sets its deadline, earlier or later. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry,
    int64_t deadline);

/*
 * Look at all slots up to now.  expired is called under the lock for each
 * entry whose deadline has passed; the entry stays, and expires again a
 * second later unless it is removed or its deadline is set anew.
 */
void wheel_tick(struct wheel *wheel, int64_t now,
    void (*expired)(struct wheel_entry *entry));

#endif
