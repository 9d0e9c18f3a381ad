/*
 * server/auth_dialogue.h: what the files about a session's exchanges share.
 *
 *   auth_dialogue.c  packets from and to the session, and their order
 *   auth_decide.c    who may log in, and when he is told
 *   auth_backend.c   the credential store, as it is asked
 *   auth_helper.c    the helpers, as they are asked
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
	struct exchange *exchange;     /* NULL once decided */
	struct auth_helper_call *call; /* NULL: no helper is at it */
	uint64_t foreign; /* serial of a hash being checked; 0: none */
	struct timer timer;
	int64_t asked_ms; /* when the client's last octets came */
	unsigned asked;   /* requests so far */
	/* Of the entry whose verifier, hash or key was used; 0: somebody else
	 * says who the client is. */
	uint64_t change;
	unsigned char key[SPKI_OCTETS]; /* that the client proved in TLS */
	char client[INET6_ADDRSTRLEN];
	enum auth_result result;
	char login[NAME_SIZE]; /* on failure what was claimed */
	char text[200];
	struct grant grant; /* with AUTH_GRANTED */
};

/* auth_dialogue.c */
void dialogue_end(struct dialogue *d);
/* The result's time has come. */
void dialogue_send_result(struct dialogue *d);

/* auth_decide.c */
/*
 * The client is whom name (canonical) says.  Grants the login unless what the
 * store has of it, or of its owner, forbids it: it is disabled, changed during
 * the exchange, its time is over, not from this network, not without channel
 * binding.
 */
void dialogue_prove(struct dialogue *d, const char *name);
void dialogue_decide(struct dialogue *d, enum auth_result result,
    const char *text);
/* Name and password of PLAIN or LOGIN: the backends in their order. */
void dialogue_check_password(struct dialogue *d);

/* auth_backend.c */
/* For struct exchange_options. */
bool backend_scram(void *context, enum verifier_hash hash, const char *name,
    struct exchange_scram *out);
bool backend_external(void *context, char name_out[static NAME_SIZE]);
/* True if the store has decided, for or against, or cannot be asked, or a hash
 * is being checked for it. */
bool backend_check_password(struct dialogue *d);

/* auth_helper.c */
/* PAM, with name and password of the exchange. */
void helper_check_password(struct dialogue *d);
/* An answer of the helpers for it will find nobody. */
void helper_forget(struct dialogue *d);

/* The dialogue of a number, or NULL. */
struct dialogue *dialogue_find(struct auth_role *role, uint64_t number);

#endif
