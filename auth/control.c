/* auth/control.c: the packets of "sallyport user" and "sallyport device". */
#include "control.h"

#include <string.h>

static const char *const words[CONTROL_USER_VERBS] = {
	[CONTROL_USER_ADD] = "add",
	[CONTROL_USER_SET] = "passwd",
	[CONTROL_USER_REMOVE] = "remove",
	[CONTROL_USER_ENABLE] = "enable",
	[CONTROL_USER_DISABLE] = "disable",
	[CONTROL_USER_SHOW] = "show",
	[CONTROL_USER_LIST] = "list",
	[CONTROL_USER_BIND] = "bind",
	[CONTROL_USER_UNBIND] = "unbind",
	[CONTROL_USER_FIND] = "check",
	[CONTROL_USER_IMPORT] = "import",
	[CONTROL_USER_REPLACE] = "replace",
	[CONTROL_USER_EXPORT] = "export",
	[CONTROL_USER_SECRET] = "export-secret",
	[CONTROL_USER_ALTER] = "alter",
	[CONTROL_USER_ENROL] = "enrol",
	[CONTROL_USER_REVOKE] = "revoke",
};

const char *
control_user_word(enum control_user_verb verb)
{
	return (unsigned)verb < CONTROL_USER_VERBS ? words[verb] : NULL;
}

bool
control_user_is_bare(enum control_user_verb verb)
{
	return verb == CONTROL_USER_LIST || verb == CONTROL_USER_EXPORT ||
	       verb == CONTROL_USER_SECRET;
}

size_t
control_user_encode(unsigned char out[static CONTROL_USER_PACKET_MAX],
    uint8_t type, enum control_user_verb verb, const struct entry *entry)
{
	out[0] = type;
	out[1] = (unsigned char)verb;
	if (control_user_is_bare(verb))
		return 2;
	return 2 + entry_encode(entry, true, out + 2);
}

bool
control_user_decode(const void *octets, size_t len,
    enum control_user_verb *verb_out, struct entry *entry_out,
    struct reason *why)
{
	const unsigned char *at = octets;
	char name[NAME_SIZE];

	if (len < 1 || control_user_word((enum control_user_verb)at[0]) == NULL)
		return fail(why, REASON_PROTOCOL, "unknown request");
	*verb_out = (enum control_user_verb)at[0];
	if (control_user_is_bare(*verb_out))
		return len == 1 ? true
				: fail(why, REASON_PROTOCOL,
				      "request of a wrong length");
	if (!entry_decode(entry_out, at + 1, len - 1, why))
		return false;
	if (!name_parse(name, entry_out->name, NULL, why))
		return false;
	return strcmp(name, entry_out->name) == 0
		   ? true
		   : fail(why, REASON_PROTOCOL,
			 "name is not in its canonical form");
}

bool
control_user_data_add(unsigned char *data, size_t *len, size_t size,
    const struct entry *entry, bool with_keys)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	size_t entry_len = entry_encode(entry, with_keys, octets);
	bool fits = size - *len >= 2 + entry_len;

	if (fits) {
		data[*len] = (unsigned char)(entry_len >> 8);
		data[*len + 1] = (unsigned char)entry_len;
		memcpy(data + *len + 2, octets, entry_len);
		*len += 2 + entry_len;
	}
	explicit_bzero(octets, sizeof octets);
	return fits;
}

bool
control_user_data_next(const unsigned char **at, size_t *left,
    struct entry *out, struct reason *why)
{
	size_t len;

	fail(why, REASON_NONE, "%s", "");
	if (*left == 0)
		return false;
	if (*left < 2)
		return fail(why, REASON_PROTOCOL, "answer is cut off");
	len = (size_t)(*at)[0] << 8 | (*at)[1];
	if (*left - 2 < len)
		return fail(why, REASON_PROTOCOL, "answer is cut off");
	if (!entry_decode(out, *at + 2, len, why))
		return false;
	*at += 2 + len;
	*left -= 2 + len;
	return true;
}
