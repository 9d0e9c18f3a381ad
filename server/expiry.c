/*
 * server/expiry.c: what ends soon, and what was told about it.
 *
 * The state file is one JSON object: "told" holds for each key how far the
 * telling has come (stage), when it ends, and when it was looked at last.
 */
#include "expiry.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

enum {
	DAY_S = 86400,
	FORGET_S = 90 * DAY_S, /* after it was looked at last */
	FILE_OCTETS_MAX = 32 * 1024 * 1024,
};

struct expiry {
	char *path;
	json_t *told; /* key: {stage, end, seen} */
	bool changed;
	int64_t swept_at; /* when room was made last */
	int64_t full_at;  /* when there was none and all the same it was told */
};

/* --- the file ----------------------------------------------------------- */

static bool
is_entry(json_t *entry)
{
	static const char *const fields[] = { "stage", "end", "seen" };

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!json_is_integer(json_object_get(entry, fields[i])))
			return false;
	return true;
}

static bool
is_state(json_t *told)
{
	const char *key;
	json_t *entry;

	if (!json_is_object(told) ||
	    json_object_size(told) > EXPIRY_ENTRIES_MAX)
		return false;
	json_object_foreach(told, key, entry)
	{
		if (strlen(key) >= EXPIRY_KEY_MAX || !is_entry(entry))
			return false;
	}
	return true;
}

/* NULL with why if there is a file that cannot be read. */
static json_t *
read_state(const char *path, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	json_t *top, *told;
	struct stat st;

	if (fd < 0) {
		if (errno != ENOENT)
			fail_errno(why, "%s", path);
		return NULL;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    st.st_size > FILE_OCTETS_MAX) {
		fail(why, REASON_DAMAGED, "%s: not the file we wrote", path);
		close(fd);
		return NULL;
	}
	top = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	close(fd);
	told = json_incref(json_object_get(top, "told"));
	json_decref(top);
	if (told != NULL && is_state(told))
		return told;
	json_decref(told);
	fail(why, REASON_DAMAGED, "%s: damaged, not the file we wrote", path);
	return NULL;
}

bool
expiry_open(struct expiry **expiry_out, const char *path, struct reason *why)
{
	struct expiry *expiry = calloc(1, sizeof(*expiry));

	why->code = REASON_NONE;
	if (expiry == NULL || (expiry->path = strdup(path)) == NULL) {
		free(expiry);
		return fail(why, REASON_NO_MEMORY, "%s", path);
	}
	expiry->told = read_state(path, why);
	if (expiry->told == NULL)
		expiry->told = json_object();
	if (expiry->told == NULL) {
		expiry_free(expiry);
		return fail(why, REASON_NO_MEMORY, "%s", path);
	}
	*expiry_out = expiry;
	return true;
}

void
expiry_free(struct expiry *expiry)
{
	if (expiry == NULL)
		return;
	json_decref(expiry->told);
	free(expiry->path);
	free(expiry);
}

static void
forget_old(struct expiry *expiry, int64_t now)
{
	const char *key;
	json_t *entry;
	void *next;

	json_object_foreach_safe(expiry->told, next, key, entry)
	{
		if (json_integer_value(json_object_get(entry, "seen")) <
		    now - FORGET_S)
			json_object_del(expiry->told, key);
	}
}

bool
expiry_save(struct expiry *expiry, int64_t now, struct reason *why)
{
	json_t *top;
	char *text;
	bool ok;

	if (!expiry->changed)
		return true;
	forget_old(expiry, now);
	top = json_pack("{s:O}", "told", expiry->told);
	text = json_dumps(top, JSON_INDENT(1) | JSON_SORT_KEYS);
	json_decref(top);
	if (text == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", expiry->path);
	ok = files_replace(expiry->path, text, strlen(text), 0600, why);
	free(text);
	if (ok)
		expiry->changed = false;
	return ok;
}

/* --- what is due -------------------------------------------------------- */

/* How far it has come: 0, not within 30 days, to 5, ended. */
static int
stage_of(int64_t end, int64_t now)
{
	static const int64_t days[] = { EXPIRY_FIRST_DAYS, 14, 7,
		EXPIRY_LAST_DAYS };
	int stage = 0;

	if (end < now)
		return 5;
	for (size_t i = 0; i < sizeof(days) / sizeof(*days); i++)
		if (end - now <= days[i] * DAY_S)
			stage++;
	return stage;
}

static int
stage_told(const struct expiry *expiry, const char *key, int64_t end)
{
	json_t *entry = json_object_get(expiry->told, key);

	/* The same key with another end is another promise. */
	if (entry == NULL ||
	    json_integer_value(json_object_get(entry, "end")) != end)
		return 0;
	return (int)json_integer_value(json_object_get(entry, "stage"));
}

/* It is in use still: not to be forgotten. */
static void
note_seen(struct expiry *expiry, const char *key, int64_t now)
{
	json_t *entry = json_object_get(expiry->told, key);

	if (json_integer_value(json_object_get(entry, "seen")) + DAY_S > now)
		return;
	json_object_set_new(entry, "seen", json_integer(now));
	expiry->changed = true;
}

/* Many may find it full at one look: once is enough. */
static bool
has_room(struct expiry *expiry, int64_t now)
{
	if (json_object_size(expiry->told) < EXPIRY_ENTRIES_MAX)
		return true;
	if (expiry->swept_at != now) {
		expiry->swept_at = now;
		forget_old(expiry, now);
	}
	return json_object_size(expiry->told) < EXPIRY_ENTRIES_MAX;
}

/* What cannot be remembered is told anew once a day, and by a restart. */
static bool
is_due_unremembered(struct expiry *expiry, int64_t now)
{
	if (expiry->full_at != 0 && expiry->full_at != now &&
	    now - expiry->full_at < DAY_S)
		return false;
	expiry->full_at = now;
	return true;
}

bool
expiry_is_due(struct expiry *expiry, const char *key, int64_t end, int64_t now,
    int64_t *days_out)
{
	int stage = stage_of(end, now);
	int told = stage_told(expiry, key, end);

	if (stage == 0)
		return false;
	if (stage <= told) {
		note_seen(expiry, key, now);
		return false;
	}
	if (strlen(key) >= EXPIRY_KEY_MAX ||
	    (json_object_get(expiry->told, key) == NULL &&
		!has_room(expiry, now))) {
		if (!is_due_unremembered(expiry, now))
			return false;
	} else {
		json_object_set_new(expiry->told, key,
		    json_pack("{s:i,s:I,s:I}", "stage", stage, "end",
			(json_int_t)end, "seen", (json_int_t)now));
		expiry->changed = true;
	}
	*days_out = end < now ? -1 : (end - now) / DAY_S;
	return true;
}
