/*
 * auth/store_entries.c: entries of the credential store, and the records of
 * certificates' keys and names that lead to them.
 */
#include <string.h>

#include "store_internal.h"

/* What an entry may be found by. */
enum { IDS_MAX = ENTRY_KEYS_MAX + ENTRY_SANS_MAX };

struct ids {
	size_t count;
	unsigned char octets[IDS_MAX][SPKI_OCTETS];
};

enum { ID_RECORD = 1 + SPKI_OCTETS };

/* What one change of an entry writes: the entry, and the records that lead to
 * it and come or go with it. */
struct change {
	struct store_record records[1 + 2 * IDS_MAX];
	size_t count;
	struct totals totals; /* of the store afterwards */
	char entry_key[STORE_KEY_MAX];
	unsigned char value[STORE_VALUE_MAX];
	char id_records[2 * IDS_MAX][ID_RECORD];
	unsigned char names[2 * IDS_MAX][NAME_SIZE + STORE_CRC_OCTETS];
};

static size_t
entry_key(const char *name, char out[static STORE_KEY_MAX])
{
	size_t len = strnlen(name, NAME_SIZE - 1);

	out[0] = 'u';
	memcpy(out + 1, name, len);
	return 1 + len;
}

bool
store_decode(struct store *store, const char *key, size_t key_len,
    const unsigned char *octets, size_t len, struct entry *out,
    struct reason *why)
{
	if (!entry_decode(out, octets, len, why))
		return false;
	if (strlen(out->name) != key_len - 1 ||
	    memcmp(out->name, key + 1, key_len - 1) != 0)
		return fail(why, REASON_DAMAGED,
		    "%s: an entry is in another's place", store->path);
	return true;
}

bool
store_get(struct store *store, const char *name, struct entry *out,
    struct reason *why)
{
	unsigned char value[STORE_VALUE_MAX];
	char key[STORE_KEY_MAX];
	size_t key_len = entry_key(name, key), len;
	bool ok;

	if (!store_read(store, key, key_len, value, &len, why))
		return why != NULL && why->code == REASON_ABSENT
			   ? fail(why, REASON_ABSENT, "%s: no such user", name)
			   : false;
	ok = store_decode(store, key, key_len, value, len, out, why);
	explicit_bzero(value, sizeof value);
	return ok;
}

static void
id_record(const unsigned char id[static SPKI_OCTETS],
    char out[static ID_RECORD])
{
	out[0] = 'k';
	memcpy(out + 1, id, SPKI_OCTETS);
}

bool
store_find_key(struct store *store, const unsigned char key[static SPKI_OCTETS],
    char name_out[static NAME_SIZE], struct reason *why)
{
	unsigned char value[STORE_VALUE_MAX];
	char record[ID_RECORD];
	size_t len;

	id_record(key, record);
	if (!store_read(store, record, sizeof record, value, &len, why))
		return false;
	if (len == 0 || len >= NAME_SIZE || memchr(value, 0, len) != NULL)
		return fail(why, REASON_DAMAGED,
		    "%s: the name that a key leads to is damaged", store->path);
	memcpy(name_out, value, len);
	name_out[len] = '\0';
	return true;
}

/* entry NULL has none. */
static void
ids_of(const struct entry *entry, struct ids *out)
{
	out->count = 0;
	for (size_t i = 0; entry != NULL && i < entry->key_count; i++)
		memcpy(out->octets[out->count++], entry->keys[i], SPKI_OCTETS);
	for (size_t i = 0; entry != NULL && i < entry->san_count; i++)
		entry_san_id(entry->sans[i].ca, entry->sans[i].name,
		    out->octets[out->count++]);
}

static bool
ids_have(const struct ids *ids, const unsigned char id[static SPKI_OCTETS])
{
	for (size_t i = 0; i < ids->count; i++)
		if (memcmp(ids->octets[i], id, SPKI_OCTETS) == 0)
			return true;
	return false;
}

/* name: whom the id leads to from now on; NULL: nobody. */
static void
change_add_id(struct change *change, const unsigned char id[static SPKI_OCTETS],
    const char *name)
{
	size_t i = change->count - 1, len = 0;
	struct store_record *record = &change->records[change->count++];

	id_record(id, change->id_records[i]);
	*record =
	    (struct store_record){ change->id_records[i], ID_RECORD, NULL, 0 };
	if (name == NULL) {
		change->totals.keys--;
		return;
	}
	len = strlen(name);
	memcpy(change->names[i], name, len);
	store_seal(change->id_records[i], ID_RECORD, change->names[i], len);
	record->value = change->names[i];
	record->value_len = len + STORE_CRC_OCTETS;
	change->totals.keys++;
}

/* The records that lead to before and no more to after, and the other way
 * round; either may be NULL. */
static bool
change_ids(struct change *change, struct store *store,
    const struct entry *before, const struct entry *after, struct reason *why)
{
	char other[NAME_SIZE];
	struct reason absent;
	struct ids old, new;

	ids_of(before, &old);
	ids_of(after, &new);
	for (size_t i = 0; i < old.count; i++)
		if (!ids_have(&new, old.octets[i]))
			change_add_id(change, old.octets[i], NULL);
	for (size_t i = 0; i < new.count; i++) {
		if (ids_have(&old, new.octets[i]))
			continue;
		if (store_find_key(store, new.octets[i], other, &absent))
			return fail(why, REASON_EXISTS,
			    i < after->key_count
				? "%s: that certificate's key is %s's already"
				: "%s: that name in certificates is %s's "
				  "already",
			    after->name, other);
		if (absent.code != REASON_ABSENT) {
			if (why != NULL)
				*why = absent;
			return false;
		}
		change_add_id(change, new.octets[i], after->name);
	}
	return true;
}

/* Put after in the place of before; either may be NULL, not both. */
static bool
replace(struct store *store, const struct entry *before,
    const struct entry *after, uint64_t number, struct reason *why)
{
	struct change change = { .count = 1, .totals = store->totals };
	struct store_record *record = &change.records[0];
	size_t len;
	bool ok;

	record->key = change.entry_key;
	record->key_len =
	    entry_key((after != NULL ? after : before)->name, change.entry_key);
	if (after != NULL) {
		len = entry_encode(after, true, change.value);
		store_seal(record->key, record->key_len, change.value, len);
		record->value = change.value;
		record->value_len = len + STORE_CRC_OCTETS;
	}
	change.totals.change = number;
	change.totals.count += (after != NULL) - (before != NULL);
	totals_tally(&change.totals, before, -1);
	totals_tally(&change.totals, after, 1);
	ok = change_ids(&change, store, before, after, why) &&
	     store_write(store, change.records, change.count, &change.totals,
		 why);
	explicit_bzero(&change, sizeof change);
	return ok;
}

bool
store_put(struct store *store, struct entry *entry, struct reason *why)
{
	uint64_t change = entry->change;
	struct entry before;
	struct reason absent = { 0 };
	bool there, ok;

	there = store_get(store, entry->name, &before, &absent);
	if (!there && absent.code != REASON_ABSENT) {
		if (why != NULL)
			*why = absent;
		return false;
	}
	entry->change = store->totals.change + 1;
	ok = replace(store, there ? &before : NULL, entry, entry->change, why);
	if (!ok)
		entry->change = change;
	explicit_bzero(&before, sizeof before);
	return ok;
}

bool
store_remove(struct store *store, const char *name, struct reason *why)
{
	struct entry before;
	bool ok;

	if (!store_get(store, name, &before, why))
		return false;
	ok = replace(store, &before, NULL, store->totals.change + 1, why);
	explicit_bzero(&before, sizeof before);
	return ok;
}
