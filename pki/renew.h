/*
 * pki/renew.h: the same certificate again, for longer, with its key or with
 * the next one.
 *
 * The next key lies beside the present one, as KEY.next: made ahead of need so
 * that others can be told of it (TLSA records, pins) before it is used.
 */
#ifndef PKI_RENEW_H
#define PKI_RENEW_H

#include <gnutls/x509.h>
#include <limits.h>
#include <stdbool.h>

#include "../policy/reason.h"
#include "authority.h"

struct renew_options {
	unsigned days; /* 0: as long as it was */
	bool new_key;  /* the next one, made if there is none */
};

/*
 * Issue again what is in chain_path: same names and purposes.
 * REASON_CERT_ISSUER if it is not of this authority.  With a new key both files
 * change, the chain before the key: what a crash leaves between is put right by
 * renew_repair.
 */
bool authority_renew(struct authority *authority, const char *chain_path,
    const char *key_path, const struct renew_options *options,
    struct reason *why);

/* If the chain is for the next key, that becomes the key; else nothing is
 * done.  False only if that fails. */
bool renew_repair(const char *chain_path, const char *key_path,
    struct reason *why);

/* "KEY.next"; false if that is too long, or the key is in a token. */
bool renew_next_path(char out[static PATH_MAX], const char *key_path,
    struct reason *why);

/* The next key of the one at key_path, made with the same algorithm if there
 * is none. */
bool renew_next_key(struct pki_key *key_out, const char *key_path,
    struct reason *why);

#endif
