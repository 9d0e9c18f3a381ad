/*
 * tools/cert.c: "sallyport cert": an authority of our own, certificates from
 * it, and what certificates say.
 */
#include "cert.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/authority.h"
#include "tool.h"

enum {
	AUTHORITY_DAYS = 3650,
	CERTIFICATE_DAYS = 825, /* more is refused by some mail clients */
};

struct options {
	const char *name, *out, *authority;
	unsigned days; /* 0: not given */
	enum authority_role role;
	bool has_role, json;
	char given[16]; /* letters of the options, each once */
};

struct arguments {
	char **words;
	int count;
	const struct options *options;
};

/* --- what can be done ------------------------------------------------------
 */

static int
done_or_not(bool ok, const struct reason *why)
{
	if (ok)
		return TOOL_DONE;
	tool_error(why);
	return TOOL_NO;
}

static int
wrong_usage(const char *text)
{
	fprintf(stderr, "sallyport cert: %s\nTry \"sallyport cert --help\".\n",
	    text);
	return TOOL_USAGE;
}

static int
do_ca(const struct arguments *a)
{
	struct reason why;
	bool ok;

	if (a->count != 1 || a->options->name == NULL)
		return wrong_usage("ca: expected DIR and --name CN");
	ok = authority_create(a->words[0], a->options->name,
	    a->options->days ? a->options->days : AUTHORITY_DAYS, &why);
	if (ok)
		printf("%s/ca.pem\n%s/ca.key\n", a->words[0], a->words[0]);
	return done_or_not(ok, &why);
}

/* --ca DIR, else the folder tls beside the configuration. */
static bool
authority_folder(const struct options *options, char out[static PATH_MAX],
    struct reason *why)
{
	struct config *config;
	int n;

	if (options->authority != NULL) {
		n = snprintf(out, PATH_MAX, "%s", options->authority);
	} else {
		if (!tool_config(&config, why))
			return false;
		n = snprintf(out, PATH_MAX, "%s/tls", config->folder);
		config_free(config);
	}
	if (n < 0 || n >= PATH_MAX)
		return fail(why, REASON_RANGE,
		    "folder of the authority: path "
		    "too long");
	return true;
}

static int
do_issue(const struct arguments *a)
{
	const struct options *options = a->options;
	char folder[PATH_MAX], chain[PATH_MAX], key[PATH_MAX];
	struct authority_request request = {
		.names = (const char *const *)a->words,
		.name_count = (size_t)a->count,
		.role = options->role,
		.days = options->days ? options->days : CERTIFICATE_DAYS,
		.chain_path = chain,
		.key_path = key,
	};
	struct reason why;
	bool ok;

	if (a->count == 0 || !options->has_role || options->out == NULL)
		return wrong_usage(
		    "issue: expected NAME, --role and --out PREFIX");
	if (strlen(options->out) > PATH_MAX - sizeof(".pem"))
		return wrong_usage("issue: --out: path too long");
	snprintf(chain, sizeof(chain), "%s.pem", options->out);
	snprintf(key, sizeof(key), "%s.key", options->out);
	ok = authority_folder(options, folder, &why) &&
	     authority_issue(folder, &request, &why);
	if (ok)
		printf("%s\n%s\n", chain, key);
	return done_or_not(ok, &why);
}

static int
do_show(const struct arguments *a)
{
	if (a->count != 1)
		return wrong_usage("show: expected one FILE");
	return cert_show(a->words[0], a->options->json);
}

static int
do_check(const struct arguments *a)
{
	if (a->count != 0)
		return wrong_usage("check: expected no argument");
	return cert_check();
}

static const struct action {
	const char *word;
	int (*run)(const struct arguments *);
	const char *takes; /* options, by their letters */
	const char *usage, *help;
} actions[] = {
	{ "ca", do_ca, "nd", "ca DIR --name CN [--days N]",
	    "make an authority: DIR/ca.pem and DIR/ca.key" },
	{ "issue", do_issue, "rodc",
	    "issue NAME... --role server|client|both --out PREFIX\n"
	    "        [--days N] [--ca DIR]",
	    "PREFIX.pem for these DNS names or addresses, signed by the "
	    "authority in DIR\n      (tls beside sallyport.conf); "
	    "PREFIX.key is made, or kept if it is there" },
	{ "show", do_show, "j", "show FILE [--json]",
	    "what the certificates of a PEM file say, and their pins" },
	{ "check", do_check, "", "check",
	    "look for problems of the certificates sallyport.conf names" },
};

enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] cert COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n      %s\n", actions[i].usage,
		    actions[i].help);
	fprintf(to,
	    "\nAn authority lasts %d days, a certificate %d, unless --days "
	    "says otherwise.\n"
	    "Exit status: 0 done, 1 not done or problems found, 2 wrong "
	    "usage.\n",
	    AUTHORITY_DAYS, CERTIFICATE_DAYS);
}

/* --- the command line ------------------------------------------------------
 */

static bool
read_role(const char *word, struct options *options)
{
	if (strcmp(word, "server") == 0)
		options->role = ISSUE_SERVER;
	else if (strcmp(word, "client") == 0)
		options->role = ISSUE_CLIENT;
	else if (strcmp(word, "both") == 0)
		options->role = ISSUE_BOTH;
	else
		return false;
	options->has_role = true;
	return true;
}

static bool
read_days(const char *word, struct options *options)
{
	char *end;
	unsigned long days = strtoul(word, &end, 10);

	if (word[0] < '0' || word[0] > '9' || *end != '\0' || days == 0 ||
	    days > ISSUE_DAYS_MAX)
		return false;
	options->days = (unsigned)days;
	return true;
}

enum { OPTION_HELP = 'h', OPTION_JSON = 'j' };

static void
note_given(struct options *options, int letter)
{
	size_t len = strlen(options->given);

	if (strchr(options->given, letter) == NULL &&
	    len + 1 < sizeof(options->given))
		options->given[len] = (char)letter;
}

/* TOOL_USAGE after saying what is wrong; -1 to go on. */
static int
read_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "role", required_argument, NULL, 'r' },
		{ "out", required_argument, NULL, 'o' },
		{ "days", required_argument, NULL, 'd' },
		{ "ca", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		note_given(options, c);
		switch (c) {
		case 'n':
			options->name = optarg;
			break;
		case 'r':
			if (!read_role(optarg, options))
				return wrong_usage("--role: expected server, "
						   "client or both");
			break;
		case 'o':
			options->out = optarg;
			break;
		case 'd':
			if (!read_days(optarg, options))
				return wrong_usage(
				    "--days: expected 1 to 36500");
			break;
		case 'c':
			options->authority = optarg;
			break;
		case OPTION_JSON:
			options->json = true;
			break;
		case OPTION_HELP:
			print_help(stdout);
			return TOOL_DONE;
		default:
			return wrong_usage("unknown option");
		}
	}
	return -1;
}

int
tool_cert(int argc, char **argv)
{
	struct options options = { 0 };
	struct arguments arguments = { .options = &options };
	int status = read_options(argc, argv, &options);

	if (status >= 0)
		return status;
	if (optind >= argc) {
		print_help(stderr);
		return TOOL_USAGE;
	}
	arguments.words = argv + optind + 1;
	arguments.count = argc - optind - 1;
	for (int i = 0; i < ACTIONS; i++) {
		if (strcmp(argv[optind], actions[i].word) != 0)
			continue;
		if (options.given[strspn(options.given, actions[i].takes)])
			return wrong_usage("an option of another command");
		return actions[i].run(&arguments);
	}
	fprintf(stderr, "sallyport cert: unknown command \"%s\"\n",
	    argv[optind]);
	print_help(stderr);
	return TOOL_USAGE;
}
