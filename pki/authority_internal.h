/*
 * pki/authority_internal.h: what the files of the authority share.
 */
#ifndef PKI_AUTHORITY_INTERNAL_H
#define PKI_AUTHORITY_INTERNAL_H

#include <gnutls/x509.h>
#include <limits.h>
#include <time.h>

#include "authority.h"
#include "make.h"

struct authority {
	char folder[PATH_MAX];
	int lock;
	gnutls_x509_crt_t certificate;
	struct pki_key key;
	gnutls_datum_t pem;   /* ca.pem */
	gnutls_datum_t above; /* chain.pem; data NULL: there is none */
};

/* "folder/name". */
bool authority_path(char out[static PATH_MAX], const char *folder,
    const char *name, struct reason *why);

/* In so many days, or when the authority ends. */
time_t authority_end(const struct authority *authority, time_t now,
    unsigned days);

bool authority_days_check(unsigned days, struct reason *why);

#endif
