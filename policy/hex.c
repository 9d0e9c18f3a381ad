/* policy/hex.c: octets as hexadecimal digits, and back. */
#include "hex.h"

#include <string.h>

static const char pin_kind[] = "sha256:";

enum { PIN_KIND = sizeof(pin_kind) - 1 };

int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void
hex_print(char *out, const void *octets, size_t len)
{
	const unsigned char *at = octets;

	for (size_t i = 0; i < len; i++) {
		*out++ = "0123456789abcdef"[at[i] >> 4];
		*out++ = "0123456789abcdef"[at[i] & 15];
	}
	*out = '\0';
}

bool
hex_read(void *out, size_t len, const char *text)
{
	unsigned char *to = out;

	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(text[2 * i]);
		int low = high >= 0 ? hex_digit(text[2 * i + 1]) : -1;

		if (low < 0)
			return false;
		to[i] = (unsigned char)(high << 4 | low);
	}
	return text[2 * len] == '\0';
}

void
pin_print(char out[static PIN_TEXT],
    const unsigned char spki[static SPKI_OCTETS])
{
	memcpy(out, pin_kind, PIN_KIND);
	hex_print(out + PIN_KIND, spki, SPKI_OCTETS);
}

bool
pin_read(unsigned char out[static SPKI_OCTETS], const char *text)
{
	return strncmp(text, pin_kind, PIN_KIND) == 0 &&
	       hex_read(out, SPKI_OCTETS, text + PIN_KIND);
}
