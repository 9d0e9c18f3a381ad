/*
 * tools/device_sent.c: what a device has sent, as the relay has listed it, and
 * whether it is still in the queue.
 *
 * The list is the relay's, which talks to strangers: what it says is bounded,
 * and escaped before a terminal sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../server/queue_sent.h"
#include "device.h"
#include "queue_access.h"
#include "user.h"

struct listed {
	struct sent_message message;
	size_t place;      /* in the list */
	const char *state; /* in the queue; NULL: no longer */
};

struct sent_list {
	const char *login;
	struct listed *lines;
	size_t count, room;
};

static void
list_free(struct sent_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		json_decref(list->lines[i].message.object);
	free(list->lines);
}

static bool
take_line(void *context, const char *line, size_t len)
{
	struct sent_list *list = context;
	struct sent_message message;
	struct listed *grown;

	if (!sent_parse(line, len, &message))
		return true;
	if (strcmp(message.login, list->login) != 0) {
		json_decref(message.object);
		return true;
	}
	if (list->count == list->room) {
		list->room = list->room > 0 ? 2 * list->room : 64;
		grown = reallocarray(list->lines, list->room, sizeof *grown);
		if (grown == NULL) {
			json_decref(message.object);
			return false;
		}
		list->lines = grown;
	}
	list->lines[list->count] =
	    (struct listed){ .message = message, .place = list->count };
	list->count++;
	return true;
}

static int
compare_places(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->place < y->place ? -1 : x->place > y->place;
}

static int
compare_ids(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	int order = strcmp(x->message.queue_id, y->message.queue_id);

	return order != 0 ? order : compare_places(a, b);
}

/* Each queue id once, where it comes first. */
static void
list_tidy(struct sent_list *list)
{
	size_t kept = 0;

	if (list->count == 0)
		return;
	qsort(list->lines, list->count, sizeof *list->lines, compare_ids);
	for (size_t i = 0; i < list->count; i++) {
		struct sent_message *m = &list->lines[i].message;

		if (kept > 0 && strcmp(list->lines[kept - 1].message.queue_id,
				    m->queue_id) == 0)
			json_decref(m->object);
		else
			list->lines[kept++] = list->lines[i];
	}
	list->count = kept;
	qsort(list->lines, kept, sizeof *list->lines, compare_places);
}

/* The folder above is root's, the relay's own is not. */
static bool
list_read(struct sent_list *list, const struct config *config,
    struct reason *why)
{
	char path[PATH_MAX];
	int run, relay;
	bool ok;

	snprintf(path, sizeof path, "%s/run", config->state);
	run = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (run < 0)
		return fail_errno(why, "%s", path);
	relay = openat(run, "relay",
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	ok = relay >= 0 || fail_errno(why, "%s/relay", path);
	close(run);
	if (!ok)
		return false;
	ok = sent_read(relay, take_line, list, why);
	close(relay);
	list_tidy(list);
	return ok;
}

/* --- the queue ----------------------------------------------------------- */

static void
take_state(void *context, const char *text, size_t len)
{
	static const char *const words[] = { "queued", "deferred", "active",
		"held" };
	json_t *object = json_loadb(text, len, 0, NULL);
	const char *said = json_string_value(json_object_get(object, "state"));
	const char **state = context;

	for (size_t i = 0; said != NULL && i < sizeof words / sizeof *words;
	     i++)
		if (strcmp(said, words[i]) == 0)
			*state = words[i];
	json_decref(object);
}

static bool
list_ask_queue(struct sent_list *list, const struct config *config,
    struct reason *why)
{
	struct queue_request request = { .verb = QUEUE_LIST };
	struct queue_access *access;
	bool ok = true;

	if (list->count == 0)
		return true;
	if (!queue_access_open(&access, config, true, why))
		return false;
	for (size_t i = 0; i < list->count && ok; i++) {
		memcpy(request.filter.id, list->lines[i].message.queue_id,
		    QUEUE_ID_SIZE);
		ok = queue_access_ask(access, &request, take_state,
			 &list->lines[i].state, why) ||
		     why->code == REASON_ABSENT;
	}
	queue_access_close(access);
	return ok;
}

/* --- printing ------------------------------------------------------------- */

/* Terminals obey some octets, and some letters turn a line round: only
 * printable ASCII stands as it is. */
static void
print_text(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < ' ' || c > '~' || c == '\\')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void
print_path(const char *before, const char *path)
{
	printf("    %s <", before);
	print_text(path);
	fputs(">\n", stdout);
}

static void
print_message(const struct listed *line)
{
	const struct sent_message *m = &line->message;
	const char *state = line->state;
	uint64_t more = m->recipient_count - json_array_size(m->recipients);
	char when[USER_TIME_TEXT];
	const json_t *path;
	size_t i;

	user_time_print(m->time, when);
	printf("%s  %-20s %" PRIu64 " octets, %s, from ", when, m->queue_id,
	    m->size, state != NULL ? state : "no longer in the queue");
	print_text(m->client);
	putchar('\n');
	print_path("from", m->from);
	json_array_foreach(m->recipients, i, path)
	    print_path("to", json_string_value(path));
	if (more > 0)
		printf("    and %" PRIu64 " more\n", more);
}

static bool
print_json(const struct sent_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const char *state = list->lines[i].state;
		json_t *object = list->lines[i].message.object;

		fputs(i == 0 ? "[\n" : ",\n", stdout);
		json_object_set_new(object, "state",
		    state != NULL ? json_string(state) : json_null());
		if (json_dumpf(object, stdout,
			JSON_COMPACT | JSON_ENSURE_ASCII) < 0)
			return false;
	}
	fputs(list->count == 0 ? "[]\n" : "\n]\n", stdout);
	return true;
}

enum tool_status
device_sent(const struct config *config, const char *login, bool json)
{
	struct sent_list list = { .login = login };
	struct reason why = { 0 };
	bool ok = list_read(&list, config, &why) &&
		  list_ask_queue(&list, config, &why);

	if (!ok)
		tool_error(&why);
	else if (json)
		ok = print_json(&list);
	else if (list.count == 0)
		printf("%s has sent nothing that is listed\n", login);
	for (size_t i = 0; ok && !json && i < list.count; i++)
		print_message(&list.lines[i]);
	list_free(&list);
	return ok ? TOOL_DONE : TOOL_NO;
}
