/*
 * server/upstream_self.c: is the other end of a connection ourselves?
 */
#include "upstream_self.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../policy/key.h"

struct end {
	struct address address;
	uint16_t port;
};

static bool
end_of(const struct sockaddr_storage *name, struct end *out)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)name;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)name;
	char text[INET6_ADDRSTRLEN];

	if (name->ss_family == AF_INET) {
		out->port = ntohs(four->sin_port);
		inet_ntop(AF_INET, &four->sin_addr, text, sizeof(text));
	} else if (name->ss_family == AF_INET6) {
		out->port = ntohs(six->sin6_port);
		inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
	} else {
		return false;
	}
	return address_parse(&out->address, text);
}

static bool
same_address(const struct address *a, const struct address *b)
{
	return a->family == b->family &&
	       memcmp(a->octets, b->octets, a->family == AF_INET ? 4 : 16) == 0;
}

/* Whoever connects to an address of his own comes from it, but to all of
 * 127.0.0.0/8 from the first. */
static bool
is_within(const struct end *peer, const struct end *local)
{
	if (same_address(&peer->address, &local->address))
		return true;
	return peer->address.family == AF_INET &&
	       local->address.family == AF_INET &&
	       peer->address.octets[0] == 127 &&
	       local->address.octets[0] == 127;
}

/* text: "0.0.0.0:587", "[::]:587". */
static bool
leads_to(const struct end *peer, const char *text)
{
	static const unsigned char any[16] = { 0 };
	const char *colon = strrchr(text, ':');
	struct address address;
	char host[64];

	if (colon == NULL || strtoul(colon + 1, NULL, 10) != peer->port)
		return false;
	if (text[0] == '[' && colon > text + 1)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text - 2),
		    text + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (!address_parse(&address, host))
		return false;
	return same_address(&address, &peer->address) ||
	       memcmp(address.octets, any,
		   address.family == AF_INET ? 4 : 16) == 0;
}

const struct config_listener *
upstream_self(int fd, const struct config *config)
{
	struct sockaddr_storage peer_name, local_name;
	socklen_t peer_len = sizeof(peer_name), local_len = sizeof(local_name);
	struct end peer, local;

	if (getpeername(fd, (struct sockaddr *)&peer_name, &peer_len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&local_name, &local_len) < 0 ||
	    !end_of(&peer_name, &peer) || !end_of(&local_name, &local) ||
	    !is_within(&peer, &local))
		return NULL;
	for (size_t i = 0; i < config->listener_count; i++)
		for (size_t j = 0; j < config->listeners[i].address_count; j++)
			if (leads_to(&peer, config->listeners[i].addresses[j]))
				return &config->listeners[i];
	return NULL;
}
