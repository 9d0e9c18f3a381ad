/*
 * server/spool_internal.h: what the files of the spool share.
 *
 * Locks: spool.lock guards the two lists, the position and stopping, and is
 * never held across I/O.  The current and next segment belong to the
 * committer's thread alone.
 */
#ifndef SERVER_SPOOL_INTERNAL_H
#define SERVER_SPOOL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "journal.h"
#include "spool.h"

enum {
	SPOOL_FILE_MODE = 0640, /* the relay's group reads */
	SPOOL_CLOSED_OCTETS = 4 + 8,
	SPOOL_CHUNKS_MAX = 10, /* of a message in memory */
};

struct spool_chunk {
	struct spool_chunk *next;
	size_t len, capacity;
	unsigned char octets[];
};

struct spool_message {
	struct spool *spool;
	struct spool_message *next;
	uint64_t size;
	uint32_t crc;
	struct spool_chunk *first, *last;
	int fd; /* of the large file, or -1 */
	uint64_t counter;
	uint64_t written, writeback; /* octets of the large file */
	bool failed;
	struct reason why; /* it failed */

	/* Once it is handed over. */
	struct journal_record record;
	unsigned char *front; /* envelope and head */
	void (*done)(void *context, bool ok, const struct reason *why);
	void *context;
};

struct spool_list {
	struct spool_message *first, **end;
};

struct spool {
	int folder;
	uint64_t start_id, memory, reserve, segment;
	void (*committed)(void *, uint32_t, uint64_t, bool);
	void *context;

	atomic_uint_fast64_t memory_used;
	atomic_uint_fast64_t large_counter;
	atomic_uint_fast64_t free_octets; /* as sampled */
	atomic_int_fast64_t sampled_ms;

	pthread_mutex_t lock;
	pthread_cond_t some, some_large;
	struct spool_list waiting;       /* for the committer */
	struct spool_list waiting_large; /* for their file's sync */
	bool stop, stop_large;
	uint32_t position_file;
	uint64_t position_end;

	pthread_t committer, syncer;
	/* The committer's own. */
	struct journal current, next;
	uint32_t next_number; /* of the next segment made */
	bool to_close;        /* the next batch begins with JOURNAL_CLOSED */
	uint32_t closed_file;
	uint64_t closed_end;
	unsigned char closed[SPOOL_CLOSED_OCTETS];
	struct journal_batch batch;
};

/* spool_room.c; threads: any. */

/* Ask the file system now. */
void spool_room_sample(struct spool *spool);
/* Octets of the budget for messages in memory. */
bool spool_memory_charge(struct spool *spool, uint64_t octets);
void spool_memory_release(struct spool *spool, uint64_t octets);

/* spool_message.c */

/* What is gathered goes to the large file. */
bool spool_large_flush(struct spool_message *message, struct reason *why);
void spool_chunks_free(struct spool_message *message);

/* spool_commit.c */

void spool_list_init(struct spool_list *list);
/* Make the current segment if there is none; before the threads run, or on the
 * committer's. */
bool spool_segment_ready(struct spool *spool, struct reason *why);
/* The threads; arg is the spool. */
void *spool_commit_run(void *arg);
void *spool_sync_run(void *arg);

#endif
