/*
 * server/config_find.c: questions about a configuration.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "config_value.h"

const struct config_certificate *
config_certificate(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->certificate_count; i++)
		if (strcmp(config->certificates[i].name, name) == 0)
			return &config->certificates[i];
	return NULL;
}

const struct config_listener *
config_listener(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if (strcmp(config->listeners[i].name, name) == 0)
			return &config->listeners[i];
	return NULL;
}

void
config_withhold(struct config *config, unsigned mechanisms)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		/* Ours to change: see store_listeners. */
		struct config_listener *l =
		    (struct config_listener *)(uintptr_t)&config->listeners[i];

		l->mechanisms &= ~mechanisms;
	}
}

unsigned
mechanism_by_name(const char *name)
{
	for (unsigned bit = 1; bit <= MECHANISM_LOGIN; bit <<= 1) {
		const char *other = mechanism_name(bit);

		if (other != NULL && strcasecmp(name, other) == 0)
			return bit;
	}
	return 0;
}

bool
config_requires_binding(const struct config *config, const char *address)
{
	for (size_t i = 0; i < config->require_binding_count; i++)
		if (network_has(&config->require_binding_networks[i], address))
			return true;
	return false;
}

bool
config_can_verify_clients(const struct config *config, bool by_name,
    bool has_anchors)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];

		if ((l->ask_client_cert || !by_name) &&
		    (l->client_ca != NULL || has_anchors))
			return true;
	}
	return false;
}
