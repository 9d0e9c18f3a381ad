/*
 * policy/internal.h: what the compiler, the reader of a table and the makers
 * of demands share.
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
	/* How many of them are lists of exceptions, and of how many rows. */
	uint32_t lists, exceptions;
	unsigned directions; /* of all rows */
	bool dane;           /* some row asks for it */
	struct prefixes prefixes[PREFIXES];
	char name[256]; /* base name of the text */
	size_t file_count;
	char *files[TABLE_FILES]; /* malloc'd */
};

extern const char META_KEY[];
enum { META_KEY_OCTETS = 1 };

/*
 * Keys of the rows that are exceptions, in the order of the text, so that
 * they can be listed without a walk over all rows: lists of at most
 * LIST_OCTETS under "x" and their number (u32).  A list is a CRC-32C over its
 * key and the rest (u32), then for each row the key's length (u16) and octets.
 */
enum {
	LIST_LETTER = 'x', /* no row's key begins with it */
	LIST_KEY_OCTETS = 5,
	LIST_HEAD = 4,
	LIST_OCTETS = 16384
};
void list_key(uint32_t number, unsigned char out[static LIST_KEY_OCTETS]);
/* Fill in the CRC of a list of len octets. */
void list_seal(const unsigned char key[static LIST_KEY_OCTETS],
    unsigned char *list, size_t len);
bool list_is_whole(const unsigned char *key, size_t key_len,
    const unsigned char *list, size_t len, uint32_t *rows_out);

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

/* Begin anew; "tried" stays. */
void demand_start(struct demand *demand, const struct table *table,
    enum side side, const char *site);
/* direction: the letter of the row's key, as in key_encode. */
bool demand_add_row(struct demand *demand, const struct row *row,
    char direction, struct reason *why);
/* No row matches: encrypt. */
void demand_add_default(struct demand *demand);

#endif
