/*
 * server/upstream_reply.c: replies and EHLO keywords of an upstream server.
 */
#include "upstream_reply.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void
upstream_reply_init(struct upstream_reply *reply)
{
	memset(reply, 0, sizeof(*reply));
	reply->line_max = REPLY_LINE_MAX;
}

unsigned
upstream_reply_class(const struct upstream_reply *reply)
{
	return reply->code / 100;
}

static enum reply_step
broken(struct upstream_reply *reply, const char *why)
{
	reply->broken = why;
	return REPLY_BROKEN;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Append octets to text, escaped; false when it is full. */
static bool
text_add(struct upstream_reply *reply, const char *octets, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char *to = reply->text;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)octets[i];

		if (reply->text_len + 5 > sizeof(reply->text))
			return false;
		if (c >= 0x20 && c < 0x7f && c != '\\') {
			to[reply->text_len++] = (char)c;
		} else {
			to[reply->text_len++] = '\\';
			to[reply->text_len++] = 'x';
			to[reply->text_len++] = hex[c >> 4];
			to[reply->text_len++] = hex[c & 15];
		}
		to[reply->text_len] = '\0';
	}
	return true;
}

/* Length of "class.subject.detail" at the start of text (RFC 3463, section
 * 2), 0 if there is none or it contradicts the reply code. */
static size_t
status_length(const char *text, size_t len, char code_class)
{
	size_t at = 1;

	if (len < 5 || text[0] != code_class)
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (at >= len || text[at++] != '.')
			return 0;
		while (at < len && is_digit(text[at]) && digits < 4) {
			at++;
			digits++;
		}
		if (digits < 1 || digits > 3)
			return 0;
	}
	return at == len || text[at] == ' ' ? at : 0;
}

static void
status_take(struct upstream_reply *reply, char code_class, const char *text,
    size_t len)
{
	size_t n;

	if (code_class == '3')
		return;
	n = status_length(text, len, code_class);
	if (n == 0 || n >= sizeof(reply->status))
		return;
	memcpy(reply->status, text, n);
	reply->status[n] = '\0';
}

/* One line without its CRLF. */
static enum reply_step
take_line(struct upstream_reply *reply, const char *line, size_t len)
{
	unsigned code;
	bool last;
	size_t skip = 4;

	if (len < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' ||
	    line[1] > '5' || !is_digit(line[2]))
		return broken(reply, "reply without a reply code");
	if (len > 3 && line[3] != ' ' && line[3] != '-')
		return broken(reply, "no blank or hyphen after a reply code");
	code = (unsigned)(line[0] - '0') * 100 +
	       (unsigned)(line[1] - '0') * 10 + (unsigned)(line[2] - '0');
	last = len == 3 || line[3] == ' ';
	if (len == 3)
		skip = 3;
	if (reply->lines == 0) {
		reply->code = code;
		text_add(reply, line, 3);
		if (len > 4)
			text_add(reply, " ", 1);
		status_take(reply, line[0], line + skip, len - skip);
	} else if (code != reply->code) {
		return broken(reply, "reply codes of one reply differ");
	} else {
		text_add(reply, "; ", 2);
	}
	text_add(reply, line + skip, len - skip);
	if (reply->line != NULL)
		reply->line(reply->context, reply->lines, line + skip,
		    len - skip);
	reply->lines++;
	if (last)
		return REPLY_DONE;
	if (reply->lines >= REPLY_LINES_MAX)
		return broken(reply, "reply of too many lines");
	return REPLY_MORE;
}

enum reply_step
upstream_reply_feed(struct upstream_reply *reply, const unsigned char *data,
    size_t len, size_t *used_out)
{
	enum reply_step step = REPLY_MORE;

	*used_out = 0;
	while (step == REPLY_MORE && *used_out < len) {
		const unsigned char *line = data + *used_out;
		size_t left = len - *used_out;
		const unsigned char *lf = memchr(line, '\n', left);
		size_t n = lf == NULL ? left : (size_t)(lf - line) + 1;
		size_t bare;

		if (n > reply->line_max || (lf == NULL && n >= reply->line_max))
			return broken(reply, "reply line too long");
		if (lf == NULL)
			return REPLY_MORE;
		if (n < 2 || line[n - 2] != '\r')
			return broken(reply, "bare LF in a reply");
		bare = n - 2;
		if (memchr(line, '\r', bare) != NULL)
			return broken(reply, "bare CR in a reply");
		*used_out += n;
		step = take_line(reply, (const char *)line, bare);
	}
	return step;
}

static bool
is_keyword(const char *text, size_t len, const char *keyword)
{
	return strlen(keyword) == len && strncasecmp(text, keyword, len) == 0;
}

static uint64_t
size_value(const char *text, size_t len)
{
	uint64_t value = 0;

	if (len == 0 || len > 18)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(text[i]))
			return 0;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	return value;
}

/* A mechanism's name: RFC 4422, section 3.1. */
static bool
mechanism_octet(char *c)
{
	if (*c >= 'a' && *c <= 'z')
		*c = (char)(*c - 'a' + 'A');
	return (*c >= 'A' && *c <= 'Z') || is_digit(*c) || *c == '-' ||
	       *c == '_';
}

static void
mechanism_add(char *list, size_t capacity, const char *name, size_t len)
{
	size_t have = strlen(list);
	size_t start = have;

	if (len == 0 || len > 20 || have + 1 + len + 1 > capacity)
		return;
	if (have > 0)
		list[have++] = ' ';
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!mechanism_octet(&c)) {
			list[start] = '\0';
			return;
		}
		list[have++] = c;
	}
	list[have] = '\0';
}

static void
mechanisms_take(struct upstream_extensions *extensions, const char *text,
    size_t len)
{
	while (len > 0) {
		const char *blank = memchr(text, ' ', len);
		size_t n = blank == NULL ? len : (size_t)(blank - text);

		mechanism_add(extensions->mechanisms,
		    sizeof(extensions->mechanisms), text, n);
		n += blank != NULL;
		text += n;
		len -= n;
	}
}

/* "RCPTMAX=100 MAILMAX=10": what is malformed or unknown says nothing. */
static void
limits_take(struct upstream_extensions *extensions, const char *text,
    size_t len)
{
	while (len > 0) {
		const char *blank = memchr(text, ' ', len);
		size_t n = blank == NULL ? len : (size_t)(blank - text);
		uint64_t value = 0;

		/* At most six digits: RFC 9422, section 4. */
		if (n > 8 && n <= 8 + 6)
			value = size_value(text + 8, n - 8);
		if (value > 0 && strncasecmp(text, "RCPTMAX=", 8) == 0)
			extensions->rcpt_max = (unsigned)value;
		else if (value > 0 && strncasecmp(text, "MAILMAX=", 8) == 0)
			extensions->mail_max = (unsigned)value;
		n += blank != NULL;
		text += n;
		len -= n;
	}
}

void
upstream_extensions_line(void *context, unsigned number, const char *text,
    size_t len)
{
	struct upstream_extensions *extensions = context;
	const char *blank, *value;
	size_t word, value_len;

	if (number == 0)
		return;
	blank = memchr(text, ' ', len);
	word = blank == NULL ? len : (size_t)(blank - text);
	value = blank == NULL ? text + len : blank + 1;
	value_len = len - (size_t)(value - text);
	if (is_keyword(text, word, "STARTTLS")) {
		extensions->starttls = true;
	} else if (is_keyword(text, word, "PIPELINING")) {
		extensions->pipelining = true;
	} else if (is_keyword(text, word, "8BITMIME")) {
		extensions->eight_bit_mime = true;
	} else if (is_keyword(text, word, "REQUIRETLS")) {
		extensions->requiretls = true;
	} else if (is_keyword(text, word, "DSN")) {
		extensions->dsn = true;
	} else if (is_keyword(text, word, "CHUNKING")) {
		extensions->chunking = true;
	} else if (is_keyword(text, word, "LIMITS")) {
		limits_take(extensions, value, value_len);
	} else if (is_keyword(text, word, "SMTPUTF8")) {
		extensions->smtputf8 = true;
	} else if (is_keyword(text, word, "SIZE")) {
		extensions->size = true;
		extensions->size_max = size_value(value, value_len);
	} else if (is_keyword(text, word, "AUTH")) {
		mechanisms_take(extensions, value, value_len);
	}
}
