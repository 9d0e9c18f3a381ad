/*
 * server/helper.h: a helper: the child in which one attempt to log in runs
 * that may block or crash.
 *
 *   helpers.c       the spawner (helpers_internal.h)
 *   helper_child.c  what all children share
 *   helper_pam.c    PAM
 *   helper_sasl.c   CRAM-MD5, DIGEST-MD5, GSSAPI; helper_confine.c keeps it
 *                   away from files
 *   helper_token.c  tokens
 *
 * A child is forked from the spawner, has one thread, and talks with it over
 * descriptor HELPER_FD (SOCK_SEQPACKET) in the packets of server/messages.h,
 * but without their number, which the spawner takes off and puts back.  It
 * checks what auth asks; what it says is checked by the spawner (type, length,
 * how often) and by auth (the fields).
 */
#ifndef SERVER_HELPER_H
#define SERVER_HELPER_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "messages.h"
#include "wire.h"

enum {
	HELPER_FD = 3, /* in a child */
	HELPER_TEXT_SIZE = 128,
	HELPER_RESPONSE_MAX = 12288, /* octets of a response or challenge */
	HELPER_SECRET_MAX = 255,
	HELPER_LOGIN_MAX = 512, /* octets of CLIENT-ID:SECRET */
	HELPER_DEADLINE_MOST_MS = 10 * 60 * 1000,
};

struct jwk_set;

/* What a child gets of a numbered configuration. */
struct helper_settings {
	const struct config *config;
	const struct jwk_set *keys; /* NULL: section token has none */
	/* PEM, for the introspection endpoint; empty: it needs none. */
	gnutls_datum_t anchors;
};

/* What can be run in a child. */
struct helper_kind {
	enum message start; /* the packet that begins an attempt */
	size_t longest;     /* octets of that packet */
	/* Says HELPER_CHALLENGE, HELPER_NEED_SECRET, HELPER_PROVED too. */
	bool converses;
	/*
	 * In the child, which ends when it returns.  r stands behind number,
	 * configuration and deadline of the packet, which is the child's to
	 * wipe; settings are of that configuration.  Ends with helper_answer
	 * or helper_proved.
	 */
	void (*run)(const struct helper_settings *settings,
	    struct wire_reader *r);
};

extern const struct helper_kind helper_pam;
extern const struct helper_kind helper_sasl;
extern const struct helper_kind helper_token;

/*
 * For children.  Whatever cannot be sent ends the child, which the spawner
 * takes for a crash.
 */

/* Signals as at the start of a program, no descriptor but the channel (as
 * HELPER_FD), a process group of its own, no life without the spawner. */
void helper_settle(int parent, int channel, uint32_t deadline_ms);

void helper_answer(enum helper_answer answer, const char *text);
/* The packet that began it is none that auth may send. */
void helper_answer_broken(void);
void helper_proved(const char *authid, const char *authzid);
void helper_challenge(const void *octets, size_t len);

/* Waits for the client's response: malloc'd octets, to be wiped. */
bool helper_response(gnutls_datum_t *out);

/* Asks for the secret of a claimed name; waits. */
bool helper_secret(const char *authid, char out[static HELPER_SECRET_MAX + 1]);

#endif
