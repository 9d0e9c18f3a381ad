/*
 * tools/audit_sites.c: which sites an audit is about.
 */
#include "audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/parse.h"
#include "../policy/routes.h"
#include "../server/files.h"
#include "tool.h"

enum { LIST_LINE = 1024 };

static bool
no_memory(struct reason *why)
{
	return fail(why, REASON_NO_MEMORY, "out of memory");
}

static struct audit_site *
site_add(struct audit *audit, const char *label, unsigned line,
    struct reason *why)
{
	struct audit_site *site;

	if (audit->count == AUDIT_SITES) {
		fail(why, REASON_RANGE, "more than %d sites, expected fewer",
		    AUDIT_SITES);
		return NULL;
	}
	if (audit->count == audit->capacity) {
		size_t capacity = audit->capacity * 2 + 16;

		site = reallocarray(audit->sites, capacity, sizeof(*site));
		if (site == NULL) {
			no_memory(why);
			return NULL;
		}
		audit->sites = site;
		audit->capacity = capacity;
	}
	site = &audit->sites[audit->count];
	memset(site, 0, sizeof(*site));
	site->label = strdup(label);
	if (site->label == NULL) {
		no_memory(why);
		return NULL;
	}
	site->line = line;
	site->is_about_out = true;
	audit->count++;
	return site;
}

/* A site is probed once, whichever rows name it. */
static bool
site_aim(struct audit *audit, struct audit_site *site, const char *text,
    struct reason *why)
{
	char name[PROBE_HOST + 16];

	if (json_object_get(audit->by_srv, text) != NULL) {
		site->skipped = "found by SRV records";
		return true;
	}
	if (!probe_target(&site->target, audit->setup, text, why))
		return false;
	(void)snprintf(name, sizeof(name), "%s:%u", site->target.host,
	    site->target.port);
	if (json_object_get(audit->seen, name) != NULL)
		site->skipped = "probed above";
	else if (json_object_set_new(audit->seen, name, json_true()) != 0)
		return no_memory(why);
	return true;
}

/* --- the table --------------------------------------------------------------
 */

struct taking {
	struct audit *audit;
	struct reason why;
};

static bool
take_key(struct audit *audit, struct audit_site *site, const struct key *key,
    struct reason *why)
{
	switch (key->kind) {
	case KEY_HOST:
	case KEY_HOST_PORT:
	case KEY_ADDRESS:
		return site_aim(audit, site, key->text, why);
	case KEY_SUFFIX:
		site->skipped = "a suffix stands for many hosts";
		break;
	case KEY_NETWORK:
		site->skipped = "a network stands for many hosts";
		break;
	case KEY_ANY:
		site->skipped = "stands for all that have no row";
		break;
	case KEY_MAILBOX:
		site->skipped = "no host";
		break;
	}
	return true;
}

static bool
take_row(void *context, unsigned line, const char *text)
{
	struct taking *taking = context;
	struct audit_site *site;
	struct row row;
	struct key key;

	if (row_parse(&row, &key, text, strlen(text), "/", &taking->why) !=
	    PARSE_ROW)
		return false;
	if ((row.directions & DIRECTION_OUT) == 0 && row.until == 0)
		return true;
	site = site_add(taking->audit, key.text, line, &taking->why);
	if (site == NULL)
		return false;
	site->until = row.until;
	site->is_about_out = (row.directions & DIRECTION_OUT) != 0;
	if (site->is_about_out)
		return take_key(taking->audit, site, &key, &taking->why);
	site->skipped = "not about what goes out";
	return true;
}

static bool
take_smarthost(struct audit *audit, struct reason *why)
{
	const struct config *config = probe_policy(audit->setup)->config;
	struct audit_site *site;
	char name[PROBE_HOST + 16];

	if (config->smarthost.port == 0)
		(void)snprintf(name, sizeof(name), "srv:%s",
		    config->smarthost.host);
	else
		(void)snprintf(name, sizeof(name), "%s:%u",
		    config->smarthost.host, config->smarthost.port);
	if (json_object_get(audit->seen, name) != NULL)
		return true;
	site = site_add(audit, name, 0, why);
	return site != NULL &&
	       site_aim(audit, site, config->smarthost.host, why);
}

/* Where the hosts of such a domain are only its SRV records tell. */
static bool
note_srv(struct audit *audit, const char *host, uint16_t port)
{
	return port != 0 ||
	       json_object_set_new(audit->by_srv, host, json_true()) == 0;
}

static bool
note_srv_routes(struct audit *audit, const gnutls_datum_t *text)
{
	const char *at = (const char *)text->data, *stop;
	const char *end = at + text->size;
	struct route route;
	struct reason why;
	bool ok = true;

	for (; at < end && ok; at = stop + 1) {
		stop = memchr(at, '\n', (size_t)(end - at));
		if (stop == NULL)
			stop = end;
		if (route_parse(&route, at, (size_t)(stop - at), &why) !=
			ROUTE_ROW ||
		    route.kind != ROUTE_RELAY)
			continue;
		for (size_t i = 0; i < route.hop_count && ok; i++)
			ok = note_srv(audit, route.hops[i].host,
			    route.hops[i].port);
	}
	return ok;
}

static bool
take_srv(struct audit *audit, struct reason *why)
{
	const struct config *config = probe_policy(audit->setup)->config;
	gnutls_datum_t text;
	bool ok;

	if (!note_srv(audit, config->smarthost.host, config->smarthost.port))
		return no_memory(why);
	if (config->routes == NULL)
		return true;
	if (!files_read(config->routes, &text, why))
		return false;
	ok = note_srv_routes(audit, &text) || no_memory(why);
	files_free(&text);
	return ok;
}

bool
audit_take_table(struct audit *audit)
{
	const struct policy *policy = probe_policy(audit->setup);
	struct taking taking = { .audit = audit };
	const char *slash;
	struct reason why;

	if (policy->config == NULL) {
		(void)fail(&why, REASON_ABSENT,
		    "no configuration, expected one or --list FILE");
		tool_error(&why);
		return false;
	}
	slash = strrchr(policy->source.path, '/');
	audit->file = slash == NULL ? policy->source.path : slash + 1;
	if (!take_srv(audit, &why)) {
		tool_error(&why);
		return false;
	}
	if (!table_each(policy->table, take_row, &taking, &why) ||
	    taking.why.code != REASON_NONE) {
		tool_error(taking.why.code != REASON_NONE ? &taking.why : &why);
		return false;
	}
	if (take_smarthost(audit, &why))
		return true;
	tool_error(&why);
	return false;
}

/* --- a list -----------------------------------------------------------------
 */

static bool
take_line(struct audit *audit, char *text, unsigned line, struct reason *why)
{
	char label[LIST_LINE];
	struct audit_site *site;
	struct reason because;

	text[strcspn(text, "#\r\n")] = '\0';
	text += strspn(text, " \t");
	for (size_t len = strlen(text);
	     len > 0 && strchr(" \t", text[len - 1]) != NULL; len--)
		text[len - 1] = '\0';
	if (*text == '\0')
		return true;
	probe_escape(label, sizeof(label), text, strlen(text));
	site = site_add(audit, label, line, why);
	if (site == NULL)
		return false;
	if (site_aim(audit, site, text, &because))
		return true;
	return fail(why, because.code, "%.60s:%u: %.180s", audit->file, line,
	    because.text);
}

static bool
take_lines(struct audit *audit, FILE *from, struct reason *why)
{
	char text[LIST_LINE];
	unsigned line = 0;

	while (fgets(text, sizeof(text), from) != NULL) {
		line++;
		if (strchr(text, '\n') == NULL && !feof(from))
			return fail(why, REASON_RANGE,
			    "%.60s:%u: line too long, expected at most %d "
			    "octets",
			    audit->file, line, LIST_LINE - 2);
		if (!take_line(audit, text, line, why))
			return false;
	}
	return !ferror(from) || fail_errno(why, "%.200s", audit->file);
}

bool
audit_take_list(struct audit *audit, const char *path)
{
	FILE *from = stdin;
	struct reason why;
	bool ok;

	audit->file = strcmp(path, "-") == 0 ? "stdin" : path;
	if (strcmp(path, "-") != 0)
		from = fopen(path, "re");
	if (from == NULL) {
		(void)fail_errno(&why, "%.200s", path);
		tool_error(&why);
		return false;
	}
	ok = take_lines(audit, from, &why);
	if (from != stdin)
		(void)fclose(from);
	if (!ok)
		tool_error(&why);
	return ok;
}

void
audit_fini(struct audit *audit)
{
	for (size_t i = 0; i < audit->count; i++) {
		struct audit_site *site = &audit->sites[i];

		free(site->label);
		free(site->failure);
		for (size_t j = 0; j < site->finding_count; j++)
			free(site->findings[j]);
		json_decref(site->json);
	}
	free(audit->sites);
	json_decref(audit->seen);
	json_decref(audit->by_srv);
}
