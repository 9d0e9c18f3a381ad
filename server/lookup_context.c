/*
 * server/lookup_context.c: libunbound, set up as a configuration says.
 */
#include "lookup_context.h"

#include <stdio.h>
#include <string.h>

#include "config_value.h"

enum {
	ANCHOR_OCTETS_MAX = 64 * 1024,
	ANCHOR_LINE_MAX = 4096,
};

static void
set_option(struct ub_ctx *ub, const char *name, const char *value)
{
	/* An option this library does not know leaves its default. */
	(void)ub_ctx_set_option(ub, name, value);
}

/* libunbound writes 127.0.0.1@53. */
static bool
add_server(struct ub_ctx *ub, const char *server, struct reason *why)
{
	char host[254], forward[300];
	uint16_t port;

	if (!value_host_port(server, host, &port) || port == 0)
		return fail(why, REASON_SYNTAX, "resolver %s", server);
	snprintf(forward, sizeof(forward), "%s@%u", host, port);
	if (ub_ctx_set_fwd(ub, forward) != 0)
		return fail(why, REASON_SYNTAX, "resolver %s", server);
	return true;
}

static bool
set_servers(struct ub_ctx *ub, const struct resolver_options *options,
    struct reason *why)
{
	for (size_t i = 0; i < options->server_count; i++)
		if (!add_server(ub, options->servers[i], why))
			return false;
	/* Absent files: the root servers, and names from DNS alone. */
	if (options->server_count == 0)
		(void)ub_ctx_resolvconf(ub, "/etc/resolv.conf");
	(void)ub_ctx_hosts(ub, "/etc/hosts");
	return true;
}

/* One record of the anchors; what follows a semicolon is a comment. */
static bool
add_anchor_line(struct ub_ctx *ub, const char *text, size_t len, bool *any,
    struct reason *why)
{
	char line[ANCHOR_LINE_MAX];
	const char *comment = memchr(text, ';', len);

	if (comment != NULL)
		len = (size_t)(comment - text);
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t' ||
			      text[len - 1] == '\r'))
		len--;
	if (len == 0)
		return true;
	if (len >= sizeof(line) || memchr(text, '\0', len) != NULL)
		return fail(why, REASON_SYNTAX,
		    "expected one DS or DNSKEY record a line");
	memcpy(line, text, len);
	line[len] = '\0';
	*any = true;
	if (ub_ctx_add_ta(ub, line) != 0)
		return fail(why, REASON_NO_MEMORY, "trust anchor");
	return true;
}

static bool
add_anchors(struct ub_ctx *ub, const gnutls_datum_t *anchor, struct reason *why)
{
	const char *at = (const char *)anchor->data, *end = at + anchor->size;
	bool any = false;

	if (anchor->size > ANCHOR_OCTETS_MAX)
		return fail(why, REASON_RANGE, "%u octets, expected at most %d",
		    anchor->size, ANCHOR_OCTETS_MAX);
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((lf == NULL ? end : lf) - at);

		if (!add_anchor_line(ub, at, len, &any, why))
			return false;
		at += len + 1;
	}
	return any ? true
		   : fail(why, REASON_SYNTAX,
			 "no record, expected DS or DNSKEY records");
}

bool
lookup_context_new(struct ub_ctx **ub_out,
    const struct resolver_options *options, const gnutls_datum_t *anchor,
    struct reason *why)
{
	struct ub_ctx *ub = ub_ctx_create();

	/* A thread instead of a fork; only now, before anything else. */
	if (ub == NULL || ub_ctx_async(ub, 1) != 0) {
		ub_ctx_delete(ub);
		return fail(why, REASON_NO_MEMORY,
		    "resolver: out of memory, threads or descriptors");
	}
	/* Resolvers on this machine are the common case. */
	set_option(ub, "do-not-query-localhost:", "no");
	set_option(ub, "module-config:",
	    anchor == NULL ? "iterator" : "validator iterator");
	set_option(ub, "trust-anchor-signaling:", "no");
	set_option(ub, "use-syslog:", "no");
	ub_ctx_debuglevel(ub, 0);
	ub_ctx_debugout(ub, NULL); /* what it would say comes back to us */
	if (!set_servers(ub, options, why) ||
	    (anchor != NULL && !add_anchors(ub, anchor, why))) {
		ub_ctx_delete(ub);
		return false;
	}
	/* Any change of its data makes it read the settings, which tells
	 * whether the anchors are of use; later every question would fail. */
	if (ub_ctx_zone_add(ub, "invalid.", "always_nxdomain") != 0) {
		ub_ctx_delete(ub);
		if (anchor == NULL)
			return fail(why, REASON_INTERNAL, "resolver settings");
		return fail(why, REASON_SYNTAX,
		    "not usable as trust anchors, expected DS or DNSKEY "
		    "records");
	}
	*ub_out = ub;
	return true;
}
