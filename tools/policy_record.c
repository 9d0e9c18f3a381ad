/*
 * tools/policy_record.c: "sallyport policy rehearsal" and "policy ratchet":
 * what the relay's book says about sites.
 *
 * The relay is asked over its control socket; when nobody answers the book's
 * files are read, which changes nothing.
 */
#include "policy.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../policy/parse.h"
#include "../server/book.h"
#include "../server/control.h"
#include "../server/messages.h"
#include "tool.h"

enum { READY_DAYS = 7, DAYS_MOST = 3650, DAY_S = 86400, DATE_SIZE = 40 };

/* --- asking --------------------------------------------------------------- */

static void
take_record(void *context, const char *octets, size_t len)
{
	json_array_append_new(context, json_loadb(octets, len, 0, NULL));
}

static bool
tell_record(void *context, const char *text, size_t len)
{
	take_record(context, text, len);
	return true;
}

static bool
ask_relay(const struct config *config, enum book_verb verb, const char *site,
    enum level level, json_t *records, struct reason *why)
{
	unsigned char packet[600];
	struct wire_writer w;
	bool ok;
	int fd;

	if (!control_connect(config->state, "relay", &fd, why))
		return false;
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, CONTROL_SITES);
	wire_put_u8(&w, (uint8_t)verb);
	wire_put_string(&w, site);
	wire_put_u8(&w, (uint8_t)level);
	ok = w.failed
		 ? fail(why, REASON_RANGE, "%.40s...: is no HOST:PORT", site)
		 : control_ask(fd, packet, w.len, take_record, records, why);
	close(fd);
	return ok;
}

static bool
read_files(const struct config *config, enum book_verb verb, json_t *records,
    struct reason *why)
{
	struct book *book;
	char folder[4096];
	bool ok;

	(void)snprintf(folder, sizeof(folder), "%s/run/relay", config->state);
	if (!book_open_read_only(&book, folder, why))
		return false;
	ok = book_tell(book, verb, tell_record, records, why);
	book_close(book);
	return ok;
}

json_t *
policy_book_records(const struct config *config, enum book_verb verb,
    struct reason *why)
{
	json_t *records = json_array();

	if (ask_relay(config, verb, "", LEVEL_NONE, records, why))
		return records;
	/* It may have left in the middle of its answer. */
	json_array_clear(records);
	if (why->code == REASON_AWAY && read_files(config, verb, records, why))
		return records;
	json_decref(records);
	return NULL;
}

/* --- printing ------------------------------------------------------------- */

static json_int_t
number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

static const char *
date_of(json_int_t when, char out[static DATE_SIZE])
{
	time_t seconds = (time_t)when;
	struct tm tm;

	if (localtime_r(&seconds, &tm) == NULL ||
	    strftime(out, DATE_SIZE, "%Y-%m-%d %H:%M", &tm) == 0)
		(void)snprintf(out, DATE_SIZE, "?");
	return out;
}

static void
print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* --- rehearsal ------------------------------------------------------------ */

struct rehearsal {
	const struct policy *policy;
	const json_t *records; /* of the book */
	json_t *rows;          /* what is told of each observed row */
	int days;
};

static void
add_reasons(json_t *sum, const json_t *reasons)
{
	const char *word;
	json_t *count;

	json_object_foreach((json_t *)(uintptr_t)reasons, word, count)
	    json_object_set_new(sum, word,
		json_integer(number_of(sum, word) + json_integer_value(count)));
}

/* A row of both directions has a record for each. */
static void
add_record(json_t *told, const json_t *record)
{
	static const char *const sums[] = { "connections", "refused" };
	static const char *const latest[] = { "last", "last-refused" };
	json_int_t since = number_of(told, "since");

	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		json_object_set_new(told, sums[i],
		    json_integer(
			number_of(told, sums[i]) + number_of(record, sums[i])));
	for (size_t i = 0; i < sizeof(latest) / sizeof(latest[0]); i++)
		if (number_of(record, latest[i]) > number_of(told, latest[i]))
			json_object_set_new(told, latest[i],
			    json_integer(number_of(record, latest[i])));
	if (since == 0 || number_of(record, "since") < since)
		json_object_set_new(told, "since",
		    json_integer(number_of(record, "since")));
	add_reasons(json_object_get(told, "reasons"),
	    json_object_get(record, "reasons"));
}

static const char *
why_not_ready(const json_t *told, bool over, int days, time_t now)
{
	json_int_t refused = number_of(told, "last-refused");
	json_int_t span = (json_int_t)days * DAY_S;

	if (over)
		return "its date is over: it counts as absent";
	if (number_of(told, "connections") == 0)
		return "no connection yet";
	if (refused != 0 && now - refused < span)
		return "some would have been refused lately";
	if (refused != 0 && number_of(told, "last") <= refused)
		return "no connection since one would have been refused";
	if (now - number_of(told, "since") < span)
		return "the record is too short";
	return NULL;
}

/* What clients caused is no record of a row about next hops, even if the
 * session role should say so. */
static bool
is_of_row(const json_t *record, const struct row *row, const char *identity)
{
	unsigned directions = strcmp(text_of(record, "direction"), "in") == 0
				  ? DIRECTION_IN | DIRECTION_FROM
				  : DIRECTION_OUT | DIRECTION_RCPT;

	return (row->directions & directions) != 0 &&
	       strcmp(text_of(record, "identity"), identity) == 0;
}

static json_t *
tell_row(const struct rehearsal *rehearsal, const struct row *row)
{
	time_t now = rehearsal->policy->source.now;
	const char *not_ready, *site = row_first(row, FIELD_KEY);
	const json_t *record;
	char identity[17];
	json_t *told;
	size_t i;

	(void)snprintf(identity, sizeof(identity), "%016" PRIx64,
	    row_identity(row));
	told = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:{}}",
	    "file", rehearsal->policy->source.path, "line", (int)row->line,
	    "site", site == NULL ? "" : site, "direction",
	    direction_word(row->directions), "level", level_word(row->level),
	    "identity", identity, "connections", 0, "refused", 0, "reasons");
	json_array_foreach(rehearsal->records, i, record)
	{
		if (is_of_row(record, row, identity))
			add_record(told, record);
	}
	not_ready =
	    why_not_ready(told, row_is_over(row, now), rehearsal->days, now);
	json_object_set_new(told, "ready", json_boolean(not_ready == NULL));
	if (not_ready != NULL)
		json_object_set_new(told, "not-ready", json_string(not_ready));
	return told;
}

static bool
rehearse_row(void *context, unsigned line, const char *text)
{
	struct rehearsal *rehearsal = context;
	struct row *row = malloc(sizeof(*row));
	struct reason why;
	struct key key;

	if (row != NULL &&
	    row_parse(row, &key, text, strlen(text), "/", &why) == PARSE_ROW &&
	    row->observe) {
		row->line = line;
		json_array_append_new(rehearsal->rows,
		    tell_row(rehearsal, row));
	}
	free(row);
	return true;
}

static void
print_row(const json_t *row)
{
	const char *not_ready = text_of(row, "not-ready");
	json_t *reasons = json_object_get(row, "reasons"), *count;
	char since[DATE_SIZE], last[DATE_SIZE];
	const char *word, *between = " (";

	printf("%s:%" JSON_INTEGER_FORMAT ": %s %s %s\n", text_of(row, "file"),
	    number_of(row, "line"), text_of(row, "site"),
	    text_of(row, "direction"), text_of(row, "level"));
	if (number_of(row, "connections") > 0) {
		printf("    since %s: %" JSON_INTEGER_FORMAT
		       " connections, the last %s; %" JSON_INTEGER_FORMAT
		       " would have been refused",
		    date_of(number_of(row, "since"), since),
		    number_of(row, "connections"),
		    date_of(number_of(row, "last"), last),
		    number_of(row, "refused"));
		json_object_foreach(reasons, word, count)
		{
			printf("%s%s %" JSON_INTEGER_FORMAT, between, word,
			    json_integer_value(count));
			between = ", ";
		}
		puts(json_object_size(reasons) > 0 ? ")" : "");
	}
	if (not_ready[0] != '\0')
		printf("    not ready: %s\n", not_ready);
	else
		puts("    ready to enforce: take mode=observe away");
}

static bool
print_rehearsal(const struct rehearsal *rehearsal, bool json)
{
	bool ready = true;
	const json_t *row;
	size_t i;

	json_array_foreach(rehearsal->rows, i, row)
	{
		if (!json_is_true(json_object_get(row, "ready")))
			ready = false;
		if (!json)
			print_row(row);
	}
	if (json)
		print_json(rehearsal->rows);
	else if (json_array_size(rehearsal->rows) == 0)
		puts("no row has mode=observe");
	return ready;
}

static int
rehearse(bool json, int days)
{
	struct rehearsal rehearsal = { .days = days };
	struct policy policy;
	struct reason why;
	json_t *records = NULL;
	int status = TOOL_NO;

	if (policy_load(&policy, NULL) && policy_open(&policy)) {
		rehearsal.policy = &policy;
		rehearsal.rows = json_array();
		records = policy_book_records(policy.config, BOOK_OBSERVED, &why);
		rehearsal.records = records;
		if (records == NULL ||
		    !table_each(policy.table, rehearse_row, &rehearsal, &why))
			tool_error(&why);
		else if (print_rehearsal(&rehearsal, json))
			status = TOOL_DONE;
		json_decref(records);
		json_decref(rehearsal.rows);
	}
	policy_fini(&policy);
	return status;
}

/* --- ratchet -------------------------------------------------------------- */

/* Terminals obey some characters, U+0080 to U+009F among them: none of them
 * is printed.  jansson has seen to it that this is UTF-8. */
static void
print_harmless(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c != '\0';
	     c++) {
		bool is_high = *c == 0xc2 && c[1] < 0xa0;

		if (is_high)
			c++;
		putchar(is_high || iscntrl(*c) ? '?' : *c);
	}
}

static void
print_ratchet(const json_t *record)
{
	char since[DATE_SIZE];
	json_int_t version = number_of(record, "version");

	printf("%s %s", text_of(record, "site"), text_of(record, "level"));
	if (version != 0)
		printf(" TLS1.%" JSON_INTEGER_FORMAT, version % 10);
	printf(", since %s", date_of(number_of(record, "since"), since));
	if (text_of(record, "issuer")[0] != '\0') {
		fputs(", issuer ", stdout);
		print_harmless(text_of(record, "issuer"));
	}
	putchar('\n');
}

static int
list_ratchets(const struct config *config, bool json)
{
	struct reason why;
	json_t *records = policy_book_records(config, BOOK_RATCHETS, &why);
	const json_t *record;
	size_t i;

	if (records == NULL) {
		tool_error(&why);
		return TOOL_NO;
	}
	if (json) {
		print_json(records);
	} else {
		json_array_foreach(records, i, record) print_ratchet(record);
		if (json_array_size(records) == 0)
			puts("nothing is remembered");
	}
	json_decref(records);
	return TOOL_DONE;
}

static int
lower_ratchet(const struct config *config, const char *site, enum level level)
{
	json_t *records = json_array();
	char name[512];
	struct reason why;
	bool ok;
	size_t i;

	for (i = 0; site[i] != '\0' && i < sizeof(name) - 1; i++)
		name[i] = (char)tolower((unsigned char)site[i]);
	name[i] = '\0';
	ok = site[i] != '\0'
		 ? fail(&why, REASON_RANGE, "%.40s...: is no HOST:PORT", site)
		 : ask_relay(config, BOOK_RATCHET_LOWER, name, level, records,
		       &why);
	json_decref(records);
	if (ok)
		return TOOL_DONE;
	if (why.code == REASON_AWAY)
		(void)fail(&why, REASON_AWAY,
		    "the server does not run; policy ratchet lower needs it");
	tool_error(&why);
	return TOOL_NO;
}

/* --- the command line ----------------------------------------------------- */

static void
rehearsal_help(FILE *to)
{
	fputs("usage: sallyport [-c FILE] policy rehearsal [--days N] "
	      "[--json]\n\n"
	      "Rows with mode=observe, what they would have refused, and "
	      "whether they are\nready to enforce: none refused for N days "
	      "(default 7).\n"
	      "Exit status: 0 all are ready, 1 some are not, 2 wrong usage.\n",
	    to);
}

static void
ratchet_help(FILE *to)
{
	fputs("usage: sallyport [-c FILE] policy ratchet [--json]\n"
	      "       sallyport [-c FILE] policy ratchet lower HOST:PORT "
	      "[LEVEL]\n\n"
	      "The best that next hops with ratchet have shown; lower makes "
	      "the server\nforget it, or remember LEVEL (may, encrypt, verify "
	      "or lock).\n"
	      "Exit status: 0 done, 1 it could not be done, 2 wrong usage.\n",
	    to);
}

static int
wrong(void (*help)(FILE *to), const char *what)
{
	fprintf(stderr, "sallyport policy: %s\n", what);
	help(stderr);
	return TOOL_USAGE;
}

enum { OPTION_JSON = 256, OPTION_DAYS, OPTION_HELP = 'h' };

struct options {
	bool json, help;
	int days;
};

static bool
take_days(const char *text, int *out)
{
	char *end;
	long days = strtol(text, &end, 10);

	if (end == text || *end != '\0' || days < 0 || days > DAYS_MOST)
		return false;
	*out = (int)days;
	return true;
}

static bool
take_options(struct options *options, int argc, char **argv, bool has_days)
{
	static const struct option words[] = {
		{ "json", no_argument, NULL, OPTION_JSON },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ "days", required_argument, NULL, OPTION_DAYS },
		{ NULL, 0, NULL, 0 },
	};
	int letter;

	optind = 0;
	while ((letter = getopt_long(argc, argv, "h", words, NULL)) != -1) {
		if (letter == OPTION_HELP)
			options->help = true;
		else if (letter == OPTION_JSON)
			options->json = true;
		else if (letter != OPTION_DAYS || !has_days ||
			 !take_days(optarg, &options->days))
			return false;
	}
	return true;
}

int
policy_rehearsal(int argc, char **argv)
{
	struct options options = { .days = READY_DAYS };

	if (!take_options(&options, argc, argv, true))
		return wrong(rehearsal_help, "rehearsal: wrong option");
	if (options.help) {
		rehearsal_help(stdout);
		return TOOL_DONE;
	}
	if (optind < argc)
		return wrong(rehearsal_help, "rehearsal: too many arguments");
	return rehearse(options.json, options.days);
}

static bool
take_level(const char *word, enum level *out)
{
	for (int i = LEVEL_MAY; i <= LEVEL_LOCK; i++) {
		if (strcmp(word, level_word((enum level)i)) == 0) {
			*out = (enum level)i;
			return true;
		}
	}
	return false;
}

int
policy_ratchet(int argc, char **argv)
{
	struct options options = { .json = false };
	enum level level = LEVEL_NONE;
	struct config *config;
	struct reason why;
	int status, count;

	if (!take_options(&options, argc, argv, false))
		return wrong(ratchet_help, "ratchet: wrong option");
	if (options.help) {
		ratchet_help(stdout);
		return TOOL_DONE;
	}
	argv += optind;
	count = argc - optind;
	if (count > 0 && (strcmp(argv[0], "lower") != 0 || options.json ||
			     count < 2 || count > 3))
		return wrong(ratchet_help,
		    "ratchet: lower HOST:PORT [LEVEL] expected");
	if (count == 3 && !take_level(argv[2], &level))
		return wrong(ratchet_help,
		    "ratchet: level may, encrypt, verify or lock expected");
	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	status = count == 0 ? list_ratchets(config, options.json)
			    : lower_ratchet(config, argv[1], level);
	config_free(config);
	return status;
}
