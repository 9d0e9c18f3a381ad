/* auth/internal.h: what the files of auth/ share. */
#ifndef AUTH_INTERNAL_H
#define AUTH_INTERNAL_H

#include <gsasl.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

struct sasl_library {
	Gsasl *server; /* a callback of its own for each side */
	Gsasl *client;
};

/* The callback of struct login's sessions. */
int login_callback(Gsasl *gsasl, Gsasl_session *session,
    Gsasl_property property);

/*
 * SASLprep (RFC 4013) as a stored string: unassigned code points are refused.
 * gsasl_free the result after wiping it.
 */
bool saslprep(const char *in, char **out, struct reason *why);

/* octets may hold secrets: wipe a gsasl string and free it. */
void gsasl_wipe(char *octets, size_t len);

/* gsasl_finish, which leaves properties that are secrets in freed memory:
 * they are wiped first. */
void gsasl_finish_wiped(Gsasl_session *session);

#endif
