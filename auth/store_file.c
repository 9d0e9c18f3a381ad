/* auth/store_file.c: the credential store as a file: who made it, who may read
 * it, and where it lies. */
#include "store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
store_file_folder(const char *path, char out[static PATH_MAX])
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		strcpy(out, ".");
	else if (slash == path)
		strcpy(out, "/");
	else
		snprintf(out, PATH_MAX, "%.*s", (int)(slash - path), path);
}

bool
store_file_sync_folder(const char *folder, struct reason *why)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		fail_errno(why, "%s", folder);
	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * An empty file of the folder's owner, made by us and nobody else: the library
 * would follow a symbolic link, and make it as root.
 */
bool
store_file_make(const char *path, const char *folder, struct reason *why)
{
	struct stat st;
	bool ok;
	int fd;

	if (stat(folder, &st) < 0)
		return fail_errno(why, "%s", folder);
	if (unlink(path) < 0 && errno != ENOENT)
		return fail_errno(why, "%s", path);
	fd = open(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
	    0600);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = fchmod(fd, 0600) == 0 &&
	     (geteuid() != 0 || fchown(fd, st.st_uid, st.st_gid) == 0);
	if (!ok)
		fail_errno(why, "%s", path);
	close(fd);
	return ok;
}

static bool
write_all(int fd, const unsigned char *octets, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, octets, len);

		if (done < 0 && errno != EINTR)
			return false;
		octets += done > 0 ? done : 0;
		len -= done > 0 ? (size_t)done : 0;
	}
	return true;
}

bool
store_file_copy(int fd, const char *path, struct reason *why)
{
	enum { CHUNK_OCTETS = 64 * 1024 };
	unsigned char chunk[CHUNK_OCTETS];
	int to = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t got = -1;
	off_t at = 0;
	bool ok = to >= 0;

	while (ok && (got = pread(fd, chunk, sizeof chunk, at)) > 0) {
		ok = write_all(to, chunk, (size_t)got);
		at += got;
	}
	ok = ok && got == 0;
	if (!ok)
		fail_errno(why, "%s: cannot be copied", path);
	explicit_bzero(chunk, sizeof chunk);
	if (to >= 0)
		close(to);
	return ok;
}

bool
store_file_put_in_place(const char *made, const char *path, struct reason *why)
{
	char folder[PATH_MAX];
	int fd = open(made, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0 && rename(made, path) == 0;

	if (!ok)
		fail_errno(why, "%s", made);
	if (fd >= 0)
		close(fd);
	store_file_folder(path, folder);
	return ok && store_file_sync_folder(folder, why);
}

/* Who may read path, or write where it is, is checked before it is used. */
static bool
check_folder(const char *path, struct reason *why)
{
	char folder[PATH_MAX];
	struct stat st;

	store_file_folder(path, folder);
	if (stat(folder, &st) < 0)
		return fail_errno(why, "%s", folder);
	if ((st.st_mode & 022) != 0 &&
	    !(st.st_uid == 0 && (st.st_mode & S_ISVTX) != 0))
		return fail(why, REASON_PERMISSION,
		    "%s: mode %03o lets others write where the credential "
		    "store is, expected 700",
		    folder, (unsigned)st.st_mode & 0777);
	return true;
}

static bool
check_stat(const char *path, const struct stat *st, struct reason *why)
{
	if (!S_ISREG(st->st_mode))
		return fail(why, REASON_PERMISSION, "%s: not a regular file",
		    path);
	if ((st->st_mode & 077) != 0)
		return fail(why, REASON_PERMISSION,
		    "%s: mode %03o, expected 600", path,
		    (unsigned)st->st_mode & 0777);
	if (st->st_uid != geteuid())
		return fail(why, REASON_PERMISSION,
		    "%s: belongs to uid %ju, expected %ju", path,
		    (uintmax_t)st->st_uid, (uintmax_t)geteuid());
	return true;
}

/* Closing a descriptor drops the locks that this process has on the file:
 * nothing may be open through the library yet. */
static bool
check_file(const char *path, struct reason *why)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	bool ok;

	if (fd < 0)
		return errno == ENOENT ? fail(why, REASON_ABSENT,
					     "%s: there is no credential "
					     "store, expected one made "
					     "by \"sallyport init\"",
					     path)
				       : fail_errno(why, "%s", path);
	ok = fstat(fd, &st) == 0 ? check_stat(path, &st, why)
				 : fail_errno(why, "%s", path);
	if (ok && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		ok = fail(why, REASON_AWAY, "%s: process %ld has it open", path,
		    (long)lock.l_pid);
	close(fd);
	return ok;
}

static bool
check_journal(const char *path, struct reason *why)
{
	char journal[PATH_MAX + 8];
	struct stat st;

	snprintf(journal, sizeof journal, "%s.wal", path);
	if (lstat(journal, &st) < 0)
		return errno == ENOENT ? true : fail_errno(why, "%s", journal);
	return check_stat(journal, &st, why);
}

bool
store_file_check(const char *path, struct reason *why)
{
	return check_folder(path, why) && check_file(path, why) &&
	       check_journal(path, why);
}
