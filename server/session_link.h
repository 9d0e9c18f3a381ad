/*
 * server/session_link.h: the session role's channels to auth and to relay.
 */
#ifndef SERVER_SESSION_LINK_H
#define SERVER_SESSION_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gnutls/gnutls.h>

#include "grant.h"
#include "messages.h"

struct decision;
struct proofs;
struct session;
struct spool;

enum {
	AUTH_EXCHANGES = 4096,   /* at once; beyond: 454 4.7.0 */
	AUTH_OCTETS_MAX = 12288, /* of a challenge or response, decoded */
};

/*
 * One channel to auth for all sessions.  An exchange has a number; while its
 * answer is outstanding its session is parked; it is woken when the answer is
 * there.  Threads: any.
 */
struct auth_link;
struct auth_link *auth_link_new(void); /* NULL without memory */
void auth_link_free(struct auth_link *link);

/* A new channel (handed over) to a new auth; whatever the old one owed is
 * answered AUTH_UNAVAILABLE. */
void auth_link_set(struct auth_link *link, int fd);
/* A thread got the event of the link's watch. */
void auth_link_read(struct auth_link *link);

struct auth_request {
	uint32_t configuration;
	const char *listener, *mechanism, *client;
	bool has_initial;
	gnutls_datum_t initial;
	gnutls_datum_t binding;    /* 32 octets, or none */
	gnutls_datum_t identities; /* as AUTH_START says, or none */
	unsigned tls_version;
};

/* False if auth is away or too much is under way: 454 4.7.0. */
bool auth_link_start(struct auth_link *link, struct session *s,
    const struct auth_request *request, uint64_t *number_out);
bool auth_link_step(struct auth_link *link, uint64_t number,
    gnutls_datum_t response);
/* A client tried AUTH before TLS: auth counts it. */
void auth_link_in_clear(struct auth_link *link, const char *client);
/* What a login has practised; program is cut if it is too long. */
void auth_link_seen(struct auth_link *link, const char *login,
    const char *program, const char *client, unsigned practices);
/* The exchange is forgotten; auth is told. */
void auth_link_abort(struct auth_link *link, uint64_t number);

struct auth_answer {
	bool is_challenge;
	gnutls_datum_t challenge; /* malloc'd; free after wiping */
	enum auth_result result;
	char login[512];
	char text[256];
};

/* The answer to that exchange, if it is there; handed over.  A result ends the
 * exchange; with AUTH_GRANTED the session has its grant from here on, so that
 * AUTH_CHANGED finds it. */
bool auth_link_collect(struct auth_link *link, uint64_t number,
    struct auth_answer *out);

/*
 * Notices to the relay about what is on stable storage.  A relay that is away
 * or behind loses none of them for good: positions are repeated, closed
 * segments are kept until they are told.  What the relay says of next hops
 * goes to proofs (borrowed).  Threads: any.
 */
struct relay_link;
struct relay_link *relay_link_new(uint64_t start_id, struct proofs *proofs);
void relay_link_free(struct relay_link *link);
void relay_link_set(struct relay_link *link, int fd, struct spool *spool);
void relay_link_committed(void *link, uint32_t segment, uint64_t end,
    bool closed);
void relay_link_tick(struct relay_link *link);
/* A thread got the event of the link's watch. */
void relay_link_read(struct relay_link *link);
/*
 * A decision about a client, for the relay's book.  Sent if it matters: it is
 * a refusal, some row observes, or it is about one site and the relay has not
 * heard lately that this site passes what these rows ask.  Never blocks:
 * dropped and counted when the relay is away or does not keep up.
 */
void relay_link_decided(struct relay_link *link,
    const struct decision *decision);
unsigned long relay_link_dropped(const struct relay_link *link);

#endif
