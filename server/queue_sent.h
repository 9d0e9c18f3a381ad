/*
 * server/queue_sent.h: what devices have sent: relay/sent, one JSON object a
 * line, for the day one of them is stolen.
 *
 *     queue, time (Unix seconds, of its arrival), login, from, recipients (at
 *     most SENT_RECIPIENTS of them), recipient_count, size, client
 *
 * A file that would exceed SENT_FILE_MAX becomes sent.1, in place of the one
 * before.  Nothing is synced: this is a trace, not the queue.
 */
#ifndef SERVER_QUEUE_SENT_H
#define SERVER_QUEUE_SENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "envelope.h"

enum {
	SENT_FILE_MAX = 8 * 1024 * 1024,
	SENT_LINE_MAX = 32 * 1024, /* octets, with its line end */
	SENT_RECIPIENTS = 20,
};

/* --- the relay's side; threads: one at a time ----------------------------- */

struct sent;

/*
 * Reads which messages are listed already: after a crash some are taken in a
 * second time.  folder (relay/) is borrowed; file_max is SENT_FILE_MAX, or less
 * for tests.  NULL without memory.
 */
struct sent *sent_new(int folder, uint64_t file_max);
void sent_free(struct sent *sent);

/* A message that was taken in, unless it is listed from before sent_new.  A
 * failure is logged, once until it works again. */
void sent_record(struct sent *sent, const struct envelope *envelope);

/* --- reading -------------------------------------------------------------- */

struct sent_message {
	char queue_id[QUEUE_ID_SIZE];
	int64_t time; /* Unix seconds */
	uint64_t size;
	uint64_t recipient_count;
	/* Borrowed from object; UTF-8, any octets otherwise. */
	const char *login, *from, *client;
	const json_t *recipients; /* an array of strings */
	json_t *object;           /* json_decref it */
};

/* One line, without its end.  False: no such object, nothing to free. */
bool sent_parse(const char *line, size_t len, struct sent_message *out);

/*
 * All lines of sent.1 and sent, in this order, whole ones only.  The files are
 * another user's, so none but regular ones of bounded size are read.  each
 * returns false to end it.  Files that are absent are empty.
 */
bool sent_read(int folder,
    bool (*each)(void *context, const char *line, size_t len), void *context,
    struct reason *why);

/* Any octets as a JSON string; what is no UTF-8 is shown as "?". */
json_t *sent_text(const char *octets, size_t len);

#endif
