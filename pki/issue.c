/*
 * pki/issue.c: certificates for those who are no authorities.
 */
#include <gnutls/abstract.h>
#include <gnutls/x509-ext.h>
#include <string.h>
#include <unistd.h>

#include "authority_internal.h"
#include "file.h"
#include "ledger.h"
#include "name.h"

enum { FEATURE_STATUS_REQUEST = 5 }; /* RFC 7633, section 6 */

static int
set_purposes(gnutls_x509_crt_t crt, enum authority_role role)
{
	int rc = 0;

	if (role & ISSUE_SERVER)
		rc = gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc >= 0 && (role & ISSUE_CLIENT))
		rc = gnutls_x509_crt_set_key_purpose_oid(crt,
		    GNUTLS_KP_TLS_WWW_CLIENT, 0);
	return rc;
}

static int
set_must_staple(gnutls_x509_crt_t crt)
{
	gnutls_x509_tlsfeatures_t features;
	int rc = gnutls_x509_tlsfeatures_init(&features);

	if (rc < 0)
		return rc;
	rc = gnutls_x509_tlsfeatures_add(features, FEATURE_STATUS_REQUEST);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_tlsfeatures(crt, features);
	gnutls_x509_tlsfeatures_deinit(features);
	return rc;
}

/* Nobody reads the CN of an end entity but people; it has to be short. */
static const char *
common_name_of(const struct authority_request *request)
{
	for (size_t i = 0; i < request->name_count; i++)
		if (strlen(request->names[i]) <= COMMON_NAME_MAX)
			return request->names[i];
	return "see subjectAltName";
}

static bool
fill(gnutls_x509_crt_t crt, gnutls_pubkey_t key,
    const struct authority *authority, const struct authority_request *request,
    const struct make_common *common, gnutls_datum_t *pem_out,
    struct reason *why)
{
	struct make_issuer issuer = { authority->certificate, &authority->key };
	int rc = make_begin(crt, common, key);

	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt,
		    GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (rc >= 0)
		rc = set_purposes(crt, request->role);
	if (rc >= 0)
		rc = pki_names_to_crt(crt, request->names, request->name_count);
	if (rc >= 0 && request->must_staple)
		rc = set_must_staple(crt);
	if (rc < 0)
		return make_failed(why, "certificate", rc);
	return make_end(crt, key, &issuer, pem_out, why);
}

/* Keys that nobody should vouch for any more (NIST SP 800-57: 112 bits). */
static bool
key_is_strong(gnutls_pubkey_t key, struct reason *why)
{
	unsigned bits = 0;
	int algorithm = gnutls_pubkey_get_pk_algorithm(key, &bits);

	if (algorithm >= 0 &&
	    gnutls_pk_bits_to_sec_param((gnutls_pk_algorithm_t)algorithm,
		bits) >= GNUTLS_SEC_PARAM_MEDIUM)
		return true;
	return fail(why, REASON_CERT_WEAK,
	    "key of %u bits (%s): too weak, expected ECDSA, Ed25519, or RSA "
	    "of 2048 bits or more",
	    bits, gnutls_pk_get_name((gnutls_pk_algorithm_t)algorithm));
}

static bool
spki_of(gnutls_pubkey_t key, unsigned char out[static SPKI_OCTETS],
    struct reason *why)
{
	size_t size = SPKI_OCTETS;
	int rc = gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, out,
	    &size);

	return rc >= 0 || make_failed(why, "public key", rc);
}

static bool
make(struct authority *authority, const struct authority_request *request,
    gnutls_pubkey_t key, gnutls_datum_t *pem_out, struct reason *why)
{
	time_t now = time(NULL);
	struct make_common common = {
		.common_name = common_name_of(request),
		.not_before = now - MAKE_BACKDATE_S,
		.not_after = authority_end(authority, now, request->days),
	};
	unsigned char spki[SPKI_OCTETS];
	gnutls_x509_crt_t crt;
	bool ok;

	if (!spki_of(key, spki, why) || !make_serial(common.serial, why) ||
	    !ledger_add_issued(authority->folder, common.serial, now,
		common.not_after, request, spki, why))
		return false;
	if (gnutls_x509_crt_init(&crt) < 0)
		return fail(why, REASON_NO_MEMORY, "certificate");
	ok = fill(crt, key, authority, request, &common, pem_out, why);
	gnutls_x509_crt_deinit(crt);
	return ok;
}

static bool
check_request(const struct authority *authority,
    const struct authority_request *request, struct reason *why)
{
	return pki_names_check(request->names, request->name_count,
		   ISSUE_NAMES_MAX, why) &&
	       authority_days_check(request->days, why) &&
	       pki_names_permitted(authority->certificate, request->names,
		   request->name_count, why);
}

bool
authority_issue(struct authority *authority,
    const struct authority_request *request, gnutls_pubkey_t key,
    gnutls_datum_t *chain_out, struct reason *why)
{
	gnutls_datum_t own = { 0 }, above = { 0 };
	bool ok;

	if (!check_request(authority, request, why) ||
	    !key_is_strong(key, why) ||
	    !make(authority, request, key, &own, why))
		return false;
	ok = pki_octets_join(&authority->pem, &authority->above, &above, why) &&
	     pki_octets_join(&own, &above, chain_out, why);
	pki_octets_wipe(&own);
	pki_octets_wipe(&above);
	return ok;
}

bool
authority_issue_to(struct authority *authority,
    const struct authority_request *request, enum key_algorithm algorithm,
    const char *chain_path, const char *key_path, struct reason *why)
{
	gnutls_datum_t chain = { 0 };
	struct pki_key key;
	bool ok;

	/* Before a key is made for nothing. */
	if (!check_request(authority, request, why) ||
	    !pki_key_get(&key, key_path, algorithm, NULL, why))
		return false;
	ok = authority_issue(authority, request, key.public_key, &chain, why) &&
	     pki_file_write(chain_path, chain.data, chain.size, PKI_CHAIN_MODE,
		 true, why);
	pki_octets_wipe(&chain);
	pki_key_free(&key);
	return ok;
}

bool
authority_issue_new(struct authority *authority,
    const struct authority_request *request, gnutls_datum_t *chain_out,
    gnutls_datum_t *key_out, struct reason *why)
{
	gnutls_datum_t pem;
	struct pki_key key;
	bool ok;

	if (!pki_key_generate(&key, KEY_ECDSA, NULL, "", &pem, why))
		return false;
	ok =
	    authority_issue(authority, request, key.public_key, chain_out, why);
	pki_key_free(&key);
	if (ok)
		*key_out = pem;
	else
		pki_octets_wipe(&pem);
	return ok;
}
