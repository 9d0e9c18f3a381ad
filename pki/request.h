/*
 * pki/request.h: certificates of another authority: what it is asked for
 * (PKCS#10, RFC 2986), and what it answers.
 */
#ifndef PKI_REQUEST_H
#define PKI_REQUEST_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "authority.h"

/* A request of the key for these names and purposes, in PEM (pki_octets_wipe
 * frees it).  days of request is not looked at: it is the other's to say. */
bool request_make(const struct authority_request *request,
    const struct pki_key *key, gnutls_datum_t *pem_out, struct reason *why);

/*
 * Read one that somebody else made, after its signature was checked: its key
 * (the caller deinits it) and its names in the form of cert_names (the caller
 * frees them).  All else that it asks for is passed over: the authority says
 * what it vouches for.
 */
bool request_read(const gnutls_datum_t *pem, gnutls_pubkey_t *key_out,
    char **names_out, size_t *len_out, struct reason *why);

/*
 * An authority's answer, in PEM, in any order and with certificates that are
 * not of the chain: *chain_out is the end entity that has the key, then its
 * issuers as far as they are there, in order (pki_octets_wipe frees it).
 * REASON_CERT_BAD if no certificate is for that key, REASON_CERT_EXPIRED and
 * REASON_CERT_NOT_YET_VALID by its times.
 */
bool request_answer(const gnutls_datum_t *pem, gnutls_pubkey_t key,
    gnutls_datum_t *chain_out, struct reason *why);

#endif
