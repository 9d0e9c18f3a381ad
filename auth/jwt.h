/*
 * auth/jwt.h: signed tokens, JWTs in the compact form of JWS (RFC 7519, 7515,
 * 8725).  Threads: any.
 */
#ifndef AUTH_JWT_H
#define AUTH_JWT_H

#include <jansson.h>
#include <stdbool.h>

#include "../policy/reason.h"
#include "jwk.h"

/*
 * The claims of token if a key of set has signed it; json_decref them.
 *
 * The header may have alg, kid and typ ("JWT" or "at+jwt", in any case); keys
 * and places of keys in it are not looked at, and whatever it calls critical is
 * refused.
 *
 * False (REASON_AUTH; REASON_NO_MEMORY): why says what is wrong, for the log,
 * with nothing of what the token says.
 */
bool jwt_verify(json_t **claims_out, const struct jwk_set *set,
    const char *token, struct reason *why);

#endif
