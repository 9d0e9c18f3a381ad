/*
 * pki/ocsp.h: what a stapled OCSP response says about a certificate (RFC 6960;
 * RFC 7633 for the demand that there be one).
 */
#ifndef PKI_OCSP_H
#define PKI_OCSP_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <time.h>

enum { OCSP_OCTETS_MAX = 16 * 1024 /* of a response */ };

enum ocsp_state {
	OCSP_ABSENT,    /* nothing was stapled */
	OCSP_GOOD,      /* signed by the issuer, about this one, in its time
			   (10 days where it names no end) */
	OCSP_REVOKED,   /* likewise, whatever its time */
	OCSP_UNKNOWN,   /* the responder does not know the certificate */
	OCSP_STALE,     /* good, but its time is over or not yet come */
	OCSP_UNCHECKED, /* no issuer to check it against */
	OCSP_INVALID,   /* malformed, of another certificate, wrongly signed */
};

struct ocsp {
	enum ocsp_state state;
	time_t this_update, next_update; /* Unix seconds; -1: not said */
	time_t until; /* its end, also where it names none; -1: unknown */
	const char *text;                /* what is wrong; static, or "" */
};

/*
 * der: the response, data NULL where there is none.  issuer: the certificate
 * that issued crt, or NULL where nobody has it.  Threads: any.
 */
void ocsp_read(struct ocsp *out, const gnutls_datum_t *der,
    gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer, time_t now);

/* The same about the first certificate of a chain (end entity first). */
void ocsp_read_chain(struct ocsp *out, const gnutls_datum_t *der,
    gnutls_x509_crt_t *chain, unsigned count, time_t now);

/* Does the certificate say that a response has to be stapled? */
bool ocsp_is_demanded(gnutls_x509_crt_t crt);

/* "absent", "good", ... */
const char *ocsp_word(enum ocsp_state state);

#endif
