/*
 * server/session_trial.c: a configuration's certificates are tried on a client
 * of our own before anybody else sees them.
 */
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "session.h"
#include "signer_client.h"
#include "trial.h"

/* Which certificate a client is to be shown; NULL: any. */
static bool
try_once(const struct service *service,
    const struct tls_connect_options *options,
    const struct tls_identity *identity, struct reason *why)
{
	struct trial_shown shown;
	struct reason failed;
	bool ok =
	    trial_handshake(service->tls, options, false, &shown, &failed);

	if (ok && identity != NULL &&
	    memcmp(shown.server, tls_identity_spki(identity), SPKI_OCTETS) != 0)
		ok = fail(&failed, REASON_CERT_NAME,
		    "another certificate is shown for that name");
	return ok ||
	       fail(why, failed.code, "listener %s: trial handshake %s%s: %s",
		   service->config->name,
		   options->sni != NULL ? "as " : "without a name",
		   options->sni != NULL ? options->sni : "", failed.text);
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

/* Names that an earlier certificate of the listener with the same kind of key
 * has too get that one. */
static bool
is_first_with(const struct service *service, size_t which, const char *name)
{
	gnutls_pk_algorithm_t pk = tls_identity_pk(service->identities[which]);

	for (size_t i = 0; i < which; i++)
		if (tls_identity_pk(service->identities[i]) == pk &&
		    tls_identity_has_name(service->identities[i], name))
			return false;
	return true;
}

/* A client that can verify that kind of key only, under one version. */
static bool
try_as(const struct service *service, size_t which, const char *name,
    unsigned version, struct reason *why)
{
	const struct tls_identity *identity = service->identities[which];
	const struct tls_connect_options options = { .sni = name,
		.pk = tls_identity_pk(identity),
		.only = version };

	return service->config->min_tls > version ||
	       try_once(service, &options, identity, why);
}

/* Every name; under TLS 1.2 keys sign otherwise, but names are chosen alike:
 * one is enough. */
static bool
try_names(const struct service *service, size_t which, const char *names,
    size_t len, struct reason *why)
{
	bool tried = false;
	char buffer[256];

	for (const char *at = names; at != NULL && at < names + len;
	     at += strlen(at) + 1) {
		const char *name;

		if (strncmp(at, "dns:", 4) != 0)
			continue;
		name = name_to_ask(at + 4, buffer);
		if (!is_first_with(service, which, name))
			continue;
		if (!try_as(service, which, name, 13, why) ||
		    (!tried && !try_as(service, which, name, 12, why)))
			return false;
		tried = true;
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
	const struct tls_connect_options anybody = { .sni = NULL };

	/* While it is restarted nobody gets TLS; that is no fault of what is
	 * tried. */
	if (!signer_client_alive(server_thread()))
		return true;
	for (size_t i = 0; i < generation->config->listener_count; i++) {
		const struct service *service = &generation->services[i];

		if (!try_once(service, &anybody, NULL, why))
			return false;
		for (size_t j = 0; j < service->config->certificate_count; j++)
			if (!try_identity(service, j, bundle, why))
				return false;
	}
	return true;
}
