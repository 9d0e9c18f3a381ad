/*
 * pki/renew.c: the same certificate again, with its key or with the next one.
 */
#include "renew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../policy/facts.h"
#include "authority_internal.h"
#include "cert.h"
#include "file.h"
#include "ledger.h"
#include "ocsp.h"
#include "pkcs11.h"

/* --- the next key ------------------------------------------------------- */

bool
renew_next_path(char out[static PATH_MAX], const char *key_path,
    struct reason *why)
{
	int n;

	if (pkcs11_is_url(key_path))
		return fail(why, REASON_RANGE,
		    "%s: a new key has to be made in the token", key_path);
	n = snprintf(out, PATH_MAX, "%s.next", key_path);
	return (n >= 0 && n < PATH_MAX) ||
	       fail(why, REASON_RANGE, "%s: path too long", key_path);
}

static enum key_algorithm
algorithm_of(gnutls_pubkey_t key)
{
	switch (gnutls_pubkey_get_pk_algorithm(key, NULL)) {
	case GNUTLS_PK_RSA:
	case GNUTLS_PK_RSA_PSS:
		return KEY_RSA;
	case GNUTLS_PK_EDDSA_ED25519:
		return KEY_ED25519;
	default:
		return KEY_ECDSA;
	}
}

bool
renew_next_key(struct pki_key *key_out, const char *key_path,
    struct reason *why)
{
	char next[PATH_MAX];
	struct pki_key present;
	bool ok;

	if (!renew_next_path(next, key_path, why) ||
	    !pki_key_read(&present, key_path, NULL, why))
		return false;
	if (pki_key_is_in_token(&present) && access(next, F_OK) < 0)
		ok = fail(why, REASON_ABSENT,
		    "%s: in a token, where a new key has to be made; expected "
		    "its PKCS#11 URL in %s",
		    key_path, next);
	else
		ok = pki_key_get(key_out, next,
		    algorithm_of(present.public_key), NULL, why);
	pki_key_free(&present);
	return ok;
}

static bool
key_id(gnutls_pubkey_t key, unsigned char out[static SPKI_OCTETS])
{
	size_t size = SPKI_OCTETS;

	return gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, out,
		   &size) >= 0;
}

static bool
is_key_of(const char *path, const unsigned char spki[static SPKI_OCTETS])
{
	unsigned char id[SPKI_OCTETS];
	struct pki_key key;
	bool same;

	if (access(path, F_OK) < 0 || !pki_key_read(&key, path, NULL, NULL))
		return false;
	same = key_id(key.public_key, id) && memcmp(id, spki, SPKI_OCTETS) == 0;
	pki_key_free(&key);
	return same;
}

static bool
put_next_in_place(const char *next, const char *key_path, struct reason *why)
{
	if (rename(next, key_path) < 0)
		return fail_errno(why, "%s", key_path);
	return pki_file_sync_folder(key_path, why);
}

/* --- what is there ------------------------------------------------------ */

struct present {
	gnutls_x509_crt_t *chain;
	unsigned count;
	char *names;
	size_t names_len;
	const char *name[ISSUE_NAMES_MAX];
	unsigned char spki[SPKI_OCTETS];
	struct authority_request request;
};

static void
present_free(struct present *present)
{
	if (present->chain != NULL)
		cert_chain_free(present->chain, present->count);
	free(present->names);
}

/* "dns:mail.example.org" and the like, one after another. */
static bool
list_names(struct present *present, const char *path, struct reason *why)
{
	const char *at = present->names;
	const char *end = at + present->names_len;
	size_t count = 0;

	for (; at != NULL && at < end; at += strlen(at) + 1) {
		if (count == ISSUE_NAMES_MAX)
			return fail(why, REASON_RANGE, "%s: more than %d names",
			    path, ISSUE_NAMES_MAX);
		present->name[count++] = strchr(at, ':') + 1;
	}
	present->request.names = present->name;
	present->request.name_count = count;
	return true;
}

static unsigned
days_of(gnutls_x509_crt_t crt)
{
	time_t s = gnutls_x509_crt_get_expiration_time(crt) -
		   gnutls_x509_crt_get_activation_time(crt);

	return s < MAKE_DAY_S ? 1 : (unsigned)(s / MAKE_DAY_S);
}

static bool
read_present(struct present *present, const char *path, struct reason *why)
{
	gnutls_x509_crt_t crt;
	unsigned role = 0;

	if (!cert_chain_read(path, &present->chain, &present->count, why))
		return false;
	crt = present->chain[0];
	if (cert_purpose(crt, CERT_FOR_SERVER) == PURPOSE_YES)
		role |= ISSUE_SERVER;
	if (cert_purpose(crt, CERT_FOR_CLIENT) == PURPOSE_YES)
		role |= ISSUE_CLIENT;
	present->request.role = (enum authority_role)role;
	present->request.must_staple = ocsp_is_demanded(crt);
	present->request.days = days_of(crt);
	return cert_spki(crt, present->spki, why) &&
	       cert_names(crt, &present->names, &present->names_len, why) &&
	       list_names(present, path, why);
}

/* It has to have issued that very certificate: a serial number alone may be
 * another authority's. */
static bool
check_issuer(const struct authority *authority, gnutls_x509_crt_t crt,
    const char *path, struct reason *why)
{
	unsigned char serial[SERIAL_OCTETS];
	char hex[LEDGER_SERIAL_SIZE];
	size_t size = sizeof(serial);
	struct ledger ledger;
	bool known = false;

	if (gnutls_x509_crt_check_issuer(crt, authority->certificate) &&
	    gnutls_x509_crt_get_serial(crt, serial, &size) >= 0 &&
	    size == sizeof(serial)) {
		if (!ledger_read(&ledger, authority->folder, why))
			return false;
		ledger_print_serial(hex, serial);
		known = ledger_find(&ledger, hex) != NULL;
		ledger_free(&ledger);
	}
	return known || fail(why, REASON_CERT_ISSUER,
			    "%s: not issued by the authority in %s", path,
			    authority->folder);
}

bool
renew_repair(const char *chain_path, const char *key_path, struct reason *why)
{
	struct present present = { 0 };
	char next[PATH_MAX];
	bool ok = true;

	if (pkcs11_is_url(key_path))
		return true;
	if (!renew_next_path(next, key_path, why))
		return false;
	if (access(next, F_OK) == 0 &&
	    read_present(&present, chain_path, NULL) &&
	    !is_key_of(key_path, present.spki) && is_key_of(next, present.spki))
		ok = put_next_in_place(next, key_path, why);
	present_free(&present);
	return ok;
}

/* --- renewing ----------------------------------------------------------- */

static bool
issue_with(struct authority *authority, const struct present *present,
    const struct pki_key *key, const char *chain_path, struct reason *why)
{
	gnutls_datum_t chain = { 0 };
	bool ok = authority_issue(authority, &present->request, key->public_key,
		      &chain, why) &&
		  pki_file_write(chain_path, chain.data, chain.size,
		      PKI_CHAIN_MODE, true, why);

	pki_octets_wipe(&chain);
	return ok;
}

static bool
renew(struct authority *authority, const struct present *present,
    const char *chain_path, const char *key_path, bool new_key,
    struct reason *why)
{
	char next[PATH_MAX];
	struct pki_key key;
	bool ok;

	if (!(new_key ? renew_next_key(&key, key_path, why)
		      : pki_key_read(&key, key_path, NULL, why)))
		return false;
	ok = issue_with(authority, present, &key, chain_path, why) &&
	     (!new_key || (renew_next_path(next, key_path, why) &&
			      put_next_in_place(next, key_path, why)));
	pki_key_free(&key);
	return ok;
}

bool
authority_renew(struct authority *authority, const char *chain_path,
    const char *key_path, const struct renew_options *options,
    struct reason *why)
{
	struct present present = { 0 };
	bool ok = renew_repair(chain_path, key_path, why) &&
		  read_present(&present, chain_path, why) &&
		  check_issuer(authority, present.chain[0], chain_path, why);

	if (ok && options->days != 0)
		present.request.days = options->days;
	ok = ok && renew(authority, &present, chain_path, key_path,
		       options->new_key, why);
	present_free(&present);
	return ok;
}
