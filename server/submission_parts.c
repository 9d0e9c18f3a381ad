/*
 * server/submission_parts.c: header fields in UTF-8 inside a message.
 */
#include "submission_parts.h"

#include <string.h>
#include <strings.h>

#include "smtp_utf8.h"

static const char content[] = "Content-";

_Static_assert(sizeof content - 1 ==
		   sizeof(((struct submission_parts *)0)->name),
    "the name holds what is compared");

static void
conclude(struct submission_parts *parts)
{
	parts->has_utf8 |= parts->has_content && parts->has_high;
}

static void
begin_header(struct submission_parts *parts)
{
	parts->has_field = parts->has_content = parts->has_high = false;
	parts->place = PARTS_FIELD;
}

/* RFC 5322, section 3.6.8: ftext. */
static bool
is_name_octet(char c)
{
	return c > 32 && c < 127 && c != ':';
}

static void
look_at_name(struct submission_parts *parts, char c)
{
	if (c == ':') {
		parts->has_field = true;
		parts->has_content |=
		    parts->name_len > sizeof parts->name &&
		    strncasecmp(parts->name, content, sizeof parts->name) == 0;
		conclude(parts);
		parts->place = PARTS_VALUE;
	} else if (is_name_octet(c)) {
		if (parts->name_len < sizeof parts->name)
			parts->name[parts->name_len] = c;
		parts->name_len++;
	} else {
		parts->place = c == '\n' ? PARTS_LINE : PARTS_REST;
	}
}

static void
look_at_field(struct submission_parts *parts, char c)
{
	parts->name_len = 0;
	if (c == '-') {
		parts->place = PARTS_DASH; /* a part without fields, perhaps */
	} else if ((c == ' ' || c == '\t') && parts->has_field) {
		parts->place = PARTS_VALUE;
	} else {
		parts->place = PARTS_NAME;
		look_at_name(parts, c);
	}
}

/* Up to and with LF, or all; returns what follows. */
static const char *
step_over_line(struct submission_parts *parts, const char *at, const char *end)
{
	const char *lf = memchr(at, '\n', (size_t)(end - at));
	const char *next = lf != NULL ? lf + 1 : end;
	enum submission_parts_place place = parts->place;

	if (place == PARTS_VALUE) {
		parts->has_high |=
		    utf8_has_high((struct slice){ at, (size_t)(next - at) });
		conclude(parts);
	}
	if (lf == NULL)
		return next;
	if (place == PARTS_DELIMITER)
		begin_header(parts);
	else
		parts->place = place == PARTS_VALUE ? PARTS_FIELD : PARTS_LINE;
	return next;
}

static const char *
step(struct submission_parts *parts, const char *at, const char *end)
{
	switch (parts->place) {
	case PARTS_LINE:
		parts->place = *at == '-' ? PARTS_DASH : PARTS_REST;
		return *at == '-' ? at + 1 : at;
	case PARTS_DASH:
		parts->place = *at == '-' ? PARTS_DELIMITER : PARTS_REST;
		return at;
	case PARTS_FIELD:
		look_at_field(parts, *at);
		return at + 1;
	case PARTS_NAME:
		look_at_name(parts, *at);
		return at + 1;
	case PARTS_REST:
	case PARTS_DELIMITER:
	case PARTS_VALUE:
		break;
	}
	return step_over_line(parts, at, end);
}

void
submission_parts_look(struct submission_parts *parts, const char *at,
    size_t len)
{
	const char *end = at + len;

	while (at < end && !parts->has_utf8)
		at = step(parts, at, end);
}
