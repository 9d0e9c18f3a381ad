/* auth/login_book.c: the file of logins at smarthosts. */
#include "login.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum { WORDS = 4 };

/* Strongest first; "any" comes neither to EXTERNAL nor to tokens. */
static const struct login_manner manners[] = {
	{ "SCRAM-SHA-256-PLUS", true, VERIFIER_SHA_256, true, true, true, true,
	    false, 0 },
	{ "SCRAM-SHA-1-PLUS", true, VERIFIER_SHA_1, true, true, true, true,
	    false, 0 },
	{ "SCRAM-SHA-256", true, VERIFIER_SHA_256, true, true, true, false,
	    false, 0 },
	{ "SCRAM-SHA-1", true, VERIFIER_SHA_1, true, true, true, false, false,
	    0 },
	{ "PLAIN", false, VERIFIER_SHA_256, true, true, true, false, false, 0 },
	{ "LOGIN", false, VERIFIER_SHA_256, true, true, false, false, false,
	    0 },
	{ "EXTERNAL", false, VERIFIER_SHA_256, false, false, true, false, false,
	    0 },
	{ "OAUTHBEARER", false, VERIFIER_SHA_256, false, true, true, false,
	    true, BEARER_OAUTHBEARER },
	{ "XOAUTH2", false, VERIFIER_SHA_256, false, true, true, false, true,
	    BEARER_XOAUTH2 },
};

enum { MANNERS = sizeof manners / sizeof manners[0] };

struct login_book {
	size_t count;
	struct book_row *rows;
};

/* One line being read. */
struct line {
	const char *path;
	unsigned number;
	const char *at, *end;
	char *words[WORDS];
	bool quoted[WORDS];
	size_t count;
	char room[LOGIN_LINE_MAX + WORDS + 1]; /* the words, one by one */
	char *free;
};

static void
wipe_string(char *s)
{
	if (s == NULL)
		return;
	explicit_bzero(s, strlen(s));
	free(s);
}

static void
row_fini(struct book_row *row)
{
	free(row->name);
	wipe_string(row->user);
	wipe_string(row->password);
	free(row->file);
	free(row->source);
}

void
login_book_free(struct login_book *book)
{
	if (book == NULL)
		return;
	for (size_t i = 0; i < book->count; i++)
		row_fini(&book->rows[i]);
	free(book->rows);
	free(book);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The word at line->at, which is not a blank. */
static bool
read_word(struct line *line)
{
	bool quoted = *line->at == '"';

	line->words[line->count] = line->free;
	line->quoted[line->count] = quoted;
	if (quoted)
		line->at++;
	for (; line->at < line->end; line->at++) {
		char c = *line->at;

		if (quoted ? c == '"' : is_blank(c))
			break;
		if (quoted && c == '\\') {
			if (++line->at == line->end ||
			    (*line->at != '"' && *line->at != '\\'))
				return false;
			c = *line->at;
		} else if (c == '"' || c == '\0') {
			return false;
		}
		*line->free++ = c;
	}
	*line->free++ = '\0';
	line->count++;
	if (!quoted)
		return true;
	/* The closing quote, and nothing glued to it. */
	return line->at < line->end && ++line->at <= line->end &&
	       (line->at == line->end || is_blank(*line->at));
}

static bool
read_words(struct line *line, struct reason *why)
{
	line->count = 0;
	line->free = line->room;
	while (true) {
		while (line->at < line->end && is_blank(*line->at))
			line->at++;
		if (line->at == line->end || *line->at == '#')
			return true;
		if (line->count == WORDS)
			return fail(why, REASON_SYNTAX,
			    "%s:%u: more than %d words, expected NAME "
			    "MECHANISM USER PASSWORD",
			    line->path, line->number, WORDS);
		if (!read_word(line))
			return fail(why, REASON_SYNTAX,
			    "%s:%u: broken quotes, expected \"...\" with \\\" "
			    "and \\\\ inside",
			    line->path, line->number);
	}
}

static bool
is_name(const char *word)
{
	size_t len = strlen(word);

	return len > 0 && len <= LOGIN_WORD_MAX &&
	       strspn(word,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		   "0123456789._-") == len;
}

const struct login_manner *
login_manner(size_t i)
{
	return i < MANNERS ? &manners[i] : NULL;
}

static const struct login_manner *
find_manner(const char *name)
{
	for (size_t i = 0; i < MANNERS; i++)
		if (strcasecmp(manners[i].name, name) == 0)
			return &manners[i];
	return NULL;
}

/* The first line of a password file. */
static char *
first_line(const gnutls_datum_t *octets)
{
	const char *text = (const char *)octets->data;
	size_t len = 0;

	while (len < octets->size && text[len] != '\n' && text[len] != '\0')
		len++;
	if (len < octets->size && text[len] == '\0')
		return NULL;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	return len > 0 && len <= PASSWORD_MAX ? strndup(text, len) : NULL;
}

static char *
absolute(const char *base, const char *path)
{
	const char *slash = strrchr(base, '/');
	char *out;

	if (*path == '/' || slash == NULL)
		return strdup(path);
	if (asprintf(&out, "%.*s/%s", (int)(slash - base), base, path) < 0)
		return NULL;
	return out;
}

struct secrets {
	bool (*give)(void *context, const char *path, gnutls_datum_t *octets);
	void *context;
};

static bool
read_password(struct book_row *row, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	const char *word = line->words[3];
	gnutls_datum_t octets;

	if (line->quoted[3] || strncmp(word, "file:", 5) != 0) {
		size_t len = strlen(word);

		if (len == 0 || len > PASSWORD_MAX)
			return fail(why, REASON_RANGE,
			    "%s:%u: password of %zu octets, expected 1 to %d",
			    line->path, line->number, len, PASSWORD_MAX);
		row->password = strdup(word);
		return row->password != NULL
			   ? true
			   : fail(why, REASON_NO_MEMORY, "upstream logins");
	}
	if (word[5] == '\0')
		return fail(why, REASON_SYNTAX, "%s:%u: file: without a path",
		    line->path, line->number);
	row->file = absolute(line->path, word + 5);
	if (row->file == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	if (secrets->give == NULL)
		return true;
	if (!secrets->give(secrets->context, row->file, &octets))
		return fail(why, REASON_ABSENT,
		    "%s:%u: the password file %s cannot be had", line->path,
		    line->number, row->file);
	row->password = first_line(&octets);
	return row->password != NULL ? true
				     : fail(why, REASON_SYNTAX,
					   "%s:1: expected a password of 1 to "
					   "%d octets, without NUL",
					   row->file, PASSWORD_MAX);
}

/* Where the token comes from, at each login anew. */
static bool
read_source(struct book_row *row, const struct line *line, struct reason *why)
{
	static const char file[] = "file:", command[] = "command:";
	const char *word = line->words[3], *path = NULL;

	row->is_command = strncmp(word, command, sizeof command - 1) == 0;
	if (row->is_command)
		path = word + sizeof command - 1;
	else if (strncmp(word, file, sizeof file - 1) == 0)
		path = word + sizeof file - 1;
	if (line->quoted[3] || path == NULL || *path == '\0')
		return fail(why, REASON_SYNTAX,
		    "%s:%u: expected file:PATH or command:PATH, where %s finds "
		    "its token",
		    line->path, line->number, row->manner->name);
	row->source = absolute(line->path, path);
	return row->source != NULL
		   ? true
		   : fail(why, REASON_NO_MEMORY, "upstream logins");
}

static bool
read_row(struct book_row *row, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	bool any = line->count > 1 && strcasecmp(line->words[1], "any") == 0;

	if (!is_name(line->words[0]))
		return fail(why, REASON_SYNTAX,
		    "%s:%u: name of a login, expected at most %d of letters, "
		    "digits, '.', '-' and '_'",
		    line->path, line->number, LOGIN_WORD_MAX);
	if (line->count > 1)
		row->manner = find_manner(line->words[1]);
	if (line->count > 1 && !any && row->manner == NULL)
		return fail(why, REASON_SYNTAX,
		    "%s:%u: unknown mechanism, expected any, SCRAM-SHA-256, "
		    "SCRAM-SHA-1 (each with -PLUS or without), PLAIN, LOGIN, "
		    "EXTERNAL, OAUTHBEARER or XOAUTH2",
		    line->path, line->number);
	if (line->count < 3)
		return fail(why, REASON_SYNTAX,
		    "%s:%u: cut off, expected NAME MECHANISM USER PASSWORD",
		    line->path, line->number);
	if ((line->count == 4) != (any || row->manner->has_password))
		return fail(why, REASON_SYNTAX,
		    line->count == 4
			? "%s:%u: EXTERNAL has no password"
			: "%s:%u: no password, expected it or file:PATH after "
			  "the user",
		    line->path, line->number);
	if (line->count == 4 && *line->words[2] == '\0')
		return fail(why, REASON_SYNTAX, "%s:%u: empty user", line->path,
		    line->number);
	row->name = strdup(line->words[0]);
	row->user = strdup(line->words[2]);
	if (row->name == NULL || row->user == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	if (line->count < 4)
		return true;
	return row->manner != NULL && row->manner->token
		   ? read_source(row, line, why)
		   : read_password(row, line, secrets, why);
}

const struct book_row *
login_book_row(const struct login_book *book, const char *name)
{
	for (size_t i = 0; i < book->count; i++)
		if (strcmp(book->rows[i].name, name) == 0)
			return &book->rows[i];
	return NULL;
}

static bool
add_row(struct login_book *book, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	struct book_row row = { 0 };
	struct book_row *rows;

	if (!read_row(&row, line, secrets, why))
		goto bad;
	if (login_book_row(book, row.name) != NULL) {
		fail(why, REASON_EXISTS, "%s:%u: second login %s", line->path,
		    line->number, row.name);
		goto bad;
	}
	rows = reallocarray(book->rows, book->count + 1, sizeof *rows);
	if (rows == NULL) {
		fail(why, REASON_NO_MEMORY, "upstream logins");
		goto bad;
	}
	book->rows = rows;
	book->rows[book->count++] = row;
	return true;
bad:
	row_fini(&row);
	return false;
}

bool
login_book_parse(struct login_book **book_out, const char *path,
    const gnutls_datum_t *text,
    bool (*secret)(void *context, const char *path, gnutls_datum_t *octets),
    void *context, struct reason *why)
{
	const struct secrets secrets = { secret, context };
	const char *at = (const char *)text->data, *end = at + text->size;
	struct login_book *book;
	struct line line = { .path = path };
	bool ok = true;

	if (text->size > LOGIN_BOOK_MAX)
		return fail(why, REASON_RANGE, "%s: more than %d octets", path,
		    LOGIN_BOOK_MAX);
	book = calloc(1, sizeof *book);
	if (book == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	while (ok && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		line.at = at;
		line.end = stop != NULL ? stop : end;
		line.number++;
		at = stop != NULL ? stop + 1 : end;
		if (line.end - line.at > LOGIN_LINE_MAX)
			ok = fail(why, REASON_RANGE,
			    "%s:%u: more than %d octets", path, line.number,
			    LOGIN_LINE_MAX);
		else
			ok = read_words(&line, why) &&
			     (line.count == 0 ||
				 add_row(book, &line, &secrets, why));
	}
	explicit_bzero(&line, sizeof line);
	if (ok)
		*book_out = book;
	else
		login_book_free(book);
	return ok;
}

bool
login_book_has(const struct login_book *book, const char *name)
{
	return login_book_row(book, name) != NULL;
}

const char *
login_book_file(const struct login_book *book, size_t i)
{
	for (size_t r = 0; r < book->count; r++)
		if (book->rows[r].file != NULL && i-- == 0)
			return book->rows[r].file;
	return NULL;
}

bool
login_book_source(const struct login_book *book, size_t i,
    struct login_source *out)
{
	for (size_t r = 0; r < book->count; r++) {
		const struct book_row *row = &book->rows[r];

		if (row->source == NULL || i-- > 0)
			continue;
		*out = (struct login_source){ row->name, row->source,
			row->is_command };
		return true;
	}
	return false;
}

static bool
add_word(char **at, char *end, const char *word, char after)
{
	char *p = *at;

	if (end - p < 1)
		return false;
	*p++ = '"';
	for (; *word != '\0'; word++) {
		if ((unsigned char)*word < ' ' || *word == 0x7f)
			return false;
		if (end - p < 2)
			return false;
		if (*word == '"' || *word == '\\')
			*p++ = '\\';
		*p++ = *word;
	}
	if (end - p < 3)
		return false;
	*p++ = '"';
	*p++ = after;
	*p = '\0';
	*at = p;
	return true;
}

bool
login_book_line(char *out, size_t size, const char *name, const char *mechanism,
    const char *user, const char *password, struct reason *why)
{
	char *end = out + size;
	int n;

	if (!is_name(name) || (strcasecmp(mechanism, "any") != 0 &&
				  find_manner(mechanism) == NULL))
		return fail(why, REASON_SYNTAX,
		    "not the name of a login, or not a mechanism");
	n = snprintf(out, size, "%s %s ", name, mechanism);
	if (n < 0 || (size_t)n >= size)
		return fail(why, REASON_RANGE, "line is too long");
	out += n;
	if (!add_word(&out, end, user, password != NULL ? ' ' : '\n') ||
	    (password != NULL && !add_word(&out, end, password, '\n')))
		return fail(why, REASON_SYNTAX,
		    "user or password is too long or has control characters");
	return true;
}
