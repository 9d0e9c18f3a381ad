/*
 * auth/guarded.h: the server's side of the SASL mechanisms whose code we trust
 * least: CRAM-MD5 (RFC 2195), DIGEST-MD5 (RFC 2831, retired by RFC 6331) and
 * GSSAPI (RFC 4752), by GNU SASL.
 *
 * To be run in a process of its own, whose crash costs one login: it may wait,
 * for a secret that the caller asks others for, or in a Kerberos library.
 * What comes of it is a claim: whether the authentication identity is a login,
 * and the authorization identity its own, is for others to decide.
 *
 * No security layer is offered: the exchange runs inside TLS.
 */
#ifndef AUTH_GUARDED_H
#define AUTH_GUARDED_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "exchange.h"

enum { GUARDED_SECRET_MAX = 255 };

struct guarded_options {
	const char *mechanism; /* in upper case */
	const char *realm;     /* DIGEST-MD5: the one that is offered */
	const char *hostname;  /* GSSAPI: of the principal smtp/HOSTNAME */
	/* The password of a name as claimed, or one that nobody knows.  Asked
	 * once; may wait.  False: it cannot be told now. */
	bool (*secret)(void *context, const char *authid,
	    char out[static GUARDED_SECRET_MAX + 1]);
	void *context;
};

struct guarded;

/* Is it one of these mechanisms?  In upper case. */
bool guarded_is(const char *mechanism);
/* The server speaks first: there is no initial response. */
bool guarded_is_server_first(const char *mechanism);

/* options is borrowed.  REASON_ABSENT: no such mechanism. */
bool guarded_new(struct guarded **guarded_out,
    const struct guarded_options *options, struct reason *why);
void guarded_free(struct guarded *guarded); /* NULL is fine */

/*
 * One message of the client, decoded; NULL if it has sent no initial response.
 * EXCHANGE_CHALLENGE: send the challenge; EXCHANGE_PROVED: see below;
 * EXCHANGE_DENIED, _MALFORMED and _TROUBLE end it.
 */
enum exchange_step guarded_step(struct guarded *guarded,
    const gnutls_datum_t *response, struct reason *why);

/* After EXCHANGE_CHALLENGE; borrowed until the next step. */
gnutls_datum_t guarded_challenge(const struct guarded *guarded);

/* After EXCHANGE_PROVED: as claimed, or for GSSAPI the principal's display
 * name; and the authorization identity, "" if there is none. */
const char *guarded_authid(const struct guarded *guarded);
const char *guarded_authzid(const struct guarded *guarded);

/* Can the key of smtp/hostname be had from the key table that the environment
 * names? */
bool guarded_try_gssapi(const char *hostname, struct reason *why);

#endif
