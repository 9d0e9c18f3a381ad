/*
 * server/submission_from.c: the mailboxes in a From, Sender or Resent field.
 *
 * Functions that take something off the front are named by the rules of RFC
 * 5322, and return false if it is not there.
 */
#include "submission_from.h"

#include <string.h>

enum { LOCAL_MAX = 64, DOMAIN_MAX = 253 };

/* Words and dots: a display name, or a local part if "@" follows. */
struct phrase {
	char local[LOCAL_MAX]; /* without quotes */
	size_t len;
	size_t words, dots;
	bool too_long;
	bool is_local;   /* words and single dots in turn, nothing between */
	bool ends_dot;   /* the last was a dot, or there was nothing */
	bool ends_blank; /* blanks or comments came after the last one */
	bool is_quoted;  /* a quoted string is among them */
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Tabs and line ends are dealt with as blanks. */
static bool
is_control(char c)
{
	return (unsigned char)c < 32 || c == 127;
}

/* RFC 5322, section 3.2.3; RFC 6532, section 3.2. */
static bool
is_atext(char c)
{
	return (unsigned char)c > 127 || (c >= '0' && c <= '9') ||
	       (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
take(struct submission_from *from, char c)
{
	if (from->at == from->end || *from->at != c)
		return false;
	from->at++;
	return true;
}

static char
next(const struct submission_from *from)
{
	return from->at < from->end ? *from->at : '\0';
}

/*
 * Is the comment or quoted string that begins there, and has just been read,
 * one that all programs end where it ends?  Some end it with its line
 * (Python's email.utils): then what looks like an address in there is one for
 * them.  And in the charset that a message may name, such as Shift_JIS, a
 * backslash can be the second half of a letter, so that it hides no quote.
 */
static bool
is_unmistakable(struct submission_from *from, const char *begin)
{
	size_t len = (size_t)(from->at - begin);
	unsigned char before = '\0';

	from->hides_line_end |= memchr(begin, '\n', len) != NULL;
	from->hides_at |= memchr(begin, '@', len) != NULL;
	for (const char *at = begin; at < from->at; at++) {
		if (*at == '\\' && before > 127)
			return false;
		if (*at != '\r' && *at != '\n') /* folding */
			before = (unsigned char)*at;
	}
	return !from->hides_line_end || !from->hides_at;
}

static bool
skip_comment(struct submission_from *from)
{
	const char *begin = from->at;
	unsigned depth = 0;

	while (from->at < from->end) {
		char c = *from->at++;

		if (c == '\\' && from->at < from->end)
			c = *from->at++;
		else if (c == '(' && ++depth > SUBMISSION_COMMENT_DEPTH)
			return false;
		else if (c == ')' && --depth == 0)
			return is_unmistakable(from, begin);
		if (is_control(c) && !is_blank(c))
			return false;
	}
	return false;
}

static bool
skip_cfws(struct submission_from *from)
{
	while (from->at < from->end) {
		if (is_blank(*from->at))
			from->at++;
		else if (*from->at != '(')
			break;
		else if (!skip_comment(from))
			return false;
	}
	return true;
}

static void
put(struct phrase *phrase, char c)
{
	if (phrase->len == sizeof phrase->local)
		phrase->too_long = true;
	else
		phrase->local[phrase->len++] = c;
}

/* Line ends of folding are no part of it: section 3.2.4. */
static bool
take_quoted_string(struct submission_from *from, struct phrase *phrase)
{
	const char *begin = from->at++;

	while (from->at < from->end) {
		char c = *from->at++;

		if (c == '"')
			return is_unmistakable(from, begin);
		if (c == '\r' || c == '\n')
			continue;
		if (c == '\\') {
			if (from->at == from->end)
				return false;
			c = *from->at++;
		}
		if (is_control(c) && c != '\t')
			return false;
		put(phrase, c);
	}
	return false;
}

static bool
take_word(struct submission_from *from, struct phrase *phrase)
{
	if (!phrase->ends_dot || phrase->ends_blank)
		phrase->is_local = phrase->words + phrase->dots == 0;
	phrase->words++;
	phrase->ends_dot = false;
	if (*from->at == '"') {
		phrase->is_quoted = true;
		return take_quoted_string(from, phrase);
	}
	while (from->at < from->end && is_atext(*from->at))
		put(phrase, *from->at++);
	return true;
}

static void
take_dot(struct submission_from *from, struct phrase *phrase)
{
	if (phrase->ends_dot || phrase->ends_blank)
		phrase->is_local = false;
	phrase->dots++;
	phrase->ends_dot = true;
	put(phrase, *from->at++);
}

/* Up to what is neither word nor dot. */
static bool
take_phrase(struct submission_from *from, struct phrase *phrase)
{
	*phrase = (struct phrase){ .is_local = true, .ends_dot = true };
	for (;;) {
		const char *before = from->at;

		if (!skip_cfws(from))
			return false;
		phrase->ends_blank = from->at != before;
		if (next(from) == '.')
			take_dot(from, phrase);
		else if (next(from) != '"' && !is_atext(next(from)))
			return true;
		else if (!take_word(from, phrase))
			return false;
	}
}

/* dot-atom-text. */
static bool
take_dot_atom(struct submission_from *from)
{
	do {
		if (!is_atext(next(from)))
			return false;
		while (is_atext(next(from)))
			from->at++;
	} while (take(from, '.'));
	return true;
}

static bool
take_domain_literal(struct submission_from *from)
{
	const char *end = memchr(from->at, ']', (size_t)(from->end - from->at));

	for (from->at++; end != NULL && from->at < end; from->at++)
		if (*from->at <= 32 || *from->at >= 127 ||
		    strchr("[\\", *from->at) != NULL)
			return false;
	return end != NULL && take(from, ']');
}

/* Is it an atom, or atoms with dots between? */
static bool
is_dot_atom(const struct phrase *phrase)
{
	char before = '.';

	for (size_t i = 0; i < phrase->len; before = phrase->local[i++])
		if (phrase->local[i] == '.' ? before == '.'
					    : !is_atext(phrase->local[i]))
			return false;
	return before != '.';
}

/* RFC 2047, section 2. */
static bool
has_encoded_word(const struct phrase *phrase)
{
	const char *begin = memmem(phrase->local, phrase->len, "=?", 2);

	return begin != NULL &&
	       memmem(begin + 2,
		   phrase->len - (size_t)(begin + 2 - phrase->local),
		   "?=", 2) != NULL;
}

/* Programs that decode an encoded word where none may be (RFC 2047, section 5)
 * would show another address. */
static bool
is_good_local(const struct phrase *phrase)
{
	return phrase->is_local && !phrase->ends_dot && !phrase->too_long &&
	       !has_encoded_word(phrase);
}

static char *
put_local(char *to, const struct phrase *phrase)
{
	if (!phrase->is_quoted || is_dot_atom(phrase)) {
		memcpy(to, phrase->local, phrase->len);
		return to + phrase->len;
	}
	*to++ = '"';
	for (size_t i = 0; i < phrase->len; i++) {
		if (phrase->local[i] == '"' || phrase->local[i] == '\\')
			*to++ = '\\';
		*to++ = phrase->local[i];
	}
	*to++ = '"';
	return to;
}

/* What follows a local part: "@" domain. */
static bool
take_rest_of_address(struct submission_from *from, const struct phrase *phrase,
    char *out)
{
	const char *domain;
	size_t len;

	if (!is_good_local(phrase) || !take(from, '@') || !skip_cfws(from))
		return false;
	domain = from->at;
	if (next(from) == '[' ? !take_domain_literal(from)
			      : !take_dot_atom(from))
		return false;
	len = (size_t)(from->at - domain);
	if (len > DOMAIN_MAX || !skip_cfws(from))
		return false;
	out = put_local(out, phrase);
	*out++ = '@';
	memcpy(out, domain, len);
	out[len] = '\0';
	return true;
}

/* obs-route: "@a,@b:"; nobody uses it, and it says nothing of who wrote. */
static bool
skip_route(struct submission_from *from)
{
	while (next(from) == '@' || next(from) == ',') {
		if (take(from, '@') &&
		    (!skip_cfws(from) || !take_dot_atom(from)))
			return false;
		take(from, ',');
		if (!skip_cfws(from))
			return false;
	}
	return take(from, ':');
}

static bool
take_angle_address(struct submission_from *from, char *out)
{
	struct phrase phrase;

	if (!take(from, '<') || !skip_cfws(from))
		return false;
	if ((next(from) == '@' || next(from) == ',') && !skip_route(from))
		return false;
	return take_phrase(from, &phrase) &&
	       take_rest_of_address(from, &phrase, out) && take(from, '>') &&
	       skip_cfws(from);
}

/* The beginning or the end of a group, or a comma. */
static bool
take_separator(struct submission_from *from, const struct phrase *phrase)
{
	bool empty = phrase->words + phrase->dots == 0;

	if (take(from, ':')) {
		if (phrase->words == 0 || from->in_group)
			return false;
		from->in_group = true;
		return true;
	}
	if (!empty)
		return false;
	if (from->in_group && take(from, ';')) {
		/* After it only a comma or the end: as after a mailbox. */
		from->after_mailbox = true;
		from->in_group = false;
		return true;
	}
	from->after_mailbox = false;
	return take(from, ',');
}

void
submission_from_init(struct submission_from *from, const char *value,
    size_t len)
{
	*from = (struct submission_from){ .at = value, .end = value + len };
}

static enum submission_from_result
take_next(struct submission_from *from, char *out)
{
	struct phrase phrase;

	for (;;) {
		if (!take_phrase(from, &phrase))
			return FROM_BAD;
		if (from->at == from->end)
			return phrase.words + phrase.dots > 0 || from->in_group
				   ? FROM_BAD
				   : FROM_END;
		if (from->after_mailbox &&
		    (phrase.words + phrase.dots > 0 ||
			(next(from) != ',' && next(from) != ';')))
			return FROM_BAD;
		if (next(from) == '@' || next(from) == '<')
			break;
		if (!take_separator(from, &phrase))
			return FROM_BAD;
	}
	from->after_mailbox = true;
	if (next(from) == '@' ? !take_rest_of_address(from, &phrase, out)
			      : !take_angle_address(from, out))
		return FROM_BAD;
	return FROM_MAILBOX;
}

enum submission_from_result
submission_from_next(struct submission_from *from,
    char out[static SUBMISSION_ADDRESS_SIZE])
{
	enum submission_from_result result =
	    from->is_bad ? FROM_BAD : take_next(from, out);

	from->is_bad |= result == FROM_BAD;
	return result;
}
