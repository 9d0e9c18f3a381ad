/*
 * auth/exchange.h: the server's side of one SASL exchange (RFC 4422), by GNU
 * SASL: EXTERNAL, SCRAM-SHA-256 and SCRAM-SHA-1, with and without -PLUS, PLAIN,
 * LOGIN.  No other mechanism of the library can be reached.
 *
 * Nothing here waits: SCRAM asks its caller for verifiers, which are at hand
 * or not; PLAIN and LOGIN end by handing over name and password, and whoever
 * asked decides afterwards.
 *
 * Threads: a library may be shared; an exchange belongs to one thread at a
 * time.
 */
#ifndef AUTH_EXCHANGE_H
#define AUTH_EXCHANGE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "name.h"
#include "verifier.h"

enum {
	EXCHANGE_RESPONSE_MAX = 12288, /* decoded octets; RFC 4954, 4 */
	EXCHANGE_STEPS_MAX = 8,
	EXCHANGE_CLAIMED_MAX = 128, /* octets of a claimed name kept */
};

/* GNU SASL, started once.  Also used by auth/login.h. */
struct sasl_library;
bool sasl_library_new(struct sasl_library **library_out, struct reason *why);
void sasl_library_free(struct sasl_library *library);

/* What a SCRAM exchange needs to know of a name. */
struct exchange_scram {
	uint32_t iterations;
	size_t salt_len;
	unsigned char salt[VERIFIER_SALT_MAX];
	bool has_keys; /* false: whatever the client proves, it is denied */
	unsigned char stored[VERIFIER_KEY_MAX];
	unsigned char server[VERIFIER_KEY_MAX];
};

struct exchange_options {
	const char *mechanism; /* in any case */
	const char *default_realm;
	/* tls-exporter channel binding (RFC 9266) if a -PLUS mechanism was
	 * offered in this session; else empty.  Copied. */
	gnutls_datum_t binding;
	/*
	 * Verifier of a canonical name, or of what was claimed if that is no
	 * name.  Must give iterations and a stable salt for unknown ones too.
	 * False: it cannot be told now.  May not wait.
	 */
	bool (*scram)(void *context, enum verifier_hash hash, const char *name,
	    struct exchange_scram *out);
	/*
	 * EXTERNAL: the canonical name that the client's certificate is bound
	 * to; *name_out "" if it is nobody's.  False: it cannot be told now.
	 * NULL: no certificate was shown, and there is no EXTERNAL.
	 */
	bool (*external)(void *context, char name_out[static NAME_SIZE]);
	void *context;
};

struct exchange;

/* REASON_ABSENT: no such mechanism. */
bool exchange_new(struct exchange **exchange_out, struct sasl_library *library,
    const struct exchange_options *options, struct reason *why);
void exchange_free(struct exchange *exchange); /* wipes; NULL is fine */

enum exchange_step {
	EXCHANGE_CHALLENGE, /* send the challenge, step with the response */
	EXCHANGE_PASSWORD,  /* over: name and password are to be checked */
	EXCHANGE_PROVED,    /* over: the client knows name's password, or its
			       certificate's key */
	EXCHANGE_DENIED,    /* over: it does not, wants to act as another, or
			       what it claims to be is no name */
	EXCHANGE_DOWNGRADE, /* over: the client binds channels and was made to
			       believe that -PLUS was not offered; RFC 5802, 6
			     */
	EXCHANGE_MALFORMED, /* over: this is not the mechanism's syntax */
	EXCHANGE_TROUBLE,   /* over: it cannot be told now */
};

/*
 * One message of the client, decoded.  response NULL: the AUTH command had no
 * initial response; empty: it was "=" or an empty line.  Once over, an
 * exchange stays as it is.
 */
enum exchange_step exchange_step(struct exchange *exchange,
    const gnutls_datum_t *response, struct reason *why);

/* After EXCHANGE_CHALLENGE; borrowed until the next step. */
gnutls_datum_t exchange_challenge(const struct exchange *exchange);

/* The canonical name of who has proved to know its password, if that challenge
 * is the server's signature, which says so to the client; else NULL.  It must
 * only go out if the password is all it takes. */
const char *exchange_signed(const struct exchange *exchange);

/* Canonical name, after EXCHANGE_PASSWORD and EXCHANGE_PROVED; else "". */
const char *exchange_name(const struct exchange *exchange);

/* After EXCHANGE_PASSWORD; never empty.  As the client sent it (LOGIN) or
 * SASLprepped (PLAIN).  Wiped by exchange_free. */
const char *exchange_password(const struct exchange *exchange);

/* The name as claimed so far, cut; for logs; "" if none. */
const char *exchange_claimed(const struct exchange *exchange);

#endif
