/*
 * server/trial.h: one handshake of both sides of ours, before anybody else
 * sees what is new.
 *
 * What can be told from the files the master has checked; that key, chain and
 * library get through a handshake together only a handshake shows.
 */
#ifndef SERVER_TRIAL_H
#define SERVER_TRIAL_H

#include "../tls/tls.h"

/* Whose key each side was shown, and proved. */
struct trial_shown {
	unsigned char server[SPKI_OCTETS];
	bool by_client; /* otherwise client is not filled */
	unsigned char client[SPKI_OCTETS];
};

/*
 * ask: the server asks for a client certificate.  False: it did not get
 * through.  Threads: any that may ask the signer (server/signer_client.h).
 */
bool trial_handshake(struct tls_server *server,
    const struct tls_connect_options *options, bool ask,
    struct trial_shown *shown_out, struct reason *why);

#endif
