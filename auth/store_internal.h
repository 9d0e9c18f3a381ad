/*
 * auth/store_internal.h: what the files of the credential store share.
 *
 *   store.c          opening, records, and the one way they are written
 *   store_entries.c  entries, and what leads to them
 *   store_walk.c     all entries, one after another
 *   store_copy.c     a copy that takes the store's place
 */
#ifndef AUTH_STORE_INTERNAL_H
#define AUTH_STORE_INTERNAL_H

#include <kclangc.h>
#include <limits.h>

#include "store.h"
#include "totals.h"

/*
 * Records: "u" and a canonical name for each entry, "k" and what it may be
 * found by for each key and each name in certificates that an entry has (its
 * value is the name), and two of the store's own.  Each value ends with the
 * CRC-32C of key and value, so that a value in another's place is found out.
 */
enum {
	STORE_KEY_MAX = 1 + NAME_SIZE,
	STORE_CRC_OCTETS = 4,
	STORE_VALUE_MAX = ENTRY_OCTETS_MAX + STORE_CRC_OCTETS,
};

struct store {
	KCDB *db;
	char path[PATH_MAX];
	struct totals totals; /* with what a group has changed so far */
	unsigned char secret[STORE_SECRET_OCTETS];
	bool broken; /* a transaction did not end as it should have */
	bool in_group, has_written; /* in the group */
	struct totals before;  /* of the group */
	struct reason failure; /* of a write in the group, or REASON_NONE */
	uint64_t undone;       /* groups; the library's cursors do not survive
				  that */
	/* A copy is one group, without transactions: it is whole in the end, or
	 * nobody ever sees it. */
	bool is_copy, is_adopted;
	int copied_fd; /* what the copy was read from, or -1: to close it would
			  drop the lock */
};

struct store_record {
	const char *key;
	size_t key_len;
	const unsigned char *value; /* sealed; NULL: remove it */
	size_t value_len;
};

/* The CRC behind value's len octets. */
void store_seal(const char *key, size_t key_len, unsigned char *value,
    size_t len);
bool store_is_sealed(const char *key, size_t key_len,
    const unsigned char *value, size_t len);

/* The library's last error, and false. */
bool store_fail(struct store *store, struct reason *why, const char *what);

/* *len_out octets of a value without its CRC.  REASON_ABSENT: there is none. */
bool store_read(struct store *store, const char *key, size_t key_len,
    unsigned char out[static STORE_VALUE_MAX], size_t *len_out,
    struct reason *why);

/* Write, in the group that is under way or alone: then all of it is on stable
 * storage, or nothing is. */
bool store_write(struct store *store, const struct store_record *records,
    size_t n, const struct totals *totals, struct reason *why);

/* The entry of a record "u". */
bool store_decode(struct store *store, const char *key, size_t key_len,
    const unsigned char *octets, size_t len, struct entry *out,
    struct reason *why);

#endif
