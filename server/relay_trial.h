/*
 * server/relay_trial.h: the certificates shown to next hops are tried on a
 * server of our own before one of them sees them.
 */
#ifndef SERVER_RELAY_TRIAL_H
#define SERVER_RELAY_TRIAL_H

#include "../tls/tls.h"

/* A server to try them on, with a key made for the purpose. */
struct relay_trial;
bool relay_trial_new(struct relay_trial **trial_out, struct reason *why);
void relay_trial_free(struct relay_trial *trial); /* NULL is fine */

/*
 * Is the client certificate of that name shown to a server that asks for one,
 * and does its key sign?  Threads: any that may ask the signer
 * (server/signer_client.h).
 */
bool relay_trial_identity(struct relay_trial *trial, const char *name,
    struct tls_identity *identity, struct reason *why);

#endif
