/*
 * policy/records.c: encoded rows in memory, and finding one by its key.
 */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

enum { RECORD_HEAD = 4 };

static size_t
get_length(const unsigned char *at)
{
	return (size_t)(at[0] | at[1] << 8);
}

static void
put_length(unsigned char *at, size_t len)
{
	at[0] = (unsigned char)(len & 0xff);
	at[1] = (unsigned char)(len >> 8);
}

bool
records_next(const struct records *records, size_t *at,
    const unsigned char **key_out, size_t *key_len_out,
    const unsigned char **value_out, size_t *len_out)
{
	const unsigned char *record = records->octets + *at;

	if (*at >= records->len)
		return false;
	*key_out = record + RECORD_HEAD;
	*key_len_out = get_length(record);
	*value_out = *key_out + *key_len_out;
	*len_out = get_length(record + 2);
	*at += RECORD_HEAD + *key_len_out + *len_out;
	return true;
}

/* The slot that holds key, or the free one where it belongs. */
static size_t *
slot_of(const struct records *records, const unsigned char *key, size_t key_len)
{
	size_t i = crc32c(0, key, key_len) * 0x9e3779b97f4a7c15u >> 20;

	for (;; i++) {
		size_t *slot = &records->slots[i & (records->slot_count - 1)];
		const unsigned char *record;

		if (*slot == 0)
			return slot;
		record = records->octets + *slot - 1;
		if (get_length(record) == key_len &&
		    memcmp(record + RECORD_HEAD, key, key_len) == 0)
			return slot;
	}
}

static bool
grow_slots(struct records *records)
{
	size_t count =
	    records->slot_count == 0 ? 1024 : records->slot_count * 2;
	size_t *slots = calloc(count, sizeof(*slots));
	const unsigned char *key, *value;
	size_t key_len, len;

	if (slots == NULL)
		return false;
	free(records->slots);
	records->slots = slots;
	records->slot_count = count;
	for (size_t at = 0, begin = 0;
	     records_next(records, &at, &key, &key_len, &value, &len);
	     begin = at)
		*slot_of(records, key, key_len) = begin + 1;
	return true;
}

static bool
grow(unsigned char **octets, size_t len, size_t *capacity, size_t needed)
{
	unsigned char *larger;

	if (*capacity - len >= needed)
		return true;
	larger = realloc(*octets, *capacity * 2 + 65536 + needed);
	if (larger == NULL)
		return false;
	*octets = larger;
	*capacity = *capacity * 2 + 65536 + needed;
	return true;
}

unsigned
record_line(const unsigned char *value)
{
	return (unsigned)value[4] | (unsigned)value[5] << 8 |
	       (unsigned)value[6] << 16 | (unsigned)value[7] << 24;
}

enum records_result
records_add(struct records *records, const unsigned char *key, size_t key_len,
    const unsigned char *value, size_t len, unsigned *line_out)
{
	size_t octets = RECORD_HEAD + key_len + len;
	unsigned char *at;
	size_t *slot;

	if (!grow(&records->octets, records->len, &records->capacity, octets) ||
	    ((size_t)records->count * 2 >= records->slot_count &&
		!grow_slots(records)))
		return RECORDS_NO_MEMORY;
	slot = slot_of(records, key, key_len);
	if (*slot != 0) {
		at = records->octets + *slot - 1;
		*line_out = record_line(at + RECORD_HEAD + key_len);
		return RECORDS_DOUBLE;
	}
	*slot = records->len + 1;
	at = records->octets + records->len;
	put_length(at, key_len);
	put_length(at + 2, len);
	memcpy(at + RECORD_HEAD, key, key_len);
	memcpy(at + RECORD_HEAD + key_len, value, len);
	records->len += octets;
	records->count++;
	return RECORDS_ADDED;
}

bool
records_add_exception(struct records *records, const unsigned char *key,
    size_t key_len)
{
	unsigned char *at;

	if (!grow(&records->exceptions, records->exceptions_len,
		&records->exceptions_capacity, 2 + key_len))
		return false;
	at = records->exceptions + records->exceptions_len;
	put_length(at, key_len);
	memcpy(at + 2, key, key_len);
	records->exceptions_len += 2 + key_len;
	records->exception_count++;
	return true;
}

const unsigned char *
records_find(const struct records *records, const unsigned char *key,
    size_t key_len, size_t *len_out)
{
	const unsigned char *record;
	const size_t *slot;

	if (records->slot_count == 0)
		return NULL;
	slot = slot_of(records, key, key_len);
	if (*slot == 0)
		return NULL;
	record = records->octets + *slot - 1;
	*len_out = get_length(record + 2);
	return record + RECORD_HEAD + key_len;
}

void
records_fini(struct records *records)
{
	free(records->octets);
	free(records->slots);
	free(records->exceptions);
	memset(records, 0, sizeof(*records));
}
