/*
 * server/submission_header.c: a message's header, noticed in passing, and the
 * fields that go before it.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "submission_header.h"

void
submission_header_init(struct submission_header *header)
{
	memset(header, 0, sizeof *header);
	header->place = HEADER_LINE_START;
	header->kept = header->first;
	header->kept_capacity = sizeof header->first;
}

void
submission_header_fini(struct submission_header *header)
{
	if (header->kept != header->first)
		free(header->kept);
	header->kept = NULL;
	header->kept_len = header->kept_capacity = 0;
}

static bool
kept_grow(struct submission_header *header, size_t need)
{
	size_t capacity = header->kept_capacity;
	char *grown;

	while (capacity < need)
		capacity *= 2;
	if (capacity > SUBMISSION_KEPT_MAX)
		return false;
	grown = realloc(header->kept == header->first ? NULL : header->kept,
	    capacity);
	if (grown == NULL)
		return false;
	if (header->kept == header->first)
		memcpy(grown, header->first, header->kept_len);
	header->kept = grown;
	header->kept_capacity = capacity;
	return true;
}

/* Octets of a field that is kept. */
static void
keep(struct submission_header *header, const char *octets, size_t len)
{
	size_t need = header->kept_len + len;

	if (header->kept_failed)
		return;
	if (need > header->kept_capacity && !kept_grow(header, need)) {
		header->kept_failed = true;
		return;
	}
	memcpy(header->kept + header->kept_len, octets, len);
	header->kept_len = need;
}

/* A NUL begins the next field; messages that have some are refused, but this
 * does not rest on that. */
static void
keep_value(struct submission_header *header, const char *octets, size_t len)
{
	if (memchr(octets, '\0', len) != NULL)
		header->kept_failed = true;
	keep(header, octets, len);
}

bool
submission_header_next(const struct submission_header *header, const char **at,
    enum submission_field *field_out, const char **value_out, size_t *len_out)
{
	const char *end = header->kept + header->kept_len;
	const char *begin = *at == NULL ? header->kept : *at, *next;

	if (begin == end)
		return false;
	next = memchr(begin + 2, '\0', (size_t)(end - begin) - 2);
	*at = next != NULL ? next : end;
	*field_out = (enum submission_field)begin[1];
	*value_out = begin + 2;
	*len_out = (size_t)(*at - *value_out);
	return true;
}

static enum submission_field
find_field(const struct submission_header *header)
{
	static const struct {
		const char *name;
		size_t len;
		enum submission_field field;
	} fields[] = {
#define NAME(name) name, sizeof name - 1
		{ NAME("From"), FIELD_FROM },
		{ NAME("Date"), FIELD_DATE },
		{ NAME("Message-ID"), FIELD_MESSAGE_ID },
		{ NAME("Received"), FIELD_RECEIVED },
		{ NAME("Sender"), FIELD_SENDER },
		{ NAME("User-Agent"), FIELD_PROGRAM },
		{ NAME("X-Mailer"), FIELD_PROGRAM },
		{ NAME("TLS-Required"), FIELD_TLS_REQUIRED },
		{ NAME("Resent-From"), FIELD_RESENT_FROM },
		{ NAME("Resent-Sender"), FIELD_RESENT_SENDER },
#undef NAME
	};

	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (header->name_len == fields[i].len &&
		    strncasecmp(header->name, fields[i].name, fields[i].len) ==
			0)
			return fields[i].field;
	return FIELD_OTHER;
}

static void
begin_word(struct submission_header *header)
{
	header->own_at = 0;
	header->own_same = true;
}

static void
notice_field(struct submission_header *header)
{
	char begin[2] = { '\0', 0 };

	header->has_field = true;
	header->field = find_field(header);
	switch (header->field) {
	case FIELD_DATE:
		header->has_date = true;
		return;
	case FIELD_MESSAGE_ID:
		header->has_message_id = true;
		return;
	case FIELD_RECEIVED:
		header->received++;
		header->own_word = 0;
		begin_word(header);
		return;
	case FIELD_TLS_REQUIRED:
		header->tls_required++;
		header->value = TLS_REQUIRED_BLANK;
		return;
	case FIELD_PROGRAM: /* the first one */
		if (header->program_len > 0)
			header->field = FIELD_OTHER;
		return;
	case FIELD_FROM:
		header->from++;
		break;
	case FIELD_SENDER:
	case FIELD_RESENT_FROM:
	case FIELD_RESENT_SENDER:
		break;
	case FIELD_OTHER:
		return;
	}
	begin[1] = (char)header->field;
	keep(header, begin, sizeof begin);
}

static void
end_header(struct submission_header *header, bool with_text)
{
	header->place = HEADER_OVER;
	header->has_text = with_text;
}

/* RFC 5322, section 3.6.8: ftext. */
static bool
is_name_octet(char c)
{
	return c > 32 && c < 127 && c != ':';
}

static enum submission_header_place
value_place(const struct submission_header *header)
{
	switch (header->field) {
	case FIELD_TLS_REQUIRED:
		return HEADER_TLS_REQUIRED;
	case FIELD_PROGRAM:
		return HEADER_PROGRAM;
	case FIELD_RECEIVED:
		return HEADER_RECEIVED;
	case FIELD_FROM:
	case FIELD_SENDER:
	case FIELD_RESENT_FROM:
	case FIELD_RESENT_SENDER:
		return HEADER_KEPT;
	case FIELD_OTHER:
	case FIELD_DATE:
	case FIELD_MESSAGE_ID:
		break;
	}
	return HEADER_VALUE;
}

static void
look_at_line_start(struct submission_header *header, char c)
{
	header->name_len = 0;
	if (c == '\r' || c == '\n')
		end_header(header, false);
	else if ((c == ' ' || c == '\t') && header->has_field) {
		header->place = value_place(header); /* a folded line */
		if (header->place == HEADER_KEPT)
			keep(header, &c, 1);
	} else if (is_name_octet(c)) {
		header->name[header->name_len++] = c;
		header->place = HEADER_NAME;
	} else
		end_header(header, true);
}

static void
look_at_name(struct submission_header *header, char c)
{
	if (c == ':') {
		notice_field(header);
		header->place = value_place(header);
	} else if (c == ' ' || c == '\t') {
		header->place = HEADER_BLANK;
	} else if (header->place == HEADER_NAME && is_name_octet(c)) {
		if (header->name_len < sizeof header->name)
			header->name[header->name_len] = c;
		header->name_len++;
	} else {
		end_header(header, true);
	}
}

static enum tls_required_value
next_value(enum tls_required_value value, char c)
{
	bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';

	switch (value) {
	case TLS_REQUIRED_BLANK:
		if (blank)
			return value;
		return c == 'n' || c == 'N' ? TLS_REQUIRED_N
					    : TLS_REQUIRED_OTHER;
	case TLS_REQUIRED_N:
		return c == 'o' || c == 'O' ? TLS_REQUIRED_NO
					    : TLS_REQUIRED_OTHER;
	case TLS_REQUIRED_NO:
	case TLS_REQUIRED_NO_BLANK:
		return blank ? TLS_REQUIRED_NO_BLANK : TLS_REQUIRED_OTHER;
	case TLS_REQUIRED_OTHER:
		break;
	}
	return TLS_REQUIRED_OTHER;
}

static void
look_at_tls_required(struct submission_header *header, char c)
{
	header->value = next_value(header->value, c);
	if (c == '\n')
		header->place = HEADER_LINE_START;
}

/* The end of a word of a Received field. */
static void
end_word(struct submission_header *header, const char *const words[static 3])
{
	bool same =
	    header->own_same && words[header->own_word][header->own_at] == '\0';

	header->own_word = same ? header->own_word + 1 : 0;
	if (header->own_word == 3) {
		header->own++;
		header->field = FIELD_OTHER; /* once a field */
		header->place = HEADER_VALUE;
	}
	begin_word(header);
}

/* As submission_head writes it, however it was folded since. */
static void
look_at_received(struct submission_header *header, char c)
{
	const char *const words[3] = { "by", header->hostname, "(Sallyport)" };
	const char *word = words[header->own_word];

	if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
		if (header->own_at > 0 && word != NULL)
			end_word(header, words);
	} else if (word != NULL && header->own_same) {
		header->own_same =
		    tolower((unsigned char)word[header->own_at]) ==
		    tolower((unsigned char)c);
		header->own_at++;
	}
	if (c == '\n')
		header->place = HEADER_LINE_START;
}

/* A blank in the middle stands for whatever cannot be printed. */
static void
look_at_program(struct submission_header *header, char c)
{
	bool blank = c <= 32 || c >= 127;

	if (c == '\n')
		header->place = HEADER_LINE_START;
	if (header->program_len == SUBMISSION_PROGRAM_MAX ||
	    (blank && (header->program_len == 0 ||
			  header->program[header->program_len - 1] == ' ')))
		return;
	header->program[header->program_len++] = blank ? ' ' : c;
}

const char *
submission_header_program(struct submission_header *header)
{
	size_t len = header->program_len;

	if (len > 0 && header->program[len - 1] == ' ')
		len--;
	header->program[len] = '\0';
	return header->program;
}

/* Up to and with LF, or all; returns what follows. */
static const char *
step_over_value(struct submission_header *header, const char *at,
    const char *end)
{
	const char *lf = memchr(at, '\n', (size_t)(end - at));
	const char *next = lf != NULL ? lf + 1 : end;

	if (header->place == HEADER_KEPT)
		keep_value(header, at, (size_t)(next - at));
	if (lf != NULL)
		header->place = HEADER_LINE_START;
	return next;
}

bool
submission_header_is_tls_optional(const struct submission_header *header)
{
	return header->tls_required == 1 &&
	       (header->value == TLS_REQUIRED_NO ||
		   header->value == TLS_REQUIRED_NO_BLANK);
}

void
submission_header_look(struct submission_header *header, const char *at,
    size_t len)
{
	const char *begin = at, *end = at + len;

	if (header->place == HEADER_OVER)
		return;
	while (at < end && header->place != HEADER_OVER) {
		switch (header->place) {
		case HEADER_LINE_START:
			look_at_line_start(header, *at++);
			break;
		case HEADER_NAME:
		case HEADER_BLANK:
			look_at_name(header, *at++);
			break;
		case HEADER_VALUE:
		case HEADER_KEPT:
			at = step_over_value(header, at, end);
			break;
		case HEADER_PROGRAM:
			look_at_program(header, *at++);
			break;
		case HEADER_RECEIVED:
			look_at_received(header, *at++);
			break;
		case HEADER_TLS_REQUIRED:
			look_at_tls_required(header, *at++);
			break;
		case HEADER_OVER:
			break;
		}
	}
	/* What told that it is text is the body's. */
	if (header->has_text)
		at--;
	utf8_scan(&header->utf8, begin, (size_t)(at - begin));
}

struct text {
	char *at;
	size_t len, capacity;
};

static void add(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Beyond the capacity only the length grows, so that the end can tell. */
static void
add(struct text *text, const char *format, ...)
{
	size_t left =
	    text->len < text->capacity ? text->capacity - text->len : 0;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(left > 0 ? text->at + text->len : NULL, left, format, ap);
	va_end(ap);
	text->len += n > 0 ? (size_t)n : 0;
}

/* RFC 5322, section 3.3.  In UTC: what zone the server stands in is nobody's
 * business, and its root folder has no zone files. */
static void
add_date(struct text *text, time_t now)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu",
		"Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May",
		"Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	struct tm tm;

	gmtime_r(&now, &tm);
	add(text, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
	    tm.tm_min, tm.tm_sec);
}

size_t
submission_head(const struct submission_header *header,
    const struct submission_trace *trace, char *out, size_t capacity)
{
	struct text text = { out, 0, capacity };

	add(&text, "Received: ");
	if (trace->client != NULL)
		add(&text, "from %s (%s)\r\n\t",
		    trace->greeting_name != NULL ? trace->greeting_name
						 : trace->client,
		    trace->client);
	add(&text, "by %s (Sallyport) with %s (%s)\r\n\tid %s tls %s;",
	    trace->hostname, trace->smtputf8 ? "UTF8SMTPSA" : "ESMTPSA",
	    trace->tls_version, trace->queue_id, trace->tls_suite);
	add(&text, "\r\n\t");
	add_date(&text, trace->now);
	add(&text, "\r\n");
	if (!header->has_date) {
		add(&text, "Date: ");
		add_date(&text, trace->now);
		add(&text, "\r\n");
	}
	if (!header->has_message_id)
		add(&text, "Message-ID: <%s@%s>\r\n", trace->queue_id,
		    trace->hostname);
	if (header->from == 0 && trace->from != NULL)
		add(&text, "From: <%s>\r\n", trace->from);
	if (!header->has_field && header->has_text)
		add(&text, "\r\n");
	return text.len < capacity ? text.len : 0;
}
