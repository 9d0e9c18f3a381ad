/* auth/export.c: the credential store as text. */
#include "export.h"

#include <gnutls/gnutls.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "sallyport-users";

enum { BASE64_MAX = 128, KEY_TEXT = 7 + 2 * SPKI_OCTETS + 1 };

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

static json_t *
keys_json(const struct entry *entry)
{
	json_t *list = json_array();

	for (size_t i = 0; i < entry->key_count; i++) {
		char text[KEY_TEXT] = "sha256:";

		for (size_t o = 0; o < SPKI_OCTETS; o++)
			sprintf(text + 7 + 2 * o, "%02x", entry->keys[i][o]);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

char *
export_entry(const struct entry *entry)
{
	json_t *object = json_pack("{s:s, s:s, s:b, s:I, s:I, s:o, s:o}",
	    "name", entry->name, "kind", entry_kind_word(entry->kind),
	    "enabled", (int)entry->enabled, "created",
	    (json_int_t)entry->created, "changed", (json_int_t)entry->changed,
	    "verifiers", verifiers_json(entry), "keys", keys_json(entry));

	if (object != NULL && entry->foreign[0] != '\0')
		json_object_set_new(object, "foreign",
		    json_string(entry->foreign));
	return dump(object);
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
read_key(const char *text, struct entry *entry)
{
	unsigned char *key = entry->keys[entry->key_count];
	size_t len = SPKI_OCTETS;
	const gnutls_datum_t hex = { (unsigned char *)(uintptr_t)text + 7,
		2 * SPKI_OCTETS };

	if (strncmp(text, "sha256:", 7) != 0 || strlen(text) != KEY_TEXT - 1 ||
	    gnutls_hex_decode(&hex, key, &len) < 0 || len != SPKI_OCTETS ||
	    entry_has_key(entry, key))
		return false;
	entry->key_count++;
	return true;
}

static bool
read_lists(json_t *verifiers, json_t *keys, struct entry *entry,
    struct reason *why)
{
	json_t *each;
	size_t i;

	if (!json_is_array(verifiers) || !json_is_array(keys))
		return unreadable(why, "\"verifiers\" or \"keys\" is no list");
	json_array_foreach(verifiers, i,
	    each) if (!read_verifier(each, entry)) return unreadable(why,
	    "a verifier cannot be read");
	if (json_array_size(keys) > ENTRY_KEYS_MAX)
		return unreadable(why, "too many keys");
	json_array_foreach(keys, i, each) if (!json_is_string(each) ||
					      !read_key(json_string_value(each),
						  entry)) return unreadable(why,
	    "a key cannot be read");
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
read_object(json_t *object, struct entry *entry, struct reason *why)
{
	const char *name, *kind, *foreign = NULL;
	json_int_t created, changed;
	json_t *verifiers, *keys;
	int enabled;

	if (json_unpack(object, "{s:s, s:s, s:b, s:I, s:I, s:o, s:o, s?s!}",
		"name", &name, "kind", &kind, "enabled", &enabled, "created",
		&created, "changed", &changed, "verifiers", &verifiers, "keys",
		&keys, "foreign", &foreign) != 0)
		return unreadable(why,
		    "an entry with a member that is missing, broken, or not "
		    "known to this version");
	if (created < 0 || changed < 0)
		return unreadable(why, "a time before 1970");
	entry->enabled = enabled != 0;
	entry->created = created;
	entry->changed = changed;
	if (!entry_kind_parse(&entry->kind, kind))
		return unreadable(why,
		    "unknown kind, expected person, server or device");
	return read_name(name, entry, why) &&
	       read_lists(verifiers, keys, entry, why) &&
	       read_foreign(foreign, entry, why);
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
