/*
 * t/unit/auth_jwt.c: key sets, signed tokens and what they claim.
 *
 * The keys are made anew; t/43-token.t has tokens that OpenSSL signs.
 */
#include "../../auth/base64url.h"
#include "../../auth/bearer.h"
#include "../../auth/claims.h"
#include "../../auth/jwk.h"
#include "../../auth/jwt.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <cmocka.h>

enum { TEXT_MAX = 16384 };

enum key { RSA, RSA_TWO, P256, P384, P521, ED25519, ED448, KEYS };

static gnutls_privkey_t keys[KEYS];

static const struct {
	gnutls_pk_algorithm_t kind;
	unsigned bits;
	const char *type, *curve;
	size_t octets;
} kinds[KEYS] = {
	[RSA] = { GNUTLS_PK_RSA, 2048, "RSA", "", 0 },
	[RSA_TWO] = { GNUTLS_PK_RSA, 2048, "RSA", "", 0 },
	[P256] = { GNUTLS_PK_ECDSA,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), "EC", "P-256",
	    32 },
	[P384] = { GNUTLS_PK_ECDSA,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), "EC", "P-384",
	    48 },
	[P521] = { GNUTLS_PK_ECDSA,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP521R1), "EC", "P-521",
	    66 },
	[ED25519] = { GNUTLS_PK_EDDSA_ED25519,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED25519), "OKP", "Ed25519",
	    32 },
	[ED448] = { GNUTLS_PK_EDDSA_ED448,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED448), "OKP", "Ed448", 57 },
};

static int
make_keys(void **state)
{
	(void)state;
	for (int i = 0; i < KEYS; i++)
		if (gnutls_privkey_init(&keys[i]) < 0 ||
		    gnutls_privkey_generate(keys[i], kinds[i].kind,
			kinds[i].bits, 0) < 0)
			return -1;
	return 0;
}

static int
free_keys(void **state)
{
	(void)state;
	for (int i = 0; i < KEYS; i++)
		gnutls_privkey_deinit(keys[i]);
	return 0;
}

/* Appends to the string at. */
static void
encode(char *at, const void *octets, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij"
				       "klmnopqrstuvwxyz0123456789-_";
	const unsigned char *p = octets;
	uint32_t bits = 0;
	unsigned held = 0;

	at += strlen(at);
	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | p[i];
		for (held += 8; held >= 6; held -= 6)
			*at++ = alphabet[bits >> (held - 6) & 63];
	}
	if (held > 0)
		*at++ = alphabet[bits << (6 - held) & 63];
	*at = '\0';
}

/* A coordinate with its leading zeros. */
static void
encode_padded(char *at, const gnutls_datum_t *number, size_t octets)
{
	unsigned char room[80] = { 0 };
	const unsigned char *p = number->data;
	size_t len = number->size;

	while (len > octets) {
		assert_int_equal(*p, 0);
		p++;
		len--;
	}
	memcpy(room + octets - len, p, len);
	encode(at, room, octets);
}

/* Appends key as a JWK, with more ("\"kid\":\"a\",") before its numbers. */
static void
add_jwk(char *text, enum key which, const char *more)
{
	gnutls_datum_t a = { NULL, 0 }, b = { NULL, 0 };
	gnutls_pubkey_t public;
	bool rsa = which == RSA || which == RSA_TWO;

	assert_true(gnutls_pubkey_init(&public) >= 0);
	assert_true(
	    gnutls_pubkey_import_privkey(public, keys[which], 0, 0) >= 0);
	sprintf(text + strlen(text), "{%s\"kty\":\"%s\",", more,
	    kinds[which].type);
	if (rsa) {
		assert_true(
		    gnutls_pubkey_export_rsa_raw2(public, &a, &b, 0) >= 0);
		strcat(text, "\"n\":\"");
		encode(text, a.data, a.size);
		strcat(text, "\",\"e\":\"");
		encode(text, b.data, b.size);
	} else {
		assert_true(gnutls_pubkey_export_ecc_raw2(public, NULL, &a, &b,
				0) >= 0);
		sprintf(text + strlen(text), "\"crv\":\"%s\",\"x\":\"",
		    kinds[which].curve);
		if (which == ED25519 || which == ED448) {
			encode(text, a.data, a.size);
		} else {
			encode_padded(text, &a, kinds[which].octets);
			strcat(text, "\",\"y\":\"");
			encode_padded(text, &b, kinds[which].octets);
		}
	}
	strcat(text, "\"}");
	gnutls_free(a.data);
	gnutls_free(b.data);
	gnutls_pubkey_deinit(public);
}

static bool
parse(struct jwk_set **set, const char *text, struct reason *why)
{
	gnutls_datum_t octets = { (unsigned char *)(uintptr_t)text,
		(unsigned)strlen(text) };

	return jwk_set_parse(set, "keys.json", &octets, why);
}

/* The set with one key, or with all. */
static struct jwk_set *
set_of(int first, int last, const char *more)
{
	static char text[TEXT_MAX];
	struct jwk_set *set;
	struct reason why = { 0 };

	strcpy(text, "{\"keys\":[");
	for (int i = first; i <= last; i++) {
		if (i > first)
			strcat(text, ",");
		add_jwk(text, (enum key)i, more);
	}
	strcat(text, "]}");
	if (!parse(&set, text, &why))
		fail_msg("%s", why.text);
	return set;
}

static gnutls_sign_algorithm_t
sign_of(const char *alg)
{
	static const struct {
		const char *name;
		gnutls_sign_algorithm_t sign;
	} all[] = { { "RS256", GNUTLS_SIGN_RSA_SHA256 },
		{ "RS384", GNUTLS_SIGN_RSA_SHA384 },
		{ "RS512", GNUTLS_SIGN_RSA_SHA512 },
		{ "PS256", GNUTLS_SIGN_RSA_PSS_RSAE_SHA256 },
		{ "PS384", GNUTLS_SIGN_RSA_PSS_RSAE_SHA384 },
		{ "PS512", GNUTLS_SIGN_RSA_PSS_RSAE_SHA512 },
		{ "ES256", GNUTLS_SIGN_ECDSA_SHA256 },
		{ "ES384", GNUTLS_SIGN_ECDSA_SHA384 },
		{ "ES512", GNUTLS_SIGN_ECDSA_SHA512 },
		{ "Ed25519", GNUTLS_SIGN_EDDSA_ED25519 },
		{ "Ed448", GNUTLS_SIGN_EDDSA_ED448 } };

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (strcmp(all[i].name, alg) == 0)
			return all[i].sign;
	return GNUTLS_SIGN_UNKNOWN;
}

/* A token with that header and these claims, signed by which in the manner of
 * alg. */
static const char *
make(enum key which, const char *alg, const char *header, const char *claims)
{
	static char token[TEXT_MAX];
	gnutls_datum_t data, signature, r, s;

	token[0] = '\0';
	encode(token, header, strlen(header));
	strcat(token, ".");
	encode(token, claims, strlen(claims));
	data.data = (unsigned char *)token;
	data.size = (unsigned)strlen(token);
	assert_true(gnutls_privkey_sign_data2(keys[which], sign_of(alg), 0,
			&data, &signature) >= 0);
	strcat(token, ".");
	if (alg[0] == 'E' && alg[1] == 'S') {
		assert_true(gnutls_decode_rs_value(&signature, &r, &s) >= 0);
		/* In one go: base64url does not align at the halves. */
		unsigned char both[132];
		size_t half = kinds[which].octets;

		memset(both, 0, sizeof both);
		for (size_t i = 0; i < r.size && i < half; i++)
			both[half - 1 - i] = r.data[r.size - 1 - i];
		for (size_t i = 0; i < s.size && i < half; i++)
			both[2 * half - 1 - i] = s.data[s.size - 1 - i];
		encode(token, both, 2 * half);
		gnutls_free(r.data);
		gnutls_free(s.data);
	} else {
		encode(token, signature.data, signature.size);
	}
	gnutls_free(signature.data);
	return token;
}

/* NULL: it was taken; else why not. */
static const char *
refusal(const struct jwk_set *set, const char *token)
{
	static struct reason why;
	json_t *claims;

	if (!jwt_verify(&claims, set, token, &why))
		return why.text;
	assert_true(json_is_object(claims));
	json_decref(claims);
	return NULL;
}

static const struct {
	enum key key;
	const char *alg, *sign;
} signers[] = { { RSA, "RS256", "RS256" }, { RSA, "RS384", "RS384" },
	{ RSA, "RS512", "RS512" }, { RSA, "PS256", "PS256" },
	{ RSA, "PS384", "PS384" }, { RSA, "PS512", "PS512" },
	{ P256, "ES256", "ES256" }, { P384, "ES384", "ES384" },
	{ P521, "ES512", "ES512" }, { ED25519, "EdDSA", "Ed25519" },
	{ ED448, "EdDSA", "Ed448" } };

static void
test_algorithms(void **state)
{
	struct jwk_set *all = set_of(0, KEYS - 1, "");

	(void)state;
	for (size_t i = 0; i < sizeof signers / sizeof signers[0]; i++) {
		struct jwk_set *own =
		    set_of((int)signers[i].key, (int)signers[i].key, "");
		struct jwk_set *other =
		    set_of(signers[i].key == RSA ? RSA_TWO : RSA,
			signers[i].key == RSA ? RSA_TWO : RSA, "");
		char header[64], *token, *claims;
		const char *why;

		snprintf(header, sizeof header, "{\"alg\":\"%s\"}",
		    signers[i].alg);
		token = strdup(make(signers[i].key, signers[i].sign, header,
		    "{\"sub\":\"a\"}"));
		assert_non_null(token);
		if ((why = refusal(own, token)) != NULL ||
		    (why = refusal(all, token)) != NULL)
			fail_msg("%s: %s", signers[i].alg, why);
		if (refusal(other, token) == NULL)
			fail_msg("%s: by another key", signers[i].alg);
		/* One bit of the claims. */
		claims = strchr(token, '.') + 5;
		*claims = *claims == 'A' ? 'B' : 'A';
		why = refusal(own, token);
		if (why == NULL || strcmp(why, "signature is wrong") != 0)
			fail_msg("%s: changed claims: %s", signers[i].alg,
			    why == NULL ? "taken" : why);
		free(token);
		jwk_set_free(own);
		jwk_set_free(other);
	}
	jwk_set_free(all);
}

/* One signature of 128 has a number that begins with zeros. */
static void
test_short_numbers(void **state)
{
	struct jwk_set *set = set_of(P256, P256, "");
	unsigned char octets[66];
	const char *token;
	size_t len;
	int seen = 0;

	(void)state;
	for (int i = 0; i < 10000 && seen < 3; i++) {
		token = make(P256, "ES256", "{\"alg\":\"ES256\"}", "{}");
		assert_true(base64url_decode(strrchr(token, '.') + 1, 86,
		    octets, &len));
		assert_null(refusal(set, token));
		seen += octets[0] == 0 || octets[32] == 0;
	}
	assert_int_equal(seen, 3);
	jwk_set_free(set);
}

/* What a header may say.  Each is properly signed by the RSA key. */
static const struct {
	const char *what, *header;
	const char *refused; /* NULL: taken */
} headers[] = {
	{ "typ JWT", "{\"alg\":\"RS256\",\"typ\":\"jwt\"}", NULL },
	{ "an access token", "{\"alg\":\"RS256\",\"typ\":\"at+JWT\"}", NULL },
	{ "the key's id", "{\"alg\":\"RS256\",\"kid\":\"one\"}", NULL },
	{ "keys in the header are not looked at",
	    "{\"alg\":\"RS256\",\"jku\":\"https://x.example/\",\"jwk\":{}}",
	    NULL },
	{ "another type", "{\"alg\":\"RS256\",\"typ\":\"logout+jwt\"}",
	    "token of another type (typ)" },
	{ "type is no string", "{\"alg\":\"RS256\",\"typ\":1}",
	    "token of another type (typ)" },
	{ "another key's id", "{\"alg\":\"RS256\",\"kid\":\"two\"}",
	    "no key of the set has the token's kid and fits its alg" },
	{ "id is no string", "{\"alg\":\"RS256\",\"kid\":1}",
	    "token with a malformed kid" },
	{ "critical", "{\"alg\":\"RS256\",\"crit\":[\"x\"],\"x\":1}",
	    "token with an extension that it calls critical" },
	{ "unencoded payload", "{\"alg\":\"RS256\",\"b64\":false}",
	    "token with an extension that it calls critical" },
	{ "no algorithm", "{\"typ\":\"JWT\"}", "token without alg" },
	{ "none", "{\"alg\":\"none\"}",
	    "token with an algorithm that is not accepted" },
	{ "algorithms' names have one case", "{\"alg\":\"rs256\"}",
	    "token with an algorithm that is not accepted" },
	{ "shared secret", "{\"alg\":\"HS256\"}",
	    "token with an algorithm that is not accepted" },
	{ "another algorithm than signed", "{\"alg\":\"RS512\"}",
	    "signature is wrong" },
	{ "PSS is not PKCS#1", "{\"alg\":\"PS256\"}", "signature is wrong" },
	{ "a curve for an RSA key", "{\"alg\":\"ES256\"}",
	    "no key of the set has the token's kid and fits its alg" },
	{ "a member twice", "{\"alg\":\"RS256\",\"alg\":\"RS256\"}",
	    "not a signed token (JWS)" },
	{ "header is an array", "[\"RS256\"]", "not a signed token (JWS)" },
	{ "header is no JSON", "{\"alg\":\"RS256\"",
	    "not a signed token (JWS)" },
};

static void
test_headers(void **state)
{
	struct jwk_set *set = set_of(RSA, RSA, "\"kid\":\"one\",");

	(void)state;
	for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
		const char *why =
		    refusal(set, make(RSA, "RS256", headers[i].header, "{}"));

		if ((why == NULL) != (headers[i].refused == NULL) ||
		    (why != NULL && strcmp(why, headers[i].refused) != 0))
			fail_msg("%s: %s", headers[i].what,
			    why == NULL ? "taken" : why);
	}
	jwk_set_free(set);
}

/* The old trick: the public key's own text as a shared secret. */
static void
test_key_confusion(void **state)
{
	struct jwk_set *set = set_of(RSA, RSA, "");
	static char token[TEXT_MAX];
	unsigned char mac[32];
	char key[TEXT_MAX] = "";

	(void)state;
	add_jwk(key, RSA, "");
	token[0] = '\0';
	encode(token, "{\"alg\":\"HS256\"}", 15);
	strcat(token, ".");
	encode(token, "{}", 2);
	assert_int_equal(gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, strlen(key),
			     token, strlen(token), mac),
	    0);
	strcat(token, ".");
	encode(token, mac, sizeof mac);
	assert_string_equal(refusal(set, token),
	    "token with an algorithm that is not accepted");
	jwk_set_free(set);
}

static void
test_form(void **state)
{
	struct jwk_set *set = set_of(RSA, RSA, "");
	static const char *const bad[] = { "", ".", "..", "a.b", "a.b.c.d",
		"a..c", ".b.c", "e30.e30.", "e30=.e30.AA", "e3 0.e30.AA",
		"e31.e30.AA" };
	char *token = strdup(make(RSA, "RS256", "{\"alg\":\"RS256\"}", "{}"));
	static char room[2 * TEXT_MAX];

	(void)state;
	assert_non_null(token);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (refusal(set, bad[i]) == NULL)
			fail_msg("\"%s\" is taken", bad[i]);
	assert_null(refusal(set, token));
	snprintf(room, sizeof room, "%s.", token);
	assert_non_null(refusal(set, room));
	snprintf(room, sizeof room, "%s=", token);
	assert_non_null(refusal(set, room));
	/* A second way to write the same octets. */
	strcpy(room, token);
	room[strlen(room) - 1] ^= 1;
	assert_non_null(refusal(set, room));
	/* The longest there is, and one more. */
	memset(room, 'A', BEARER_TOKEN_MAX + 1);
	memcpy(room, "e30.", 4);
	memcpy(room + BEARER_TOKEN_MAX - 4, ".AAA", 4);
	room[BEARER_TOKEN_MAX] = '\0';
	assert_string_equal(refusal(set, room), "token without alg");
	free(token);
	token = strdup(make(RSA, "RS256", "{\"alg\":\"RS256\"}", "[]"));
	assert_string_equal(refusal(set, token),
	    "token without claims in JSON");
	free(token);
	jwk_set_free(set);
}

/* ECDSA's algorithms have each a curve, and signatures of one length. */
static void
test_curves(void **state)
{
	struct jwk_set *set = set_of(P256, P384, "");
	static char token[TEXT_MAX];

	(void)state;
	assert_null(
	    refusal(set, make(P256, "ES256", "{\"alg\":\"ES256\"}", "{}")));
	jwk_set_free(set);
	set = set_of(P384, P384, "");
	assert_string_equal(
	    refusal(set, make(P384, "ES256", "{\"alg\":\"ES256\"}", "{}")),
	    "no key of the set has the token's kid and fits its alg");
	jwk_set_free(set);
	set = set_of(P256, P256, "");
	strcpy(token, make(P256, "ES256", "{\"alg\":\"ES256\"}", "{}"));
	assert_null(refusal(set, token));
	strcat(token, "AAAA");
	assert_string_equal(refusal(set, token), "signature is wrong");
	jwk_set_free(set);
}

#define N2048                                                                  \
	"gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" \
	"AQ"

static const struct {
	const char *what, *text, *why;
} sets[] = {
	{ "not JSON", "{\"keys\":\n[}", "keys.json:2: " },
	{ "cut off", "{\"keys\":[", "keys.json:1: " },
	{ "no keys", "{}", "keys.json:1: expected a JWK set" },
	{ "keys is an object", "{\"keys\":{}}",
	    "keys.json:1: expected a JWK set" },
	{ "no key", "{\"keys\":[]}", "keys.json: no key for signatures" },
	{ "a key is a string", "{\"keys\":[\"x\"]}",
	    "keys.json: key 1: expected an object" },
	{ "shared secret", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}",
	    "keys.json: key 1: it is secret" },
	{ "private key", "{\"keys\":[{\"kty\":\"EC\",\"d\":\"AA\"}]}",
	    "keys.json: key 1: it is secret" },
	{ "only for encryption",
	    "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"}]}",
	    "keys.json: no key for signatures" },
	{ "only to sign with",
	    "{\"keys\":[{\"kty\":\"RSA\",\"key_ops\":[\"sign\"]}]}",
	    "keys.json: no key for signatures" },
	{ "kind nobody knows", "{\"keys\":[{\"kty\":\"PQ\"}]}",
	    "keys.json: no key for signatures" },
	{ "curve nobody knows",
	    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\"}]}",
	    "keys.json: no key for signatures" },
	{ "algorithm that is not ours",
	    "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\",\"e\":\"AQAB\","
	    "\"n\":\"" N2048 "\"}]}",
	    "keys.json: no key for signatures" },
	{ "no numbers", "{\"keys\":[{\"kty\":\"RSA\"}]}",
	    "keys.json: key 1: expected n and e" },
	{ "numbers with padding",
	    "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB=\",\"n\":\"" N2048
	    "\"}]}",
	    "keys.json: key 1: expected n and e" },
	{ "short key",
	    "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\","
	    "\"n\":\"gAAB\"}]}",
	    "keys.json: key 1: RSA key of 24 bits" },
	{ "exponent 1",
	    "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQ\",\"n\":\"" N2048 "\"}]}",
	    "keys.json: key 1: n and e are no RSA key" },
	{ "even exponent",
	    "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"BA\",\"n\":\"" N2048 "\"}]}",
	    "keys.json: key 1: n and e are no RSA key" },
	{ "kid is a number",
	    "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"kid\":1,\"n\":"
	    "\"" N2048 "\"}]}",
	    "keys.json: key 1: expected kid and alg" },
	{ "coordinate too short",
	    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}]}",
	    "keys.json: key 1: expected x of 32 octets" },
	{ "a point needs y",
	    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
	    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}",
	    "keys.json: key 1: expected x and y of 32 octets" },
	{ "not on the curve",
	    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
	    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\",\"y\":"
	    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
	    "keys.json: key 1: not a point of P-256" },
};

static void
test_sets(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		struct jwk_set *set = NULL;
		struct reason why = { 0 };

		if (parse(&set, sets[i].text, &why))
			fail_msg("%s: taken", sets[i].what);
		if (strncmp(why.text, sets[i].why, strlen(sets[i].why)) != 0)
			fail_msg("%s: %s", sets[i].what, why.text);
	}
}

/* A key says what it is for, and which of two is meant. */
static void
test_selection(void **state)
{
	static char text[TEXT_MAX];
	struct jwk_set *set;
	struct reason why = { 0 };
	const char *token;

	(void)state;
	strcpy(text, "{\"keys\":[");
	add_jwk(text, RSA, "\"kid\":\"a\",\"use\":\"sig\",\"alg\":\"RS256\",");
	strcat(text, ",{\"kty\":\"new\"},");
	add_jwk(text, RSA_TWO, "\"kid\":\"b\",\"key_ops\":[\"verify\"],");
	strcat(text, ",");
	add_jwk(text, P256, "\"kid\":\"c\",\"use\":\"enc\",");
	strcat(text, "]}");
	if (!parse(&set, text, &why))
		fail_msg("%s", why.text);
	assert_null(refusal(set,
	    make(RSA_TWO, "RS256", "{\"alg\":\"RS256\",\"kid\":\"b\"}", "{}")));
	assert_null(
	    refusal(set, make(RSA_TWO, "RS256", "{\"alg\":\"RS256\"}", "{}")));
	assert_string_equal(refusal(set, make(RSA_TWO, "RS256",
					     "{\"alg\":\"RS256\","
					     "\"kid\":\"a\"}",
					     "{}")),
	    "signature is wrong");
	token = make(RSA, "RS384", "{\"alg\":\"RS384\",\"kid\":\"a\"}", "{}");
	assert_string_equal(refusal(set, token),
	    "no key of the set has the token's kid and fits its alg");
	token = make(P256, "ES256", "{\"alg\":\"ES256\",\"kid\":\"c\"}", "{}");
	assert_string_equal(refusal(set, token),
	    "no key of the set has the token's kid and fits its alg");
	jwk_set_free(set);
}

static const int64_t now = 1800000000;

#define GOOD                                                                   \
	"\"iss\":\"https://issuer.example\",\"aud\":\"sallyport\","            \
	"\"email\":\"alice@example.org\""

static const struct {
	const char *what, *claims;
	const char *why; /* NULL: taken */
	bool endpoint;   /* an introspection endpoint's answer */
	const char *scope;
} claims_rows[] = {
	{ "good", "{" GOOD ",\"exp\":1800000001}", NULL, false, NULL },
	{ "one of several audiences",
	    "{\"iss\":\"https://issuer.example\",\"aud\":[\"x\",\"sallyport\"],"
	    "\"email\":\"alice@example.org\",\"exp\":1800000001}",
	    NULL, false, NULL },
	{ "a date with a fraction", "{" GOOD ",\"exp\":1800000001.5}", NULL,
	    false, NULL },
	{ "clocks differ a little", "{" GOOD ",\"exp\":1799999941}", NULL,
	    false, NULL },
	{ "expired", "{" GOOD ",\"exp\":1799999940}",
	    "token has expired 60 s ago", false, NULL },
	{ "no end", "{" GOOD "}", "token without end (exp)", false, NULL },
	{ "end is a string", "{" GOOD ",\"exp\":\"1800000001\"}",
	    "token with a malformed exp", false, NULL },
	{ "end before the beginning", "{" GOOD ",\"exp\":-1}",
	    "token with a malformed exp", false, NULL },
	{ "end of all days", "{" GOOD ",\"exp\":1e300}",
	    "token with a malformed exp", false, NULL },
	{ "not yet", "{" GOOD ",\"exp\":1800000900,\"nbf\":1800000061}",
	    "token is not valid for another 61 s", false, NULL },
	{ "almost", "{" GOOD ",\"exp\":1800000900,\"nbf\":1800000060}", NULL,
	    false, NULL },
	{ "malformed beginning", "{" GOOD ",\"exp\":1800000900,\"nbf\":null}",
	    "token with a malformed nbf", false, NULL },
	{ "another issuer",
	    "{\"iss\":\"https://issuer.example/\",\"aud\":\"sallyport\","
	    "\"email\":\"a\",\"exp\":1800000001}",
	    "token of another issuer", false, NULL },
	{ "no issuer",
	    "{\"aud\":\"sallyport\",\"email\":\"a\",\"exp\":1800000001}",
	    "token of another issuer", false, NULL },
	{ "another audience",
	    "{\"iss\":\"https://issuer.example\",\"aud\":\"sally\","
	    "\"email\":\"a\",\"exp\":1800000001}",
	    "token for another audience", false, NULL },
	{ "no audience",
	    "{\"iss\":\"https://issuer.example\",\"email\":\"a\","
	    "\"exp\":1800000001}",
	    "token for another audience", false, NULL },
	{ "no login",
	    "{\"iss\":\"https://issuer.example\",\"aud\":\"sallyport\","
	    "\"exp\":1800000001}",
	    "token without the claim email", false, NULL },
	{ "login is a number",
	    "{\"iss\":\"https://issuer.example\",\"aud\":\"sallyport\","
	    "\"email\":7,\"exp\":1800000001}",
	    "token without the claim email", false, NULL },
	{ "empty login",
	    "{\"iss\":\"https://issuer.example\",\"aud\":\"sallyport\","
	    "\"email\":\"\",\"exp\":1800000001}",
	    "token with a claim email of 0 octets", false, NULL },
	{ "verified address",
	    "{" GOOD ",\"email_verified\":true,\"exp\":1800000001}", NULL,
	    false, NULL },
	{ "verified address, as a word",
	    "{" GOOD ",\"email_verified\":\"true\",\"exp\":1800000001}", NULL,
	    false, NULL },
	{ "address that the issuer has not verified",
	    "{" GOOD ",\"email_verified\":false,\"exp\":1800000001}",
	    "token with an address that its issuer has not verified", false,
	    NULL },
	{ "scope", "{" GOOD ",\"scope\":\"mail smtp\",\"exp\":1800000001}",
	    NULL, false, "smtp" },
	{ "scope as a list",
	    "{" GOOD ",\"scope\":[\"smtp\"],\"exp\":1800000001}", NULL, false,
	    "smtp" },
	{ "scope by another name",
	    "{" GOOD ",\"scp\":\"smtp\",\"exp\":1800000001}", NULL, false,
	    "smtp" },
	{ "part of a scope",
	    "{" GOOD ",\"scope\":\"smtp2 asmtp\",\"exp\":1800000001}",
	    "token without the scope smtp", false, "smtp" },
	{ "no scope", "{" GOOD ",\"exp\":1800000001}",
	    "token without the scope smtp", false, "smtp" },
	{ "an endpoint need not repeat what it has judged",
	    "{\"email\":\"alice@example.org\"}", NULL, true, NULL },
	{ "an endpoint that says another audience",
	    "{\"email\":\"alice@example.org\",\"aud\":\"x\"}",
	    "token for another audience", true, NULL },
	{ "an endpoint that says another issuer",
	    "{\"email\":\"alice@example.org\",\"iss\":\"x\"}",
	    "token of another issuer", true, NULL },
	{ "an endpoint that says it has expired",
	    "{\"email\":\"alice@example.org\",\"exp\":1}",
	    "token has expired 1799999999 s ago", true, NULL },
};

static void
test_claims(void **state)
{
	char name[CLAIMS_VALUE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof claims_rows / sizeof claims_rows[0];
	     i++) {
		const struct claims_rule rule = {
			.issuer = "https://issuer.example",
			.audience = "sallyport",
			.claim = "email",
			.scope = claims_rows[i].scope,
			.now = now,
			.complete = !claims_rows[i].endpoint,
		};
		json_t *claims = claims_load(claims_rows[i].claims,
		    strlen(claims_rows[i].claims));
		struct reason why = { 0 };
		bool ok;

		assert_non_null(claims);
		ok = claims_check(name, claims, &rule, &why);
		if (ok != (claims_rows[i].why == NULL) ||
		    (!ok && strcmp(why.text, claims_rows[i].why) != 0))
			fail_msg("%s: %s", claims_rows[i].what,
			    ok ? "taken" : why.text);
		if (ok)
			assert_string_equal(name, "alice@example.org");
		json_decref(claims);
	}
}

/* An object with so many levels, and brackets in a string that are none. */
static const char *
nested(int depth)
{
	static char text[256];

	strcpy(text, "{\"a\":");
	for (int i = 1; i < depth; i++)
		strcat(text, "[");
	for (int i = 1; i < depth; i++)
		strcat(text, "]");
	strcat(text, ",\"b\":\"[[[[\\\"{{{{\"}");
	return text;
}

static void
test_json(void **state)
{
	const char *deep = nested(CLAIMS_DEPTH_MAX);
	json_t *claims = claims_load(deep, strlen(deep));

	(void)state;
	assert_non_null(claims);
	json_decref(claims);
	deep = nested(CLAIMS_DEPTH_MAX + 1);
	assert_null(claims_load(deep, strlen(deep)));
	assert_null(claims_load("{\"a\":1,\"a\":2}", 13));
	assert_null(claims_load("{\"a\":\"\\u0000\"}", 14));
	assert_null(claims_load("{} {}", 5));
	assert_null(claims_load("\"a\"", 3));
	assert_null(claims_load("", 0));
}

static void
test_base64url(void **state)
{
	static const struct {
		const char *text, *octets;
	} rows[] = { { "", "" }, { "Zg", "f" }, { "Zm8", "fo" },
		{ "Zm9v", "foo" }, { "Zm9vYmFy", "foobar" },
		{ "-_8", "\xfb\xff" }, { "Z", NULL }, { "A", NULL },
		{ "Zm9vA", NULL }, { "Zg==", NULL }, { "Zh", NULL },
		{ "Zm9", NULL }, { "Zm 8", NULL }, { "+/8", NULL },
		{ "Zm9vY", NULL } };
	unsigned char out[32];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		bool ok = base64url_decode(rows[i].text, strlen(rows[i].text),
		    out, &len);

		if (ok != (rows[i].octets != NULL))
			fail_msg("\"%s\"", rows[i].text);
		if (ok) {
			assert_int_equal(len, strlen(rows[i].octets));
			assert_memory_equal(out, rows[i].octets, len);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64url),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_short_numbers),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_key_confusion),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_curves),
		cmocka_unit_test(test_selection),
	};

	return cmocka_run_group_tests_name("auth_jwt", tests, make_keys,
	    free_keys);
}
