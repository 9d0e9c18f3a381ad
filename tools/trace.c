/*
 * tools/trace.c: sallyport trace: a message's story on one screen: who brought
 * it and how, each attempt with what was decided and replied, where it is now.
 *
 * Asks the relay, which knows a message that is done with as long as the file
 * it came in is there; when nobody answers, the queue's files are read.  The
 * log knows it for as long as it is kept.
 */
#include "tool.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "queue_access.h"
#include "queue_print.h"
#include "trace_log.h"

/* Attempts of which each said what the one before did are one line. */
struct story {
	json_t *objects;
	json_int_t same; /* attempts that were left out */
};

static const char help[] =
    "usage: sallyport [-c FILE] trace [--json] ID\n"
    "       sallyport trace --log FILE ID\n\n"
    "A message's story: who brought it and how, each attempt with what was\n"
    "decided and replied, and where it is now.  One that is done with is "
    "known\n"
    "as long as others of its file are not; after that the log tells of it:\n"
    "--log prints its lines there, and those of the session that brought it.\n"
    "FILE may be - for standard input, such as from journalctl -o cat.\n"
    "exit status: 0 done, 1 it is not known, 2 wrong usage\n";

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

static bool
is_kind(const json_t *object, const char *kind)
{
	return strcmp(text_of(object, "kind"), kind) == 0;
}

/* Terminals obey some octets: none of them is printed. */
static void
print_text(const char *before, const char *text, const char *after)
{
	fputs(before, stdout);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		putchar(c < 0x20 || c == 0x7f ? '?' : c);
	}
	fputs(after, stdout);
}

static void
print_date(json_int_t seconds)
{
	time_t when = (time_t)seconds;
	char date[40] = "?";
	struct tm tm;

	if (localtime_r(&when, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	fputs(date, stdout);
}

/* What follows happened then. */
static void
print_time(json_int_t seconds)
{
	print_date(seconds);
	fputs("  ", stdout);
}

static void
print_recipients(json_int_t count)
{
	printf(", %" JSON_INTEGER_FORMAT " recipient%s", count,
	    count == 1 ? "" : "s");
}

static void
print_named(const json_t *object, const char *key)
{
	if (text_of(object, key)[0] == '\0')
		return;
	printf(" %s ", key);
	print_text("", text_of(object, key), "");
}

static void
print_accepted(const json_t *message)
{
	print_time(number_of(message, "arrival"));
	fputs("accepted", stdout);
	print_named(message, "login");
	print_named(message, "client");
	print_named(message, "session");
	print_named(message, "listener");
	print_text("\n    ",
	    text_of(message, "tls")[0] != '\0' ? text_of(message, "tls")
					       : "no TLS",
	    "\n");
	print_text("    from <", text_of(message, "from"), ">");
	print_recipients(number_of(message, "recipient_total"));
	printf(", %" JSON_INTEGER_FORMAT " octets\n",
	    number_of(message, "size"));
}

static void
print_attempt(const json_t *attempt)
{
	const json_t *one;
	size_t i;

	print_time(number_of(attempt, "when"));
	printf("attempt %" JSON_INTEGER_FORMAT, number_of(attempt, "number"));
	fputs(" to ", stdout);
	queue_print_place(attempt);
	print_text(text_of(attempt, "remote")[0] != '\0' ? " " : "",
	    text_of(attempt, "remote"), "\n");
	if (text_of(attempt, "decision")[0] != '\0')
		print_text("    ", text_of(attempt, "decision"), "\n");
	json_array_foreach(json_object_get(attempt, "outcomes"), i, one)
	{
		print_text("    ", text_of(one, "outcome"), "");
		print_text(" <", text_of(one, "rcpt"), ">: ");
		print_text("", text_of(one, "text"), "\n");
	}
}

/* Nothing but the time is new. */
static bool
says_the_same(const json_t *before, const json_t *attempt)
{
	return before != NULL &&
	       strcmp(text_of(before, "host"), text_of(attempt, "host")) == 0 &&
	       strcmp(text_of(before, "decision"),
		   text_of(attempt, "decision")) == 0 &&
	       json_equal(json_object_get(before, "outcomes"),
		   json_object_get(attempt, "outcomes"));
}

static void
print_same(struct story *story, const json_t *last)
{
	if (story->same == 0)
		return;
	print_time(number_of(last, "when"));
	printf("and %" JSON_INTEGER_FORMAT
	       " times more, the last as attempt %" JSON_INTEGER_FORMAT "\n",
	    story->same, number_of(last, "number"));
	story->same = 0;
}

static void
print_attempts(struct story *story)
{
	const json_t *object, *before = NULL;
	size_t i;

	json_array_foreach(story->objects, i, object)
	{
		if (number_of(object, "left_out") > 0) {
			print_same(story, before);
			before = NULL;
			printf("%21s%" JSON_INTEGER_FORMAT
			       " attempts not kept\n",
			    "", number_of(object, "left_out"));
		}
		if (is_kind(object, "delay-notice")) {
			print_same(story, before);
			before = NULL;
			print_time(number_of(object, "when"));
			printf("the sender was told of the delay\n");
			continue;
		}
		if (!is_kind(object, "attempt"))
			continue;
		if (says_the_same(before, object)) {
			story->same++;
		} else {
			print_same(story, before);
			print_attempt(object);
		}
		before = object;
	}
	print_same(story, before);
}

static void
print_now(const struct story *story, const json_t *message)
{
	const json_t *object;
	size_t i;

	print_time(time(NULL));
	printf("now %s%s\n", text_of(message, "state"),
	    json_is_true(json_object_get(message, "by_operator"))
		? " by the operator"
		: "");
	json_array_foreach(story->objects, i, object)
	{
		if (!is_kind(object, "leg") ||
		    strcmp(text_of(message, "state"), "done") == 0)
			continue;
		printf("    %s", text_of(object, "state"));
		print_recipients(number_of(object, "recipients"));
		fputs(", next hop ", stdout);
		queue_print_place(object);
		if (json_is_integer(json_object_get(object, "next"))) {
			fputs(", next attempt ", stdout);
			print_date(number_of(object, "next"));
		}
		putchar('\n');
		queue_print_untold(object);
	}
}

static void
take_object(void *context, const char *octets, size_t len)
{
	struct story *story = context;
	json_t *object = json_loadb(octets, len, 0, NULL);

	if (object != NULL)
		json_array_append_new(story->objects, object);
}

static bool
ask(const char *id, struct story *story, struct reason *why)
{
	struct queue_request request = { .verb = QUEUE_TRACE };
	struct queue_access *access = NULL;
	struct config *config;
	bool ok;

	if (strlen(id) >= sizeof(request.filter.id) || id[0] == '\0')
		return fail(why, REASON_RANGE, "%.40s: is no queue id", id);
	memcpy(request.filter.id, id, strlen(id) + 1);
	if (!tool_config(&config, why))
		return false;
	ok = queue_access_open(&access, config, true, why) &&
	     queue_access_ask(access, &request, take_object, story, why);
	queue_access_close(access);
	config_free(config);
	return ok;
}

static int
run(const char *id, bool json)
{
	struct story story = { .objects = json_array() };
	const json_t *message;
	struct reason why;

	if (!ask(id, &story, &why)) {
		tool_error(&why);
		json_decref(story.objects);
		return TOOL_NO;
	}
	message = json_array_get(story.objects, 0);
	if (json) {
		json_dumpf(story.objects, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_accepted(message);
		print_attempts(&story);
		print_now(&story, message);
	}
	json_decref(story.objects);
	return TOOL_DONE;
}

static int
run_log(const char *path, const char *id)
{
	unsigned long count;
	struct reason why;

	if (!trace_log(path, id, &count, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	if (count > 0)
		return TOOL_DONE;
	fprintf(stderr, "sallyport: no line about %.40s in %s\n", id,
	    strcmp(path, "-") == 0 ? "standard input" : path);
	return TOOL_NO;
}

int
tool_trace(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL,
						   'j' },
		{ "log", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	const char *log = NULL;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return TOOL_DONE;
		}
		if (c != 'j' && c != 'l') {
			fputs(help, stderr);
			return TOOL_USAGE;
		}
		if (c == 'l')
			log = optarg;
		else
			json = true;
	}
	if (argc - optind != 1 || argv[optind][0] == '\0' ||
	    (log != NULL && json)) {
		fputs(help, stderr);
		return TOOL_USAGE;
	}
	return log != NULL ? run_log(log, argv[optind])
			   : run(argv[optind], json);
}
