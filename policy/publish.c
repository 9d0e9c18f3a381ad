/*
 * policy/publish.c: from records in memory to a file with its digest as name.
 */
#include "records.h"

#include <errno.h>
#include <fcntl.h>
#include <kclangc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the database ------------------------------------------------------- */

static bool
add(KCDB *db, const unsigned char *key, size_t key_len,
    const unsigned char *value, size_t len, struct reason *why)
{
	if (kcdbadd(db, (const char *)key, key_len, (const char *)value, len))
		return true;
	return fail(why, REASON_IO, "%s", kcdbemsg(db));
}

static bool
add_rows(KCDB *db, const struct records *records, struct reason *why)
{
	const unsigned char *key, *value;
	size_t at = 0, key_len, len;

	while (records_next(records, &at, &key, &key_len, &value, &len))
		if (!add(db, key, key_len, value, len, why))
			return false;
	return true;
}

/* How many octets, from at on, make a list: whole keys, and at least one. */
static size_t
list_len(const struct records *records, size_t at)
{
	size_t begin = at;

	while (at < records->exceptions_len) {
		const unsigned char *one = records->exceptions + at;
		size_t octets = 2 + (size_t)(one[0] | one[1] << 8);

		if (LIST_HEAD + at + octets - begin > LIST_OCTETS)
			break;
		at += octets;
	}
	return at - begin;
}

static bool
add_lists(KCDB *db, const struct records *records, struct meta *meta,
    struct reason *why)
{
	unsigned char list[LIST_OCTETS], key[LIST_KEY_OCTETS];
	size_t at = 0, len;

	while ((len = list_len(records, at)) > 0) {
		memcpy(list + LIST_HEAD, records->exceptions + at, len);
		list_key(meta->lists++, key);
		list_seal(key, list, LIST_HEAD + len);
		if (!add(db, key, sizeof(key), list, LIST_HEAD + len, why))
			return false;
		at += len;
	}
	return true;
}

static bool
add_meta(KCDB *db, const struct meta *meta, struct reason *why)
{
	unsigned char *value;
	size_t len;
	bool ok;

	if (!meta_encode(meta, &value, &len, why))
		return false;
	ok = add(db, (const unsigned char *)META_KEY, META_KEY_OCTETS, value,
	    len, why);
	free(value);
	return ok;
}

static bool
database_fill(KCDB *db, const struct records *records, struct meta *meta,
    struct reason *why)
{
	meta->lists = 0;
	meta->exceptions = records->exception_count;
	if (!add_rows(db, records, why) || !add_lists(db, records, meta, why))
		return false;
	meta->records = records->count + meta->lists;
	return add_meta(db, meta, why);
}

/*
 * The database is made in memory and then written out: mapped, as that is
 * several times faster than a call for each record, but not over a disk, as
 * there a full one would be a SIGBUS.
 */
static bool
database_make(int memory, const struct records *records, struct meta *meta,
    struct reason *why)
{
	char full[128];
	KCDB *db = kcdbnew();
	bool ok = false;

	(void)snprintf(full, sizeof(full),
	    "/proc/self/fd/%d#type=kch#bnum=%llu#apow=0#fpow=0#msiz=%llu",
	    memory, 2ULL * records->count + 61,
	    2ULL * records->len + records->exceptions_len +
		64ULL * records->count + (1u << 20));
	if (!kcdbopen(db, full, KCOWRITER | KCOCREATE | KCONOLOCK)) {
		fail(why, REASON_IO, "table in memory: %s", kcdbemsg(db));
		goto out;
	}
	ok = database_fill(db, records, meta, why);
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
database_save(const struct records *records, struct meta *meta,
    const char *path, struct reason *why)
{
	int memory = memfd_create("table", MFD_CLOEXEC);
	bool ok;

	if (memory < 0)
		return fail_errno(why, "memory for a table");
	ok = database_make(memory, records, meta, why) &&
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

static bool
is_whole(const char *path, struct reason *why)
{
	struct table *table;

	if (!table_open(&table, path, true, why))
		return false;
	table_close(table);
	return true;
}

/* --- the file ------------------------------------------------------------ */

/* Give the finished file at aside its name.  A whole one that has it already
 * is kept: readers may have it open. */
static bool
publish(const char *aside, const char *folder, char name_out[static 80],
    struct reason *why)
{
	char digest[65], name[80], path[PATH_MAX];

	if (!file_digest(aside, digest, why))
		return false;
	(void)snprintf(name, sizeof(name), "sites.%s.kch", digest);
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >=
	    sizeof(path))
		return fail(why, REASON_RANGE, "%s: path is too long", folder);
	if (access(path, F_OK) != 0 || !is_whole(path, NULL)) {
		if (rename(aside, path) != 0)
			return fail_errno(why, "%s", path);
		if (!folder_sync(folder, why) || !is_whole(path, why)) {
			(void)unlink(path);
			return false;
		}
	}
	memcpy(name_out, name, sizeof(name));
	return true;
}

bool
records_publish(const struct records *records, struct meta *meta,
    const char *folder, char name_out[static 80], struct reason *why)
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
	ok = database_save(records, meta, aside, why) &&
	     publish(aside, folder, name_out, why);
	(void)unlink(aside);
	return ok;
}
