/* auth/store.c: the credential store, a Kyoto Cabinet hash database. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <kclangc.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "store_file.h"
#include "totals.h"

/*
 * Records: "u" and a canonical name for each entry, "k" and a certificate's key
 * for each that an entry has (its value is the name), and two of the store's
 * own.  Each value ends with the CRC-32C of key and value, so that a value in
 * another's place is found out.
 */
enum { KEY_MAX = 1 + NAME_SIZE, CRC_OCTETS = 4, OWN_RECORDS = 2 };
enum { SECRET_OCTETS = STORE_SECRET_OCTETS };
enum { VALUE_MAX = ENTRY_OCTETS_MAX + CRC_OCTETS };

static const char state_key[] = ".state"; /* version, struct totals */
static const char secret_key[] = ".secret";

struct store {
	KCDB *db;
	char path[PATH_MAX];
	struct totals totals;
	unsigned char secret[SECRET_OCTETS];
	bool broken; /* a transaction did not end as it should have */
};

struct record {
	const char *key;
	size_t key_len;
	const unsigned char *value; /* NULL: remove it */
	size_t value_len;
};

enum { KEY_RECORD = 1 + SPKI_OCTETS };

/* What one change of an entry writes: the entry, and the records of
 * certificates' keys that come or go with it. */
struct change {
	struct record records[1 + 2 * ENTRY_KEYS_MAX];
	size_t count;
	struct totals totals; /* of the store afterwards */
	char entry_key[KEY_MAX];
	unsigned char value[VALUE_MAX];
	char keys_of[2 * ENTRY_KEYS_MAX][KEY_RECORD];
	unsigned char names[2 * ENTRY_KEYS_MAX][NAME_SIZE + CRC_OCTETS];
};

static int64_t
records_of(const struct totals *totals)
{
	return (int64_t)(totals->count + totals->keys) + OWN_RECORDS;
}

static void
seal(const char *key, size_t key_len, unsigned char *value, size_t len)
{
	uint32_t crc = crc32c(crc32c(0, key, key_len), value, len);

	for (int i = 0; i < CRC_OCTETS; i++)
		value[len + (size_t)i] = (unsigned char)(crc >> (24 - 8 * i));
}

static bool
is_sealed(const char *key, size_t key_len, const unsigned char *value,
    size_t len)
{
	uint32_t crc = crc32c(crc32c(0, key, key_len), value, len);

	for (int i = 0; i < CRC_OCTETS; i++)
		if (value[len + (size_t)i] !=
		    (unsigned char)(crc >> (24 - 8 * i)))
			return false;
	return true;
}

static bool
fail_kyoto(struct store *store, struct reason *why, const char *what)
{
	int32_t code = kcdbecode(store->db);

	return fail(why, code == KCESYSTEM ? REASON_IO : REASON_DAMAGED,
	    "%s: %s: %s", store->path, what, kcdbemsg(store->db));
}

/* *len_out octets of a value without its CRC. */
static bool
read_record(struct store *store, const char *key, size_t key_len,
    unsigned char out[static VALUE_MAX], size_t *len_out, struct reason *why)
{
	int32_t len;

	if (store->broken)
		return fail(why, REASON_IO,
		    "%s: a change could not be completed, the store must be "
		    "opened again",
		    store->path);
	len = kcdbgetbuf(store->db, key, key_len, (char *)out, VALUE_MAX);
	if (len < 0 && kcdbecode(store->db) == KCENOREC)
		return fail(why, REASON_ABSENT, "no such entry");
	if (len < 0)
		return fail_kyoto(store, why, "cannot be read");
	/* kcdbgetbuf gives the whole length even of what did not fit. */
	if (len < CRC_OCTETS || len > VALUE_MAX ||
	    !is_sealed(key, key_len, out, (size_t)len - CRC_OCTETS))
		return fail(why, REASON_DAMAGED,
		    "%s: a record is damaged (its checksum is wrong); put the "
		    "store back from a copy",
		    store->path);
	*len_out = (size_t)len - CRC_OCTETS;
	return true;
}

static bool
apply(struct store *store, const struct record *record)
{
	if (record->value == NULL)
		return kcdbremove(store->db, record->key, record->key_len);
	return kcdbset(store->db, record->key, record->key_len,
	    (const char *)record->value, record->value_len);
}

/*
 * The one function that writes.  All of it is in one transaction on stable
 * storage: what is written outside of one vanishes at the next open after a
 * crash, since we never let the library repair.
 */
static bool
commit(struct store *store, const struct record *records, size_t n,
    const struct totals *totals, struct reason *why)
{
	unsigned char state[TOTALS_OCTETS + CRC_OCTETS];
	struct record own = { state_key, sizeof state_key - 1, state,
		sizeof state };
	mode_t mask = umask(077);
	bool ok = false, begun;

	totals_put(state, totals);
	seal(own.key, own.key_len, state, TOTALS_OCTETS);
	begun = kcdbbegintran(store->db, 1);
	if (!begun) {
		fail_kyoto(store, why, "transaction");
		goto out;
	}
	ok = apply(store, &own);
	for (size_t i = 0; ok && i < n; i++)
		ok = apply(store, &records[i]);
	if (ok && kcdbcount(store->db) != records_of(totals)) {
		fail(why, REASON_DAMAGED,
		    "%s: has not the number of records "
		    "that it should have",
		    store->path);
		ok = false;
	} else if (!ok) {
		fail_kyoto(store, why, "cannot be written");
	}
	if (!kcdbendtran(store->db, ok)) {
		/* Which state the file is in only the next open can tell. */
		store->broken = true;
		if (ok)
			fail_kyoto(store, why, "cannot be written");
		ok = false;
	}
	if (ok)
		store->totals = *totals;
out:
	umask(mask);
	return ok;
}

static struct store *
store_alloc(const char *path, struct reason *why)
{
	struct store *store;

	/* What follows "#" would be options to the library. */
	if (strchr(path, '#') != NULL || strlen(path) >= PATH_MAX - 32) {
		fail(why, REASON_SYNTAX,
		    "%s: not a path for a store, expected one without '#'",
		    path);
		return NULL;
	}
	store = calloc(1, sizeof *store);
	if (store == NULL || (store->db = kcdbnew()) == NULL) {
		free(store);
		fail(why, REASON_NO_MEMORY, "credential store");
		return NULL;
	}
	strcpy(store->path, path);
	return store;
}

/* Memory-mapped files end in SIGBUS on a full disk: #msiz=0. */
static bool
open_database(struct store *store, uint32_t create, struct reason *why)
{
	char path[PATH_MAX + 32];
	mode_t mask = umask(077);
	bool ok;

	snprintf(path, sizeof path, "%s#type=kch#msiz=0", store->path);
	ok = kcdbopen(store->db, path,
	    KCOWRITER | KCOTRYLOCK | KCONOREPAIR | create);
	umask(mask);
	if (!ok && kcdbecode(store->db) == KCESYSTEM &&
	    strstr(kcdbemsg(store->db), "fcntl") != NULL)
		return fail(why, REASON_AWAY, "%s: another process has it open",
		    store->path);
	return ok ? true
		  : fail_kyoto(store, why,
			"cannot be opened; put the "
			"store back from a copy");
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	kcdbclose(store->db);
	kcdbdel(store->db);
	explicit_bzero(store, sizeof *store);
	free(store);
}

static bool
fill_new(const char *path, struct reason *why)
{
	unsigned char secret[SECRET_OCTETS + CRC_OCTETS];
	struct record record = { secret_key, sizeof secret_key - 1, secret,
		sizeof secret };
	struct store *store = store_alloc(path, why);
	bool ok = false;

	if (store == NULL)
		return false;
	if (gnutls_rnd(GNUTLS_RND_KEY, secret, SECRET_OCTETS) < 0) {
		fail(why, REASON_INTERNAL, "no random octets for a secret");
		goto out;
	}
	seal(record.key, record.key_len, secret, SECRET_OCTETS);
	ok = open_database(store, KCOCREATE, why) &&
	     commit(store, &record, 1, &store->totals, why);
	if (ok && !kcdbclose(store->db))
		ok = fail_kyoto(store, why, "cannot be closed");
out:
	explicit_bzero(secret, sizeof secret);
	store_close(store);
	return ok;
}

bool
store_create(const char *path, struct reason *why)
{
	char folder[PATH_MAX], made[PATH_MAX + 8];
	struct stat st;

	if (strlen(path) >= PATH_MAX - 32)
		return fail(why, REASON_RANGE, "%s: path is too long", path);
	if (lstat(path, &st) == 0)
		return fail(why, REASON_EXISTS, "%s: there is one already",
		    path);
	store_file_folder(path, folder);
	snprintf(made, sizeof made, "%s.new", path);
	if (!store_file_make(made, folder, why))
		return false;
	if (!fill_new(made, why))
		goto bad;
	if (renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			fail(why, REASON_EXISTS, "%s: there is one already",
			    path);
		else
			fail_errno(why, "%s", path);
		goto bad;
	}
	return store_file_sync_folder(folder, why);
bad:
	unlink(made);
	return false;
}

static bool
load_own(struct store *store, struct reason *why)
{
	unsigned char value[VALUE_MAX];
	size_t len;
	bool ok = false;

	if (!read_record(store, state_key, sizeof state_key - 1, value, &len,
		why))
		goto out;
	if (len != TOTALS_OCTETS || !totals_get(&store->totals, value)) {
		fail(why, REASON_DAMAGED, "%s: made by another version",
		    store->path);
		goto out;
	}
	if (!read_record(store, secret_key, sizeof secret_key - 1, value, &len,
		why))
		goto out;
	if (len != SECRET_OCTETS) {
		fail(why, REASON_DAMAGED, "%s: its secret is damaged",
		    store->path);
		goto out;
	}
	memcpy(store->secret, value, SECRET_OCTETS);
	ok = true;
out:
	explicit_bzero(value, sizeof value);
	if (!ok && why != NULL && why->code == REASON_ABSENT)
		fail(why, REASON_DAMAGED,
		    "%s: not a credential store, or "
		    "records are lost; put the store back from a copy",
		    store->path);
	return ok;
}

static bool
check_count(struct store *store, struct reason *why)
{
	int64_t wanted = records_of(&store->totals);
	int64_t records = kcdbcount(store->db);

	if (records == wanted)
		return true;
	return fail(why, REASON_DAMAGED,
	    "%s: holds %jd records, expected %jd: entries are lost; put the "
	    "store back from a copy",
	    store->path, (intmax_t)(records - OWN_RECORDS),
	    (intmax_t)(wanted - OWN_RECORDS));
}

bool
store_open(struct store **store_out, const char *path, struct reason *why)
{
	struct store *store = store_alloc(path, why);

	if (store == NULL)
		return false;
	if (store_file_check(path, why) && open_database(store, 0, why) &&
	    load_own(store, why) && check_count(store, why)) {
		*store_out = store;
		return true;
	}
	store_close(store);
	return false;
}

static size_t
entry_key(const char *name, char out[static KEY_MAX])
{
	size_t len = strnlen(name, NAME_SIZE - 1);

	out[0] = 'u';
	memcpy(out + 1, name, len);
	return 1 + len;
}

/* The entry of a key, from its octets. */
static bool
decode(struct store *store, const char *key, size_t key_len,
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
	unsigned char value[VALUE_MAX];
	char key[KEY_MAX];
	size_t key_len = entry_key(name, key), len;
	bool ok;

	if (!read_record(store, key, key_len, value, &len, why))
		return why != NULL && why->code == REASON_ABSENT
			   ? fail(why, REASON_ABSENT, "%s: no such user", name)
			   : false;
	ok = decode(store, key, key_len, value, len, out, why);
	explicit_bzero(value, sizeof value);
	return ok;
}

static void
key_record(const unsigned char key[static SPKI_OCTETS],
    char out[static KEY_RECORD])
{
	out[0] = 'k';
	memcpy(out + 1, key, SPKI_OCTETS);
}

bool
store_find_key(struct store *store, const unsigned char key[static SPKI_OCTETS],
    char name_out[static NAME_SIZE], struct reason *why)
{
	unsigned char value[VALUE_MAX];
	char record[KEY_RECORD];
	size_t len;

	key_record(key, record);
	if (!read_record(store, record, sizeof record, value, &len, why))
		return false;
	if (len == 0 || len >= NAME_SIZE || memchr(value, 0, len) != NULL)
		return fail(why, REASON_DAMAGED,
		    "%s: the name that a key leads to is damaged", store->path);
	memcpy(name_out, value, len);
	name_out[len] = '\0';
	return true;
}

/* name: who has the key from now on; NULL: nobody. */
static void
change_add_key(struct change *change,
    const unsigned char key[static SPKI_OCTETS], const char *name)
{
	size_t i = change->count - 1, len = 0;
	struct record *record = &change->records[change->count++];

	key_record(key, change->keys_of[i]);
	*record = (struct record){ change->keys_of[i], KEY_RECORD, NULL, 0 };
	if (name == NULL) {
		change->totals.keys--;
		return;
	}
	len = strlen(name);
	memcpy(change->names[i], name, len);
	seal(change->keys_of[i], KEY_RECORD, change->names[i], len);
	record->value = change->names[i];
	record->value_len = len + CRC_OCTETS;
	change->totals.keys++;
}

/* The records of keys that before had and after has not, and the other way
 * round; either may be NULL. */
static bool
change_keys(struct change *change, struct store *store,
    const struct entry *before, const struct entry *after, struct reason *why)
{
	char other[NAME_SIZE];
	struct reason absent;

	for (size_t i = 0; before != NULL && i < before->key_count; i++)
		if (after == NULL || !entry_has_key(after, before->keys[i]))
			change_add_key(change, before->keys[i], NULL);
	for (size_t i = 0; after != NULL && i < after->key_count; i++) {
		if (before != NULL && entry_has_key(before, after->keys[i]))
			continue;
		if (store_find_key(store, after->keys[i], other, &absent))
			return fail(why, REASON_EXISTS,
			    "%s: that certificate's key is %s's already",
			    after->name, other);
		if (absent.code != REASON_ABSENT) {
			if (why != NULL)
				*why = absent;
			return false;
		}
		change_add_key(change, after->keys[i], after->name);
	}
	return true;
}

/* Put after in the place of before; either may be NULL, not both. */
static bool
replace(struct store *store, const struct entry *before,
    const struct entry *after, uint64_t number, struct reason *why)
{
	struct change change = { .count = 1, .totals = store->totals };
	struct record *record = &change.records[0];
	size_t len;
	bool ok;

	record->key = change.entry_key;
	record->key_len =
	    entry_key((after != NULL ? after : before)->name, change.entry_key);
	if (after != NULL) {
		len = entry_encode(after, true, change.value);
		seal(record->key, record->key_len, change.value, len);
		record->value = change.value;
		record->value_len = len + CRC_OCTETS;
	}
	change.totals.change = number;
	change.totals.count += (after != NULL) - (before != NULL);
	totals_tally(&change.totals, before, -1);
	totals_tally(&change.totals, after, 1);
	ok = change_keys(&change, store, before, after, why) &&
	     commit(store, change.records, change.count, &change.totals, why);
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

bool
store_is_broken(const struct store *store)
{
	return store->broken;
}

uint64_t
store_count(const struct store *store)
{
	return store->totals.count;
}

void
store_secret(const struct store *store,
    unsigned char out[static STORE_SECRET_OCTETS])
{
	memcpy(out, store->secret, SECRET_OCTETS);
}

bool
store_set_secret(struct store *store,
    const unsigned char secret[static STORE_SECRET_OCTETS], struct reason *why)
{
	unsigned char value[SECRET_OCTETS + CRC_OCTETS];
	const struct record record = { secret_key, sizeof secret_key - 1, value,
		sizeof value };
	struct totals totals = store->totals;
	bool ok;

	if (totals.count > 0)
		return fail(why, REASON_EXISTS,
		    "%s: holds %ju users, expected an empty store", store->path,
		    (uintmax_t)totals.count);
	memcpy(value, secret, SECRET_OCTETS);
	seal(record.key, record.key_len, value, SECRET_OCTETS);
	totals.change++;
	ok = commit(store, &record, 1, &totals, why);
	if (ok)
		memcpy(store->secret, secret, SECRET_OCTETS);
	explicit_bzero(value, sizeof value);
	return ok;
}

struct store_walk {
	struct store *store;
	KCCUR *cursor;
};

bool
store_walk_new(struct store_walk **walk_out, struct store *store,
    struct reason *why)
{
	struct store_walk *walk = calloc(1, sizeof *walk);

	if (walk == NULL)
		return fail(why, REASON_NO_MEMORY, "walk of the store");
	walk->store = store;
	walk->cursor = kcdbcursor(store->db);
	if (!kccurjump(walk->cursor) && kccurecode(walk->cursor) != KCENOREC) {
		store_walk_free(walk);
		return fail_kyoto(store, why, "cannot be read");
	}
	*walk_out = walk;
	return true;
}

void
store_walk_free(struct store_walk *walk)
{
	if (walk == NULL)
		return;
	kccurdel(walk->cursor);
	free(walk);
}

bool
store_walk_next(struct store_walk *walk, struct entry *out, struct reason *why)
{
	struct store *store = walk->store;
	const char *value;
	size_t key_len, len;
	char *key;
	bool ok;

	fail(why, REASON_NONE, "%s", "");
	do {
		key = kccurget(walk->cursor, &key_len, &value, &len, 1);
		if (key == NULL)
			return kccurecode(walk->cursor) == KCENOREC
				   ? false
				   : fail_kyoto(store, why, "cannot be read");
		if (key_len > 1 && key_len <= KEY_MAX && key[0] == 'u')
			break;
		kcfree(key);
	} while (true);
	if (len < CRC_OCTETS || len > VALUE_MAX ||
	    !is_sealed(key, key_len, (const unsigned char *)value,
		len - CRC_OCTETS))
		ok = fail(why, REASON_DAMAGED,
		    "%s: a record is damaged (its checksum is wrong); put the "
		    "store back from a copy",
		    store->path);
	else
		ok = decode(store, key, key_len, (const unsigned char *)value,
		    len - CRC_OCTETS, out, why);
	/* Key and value are in one block. */
	explicit_bzero(key, key_len);
	kcfree(key);
	return ok;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of all entries, sorted; the caller frees each and the list. */
static bool
sorted_names(struct store *store, char ***names_out, size_t *n_out,
    struct reason *why)
{
	struct store_walk *walk;
	struct reason end = { 0 };
	struct entry entry;
	size_t n = 0, room = (size_t)store->totals.count;
	char **names = calloc(room + 1, sizeof *names);
	bool ok = false;

	if (names == NULL)
		return fail(why, REASON_NO_MEMORY, "list of the store");
	if (!store_walk_new(&walk, store, why)) {
		free(names);
		return false;
	}
	while (n < room && store_walk_next(walk, &entry, &end)) {
		names[n] = strdup(entry.name);
		if (names[n++] == NULL)
			fail(&end, REASON_NO_MEMORY, "list of the store");
		if (end.code != REASON_NONE)
			break;
	}
	store_walk_free(walk);
	explicit_bzero(&entry, sizeof entry);
	ok = end.code == REASON_NONE;
	if (ok) {
		qsort(names, n, sizeof *names, compare_names);
		*names_out = names;
		*n_out = n;
		return true;
	}
	while (n > 0)
		free(names[--n]);
	free(names);
	if (why != NULL)
		*why = end;
	return false;
}

bool
store_each(struct store *store,
    bool (*each)(void *context, const struct entry *entry), void *context,
    struct reason *why)
{
	char **names = NULL;
	size_t n = 0;
	struct entry entry;
	bool ok = true, more = true;

	if (!sorted_names(store, &names, &n, why))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (ok && more &&
		    (ok = store_get(store, names[i], &entry, why)))
			more = each(context, &entry);
		free(names[i]);
	}
	free(names);
	explicit_bzero(&entry, sizeof entry);
	return ok;
}

/* A name's own number, which nobody can tell who has not the secret. */
static bool
draw(const struct store *store, const char *purpose, enum verifier_hash hash,
    const char *name, unsigned char out[static 32], struct reason *why)
{
	const char *mechanism = verifier_mechanism(hash);
	gnutls_hmac_hd_t h;

	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, store->secret,
		SECRET_OCTETS) < 0)
		return fail(why, REASON_INTERNAL, "HMAC failed");
	/* With their NULs, so that they cannot run together. */
	gnutls_hmac(h, purpose, strlen(purpose) + 1);
	gnutls_hmac(h, mechanism, strlen(mechanism) + 1);
	gnutls_hmac(h, name, strlen(name));
	gnutls_hmac_deinit(h, out);
	return true;
}

bool
store_fake(const struct store *store, enum verifier_hash hash, const char *name,
    uint32_t standard, unsigned char salt_out[static VERIFIER_SALT_OCTETS],
    uint32_t *iterations_out, struct reason *why)
{
	unsigned char full[32];

	if (!draw(store, "salt", hash, name, full, why))
		return false;
	memcpy(salt_out, full, VERIFIER_SALT_OCTETS);
	if (!draw(store, "count", hash, name, full, why))
		return false;
	*iterations_out = totals_draw(&store->totals, hash, full, standard);
	return true;
}
