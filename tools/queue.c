/*
 * tools/queue.c: sallyport queue: what waits, why, and what to do about it.
 *
 * The relay is asked over its control socket; when nobody answers, list and
 * show read the queue's files, which changes nothing.
 */
#include "tool.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../auth/name.h"
#include "../server/config_value.h"
#include "queue_access.h"
#include "queue_print.h"

/* Whose an option is. */
enum takes {
	TAKES_LIST = 1,
	TAKES_SHOW = 2,
	TAKES_CHANGE = 4,
	TAKES_BOUNCE = 8
};

enum {
	OPT_JSON = 256,
	OPT_SUMMARY,
	OPT_BODY,
	OPT_ALL,
	OPT_STATUS,
	OPT_BECAUSE,
	OPT_USER,
	OPT_SITE,
	OPT_SENDER,
	OPT_OLDER,
	OPT_NEWER,
	OPT_REASON,
	OPT_STATE,
};

struct action {
	const char *word;
	enum queue_verb verb;
	unsigned takes;
	const char *done; /* what became of N messages */
	const char *help;
};

static const struct action actions[] = {
	{ "list", QUEUE_LIST, TAKES_LIST, NULL,
	    "list [FILTER ...] [--summary] [--json] [ID ...]\n"
	    "        messages that wait, the oldest first; or how many by "
	    "next\n"
	    "        hop and reason, and for how long" },
	{ "show", QUEUE_SHOW, TAKES_SHOW, NULL,
	    "show [--body] [--json] ID ...\n"
	    "        one message: recipients, next hops, every attempt, its\n"
	    "        header" },
	{ "flush", QUEUE_FLUSH, TAKES_CHANGE, "due now",
	    "flush [FILTER ...] [ID ...]\n"
	    "        try what waits (all, or these) now" },
	{ "hold", QUEUE_HOLD, TAKES_CHANGE, "held",
	    "hold FILTER ... | ID ... | --all\n"
	    "        try these no more until they are released" },
	{ "release", QUEUE_RELEASE, TAKES_CHANGE, "released",
	    "release FILTER ... | ID ... | --all\n"
	    "        try what is held again, now" },
	{ "remove", QUEUE_REMOVE, TAKES_CHANGE, "removed",
	    "remove FILTER ... | ID ... | --all\n"
	    "        drop these without delivery and without a bounce" },
	{ "bounce", QUEUE_BOUNCE, TAKES_CHANGE | TAKES_BOUNCE, "returned",
	    "bounce [--status 5.Y.Z] [--because TEXT] FILTER ... | ID ... | "
	    "--all\n"
	    "        give these up: their senders are told so now" },
};

static const char filters[] =
    "\nFILTER, of which all given have to hold:\n"
    "    --user NAME      submitted by that login, or a device of it\n"
    "    --site NAME      a next hop, or the domain of a recipient; .NAME\n"
    "                     for all under it\n"
    "    --sender ADDRESS from that address, @DOMAIN or <>\n"
    "    --older TIME     for at least 30m, 4h, 2d\n"
    "    --newer TIME     for at most that\n"
    "    --reason TEXT    what was said last has it; 4.7: its status\n"
    "    --state STATE    queued, deferred, active, held; may be repeated\n"
    "\n";

static const struct option longs[] = {
	{ "json", no_argument, NULL, OPT_JSON },
	{ "summary", no_argument, NULL, OPT_SUMMARY },
	{ "body", no_argument, NULL, OPT_BODY },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "status", required_argument, NULL, OPT_STATUS },
	{ "because", required_argument, NULL, OPT_BECAUSE },
	{ "user", required_argument, NULL, OPT_USER },
	{ "site", required_argument, NULL, OPT_SITE },
	{ "sender", required_argument, NULL, OPT_SENDER },
	{ "older", required_argument, NULL, OPT_OLDER },
	{ "newer", required_argument, NULL, OPT_NEWER },
	{ "reason", required_argument, NULL, OPT_REASON },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* What is asked, and what has been answered. */
struct order {
	const struct action *action;
	struct queue_request request;
	bool json, help;
	const char *user; /* as typed: a bare name needs the configuration */
	struct queue_printer printer;
	size_t count; /* objects so far */
	json_int_t matched, changed, active, refused, failed;
};

static void
print_help(FILE *out)
{
	fputs("usage: sallyport [-c FILE] queue COMMAND ...\n\n", out);
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		fprintf(out, "    %s\n", actions[i].help);
	fputs(filters, out);
	fputs("list and show print JSON with --json.\n"
	      "exit status: 0 done, 1 it could not be done, 2 wrong usage\n",
	    out);
}

/* action NULL: word is none. */
static int
wrong_usage(const struct action *action, const char *word, const char *text)
{
	fprintf(stderr, "sallyport: queue %s: %s\n", word, text);
	if (action == NULL)
		print_help(stderr);
	else
		fprintf(stderr,
		    "usage: sallyport [-c FILE] queue %s\n"
		    "sallyport queue --help tells of filters\n",
		    action->help);
	return TOOL_USAGE;
}

/* --- the command line ----------------------------------------------------- */

/* What is wrong with it; NULL: nothing. */
static const char *
copy_word(char *out, size_t size, const char *word)
{
	if (word[0] == '\0')
		return "a value was expected";
	if (strlen(word) >= size)
		return "a value is too long";
	memcpy(out, word, strlen(word) + 1);
	return NULL;
}

static const char *
age_parse(const char *word, int64_t *out)
{
	uint64_t ms;

	if (!value_duration(word, &ms) || ms < 1000 ||
	    ms > UINT64_C(1000) * 86400 * 1000)
		return "a time was expected: 90s, 30m, 4h or 2d";
	*out = (int64_t)(ms / 1000);
	return NULL;
}

static const char *
filter_option(struct order *order, int c, const char *word)
{
	struct queue_filter *filter = &order->request.filter;
	unsigned state;

	switch (c) {
	case OPT_USER:
		order->user = word;
		return copy_word(filter->user, sizeof(filter->user), word);
	case OPT_SITE:
		return copy_word(filter->site, sizeof(filter->site), word);
	case OPT_SENDER:
		return copy_word(filter->sender, sizeof(filter->sender), word);
	case OPT_REASON:
		return copy_word(filter->reason, sizeof(filter->reason), word);
	case OPT_OLDER:
		return age_parse(word, &filter->older_s);
	case OPT_NEWER:
		return age_parse(word, &filter->newer_s);
	case OPT_STATE:
		state = queue_state_parse(word);
		filter->states |= state;
		return state != 0 ? NULL
				  : "queued, deferred, active or held was "
				    "expected";
	default:
		return "unknown option";
	}
}

static const char *
take_option(struct order *order, int c, const char *word)
{
	struct queue_request *request = &order->request;
	unsigned takes = order->action->takes, wants = 0;

	switch (c) {
	case 'h':
		order->help = true;
		return NULL;
	case OPT_JSON:
		wants = TAKES_LIST | TAKES_SHOW;
		order->json = true;
		break;
	case OPT_SUMMARY:
		wants = TAKES_LIST;
		request->verb = QUEUE_SUMMARY;
		break;
	case OPT_BODY:
		wants = TAKES_SHOW;
		request->body = true;
		break;
	case OPT_ALL:
		wants = TAKES_CHANGE;
		request->all = true;
		break;
	case OPT_STATUS:
	case OPT_BECAUSE:
		if ((takes & TAKES_BOUNCE) == 0)
			return "wrong option";
		if (c == OPT_BECAUSE)
			return queue_is_printable(word)
				   ? copy_word(request->text, QUEUE_TEXT_SIZE,
					 word)
				   : "a text of printable ASCII was expected";
		if (!queue_is_status(word))
			return "a status for good was expected, such as 5.7.1";
		return copy_word(request->status, QUEUE_STATUS_SIZE, word);
	default:
		return (takes & (TAKES_LIST | TAKES_CHANGE)) == 0
			   ? "it takes no filter"
			   : filter_option(order, c, word);
	}
	return (takes & wants) == 0 ? "wrong option" : NULL;
}

/* Whether enough is said of which messages are meant; all is said aloud, but
 * for what harms nobody. */
static const char *
check_order(const struct order *order, int ids)
{
	const struct queue_filter *filter = &order->request.filter;
	bool empty = queue_filter_is_empty(filter) && ids == 0;

	if (filter->older_s > 0 && filter->newer_s > 0 &&
	    filter->older_s > filter->newer_s)
		return "no message is older and newer than that";
	if (order->request.all && !empty)
		return "--all or some of them, not both";
	if (order->action->verb == QUEUE_SHOW && ids == 0)
		return "a queue id was expected";
	if (order->request.verb == QUEUE_SUMMARY && ids > 0)
		return "--summary takes no queue id";
	if ((order->action->takes & TAKES_CHANGE) == 0 ||
	    order->action->verb == QUEUE_FLUSH)
		return NULL;
	if (empty && !order->request.all)
		return "a queue id, a filter or --all was expected";
	return NULL;
}

/* --- answers -------------------------------------------------------------- */

static json_int_t
number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool
take_result(struct order *order, const json_t *object)
{
	const char *kind = json_string_value(json_object_get(object, "kind"));

	if (kind == NULL || strcmp(kind, "result") != 0)
		return false;
	order->matched += number_of(object, "matched");
	order->changed += number_of(object, "changed");
	order->active += number_of(object, "active");
	order->refused += number_of(object, "refused");
	order->failed += number_of(object, "failed");
	return true;
}

/* One JSON object of an answer; --json makes an array of them. */
static void
take_object(void *context, const char *octets, size_t len)
{
	struct order *order = context;
	json_t *object = json_loadb(octets, len, 0, NULL);

	if (object == NULL)
		return;
	if (take_result(order, object)) {
		json_decref(object);
		return;
	}
	if (order->json) {
		fputs(order->count == 0 ? "[\n" : ",\n", stdout);
		json_dumpf(object, stdout, JSON_COMPACT);
	} else {
		queue_print(&order->printer, object);
	}
	order->count++;
	json_decref(object);
}

static const char *
plural(json_int_t count)
{
	return count == 1 ? "" : "s";
}

static int
finish_change(const struct order *order, int status)
{
	if (order->matched == 0 && status != TOOL_DONE)
		return status;
	printf("%" JSON_INTEGER_FORMAT " message%s matched, "
	       "%" JSON_INTEGER_FORMAT " %s\n",
	    order->matched, plural(order->matched), order->changed,
	    order->action->done);
	if (order->active > 0)
		printf("%" JSON_INTEGER_FORMAT " being tried now: %s\n",
		    order->active,
		    order->action->verb == QUEUE_BOUNCE
			? "not returned, try again"
			: "that attempt is made");
	if (order->refused > 0)
		fprintf(stderr,
		    "sallyport: %" JSON_INTEGER_FORMAT " not returned: from "
		    "the null reverse-path, nobody can be told; remove is for "
		    "those\n",
		    order->refused);
	if (order->failed > 0)
		fprintf(stderr,
		    "sallyport: %" JSON_INTEGER_FORMAT " could not be read; "
		    "the log says why\n",
		    order->failed);
	if (order->refused > 0 || order->failed > 0 ||
	    (order->active > 0 && order->action->verb == QUEUE_BOUNCE))
		return TOOL_NO;
	return status;
}

static int
finish(const struct order *order, int status)
{
	bool none = order->count == 0;

	if ((order->action->takes & TAKES_CHANGE) != 0)
		return finish_change(order, status);
	if (none && status != TOOL_DONE)
		return status;
	if (order->json)
		fputs(none ? "[]\n" : "\n]\n", stdout);
	else if (none && queue_filter_is_empty(&order->request.filter))
		puts("the queue is empty");
	else if (none)
		puts("no message matches");
	return status;
}

/* --- asking --------------------------------------------------------------- */

static bool
ask(const struct config *config, struct order *order, struct reason *why)
{
	bool reads = (order->action->takes & TAKES_CHANGE) == 0;
	struct queue_access *access;
	bool ok;

	if (!queue_access_open(&access, config, reads, why))
		return why->code == REASON_AWAY
			   ? fail(why, REASON_AWAY,
				 "the server does not run; queue %s needs it",
				 order->action->word)
			   : false;
	ok = queue_access_ask(access, &order->request, take_object, order, why);
	queue_access_close(access);
	return ok;
}

static bool
ask_id(const struct config *config, struct order *order, const char *id,
    struct reason *why)
{
	struct queue_filter *filter = &order->request.filter;

	if (copy_word(filter->id, sizeof(filter->id), id) != NULL)
		return fail(why, REASON_RANGE, "%.40s: is no queue id", id);
	return ask(config, order, why);
}

/* The user as entries name him. */
static bool
set_user(const struct config *config, struct order *order, struct reason *why)
{
	char name[NAME_SIZE];

	if (order->user == NULL)
		return true;
	if (!name_parse(name, order->user, config->realm, why))
		return false;
	if (copy_word(order->request.filter.user,
		sizeof(order->request.filter.user), name) != NULL)
		return fail(why, REASON_RANGE, "%.40s: is too long", name);
	return true;
}

static int
run(struct order *order, int count, char **ids)
{
	struct config *config;
	struct reason why;
	int status = TOOL_DONE;
	bool ok;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	ok = set_user(config, order, &why);
	if (ok && count == 0)
		ok = ask(config, order, &why);
	if (!ok) {
		tool_error(&why);
		status = TOOL_NO;
	}
	for (int i = 0; ok && i < count; i++) {
		if (!ask_id(config, order, ids[i], &why)) {
			tool_error(&why);
			status = TOOL_NO;
		}
	}
	config_free(config);
	return finish(order, status);
}

static const struct action *
find_action(const char *word)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(actions[i].word, word) == 0)
			return &actions[i];
	}
	return NULL;
}

int
tool_queue(int argc, char **argv)
{
	struct order order = { .action = NULL };
	const char *wrong = NULL;
	int c, ids;

	if (argc < 2) {
		print_help(stderr);
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	order.action = find_action(argv[1]);
	if (order.action == NULL)
		return wrong_usage(NULL, argv[1], "unknown command");
	order.request.verb = order.action->verb;
	order.printer.show = order.action->verb == QUEUE_SHOW;
	optind = 0;
	opterr = 0; /* take_option says it */
	while (wrong == NULL &&
	       (c = getopt_long(argc - 1, argv + 1, ":h", longs, NULL)) != -1)
		wrong = c == ':' ? "a value was expected"
				 : take_option(&order, c, optarg);
	if (order.help) {
		print_help(stdout);
		return TOOL_DONE;
	}
	ids = argc - 1 - optind;
	if (wrong == NULL)
		wrong = check_order(&order, ids);
	if (wrong != NULL)
		return wrong_usage(order.action, argv[1], wrong);
	return run(&order, ids, argv + 1 + optind);
}
