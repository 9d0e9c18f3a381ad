/*
 * tools/report.c: "sallyport report legacy": who still logs in in old ways, and
 * until when he can.
 *
 * The auth role is asked over its control socket; when nobody answers, the file
 * that it keeps is read.
 */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../auth/legacy.h"
#include "../server/config_value.h"
#include "../server/control.h"
#include "../server/files.h"
#include "../server/legacy_book.h"
#include "user.h"

enum { DAY_S = 86400 };

struct options {
	bool json;
	char user[NAME_SIZE]; /* "": everybody */
	int64_t since;
};

static void
usage(FILE *to)
{
	fputs("usage: sallyport [-c FILE] report legacy [--json] [--user NAME] "
	      "[--since DATE]\n"
	      "    legacy  who still practises what is to go, by program\n"
	      "  --json        as a JSON array\n"
	      "  --user NAME   of this login alone\n"
	      "  --since DATE  seen on that day (2027-03-31, UTC) or later\n",
	    to);
}

/* --- asking --------------------------------------------------------------- */

struct text {
	char *octets;
	size_t len;
	bool failed;
};

static void
take_text(void *context, const char *octets, size_t len)
{
	struct text *text = context;
	char *more;

	if (text->failed || text->len + len > LEGACY_BOOK_OCTETS_MAX) {
		text->failed = true;
		return;
	}
	more = realloc(text->octets, text->len + len + 1);
	if (more == NULL) {
		text->failed = true;
		return;
	}
	text->octets = more;
	memcpy(text->octets + text->len, octets, len);
	text->len += len;
}

static bool
ask_auth(const struct config *config, struct legacy_book **book_out,
    struct reason *why)
{
	const unsigned char request = CONTROL_LEGACY;
	struct text text = { 0 };
	bool ok;
	int fd;

	if (!control_connect(config->state, "auth", &fd, why))
		return false;
	ok = control_ask(fd, &request, 1, take_text, &text, why);
	close(fd);
	if (ok && text.failed)
		ok = fail(why, REASON_RANGE, "the server's answer is too long");
	if (ok)
		ok = legacy_book_parse(book_out, text.octets, text.len, why);
	free(text.octets);
	return ok;
}

/* What the server has kept; none: it has seen nothing yet. */
static bool
read_file(const struct config *config, struct legacy_book **book_out,
    struct reason *why)
{
	char path[PATH_MAX];
	gnutls_datum_t file;
	struct reason what;
	bool ok;

	if (snprintf(path, sizeof path, "%s/store/legacy.json",
		config->state) >= (int)sizeof path)
		return fail(why, REASON_RANGE, "%s: path is too long",
		    config->state);
	if (!files_read(path, &file, why)) {
		if (why->code != REASON_ABSENT)
			return false;
		*book_out = legacy_book_new();
		return *book_out != NULL ||
		       fail(why, REASON_NO_MEMORY, "%s", path);
	}
	ok = legacy_book_parse(book_out, (const char *)file.data, file.size,
	    &what);
	files_free(&file);
	return ok || fail(why, what.code, "%s: %s", path, what.text);
}

static bool
read_book(const struct config *config, struct legacy_book **book_out,
    struct reason *why)
{
	if (ask_auth(config, book_out, why))
		return true;
	return why->code == REASON_AWAY && read_file(config, book_out, why);
}

/* --- until when ----------------------------------------------------------- */

/* Whose entry was looked at last: rows come by login. */
struct looked {
	struct user_access *access; /* NULL: there is no store */
	char login[NAME_SIZE];
	int64_t until; /* as in an entry */
	char owner[NAME_SIZE];
};

static bool
look_up(struct looked *looked, const char *login, struct reason *why)
{
	struct entry entry = { .legacy_until = ENTRY_LEGACY_AS_CONFIGURED };
	bool ok = looked->access == NULL ||
		  user_access_find(looked->access, login, &entry, why);

	looked->until = entry.legacy_until;
	strcpy(looked->owner, entry.owner);
	explicit_bzero(&entry, sizeof entry);
	return ok;
}

/* Until when login may practise old ways: 0 without end. */
static bool
until_of(struct looked *looked, const struct config *config, const char *login,
    int64_t *out, struct reason *why)
{
	char owner[NAME_SIZE];
	int64_t until, owners = 0;

	if (strcmp(looked->login, login) != 0) {
		if (!look_up(looked, login, why))
			return false;
		until = looked->until;
		strcpy(owner, looked->owner);
		/* A device may do nothing that its owner may not. */
		if (owner[0] != '\0') {
			if (!look_up(looked, owner, why))
				return false;
			owners = looked->until != ENTRY_LEGACY_AS_CONFIGURED
				     ? looked->until
				     : config->legacy_until;
		}
		if (until == ENTRY_LEGACY_AS_CONFIGURED)
			until = config->legacy_until;
		if (until == 0 || (owners != 0 && owners < until))
			until = owners;
		strcpy(looked->login, login);
		looked->until = until == ENTRY_LEGACY_ALWAYS ? 0 : until;
	}
	*out = looked->until;
	return true;
}

/* --- telling -------------------------------------------------------------- */

/* A row, and the end of what it practises. */
struct line {
	const struct legacy_row *row;
	int64_t until; /* 0: without end */
};

static json_t *
line_json(const struct line *line)
{
	char first[USER_TIME_TEXT], last[USER_TIME_TEXT], date[VALUE_END] = "";
	char words[LEGACY_TEXT], *word, *rest;
	json_t *practices = json_array();

	user_time_print(line->row->first, first);
	user_time_print(line->row->last, last);
	legacy_print(line->row->practices, words);
	for (word = strtok_r(words, " ", &rest); word != NULL;
	     word = strtok_r(NULL, " ", &rest))
		json_array_append_new(practices, json_string(word));
	if (line->until != 0)
		value_end_print(line->until, date);
	return json_pack("{s:s, s:s*, s:o, s:I, s:s, s:s, s:s, s:s*}", "user",
	    line->row->login, "program",
	    line->row->program[0] != '\0' ? line->row->program : NULL,
	    "practices", practices, "count", (json_int_t)line->row->count,
	    "first", first, "last", last, "client", line->row->client,
	    "taken-until", date[0] != '\0' ? date : NULL);
}

static void
print_json(const struct line *lines, size_t count)
{
	json_t *all = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(all, line_json(&lines[i]));
	json_dumpf(all, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(all);
}

/* At most 76 octets, so that 80 columns hold it. */
static void
print_program(const char *program)
{
	enum { MOST = 76 };
	bool fits = strlen(program) <= MOST;

	if (program[0] == '\0')
		printf("  (refused before it said its name)\n");
	else
		printf("  %.*s%s\n", fits ? MOST : MOST - 3, program,
		    fits ? "" : "...");
}

static void
print_line(const struct line *line, int64_t now)
{
	char first[USER_TIME_TEXT], last[USER_TIME_TEXT], date[VALUE_END];
	char words[LEGACY_TEXT];

	user_time_print(line->row->first, first);
	user_time_print(line->row->last, last);
	legacy_print(line->row->practices, words);
	printf("    %s\n", words);
	printf("      %" PRIu64 " time%s, %.10s", line->row->count,
	    line->row->count == 1 ? "" : "s", first);
	if (strncmp(first, last, 10) != 0)
		printf(" to %.10s", last);
	printf(", last from %s\n", line->row->client);
	if (line->until == 0)
		return;
	value_end_print(line->until, date);
	printf("      %s after %s\n",
	    now < line->until ? "will be refused" : "refused", date);
}

static void
print_lines(const struct line *lines, size_t count)
{
	const struct legacy_row *before = NULL;
	int64_t now = time(NULL);

	for (size_t i = 0; i < count; i++) {
		const struct legacy_row *row = lines[i].row;
		bool other_login =
		    before == NULL || strcmp(before->login, row->login) != 0;

		if (other_login)
			printf("%s\n", row->login);
		if (other_login || strcmp(before->program, row->program) != 0)
			print_program(row->program);
		print_line(&lines[i], now);
		before = row;
	}
}

/* --- choosing ------------------------------------------------------------- */

static int
by_login(const void *a, const void *b)
{
	const struct legacy_row *one = ((const struct line *)a)->row;
	const struct legacy_row *other = ((const struct line *)b)->row;
	int order = strcmp(one->login, other->login);

	if (order == 0)
		order = strcmp(one->program, other->program);
	if (order == 0)
		order = (one->practices > other->practices) -
			(one->practices < other->practices);
	return order;
}

/* The rows asked for, sorted; malloc'd. */
static struct line *
choose(const struct legacy_book *book, const struct options *options,
    size_t *count_out)
{
	struct line *lines = calloc(LEGACY_ROWS_MAX, sizeof *lines);
	size_t count = 0;

	if (lines == NULL)
		return NULL;
	for (const struct legacy_row *row = NULL;
	     (row = legacy_book_next(book, row)) != NULL;)
		if (row->last >= options->since &&
		    (options->user[0] == '\0' ||
			strcmp(options->user, row->login) == 0))
			lines[count++].row = row;
	qsort(lines, count, sizeof *lines, by_login);
	*count_out = count;
	return lines;
}

static bool
uses_store(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if ((config->listeners[i].backends & BACKEND_STORE) != 0)
			return true;
	return false;
}

static bool
find_ends(const struct config *config, struct line *lines, size_t count,
    struct reason *why)
{
	struct looked looked = { 0 };
	bool ok = true;

	if (uses_store(config) &&
	    !user_access_open(&looked.access, config, why) &&
	    why->code != REASON_ABSENT)
		return false;
	for (size_t i = 0; ok && i < count; i++)
		/* What is on nobody's list to go has no end. */
		if ((lines[i].row->practices & config->legacy &
			~(unsigned)LEGACY_IN_CLEAR) != 0)
			ok = until_of(&looked, config, lines[i].row->login,
			    &lines[i].until, why);
	user_access_close(looked.access);
	return ok;
}

static enum tool_status
report(const struct config *config, const struct options *options)
{
	struct legacy_book *book = NULL;
	struct line *lines = NULL;
	struct reason why;
	size_t count = 0;
	bool ok;

	ok = read_book(config, &book, &why);
	if (ok) {
		lines = choose(book, options, &count);
		ok = lines != NULL ? find_ends(config, lines, count, &why)
				   : fail(&why, REASON_NO_MEMORY, "report");
	}
	if (!ok)
		tool_error(&why);
	else if (options->json)
		print_json(lines, count);
	else
		print_lines(lines, count);
	free(lines);
	legacy_book_free(book);
	return ok ? TOOL_DONE : TOOL_NO;
}

/* --- the command line ----------------------------------------------------- */

static bool
take_since(struct options *options, const char *text)
{
	uint64_t over;

	if (!value_date(text, &over)) {
		fprintf(stderr,
		    "sallyport: --since %.40s: expected a date such as "
		    "2027-03-31\n",
		    text);
		return false;
	}
	options->since = (int64_t)over - DAY_S;
	return true;
}

static enum tool_status
run(struct options *options, const char *user)
{
	struct config *config;
	struct reason why;
	enum tool_status status;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	if (user == NULL ||
	    name_parse(options->user, user, config->realm, &why)) {
		status = report(config, options);
	} else {
		tool_error(&why);
		status = TOOL_USAGE;
	}
	config_free(config);
	return status;
}

int
tool_report(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ "user", required_argument, NULL, 'u' },
		{ "since", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { 0 };
	const char *user = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			options.json = true;
			break;
		case 'u':
			user = optarg;
			break;
		case 's':
			if (!take_since(&options, optarg))
				return TOOL_USAGE;
			break;
		case 'h':
			usage(stdout);
			return TOOL_DONE;
		default:
			usage(stderr);
			return TOOL_USAGE;
		}
	}
	if (argc - optind != 1 || strcmp(argv[optind], "legacy") != 0) {
		usage(stderr);
		return TOOL_USAGE;
	}
	return run(&options, user);
}
