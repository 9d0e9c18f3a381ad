/* tools/user_json.c: entries of the store as JSON (RFC 8259). */
#include <stdlib.h>
#include <string.h>

#include "../auth/entry_json.h"
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
	json_object_set_new(object, "rights", entry_rights_json(entry));
	json_object_set_new(object, "networks", entry_networks_json(entry));
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
	json_object_set_new(object, "keys", entry_keys_json(entry));
	json_object_set_new(object, "sans", entry_sans_json(entry));
	if (entry->foreign[0] != '\0')
		json_object_set_new(object, "hash",
		    json_string(foreign_scheme(entry->foreign)));
	json_object_set_new(object, "legacy_secret",
	    json_boolean(entry->has_legacy));
	set_settings(object, entry);
	json_object_set_new(object, "owner",
	    entry->owner[0] != '\0' ? json_string(entry->owner) : json_null());
	json_object_set_new(object, "devices", entry_devices_json(entry));
	json_object_set_new(object, "created", time_json(entry->created));
	json_object_set_new(object, "changed", time_json(entry->changed));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}
