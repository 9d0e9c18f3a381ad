/* auth/store_walk.c: the entries of the credential store, one after another. */
#include <kclangc.h>
#include <stdlib.h>
#include <string.h>

#include "store_internal.h"

struct store_walk {
	struct store *store;
	KCCUR *cursor;
	uint64_t undone; /* groups when it began */
};

bool
store_walk_new(struct store_walk **walk_out, struct store *store,
    struct reason *why)
{
	struct store_walk *walk = calloc(1, sizeof *walk);

	if (walk == NULL)
		return fail(why, REASON_NO_MEMORY, "walk of the store");
	walk->store = store;
	walk->undone = store->undone;
	walk->cursor = kcdbcursor(store->db);
	if (!kccurjump(walk->cursor) && kccurecode(walk->cursor) != KCENOREC) {
		store_walk_free(walk);
		return store_fail(store, why, "cannot be read");
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

	/* It would look like the end. */
	if (walk->undone != store->undone)
		return fail(why, REASON_IO,
		    "%s: a change was undone meanwhile, try again",
		    store->path);
	fail(why, REASON_NONE, "%s", "");
	do {
		key = kccurget(walk->cursor, &key_len, &value, &len, 1);
		if (key == NULL)
			return kccurecode(walk->cursor) == KCENOREC
				   ? false
				   : store_fail(store, why, "cannot be read");
		if (key_len > 1 && key_len <= STORE_KEY_MAX && key[0] == 'u')
			break;
		kcfree(key);
	} while (true);
	if (len < STORE_CRC_OCTETS || len > STORE_VALUE_MAX ||
	    !store_is_sealed(key, key_len, (const unsigned char *)value,
		len - STORE_CRC_OCTETS))
		ok = fail(why, REASON_DAMAGED,
		    "%s: a record is damaged (its checksum is wrong); put the "
		    "store back from a copy",
		    store->path);
	else
		ok = store_decode(store, key, key_len,
		    (const unsigned char *)value, len - STORE_CRC_OCTETS, out,
		    why);
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
