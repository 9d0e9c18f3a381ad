/*
 * tls/key.c: a private key and the few forms of input it signs.
 */
#include "internal.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

enum {
	RSA_BITS_MIN = 2048,
	DIGEST_INFO_PREFIX = 19,
	RANDOM_OCTETS = 32,  /* RFC 5246, 7.4.1.2 */
	NAMED_CURVE = 3,     /* RFC 8422, 5.4 */
	CONTEXT_BLANKS = 64, /* RFC 8446, 4.4.3 */
};

struct tls_key {
	gnutls_privkey_t key;
	gnutls_pk_algorithm_t pk;
	unsigned char spki[SPKI_OCTETS];
};

/* Hashes that a key of kind pk signs, by their length. */
static const struct {
	gnutls_sign_algorithm_t algorithm;
	gnutls_pk_algorithm_t pk;
	size_t octets;
} hash_forms[] = {
	{ GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_PK_ECDSA, 32 },
	{ GNUTLS_SIGN_ECDSA_SHA384, GNUTLS_PK_ECDSA, 48 },
	{ GNUTLS_SIGN_ECDSA_SHA512, GNUTLS_PK_ECDSA, 64 },
	{ GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, GNUTLS_PK_ECDSA, 32 },
	{ GNUTLS_SIGN_ECDSA_SECP384R1_SHA384, GNUTLS_PK_ECDSA, 48 },
	{ GNUTLS_SIGN_ECDSA_SECP521R1_SHA512, GNUTLS_PK_ECDSA, 64 },
	{ GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, GNUTLS_PK_RSA, 32 },
	{ GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, GNUTLS_PK_RSA, 48 },
	{ GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, GNUTLS_PK_RSA, 64 },
	{ GNUTLS_SIGN_RSA_PSS_SHA256, GNUTLS_PK_RSA_PSS, 32 },
	{ GNUTLS_SIGN_RSA_PSS_SHA384, GNUTLS_PK_RSA_PSS, 48 },
	{ GNUTLS_SIGN_RSA_PSS_SHA512, GNUTLS_PK_RSA_PSS, 64 },
};

/* RFC 8017, 9.2, note 1: DER of DigestInfo before the hash itself. */
static const struct {
	unsigned char prefix[DIGEST_INFO_PREFIX];
	size_t octets;
} digest_infos[] = {
	{ { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
	      0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 },
	    32 },
	{ { 0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
	      0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30 },
	    48 },
	{ { 0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
	      0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40 },
	    64 },
};

static bool
is_hash(const struct tls_key *key, const struct tls_sign_request *request)
{
	size_t i;

	for (i = 0; i < sizeof(hash_forms) / sizeof(hash_forms[0]); i++)
		if (request->algorithm == hash_forms[i].algorithm)
			return key->pk == hash_forms[i].pk &&
			       request->input_len == hash_forms[i].octets;
	return false;
}

static bool
is_digest_info(const struct tls_key *key,
    const struct tls_sign_request *request)
{
	size_t i;

	if (request->algorithm != GNUTLS_SIGN_RSA_RAW ||
	    key->pk != GNUTLS_PK_RSA)
		return false;
	for (i = 0; i < sizeof(digest_infos) / sizeof(digest_infos[0]); i++)
		if (request->input_len ==
			DIGEST_INFO_PREFIX + digest_infos[i].octets &&
		    memcmp(request->input, digest_infos[i].prefix,
			DIGEST_INFO_PREFIX) == 0)
			return true;
	return false;
}

/* 64 blanks, the side's context string with its NUL, a transcript hash. */
static bool
is_certificate_verify(enum cert_purpose side,
    const struct tls_sign_request *request)
{
	static const char as_client[] = "TLS 1.3, client CertificateVerify";
	static const char as_server[] = "TLS 1.3, server CertificateVerify";
	const char *context = side == CERT_FOR_CLIENT ? as_client : as_server;
	size_t i, hash;

	if (request->input_len < CONTEXT_BLANKS + sizeof(as_client))
		return false;
	for (i = 0; i < CONTEXT_BLANKS; i++)
		if (request->input[i] != ' ')
			return false;
	hash = request->input_len - CONTEXT_BLANKS - sizeof(as_client);
	return (hash == 32 || hash == 48) &&
	       memcmp(request->input + CONTEXT_BLANKS, context,
		   sizeof(as_client)) == 0;
}

/* TLS 1.2: both randoms, then a curve by name and a point. */
static bool
is_server_key_exchange(enum cert_purpose side,
    const struct tls_sign_request *request)
{
	const size_t curve = 2 * RANDOM_OCTETS, point = curve + 4;

	return side == CERT_FOR_SERVER && request->input_len > point &&
	       request->input[curve] == NAMED_CURVE &&
	       request->input[curve + 3] == request->input_len - point;
}

static bool
is_allowed(const struct tls_key *key, enum cert_purpose side,
    const struct tls_sign_request *request)
{
	if (request->input_len > TLS_SIGN_INPUT_MAX)
		return false;
	if (request->is_data)
		return request->algorithm == GNUTLS_SIGN_EDDSA_ED25519 &&
		       key->pk == GNUTLS_PK_EDDSA_ED25519 &&
		       (is_certificate_verify(side, request) ||
			   is_server_key_exchange(side, request));
	return is_hash(key, request) || is_digest_info(key, request);
}

static bool
check_strength(struct tls_key *key, int pk, unsigned bits, struct reason *why)
{
	switch (pk) {
	case GNUTLS_PK_RSA:
	case GNUTLS_PK_RSA_PSS:
		if (bits < RSA_BITS_MIN || bits > TLS_KEY_BITS_MAX)
			return fail(why, REASON_CERT_WEAK,
			    "private key: RSA of %u bits, expected %d to %d",
			    bits, RSA_BITS_MIN, TLS_KEY_BITS_MAX);
		break;
	case GNUTLS_PK_ECDSA:
	case GNUTLS_PK_EDDSA_ED25519:
		break;
	default:
		return fail(why, REASON_RANGE,
		    "private key: kind %s, expected ECDSA, Ed25519 or RSA",
		    pk < 0 ? "unknown" : gnutls_pk_get_name(pk));
	}
	key->pk = pk;
	return true;
}

bool
tls_key_new(struct tls_key **key_out, const gnutls_datum_t *pem,
    struct reason *why)
{
	struct tls_key *key;
	unsigned bits = 0;
	int rc, pk;

	key = calloc(1, sizeof(*key));
	if (key == NULL)
		return fail(why, REASON_NO_MEMORY, "private key");
	rc = gnutls_privkey_init(&key->key);
	if (rc >= 0)
		rc = gnutls_privkey_import_x509_raw(key->key, pem,
		    GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN);
	if (rc < 0) {
		tls_key_free(key);
		return fail(why, REASON_SYNTAX,
		    "private key: %s, expected unencrypted PEM",
		    gnutls_strerror(rc));
	}
	pk = gnutls_privkey_get_pk_algorithm(key->key, &bits);
	if (!check_strength(key, pk, bits, why) ||
	    !cert_key_spki(pem, key->spki, why)) {
		tls_key_free(key);
		return false;
	}
	*key_out = key;
	return true;
}

/* --- elsewhere ---------------------------------------------------------- */

/*
 * What TLS 1.2 and 1.3 will ask for, by kind of key: how it is signed, how the
 * signature is verified.  RSA under TLS 1.2 signs a DigestInfo.
 */
static const struct {
	gnutls_pk_algorithm_t pk;
	gnutls_sign_algorithm_t sign, verify;
	bool is_data;
} forms_tried[] = {
	{ GNUTLS_PK_ECDSA, GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_SIGN_ECDSA_SHA256,
	    false },
	{ GNUTLS_PK_RSA, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256,
	    GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, false },
	{ GNUTLS_PK_RSA, GNUTLS_SIGN_RSA_RAW, GNUTLS_SIGN_RSA_SHA256, false },
	{ GNUTLS_PK_RSA_PSS, GNUTLS_SIGN_RSA_PSS_SHA256,
	    GNUTLS_SIGN_RSA_PSS_SHA256, false },
	{ GNUTLS_PK_EDDSA_ED25519, GNUTLS_SIGN_EDDSA_ED25519,
	    GNUTLS_SIGN_EDDSA_ED25519, true },
};

static bool
try_form(gnutls_privkey_t key, gnutls_pubkey_t public, size_t form,
    struct reason *why)
{
	const gnutls_sign_algorithm_t sign = forms_tried[form].sign;
	unsigned char octets[DIGEST_INFO_PREFIX + RANDOM_OCTETS];
	gnutls_datum_t all = { octets, sizeof(octets) };
	gnutls_datum_t hash = { octets + DIGEST_INFO_PREFIX, RANDOM_OCTETS };
	gnutls_datum_t *input = sign == GNUTLS_SIGN_RSA_RAW ? &all : &hash;
	gnutls_datum_t signature = { 0 };
	int rc;

	memcpy(octets, digest_infos[0].prefix, DIGEST_INFO_PREFIX);
	if (gnutls_rnd(GNUTLS_RND_NONCE, hash.data, hash.size) < 0)
		return fail(why, REASON_INTERNAL, "no random numbers");
	rc = forms_tried[form].is_data
		 ? gnutls_privkey_sign_data2(key, sign, 0, input, &signature)
		 : gnutls_privkey_sign_hash2(key, sign, 0, input, &signature);
	if (rc < 0)
		return fail(why, REASON_INTERNAL, "no signature by %s: %s",
		    sign == GNUTLS_SIGN_RSA_RAW ? "RSA (PKCS#1)"
						: gnutls_sign_get_name(sign),
		    gnutls_strerror(rc));
	rc = forms_tried[form].is_data
		 ? gnutls_pubkey_verify_data2(public, forms_tried[form].verify,
		       0, &hash, &signature)
		 : gnutls_pubkey_verify_hash2(public, forms_tried[form].verify,
		       0, &hash, &signature);
	gnutls_free(signature.data);
	return rc >= 0 || fail(why, REASON_CERT_BAD,
			      "the key does not belong to the certificate");
}

static bool
take(struct tls_key *key, gnutls_privkey_t other, gnutls_pubkey_t public,
    struct reason *why)
{
	size_t size = SPKI_OCTETS;
	unsigned bits = 0;
	int pk = gnutls_pubkey_get_pk_algorithm(public, &bits);

	if (!check_strength(key, pk, bits, why))
		return false;
	if (gnutls_privkey_get_pk_algorithm(other, NULL) != pk &&
	    pk != GNUTLS_PK_RSA_PSS)
		return fail(why, REASON_CERT_BAD,
		    "the key does not belong to the certificate");
	for (size_t i = 0; i < sizeof(forms_tried) / sizeof(forms_tried[0]);
	     i++)
		if (forms_tried[i].pk == key->pk &&
		    !try_form(other, public, i, why))
			return false;
	return gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256,
		   key->spki, &size) >= 0 ||
	       fail(why, REASON_CERT_BAD, "public key without a digest");
}

bool
tls_key_take(struct tls_key **key_out, gnutls_privkey_t key,
    const gnutls_datum_t *public_der, struct reason *why)
{
	struct tls_key *taken = calloc(1, sizeof(*taken));
	gnutls_pubkey_t public = NULL;
	bool ok;

	if (taken == NULL || gnutls_pubkey_init(&public) < 0) {
		free(taken);
		return fail(why, REASON_NO_MEMORY, "private key");
	}
	ok = gnutls_pubkey_import(public, public_der, GNUTLS_X509_FMT_DER) >= 0
		 ? take(taken, key, public, why)
		 : fail(why, REASON_CERT_BAD, "public key: expected DER");
	gnutls_pubkey_deinit(public);
	if (!ok) {
		free(taken);
		return false;
	}
	taken->key = key;
	*key_out = taken;
	return true;
}

void
tls_key_free(struct tls_key *key)
{
	if (key == NULL)
		return;
	if (key->key != NULL)
		gnutls_privkey_deinit(key->key); /* overwrites the secret */
	free(key);
}

const unsigned char *
tls_key_spki(const struct tls_key *key)
{
	return key->spki;
}

bool
tls_key_sign(const struct tls_key *key, enum cert_purpose side,
    const struct tls_sign_request *request, unsigned char *signature,
    size_t *signature_len, struct reason *why)
{
	gnutls_datum_t input = { (unsigned char *)request->input,
		(unsigned)request->input_len };
	gnutls_datum_t out = { 0 };
	bool fits;
	int rc;

	if (!is_allowed(key, side, request))
		return fail(why, REASON_PROTOCOL,
		    "algorithm %u with %zu octets is not signed with this key",
		    request->algorithm, request->input_len);
	if (request->is_data)
		rc = gnutls_privkey_sign_data2(key->key, request->algorithm, 0,
		    &input, &out);
	else
		rc = gnutls_privkey_sign_hash2(key->key, request->algorithm, 0,
		    &input, &out);
	if (rc < 0)
		return fail(why, REASON_INTERNAL, "sign: %s",
		    gnutls_strerror(rc));
	fits = out.size <= *signature_len;
	if (fits) {
		memcpy(signature, out.data, out.size);
		*signature_len = out.size;
	}
	gnutls_free(out.data);
	return fits ||
	       fail(why, REASON_RANGE, "signature of %u octets", out.size);
}
