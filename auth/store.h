/*
 * auth/store.h: the credential store, a Kyoto Cabinet hash database.
 *
 * One process has it open at a time, through one handle: the auth role while
 * the server runs, else a tool.  Every change is on stable storage when its
 * call returns.  A file that is damaged, that others can read, or whose entry
 * count is not the one last written is refused, never repaired.
 *
 * Threads: a store belongs to one thread.  Opening and writing set the
 * process's umask for the time of the call.
 */
#ifndef AUTH_STORE_H
#define AUTH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "entry.h"

struct store;

/*
 * Make an empty store at path with a new random secret, mode 0600, owned by
 * the owner of its folder when run as root.  Complete or not there at all.
 * REASON_EXISTS if there is a file already.
 */
bool store_create(const char *path, struct reason *why);

/*
 * Open for reading and writing.  REASON_ABSENT: there is none;
 * REASON_PERMISSION: others can read it, or it is another user's;
 * REASON_AWAY: another process has it open; REASON_DAMAGED otherwise.
 */
bool store_open(struct store **store_out, const char *path, struct reason *why);
void store_close(struct store *store);

/* name is canonical (auth/name.h).  REASON_ABSENT if there is no such entry;
 * any other reason means that it could not be read. */
bool store_get(struct store *store, const char *name, struct entry *out,
    struct reason *why);

/* The name of the entry that has key among its keys, or a name in certificates
 * (entry_san_id) among its sans.  REASON_ABSENT if none has. */
bool store_find_key(struct store *store,
    const unsigned char key[static SPKI_OCTETS],
    char name_out[static NAME_SIZE], struct reason *why);

/*
 * Changes that are made together: all those between store_begin and store_end
 * are on stable storage once store_end returns true for keep, and else none is.
 * A change that is refused leaves the others as they are; after one that could
 * not be written there is no keeping any.  Reading sees what was changed so
 * far.  One group at a time; a change outside of one is one of its own.
 */
bool store_begin(struct store *store, struct reason *why);
bool store_end(struct store *store, bool keep, struct reason *why);

/*
 * Write entry, new or in place of the one of its name, and set its change
 * counter.  On failure the store is as before.  REASON_EXISTS if one of its
 * keys, or of its names in certificates, is another entry's.
 */
bool store_put(struct store *store, struct entry *entry, struct reason *why);

/*
 * For very many changes, each of which would wait for the disk in a group too:
 * a copy of the store beside it, which is a group of its own.  store stays
 * open, so that nobody else changes it, and must not be changed.
 *
 * store_adopt puts the copy in the store's place, on stable storage and all at
 * once; after a failure the store is as before.  Either way there is nothing
 * left to do but to close both.  A copy that was just closed is gone.
 */
bool store_copy(struct store **copy_out, struct store *store,
    struct reason *why);
bool store_adopt(struct store *copy, struct store *store, struct reason *why);

/* REASON_ABSENT if there is no such entry. */
bool store_remove(struct store *store, const char *name, struct reason *why);

/* A write ended so that nobody can tell what is in the file: every further
 * call fails until it is closed and opened again. */
bool store_is_broken(const struct store *store);

uint64_t store_count(const struct store *store);

/*
 * The secret that store_fake draws by, for an export and from one: with another
 * secret, names that do not exist change their salts, and can be told by that.
 * It is set only in a store without entries (REASON_EXISTS otherwise), and in
 * no group.
 */
enum { STORE_SECRET_OCTETS = 32 };
void store_secret(const struct store *store,
    unsigned char out[static STORE_SECRET_OCTETS]);
bool store_set_secret(struct store *store,
    const unsigned char secret[static STORE_SECRET_OCTETS], struct reason *why);

/* All entries in the order of their names.  The callback must not change the
 * store; it returns false to stop, which is not a failure. */
bool store_each(struct store *store,
    bool (*each)(void *context, const struct entry *entry), void *context,
    struct reason *why);

/*
 * All entries in no order, a few at a time, while others change the store:
 * entries that come or go meanwhile may or may not be seen.  REASON_IO once a
 * group of changes was undone meanwhile.
 */
struct store_walk;
bool store_walk_new(struct store_walk **walk_out, struct store *store,
    struct reason *why);
/* False at the end, with why->code REASON_NONE, or if an entry could not be
 * read. */
bool store_walk_next(struct store_walk *walk, struct entry *out,
    struct reason *why);
void store_walk_free(struct store_walk *walk); /* before store_close */

/*
 * What a SCRAM client is shown for a name without verifier: iteration count and
 * length of the salt are drawn by the name from those in use, as often as they
 * are (standard and VERIFIER_SALT_OCTETS if there are none); the salt is always
 * the same for one store, hash, name, count and length: where these change, it
 * looks as if somebody had a new password.  out has no keys.
 */
bool store_fake(const struct store *store, enum verifier_hash hash,
    const char *name, uint32_t standard, struct verifier *out,
    struct reason *why);

#endif
