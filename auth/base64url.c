/* auth/base64url.c: base64url without padding. */
#include "base64url.h"

#include <stdint.h>

/* 64: it is none. */
static unsigned
value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (unsigned)(c - 'a') + 26;
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0') + 52;
	return c == '-' ? 62 : c == '_' ? 63 : 64;
}

bool
base64url_decode(const char *text, size_t len, unsigned char *out,
    size_t *len_out)
{
	uint32_t bits = 0;
	unsigned held = 0;
	size_t at = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned v = value_of(text[i]);

		if (v == 64)
			return false;
		bits = (bits << 6 | v) & 0x3fff;
		held += 6;
		if (held < 8)
			continue;
		held -= 8;
		out[at++] = (unsigned char)(bits >> held & 0xff);
	}
	*len_out = at;
	return len % 4 != 1 && (bits & ((1U << held) - 1)) == 0;
}
