/*
 * auth/bearer.h: the messages of OAUTHBEARER (RFC 7628) and XOAUTH2, which
 * carry a bearer token (RFC 6750).  GNU SASL has neither.
 *
 *     OAUTHBEARER  n,a=NAME,\1host=...\1port=...\1auth=Bearer TOKEN\1\1
 *     XOAUTH2      user=NAME\1auth=Bearer TOKEN\1\1
 *
 * What the token is worth is not judged here.  Threads: any.
 */
#ifndef AUTH_BEARER_H
#define AUTH_BEARER_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "name.h"

enum {
	BEARER_TOKEN_MAX = 8192, /* octets; RFC 7628 names no bound */
	BEARER_MESSAGE_MAX = BEARER_TOKEN_MAX + NAME_SIZE * 3 + 64,
};

enum bearer_form { BEARER_OAUTHBEARER, BEARER_XOAUTH2 };

struct bearer {
	/* Whom the client says it is, as it said it: valid UTF-8 without
	 * control characters; "": it leaves that to the token. */
	char name[NAME_SIZE];
	/* "": the client only asks what tokens are wanted (an empty "auth=" of
	 * OAUTHBEARER). */
	char token[BEARER_TOKEN_MAX + 1];
};

/*
 * The client's first message.
 *
 * Strict: each key once, no octet after the end, a name in UTF-8 (in
 * OAUTHBEARER a saslname of RFC 5801, section 4), a token of RFC 6750's
 * b64token.  Keys that RFC 7628 does not give a meaning are ignored, as it
 * says; a channel binding ("p=") is refused, for the mechanism has none.
 *
 * out is written on success only; the caller wipes it.
 * REASON_SYNTAX or REASON_RANGE: it is not such a message; why tells nothing
 * of its octets.
 */
bool bearer_parse(struct bearer *out, enum bearer_form form,
    const gnutls_datum_t *message, struct reason *why);

/* What a client answers to the challenge that says why its token was refused
 * (RFC 7628, 3.2.3; XOAUTH2's answer is empty): one octet at most. */
void bearer_give_up(char *out, size_t *len_out, enum bearer_form form);

/* b64token of RFC 6750, 2.1, of at most BEARER_TOKEN_MAX octets. */
bool bearer_is_token(const char *text, size_t len);

/*
 * The message of a client; name may be "" for OAUTHBEARER alone.  out has room
 * for BEARER_MESSAGE_MAX octets and is no string; the caller wipes it.
 * False: the name is too long or no UTF-8, or the token is none.
 */
bool bearer_make(char *out, size_t *len_out, enum bearer_form form,
    const char *name, const char *token, struct reason *why);

#endif
