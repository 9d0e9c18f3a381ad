/*
 * tls/facts.c: what a finished handshake achieved, as plain data.
 */
#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
tls_chain_free(struct tls_chain *chain)
{
	while (chain->count > 0)
		gnutls_x509_crt_deinit(chain->crt[--chain->count]);
}

static bool
chain_add(struct tls_chain *chain, const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;

	if (gnutls_x509_crt_init(&crt) < 0)
		return false;
	if (gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) < 0) {
		gnutls_x509_crt_deinit(crt);
		return false;
	}
	chain->crt[chain->count++] = crt;
	return true;
}

bool
tls_chain_of(gnutls_session_t session, struct tls_chain *chain,
    struct reason *why)
{
	const gnutls_datum_t *der;
	unsigned i, count = 0;

	chain->count = 0;
	der = gnutls_certificate_get_peers(session, &count);
	if (der == NULL)
		return true;
	if (count > TLS_CHAIN_MAX)
		return fail(why, REASON_CERT_BAD,
		    "%u certificates in a chain, expected at most %d", count,
		    TLS_CHAIN_MAX);
	for (i = 0; i < count; i++)
		if (!chain_add(chain, &der[i])) {
			tls_chain_free(chain);
			return fail(why, REASON_CERT_BAD,
			    "certificate %u of the chain cannot be read",
			    i + 1);
		}
	return true;
}

/* --- the connection ---------------------------------------------------- */

static void
describe_connection(gnutls_session_t session, struct facts *out)
{
	const char *suite = gnutls_ciphersuite_get(session);
	const char *group = gnutls_group_get_name(gnutls_group_get(session));
	size_t i;

	out->tls = true;
	out->version =
	    gnutls_protocol_get_version(session) == GNUTLS_TLS1_3 ? 13 : 12;
	out->bits = (unsigned)(8 * gnutls_cipher_get_key_size(
				       gnutls_cipher_get(session)));
	out->resumed = gnutls_session_is_resumed(session) != 0;
	snprintf(out->suite, sizeof(out->suite), "%s", suite ? suite : "");
	snprintf(out->group, sizeof(out->group), "%s", group ? group : "");
	for (i = 0; out->group[i] != '\0'; i++)
		out->group[i] = (char)tolower((unsigned char)out->group[i]);
}

/* --- the peer's certificate -------------------------------------------- */

static void
copy_dn(int rc, gnutls_datum_t *dn, char *out, size_t size, bool may_cut)
{
	if (rc < 0)
		return;
	/* A cut name must not pass for another one that is compared. */
	if (may_cut || dn->size < size)
		snprintf(out, size, "%.*s", (int)dn->size, dn->data);
	gnutls_free(dn->data);
}

/* Too long, or a NUL inside: nobody's. */
static void
keep_organisation(int rc, char *out, size_t len, size_t size)
{
	if (rc < 0 || strlen(out) != len)
		memset(out, 0, size);
}

static void
describe_organisations(gnutls_x509_crt_t crt, struct facts *out)
{
	static const char oid[] = GNUTLS_OID_X520_ORGANIZATION_NAME;
	size_t len = sizeof(out->organisation);
	int rc;

	rc = gnutls_x509_crt_get_dn_by_oid(crt, oid, 0, 0, out->organisation,
	    &len);
	keep_organisation(rc, out->organisation, len,
	    sizeof(out->organisation));
	len = sizeof(out->issuer_organisation);
	rc = gnutls_x509_crt_get_issuer_dn_by_oid(crt, oid, 0, 0,
	    out->issuer_organisation, &len);
	keep_organisation(rc, out->issuer_organisation, len,
	    sizeof(out->issuer_organisation));
}

static void
describe_names(gnutls_x509_crt_t crt, struct facts *out)
{
	gnutls_datum_t dn = { 0 };
	int rc;

	rc = gnutls_x509_crt_get_dn3(crt, &dn, 0);
	copy_dn(rc, &dn, out->subject, sizeof(out->subject), true);
	rc = gnutls_x509_crt_get_issuer_dn3(crt, &dn, 0);
	copy_dn(rc, &dn, out->issuer, sizeof(out->issuer), false);
	describe_organisations(crt, out);
}

static void
describe_certificate(struct tls_session *session, gnutls_x509_crt_t crt,
    enum cert_purpose purpose, struct facts *out)
{
	char *names = NULL;
	size_t len = 0;

	if (!cert_spki(crt, out->spki, NULL))
		return;
	out->purpose = cert_purpose(crt, purpose);
	out->not_after = gnutls_x509_crt_get_expiration_time(crt);
	describe_names(crt, out);
	if (cert_names(crt, &names, &len, NULL)) {
		session->names = names;
		out->names = names;
		out->names_len = len;
	}
}

void
tls_session_facts(struct tls_session *session, enum cert_purpose purpose,
    struct facts *out)
{
	struct tls_chain chain;
	bool readable;

	memset(out, 0, sizeof(*out));
	free(session->names);
	session->names = NULL;
	if (!session->done)
		return;
	describe_connection(session->gnutls, out);
	readable = tls_chain_of(session->gnutls, &chain, NULL);
	out->peer_cert = !readable || chain.count > 0;
	if (out->peer_cert)
		out->purpose = PURPOSE_OTHER;
	if (chain.count > 0)
		describe_certificate(session, chain.crt[0], purpose, out);
	tls_chain_free(&chain);
}
