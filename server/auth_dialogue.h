/*
 * server/auth_dialogue.h: what the files about a session's exchanges share.
 *
 *   auth_dialogue.c  packets from and to the session, and their order
 *   auth_decide.c    who may log in, and when he is told
 *   auth_judge.c     what forbids a login although it was proved
 *   auth_backend.c   the credential store, as it is asked
 *   auth_helper.c    the helpers, as they are asked
 *   auth_sasl.c      exchanges that run in a helper
 *   auth_token.c     tokens
 *
 * A dialogue ends with dialogue_decide, once, for whatever reason: all that a
 * success needs beyond the proof is asked in dialogue_prove.
 */
#ifndef SERVER_AUTH_DIALOGUE_H
#define SERVER_AUTH_DIALOGUE_H

#include <netinet/in.h>

#include "auth_role.h"
#include "grant.h"
#include "messages.h"

enum { DIALOGUE_TEXT = 200 }; /* octets of a reason, for the log */

enum dialogue_state {
	DIALOGUE_CLIENT,  /* the client has a challenge to answer */
	DIALOGUE_UNSENT,  /* a challenge waits for room in the channel */
	DIALOGUE_HELPER,  /* a helper is at it, or a hash is being checked */
	DIALOGUE_DECIDED, /* the result waits for its time */
};

struct dialogue {
	struct dialogue *next; /* in its bucket */
	struct auth_role *role;
	uint64_t number;
	enum dialogue_state state;
	struct auth_config *config;
	const struct config_listener *listener;
	enum mechanism mechanism;
	struct exchange *exchange; /* NULL once decided, or in a helper */
	/* Canonical, "" until there is one, and the name as claimed so far. */
	char name[NAME_SIZE], claimed[EXCHANGE_CLAIMED_MAX + 1];
	bool was_asked;           /* for the secret of name, by a helper */
	bool has_secret;          /* which it was given */
	gnutls_datum_t challenge; /* of a helper, or about a token; owned */
	bool explained; /* the client was told why its token is refused */
	struct auth_helper_call *call; /* NULL: no helper is at it */
	uint64_t foreign; /* serial of a hash being checked; 0: none */
	unsigned untried; /* backends that may yet know the password */
	struct timer timer;
	int64_t asked_ms; /* when the client's last octets came */
	unsigned asked;   /* requests so far */
	/* Of the entry whose verifier, hash or key was used; 0: somebody else
	 * says who the client is. */
	uint64_t change;
	/* EXTERNAL: what the client's certificate is known by, its key first.
	 */
	size_t identity_count;
	unsigned char (*identities)[SPKI_OCTETS]; /* malloc'd, or NULL */
	char client[INET6_ADDRSTRLEN];
	unsigned tls_version; /* 12 or 13 */
	unsigned refused;     /* practices that are over, as judged */
	enum auth_result result;
	char login[NAME_SIZE];    /* on failure what was claimed */
	char text[DIALOGUE_TEXT]; /* undecided: why the last backend refused */
	struct grant grant;       /* with AUTH_GRANTED */
};

/* auth_dialogue.c */
void dialogue_end(struct dialogue *d);
/* The result's time has come. */
void dialogue_send_result(struct dialogue *d);

/* The client has to answer octets, which are kept until then. */
void dialogue_challenge(struct dialogue *d, gnutls_datum_t octets);

/* auth_decide.c */
/* The client is whom name (canonical) says: grants the login, unless
 * dialogue_judge is against it. */
void dialogue_prove(struct dialogue *d, const char *name);
/* The client has proved the password of name (canonical) to SCRAM.  False: the
 * server's signature waits for its time, or the login is decided. */
bool dialogue_may_sign(struct dialogue *d, const char *name);
void dialogue_decide(struct dialogue *d, enum auth_result result,
    const char *text);
/* It was granted and is not told yet: it is denied after all. */
void dialogue_take_back(struct dialogue *d, const char *text);
/*
 * Would what has failed before make who has d->name wait too long?  Then it is
 * decided.  Asked before what costs something is done for a client
 * that would not be told the outcome, right or wrong.
 */
bool dialogue_is_shut_out(struct dialogue *d);
/* Name and password of PLAIN or LOGIN: the backends in their order, until one
 * knows the password, or the store has one of its own for the name. */
void dialogue_check_password(struct dialogue *d);
/* The entry changed while its hash was checked. */
void dialogue_check_again(struct dialogue *d);
void dialogue_pam_refuses(struct dialogue *d, const char *text);

/* auth_judge.c */
enum judgement {
	JUDGED_ALLOWED,
	JUDGED_DENIED,
	JUDGED_UNKNOWN, /* the store cannot be asked */
};
/*
 * May name (canonical) log in at now (Unix seconds), from this client and in
 * this way?  What the
 * store has of it, if anything, must be enabled, unchanged since the exchange
 * began, and within its time, its networks, its channel binding and that of
 * require-binding, and this no practice that is over; a device's owner must be
 * so as well, and have it.
 *
 * entry_out, owner_out  what the store has, and of a device's owner; else the
 *                       name is "".  The caller wipes them.
 * text                  why it is denied, for the log.
 */
enum judgement dialogue_judge(struct dialogue *d, const char *name, int64_t now,
    struct entry *entry_out, struct entry *owner_out,
    char text[static DIALOGUE_TEXT]);

/* auth_backend.c */
enum look { LOOK_THERE, LOOK_ABSENT, LOOK_FAILED };
/* What the store has of a name; a failure is logged.  The caller wipes it. */
enum look backend_look_up(struct dialogue *d, const char *name,
    struct entry *out);
/* For struct exchange_options. */
bool backend_scram(void *context, enum verifier_hash hash, const char *name,
    struct exchange_scram *out);
bool backend_external(void *context, char name_out[static NAME_SIZE]);
/* True if the store has decided, for or against, or cannot be asked, or a hash
 * is being checked for it. */
bool backend_check_password(struct dialogue *d);

/* auth_helper.c */
/* PAM, with name and password of the exchange.  False: it takes no password as
 * long as this one. */
bool helper_check_password(struct dialogue *d);
/* An answer of the helpers for it will find nobody, and a helper that waits
 * for it ends. */
void helper_forget(struct dialogue *d);
/*
 * Begin an attempt with the packet that write puts together: behind its type,
 * number, configuration and deadline.  The dialogue is decided if there is no
 * way to.
 */
void helper_begin(struct dialogue *d, enum message type,
    void (*write)(struct wire_writer *w, const void *context),
    const void *context);
/* Octets for the helper that is at it, as a packet of that type. */
void helper_send(struct dialogue *d, enum message type,
    const gnutls_datum_t *octets);

/* auth_sasl.c */
/* Mechanisms whose exchange runs in a helper. */
enum {
	MECHANISMS_GUARDED =
	    MECHANISM_GSSAPI | MECHANISM_DIGEST_MD5 | MECHANISM_CRAM_MD5
};
/* Those that ask a helper for more than a yes. */
enum { MECHANISMS_HELPED = MECHANISMS_GUARDED | MECHANISMS_TOKEN };
/* response NULL: there was no initial one. */
void sasl_step(struct dialogue *d, const gnutls_datum_t *response);
/* What a helper says before it is over.  False: it breaks the protocol. */
bool sasl_helper_says(struct dialogue *d, enum message type,
    struct wire_reader *r);

/* auth_token.c */
/* response NULL: there was no initial one. */
void token_step(struct dialogue *d, const gnutls_datum_t *response);
/* A helper says whose the token is.  False: it breaks the protocol. */
bool token_helper_says(struct dialogue *d, struct wire_reader *r);
/* The client is told why not before it is told no: true if that has begun, and
 * the result goes out with its answer. */
bool token_explain(struct dialogue *d);

/* The dialogue of a number, or NULL. */
struct dialogue *dialogue_find(struct auth_role *role, uint64_t number);

#endif
