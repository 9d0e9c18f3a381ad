/*
 * server/introspection.h: asking an endpoint what a token is worth (RFC 7662).
 *
 * For a helper's child: it blocks, and loads libcurl, which with all it brings
 * (LDAP, SSH, RTMP) is in no other process of ours.
 */
#ifndef SERVER_INTROSPECTION_H
#define SERVER_INTROSPECTION_H

#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdbool.h>

#include "../policy/reason.h"

/* Of an answer, and of all that stands before and behind it. */
enum { INTROSPECTION_OCTETS_MAX = 64 * 1024 };

struct introspection {
	const char *url;
	gnutls_datum_t anchors; /* PEM, for https; the only ones that count */
	const char *login;      /* CLIENT-ID:SECRET */
	const char *token;
	long timeout_ms;
};

/*
 * The endpoint's answer, an object with "active"; json_decref it.  Redirections
 * are not followed, and no proxy is asked.
 *
 * False: the endpoint could not be asked, or does not answer as RFC 7662 says;
 * that tells nothing of the token.
 */
bool introspection_ask(json_t **answer_out, const struct introspection *ask,
    struct reason *why);

#endif
