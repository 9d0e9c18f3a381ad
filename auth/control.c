/* auth/control.c: what "sallyport user" asks of the credential store. */
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

static bool
has_verifiers(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present &&
		    (!entry->verifiers[h].has_keys ||
			entry->verifiers[h].iterations <
			    VERIFIER_ITERATIONS_LEAST))
			return false;
	return entry->verifiers[VERIFIER_SHA_256].present;
}

static bool
has_any_verifier(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			return true;
	return false;
}

static bool
bind_keys(struct entry *there, const struct entry *request, struct reason *why)
{
	for (size_t i = 0; i < request->key_count; i++) {
		if (entry_has_key(there, request->keys[i]))
			return fail(why, REASON_EXISTS,
			    "%s: has that certificate's key already",
			    there->name);
		if (there->key_count == ENTRY_KEYS_MAX)
			return fail(why, REASON_RANGE,
			    "%s: has %d certificates' keys, no more fit",
			    there->name, ENTRY_KEYS_MAX);
		memcpy(there->keys[there->key_count++], request->keys[i],
		    SPKI_OCTETS);
	}
	return true;
}

static bool
unbind_keys(struct entry *there, const struct entry *request,
    struct reason *why)
{
	size_t kept = 0;

	for (size_t i = 0; i < request->key_count; i++)
		if (!entry_has_key(there, request->keys[i]))
			return fail(why, REASON_ABSENT,
			    "%s: has no such certificate's key", there->name);
	for (size_t i = 0; request->key_count > 0 && i < there->key_count; i++)
		if (!entry_has_key(request, there->keys[i]))
			memmove(there->keys[kept++], there->keys[i],
			    SPKI_OCTETS);
	there->key_count = kept;
	return true;
}

static bool
change_keys(struct store *store, enum control_user_verb verb,
    const struct entry *request, int64_t now, struct reason *why)
{
	struct entry there;
	bool ok;

	if (!store_get(store, request->name, &there, why))
		return false;
	ok = verb == CONTROL_USER_BIND ? bind_keys(&there, request, why)
				       : unbind_keys(&there, request, why);
	there.changed = now;
	ok = ok && store_put(store, &there, why);
	explicit_bzero(&there, sizeof there);
	return ok;
}

static bool
add(struct store *store, struct entry *entry, int64_t now, struct reason *why)
{
	struct entry there;
	struct reason absent;

	/* With a certificate alone there is no password to have. */
	if (!has_verifiers(entry) &&
	    (has_any_verifier(entry) || entry->key_count == 0 ||
		entry->foreign[0] != '\0'))
		return fail(why, REASON_PROTOCOL, "%s: no verifier",
		    entry->name);
	if (store_get(store, entry->name, &there, &absent)) {
		explicit_bzero(&there, sizeof there);
		return fail(why, REASON_EXISTS,
		    "%s: there is such a user "
		    "already",
		    entry->name);
	}
	if (absent.code != REASON_ABSENT) {
		if (why != NULL)
			*why = absent;
		return false;
	}
	entry->created = entry->changed = now;
	return store_put(store, entry, why);
}

/* Can anything in it be logged in with, and is what it has complete? */
static bool
check_whole(const struct entry *entry, struct reason *why)
{
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		const struct verifier *v = &entry->verifiers[h];

		if (v->present && !v->has_keys)
			return fail(why, REASON_PROTOCOL,
			    "%s: a verifier without its keys", entry->name);
		if (v->present && v->iterations < VERIFIER_ITERATIONS_LEAST)
			return fail(why, REASON_RANGE,
			    "%s: verifier of %u iterations, expected %d or "
			    "more",
			    entry->name, (unsigned)v->iterations,
			    VERIFIER_ITERATIONS_LEAST);
	}
	if (entry->foreign[0] != '\0')
		return foreign_check(entry->foreign, why);
	if (has_any_verifier(entry) || entry->key_count > 0)
		return true;
	return fail(why, REASON_SYNTAX,
	    "%s: neither a verifier nor a certificate's key", entry->name);
}

static bool
import(struct store *store, struct entry *entry, bool replaces, int64_t now,
    struct reason *why)
{
	struct entry there;
	struct reason absent = { 0 };
	bool is_there;

	if (!check_whole(entry, why))
		return false;
	is_there = store_get(store, entry->name, &there, &absent);
	explicit_bzero(&there, sizeof there);
	if (is_there && !replaces)
		return fail(why, REASON_EXISTS,
		    "%s: there is such a user already", entry->name);
	if (!is_there && absent.code != REASON_ABSENT) {
		if (why != NULL)
			*why = absent;
		return false;
	}
	if (entry->created == 0)
		entry->created = now;
	if (entry->changed == 0)
		entry->changed = now;
	return store_put(store, entry, why);
}

static bool
find(struct store *store, struct entry *entry, struct reason *why)
{
	struct reason absent = { 0 };

	if (store_get(store, entry->name, entry, &absent))
		return true;
	entry->name[0] = '\0';
	if (absent.code != REASON_ABSENT && why != NULL)
		*why = absent;
	return absent.code == REASON_ABSENT;
}

static bool
change(struct store *store, enum control_user_verb verb,
    const struct entry *request, int64_t now, struct reason *why)
{
	struct entry there;
	bool ok;

	if (verb == CONTROL_USER_SET && !has_verifiers(request))
		return fail(why, REASON_PROTOCOL, "%s: no verifier",
		    request->name);
	if (!store_get(store, request->name, &there, why))
		return false;
	if (verb == CONTROL_USER_SET) {
		memcpy(there.verifiers, request->verifiers,
		    sizeof there.verifiers);
		explicit_bzero(there.foreign, sizeof there.foreign);
	} else
		there.enabled = verb == CONTROL_USER_ENABLE;
	there.changed = now;
	ok = store_put(store, &there, why);
	explicit_bzero(&there, sizeof there);
	return ok;
}

bool
control_user_apply(struct store *store, enum control_user_verb verb,
    struct entry *entry, int64_t now, struct reason *why)
{
	switch (verb) {
	case CONTROL_USER_ADD:
		return add(store, entry, now, why);
	case CONTROL_USER_SET:
	case CONTROL_USER_ENABLE:
	case CONTROL_USER_DISABLE:
		return change(store, verb, entry, now, why);
	case CONTROL_USER_BIND:
	case CONTROL_USER_UNBIND:
		return change_keys(store, verb, entry, now, why);
	case CONTROL_USER_REMOVE:
		return store_remove(store, entry->name, why);
	case CONTROL_USER_SHOW:
		return store_get(store, entry->name, entry, why);
	case CONTROL_USER_FIND:
		return find(store, entry, why);
	case CONTROL_USER_IMPORT:
	case CONTROL_USER_REPLACE:
		return import(store, entry, verb == CONTROL_USER_REPLACE, now,
		    why);
	case CONTROL_USER_LIST:
	case CONTROL_USER_EXPORT:
	case CONTROL_USER_SECRET:
	case CONTROL_USER_VERBS:
		break;
	}
	return fail(why, REASON_PROTOCOL, "unknown request");
}
