/*
 * pki/make.c: filling in and signing certificates.
 */
#include "make.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_ID_MAX = 64 };

bool
make_failed(struct reason *why, const char *what, int rc)
{
	return fail(why, REASON_INTERNAL, "%s: %s", what, gnutls_strerror(rc));
}

bool
make_serial(unsigned char out[static SERIAL_OCTETS], struct reason *why)
{
	int rc = gnutls_rnd(GNUTLS_RND_NONCE, out, SERIAL_OCTETS);

	out[0] = (unsigned char)((out[0] & 0x7f) | 0x40);
	return rc >= 0 || make_failed(why, "serial number", rc);
}

int
make_begin(gnutls_x509_crt_t crt, const struct make_common *common,
    gnutls_pubkey_t key)
{
	int rc = gnutls_x509_crt_set_version(crt, 3);

	if (rc >= 0)
		rc = gnutls_x509_crt_set_serial(crt, common->serial,
		    SERIAL_OCTETS);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_activation_time(crt,
		    common->not_before);
	if (rc >= 0)
		rc =
		    gnutls_x509_crt_set_expiration_time(crt, common->not_after);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_dn_by_oid(crt,
		    GNUTLS_OID_X520_COMMON_NAME, 0, common->common_name,
		    (unsigned)strlen(common->common_name));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_pubkey(crt, key);
	return rc;
}

static int
set_key_ids(gnutls_x509_crt_t crt, gnutls_pubkey_t key,
    gnutls_x509_crt_t issuer)
{
	unsigned char id[KEY_ID_MAX];
	size_t size = sizeof(id);
	int rc =
	    gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA1, id, &size);

	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_key_id(crt, id, size);
	if (rc >= 0 && issuer != NULL) {
		size = sizeof(id);
		rc =
		    gnutls_x509_crt_get_subject_key_id(issuer, id, &size, NULL);
	}
	if (rc >= 0)
		rc = gnutls_x509_crt_set_authority_key_id(crt, id, size);
	return rc;
}

gnutls_digest_algorithm_t
make_digest(gnutls_pubkey_t key)
{
	gnutls_digest_algorithm_t digest = GNUTLS_DIG_SHA256;

	if (gnutls_pubkey_get_preferred_hash_algorithm(key, &digest, NULL) < 0)
		return GNUTLS_DIG_SHA256;
	return digest;
}

bool
make_keep(gnutls_datum_t *octets, gnutls_datum_t *out, struct reason *why)
{
	out->size = octets->size;
	out->data = malloc(octets->size);
	if (out->data != NULL)
		memcpy(out->data, octets->data, octets->size);
	gnutls_free(octets->data);
	octets->data = NULL;
	return out->data != NULL || fail(why, REASON_NO_MEMORY, "certificate");
}

bool
make_end(gnutls_x509_crt_t crt, gnutls_pubkey_t key,
    const struct make_issuer *issuer, gnutls_datum_t *out, struct reason *why)
{
	gnutls_x509_crt_t by =
	    issuer->certificate != NULL ? issuer->certificate : crt;
	gnutls_datum_t pem = { 0 };
	int rc = set_key_ids(crt, key, issuer->certificate);

	if (rc >= 0)
		rc = gnutls_x509_crt_privkey_sign(crt, by,
		    issuer->key->private_key,
		    make_digest(issuer->key->public_key), 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
	return rc >= 0 ? make_keep(&pem, out, why)
		       : make_failed(why, "certificate", rc);
}
