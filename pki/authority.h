/*
 * pki/authority.h: a small certificate authority in a plain folder:
 *
 *     ca.pem     its certificate
 *     ca.key     its key, 0600, perhaps encrypted; or the PKCS#11 URL of one
 *     chain.pem  the certificates above it, if another authority signed it
 *     issued     a line a certificate, written before the certificate exists
 *     revoked    a line a certificate that is taken back
 *     crl.pem    the list of those for others, signed
 *
 * Files are written aside, synced and renamed, the two ledgers appended to and
 * synced.  Threads: none shared; an authority that is open has its folder
 * locked against other processes.
 */
#ifndef PKI_AUTHORITY_H
#define PKI_AUTHORITY_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "key.h"

enum authority_role { ISSUE_SERVER = 1, ISSUE_CLIENT = 2, ISSUE_BOTH = 3 };

enum { ISSUE_NAMES_MAX = 64, ISSUE_DAYS_MAX = 36500, PATH_LENGTH_MAX = 8 };

struct authority;

struct authority_options {
	const char *common_name;
	unsigned days; /* at most until its parent ends */
	enum key_algorithm algorithm;
	const struct pki_passphrase *passphrase; /* NULL: key in clear */
	const char *key_url; /* of a key in a token, or NULL: one is made */
	unsigned path_length; /* authorities that may stand below it */
	/* See pki_name_constrain. */
	const char *const *permitted, *const *excluded;
	size_t permitted_count, excluded_count;
	struct authority *parent; /* who signs it; NULL: itself */
};

/* Make folder (if absent) and an authority in it.  Refuses to overwrite one
 * (REASON_EXISTS). */
bool authority_create(const char *folder,
    const struct authority_options *options, struct reason *why);

/* passphrase NULL: an encrypted key is refused.  Waits for whoever has it
 * open. */
bool authority_open(struct authority **out, const char *folder,
    const struct pki_passphrase *passphrase, struct reason *why);
void authority_close(struct authority *authority);

struct authority_request {
	/* DNS names, addresses or mailboxes, for the SAN. */
	const char *const *names;
	size_t name_count;
	enum authority_role role;
	unsigned days;    /* at most until the authority ends */
	bool must_staple; /* RFC 7633 */
};

/*
 * Issue for that key (not before an hour ago: clocks differ); the serial
 * number is recorded before the certificate exists.  *chain_out is PEM, end
 * entity first, then the authority and those above it; pki_octets_wipe frees
 * it.
 */
bool authority_issue(struct authority *authority,
    const struct authority_request *request, gnutls_pubkey_t key,
    gnutls_datum_t *chain_out, struct reason *why);

/* The same with the key at key_path, which is made of that algorithm if there
 * is none; the chain is put at chain_path (0644; replaced). */
bool authority_issue_to(struct authority *authority,
    const struct authority_request *request, enum key_algorithm algorithm,
    const char *chain_path, const char *key_path, struct reason *why);

/* With a new key, for somebody who takes it away: both are PEM in memory;
 * pki_octets_wipe frees them. */
bool authority_issue_new(struct authority *authority,
    const struct authority_request *request, gnutls_datum_t *chain_out,
    gnutls_datum_t *key_out, struct reason *why);

#endif
