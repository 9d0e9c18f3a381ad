/*
 * server/quoted_printable.c: octets as lines of ASCII.
 */
#include "quoted_printable.h"

#include <stdbool.h>
#include <string.h>

enum {
	LINE_MOST = 76,
	ENCODED = 3, /* "=XX" */
};

static bool
is_line_end(const char *octets, size_t len)
{
	return len >= 2 && memcmp(octets, "\r\n", 2) == 0;
}

/* Blanks at the end of a line may be lost on the way. */
static bool
stands_for_itself(const char *octets, size_t len)
{
	unsigned char c = (unsigned char)octets[0];

	if (c == ' ' || c == '\t')
		return len > 1 && !is_line_end(octets + 1, len - 1);
	return c > 32 && c < 127 && c != '=';
}

void
quoted_printable_put(FILE *out, const char *octets, size_t len)
{
	size_t column = 0;

	while (len > 0) {
		bool plain = stands_for_itself(octets, len);
		size_t width = plain ? 1 : ENCODED;

		if (is_line_end(octets, len)) {
			fputs("\r\n", out);
			column = 0;
			octets += 2;
			len -= 2;
			continue;
		}
		/* A place is kept for the "=" of a soft line break. */
		if (column + width > LINE_MOST - 1) {
			fputs("=\r\n", out);
			column = 0;
		}
		if (plain)
			fputc(octets[0], out);
		else
			fprintf(out, "=%02X", (unsigned char)octets[0]);
		column += width;
		octets++;
		len--;
	}
}
