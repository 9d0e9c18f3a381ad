/*
 * policy/map.c: compiled tables as files with their digest as name.
 */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- digests -------------------------------------------------------------- */

static bool
digest_descriptor(int fd, const char *path, gnutls_hash_hd_t hash,
    struct reason *why)
{
	char octets[1 << 16];
	ssize_t got;

	while ((got = read(fd, octets, sizeof(octets))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_errno(why, "%s", path);
		if (gnutls_hash(hash, octets, (size_t)got) < 0)
			return fail(why, REASON_INTERNAL, "SHA-256");
	}
	return true;
}

/* SHA-256 of a file's octets, as 64 hex digits. */
static bool
file_digest(const char *path, char out[static 65], struct reason *why)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[32];
	gnutls_hash_hd_t hash;
	bool ok;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail_errno(why, "%s", path);
	if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0) {
		close(fd);
		return fail(why, REASON_INTERNAL, "SHA-256");
	}
	ok = digest_descriptor(fd, path, hash, why);
	gnutls_hash_deinit(hash, digest);
	close(fd);
	if (!ok)
		return false;
	for (size_t i = 0; i < sizeof(digest); i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[64] = '\0';
	return true;
}

bool
map_digest_is_in_name(const char *path, const char *prefix, struct reason *why)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash == NULL ? path : slash + 1;
	char digest[65], name[MAP_NAME];

	if (!file_digest(path, digest, why))
		return false;
	(void)snprintf(name, sizeof(name), "%s.%s.kch", prefix, digest);
	if (strcmp(base, name) == 0)
		return true;
	return fail(why, REASON_DAMAGED,
	    "%s: octets with digest %.16s..., expected the one in its name",
	    path, digest);
}

/* --- reading ---------------------------------------------------------------
 */

KCDB *
map_open(const char *path, struct reason *why)
{
	char full[PATH_MAX + 16];
	KCDB *db;

	/* Options follow the path after "#". */
	if (strchr(path, '#') != NULL) {
		fail(why, REASON_SYNTAX,
		    "%s: path with #, expected one without", path);
		return NULL;
	}
	if ((size_t)snprintf(full, sizeof(full), "%s#msiz=0", path) >=
	    sizeof(full)) {
		fail(why, REASON_RANGE, "path is too long");
		return NULL;
	}
	db = kcdbnew();
	if (kcdbopen(db, full, KCOREADER | KCONOLOCK | KCONOREPAIR))
		return db;
	fail(why, REASON_DAMAGED, "%s: %s", path, kcdbemsg(db));
	kcdbdel(db);
	return NULL;
}

void
map_close(KCDB *db)
{
	if (db == NULL)
		return;
	(void)kcdbclose(db);
	kcdbdel(db);
}

struct get {
	void *out;
	size_t size, len;
	bool found;
};

static const char *
get_full(const char *key, size_t key_len, const char *value, size_t len,
    size_t *size_out, void *context)
{
	struct get *get = context;

	(void)key;
	(void)key_len;
	(void)size_out;
	get->found = true;
	get->len = len;
	memcpy(get->out, value, len < get->size ? len : get->size);
	return KCVISNOP;
}

static const char *
get_empty(const char *key, size_t key_len, size_t *size_out, void *context)
{
	(void)key;
	(void)key_len;
	(void)size_out;
	(void)context;
	return KCVISNOP;
}

enum map_got
map_get(KCDB *db, const void *key, size_t key_len, void *out, size_t size,
    size_t *len_out)
{
	struct get get = { .out = out, .size = size };

	if (!kcdbaccept(db, key, key_len, get_full, get_empty, &get, false))
		return MAP_TROUBLE;
	*len_out = get.len;
	return get.found ? MAP_FOUND : MAP_ABSENT;
}

/* --- making ----------------------------------------------------------------
 */

bool
map_add(KCDB *db, const void *key, size_t key_len, const void *value,
    size_t len, struct reason *why)
{
	if (kcdbadd(db, key, key_len, value, len))
		return true;
	return fail(why, REASON_IO, "%s", kcdbemsg(db));
}

/*
 * The database is made in memory and then written out: mapped, as that is
 * several times faster than a call for each record, but not over a disk, as
 * there a full one would be a SIGBUS.
 */
static bool
database_make(int memory, const struct map_source *source, struct reason *why)
{
	char full[128];
	KCDB *db = kcdbnew();
	bool ok = false;

	(void)snprintf(full, sizeof(full),
	    "/proc/self/fd/%d#type=kch#bnum=%llu#apow=0#fpow=0#msiz=%llu",
	    memory, 2ULL * source->records + 61,
	    2ULL * source->octets + 64ULL * source->records + (1u << 20));
	if (!kcdbopen(db, full, KCOWRITER | KCOCREATE | KCONOLOCK)) {
		fail(why, REASON_IO, "table in memory: %s", kcdbemsg(db));
		goto out;
	}
	ok = source->fill(source->context, db, why);
	if (!kcdbclose(db) && ok)
		ok = fail(why, REASON_IO, "table in memory: %s", kcdbemsg(db));
out:
	kcdbdel(db);
	return ok;
}

static bool
copy_all(int from, int to, const char *path, struct reason *why)
{
	char octets[1 << 16];
	off_t at = 0;
	ssize_t got, put;

	while ((got = pread(from, octets, sizeof(octets), at)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_errno(why, "table in memory");
		put = write(to, octets, (size_t)got);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return fail_errno(why, "%s", path);
		at += put;
	}
	return true;
}

static bool
database_write(int memory, const char *path, struct reason *why)
{
	int fd = open(path,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	bool ok;

	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = copy_all(memory, fd, path, why);
	if (ok && (fchmod(fd, 0644) != 0 || fsync(fd) != 0))
		ok = fail_errno(why, "%s", path);
	if (close(fd) != 0 && ok)
		ok = fail_errno(why, "%s", path);
	return ok;
}

static bool
database_save(const struct map_source *source, const char *path,
    struct reason *why)
{
	int memory = memfd_create("table", MFD_CLOEXEC);
	bool ok;

	if (memory < 0)
		return fail_errno(why, "memory for a table");
	ok = database_make(memory, source, why) &&
	     database_write(memory, path, why);
	close(memory);
	return ok;
}

static bool
folder_sync(const char *folder, struct reason *why)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return fail_errno(why, "%s", folder);
	ok = fsync(fd) == 0;
	if (!ok)
		fail_errno(why, "%s", folder);
	close(fd);
	return ok;
}

/* Give the finished file at aside its name.  A whole one that has it already
 * is kept: readers may have it open. */
static bool
publish(const struct map_source *source, const char *aside, const char *folder,
    char name_out[static MAP_NAME], struct reason *why)
{
	char digest[65], name[MAP_NAME], path[PATH_MAX];

	if (!file_digest(aside, digest, why))
		return false;
	(void)snprintf(name, sizeof(name), "%s.%s.kch", source->prefix, digest);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >=
	    sizeof(path))
		return fail(why, REASON_RANGE, "%s: path is too long", folder);
	if (access(path, F_OK) != 0 || !source->is_whole(path, NULL)) {
		if (rename(aside, path) != 0)
			return fail_errno(why, "%s", path);
		if (!folder_sync(folder, why) || !source->is_whole(path, why)) {
			(void)unlink(path);
			return false;
		}
	}
	memcpy(name_out, name, sizeof(name));
	return true;
}

bool
map_publish(const struct map_source *source, const char *folder,
    char name_out[static MAP_NAME], struct reason *why)
{
	static unsigned counter;
	char aside[PATH_MAX];
	bool ok;

	if (strchr(folder, '#') != NULL)
		return fail(why, REASON_SYNTAX,
		    "%s: folder with # in its path, expected one without",
		    folder);
	if ((size_t)snprintf(aside, sizeof(aside), "%s/new.%ld.%u.kch", folder,
		(long)getpid(),
		__atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED)) >=
	    sizeof(aside))
		return fail(why, REASON_RANGE, "%s: path is too long", folder);
	(void)unlink(aside);
	ok = database_save(source, aside, why) &&
	     publish(source, aside, folder, name_out, why);
	(void)unlink(aside);
	return ok;
}
