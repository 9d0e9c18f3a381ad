/*
 * auth/claims.h: what a token says, and whether that is enough.
 *
 * The claims are those of a JWT whose signature has been verified (RFC 7519),
 * or an introspection endpoint's answer (RFC 7662).  Threads: any.
 */
#ifndef AUTH_CLAIMS_H
#define AUTH_CLAIMS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

enum {
	CLAIMS_OCTETS_MAX = 64 * 1024,
	CLAIMS_DEPTH_MAX = 16,   /* of arrays and objects in each other */
	CLAIMS_VALUE_SIZE = 512, /* a claim's value with its NUL */
	CLAIMS_LEEWAY_S = 60,    /* clocks differ by as much */
};

/* A JSON object of bounded size and depth, each key once; NULL otherwise.
 * json_decref it. */
json_t *claims_load(const char *text, size_t len);

struct claims_rule {
	const char *issuer;   /* "iss"; NULL: any */
	const char *audience; /* one of "aud"; NULL: any */
	const char *scope;    /* one of the words of "scope"; NULL: any */
	const char *claim;    /* whose value the login is */
	int64_t now;          /* Unix seconds */
	/* A JWT has to say for whom and until when it is; an endpoint that says
	 * nothing of these has judged them itself. */
	bool complete;
};

/*
 * The value of rule->claim if the claims meet the rule.  "email" counts only
 * unless "email_verified" says no.
 *
 * False (REASON_AUTH): why says what is missing, for the log.  What the token
 * says is in it only as numbers.
 */
bool claims_check(char name_out[static CLAIMS_VALUE_SIZE], const json_t *claims,
    const struct claims_rule *rule, struct reason *why);

#endif
