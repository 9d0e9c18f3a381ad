/*
 * tools/probe_cert.c: what the certificates a site showed say, and how they
 * fare against the trust anchors that could count.
 */
#include "probe.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/cert.h"
#include "../server/files.h"
#include "../tls/peer.h"

/* --- one certificate --------------------------------------------------------
 */

static void
put_dn(char *out, size_t size, gnutls_x509_crt_t crt,
    int (*get)(gnutls_x509_crt_t, gnutls_datum_t *, unsigned))
{
	gnutls_datum_t dn = { NULL, 0 };

	out[0] = '\0';
	if (get(crt, &dn, 0) < 0)
		return;
	probe_escape(out, size, (const char *)dn.data, dn.size);
	gnutls_free(dn.data);
}

static void
put_pin(char out[static PIN_TEXT], gnutls_x509_crt_t crt)
{
	unsigned char spki[SPKI_OCTETS];

	out[0] = '\0';
	if (cert_spki(crt, spki, NULL))
		pin_print(out, spki);
}

static void
describe(struct probe_certificate *out, gnutls_x509_crt_t crt)
{
	unsigned bits = 0;
	int pk = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
	int signature = gnutls_x509_crt_get_signature_algorithm(crt);
	const char *name = pk < 0 ? NULL : gnutls_pk_get_name(pk);
	const char *signed_by =
	    signature < 0 ? NULL : gnutls_sign_get_name(signature);

	put_dn(out->subject, sizeof(out->subject), crt,
	    gnutls_x509_crt_get_dn3);
	put_dn(out->issuer, sizeof(out->issuer), crt,
	    gnutls_x509_crt_get_issuer_dn3);
	out->from = gnutls_x509_crt_get_activation_time(crt);
	out->until = gnutls_x509_crt_get_expiration_time(crt);
	(void)snprintf(out->key, sizeof(out->key), "%s %u bits",
	    name == NULL ? "unknown" : name, bits);
	(void)snprintf(out->signature, sizeof(out->signature), "%s",
	    signed_by == NULL ? "unknown" : signed_by);
	put_pin(out->pin, crt);
}

/* NULL where it cannot be read. */
static gnutls_x509_crt_t
certificate_of(const struct tls_session *session, unsigned i)
{
	gnutls_x509_crt_t crt;
	gnutls_datum_t der;

	if (!tls_session_certificate(session, i, &der) ||
	    gnutls_x509_crt_init(&crt) < 0)
		return NULL;
	if (gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER) >= 0)
		return crt;
	gnutls_x509_crt_deinit(crt);
	return NULL;
}

/* --- the stapled response ---------------------------------------------------
 */

/* An authority that need not be sent: it is among the trust anchors. */
static gnutls_x509_crt_t
issuer_in_file(const char *path, gnutls_x509_crt_t crt)
{
	gnutls_x509_crt_t *list, found = NULL;
	gnutls_datum_t pem;
	unsigned count;

	if (!files_read(path, &pem, NULL))
		return NULL;
	if (gnutls_x509_crt_list_import2(&list, &count, &pem,
		GNUTLS_X509_FMT_PEM, 0) >= 0) {
		for (unsigned i = 0; i < count; i++)
			if (found == NULL &&
			    gnutls_x509_crt_check_issuer(crt, list[i]))
				found = list[i];
			else
				gnutls_x509_crt_deinit(list[i]);
		gnutls_free(list);
	}
	files_free(&pem);
	return found;
}

static gnutls_x509_crt_t
issuer_of(const struct probe *probe, const struct tls_session *session,
    gnutls_x509_crt_t crt)
{
	gnutls_x509_crt_t issuer = certificate_of(session, 1);

	if (issuer != NULL && gnutls_x509_crt_check_issuer(crt, issuer))
		return issuer;
	if (issuer != NULL)
		gnutls_x509_crt_deinit(issuer);
	issuer = NULL;
	for (size_t i = 0; i < probe->set_count && issuer == NULL; i++)
		issuer = issuer_in_file(probe->sets[i].path, crt);
	return issuer;
}

static void
read_staple(struct probe *probe, const struct tls_session *session,
    gnutls_x509_crt_t crt)
{
	gnutls_datum_t der = { NULL, 0 };
	gnutls_x509_crt_t issuer = NULL;

	if (tls_session_staple(session, &der))
		issuer = issuer_of(probe, session, crt);
	ocsp_read(&probe->ocsp, &der, crt, issuer, probe->now);
	probe->must_staple = ocsp_is_demanded(crt);
	if (issuer != NULL)
		gnutls_x509_crt_deinit(issuer);
}

/* --- all of it --------------------------------------------------------------
 */

static void
add_set(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, const char *anchors, const char *crl)
{
	const char *path = probe_anchors_path(setup, anchors);
	const struct tls_anchors *set;
	struct probe_set *out;

	for (size_t i = 0; i < probe->set_count; i++)
		if (strcmp(probe->sets[i].path, path) == 0 &&
		    strcmp(probe->sets[i].crl, crl) == 0)
			return;
	if (probe->set_count == PROBE_SETS)
		return;
	set = probe_anchors(setup, anchors, crl);
	out = &probe->sets[probe->set_count++];
	*out = (struct probe_set){ anchors, crl, path, CHAIN_UNCHECKED };
	if (set != NULL)
		out->state = tls_session_verify(session, set, probe->now);
}

/* What the row that speaks names comes first, then the default set, then the
 * system's where the smarthost's stand in its place. */
static void
add_sets(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session)
{
	const struct demand *demand = probe->demand;
	const struct config *config = probe_policy(setup)->config;

	if (demand->anchors > 0)
		add_set(probe, setup, session, demand->anchor[0],
		    demand->crl[0]);
	add_set(probe, setup, session, "", "");
	if (config != NULL && config->smarthost.ca != NULL)
		add_set(probe, setup, session, config->system_ca, "");
}

static void
copy_names(struct probe *probe)
{
	const struct facts *facts = &probe->facts;
	size_t len = 0;

	if (facts->names == NULL)
		return;
	while (len < facts->names_len) {
		size_t one = strlen(facts->names + len) + 1;

		if (len + one >= sizeof(probe->names)) {
			probe->names_cut = true;
			break;
		}
		len += one;
	}
	memcpy(probe->names, facts->names, len);
}

void
probe_describe(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session)
{
	gnutls_datum_t der;

	add_sets(probe, setup, session);
	copy_names(probe);
	for (unsigned i = 0;
	     i < TLS_CHAIN_MAX && tls_session_certificate(session, i, &der);
	     i++) {
		gnutls_x509_crt_t crt = certificate_of(session, i);

		if (crt == NULL)
			break;
		describe(&probe->certificates[probe->certificate_count++], crt);
		if (i == 0)
			read_staple(probe, session, crt);
		gnutls_x509_crt_deinit(crt);
	}
}

void
probe_decide(struct probe *probe, struct probe_setup *setup,
    struct tls_session *session, const struct demand *demand,
    struct decision *out)
{
	struct facts facts = probe->facts;

	for (size_t i = 0; facts.tls && i < demand->anchors; i++) {
		const struct tls_anchors *set =
		    probe_anchors(setup, demand->anchor[i], demand->crl[i]);

		facts.chain[i] =
		    set == NULL ? CHAIN_UNCHECKED
				: tls_session_verify(session, set, probe->now);
	}
	decide(out, demand, &facts);
}
