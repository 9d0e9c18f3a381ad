/*
 * auth/foreign.h: password hashes of other servers that crypt(3) can check.
 *
 * They are kept as they came until a login shows the password, from which SCRAM
 * verifiers are made.  What such a check costs is in the hash: those that would
 * take longer than about a second, or more than 64 MiB, are refused.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef AUTH_FOREIGN_H
#define AUTH_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum {
	FOREIGN_MAX = 160,             /* octets of a hash */
	FOREIGN_BCRYPT_MOST = 14,      /* log2 of rounds */
	FOREIGN_ROUNDS_MOST = 1000000, /* SHA-crypt */
};

/*
 * Is hash whole, of a scheme that crypt(3) has, and of bounded cost?  Otherwise
 * why has the scheme's name, and nothing of the hash.
 */
bool foreign_check(const char *hash, struct reason *why);

/* The scheme that a hash begins with, as Dovecot calls it: "BLF-CRYPT",
 * "SHA512-CRYPT" and so on; NULL if it is none that is kept. */
const char *foreign_scheme(const char *hash);

/* How many octets of a hash name its scheme and are no secret. */
size_t foreign_prefix(const char *hash);

/* Does the password belong to the hash?  Takes as long as the hash says.
 * Anything that fails is a no. */
bool foreign_matches(const char *hash, const char *password);

#endif
