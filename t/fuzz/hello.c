/*
 * t/fuzz/hello.c: any octets as a ClientHello: only its suites are read, and a
 * cut one says nothing that the whole one does not.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* On the heap, and no longer than it is: a read beyond is seen. */
	unsigned char *copy = malloc(size > 0 ? size : 1);
	gnutls_datum_t hello = { copy, (unsigned)size };
	unsigned keys;

	if (copy == NULL)
		return 0;
	if (size > 0)
		memcpy(copy, data, size);
	keys = tls_hello_keys(&hello);
	assert((keys & ~(unsigned)(TLS_KEYS_ECDSA | TLS_KEYS_RSA)) == 0);
	if (size > 0) {
		hello.size--;
		assert((tls_hello_keys(&hello) & ~keys) == 0);
	}
	free(copy);
	return 0;
}
