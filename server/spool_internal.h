/*
 * server/spool_internal.h: what the files of the spool share.
 *
 * Locks: spool.lock guards the two lists, the position, stopping and trouble,
 * and is never held across I/O.  The current and next segment belong to the
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
	uint64_t promised; /* octets it may yet take of the disk */
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
	uint64_t start_id, segment;
	void (*committed)(void *, uint32_t, uint64_t, bool);
	void *context;

	atomic_uint_fast64_t memory, reserve; /* see spool_options */
	atomic_uint_fast64_t memory_used;
	atomic_uint_fast64_t large_counter;
	/* As sampled, less what was written since. */
	atomic_uint_fast64_t free_octets, free_files;
	atomic_uint_fast64_t promised; /* to messages, and not written */
	atomic_int_fast64_t sampled_ms;

	pthread_mutex_t lock;
	pthread_cond_t some, some_large;
	struct spool_list waiting;       /* for the committer */
	struct spool_list waiting_large; /* for their file's sync */
	bool stop, stop_large;
	uint32_t position_file;
	uint64_t position_end;
	/* Trouble, as it was told; the committer looks for its end. */
	bool failing, low;
	int64_t failed_ms; /* when it failed last */
	struct reason trouble;

	pthread_t committer, syncer;
	/* The committer's own. */
	struct journal current, next;
	uint32_t next_number; /* of the next segment made */
	bool to_close;        /* the next batch begins with JOURNAL_CLOSED */
	bool doubtful;        /* and until then refused messages may be found
				 behind the end */
	uint64_t messages;    /* in the current segment */
	uint32_t closed_file;
	uint64_t closed_end;
	unsigned char closed[SPOOL_CLOSED_OCTETS];
	struct journal_batch batch;
};

/* spool_room.c; threads: any. */

/* Ask the file system now. */
void spool_room_sample(struct spool *spool);
bool spool_room_is_low(const struct spool *spool);
/* The message may take so many octets more, was written so far, or will take
 * no more. */
void spool_room_promise(struct spool_message *message, uint64_t octets);
void spool_room_written(struct spool_message *message, uint64_t octets);
void spool_room_release(struct spool_message *message);
/* Octets of the budget for messages in memory. */
bool spool_memory_charge(struct spool *spool, uint64_t octets);
void spool_memory_release(struct spool *spool, uint64_t octets);

/* spool_trouble.c; threads: any.  No lock may be held. */

/* The disk refused something: told once, until it is over. */
void spool_trouble_failed(struct spool *spool, const struct reason *why);
void spool_trouble_low(struct spool *spool);
/* Milliseconds of a clock that does not go back. */
int64_t spool_now_ms(void);
/* Anything that the committer is to look at again and again. */
bool spool_trouble_is(struct spool *spool);
/* It was quiet long enough to try the disk; and that worked. */
bool spool_trouble_wants_proof(struct spool *spool);
void spool_trouble_proved(struct spool *spool);
/* Has the reserve filled up again? */
void spool_trouble_look_at_room(struct spool *spool);

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
