/* auth/entry.c: one login in the credential store, and its octets. */
#include "entry.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

enum { ENTRY_VERSION = 1 };

enum entry_tag {
	TAG_NAME = 1,     /* octets, no NUL */
	TAG_FLAGS,        /* u8: FLAG_ENABLED */
	TAG_KIND,         /* u8: enum entry_kind */
	TAG_CHANGE,       /* u64 */
	TAG_CREATED,      /* u64, Unix seconds */
	TAG_CHANGED,      /* u64, Unix seconds */
	TAG_VERIFIER,     /* one for each hash: u8 hash, u32 iterations, u8 salt
			     length, salt, StoredKey, ServerKey; in listings only
			     hash and iterations */
	TAG_KEY,          /* one for each certificate's key: SPKI_OCTETS */
	TAG_FOREIGN,      /* octets; in listings only the scheme's prefix */
	TAG_SAN,          /* one for each: r[SPKI_OCTETS], octets */
	TAG_LEGACY,       /* octets; in listings none */
	TAG_LEGACY_UNTIL, /* u64 */
	TAG_RIGHT,        /* one for each pattern: octets */
	TAG_NETWORK,      /* one for each: u8 family, u8 bits, r[16] */
	TAG_RATE,         /* u32 */
	TAG_UNTIL,        /* u64 */
	TAG_OWNER,        /* octets */
	TAG_DEVICE,       /* one for each label: octets */
	TAGS
};

/* What every entry has. */
enum {
	TAGS_ALWAYS = 1U << TAG_NAME | 1U << TAG_FLAGS | 1U << TAG_KIND |
		      1U << TAG_CHANGE | 1U << TAG_CREATED | 1U << TAG_CHANGED,
	TAGS_REPEATED = 1U << TAG_VERIFIER | 1U << TAG_KEY | 1U << TAG_SAN |
			1U << TAG_RIGHT | 1U << TAG_NETWORK | 1U << TAG_DEVICE,
};

enum { FLAG_ENABLED = 1, FLAG_BINDING_REQUIRED = 2, FLAGS_KNOWN = 3 };

enum { NETWORK_FIELD = 2 + 16 };

static const char *const kinds[ENTRY_KINDS] = {
	[ENTRY_PERSON] = "person",
	[ENTRY_SERVER] = "server",
	[ENTRY_DEVICE] = "device",
};

const char *
entry_kind_word(enum entry_kind kind)
{
	return kinds[kind];
}

bool
entry_kind_parse(enum entry_kind *out, const char *word)
{
	for (int k = 0; k < ENTRY_KINDS; k++)
		if (strcmp(kinds[k], word) == 0) {
			*out = (enum entry_kind)k;
			return true;
		}
	return false;
}

bool
entry_has_key(const struct entry *entry,
    const unsigned char key[static SPKI_OCTETS])
{
	for (size_t i = 0; i < entry->key_count; i++)
		if (memcmp(entry->keys[i], key, SPKI_OCTETS) == 0)
			return true;
	return false;
}

bool
entry_has_san(const struct entry *entry, const struct entry_san *san)
{
	for (size_t i = 0; i < entry->san_count; i++)
		if (memcmp(entry->sans[i].ca, san->ca, SPKI_OCTETS) == 0 &&
		    strcmp(entry->sans[i].name, san->name) == 0)
			return true;
	return false;
}

void
entry_san_id(const unsigned char ca[static SPKI_OCTETS], const char *name,
    unsigned char out[static SPKI_OCTETS])
{
	unsigned char octets[4 + SPKI_OCTETS + ENTRY_SAN_MAX];
	size_t len = strnlen(name, ENTRY_SAN_MAX);

	memcpy(octets, "san", 4);
	memcpy(octets + 4, ca, SPKI_OCTETS);
	memcpy(octets + 4 + SPKI_OCTETS, name, len);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, octets, 4 + SPKI_OCTETS + len, out);
}

bool
entry_label_is_valid(const char *label)
{
	size_t len = strspn(label, "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	return len > 0 && len <= ENTRY_LABEL_MAX && label[len] == '\0';
}

bool
entry_has_device(const struct entry *entry, const char *label)
{
	for (size_t i = 0; i < entry->device_count; i++)
		if (strcmp(entry->devices[i], label) == 0)
			return true;
	return false;
}

bool
entry_device_name(const char *owner, const char *label,
    char out[static NAME_SIZE])
{
	char local[NAME_LOCAL_MAX + 1];
	char name[NAME_SIZE + ENTRY_LABEL_MAX + 2];

	name_local(owner, local);
	snprintf(name, sizeof name, "%s+%s@%s", local, label,
	    name_realm(owner));
	return entry_label_is_valid(label) && name_parse(out, name, NULL, NULL);
}

bool
entry_has_credential(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			return true;
	return entry->foreign[0] != '\0' || entry->has_legacy ||
	       entry->key_count > 0 || entry->san_count > 0;
}

static unsigned char *
put_number(unsigned char *at, uint64_t v, int octets)
{
	for (int i = octets - 1; i >= 0; i--)
		*at++ = (unsigned char)(v >> (8 * i));
	return at;
}

static uint64_t
number(const unsigned char *at, size_t octets)
{
	uint64_t v = 0;

	for (size_t i = 0; i < octets; i++)
		v = v << 8 | at[i];
	return v;
}

static unsigned char *
put_field(unsigned char *at, enum entry_tag tag, const void *octets, size_t len)
{
	*at++ = (unsigned char)tag;
	at = put_number(at, len, 2);
	memcpy(at, octets, len);
	return at + len;
}

static unsigned char *
put_number_field(unsigned char *at, enum entry_tag tag, uint64_t v, int octets)
{
	unsigned char field[8];

	put_number(field, v, octets);
	return put_field(at, tag, field, (size_t)octets);
}

static unsigned char *
put_verifier(unsigned char *at, enum verifier_hash hash,
    const struct verifier *v, bool with_keys)
{
	size_t key_len = verifier_key_len(hash);
	unsigned char field[6 + VERIFIER_SALT_MAX + 2 * VERIFIER_KEY_MAX];
	unsigned char *end = field;

	*end++ = (unsigned char)hash;
	end = put_number(end, v->iterations, 4);
	if (with_keys && v->has_keys) {
		*end++ = (unsigned char)v->salt_len;
		memcpy(end, v->salt, v->salt_len);
		end += v->salt_len;
		memcpy(end, v->stored, key_len);
		end += key_len;
		memcpy(end, v->server, key_len);
		end += key_len;
	}
	at = put_field(at, TAG_VERIFIER, field, (size_t)(end - field));
	explicit_bzero(field, sizeof field);
	return at;
}

_Static_assert(ENTRY_OCTETS_MAX >=
		   1 + 3 + NAME_SIZE + 2 * 4 + 3 * 11 +
		       VERIFIER_HASHES *
			   (3 + 6 + VERIFIER_SALT_MAX + 2 * VERIFIER_KEY_MAX) +
		       ENTRY_KEYS_MAX * (3 + SPKI_OCTETS) + 3 + FOREIGN_MAX +
		       ENTRY_SANS_MAX * (3 + SPKI_OCTETS + ENTRY_SAN_MAX) + 3 +
		       ENTRY_LEGACY_MAX + 2 * 11 + 7 +
		       /* A pattern of one octet has a NUL here, 3 there. */
		       2 * ENTRY_RIGHTS_MAX +
		       ENTRY_NETWORKS_MAX * (3 + NETWORK_FIELD) + 3 +
		       NAME_SIZE + ENTRY_DEVICES_MAX * (3 + ENTRY_LABEL_MAX),
    "every entry fits");

static unsigned char *
put_text(unsigned char *at, enum entry_tag tag, const char *text)
{
	return put_field(at, tag, text, strlen(text));
}

/* What it may, and who it belongs to. */
static unsigned char *
put_settings(unsigned char *at, const struct entry *entry)
{
	if (entry->legacy_until != ENTRY_LEGACY_AS_CONFIGURED)
		at = put_number_field(at, TAG_LEGACY_UNTIL,
		    (uint64_t)entry->legacy_until, 8);
	for (size_t i = 0; i < entry->rights_len;
	     i += strlen(entry->rights + i) + 1)
		at = put_text(at, TAG_RIGHT, entry->rights + i);
	for (size_t i = 0; i < entry->network_count; i++) {
		const struct network *n = &entry->networks[i];
		unsigned char field[NETWORK_FIELD] = { n->family, n->bits };

		memcpy(field + 2, n->address, sizeof n->address);
		at = put_field(at, TAG_NETWORK, field, sizeof field);
	}
	if (entry->rate != 0)
		at = put_number_field(at, TAG_RATE, entry->rate, 4);
	if (entry->until != 0)
		at = put_number_field(at, TAG_UNTIL, (uint64_t)entry->until, 8);
	if (entry->owner[0] != '\0')
		at = put_text(at, TAG_OWNER, entry->owner);
	for (size_t i = 0; i < entry->device_count; i++)
		at = put_text(at, TAG_DEVICE, entry->devices[i]);
	return at;
}

static unsigned char *
put_san(unsigned char *at, const struct entry_san *san)
{
	unsigned char field[SPKI_OCTETS + ENTRY_SAN_MAX];
	size_t len = strlen(san->name);

	memcpy(field, san->ca, SPKI_OCTETS);
	memcpy(field + SPKI_OCTETS, san->name, len);
	return put_field(at, TAG_SAN, field, SPKI_OCTETS + len);
}

size_t
entry_encode(const struct entry *entry, bool with_keys,
    unsigned char out[static ENTRY_OCTETS_MAX])
{
	unsigned char *at = out;

	*at++ = ENTRY_VERSION;
	at = put_field(at, TAG_NAME, entry->name,
	    strnlen(entry->name, NAME_SIZE - 1));
	at = put_number_field(at, TAG_FLAGS,
	    (entry->enabled ? FLAG_ENABLED : 0) |
		(entry->binding_required ? FLAG_BINDING_REQUIRED : 0),
	    1);
	at = put_number_field(at, TAG_KIND, entry->kind, 1);
	at = put_number_field(at, TAG_CHANGE, entry->change, 8);
	at = put_number_field(at, TAG_CREATED, (uint64_t)entry->created, 8);
	at = put_number_field(at, TAG_CHANGED, (uint64_t)entry->changed, 8);
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			at = put_verifier(at, (enum verifier_hash)h,
			    &entry->verifiers[h], with_keys);
	for (size_t i = 0; i < entry->key_count; i++)
		at = put_field(at, TAG_KEY, entry->keys[i], SPKI_OCTETS);
	if (entry->foreign[0] != '\0')
		at = put_field(at, TAG_FOREIGN, entry->foreign,
		    with_keys ? strnlen(entry->foreign, FOREIGN_MAX)
			      : foreign_prefix(entry->foreign));
	for (size_t i = 0; i < entry->san_count; i++)
		at = put_san(at, &entry->sans[i]);
	if (entry->has_legacy)
		at = put_text(at, TAG_LEGACY, with_keys ? entry->legacy : "");
	at = put_settings(at, entry);
	return (size_t)(at - out);
}

static bool
get_verifier(struct entry *entry, const unsigned char *at, size_t len)
{
	struct verifier *v;
	size_t key_len;

	if (len < 5 || at[0] >= VERIFIER_HASHES)
		return false;
	v = &entry->verifiers[at[0]];
	key_len = verifier_key_len((enum verifier_hash)at[0]);
	if (v->present)
		return false;
	v->iterations = (uint32_t)number(at + 1, 4);
	if (v->iterations < 1 || v->iterations > VERIFIER_ITERATIONS_MOST)
		return false;
	v->present = true;
	if (len == 5)
		return true;
	v->salt_len = at[5];
	if (v->salt_len < 1 || v->salt_len > VERIFIER_SALT_MAX ||
	    len != 6 + v->salt_len + 2 * key_len)
		return false;
	memcpy(v->salt, at + 6, v->salt_len);
	memcpy(v->stored, at + 6 + v->salt_len, key_len);
	memcpy(v->server, at + 6 + v->salt_len + key_len, key_len);
	v->has_keys = true;
	return true;
}

static bool
get_key(struct entry *entry, const unsigned char *at)
{
	if (entry->key_count == ENTRY_KEYS_MAX || entry_has_key(entry, at))
		return false;
	memcpy(entry->keys[entry->key_count++], at, SPKI_OCTETS);
	return true;
}

static bool
get_foreign(struct entry *entry, const unsigned char *at, size_t len)
{
	if (len == 0 || len > FOREIGN_MAX || memchr(at, '\0', len) != NULL)
		return false;
	memcpy(entry->foreign, at, len);
	entry->foreign[len] = '\0';
	return foreign_scheme(entry->foreign) != NULL;
}

/* A string of 1 to size - 1 octets. */
static bool
get_text(char *out, size_t size, const unsigned char *at, size_t len)
{
	if (len == 0 || len >= size || memchr(at, '\0', len) != NULL)
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return true;
}

static bool
get_san(struct entry *entry, const unsigned char *at, size_t len)
{
	struct entry_san *san = &entry->sans[entry->san_count];

	if (entry->san_count == ENTRY_SANS_MAX || len <= SPKI_OCTETS ||
	    !get_text(san->name, sizeof san->name, at + SPKI_OCTETS,
		len - SPKI_OCTETS))
		return false;
	memcpy(san->ca, at, SPKI_OCTETS);
	if (entry_has_san(entry, san))
		return false;
	entry->san_count++;
	return true;
}

static bool
get_legacy(struct entry *entry, const unsigned char *at, size_t len)
{
	entry->has_legacy = true;
	return len == 0 ||
	       get_text(entry->legacy, sizeof entry->legacy, at, len);
}

static bool
get_right(struct entry *entry, const unsigned char *at, size_t len)
{
	size_t left = sizeof entry->rights - entry->rights_len;

	if (len > ENTRY_RIGHT_MAX ||
	    !get_text(entry->rights + entry->rights_len, left, at, len))
		return false;
	entry->rights_len += len + 1;
	return true;
}

static bool
get_network(struct entry *entry, const unsigned char *at)
{
	struct network *network = &entry->networks[entry->network_count];

	if (entry->network_count == ENTRY_NETWORKS_MAX)
		return false;
	network->family = at[0];
	network->bits = at[1];
	memcpy(network->address, at + 2, sizeof network->address);
	entry->network_count++;
	return network_is_valid(network);
}

static bool
get_device(struct entry *entry, const unsigned char *at, size_t len)
{
	char *label = entry->devices[entry->device_count];

	if (entry->device_count == ENTRY_DEVICES_MAX ||
	    !get_text(label, ENTRY_LABEL_MAX + 1, at, len) ||
	    !entry_label_is_valid(label) || entry_has_device(entry, label))
		return false;
	entry->device_count++;
	return true;
}

/* The settings of a field that is a time or a count. */
static bool
get_positive(int64_t *out, const unsigned char *at, size_t len)
{
	*out = (int64_t)number(at, len);
	return *out > 0;
}

static bool
get_field(struct entry *entry, unsigned tag, const unsigned char *at,
    size_t len)
{
	static const size_t lengths[TAGS] = { [TAG_FLAGS] = 1,
		[TAG_KIND] = 1,
		[TAG_CHANGE] = 8,
		[TAG_CREATED] = 8,
		[TAG_CHANGED] = 8,
		[TAG_KEY] = SPKI_OCTETS,
		[TAG_LEGACY_UNTIL] = 8,
		[TAG_NETWORK] = NETWORK_FIELD,
		[TAG_RATE] = 4,
		[TAG_UNTIL] = 8 };

	if (lengths[tag] != 0 && lengths[tag] != len)
		return false;
	switch ((enum entry_tag)tag) {
	case TAG_NAME:
		return get_text(entry->name, sizeof entry->name, at, len);
	case TAG_FLAGS:
		entry->enabled = (at[0] & FLAG_ENABLED) != 0;
		entry->binding_required = (at[0] & FLAG_BINDING_REQUIRED) != 0;
		return at[0] <= FLAGS_KNOWN;
	case TAG_KIND:
		entry->kind = (enum entry_kind)at[0];
		return at[0] < ENTRY_KINDS;
	case TAG_CHANGE:
		entry->change = number(at, len);
		return true;
	case TAG_CREATED:
		entry->created = (int64_t)number(at, len);
		return true;
	case TAG_CHANGED:
		entry->changed = (int64_t)number(at, len);
		return true;
	case TAG_VERIFIER:
		return get_verifier(entry, at, len);
	case TAG_KEY:
		return get_key(entry, at);
	case TAG_FOREIGN:
		return get_foreign(entry, at, len);
	case TAG_SAN:
		return get_san(entry, at, len);
	case TAG_LEGACY:
		return get_legacy(entry, at, len);
	case TAG_LEGACY_UNTIL:
		return get_positive(&entry->legacy_until, at, len);
	case TAG_RIGHT:
		return get_right(entry, at, len);
	case TAG_NETWORK:
		return get_network(entry, at);
	case TAG_RATE:
		entry->rate = (uint32_t)number(at, len);
		return entry->rate > 0;
	case TAG_UNTIL:
		return get_positive(&entry->until, at, len);
	case TAG_OWNER:
		return get_text(entry->owner, sizeof entry->owner, at, len);
	case TAG_DEVICE:
		return get_device(entry, at, len);
	case TAGS:
		break;
	}
	return false;
}

bool
entry_decode(struct entry *out, const void *octets, size_t len,
    struct reason *why)
{
	const unsigned char *at = octets, *end = at + len;
	unsigned seen = 0;
	struct entry entry = { 0 };
	bool ok = false;

	if (len < 1 || *at++ != ENTRY_VERSION)
		return fail(why, REASON_DAMAGED,
		    "entry of another version, expected %d", ENTRY_VERSION);
	while (end - at >= 3) {
		unsigned tag = at[0];
		size_t field = number(at + 1, 2);

		at += 3;
		if (tag == 0 || tag >= TAGS || field > (size_t)(end - at) ||
		    (seen & ~(unsigned)TAGS_REPEATED & 1U << tag) != 0 ||
		    !get_field(&entry, tag, at, field))
			goto out;
		seen |= 1U << tag;
		at += field;
	}
	ok = at == end && (seen & TAGS_ALWAYS) == TAGS_ALWAYS &&
	     (entry.foreign[0] == '\0' || (seen & 1U << TAG_VERIFIER) == 0);
	if (ok)
		*out = entry;
out:
	explicit_bzero(&entry, sizeof entry);
	return ok ? true
		  : fail(why, REASON_DAMAGED,
			"entry with a field that is missing, broken, or not "
			"known to this version");
}
