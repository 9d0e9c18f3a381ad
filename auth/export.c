/* auth/export.c: the credential store as text. */
#include "export.h"

#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "entry_json.h"
#include "rights.h"
#include "san.h"

static const char format_name[] = "sallyport-users";
static const char never[] = "never"; /* legacy_until */

enum { BASE64_MAX = 128 };

_Static_assert(BASE64_MAX > (VERIFIER_SALT_MAX + 2) / 3 * 4 &&
		   BASE64_MAX > (STORE_SECRET_OCTETS + 2) / 3 * 4,
    "salts, keys and the secret fit");

static json_t *
base64(const unsigned char *octets, size_t len)
{
	const gnutls_datum_t data = { (unsigned char *)(uintptr_t)octets,
		(unsigned)len };
	gnutls_datum_t text;
	json_t *string;

	if (gnutls_base64_encode2(&data, &text) < 0)
		return NULL;
	string = json_stringn((const char *)text.data, text.size);
	gnutls_memset(text.data, 0, text.size);
	gnutls_free(text.data);
	return string;
}

/* json_dumps has no way to wipe what it outgrows. */
static char *
dump(json_t *object)
{
	char *line = NULL;
	size_t len;

	if (object == NULL)
		return NULL;
	line = malloc(EXPORT_LINE_MAX);
	len = line != NULL
		  ? json_dumpb(object, line, EXPORT_LINE_MAX - 1, JSON_COMPACT)
		  : 0;
	if (len > 0 && len < EXPORT_LINE_MAX) {
		line[len] = '\0';
	} else {
		free(line);
		line = NULL;
	}
	json_decref(object);
	return line;
}

void
export_wipe(char *line)
{
	if (line != NULL)
		explicit_bzero(line, strlen(line));
	free(line);
}

char *
export_header(const unsigned char secret[static STORE_SECRET_OCTETS])
{
	return dump(
	    json_pack("{s:s, s:i, s:o}", "format", format_name, "version",
		EXPORT_VERSION, "secret", base64(secret, STORE_SECRET_OCTETS)));
}

char *
export_trailer(uint64_t users)
{
	return dump(json_pack("{s:I}", "users", (json_int_t)users));
}

static json_t *
verifiers_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (int h = 0; h < VERIFIER_HASHES; h++) {
		const struct verifier *v = &entry->verifiers[h];
		size_t len = verifier_key_len((enum verifier_hash)h);

		if (v->present)
			json_array_append_new(list,
			    json_pack("{s:s, s:I, s:o, s:o, s:o}", "mechanism",
				verifier_mechanism((enum verifier_hash)h),
				"iterations", (json_int_t)v->iterations, "salt",
				base64(v->salt, v->salt_len), "stored",
				base64(v->stored, len), "server",
				base64(v->server, len)));
	}
	return list;
}

/* What an entry without it reads as is left out.  A value that JSON cannot have
 * is NULL, and fails. */
static bool
set(json_t *object, bool is_there, const char *member, json_t *value)
{
	if (is_there)
		return json_object_set_new(object, member, value) == 0;
	json_decref(value);
	return true;
}

static bool
set_settings(json_t *object, const struct entry *e)
{
	return set(object, e->binding_required, "binding_required",
		   json_true()) &&
	       set(object, e->legacy_until != ENTRY_LEGACY_AS_CONFIGURED,
		   "legacy_until",
		   e->legacy_until == ENTRY_LEGACY_ALWAYS
		       ? json_string(never)
		       : json_integer(e->legacy_until)) &&
	       set(object, e->rights_len > 0, "rights", entry_rights_json(e)) &&
	       set(object, e->network_count > 0, "networks",
		   entry_networks_json(e)) &&
	       set(object, e->rate != 0, "rate", json_integer(e->rate)) &&
	       set(object, e->until != 0, "until", json_integer(e->until));
}

char *
export_entry(const struct entry *entry)
{
	json_t *object = json_pack("{s:s, s:s, s:b, s:I, s:I, s:o, s:o}",
	    "name", entry->name, "kind", entry_kind_word(entry->kind),
	    "enabled", (int)entry->enabled, "created",
	    (json_int_t)entry->created, "changed", (json_int_t)entry->changed,
	    "verifiers", verifiers_json(entry), "keys", entry_keys_json(entry));

	if (object != NULL &&
	    set(object, entry->foreign[0] != '\0', "foreign",
		json_string(entry->foreign)) &&
	    set(object, entry->san_count > 0, "sans", entry_sans_json(entry)) &&
	    set(object, entry->has_legacy, "legacy",
		json_string(entry->legacy)) &&
	    set_settings(object, entry) &&
	    set(object, entry->owner[0] != '\0', "owner",
		json_string(entry->owner)) &&
	    set(object, entry->device_count > 0, "devices",
		entry_devices_json(entry)))
		return dump(object);
	json_decref(object);
	return NULL;
}

/* Reading. */

static bool
load(json_t **out, const char *line, size_t len)
{
	*out = len <= EXPORT_LINE_MAX
		   ? json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL)
		   : NULL;
	return *out != NULL;
}

/* jansson's errors quote what they stumbled over: ours do not. */
static bool
unreadable(struct reason *why, const char *what)
{
	return fail(why, REASON_SYNTAX, "%s", what);
}

static bool
from_base64(const char *text, unsigned char *out, size_t least, size_t most,
    size_t *len_out)
{
	const gnutls_datum_t data = { (unsigned char *)(uintptr_t)text,
		(unsigned)strnlen(text, BASE64_MAX + 1) };
	gnutls_datum_t octets;
	bool ok;

	if (data.size == 0 || data.size > BASE64_MAX ||
	    strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			 "0123456789+/=") != data.size ||
	    gnutls_base64_decode2(&data, &octets) < 0)
		return false;
	ok = octets.size >= least && octets.size <= most;
	if (ok) {
		memcpy(out, octets.data, octets.size);
		*len_out = octets.size;
	}
	gnutls_memset(octets.data, 0, octets.size);
	gnutls_free(octets.data);
	return ok;
}

bool
export_read_header(const char *line, size_t len,
    unsigned char secret_out[static STORE_SECRET_OCTETS], struct reason *why)
{
	const char *format, *secret;
	json_int_t version;
	size_t secret_len;
	json_t *object;
	bool ok = false;

	if (!load(&object, line, len) ||
	    json_unpack(object, "{s:s, s:I}", "format", &format, "version",
		&version) != 0 ||
	    strcmp(format, format_name) != 0)
		unreadable(why, "not an export of \"sallyport user export\", "
				"expected its first line");
	else if (version != EXPORT_VERSION)
		fail(why, REASON_SYNTAX,
		    "export of version %lld, expected version %d",
		    (long long)version, EXPORT_VERSION);
	else
		ok = (json_unpack(object, "{s:s, s:I, s:s!}", "format", &format,
			  "version", &version, "secret", &secret) == 0 &&
			 from_base64(secret, secret_out, STORE_SECRET_OCTETS,
			     STORE_SECRET_OCTETS, &secret_len)) ||
		     unreadable(why, "the export's secret cannot be read");
	json_decref(object);
	return ok;
}

bool
export_read_trailer(const char *line, size_t len, uint64_t *users_out)
{
	json_int_t users;
	json_t *object;
	bool ok;

	if (!load(&object, line, len))
		return false;
	ok = json_unpack(object, "{s:I!}", "users", &users) == 0 && users >= 0;
	json_decref(object);
	if (ok)
		*users_out = (uint64_t)users;
	return ok;
}

static bool
read_verifier(json_t *object, struct entry *entry)
{
	const char *mechanism, *salt, *stored, *server;
	json_int_t iterations;
	size_t key_len, len;
	struct verifier *v;
	int h = 0;

	if (json_unpack(object, "{s:s, s:I, s:s, s:s, s:s!}", "mechanism",
		&mechanism, "iterations", &iterations, "salt", &salt, "stored",
		&stored, "server", &server) != 0)
		return false;
	while (
	    h < VERIFIER_HASHES &&
	    strcmp(verifier_mechanism((enum verifier_hash)h), mechanism) != 0)
		h++;
	if (h == VERIFIER_HASHES || entry->verifiers[h].present ||
	    iterations < 1 || iterations > VERIFIER_ITERATIONS_MOST)
		return false;
	v = &entry->verifiers[h];
	key_len = verifier_key_len((enum verifier_hash)h);
	v->present = v->has_keys = true;
	v->iterations = (uint32_t)iterations;
	return from_base64(salt, v->salt, 1, VERIFIER_SALT_MAX, &v->salt_len) &&
	       from_base64(stored, v->stored, key_len, key_len, &len) &&
	       from_base64(server, v->server, key_len, key_len, &len);
}

static bool
read_key(json_t *value, struct entry *entry)
{
	const char *text = json_string_value(value);
	unsigned char *key = entry->keys[entry->key_count];

	if (text == NULL || entry->key_count == ENTRY_KEYS_MAX ||
	    !pin_read(key, text) || entry_has_key(entry, key))
		return false;
	entry->key_count++;
	return true;
}

static bool
read_san(json_t *value, struct entry *entry)
{
	struct entry_san *san = &entry->sans[entry->san_count];
	const char *ca, *name;

	if (entry->san_count == ENTRY_SANS_MAX ||
	    json_unpack(value, "{s:s, s:s!}", "ca", &ca, "name", &name) != 0 ||
	    !pin_read(san->ca, ca) || !san_parse(san->name, name, NULL) ||
	    entry_has_san(entry, san))
		return false;
	entry->san_count++;
	return true;
}

static bool
read_right(json_t *value, struct entry *entry)
{
	const char *text = json_string_value(value);
	char pattern[ENTRY_RIGHT_MAX + 1];
	size_t size;

	if (text == NULL || !rights_pattern_parse(pattern, text, NULL))
		return false;
	size = strlen(pattern) + 1;
	if (size > sizeof entry->rights - entry->rights_len)
		return false;
	memcpy(entry->rights + entry->rights_len, pattern, size);
	entry->rights_len += size;
	return true;
}

static bool
read_network(json_t *value, struct entry *entry)
{
	const char *text = json_string_value(value);

	if (text == NULL || entry->network_count == ENTRY_NETWORKS_MAX ||
	    !network_parse(&entry->networks[entry->network_count], text, NULL))
		return false;
	entry->network_count++;
	return true;
}

static bool
read_device(json_t *value, struct entry *entry)
{
	const char *label = json_string_value(value);

	if (label == NULL || entry->device_count == ENTRY_DEVICES_MAX ||
	    !entry_label_is_valid(label) || entry_has_device(entry, label))
		return false;
	strcpy(entry->devices[entry->device_count++], label);
	return true;
}

/* list NULL: the member is missing, which is as good as empty. */
static bool
read_list(json_t *list, const char *what,
    bool (*read)(json_t *value, struct entry *entry), struct entry *entry,
    struct reason *why)
{
	size_t n = list != NULL ? json_array_size(list) : 0;

	if (list != NULL && !json_is_array(list))
		return fail(why, REASON_SYNTAX, "\"%s\" is no list", what);
	for (size_t i = 0; i < n; i++)
		if (!read(json_array_get(list, i), entry))
			return fail(why, REASON_SYNTAX,
			    "\"%s\": one of them cannot be read, or is there "
			    "twice or too many are",
			    what);
	return true;
}

static bool
read_name(const char *name, struct entry *entry, struct reason *why)
{
	if (!name_parse(entry->name, name, NULL, why))
		return false;
	return strcmp(entry->name, name) == 0 ||
	       unreadable(why, "the name is not in its canonical form");
}

static bool
read_foreign(const char *hash, struct entry *entry, struct reason *why)
{
	if (hash == NULL)
		return true;
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			return unreadable(why, "\"foreign\" beside a verifier");
	if (!foreign_check(hash, why))
		return false;
	strcpy(entry->foreign, hash);
	return true;
}

static bool
read_owner(const char *owner, struct entry *entry, struct reason *why)
{
	if (owner == NULL)
		return true;
	if (!name_parse(entry->owner, owner, NULL, why))
		return false;
	return strcmp(entry->owner, owner) == 0 ||
	       unreadable(why, "the owner is not in its canonical form");
}

static bool
read_legacy(const char *legacy, struct entry *entry, struct reason *why)
{
	char prepared[PASSWORD_MAX + 1];

	if (legacy == NULL)
		return true;
	entry->has_legacy = strlen(legacy) <= ENTRY_LEGACY_MAX &&
			    password_prepare(prepared, legacy, NULL) &&
			    strcmp(prepared, legacy) == 0;
	explicit_bzero(prepared, sizeof prepared);
	if (!entry->has_legacy)
		return unreadable(why, "\"legacy\" is no prepared password");
	strcpy(entry->legacy, legacy);
	return true;
}

static bool
read_legacy_until(json_t *value, struct entry *entry, struct reason *why)
{
	if (value == NULL)
		return true;
	if (json_is_string(value) &&
	    strcmp(json_string_value(value), never) == 0)
		entry->legacy_until = ENTRY_LEGACY_ALWAYS;
	else
		entry->legacy_until = json_integer_value(value);
	return entry->legacy_until > 0 ||
	       unreadable(why, "\"legacy_until\" is no time");
}

/* The members that a line may have, as they are. */
struct members {
	const char *name, *kind, *foreign, *legacy, *owner;
	json_int_t created, changed, rate, until;
	json_t *verifiers, *keys, *sans, *rights, *networks, *devices;
	json_t *legacy_until;
	int enabled, binding_required;
};

static bool
unpack(json_t *object, struct members *m, struct reason *why)
{
	return json_unpack(object,
		   "{s:s, s:s, s:b, s:I, s:I, s:o, s:o, s?s, s?o, s?s, s?b, "
		   "s?o, s?o, s?o, s?I, s?I, s?s, s?o!}",
		   "name", &m->name, "kind", &m->kind, "enabled", &m->enabled,
		   "created", &m->created, "changed", &m->changed, "verifiers",
		   &m->verifiers, "keys", &m->keys, "foreign", &m->foreign,
		   "sans", &m->sans, "legacy", &m->legacy, "binding_required",
		   &m->binding_required, "legacy_until", &m->legacy_until,
		   "rights", &m->rights, "networks", &m->networks, "rate",
		   &m->rate, "until", &m->until, "owner", &m->owner, "devices",
		   &m->devices) == 0 ||
	       unreadable(why,
		   "an entry with a member that is missing, broken, or not "
		   "known to this version");
}

static bool
read_scalars(const struct members *m, struct entry *entry, struct reason *why)
{
	if (m->created < 0 || m->changed < 0 || m->until < 0)
		return unreadable(why, "a time before 1970");
	if (m->rate < 0 || m->rate > UINT32_MAX)
		return unreadable(why, "\"rate\" is no number of messages");
	entry->enabled = m->enabled != 0;
	entry->created = m->created;
	entry->changed = m->changed;
	entry->binding_required = m->binding_required != 0;
	entry->rate = (uint32_t)m->rate;
	entry->until = m->until;
	return entry_kind_parse(&entry->kind, m->kind) ||
	       unreadable(why,
		   "unknown kind, expected person, server or device");
}

static bool
read_object(json_t *object, struct entry *entry, struct reason *why)
{
	struct members m = { 0 };

	return unpack(object, &m, why) && read_scalars(&m, entry, why) &&
	       read_name(m.name, entry, why) &&
	       read_list(m.verifiers, "verifiers", read_verifier, entry, why) &&
	       read_list(m.keys, "keys", read_key, entry, why) &&
	       read_foreign(m.foreign, entry, why) &&
	       read_list(m.sans, "sans", read_san, entry, why) &&
	       read_legacy(m.legacy, entry, why) &&
	       read_legacy_until(m.legacy_until, entry, why) &&
	       read_list(m.rights, "rights", read_right, entry, why) &&
	       read_list(m.networks, "networks", read_network, entry, why) &&
	       read_owner(m.owner, entry, why) &&
	       read_list(m.devices, "devices", read_device, entry, why);
}

bool
export_read_entry(const char *line, size_t len, struct entry *out,
    struct reason *why)
{
	struct entry entry = { 0 };
	json_t *object;
	bool ok;

	if (!load(&object, line, len))
		return unreadable(why, "not a line of JSON");
	ok = read_object(object, &entry, why);
	if (ok)
		*out = entry;
	explicit_bzero(&entry, sizeof entry);
	json_decref(object);
	return ok;
}
