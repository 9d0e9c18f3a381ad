/*
 * policy/compile.c: the whole text: rows against each other, against the
 * clock, the file system and the configuration; then the database.
 *
 * All rows are kept encoded in memory first, so that nothing is written for a
 * text that does not compile and the database is made in its final size.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <kclangc.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "parse.h"

enum {
	ERRORS_MOST = 50,
	WARNINGS_MOST = 50,
	ROWS_MOST = 16 * 1024 * 1024,
	PEM_MOST = 8 * 1024 * 1024, /* octets of a ca= or crl= file */
};

/* Encoded records one after the other: key length and value length (u16
 * each), key, value. */
struct records {
	unsigned char *octets;
	size_t len, capacity;
	uint32_t count;
	size_t *slots; /* open addressing: offset + 1, 0 when free */
	size_t slot_count;
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

/* --- records in memory -------------------------------------------------- */

static const unsigned char *
record_key(const struct records *records, size_t offset, size_t *len_out)
{
	const unsigned char *at = records->octets + offset;

	*len_out = (size_t)(at[0] | at[1] << 8);
	return at + 4;
}

static const unsigned char *
record_value(const struct records *records, size_t offset, size_t *len_out)
{
	const unsigned char *at = records->octets + offset;

	*len_out = (size_t)(at[2] | at[3] << 8);
	return at + 4 + (at[0] | at[1] << 8);
}

static size_t
record_size(const struct records *records, size_t offset)
{
	const unsigned char *at = records->octets + offset;

	return 4 + (size_t)(at[0] | at[1] << 8) + (size_t)(at[2] | at[3] << 8);
}

/* The slot that holds key, or the free one where it belongs. */
static size_t *
records_slot(const struct records *records, const unsigned char *key,
    size_t key_len)
{
	size_t i = crc32c(0, key, key_len) * 0x9e3779b97f4a7c15u >> 20;

	for (;; i++) {
		size_t *slot = &records->slots[i & (records->slot_count - 1)];
		const unsigned char *other;
		size_t len;

		if (*slot == 0)
			return slot;
		other = record_key(records, *slot - 1, &len);
		if (len == key_len && memcmp(other, key, len) == 0)
			return slot;
	}
}

static bool
records_grow_slots(struct records *records)
{
	size_t count =
	    records->slot_count == 0 ? 1024 : records->slot_count * 2;
	size_t *slots = calloc(count, sizeof(*slots));

	if (slots == NULL)
		return false;
	free(records->slots);
	records->slots = slots;
	records->slot_count = count;
	for (size_t at = 0; at < records->len; at += record_size(records, at)) {
		size_t len;
		const unsigned char *key = record_key(records, at, &len);

		*records_slot(records, key, len) = at + 1;
	}
	return true;
}

static bool
records_reserve(struct records *records, size_t octets)
{
	size_t capacity = records->capacity * 2 + 65536 + octets;
	unsigned char *larger;

	if (records->capacity - records->len < octets) {
		larger = realloc(records->octets, capacity);
		if (larger == NULL)
			return false;
		records->octets = larger;
		records->capacity = capacity;
	}
	return (size_t)records->count * 2 < records->slot_count ||
	       records_grow_slots(records);
}

static unsigned
record_line(const struct records *records, size_t offset)
{
	size_t len;
	const unsigned char *value = record_value(records, offset, &len);

	return (unsigned)value[4] | (unsigned)value[5] << 8 |
	       (unsigned)value[6] << 16 | (unsigned)value[7] << 24;
}

static void
records_fini(struct records *records)
{
	free(records->octets);
	free(records->slots);
	memset(records, 0, sizeof(*records));
}

/* Add c->row for one direction; tells of a duplicate. */
static void
records_add(struct compile *c, char direction)
{
	struct records *records = &c->records;
	unsigned char key[KEY_OCTETS];
	unsigned char value[ROW_OCTETS];
	size_t key_len = key_encode(&c->key, direction, key);
	size_t len = row_encode(&c->row, key, key_len, value);
	unsigned char *at;
	size_t *slot;

	if (!records_reserve(records, 4 + key_len + len)) {
		tell(c, true, "out of memory after %u rows", records->count);
		c->too_much = true;
		return;
	}
	slot = records_slot(records, key, key_len);
	if (*slot != 0) {
		tell(c, true,
		    "second row for %s in direction %s, expected one (the "
		    "other is in line %u)",
		    c->key.text,
		    direction == 'i'   ? "in"
		    : direction == 'o' ? "out"
		    : direction == 'f' ? "from"
				       : "rcpt",
		    record_line(records, *slot - 1));
		return;
	}
	*slot = records->len + 1;
	at = records->octets + records->len;
	at[0] = (unsigned char)(key_len & 0xff);
	at[1] = (unsigned char)(key_len >> 8);
	at[2] = (unsigned char)(len & 0xff);
	at[3] = (unsigned char)(len >> 8);
	memcpy(at + 4, key, key_len);
	memcpy(at + 4 + key_len, value, len);
	records->len += 4 + key_len + len;
	records->count++;
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
	if (c->row.directions & DIRECTION_IN)
		records_add(c, 'i');
	if (c->row.directions & DIRECTION_OUT)
		records_add(c, 'o');
	if (c->row.directions & DIRECTION_FROM)
		records_add(c, 'f');
	if (c->row.directions & DIRECTION_RCPT)
		records_add(c, 'r');
	if (c->key.kind == KEY_ADDRESS || c->key.kind == KEY_NETWORK) {
		note_prefix(c, DIRECTION_IN);
		note_prefix(c, DIRECTION_OUT);
	}
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
	c->meta.records = c->records.count;
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

/* --- the database ------------------------------------------------------- */

static bool
database_fill(KCDB *db, const struct compile *c, struct reason *why)
{
	const struct records *records = &c->records;
	unsigned char *meta;
	size_t len;
	bool ok;

	for (size_t at = 0; at < records->len; at += record_size(records, at)) {
		size_t key_len, value_len;
		const char *key =
		    (const char *)record_key(records, at, &key_len);
		const char *value =
		    (const char *)record_value(records, at, &value_len);

		if (!kcdbadd(db, key, key_len, value, value_len))
			return fail(why, REASON_IO, "%s", kcdbemsg(db));
	}
	if (!meta_encode(&c->meta, &meta, &len, why))
		return false;
	ok = kcdbset(db, META_KEY, META_KEY_OCTETS, (const char *)meta, len);
	free(meta);
	if (!ok)
		return fail(why, REASON_IO, "%s", kcdbemsg(db));
	return true;
}

/*
 * The database is made in memory and then written out: mapped, as that is
 * several times faster than a call for each record, but not over a disk, as
 * there a full one would be a SIGBUS.
 */
static bool
database_make(int memory, const struct compile *c, struct reason *why)
{
	char full[128];
	KCDB *db = kcdbnew();
	bool ok = false;

	(void)snprintf(full, sizeof(full),
	    "/proc/self/fd/%d#type=kch#bnum=%llu#apow=0#fpow=0#msiz=%llu",
	    memory, 2ULL * c->records.count + 61,
	    2ULL * c->records.len + 64ULL * c->records.count + (1u << 20));
	if (!kcdbopen(db, full, KCOWRITER | KCOCREATE | KCONOLOCK)) {
		fail(why, REASON_IO, "table in memory: %s", kcdbemsg(db));
		goto out;
	}
	ok = database_fill(db, c, why);
	if (!kcdbclose(db) && ok)
		ok = fail(why, REASON_IO, "table in memory: %s", kcdbemsg(db));
out:
	kcdbdel(db);
	return ok;
}

static bool
copy_all(int from, int to, const char *path, struct reason *why)
{
	char octets[1 << 16];
	off_t at = 0;
	ssize_t got, put;

	while ((got = pread(from, octets, sizeof(octets), at)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_errno(why, "table in memory");
		put = write(to, octets, (size_t)got);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return fail_errno(why, "%s", path);
		at += put;
	}
	return true;
}

static bool
database_write(int memory, const char *path, struct reason *why)
{
	int fd = open(path,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	bool ok;

	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = copy_all(memory, fd, path, why);
	if (ok && (fchmod(fd, 0644) != 0 || fsync(fd) != 0))
		ok = fail_errno(why, "%s", path);
	if (close(fd) != 0 && ok)
		ok = fail_errno(why, "%s", path);
	return ok;
}

static bool
database_save(const struct compile *c, const char *path, struct reason *why)
{
	int memory = memfd_create("table", MFD_CLOEXEC);
	bool ok;

	if (memory < 0)
		return fail_errno(why, "memory for a table");
	ok = database_make(memory, c, why) && database_write(memory, path, why);
	close(memory);
	return ok;
}

static bool
folder_sync(const char *folder, struct reason *why)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return fail_errno(why, "%s", folder);
	ok = fsync(fd) == 0;
	if (!ok)
		fail_errno(why, "%s", folder);
	close(fd);
	return ok;
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

/* Give the finished file at aside its name.  A whole one that has it already
 * is kept: readers may have it open. */
static bool
publish(const char *aside, const char *folder, char name_out[static 80],
    struct reason *why)
{
	char digest[65], name[80], path[PATH_MAX];

	if (!file_digest(aside, digest, why))
		return false;
	(void)snprintf(name, sizeof(name), "sites.%s.kch", digest);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >=
	    sizeof(path))
		return fail(why, REASON_RANGE, "%s: path is too long", folder);
	if (access(path, F_OK) != 0 || !is_whole(path, NULL)) {
		if (rename(aside, path) != 0)
			return fail_errno(why, "%s", path);
		if (!folder_sync(folder, why) || !is_whole(path, why)) {
			(void)unlink(path);
			return false;
		}
	}
	memcpy(name_out, name, sizeof(name));
	return true;
}

static bool
compile_into(const struct compile *c, const char *folder,
    char name_out[static 80], struct reason *why)
{
	static unsigned counter;
	char aside[PATH_MAX];
	bool ok;

	if (strchr(folder, '#') != NULL)
		return fail(why, REASON_SYNTAX,
		    "%s: folder with # in its path, expected one without",
		    folder);
	if ((size_t)snprintf(aside, sizeof(aside), "%s/new.%ld.%u.kch", folder,
		(long)getpid(),
		__atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED)) >=
	    sizeof(aside))
		return fail(why, REASON_RANGE, "%s: path is too long", folder);
	(void)unlink(aside);
	ok = database_save(c, aside, why) &&
	     publish(aside, folder, name_out, why);
	(void)unlink(aside);
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
	ok = compile_into(c, folder, name_out, why);
out:
	compile_fini(c);
	free(c);
	return ok;
}
