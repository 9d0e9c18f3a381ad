/*
 * pki/make.h: filling in and signing certificates.
 *
 * Certificates made by the library's set functions answer wrongly about
 * themselves until they were exported and read again: what these functions
 * give out is PEM.
 */
#ifndef PKI_MAKE_H
#define PKI_MAKE_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>

#include "../policy/reason.h"
#include "key.h"

enum {
	SERIAL_OCTETS = 16,
	COMMON_NAME_MAX = 64, /* RFC 5280, appendix A: ub-common-name */
	MAKE_DAY_S = 86400,
	MAKE_BACKDATE_S = 3600, /* the other side's clock may be behind */
};

/* What every certificate has. */
struct make_common {
	const char *common_name;
	unsigned char serial[SERIAL_OCTETS];
	time_t not_before, not_after;
};

/* Who signs: certificate NULL, the subject itself. */
struct make_issuer {
	gnutls_x509_crt_t certificate;
	const struct pki_key *key;
};

/* Positive and of full length: RFC 5280, section 4.1.2.2. */
bool make_serial(unsigned char out[static SERIAL_OCTETS], struct reason *why);

/* Version, serial number, times, name and key of a new certificate; a
 * library's error code, or 0. */
int make_begin(gnutls_x509_crt_t crt, const struct make_common *common,
    gnutls_pubkey_t key);
/* Key identifiers and signature; PEM goes to out (malloc'd). */
bool make_end(gnutls_x509_crt_t crt, gnutls_pubkey_t key,
    const struct make_issuer *issuer, gnutls_datum_t *out, struct reason *why);

/* What signs with that key: the library's choice for it. */
gnutls_digest_algorithm_t make_digest(gnutls_pubkey_t key);

/* gnutls_malloc'd octets to where pki_octets_wipe frees them. */
bool make_keep(gnutls_datum_t *octets, gnutls_datum_t *out, struct reason *why);

bool make_failed(struct reason *why, const char *what, int rc);

#endif
