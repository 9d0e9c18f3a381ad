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
#include <time.h>

#include "queue_access.h"

enum { OPT_JSON = 256, AGE_SIZE = 24 };

struct action {
	const char *word;
	enum queue_verb verb;
	bool needs_id, lists;
	const char *help;
};

static const struct action actions[] = {
	{ "list", QUEUE_LIST, false, true,
	    "list [--json] [ID ...]\n"
	    "        messages that wait, the oldest first" },
	{ "show", QUEUE_SHOW, true, true,
	    "show [--json] ID ...\n"
	    "        one message: recipients, every attempt, its header" },
	{ "flush", QUEUE_FLUSH, false, false,
	    "flush [ID ...]\n"
	    "        try what waits (all, or these) now" },
	{ "remove", QUEUE_REMOVE, true, false,
	    "remove ID ...\n"
	    "        drop these without delivery and without a bounce" },
};

/* How an answer is printed. */
struct output {
	const struct action *action;
	bool json;
	size_t count;   /* objects so far */
	bool in_header; /* pieces of it follow each other */
};

static void
print_help(FILE *out)
{
	fputs("usage: sallyport [-c FILE] queue COMMAND [ID ...]\n\n", out);
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		fprintf(out, "    %s\n", actions[i].help);
	fputs("\nlist and show print JSON with --json.\n"
	      "exit status: 0 done, 1 it could not be done, 2 wrong usage\n",
	    out);
}

/* Printing. */

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

static json_int_t
number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* Terminals obey some octets: none of them is printed. */
static void
print_text(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		putchar(c < 0x20 || c == 0x7f ? '?' : c);
	}
}

static const char *
age_text(json_int_t seconds, char out[static AGE_SIZE])
{
	static const struct {
		json_int_t seconds;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (seconds >= 2 * units[i].seconds || units[i].seconds == 1) {
			snprintf(out, AGE_SIZE, "%" JSON_INTEGER_FORMAT "%c",
			    seconds < 0 ? 0 : seconds / units[i].seconds,
			    units[i].unit);
			break;
		}
	}
	return out;
}

static void
print_recipients(const json_t *object)
{
	const json_t *paths = json_object_get(object, "recipients");
	json_int_t more = number_of(object, "recipient_count") -
			  (json_int_t)json_array_size(paths);
	const json_t *path;
	size_t i;

	json_array_foreach(paths, i, path)
	{
		fputs("    to <", stdout);
		print_text(json_string_value(path));
		fputs(">\n", stdout);
	}
	if (more > 0)
		printf("    and %" JSON_INTEGER_FORMAT " more\n", more);
}

static void
print_message(const json_t *object)
{
	time_t now = time(NULL);
	char age[AGE_SIZE], next[AGE_SIZE];
	bool waits = json_is_integer(json_object_get(object, "next"));

	printf("%-20s %-8s age %s, %" JSON_INTEGER_FORMAT
	       " octets, %" JSON_INTEGER_FORMAT " attempts%s%s\n",
	    text_of(object, "queue"), text_of(object, "state"),
	    age_text(now - number_of(object, "arrival"), age),
	    number_of(object, "size"), number_of(object, "attempts"),
	    waits ? ", next in " : "",
	    waits ? age_text(number_of(object, "next") - now, next) : "");
	fputs("    from <", stdout);
	print_text(text_of(object, "from"));
	fputs(">", stdout);
	if (text_of(object, "login")[0] != '\0') {
		fputs(" login ", stdout);
		print_text(text_of(object, "login"));
	}
	fputs("\n", stdout);
	print_recipients(object);
	if (text_of(object, "reason")[0] != '\0') {
		printf("    %s:%" JSON_INTEGER_FORMAT ": ",
		    text_of(object, "host"), number_of(object, "port"));
		print_text(text_of(object, "reason"));
		putchar('\n');
	}
}

static void
print_attempt(const json_t *object)
{
	time_t when = (time_t)number_of(object, "when");
	char date[40] = "";
	const json_t *one;
	struct tm tm;
	size_t i;

	if (localtime_r(&when, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S %z", &tm);
	printf("attempt %" JSON_INTEGER_FORMAT ", %s, %s:%" JSON_INTEGER_FORMAT
	       " %s\n",
	    number_of(object, "number"), date, text_of(object, "host"),
	    number_of(object, "port"), text_of(object, "remote"));
	if (text_of(object, "decision")[0] != '\0') {
		fputs("    ", stdout);
		print_text(text_of(object, "decision"));
		putchar('\n');
	}
	json_array_foreach(json_object_get(object, "outcomes"), i, one)
	{
		printf("    %s %s <", text_of(one, "outcome"),
		    text_of(one, "status"));
		print_text(text_of(one, "rcpt"));
		fputs(">: ", stdout);
		print_text(text_of(one, "text"));
		putchar('\n');
	}
}

/* Line ends as the terminal has them, other controls not at all. */
static void
print_header_piece(const json_t *object)
{
	for (const char *at = text_of(object, "text"); *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		if (c == '\r')
			continue;
		putchar((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?'
									  : c);
	}
}

static void
print_object(struct output *output, const json_t *object)
{
	const char *kind = text_of(object, "kind");

	if (strcmp(kind, "message") == 0) {
		if (output->in_header)
			putchar('\n');
		output->in_header = false;
		print_message(object);
	} else if (strcmp(kind, "attempt") == 0) {
		print_attempt(object);
	} else if (strcmp(kind, "header") == 0) {
		if (!output->in_header)
			fputs("header\n", stdout);
		output->in_header = true;
		print_header_piece(object);
	}
}

/* One JSON object of an answer; --json makes an array of them. */
static void
take_object(void *context, const char *octets, size_t len)
{
	struct output *output = context;
	json_t *object = json_loadb(octets, len, 0, NULL);

	if (object == NULL)
		return;
	if (output->json) {
		fputs(output->count == 0 ? "[\n" : ",\n", stdout);
		json_dumpf(object, stdout, JSON_COMPACT);
	} else {
		print_object(output, object);
	}
	output->count++;
	json_decref(object);
}

static void
finish_output(const struct output *output, int status)
{
	bool none = output->count == 0;

	if (!output->action->lists || (none && status != TOOL_DONE))
		return;
	if (output->json)
		fputs(none ? "[]\n" : "\n]\n", stdout);
	else if (none && output->action->verb == QUEUE_LIST)
		puts("the queue is empty");
}

/* Asking. */

static bool
act(const struct config *config, const struct action *action, const char *id,
    struct output *output, struct reason *why)
{
	struct queue_access *access;
	bool ok;

	if (!queue_access_open(&access, config, action->lists, why))
		return why->code == REASON_AWAY
			   ? fail(why, REASON_AWAY,
				 "the server does not run; queue %s needs it",
				 action->word)
			   : false;
	ok = queue_access_ask(access, action->verb, id, take_object, output,
	    why);
	queue_access_close(access);
	return ok;
}

static int
run(const struct action *action, bool json, int count, char **ids)
{
	struct output output = { .action = action, .json = json };
	struct config *config;
	struct reason why;
	int status = TOOL_DONE;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	for (int i = 0; i < count || i == 0; i++) {
		if (!act(config, action, count > 0 ? ids[i] : "", &output,
			&why)) {
			tool_error(&why);
			status = TOOL_NO;
		}
	}
	finish_output(&output, status);
	config_free(config);
	return status;
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

static int
wrong_usage(const char *word, const char *text)
{
	fprintf(stderr, "sallyport: queue %s: %s\n", word, text);
	print_help(stderr);
	return TOOL_USAGE;
}

int
tool_queue(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   OPT_JSON },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const struct action *action;
	bool json = false;
	int c, ids;

	if (argc < 2) {
		print_help(stderr);
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_help(stdout);
		return TOOL_DONE;
	}
	action = find_action(argv[1]);
	if (action == NULL)
		return wrong_usage(argv[1], "unknown command");
	optind = 0;
	while ((c = getopt_long(argc - 1, argv + 1, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			print_help(stdout);
			return TOOL_DONE;
		}
		if (c != OPT_JSON || !action->lists)
			return wrong_usage(argv[1], "wrong option");
		json = true;
	}
	ids = argc - 1 - optind;
	if (action->needs_id && ids == 0)
		return wrong_usage(argv[1], "a queue id was expected");
	return run(action, json, ids, argv + 1 + optind);
}
