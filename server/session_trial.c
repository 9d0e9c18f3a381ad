/*
 * server/session_trial.c: a configuration's certificates are tried on a client
 * of our own before anybody else sees them.
 *
 * What can be told from the files the master has checked; that key, chain and
 * library get through a handshake together only a handshake shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bundle.h"
#include "session.h"
#include "signer_client.h"

enum {
	NAMES_TRIED = 64, /* of one certificate */
	STEPS_MOST = 100, /* of a handshake; it takes about five */
};

static bool
has_failed(enum tls_io io)
{
	return io == TLS_IO_FAILED || io == TLS_IO_TRUNCATED ||
	       io == TLS_IO_EOF;
}

/* Both ends of a handshake in one thread; either waits for the other only. */
static bool
shake_hands(struct tls_session *ours, struct tls_session *theirs,
    struct reason *why)
{
	enum tls_io here = TLS_IO_READ, there = TLS_IO_READ;

	for (unsigned i = 0; i < STEPS_MOST; i++) {
		if (there != TLS_IO_DONE)
			there = tls_session_handshake(theirs, why);
		if (has_failed(there))
			return false;
		if (here != TLS_IO_DONE)
			here = tls_session_handshake(ours, why);
		if (has_failed(here))
			return false;
		if (here == TLS_IO_DONE && there == TLS_IO_DONE)
			return true;
	}
	return fail(why, REASON_HANDSHAKE_FAILED, "it does not come to an end");
}

static bool
is_shown(struct tls_session *client, const struct tls_identity *identity,
    struct reason *why)
{
	struct facts facts;

	tls_session_facts(client, CERT_FOR_SERVER, &facts);
	return (facts.peer_cert &&
		   memcmp(facts.spki, tls_identity_spki(identity),
		       SPKI_OCTETS) == 0) ||
	       fail(why, REASON_CERT_NAME,
		   "another certificate is shown for that name");
}

/* identity NULL: any will do. */
static bool
try_over(const int ends[static 2], const struct service *service,
    const char *sni, const struct tls_identity *identity, struct reason *why)
{
	const struct tls_connect_options options = { .sni = sni };
	struct tls_session *ours = NULL, *theirs = NULL;
	bool ok =
	    tls_session_accept(&ours, service->tls, ends[0], false, why) &&
	    tls_session_connect(&theirs, &options, ends[1], why) &&
	    shake_hands(ours, theirs, why) &&
	    (identity == NULL || is_shown(theirs, identity, why));

	tls_session_free(theirs);
	tls_session_free(ours);
	return ok;
}

static bool
try_name(const struct service *service, const char *sni,
    const struct tls_identity *identity, struct reason *why)
{
	struct reason failed;
	int ends[2];
	bool ok;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		ends) < 0)
		return fail_errno(why, "listener %s: trial handshake",
		    service->config->name);
	ok = try_over(ends, service, sni, identity, &failed);
	close(ends[0]);
	close(ends[1]);
	return ok ||
	       fail(why, failed.code, "listener %s: trial handshake %s%s: %s",
		   service->config->name,
		   sni != NULL ? "as " : "without a name",
		   sni != NULL ? sni : "", failed.text);
}

/* "*.example.org" is asked for as one of its names. */
static const char *
name_to_ask(const char *name, char buffer[static 256])
{
	if (strncmp(name, "*.", 2) != 0)
		return name;
	snprintf(buffer, 256, "trial.%.240s", name + 2);
	return buffer;
}

/* Names that an earlier certificate of the listener has too get that one. */
static bool
is_first_with(const struct service *service, size_t which, const char *name)
{
	for (size_t i = 0; i < which; i++)
		if (tls_identity_has_name(service->identities[i], name))
			return false;
	return true;
}

static bool
try_names(const struct service *service, size_t which, const char *names,
    size_t len, struct reason *why)
{
	unsigned tried = 0;
	char buffer[256];

	for (const char *at = names;
	     at != NULL && at < names + len && tried < NAMES_TRIED;
	     at += strlen(at) + 1) {
		const char *name;

		if (strncmp(at, "dns:", 4) != 0)
			continue;
		name = name_to_ask(at + 4, buffer);
		if (!is_first_with(service, which, name))
			continue;
		if (!try_name(service, name, service->identities[which], why))
			return false;
		tried++;
	}
	return true;
}

static bool
try_identity(const struct service *service, size_t which,
    const struct bundle *bundle, struct reason *why)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	char *names = NULL;
	unsigned count;
	size_t len = 0;
	bool ok;

	if (!bundle_find(bundle, BUNDLE_CHAIN,
		service->config->certificates[which], &pem) ||
	    !cert_chain_parse(&pem, &chain, &count, why))
		return false;
	ok = cert_names(chain[0], &names, &len, why) &&
	     try_names(service, which, names, len, why);
	cert_chain_free(chain, count);
	free(names);
	return ok;
}

bool
trial_services(const struct generation *generation, const struct bundle *bundle,
    struct reason *why)
{
	/* While it is restarted nobody gets TLS; that is no fault of what is
	 * tried. */
	if (!signer_client_alive(server_thread()))
		return true;
	for (size_t i = 0; i < generation->config->listener_count; i++) {
		const struct service *service = &generation->services[i];

		if (!try_name(service, NULL, service->identities[0], why))
			return false;
		for (size_t j = 0; j < service->config->certificate_count; j++)
			if (!try_identity(service, j, bundle, why))
				return false;
	}
	return true;
}
