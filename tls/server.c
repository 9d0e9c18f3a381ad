/*
 * tls/server.c: what a listener offers.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

bool
tls_server_new(struct tls_server **server_out,
    const struct tls_server_options *options, struct reason *why)
{
	struct tls_server *server;
	size_t i;

	if (options->identity_count == 0)
		return fail(why, REASON_ABSENT,
		    "no certificate for a listener, expected at least one");
	if (tls_library(why) == NULL)
		return false;
	server = calloc(1, sizeof(*server));
	if (server == NULL)
		return fail(why, REASON_NO_MEMORY, "TLS server");
	server->identities =
	    calloc(options->identity_count, sizeof(*server->identities));
	if (server->identities == NULL) {
		free(server);
		return fail(why, REASON_NO_MEMORY, "TLS server");
	}
	for (i = 0; i < options->identity_count; i++)
		server->identities[i] =
		    tls_identity_ref(options->identities[i]);
	server->identity_count = options->identity_count;
	if (options->ticket_key != NULL) {
		memcpy(server->ticket_key, options->ticket_key,
		    TLS_TICKET_KEY_OCTETS);
		server->has_tickets = true;
	}
	server->min = options->min;
	atomic_init(&server->references, 1);
	*server_out = server;
	return true;
}

struct tls_server *
tls_server_ref(struct tls_server *server)
{
	atomic_fetch_add(&server->references, 1);
	return server;
}

void
tls_server_unref(struct tls_server *server)
{
	size_t i;

	if (server == NULL || atomic_fetch_sub(&server->references, 1) != 1)
		return;
	for (i = 0; i < server->identity_count; i++)
		tls_identity_unref(server->identities[i]);
	free(server->identities);
	explicit_bzero(server->ticket_key, sizeof(server->ticket_key));
	free(server);
}

/* Who asks for nobody we are gets the default: the client's own check of the
 * name tells its user. */
struct tls_identity *
tls_server_choose(const struct tls_server *server, const char *sni)
{
	size_t i;

	for (i = 0; sni != NULL && i < server->identity_count; i++)
		if (tls_identity_has_name(server->identities[i], sni))
			return server->identities[i];
	return server->identities[0];
}
