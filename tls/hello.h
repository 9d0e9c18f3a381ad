/*
 * tls/hello.h: what a ClientHello says that the library does not tell.
 */
#ifndef TLS_HELLO_H
#define TLS_HELLO_H

#include <gnutls/gnutls.h>

/* Kinds of keys that can authenticate a server, as bits. */
enum {
	TLS_KEYS_ECDSA = 1, /* Ed25519 too: RFC 8422, section 5.10 */
	TLS_KEYS_RSA = 2,
};

/*
 * Which keys the TLS 1.2 cipher suites of that ClientHello (its body, RFC
 * 5246, section 7.4.1.2) let us have, of the suites that we know ourselves; 0
 * if it is cut off.  A client may list signature algorithms that none of its
 * suites can use.
 */
unsigned tls_hello_keys(const gnutls_datum_t *hello);

#endif
