/*
 * server/expiry.h: what ends soon: certificates and dated exceptions, told 30,
 * 14, 7 and 1 days ahead and when they have ended, each once.
 *
 * What was told is remembered over restarts in one small file.  Threads: one.
 */
#ifndef SERVER_EXPIRY_H
#define SERVER_EXPIRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

enum {
	EXPIRY_FIRST_DAYS = 30, /* when it is told first ... */
	EXPIRY_LAST_DAYS = 1,   /* ... and last, before the end */
	/* What is remembered; more is told anew each day. */
	EXPIRY_ENTRIES_MAX = 65536,
	EXPIRY_KEY_MAX = 512,
};

struct expiry;

/*
 * path: the state file, which need not be there.  True with why->code not
 * REASON_NONE if it could not be read: then nothing counts as told, which says
 * things twice rather than never.  False: no memory.
 */
bool expiry_open(struct expiry **expiry_out, const char *path,
    struct reason *why);
void expiry_free(struct expiry *expiry);

/*
 * Something that key names for good (a certificate by its digest, a row by its
 * text) ends at end (Unix seconds; its last second).  True if that is to be
 * told now; it then counts as told.  *days_out is how many whole days are
 * left, -1 when it has ended.
 */
bool expiry_is_due(struct expiry *expiry, const char *key, int64_t end,
    int64_t now, int64_t *days_out);

/* Write the file anew if something was told since: aside, synced, renamed. */
bool expiry_save(struct expiry *expiry, int64_t now, struct reason *why);

#endif
