/*
 * tools/policy_import_rows.c: what "sallyport policy import" writes: the lines
 * of the source as comments, the rows, the remarks; and that no row is weaker
 * than what its source asked for.
 */
#include "policy_import.h"

#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/parse.h"

enum {
	SHOWN_OCTETS = 1000, /* of a source line in its comment */
	REMARK_OCTETS = 640,
};

/* Reserved never to exist (RFC 6761, section 6.4). */
static const char closed_options[] = " match=not-imported.invalid";

static const char *const remark_words[] = {
	[REMARK_NOTE] = "",
	[REMARK_NEVER] = "was never enforced: ",
	[REMARK_STRICTER] = "stricter now: ",
	[REMARK_CANNOT] = "cannot be expressed: ",
};

/* One line of output; rows can still be taken back. */
struct item {
	struct item *next;
	unsigned line; /* of the source */
	enum { ITEM_COMMENT, ITEM_ROW, ITEM_ERROR } kind;
	bool off; /* a row that is written as a comment */
	struct asked *asked;
	char *site;    /* of a row: "SITE DIRECTION" */
	char *options; /* of a row, or the whole text */
};

struct import {
	const char *path, *until, *reason;
	unsigned line;
	struct item *first, **last;
	void *rows; /* by site and direction: tsearch(3) */
	bool failed;
	bool no_memory;
};

bool
import_append(char *out, size_t size, const char *format, ...)
{
	size_t len = strlen(out);
	va_list ap;
	int added;

	va_start(ap, format);
	added = vsnprintf(out + len, size - len, format, ap);
	va_end(ap);
	if (added >= 0 && (size_t)added < size - len)
		return true;
	out[len] = '\0';
	return false;
}

/* --- items --------------------------------------------------------------- */

struct import *
import_new(const char *path, const char *until, const char *reason)
{
	struct import *import = calloc(1, sizeof(*import));

	if (import == NULL)
		return NULL;
	import->path = path;
	import->until = until;
	import->reason = reason;
	import->last = &import->first;
	return import;
}

static void
item_free(struct item *item)
{
	free(item->asked);
	free(item->site);
	free(item->options);
	free(item);
}

static void
keep(void *item)
{
	(void)item; /* the list frees it */
}

void
import_free(struct import *import)
{
	if (import == NULL)
		return;
	tdestroy(import->rows, keep);
	for (struct item *item = import->first, *next; item != NULL;
	     item = next) {
		next = item->next;
		item_free(item);
	}
	free(import);
}

static struct item *
add_item(struct import *import, int kind, const char *text)
{
	struct item *item = calloc(1, sizeof(*item));
	char *copy = strdup(text);

	if (item == NULL || copy == NULL) {
		free(item);
		free(copy);
		import->no_memory = true;
		return NULL;
	}
	item->line = import->line;
	item->kind = kind;
	item->options = copy;
	*import->last = item;
	import->last = &item->next;
	return item;
}

/* Octets of strangers as ASCII text without control characters. */
static void
clean(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
			*text = *text == '\t' ? ' ' : '?';
}

/* AuthInfo's "P:" or "P=", in whatever table and even in a comment. */
static bool
may_hold_password(const char *text)
{
	if (strcasestr(text, "authinfo") != NULL ||
	    strcasestr(text, "passw") != NULL)
		return true;
	for (const char *p = text; (p = strpbrk(p, "pP")) != NULL; p++)
		if ((p[1] == ':' || p[1] == '=') &&
		    (p == text || strchr(" \t\"'", p[-1]) != NULL))
			return true;
	return false;
}

const char *
import_shown(const char *text)
{
	return may_hold_password(text) ? "(not shown)" : text;
}

/* Of a line that may hold a password only the host it is for. */
static size_t
octets_to_show(const char *text, bool hidden, size_t len)
{
	size_t key = strcspn(text, " \t");

	if (!hidden)
		return len;
	return strncasecmp(text, "authinfo:", 9) == 0 &&
		       memchr(text, '"', key) == NULL
		   ? key
		   : 0;
}

void
import_at(struct import *import, unsigned number)
{
	import->line = number;
}

void
import_line(struct import *import, unsigned number, const char *text,
    size_t len)
{
	/* A line that begins with a blank may be the rest of a login. */
	bool hidden =
	    text[0] == ' ' || text[0] == '\t' || may_hold_password(text);
	size_t shown = octets_to_show(text, hidden, len);
	char line[SHOWN_OCTETS + 512];
	int at;

	import->line = number;
	at = snprintf(line, sizeof(line), "%.255s:%u: ", import->path, number);
	if (shown > SHOWN_OCTETS)
		shown = SHOWN_OCTETS;
	memcpy(line + at, text, shown);
	(void)snprintf(line + at + shown, sizeof(line) - (size_t)at - shown,
	    "%s",
	    hidden        ? " (not shown)"
	    : len > shown ? " ..."
			  : "");
	clean(line);
	(void)add_item(import, ITEM_COMMENT, line);
}

void
import_remark(struct import *import, enum remark remark, const char *format,
    ...)
{
	char text[REMARK_OCTETS];
	int at = snprintf(text, sizeof(text), "  %s", remark_words[remark]);
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text + at, sizeof(text) - (size_t)at, format, ap);
	va_end(ap);
	clean(text);
	(void)add_item(import, ITEM_COMMENT, text);
	if (remark == REMARK_CANNOT)
		import->failed = true;
}

void
import_broken(struct import *import, const char *format, ...)
{
	char text[REMARK_OCTETS];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	clean(text);
	(void)add_item(import, ITEM_ERROR, text);
	import->failed = true;
}

/* --- rows ---------------------------------------------------------------- */

/* Is text one of the words between commas? */
static bool
is_listed(const char *list, const char *text)
{
	size_t len = strlen(text);

	for (;;) {
		size_t part = strcspn(list, ",");

		if (part == len && strncasecmp(list, text, len) == 0)
			return true;
		if (list[part] == '\0')
			return false;
		list += part + 1;
	}
}

static bool
binds_no_less(const struct row *row, const struct asked *asked)
{
	size_t cursor = 0;
	const char *name;

	if (asked->key_alone)
		return row_first(row, FIELD_PIN) != NULL;
	if (row->no_chain)
		return false;
	/* Without names, and without a key, the row's own name is compared. */
	while ((name = row_next(row, FIELD_MATCH, &cursor)) != NULL)
		if (!is_listed(asked->names, name))
			return false;
	return row_first(row, FIELD_PIN) == NULL;
}

bool
import_is_no_weaker(const struct row *row, const struct asked *asked)
{
	const char *ca = row_first(row, FIELD_CA);

	if (row->level < asked->level || row->min < asked->min ||
	    row->bits < asked->bits || (asked->dane && !row->dane))
		return false;
	if (row->observe || row->eku_any || row->tls_optional)
		return false;
	if (asked->level >= LEVEL_VERIFY && !asked->key_alone &&
	    (row->no_chain ||
		(asked->anchors[0] != '\0' &&
		    (ca == NULL || strcmp(ca, asked->anchors) != 0))))
		return false;
	return asked->level < LEVEL_LOCK || binds_no_less(row, asked);
}

/* The sources mean port 25 where they name none. */
static void
without_port(const struct item *item, char out[static KEY_TEXT + 16])
{
	const char *port = strstr(item->site, ":25 ");

	if (port == NULL)
		(void)snprintf(out, KEY_TEXT + 16, "%s", item->site);
	else if (item->site[0] == '[' && port > item->site && port[-1] == ']')
		(void)snprintf(out, KEY_TEXT + 16, "%.*s%s",
		    (int)(port - item->site - 2), item->site + 1, port + 3);
	else
		(void)snprintf(out, KEY_TEXT + 16, "%.*s%s",
		    (int)(port - item->site), item->site, port + 3);
}

static int
compare_sites(const void *a, const void *b)
{
	char one[KEY_TEXT + 16], other[KEY_TEXT + 16];

	without_port(a, one);
	without_port(b, other);
	return strcmp(one, other);
}

/* Does a demand at least as much as b, as far as that can be told? */
static bool
dominates(const struct item *a, const struct item *b)
{
	const struct asked *x = a->asked, *y = b->asked;

	return x->level >= y->level && x->min >= y->min && x->bits >= y->bits &&
	       x->dane >= y->dane && y->level < LEVEL_LOCK &&
	       (y->level < LEVEL_VERIFY ||
		   (!x->key_alone && strcmp(x->anchors, y->anchors) == 0));
}

static void
close_item(struct item *item)
{
	char *options = strdup(closed_options);

	if (options == NULL)
		return;
	free(item->options);
	item->options = options;
	item->off = false;
	memset(item->asked, 0, sizeof(*item->asked));
	item->asked->level = LEVEL_LOCK;
}

/* Two lines of the source came to the same site: the stricter one stands. */
static void
settle(struct import *import, struct item *old, struct item *new)
{
	if (strcmp(old->options, new->options) == 0 &&
	    old->asked->level == new->asked->level) {
		new->off = true;
		import_remark(import, REMARK_NOTE, "the same as line %u",
		    old->line);
		return;
	}
	new->off = true;
	if (dominates(old, new)) {
		import_remark(import, REMARK_STRICTER,
		    "line %u asks for more of the same site", old->line);
		return;
	}
	if (dominates(new, old)) {
		old->off = true;
		new->off = false;
		import_remark(import, REMARK_STRICTER,
		    "line %u asked for less of the same site", old->line);
		return;
	}
	close_item(old);
	import_remark(import, REMARK_CANNOT,
	    "line %u asks otherwise of the same site, which is closed",
	    old->line);
}

static void
add_row(struct import *import, const char *site, unsigned direction,
    const struct asked *asked, const char *options, bool off)
{
	char name[KEY_TEXT + 16];
	struct item *item = add_item(import, ITEM_ROW, options);
	struct item **slot;

	if (item == NULL)
		return;
	(void)snprintf(name, sizeof(name), "%s %s", site,
	    direction_word(direction));
	item->off = off;
	item->site = strdup(name);
	item->asked = malloc(sizeof(*asked));
	if (item->site == NULL || item->asked == NULL) {
		item->kind = ITEM_COMMENT;
		import->no_memory = true;
		return;
	}
	*item->asked = *asked;
	if (off)
		return;
	slot = tsearch(item, &import->rows, compare_sites);
	if (slot == NULL) {
		import->no_memory = true;
		return;
	}
	if (*slot == item)
		return;
	settle(import, *slot, item);
	if ((*slot)->off && !item->off)
		*slot = item;
}

/* Would the row compile? */
static bool
parse_row(struct row *row, const char *site, unsigned direction,
    enum level level, const char *options, struct reason *why)
{
	char text[LINE_MAX_OCTETS + 2];
	struct key key;
	int len = snprintf(text, sizeof(text), "%s %s %s%s", site,
	    direction_word(direction), level_word(level), options);

	if (len < 0 || len > LINE_MAX_OCTETS)
		return fail(why, REASON_RANGE, "the row is too long");
	return row_parse(row, &key, text, (size_t)len, "/", why) == PARSE_ROW;
}

void
import_close_site(struct import *import, const char *site, unsigned direction)
{
	static struct row row;
	struct asked nothing = { .level = LEVEL_LOCK };
	struct reason why;

	if (parse_row(&row, site, direction, LEVEL_LOCK, closed_options, &why))
		add_row(import, site, direction, &nothing, closed_options,
		    false);
	else
		import_remark(import, REMARK_CANNOT, "%s", why.text);
}

void
import_append_quoted(char *out, size_t size, const char *text)
{
	(void)import_append(out, size, "\"");
	for (; *text != '\0'; text++)
		(void)import_append(out, size, "%s%c",
		    *text == '"' || *text == '\\' ? "\\" : "", *text);
	(void)import_append(out, size, "\"");
}

bool
import_option(char *options, const char *word, const char *value)
{
	char quoted[IMPORT_LINE * 2 + 8] = "";

	if (value[strcspn(value, " \t\"\\#")] != '\0')
		import_append_quoted(quoted, sizeof(quoted), value);
	else
		(void)snprintf(quoted, sizeof(quoted), "%s", value);
	return import_append(options, IMPORT_OPTIONS, " %s=%s", word, quoted);
}

/* An exception without date and reason is only shown. */
static void
add_exception(struct import *import, const char *site, unsigned direction,
    const struct asked *asked, const char *options)
{
	char all[IMPORT_OPTIONS + 1024];
	bool off = import->until == NULL || import->reason == NULL;

	(void)snprintf(all, sizeof(all), "%s", options);
	if (import->until != NULL)
		(void)import_append(all, sizeof(all), " until=%s",
		    import->until);
	if (import->reason != NULL) {
		(void)import_append(all, sizeof(all), " reason=");
		import_append_quoted(all, sizeof(all), import->reason);
	}
	if (off)
		import_broken(import,
		    "level may is an exception, expected --until DATE and "
		    "--reason TEXT; without them %s asks for TLS",
		    site);
	add_row(import, site, direction, asked, all, off);
}

void
import_row(struct import *import, const char *site, unsigned direction,
    const struct asked *asked, const char *options)
{
	static struct row row;
	struct reason why;

	if (asked->level == LEVEL_MAY) {
		add_exception(import, site, direction, asked, options);
		return;
	}
	if (parse_row(&row, site, direction, asked->level, options, &why) &&
	    (import_is_no_weaker(&row, asked) ||
		fail(&why, REASON_RANGE, "the row would be weaker"))) {
		add_row(import, site, direction, asked, options, false);
		return;
	}
	import_remark(import, REMARK_CANNOT, "%s; closed", why.text);
	import_close_site(import, site, direction);
}

/* --- output -------------------------------------------------------------- */

static const char head[] =
    "# Levels of sallyport-sites(5).  In all rows:\n"
    "#  - what no row names asks for TLS (encrypt);\n"
    "#  - trust anchors are those of smarthost-ca and client-ca, or the\n"
    "#    system's: they have to be the ones that were trusted before;\n"
    "#  - stricter now: names count in subjectAltName alone, certificates\n"
    "#    have to be meant for their purpose, TLS 1.2 is the least;\n"
    "#  - out is the next hop as the route names it, whatever MX says.\n";

static void
print_item(const struct import *import, const struct item *item, FILE *out,
    FILE *err)
{
	switch (item->kind) {
	case ITEM_COMMENT:
		fprintf(out, "# %s\n", item->options);
		break;
	case ITEM_ERROR:
		fprintf(out, "#   %s\n", item->options);
		fprintf(err, "%s:%u: %s\n", import->path, item->line,
		    item->options);
		break;
	case ITEM_ROW:
		fprintf(out, "%s%s %s%s\n", item->off ? "#" : "", item->site,
		    level_word(item->asked->level), item->options);
		break;
	}
}

bool
import_print(struct import *import, FILE *out, FILE *err)
{
	fputs(head, out);
	for (const struct item *item = import->first; item != NULL;
	     item = item->next)
		print_item(import, item, out, err);
	if (import->no_memory)
		fprintf(err, "sallyport: out of memory\n");
	return !import->failed && !import->no_memory;
}
