/*
 * tools/route.c: "sallyport route": which way mail takes, and what TLS has to
 * be on it.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/routes.h"
#include "../server/files.h"
#include "../server/route.h"
#include "../server/smtp_parse.h"
#include "policy.h"
#include "route_table.h"
#include "tool.h"

/* The text, and what was made of it. */
struct table_of_routes {
	struct config *config; /* NULL where only a named file is checked */
	struct routes_source source;
	struct routes *routes; /* NULL: the configuration has none */
	unsigned errors;
};

static const char no_routes[] =
    "no option routes: all mail goes to the smarthost\n";

static void
tell(void *context, bool is_error, const char *text)
{
	struct table_of_routes *t = context;

	t->errors += is_error;
	fprintf(stderr, "%s\n", text);
}

static void
fini(struct table_of_routes *t)
{
	routes_close(t->routes);
	files_free(&t->source.text);
	config_free(t->config);
}

/* path NULL: that of the configuration, if it has one. */
static bool
load(struct table_of_routes *t, const char *path)
{
	struct reason why;

	if (path == NULL) {
		if (!tool_config(&t->config, &why)) {
			tool_error(&why);
			return false;
		}
		path = t->config->routes;
	}
	t->source.path = path;
	if (path == NULL || files_read(path, &t->source.text, &why))
		return true;
	tool_error(&why);
	return false;
}

static bool
compile(struct table_of_routes *t)
{
	struct reason why;

	if (t->source.path == NULL ||
	    route_table_open(&t->routes, &t->source, tell, t, &why))
		return true;
	tool_error(&why);
	return false;
}

/* --- check -----------------------------------------------------------------
 */

static int
run_check(char **words, bool json)
{
	struct table_of_routes t = { 0 };
	int status = TOOL_NO;

	(void)json;
	if (load(&t, words[0])) {
		if (t.source.path == NULL) {
			fputs(no_routes, stdout);
			status = TOOL_DONE;
		} else if (routes_check(&t.source, tell, &t)) {
			printf("%s: compiles\n", t.source.path);
			status = TOOL_DONE;
		}
	}
	fini(&t);
	return status;
}

/* --- list ------------------------------------------------------------------
 */

static void
list_line(const struct table_of_routes *t, unsigned line, const char *text,
    json_t *rows)
{
	if (rows == NULL)
		printf("%s:%u: %s\n", t->source.path, line, text);
	else
		json_array_append_new(rows,
		    json_pack("{s:i, s:s}", "line", (int)line, "row", text));
}

/* In the order of the text, in canonical form; it is known to compile. */
static void
list_rows(const struct table_of_routes *t, json_t *rows)
{
	const char *at = (const char *)t->source.text.data, *stop;
	const char *end = at + t->source.text.size;
	char text[4096];
	struct route route;
	struct reason why;

	for (unsigned line = 1; at < end; at = stop + 1, line++) {
		stop = memchr(at, '\n', (size_t)(end - at));
		if (stop == NULL)
			return;
		if (route_parse(&route, at, (size_t)(stop - at), &why) !=
		    ROUTE_ROW)
			continue;
		route_print(&route, text, sizeof(text));
		list_line(t, line, text, rows);
	}
}

static int
run_list(char **words, bool json)
{
	struct table_of_routes t = { 0 };
	json_t *rows = json ? json_array() : NULL;
	int status = TOOL_NO;

	(void)words;
	if (load(&t, NULL) && compile(&t)) {
		if (t.source.path != NULL)
			list_rows(&t, rows);
		else if (rows == NULL)
			fputs(no_routes, stdout);
		if (rows != NULL) {
			json_dumpf(rows, stdout, JSON_INDENT(2));
			putchar('\n');
		}
		status = TOOL_DONE;
	}
	json_decref(rows);
	fini(&t);
	return status;
}

/* --- explain ---------------------------------------------------------------
 */

static void
note_tried(void *context, enum route_by by, const char *key, unsigned line)
{
	static const char *const words[] = { [ROUTE_BY_RCPT] = "rcpt",
		[ROUTE_BY_FROM] = "from",
		[ROUTE_BY_ANY] = "any" };
	json_t *tried = context;

	json_array_append_new(tried,
	    json_pack("{s:s, s:s, s:i}", "by", words[by], "key", key, "line",
		(int)line));
}

static const char *
tls_word(const struct next_hop *hop)
{
	if (next_hop_is_srv(hop))
		return "srv";
	return hop->implicit_tls ? "implicit" : "starttls";
}

/* What the site table asks of a hop for mail to that recipient. */
static json_t *
hop_object(const struct policy *policy, const struct next_hop *hop,
    const char *rcpt)
{
	struct demand *demand = demand_new();
	struct decision decision;
	struct reason why = { REASON_NO_MEMORY, "out of memory" };
	json_t *object = NULL;
	char record[1024];

	if (demand != NULL &&
	    demand_out(demand, policy->table, hop->host, hop->port,
		policy->source.now, &why) &&
	    demand_add_rcpt(demand, policy->table, rcpt, policy->source.now,
		&why)) {
		decide_without_tls(&decision, demand, REASON_NONE, NULL);
		(void)decision_print_asked(&decision, record, sizeof(record));
		object = json_pack("{s:s, s:i, s:s, s:s, s:s}", "host",
		    hop->host, "port", (int)hop->port, "tls", tls_word(hop),
		    "level", level_word(demand->level), "record", record);
	} else {
		tool_error(&why);
	}
	demand_free(demand);
	return object;
}

static const char *const kinds[] = { [ROUTE_RELAY] = "relay",
	[ROUTE_ERROR] = "error",
	[ROUTE_DISCARD] = "discard",
	[ROUTE_HOLD] = "hold" };

static json_t *
explain(const struct table_of_routes *t, const struct policy *policy,
    const char *from, const char *rcpt)
{
	json_t *tried = json_array(), *hops = json_array();
	struct way way, onward;
	struct route route;
	struct reason why;

	if (t->routes != NULL)
		(void)routes_find(t->routes, from, rcpt, &route, note_tried,
		    tried, &why);
	way_find(t->config, t->routes, from, rcpt, &way);
	if (way.kind == ROUTE_HOLD)
		way_find_released(t->config, t->routes, from, rcpt, &onward);
	else
		onward = way;
	for (size_t i = 0; i < onward.hop_count; i++) {
		json_t *hop = hop_object(policy, &onward.hops[i], rcpt);

		if (hop == NULL) {
			json_decref(tried);
			json_decref(hops);
			return NULL;
		}
		json_array_append_new(hops, hop);
	}
	return json_pack("{s:s, s:s, s:s, s:s?, s:i, s:o, s:o, s:s, s:s}",
	    "from", from, "rcpt", rcpt, "kind", kinds[way.kind], "file",
	    way.line != 0 ? t->source.path : NULL, "line", (int)way.line,
	    "tried", tried, "hops", hops, "status", way.status, "text",
	    way.text);
}

static const char *
text_in(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static int
line_in(const json_t *object)
{
	return (int)json_integer_value(json_object_get(object, "line"));
}

static void
print_hop(const json_t *object)
{
	struct next_hop hop = { .port = (uint16_t)json_integer_value(
				    json_object_get(object, "port")) };
	char text[NEXT_HOP_TEXT];

	snprintf(hop.host, sizeof(hop.host), "%s", text_in(object, "host"));
	fputs(next_hop_print(&hop, text), stdout);
	if (next_hop_is_srv(&hop))
		printf(", TLS as its SRV records say, ");
	else
		printf(", %s TLS, ", text_in(object, "tls"));
	printf("%s\n  %s\n", text_in(object, "level"),
	    text_in(object, "record"));
}

static void
print_way(const json_t *answer)
{
	const char *kind = text_in(answer, "kind");
	const json_t *one;
	size_t i;

	if (strcmp(kind, "error") == 0)
		printf("refused with %s %s\n", text_in(answer, "status"),
		    text_in(answer, "text"));
	else if (strcmp(kind, "discard") == 0)
		printf("discarded\n");
	else if (strcmp(kind, "hold") == 0)
		printf("held for the operator%s%s\n",
		    text_in(answer, "text")[0] != '\0' ? ": " : "",
		    text_in(answer, "text"));
	json_array_foreach(json_object_get(answer, "hops"), i, one)
	{
		if (i == 0 && strcmp(kind, "hold") == 0)
			fputs("when released, ", stdout);
		fputs(i == 0 ? "to " : "else to ", stdout);
		print_hop(one);
	}
}

static void
print_explained(const json_t *answer)
{
	const json_t *one;
	size_t i;

	printf("from <%s> to <%s>\n", text_in(answer, "from"),
	    text_in(answer, "rcpt"));
	json_array_foreach(json_object_get(answer, "tried"), i, one)
	    printf("  %-4s %-40s %s\n", text_in(one, "by"), text_in(one, "key"),
		line_in(one) != 0 ? "speaks" : "no row");
	if (line_in(answer) != 0)
		printf("%s:%d speaks\n", text_in(answer, "file"),
		    line_in(answer));
	else
		printf("no row speaks: the smarthost\n");
	print_way(answer);
}

/* The path that word is, as MAIL or RCPT would take it; NULL: it is none. */
static char *
path_of(const char *word, bool is_from)
{
	bool bare = word[0] != '<';
	struct smtp_path path;
	struct slice rest;
	char *command, *out = NULL;

	if (asprintf(&command, "%s:%s%s%s", is_from ? "FROM" : "TO",
		bare ? "<" : "", word, bare ? ">" : "") < 0)
		return NULL;
	if ((is_from ? smtp_parse_mail : smtp_parse_rcpt)(slice_of(command),
		&path, &rest) == SMTP_SYNTAX_OK &&
	    rest.len == 0 && (!bare || path.mailbox.len > 0))
		out = slice_copy(path.mailbox);
	free(command);
	return out;
}

static int
run_explain(char **words, bool json)
{
	struct table_of_routes t = { 0 };
	struct policy policy = { 0 };
	char *from = path_of(words[0], true), *rcpt = path_of(words[1], false);
	json_t *answer = NULL;
	int status = TOOL_NO;

	if (from == NULL || rcpt == NULL) {
		fprintf(stderr,
		    "sallyport: route explain: expected addresses user@domain, "
		    "or <> as FROM\n");
		status = TOOL_USAGE;
		goto out;
	}
	if (load(&t, NULL) && compile(&t) && policy_load(&policy, NULL) &&
	    policy_open(&policy))
		answer = explain(&t, &policy, from, rcpt);
	if (answer != NULL && json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (answer != NULL) {
		print_explained(answer);
	}
	if (answer != NULL)
		status = TOOL_DONE;
	json_decref(answer);
	policy_fini(&policy);
	fini(&t);
out:
	free(from);
	free(rcpt);
	return status;
}

/* --- the command ------------------------------------------------------------
 */

static const struct action {
	const char *word, *usage, *help;
	int least, most; /* words */
	bool json;
	int (*run)(char **words, bool json);
} actions[] = {
	{ "check", "check [FILE]", "would it compile?", 0, 1, false,
	    run_check },
	{ "list", "list [--json]", "all rows, as they were understood", 0, 0,
	    true, run_list },
	{ "explain", "explain FROM RCPT [--json]",
	    "which row speaks, where the mail goes and what TLS has to be", 2,
	    2, true, run_explain },
};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] route COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n\t%s\n", actions[i].usage, actions[i].help);
	fprintf(to, "\nExit status: 0 done, 1 not done, 2 wrong usage.\n");
}

static int
wrong_usage(const struct action *action)
{
	if (action == NULL)
		print_help(stderr);
	else
		fprintf(stderr, "usage: sallyport [-c FILE] route %s\n",
		    action->usage);
	return TOOL_USAGE;
}

int
tool_route(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   'j' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const struct action *action = NULL;
	bool json = false;
	int c, words;

	if (argc < 2)
		return wrong_usage(NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	for (int i = 0; i < ACTIONS; i++)
		if (strcmp(actions[i].word, argv[1]) == 0)
			action = &actions[i];
	if (action == NULL) {
		fprintf(stderr, "sallyport: route: unknown command \"%s\"\n",
		    argv[1]);
		return wrong_usage(NULL);
	}
	optind = 0;
	while ((c = getopt_long(argc - 1, argv + 1, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c != 'j' || !action->json)
			return wrong_usage(action);
		json = true;
	}
	words = argc - 1 - optind;
	if (words < action->least || words > action->most)
		return wrong_usage(action);
	return action->run(argv + 1 + optind, json);
}
