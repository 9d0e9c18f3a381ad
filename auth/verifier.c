/* auth/verifier.c: SCRAM verifiers (RFC 5802, section 3; RFC 7677). */
#include "verifier.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "internal.h"

static const struct hash {
	const char *mechanism;
	gnutls_mac_algorithm_t mac;
	gnutls_digest_algorithm_t digest;
	size_t octets;
} hashes[VERIFIER_HASHES] = {
	[VERIFIER_SHA_256] = { "SCRAM-SHA-256", GNUTLS_MAC_SHA256,
	    GNUTLS_DIG_SHA256, 32 },
	[VERIFIER_SHA_1] = { "SCRAM-SHA-1", GNUTLS_MAC_SHA1, GNUTLS_DIG_SHA1,
	    20 },
};

size_t
verifier_key_len(enum verifier_hash hash)
{
	return hashes[hash].octets;
}

const char *
verifier_mechanism(enum verifier_hash hash)
{
	return hashes[hash].mechanism;
}

bool
password_prepare(char out[static PASSWORD_MAX + 1], const char *password,
    struct reason *why)
{
	char *prepared;
	size_t len = strnlen(password, PASSWORD_MAX + 1);
	bool ok;

	if (len == 0)
		return fail(why, REASON_SYNTAX, "the password is empty");
	if (len > PASSWORD_MAX)
		return fail(why, REASON_SYNTAX,
		    "the password is too long, expected at most %d octets",
		    PASSWORD_MAX);
	if (!saslprep(password, &prepared, why))
		return why != NULL && why->code == REASON_SYNTAX
			   ? fail(why, REASON_SYNTAX,
				 "the password has characters "
				 "that SASLprep (RFC 4013) does not allow, "
				 "such as "
				 "control characters or emoji")
			   : false;
	len = strlen(prepared);
	ok = len > 0 && len <= PASSWORD_MAX;
	if (ok)
		memcpy(out, prepared, len + 1);
	gsasl_wipe(prepared, len);
	return ok ? true
		  : fail(why, REASON_SYNTAX,
			"the password is empty or too long after SASLprep");
}

bool
verifier_salted_password(enum verifier_hash hash, const char *prepared,
    uint32_t iterations, const void *salt, size_t salt_len,
    unsigned char out[static VERIFIER_KEY_MAX], struct reason *why)
{
	gnutls_datum_t key = { (void *)(uintptr_t)prepared,
		(unsigned)strlen(prepared) };
	gnutls_datum_t with = { (void *)(uintptr_t)salt, (unsigned)salt_len };
	int rc;

	if (iterations < 1 || iterations > VERIFIER_ITERATIONS_MOST ||
	    salt_len < 1 || salt_len > VERIFIER_SALT_MAX)
		return fail(why, REASON_RANGE,
		    "SCRAM iteration count or salt is out of range");
	rc = gnutls_pbkdf2(hashes[hash].mac, &key, &with, iterations, out,
	    hashes[hash].octets);
	return rc < 0 ? fail(why, REASON_INTERNAL, "PBKDF2: %s",
			    gnutls_strerror(rc))
		      : true;
}

/* HMAC(SaltedPassword, what) */
static bool
salted_hmac(const struct hash *h, const unsigned char *salted, const char *what,
    unsigned char out[static VERIFIER_KEY_MAX])
{
	return gnutls_hmac_fast(h->mac, salted, h->octets, what, strlen(what),
		   out) >= 0;
}

static bool
stored_key(const struct hash *h, const unsigned char *salted,
    unsigned char out[static VERIFIER_KEY_MAX])
{
	unsigned char client[VERIFIER_KEY_MAX];
	bool ok;

	ok = salted_hmac(h, salted, "Client Key", client) &&
	     gnutls_hash_fast(h->digest, client, h->octets, out) >= 0;
	explicit_bzero(client, sizeof client);
	return ok;
}

bool
verifier_derive(struct verifier *out, enum verifier_hash hash,
    const char *password, uint32_t iterations, const void *salt,
    size_t salt_len, struct reason *why)
{
	const struct hash *h = &hashes[hash];
	unsigned char salted[VERIFIER_KEY_MAX];
	char prepared[PASSWORD_MAX + 1];
	struct verifier made = { .present = true,
		.has_keys = true,
		.iterations = iterations,
		.salt_len = salt_len };
	bool ok = false;

	if (!password_prepare(prepared, password, why))
		return false;
	if (!verifier_salted_password(hash, prepared, iterations, salt,
		salt_len, salted, why))
		goto out;
	memcpy(made.salt, salt, salt_len);
	ok = stored_key(h, salted, made.stored) &&
	     salted_hmac(h, salted, "Server Key", made.server);
	if (ok)
		*out = made;
	else
		fail(why, REASON_INTERNAL, "HMAC failed");
out:
	explicit_bzero(prepared, sizeof prepared);
	explicit_bzero(salted, sizeof salted);
	explicit_bzero(&made, sizeof made);
	return ok;
}

bool
verifier_make(struct verifier out[static VERIFIER_HASHES], const char *password,
    uint32_t iterations, struct reason *why)
{
	unsigned char salt[VERIFIER_SALT_OCTETS];

	for (int h = 0; h < VERIFIER_HASHES; h++) {
		if (gnutls_rnd(GNUTLS_RND_NONCE, salt, sizeof salt) < 0)
			return fail(why, REASON_INTERNAL,
			    "no random octets for a salt");
		if (!verifier_derive(&out[h], (enum verifier_hash)h, password,
			iterations, salt, sizeof salt, why))
			return false;
	}
	return true;
}

bool
verifier_matches(const struct verifier *verifier, enum verifier_hash hash,
    const char *password)
{
	const struct hash *h = &hashes[hash];
	unsigned char salted[VERIFIER_KEY_MAX], stored[VERIFIER_KEY_MAX];
	char prepared[PASSWORD_MAX + 1];
	bool ok;

	if (!verifier->present || !verifier->has_keys ||
	    !password_prepare(prepared, password, NULL))
		return false;
	ok = verifier_salted_password(hash, prepared, verifier->iterations,
		 verifier->salt, verifier->salt_len, salted, NULL) &&
	     stored_key(h, salted, stored) &&
	     gnutls_memcmp(stored, verifier->stored, h->octets) == 0;
	explicit_bzero(prepared, sizeof prepared);
	explicit_bzero(salted, sizeof salted);
	explicit_bzero(stored, sizeof stored);
	return ok;
}
