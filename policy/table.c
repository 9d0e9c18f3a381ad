/*
 * policy/table.c: a compiled table, open for reading.
 *
 * Kyoto Cabinet checks nothing of what it reads, so we do: the file's name
 * carries its digest, the meta record the number of records, and each value a
 * CRC over itself and its key.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "map.h"

struct table {
	KCDB *db;
	struct meta meta;
};

/* --- opening ------------------------------------------------------------ */

static bool
meta_read(struct table *table, const char *path, struct reason *why)
{
	size_t len;
	char *value = kcdbget(table->db, META_KEY, META_KEY_OCTETS, &len);
	bool ok;

	if (value == NULL)
		return fail(why, REASON_DAMAGED, "%s: no table in it: %s", path,
		    kcecodename(kcdbecode(table->db)));
	ok = meta_decode(&table->meta, (const unsigned char *)value, len, why);
	kcfree(value);
	return ok;
}

/* State of a walk over all records. */
struct walk {
	struct row row;
	uint32_t records, lists, exceptions;
	bool whole;
	struct reason *why;
};

static bool
key_is_meta(const char *key, size_t len)
{
	return len == META_KEY_OCTETS && memcmp(key, META_KEY, len) == 0;
}

static bool
walk_check_list(struct walk *walk, const char *key, size_t key_len,
    const char *value, size_t len)
{
	uint32_t rows;

	if (!list_is_whole((const unsigned char *)key, key_len,
		(const unsigned char *)value, len, &rows))
		return fail(walk->why, REASON_DAMAGED,
		    "list of exceptions is damaged");
	walk->lists++;
	walk->exceptions += rows;
	return true;
}

static const char *
walk_check(const char *key, size_t key_len, const char *value, size_t len,
    size_t *size_out, void *context)
{
	struct walk *walk = context;

	(void)size_out;
	if (!walk->whole || key_is_meta(key, key_len))
		return KCVISNOP;
	walk->records++;
	walk->whole =
	    key[0] == LIST_LETTER
		? walk_check_list(walk, key, key_len, value, len)
		: row_decode(&walk->row, (const unsigned char *)key, key_len,
		      (const unsigned char *)value, len, walk->why);
	return KCVISNOP;
}

static bool
records_are_whole(struct table *table, const char *path, struct reason *why)
{
	struct walk walk = { .whole = true, .why = why };

	if (!kcdbiterate(table->db, walk_check, &walk, false))
		return fail(why, REASON_DAMAGED, "%s: %s", path,
		    kcdbemsg(table->db));
	if (!walk.whole)
		return false;
	if (walk.records != table->meta.records)
		return fail(why, REASON_DAMAGED, "%s: %u records, expected %u",
		    path, walk.records, table->meta.records);
	if (walk.lists != table->meta.lists ||
	    walk.exceptions != table->meta.exceptions)
		return fail(why, REASON_DAMAGED,
		    "%s: %u exceptions, expected %u", path, walk.exceptions,
		    table->meta.exceptions);
	return true;
}

static bool
count_is_right(struct table *table, const char *path, struct reason *why)
{
	if (kcdbcount(table->db) == (int64_t)table->meta.records + 1)
		return true;
	return fail(why, REASON_DAMAGED, "%s: %lld records, expected %u", path,
	    (long long)kcdbcount(table->db), table->meta.records + 1);
}

bool
table_open(struct table **table_out, const char *path, bool check_whole,
    struct reason *why)
{
	struct table *table;

	if (check_whole && !map_digest_is_in_name(path, "sites", why))
		return false;
	table = calloc(1, sizeof(*table));
	if (table == NULL)
		return fail(why, REASON_NO_MEMORY, "table");
	table->db = map_open(path, why);
	if (table->db == NULL || !meta_read(table, path, why) ||
	    !count_is_right(table, path, why) ||
	    (check_whole && !records_are_whole(table, path, why))) {
		table_close(table);
		return false;
	}
	*table_out = table;
	return true;
}

void
table_close(struct table *table)
{
	if (table == NULL)
		return;
	map_close(table->db);
	meta_fini(&table->meta);
	free(table);
}

/* --- reading ------------------------------------------------------------ */

bool
table_get(const struct table *table, const unsigned char *key, size_t key_len,
    struct row *out, bool *found_out, struct reason *why)
{
	unsigned char value[ROW_OCTETS];
	struct reason inner;
	size_t len;

	switch (map_get(table->db, key, key_len, value, sizeof(value), &len)) {
	case MAP_TROUBLE:
		return fail(why, REASON_TABLE, "site table: %s",
		    kcdbemsg(table->db));
	case MAP_ABSENT:
		*found_out = false;
		return true;
	case MAP_FOUND:
		break;
	}
	if (len > sizeof(value) ||
	    !row_decode(out, key, key_len, value, len, &inner))
		return fail(why, REASON_TABLE, "site table: %.200s",
		    len > sizeof(value) ? "a record is too long" : inner.text);
	*found_out = true;
	return true;
}

const struct meta *
table_meta(const struct table *table)
{
	return &table->meta;
}

bool
table_has(const struct table *table, unsigned directions)
{
	return (table->meta.directions & directions) != 0;
}

bool
table_wants_dane(const struct table *table)
{
	return table->meta.dane;
}

size_t
table_rows(const struct table *table)
{
	return table->meta.rows;
}

size_t
table_file_count(const struct table *table)
{
	return table->meta.file_count;
}

const char *
table_file(const struct table *table, size_t i)
{
	return i < table->meta.file_count ? table->meta.files[i] : NULL;
}

/* --- all rows in the order of the text ----------------------------------- */

struct place {
	unsigned line;
	unsigned key_len;
	unsigned char *key;
};

struct gather {
	struct row row;
	struct place *places;
	size_t count, capacity;
	bool ok;
	struct reason *why;
};

static bool
gather_add(struct gather *gather, const char *key, size_t key_len)
{
	struct place *place;

	if (gather->count == gather->capacity)
		return fail(gather->why, REASON_DAMAGED,
		    "more records than the table counts");
	place = &gather->places[gather->count];
	place->key = malloc(key_len);
	if (place->key == NULL)
		return fail(gather->why, REASON_NO_MEMORY, "table");
	memcpy(place->key, key, key_len);
	place->key_len = (unsigned)key_len;
	place->line = gather->row.line;
	gather->count++;
	return true;
}

/* A row of direction both stands twice; the copy for in is passed over. */
static const char *
gather_visit(const char *key, size_t key_len, const char *value, size_t len,
    size_t *size_out, void *context)
{
	struct gather *gather = context;

	(void)size_out;
	if (!gather->ok || key_is_meta(key, key_len) || key[0] == LIST_LETTER)
		return KCVISNOP;
	gather->ok = row_decode(&gather->row, (const unsigned char *)key,
	    key_len, (const unsigned char *)value, len, gather->why);
	if (gather->ok &&
	    !(gather->row.directions == DIRECTION_BOTH && key[0] == 'i'))
		gather->ok = gather_add(gather, key, key_len);
	return KCVISNOP;
}

static int
place_compare(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	return (left->line > right->line) - (left->line < right->line);
}

static bool
gather_report(struct gather *gather, const struct table *table,
    bool (*report)(void *context, unsigned line, const char *text),
    void *context)
{
	char text[ROW_TEXT];
	bool found;

	for (size_t i = 0; i < gather->count; i++) {
		const struct place *place = &gather->places[i];

		if (!table_get(table, place->key, place->key_len, &gather->row,
			&found, gather->why))
			return false;
		if (!found)
			return fail(gather->why, REASON_TABLE,
			    "site table: a row has vanished");
		(void)row_print(&gather->row, text, sizeof(text));
		if (!report(context, gather->row.line, text))
			break;
	}
	return true;
}

bool
table_each(const struct table *table,
    bool (*row)(void *context, unsigned line, const char *text), void *context,
    struct reason *why)
{
	struct gather gather = { .ok = true, .why = why };

	gather.capacity = table->meta.records;
	gather.places = calloc(gather.capacity + 1, sizeof(*gather.places));
	if (gather.places == NULL)
		return fail(why, REASON_NO_MEMORY, "table");
	if (!kcdbiterate(table->db, gather_visit, &gather, false) && gather.ok)
		gather.ok = fail(why, REASON_TABLE, "site table: %s",
		    kcdbemsg(table->db));
	if (gather.ok) {
		qsort(gather.places, gather.count, sizeof(*gather.places),
		    place_compare);
		gather.ok = gather_report(&gather, table, row, context);
	}
	for (size_t i = 0; i < gather.count; i++)
		free(gather.places[i].key);
	free(gather.places);
	return gather.ok;
}

/* --- the exceptions ------------------------------------------------------- */

struct exceptions {
	const struct table *table;
	bool (*row)(void *context, unsigned line, const char *site,
	    const char *direction, long long until, const char *reason);
	void *context;
	bool stopped;
	struct row found;
	struct reason *why;
};

static bool
exception_report(struct exceptions *e, const unsigned char *key, size_t key_len)
{
	const char *reason;
	bool found;

	if (!table_get(e->table, key, key_len, &e->found, &found, e->why))
		return false;
	if (!found)
		return fail(e->why, REASON_TABLE,
		    "site table: an exception has vanished");
	reason = row_first(&e->found, FIELD_REASON);
	e->stopped =
	    !e->row(e->context, e->found.line, row_first(&e->found, FIELD_KEY),
		direction_word(e->found.directions), e->found.until - 1,
		reason == NULL ? "" : reason);
	return true;
}

static bool
exception_list(struct exceptions *e, uint32_t number)
{
	unsigned char key[LIST_KEY_OCTETS], list[LIST_OCTETS];
	uint32_t rows;
	int32_t len;

	list_key(number, key);
	len = kcdbgetbuf(e->table->db, (const char *)key, sizeof(key),
	    (char *)list, sizeof(list));
	if (len < 0 ||
	    !list_is_whole(key, sizeof(key), list, (size_t)len, &rows))
		return fail(e->why, REASON_TABLE,
		    "site table: list of exceptions is damaged");
	for (size_t at = LIST_HEAD; rows > 0 && !e->stopped; rows--) {
		size_t octets = (size_t)(list[at] | list[at + 1] << 8);

		if (!exception_report(e, list + at + 2, octets))
			return false;
		at += 2 + octets;
	}
	return true;
}

bool
table_exceptions(const struct table *table,
    bool (*row)(void *context, unsigned line, const char *site,
	const char *direction, long long until, const char *reason),
    void *context, struct reason *why)
{
	struct exceptions e = { .table = table,
		.row = row,
		.context = context,
		.why = why };

	for (uint32_t i = 0; i < table->meta.lists && !e.stopped; i++)
		if (!exception_list(&e, i))
			return false;
	return true;
}
