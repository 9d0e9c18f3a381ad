/*
 * server/bundle.h: a numbered configuration as it travels to a role.
 *
 * The master reads every file once and gives each role a sealed memfd with
 * just what that role needs, as (kind, name, octets) entries.
 */
#ifndef SERVER_BUNDLE_H
#define SERVER_BUNDLE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum bundle_kind {
	BUNDLE_CONF = 1, /* name: its path; text of sallyport.conf */
	BUNDLE_TABLE,    /* name: file name in tables/; no octets */
	BUNDLE_CHAIN,    /* name: certificate section; PEM chain */
	BUNDLE_KEY,      /* name: certificate section; PEM key, or the PKCS#11
			    URL of one (signer only) */
	BUNDLE_ANCHORS,  /* name: absolute path as in demand.anchor, or
			    "" for the default set of smarthost connections,
			    and to helpers that of the introspection endpoint;
			    PEM */
	BUNDLE_CRL,      /* name: absolute path as in demand.crl; PEM */
	BUNDLE_UPSTREAM, /* name: its path; upstream logins (auth only) */
	BUNDLE_TOKEN_KEYS,   /* name: ""; a JWK set (helpers only) */
	BUNDLE_TOKEN_LOGIN,  /* name: ""; CLIENT-ID:SECRET (auth only) */
	BUNDLE_TRUST_ANCHOR, /* name: ""; of DNSSEC (lookup only) */
	BUNDLE_ROUTES,       /* name: file name in tables/; no octets */
	BUNDLE_WITHHELD,     /* name: of a mechanism that is not to be offered,
				whatever sallyport.conf says; no octets */
	BUNDLE_PUBLIC, /* name: certificate section with a key in a token;
			  its public key in DER (signer only) */
	BUNDLE_PIN,    /* name: the same; the token's PIN (signer only) */
};

struct bundle;

/* Writing side (master). */
struct bundle *bundle_new(void);
bool bundle_add(struct bundle *bundle, enum bundle_kind kind, const char *name,
    const gnutls_datum_t *octets, struct reason *why);
/* A sealed, read-only memfd of the whole. */
bool bundle_seal(const struct bundle *bundle, int *fd_out, struct reason *why);

/* Reading side (roles): maps fd (and closes it) after checking seals and
 * structure.  Octets are borrowed until bundle_free. */
bool bundle_open(struct bundle **bundle_out, int fd, struct reason *why);

/* True and the octets if there is such an entry. */
bool bundle_find(const struct bundle *bundle, enum bundle_kind kind,
    const char *name, gnutls_datum_t *octets_out);
/* The i-th entry; false past the last. */
bool bundle_entry(const struct bundle *bundle, size_t i,
    enum bundle_kind *kind_out, const char **name_out,
    gnutls_datum_t *octets_out);

void bundle_free(struct bundle *bundle); /* wipes what it owns */

#endif
