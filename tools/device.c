/*
 * tools/device.c: "sallyport device": logins of single devices.
 *
 * A device of alice@example.org with the label phone is the login
 * alice+phone@example.org, with a secret or a certificate of its own, which is
 * lost with the device, and nothing else with it.
 */
#include "device.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "user.h"

enum { SETTLE_S = 1 }; /* in which the sessions of a login end */

struct options {
	bool json;
	struct device_enrolment enrolment;
	struct user_changes changes;
};

struct arguments {
	const struct config *config;
	struct options *options;
	char **words;
	int count;
};

static const char *const formats[DEVICE_FORMATS] = {
	[DEVICE_TEXT] = "text",
	[DEVICE_JSON] = "json",
	[DEVICE_PROFILE] = "profile",
	[DEVICE_URI] = "uri",
	[DEVICE_QR] = "qr",
	[DEVICE_THUNDERBIRD] = "thunderbird",
	[DEVICE_PKCS12] = "pkcs12",
};

/* --- commands ------------------------------------------------------------- */

static enum tool_status
run_enrol(const struct arguments *a)
{
	return device_enrol(a->config, a->words[0], a->words[1],
	    &a->options->enrolment);
}

/* USER LABEL, or its login. */
static bool
take_login(const struct arguments *a, char out[static NAME_SIZE],
    struct reason *why)
{
	char owner[NAME_SIZE];

	if (!name_parse(a->count == 2 ? owner : out, a->words[0],
		a->config->realm, why))
		return false;
	return a->count == 1 || entry_device_name(owner, a->words[1], out) ||
	       fail(why, REASON_SYNTAX, "\"%.80s\": is no label of a device",
		   a->words[1]);
}

static bool
add_device(void *context, const struct entry *entry)
{
	return entry->owner[0] == '\0' || user_listing_add(context, entry);
}

/* One user's, however many others there are. */
static bool
list_of(struct user_access *access, const struct arguments *a,
    struct user_listing *listing, struct reason *why)
{
	char name[NAME_SIZE];
	struct entry owner, device;
	bool ok = name_parse(name, a->words[0], a->config->realm, why) &&
		  user_access_show(access, name, &owner, why);

	for (size_t i = 0; ok && i < owner.device_count; i++) {
		if (!entry_device_name(owner.name, owner.devices[i], name))
			continue;
		ok = user_access_find(access, name, &device, why) &&
		     (add_device(listing, &device) ||
			 fail(why, REASON_NO_MEMORY, "%s", name));
	}
	return ok;
}

static enum tool_status
print_listing(struct user_listing *listing, bool ok, const struct reason *why)
{
	if (ok)
		user_listing_print(listing);
	else
		tool_error(why);
	user_listing_free(listing);
	return ok ? TOOL_DONE : TOOL_NO;
}

static enum tool_status
run_list(const struct arguments *a)
{
	struct user_listing listing = { .json = a->options->json };
	struct entry none = { 0 };
	struct user_access *access;
	struct reason why = { 0 };
	bool ok = user_access_open(&access, a->config, &why);

	if (!ok)
		return print_listing(&listing, ok, &why);
	ok = a->count > 0 ? list_of(access, a, &listing, &why)
			  : user_access_ask(access, CONTROL_USER_LIST, &none,
				add_device, &listing, &why);
	user_access_close(access);
	return print_listing(&listing, ok, &why);
}

static enum tool_status
run_show(const struct arguments *a)
{
	struct user_listing listing = { .json = a->options->json,
		.show = true };
	struct entry device = { 0 };
	struct user_access *access;
	struct reason why = { 0 };
	bool ok = take_login(a, device.name, &why) &&
		  user_access_open(&access, a->config, &why);

	if (!ok)
		return print_listing(&listing, ok, &why);
	ok = user_access_ask(access, CONTROL_USER_SHOW, &device, add_device,
	    &listing, &why);
	user_access_close(access);
	if (ok && listing.count == 0)
		ok = fail(&why, REASON_ABSENT, "%s: is nobody's device",
		    device.name);
	return print_listing(&listing, ok, &why);
}

static enum tool_status
run_sent(const struct arguments *a)
{
	char login[NAME_SIZE];
	struct reason why = { 0 };

	if (take_login(a, login, &why))
		return device_sent(a->config, login, a->options->json);
	tool_error(&why);
	return TOOL_NO;
}

/*
 * First nothing more can be sent, then what was is told.  What was accepted in
 * the last moment may not be listed yet, as its sessions may just be ending.
 */
static enum tool_status
run_revoke(const struct arguments *a)
{
	struct entry device = { .kind = ENTRY_DEVICE };
	struct user_access *access;
	struct reason why = { 0 };
	bool ok = take_login(a, device.name, &why) &&
		  user_access_open(&access, a->config, &why);

	if (ok) {
		ok = user_access_ask(access, CONTROL_USER_REVOKE, &device, NULL,
		    NULL, &why);
		if (ok && !user_access_is_file(access))
			sleep(SETTLE_S);
		user_access_close(access);
	}
	if (!ok) {
		tool_error(&why);
		return TOOL_NO;
	}
	if (device_sent(a->config, device.name, a->options->json) == TOOL_DONE)
		return TOOL_DONE;
	fprintf(stderr, "sallyport: %s: it is revoked all the same\n",
	    device.name);
	return TOOL_NO;
}

static const struct action {
	const char *word;
	enum tool_status (*run)(const struct arguments *);
	int least, most;   /* words */
	const char *takes; /* options, by their letters */
	const char *usage, *help;
} actions[] = {
	{ "enrol", run_enrol, 2, 2, "caNtuofi",
	    "enrol USER LABEL [--certificate] [--sender PATTERN]... "
	    "[--network NET]...\n"
	    "\t[--rate N] [--until DATE] [--incoming HOST[:PORT]] "
	    "[--output FILE]\n"
	    "\t[--format text|json|profile|uri|qr|thunderbird|pkcs12]",
	    "a login for one device, USER+LABEL, with a random secret or a "
	    "certificate,\n\tboth shown this once" },
	{ "list", run_list, 0, 1, "j", "list [USER] [--json]",
	    "all devices, or those of one user" },
	{ "show", run_show, 1, 2, "j", "show USER LABEL | LOGIN [--json]",
	    "one device" },
	{ "sent", run_sent, 1, 2, "j", "sent USER LABEL | LOGIN [--json]",
	    "what it has sent, newest last, and what of that is still "
	    "queued" },
	{ "revoke", run_revoke, 1, 2, "j", "revoke USER LABEL | LOGIN [--json]",
	    "it may not log in any more, its sessions end; then as sent" },
};

enum { ACTIONS = sizeof actions / sizeof actions[0] };

static void
print_help(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] device COMMAND ...\n\n");
	for (int i = 0; i < ACTIONS; i++)
		fprintf(to, "  %s\n\t%s\n", actions[i].usage, actions[i].help);
	fprintf(to,
	    "\n--sender, --network, --rate (messages an hour) and --until "
	    "(to the end of\nthat day, UTC) say what the device may; never "
	    "more than its user may.\n"
	    "Exit status: 0 done, 1 not done, 2 wrong usage.\n");
}

/* --- the command line ------------------------------------------------------
 */

static bool
take_settings(struct options *options, struct reason *why)
{
	struct entry *entry = &options->enrolment.entry;

	if (!user_settings_apply(entry, &options->changes, why))
		return false;
	return entry->until == 0 || entry->until > time(NULL) ||
	       fail(why, REASON_RANGE,
		   "--until: is past, expected a time to come");
}

static bool
take_format(struct device_enrolment *e, const char *word, struct reason *why)
{
	for (int i = 0; i < DEVICE_FORMATS; i++) {
		if (strcmp(word, formats[i]) != 0)
			continue;
		e->format = (enum device_format)i;
		if (e->format == DEVICE_PKCS12)
			e->certificate = true;
		return true;
	}
	return fail(why, REASON_SYNTAX,
	    "--format: \"%.32s\": expected text, json, profile, uri, qr, "
	    "thunderbird or pkcs12",
	    word);
}

static bool
take_option(int option, struct options *options, struct reason *why)
{
	struct device_enrolment *e = &options->enrolment;

	switch (option) {
	case 'j':
		options->json = true;
		return true;
	case 'c':
		e->certificate = true;
		return true;
	case USER_RIGHT_ADD:
	case USER_NETWORK:
	case USER_RATE:
	case USER_UNTIL:
		return user_changes_add(&options->changes,
		    (enum user_setting)option, optarg, why);
	case 'o':
		e->output = optarg;
		return true;
	case 'f':
		return take_format(e, optarg, why);
	default:
		return device_incoming(&e->incoming, optarg, why);
	}
}

/* What cannot be made of the rest. */
static bool
options_fit(const struct device_enrolment *e, struct reason *why)
{
	const char *format = formats[e->format];

	if (e->certificate && e->output == NULL)
		return fail(why, REASON_SYNTAX,
		    "--certificate: expected --output FILE for it");
	if (e->certificate &&
	    (e->format == DEVICE_URI || e->format == DEVICE_QR ||
		e->format == DEVICE_THUNDERBIRD))
		return fail(why, REASON_SYNTAX,
		    "--format %s: can hold no certificate", format);
	if (e->incoming.port == 0 &&
	    (e->format == DEVICE_THUNDERBIRD ||
		(e->format == DEVICE_PROFILE && !e->certificate)))
		return fail(why, REASON_SYNTAX,
		    "--format %s: an account there has an incoming server too, "
		    "expected --incoming HOST[:PORT]",
		    format);
	return true;
}

static int
wrong_usage(const struct action *action, const char *text)
{
	if (text[0] != '\0')
		fprintf(stderr, "sallyport: device: %s\n", text);
	if (action != NULL)
		fprintf(stderr, "usage: sallyport [-c FILE] device %s\n",
		    action->usage);
	else
		print_help(stderr);
	return TOOL_USAGE;
}

static const struct action *
find_action(const char *word)
{
	for (int i = 0; i < ACTIONS; i++)
		if (strcmp(actions[i].word, word) == 0)
			return &actions[i];
	return NULL;
}

static int
run(const struct action *action, struct arguments *arguments)
{
	struct config *config = NULL;
	struct reason why = { 0 };
	enum tool_status status;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	arguments->config = config;
	status = action->run(arguments);
	config_free(config);
	return status;
}

/* -1: go on. */
static int
read_options(const struct action *action, int argc, char **argv,
    struct options *options)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   'j' },
		{ "certificate", no_argument, NULL, 'c' },
		{ "sender", required_argument, NULL, USER_RIGHT_ADD },
		{ "network", required_argument, NULL, USER_NETWORK },
		{ "rate", required_argument, NULL, USER_RATE },
		{ "until", required_argument, NULL, USER_UNTIL },
		{ "output", required_argument, NULL, 'o' },
		{ "format", required_argument, NULL, 'f' },
		{ "incoming", required_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	struct reason why = { 0 };
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c == '?' || strchr(action->takes, c) == NULL)
			return wrong_usage(action, "");
		if (!take_option(c, options, &why))
			return wrong_usage(action, why.text);
	}
	return take_settings(options, &why) &&
		       options_fit(&options->enrolment, &why)
		   ? -1
		   : wrong_usage(action, why.text);
}

int
tool_device(int argc, char **argv)
{
	struct options options = { 0 };
	struct arguments arguments = { .options = &options };
	const struct action *action;
	int status;

	if (argc < 2)
		return wrong_usage(NULL, "");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	action = find_action(argv[1]);
	if (action == NULL)
		return wrong_usage(NULL, "unknown command");
	status = read_options(action, argc - 1, argv + 1, &options);
	if (status >= 0)
		return status;
	arguments.words = argv + 1 + optind;
	arguments.count = argc - 1 - optind;
	if (arguments.count < action->least || arguments.count > action->most)
		return wrong_usage(action, "");
	return run(action, &arguments);
}
