/*
 * server/queue_history.h: what a rotation of the relay's log keeps of the
 * attempts at messages that still wait.
 *
 * Each ATTEMPT names the one before.  A rotation copies the chain in order:
 * the last attempt always (it has the reason that lists tell), then the first,
 * then the latest before the last as long as there is room; the attempt after
 * those that are left out says how many they were.
 *
 * Room is counted in octets: HISTORY_MESSAGE each, some 50 attempts of ordinary
 * size, but no more than HISTORY_ALL for all messages together.  Every start
 * rewrites the log, so that is what the history of a full queue adds to a
 * start at most, while a queue of a few thousand messages keeps all it may.
 *
 * Threads: the keeper's, or a start's before there are others.
 */
#ifndef SERVER_QUEUE_HISTORY_H
#define SERVER_QUEUE_HISTORY_H

#include "queue_internal.h"

#define HISTORY_MESSAGE (UINT64_C(16) << 10)
#define HISTORY_ALL (UINT64_C(64) << 20)

enum {
	HISTORY_KEPT = 256, /* attempts at one message */
	HISTORY_GATHERED = 1024 * 1024,
};

/* An ATTEMPT as it was read. */
struct past {
	struct journal_record record;
	unsigned char *octets;
	uint32_t prev_file, gap;
	bool has_gap;
	uint64_t prev_offset;
};

struct history {
	struct queue *queue;
	struct journal *journal;                /* the new file */
	uint64_t room;                          /* octets a message may have */
	struct segment *segment;                /* looked at last */
	struct past kept[HISTORY_KEPT], oldest; /* kept: the last comes first */
	size_t count;
	uint64_t used;
	/* The batch borrows them until it is written. */
	unsigned char *gathered[JOURNAL_BATCH_RECORDS];
	size_t gathered_count, gathered_octets;
};

/* NULL without memory; messages: of how many there may be attempts.
 * queue->batch is its until history_end. */
struct history *history_begin(struct queue *queue, struct journal *journal,
    size_t messages);
/*
 * Copy the chain of the message whose last attempt stands in file at offset.
 * *copied_out: where that is in the new file; 0: it could not be read any
 * more.  False if it could not be written.
 */
bool history_copy(struct history *history, struct message_key key,
    uint32_t file, uint64_t offset, uint64_t *copied_out, struct reason *why);
/* Write what is gathered, if ok; frees it in any case. */
bool history_end(struct history *history, bool ok, struct reason *why);

#endif
