/* auth/entry_json.c: the lists of an entry as JSON. */
#include "entry_json.h"

#include <string.h>

#include "../policy/hex.h"

json_t *
entry_keys_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->key_count; i++) {
		char text[PIN_TEXT];

		pin_print(text, entry->keys[i]);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

json_t *
entry_sans_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->san_count; i++) {
		char ca[PIN_TEXT];

		pin_print(ca, entry->sans[i].ca);
		json_array_append_new(list, json_pack("{s:s, s:s}", "ca", ca,
						"name", entry->sans[i].name));
	}
	return list;
}

json_t *
entry_rights_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		json_array_append_new(list, json_string(entry->rights + i));
	return list;
}

json_t *
entry_networks_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->network_count; i++) {
		char text[NETWORK_TEXT];

		network_print(&entry->networks[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

json_t *
entry_devices_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->device_count; i++)
		json_array_append_new(list, json_string(entry->devices[i]));
	return list;
}
