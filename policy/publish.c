/*
 * policy/publish.c: from rows in memory to a compiled site table.
 */
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "records.h"

struct publish {
	const struct records *records;
	struct meta *meta;
};

static bool
add_rows(KCDB *db, const struct records *records, struct reason *why)
{
	const unsigned char *key, *value;
	size_t at = 0, key_len, len;

	while (records_next(records, &at, &key, &key_len, &value, &len))
		if (!map_add(db, key, key_len, value, len, why))
			return false;
	return true;
}

/* How many octets, from at on, make a list: whole keys, and at least one. */
static size_t
list_len(const struct records *records, size_t at)
{
	size_t begin = at;

	while (at < records->exceptions_len) {
		const unsigned char *one = records->exceptions + at;
		size_t octets = 2 + (size_t)(one[0] | one[1] << 8);

		if (LIST_HEAD + at + octets - begin > LIST_OCTETS)
			break;
		at += octets;
	}
	return at - begin;
}

static bool
add_lists(KCDB *db, const struct records *records, struct meta *meta,
    struct reason *why)
{
	unsigned char list[LIST_OCTETS], key[LIST_KEY_OCTETS];
	size_t at = 0, len;

	while ((len = list_len(records, at)) > 0) {
		memcpy(list + LIST_HEAD, records->exceptions + at, len);
		list_key(meta->lists++, key);
		list_seal(key, list, LIST_HEAD + len);
		if (!map_add(db, key, sizeof(key), list, LIST_HEAD + len, why))
			return false;
		at += len;
	}
	return true;
}

static bool
add_meta(KCDB *db, const struct meta *meta, struct reason *why)
{
	unsigned char *value;
	size_t len;
	bool ok;

	if (!meta_encode(meta, &value, &len, why))
		return false;
	ok = map_add(db, META_KEY, META_KEY_OCTETS, value, len, why);
	free(value);
	return ok;
}

static bool
fill(void *context, KCDB *db, struct reason *why)
{
	const struct publish *p = context;

	p->meta->lists = 0;
	p->meta->exceptions = p->records->exception_count;
	if (!add_rows(db, p->records, why) ||
	    !add_lists(db, p->records, p->meta, why))
		return false;
	p->meta->records = p->records->count + p->meta->lists;
	return add_meta(db, p->meta, why);
}

static bool
is_whole(const char *path, struct reason *why)
{
	struct table *table;

	if (!table_open(&table, path, true, why))
		return false;
	table_close(table);
	return true;
}

bool
records_publish(const struct records *records, struct meta *meta,
    const char *folder, char name_out[static MAP_NAME], struct reason *why)
{
	struct publish p = { records, meta };
	const struct map_source source = {
		.prefix = "sites",
		.records = records->count,
		.octets = records->len + records->exceptions_len,
		.fill = fill,
		.is_whole = is_whole,
		.context = &p,
	};

	return map_publish(&source, folder, name_out, why);
}
