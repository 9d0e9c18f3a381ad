/*
 * pki/pkcs12.h: key and certificates in one file, as mail programs import them
 * (PKCS#12, RFC 7292).
 */
#ifndef PKI_PKCS12_H
#define PKI_PKCS12_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "../policy/reason.h"

/*
 * chain_pem is the end entity's certificate and those above it, key_pem its
 * key; name is what people are shown.  The octets of *out are DER, encrypted
 * with passphrase: it has to be one that nobody can guess, because what every
 * mail program reads is derived from it with little work.  pki_octets_wipe
 * frees them.  Threads: any.
 */
bool pkcs12_make(const gnutls_datum_t *chain_pem, const gnutls_datum_t *key_pem,
    const char *name, const char *passphrase, gnutls_datum_t *out,
    struct reason *why);

#endif
