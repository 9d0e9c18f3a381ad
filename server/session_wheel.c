/*
 * server/session_wheel.c: deadlines of many sessions, one second apart.
 */
#include "session_wheel.h"

void
wheel_init(struct wheel *wheel, int64_t now)
{
	unsigned i;

	pthread_mutex_init(&wheel->lock, NULL);
	wheel->now = now;
	for (i = 0; i < WHEEL_SLOTS; i++)
		wheel->slots[i] = NULL;
}

/* Into the slot of its deadline; of the next second if that has passed, of
 * the last one on the wheel if it is further off. */
static void
insert(struct wheel *wheel, struct wheel_entry *entry)
{
	struct wheel_entry **slot;
	int64_t deadline, due;

	/* The owner stores deadline and then reads due; here it is the other
	 * way round, so that one of the two sees what the other did. */
	do {
		deadline = atomic_load(&entry->deadline);
		due = deadline;
		if (due <= wheel->now)
			due = wheel->now + 1;
		if (due > wheel->now + WHEEL_SLOTS - 1)
			due = wheel->now + WHEEL_SLOTS - 1;
		atomic_store(&entry->due, due);
	} while (atomic_load(&entry->deadline) < deadline);
	slot = &wheel->slots[due % WHEEL_SLOTS];
	entry->next = *slot;
	entry->link = slot;
	if (entry->next != NULL)
		entry->next->link = &entry->next;
	*slot = entry;
}

static void
unlink_entry(struct wheel_entry *entry)
{
	if (entry->link == NULL)
		return;
	*entry->link = entry->next;
	if (entry->next != NULL)
		entry->next->link = entry->link;
	entry->link = NULL;
}

void
wheel_add(struct wheel *wheel, struct wheel_entry *entry, int64_t deadline)
{
	atomic_init(&entry->deadline, deadline);
	atomic_init(&entry->due, 0);
	pthread_mutex_lock(&wheel->lock);
	insert(wheel, entry);
	pthread_mutex_unlock(&wheel->lock);
}

void
wheel_remove(struct wheel *wheel, struct wheel_entry *entry)
{
	pthread_mutex_lock(&wheel->lock);
	unlink_entry(entry);
	pthread_mutex_unlock(&wheel->lock);
}

void
wheel_set(struct wheel *wheel, struct wheel_entry *entry, int64_t deadline)
{
	atomic_store(&entry->deadline, deadline);
	/* Its slot comes up in time: the common case, and no lock. */
	if (atomic_load(&entry->due) <= deadline)
		return;
	pthread_mutex_lock(&wheel->lock);
	unlink_entry(entry);
	insert(wheel, entry);
	pthread_mutex_unlock(&wheel->lock);
}

static void
look_at_slot(struct wheel *wheel, void (*expired)(struct wheel_entry *entry))
{
	struct wheel_entry **slot = &wheel->slots[wheel->now % WHEEL_SLOTS];
	struct wheel_entry *entry = *slot, *next;

	/* All come out first: insert may put one back into any slot. */
	*slot = NULL;
	for (; entry != NULL; entry = next) {
		next = entry->next;
		entry->link = NULL;
		if (atomic_load(&entry->deadline) <= wheel->now)
			expired(entry);
		insert(wheel, entry);
	}
}

void
wheel_tick(struct wheel *wheel, int64_t now,
    void (*expired)(struct wheel_entry *entry))
{
	pthread_mutex_lock(&wheel->lock);
	while (wheel->now < now) {
		wheel->now++;
		look_at_slot(wheel, expired);
	}
	pthread_mutex_unlock(&wheel->lock);
}
