/*
 * server/smtp_utf8.c: addresses beyond ASCII.
 */
#include "smtp_utf8.h"

#include <stdio.h>
#include <string.h>

#include "../policy/key.h"

/* --- UTF-8 -----------------------------------------------------------------
 */

/* The first octet of a character (RFC 3629, section 4). */
static void
scan_first(struct utf8_scan *scan, unsigned char c)
{
	scan->low = 0x80;
	scan->high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf) {
		scan->left = 1;
	} else if (c >= 0xe0 && c <= 0xef) {
		scan->left = 2;
		if (c == 0xe0)
			scan->low = 0xa0;
		else if (c == 0xed)
			scan->high = 0x9f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		scan->left = 3;
		if (c == 0xf0)
			scan->low = 0x90;
		else if (c == 0xf4)
			scan->high = 0x8f;
	} else {
		scan->is_bad = true;
	}
}

void
utf8_scan(struct utf8_scan *scan, const char *at, size_t len)
{
	for (size_t i = 0; i < len && !scan->is_bad; i++) {
		unsigned char c = (unsigned char)at[i];

		scan->has_high |= c > 127;
		if (scan->left > 0) {
			scan->is_bad = c < scan->low || c > scan->high;
			scan->left--;
			scan->low = 0x80;
			scan->high = 0xbf;
		} else if (c > 127) {
			scan_first(scan, c);
		}
	}
}

bool
utf8_scan_is_good(const struct utf8_scan *scan)
{
	return !scan->is_bad && scan->left == 0;
}

bool
utf8_has_high(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.at[i] > 127)
			return true;
	return false;
}

/* Take a character off text that is good UTF-8. */
static uint32_t
take_character(struct slice *s)
{
	unsigned char first = (unsigned char)s->at[0];
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t point = len == 1 ? first : first & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++)
		point = point << 6 | ((unsigned char)s->at[i] & 0x3fu);
	s->at += len;
	s->len -= len;
	return point;
}

static bool
is_plain_point(uint32_t point)
{
	static const struct {
		uint32_t first, last;
	} hidden[] = {
		{ 0x80, 0x9f },       /* C1 */
		{ 0x61c, 0x61c },     /* Arabic letter mark */
		{ 0x200e, 0x200f },   /* left-to-right, right-to-left mark */
		{ 0x2028, 0x202e },   /* line ends, embeddings, overrides */
		{ 0x2066, 0x206f },   /* isolates, deprecated formats */
		{ 0xfdd0, 0xfdef },   /* noncharacters */
		{ 0xfeff, 0xfeff },   /* byte order mark */
		{ 0xfff9, 0xfffb },   /* interlinear annotation */
		{ 0xe0000, 0xe007f }, /* tags */
	};

	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (point >= hidden[i].first && point <= hidden[i].last)
			return false;
	return (point & 0xfffe) != 0xfffe;
}

bool
utf8_is_plain(struct slice s)
{
	struct utf8_scan scan = { 0 };

	utf8_scan(&scan, s.at, s.len);
	if (!utf8_scan_is_good(&scan))
		return false;
	while (scan.has_high && s.len > 0)
		if (!is_plain_point(take_character(&s)))
			return false;
	return true;
}

/* --- paths -----------------------------------------------------------------
 */

enum smtp_syntax
smtp_path_to_ascii(struct smtp_path *path, char out[static SMTP_PATH_MAX + 1])
{
	size_t local = (size_t)(path->domain.at - path->mailbox.at), len;
	char host[HOST_MAX];

	if (!utf8_has_high(path->domain))
		return SMTP_SYNTAX_OK;
	if (!host_normalise(host, path->domain.at, path->domain.len))
		return SMTP_SYNTAX_BAD;
	len = strlen(host);
	if (local + len + strlen("<>") > SMTP_PATH_MAX)
		return SMTP_SYNTAX_TOO_LONG;
	memcpy(out, path->mailbox.at, local);
	memcpy(out + local, host, len + 1);
	path->mailbox = (struct slice){ out, local + len };
	path->domain = (struct slice){ out + local, len };
	return SMTP_SYNTAX_OK;
}

bool
smtp_is_utf8_path(const char *path)
{
	const char *at = strrchr(path, '@');

	return at != NULL && !utf8_has_high(slice_of(at)) &&
	       utf8_is_plain(slice_of(path));
}

/* --- RFC 6533 --------------------------------------------------------------
 */

/* QCHAR: printable, but for what xtext and this form make use of. */
static bool
is_qchar(char c)
{
	return c > 32 && c < 127 && c != '+' && c != '=' && c != '\\';
}

/* The number between the braces of EmbeddedUnicodeChar, in the one way to
 * write it; 0 if it is none. */
static uint32_t
take_embedded(struct slice *s)
{
	static const char digits[] = "0123456789ABCDEF";
	uint32_t point = 0;
	size_t n = 3;

	if (s->len < 3 || memcmp(s->at, "\\x{", 3) != 0)
		return 0;
	for (; n < s->len && n < 9 && s->at[n] != '}'; n++) {
		const char *digit = memchr(digits, s->at[n], 16);

		if (digit == NULL)
			return 0;
		point = point << 4 | (uint32_t)(digit - digits);
	}
	if (n == s->len || s->at[n] != '}' || n < 5 ||
	    (n > 5 && s->at[3] == '0'))
		return 0;
	s->at += n + 1;
	s->len -= n + 1;
	return point;
}

/* Of ASCII those alone that could not stand for themselves. */
static bool
is_embeddable(uint32_t point)
{
	if (point < 0x80)
		return point == ' ' || point == '+' || point == '=' ||
		       point == '\\';
	return point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) &&
	       is_plain_point(point);
}

static char *
put_utf8(char *to, uint32_t point)
{
	if (point < 0x80) {
		*to++ = (char)point;
		return to;
	}
	if (point < 0x800) {
		*to++ = (char)(0xc0 | point >> 6);
	} else {
		if (point < 0x10000) {
			*to++ = (char)(0xe0 | point >> 12);
		} else {
			*to++ = (char)(0xf0 | point >> 18);
			*to++ = (char)(0x80 | (point >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (point >> 6 & 0x3f));
	}
	*to++ = (char)(0x80 | (point & 0x3f));
	return to;
}

/* What is written with braces takes more octets than what it stands for. */
bool
utf8_address_decode(struct slice s, char *out)
{
	if (s.len == 0 || !utf8_is_plain(s))
		return false;
	while (s.len > 0) {
		uint32_t point;

		if (s.at[0] == '\\') {
			point = take_embedded(&s);
			if (!is_embeddable(point))
				return false;
		} else {
			point = take_character(&s);
			if (point < 0x80 && !is_qchar((char)point))
				return false;
		}
		out = put_utf8(out, point);
	}
	*out = '\0';
	return true;
}

bool
utf8_is_address(struct slice s)
{
	char text[SMTP_ORCPT_MAX + 1];

	return s.len <= SMTP_ORCPT_MAX && utf8_address_decode(s, text);
}

bool
utf8_xtext_encode(const char *path, char out[static UTF8_XTEXT_SIZE])
{
	struct slice s = slice_of(path);
	size_t len = 0;

	if (!utf8_is_plain(s))
		return false;
	while (s.len > 0) {
		uint32_t point = take_character(&s);
		char one[sizeof "\\x{10FFFF}"] = { (char)point };

		if (point >= 0x80 || !is_qchar((char)point))
			snprintf(one, sizeof one, "\\x{%02X}",
			    (unsigned)(point & 0x1fffff));
		if (len + strlen(one) >= UTF8_XTEXT_SIZE)
			break;
		strcpy(out + len, one);
		len += strlen(one);
	}
	out[len] = '\0';
	return true;
}

bool
utf8_orcpt_to_ascii(const char *orcpt, char out[static SMTP_ORCPT_MAX + 1])
{
	struct slice s = slice_of(orcpt);
	size_t len = 0;

	if (!utf8_is_plain(s))
		return false;
	while (s.len > 0) {
		uint32_t point = take_character(&s);
		int n = snprintf(out + len, SMTP_ORCPT_MAX + 1 - len,
		    point < 0x80 ? "%c" : "\\x{%X}", point);

		if (n < 0 || (size_t)n > SMTP_ORCPT_MAX - len)
			return false;
		len += (size_t)n;
	}
	out[len] = '\0';
	return true;
}
