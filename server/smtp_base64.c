/*
 * server/smtp_base64.c: base64, as AUTH has it (RFC 4954, section 4).
 */
#include "smtp_parse.h"

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int
base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* One quantum of four characters, the last up to two of them padding; 0 if
 * it is none, else the number of octets. */
static size_t
decode_quantum(const char in[4], bool last, unsigned char *out)
{
	size_t padding = 0, i;
	uint32_t bits = 0;

	if (last && in[3] == '=')
		padding = in[2] == '=' ? 2 : 1;
	for (i = 0; i < 4 - padding; i++) {
		int value = base64_value(in[i]);

		if (value < 0)
			return 0;
		bits |= (uint32_t)value << (18 - 6 * i);
	}
	/* Octets that padding hides must be zero: one text, one meaning. */
	if ((bits & ((1u << (8 * padding)) - 1)) != 0)
		return 0;
	for (i = 0; i < 3 - padding; i++)
		out[i] = (unsigned char)(bits >> (16 - 8 * i));
	return 3 - padding;
}

bool
smtp_base64_decode(struct slice in, unsigned char *out, size_t *len_out)
{
	size_t len = 0, i;

	if (in.len % 4 != 0)
		return false;
	for (i = 0; i < in.len; i += 4) {
		size_t n =
		    decode_quantum(in.at + i, i + 4 == in.len, out + len);

		if (n == 0)
			return false;
		len += n;
	}
	*len_out = len;
	return true;
}

size_t
smtp_base64_encode(const unsigned char *in, size_t len, char *out)
{
	char *o = out;
	size_t i;

	for (i = 0; i < len; i += 3) {
		uint32_t bits = (uint32_t)in[i] << 16;

		if (i + 1 < len)
			bits |= (uint32_t)in[i + 1] << 8;
		if (i + 2 < len)
			bits |= in[i + 2];
		*o++ = base64_alphabet[bits >> 18];
		*o++ = base64_alphabet[bits >> 12 & 63];
		*o++ = i + 1 < len ? base64_alphabet[bits >> 6 & 63] : '=';
		*o++ = i + 2 < len ? base64_alphabet[bits & 63] : '=';
	}
	return (size_t)(o - out);
}
