/*
 * policy/internal.h: what the compiler and the reader of a table share.
 */
#ifndef POLICY_INTERNAL_H
#define POLICY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "row.h"
#include "table.h"

enum {
	TABLE_FILES = 1024, /* different ca= and crl= files */
	TABLE_META_OCTETS = 1 << 20,
	PREFIX_LENGTHS = 129,
};

/* Prefix lengths that rows of one direction and family use. */
struct prefixes {
	bool used[PREFIX_LENGTHS];
};

enum { PREFIXES_IN4, PREFIXES_IN6, PREFIXES_OUT4, PREFIXES_OUT6, PREFIXES };

/*
 * What stands in the database once, under META_KEY: the counts that show a
 * missing record, and what a lookup needs to know about the whole.
 */
struct meta {
	uint32_t rows;    /* of the text */
	uint32_t records; /* of the database, this one not counted */
	struct prefixes prefixes[PREFIXES];
	char name[256]; /* base name of the text */
	size_t file_count;
	char *files[TABLE_FILES]; /* malloc'd */
};

extern const char META_KEY[];
enum { META_KEY_OCTETS = 1 };

/* *out is malloc'd. */
bool meta_encode(const struct meta *meta, unsigned char **out, size_t *len_out,
    struct reason *why);
bool meta_decode(struct meta *out, const unsigned char *value, size_t len,
    struct reason *why);
void meta_fini(struct meta *meta);

/* Which of meta.prefixes an address is looked up with. */
unsigned prefixes_of(unsigned direction, int family);

/* *found_out is false when there is no such record; false is REASON_TABLE. */
bool table_get(const struct table *table, const unsigned char *key,
    size_t key_len, struct row *out, bool *found_out, struct reason *why);
const struct meta *table_meta(const struct table *table);

/* SHA-256 of a file's octets, as 64 hex digits. */
bool file_digest(const char *path, char out[static 65], struct reason *why);

#endif
