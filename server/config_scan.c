/*
 * server/config_scan.c: what libconfuse lets pass in silence, refused first.
 *
 * A second, small reading of the same grammar: words, quoted strings, braces,
 * "=" and comments.  It does not know the options; it only knows when one is
 * given twice.
 */
#include "config_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SCAN_OCTETS_MAX = 1024 * 1024,
	SCAN_NAMES_MAX = 4096,
	SCAN_DEPTH_MAX = 4,
};

enum token {
	TOKEN_WORD, /* unquoted */
	TOKEN_QUOTED,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_IS,
	TOKEN_COMMA,
	TOKEN_PLUS,
	TOKEN_OTHER,
	TOKEN_END, /* of the text */
};

struct span {
	const char *at;
	size_t len;
};

/* A name given in a scope: an option, or a section and its title. */
struct given {
	unsigned scope;
	struct span name, title;
};

struct scan {
	const char *path;
	struct reason *why;
	char *text; /* ours; comments get blanked */
	char *at;
	int line;

	struct span token;

	/* The words of the statement being read, "NAME" or "NAME TITLE". */
	struct span words[2];
	size_t word_count;
	int word_line; /* of the first */
	bool value;    /* after "=": a value comes next */
	bool in_list;  /* between "= {" and "}" */

	unsigned scope, scopes;
	unsigned outer[SCAN_DEPTH_MAX];
	int opened[SCAN_DEPTH_MAX]; /* at which line */
	size_t depth;

	struct given *given;
	size_t given_count;

	bool end_value; /* the value being read is end's */
	bool ended;
};

static bool scan_fail(struct scan *s, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool
scan_fail(struct scan *s, int line, const char *format, ...)
{
	char text[REASON_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return fail(s->why, REASON_SYNTAX, "%s:%d: %s", s->path, line, text);
}

static void
blank(struct scan *s)
{
	if (*s->at == '\n')
		s->line++;
	else
		*s->at = ' ';
	s->at++;
}

/* At a comment: blank it. */
static bool
skip_comment(struct scan *s)
{
	int line = s->line;

	if (s->at[0] == '#' || s->at[1] == '/') {
		while (*s->at != '\0' && *s->at != '\n')
			blank(s);
		return true;
	}
	blank(s);
	blank(s);
	while (*s->at != '\0' && !(s->at[0] == '*' && s->at[1] == '/'))
		blank(s);
	if (*s->at == '\0')
		return scan_fail(s, line, "comment never ends, expected */");
	blank(s);
	blank(s);
	return true;
}

static bool
skip_blanks(struct scan *s)
{
	for (;;) {
		if (*s->at == '\n')
			s->line++;
		if (*s->at != '\0' && strchr(" \t\r\n", *s->at) != NULL) {
			s->at++;
			continue;
		}
		if (*s->at != '#' &&
		    (*s->at != '/' || (s->at[1] != '/' && s->at[1] != '*')))
			return true;
		if (!skip_comment(s))
			return false;
	}
}

static bool
read_quoted(struct scan *s)
{
	char quote = *s->at++;
	int line = s->line;

	s->token.at = s->at;
	for (; *s->at != quote; s->at++) {
		if (*s->at == '\\' && s->at[1] != '\0')
			s->at++;
		if (*s->at == '\n')
			s->line++;
		if (*s->at == '\0')
			return scan_fail(s, line,
			    "string never ends, expected %c", quote);
	}
	s->token.len = (size_t)(s->at - s->token.at);
	s->at++;
	return true;
}

static enum token
punctuation(char c)
{
	switch (c) {
	case '{':
		return TOKEN_OPEN;
	case '}':
		return TOKEN_CLOSE;
	case '=':
		return TOKEN_IS;
	case ',':
		return TOKEN_COMMA;
	case '+':
		return TOKEN_PLUS;
	default:
		return TOKEN_OTHER;
	}
}

static bool
next_token(struct scan *s, enum token *out)
{
	static const char special[] = " \t\r\n\"'{}=,+()";

	if (!skip_blanks(s))
		return false;
	if (*s->at == '\0') {
		*out = TOKEN_END;
		return true;
	}
	if (*s->at == '"' || *s->at == '\'') {
		*out = TOKEN_QUOTED;
		return read_quoted(s);
	}
	s->token.at = s->at;
	s->token.len = strcspn(s->at, special);
	*out = TOKEN_WORD;
	if (s->token.len == 0) {
		*out = punctuation(*s->at);
		s->token.len = 1;
	}
	s->at += s->token.len;
	return true;
}

static bool
same(struct span a, struct span b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool
is_word(struct span a, const char *word)
{
	return a.len == strlen(word) && memcmp(a.at, word, a.len) == 0;
}

/* The statement's name is being given in this scope. */
static bool
give(struct scan *s)
{
	struct given g = { .scope = s->scope, .name = s->words[0] };

	g.title.at = "";
	if (s->word_count == 2)
		g.title = s->words[1];
	for (size_t i = 0; i < s->given_count; i++) {
		const struct given *o = &s->given[i];

		if (o->scope == g.scope && same(o->name, g.name) &&
		    same(o->title, g.title))
			return scan_fail(s, s->line,
			    "%.*s%s%.*s: given twice, expected once",
			    (int)g.name.len, g.name.at,
			    g.title.len > 0 ? " " : "", (int)g.title.len,
			    g.title.at);
	}
	if (s->given_count == SCAN_NAMES_MAX)
		return scan_fail(s, s->line, "expected at most %d options",
		    SCAN_NAMES_MAX);
	s->given[s->given_count++] = g;
	return true;
}

static bool
take_string(struct scan *s)
{
	if (s->in_list)
		return true;
	if (s->value) {
		s->value = false;
		s->word_count = 0;
		if (!s->end_value)
			return true;
		s->ended = true;
		if (!is_word(s->token, "true"))
			return scan_fail(s, s->line, "end: expected true");
		return true;
	}
	if (s->word_count == 2)
		return scan_fail(s, s->line, "\"%.*s\": expected = or {",
		    (int)s->token.len, s->token.at);
	if (s->word_count == 0)
		s->word_line = s->line;
	s->words[s->word_count++] = s->token;
	return true;
}

static bool
take_is(struct scan *s)
{
	if (s->word_count == 2)
		return scan_fail(s, s->word_line, "\"%.*s\": expected = or {",
		    (int)s->words[0].len, s->words[0].at);
	if (s->word_count != 1 || s->value || s->in_list)
		return scan_fail(s, s->line,
		    "\"=\": expected it between an option's name and its "
		    "value");
	if (!give(s))
		return false;
	s->value = true;
	s->end_value = s->depth == 0 && is_word(s->words[0], "end");
	return true;
}

static bool
take_open(struct scan *s)
{
	if (s->in_list)
		return scan_fail(s, s->line, "\"{\": expected a value or }");
	if (s->value) {
		s->in_list = true;
		s->opened[s->depth] = s->line;
		return true;
	}
	if (s->word_count == 0)
		return scan_fail(s, s->line,
		    "\"{\": expected a section's name before it");
	if (!give(s))
		return false;
	if (s->depth + 1 >= SCAN_DEPTH_MAX)
		return scan_fail(s, s->line, "sections nested too deep");
	s->word_count = 0;
	s->opened[s->depth] = s->line;
	s->outer[s->depth++] = s->scope;
	s->scope = ++s->scopes;
	return true;
}

static bool
take_close(struct scan *s)
{
	if (s->in_list) {
		s->in_list = s->value = false;
		s->word_count = 0;
		return true;
	}
	if (s->depth == 0 || s->value || s->word_count > 0)
		return scan_fail(s, s->line, "\"}\": expected %s",
		    s->value            ? "a value"
		    : s->word_count > 0 ? "= or {"
					: "an option or a section");
	s->scope = s->outer[--s->depth];
	return true;
}

static bool
take(struct scan *s, enum token token)
{
	if (s->ended)
		return scan_fail(s, s->line,
		    "text after \"end = true\", expected that line to be the "
		    "last");
	switch (token) {
	case TOKEN_WORD:
	case TOKEN_QUOTED:
		return take_string(s);
	case TOKEN_IS:
		return take_is(s);
	case TOKEN_OPEN:
		return take_open(s);
	case TOKEN_CLOSE:
		return take_close(s);
	case TOKEN_COMMA:
		if (s->in_list)
			return true;
		break;
	default:
		break;
	}
	return scan_fail(s, s->line,
	    "\"%.*s\": expected NAME = VALUE or a section", (int)s->token.len,
	    s->token.at);
}

static bool
finish(struct scan *s)
{
	if (s->in_list || s->depth > 0)
		return scan_fail(s,
		    s->opened[s->in_list ? s->depth : s->depth - 1],
		    "the brace opened here is never closed, expected }");
	if (!s->ended)
		return scan_fail(s, s->line,
		    "the file is cut off, expected \"end = true\" as its last "
		    "line");
	return true;
}

/* Octets that would change their meaning on the way through libconfuse. */
static bool
check_octets(struct scan *s, size_t len)
{
	int line = 1;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s->text[i];

		if (c == '\n')
			line++;
		else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f)
			return scan_fail(s, line, "octet 0x%02x, expected text",
			    c);
		else if (c == '$' && s->text[i + 1] == '{')
			return scan_fail(s, line,
			    "\"${\", expected no variables");
	}
	return true;
}

static bool
scan_all(struct scan *s, size_t len)
{
	enum token token;

	if (!check_octets(s, len))
		return false;
	for (;;) {
		if (!next_token(s, &token))
			return false;
		if (token == TOKEN_END)
			return finish(s);
		if (!take(s, token))
			return false;
	}
}

char *
config_scan(const char *path, const char *text, size_t len, int *lines_out,
    struct reason *why)
{
	struct scan s = { .path = path, .why = why, .line = 1 };
	bool ok;

	if (len > SCAN_OCTETS_MAX) {
		fail(why, REASON_RANGE, "%s: %zu octets, expected at most %d",
		    path, len, SCAN_OCTETS_MAX);
		return NULL;
	}
	s.text = malloc(len + 1);
	s.given = calloc(SCAN_NAMES_MAX, sizeof(*s.given));
	if (s.text == NULL || s.given == NULL) {
		free(s.text);
		free(s.given);
		fail(why, REASON_NO_MEMORY, "%s", path);
		return NULL;
	}
	if (len > 0)
		memcpy(s.text, text, len);
	s.text[len] = '\0';
	s.at = s.text;
	ok = scan_all(&s, len);
	free(s.given);
	if (!ok) {
		free(s.text);
		return NULL;
	}
	*lines_out = s.line;
	return s.text;
}
