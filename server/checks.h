/*
 * server/checks.h: the certificates, keys, anchors and lists of revoked ones
 * of a configuration, read and checked (pki/check.h).
 *
 * For the server before anything comes into force, and for "sallyport cert
 * check".  Threads: one.
 */
#ifndef SERVER_CHECKS_H
#define SERVER_CHECKS_H

#include <gnutls/gnutls.h>
#include <stdint.h>

#include "../pki/check.h"
#include "config.h"

struct checks_problem {
	const struct check_finding *finding;
	const char *part; /* "certificate server", "client-ca"; NULL: it is the
			     file itself that was asked about */
	const char *path; /* of sallyport.conf, or of the site table; NULL */
	unsigned line;    /* where the section ends; 0: of no section */
};

typedef void (
    *checks_report)(void *context, const struct checks_problem *problem);

struct checks;

/* config is borrowed until checks_free; NULL: for checks_file alone.  NULL: no
 * memory. */
struct checks *checks_new(const struct config *config, checks_report report,
    void *context);
void checks_free(struct checks *checks);

/*
 * Each reads files, reports what is wrong with them, and is false if that is
 * an error.  Then no octets are given; else files_free chain, anchors and CRL,
 * and files_wipe key.  found_out: a bit for each enum check_word reported.
 */
bool checks_certificate(struct checks *checks,
    const struct config_certificate *c, gnutls_datum_t *chain_out,
    gnutls_datum_t *key_out, uint32_t *found_out);
/* The OCSP response to be stapled to that certificate; chain as it was given.
 */
bool checks_staple(struct checks *checks, const struct config_certificate *c,
    const gnutls_datum_t *chain);
bool checks_anchors(struct checks *checks, const char *path, const char *part,
    unsigned line, gnutls_datum_t *out);
/* A listener's client-crl.  One that is there but stale trusts nobody, which
 * is no error. */
bool checks_crl(struct checks *checks, const struct config_listener *l,
    gnutls_datum_t *out);

/* What rows of the site table name by ca= or crl=.  First checks_know all of
 * them: who has signed a list may be in any. */
void checks_know(struct checks *checks, const char *path);
bool checks_row_file(struct checks *checks, const char *path, bool *is_crl_out,
    gnutls_datum_t *out);

/* A file by itself, whatever is in it; true if nothing is an error. */
struct checks_file {
	const char *path;
	const char *key;    /* that belongs to it, or NULL */
	const char *beside; /* the same, if it is an end entity's; or NULL */
	const char *host;   /* that clients ask for, or NULL */
	bool for_server, for_client;
};
bool checks_file(struct checks *checks, const struct checks_file *file);

/* "FILE:LINE: part: file: what is wrong", as operators read it. */
void checks_print(const struct checks_problem *problem, char *out, size_t size);

#endif
