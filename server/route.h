/*
 * server/route.h: which way a recipient's mail takes.
 *
 * The one place that decides it: the table of routes, else the configuration's
 * smarthost.
 */
#ifndef SERVER_ROUTE_H
#define SERVER_ROUTE_H

#include <stdbool.h>

#include "../policy/routes.h"
#include "config.h"

/* Where a message goes next; names the site in table and log. */
struct next_hop {
	char host[256]; /* A-label or address literal, as the route names it */
	uint16_t port;  /* 0: srv:DOMAIN, host is the domain */
	bool implicit_tls; /* of srv:DOMAIN false, SRV records tell */
};

enum { NEXT_HOP_TEXT = sizeof(((struct next_hop *)0)->host) + 16 };

struct way {
	enum route_kind kind;
	unsigned line; /* of the table of routes; 0: the smarthost */
	/* ROUTE_RELAY: the first before the others; at least one. */
	size_t hop_count;
	struct next_hop hops[ROUTE_HOPS_MAX];
	/* ROUTE_ERROR; of ROUTE_HOLD the text, which may be "". */
	char status[ROUTE_STATUS_SIZE];
	char text[ROUTE_TEXT_SIZE];
};

/*
 * Paths without angle brackets; routes NULL: there is no table.  One that
 * cannot be read is a way of kind ROUTE_ERROR for now (4.3.0), never the
 * smarthost.  Quick, asks nobody.  Threads: any, as long as both live.
 */
void way_find(const struct config *config, const struct routes *routes,
    const char *reverse_path, const char *forward_path, struct way *way_out);

/* The same for a message that an operator released from such a row: as if rows
 * with hold were not there. */
void way_find_released(const struct config *config,
    const struct routes *routes, const char *reverse_path,
    const char *forward_path, struct way *way_out);

bool way_same(const struct way *a, const struct way *b);
bool next_hop_same(const struct next_hop *a, const struct next_hop *b);

/* Found by the SRV records of its domain (server/upstream_srv.c)? */
bool next_hop_is_srv(const struct next_hop *hop);
/* As a route writes it: "host:port", "[address]:port" or "srv:domain"; returns
 * out. */
const char *next_hop_print(const struct next_hop *hop,
    char out[static NEXT_HOP_TEXT]);

#endif
