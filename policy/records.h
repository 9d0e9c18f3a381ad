/*
 * policy/records.h: a table being compiled, in memory.
 *
 * Rows are kept encoded, one after the other in the order of the text, so that
 * nothing is written for a text that does not compile and the database is made
 * in its final size.
 */
#ifndef POLICY_RECORDS_H
#define POLICY_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "internal.h"

/* Key length and value length (u16 each), key, value. */
struct records {
	unsigned char *octets;
	size_t len, capacity;
	uint32_t count;
	size_t *slots; /* open addressing: offset + 1, 0 when free */
	size_t slot_count;

	/* Keys of rows that are exceptions: length (u16), octets. */
	unsigned char *exceptions;
	size_t exceptions_len, exceptions_capacity;
	uint32_t exception_count;
};

enum records_result { RECORDS_ADDED, RECORDS_DOUBLE, RECORDS_NO_MEMORY };

/* line_out gets the line of the row that has this key already. */
enum records_result records_add(struct records *records,
    const unsigned char *key, size_t key_len, const unsigned char *value,
    size_t len, unsigned *line_out);
/* False without memory. */
bool records_add_exception(struct records *records, const unsigned char *key,
    size_t key_len);

/* The value of a key; NULL if there is none. */
const unsigned char *records_find(const struct records *records,
    const unsigned char *key, size_t key_len, size_t *len_out);

/* The line of the text that an encoded row stands in. */
unsigned record_line(const unsigned char *value);

/*
 * Do rows for its parts speak for all that this network, or "*", stands for,
 * in each of its directions, whatever the date?  Call when all rows are there;
 * false for the second copy of a row that stands for two directions.
 */
bool record_never_decides(const struct records *records,
    const unsigned char *key, const unsigned char *value);

/* The record at offset *at, which is moved to the next; false at the end. */
bool records_next(const struct records *records, size_t *at,
    const unsigned char **key_out, size_t *key_len_out,
    const unsigned char **value_out, size_t *len_out);

void records_fini(struct records *records);

/*
 * Make the database and put it into folder under the name of its digest, whole
 * or not at all.  Counts of records and lists in meta are filled in.
 */
bool records_publish(const struct records *records, struct meta *meta,
    const char *folder, char name_out[static 80], struct reason *why);

#endif
