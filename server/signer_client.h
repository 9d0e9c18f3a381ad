/*
 * server/signer_client.h: asking the signer role for signatures.
 *
 * Every thread that does handshakes has a channel to the signer of its own,
 * so that calls need no queue.  The thread that reads the master's packets
 * puts channels in, the others use them.
 */
#ifndef SERVER_SIGNER_CLIENT_H
#define SERVER_SIGNER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "../tls/tls.h"

enum {
	SIGNER_CLIENT_CHANNELS = 1024, /* indexes are below */
	SIGNER_CLIENT_TIMEOUT_MS = 2000,
};

/*
 * The channel of that index is fd from now on (role_handler.peer); fd is
 * handed over, -1 takes the channel away.  The earlier one is closed, at once
 * or when the call that is under way on it ends; such a call is told to end.
 * An index out of range closes fd.  Threads: any; never waits.
 */
void signer_client_set(unsigned index, int fd);

/* The calling thread uses the channel of that index; once, when the thread
 * starts.  No two threads may use the same. */
void signer_client_use(unsigned index);

/* Is there a signer behind that channel?  False while it is restarted: say
 * 454 4.7.0 to STARTTLS.  Threads: any. */
bool signer_client_alive(unsigned index);

/*
 * To be passed as tls_sign (tls/tls.h) with any context, which is not used.
 * False after SIGNER_CLIENT_TIMEOUT_MS, when the signer is away or says no,
 * and on threads without signer_client_use.
 */
bool signer_sign(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *signature_len);

#endif
