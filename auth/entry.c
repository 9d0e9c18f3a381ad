/* auth/entry.c: one login in the credential store, and its octets. */
#include "entry.h"

#include <string.h>

enum { ENTRY_VERSION = 1 };

enum entry_tag {
	TAG_NAME = 1, /* octets, no NUL */
	TAG_FLAGS,    /* u8: FLAG_ENABLED */
	TAG_KIND,     /* u8: enum entry_kind */
	TAG_CHANGE,   /* u64 */
	TAG_CREATED,  /* u64, Unix seconds */
	TAG_CHANGED,  /* u64, Unix seconds */
	TAG_VERIFIER, /* one for each hash: u8 hash, u32 iterations, u8 salt
			 length, salt, StoredKey, ServerKey; in listings only
			 hash and iterations */
	TAG_KEY,      /* one for each certificate's key: SPKI_OCTETS */
	TAG_FOREIGN,  /* octets; in listings only the scheme's prefix */
	TAGS
};

enum { FLAG_ENABLED = 1 };

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
		       ENTRY_KEYS_MAX * (3 + SPKI_OCTETS) + 3 + FOREIGN_MAX,
    "every entry fits");

size_t
entry_encode(const struct entry *entry, bool with_keys,
    unsigned char out[static ENTRY_OCTETS_MAX])
{
	unsigned char *at = out;

	*at++ = ENTRY_VERSION;
	at = put_field(at, TAG_NAME, entry->name,
	    strnlen(entry->name, NAME_SIZE - 1));
	at = put_number_field(at, TAG_FLAGS, entry->enabled ? FLAG_ENABLED : 0,
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

static bool
get_name(struct entry *entry, const unsigned char *at, size_t len)
{
	if (len == 0 || len >= NAME_SIZE || memchr(at, '\0', len) != NULL)
		return false;
	memcpy(entry->name, at, len);
	entry->name[len] = '\0';
	return true;
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
		[TAG_KEY] = SPKI_OCTETS };

	if (lengths[tag] != 0 && lengths[tag] != len)
		return false;
	switch ((enum entry_tag)tag) {
	case TAG_NAME:
		return get_name(entry, at, len);
	case TAG_FLAGS:
		entry->enabled = at[0] == FLAG_ENABLED;
		return at[0] <= FLAG_ENABLED;
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
	case TAGS:
		break;
	}
	return false;
}

static bool
may_repeat(unsigned tag)
{
	return tag == TAG_VERIFIER || tag == TAG_KEY;
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
		    (!may_repeat(tag) && (seen & 1U << tag) != 0) ||
		    !get_field(&entry, tag, at, field))
			goto out;
		seen |= 1U << tag;
		at += field;
	}
	/* All but verifiers, keys and a foreign hash must be there. */
	ok = at == end &&
	     (seen | 1U << TAG_VERIFIER | 1U << TAG_KEY | 1U << TAG_FOREIGN) ==
		 (1U << TAGS) - (1U << TAG_NAME) &&
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
