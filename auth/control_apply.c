/*
 * auth/control_apply.c: what "sallyport user" and "sallyport device" ask of the
 * credential store, done.
 */
#include <string.h>

#include "control.h"
#include "rights.h"
#include "san.h"

static bool
has_any_verifier(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			return true;
	return false;
}

/* A password of ours, which has SCRAM-SHA-256 always. */
static bool
has_password(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present &&
		    (!entry->verifiers[h].has_keys ||
			entry->verifiers[h].iterations <
			    VERIFIER_ITERATIONS_LEAST))
			return false;
	return entry->verifiers[VERIFIER_SHA_256].present;
}

/* The octets that it says there are. */
static bool
has_whole_legacy(const struct entry *entry)
{
	return entry->has_legacy == (entry->legacy[0] != '\0');
}

static bool
check_password(const struct entry *entry, struct reason *why)
{
	if (has_password(entry) && has_whole_legacy(entry))
		return true;
	return fail(why, REASON_PROTOCOL, "%s: no verifier", entry->name);
}

/* As they are matched: nobody canonicalises them later. */
static bool
check_rights(const struct entry *entry, struct reason *why)
{
	char pattern[ENTRY_RIGHT_MAX + 1];

	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		if (!rights_pattern_parse(pattern, entry->rights + i, why) ||
		    strcmp(pattern, entry->rights + i) != 0)
			return fail(why, REASON_SYNTAX,
			    "%s: a sender right that is none", entry->name);
	return true;
}

static bool
check_sans(const struct entry *entry, struct reason *why)
{
	char san[ENTRY_SAN_MAX + 1];

	for (size_t i = 0; i < entry->san_count; i++)
		if (!san_parse(san, entry->sans[i].name, why) ||
		    strcmp(san, entry->sans[i].name) != 0)
			return fail(why, REASON_SYNTAX,
			    "%s: a name in certificates that is none",
			    entry->name);
	return true;
}

/* The owner's label for it. */
static bool
device_label(const char *name, const char *owner,
    char out[static ENTRY_LABEL_MAX + 1])
{
	char local[NAME_LOCAL_MAX + 1], made[NAME_SIZE];
	size_t len = (size_t)(name_realm(name) - 1 - name), skip;

	name_local(owner, local);
	skip = strlen(local) + 1;
	if (len <= skip || len - skip > ENTRY_LABEL_MAX)
		return false;
	memcpy(out, name + skip, len - skip);
	out[len - skip] = '\0';
	return entry_device_name(owner, out, made) && strcmp(made, name) == 0;
}

/* Whose it is, and by which label; nobody's for what is no device. */
static bool
check_owner(const struct entry *entry, struct reason *why)
{
	char label[ENTRY_LABEL_MAX + 1];

	if (entry->owner[0] == '\0' ||
	    (entry->kind == ENTRY_DEVICE &&
		device_label(entry->name, entry->owner, label)))
		return true;
	return fail(why, REASON_SYNTAX, "%s: no device of %s", entry->name,
	    entry->owner);
}

/* Is there an entry of that name?  False with why REASON_NONE: none. */
static bool
look_up(struct store *store, const char *name, struct entry *out,
    struct reason *why)
{
	struct reason absent = { 0 };

	if (store_get(store, name, out, &absent))
		return true;
	if (absent.code == REASON_ABSENT)
		fail(why, REASON_NONE, "%s", "");
	else
		*why = absent;
	return false;
}

static bool
fail_exists(struct reason *why, const char *name)
{
	return fail(why, REASON_EXISTS, "%s: there is such a user already",
	    name);
}

static bool
add(struct store *store, struct entry *entry, int64_t now, struct reason *why)
{
	struct entry there;
	bool is_there;

	if (entry->kind == ENTRY_DEVICE || entry->owner[0] != '\0' ||
	    entry->device_count > 0 || entry->foreign[0] != '\0')
		return fail(why, REASON_PROTOCOL,
		    "%s: what only an import or \"sallyport device\" can add",
		    entry->name);
	/* Without any, others say who it is. */
	if ((has_any_verifier(entry) || entry->has_legacy) &&
	    !check_password(entry, why))
		return false;
	if (!check_sans(entry, why) || !check_rights(entry, why))
		return false;
	is_there = look_up(store, entry->name, &there, why);
	explicit_bzero(&there, sizeof there);
	if (is_there)
		return fail_exists(why, entry->name);
	if (why->code != REASON_NONE)
		return false;
	entry->created = entry->changed = now;
	return store_put(store, entry, why);
}

/* Is what it has complete, and strong enough? */
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
	if (!has_whole_legacy(entry))
		return fail(why, REASON_PROTOCOL,
		    "%s: a legacy secret without its octets", entry->name);
	if (entry->foreign[0] != '\0' && !foreign_check(entry->foreign, why))
		return false;
	return check_sans(entry, why) && check_rights(entry, why) &&
	       check_owner(entry, why);
}

static bool
import(struct store *store, struct entry *entry, bool replaces, int64_t now,
    struct reason *why)
{
	struct entry there;
	bool is_there;

	if (!check_whole(entry, why))
		return false;
	is_there = look_up(store, entry->name, &there, why);
	explicit_bzero(&there, sizeof there);
	if (is_there && !replaces)
		return fail_exists(why, entry->name);
	if (!is_there && why->code != REASON_NONE)
		return false;
	if (entry->created == 0)
		entry->created = now;
	if (entry->changed == 0)
		entry->changed = now;
	return store_put(store, entry, why);
}

static bool
find(struct store *store, struct entry *entry, struct reason *why)
{
	if (look_up(store, entry->name, entry, why))
		return true;
	entry->name[0] = '\0';
	return why->code == REASON_NONE;
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
bind_sans(struct entry *there, const struct entry *request, struct reason *why)
{
	for (size_t i = 0; i < request->san_count; i++) {
		if (entry_has_san(there, &request->sans[i]))
			return fail(why, REASON_EXISTS,
			    "%s: has that name in certificates already",
			    there->name);
		if (there->san_count == ENTRY_SANS_MAX)
			return fail(why, REASON_RANGE,
			    "%s: has %d names in certificates, no more fit",
			    there->name, ENTRY_SANS_MAX);
		there->sans[there->san_count++] = request->sans[i];
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
	for (size_t i = 0; i < there->key_count; i++)
		if (!entry_has_key(request, there->keys[i]))
			memmove(there->keys[kept++], there->keys[i],
			    SPKI_OCTETS);
	there->key_count = kept;
	return true;
}

static bool
unbind_sans(struct entry *there, const struct entry *request,
    struct reason *why)
{
	size_t kept = 0;

	for (size_t i = 0; i < request->san_count; i++)
		if (!entry_has_san(there, &request->sans[i]))
			return fail(why, REASON_ABSENT,
			    "%s: has no such name in certificates",
			    there->name);
	for (size_t i = 0; i < there->san_count; i++)
		if (!entry_has_san(request, &there->sans[i]))
			there->sans[kept++] = there->sans[i];
	there->san_count = kept;
	return true;
}

static bool
bind(struct entry *there, const struct entry *request, struct reason *why)
{
	return check_sans(request, why) && bind_keys(there, request, why) &&
	       bind_sans(there, request, why);
}

static bool
unbind(struct entry *there, const struct entry *request, struct reason *why)
{
	if (request->key_count + request->san_count == 0) {
		there->key_count = there->san_count = 0;
		return true;
	}
	return unbind_keys(there, request, why) &&
	       unbind_sans(there, request, why);
}

static bool
set_password(struct entry *there, const struct entry *request,
    struct reason *why)
{
	if (!check_password(request, why))
		return false;
	memcpy(there->verifiers, request->verifiers, sizeof there->verifiers);
	explicit_bzero(there->foreign, sizeof there->foreign);
	there->has_legacy = request->has_legacy;
	memcpy(there->legacy, request->legacy, sizeof there->legacy);
	return true;
}

static bool
alter(struct entry *there, const struct entry *request, struct reason *why)
{
	if (there->change != request->change)
		return fail(why, REASON_EXISTS,
		    "%s: was changed meanwhile, try again", there->name);
	if (!check_rights(request, why))
		return false;
	there->binding_required = request->binding_required;
	there->legacy_until = request->legacy_until;
	there->rights_len = request->rights_len;
	memcpy(there->rights, request->rights, sizeof there->rights);
	there->network_count = request->network_count;
	memcpy(there->networks, request->networks, sizeof there->networks);
	there->rate = request->rate;
	there->until = request->until;
	return true;
}

static bool
change(struct entry *there, enum control_user_verb verb,
    const struct entry *request, struct reason *why)
{
	switch (verb) {
	case CONTROL_USER_SET:
		return set_password(there, request, why);
	case CONTROL_USER_BIND:
		return bind(there, request, why);
	case CONTROL_USER_UNBIND:
		return unbind(there, request, why);
	case CONTROL_USER_ALTER:
		return alter(there, request, why);
	default:
		there->enabled = verb == CONTROL_USER_ENABLE;
		return true;
	}
}

static bool
change_stored(struct store *store, enum control_user_verb verb,
    const struct entry *request, int64_t now, struct reason *why)
{
	struct entry there;
	bool ok;

	if (!store_get(store, request->name, &there, why))
		return false;
	ok = change(&there, verb, request, why);
	there.changed = now;
	ok = ok && store_put(store, &there, why);
	explicit_bzero(&there, sizeof there);
	return ok;
}

/* Several at once: all that can be refused was asked before. */
static bool
end_group(struct store *store, bool ok, struct reason *why)
{
	return store_end(store, ok, ok ? why : NULL) && ok;
}

/* May the device be put where there is, or is not, one of its name already? */
static bool
check_place(struct store *store, const struct entry *device,
    const struct entry *owner, const char *label, struct reason *why)
{
	struct entry there;
	bool is_there = look_up(store, device->name, &there, why), ok;

	if (!is_there)
		return why->code == REASON_NONE;
	ok = there.kind == ENTRY_DEVICE &&
	     strcmp(there.owner, owner->name) == 0 &&
	     !entry_has_device(owner, label);
	explicit_bzero(&there, sizeof there);
	return ok || fail_exists(why, device->name);
}

static bool
enrol_with(struct store *store, struct entry *device, struct entry *owner,
    int64_t now, struct reason *why)
{
	char label[ENTRY_LABEL_MAX + 1];
	bool ok;

	if (owner->kind == ENTRY_DEVICE)
		return fail(why, REASON_SYNTAX,
		    "%s: is a device, and has none of its own", owner->name);
	if (!device_label(device->name, owner->name, label))
		return fail(why, REASON_PROTOCOL, "%s: no device of %s",
		    device->name, owner->name);
	if (!check_place(store, device, owner, label, why))
		return false;
	if (!entry_has_device(owner, label)) {
		if (owner->device_count == ENTRY_DEVICES_MAX)
			return fail(why, REASON_RANGE,
			    "%s: has %d devices, no more fit", owner->name,
			    ENTRY_DEVICES_MAX);
		strcpy(owner->devices[owner->device_count++], label);
	}
	device->created = device->changed = owner->changed = now;
	/* The device first: its keys may be another's. */
	if (!store_begin(store, why))
		return false;
	ok = store_put(store, device, why) && store_put(store, owner, why);
	return end_group(store, ok, why);
}

static bool
enrol(struct store *store, struct entry *device, int64_t now,
    struct reason *why)
{
	struct entry owner;
	bool ok;

	if (device->kind != ENTRY_DEVICE || device->foreign[0] != '\0' ||
	    device->device_count > 0 || device->owner[0] == '\0' ||
	    !entry_has_credential(device))
		return fail(why, REASON_PROTOCOL,
		    "%s: no device, or without credential", device->name);
	if (!check_whole(device, why) ||
	    !store_get(store, device->owner, &owner, why))
		return false;
	ok = enrol_with(store, device, &owner, now, why);
	explicit_bzero(&owner, sizeof owner);
	return ok;
}

static bool
drop_label(struct entry *owner, const char *label)
{
	size_t kept = 0;

	for (size_t i = 0; i < owner->device_count; i++)
		if (strcmp(owner->devices[i], label) != 0)
			memmove(owner->devices[kept++], owner->devices[i],
			    sizeof owner->devices[0]);
	if (kept == owner->device_count)
		return false;
	owner->device_count = kept;
	return true;
}

static bool
revoke(struct store *store, const struct entry *device, int64_t now,
    struct reason *why)
{
	char label[ENTRY_LABEL_MAX + 1];
	struct entry owner;
	bool lists, ok;

	lists = look_up(store, device->owner, &owner, why);
	if (!lists && why->code != REASON_NONE)
		return false;
	lists = lists && device_label(device->name, device->owner, label) &&
		drop_label(&owner, label);
	owner.changed = now;
	if (!store_begin(store, why)) {
		explicit_bzero(&owner, sizeof owner);
		return false;
	}
	ok = store_remove(store, device->name, why) &&
	     (!lists || store_put(store, &owner, why));
	explicit_bzero(&owner, sizeof owner);
	return end_group(store, ok, why);
}

/* A user, and all that are devices of his. */
static bool
remove_all(struct store *store, const struct entry *user, struct reason *why)
{
	struct entry device;
	char name[NAME_SIZE];
	bool ok = store_begin(store, why);

	if (!ok)
		return false;
	for (size_t i = 0; ok && i < user->device_count; i++) {
		if (!entry_device_name(user->name, user->devices[i], name))
			continue;
		if (look_up(store, name, &device, why))
			ok = device.kind != ENTRY_DEVICE ||
			     strcmp(device.owner, user->name) != 0 ||
			     store_remove(store, name, why);
		else
			ok = why->code == REASON_NONE;
	}
	explicit_bzero(&device, sizeof device);
	ok = ok && store_remove(store, user->name, why);
	return end_group(store, ok, why);
}

static bool
forget(struct store *store, enum control_user_verb verb, const char *name,
    int64_t now, struct reason *why)
{
	struct entry there;
	bool ok;

	if (!store_get(store, name, &there, why))
		return false;
	if (there.owner[0] != '\0')
		ok = revoke(store, &there, now, why);
	else if (verb == CONTROL_USER_REVOKE)
		ok = fail(why, REASON_SYNTAX, "%s: is nobody's device", name);
	else
		ok = remove_all(store, &there, why);
	explicit_bzero(&there, sizeof there);
	return ok;
}

bool
control_user_apply(struct store *store, enum control_user_verb verb,
    struct entry *entry, int64_t now, struct reason *why)
{
	struct reason unasked;

	why = why != NULL ? why : &unasked;
	switch (verb) {
	case CONTROL_USER_ADD:
		return add(store, entry, now, why);
	case CONTROL_USER_SET:
	case CONTROL_USER_ENABLE:
	case CONTROL_USER_DISABLE:
	case CONTROL_USER_BIND:
	case CONTROL_USER_UNBIND:
	case CONTROL_USER_ALTER:
		return change_stored(store, verb, entry, now, why);
	case CONTROL_USER_REMOVE:
	case CONTROL_USER_REVOKE:
		return forget(store, verb, entry->name, now, why);
	case CONTROL_USER_SHOW:
		return store_get(store, entry->name, entry, why);
	case CONTROL_USER_FIND:
		return find(store, entry, why);
	case CONTROL_USER_IMPORT:
	case CONTROL_USER_REPLACE:
		return import(store, entry, verb == CONTROL_USER_REPLACE, now,
		    why);
	case CONTROL_USER_ENROL:
		return enrol(store, entry, now, why);
	case CONTROL_USER_LIST:
	case CONTROL_USER_EXPORT:
	case CONTROL_USER_SECRET:
	case CONTROL_USER_VERBS:
		break;
	}
	return fail(why, REASON_PROTOCOL, "unknown request");
}
