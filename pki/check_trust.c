/*
 * pki/check_trust.c: what is wrong with trust anchors, and with lists of
 * revoked certificates.
 */
#include "check_internal.h"

#include <string.h>

#include "cert.h"
#include "pem.h"

/* What a list that is of no use means. */
#define TRUSTS_NONE ": no certificate is trusted with it, "

/* --- anchors and lists of revoked ones ----------------------------------- */

bool
check_are_authorities(const gnutls_datum_t *pem)
{
	gnutls_x509_crt_t *crts;
	unsigned count, critical, i;

	if (gnutls_x509_crt_list_import2(&crts, &count, pem,
		GNUTLS_X509_FMT_PEM, 0) < 0)
		return false;
	for (i = 0; i < count; i++)
		if (gnutls_x509_crt_get_ca_status(crts[i], &critical) <= 0)
			break;
	cert_chain_free(crts, count);
	return i == count && count > 0;
}

void
check_anchors(const struct check_options *options, const char *path,
    const gnutls_datum_t *anchors, bool each)
{
	gnutls_x509_crt_t *crts;
	unsigned count = 0;
	struct reason why;
	struct check_one one;
	int rc;

	if (!check_size(options, path, anchors, CHECK_ANCHORS_OCTETS))
		return;
	check_inside(options, path, anchors);
	rc = gnutls_x509_crt_list_import2(&crts, &count, anchors,
	    GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0 || count == 0) {
		pem_fail(&why, REASON_CERT_BAD, anchors, PEM_ANCHORS, rc);
		check_say(options, CHECK_BROKEN, path, "%s", why.text);
		return;
	}
	for (unsigned i = 0; i < count && each; i++) {
		check_one_init(&one, options, path, crts[i]);
		check_strength(&one);
		check_dates(&one);
	}
	cert_chain_free(crts, count);
}

/* A list, and whose it has to be. */
struct list {
	const struct check_options *options;
	const char *path;
	gnutls_x509_crl_t crl;
	char issuer[CHECK_DN_SIZE];
	gnutls_x509_crt_t *anchors; /* NULL: any that we know */
	unsigned count;
};

static bool
is_signed_by(gnutls_x509_crl_t crl, gnutls_x509_crt_t *anchors, unsigned count)
{
	unsigned status = 0;

	return gnutls_x509_crl_verify(crl, anchors, count, 0, &status) >= 0 &&
	       (status & (GNUTLS_CERT_SIGNER_NOT_FOUND |
			     GNUTLS_CERT_SIGNATURE_FAILURE |
			     GNUTLS_CERT_SIGNER_NOT_CA)) == 0;
}

static bool
is_signed_by_known(const struct check_options *o, gnutls_x509_crl_t crl)
{
	gnutls_x509_trust_list_iter_t iter = NULL;
	gnutls_x509_crt_t crt;
	bool found = false;

	while (
	    o->anchors != NULL && !found &&
	    gnutls_x509_trust_list_iter_get_ca(o->anchors, &iter, &crt) >= 0) {
		found = is_signed_by(crl, &crt, 1);
		gnutls_x509_crt_deinit(crt);
	}
	gnutls_x509_trust_list_iter_deinit(iter);
	return found;
}

/* Such a list is about a part only, or tells only what is new. */
static bool
is_partial(gnutls_x509_crl_t crl)
{
	char oid[128];
	unsigned critical;
	size_t size;
	int rc = 0;

	for (unsigned i = 0; rc >= 0; i++) {
		size = sizeof(oid);
		rc = gnutls_x509_crl_get_extension_info(crl, i, oid, &size,
		    &critical);
		if (rc >= 0 && critical != 0)
			return true;
	}
	return rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
}

static void
check_freshness(const struct list *list)
{
	const struct check_options *o = list->options;
	time_t from = gnutls_x509_crl_get_this_update(list->crl);
	time_t until = gnutls_x509_crl_get_next_update(list->crl);
	char text[CHECK_TIME_SIZE];

	if (until == (time_t)-1) {
		check_say(o, CHECK_CRL_STALE, list->path,
		    "the list of %s does not say until when it is "
		    "good" TRUSTS_NONE "expected one with a nextUpdate",
		    list->issuer);
		return;
	}
	if (from <= o->now && o->now <= until)
		return;
	check_print_time(text, from > o->now ? from : until);
	check_say(o, CHECK_CRL_STALE, list->path,
	    "the list of %s is stale, it is good %s %s" TRUSTS_NONE
	    "fetch it anew, or make it with \"sallyport cert crl\"",
	    list->issuer, from > o->now ? "only from" : "until", text);
}

static void
check_list(const struct list *list)
{
	if (list->anchors != NULL
		? !is_signed_by(list->crl, list->anchors, list->count)
		: !is_signed_by_known(list->options, list->crl))
		check_say(list->options, CHECK_CRL_ISSUER, list->path,
		    "the list of %s is signed by none of the anchors it is "
		    "for" TRUSTS_NONE "expected the list of one of them",
		    list->issuer);
	if (is_partial(list->crl))
		check_say(list->options, CHECK_CRL_BROKEN, list->path,
		    "the list of %s is a partial one, it has critical "
		    "extensions" TRUSTS_NONE "expected a complete one",
		    list->issuer);
	check_freshness(list);
}

static void
check_lists(const struct check_options *options, const char *path,
    gnutls_x509_crl_t *crls, unsigned count, const gnutls_datum_t *anchors)
{
	struct list list = { .options = options, .path = path };

	if (anchors != NULL &&
	    gnutls_x509_crt_list_import2(&list.anchors, &list.count, anchors,
		GNUTLS_X509_FMT_PEM, 0) < 0)
		list.anchors = NULL;
	for (unsigned i = 0; i < count; i++) {
		size_t size = sizeof(list.issuer);

		list.crl = crls[i];
		if (gnutls_x509_crl_get_issuer_dn(crls[i], list.issuer, &size) <
		    0)
			strcpy(list.issuer, "?");
		check_list(&list);
	}
	if (list.anchors != NULL)
		cert_chain_free(list.anchors, list.count);
}

void
check_crls(const struct check_options *options, const char *path,
    const gnutls_datum_t *crls, const gnutls_datum_t *anchors)
{
	gnutls_x509_crl_t *lists = NULL;
	struct reason why;
	unsigned count = 0;
	int rc;

	if (!check_size(options, path, crls, CHECK_ANCHORS_OCTETS))
		return;
	rc = gnutls_x509_crl_list_import2(&lists, &count, crls,
	    GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0 || count == 0) {
		pem_fail(&why, REASON_CERT_BAD, crls, PEM_CRL, rc);
		check_say(options, CHECK_CRL_BROKEN, path,
		    "%s" TRUSTS_NONE "fetch it anew", why.text);
		return;
	}
	check_lists(options, path, lists, count, anchors);
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crl_deinit(lists[i]);
	gnutls_free(lists);
}
