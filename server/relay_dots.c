/*
 * server/relay_dots.c: dot-stuffing by lines, not by octets.
 */
#include "relay_dots.h"

#include <string.h>

void
relay_dots_init(struct relay_dots *dots)
{
	dots->state = DOTS_LINE_START;
	dots->counted = false;
}

void
relay_dots_init_counted(struct relay_dots *dots)
{
	dots->state = DOTS_LINE_START;
	dots->counted = true;
}

size_t
relay_dots_room(size_t len)
{
	return 2 * len;
}

static bool
dots_break(struct relay_dots *dots)
{
	dots->state = DOTS_BROKEN;
	return false;
}

/* Up to and with the next CR, or all. */
static bool
line_part(struct relay_dots *dots, const char *from, size_t left,
    size_t *taken_out)
{
	const char *cr = memchr(from, '\r', left);
	size_t n = cr == NULL ? left : (size_t)(cr - from);

	if (memchr(from, '\n', n) != NULL)
		return dots_break(dots);
	dots->state = cr == NULL ? DOTS_IN_LINE : DOTS_AFTER_CR;
	*taken_out = cr == NULL ? n : n + 1;
	return true;
}

bool
relay_dots_add(struct relay_dots *dots, const void *in, size_t len, void *out,
    size_t *out_len)
{
	const char *from = in, *end = from + len;
	char *to = out;
	size_t n;

	*out_len = 0;
	if (dots->state == DOTS_BROKEN)
		return false;
	while (from < end) {
		if (dots->state == DOTS_AFTER_CR) {
			if (*from != '\n')
				return dots_break(dots);
			to[(*out_len)++] = *from++;
			dots->state = DOTS_LINE_START;
			continue;
		}
		if (dots->state == DOTS_LINE_START && *from == '.' &&
		    !dots->counted)
			to[(*out_len)++] = '.';
		if (!line_part(dots, from, (size_t)(end - from), &n))
			return false;
		memcpy(to + *out_len, from, n);
		*out_len += n;
		from += n;
	}
	return true;
}

bool
relay_dots_end(struct relay_dots *dots, void *out, size_t *out_len)
{
	static const char end[] = "\r\n.\r\n";

	*out_len = 0;
	if (dots->state == DOTS_AFTER_CR || dots->state == DOTS_BROKEN)
		return dots_break(dots);
	if (dots->counted) {
		*out_len = dots->state == DOTS_IN_LINE ? 2 : 0;
		memcpy(out, end, *out_len);
	} else if (dots->state == DOTS_IN_LINE) {
		memcpy(out, end, 5);
		*out_len = 5;
	} else {
		memcpy(out, end + 2, 3);
		*out_len = 3;
	}
	return true;
}
