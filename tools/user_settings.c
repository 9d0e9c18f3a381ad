/*
 * tools/user_settings.c: what a login may, as operators write it: sender
 * rights, networks, limits and dates.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../auth/rights.h"
#include "../server/config_value.h"
#include "user.h"

void
user_time_print(int64_t when, char out[static USER_TIME_TEXT])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(out, USER_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(out, "-");
}

/* Where the pattern stands among the entry's, or NULL. */
static char *
find_right(struct entry *entry, const char *pattern)
{
	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		if (strcmp(entry->rights + i, pattern) == 0)
			return entry->rights + i;
	return NULL;
}

static bool
add_right(struct entry *entry, const char *text, struct reason *why)
{
	char pattern[ENTRY_RIGHT_MAX + 1];
	size_t size;

	if (!rights_pattern_parse(pattern, text, why))
		return false;
	size = strlen(pattern) + 1;
	if (find_right(entry, pattern) != NULL)
		return fail(why, REASON_EXISTS, "%s: has \"%s\" already",
		    entry->name, pattern);
	if (size > sizeof entry->rights - entry->rights_len)
		return fail(why, REASON_RANGE,
		    "%s: \"%s\" does not fit, expected patterns of %zu octets "
		    "in all",
		    entry->name, pattern, sizeof entry->rights);
	memcpy(entry->rights + entry->rights_len, pattern, size);
	entry->rights_len += size;
	return true;
}

static bool
remove_right(struct entry *entry, const char *text, struct reason *why)
{
	char pattern[ENTRY_RIGHT_MAX + 1], *at;
	size_t size;

	if (!rights_pattern_parse(pattern, text, why))
		return false;
	at = find_right(entry, pattern);
	if (at == NULL)
		return fail(why, REASON_ABSENT, "%s: has no \"%s\"",
		    entry->name, pattern);
	size = strlen(pattern) + 1;
	entry->rights_len -= size;
	memmove(at, at + size,
	    entry->rights_len - (size_t)(at - entry->rights));
	return true;
}

static void
clear_rights(struct entry *entry)
{
	entry->rights_len = 0;
	memset(entry->rights, 0, sizeof entry->rights);
}

static bool
add_network(struct entry *entry, const char *text, struct reason *why)
{
	if (entry->network_count == ENTRY_NETWORKS_MAX)
		return fail(why, REASON_RANGE,
		    "%s: more than %d networks, no more fit", entry->name,
		    ENTRY_NETWORKS_MAX);
	if (!network_parse(&entry->networks[entry->network_count], text, why))
		return false;
	entry->network_count++;
	return true;
}

static bool
set_rate(struct entry *entry, const char *text, struct reason *why)
{
	unsigned long rate;
	char *end;

	if (strcmp(text, "none") == 0) {
		entry->rate = 0;
		return true;
	}
	rate = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
	if (rate == 0 || *end != '\0' || rate > UINT32_MAX)
		return fail(why, REASON_SYNTAX,
		    "\"%.32s\": expected messages an hour, or none", text);
	entry->rate = (uint32_t)rate;
	return true;
}

static bool
set_end(int64_t *out, const char *text, struct reason *why)
{
	return value_end(text, out) ||
	       fail(why, REASON_SYNTAX,
		   "\"%.32s\": expected a date such as 2027-03-31 or "
		   "2027-03-31T12:00:00Z",
		   text);
}

static bool
set_until(struct entry *entry, const char *text, struct reason *why)
{
	if (strcmp(text, "none") != 0)
		return set_end(&entry->until, text, why);
	entry->until = 0;
	return true;
}

static bool
set_legacy_until(struct entry *entry, const char *text, struct reason *why)
{
	if (strcmp(text, "never") == 0)
		entry->legacy_until = ENTRY_LEGACY_ALWAYS;
	else if (strcmp(text, "default") == 0)
		entry->legacy_until = ENTRY_LEGACY_AS_CONFIGURED;
	else
		return set_end(&entry->legacy_until, text, why);
	return true;
}

static bool
set_binding(struct entry *entry, const char *text, struct reason *why)
{
	entry->binding_required = strcmp(text, "required") == 0;
	return entry->binding_required || strcmp(text, "optional") == 0 ||
	       fail(why, REASON_SYNTAX,
		   "\"%.32s\": expected required or optional", text);
}

bool
user_changes_add(struct user_changes *changes, enum user_setting setting,
    const char *value, struct reason *why)
{
	const size_t most = sizeof changes->list / sizeof changes->list[0];

	if (changes->count == most)
		return fail(why, REASON_RANGE, "more than %zu settings", most);
	changes->list[changes->count++] =
	    (struct user_change){ setting, value };
	return true;
}

static bool
apply(struct entry *entry, const struct user_change *change, struct reason *why)
{
	switch (change->setting) {
	case USER_RIGHT_ADD:
		return add_right(entry, change->value, why);
	case USER_RIGHT_REMOVE:
		return remove_right(entry, change->value, why);
	case USER_RIGHT_CLEAR:
		clear_rights(entry);
		return true;
	case USER_NETWORK:
		return add_network(entry, change->value, why);
	case USER_ANY_NETWORK:
		entry->network_count = 0;
		return true;
	case USER_RATE:
		return set_rate(entry, change->value, why);
	case USER_UNTIL:
		return set_until(entry, change->value, why);
	case USER_BINDING:
		return set_binding(entry, change->value, why);
	case USER_LEGACY_UNTIL:
		return set_legacy_until(entry, change->value, why);
	}
	return fail(why, REASON_INTERNAL, "unknown setting");
}

bool
user_settings_apply(struct entry *entry, const struct user_changes *changes,
    struct reason *why)
{
	const struct user_change *change = changes->list;
	bool has_network = false;

	for (; change < changes->list + changes->count; change++) {
		/* Those of the command line take the place of those there. */
		if (change->setting == USER_NETWORK && !has_network) {
			entry->network_count = 0;
			has_network = true;
		}
		if (!apply(entry, change, why))
			return false;
	}
	return true;
}

bool
user_settings_are_readable(const struct user_changes *changes,
    struct reason *why)
{
	struct entry scratch;

	for (size_t i = 0; i < changes->count; i++) {
		memset(&scratch, 0, sizeof scratch);
		if (!apply(&scratch, &changes->list[i], why) &&
		    why->code == REASON_SYNTAX)
			return false;
	}
	return true;
}
