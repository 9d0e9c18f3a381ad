/*
 * server/spool.h: from mail data to stable storage, in the session role.
 *
 * A message is kept in memory up to SPOOL_MEMORY_MAX octets within one budget
 * for all sessions; beyond either it streams to a file of its own.  One
 * committer thread appends all that has gathered to the role's own segment
 * and calls fdatasync once for all of them.
 */
#ifndef SERVER_SPOOL_H
#define SERVER_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "envelope.h"

enum {
	SPOOL_MEMORY_MAX = 256 * 1024,
	SPOOL_SEGMENT_DEFAULT = 64 * 1024 * 1024,
};

struct spool;
struct spool_message; /* being received; one thread at a time */

struct spool_options {
	const char *folder; /* root "/in" */
	uint64_t start_id;
	uint64_t memory;  /* octets for all messages being received */
	uint64_t reserve; /* free octets on the file system to keep */
	uint64_t segment; /* octets after which a new segment begins;
			     0: SPOOL_SEGMENT_DEFAULT */
	/* Called by the committer after each sync (and after the done calls
	 * of what it committed), for SPOOL_COMMITTED and SPOOL_CLOSED to the
	 * relay; closed: nothing will be added. */
	void (*committed)(void *context, uint32_t segment, uint64_t end,
	    bool closed);
	void *context;
};

/* Makes the first segment; where the disk refuses it, later.  Starts the threads
 * (the committer, and one that syncs large files).  folder has to exist. */
bool spool_open(struct spool **spool_out, const struct spool_options *options,
    struct reason *why);
/* Other limits, as in spool_options, from now on. */
void spool_configure(struct spool *spool, uint64_t memory, uint64_t reserve);
/* Commits what waits, stops the threads.  All spool_messages must have been
 * committed or freed. */
void spool_close(struct spool *spool);
/* Segment and offset up to which all is committed, to tell a new relay. */
void spool_position(struct spool *spool, uint32_t *segment_out,
    uint64_t *end_out);

/*
 * Is there room for a message of about size octets (0: unknown) beside the
 * reserve and what is promised to others?  False with REASON_NO_SPACE: 452
 * 4.3.1.  Cheap: free space is looked at once a second.  A quota shows only
 * when a write fails.
 */
bool spool_has_room(struct spool *spool, uint64_t size, struct reason *why);

/* How the disk is; no lock of the caller's may be one that done takes. */
struct spool_condition {
	bool failing; /* it refused something, and nothing says it is over */
	bool low;     /* the reserve is touched */
	uint64_t free_octets, promised, reserve;
	struct reason trouble; /* while failing */
};
void spool_condition(struct spool *spool, struct spool_condition *out);

/* A new unique queue id: letters and digits, usable in a Message-ID. */
void spool_queue_id(struct spool *spool, char out[static QUEUE_ID_SIZE]);

/* A message's functions: one thread at a time. */
struct spool_message *spool_message_new(struct spool *spool); /* or NULL */
/* Promise it room for size octets (0: none), before any is appended.
 * REASON_NO_SPACE: there is not so much, and the message may only be freed. */
bool spool_message_expect(struct spool_message *message, uint64_t size,
    struct reason *why);
/* REASON_NO_SPACE when disk, reserve, quota or file limits say no, REASON_IO
 * when the disk fails; the message can then only be freed. */
bool spool_message_append(struct spool_message *message, const void *octets,
    size_t len, struct reason *why);
uint64_t spool_message_size(const struct spool_message *message);
/* Not committed: its memory or file goes. */
void spool_message_free(struct spool_message *message);

/*
 * Hand message, envelope and head (header fields to stand before the message;
 * copied) to the committer; message is the spool's from here on, envelope is
 * encoded before the call returns.  done is called once, on one of the spool's
 * threads and never before this call returns to a caller that holds no lock
 * done takes: ok means on stable storage; otherwise (REASON_NO_SPACE,
 * REASON_IO, REASON_NO_MEMORY) nothing is left of it.
 */
void spool_commit(struct spool *spool, struct spool_message *message,
    const struct envelope *envelope, const void *head, size_t head_len,
    void (*done)(void *context, bool ok, const struct reason *why),
    void *context);

#endif
