/*
 * tools/status.c: "sallyport status": what the running server says of itself.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../server/control.h"
#include "../server/messages.h"
#include "tool.h"

static void
usage(FILE *to)
{
	fprintf(to, "usage: sallyport [-c FILE] status [--json] [--reload]\n"
		    "  --json    as one JSON object\n"
		    "  --reload  have the server read its configuration anew "
		    "first\n");
}

static void
keep(void *context, const char *octets, size_t len)
{
	json_t **out = context;

	json_decref(*out);
	*out = json_loadb(octets, len, JSON_REJECT_DUPLICATES, NULL);
}

static bool
ask(const struct config *config, unsigned char request, json_t **out,
    struct reason *why)
{
	bool ok;
	int fd;

	if (!control_connect(config->state, "master", &fd, why))
		return false;
	ok = control_ask(fd, &request, 1, keep, out, why);
	close(fd);
	return ok;
}

/* "name=value" of what is no object, for one line. */
static void
print_value(const char *name, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	if (json_is_string(value))
		printf(" %s=%s", name, json_string_value(value));
	else if (text != NULL)
		printf(" %s=%s", name, text);
	free(text);
}

static bool
has_plain_value(json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		if (!json_is_object(value))
			return true;
	}
	return false;
}

/* One line, and one for each object in it that has something to say. */
static void
print_line(const char *title, json_t *object)
{
	const char *name;
	char inner[128];
	json_t *value;

	if (has_plain_value(object)) {
		printf("%s", title);
		json_object_foreach(object, name, value)
		{
			if (!json_is_object(value))
				print_value(name, value);
		}
		printf("\n");
	}
	json_object_foreach(object, name, value)
	{
		if (!json_is_object(value))
			continue;
		snprintf(inner, sizeof(inner), "%s %s", title, name);
		print_line(inner, value);
	}
}

static void
print_text(json_t *top)
{
	json_t *roles = json_object_get(top, "roles");
	json_t *listeners = json_object_get(top, "listeners");
	json_t *alarms = json_object_get(top, "alarms");
	const char *name;
	json_t *value;
	size_t i;

	printf("server");
	json_object_foreach(top, name,
	    value) if (value != roles && value != listeners && value != alarms)
	    print_value(name, value);
	printf("\n");
	if (json_is_object(alarms))
		print_line("alarms", alarms);
	json_array_foreach(listeners, i, value) print_line("listener", value);
	json_object_foreach(roles, name, value) print_line(name, value);
}

static int
print(json_t *top, bool json)
{
	if (!json_is_object(top)) {
		fprintf(stderr, "sallyport: malformed answer of the server\n");
		return TOOL_NO;
	}
	if (json)
		json_dumpf(top, stdout, JSON_INDENT(2));
	else
		print_text(top);
	if (json)
		printf("\n");
	return TOOL_DONE;
}

static int
status(bool json, bool reload)
{
	struct config *config;
	struct reason why;
	json_t *top = NULL;
	int rc = TOOL_NO;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	if ((reload && !ask(config, CONTROL_RELOAD, &top, &why)) ||
	    !ask(config, CONTROL_STATUS, &top, &why))
		tool_error(&why);
	else
		rc = print(top, json);
	json_decref(top);
	config_free(config);
	return rc;
}

int
tool_status(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ "reload", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	bool json = false, reload = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			json = true;
			break;
		case 'r':
			reload = true;
			break;
		case 'h':
			usage(stdout);
			return TOOL_DONE;
		default:
			usage(stderr);
			return TOOL_USAGE;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return TOOL_USAGE;
	}
	return status(json, reload);
}
