/*
 * server/submission_header.c: a message's header, noticed in passing, and the
 * fields that go before it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "submission_header.h"

void
submission_header_init(struct submission_header *header)
{
	memset(header, 0, sizeof *header);
	header->place = HEADER_LINE_START;
}

static bool
name_is(const struct submission_header *header, const char *name)
{
	return header->name_len == strlen(name) &&
	       strncasecmp(header->name, name, header->name_len) == 0;
}

static void
notice_field(struct submission_header *header)
{
	header->has_field = true;
	header->in_tls_required = name_is(header, "TLS-Required");
	if (header->in_tls_required) {
		header->tls_required++;
		header->value = TLS_REQUIRED_BLANK;
	}
	if (name_is(header, "Date"))
		header->has_date = true;
	else if (name_is(header, "Message-ID"))
		header->has_message_id = true;
	else if (name_is(header, "Received"))
		header->received++;
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
	return header->in_tls_required ? HEADER_TLS_REQUIRED : HEADER_VALUE;
}

static void
look_at_line_start(struct submission_header *header, char c)
{
	header->name_len = 0;
	if (c == '\r' || c == '\n')
		end_header(header, false);
	else if ((c == ' ' || c == '\t') && header->has_field)
		header->place = value_place(header); /* a folded line */
	else if (is_name_octet(c)) {
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
	const char *end = at + len;

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
			at = memchr(at, '\n', (size_t)(end - at));
			if (at == NULL)
				return;
			at++;
			header->place = HEADER_LINE_START;
			break;
		case HEADER_TLS_REQUIRED:
			look_at_tls_required(header, *at++);
			break;
		case HEADER_OVER:
			break;
		}
	}
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
	add(&text, "by %s (Sallyport) with ESMTPSA (%s)\r\n\tid %s tls %s;",
	    trace->hostname, trace->tls_version, trace->queue_id,
	    trace->tls_suite);
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
	if (!header->has_field && header->has_text)
		add(&text, "\r\n");
	return text.len < capacity ? text.len : 0;
}
