/*
 * pki/request.c: certificates of another authority.
 */
#include "request.h"

#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../policy/facts.h"
#include "cert.h"
#include "file.h"
#include "make.h"
#include "name.h"
#include "pem.h"

static int
fill(gnutls_x509_crq_t crq, const struct authority_request *request,
    const struct pki_key *key)
{
	const char *name = request->names[0];
	int rc = gnutls_x509_crq_set_version(crq, 1);

	if (rc >= 0 && strlen(name) <= COMMON_NAME_MAX)
		rc = gnutls_x509_crq_set_dn_by_oid(crq,
		    GNUTLS_OID_X520_COMMON_NAME, 0, name,
		    (unsigned)strlen(name));
	if (rc >= 0)
		rc = gnutls_x509_crq_set_pubkey(crq, key->public_key);
	if (rc >= 0)
		rc = pki_names_to_crq(crq, request->names, request->name_count);
	if (rc >= 0)
		rc = gnutls_x509_crq_set_key_usage(crq,
		    GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (rc >= 0 && (request->role & ISSUE_SERVER))
		rc = gnutls_x509_crq_set_key_purpose_oid(crq,
		    GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc >= 0 && (request->role & ISSUE_CLIENT))
		rc = gnutls_x509_crq_set_key_purpose_oid(crq,
		    GNUTLS_KP_TLS_WWW_CLIENT, 0);
	if (rc >= 0)
		rc = gnutls_x509_crq_privkey_sign(crq, key->private_key,
		    make_digest(key->public_key), 0);
	return rc;
}

bool
request_make(const struct authority_request *request, const struct pki_key *key,
    gnutls_datum_t *pem_out, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	gnutls_x509_crq_t crq;
	int rc;

	if (!pki_names_check(request->names, request->name_count,
		ISSUE_NAMES_MAX, why))
		return false;
	if (gnutls_x509_crq_init(&crq) < 0)
		return fail(why, REASON_NO_MEMORY, "request");
	rc = fill(crq, request, key);
	if (rc >= 0)
		rc = gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &pem);
	gnutls_x509_crq_deinit(crq);
	return rc >= 0 ? make_keep(&pem, pem_out, why)
		       : make_failed(why, "request", rc);
}

static bool
read_key(gnutls_x509_crq_t crq, gnutls_pubkey_t *key_out, struct reason *why)
{
	int rc;

	if (gnutls_pubkey_init(key_out) < 0)
		return fail(why, REASON_NO_MEMORY, "request");
	rc = gnutls_pubkey_import_x509_crq(*key_out, crq, 0);
	if (rc < 0)
		gnutls_pubkey_deinit(*key_out);
	return rc >= 0 ||
	       fail(why, REASON_SYNTAX, "request: %s", gnutls_strerror(rc));
}

bool
request_read(const gnutls_datum_t *pem, gnutls_pubkey_t *key_out,
    char **names_out, size_t *len_out, struct reason *why)
{
	gnutls_x509_crq_t crq;
	bool ok;
	int rc;

	if (gnutls_x509_crq_init(&crq) < 0)
		return fail(why, REASON_NO_MEMORY, "request");
	rc = gnutls_x509_crq_import(crq, pem, GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		ok = pem_fail(why, REASON_SYNTAX, pem, PEM_REQUEST, rc);
	else if ((rc = gnutls_x509_crq_verify(crq, 0)) < 0)
		ok = fail(why, REASON_SYNTAX,
		    "the request is not signed by the key that is in it: %s",
		    gnutls_strerror(rc));
	else
		ok = read_key(crq, key_out, why);
	if (ok && !cert_request_names(crq, names_out, len_out, why)) {
		gnutls_pubkey_deinit(*key_out);
		ok = false;
	}
	gnutls_x509_crq_deinit(crq);
	return ok;
}

/* --- answers ------------------------------------------------------------ */

static bool
has_key(gnutls_x509_crt_t crt, gnutls_pubkey_t key)
{
	unsigned char of_crt[SPKI_OCTETS], of_key[SPKI_OCTETS];
	size_t size = sizeof(of_key);

	return cert_spki(crt, of_crt, NULL) &&
	       gnutls_pubkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key,
		   &size) >= 0 &&
	       memcmp(of_crt, of_key, SPKI_OCTETS) == 0;
}

static void
swap(gnutls_x509_crt_t *a, gnutls_x509_crt_t *b)
{
	gnutls_x509_crt_t other = *a;

	*a = *b;
	*b = other;
}

/* From the end entity, which is chain[0]: how many follow one another; the
 * others are put behind. */
static unsigned
put_in_order(gnutls_x509_crt_t *chain, unsigned count)
{
	unsigned done = 1;

	while (done < count) {
		unsigned next = done;

		while (next < count && !gnutls_x509_crt_check_issuer(
					   chain[done - 1], chain[next]))
			next++;
		if (next == count || gnutls_x509_crt_check_issuer(
					 chain[done - 1], chain[done - 1]))
			break;
		swap(&chain[done], &chain[next]);
		done++;
	}
	return done;
}

static bool
export_chain(gnutls_x509_crt_t *chain, unsigned count, gnutls_datum_t *out,
    struct reason *why)
{
	gnutls_datum_t all = { 0 }, pem, more;

	for (unsigned i = 0; i < count; i++) {
		int rc = gnutls_x509_crt_export2(chain[i], GNUTLS_X509_FMT_PEM,
		    &pem);

		if (rc < 0) {
			pki_octets_wipe(&all);
			return make_failed(why, "certificate", rc);
		}
		if (!pki_octets_join(&all, &pem, &more, why)) {
			gnutls_free(pem.data);
			pki_octets_wipe(&all);
			return false;
		}
		gnutls_free(pem.data);
		pki_octets_wipe(&all);
		all = more;
	}
	*out = all;
	return true;
}

static bool
check_times(gnutls_x509_crt_t crt, struct reason *why)
{
	time_t now = time(NULL);

	if (gnutls_x509_crt_get_expiration_time(crt) <= now)
		return fail(why, REASON_CERT_EXPIRED,
		    "the certificate has expired");
	if (gnutls_x509_crt_get_activation_time(crt) > now)
		return fail(why, REASON_CERT_NOT_YET_VALID,
		    "the certificate is not valid yet");
	return true;
}

bool
request_answer(const gnutls_datum_t *pem, gnutls_pubkey_t key,
    gnutls_datum_t *chain_out, struct reason *why)
{
	gnutls_x509_crt_t *chain;
	unsigned count, own = 0;
	bool ok;

	if (!cert_chain_parse(pem, &chain, &count, why))
		return false;
	while (own < count && !has_key(chain[own], key))
		own++;
	if (own == count) {
		ok = fail(why, REASON_CERT_BAD,
		    "none of the %u certificates is for the key", count);
	} else {
		swap(&chain[0], &chain[own]);
		ok = check_times(chain[0], why) &&
		     export_chain(chain, put_in_order(chain, count), chain_out,
			 why);
	}
	cert_chain_free(chain, count);
	return ok;
}
