/*
 * policy/compile.c: the whole text: rows against each other, against the
 * clock, the file system and the configuration.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parse.h"
#include "records.h"

enum {
	ERRORS_MOST = 50,
	WARNINGS_MOST = 50,
	ROWS_MOST = 16 * 1024 * 1024,
	PEM_MOST = 8 * 1024 * 1024, /* octets of a ca= or crl= file */
};

struct compile {
	const struct table_source *source;
	table_report report;
	void *context;
	char folder[PATH_MAX]; /* of the source, absolute */
	unsigned line;
	unsigned errors, warnings;
	bool too_much; /* no memory: stop */
	struct records records;
	struct meta meta;
	struct row row;
	struct key key;
};

/* --- telling ------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static void
tell(struct compile *c, bool is_error, const char *format, ...)
{
	unsigned *count = is_error ? &c->errors : &c->warnings;
	char text[1024];
	int at;
	va_list ap;

	++*count;
	if (c->report == NULL ||
	    *count > (is_error ? ERRORS_MOST : WARNINGS_MOST))
		return;
	at = snprintf(text, sizeof(text), "%s:%u: ", c->source->path, c->line);
	if (at < 0 || (size_t)at >= sizeof(text))
		at = 0;
	va_start(ap, format);
	(void)vsnprintf(text + at, sizeof(text) - (size_t)at, format, ap);
	va_end(ap);
	c->report(c->context, is_error, text);
}

/* --- from rows to records ------------------------------------------------ */

static char
letter_of(unsigned direction)
{
	switch (direction) {
	case DIRECTION_IN:
		return 'i';
	case DIRECTION_OUT:
		return 'o';
	case DIRECTION_FROM:
		return 'f';
	default:
		return 'r';
	}
}

static void
tell_no_memory(struct compile *c)
{
	tell(c, true, "out of memory after %u rows", c->meta.rows);
	c->too_much = true;
}

/* Add c->row for one direction; tells of a duplicate. */
static void
add_record(struct compile *c, unsigned direction)
{
	unsigned char key[KEY_OCTETS], value[ROW_OCTETS];
	size_t key_len = key_encode(&c->key, letter_of(direction), key);
	size_t len = row_encode(&c->row, key, key_len, value);
	unsigned other;

	switch (records_add(&c->records, key, key_len, value, len, &other)) {
	case RECORDS_ADDED:
		break;
	case RECORDS_NO_MEMORY:
		tell_no_memory(c);
		return;
	case RECORDS_DOUBLE:
		tell(c, true,
		    "second row for %s in direction %s, expected one (the "
		    "other is in line %u)",
		    c->key.text, direction_word(direction), other);
		return;
	}
	/* Of a row that stands twice, the copy for out. */
	if (row_is_exception(&c->row) &&
	    !(direction == DIRECTION_IN &&
		c->row.directions == DIRECTION_BOTH) &&
	    !records_add_exception(&c->records, key, key_len))
		tell_no_memory(c);
}

/* --- rows against the world --------------------------------------------- */

static bool
file_read(const char *path, char **text_out, struct reason *why)
{
	struct stat st;
	char *text = NULL;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail_errno(why, "%s", path);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > PEM_MOST) {
		close(fd);
		return fail(why, REASON_RANGE,
		    "%s is no plain file of at most %d octets", path, PEM_MOST);
	}
	text = malloc((size_t)st.st_size + 1);
	got = text == NULL ? -1 : read(fd, text, (size_t)st.st_size);
	close(fd);
	if (got < 0) {
		free(text);
		return fail_errno(why, "%s", path);
	}
	text[got] = '\0';
	*text_out = text;
	return true;
}

static bool
file_is_pem(const char *path, const char *begin, struct reason *why)
{
	char *text = NULL;
	bool ok;

	if (!file_read(path, &text, why))
		return false;
	ok = strstr(text, begin) != NULL;
	free(text);
	if (ok)
		return true;
	return fail(why, REASON_SYNTAX, "%s has no \"%s\" line", path, begin);
}

static bool
file_is_known(const struct compile *c, const char *path)
{
	/* Rows that follow each other tend to name the same file. */
	for (size_t i = c->meta.file_count; i > 0; i--)
		if (strcmp(c->meta.files[i - 1], path) == 0)
			return true;
	return false;
}

static void
check_file(struct compile *c, enum field tag, const char *word,
    const char *begin)
{
	const char *path = row_first(&c->row, tag);
	struct reason why;

	if (path == NULL || file_is_known(c, path))
		return;
	if (!file_is_pem(path, begin, &why)) {
		tell(c, true, "%s=: %s, expected a readable PEM file", word,
		    why.text);
		return;
	}
	if (c->meta.file_count == TABLE_FILES) {
		tell(c, true,
		    "%s=: more than %d different files, expected "
		    "fewer",
		    word, TABLE_FILES);
		return;
	}
	c->meta.files[c->meta.file_count] = strdup(path);
	if (c->meta.files[c->meta.file_count] == NULL) {
		tell(c, true, "out of memory");
		c->too_much = true;
		return;
	}
	c->meta.file_count++;
}

static void
check_names(struct compile *c)
{
	const struct table_names *names = c->source->names;
	const char *cert = row_first(&c->row, FIELD_CERT);
	const char *login = row_first(&c->row, FIELD_AUTH);

	if (names == NULL)
		return;
	if (cert != NULL && names->certificate != NULL &&
	    !names->certificate(names->context, cert))
		tell(c, true,
		    "cert=%s is unknown, expected a certificate section of "
		    "role client or both",
		    cert);
	if (login != NULL && names->login != NULL &&
	    !names->login(names->context, login))
		tell(c, true,
		    "auth=%s is unknown, expected the first word of a line of "
		    "the upstream file",
		    login);
}

/* Rows for addresses make the listener ask by themselves; rows that a name
 * selects need one that asks everybody. */
static void
check_listeners(struct compile *c)
{
	const struct table_names *names = c->source->names;
	bool by_name = c->key.kind == KEY_HOST || c->key.kind == KEY_SUFFIX;
	bool has_anchor =
	    row_first(&c->row, FIELD_CA) != NULL || c->row.no_chain;

	if (names == NULL || names->can_ask_certificate == NULL ||
	    c->row.level < LEVEL_VERIFY ||
	    (c->row.directions & (DIRECTION_IN | DIRECTION_FROM)) == 0 ||
	    (!by_name && has_anchor))
		return;
	if (!names->can_ask_certificate(names->context, by_name, has_anchor))
		tell(c, true,
		    "no listener can meet %s %s, expected one with "
		    "client-cert = ask and client-ca",
		    c->key.text, level_word(c->row.level));
}

static void
check_date(struct compile *c)
{
	if (!row_is_over(&c->row, c->source->now))
		return;
	tell(c, c->source->past_is_error,
	    "until= is past, expected a date to come (%s)",
	    c->row.level == LEVEL_MAY
		? "the row counts as absent"
		: "the exception counts as absent, the rest of the row holds");
}

static void
check_oddities(struct compile *c)
{
	bool adds = (c->row.directions & (DIRECTION_FROM | DIRECTION_RCPT)) ||
		    ((c->row.directions & DIRECTION_IN) &&
			(c->key.kind == KEY_HOST || c->key.kind == KEY_SUFFIX));

	if (c->row.level == LEVEL_NONE && (c->row.directions & DIRECTION_IN))
		tell(c, false,
		    "level none coming in speaks on listeners of kind relay "
		    "alone; the row is as if absent on others");
	if (adds && c->row.observe)
		tell(c, false,
		    "mode=observe in a row that only adds has an effect only "
		    "where the row it adds to observes, too");
	if (adds && c->row.tls_optional)
		tell(c, false,
		    "tls-optional=yes in a row that only adds has an effect "
		    "only where the row for the next hop has it, too");
}

static void
note_prefix(struct compile *c, unsigned direction)
{
	const struct address *address = &c->key.address;

	if ((c->row.directions & direction) != 0)
		c->meta.prefixes[prefixes_of(direction, address->family)]
		    .used[address->prefix] = true;
}

static void
take_row(struct compile *c)
{
	unsigned errors = c->errors;

	c->row.line = c->line;
	check_file(c, FIELD_CA, "ca", "-----BEGIN CERTIFICATE-----");
	check_file(c, FIELD_CRL, "crl", "-----BEGIN X509 CRL-----");
	check_names(c);
	check_listeners(c);
	check_date(c);
	check_oddities(c);
	if (c->errors != errors)
		return;
	c->row.identity = row_identity(&c->row);
	for (unsigned direction = DIRECTION_IN; direction <= DIRECTION_RCPT;
	     direction <<= 1)
		if (c->row.directions & direction)
			add_record(c, direction);
	if (c->key.kind == KEY_ADDRESS || c->key.kind == KEY_NETWORK) {
		note_prefix(c, DIRECTION_IN);
		note_prefix(c, DIRECTION_OUT);
	}
	c->meta.directions |= c->row.directions;
	c->meta.dane = c->meta.dane || c->row.dane;
	c->meta.rows++;
}

/* --- the text ----------------------------------------------------------- */

static void
compile_line(struct compile *c, const char *line, size_t len)
{
	struct reason why;

	switch (row_parse(&c->row, &c->key, line, len, c->folder, &why)) {
	case PARSE_EMPTY:
		return;
	case PARSE_BAD:
		tell(c, true, "%s", why.text);
		return;
	case PARSE_ROW:
		break;
	}
	if (c->meta.rows == ROWS_MOST) {
		tell(c, true, "more than %d rows, expected fewer", ROWS_MOST);
		c->too_much = true;
		return;
	}
	take_row(c);
}

/* Only now is it known which rows there are beside each. */
static void
compile_cover(struct compile *c)
{
	const unsigned char *key, *value;
	size_t at = 0, key_len, len;

	while (c->errors <= ERRORS_MOST &&
	       records_next(&c->records, &at, &key, &key_len, &value, &len)) {
		if (!record_never_decides(&c->records, key, value))
			continue;
		c->line = record_line(value);
		tell(c, true,
		    "the row can never decide, as rows for all its parts "
		    "speak before it, expected none or fewer of them");
	}
}

static void
compile_text(struct compile *c)
{
	const char *at = (const char *)c->source->text.data;
	const char *end = at + c->source->text.size;

	while (at < end && !c->too_much && c->errors <= ERRORS_MOST) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		c->line++;
		if (stop == NULL) {
			/* It may be cut off in the middle of an option. */
			tell(c, true,
			    "last line is cut off, expected a line "
			    "end");
			break;
		}
		compile_line(c, at, (size_t)(stop - at));
		at = stop + 1;
	}
	compile_cover(c);
}

/* The folder relative paths count from, and the name rows are printed with. */
static bool
compile_begin(struct compile *c, const struct table_source *source,
    table_report report, void *context, struct reason *why)
{
	const char *slash = strrchr(source->path, '/');
	const char *base = slash == NULL ? source->path : slash + 1;
	char folder[PATH_MAX];

	memset(c, 0, sizeof(*c));
	c->source = source;
	c->report = report;
	c->context = context;
	(void)snprintf(c->meta.name, sizeof(c->meta.name), "%s", base);
	if (slash == source->path)
		(void)snprintf(folder, sizeof(folder), "/");
	else if (slash == NULL)
		(void)snprintf(folder, sizeof(folder), ".");
	else
		(void)snprintf(folder, sizeof(folder), "%.*s",
		    (int)(slash - source->path), source->path);
	if (realpath(folder, c->folder) == NULL)
		return fail_errno(why, "%s", folder);
	return true;
}

static void
compile_fini(struct compile *c)
{
	records_fini(&c->records);
	meta_fini(&c->meta);
}

bool
table_check(const struct table_source *source, table_report report,
    void *context)
{
	struct compile *c = malloc(sizeof(*c));
	struct reason why;
	bool ok;

	if (c == NULL)
		return false;
	if (!compile_begin(c, source, report, context, &why)) {
		c->line = 0;
		tell(c, true, "%s", why.text);
	} else {
		compile_text(c);
	}
	ok = c->errors == 0;
	compile_fini(c);
	free(c);
	return ok;
}

bool
table_compile(const struct table_source *source, const char *folder,
    char name_out[static 80], table_report report, void *context,
    struct reason *why)
{
	struct compile *c = malloc(sizeof(*c));
	bool ok = false;

	if (c == NULL)
		return fail(why, REASON_NO_MEMORY, "table");
	if (!compile_begin(c, source, report, context, why))
		goto out;
	compile_text(c);
	if (c->errors != 0) {
		fail(why, REASON_SYNTAX, "%s: %u error%s, expected none",
		    source->path, c->errors, c->errors == 1 ? "" : "s");
		goto out;
	}
	ok = records_publish(&c->records, &c->meta, folder, name_out, why);
out:
	compile_fini(c);
	free(c);
	return ok;
}
