/*
 * tools/cert_status_print.c: every certificate in use on one screen: how long
 * it lasts as a bar, which is full when it is new.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cert_status.h"

enum { BAR = 12, LIFE_DAYS = 365, DATE = 10 };

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
has_colour(void)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (none == NULL || none[0] == '\0') &&
	       term != NULL && strcmp(term, "dumb") != 0;
}

static const char *
colour_of(const json_t *object)
{
	const char *state = text_of(object, "state");

	if (!has_colour())
		return "";
	if (strcmp(state, "good") == 0)
		return "\033[32m";
	if (strcmp(state, "near") == 0)
		return "\033[33m";
	return strcmp(state, "unknown") == 0 ? "\033[2m" : "\033[31m";
}

/* Of its life, or of a year where its beginning is not known; one that is
 * within its alarm is never more than a third. */
static unsigned
marks_of(const json_t *object)
{
	json_int_t life = number_of(object, "life_days");
	json_int_t left = number_of(object, "days");
	json_int_t alarm = number_of(object, "alarm_days");

	if (life <= 0)
		life = LIFE_DAYS;
	if (life < 3 * alarm)
		life = 3 * alarm;
	if (left <= 0 || json_object_get(object, "days") == NULL)
		return 0;
	left = (left * BAR + life - 1) / life;
	return left > BAR ? BAR : (unsigned)left;
}

static void
print_bar(const json_t *object)
{
	unsigned marks = marks_of(object);

	printf("%s", colour_of(object));
	for (unsigned i = 0; i < BAR; i++)
		putchar(i < marks ? '#' : '.');
	if (has_colour())
		printf("\033[0m");
}

/* "824 days", or why there are none. */
static void
print_left(const json_t *object)
{
	const char *state = text_of(object, "state");
	json_int_t days = number_of(object, "days");
	char text[24];

	if (strcmp(state, "good") == 0 || strcmp(state, "near") == 0)
		snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT " day%s",
		    days, days == 1 ? "" : "s");
	else
		snprintf(text, sizeof(text), "%s", state);
	printf(" %10s", text);
}

/* As the configuration beside it would name it. */
static const char *
short_name(const char *file, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(file, folder, len) == 0 && file[len] == '/'
		   ? file + len + 1
		   : file;
}

static void
print_item(const struct cert_status *status, const json_t *object)
{
	const char *until = text_of(object, "not_after");
	const char *file = short_name(text_of(object, "file"), status->folder);

	printf("%s",
	    json_is_true(json_object_get(object, "alarm")) ? "! " : "  ");
	print_bar(object);
	print_left(object);
	printf("  %-*.*s  %s (%s%s%s)\n", DATE, DATE,
	    until[0] != '\0' ? until : "-", text_of(object, "name"),
	    text_of(object, "use"), file[0] != '\0' ? ", " : "", file);
}

void
cert_status_print(const struct cert_status *status)
{
	static const char *const titles[CERT_KINDS] = { "our certificates",
		"clients that are bound", "authorities", "pinned peers",
		"revocation lists" };
	const json_t *object;
	size_t i;

	for (int kind = 0; kind < CERT_KINDS; kind++) {
		bool is_first = true;

		json_array_foreach(status->items, i, object)
		{
			if (strcmp(text_of(object, "kind"),
				cert_kind_word((enum cert_kind)kind)) != 0)
				continue;
			if (is_first)
				printf("%s\n", titles[kind]);
			is_first = false;
			print_item(status, object);
		}
	}
	if (status->alarms > 0)
		printf("%u of %zu within their alarm (!)\n", status->alarms,
		    json_array_size(status->items));
}
