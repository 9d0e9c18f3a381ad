/*
 * server/pkcs11_try.h: is the key that a PKCS#11 URL names there, and the one
 * of the certificate?
 */
#ifndef SERVER_PKCS11_TRY_H
#define SERVER_PKCS11_TRY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "../pki/pkcs11.h"

/*
 * Asked by a child that is what will have the key in the server; it takes some
 * seconds at most.  best: as in struct confinement.  REASON_CERT_BAD: the key
 * is not that of the chain.
 */
bool pkcs11_try(const char *url, const gnutls_datum_t *chain, bool best,
    struct reason *why);

/* The PIN in the file that the URL names, which others can neither read nor
 * write; "" if it names none.  The caller wipes out. */
bool pkcs11_read_pin(const struct pkcs11_url *url, char out[static PIN_SIZE],
    struct reason *why);

#endif
