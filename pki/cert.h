/*
 * pki/cert.h: questions about one X.509 certificate.
 *
 * Owns nothing but what it returns.  Threads: any.
 */
#ifndef PKI_CERT_H
#define PKI_CERT_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

#include "../policy/facts.h"
#include "../policy/reason.h"

enum cert_purpose { CERT_FOR_SERVER, CERT_FOR_CLIENT };

enum { CERT_CHAIN_MAX = 8 }; /* certificates in a chain, ours or a peer's */

/* Extended key usage, read by ourselves: the library takes "no EKU at all"
 * for yes, we do not. */
enum purpose_state cert_purpose(gnutls_x509_crt_t crt, enum cert_purpose);

/* SHA-256 of the SubjectPublicKeyInfo. */
bool cert_spki(gnutls_x509_crt_t crt, unsigned char out[static SPKI_OCTETS],
    struct reason *why);

/* The same of a private key in PEM (PKCS#8 or older, unencrypted). */
bool cert_key_spki(const gnutls_datum_t *key_pem,
    unsigned char out[static SPKI_OCTETS], struct reason *why);

/*
 * Presented identifiers (RFC 9525, section 2: from the subjectAltName only)
 * in the form of facts.names; at most 1024 of them, 64 KiB together.
 * Identifiers that could be nobody's (blanks, NULs, other octets than
 * printable ASCII) are left out.  *names_out is malloc'd, NULL when there are
 * none.
 */
bool cert_names(gnutls_x509_crt_t crt, char **names_out, size_t *len_out,
    struct reason *why);

/* The same of a request. */
bool cert_request_names(gnutls_x509_crq_t crq, char **names_out,
    size_t *len_out, struct reason *why);

/* Parse a PEM chain (end entity first, at most CERT_CHAIN_MAX), for checks
 * and listing; cert_chain_free frees it. */
bool cert_chain_parse(const gnutls_datum_t *pem, gnutls_x509_crt_t **chain_out,
    unsigned *count_out, struct reason *why);
/* The same of a file (pki/file.h), which what is wrong begins with. */
bool cert_chain_read(const char *path, gnutls_x509_crt_t **chain_out,
    unsigned *count_out, struct reason *why);
void cert_chain_free(gnutls_x509_crt_t *chain, unsigned count);

/* Is each certificate followed by its issuer, as TLS wants them sent? */
bool cert_chain_in_order(gnutls_x509_crt_t *chain, unsigned count,
    struct reason *why);

/* The SubjectPublicKeyInfo itself, of the first certificate of a chain: DER,
 * gnutls_free'd by the caller. */
bool cert_public_key(const gnutls_datum_t *chain_pem, gnutls_datum_t *der_out,
    struct reason *why);

/* Do certificate chain and key belong together, and does each certificate of
 * the chain follow the one it issued? */
bool cert_matches_key(const gnutls_datum_t *chain_pem,
    const gnutls_datum_t *key_pem, struct reason *why);

#endif
