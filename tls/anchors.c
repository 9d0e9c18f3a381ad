/*
 * tls/anchors.c: trust anchors, revocation lists, and the verification of a
 * certification path at a given time (RFC 5280, section 6).
 *
 * The library looks at its own clock and forgets stale revocation lists in
 * silence; so dates are checked here, along the path that it takes.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { ANCHORS_OCTETS_MAX = 8 * 1024 * 1024, CRL_EXTENSIONS_MAX = 64 };

struct tls_anchors {
	gnutls_x509_trust_list_t list;
	bool crl_wanted;
	bool crl_usable;             /* all of them are in the list */
	time_t crl_from, crl_until;  /* when all of them are fresh */
	gnutls_datum_t *crl_issuers; /* their names, DER */
	unsigned crl_issuer_count;
};

/* --- making ------------------------------------------------------------ */

/* RFC 5280, 5.2: a list with a critical extension that is not understood
 * (it may cover some certificates only) says nothing. */
static bool
has_critical_extension(gnutls_x509_crl_t crl)
{
	char oid[128];
	unsigned critical, i;
	size_t size;
	int rc;

	for (i = 0; i < CRL_EXTENSIONS_MAX; i++) {
		size = sizeof(oid);
		critical = 0;
		rc = gnutls_x509_crl_get_extension_info(crl, i, oid, &size,
		    &critical);
		if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return false;
		if (rc < 0 || critical)
			return true;
	}
	return true;
}

static bool
note_freshness(struct tls_anchors *anchors, gnutls_x509_crl_t crl)
{
	time_t from = gnutls_x509_crl_get_this_update(crl);
	time_t until = gnutls_x509_crl_get_next_update(crl);

	if (from == (time_t)-1 || until == (time_t)-1)
		return false;
	if (from > anchors->crl_from)
		anchors->crl_from = from;
	if (anchors->crl_until == 0 || until < anchors->crl_until)
		anchors->crl_until = until;
	return true;
}

/*
 * Signed by an anchor that may?  The library also looks at its clock; dates
 * are judged when a chain is, so what it says about them only is let pass.
 */
static bool
is_signed(gnutls_x509_crl_t crl, gnutls_x509_crt_t *signers, unsigned count)
{
	const unsigned by_date = GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED |
				 GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
	unsigned status = 0;

	if (gnutls_x509_crl_verify(crl, signers, count, 0, &status) < 0)
		return false;
	return status == 0 ||
	       ((status & by_date) != 0 &&
		   (status & ~(by_date | GNUTLS_CERT_INVALID)) == 0);
}

/* Whose certificates the lists are about. */
static bool
note_issuers(struct tls_anchors *anchors, gnutls_x509_crl_t *crls,
    unsigned count)
{
	anchors->crl_issuers = calloc(count, sizeof(*anchors->crl_issuers));
	if (anchors->crl_issuers == NULL)
		return false;
	for (; anchors->crl_issuer_count < count; anchors->crl_issuer_count++)
		if (gnutls_x509_crl_get_raw_issuer_dn(
			crls[anchors->crl_issuer_count],
			&anchors->crl_issuers[anchors->crl_issuer_count]) < 0)
			return false;
	return true;
}

static bool
check_crls(struct tls_anchors *anchors, gnutls_x509_crl_t *crls, unsigned count,
    const gnutls_datum_t *anchors_pem)
{
	gnutls_x509_crt_t *signers;
	unsigned i, signer_count;
	bool usable = count > 0 && note_issuers(anchors, crls, count);

	if (gnutls_x509_crt_list_import2(&signers, &signer_count, anchors_pem,
		GNUTLS_X509_FMT_PEM, 0) < 0)
		return false;
	for (i = 0; i < count; i++)
		if (!is_signed(crls[i], signers, signer_count) ||
		    has_critical_extension(crls[i]) ||
		    !note_freshness(anchors, crls[i]))
			usable = false;
	for (i = 0; i < signer_count; i++)
		gnutls_x509_crt_deinit(signers[i]);
	gnutls_free(signers);
	return usable;
}

/*
 * One that is of no use spoils all: what it says is not known.  The trust
 * list does not check again, because it would drop stale ones in silence and
 * then call a revoked certificate good.
 */
static void
add_crl_pem(struct tls_anchors *anchors, const gnutls_datum_t *pem,
    const gnutls_datum_t *anchors_pem)
{
	gnutls_x509_crl_t *crls;
	unsigned i, count;
	int rc;

	anchors->crl_wanted = true;
	if (pem->size == 0 || pem->size > ANCHORS_OCTETS_MAX ||
	    gnutls_x509_crl_list_import2(&crls, &count, pem,
		GNUTLS_X509_FMT_PEM, 0) < 0)
		return;
	if (check_crls(anchors, crls, count, anchors_pem)) {
		rc = gnutls_x509_trust_list_add_crls(anchors->list, crls, count,
		    0, 0);
		anchors->crl_usable = rc == (int)count;
	} else {
		for (i = 0; i < count; i++)
			gnutls_x509_crl_deinit(crls[i]);
	}
	gnutls_free(crls);
}

static bool
add_anchor_pem(struct tls_anchors *anchors, const gnutls_datum_t *pem,
    struct reason *why)
{
	int rc;

	if (pem->size == 0 || pem->size > ANCHORS_OCTETS_MAX)
		return fail(why, REASON_RANGE,
		    "trust anchors: %u octets, expected 1 to %d", pem->size,
		    ANCHORS_OCTETS_MAX);
	rc = gnutls_x509_trust_list_add_trust_mem(anchors->list, pem, NULL,
	    GNUTLS_X509_FMT_PEM, 0, 0);
	if (rc <= 0)
		return fail(why, REASON_CERT_BAD,
		    "trust anchors: %s, expected PEM certificates",
		    rc < 0 ? gnutls_strerror(rc) : "none there");
	return true;
}

bool
tls_anchors_new(struct tls_anchors **anchors_out,
    const gnutls_datum_t *anchors_pem, const gnutls_datum_t *crl_pem,
    struct reason *why)
{
	struct tls_anchors *anchors = calloc(1, sizeof(*anchors));

	if (anchors == NULL)
		return fail(why, REASON_NO_MEMORY, "trust anchors");
	if (gnutls_x509_trust_list_init(&anchors->list, 0) < 0) {
		free(anchors);
		return fail(why, REASON_NO_MEMORY, "trust anchors");
	}
	if (!add_anchor_pem(anchors, anchors_pem, why)) {
		tls_anchors_free(anchors);
		return false;
	}
	if (crl_pem != NULL)
		add_crl_pem(anchors, crl_pem, anchors_pem);
	*anchors_out = anchors;
	return true;
}

void
tls_anchors_free(struct tls_anchors *anchors)
{
	if (anchors == NULL)
		return;
	gnutls_x509_trust_list_deinit(anchors->list, 1);
	while (anchors->crl_issuer_count > 0)
		gnutls_free(
		    anchors->crl_issuers[--anchors->crl_issuer_count].data);
	free(anchors->crl_issuers);
	free(anchors);
}

/* --- verifying --------------------------------------------------------- */

/* What is seen along the path being verified; the library's callback has no
 * argument of ours. */
struct path {
	const struct tls_anchors *anchors;
	time_t now;
	bool expired, early;
	bool unlisted; /* no revocation list is about some certificate */
	struct tls_links *links; /* NULL: nobody asks */
};
static _Thread_local struct path *path;

static void
check_dates(gnutls_x509_crt_t crt)
{
	if (gnutls_x509_crt_get_expiration_time(crt) < path->now)
		path->expired = true;
	if (gnutls_x509_crt_get_activation_time(crt) > path->now)
		path->early = true;
}

/* The library takes "no list of this issuer" for "not revoked". */
static void
check_list(gnutls_x509_crt_t crt)
{
	const struct tls_anchors *anchors = path->anchors;
	gnutls_datum_t issuer = { 0 };
	bool found = false;
	unsigned i;

	if (gnutls_x509_crt_get_raw_issuer_dn(crt, &issuer) >= 0)
		for (i = 0; i < anchors->crl_issuer_count && !found; i++)
			found = anchors->crl_issuers[i].size == issuer.size &&
				memcmp(anchors->crl_issuers[i].data,
				    issuer.data, issuer.size) == 0;
	gnutls_free(issuer.data);
	if (!found)
		path->unlisted = true;
}

bool
tls_digest(gnutls_x509_crt_t crt, unsigned char out[static TLS_DIGEST_OCTETS])
{
	size_t size = TLS_DIGEST_OCTETS;

	return gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, out,
		   &size) >= 0 &&
	       size == TLS_DIGEST_OCTETS;
}

/* The library has verified issuer's signature on crt. */
static void
note_link(struct tls_links *links, gnutls_x509_crt_t crt,
    gnutls_x509_crt_t issuer)
{
	struct tls_link *link = &links->link[links->count];

	if (links->count == sizeof(links->link) / sizeof(links->link[0]) ||
	    !tls_digest(crt, link->subject) ||
	    !tls_digest(issuer, link->issuer) ||
	    !cert_spki(issuer, link->issuer_spki, NULL))
		links->failed = true;
	else
		links->count++;
}

static int
on_path(gnutls_x509_crt_t crt, gnutls_x509_crt_t issuer, gnutls_x509_crl_t crl,
    unsigned status)
{
	if (path->links != NULL && crl == NULL && status == 0 && crt != NULL &&
	    issuer != NULL)
		note_link(path->links, crt, issuer);
	if (crt != NULL) {
		check_dates(crt);
		check_list(crt);
	}
	if (issuer != NULL)
		check_dates(issuer);
	return 0;
}

bool
tls_chain_has_huge_key(const struct tls_chain *chain)
{
	unsigned i, bits;
	int pk;

	for (i = 0; i < chain->count; i++) {
		bits = 0;
		pk = gnutls_x509_crt_get_pk_algorithm(chain->crt[i], &bits);
		if (pk < 0 || bits > TLS_KEY_BITS_MAX)
			return true;
	}
	return false;
}

static bool
is_self_signed(gnutls_x509_crt_t crt)
{
	return gnutls_x509_crt_check_issuer(crt, crt) != 0;
}

static bool
crl_is_fresh(const struct tls_anchors *anchors, time_t now)
{
	return anchors->crl_usable && anchors->crl_from <= now &&
	       now <= anchors->crl_until;
}

/* What matters most first: of who is not trusted, nothing else is known. */
static enum chain_state
state_of(unsigned status, const struct path *seen,
    const struct tls_chain *chain)
{
	const struct tls_anchors *anchors = seen->anchors;
	const unsigned untrusted = GNUTLS_CERT_SIGNER_NOT_FOUND |
				   GNUTLS_CERT_SIGNER_NOT_CA |
				   GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE;
	const unsigned known = untrusted | GNUTLS_CERT_INVALID |
			       GNUTLS_CERT_REVOKED |
			       GNUTLS_CERT_INSECURE_ALGORITHM;

	if (status & untrusted)
		return is_self_signed(chain->crt[0]) ? CHAIN_SELF_SIGNED
						     : CHAIN_UNTRUSTED;
	if (status & ~known)
		return CHAIN_BAD;
	if (status & GNUTLS_CERT_REVOKED)
		return CHAIN_REVOKED;
	if (seen->expired)
		return CHAIN_EXPIRED;
	if (seen->early)
		return CHAIN_NOT_YET_VALID;
	if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
		return CHAIN_WEAK;
	if (status != 0)
		return CHAIN_BAD;
	if (anchors->crl_wanted &&
	    (seen->unlisted || !crl_is_fresh(anchors, seen->now)))
		return CHAIN_REVOCATION_UNKNOWN;
	return CHAIN_GOOD;
}

enum chain_state
tls_chain_verify(const struct tls_chain *chain,
    const struct tls_anchors *anchors, time_t now, struct tls_links *links)
{
	const unsigned flags = GNUTLS_VERIFY_DISABLE_TIME_CHECKS |
			       GNUTLS_VERIFY_DO_NOT_ALLOW_X509_V1_CA_CRT |
			       GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM);
	struct path seen = { .anchors = anchors, .now = now, .links = links };
	struct tls_chain sorted = *chain; /* by the library */
	unsigned status = 0;
	int rc;

	if (tls_chain_has_huge_key(chain))
		return CHAIN_BAD;
	path = &seen;
	/* Also where the path is empty: it may be an anchor itself. */
	check_dates(chain->crt[0]);
	check_list(chain->crt[0]);
	rc = gnutls_x509_trust_list_verify_crt2(anchors->list, sorted.crt,
	    sorted.count, NULL, 0, flags, &status, on_path);
	path = NULL;
	if (rc < 0)
		return CHAIN_BAD;
	return state_of(status, &seen, chain);
}

gnutls_x509_crt_t
tls_anchors_issuer(const struct tls_anchors *anchors, gnutls_x509_crt_t crt)
{
	gnutls_x509_crt_t issuer;

	return gnutls_x509_trust_list_get_issuer(anchors->list, crt, &issuer,
		   0) >= 0
		   ? issuer
		   : NULL;
}

enum chain_state
tls_session_verify(struct tls_session *session,
    const struct tls_anchors *anchors, time_t now)
{
	struct tls_links links = { .count = 0 };
	struct tls_chain chain;
	enum chain_state state;

	if (!tls_chain_of(session->gnutls, &chain, NULL))
		return CHAIN_BAD;
	state = chain.count == 0
		    ? CHAIN_UNCHECKED
		    : tls_chain_verify(&chain, anchors, now, &links);
	if (state == CHAIN_GOOD && session->server == NULL)
		state = tls_staple_judge(session, &chain, anchors, &links, now);
	tls_chain_free(&chain);
	return state;
}
