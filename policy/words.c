/*
 * policy/words.c: one line of a table's text as words.
 */
#include "words.h"

#include <stdint.h>
#include <string.h>

/* Length of the UTF-8 sequence (RFC 3629) that text begins with; 0 if it is
 * none. */
static size_t
utf8_sequence(const unsigned char *text, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t octets = text[0] < 0x80   ? 1
			: text[0] < 0xc0 ? 0
			: text[0] < 0xe0 ? 2
			: text[0] < 0xf0 ? 3
			: text[0] < 0xf8 ? 4
					 : 0;
	uint32_t point;

	if (octets < 2 || octets > len)
		return octets == 1 ? 1 : 0;
	point = text[0] & (0x7fu >> octets);
	for (size_t i = 1; i < octets; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3fu);
	}
	if (point < least[octets] || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000))
		return 0;
	return octets;
}

static bool
octets_are_text(const char *line, size_t len, struct reason *why)
{
	size_t octets;

	for (size_t i = 0; i < len; i += octets) {
		unsigned char c = (unsigned char)line[i];

		octets =
		    utf8_sequence((const unsigned char *)line + i, len - i);
		if (octets == 0)
			return fail(why, REASON_SYNTAX,
			    "octet 0x%02x in column %zu, expected UTF-8", c,
			    i + 1);
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return fail(why, REASON_SYNTAX,
			    "control character 0x%02x in column %zu, expected "
			    "text%s",
			    c, i + 1,
			    c == '\r' ? " (line ends are LF alone)" : "");
	}
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * Cut line, in place, into words between blanks.  Quotes may stand around any
 * part of a word; backslash within them takes the next octet as it is.  "#"
 * begins a comment where a word could begin.
 */
static bool
split(struct words *l, struct reason *why)
{
	char *in = l->octets, *out = l->octets;
	size_t count = 0;

	for (;;) {
		bool quoted = false;

		while (is_blank(*in))
			in++;
		if (*in == '\0' || *in == '#')
			break;
		if (count == LINE_WORDS)
			return fail(why, REASON_RANGE,
			    "more than %d words, expected fewer options",
			    LINE_WORDS);
		l->at[count++] = out;
		for (; *in != '\0' && (quoted || !is_blank(*in)); in++) {
			if (*in == '"') {
				quoted = !quoted;
				continue;
			}
			if (quoted && *in == '\\' && in[1] != '\0')
				in++;
			*out++ = *in;
		}
		if (quoted)
			return fail(why, REASON_SYNTAX,
			    "quote without end, expected \"");
		if (*in != '\0')
			in++;
		*out++ = '\0';
	}
	l->count = count;
	return true;
}

bool
words_read(struct words *out, const char *text, size_t len, struct reason *why)
{
	if (len > LINE_MAX_OCTETS)
		return fail(why, REASON_RANGE,
		    "line of %zu octets, expected at most %d", len,
		    LINE_MAX_OCTETS);
	if (!octets_are_text(text, len, why))
		return false;
	memcpy(out->octets, text, len);
	out->octets[len] = '\0';
	return split(out, why);
}
