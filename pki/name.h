/*
 * pki/name.h: the names a certificate of ours can stand for, and the names an
 * authority of ours may be kept to.
 */
#ifndef PKI_NAME_H
#define PKI_NAME_H

#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum pki_name_kind {
	PKI_NAME_BAD,
	PKI_NAME_DNS, /* A-labels; "*." may stand in front */
	PKI_NAME_ADDRESS,
	PKI_NAME_MAILBOX, /* without quoting */
};

/* address_out (16 octets, or NULL) and *len_out get what PKI_NAME_ADDRESS
 * is in a certificate: 4 or 16 octets. */
enum pki_name_kind pki_name_kind(const char *name, unsigned char *address_out,
    size_t *len_out);

/* Names, each one as pki_name_kind knows it; at least one of at most most. */
bool pki_names_check(const char *const *names, size_t count, size_t most,
    struct reason *why);

/* Into the subjectAltName of a certificate or a request: checked before.  A
 * library's error code, or 0. */
int pki_names_to_crt(gnutls_x509_crt_t crt, const char *const *names,
    size_t count);
int pki_names_to_crq(gnutls_x509_crq_t crq, const char *const *names,
    size_t count);

/*
 * Add to what an authority may vouch for (permitted), or may not: a domain
 * (itself and all under it), a network in CIDR form, or a mailbox, "@domain"
 * for all of a host (RFC 5280, section 4.2.1.10).
 */
bool pki_name_constrain(gnutls_x509_name_constraints_t constraints,
    bool permitted, const char *text, struct reason *why);

/* May an authority with these constraints vouch for all the names? */
bool pki_names_permitted(gnutls_x509_crt_t authority, const char *const *names,
    size_t count, struct reason *why);

#endif
