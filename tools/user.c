/*
 * tools/user.c: "sallyport user": who may log in.
 *
 * Verifiers are derived here: no password goes anywhere.
 */
#include "user.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "../pki/cert.h"
#include "../server/files.h"

struct options {
	bool json;
	bool from_stdin;
	bool disabled;
	enum entry_kind kind;
	const char *certificate; /* file or sha256:HEX, or NULL */
	struct user_import_options import;
};

static const struct action {
	const char *word;
	enum control_user_verb verb;
	const char *usage, *help;
} actions[] = {
	{ "add", CONTROL_USER_ADD,
	    "add NAME [--kind person|server|device] [--disabled] "
	    "[--password-stdin | --certificate FILE]",
	    "a new user; with --certificate, without a password" },
	{ "passwd", CONTROL_USER_SET, "passwd NAME [--password-stdin]",
	    "another password" },
	{ "list", CONTROL_USER_LIST, "list [--json]",
	    "all users and the mechanisms they can use" },
	{ "show", CONTROL_USER_SHOW, "show NAME [--json]", "one user" },
	{ "enable", CONTROL_USER_ENABLE, "enable NAME", "may log in (again)" },
	{ "disable", CONTROL_USER_DISABLE, "disable NAME",
	    "may not log in, and is kept" },
	{ "remove", CONTROL_USER_REMOVE, "remove NAME", "is forgotten" },
	{ "bind", CONTROL_USER_BIND, "bind NAME CERTIFICATE|sha256:HEX",
	    "may log in by this client certificate's key" },
	{ "unbind", CONTROL_USER_UNBIND,
	    "unbind NAME CERTIFICATE|sha256:HEX|all", "may not any longer" },
	{ "check", CONTROL_USER_FIND, "check NAME [--json]",
	    "who would answer for it, and with which mechanisms" },
	{ "export", CONTROL_USER_EXPORT, "export [FILE]",
	    "the whole store as text, verifiers and all" },
	{ "import", CONTROL_USER_IMPORT,
	    "import [--format dovecot|htpasswd|cyrus] [--replace] "
	    "[--into-empty] FILE|-",
	    "users from such text, or from other programs" },
};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

/* What a command line has beside the action. */
static bool
takes_key(enum control_user_verb verb)
{
	return verb == CONTROL_USER_BIND || verb == CONTROL_USER_UNBIND;
}

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] user COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n\t%s\n", actions[i].usage, actions[i].help);
	fprintf(to,
	    "\nNAME is local@realm; a bare name gets the realm of "
	    "sallyport.conf.\nA password is asked for at the terminal, or is "
	    "the first line of standard\ninput with --password-stdin.\n"
	    "Exit status: 0 done, 1 not done, 2 wrong usage.\n");
}

static bool
take_password(const struct config *config, const struct options *options,
    struct entry *entry, struct reason *why)
{
	char password[PASSWORD_MAX + 1], prompt[NAME_SIZE + 32];
	bool ok;

	snprintf(prompt, sizeof prompt, "Password for %s: ", entry->name);
	ok = tool_secret(prompt, options->from_stdin, true, password,
		 sizeof password, why) &&
	     verifier_make(entry->verifiers, password, config->scram_iterations,
		 why);
	explicit_bzero(password, sizeof password);
	return ok;
}

static bool
parse_pin(unsigned char out[static SPKI_OCTETS], const char *hex,
    struct reason *why)
{
	size_t len = SPKI_OCTETS;
	const gnutls_datum_t text = { (unsigned char *)(uintptr_t)hex,
		(unsigned)strlen(hex) };

	if (text.size == 2 * SPKI_OCTETS &&
	    gnutls_hex_decode(&text, out, &len) >= 0 && len == SPKI_OCTETS)
		return true;
	return fail(why, REASON_SYNTAX,
	    "sha256:%.80s: expected sha256: and 64 hex digits", hex);
}

/* The key of the first certificate in a PEM file, or a digest as it is. */
static bool
take_key(const char *word, struct entry *entry, struct reason *why)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	unsigned count;
	struct reason at;
	bool ok;

	entry->key_count = 1;
	if (strncmp(word, "sha256:", 7) == 0)
		return parse_pin(entry->keys[0], word + 7, why);
	if (!files_read(word, &pem, why))
		return false;
	ok = cert_chain_parse(&pem, &chain, &count, &at);
	files_free(&pem);
	if (!ok)
		return fail(why, at.code, "%s: %s", word, at.text);
	ok = cert_spki(chain[0], entry->keys[0], &at) ||
	     fail(why, at.code, "%s: %s", word, at.text);
	cert_chain_free(chain, count);
	return ok;
}

static bool
act(const struct config *config, enum control_user_verb verb,
    struct entry *entry, struct user_listing *l, struct reason *why)
{
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok = user_access_ask(access, verb, entry,
	    l->show || verb == CONTROL_USER_LIST ? user_listing_add : NULL, l,
	    why);
	user_access_close(access);
	return ok;
}

/* What is about one user, or lists them all. */
static enum tool_status
run_entry(const struct config *config, const struct action *action,
    const struct options *options, const char *name)
{
	struct user_listing l = { .json = options->json,
		.show = action->verb == CONTROL_USER_SHOW };
	struct entry entry = { .enabled = !options->disabled,
		.kind = options->kind };
	struct reason why = { 0 };
	bool ok = true;

	if (name != NULL)
		ok = name_parse(entry.name, name, config->realm, &why);
	if (ok && action->verb == CONTROL_USER_FIND)
		return user_check(config, entry.name, options->json);
	if (ok && options->certificate != NULL)
		ok = take_key(options->certificate, &entry, &why);
	else if (ok && (action->verb == CONTROL_USER_ADD ||
			   action->verb == CONTROL_USER_SET))
		ok = take_password(config, options, &entry, &why);
	ok = ok && act(config, action->verb, &entry, &l, &why);
	if (ok && (l.show || action->verb == CONTROL_USER_LIST))
		user_listing_print(&l);
	if (!ok)
		tool_error(&why);
	explicit_bzero(&entry, sizeof entry);
	user_listing_free(&l);
	return ok ? TOOL_DONE : TOOL_NO;
}

static enum tool_status
run(const struct action *action, struct options *options, const char *word)
{
	struct config *config = NULL;
	struct reason why = { 0 };
	enum tool_status status;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	options->import.file = word;
	if (action->verb == CONTROL_USER_EXPORT)
		status = user_export(config, word);
	else if (action->verb == CONTROL_USER_IMPORT)
		status = user_import(config, &options->import);
	else
		status = run_entry(config, action, options, word);
	config_free(config);
	return status;
}

static const struct action *
find_action(const char *word)
{
	for (int i = 0; i < ACTIONS; i++)
		if (strcmp(actions[i].word, word) == 0)
			return &actions[i];
	return NULL;
}

enum {
	OPT_JSON = 'j',
	OPT_STDIN = 'p',
	OPT_DISABLED = 'd',
	OPT_KIND = 'k',
	OPT_CERTIFICATE = 'C',
	OPT_FORMAT = 'f',
	OPT_REPLACE = 'r',
	OPT_INTO_EMPTY = 'e',
};

/* Only what the action has use for. */
static bool
option_fits(const struct action *action, int option)
{
	switch (option) {
	case OPT_JSON:
		return action->verb == CONTROL_USER_LIST ||
		       action->verb == CONTROL_USER_SHOW ||
		       action->verb == CONTROL_USER_FIND;
	case OPT_STDIN:
		return action->verb == CONTROL_USER_ADD ||
		       action->verb == CONTROL_USER_SET;
	case OPT_FORMAT:
	case OPT_REPLACE:
	case OPT_INTO_EMPTY:
		return action->verb == CONTROL_USER_IMPORT;
	default:
		return action->verb == CONTROL_USER_ADD;
	}
}

static bool
take_option(int option, struct options *options)
{
	switch (option) {
	case OPT_JSON:
		options->json = true;
		return true;
	case OPT_STDIN:
		options->from_stdin = true;
		return true;
	case OPT_DISABLED:
		options->disabled = true;
		return true;
	case OPT_KIND:
		return entry_kind_parse(&options->kind, optarg);
	case OPT_CERTIFICATE:
		options->certificate = optarg;
		return true;
	case OPT_FORMAT:
		return import_format_parse(&options->import.format, optarg);
	case OPT_REPLACE:
		options->import.replace = true;
		return true;
	case OPT_INTO_EMPTY:
		options->import.into_empty = true;
		return true;
	default:
		return false;
	}
}

static bool
words_fit(enum control_user_verb verb, int words)
{
	if (verb == CONTROL_USER_EXPORT)
		return words <= 1;
	return words == (verb == CONTROL_USER_LIST ? 0
			    : takes_key(verb)      ? 2
						   : 1);
}

/* Other programs' text knows no secret, and what is empty needs no
 * replacement. */
static bool
options_fit(const struct options *options)
{
	const struct user_import_options *import = &options->import;

	return !(options->certificate != NULL && options->from_stdin) &&
	       !(import->into_empty &&
		   (import->replace || import->format != IMPORT_SALLYPORT));
}

static int
wrong_usage(const struct action *action)
{
	if (action != NULL)
		fprintf(stderr, "usage: sallyport [-c FILE] user %s\n",
		    action->usage);
	else
		print_help(stderr);
	return TOOL_USAGE;
}

int
tool_user(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   OPT_JSON },
		{ "password-stdin", no_argument, NULL, OPT_STDIN },
		{ "disabled", no_argument, NULL, OPT_DISABLED },
		{ "kind", required_argument, NULL, OPT_KIND },
		{ "certificate", required_argument, NULL, OPT_CERTIFICATE },
		{ "format", required_argument, NULL, OPT_FORMAT },
		{ "replace", no_argument, NULL, OPT_REPLACE },
		{ "into-empty", no_argument, NULL, OPT_INTO_EMPTY },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	struct options options = { .kind = ENTRY_PERSON };
	const struct action *action;
	int c, words;

	if (argc < 2)
		return wrong_usage(NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	action = find_action(argv[1]);
	if (action == NULL) {
		fprintf(stderr, "sallyport: user: unknown command \"%s\"\n",
		    argv[1]);
		return wrong_usage(NULL);
	}
	optind = 0;
	while ((c = getopt_long(argc - 1, argv + 1, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c == '?' || !option_fits(action, c) ||
		    !take_option(c, &options))
			return wrong_usage(action);
	}
	words = argc - 1 - optind;
	if (!words_fit(action->verb, words) || !options_fit(&options))
		return wrong_usage(action);
	if (takes_key(action->verb) &&
	    (action->verb != CONTROL_USER_UNBIND ||
		strcmp(argv[2 + optind], "all") != 0))
		options.certificate = argv[2 + optind];
	return run(action, &options, words > 0 ? argv[1 + optind] : NULL);
}
