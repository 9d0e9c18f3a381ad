/* tools/queue_print.c: the relay's answers as text. */
#include "queue_print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { AGE_SIZE = 24 };

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

void
queue_print_place(const json_t *object)
{
	const char *host = text_of(object, "host");
	json_int_t port = number_of(object, "port");
	bool brackets = strchr(host, ':') != NULL;

	if (host[0] == '\0') {
		fputs("none", stdout);
		return;
	}
	fputs(port == 0 ? "srv:" : brackets ? "[" : "", stdout);
	print_text(host);
	fputs(port != 0 && brackets ? "]" : "", stdout);
	if (port != 0)
		printf(":%" JSON_INTEGER_FORMAT, port);
}

/* Where it goes, if it does, and what was said last. */
static void
print_said(const json_t *object)
{
	if (text_of(object, "host")[0] != '\0') {
		queue_print_place(object);
		fputs(": ", stdout);
	}
	print_text(text_of(object, "reason"));
	putchar('\n');
}

/* Why it is where it is; and what of it goes nowhere. */
static void
print_reason(const json_t *object)
{
	if (json_is_true(json_object_get(object, "by_operator")))
		fputs("    held by the operator\n", stdout);
	if (text_of(object, "reason")[0] != '\0') {
		fputs("    ", stdout);
		print_said(object);
	}
	if (text_of(object, "held_reason")[0] != '\0') {
		fputs("    some of it: ", stdout);
		print_text(text_of(object, "held_reason"));
		putchar('\n');
	}
}

/* One of what only SHOW tells. */
static void
print_named(const json_t *object, const char *key)
{
	if (text_of(object, key)[0] == '\0')
		return;
	printf(" %s ", key);
	print_text(text_of(object, key));
}

static void
print_origin(const json_t *object)
{
	if (text_of(object, "session")[0] == '\0' &&
	    text_of(object, "client")[0] == '\0')
		return;
	fputs("    by", stdout);
	print_named(object, "client");
	print_named(object, "session");
	print_named(object, "listener");
	print_named(object, "tls");
	print_named(object, "envid");
	if (json_is_true(json_object_get(object, "smtputf8")))
		fputs(" SMTPUTF8", stdout);
	if (json_is_true(json_object_get(object, "requiretls")))
		fputs(" REQUIRETLS", stdout);
	putchar('\n');
}

static void
print_message(const json_t *object, bool show)
{
	time_t now = time(NULL);
	char age[AGE_SIZE], next[AGE_SIZE];
	bool waits = json_is_integer(json_object_get(object, "next"));

	printf("%-20s %-8s age %s, %" JSON_INTEGER_FORMAT
	       " octets, %" JSON_INTEGER_FORMAT " attempt%s%s%s\n",
	    text_of(object, "queue"), text_of(object, "state"),
	    age_text(now - number_of(object, "arrival"), age),
	    number_of(object, "size"), number_of(object, "attempts"),
	    number_of(object, "attempts") == 1 ? "" : "s",
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
	if (show)
		print_origin(object);
	print_recipients(object);
	print_reason(object);
}

void
queue_print_untold(const json_t *object)
{
	if (text_of(object, "reason")[0] == '\0' ||
	    (number_of(object, "attempts") > 0 &&
		strcmp(text_of(object, "state"), "held") != 0))
		return;
	fputs("    ", stdout);
	print_text(text_of(object, "reason"));
	putchar('\n');
}

static void
print_leg(const json_t *object)
{
	char next[AGE_SIZE];

	fputs("next hop ", stdout);
	queue_print_place(object);
	printf(", %s, %" JSON_INTEGER_FORMAT
	       " recipient%s, %" JSON_INTEGER_FORMAT " attempt%s",
	    text_of(object, "state"), number_of(object, "recipients"),
	    number_of(object, "recipients") == 1 ? "" : "s",
	    number_of(object, "attempts"),
	    number_of(object, "attempts") == 1 ? "" : "s");
	if (json_is_integer(json_object_get(object, "next")))
		printf(", next in %s",
		    age_text(number_of(object, "next") - time(NULL), next));
	putchar('\n');
	queue_print_untold(object);
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
	if (number_of(object, "left_out") > 0)
		printf("%" JSON_INTEGER_FORMAT " attempts not kept\n",
		    number_of(object, "left_out"));
	if (strcmp(text_of(object, "kind"), "delay-notice") == 0) {
		printf("delay told, %s\n", date);
		return;
	}
	printf("attempt %" JSON_INTEGER_FORMAT ", %s, ",
	    number_of(object, "number"), date);
	queue_print_place(object);
	printf(" %s\n", text_of(object, "remote"));
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
print_piece(const json_t *object)
{
	for (const char *at = text_of(object, "text"); *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		if (c == '\r')
			continue;
		putchar((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? '?'
									  : c);
	}
}

/* Columns are those of the object, which keeps their order. */
static void
print_ages(struct queue_printer *printer, const json_t *object)
{
	json_t *ages = json_object_get(object, "ages");
	const char *word;
	json_t *count;

	if (!printer->in_table) {
		printf("%8s", "all");
		json_object_foreach(ages, word, count) printf(" %6s", word);
		putchar('\n');
	}
	printer->in_table = true;
	printf("%8" JSON_INTEGER_FORMAT, number_of(object, "messages"));
	json_object_foreach(ages, word, count)
	    printf(" %6" JSON_INTEGER_FORMAT, json_integer_value(count));
	fputs("  ", stdout);
}

/* What the relay makes of a next hop now. */
static void
print_site(const json_t *object)
{
	json_int_t left = number_of(object, "until") - time(NULL);
	time_t until = (time_t)number_of(object, "until");
	json_int_t failures = number_of(object, "failures");
	char age[AGE_SIZE], date[40] = "?";
	struct tm tm;

	fputs("next hop ", stdout);
	queue_print_place(object);
	if (json_is_true(json_object_get(object, "tls_optional")))
		fputs(", for \"TLS-Required: No\"", stdout);
	if (failures == 0) {
		printf(": %" JSON_INTEGER_FORMAT
		       " of at most %" JSON_INTEGER_FORMAT " workers\n",
		    number_of(object, "active"), number_of(object, "limit"));
		return;
	}
	if (localtime_r(&until, &tm) != NULL)
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	if (left > 0)
		printf(": left alone for %s, until %s; ", age_text(left, age),
		    date);
	else
		fputs(": tried again now; ", stdout);
	printf("failed %" JSON_INTEGER_FORMAT " time%s: ", failures,
	    failures == 1 ? "" : "s");
	print_text(text_of(object, "reason"));
	putchar('\n');
}

void
queue_print(struct queue_printer *printer, const json_t *object)
{
	const char *kind = text_of(object, "kind");

	if (strcmp(kind, "message") == 0) {
		if (printer->in_content)
			putchar('\n');
		printer->in_content = false;
		print_message(object, printer->show);
	} else if (strcmp(kind, "leg") == 0) {
		print_leg(object);
	} else if (strcmp(kind, "attempt") == 0 ||
		   strcmp(kind, "delay-notice") == 0) {
		print_attempt(object);
	} else if (strcmp(kind, "header") == 0 || strcmp(kind, "body") == 0) {
		if (!printer->in_content)
			fputs("header\n", stdout);
		printer->in_content = true;
		print_piece(object);
	} else if (strcmp(kind, "row") == 0) {
		print_ages(printer, object);
		print_said(object);
	} else if (strcmp(kind, "total") == 0) {
		print_ages(printer, object);
		printf("total, %" JSON_INTEGER_FORMAT " octets\n",
		    number_of(object, "octets"));
	} else if (strcmp(kind, "site") == 0) {
		print_site(object);
	}
}
