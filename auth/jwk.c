/* auth/jwk.c: a set of public keys, and signatures by them. */
#include "jwk.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base64url.h"

enum {
	NUMBER_MAX = JWK_RSA_BITS_MOST / 8 + 1, /* octets of a key's number */
	EXPONENT_MAX = 8,                       /* octets */
	COORDINATE_MAX = 66,                    /* of P-521 */
};

struct jwk {
	char *id;  /* NULL: it has none */
	char *alg; /* NULL: it may be used with all of its kind */
	gnutls_pk_algorithm_t kind;
	gnutls_ecc_curve_t curve;
	gnutls_pubkey_t key;
};

struct jwk_set {
	size_t count;
	struct jwk keys[JWK_KEYS_MAX];
};

/* A signature of ECDSA is two numbers of so many octets each. */
static const struct algorithm {
	const char *name;
	gnutls_sign_algorithm_t sign;
	gnutls_pk_algorithm_t kind;
	gnutls_ecc_curve_t curve;
	unsigned octets;
} algorithms[] = {
	{ "RS256", GNUTLS_SIGN_RSA_SHA256, GNUTLS_PK_RSA, 0, 0 },
	{ "RS384", GNUTLS_SIGN_RSA_SHA384, GNUTLS_PK_RSA, 0, 0 },
	{ "RS512", GNUTLS_SIGN_RSA_SHA512, GNUTLS_PK_RSA, 0, 0 },
	{ "PS256", GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, GNUTLS_PK_RSA, 0, 0 },
	{ "PS384", GNUTLS_SIGN_RSA_PSS_RSAE_SHA384, GNUTLS_PK_RSA, 0, 0 },
	{ "PS512", GNUTLS_SIGN_RSA_PSS_RSAE_SHA512, GNUTLS_PK_RSA, 0, 0 },
	{ "ES256", GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_PK_ECDSA,
	    GNUTLS_ECC_CURVE_SECP256R1, 32 },
	{ "ES384", GNUTLS_SIGN_ECDSA_SHA384, GNUTLS_PK_ECDSA,
	    GNUTLS_ECC_CURVE_SECP384R1, 48 },
	{ "ES512", GNUTLS_SIGN_ECDSA_SHA512, GNUTLS_PK_ECDSA,
	    GNUTLS_ECC_CURVE_SECP521R1, 66 },
	{ "EdDSA", GNUTLS_SIGN_EDDSA_ED25519, GNUTLS_PK_EDDSA_ED25519,
	    GNUTLS_ECC_CURVE_ED25519, 0 },
	{ "EdDSA", GNUTLS_SIGN_EDDSA_ED448, GNUTLS_PK_EDDSA_ED448,
	    GNUTLS_ECC_CURVE_ED448, 0 },
};
enum { ALGORITHMS = sizeof algorithms / sizeof algorithms[0] };

static const struct curve {
	const char *type, *name;
	gnutls_pk_algorithm_t kind;
	gnutls_ecc_curve_t curve;
	size_t octets; /* of a coordinate */
} curves[] = {
	{ "EC", "P-256", GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP256R1, 32 },
	{ "EC", "P-384", GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP384R1, 48 },
	{ "EC", "P-521", GNUTLS_PK_ECDSA, GNUTLS_ECC_CURVE_SECP521R1, 66 },
	{ "OKP", "Ed25519", GNUTLS_PK_EDDSA_ED25519, GNUTLS_ECC_CURVE_ED25519,
	    32 },
	{ "OKP", "Ed448", GNUTLS_PK_EDDSA_ED448, GNUTLS_ECC_CURVE_ED448, 57 },
};

static bool
can_sign(const struct jwk *key, const struct algorithm *a)
{
	return key->kind == a->kind && key->curve == a->curve &&
	       (key->alg == NULL || strcmp(key->alg, a->name) == 0);
}

static void
jwk_fini(struct jwk *key)
{
	free(key->id);
	free(key->alg);
	if (key->key != NULL)
		gnutls_pubkey_deinit(key->key);
}

void
jwk_set_free(struct jwk_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->count; i++)
		jwk_fini(&set->keys[i]);
	free(set);
}

/* A big-endian number without leading zeros. */
static bool
read_number(const json_t *jwk, const char *name, unsigned char *room,
    size_t most, gnutls_datum_t *out)
{
	const json_t *value = json_object_get(jwk, name);
	size_t len;

	if (!json_is_string(value) ||
	    BASE64URL_OCTETS(json_string_length(value)) > most + 2 ||
	    !base64url_decode(json_string_value(value),
		json_string_length(value), room, &len))
		return false;
	while (len > 0 && *room == 0) {
		room++;
		len--;
	}
	out->data = room;
	out->size = (unsigned)len;
	return len > 0 && len <= most;
}

static bool
read_rsa(struct jwk *key, const json_t *jwk, struct reason *why)
{
	unsigned char n_room[NUMBER_MAX + 2], e_room[EXPONENT_MAX + 2];
	gnutls_datum_t n, e;
	unsigned bits;

	if (!read_number(jwk, "n", n_room, NUMBER_MAX, &n) ||
	    !read_number(jwk, "e", e_room, EXPONENT_MAX, &e))
		return fail(why, REASON_SYNTAX,
		    "expected n and e in base64url");
	bits = n.size * 8;
	for (unsigned char top = n.data[0]; (top & 0x80) == 0; bits--)
		top = (unsigned char)(top << 1);
	if (bits < JWK_RSA_BITS_LEAST || bits > JWK_RSA_BITS_MOST)
		return fail(why, REASON_RANGE,
		    "RSA key of %u bits, expected %d to %d", bits,
		    JWK_RSA_BITS_LEAST, JWK_RSA_BITS_MOST);
	if ((n.data[n.size - 1] & 1) == 0 || (e.data[e.size - 1] & 1) == 0 ||
	    (e.size == 1 && e.data[0] < 3))
		return fail(why, REASON_RANGE, "n and e are no RSA key");
	key->kind = GNUTLS_PK_RSA;
	return gnutls_pubkey_import_rsa_raw(key->key, &n, &e) >= 0
		   ? true
		   : fail(why, REASON_SYNTAX, "n and e are no RSA key");
}

/* All octets of it, leading zeros too. */
static bool
read_coordinate(const json_t *jwk, const char *name, size_t octets,
    unsigned char room[COORDINATE_MAX + 2], gnutls_datum_t *out)
{
	const json_t *value = json_object_get(jwk, name);
	size_t len;

	if (!json_is_string(value) ||
	    BASE64URL_OCTETS(json_string_length(value)) > COORDINATE_MAX + 2 ||
	    !base64url_decode(json_string_value(value),
		json_string_length(value), room, &len))
		return false;
	out->data = room;
	out->size = (unsigned)len;
	return len == octets;
}

static bool
read_curve(struct jwk *key, const struct curve *curve, const json_t *jwk,
    struct reason *why)
{
	unsigned char x_room[COORDINATE_MAX + 2], y_room[COORDINATE_MAX + 2];
	bool has_y = curve->kind == GNUTLS_PK_ECDSA;
	gnutls_datum_t x, y;

	if (!read_coordinate(jwk, "x", curve->octets, x_room, &x) ||
	    (has_y && !read_coordinate(jwk, "y", curve->octets, y_room, &y)))
		return fail(why, REASON_SYNTAX,
		    "expected x%s of %zu octets in base64url",
		    has_y ? " and y" : "", curve->octets);
	key->kind = curve->kind;
	key->curve = curve->curve;
	/* The import alone takes any two numbers. */
	return gnutls_pubkey_import_ecc_raw(key->key, curve->curve, &x,
		   has_y ? &y : NULL) >= 0 &&
		       gnutls_pubkey_verify_params(key->key) >= 0
		   ? true
		   : fail(why, REASON_SYNTAX, "not a point of %s", curve->name);
}

static const char *
text_of(const json_t *jwk, const char *name)
{
	const char *text = json_string_value(json_object_get(jwk, name));

	return text != NULL ? text : "";
}

static bool
is_word(const json_t *jwk, const char *name, const char *word)
{
	return strcmp(text_of(jwk, name), word) == 0;
}

/* Is it said to be for signatures? */
static bool
is_for_signatures(const json_t *jwk)
{
	const json_t *use = json_object_get(jwk, "use");
	const json_t *operations = json_object_get(jwk, "key_ops");
	json_t *one;
	size_t i;

	if (use != NULL && !is_word(jwk, "use", "sig"))
		return false;
	if (operations == NULL)
		return true;
	json_array_foreach(operations, i, one)
	{
		const char *word = json_string_value(one);

		if (word != NULL && strcmp(word, "verify") == 0)
			return true;
	}
	return false;
}

enum found { FOUND_KEY, FOUND_OTHER, FOUND_BROKEN };

static enum found
read_material(struct jwk *key, const json_t *jwk, struct reason *why)
{
	if (is_word(jwk, "kty", "RSA"))
		return read_rsa(key, jwk, why) ? FOUND_KEY : FOUND_BROKEN;
	for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
		if (is_word(jwk, "kty", curves[i].type) &&
		    is_word(jwk, "crv", curves[i].name))
			return read_curve(key, &curves[i], jwk, why)
				   ? FOUND_KEY
				   : FOUND_BROKEN;
	return FOUND_OTHER;
}

static bool
read_words(struct jwk *key, const json_t *jwk, struct reason *why)
{
	const json_t *id = json_object_get(jwk, "kid");
	const json_t *alg = json_object_get(jwk, "alg");

	if ((id != NULL && !json_is_string(id)) ||
	    (alg != NULL && !json_is_string(alg)))
		return fail(why, REASON_SYNTAX,
		    "expected kid and alg to be strings");
	if (json_string_length(id) > JWK_ID_MAX)
		return fail(why, REASON_RANGE,
		    "kid of %zu octets, expected at most %d",
		    json_string_length(id), JWK_ID_MAX);
	if (id != NULL && (key->id = strdup(json_string_value(id))) == NULL)
		return fail(why, REASON_NO_MEMORY, "key set");
	if (alg != NULL && (key->alg = strdup(json_string_value(alg))) == NULL)
		return fail(why, REASON_NO_MEMORY, "key set");
	return true;
}

static bool
is_usable(const struct jwk *key)
{
	for (size_t i = 0; i < ALGORITHMS; i++)
		if (can_sign(key, &algorithms[i]))
			return true;
	return false;
}

static enum found
read_key(struct jwk *key, const json_t *jwk, struct reason *why)
{
	enum found found;

	if (!json_is_object(jwk)) {
		fail(why, REASON_SYNTAX, "expected an object");
		return FOUND_BROKEN;
	}
	if (json_object_get(jwk, "d") != NULL || is_word(jwk, "kty", "oct")) {
		fail(why, REASON_SYNTAX,
		    "it is secret, expected public keys only");
		return FOUND_BROKEN;
	}
	if (!is_for_signatures(jwk))
		return FOUND_OTHER;
	if (gnutls_pubkey_init(&key->key) < 0) {
		fail(why, REASON_NO_MEMORY, "key set");
		return FOUND_BROKEN;
	}
	found = read_material(key, jwk, why);
	if (found == FOUND_KEY && !read_words(key, jwk, why))
		return FOUND_BROKEN;
	return found == FOUND_KEY && !is_usable(key) ? FOUND_OTHER : found;
}

static bool
read_keys(struct jwk_set *set, const char *path, const json_t *keys,
    struct reason *why)
{
	struct reason at;
	json_t *jwk;
	size_t i;

	json_array_foreach(keys, i, jwk)
	{
		struct jwk *key = &set->keys[set->count];

		switch (read_key(key, jwk, &at)) {
		case FOUND_KEY:
			set->count++;
			break;
		case FOUND_OTHER:
			jwk_fini(key);
			memset(key, 0, sizeof *key);
			break;
		case FOUND_BROKEN:
			jwk_fini(key);
			return fail(why, at.code, "%s: key %zu: %s", path,
			    i + 1, at.text);
		}
	}
	return set->count > 0
		   ? true
		   : fail(why, REASON_ABSENT,
			 "%s: no key for signatures, expected one of kind "
			 "RSA, EC (P-256, P-384, P-521) or OKP (Ed25519, "
			 "Ed448)",
			 path);
}

/* The whole file as JSON. */
static json_t *
load(const char *path, const gnutls_datum_t *text, struct reason *why)
{
	json_error_t error;
	json_t *root, *keys;

	if (text->size > JWK_SET_OCTETS_MAX) {
		fail(why, REASON_RANGE, "%s: more than %d octets", path,
		    JWK_SET_OCTETS_MAX);
		return NULL;
	}
	root = json_loadb((const char *)text->data, text->size,
	    JSON_REJECT_DUPLICATES, &error);
	if (root == NULL) {
		fail(why, REASON_SYNTAX, "%s:%d: %s, expected a JWK set", path,
		    error.line, error.text);
		return NULL;
	}
	keys = json_object_get(root, "keys");
	if (json_is_array(keys) && json_array_size(keys) <= JWK_KEYS_MAX)
		return root;
	fail(why, REASON_SYNTAX,
	    "%s:1: expected a JWK set, { \"keys\": [ at most %d ] }", path,
	    JWK_KEYS_MAX);
	json_decref(root);
	return NULL;
}

bool
jwk_set_parse(struct jwk_set **set_out, const char *path,
    const gnutls_datum_t *text, struct reason *why)
{
	json_t *root = load(path, text, why);
	struct jwk_set *set;
	bool ok = false;

	if (root == NULL)
		return false;
	set = calloc(1, sizeof *set);
	if (set == NULL)
		fail(why, REASON_NO_MEMORY, "key set");
	else
		ok = read_keys(set, path, json_object_get(root, "keys"), why);
	json_decref(root);
	if (ok)
		*set_out = set;
	else
		jwk_set_free(set);
	return ok;
}

static bool
is_signed(const struct jwk *key, const struct algorithm *a,
    const gnutls_datum_t *data, const gnutls_datum_t *signature)
{
	gnutls_datum_t r, s, encoded;
	bool ok;

	if (a->octets == 0)
		return gnutls_pubkey_verify_data2(key->key, a->sign, 0, data,
			   signature) >= 0;
	if (signature->size != 2 * a->octets)
		return false;
	r = (gnutls_datum_t){ signature->data, a->octets };
	s = (gnutls_datum_t){ signature->data + a->octets, a->octets };
	if (gnutls_encode_rs_value(&encoded, &r, &s) < 0)
		return false;
	ok = gnutls_pubkey_verify_data2(key->key, a->sign, 0, data, &encoded) >=
	     0;
	gnutls_free(encoded.data);
	return ok;
}

enum jwk_verdict
jwk_set_verify(const struct jwk_set *set, const char *alg, const char *kid,
    const gnutls_datum_t *data, const gnutls_datum_t *signature)
{
	enum jwk_verdict verdict = JWK_NO_ALGORITHM;

	for (size_t i = 0; i < ALGORITHMS; i++) {
		const struct algorithm *a = &algorithms[i];

		if (strcmp(a->name, alg) != 0)
			continue;
		if (verdict == JWK_NO_ALGORITHM)
			verdict = JWK_NO_KEY;
		for (size_t k = 0; k < set->count; k++) {
			const struct jwk *key = &set->keys[k];

			if (!can_sign(key, a) ||
			    (kid != NULL &&
				(key->id == NULL || strcmp(key->id, kid) != 0)))
				continue;
			if (is_signed(key, a, data, signature))
				return JWK_SIGNED;
			verdict = JWK_NOT_SIGNED;
		}
	}
	return verdict;
}
