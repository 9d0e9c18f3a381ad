/*
 * server/grant.h: what a login may do, as auth tells the session with
 * AUTH_GRANTED.
 *
 * A device may do what its entry and its owner's entry both allow.  Threads: a
 * grant belongs to one.
 */
#ifndef SERVER_GRANT_H
#define SERVER_GRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../auth/entry.h"
#include "wire.h"

struct grant {
	char login[NAME_SIZE]; /* canonical */
	char owner[NAME_SIZE]; /* a device's; else "" */
	/* Patterns of auth/rights.h, a NUL after each.  None: the login's own
	 * address; a device's: all that its owner may. */
	size_t rights_len, owner_rights_len;
	char *rights, *owner_rights; /* malloc'd, or NULL */
	/* Messages an hour; 0: as many as it likes.  What a device sends counts
	 * as its owner's as well. */
	uint32_t rate, owner_rate;
	int64_t until; /* Unix seconds, when it ends; 0: never */
};

enum { GRANT_OCTETS_MAX = 2 * (NAME_SIZE + ENTRY_RIGHTS_MAX) + 64 };

/* From an entry and, for a device, its owner's (else NULL); entry NULL: who
 * has none.  False without memory. */
bool grant_make(struct grant *out, const char *login, const struct entry *entry,
    const struct entry *owner);
void grant_fini(struct grant *grant); /* a zeroed one is fine */
void grant_free(struct grant *grant); /* malloc'd, or NULL */

/* Does it rest on what that login has, its own or as owner?  "": yes. */
bool grant_is_of(const struct grant *grant, const char *login);

void grant_put(struct wire_writer *w, const struct grant *grant);
/* Strict: names, patterns' ends and numbers are checked.  On failure nothing is
 * left to free. */
bool grant_get(struct wire_reader *r, struct grant *out);

#endif
