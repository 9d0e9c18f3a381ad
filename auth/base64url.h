/*
 * auth/base64url.h: base64url without padding, as JOSE has it (RFC 7515, 2).
 * Threads: any.
 */
#ifndef AUTH_BASE64URL_H
#define AUTH_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

/* Octets that len characters can stand for, at most. */
#define BASE64URL_OCTETS(len) ((len) / 4 * 3 + 2)

/*
 * out has room for BASE64URL_OCTETS(len).  False: a character outside the
 * alphabet, padding and blanks included, a length that no octets have, or
 * unused bits that are not zero: what is accepted is the one way to write it.
 */
bool base64url_decode(const char *text, size_t len, unsigned char *out,
    size_t *len_out);

#endif
