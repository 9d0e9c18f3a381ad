/* auth/internal.h: what the files of auth/ share. */
#ifndef AUTH_INTERNAL_H
#define AUTH_INTERNAL_H

#include <gsasl.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "bearer.h"
#include "login.h"

struct sasl_library {
	Gsasl *server; /* a callback of its own for each side */
	Gsasl *client;
};

/* The callback of struct login's sessions. */
int login_callback(Gsasl *gsasl, Gsasl_session *session,
    Gsasl_property property);

/* A mechanism of logins at smarthosts. */
struct login_manner {
	const char *name;
	bool scram;
	enum verifier_hash hash;
	bool by_any; /* "any" comes to it */
	bool has_password;
	bool has_initial;
	bool bound; /* -PLUS: bound to the channel */
	bool token; /* not by the library: auth/bearer.h */
	enum bearer_form form;
};

/* By strength; NULL past the last. */
const struct login_manner *login_manner(size_t i);

struct book_row {
	char *name;
	const struct login_manner *manner; /* NULL: any */
	char *user;
	char *password; /* NULL: EXTERNAL, a token, or its file was not given */
	char *file;     /* of the password: absolute, or NULL */
	char *source;   /* of the token: absolute, or NULL */
	bool is_command;
};

/* NULL: there is none of that name. */
const struct book_row *login_book_row(const struct login_book *book,
    const char *name);

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
