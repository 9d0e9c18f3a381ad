/*
 * server/queue_look.h: looking at the queue's messages one at a time, for
 * "sallyport queue".
 *
 * The queue's lock is held for a slice of the table, or while one message's
 * fields are copied; envelopes and attempts are read from disk without it.
 */
#ifndef SERVER_QUEUE_LOOK_H
#define SERVER_QUEUE_LOOK_H

#include "queue_filter.h"
#include "queue_internal.h"

/* A message's way over one next hop. */
struct look_leg {
	struct next_hop hop; /* as the leg is named; "" for none */
	uint32_t pending, attempts;
	bool active, held;
	int64_t next_ms;                /* Unix; its own turn, or its sites' */
	bool due_known;                 /* next_ms says when it is tried */
	char status[QUEUE_STATUS_SIZE]; /* of the last failure, or "" */
	char text[512];                 /* said last, or why it is not tried */
	bool told;                      /* text is an attempt's */
};

/* What was copied of a message, and read of it. */
struct look {
	struct message_key key;
	char queue_id[QUEUE_ID_SIZE];
	enum queue_state state;
	bool by_operator; /* held by one */
	uint32_t held_line; /* of the routes, which hold some of it; or 0 */
	struct segment *segment; /* in use */
	uint64_t offset;         /* in it */
	uint64_t message_octets; /* head and body */
	uint32_t attempts, pending, recipients;
	int64_t arrival_ms;
	uint32_t last_file;
	uint64_t last_offset;
	struct segment *attempts_in; /* in use, so that it outlives a rotation */
	bool *done;       /* a recipient */
	uint32_t *leg_of; /* a recipient */
	struct look_leg *legs;
	size_t leg_count;
	struct envelope envelope; /* once read */
	struct journal_record record; /* and this, its header */
	unsigned char *octets;    /* envelope and head; NULL: not read */
};

/* Messages that the cheap part of a filter (id, state, age) selects. */
struct selected {
	struct message_key key;
	int64_t arrival_ms;
};

struct selection {
	struct selected *messages; /* the oldest first */
	size_t count, capacity;
};

/*
 * Slots are passed in the order of their reversed bits: a table that doubles
 * between two slices divides each slot into two that are neighbours in that
 * order, so none is passed twice and none is left out.  0 again: all are.
 */
uint64_t look_next_slot(uint64_t slot, uint64_t size);

/* selection_free in any case. */
bool selection_make(struct queue *queue, const struct queue_filter *filter,
    struct selection *selection, struct reason *why);
void selection_free(struct selection *selection);

/* Waiting, active or held.  Callers hold lock, for this and the next three. */
bool look_is_listed(const struct queued *message);
enum queue_state look_state(const struct queued *message);
/* Some of it is held, whatever the rest of it does. */
bool look_has_held_leg(const struct queued *message);
/* The cheap part of the filter; of those that are listed, and of those that are
 * done with, but known still, if it asks for QUEUE_DONE. */
bool look_fits(const struct queued *message, const struct queue_filter *filter,
    int64_t now_ms);

/* False if it does not fit (any more), or without memory; else look_fini
 * follows. */
bool look_copy(struct queue *queue, struct message_key key,
    const struct queue_filter *filter, struct look *look);
/* Its envelope and head. */
bool look_read(struct queue *queue, struct look *look, struct reason *why);
/* What was said last of each leg. */
void look_read_reasons(struct queue *queue, struct look *look);
void look_fini(struct queue *queue, struct look *look);

/* The dear part of the filter; reads what it needs. */
bool look_fits_deep(struct queue *queue, struct look *look,
    const struct queue_filter *filter);

/* Of the legs that have something left the one that comes next, one that is
 * held only if all are; or NULL. */
const struct look_leg *look_next_leg(const struct look *look);
/* One that is held and has something left, or NULL. */
const struct look_leg *look_held_leg(const struct look *look);

#endif
