/*
 * auth/store.c: the credential store as a database: its opening, its records
 * and the one way they are written.
 */
#include "store.h"

#include <assert.h>
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
#include "store_internal.h"

enum { OWN_RECORDS = 2 };

static const char state_key[] = ".state"; /* version, struct totals */
static const char secret_key[] = ".secret";

static int64_t
records_of(const struct totals *totals)
{
	return (int64_t)(totals->count + totals->keys) + OWN_RECORDS;
}

void
store_seal(const char *key, size_t key_len, unsigned char *value, size_t len)
{
	uint32_t crc = crc32c(crc32c(0, key, key_len), value, len);

	for (int i = 0; i < STORE_CRC_OCTETS; i++)
		value[len + (size_t)i] = (unsigned char)(crc >> (24 - 8 * i));
}

bool
store_is_sealed(const char *key, size_t key_len, const unsigned char *value,
    size_t len)
{
	uint32_t crc = crc32c(crc32c(0, key, key_len), value, len);

	for (int i = 0; i < STORE_CRC_OCTETS; i++)
		if (value[len + (size_t)i] !=
		    (unsigned char)(crc >> (24 - 8 * i)))
			return false;
	return true;
}

bool
store_fail(struct store *store, struct reason *why, const char *what)
{
	int32_t code = kcdbecode(store->db);

	return fail(why, code == KCESYSTEM ? REASON_IO : REASON_DAMAGED,
	    "%s: %s: %s", store->path, what, kcdbemsg(store->db));
}

static bool
fail_broken(const struct store *store, struct reason *why)
{
	return fail(why, REASON_IO,
	    "%s: a change could not be completed, the store must be opened "
	    "again",
	    store->path);
}

bool
store_read(struct store *store, const char *key, size_t key_len,
    unsigned char out[static STORE_VALUE_MAX], size_t *len_out,
    struct reason *why)
{
	int32_t len;

	if (store->broken)
		return fail_broken(store, why);
	len = kcdbgetbuf(store->db, key, key_len, (char *)out, STORE_VALUE_MAX);
	if (len < 0 && kcdbecode(store->db) == KCENOREC)
		return fail(why, REASON_ABSENT, "no such entry");
	if (len < 0)
		return store_fail(store, why, "cannot be read");
	/* kcdbgetbuf gives the whole length even of what did not fit. */
	if (len < STORE_CRC_OCTETS || len > STORE_VALUE_MAX ||
	    !store_is_sealed(key, key_len, out, (size_t)len - STORE_CRC_OCTETS))
		return fail(why, REASON_DAMAGED,
		    "%s: a record is damaged (its checksum is wrong); put the "
		    "store back from a copy",
		    store->path);
	*len_out = (size_t)len - STORE_CRC_OCTETS;
	return true;
}

static bool
apply(struct store *store, const struct store_record *record)
{
	if (record->value == NULL)
		return kcdbremove(store->db, record->key, record->key_len);
	return kcdbset(store->db, record->key, record->key_len,
	    (const char *)record->value, record->value_len);
}

/*
 * Everything is written in a transaction on stable storage: what is written
 * outside of one vanishes at the next open after a crash, since we never let
 * the library repair.
 */
bool
store_begin(struct store *store, struct reason *why)
{
	mode_t mask;
	bool ok;

	assert(!store->in_group);
	if (store->broken)
		return fail_broken(store, why);
	mask = umask(077);
	ok = kcdbbegintran(store->db, 1);
	umask(mask);
	if (!ok)
		return store_fail(store, why, "transaction");
	store->in_group = true;
	store->has_written = false;
	store->before = store->totals;
	fail(&store->failure, REASON_NONE, "%s", "");
	return true;
}

/* The state record; is the group complete then? */
static bool
write_state(struct store *store, struct reason *why)
{
	unsigned char state[TOTALS_OCTETS + STORE_CRC_OCTETS];
	struct store_record own = { state_key, sizeof state_key - 1, state,
		sizeof state };

	totals_put(state, &store->totals);
	store_seal(own.key, own.key_len, state, TOTALS_OCTETS);
	if (!apply(store, &own))
		return store_fail(store, why, "cannot be written");
	if (kcdbcount(store->db) == records_of(&store->totals))
		return true;
	return fail(why, REASON_DAMAGED,
	    "%s: has not the number of records that it should have",
	    store->path);
}

bool
store_end(struct store *store, bool keep, struct reason *why)
{
	bool ok = store->failure.code == REASON_NONE;
	mode_t mask = umask(077);

	assert(store->in_group);
	if (keep && !ok && why != NULL)
		*why = store->failure;
	if (keep && ok && store->has_written)
		ok = write_state(store, why);
	if (store->is_copy) {
		store->broken |= !keep || !ok;
	} else if (!kcdbendtran(store->db,
		       (keep && ok) || !store->has_written)) {
		/* Which state the file is in only the next open can tell. */
		store->broken = true;
		if (!keep || ok)
			store_fail(store, why, "cannot be written");
		ok = false;
	}
	if (!keep || !ok) {
		store->totals = store->before;
		store->undone += store->has_written;
	}
	umask(mask);
	store->in_group = false;
	return ok;
}

bool
store_write(struct store *store, const struct store_record *records, size_t n,
    const struct totals *totals, struct reason *why)
{
	bool alone = !store->in_group, ok;
	mode_t mask;

	if (alone && !store_begin(store, why))
		return false;
	mask = umask(077);
	ok = store->failure.code == REASON_NONE;
	store->has_written = true;
	for (size_t i = 0; ok && i < n; i++)
		if (!apply(store, &records[i]))
			ok = store_fail(store, &store->failure,
			    "cannot be written");
	umask(mask);
	if (ok)
		store->totals = *totals;
	else if (why != NULL)
		*why = store->failure;
	if (!alone)
		return ok;
	return store_end(store, ok, ok ? why : NULL) && ok;
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
	store->copied_fd = -1;
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
		  : store_fail(store, why,
			"cannot be opened; put the "
			"store back from a copy");
}

/* A copy may have taken its place (store_adopt) before we had the lock: then
 * what we opened is nobody's. */
static bool
open_same(struct store *store, struct reason *why)
{
	struct stat before, after;

	if (lstat(store->path, &before) < 0)
		return fail_errno(why, "%s", store->path);
	if (!open_database(store, 0, why))
		return false;
	if (lstat(store->path, &after) < 0)
		return fail_errno(why, "%s", store->path);
	return (before.st_dev == after.st_dev &&
		   before.st_ino == after.st_ino) ||
	       fail(why, REASON_AWAY, "%s: another process has replaced it",
		   store->path);
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	if (store->in_group)
		store_end(store, false, NULL);
	kcdbclose(store->db);
	kcdbdel(store->db);
	if (store->is_copy && !store->is_adopted)
		unlink(store->path);
	if (store->copied_fd >= 0)
		close(store->copied_fd);
	explicit_bzero(store, sizeof *store);
	free(store);
}

static bool
fill_new(const char *path, struct reason *why)
{
	unsigned char secret[STORE_SECRET_OCTETS + STORE_CRC_OCTETS];
	struct store_record record = { secret_key, sizeof secret_key - 1,
		secret, sizeof secret };
	struct store *store = store_alloc(path, why);
	bool ok = false;

	if (store == NULL)
		return false;
	if (gnutls_rnd(GNUTLS_RND_KEY, secret, STORE_SECRET_OCTETS) < 0) {
		fail(why, REASON_INTERNAL, "no random octets for a secret");
		goto out;
	}
	store_seal(record.key, record.key_len, secret, STORE_SECRET_OCTETS);
	ok = open_database(store, KCOCREATE, why) &&
	     store_write(store, &record, 1, &store->totals, why);
	if (ok && !kcdbclose(store->db))
		ok = store_fail(store, why, "cannot be closed");
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
	unsigned char value[STORE_VALUE_MAX];
	size_t len;
	bool ok = false;

	if (!store_read(store, state_key, sizeof state_key - 1, value, &len,
		why))
		goto out;
	if (len != TOTALS_OCTETS || !totals_get(&store->totals, value)) {
		fail(why, REASON_DAMAGED, "%s: made by another version",
		    store->path);
		goto out;
	}
	if (!store_read(store, secret_key, sizeof secret_key - 1, value, &len,
		why))
		goto out;
	if (len != STORE_SECRET_OCTETS) {
		fail(why, REASON_DAMAGED, "%s: its secret is damaged",
		    store->path);
		goto out;
	}
	memcpy(store->secret, value, STORE_SECRET_OCTETS);
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
	if (store_file_check(path, why) && open_same(store, why) &&
	    load_own(store, why) && check_count(store, why)) {
		*store_out = store;
		return true;
	}
	store_close(store);
	return false;
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
	memcpy(out, store->secret, STORE_SECRET_OCTETS);
}

bool
store_set_secret(struct store *store,
    const unsigned char secret[static STORE_SECRET_OCTETS], struct reason *why)
{
	unsigned char value[STORE_SECRET_OCTETS + STORE_CRC_OCTETS];
	const struct store_record record = { secret_key, sizeof secret_key - 1,
		value, sizeof value };
	struct totals totals = store->totals;
	bool ok;

	if (totals.count > 0)
		return fail(why, REASON_EXISTS,
		    "%s: holds %ju users, expected an empty store", store->path,
		    (uintmax_t)totals.count);
	memcpy(value, secret, STORE_SECRET_OCTETS);
	store_seal(record.key, record.key_len, value, STORE_SECRET_OCTETS);
	totals.change++;
	ok = store_write(store, &record, 1, &totals, why);
	if (ok)
		memcpy(store->secret, secret, STORE_SECRET_OCTETS);
	explicit_bzero(value, sizeof value);
	return ok;
}

/* Octets of a name's own, which nobody can tell who has not the secret. */
static bool
draw(const struct store *store, const char *purpose, const struct shape *shape,
    const char *name, unsigned char out[static 32], struct reason *why)
{
	const unsigned char octets[] = { shape->hash, shape->salt_len,
		(unsigned char)(shape->iterations >> 24),
		(unsigned char)(shape->iterations >> 16),
		(unsigned char)(shape->iterations >> 8),
		(unsigned char)shape->iterations };
	gnutls_hmac_hd_t h;

	if (gnutls_hmac_init(&h, GNUTLS_MAC_SHA256, store->secret,
		STORE_SECRET_OCTETS) < 0)
		return fail(why, REASON_INTERNAL, "HMAC failed");
	/* With its NUL, so that they cannot run together. */
	gnutls_hmac(h, purpose, strlen(purpose) + 1);
	gnutls_hmac(h, octets, sizeof octets);
	gnutls_hmac(h, name, strlen(name));
	gnutls_hmac_deinit(h, out);
	return true;
}

bool
store_fake(const struct store *store, enum verifier_hash hash, const char *name,
    uint32_t standard, struct verifier *out, struct reason *why)
{
	/* In two halves, as long as a salt can be. */
	static const char *const purposes[] = { "salt", "more salt" };
	struct shape shape = { .hash = (uint8_t)hash };
	unsigned char full[32];

	_Static_assert(VERIFIER_SALT_MAX == 2 * sizeof full, "two halves");
	if (!draw(store, "shape", &shape, name, full, why))
		return false;
	if (!totals_draw(&store->totals, hash, full, &shape)) {
		shape.salt_len = VERIFIER_SALT_OCTETS;
		shape.iterations = standard;
	}
	*out = (struct verifier){ .present = true,
		.iterations = shape.iterations,
		.salt_len = shape.salt_len };
	for (size_t i = 0; i < 2; i++)
		if (!draw(store, purposes[i], &shape, name,
			out->salt + i * sizeof full, why))
			return false;
	return true;
}
