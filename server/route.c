/*
 * server/route.c: which way a recipient's mail takes.
 */
#include "route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "log.h"

static void
to_smarthost(struct way *way, const struct config *config)
{
	struct next_hop *hop = &way->hops[0];

	way->kind = ROUTE_RELAY;
	way->hop_count = 1;
	snprintf(hop->host, sizeof(hop->host), "%s",
	    config->smarthost.host != NULL ? config->smarthost.host : "");
	hop->port = config->smarthost.port;
	hop->implicit_tls = config->smarthost.implicit_tls;
}

static void
take_route(struct way *way, const struct route *route)
{
	way->kind = route->kind;
	way->line = route->line;
	way->hop_count = route->hop_count;
	for (size_t i = 0; i < route->hop_count; i++) {
		const struct route_hop *from = &route->hops[i];

		strcpy(way->hops[i].host, from->host);
		way->hops[i].port = from->port;
		way->hops[i].implicit_tls = from->implicit_tls;
	}
	strcpy(way->status, route->status);
	strcpy(way->text, route->text);
}

_Static_assert(sizeof(((struct next_hop *)0)->host) >=
		   sizeof(((struct route_hop *)0)->host),
    "any host of a route fits");

static void
take_found(struct way *way_out, enum route_found found,
    const struct route *route, const struct config *config,
    const struct reason *why)
{
	memset(way_out, 0, sizeof(*way_out));
	switch (found) {
	case ROUTE_FOUND:
		take_route(way_out, route);
		return;
	case ROUTE_NONE:
		to_smarthost(way_out, config);
		return;
	case ROUTE_FAILED:
		break;
	}
	log_line(SAY_ERROR, "routes", "reason=%s detail=\"%s\"",
	    reason_word(why->code), why->text);
	way_out->kind = ROUTE_ERROR;
	strcpy(way_out->status, "4.3.0");
	strcpy(way_out->text, "the table of routes cannot be read");
}

void
way_find(const struct config *config, const struct routes *routes,
    const char *reverse_path, const char *forward_path, struct way *way_out)
{
	enum route_found found = ROUTE_NONE;
	struct route route;
	struct reason why;

	if (routes != NULL)
		found = routes_find(routes, reverse_path, forward_path, &route,
		    NULL, NULL, &why);
	take_found(way_out, found, &route, config, &why);
}

void
way_find_released(const struct config *config, const struct routes *routes,
    const char *reverse_path, const char *forward_path, struct way *way_out)
{
	enum route_found found = ROUTE_NONE;
	struct route route;
	struct reason why;

	if (routes != NULL)
		found = routes_find_released(routes, reverse_path, forward_path,
		    &route, NULL, NULL, &why);
	take_found(way_out, found, &route, config, &why);
}

bool
next_hop_same(const struct next_hop *a, const struct next_hop *b)
{
	return a->port == b->port && a->implicit_tls == b->implicit_tls &&
	       strcasecmp(a->host, b->host) == 0;
}

bool
next_hop_is_srv(const struct next_hop *hop)
{
	return hop->port == 0;
}

const char *
next_hop_print(const struct next_hop *hop, char out[static NEXT_HOP_TEXT])
{
	if (next_hop_is_srv(hop))
		snprintf(out, NEXT_HOP_TEXT, "srv:%s", hop->host);
	else
		snprintf(out, NEXT_HOP_TEXT,
		    strchr(hop->host, ':') == NULL ? "%s:%u" : "[%s]:%u",
		    hop->host, hop->port);
	return out;
}

bool
way_same(const struct way *a, const struct way *b)
{
	if (a->kind != b->kind || a->hop_count != b->hop_count ||
	    strcmp(a->status, b->status) != 0 || strcmp(a->text, b->text) != 0)
		return false;
	for (size_t i = 0; i < a->hop_count; i++)
		if (!next_hop_same(&a->hops[i], &b->hops[i]))
			return false;
	return true;
}
