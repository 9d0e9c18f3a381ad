/*
 * policy/meta.c: what a compiled table holds beside its rows: a record about
 * the whole, and lists of the rows that are exceptions.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

const char META_KEY[] = "M";

static const char META_MAGIC[8] = "sallytb2";

enum { PREFIX_OCTETS = (PREFIX_LENGTHS + 7) / 8 };
/* CRC, magic, four counts, directions, flag of dane, two zero octets. */
enum { META_PREFIXES = 4 + 8 + 4 * 4 + 4 };
enum { META_HEAD = META_PREFIXES + PREFIXES * PREFIX_OCTETS };
enum { DIRECTIONS_ALL = DIRECTION_BOTH | DIRECTION_FROM | DIRECTION_RCPT };

unsigned
prefixes_of(unsigned direction, int family)
{
	if (direction == DIRECTION_IN)
		return family == AF_INET ? PREFIXES_IN4 : PREFIXES_IN6;
	return family == AF_INET ? PREFIXES_OUT4 : PREFIXES_OUT6;
}

static void
put_u32(unsigned char *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t
get_u32(const unsigned char *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static uint32_t
meta_crc(const unsigned char *value, size_t len)
{
	return crc32c(crc32c(0, META_KEY, META_KEY_OCTETS), value + 4, len - 4);
}

static size_t
meta_size(const struct meta *meta)
{
	size_t len = META_HEAD + strlen(meta->name) + 1;

	for (size_t i = 0; i < meta->file_count; i++)
		len += strlen(meta->files[i]) + 1;
	return len;
}

static unsigned char *
append_text(unsigned char *at, const char *text)
{
	size_t len = strlen(text) + 1;

	memcpy(at, text, len);
	return at + len;
}

bool
meta_encode(const struct meta *meta, unsigned char **out, size_t *len_out,
    struct reason *why)
{
	size_t len = meta_size(meta);
	unsigned char *value, *at;

	if (len > TABLE_META_OCTETS)
		return fail(why, REASON_RANGE,
		    "%zu octets of file names, expected at most %d", len,
		    TABLE_META_OCTETS);
	value = calloc(1, len);
	if (value == NULL)
		return fail(why, REASON_NO_MEMORY, "table");
	memcpy(value + 4, META_MAGIC, sizeof(META_MAGIC));
	put_u32(value + 12, meta->rows);
	put_u32(value + 16, meta->records);
	put_u32(value + 20, meta->lists);
	put_u32(value + 24, meta->exceptions);
	value[28] = (unsigned char)meta->directions;
	value[29] = meta->dane;
	for (unsigned p = 0; p < PREFIXES; p++)
		for (unsigned bit = 0; bit < PREFIX_LENGTHS; bit++)
			if (meta->prefixes[p].used[bit])
				value[META_PREFIXES + p * PREFIX_OCTETS +
				      bit / 8] |=
				    (unsigned char)(1u << bit % 8);
	at = append_text(value + META_HEAD, meta->name);
	for (size_t i = 0; i < meta->file_count; i++)
		at = append_text(at, meta->files[i]);
	put_u32(value, meta_crc(value, len));
	*out = value;
	*len_out = len;
	return true;
}

static bool
meta_decode_texts(struct meta *out, const char *at, const char *end)
{
	size_t len = strlen(at);

	if (len >= sizeof(out->name))
		return false;
	memcpy(out->name, at, len + 1);
	for (at += len + 1; at < end; at += strlen(at) + 1) {
		if (out->file_count == TABLE_FILES)
			return false;
		out->files[out->file_count] = strdup(at);
		if (out->files[out->file_count] == NULL)
			return false;
		out->file_count++;
	}
	return true;
}

bool
meta_decode(struct meta *out, const unsigned char *value, size_t len,
    struct reason *why)
{
	memset(out, 0, sizeof(*out));
	if (len <= META_HEAD || len > TABLE_META_OCTETS ||
	    memcmp(value + 4, META_MAGIC, sizeof(META_MAGIC)) != 0 ||
	    get_u32(value) != meta_crc(value, len) || value[len - 1] != '\0' ||
	    value[28] > DIRECTIONS_ALL || value[29] > 1 || value[30] != 0 ||
	    value[31] != 0)
		return fail(why, REASON_DAMAGED,
		    "table's own record is damaged or of another version");
	out->rows = get_u32(value + 12);
	out->records = get_u32(value + 16);
	out->lists = get_u32(value + 20);
	out->exceptions = get_u32(value + 24);
	out->directions = value[28];
	out->dane = value[29] != 0;
	for (unsigned p = 0; p < PREFIXES; p++)
		for (unsigned bit = 0; bit < PREFIX_LENGTHS; bit++)
			out->prefixes[p].used[bit] =
			    value[META_PREFIXES + p * PREFIX_OCTETS +
				  bit / 8] >>
				bit % 8 &
			    1;
	if (meta_decode_texts(out, (const char *)value + META_HEAD,
		(const char *)value + len))
		return true;
	meta_fini(out);
	return fail(why, REASON_DAMAGED, "table's own record is damaged");
}

void
meta_fini(struct meta *meta)
{
	for (size_t i = 0; i < meta->file_count; i++)
		free(meta->files[i]);
	memset(meta, 0, sizeof(*meta));
}

/* --- lists of exceptions -------------------------------------------------- */

void
list_key(uint32_t number, unsigned char out[static LIST_KEY_OCTETS])
{
	out[0] = LIST_LETTER;
	put_u32(out + 1, number);
}

static uint32_t
list_crc(const unsigned char *key, const unsigned char *list, size_t len)
{
	return crc32c(crc32c(0, key, LIST_KEY_OCTETS), list + LIST_HEAD,
	    len - LIST_HEAD);
}

void
list_seal(const unsigned char key[static LIST_KEY_OCTETS], unsigned char *list,
    size_t len)
{
	put_u32(list, list_crc(key, list, len));
}

bool
list_is_whole(const unsigned char *key, size_t key_len,
    const unsigned char *list, size_t len, uint32_t *rows_out)
{
	uint32_t rows = 0;

	if (key_len != LIST_KEY_OCTETS || len <= LIST_HEAD ||
	    len > LIST_OCTETS || get_u32(list) != list_crc(key, list, len))
		return false;
	for (size_t at = LIST_HEAD; at < len; rows++) {
		size_t octets;

		if (len - at < 2)
			return false;
		octets = (size_t)(list[at] | list[at + 1] << 8);
		if (octets == 0 || octets > KEY_OCTETS || len - at - 2 < octets)
			return false;
		at += 2 + octets;
	}
	*rows_out = rows;
	return true;
}
