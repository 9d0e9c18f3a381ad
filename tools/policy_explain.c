/*
 * tools/policy_explain.c: "sallyport policy explain": which rows were looked
 * for, which speak, and what each point of the demand comes from.
 *
 * The record is made as JSON first; text is one way to print it.
 */
#include "policy.h"

#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../policy/key.h"
#include "route_table.h"
#include "tool.h"

enum { PORT_SUBMISSIONS = 465 };

struct report {
	const struct demand *demand;
	json_t *tried, *rows, *points;
	const char *file; /* as the configuration names it */
	const char *base; /* as decisions name it */
	char record[800]; /* how a decision's record begins */
	bool ok;
};

/* The name asked about may be anything: what JSON cannot hold is masked. */
static json_t *
string_of(const char *text)
{
	json_t *string = json_string(text);

	return string != NULL ? string : json_string("(not UTF-8)");
}

static void
note_tried(void *context, const char *direction, const char *key, unsigned line,
    const char *what)
{
	struct report *report = context;

	if (json_array_append_new(report->tried,
		json_pack("{s:s, s:o, s:i, s:s}", "direction", direction, "key",
		    string_of(key), "line", (int)line, "result", what)) != 0)
		report->ok = false;
}

/* --- asking --------------------------------------------------------------- */

static void
peer_of_address(const struct address *address, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

	out->ss_family = (sa_family_t)address->family;
	if (address->family == AF_INET)
		memcpy(&four->sin_addr, address->octets, 4);
	else
		memcpy(&six->sin6_addr, address->octets, 16);
}

static bool
is_host(const char *name)
{
	char host[HOST_MAX];

	return host_normalise(host, name, strlen(name));
}

/* NAME is an address, or else what a client from anywhere says in EHLO. */
static bool
ask_in(struct demand *demand, const struct policy *policy,
    struct explain *asked, struct reason *why)
{
	struct sockaddr_storage peer = { .ss_family = AF_UNSPEC };
	struct address address;
	const char *ehlo = asked->ehlo;
	time_t now = policy->source.now;

	if (address_parse(&address, asked->name))
		peer_of_address(&address, &peer);
	else if (!is_host(asked->name))
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\" is neither an address nor a host name",
		    asked->name);
	else if (ehlo == NULL)
		ehlo = asked->name;
	return demand_in(demand, policy->table, &peer, now, why) &&
	       (ehlo == NULL ||
		   demand_add_ehlo(demand, policy->table, ehlo, now, why)) &&
	       (asked->from == NULL || demand_add_from(demand, policy->table,
					   asked->from, now, why));
}

/* Of a next hop that is named without one: 0 if it is the smarthost and that
 * is srv:DOMAIN. */
static uint16_t
usual_port(const struct policy *policy, const char *name)
{
	const struct config *config = policy->config;

	if (config == NULL)
		return PORT_SUBMISSIONS;
	if (config->smarthost.port == 0 &&
	    strcasecmp(config->smarthost.host, name) != 0)
		return PORT_SUBMISSIONS;
	return config->smarthost.port;
}

static bool
domain_of_srv(const char *text, char host[static 256], struct reason *why)
{
	(void)snprintf(host, 256, "%s", text);
	if (is_host(host))
		return true;
	return fail(why, REASON_SYNTAX,
	    "\"srv:%.80s\" is no next hop, expected srv:DOMAIN", text);
}

/* HOST, HOST:PORT, [ADDRESS]:PORT, an IPv6 address or srv:DOMAIN; the port of
 * the smarthost unless one is given. */
static bool
next_hop_of_name(const struct policy *policy, const struct explain *asked,
    char host[static 256], uint16_t *port_out, struct reason *why)
{
	const char *colon = strrchr(asked->name, ':');
	const char *port = asked->port;
	size_t len = strlen(asked->name);
	struct address address;

	*port_out = 0;
	if (strncasecmp(asked->name, "srv:", 4) == 0 &&
	    asked->name[4 + strspn(asked->name + 4, "0123456789")] != '\0')
		return domain_of_srv(asked->name + 4, host, why);
	*port_out = usual_port(policy, asked->name);
	if (colon != NULL && colon[1] != '\0' &&
	    (strchr(asked->name, ':') == colon ||
		(asked->name[0] == '[' && colon[-1] == ']'))) {
		len = (size_t)(colon - asked->name);
		if (port == NULL)
			port = colon + 1;
	}
	(void)snprintf(host, 256, "%.*s", (int)len, asked->name);
	if (!is_host(host) && !address_parse(&address, host))
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\" is no next hop, expected HOST or HOST:PORT",
		    asked->name);
	if (port != NULL && !tool_port(port, port_out))
		return fail(why, REASON_RANGE,
		    "port %.20s, expected 1 to 65535", port);
	return true;
}

static bool
ask_out(struct demand *demand, const struct policy *policy,
    struct explain *asked, struct reason *why)
{
	char host[256];
	uint16_t port;

	return next_hop_of_name(policy, asked, host, &port, why) &&
	       demand_out(demand, policy->table, host, port, policy->source.now,
		   why);
}

/*
 * As the relay finds it; without --from no row about a sender speaks.  What is
 * held is explained as it goes when it is released.
 */
static bool
find_way(const struct policy *policy, struct explain *asked, const char *path,
    struct reason *why)
{
	const char *from = asked->from != NULL ? asked->from : "?";
	struct way *way = &asked->way;
	struct routes *routes;
	unsigned line;

	if (!route_table_load(&routes, policy->config->routes, why))
		return false;
	if (strcmp(from, "<>") == 0)
		from = "";
	way_find(policy->config, routes, from, path, way);
	line = way->line;
	if (way->kind == ROUTE_HOLD) {
		way_find_released(policy->config, routes, from, path, way);
		asked->held_by = line;
	}
	routes_close(routes);
	if (way->kind == ROUTE_RELAY)
		return true;
	return fail(why, REASON_ABSENT,
	    "there is no next hop for %.100s: line %u of %.200s says %s",
	    asked->name, line, policy->config->routes,
	    way->kind == ROUTE_DISCARD ? "discard" : "error");
}

static bool
ask_rcpt(struct demand *demand, const struct policy *policy,
    struct explain *asked, struct reason *why)
{
	const char *at = strrchr(asked->name, '@');
	char path[512];

	if (policy->config == NULL)
		return fail(why, REASON_ABSENT,
		    "rcpt is about the next hop, expected a configuration "
		    "that names the smarthost");
	if (!is_host(at == NULL ? asked->name : at + 1))
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\" is no recipient, expected user@domain or a "
		    "domain",
		    asked->name);
	(void)snprintf(path, sizeof(path), "%s%s", at == NULL ? "@" : "",
	    asked->name);
	if (!find_way(policy, asked, path, why))
		return false;
	return demand_out(demand, policy->table, asked->way.hops[0].host,
		   asked->way.hops[0].port, policy->source.now, why) &&
	       demand_add_rcpt(demand, policy->table, path, policy->source.now,
		   why);
}

/* --- what each point comes from ------------------------------------------ */

static void
add_point(struct report *report, const char *point, const char *value,
    const char *why)
{
	if (json_array_append_new(report->points,
		json_pack("{s:s, s:s, s:s}", "point", point, "value", value,
		    "because", why)) != 0)
		report->ok = false;
}

static void
place_of(const struct report *report, const struct demand_row *row,
    char out[static 300])
{
	if (row->line == 0)
		(void)snprintf(out, 300, "no row matches");
	else
		(void)snprintf(out, 300, "%.250s:%u", report->base, row->line);
}

static void
add_list(struct report *report, const char *point, const char *list,
    const char *place)
{
	for (; list != NULL && *list != '\0'; list += strlen(list) + 1)
		add_point(report, point, list, place);
}

static void
add_anchors(struct report *report, const struct demand_row *row,
    const char *place)
{
	const struct demand *demand = report->demand;
	const char *anchor, *crl;

	if (!row->chain) {
		add_point(report, "chain", "not verified: the key alone",
		    place);
		return;
	}
	if (row->anchors < 0)
		return;
	anchor = demand->anchor[row->anchors];
	crl = demand->crl[row->anchors];
	if (anchor[0] == '\0')
		anchor = demand->side == SIDE_IN
			     ? "those of the listener (client-ca)"
			     : "those of the smarthost or the system";
	add_point(report, "trust anchors", anchor, place);
	if (crl[0] != '\0')
		add_point(report, "revocation list", crl, place);
	add_point(report, "purpose",
	    row->eku_any              ? "any"
	    : demand->side == SIDE_IN ? "clientAuth"
				      : "serverAuth",
	    place);
}

static void
add_further_points(struct report *report, const struct demand_row *row,
    const char *place)
{
	if (row->dane)
		add_point(report, "DANE", "a TLSA record that DNSSEC proves",
		    place);
	if (row->ratchet)
		add_point(report, "ratchet",
		    "no less than the best that was shown", place);
	if (row->tls_optional)
		add_point(report, "TLS-Required: No",
		    "lets a message ask for no more than may", place);
	if (row->observe)
		add_point(report, "mode", "observe", place);
}

static void
add_row_points(struct report *report, const struct demand_row *row)
{
	char place[300], number[32];

	place_of(report, row, place);
	add_point(report, "level", level_word(row->level), place);
	if (row->min != 0)
		add_point(report, "protocol at least",
		    row->min == 13 ? "TLS 1.3" : "TLS 1.2", place);
	if (row->bits != 0) {
		(void)snprintf(number, sizeof(number), "%u", row->bits);
		add_point(report, "cipher key bits at least", number, place);
	}
	if (row->level >= LEVEL_VERIFY)
		add_anchors(report, row, place);
	if (row->level == LEVEL_LOCK) {
		add_list(report, "name, one of", row->match, place);
		add_list(report, "key (SHA-256), one of", row->pins, place);
		add_list(report, "issuer, one of", row->issuers, place);
		add_list(report, "organisation, one of", row->orgs, place);
	}
	add_further_points(report, row, place);
	if (row->fail != FAIL_UNSET)
		add_point(report, "fail",
		    row->fail == FAIL_PERMANENT ? "permanent" : "temporary",
		    place);
}

static void
add_whole_points(struct report *report)
{
	const struct demand *demand = report->demand;
	char place[300];
	const char *refused =
	    demand->permanent ? "for good" : "for the time being";

	place_of(report, &demand->rows[0], place);
	if (demand->cert != NULL)
		add_point(report, "our certificate", demand->cert, place);
	if (demand->auth != NULL)
		add_point(report, "login", demand->auth, place);
	if (demand->sni != NULL)
		add_point(report, "server name indication", demand->sni, place);
	if (!demand->reuse)
		add_point(report, "connection reuse", "no", place);
	if (demand->observe)
		refused = "only without TLS; else observed";
	add_point(report, "refused", refused, "all rows together");
}

static void
add_way(struct report *report, const struct explain *asked)
{
	const struct way *way = &asked->way;
	char hop[320], because[300];

	if (asked->held_by != 0) {
		(void)snprintf(because, sizeof(because),
		    "line %u of the routes", asked->held_by);
		add_point(report, "held", "until the operator releases it",
		    because);
	}
	(void)snprintf(because, sizeof(because),
	    way->line != 0 ? "line %u of the routes" : "the smarthost",
	    way->line);
	for (size_t i = 0; i < way->hop_count; i++) {
		(void)snprintf(hop, sizeof(hop), "%s:%u", way->hops[i].host,
		    (unsigned)way->hops[i].port);
		add_point(report, i == 0 ? "next hop" : "next hop after it",
		    hop, because);
	}
}

/* Rows for the next hop do not look at the sender, but routes do. */
static void
add_sender(struct report *report, const struct explain *asked)
{
	if (asked->from == NULL || report->demand->side == SIDE_IN ||
	    asked->way.hop_count > 0)
		return;
	if (json_array_append_new(report->points,
		json_pack("{s:s, s:o, s:s}", "point", "sender", "value",
		    string_of(asked->from), "because",
		    "changes nothing going out")) != 0)
		report->ok = false;
}

/* --- rows and the record -------------------------------------------------- */

static bool
note_row(void *context, unsigned line, const char *text)
{
	struct report *report = context;

	for (size_t i = 0; i < report->demand->row_count; i++)
		if (report->demand->rows[i].line == line &&
		    json_array_append_new(report->rows,
			json_pack("{s:s, s:i, s:s}", "file", report->file,
			    "line", (int)line, "row", text)) != 0)
			report->ok = false;
	return report->ok;
}

/* As the log, replies and bounces will name what decides. */
static void
begin_record(struct report *report)
{
	struct decision decision;

	decide_without_tls(&decision, report->demand, REASON_NONE, NULL);
	(void)decision_print_asked(&decision, report->record,
	    sizeof(report->record));
}

static json_t *
record_of(struct report *report, const struct explain *asked)
{
	const struct demand *demand = report->demand;

	for (size_t i = 0; i < demand->row_count; i++)
		add_row_points(report, &demand->rows[i]);
	add_whole_points(report);
	add_way(report, asked);
	add_sender(report, asked);
	begin_record(report);
	return json_pack("{s:s, s:o, s:o, s:s, s:b, s:b, s:b, s:b, s:s, s:O, "
			 "s:O, s:O}",
	    "direction", asked->direction, "name", string_of(asked->name),
	    "site", string_of(demand->site), "level", level_word(demand->level),
	    "observe", (int)demand->observe, "permanent",
	    (int)demand->permanent, "dane", (int)demand->dane, "ratchet",
	    (int)demand->ratchet, "record", report->record, "tried",
	    report->tried, "rows", report->rows, "demand", report->points);
}

static const char *
text_in(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static void
print_text(const struct report *report, const struct explain *asked)
{
	const struct demand *demand = report->demand;
	const json_t *one;
	size_t i;

	printf("%s %s: %s\n", asked->direction, asked->name,
	    level_word(demand->level));
	printf("\nlooked for, in this order\n");
	json_array_foreach(report->tried, i, one)
	{
		json_int_t line =
		    json_integer_value(json_object_get(one, "line"));

		printf("  %-4s %-40s ", text_in(one, "direction"),
		    text_in(one, "key"));
		if (line != 0)
			printf("%s:%lld ", report->base, (long long)line);
		printf("%s\n", text_in(one, "result"));
	}
	printf("\nrows that speak\n");
	json_array_foreach(report->rows, i, one)
	    printf("  %s:%lld: %s\n", report->file,
		(long long)json_integer_value(json_object_get(one, "line")),
		text_in(one, "row"));
	if (json_array_size(report->rows) == 0)
		printf("  none: the default is encrypt\n");
	printf("\ndemanded\n");
	json_array_foreach(report->points, i, one)
	    printf("  %-24s %-40s %s\n", text_in(one, "point"),
		text_in(one, "value"), text_in(one, "because"));
	printf("\na decision's record begins\n  %s\n", report->record);
}

static int
print_report(struct report *report, const struct explain *asked)
{
	json_t *record = record_of(report, asked);

	if (record == NULL || !report->ok) {
		fprintf(stderr, "sallyport: out of memory\n");
		json_decref(record);
		return TOOL_NO;
	}
	if (asked->json) {
		json_dumpf(record, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_text(report, asked);
	}
	json_decref(record);
	return TOOL_DONE;
}

static const struct {
	const char *word;
	bool (*ask)(struct demand *demand, const struct policy *policy,
	    struct explain *asked, struct reason *why);
} directions[] = {
	{ "in", ask_in },
	{ "out", ask_out },
	{ "rcpt", ask_rcpt },
};

enum { DIRECTIONS = sizeof(directions) / sizeof(directions[0]) };

bool
policy_explains(const char *direction)
{
	for (int i = 0; i < DIRECTIONS; i++)
		if (strcmp(direction, directions[i].word) == 0)
			return true;
	return false;
}

int
policy_explain(struct policy *policy, struct explain *asked)
{
	const char *slash = strrchr(policy->source.path, '/');
	struct report report = { .file = policy->source.path, .ok = true };
	struct demand *demand = demand_new();
	struct reason why = { REASON_NO_MEMORY, "out of memory" };
	int status = TOOL_NO, i = 0;

	while (strcmp(asked->direction, directions[i].word) != 0)
		i++;
	report.base = slash == NULL ? report.file : slash + 1;
	report.demand = demand;
	report.tried = json_array();
	report.rows = json_array();
	report.points = json_array();
	if (demand != NULL) {
		demand->tried = note_tried;
		demand->tried_context = &report;
	}
	if (demand != NULL && directions[i].ask(demand, policy, asked, &why) &&
	    table_each(policy->table, note_row, &report, &why))
		status = print_report(&report, asked);
	else
		tool_error(&why);
	json_decref(report.tried);
	json_decref(report.rows);
	json_decref(report.points);
	demand_free(demand);
	return status;
}
