/*
 * auth/verifier.h: SCRAM verifiers (RFC 5802, section 3; RFC 7677).
 *
 * A verifier lets a server check a password, or a SCRAM client's proof of it,
 * without holding it.  It is a secret all the same: whoever has it can guess
 * at leisure.  Threads: any; nothing here is shared.
 */
#ifndef AUTH_VERIFIER_H
#define AUTH_VERIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

enum verifier_hash { VERIFIER_SHA_256, VERIFIER_SHA_1, VERIFIER_HASHES };

enum {
	VERIFIER_KEY_MAX = 32,
	VERIFIER_SALT_MAX = 64,
	VERIFIER_SALT_OCTETS = 16, /* of those we make */
	VERIFIER_ITERATIONS_LEAST = 4096, /* RFC 5802, 5.1 */
	VERIFIER_ITERATIONS_MOST = 10000000,
	PASSWORD_MAX = 1024, /* octets, before and after SASLprep */
};

struct verifier {
	bool present;
	bool has_keys; /* false in listings: salt and keys were left out */
	uint32_t iterations;
	size_t salt_len;
	unsigned char salt[VERIFIER_SALT_MAX];
	unsigned char stored[VERIFIER_KEY_MAX]; /* StoredKey */
	unsigned char server[VERIFIER_KEY_MAX]; /* ServerKey */
};

/* Octets of StoredKey and ServerKey. */
size_t verifier_key_len(enum verifier_hash hash);

/* "SCRAM-SHA-256", "SCRAM-SHA-1". */
const char *verifier_mechanism(enum verifier_hash hash);

/*
 * SASLprep of a password (RFC 4013).  Code points that Unicode 3.2 does not
 * assign are refused, as clients refuse them.  Refuses empty ones.  The caller
 * wipes out.
 */
bool password_prepare(char out[static PASSWORD_MAX + 1], const char *password,
    struct reason *why);

/* SaltedPassword, verifier_key_len octets, from a prepared password. */
bool verifier_salted_password(enum verifier_hash hash, const char *prepared,
    uint32_t iterations, const void *salt, size_t salt_len,
    unsigned char out[static VERIFIER_KEY_MAX], struct reason *why);

/* From a password that is not prepared yet, and a given salt. */
bool verifier_derive(struct verifier *out, enum verifier_hash hash,
    const char *password, uint32_t iterations, const void *salt,
    size_t salt_len, struct reason *why);

/* The same with a random salt for each hash. */
bool verifier_make(struct verifier out[static VERIFIER_HASHES],
    const char *password, uint32_t iterations, struct reason *why);

/* Does password (not prepared) belong to the verifier?  Compares in constant
 * time.  Anything that fails is a no. */
bool verifier_matches(const struct verifier *verifier, enum verifier_hash hash,
    const char *password);

#endif
