/*
 * tools/user_rights.c: "sallyport user rights" and "limit": settings shown,
 * explained and changed.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../auth/entry_json.h"
#include "../auth/rights.h"
#include "user.h"

/* The entry goes back as it came, with other settings: a change by somebody
 * else in between is not undone. */
bool
user_settings_change(const struct config *config, const char *name,
    const struct user_changes *changes, struct reason *why)
{
	struct user_access *access;
	struct entry entry;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok = user_access_show(access, name, &entry, why) &&
	     user_settings_apply(&entry, changes, why) &&
	     user_access_ask(access, CONTROL_USER_ALTER, &entry, NULL, NULL,
		 why);
	explicit_bzero(&entry, sizeof entry);
	user_access_close(access);
	return ok;
}

/* A login, and the owner of a device. */
struct asked {
	struct entry login, owner;
	struct rights rights, owner_rights;
};

static struct rights
rights_of(const struct entry *entry)
{
	return (struct rights){ .own = entry->name,
		.patterns = entry->rights,
		.len = entry->rights_len };
}

static bool
look_up(const struct config *config, const char *name, struct asked *out,
    struct reason *why)
{
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok = user_access_show(access, name, &out->login, why) &&
	     (out->login.owner[0] == '\0' ||
		 user_access_show(access, out->login.owner, &out->owner, why));
	user_access_close(access);
	out->rights = rights_of(&out->login);
	out->owner_rights = rights_of(&out->owner);
	return ok;
}

static void
print_json(json_t *object)
{
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text != NULL)
		printf("%s\n", text);
	free(text);
	json_decref(object);
}

static void
print_rights(const struct entry *entry, bool json)
{
	json_t *list;

	if (json) {
		list = entry_rights_json(entry);
		print_json(json_pack("{s:s, s:o}", "name", entry->name,
		    "rights", list));
		return;
	}
	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		printf("%s\n", entry->rights + i);
	if (entry->rights_len == 0 && entry->owner[0] != '\0')
		printf("none: whatever %s may\n", entry->owner);
	else if (entry->rights_len == 0)
		printf("none: %s alone\n", entry->name);
}

/* How one entry has decided; pattern NULL: a device without any. */
static void
print_part(const char *name, const char *pattern)
{
	if (pattern != NULL)
		printf("%s by %s", name, pattern);
	else
		printf("%s, which has no patterns", name);
}

static void
print_decision(const struct asked *asked, const char *address, bool may,
    const struct rights_decision *decision)
{
	const char *login = asked->login.name, *owner = asked->login.owner;

	printf("%s: ", may ? "yes" : "no");
	if (may) {
		print_part(login, decision->login_pattern);
		if (owner[0] != '\0') {
			printf(", and its owner ");
			print_part(owner, decision->owner_pattern);
		}
	} else if (owner[0] != '\0' && decision->owner_pattern == NULL) {
		printf("its owner %s may not use %s", owner, address);
	} else {
		printf("%s may not use %s", login, address);
	}
	printf("\n");
}

/* The null reverse-path is everybody's: notices have it. */
static bool
is_null_path(const char *address)
{
	return address[0] == '\0' || strcmp(address, "<>") == 0;
}

static bool
explain(const struct asked *asked, const char *address, bool json)
{
	bool is_device = asked->login.owner[0] != '\0';
	struct rights_decision decision = { 0 };
	bool is_null = is_null_path(address);
	bool may = is_null || rights_allow(&asked->rights,
				  is_device ? &asked->owner_rights : NULL,
				  address, &decision);

	if (json)
		print_json(json_pack("{s:s, s:s, s:b, s:s?, s:s?, s:s?}",
		    "name", asked->login.name, "address", address, "allowed",
		    (int)may, "pattern", decision.login_pattern, "owner",
		    is_device ? asked->login.owner : NULL, "owner_pattern",
		    decision.owner_pattern));
	else if (is_null)
		printf("yes: the null reverse-path is everybody's\n");
	else
		print_decision(asked, address, may, &decision);
	return may;
}

enum tool_status
user_rights(const struct config *config, const char *name, const char *address,
    bool json)
{
	struct asked *asked = calloc(1, sizeof *asked);
	struct reason why = { 0 };
	bool ok;

	if (asked == NULL)
		return TOOL_NO;
	ok = look_up(config, name, asked, &why);
	if (!ok)
		tool_error(&why);
	else if (address == NULL)
		print_rights(&asked->login, json);
	else
		ok = explain(asked, address, json);
	explicit_bzero(asked, sizeof *asked);
	free(asked);
	return ok ? TOOL_DONE : TOOL_NO;
}
