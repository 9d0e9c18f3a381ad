/*
 * auth/jwk.h: a set of public keys (RFC 7517), and signatures by them.
 *
 * GnuTLS verifies, jansson reads; what is between them is here: librhonabwy's
 * author has closed it, and libjwt of Debian 12 knows neither key sets nor
 * PS256 nor EdDSA.
 *
 * Algorithms (RFC 7518, 8037): RS256 to RS512, PS256 to PS512, ES256, ES384,
 * ES512, EdDSA.  There is no other, "none" and those with a shared secret least
 * of all; each needs a key of its own kind, whatever the key says.
 *
 * Threads: a set is read-only once parsed.
 */
#ifndef AUTH_JWK_H
#define AUTH_JWK_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum {
	JWK_SET_OCTETS_MAX = 256 * 1024,
	JWK_KEYS_MAX = 64,
	JWK_ID_MAX = 256, /* octets of a key's "kid" */
	JWK_RSA_BITS_LEAST = 2048,
	JWK_RSA_BITS_MOST = 8192,
};

struct jwk_set;

/*
 * path  of the file, for messages "path:line: ..." and "path: key N: ..."
 *
 * Keys for encryption, and kinds or algorithms not named above, are passed
 * over (RFC 7517, 5).  False: not a key set, a key is malformed, private or
 * shared (such a file holds a secret that does not belong here), or none is
 * left.
 */
bool jwk_set_parse(struct jwk_set **set_out, const char *path,
    const gnutls_datum_t *text, struct reason *why);
void jwk_set_free(struct jwk_set *set); /* NULL is fine */

enum jwk_verdict {
	JWK_SIGNED,
	JWK_NOT_SIGNED,   /* not by a key that could have been it */
	JWK_NO_ALGORITHM, /* it is none of ours */
	JWK_NO_KEY,       /* of that id and for that algorithm */
};

/* kid NULL: any key that fits the algorithm may have signed. */
enum jwk_verdict jwk_set_verify(const struct jwk_set *set, const char *alg,
    const char *kid, const gnutls_datum_t *data,
    const gnutls_datum_t *signature);

#endif
