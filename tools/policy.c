/*
 * tools/policy.c: "sallyport policy": the site table: check, build, list.
 */
#include "policy.h"

#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../server/files.h"
#include "tool.h"

/* --- the text and what its names mean ------------------------------------ */

static void
tell(void *context, bool is_error, const char *text)
{
	struct policy *policy = context;

	if (is_error)
		policy->errors++;
	else
		policy->warnings++;
	if (is_error || policy->source.past_is_error)
		fprintf(stderr, "%s%s\n", text, is_error ? "" : " (a warning)");
}

static bool
knows_certificate(void *context, const char *name)
{
	const struct policy *policy = context;
	const struct config_certificate *certificate =
	    config_certificate(policy->config, name);

	return certificate != NULL &&
	       (certificate->roles & CERTIFICATE_CLIENT) != 0;
}

static bool
knows_login(void *context, const char *name)
{
	const struct policy *policy = context;

	return policy->book != NULL && login_book_has(policy->book, name);
}

static bool
can_ask(void *context, bool by_name, bool has_anchors)
{
	const struct policy *policy = context;

	return config_can_verify_clients(policy->config, by_name, has_anchors);
}

static bool
load_book(struct policy *policy, struct reason *why)
{
	gnutls_datum_t text;
	bool ok;

	if (policy->config->upstream == NULL)
		return true;
	if (!files_read_secret(policy->config->upstream, &text, why))
		return false;
	ok = login_book_parse(&policy->book, policy->config->upstream, &text,
	    NULL, NULL, why);
	files_wipe(&text);
	return ok;
}

/* A table named on the command line may be checked where there is no
 * configuration at all. */
static bool
load_config(struct policy *policy, bool needed)
{
	struct reason why;

	if (!needed && access(tool_config_path, F_OK) != 0) {
		fprintf(stderr,
		    "sallyport: no %s: names after cert= and auth= are not "
		    "checked\n",
		    tool_config_path);
		return true;
	}
	if (!tool_config(&policy->config, &why) || !load_book(policy, &why)) {
		tool_error(&why);
		return false;
	}
	policy->names = (struct table_names){ policy, knows_certificate,
		knows_login, can_ask };
	policy->source.names = &policy->names;
	return true;
}

bool
policy_load(struct policy *policy, const char *path)
{
	struct reason why;

	memset(policy, 0, sizeof(*policy));
	if (!load_config(policy, path == NULL))
		return false;
	policy->source.path = path != NULL ? path : policy->config->sites;
	policy->source.now = time(NULL);
	if (files_read(policy->source.path, &policy->source.text, &why))
		return true;
	tool_error(&why);
	return false;
}

bool
policy_open(struct policy *policy)
{
	const char *base = getenv("TMPDIR");
	char folder[PATH_MAX], path[PATH_MAX], name[80];
	struct reason why;
	bool ok;

	(void)snprintf(folder, sizeof(folder), "%s/sallyport-policy-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");
	if (mkdtemp(folder) == NULL) {
		(void)fail_errno(&why, "%s", folder);
		tool_error(&why);
		return false;
	}
	ok = table_compile(&policy->source, folder, name, tell, policy, &why);
	if (ok && (size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) <
		      sizeof(path)) {
		ok = table_open(&policy->table, path, false, &why);
		(void)unlink(path);
	}
	(void)rmdir(folder);
	if (!ok)
		tool_error(&why);
	return ok;
}

void
policy_fini(struct policy *policy)
{
	table_close(policy->table);
	login_book_free(policy->book);
	config_free(policy->config);
	files_free(&policy->source.text);
	memset(policy, 0, sizeof(*policy));
}

/* --- check and build ----------------------------------------------------- */

struct options {
	bool json;
	const char *table, *port, *from, *ehlo;
};

static int
run_check(const struct options *options, int argc, char **argv)
{
	struct policy policy;
	int status = TOOL_NO;

	(void)options;
	if (policy_load(&policy, argc > 0 ? argv[0] : NULL)) {
		policy.source.past_is_error = true;
		if (table_check(&policy.source, tell, &policy)) {
			printf("%s: compiles, %u warning%s\n",
			    policy.source.path, policy.warnings,
			    policy.warnings == 1 ? "" : "s");
			status = TOOL_DONE;
		}
	}
	policy_fini(&policy);
	return status;
}

static int
run_build(const struct options *options, int argc, char **argv)
{
	char folder[PATH_MAX], name[80];
	struct policy policy;
	struct reason why;
	int status = TOOL_NO;

	(void)options;
	(void)argc;
	(void)argv;
	if (policy_load(&policy, NULL)) {
		policy.source.past_is_error = true;
		(void)snprintf(folder, sizeof(folder), "%s/run/tables",
		    policy.config->state);
		if (table_compile(&policy.source, folder, name, tell, &policy,
			&why)) {
			printf("%s/%s\n", folder, name);
			status = TOOL_DONE;
		} else {
			tool_error(&why);
		}
	}
	policy_fini(&policy);
	return status;
}

/* --- list ---------------------------------------------------------------- */

struct listing {
	json_t *rows; /* NULL: lines to stdout */
	const char *file;
};

static bool
list_row(void *context, unsigned line, const char *text)
{
	struct listing *listing = context;

	if (listing->rows == NULL)
		return printf("%s:%u: %s\n", listing->file, line, text) > 0;
	return json_array_append_new(listing->rows,
		   json_pack("{s:s, s:i, s:s}", "file", listing->file, "line",
		       (int)line, "row", text)) == 0;
}

static int
run_list(const struct options *options, int argc, char **argv)
{
	struct listing listing = { NULL, NULL };
	struct policy policy;
	struct reason why;
	int status = TOOL_NO;

	if (policy_load(&policy, argc > 0 ? argv[0] : NULL) &&
	    policy_open(&policy)) {
		listing.file = policy.source.path;
		listing.rows = options->json ? json_array() : NULL;
		if (table_each(policy.table, list_row, &listing, &why))
			status = TOOL_DONE;
		else
			tool_error(&why);
		if (listing.rows != NULL && status == TOOL_DONE) {
			json_dumpf(listing.rows, stdout, JSON_INDENT(2));
			putchar('\n');
		}
		json_decref(listing.rows);
	}
	policy_fini(&policy);
	return status;
}

/* --- the command line ---------------------------------------------------- */

static int wrong_usage(const char *what, const char *word);

static int
run_explain(const struct options *options, int argc, char **argv)
{
	struct explain asked = {
		.direction = argv[0],
		.name = argv[1],
		.port = options->port,
		.from = options->from,
		.ehlo = options->ehlo,
		.json = options->json,
	};
	struct policy policy;
	int status = TOOL_NO;

	(void)argc;
	if (!policy_explains(asked.direction))
		return wrong_usage("direction in, out or rcpt expected, not",
		    asked.direction);
	if (asked.port != NULL && strcmp(asked.direction, "out") != 0)
		return wrong_usage("--port is for out, not for",
		    asked.direction);
	if (asked.ehlo != NULL && strcmp(asked.direction, "in") != 0)
		return wrong_usage("--ehlo is for in, not for",
		    asked.direction);
	if (policy_load(&policy, options->table) && policy_open(&policy))
		status = policy_explain(&policy, &asked);
	policy_fini(&policy);
	return status;
}

enum { OPTION_JSON = 'j', OPTION_TABLE = 't', OPTION_PORT = 'p' };
enum { OPTION_FROM = 'f', OPTION_EHLO = 'e', OPTION_HELP = 'h' };

static const struct action {
	const char *word;
	int (*run)(const struct options *options, int argc, char **argv);
	int least, most;   /* arguments */
	const char *takes; /* options, by their letters */
	const char *usage, *help;
} actions[] = {
	{ "check", run_check, 0, 1, "", "check [FILE]",
	    "does the table compile?  Nothing is written" },
	{ "build", run_build, 0, 0, "", "build",
	    "compile it for the server, which takes it at its next reload" },
	{ "list", run_list, 0, 1, "j", "list [--json] [FILE]",
	    "all rows in one form" },
	{ "explain", run_explain, 2, 2, "jtpfe",
	    "explain in|out|rcpt NAME [--port N] [--ehlo NAME]\n"
	    "          [--from ADDRESS] [--table FILE] [--json]",
	    "which row decides for NAME, and what it demands" },
};

enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

/* Those in files of their own, which read their options themselves. */
static const struct other {
	const char *word;
	int (*run)(int argc, char **argv); /* argv[0] is the word */
	const char *usage, *help;
} others[] = {
	{ "probe", policy_probe,
	    "probe HOST[:PORT] [--tls implicit|starttls] [--address ADDR]\n"
	    "          [--timeout S] [--json]",
	    "connect as the relay would: what is there, which row it meets" },
	{ "audit", policy_audit,
	    "audit [--list FILE] [--jobs N] [--timeout S] [--json]",
	    "probe every site of the table: what would fail, what ends soon" },
	{ "import", policy_import,
	    "import postfix|sendmail FILE [--until DATE] [--reason TEXT]",
	    "rows from another server's table; none is weaker than it was" },
	{ "rehearsal", policy_rehearsal, "rehearsal [--days N] [--json]",
	    "rows with mode=observe: what they would have refused" },
	{ "ratchet", policy_ratchet,
	    "ratchet [--json] | ratchet lower HOST:PORT [LEVEL]",
	    "the best that sites with ratchet have shown" },
};

enum { OTHERS = sizeof(others) / sizeof(others[0]) };

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] policy COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n\t\t%s\n", actions[i].usage,
		    actions[i].help);
	for (int i = 0; i < OTHERS; i++)
		fprintf(to, "  %s\n\t\t%s\n", others[i].usage,
		    others[i].help);
	fprintf(to,
	    "\nNAME is a client's address (or the name it says in EHLO) for "
	    "in, the\nnext hop, HOST or HOST:PORT, for out, and user@domain or "
	    "a domain for\nrcpt.  FILE is another table than that of the "
	    "configuration.\nExit status: 0 done, 1 the answer is no or it "
	    "could not be done, 2 wrong usage.\n");
}

static int
wrong_usage(const char *what, const char *word)
{
	fprintf(stderr, "sallyport policy: %s%s%s\n", what,
	    word != NULL ? " " : "", word != NULL ? word : "");
	print_help(stderr);
	return TOOL_USAGE;
}

static bool
take_option(struct options *options, const struct action *action, int letter)
{
	if (letter == '?' || strchr(action->takes, letter) == NULL)
		return false;
	switch (letter) {
	case OPTION_JSON:
		options->json = true;
		break;
	case OPTION_TABLE:
		options->table = optarg;
		break;
	case OPTION_PORT:
		options->port = optarg;
		break;
	case OPTION_FROM:
		options->from = optarg;
		break;
	case OPTION_EHLO:
		options->ehlo = optarg;
		break;
	}
	return true;
}

static int
run_action(const struct action *action, int argc, char **argv)
{
	static const struct option words[] = {
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "table", required_argument, NULL, OPTION_TABLE },
		{ "port", required_argument, NULL, OPTION_PORT },
		{ "from", required_argument, NULL, OPTION_FROM },
		{ "ehlo", required_argument, NULL, OPTION_EHLO },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { 0 };
	int letter;

	optind = 0;
	while ((letter = getopt_long(argc, argv, "h", words, NULL)) != -1) {
		if (letter == OPTION_HELP) {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (!take_option(&options, action, letter))
			return wrong_usage("wrong option for", action->word);
	}
	argc -= optind;
	argv += optind;
	if (argc < action->least)
		return wrong_usage("too few arguments for", action->word);
	if (argc > action->most)
		return wrong_usage("too many arguments for", action->word);
	return action->run(&options, argc, argv);
}

int
tool_policy(int argc, char **argv)
{
	if (argc < 2)
		return wrong_usage("expected a command", NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	for (int i = 0; i < ACTIONS; i++)
		if (strcmp(argv[1], actions[i].word) == 0)
			return run_action(&actions[i], argc - 1, argv + 1);
	for (int i = 0; i < OTHERS; i++)
		if (strcmp(argv[1], others[i].word) == 0)
			return others[i].run(argc - 1, argv + 1);
	return wrong_usage("unknown command", argv[1]);
}
