/*
 * auth/store_copy.c: a copy of the credential store that takes its place.
 *
 * The library syncs a record at a time even within a transaction: a million
 * would take hours on a slow disk.  In a copy that nobody sees yet nothing
 * needs a transaction, and one sync at the end does for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <kclangc.h>
#include <stdio.h>
#include <unistd.h>

#include "store_file.h"
#include "store_internal.h"

static bool
copy_to(const char *path, struct store *store, struct reason *why)
{
	char folder[PATH_MAX];

	store_file_folder(path, folder);
	if (!store_file_make(path, folder, why))
		return false;
	/* What the library has not written yet is in no file. */
	if (!kcdbsync(store->db, 0, NULL, NULL))
		return store_fail(store, why, "cannot be written");
	if (store->copied_fd < 0)
		store->copied_fd =
		    open(store->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (store->copied_fd < 0)
		return fail_errno(why, "%s", store->path);
	return store_file_copy(store->copied_fd, path, why);
}

bool
store_copy(struct store **copy_out, struct store *store, struct reason *why)
{
	char path[PATH_MAX + 16];
	struct store *copy;

	snprintf(path, sizeof path, "%s.import", store->path);
	if (!copy_to(path, store, why) || !store_open(&copy, path, why)) {
		unlink(path);
		return false;
	}
	copy->is_copy = copy->in_group = true;
	copy->before = copy->totals;
	*copy_out = copy;
	return true;
}

bool
store_adopt(struct store *copy, struct store *store, struct reason *why)
{
	bool ok = store_end(copy, true, why);

	if (ok && !kcdbclose(copy->db))
		ok = store_fail(copy, why, "cannot be closed");
	ok = ok && store_file_put_in_place(copy->path, store->path, why);
	/* What it has open is no longer the store. */
	copy->is_adopted = ok;
	copy->broken = store->broken = true;
	return ok;
}
