/*
 * auth/login.h: logins at smarthosts: the file DIR/upstream, and the client's
 * side of a SASL exchange.
 *
 * The file has one login a line:
 *
 *     NAME MECHANISM USER PASSWORD
 *
 * NAME       what auth=NAME in the site table means: letters, digits, ".-_"
 * MECHANISM  SCRAM-SHA-256-PLUS, SCRAM-SHA-1-PLUS, SCRAM-SHA-256,
 *            SCRAM-SHA-1, PLAIN, LOGIN, EXTERNAL, OAUTHBEARER, XOAUTH2, or
 *            any: the strongest of all before EXTERNAL that the smarthost
 *            offers
 * USER       authentication identity; for EXTERNAL the authorization identity,
 *            "" for none
 * PASSWORD   the password, or file:PATH: the first line of that file (its
 *            octets are given to login_book_parse by whoever may read it).  A
 *            password that itself begins with "file:" is quoted.  Absent for
 *            EXTERNAL.  For OAUTHBEARER and XOAUTH2 it is file:PATH or
 *            command:PATH, where a token is found at each login anew: the
 *            first line of the file, or of what the command prints.
 *
 * Words are separated by blanks; a word with blanks, "#" or quotes is in
 * double quotes, in which \" and \\ stand for " and \.  A word that begins
 * with "#" begins a comment.
 *
 * Threads: a book is read-only once parsed; a login belongs to one thread.
 */
#ifndef AUTH_LOGIN_H
#define AUTH_LOGIN_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "exchange.h"

enum {
	LOGIN_BOOK_MAX = 1024 * 1024, /* octets of the file */
	LOGIN_LINE_MAX = 4096,
	LOGIN_WORD_MAX = 64,
	LOGIN_CHALLENGE_MAX = 12288, /* decoded octets */
	LOGIN_STEPS_MAX = 8,
};

struct login_book;

/*
 * path    of the file, for messages; relative file:PATH count from its folder
 * secret  gives the octets of the file at an absolute path (borrowed until
 *         login_book_parse returns), false if it was not given.  NULL: file:
 *         is only checked for syntax; such a book can name logins, not use
 *         them.
 */
bool login_book_parse(struct login_book **book_out, const char *path,
    const gnutls_datum_t *text,
    bool (*secret)(void *context, const char *path, gnutls_datum_t *octets),
    void *context, struct reason *why);
void login_book_free(struct login_book *book); /* wipes; NULL is fine */

bool login_book_has(const struct login_book *book, const char *name);

/* Absolute paths that file: words name, in order; NULL past the last.  These
 * files are as secret as the book. */
const char *login_book_file(const struct login_book *book, size_t i);

/* Where login name finds its tokens: the i-th that has some; false past the
 * last.  Borrowed from the book. */
struct login_source {
	const char *name;
	const char *path; /* absolute */
	bool is_command;
};
bool login_book_source(const struct login_book *book, size_t i,
    struct login_source *out);

/*
 * One line of the file with its line end, quoted as needed.  False if it does
 * not fit or a word cannot be written.  The caller wipes out.
 */
bool login_book_line(char *out, size_t size, const char *name,
    const char *mechanism, const char *user, const char *password,
    struct reason *why);

struct login;

/*
 * Begin: choose a mechanism.
 *
 * offered  by the smarthost, blanks between.
 * tls      false: refused, whatever the mechanism.
 * binding  tls-exporter (RFC 9266), for -PLUS; empty: there is none.  Copied.
 * REASON_ABSENT: no such login, or no mechanism in common.
 */
bool login_new(struct login **login_out, struct sasl_library *library,
    const struct login_book *book, const char *name, const char *offered,
    bool tls, gnutls_datum_t binding, struct reason *why);
void login_free(struct login *login); /* wipes; NULL is fine */

const char *login_mechanism(const struct login *login);

/* Its first line is the token that a login which uses one needs before its
 * first step.  Copied. */
bool login_uses_token(const struct login *login);
bool login_give_token(struct login *login, const char *text, size_t len,
    struct reason *why);

/*
 * The response to a challenge.  challenge NULL: for the AUTH command itself;
 * *has_response_out is false if the mechanism sends no initial response.
 * Borrowed until the next step.  False: the exchange has failed, for instance
 * because the server could not prove that it knows the verifier.
 */
bool login_step(struct login *login, const gnutls_datum_t *challenge,
    gnutls_datum_t *response_out, bool *has_response_out, struct reason *why);

/* Has the exchange come to its end, once the last response is sent?  Before
 * that a server's yes is worth nothing: SCRAM's has yet to prove itself. */
bool login_is_complete(const struct login *login);

#endif
