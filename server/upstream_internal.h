/*
 * server/upstream_internal.h: what the files of the SMTP client share.
 */
#ifndef SERVER_UPSTREAM_INTERNAL_H
#define SERVER_UPSTREAM_INTERNAL_H

#include "relay_dots.h"
#include "upstream.h"
#include "upstream_io.h"

/* In milliseconds, as configured; RFC 5321, section 4.5.3.2.  Each bounds one
 * reply or one block as a whole: octets that trickle in extend none. */
struct upstream_timeouts {
	int connect; /* TCP, and the TLS handshake */
	int greeting;
	int command; /* reply to all but the next two */
	int data;    /* reply to DATA */
	int block;   /* until UPSTREAM_CHUNK octets have been taken */
	int end;     /* reply to the end of data */
};

enum {
	TIMEOUT_QUIT = 1000,
	TIMEOUT_LOOKUP = 25000,
	TIMEOUT_AUTH = 30000,
};

enum {
	UPSTREAM_MESSAGES = 1000, /* a connection serves no more */
	/* Nor once so many transactions were refused: servers count errors,
	 * and each RSET but one for a message that they took.  Exim hangs up
	 * after 10, and Postfix begins to answer late. */
	UPSTREAM_REFUSALS = 6,
	UPSTREAM_ADDRESSES = 16, /* as many as can race */
	UPSTREAM_COMMANDS = 64 * 1024, /* octets of one pipelined write */
	UPSTREAM_CHUNK = 64 * 1024,
	UPSTREAM_OUT = 3 * UPSTREAM_CHUNK + RELAY_DOTS_END_MAX,
	UPSTREAM_VERIFIED = 16,
	/* A certificate, or a revocation list, may end meanwhile. */
	UPSTREAM_VERIFIED_S = 300,
};

/* A chain verified against one set of anchors. */
struct upstream_verified {
	const struct tls_anchors *anchors;
	enum chain_state state;
	time_t at;
};

struct upstream {
	struct upstream_io io;
	const struct upstream_thread *thread;
	struct relay_config *config; /* a reference */
	struct upstream_timeouts timeouts;
	struct next_hop hop;
	char remote[64]; /* address literal */

	/* What it proved: facts where io.tls, else why there is none. */
	struct facts facts;
	time_t dane_at; /* when facts.dane was found out */
	enum reason_code clear_code;
	char clear_detail[REASON_TEXT_MAX];
	struct upstream_verified verified[UPSTREAM_VERIFIED];
	size_t verified_count;

	/* What the row of the next hop chose; "" for none. */
	char cert[256], auth[256], sni[256];
	bool reuse;

	struct upstream_extensions extensions;
	bool greeted;     /* EHLO or HELO with our own name was answered */
	bool needs_reset; /* the last transaction was not completed */
	bool said_mail;   /* the last transaction got so far */
	bool kept;        /* it was used before, if only to refuse a message */
	bool took;        /* the server took a message over it */
	unsigned messages;
	unsigned refusals; /* transactions that brought nobody anything */

	unsigned char in[UPSTREAM_CHUNK];
	unsigned char out[UPSTREAM_OUT];
};

void upstream_fail(struct upstream_failure *failure, const char *status,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Send one command line (without CRLF) and read its reply.  False if the
 * connection broke; why says how. */
bool upstream_command(struct upstream *upstream, const char *command,
    struct upstream_reply *reply, int timeout_ms, struct reason *why);

/* --- server/upstream_prove.c --- */

/*
 * Decide for every group of judgement by what the connection proved, and by
 * what is remembered of the hop.  Until the EHLO inside TLS was answered
 * REQUIRETLS counts as offered: no promise is broken before it is known.
 */
void upstream_judge(struct upstream *upstream, struct judgement *judgement);
/* Has what it proved by DANE, if that is wanted, been found out lately? */
bool upstream_has_dane(struct upstream *upstream,
    const struct judgement *judgement);
/* After a handshake that passes: remember the best that the hop has shown.  A
 * kept connection shows nothing new, and must not undo what an operator has
 * lowered meanwhile. */
void upstream_raise(const struct upstream *upstream,
    const struct judgement *judgement);
/* After a handshake: keep what it proved, for others to ask. */
void upstream_prove(struct upstream *upstream,
    const struct judgement *judgement);

/* Addresses of a host and port, IPv6 first. */
bool upstream_addresses(const struct upstream_thread *thread,
    const struct next_hop *hop, struct sockaddr_storage *out, size_t *count_out,
    struct upstream_failure *failure);

/* AUTH (RFC 4954) by the auth role's upstream login of that name. */
bool upstream_login(struct upstream *upstream, const char *login,
    struct upstream_failure *failure);

#endif
