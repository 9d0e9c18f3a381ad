/*
 * server/route.c: which next hop a recipient's mail takes.
 */
#include "route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void
route_find(const struct config *config, const struct envelope *envelope,
    size_t recipient, struct next_hop *hop_out)
{
	(void)envelope;
	(void)recipient;
	memset(hop_out, 0, sizeof(*hop_out));
	snprintf(hop_out->host, sizeof(hop_out->host), "%s",
	    config->smarthost.host != NULL ? config->smarthost.host : "");
	hop_out->port = config->smarthost.port;
	hop_out->implicit_tls = config->smarthost.implicit_tls;
}

bool
next_hop_same(const struct next_hop *a, const struct next_hop *b)
{
	return a->port == b->port && a->implicit_tls == b->implicit_tls &&
	       strcasecmp(a->host, b->host) == 0;
}
