/*
 * auth/legacy.h: old ways of logging in, which are to go.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef AUTH_LEGACY_H
#define AUTH_LEGACY_H

#include <stdbool.h>
#include <stddef.h>

/* Bits of what a login was seen to practise. */
enum legacy {
	LEGACY_IN_CLEAR = 1, /* AUTH before TLS, which is never accepted */
	LEGACY_TLS_1_2 = 2,  /* an older TLS than 1.3 */
	LEGACY_LOGIN = 4,    /* mechanism LOGIN */
	LEGACY_UNBOUND = 8,  /* a mechanism not bound to the TLS channel */
	LEGACY_MD5 = 16,     /* CRAM-MD5, DIGEST-MD5 */
	LEGACY_SHA_1 = 32,   /* SCRAM-SHA-1, with or without -PLUS */

	LEGACY_ALL = 63,
};

enum { LEGACY_TEXT = 64 };

/*
 * Words of "auth-in-clear tls1.2 login unbound md5 sha-1", with blanks between,
 * in any order; "": none.  False if one of them is no such word or comes twice.
 */
bool legacy_parse(unsigned *out, const char *words);

/* The words of these bits, in the order above; others are not printed. */
void legacy_print(unsigned practices, char out[static LEGACY_TEXT]);

/* What a login by this SASL mechanism (upper case) over TLS 1.2 (12) or 1.3
 * (13) practises. */
unsigned legacy_practices(const char *mechanism, unsigned tls_version);

#endif
