/*
 * policy/routes.c: the table of routes: compiled, and asked.
 *
 * A record's value is the CRC-32C of its key and the rest, the line in the
 * text, and the row's canonical text: what is read back is parsed by the same
 * grammar, so that nothing can be in the file that could not be written.
 */
#include "routes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "records.h"
#include "words.h"

enum {
	ROUTE_HEAD = 8, /* CRC u32, line u32, little-endian */
	ROUTE_VALUE = ROUTE_HEAD + LINE_MAX_OCTETS,
	REPORTS_MOST = 50,
	ROWS_MOST = 16 * 1024 * 1024,
	META_OCTETS = 16, /* CRC u32, magic, rows u32 */
};

static const char prefix[] = "routes";
static const char meta_magic[8] = "sallyrt1";

struct routes {
	KCDB *db;
	uint32_t rows;
};

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

/* Over the key and all of the value but the CRC itself. */
static uint32_t
crc_of(const void *key, size_t key_len, const unsigned char *value, size_t len)
{
	return crc32c(crc32c(0, key, key_len), value + 4, len - 4);
}

/* --- records ----------------------------------------------------------------
 */

static char
letter_of(enum route_by by)
{
	return by == ROUTE_BY_RCPT ? 'r' : by == ROUTE_BY_FROM ? 'f' : 'a';
}

static size_t
route_key(const struct route *route, unsigned char out[static KEY_OCTETS])
{
	return key_encode(&route->key, letter_of(route->by), out);
}

static size_t
route_encode(const struct route *route, const unsigned char *key,
    size_t key_len, unsigned char out[static ROUTE_VALUE])
{
	size_t len;

	route_print(route, (char *)out + ROUTE_HEAD, LINE_MAX_OCTETS);
	len = ROUTE_HEAD + strlen((char *)out + ROUTE_HEAD);
	put_u32(out + 4, route->line);
	put_u32(out, crc_of(key, key_len, out, len));
	return len;
}

static bool
route_decode(struct route *out, const void *key, size_t key_len,
    const unsigned char *value, size_t len, struct reason *why)
{
	unsigned char again[KEY_OCTETS];
	struct reason inner;

	if (len <= ROUTE_HEAD || len > ROUTE_VALUE ||
	    get_u32(value) != crc_of(key, key_len, value, len))
		return fail(why, REASON_DAMAGED, "a record is damaged");
	if (route_parse(out, (const char *)value + ROUTE_HEAD, len - ROUTE_HEAD,
		&inner) != ROUTE_ROW ||
	    route_key(out, again) != key_len ||
	    memcmp(again, key, key_len) != 0)
		return fail(why, REASON_DAMAGED,
		    "a record that is not its key's");
	out->line = get_u32(value + 4);
	return true;
}

/* --- compiling ---------------------------------------------------------------
 */

struct compile {
	const struct routes_source *source;
	table_report report;
	void *context;
	unsigned line, errors;
	bool too_much;
	struct records records;
};

__attribute__((format(printf, 2, 3))) static void
tell(struct compile *c, const char *format, ...)
{
	char text[1024];
	va_list ap;
	int at;

	if (++c->errors > REPORTS_MOST || c->report == NULL)
		return;
	at = snprintf(text, sizeof(text), "%s:%u: ", c->source->path, c->line);
	if (at < 0 || (size_t)at >= sizeof(text))
		at = 0;
	va_start(ap, format);
	(void)vsnprintf(text + at, sizeof(text) - (size_t)at, format, ap);
	va_end(ap);
	c->report(c->context, true, text);
}

static void
take_row(struct compile *c, struct route *route)
{
	unsigned char key[KEY_OCTETS], value[ROUTE_VALUE];
	size_t key_len = route_key(route, key), len;
	unsigned other;

	route->line = c->line;
	len = route_encode(route, key, key_len, value);
	if (c->records.count == ROWS_MOST) {
		tell(c, "more than %d rows, expected fewer", ROWS_MOST);
		c->too_much = true;
		return;
	}
	switch (records_add(&c->records, key, key_len, value, len, &other)) {
	case RECORDS_ADDED:
		return;
	case RECORDS_NO_MEMORY:
		tell(c, "out of memory after %u rows", c->records.count);
		c->too_much = true;
		return;
	case RECORDS_DOUBLE:
		tell(c,
		    "second row for %s, expected one (the other is in line %u)",
		    route->key.text, other);
		return;
	}
}

static void
compile_text(struct compile *c)
{
	const char *at = (const char *)c->source->text.data;
	const char *end = at + c->source->text.size, *stop;
	struct route route;
	struct reason why;

	for (; at < end && !c->too_much && c->errors <= REPORTS_MOST;
	     at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		c->line++;
		if (stop == NULL) {
			tell(c, "last line is cut off, expected a line end");
			return;
		}
		switch (route_parse(&route, at, (size_t)(stop - at), &why)) {
		case ROUTE_EMPTY:
			break;
		case ROUTE_BAD:
			tell(c, "%s", why.text);
			break;
		case ROUTE_ROW:
			take_row(c, &route);
			break;
		}
	}
}

bool
routes_check(const struct routes_source *source, table_report report,
    void *context)
{
	struct compile c = { .source = source,
		.report = report,
		.context = context };

	compile_text(&c);
	records_fini(&c.records);
	return c.errors == 0;
}

static bool
fill(void *context, KCDB *db, struct reason *why)
{
	const struct records *records = context;
	const unsigned char *key, *value;
	unsigned char meta[META_OCTETS];
	size_t at = 0, key_len, len;

	while (records_next(records, &at, &key, &key_len, &value, &len))
		if (!map_add(db, key, key_len, value, len, why))
			return false;
	memcpy(meta + 4, meta_magic, sizeof(meta_magic));
	put_u32(meta + 12, records->count);
	put_u32(meta, crc_of(META_KEY, META_KEY_OCTETS, meta, sizeof(meta)));
	return map_add(db, META_KEY, META_KEY_OCTETS, meta, sizeof(meta), why);
}

static bool
is_whole(const char *path, struct reason *why)
{
	struct routes *routes;

	if (!routes_open(&routes, path, true, why))
		return false;
	routes_close(routes);
	return true;
}

bool
routes_compile(const struct routes_source *source, const char *folder,
    char name_out[static MAP_NAME], table_report report, void *context,
    struct reason *why)
{
	struct compile c = { .source = source,
		.report = report,
		.context = context };
	bool ok;

	compile_text(&c);
	ok = c.errors == 0;
	if (ok) {
		const struct map_source map = {
			.prefix = prefix,
			.records = c.records.count,
			.octets = c.records.len,
			.fill = fill,
			.is_whole = is_whole,
			.context = &c.records,
		};

		ok = map_publish(&map, folder, name_out, why);
	} else {
		fail(why, REASON_SYNTAX, "%s: %u error%s, expected none",
		    source->path, c.errors, c.errors == 1 ? "" : "s");
	}
	records_fini(&c.records);
	return ok;
}

/* --- opening -----------------------------------------------------------------
 */

struct walk {
	uint32_t rows;
	bool whole;
	struct reason *why;
	struct route route;
};

static const char *
check_record(const char *key, size_t key_len, const char *value, size_t len,
    size_t *size_out, void *context)
{
	struct walk *walk = context;

	(void)size_out;
	if (!walk->whole || (key_len == META_KEY_OCTETS && key[0] == *META_KEY))
		return KCVISNOP;
	walk->rows++;
	walk->whole = route_decode(&walk->route, key, key_len,
	    (const unsigned char *)value, len, walk->why);
	return KCVISNOP;
}

static bool
meta_read(struct routes *routes, const char *path, struct reason *why)
{
	unsigned char meta[META_OCTETS];
	int32_t len = kcdbgetbuf(routes->db, META_KEY, META_KEY_OCTETS,
	    (char *)meta, sizeof(meta));

	if (len != META_OCTETS ||
	    memcmp(meta + 4, meta_magic, sizeof(meta_magic)) != 0 ||
	    get_u32(meta) !=
		crc_of(META_KEY, META_KEY_OCTETS, meta, sizeof(meta)))
		return fail(why, REASON_DAMAGED,
		    "%s: no table of routes, or of another version", path);
	routes->rows = get_u32(meta + 12);
	return kcdbcount(routes->db) == (int64_t)routes->rows + 1 ||
	       fail(why, REASON_DAMAGED, "%s: %lld records, expected %u", path,
		   (long long)kcdbcount(routes->db), routes->rows + 1);
}

static bool
records_are_whole(struct routes *routes, const char *path, struct reason *why)
{
	struct walk walk = { .whole = true, .why = why };

	if (!kcdbiterate(routes->db, check_record, &walk, false))
		return fail(why, REASON_DAMAGED, "%s: %s", path,
		    kcdbemsg(routes->db));
	if (walk.whole && walk.rows != routes->rows)
		return fail(why, REASON_DAMAGED, "%s: %u rows, expected %u",
		    path, walk.rows, routes->rows);
	return walk.whole;
}

bool
routes_open(struct routes **routes_out, const char *path, bool check_whole,
    struct reason *why)
{
	struct routes *routes;

	if (check_whole && !map_digest_is_in_name(path, prefix, why))
		return false;
	routes = calloc(1, sizeof(*routes));
	if (routes == NULL)
		return fail(why, REASON_NO_MEMORY, "routes");
	routes->db = map_open(path, why);
	if (routes->db == NULL || !meta_read(routes, path, why) ||
	    (check_whole && !records_are_whole(routes, path, why))) {
		routes_close(routes);
		return false;
	}
	*routes_out = routes;
	return true;
}

void
routes_close(struct routes *routes)
{
	if (routes == NULL)
		return;
	map_close(routes->db);
	free(routes);
}

size_t
routes_rows(const struct routes *routes)
{
	return routes->rows;
}

/* --- asking ------------------------------------------------------------------
 */

struct search {
	const struct routes *routes;
	enum route_by by;
	bool released; /* rows with hold do not speak */
	struct route *out;
	enum route_found found;
	route_tried tried;
	void *context;
	struct reason *why;
};

/* True: go on looking. */
static bool
try_key(struct search *s, char kind, const char *text)
{
	unsigned char key[KEY_OCTETS], value[ROUTE_VALUE];
	size_t key_len =
	    key_encode_text(letter_of(s->by), kind, text, strlen(text), key);
	struct reason inner;
	size_t len;

	switch (
	    map_get(s->routes->db, key, key_len, value, sizeof(value), &len)) {
	case MAP_TROUBLE:
		fail(s->why, REASON_TABLE, "routes: %s",
		    kcdbemsg(s->routes->db));
		s->found = ROUTE_FAILED;
		break;
	case MAP_ABSENT:
		break;
	case MAP_FOUND:
		s->found = ROUTE_FOUND;
		if (route_decode(s->out, key, key_len, value, len, &inner)) {
			if (s->released && s->out->kind == ROUTE_HOLD)
				s->found = ROUTE_NONE;
			break;
		}
		fail(s->why, REASON_TABLE, "routes: %.200s", inner.text);
		s->found = ROUTE_FAILED;
		break;
	}
	if (s->tried != NULL && s->found != ROUTE_FAILED)
		s->tried(s->context, s->by, text,
		    s->found == ROUTE_FOUND ? s->out->line : 0);
	return s->found == ROUTE_NONE;
}

/* The host itself, then the longest suffix. */
static bool
try_host(struct search *s, const char *host)
{
	const char *dot = host;

	if (!try_key(s, 'h', host))
		return false;
	while ((dot = strchr(dot + 1, '.')) != NULL)
		if (!try_key(s, 's', dot))
			return false;
	return true;
}

static bool
try_path(struct search *s, enum route_by by, const char *path)
{
	char mailbox[KEY_TEXT], host[HOST_MAX];

	s->by = by;
	if (by == ROUTE_BY_FROM && *path == '\0')
		return try_key(s, 'u', "<>");
	if (path_mailbox(mailbox, path) && !try_key(s, 'u', mailbox))
		return false;
	return !path_host(host, path) || try_host(s, host);
}

static enum route_found
find(struct search *s, const char *reverse_path, const char *forward_path)
{
	if (try_path(s, ROUTE_BY_RCPT, forward_path) &&
	    try_path(s, ROUTE_BY_FROM, reverse_path)) {
		s->by = ROUTE_BY_ANY;
		try_key(s, '*', "*");
	}
	return s->found;
}

enum route_found
routes_find(const struct routes *routes, const char *reverse_path,
    const char *forward_path, struct route *out, route_tried tried,
    void *context, struct reason *why)
{
	struct search s = { .routes = routes,
		.out = out,
		.found = ROUTE_NONE,
		.tried = tried,
		.context = context,
		.why = why };

	return find(&s, reverse_path, forward_path);
}

enum route_found
routes_find_released(const struct routes *routes, const char *reverse_path,
    const char *forward_path, struct route *out, route_tried tried,
    void *context, struct reason *why)
{
	struct search s = { .routes = routes,
		.released = true,
		.out = out,
		.found = ROUTE_NONE,
		.tried = tried,
		.context = context,
		.why = why };

	return find(&s, reverse_path, forward_path);
}
