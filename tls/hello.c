/*
 * tls/hello.c: the cipher suites of a ClientHello.
 */
#include "hello.h"

#include <stddef.h>

enum { VERSION_OCTETS = 2, RANDOM_OCTETS = 32 };

static unsigned
keys_of_suite(unsigned suite)
{
	switch (suite) {
	case 0xc02b: /* ECDHE-ECDSA with AES-128-GCM, RFC 5289 */
	case 0xc02c: /* AES-256-GCM */
	case 0xcca9: /* ChaCha20-Poly1305, RFC 7905 */
		return TLS_KEYS_ECDSA;
	case 0xc02f: /* ECDHE-RSA, likewise */
	case 0xc030:
	case 0xcca8:
		return TLS_KEYS_RSA;
	default:
		return 0;
	}
}

unsigned
tls_hello_keys(const gnutls_datum_t *hello)
{
	const unsigned char *octets = hello->data;
	size_t size = hello->size, at = VERSION_OCTETS + RANDOM_OCTETS, len;
	unsigned keys = 0;

	if (size < at + 1)
		return 0;
	at += 1 + (size_t)octets[at]; /* the session's id */
	if (size < at + 2)
		return 0;
	len = (size_t)octets[at] << 8 | octets[at + 1];
	at += 2;
	if (len % 2 != 0 || size - at < len)
		return 0;
	for (; len > 0; len -= 2, at += 2)
		keys |=
		    keys_of_suite((unsigned)octets[at] << 8 | octets[at + 1]);
	return keys;
}
