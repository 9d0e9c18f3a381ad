/*
 * tools/user.c: "sallyport user": who may log in.
 *
 * Verifiers are derived here: no password goes anywhere, unless a legacy secret
 * is asked for.
 */
#include "user.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Options that are no settings. */
enum {
	OPT_JSON = 'j',
	OPT_STDIN = 'p',
	OPT_DISABLED = 'd',
	OPT_KIND = 'k',
	OPT_CERTIFICATE = 'C',
	OPT_NO_PASSWORD = 'n',
	OPT_LEGACY_SECRET = 'l',
	OPT_SENDER = 's',
	OPT_EXPLAIN = 'x',
	OPT_CA = 'F',
	OPT_SAN = 'S',
	OPT_FORMAT = 'f',
	OPT_REPLACE = 'r',
	OPT_INTO_EMPTY = 'e',
};

struct options {
	bool json, from_stdin, disabled, no_password, legacy_secret;
	enum entry_kind kind;
	const char *certificate; /* file or sha256:HEX, or NULL */
	const char *ca, *san;    /* NULL, or both */
	const char *explain;     /* an address, or NULL */
	struct user_changes changes;
	struct user_import_options import;
};

static const struct action {
	const char *word;
	enum control_user_verb verb;
	const char *options; /* that it has use for */
	int least, most;     /* words */
	const char *usage, *help;
} actions[] = {
	{ "add", CONTROL_USER_ADD, "kdpCnls", 1, 1,
	    "add NAME [--kind person|server] [--disabled] "
	    "[--sender PATTERN]...\n"
	    "\t[--password-stdin] [--legacy-secret] | --certificate FILE | "
	    "--no-password",
	    "a new user; with --certificate or --no-password, without a "
	    "password" },
	{ "passwd", CONTROL_USER_SET, "pl", 1, 1,
	    "passwd NAME [--password-stdin] [--legacy-secret]",
	    "another password; --legacy-secret keeps it for CRAM-MD5 and "
	    "DIGEST-MD5" },
	{ "list", CONTROL_USER_LIST, "j", 0, 0, "list [--json]",
	    "all users and the mechanisms they can use" },
	{ "show", CONTROL_USER_SHOW, "j", 1, 1, "show NAME [--json]",
	    "one user" },
	{ "enable", CONTROL_USER_ENABLE, "", 1, 1, "enable NAME",
	    "may log in (again)" },
	{ "disable", CONTROL_USER_DISABLE, "", 1, 1, "disable NAME",
	    "may not log in, and is kept" },
	{ "remove", CONTROL_USER_REMOVE, "", 1, 1, "remove NAME",
	    "is forgotten, with all its devices" },
	{ "bind", CONTROL_USER_BIND, "FS", 1, 2,
	    "bind NAME CERTIFICATE|sha256:HEX | --ca CERTIFICATE|sha256:HEX\n"
	    "\t--san dns:HOST|email:MAILBOX",
	    "may log in by this client certificate's key, or by one of this\n"
	    "\tauthority with this name in it" },
	{ "unbind", CONTROL_USER_UNBIND, "FS", 1, 2,
	    "unbind NAME CERTIFICATE|sha256:HEX|all | --ca ... --san ...",
	    "may not any longer" },
	{ "rights", CONTROL_USER_ALTER, "aRcxj", 1, 1,
	    "rights NAME [--clear] [--remove PATTERN]... [--add PATTERN]...\n"
	    "\t| [--explain ADDRESS] [--json]",
	    "the addresses it may send from; patterns are user@domain with *\n"
	    "\tin the local part, @domain, @.domain and *" },
	{ "limit", CONTROL_USER_ALTER, "NAtubg", 1, 1,
	    "limit NAME [--network NET]... [--any-network] [--rate N|none]\n"
	    "\t[--until DATE|none] [--binding required|optional]\n"
	    "\t[--legacy-until DATE|never|default]",
	    "from where, how many messages an hour, until when, and how" },
	{ "check", CONTROL_USER_FIND, "j", 1, 1, "check NAME [--json]",
	    "who would answer for it, and with which mechanisms" },
	{ "export", CONTROL_USER_EXPORT, "", 0, 1, "export [FILE|-]",
	    "the whole store as text, verifiers and all" },
	{ "import", CONTROL_USER_IMPORT, "fre", 1, 1,
	    "import [--format dovecot|htpasswd|cyrus] [--replace] "
	    "[--into-empty] FILE|-",
	    "users from such text, or from other programs" },
};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

static bool
is_bind(const struct action *action)
{
	return action->verb == CONTROL_USER_BIND ||
	       action->verb == CONTROL_USER_UNBIND;
}

static bool
is_rights(const struct action *action)
{
	return strcmp(action->word, "rights") == 0;
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
	    "the first line of standard\ninput with --password-stdin.  DATE is "
	    "such as 2027-03-31, and means to the end of that day (UTC).\n"
	    "Exit status: 0 done, 1 not done, or the answer is no, 2 wrong "
	    "usage.\n");
}

/* What CRAM-MD5 and DIGEST-MD5 compute with is the prepared password. */
static bool
keep_legacy(struct entry *entry, const char *password, struct reason *why)
{
	char prepared[PASSWORD_MAX + 1];
	bool ok = password_prepare(prepared, password, why);

	if (ok && strlen(prepared) > ENTRY_LEGACY_MAX)
		ok = fail(why, REASON_RANGE,
		    "password of %zu octets, expected at most %d for "
		    "--legacy-secret",
		    strlen(prepared), ENTRY_LEGACY_MAX);
	if (ok)
		strcpy(entry->legacy, prepared);
	entry->has_legacy = ok;
	explicit_bzero(prepared, sizeof prepared);
	return ok;
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
		 why) &&
	     (!options->legacy_secret || keep_legacy(entry, password, why));
	explicit_bzero(password, sizeof password);
	return ok;
}

/* By what it will be able to log in, as far as that is asked for. */
static bool
take_credential(const struct config *config, const struct action *action,
    const struct options *options, struct entry *entry, struct reason *why)
{
	if (options->certificate != NULL)
		return user_take_key(options->certificate, entry, why);
	if (options->san != NULL)
		return user_take_san(options->ca, options->san, entry, why);
	if (options->no_password || (action->verb != CONTROL_USER_ADD &&
					action->verb != CONTROL_USER_SET))
		return true;
	return take_password(config, options, entry, why);
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

/* One user as he is asked for, or all. */
static bool
run_entry(const struct config *config, const struct action *action,
    const struct options *options, const char *name, struct reason *why)
{
	struct user_listing l = { .json = options->json,
		.show = action->verb == CONTROL_USER_SHOW };
	struct entry entry = { .enabled = !options->disabled,
		.kind = options->kind };
	bool ok;

	strcpy(entry.name, name);
	ok = user_settings_apply(&entry, &options->changes, why) &&
	     take_credential(config, action, options, &entry, why) &&
	     act(config, action->verb, &entry, &l, why);
	if (ok && (l.show || action->verb == CONTROL_USER_LIST))
		user_listing_print(&l);
	explicit_bzero(&entry, sizeof entry);
	user_listing_free(&l);
	return ok;
}

/* name is canonical, or "" for no user in particular. */
static enum tool_status
run_name(const struct config *config, const struct action *action,
    const struct options *options, const char *name)
{
	struct reason why = { 0 };
	bool ok;

	if (action->verb == CONTROL_USER_FIND)
		return user_check(config, name, options->json);
	if (is_rights(action) && options->changes.count == 0)
		return user_rights(config, name, options->explain,
		    options->json);
	if (action->verb == CONTROL_USER_ALTER)
		ok =
		    user_settings_change(config, name, &options->changes, &why);
	else
		ok = run_entry(config, action, options, name, &why);
	if (!ok)
		tool_error(&why);
	return ok ? TOOL_DONE : TOOL_NO;
}

static enum tool_status
run(const struct action *action, struct options *options, const char *word)
{
	struct config *config = NULL;
	struct reason why = { 0 };
	enum tool_status status = TOOL_NO;
	char name[NAME_SIZE] = "";

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	options->import.file = word;
	if (action->verb == CONTROL_USER_EXPORT)
		status = user_export(config, word);
	else if (action->verb == CONTROL_USER_IMPORT)
		status = user_import(config, &options->import);
	else if (word != NULL && !name_parse(name, word, config->realm, &why))
		tool_error(&why);
	else
		status = run_name(config, action, options, name);
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

static bool
take_text(const char **to, struct reason *why)
{
	if (*to != NULL)
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": expected one, \"%.80s\" was given", optarg,
		    *to);
	*to = optarg;
	return true;
}

static bool
take_kind(enum entry_kind *out, struct reason *why)
{
	/* "sallyport device" makes devices. */
	return (entry_kind_parse(out, optarg) && *out != ENTRY_DEVICE) ||
	       fail(why, REASON_SYNTAX,
		   "--kind: \"%.32s\": expected person or server", optarg);
}

static bool
take_format(enum import_format *out, struct reason *why)
{
	return import_format_parse(out, optarg) ||
	       fail(why, REASON_SYNTAX,
		   "--format: \"%.32s\": expected dovecot, htpasswd or cyrus",
		   optarg);
}

static bool
take_option(int option, struct options *options, struct reason *why)
{
	switch (option) {
	case OPT_JSON:
		return options->json = true;
	case OPT_STDIN:
		return options->from_stdin = true;
	case OPT_DISABLED:
		return options->disabled = true;
	case OPT_NO_PASSWORD:
		return options->no_password = true;
	case OPT_LEGACY_SECRET:
		return options->legacy_secret = true;
	case OPT_KIND:
		return take_kind(&options->kind, why);
	case OPT_CERTIFICATE:
		return take_text(&options->certificate, why);
	case OPT_CA:
		return take_text(&options->ca, why);
	case OPT_SAN:
		return take_text(&options->san, why);
	case OPT_EXPLAIN:
		return take_text(&options->explain, why);
	case OPT_FORMAT:
		return take_format(&options->import.format, why);
	case OPT_REPLACE:
		return options->import.replace = true;
	case OPT_INTO_EMPTY:
		return options->import.into_empty = true;
	case OPT_SENDER:
		return user_changes_add(&options->changes, USER_RIGHT_ADD,
		    optarg, why);
	default:
		return user_changes_add(&options->changes,
		    (enum user_setting)option, optarg, why);
	}
}

/* Other programs' text knows no secret, and what is empty needs no
 * replacement. */
static bool
import_fits(const struct user_import_options *import)
{
	return !import->into_empty ||
	       (!import->replace && import->format == IMPORT_SALLYPORT);
}

static bool
options_fit(const struct action *action, const struct options *options,
    int words)
{
	bool by_name = options->ca != NULL && options->san != NULL;
	int ways = (options->certificate != NULL) + options->no_password +
		   (options->from_stdin || options->legacy_secret);

	if (words < action->least || words > action->most || ways > 1 ||
	    (options->ca != NULL) != (options->san != NULL))
		return false;
	if (is_bind(action) && (words == 2) == by_name)
		return false;
	if (is_rights(action) && options->changes.count > 0)
		return options->explain == NULL && !options->json;
	if (action->verb == CONTROL_USER_ALTER && !is_rights(action))
		return options->changes.count > 0;
	return import_fits(&options->import);
}

static int
wrong_usage(const struct action *action, const char *text)
{
	if (text[0] != '\0')
		fprintf(stderr, "sallyport: user: %s\n", text);
	if (action != NULL)
		fprintf(stderr, "usage: sallyport [-c FILE] user %s\n",
		    action->usage);
	else
		print_help(stderr);
	return TOOL_USAGE;
}

static const struct option longs[] = { { "json", no_argument, NULL, OPT_JSON },
	{ "password-stdin", no_argument, NULL, OPT_STDIN },
	{ "disabled", no_argument, NULL, OPT_DISABLED },
	{ "kind", required_argument, NULL, OPT_KIND },
	{ "certificate", required_argument, NULL, OPT_CERTIFICATE },
	{ "no-password", no_argument, NULL, OPT_NO_PASSWORD },
	{ "legacy-secret", no_argument, NULL, OPT_LEGACY_SECRET },
	{ "sender", required_argument, NULL, OPT_SENDER },
	{ "ca", required_argument, NULL, OPT_CA },
	{ "san", required_argument, NULL, OPT_SAN },
	{ "explain", required_argument, NULL, OPT_EXPLAIN },
	{ "add", required_argument, NULL, USER_RIGHT_ADD },
	{ "remove", required_argument, NULL, USER_RIGHT_REMOVE },
	{ "clear", no_argument, NULL, USER_RIGHT_CLEAR },
	{ "network", required_argument, NULL, USER_NETWORK },
	{ "any-network", no_argument, NULL, USER_ANY_NETWORK },
	{ "rate", required_argument, NULL, USER_RATE },
	{ "until", required_argument, NULL, USER_UNTIL },
	{ "binding", required_argument, NULL, USER_BINDING },
	{ "legacy-until", required_argument, NULL, USER_LEGACY_UNTIL },
	{ "format", required_argument, NULL, OPT_FORMAT },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "into-empty", no_argument, NULL, OPT_INTO_EMPTY },
	{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };

static int
take_line(const struct action *action, int argc, char **argv)
{
	struct options options = { .kind = ENTRY_PERSON };
	struct reason why;
	int c, words;

	optind = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c == '?' || strchr(action->options, c) == NULL)
			return wrong_usage(action, "");
		if (!take_option(c, &options, &why))
			return wrong_usage(action, why.text);
	}
	words = argc - optind;
	if (!options_fit(action, &options, words))
		return wrong_usage(action, "");
	if (!user_settings_are_readable(&options.changes, &why)) {
		tool_error(&why);
		return TOOL_USAGE;
	}
	if (is_bind(action) && words == 2 &&
	    (action->verb == CONTROL_USER_BIND ||
		strcmp(argv[optind + 1], "all") != 0))
		options.certificate = argv[optind + 1];
	return run(action, &options, words > 0 ? argv[optind] : NULL);
}

int
tool_user(int argc, char **argv)
{
	const struct action *action;

	if (argc < 2)
		return wrong_usage(NULL, "");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	action = find_action(argv[1]);
	if (action == NULL) {
		fprintf(stderr, "sallyport: user: unknown command \"%s\"\n",
		    argv[1]);
		return wrong_usage(NULL, "");
	}
	return take_line(action, argc - 1, argv + 1);
}
