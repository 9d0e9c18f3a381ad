/*
 * t/unit/auth_verifier.c: SCRAM verifiers and the cache of passwords.
 */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gsasl.h>
#include <stdio.h>

#include "../../auth/cache.h"
#include "../../auth/verifier.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The exchanges in RFC 5802, section 5 and RFC 7677, section 3 give a client's
 * proof and the server's signature; checked here is what they rest on. */
static const struct vector {
	enum verifier_hash hash;
	const char *salt; /* base64 */
	const char *auth_message;
	const char *server_signature; /* base64 */
} vectors[] = {
	{ VERIFIER_SHA_1, "QSXCR+Q6sek8bf92",
	    "n=user,r=fyko+d2lbbFgONRv9qkxdawL,"
	    "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
	    "s=QSXCR+Q6sek8bf92,i=4096,"
	    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
	    "rmF9pqV8S7suAoZWja4dJRkFsKQ=" },
	{ VERIFIER_SHA_256, "W22ZaJ0SNY7soEsUEjb6gQ==",
	    "n=user,r=rOprNGfwEbeRWgbNEkqO,"
	    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
	    "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
	    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
	    "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
};

static void
test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		const struct vector *v = &vectors[i];
		unsigned char signature[32];
		struct verifier verifier;
		char *salt, *base64;
		size_t salt_len;

		assert_int_equal(gsasl_base64_from(v->salt, strlen(v->salt),
				     &salt, &salt_len),
		    GSASL_OK);
		assert_true(verifier_derive(&verifier, v->hash, "pencil", 4096,
		    salt, salt_len, NULL));
		gnutls_hmac_fast(v->hash == VERIFIER_SHA_1 ? GNUTLS_MAC_SHA1
							   : GNUTLS_MAC_SHA256,
		    verifier.server, verifier_key_len(v->hash), v->auth_message,
		    strlen(v->auth_message), signature);
		assert_int_equal(gsasl_base64_to((char *)signature,
				     verifier_key_len(v->hash), &base64, NULL),
		    GSASL_OK);
		assert_string_equal(base64, v->server_signature);
		gsasl_free(salt);
		gsasl_free(base64);
	}
}

/* What GNU SASL derives itself. */
static void
test_against_gsasl(void **state)
{
	static const Gsasl_hash hashes[] = { GSASL_HASH_SHA256,
		GSASL_HASH_SHA1 };
	char salted[32], client[32], server[32], stored[32];
	struct verifier v;

	(void)state;
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		assert_int_equal(gsasl_scram_secrets_from_password(hashes[h],
				     "p\xc3\xa9ncil", 4099, "saltsalt", 8,
				     salted, client, server, stored),
		    GSASL_OK);
		assert_true(verifier_derive(&v, (enum verifier_hash)h,
		    "p\xc3\xa9ncil", 4099, "saltsalt", 8, NULL));
		assert_memory_equal(v.stored, stored,
		    verifier_key_len((enum verifier_hash)h));
		assert_memory_equal(v.server, server,
		    verifier_key_len((enum verifier_hash)h));
	}
}

static void
test_matches(void **state)
{
	struct verifier v[VERIFIER_HASHES];

	(void)state;
	assert_true(verifier_make(v, "pass word", 4096, NULL));
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		enum verifier_hash hash = (enum verifier_hash)h;

		assert_true(verifier_matches(&v[h], hash, "pass word"));
		/* SASLprep: a no-break space is a space. */
		assert_true(verifier_matches(&v[h], hash, "pass\xc2\xa0word"));
		assert_false(verifier_matches(&v[h], hash, "pass word "));
		assert_false(verifier_matches(&v[h], hash, ""));
		v[h].stored[0] ^= 1;
		assert_false(verifier_matches(&v[h], hash, "pass word"));
		v[h].stored[0] ^= 1;
		v[h].has_keys = false;
		assert_false(verifier_matches(&v[h], hash, "pass word"));
	}
	assert_memory_not_equal(v[0].salt, v[1].salt, VERIFIER_SALT_OCTETS);
}

static void
test_refused(void **state)
{
	char longest[PASSWORD_MAX + 2];
	struct verifier v;

	(void)state;
	memset(longest, 'p', sizeof longest);
	longest[PASSWORD_MAX] = '\0';
	assert_true(
	    verifier_derive(&v, VERIFIER_SHA_1, longest, 1, "s", 1, NULL));
	longest[PASSWORD_MAX] = 'p';
	longest[PASSWORD_MAX + 1] = '\0';
	assert_false(
	    verifier_derive(&v, VERIFIER_SHA_1, longest, 1, "s", 1, NULL));
	assert_false(verifier_derive(&v, VERIFIER_SHA_1, "", 1, "s", 1, NULL));
	assert_false(verifier_derive(&v, VERIFIER_SHA_1, "p", 0, "s", 1, NULL));
	assert_false(verifier_derive(&v, VERIFIER_SHA_1, "p", 1, "s", 0, NULL));
	assert_false(verifier_derive(&v, VERIFIER_SHA_1, "p",
	    VERIFIER_ITERATIONS_MOST + 1, "s", 1, NULL));
	/* Not Unicode 3.2: clients would refuse to send it. */
	assert_false(verifier_derive(&v, VERIFIER_SHA_1, "\xf0\x9f\x98\x80", 1,
	    "s", 1, NULL));
	assert_false(
	    verifier_derive(&v, VERIFIER_SHA_1, "a\x01", 1, "s", 1, NULL));
	assert_false(
	    verifier_derive(&v, VERIFIER_SHA_1, "\xff", 1, "s", 1, NULL));
}

static void
test_cache(void **state)
{
	struct cache *cache;

	(void)state;
	assert_true(cache_new(&cache, 16, 10, NULL));
	assert_false(cache_has(cache, "a@x", 1, "pw", 1000));
	cache_add(cache, "a@x", 1, "pw", 1000);
	assert_true(cache_has(cache, "a@x", 1, "pw", 1000));
	assert_true(cache_has(cache, "a@x", 1, "pw", 10999));
	assert_false(cache_has(cache, "a@x", 1, "pw", 11000)); /* too old */
	assert_false(cache_has(cache, "a@x", 1, "pW", 1000));
	assert_false(cache_has(cache, "b@x", 1, "pw", 1000));
	assert_false(cache_has(cache, "a@x", 2, "pw", 1000)); /* changed */
	cache_add(cache, "a@x", 2, "other", 2000);
	assert_false(cache_has(cache, "a@x", 1, "pw", 2000));
	assert_true(cache_has(cache, "a@x", 2, "other", 2000));
	cache_forget(cache, "a@x");
	assert_false(cache_has(cache, "a@x", 2, "other", 2000));
	cache_free(cache);
}

/* However many come, those that are kept fit, and the newest is kept. */
static void
test_cache_bound(void **state)
{
	struct cache *cache;
	char name[32];
	int kept = 0;

	(void)state;
	assert_true(cache_new(&cache, 64, 1000, NULL));
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "u%d@x", i);
		cache_add(cache, name, 1, "pw", 1000 + i);
		assert_true(cache_has(cache, name, 1, "pw", 1000 + i));
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "u%d@x", i);
		kept += cache_has(cache, name, 1, "pw", 7000);
	}
	assert_int_equal(kept, 64);
	cache_free(cache);
}

static void
test_cache_of_nothing(void **state)
{
	struct cache *cache;

	(void)state;
	assert_true(cache_new(&cache, 0, 10, NULL));
	cache_add(cache, "a@x", 1, "pw", 1000);
	assert_false(cache_has(cache, "a@x", 1, "pw", 1000));
	cache_forget(cache, "a@x");
	cache_free(cache);
	cache_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_against_gsasl),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_bound),
		cmocka_unit_test(test_cache_of_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
