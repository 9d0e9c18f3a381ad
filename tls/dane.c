/*
 * tls/dane.c: the peer's chain against TLSA records.
 *
 * RFC 6698 says what a record is, RFC 7671 how the usages work, RFC 7672
 * which of them count for SMTP.  Nothing here asks whether DNSSEC proved the
 * records: the caller brings no others.
 */
#include "dane.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/names.h"
#include "internal.h"

enum { USAGE_TA = 2, USAGE_EE = 3 };
enum { SELECTOR_CERT = 0, SELECTOR_SPKI = 1 };
enum { MATCHING_FULL = 0, MATCHING_SHA256 = 1, MATCHING_SHA512 = 2 };
enum { SHA256_OCTETS = 32, SHA512_OCTETS = 64, DIGEST_OCTETS_MAX = 64 };

/* A chain being compared. */
struct presented {
	struct tls_chain chain;
	/* As received. */
	gnutls_datum_t der[TLS_CHAIN_MAX];
	gnutls_datum_t tbs[TLS_CHAIN_MAX];
	gnutls_datum_t spki[TLS_CHAIN_MAX];
	const char *names; /* reference identifiers */
	time_t now;
};

/* --- which records count ------------------------------------------------ */

static bool
is_usable(const struct tlsa *record)
{
	if (record->usage != USAGE_TA && record->usage != USAGE_EE)
		return false;
	if (record->selector > SELECTOR_SPKI)
		return false;
	switch (record->matching) {
	case MATCHING_FULL:
		return record->len > 0 && record->len <= TLSA_DATA_MAX;
	case MATCHING_SHA256:
		return record->len == SHA256_OCTETS;
	case MATCHING_SHA512:
		return record->len == SHA512_OCTETS;
	default:
		return false;
	}
}

/* RFC 7671, section 9: of two digests the stronger one counts, for each usage
 * and selector. */
static bool
is_outdone(const struct tlsa *record, const struct tlsa *records, size_t count)
{
	if (record->matching != MATCHING_SHA256)
		return false;
	for (size_t i = 0; i < count; i++)
		if (is_usable(&records[i]) &&
		    records[i].matching == MATCHING_SHA512 &&
		    records[i].usage == record->usage &&
		    records[i].selector == record->selector)
			return true;
	return false;
}

/* --- what was presented ------------------------------------------------- */

static bool
presented_of(struct presented *p, struct tls_session *session,
    struct reason *why)
{
	const gnutls_datum_t *der;
	unsigned count = 0;

	if (!session->done)
		return fail(why, REASON_CERT_MISSING, "no handshake");
	if (!tls_chain_of(session->gnutls, &p->chain, why))
		return false;
	der = gnutls_certificate_get_peers(session->gnutls, &count);
	if (der == NULL || count == 0)
		return fail(why, REASON_CERT_MISSING, "no certificate");
	for (unsigned i = 0; i < p->chain.count; i++) {
		p->der[i] = der[i];
		if (!tls_der_parts(&der[i], &p->tbs[i], &p->spki[i]))
			return fail(why, REASON_CERT_BAD,
			    "certificate %u of the chain is not DER", i + 1);
	}
	return true;
}

static bool
same_octets(const struct tlsa *record, const void *data, size_t len)
{
	return len == record->len && memcmp(record->data, data, len) == 0;
}

/* Is certificate i of the chain the one the record means? */
static bool
record_means(const struct tlsa *record, const struct presented *p, unsigned i)
{
	const gnutls_datum_t *whole =
	    record->selector == SELECTOR_SPKI ? &p->spki[i] : &p->der[i];
	gnutls_digest_algorithm_t algorithm =
	    record->matching == MATCHING_SHA256 ? GNUTLS_DIG_SHA256
						: GNUTLS_DIG_SHA512;
	unsigned char digest[DIGEST_OCTETS_MAX];

	if (record->matching == MATCHING_FULL)
		return same_octets(record, whole->data, whole->size);
	return gnutls_hash_fast(algorithm, whole->data, whole->size, digest) >=
		   0 &&
	       same_octets(record, digest, record->len);
}

/* --- names -------------------------------------------------------------- */

/* RFC 7672, section 3.2.3: by the SAN alone. */
static bool
names_match(const struct presented *p)
{
	struct facts facts = { .names = NULL };
	char *list = NULL;
	bool found;

	if (!cert_names(p->chain.crt[0], &list, &facts.names_len, NULL))
		return false;
	facts.names = list;
	found = names_compare(&facts, p->names) == NAMES_MATCH;
	free(list);
	return found;
}

/* --- DANE-TA ------------------------------------------------------------ */

/* The path from the end entity up to anchor; depth certificates are below
 * it.  Dates count, the anchor's too. */
static enum chain_state
path_state(const struct presented *p, unsigned depth, gnutls_x509_crt_t anchor)
{
	struct tls_chain below = { .count = depth };
	struct tls_anchors *anchors;
	gnutls_datum_t pem;
	enum chain_state state = CHAIN_BAD;

	memcpy(below.crt, p->chain.crt, depth * sizeof(*below.crt));
	if (gnutls_x509_crt_export2(anchor, GNUTLS_X509_FMT_PEM, &pem) < 0)
		return CHAIN_BAD;
	if (tls_anchors_new(&anchors, &pem, NULL, NULL)) {
		state = tls_chain_verify(&below, anchors, p->now, NULL);
		tls_anchors_free(anchors);
	}
	gnutls_free(pem.data);
	return state;
}

/* One of the issuers that the peer sent is the record's. */
static enum chain_state
sent_anchor(const struct tlsa *record, const struct presented *p)
{
	enum chain_state state = CHAIN_UNTRUSTED;

	for (unsigned i = 1; i < p->chain.count && state != CHAIN_GOOD; i++)
		if (record_means(record, p, i))
			state = path_state(p, i, p->chain.crt[i]);
	return state;
}

/* RFC 7671, section 5.2.2: the record is the anchor, the peer need not send
 * it.  The end entity itself is no authority, even so. */
static enum chain_state
whole_certificate(const struct tlsa *record, const struct presented *p)
{
	gnutls_datum_t der = { (unsigned char *)(uintptr_t)record->data,
		(unsigned)record->len };
	struct tls_chain anchor = { .count = 1 };
	enum chain_state state = CHAIN_BAD;

	if (record_means(record, p, 0) ||
	    gnutls_x509_crt_init(&anchor.crt[0]) < 0)
		return CHAIN_UNTRUSTED;
	if (gnutls_x509_crt_import(anchor.crt[0], &der, GNUTLS_X509_FMT_DER) >=
		0 &&
	    !tls_chain_has_huge_key(&anchor))
		state = path_state(p, p->chain.count, anchor.crt[0]);
	tls_chain_free(&anchor);
	return state;
}

static bool
is_strong(gnutls_pubkey_t key)
{
	unsigned bits = 0;
	int pk = gnutls_pubkey_get_pk_algorithm(key, &bits);

	return pk >= 0 && bits <= TLS_KEY_BITS_MAX &&
	       gnutls_pk_bits_to_sec_param(pk, bits) >= GNUTLS_SEC_PARAM_MEDIUM;
}

/* Did key sign certificate i of the chain? */
static bool
key_signed(gnutls_pubkey_t key, const struct presented *p, unsigned i)
{
	unsigned char octets[TLS_SIGNATURE_MAX + 64];
	size_t len = sizeof(octets);
	gnutls_datum_t signature = { octets, 0 };
	int algorithm =
	    gnutls_x509_crt_get_signature_algorithm(p->chain.crt[i]);

	if (algorithm < 0 ||
	    !gnutls_sign_is_secure2(algorithm,
		GNUTLS_SIGN_FLAG_SECURE_FOR_CERTS) ||
	    gnutls_x509_crt_get_signature(p->chain.crt[i], (char *)octets,
		&len) < 0)
		return false;
	signature.size = (unsigned)len;
	return gnutls_pubkey_verify_data2(key, algorithm, 0, &p->tbs[i],
		   &signature) >= 0;
}

static bool
is_in_date(gnutls_x509_crt_t crt, time_t now)
{
	return gnutls_x509_crt_get_activation_time(crt) <= now &&
	       now <= gnutls_x509_crt_get_expiration_time(crt);
}

/*
 * RFC 7671, section 5.2.3: the record is an authority's key, of which the peer
 * has sent no certificate: the topmost it sent has to be signed by it.
 */
static enum chain_state
bare_key(const struct tlsa *record, const struct presented *p)
{
	gnutls_datum_t der = { (unsigned char *)(uintptr_t)record->data,
		(unsigned)record->len };
	enum chain_state state = CHAIN_UNTRUSTED;
	gnutls_pubkey_t key;

	if (record_means(record, p, 0) || tls_chain_has_huge_key(&p->chain) ||
	    gnutls_pubkey_init(&key) < 0)
		return CHAIN_UNTRUSTED;
	if (gnutls_pubkey_import(key, &der, GNUTLS_X509_FMT_DER) < 0 ||
	    !is_strong(key)) {
		gnutls_pubkey_deinit(key);
		return CHAIN_BAD;
	}
	for (unsigned i = 0; i < p->chain.count && state != CHAIN_GOOD; i++) {
		if (!key_signed(key, p, i))
			continue;
		if (i > 0)
			state = path_state(p, i, p->chain.crt[i]);
		else if (is_in_date(p->chain.crt[0], p->now))
			state = CHAIN_GOOD;
		else
			state = CHAIN_EXPIRED;
	}
	gnutls_pubkey_deinit(key);
	return state;
}

/* --- one record --------------------------------------------------------- */

static const char *
path_text(enum chain_state state)
{
	switch (state) {
	case CHAIN_GOOD:
		return "no name in the certificate is the next hop's";
	case CHAIN_EXPIRED:
	case CHAIN_NOT_YET_VALID:
		return "a certificate on the path is out of its dates";
	case CHAIN_WEAK:
		return "a key or signature on the path is too weak";
	case CHAIN_UNTRUSTED:
	case CHAIN_SELF_SIGNED:
		return "no path to the record's authority";
	default:
		return "path or record cannot be verified";
	}
}

/* NULL if the record matches, else why it does not. */
static const char *
authority_mismatch(const struct tlsa *record, const struct presented *p)
{
	enum chain_state state = sent_anchor(record, p);

	if (state == CHAIN_UNTRUSTED && record->matching == MATCHING_FULL)
		state = record->selector == SELECTOR_CERT
			    ? whole_certificate(record, p)
			    : bare_key(record, p);
	if (state == CHAIN_GOOD && names_match(p))
		return NULL;
	return path_text(state);
}

static const char *
record_mismatch(const struct tlsa *record, const struct presented *p)
{
	if (record->usage == USAGE_TA)
		return authority_mismatch(record, p);
	return record_means(record, p, 0)
		   ? NULL
		   : "the certificate or its key is another one";
}

static enum dane_state
compare(const struct tlsa *records, size_t count, const struct presented *p,
    struct reason *why)
{
	for (size_t i = 0; i < count; i++) {
		const struct tlsa *r = &records[i];
		const char *mismatch;

		if (!is_usable(r) || is_outdone(r, records, count))
			continue;
		mismatch = record_mismatch(r, p);
		fail(why, mismatch == NULL ? REASON_NONE : REASON_TLSA_INVALID,
		    "TLSA %u %u %u%s%s", r->usage, r->selector, r->matching,
		    mismatch == NULL ? "" : ": ",
		    mismatch == NULL ? "" : mismatch);
		if (mismatch == NULL)
			return DANE_GOOD;
	}
	return DANE_MISMATCH;
}

enum dane_state
tls_session_dane(struct tls_session *session, const struct tlsa *records,
    size_t count, const char *names, time_t now, struct reason *why)
{
	struct presented p = { .names = names, .now = now };
	enum dane_state state = DANE_MISMATCH;
	size_t usable = 0;

	if (count > TLSA_RECORDS_MAX)
		count = TLSA_RECORDS_MAX;
	for (size_t i = 0; i < count; i++)
		usable += is_usable(&records[i]);
	if (usable == 0) {
		fail(why, REASON_DANE_REQUIRED,
		    "none of %zu TLSA records is usable", count);
		return DANE_NONE;
	}
	if (presented_of(&p, session, why))
		state = compare(records, count, &p, why);
	tls_chain_free(&p.chain);
	return state;
}
