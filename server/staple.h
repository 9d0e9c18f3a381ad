/*
 * server/staple.h: OCSP responses to be stapled to our certificates, as files
 * that somebody else refreshes (RFC 6960; RFC 7633 for certificates that must
 * not be without).
 *
 * The master reads them and sends the session role what is good; a refreshed
 * one needs no new configuration.  Threads: one.
 */
#ifndef SERVER_STAPLE_H
#define SERVER_STAPLE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

struct staple {
	char *certificate;       /* its section */
	char *path;              /* of the response */
	gnutls_datum_t chain;    /* the certificate's, PEM, as in force */
	bool is_demanded;        /* by the certificate */
	gnutls_datum_t response; /* in force; data NULL: none is */
	int64_t from, until;     /* its time, Unix seconds */
	int told;                /* by staple_is_due */
};

struct staples {
	struct staple *list;
	size_t count;
};

/* Does the first certificate of a PEM chain demand one? */
bool staple_is_demanded(const gnutls_datum_t *chain);

/* Another one, without a response as yet; NULL: no memory. */
struct staple *staples_add(struct staples *staples, const char *certificate,
    const char *path, const gnutls_datum_t *chain);
void staples_fini(struct staples *staples);

/*
 * Read the file.  A response that is about the certificate, signed by its
 * issuer (which has to follow it in the chain) or in its name, in its time and
 * "good" is put in force; with any other all stays as it is, and why says what
 * is wrong.
 */
bool staple_read(struct staple *staple, int64_t now, struct reason *why);

/*
 * Is an alarm due, because the response in force has ended, or is near its end
 * (in the last quarter of its time) though it is demanded?  Once for each.
 */
bool staple_is_due(struct staple *staple, int64_t now, bool *ended_out);

#endif
