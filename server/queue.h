/*
 * server/queue.h: the relay's queue: what is to be delivered, when, and what
 * became of it.
 *
 * Owned by the relay role.  The index is in memory, envelopes and bodies stay
 * in the segments on disk; every outcome is appended to the relay's own log
 * and synced in groups by one thread.  All functions are safe for any thread.
 */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "envelope.h"
#include "route.h"

struct queue;

enum outcome {
	OUTCOME_NONE,      /* not tried in this attempt: stays due */
	OUTCOME_DELIVERED, /* 2xx to the final dot */
	OUTCOME_TEMPORARY, /* try again later */
	OUTCOME_PERMANENT, /* bounce */
	OUTCOME_DISCARDED, /* dropped, as its route says */
};

struct delivery_recipient {
	unsigned index;       /* in envelope.recipients */
	enum outcome outcome; /* the worker fills these three */
	char status[12];      /* enhanced status code "5.1.1" */
	char text[512];       /* remote reply or decision, escaped */
	bool decided;         /* delivery.decision is about this one */
	bool dsn;             /* delivered to a hop that notifies by itself */
};

/* One attempt at one message over one way, for one worker. */
struct delivery {
	struct envelope envelope;
	const struct way *way; /* as long as the queue is open */
	struct next_hop hop;   /* that is tried: one of the way's */
	/* The message: head then body, canonical CRLF, not dot-stuffed. */
	void *head;
	size_t head_len;
	int body_fd; /* read with pread from body_offset */
	off_t body_offset;
	uint64_t body_len;
	unsigned attempt; /* 1 the first time */
	size_t recipient_count;
	struct delivery_recipient *recipients;
	/* Fill before queue_done: the decision's line, for "queue show"; and
	 * for log and bounce of the recipients that are decided. */
	char decision[1024];
	char remote[64]; /* address connected to, or "" */
	void *queue_private;
};

struct queue_options {
	const char *in_folder;       /* root "/in" */
	const char *relay_folder;    /* root "/relay" */
	const struct config *config; /* hostname, retry, expiry; see
					queue_configure */
	const struct routes *routes; /* or NULL */
	uint64_t start_id; /* of the relay itself, for its log's headers; which
			      session lives comes by queue_live */
	uint64_t rotate;   /* octets after which the log may be rewritten; 0:
			      16 MiB */
	bool read_only;    /* look at the files of a stopped server: nothing
			      is changed, no thread is started; only
			      queue_count and server/queue_control.h work */
};

/* Recovers the relay's log, which may take seconds; segments are read once
 * queue_live or queue_committed tell what is certain. */
bool queue_open(struct queue **queue_out, const struct queue_options *options,
    struct reason *why);
void queue_close(struct queue *queue); /* workers must be gone */
/* A new configuration is in force (borrowed until the next one). */
void queue_configure(struct queue *queue, const struct config *config,
    const struct routes *routes);

/*
 * Which start-id still writes: segments of all others are complete, and are
 * read to their ends, which may take seconds.  Call it after the earlier
 * process is known to be dead.  0 means not known and changes nothing.
 */
void queue_live(struct queue *queue, uint64_t start_id);
/*
 * From the session role: all before end in that segment is settled (and, if
 * closed, nothing will be added).  Notices may be lost, repeated or out of
 * order.  Blocks while it reads.
 */
void queue_committed(struct queue *queue, uint64_t start_id, uint32_t segment,
    uint64_t end, bool closed);

/* Every second or so, on the thread of the notices: comes back to what could
 * not be read. */
void queue_tick(struct queue *queue);

/*
 * Wait up to timeout_ms for something to do; NULL if there was nothing.
 * prefer (may be NULL) is the hop the worker's open connection serves.  Not
 * more than half of the workers are sent to one site: to the hop tried now.
 */
struct delivery *queue_take(struct queue *queue, const struct next_hop *prefer,
    int timeout_ms);
/* Record outcomes, log one line a recipient, schedule, bounce, hold.  Frees
 * the delivery. */
void queue_done(struct queue *queue, struct delivery *delivery);

/*
 * What the worker learned of the site, delivery->hop, before queue_done.
 *
 * queue_hop_worked   a message, or the reply to it, got through
 * queue_hop_broke    the connection broke under a message, or was ended
 * queue_hop_refused  there was no connection.  True: others have one, so the
 *                    site is well, but takes no more: leave the recipients
 *                    without outcomes and they are soon tried again
 * queue_hop_failed   nobody can use it now: it is left alone for a while, and
 *                    the message goes on waiting for it as long
 *
 * text says to an operator why that is.
 *
 * For messages with "TLS-Required: No" a site fails and works by itself, as
 * they may pass where others are refused.
 */
void queue_hop_worked(struct queue *queue, const struct delivery *delivery);
void queue_hop_broke(struct queue *queue, const struct delivery *delivery);
bool queue_hop_refused(struct queue *queue, const struct delivery *delivery,
    const char *text);
void queue_hop_failed(struct queue *queue, const struct delivery *delivery,
    const char *text);

enum queue_next {
	QUEUE_NEXT_NONE,  /* no other hop of the way can be tried now */
	QUEUE_NEXT_LATER, /* one could, but has no room for a worker */
	QUEUE_NEXT_TAKEN, /* it is delivery->hop */
};
/* Go on to another hop of the way, if it is well. */
enum queue_next queue_next_hop(struct queue *queue, struct delivery *delivery);

/*
 * Mail an alarm to alarm-mail of the configuration in force.  True: it is on
 * stable storage.  False: it is not, or not yet (REASON_TIMEOUT: it will be
 * when the log can be written, unless the process ends before).
 */
bool queue_notice(struct queue *queue, const char *text, struct reason *why);

/* Workers get NULL at once from now on. */
void queue_stop(struct queue *queue);
/* Wait until all that was done is on stable storage; false after timeout_ms. */
bool queue_settle(struct queue *queue, int timeout_ms);

struct queue_counts {
	uint64_t messages, deferred, held, delivered, bounced;
	uint64_t octets;
};
void queue_count(struct queue *queue, struct queue_counts *out);

/* How the log is.  While it fails nothing new is delivered: what comes of
 * deliveries that were under way waits in memory, and is written as soon as
 * the disk takes it.  And whether there are files of messages that could not be
 * read, and which wait until they can be. */
struct queue_condition {
	bool failing;
	uint64_t waiting; /* records that are not on stable storage */
	struct reason trouble; /* while failing */
	bool unread;
	struct reason unread_why; /* while unread: of the first of them */
};
void queue_condition(struct queue *queue, struct queue_condition *out);

#endif
