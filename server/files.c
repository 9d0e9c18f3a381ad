/*
 * server/files.c: reading configuration files, and who else could.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../pki/file.h"

static bool
read_all(int fd, const char *path, size_t size, gnutls_datum_t *out,
    struct reason *why)
{
	unsigned char *data = malloc(size + 1);
	size_t len = 0;
	ssize_t got;

	if (data == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	while (len < size) {
		got = read(fd, data + len, size - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			explicit_bzero(data, size);
			free(data);
			return fail_errno(why, "%s", path);
		}
		if (got == 0)
			break;
		len += (size_t)got;
	}
	data[len] = '\0';
	out->data = data;
	out->size = (unsigned)len;
	return true;
}

/* Open a regular file of bearable size; a FIFO must not hang us. */
static int
open_regular(const char *path, struct stat *st, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0) {
		fail_errno(why, "%s", path);
		return -1;
	}
	if (fstat(fd, st) != 0)
		fail_errno(why, "%s", path);
	else if (!S_ISREG(st->st_mode))
		fail(why, REASON_SYNTAX, "%s: expected a regular file", path);
	else if (st->st_size > FILES_OCTETS_MAX)
		fail(why, REASON_RANGE, "%s: expected at most %d MiB", path,
		    FILES_OCTETS_MAX >> 20);
	else
		return fd;
	close(fd);
	return -1;
}

bool
files_read(const char *path, gnutls_datum_t *out, struct reason *why)
{
	struct stat st;
	int fd = open_regular(path, &st, why);
	bool ok;

	if (fd < 0)
		return false;
	ok = read_all(fd, path, (size_t)st.st_size, out, why);
	close(fd);
	return ok;
}

static bool
check_mode(const char *path, const struct stat *st, struct reason *why)
{
	mode_t others = st->st_mode & (S_IRWXO | S_IWGRP);

	if (others == 0)
		return true;
	return fail(why, REASON_PERMISSION,
	    "%s: mode %04o lets others %s it, expected 0600", path,
	    (unsigned)(st->st_mode & 07777),
	    (others & (S_IWOTH | S_IWGRP)) != 0 ? "write" : "read");
}

bool
files_check_secret(const char *path, struct reason *why)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return fail_errno(why, "%s", path);
	return check_mode(path, &st, why) && pki_file_folders(path, why);
}

static int
open_secret(const char *path, struct stat *st, struct reason *why)
{
	int fd = open_regular(path, st, why);

	if (fd < 0 || (check_mode(path, st, why) && pki_file_folders(path, why)))
		return fd;
	close(fd);
	return -1;
}

int
files_open_secret(const char *path, struct reason *why)
{
	struct stat st;

	return open_secret(path, &st, why);
}

bool
files_read_secret(const char *path, gnutls_datum_t *out, struct reason *why)
{
	struct stat st;
	int fd = open_secret(path, &st, why);
	bool ok;

	if (fd < 0)
		return false;
	ok = read_all(fd, path, (size_t)st.st_size, out, why);
	close(fd);
	return ok;
}

bool
files_write(int fd, const void *octets, size_t len)
{
	const char *at = octets;

	while (len > 0) {
		ssize_t put = write(fd, at, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		at += put;
		len -= (size_t)put;
	}
	return fsync(fd) == 0;
}

static bool
write_aside(const char *aside, const void *octets, size_t len, mode_t mode,
    struct reason *why)
{
	int fd = open(aside,
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	bool ok;

	if (fd < 0)
		return fail_errno(why, "%s", aside);
	ok = files_write(fd, octets, len);
	if (!ok)
		fail_errno(why, "%s", aside);
	if (close(fd) != 0 && ok)
		ok = fail_errno(why, "%s", aside);
	return ok;
}

/* The folder that path lies in. */
static bool
sync_folder(const char *path, struct reason *why)
{
	char folder[PATH_MAX];
	char *slash;
	bool ok;
	int fd;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		strcpy(folder, ".");
	else
		slash[slash == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(why, "%s", folder);
	ok = fsync(fd) == 0 || fail_errno(why, "%s", folder);
	close(fd);
	return ok;
}

bool
files_replace(const char *path, const void *octets, size_t len, mode_t mode,
    struct reason *why)
{
	char aside[PATH_MAX];

	if (snprintf(aside, sizeof(aside), "%s.new", path) >=
	    (int)sizeof(aside))
		return fail(why, REASON_RANGE, "%s: path too long", path);
	if (!write_aside(aside, octets, len, mode, why)) {
		unlink(aside);
		return false;
	}
	if (rename(aside, path) != 0) {
		fail_errno(why, "%s", path);
		unlink(aside);
		return false;
	}
	return sync_folder(path, why);
}

void
files_free(gnutls_datum_t *file)
{
	free(file->data);
	file->data = NULL;
	file->size = 0;
}

void
files_wipe(gnutls_datum_t *file)
{
	if (file->data != NULL)
		explicit_bzero(file->data, file->size);
	files_free(file);
}

bool
files_folder(const char *path, mode_t mode, uid_t uid, gid_t gid,
    struct reason *why)
{
	struct stat st;
	int fd;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return fail_errno(why, "%s", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	if (fstat(fd, &st) == 0 &&
	    ((uid != (uid_t)-1 && st.st_uid != uid) ||
		(gid != (gid_t)-1 && st.st_gid != gid)) &&
	    fchown(fd, uid, gid) != 0) {
		fail_errno(why, "%s: owner", path);
		close(fd);
		return false;
	}
	/* After chown, which clears the set-group-id bit. */
	if (fchmod(fd, mode) != 0) {
		fail_errno(why, "%s: mode", path);
		close(fd);
		return false;
	}
	close(fd);
	return true;
}
