/*
 * pki/pem.h: what is wrong with a file that should hold certificates, a key and
 * so on in PEM (RFC 7468), as an operator can mend it.
 *
 * The library reads such files; what it says of one it cannot read helps
 * nobody.  Threads: any.
 */
#ifndef PKI_PEM_H
#define PKI_PEM_H

#include <gnutls/gnutls.h>

#include "../policy/reason.h"

enum pem_kind {
	PEM_CERTIFICATE,
	PEM_ANCHORS, /* certificates, too */
	PEM_KEY,     /* that opens without a passphrase */
	PEM_REQUEST,
	PEM_CRL,
};

/*
 * False, with "expected KIND in PEM, but WHAT IS WRONG": the file is empty,
 * DER, something else, cut off, damaged at a line; rc is the library's own
 * error, told only where nothing else is known.
 */
bool pem_fail(struct reason *why, enum reason_code code,
    const gnutls_datum_t *file, enum pem_kind wanted, int rc);

/* Is there something of that kind in it, whole or not? */
bool pem_has(const gnutls_datum_t *file, enum pem_kind kind);

#endif
