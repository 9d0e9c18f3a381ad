/*
 * tools/user.c: "sallyport user": who may log in.
 *
 * While the server runs its auth role has the store, and is asked through its
 * control socket; else the store is opened here, as its owner.  Verifiers are
 * derived here: no password goes anywhere.
 */
#include "tool.h"

#include <getopt.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../auth/control.h"
#include "../server/channel.h"
#include "../server/control.h"
#include "../server/files.h"
#include "../server/messages.h"
#include "../pki/cert.h"

struct options {
	bool json;
	bool from_stdin;
	bool disabled;
	enum entry_kind kind;
	const char *certificate; /* file or sha256:HEX, or NULL */
};

enum { KEY_TEXT = 7 + 2 * SPKI_OCTETS + 1 };

/* What came back, before it is sorted and printed. */
struct listing {
	bool json, show;
	bool broken;
	struct line {
		char *name;
		char *text;
	} * lines;
	size_t count, room;
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

static void
format_time(int64_t when, char out[static 32])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(out, "-");
}

static void
format_key(const unsigned char key[static SPKI_OCTETS],
    char out[static KEY_TEXT])
{
	char *at = out + sprintf(out, "sha256:");

	for (size_t i = 0; i < SPKI_OCTETS; i++)
		at += sprintf(at, "%02x", key[i]);
}

static char *
entry_json(const struct entry *entry)
{
	char created[32], changed[32], *text;
	json_t *mechanisms = json_array(), *keys = json_array(), *object;

	format_time(entry->created, created);
	format_time(entry->changed, changed);
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			json_array_append_new(mechanisms,
			    json_pack("{s:s, s:I}", "name",
				verifier_mechanism((enum verifier_hash)h),
				"iterations",
				(json_int_t)entry->verifiers[h].iterations));
	for (size_t i = 0; i < entry->key_count; i++) {
		char key[KEY_TEXT];

		format_key(entry->keys[i], key);
		json_array_append_new(keys, json_string(key));
	}
	object = json_pack("{s:s, s:b, s:s, s:o, s:o, s:s, s:s}", "name",
	    entry->name, "enabled", (int)entry->enabled, "kind",
	    entry_kind_word(entry->kind), "mechanisms", mechanisms, "keys",
	    keys, "created", created, "changed", changed);
	text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

/* As sasldblistusers2 prints them: the name, and what is kept for it. */
static char *
entry_line(const struct entry *entry)
{
	char *text = NULL;
	const struct verifier *v = entry->verifiers;

	if (asprintf(&text, "%s:%s%s%s%s%s%s", entry->name,
		entry->key_count > 0 ? " EXTERNAL" : "",
		v[VERIFIER_SHA_256].present ? " SCRAM-SHA-256" : "",
		v[VERIFIER_SHA_1].present ? " SCRAM-SHA-1" : "",
		entry->enabled ? "" : " disabled",
		entry->kind == ENTRY_PERSON ? "" : " ",
		entry->kind == ENTRY_PERSON ? ""
					    : entry_kind_word(entry->kind)) < 0)
		return NULL;
	return text;
}

static char *
entry_text(const struct entry *entry)
{
	char created[32], changed[32], mechanisms[128] = "", *text = NULL;
	char keys[ENTRY_KEYS_MAX * (KEY_TEXT + 16)] = "";

	format_time(entry->created, created);
	format_time(entry->changed, changed);
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		size_t len = strlen(mechanisms);

		if (entry->verifiers[h].present)
			snprintf(mechanisms + len, sizeof mechanisms - len,
			    "%s%s (%u iterations)", len > 0 ? ", " : "",
			    verifier_mechanism((enum verifier_hash)h),
			    (unsigned)entry->verifiers[h].iterations);
	}
	for (size_t i = 0; i < entry->key_count; i++) {
		char key[KEY_TEXT];
		size_t len = strlen(keys);

		format_key(entry->keys[i], key);
		snprintf(keys + len, sizeof keys - len, "key:        %s\n",
		    key);
	}
	if (asprintf(&text,
		"name:       %s\nenabled:    %s\nkind:       %s\n"
		"mechanisms: %s\n%screated:    %s\nchanged:    %s",
		entry->name, entry->enabled ? "yes" : "no",
		entry_kind_word(entry->kind), mechanisms, keys, created,
		changed) < 0)
		return NULL;
	return text;
}

static bool
listing_add(struct listing *l, const struct entry *entry)
{
	struct line *line;

	if (l->count == l->room) {
		size_t room = l->room > 0 ? l->room * 2 : 64;

		line = reallocarray(l->lines, room, sizeof *line);
		if (line == NULL)
			return false;
		l->lines = line;
		l->room = room;
	}
	line = &l->lines[l->count];
	line->name = strdup(entry->name);
	line->text = l->json   ? entry_json(entry)
		     : l->show ? entry_text(entry)
			       : entry_line(entry);
	if (line->name == NULL || line->text == NULL) {
		free(line->name);
		free(line->text);
		return false;
	}
	l->count++;
	return true;
}

static int
compare_lines(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name,
	    ((const struct line *)b)->name);
}

static void
listing_print(struct listing *l)
{
	if (l->count > 0)
		qsort(l->lines, l->count, sizeof *l->lines, compare_lines);
	if (l->json && !l->show)
		printf("[");
	for (size_t i = 0; i < l->count; i++)
		printf("%s%s%s", l->lines[i].text,
		    l->json && !l->show && i + 1 < l->count ? "," : "",
		    l->json && !l->show && i + 1 == l->count ? "" : "\n");
	if (l->json && !l->show)
		printf("]\n");
}

static void
listing_free(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->lines[i].name);
		free(l->lines[i].text);
	}
	free(l->lines);
}

/* The server's way. */

static void
take_data(void *context, const char *octets, size_t len)
{
	struct listing *l = context;
	const unsigned char *at = (const unsigned char *)octets;
	struct entry entry;
	struct reason why;

	while (!l->broken && control_user_data_next(&at, &len, &entry, &why))
		l->broken = !listing_add(l, &entry);
	if (len > 0)
		l->broken = true;
}

static bool
ask_server(int fd, enum control_user_verb verb, const struct entry *entry,
    struct listing *l, struct reason *why)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	size_t len = control_user_encode(packet, CONTROL_USER, verb, entry);
	bool ok = control_ask(fd, packet, len, take_data, l, why);

	explicit_bzero(packet, sizeof packet);
	if (ok && l->broken)
		return fail(why, REASON_PROTOCOL,
		    "the server's answer could not be read");
	return ok;
}

/* The way without it. */

/*
 * Be in the store's folder, as its owner: what the library makes there must
 * be his.  The folder may lie where only root can go.
 */
static bool
become_owner(const char *state, struct reason *why)
{
	char folder[PATH_MAX];
	struct stat st;

	if (snprintf(folder, sizeof folder, "%s/store", state) >=
	    (int)sizeof folder)
		return fail(why, REASON_RANGE, "%s: path is too long", state);
	if (chdir(folder) < 0)
		return fail_errno(why, "%s", folder);
	if (geteuid() != 0)
		return true;
	if (lstat("users.kch", &st) < 0)
		return fail_errno(why, "%s/users.kch", folder);
	if (st.st_uid == 0)
		return true;
	if (setgroups(0, NULL) < 0 ||
	    setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 ||
	    setresuid(st.st_uid, st.st_uid, st.st_uid) < 0)
		return fail_errno(why, "becoming the owner of %s/users.kch",
		    folder);
	return true;
}

static bool
take_each(void *context, const struct entry *entry)
{
	struct listing *l = context;

	l->broken = !listing_add(l, entry);
	return !l->broken;
}

static bool
ask_store(const char *state, enum control_user_verb verb, struct entry *entry,
    struct listing *l, struct reason *why)
{
	struct store *store;
	struct reason at;
	bool ok;

	if (!become_owner(state, why))
		return false;
	/* What it says of "users.kch" is put behind the folder it is in. */
	if (!store_open(&store, "users.kch", &at))
		return fail(why, at.code, "%s/store/%s", state, at.text);
	if (verb == CONTROL_USER_LIST)
		ok = store_each(store, take_each, l, why);
	else
		ok = control_user_apply(store, verb, entry, time(NULL), why);
	if (ok && verb == CONTROL_USER_SHOW)
		l->broken = !listing_add(l, entry);
	store_close(store);
	if (ok && l->broken)
		return fail(why, REASON_NO_MEMORY, "list of users");
	return ok;
}

static bool
act(const struct config *config, enum control_user_verb verb,
    struct entry *entry, struct listing *l, struct reason *why)
{
	bool ok;
	int fd;

	if (control_connect(config->state, "auth", &fd, why)) {
		ok = ask_server(fd, verb, entry, l, why);
		close(fd);
		return ok;
	}
	return why->code == REASON_AWAY &&
	       ask_store(config->state, verb, entry, l, why);
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

static enum tool_status
run(const struct action *action, const struct options *options,
    const char *name)
{
	struct listing l = { .json = options->json,
		.show = action->verb == CONTROL_USER_SHOW };
	struct entry entry = { .enabled = !options->disabled,
		.kind = options->kind };
	struct config *config = NULL;
	struct reason why = { 0 };
	bool ok;

	ok = tool_config(&config, &why);
	if (ok && name != NULL)
		ok = name_parse(entry.name, name, config->realm, &why);
	if (ok && options->certificate != NULL)
		ok = take_key(options->certificate, &entry, &why);
	else if (ok && (action->verb == CONTROL_USER_ADD ||
			   action->verb == CONTROL_USER_SET))
		ok = take_password(config, options, &entry, &why);
	ok = ok && act(config, action->verb, &entry, &l, &why);
	if (ok && (l.show || action->verb == CONTROL_USER_LIST))
		listing_print(&l);
	if (!ok)
		tool_error(&why);
	explicit_bzero(&entry, sizeof entry);
	listing_free(&l);
	config_free(config);
	return ok ? TOOL_DONE : TOOL_NO;
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
};

/* Only what the action has use for. */
static bool
option_fits(const struct action *action, int option)
{
	switch (option) {
	case OPT_JSON:
		return action->verb == CONTROL_USER_LIST ||
		       action->verb == CONTROL_USER_SHOW;
	case OPT_STDIN:
		return action->verb == CONTROL_USER_ADD ||
		       action->verb == CONTROL_USER_SET;
	default:
		return action->verb == CONTROL_USER_ADD;
	}
}

static int
words_wanted(enum control_user_verb verb)
{
	return verb == CONTROL_USER_LIST ? 0 : takes_key(verb) ? 2 : 1;
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
		    (c == OPT_KIND && !entry_kind_parse(&options.kind, optarg)))
			return wrong_usage(action);
		options.json |= c == OPT_JSON;
		options.from_stdin |= c == OPT_STDIN;
		options.disabled |= c == OPT_DISABLED;
		if (c == OPT_CERTIFICATE)
			options.certificate = optarg;
	}
	words = argc - 1 - optind;
	if (words != words_wanted(action->verb) ||
	    (options.certificate != NULL && options.from_stdin))
		return wrong_usage(action);
	if (takes_key(action->verb) &&
	    (action->verb != CONTROL_USER_UNBIND ||
		strcmp(argv[2 + optind], "all") != 0))
		options.certificate = argv[2 + optind];
	return run(action, &options, words > 0 ? argv[1 + optind] : NULL);
}
