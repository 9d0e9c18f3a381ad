/*
 * policy/routes.h: the table of routes: which next hop mail takes, or what is
 * done with it instead.
 *
 * The text is one row a line:
 *
 *     WHOSE  BY  WHERE  [smtp | smtps]
 *
 * WHOSE  user@domain, domain, .suffix, "<>" (BY from alone), or *
 * BY     rcpt: the recipient's; from: the envelope sender's; any: for * alone
 * WHERE  PLACE[,PLACE...]  next hops, the first before the others: HOST[:PORT],
 *        or srv:DOMAIN, hosts and ports as the domain's SRV records say;
 *        error:X.Y.Z "TEXT"   refused or bounced with that status and text
 *        discard              accepted and dropped
 *        hold ["TEXT"]        accepted and held for the operator
 *
 * The recipient's rows speak before the sender's: mailbox, then domain, then
 * the longest suffix; then "*".  Compiled, checked and swapped like the site
 * table.
 */
#ifndef POLICY_ROUTES_H
#define POLICY_ROUTES_H

#include <stddef.h>
#include <stdint.h>

#include "key.h"
#include "map.h"
#include "table.h"

enum {
	ROUTE_HOPS_MAX = 8,
	ROUTE_STATUS_SIZE = 12,
	ROUTE_TEXT_SIZE = 200,
};

enum route_kind {
	ROUTE_RELAY,
	ROUTE_ERROR,
	ROUTE_DISCARD,
	ROUTE_HOLD,
};

enum route_by { ROUTE_BY_RCPT, ROUTE_BY_FROM, ROUTE_BY_ANY };

struct route_hop {
	char host[HOST_MAX]; /* or address literal, unbracketed; or domain */
	uint16_t port;       /* 0: srv:DOMAIN */
	bool implicit_tls;   /* of srv:DOMAIN false, SRV records tell */
};

/* One row. */
struct route {
	unsigned line;
	enum route_by by;
	struct key key;
	enum route_kind kind;
	size_t hop_count; /* ROUTE_RELAY: at least 1 */
	struct route_hop hops[ROUTE_HOPS_MAX];
	char status[ROUTE_STATUS_SIZE]; /* ROUTE_ERROR: "5.1.2" */
	char text[ROUTE_TEXT_SIZE];     /* ROUTE_ERROR; ROUTE_HOLD: or "" */
};

enum route_parse { ROUTE_ROW, ROUTE_EMPTY, ROUTE_BAD };

/* One line without its end; why has no position. */
enum route_parse route_parse(struct route *out, const char *line, size_t len,
    struct reason *why);

/* Canonical text without line end; cut to size.  It parses to the same row. */
void route_print(const struct route *route, char *out, size_t size);

struct routes_source {
	const char *path; /* for messages */
	gnutls_datum_t text;
};

/* Parse only: true if it would compile.  report as in table.h. */
bool routes_check(const struct routes_source *source, table_report report,
    void *context);

/* As table_compile, to "routes.<sha256>.kch". */
bool routes_compile(const struct routes_source *source, const char *folder,
    char name_out[static MAP_NAME], table_report report, void *context,
    struct reason *why);

struct routes; /* compiled, open for reading; threads: any number */

bool routes_open(struct routes **routes_out, const char *path, bool check_whole,
    struct reason *why);
void routes_close(struct routes *routes); /* NULL is fine */
size_t routes_rows(const struct routes *routes);

enum route_found { ROUTE_FOUND, ROUTE_NONE, ROUTE_FAILED };

/* Told of each key that is looked for; line 0: there is no such row. */
typedef void (*route_tried)(void *context, enum route_by by, const char *key,
    unsigned line);

/*
 * The row that speaks for mail of reverse_path to forward_path (both without
 * angle brackets).  ROUTE_FAILED: the table cannot be read, which is never "no
 * row".  tried may be NULL.
 */
enum route_found routes_find(const struct routes *routes,
    const char *reverse_path, const char *forward_path, struct route *out,
    route_tried tried, void *context, struct reason *why);
/* The same for mail that was released: as if rows with hold were not there. */
enum route_found routes_find_released(const struct routes *routes,
    const char *reverse_path, const char *forward_path, struct route *out,
    route_tried tried, void *context, struct reason *why);

#endif
