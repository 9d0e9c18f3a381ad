/*
 * pki/authority.h: a small certificate authority in a plain folder.
 *
 * Files are written aside, synced and renamed; keys are 0600.  Threads: none
 * shared; two processes are kept apart by a lock on the folder.
 */
#ifndef PKI_AUTHORITY_H
#define PKI_AUTHORITY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "../policy/reason.h"

enum authority_role { ISSUE_SERVER = 1, ISSUE_CLIENT = 2, ISSUE_BOTH = 3 };

enum { ISSUE_NAMES_MAX = 64, ISSUE_DAYS_MAX = 36500 };

/* Make folder (if absent), folder/ca.pem and folder/ca.key (ECDSA P-256, path
 * length 0).  Refuses to overwrite (REASON_EXISTS).  days is the validity. */
bool authority_create(const char *folder, const char *common_name,
    unsigned days, struct reason *why);

struct authority_request {
	/* DNS names, IP literals or mailboxes, for the SAN. */
	const char *const *names;
	size_t name_count;
	enum authority_role role;
	unsigned days;          /* at most until the authority ends */
	const char *chain_path; /* end entity then CA, 0644; replaced */
	const char *key_path;   /* made if absent, kept if present; 0600 */
};

/* Issue with the authority in folder (not before an hour ago: clocks differ);
 * the serial number is recorded in folder/issued before the certificate
 * exists. */
bool authority_issue(const char *folder,
    const struct authority_request *request, struct reason *why);

/* The same with a new key, for somebody who takes it away: both are PEM in
 * memory, and the paths of request are not looked at.  pki_octets_wipe frees
 * them. */
bool authority_issue_new(const char *folder,
    const struct authority_request *request, gnutls_datum_t *chain_out,
    gnutls_datum_t *key_out, struct reason *why);

#endif
