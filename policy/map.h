/*
 * policy/map.h: compiled tables as files: a Kyoto Cabinet hash database whose
 * name carries the digest of its octets, "PREFIX.<sha256>.kch".
 *
 * What stands in it, and how a record is known to be whole, is the table's
 * own.  Threads: any; nothing here is shared.
 */
#ifndef POLICY_MAP_H
#define POLICY_MAP_H

#include <kclangc.h>
#include <stdbool.h>
#include <stdint.h>

#include "reason.h"

enum { MAP_NAME = 80 }; /* octets of a file's name, with its NUL */

struct map_source {
	const char *prefix;       /* "sites" */
	uint64_t records, octets; /* about as many, for the file's layout */
	/* Add all records. */
	bool (*fill)(void *context, KCDB *db, struct reason *why);
	/* Open what was written and check every octet. */
	bool (*is_whole)(const char *path, struct reason *why);
	void *context;
};

/*
 * Make the database and put it into folder under the name of its digest: made
 * aside, synced, renamed, the folder synced, checked whole.  A whole file that
 * has the name already is kept.  Mode 0644.  On failure nothing is left.
 */
bool map_publish(const struct map_source *source, const char *folder,
    char name_out[static MAP_NAME], struct reason *why);

/* For fill. */
bool map_add(KCDB *db, const void *key, size_t key_len, const void *value,
    size_t len, struct reason *why);

/* Is the file's digest the one in its name? */
bool map_digest_is_in_name(const char *path, const char *prefix,
    struct reason *why);

/* For reading, without locks and repair.  NULL after filling why; close it with
 * map_close. */
KCDB *map_open(const char *path, struct reason *why);
void map_close(KCDB *db); /* NULL is fine */

enum map_got { MAP_FOUND, MAP_ABSENT, MAP_TROUBLE };

/*
 * The value of a key: *len_out octets, of which at most size are in out.  A key
 * that is not there is no error to the library either, which keeps one for each
 * thread and database and never frees them all.  Threads: any number.
 */
enum map_got map_get(KCDB *db, const void *key, size_t key_len, void *out,
    size_t size, size_t *len_out);

#endif
