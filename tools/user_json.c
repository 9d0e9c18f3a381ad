/* tools/user_json.c: entries of the store as JSON (RFC 8259). */
#include <stdlib.h>
#include <string.h>

#include "../server/config_value.h"
#include "user.h"

static json_t *
time_json(int64_t when)
{
	char text[USER_TIME_TEXT];

	if (when == 0)
		return json_null();
	user_time_print(when, text);
	return json_string(text);
}

static json_t *
end_json(int64_t over)
{
	char text[VALUE_END];

	if (over == 0)
		return json_null();
	value_end_print(over, text);
	return json_string(text);
}

static json_t *
mechanisms_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			json_array_append_new(list,
			    json_pack("{s:s, s:I}", "name",
				verifier_mechanism((enum verifier_hash)h),
				"iterations",
				(json_int_t)entry->verifiers[h].iterations));
	return list;
}

static json_t *
keys_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->key_count; i++) {
		char key[USER_KEY_TEXT];

		user_key_print(entry->keys[i], key);
		json_array_append_new(list, json_string(key));
	}
	return list;
}

static json_t *
sans_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->san_count; i++) {
		char ca[USER_KEY_TEXT];

		user_key_print(entry->sans[i].ca, ca);
		json_array_append_new(list, json_pack("{s:s, s:s}", "ca", ca,
						"name", entry->sans[i].name));
	}
	return list;
}

json_t *
user_rights_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		json_array_append_new(list, json_string(entry->rights + i));
	return list;
}

static json_t *
networks_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->network_count; i++) {
		char network[NETWORK_TEXT];

		network_print(&entry->networks[i], network);
		json_array_append_new(list, json_string(network));
	}
	return list;
}

static json_t *
devices_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->device_count; i++)
		json_array_append_new(list, json_string(entry->devices[i]));
	return list;
}

/* What it may. */
static void
set_settings(json_t *object, const struct entry *entry)
{
	json_object_set_new(object, "binding_required",
	    json_boolean(entry->binding_required));
	json_object_set_new(object, "legacy_until",
	    entry->legacy_until == ENTRY_LEGACY_ALWAYS
		? json_string("never")
		: end_json(entry->legacy_until));
	json_object_set_new(object, "rights", user_rights_json(entry));
	json_object_set_new(object, "networks", networks_json(entry));
	json_object_set_new(object, "rate",
	    entry->rate != 0 ? json_integer(entry->rate) : json_null());
	json_object_set_new(object, "until", end_json(entry->until));
}

char *
user_entry_json(const struct entry *entry)
{
	json_t *object = json_object();
	char *text;

	json_object_set_new(object, "name", json_string(entry->name));
	json_object_set_new(object, "enabled", json_boolean(entry->enabled));
	json_object_set_new(object, "kind",
	    json_string(entry_kind_word(entry->kind)));
	json_object_set_new(object, "mechanisms", mechanisms_json(entry));
	json_object_set_new(object, "keys", keys_json(entry));
	json_object_set_new(object, "sans", sans_json(entry));
	if (entry->foreign[0] != '\0')
		json_object_set_new(object, "hash",
		    json_string(foreign_scheme(entry->foreign)));
	json_object_set_new(object, "legacy_secret",
	    json_boolean(entry->has_legacy));
	set_settings(object, entry);
	json_object_set_new(object, "owner",
	    entry->owner[0] != '\0' ? json_string(entry->owner) : json_null());
	json_object_set_new(object, "devices", devices_json(entry));
	json_object_set_new(object, "created", time_json(entry->created));
	json_object_set_new(object, "changed", time_json(entry->changed));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}
