/*
 * server/session_service.c: what the listeners of a configuration offer in
 * TLS: certificates, and what is renewed while it is in use: keys for tickets
 * and stapled OCSP responses.
 */
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "log.h"
#include "session.h"
#include "signer_client.h"

struct ticket_key {
	struct ticket_key *next;
	char *listener;
	unsigned char key[TLS_TICKET_KEY_OCTETS];
};

static const struct ticket_key *
find_ticket_key(const char *listener)
{
	const struct ticket_key *key;

	for (key = server.ticket_keys; key != NULL; key = key->next)
		if (strcmp(key->listener, listener) == 0)
			return key;
	return NULL;
}

static void
service_fini(struct service *service)
{
	size_t i;

	tls_server_unref(service->tls);
	for (i = 0; i < service->config->certificate_count; i++) {
		if (service->identities != NULL)
			tls_identity_unref(service->identities[i]);
		if (service->staples != NULL)
			free(service->staples[i].response.data);
	}
	free(service->identities);
	free(service->staples);
}

void
services_free(struct generation *generation)
{
	size_t i;

	if (generation->services != NULL)
		for (i = 0; i < generation->config->listener_count; i++)
			service_fini(&generation->services[i]);
	free(generation->services);
}

static bool
make_identities(struct service *service, const struct bundle *bundle,
    struct reason *why)
{
	const struct config_listener *config = service->config;
	gnutls_datum_t chain;
	size_t i;

	service->identities =
	    calloc(config->certificate_count + 1, sizeof *service->identities);
	service->staples =
	    calloc(config->certificate_count + 1, sizeof *service->staples);
	if (service->identities == NULL || service->staples == NULL)
		return fail(why, REASON_NO_MEMORY, "listener %s", config->name);
	for (i = 0; i < config->certificate_count; i++) {
		if (!bundle_find(bundle, BUNDLE_CHAIN, config->certificates[i],
			&chain))
			return fail(why, REASON_ABSENT,
			    "listener %s: certificate %s is not in the bundle",
			    config->name, config->certificates[i]);
		if (!tls_identity_new(&service->identities[i], &chain,
			CERT_FOR_SERVER, signer_sign, NULL, why))
			return false;
	}
	return true;
}

static bool
make_tls(const struct service *service, struct tls_server **tls_out,
    struct reason *why)
{
	const struct ticket_key *key = find_ticket_key(service->config->name);
	struct tls_server_options options = {
		.identities = service->identities,
		.identity_count = service->config->certificate_count,
		.staples = service->staples,
		.min = service->config->min_tls,
	};

	if (service->config->tickets && key != NULL)
		options.ticket_key = key->key;
	return tls_server_new(tls_out, &options, why);
}

bool
services_make(struct generation *generation, const struct bundle *bundle,
    struct reason *why)
{
	const struct config *config = generation->config;
	size_t i;

	generation->services =
	    calloc(config->listener_count + 1, sizeof *generation->services);
	if (generation->services == NULL)
		return fail(why, REASON_NO_MEMORY, "listeners");
	for (i = 0; i < config->listener_count; i++)
		generation->services[i].config = &config->listeners[i];
	for (i = 0; i < config->listener_count; i++) {
		struct service *service = &generation->services[i];

		if (!make_identities(service, bundle, why) ||
		    !make_tls(service, &service->tls, why))
			return false;
	}
	return true;
}

/* For new handshakes. */
static void
rebuild_tls(struct generation *generation, struct service *service,
    const char *what)
{
	struct tls_server *tls, *old;
	struct reason why;

	if (!make_tls(service, &tls, &why)) {
		log_line(SAY_ERROR, what, "listener=%s detail=\"%s\"",
		    service->config->name, why.text);
		return;
	}
	pthread_mutex_lock(&generation->lock);
	old = service->tls;
	service->tls = tls;
	pthread_mutex_unlock(&generation->lock);
	tls_server_unref(old);
}

/* Tickets of the old key are then worth nothing. */
static void
take_ticket_key(struct generation *generation, const char *listener)
{
	size_t i;

	for (i = 0; i < generation->config->listener_count; i++) {
		struct service *service = &generation->services[i];

		if (service->config->tickets &&
		    strcmp(service->config->name, listener) == 0)
			rebuild_tls(generation, service, "ticket-key");
	}
}

static struct ticket_key *
make_ticket_key(const char *listener)
{
	struct ticket_key *key = calloc(1, sizeof *key);

	if (key == NULL)
		return NULL;
	key->listener = strdup(listener);
	if (key->listener == NULL) {
		free(key);
		return NULL;
	}
	key->next = server.ticket_keys;
	server.ticket_keys = key;
	return key;
}

void
generation_ticket_key(const char *listener,
    const unsigned char octets[TLS_TICKET_KEY_OCTETS])
{
	struct ticket_key *key = (struct ticket_key *)find_ticket_key(listener);
	struct generation *generation;

	if (key == NULL)
		key = make_ticket_key(listener);
	if (key == NULL)
		return;
	memcpy(key->key, octets, sizeof key->key);
	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		take_ticket_key(generation, listener);
	pthread_rwlock_unlock(&server.configurations);
}

/* --- staples ------------------------------------------------------------ */

static bool
set_staple(struct tls_staple *staple, int64_t until,
    const gnutls_datum_t *response)
{
	unsigned char *copy = malloc(response->size + 1);

	if (copy == NULL)
		return false;
	memcpy(copy, response->data, response->size);
	free(staple->response.data);
	staple->response = (gnutls_datum_t){ copy, response->size };
	staple->until = (time_t)until;
	return true;
}

static void
take_staple(struct generation *generation, struct service *service,
    const char *certificate, int64_t until, const gnutls_datum_t *response)
{
	const struct config_listener *config = service->config;
	bool is_new = false;
	size_t i;

	for (i = 0; i < config->certificate_count; i++)
		if (strcmp(config->certificates[i], certificate) == 0 &&
		    set_staple(&service->staples[i], until, response))
			is_new = true;
	if (is_new)
		rebuild_tls(generation, service, "ocsp");
}

void
generation_staple(uint32_t number, const char *certificate, int64_t until,
    const gnutls_datum_t *response)
{
	struct generation *generation;
	size_t i;

	if (response->size == 0)
		return;
	pthread_rwlock_rdlock(&server.configurations);
	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		if (generation->number == number)
			break;
	for (i = 0;
	     generation != NULL && i < generation->config->listener_count; i++)
		take_staple(generation, &generation->services[i], certificate,
		    until, response);
	pthread_rwlock_unlock(&server.configurations);
}

/* --- for sessions ------------------------------------------------------- */

struct tls_server *
generation_tls(struct generation *generation, unsigned service)
{
	struct tls_server *tls;

	pthread_mutex_lock(&generation->lock);
	tls = generation->services[service].tls;
	if (tls != NULL)
		tls_server_ref(tls);
	pthread_mutex_unlock(&generation->lock);
	return tls;
}
