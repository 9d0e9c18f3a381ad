/*
 * pki/file.c: files that are either there whole or not at all.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
pki_octets_wipe(gnutls_datum_t *octets)
{
	if (octets->data != NULL)
		explicit_bzero(octets->data, octets->size);
	free(octets->data);
	octets->data = NULL;
	octets->size = 0;
}

bool
pki_octets_join(const gnutls_datum_t *a, const gnutls_datum_t *b,
    gnutls_datum_t *out, struct reason *why)
{
	out->size = a->size + b->size;
	out->data = malloc((size_t)out->size + 1);
	if (out->data == NULL)
		return fail(why, REASON_NO_MEMORY, "certificates");
	if (a->size > 0)
		memcpy(out->data, a->data, a->size);
	if (b->size > 0)
		memcpy(out->data + a->size, b->data, b->size);
	return true;
}

static bool
check_file(int fd, const char *path, bool secret, size_t *size_out,
    struct reason *why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail_errno(why, "%s", path);
	if (!S_ISREG(st.st_mode))
		return fail(why, REASON_IO, "%s: not a regular file", path);
	if (st.st_size > PKI_FILE_MAX)
		return fail(why, REASON_RANGE,
		    "%s: %lld octets, expected at most %d", path,
		    (long long)st.st_size, PKI_FILE_MAX);
	if (secret && (st.st_mode & 077) != 0)
		return fail(why, REASON_PERMISSION,
		    "%s: mode %04o, expected 0600: it holds a private key",
		    path, (unsigned)st.st_mode & 07777);
	*size_out = (size_t)st.st_size;
	return true;
}

/* Exactly size octets, or fewer if the file shrinks meanwhile. */
static bool
read_all(int fd, const char *path, size_t size, gnutls_datum_t *out,
    struct reason *why)
{
	size_t got = 0;
	ssize_t n;

	/* One more, so that an empty file is not a NULL. */
	out->data = malloc(size + 1);
	if (out->data == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	while (got < size) {
		n = read(fd, out->data + got, size - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail_errno(why, "%s", path);
			out->size = (unsigned)got;
			pki_octets_wipe(out);
			return false;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	out->data[got] = '\0';
	out->size = (unsigned)got;
	return true;
}

bool
pki_file_folders(const char *path, struct reason *why)
{
	char folder[PATH_MAX];
	struct stat st;
	char *slash;

	if (realpath(path, folder) == NULL)
		return fail_errno(why, "%s", path);
	while ((slash = strrchr(folder, '/')) != NULL) {
		slash[slash == folder ? 1 : 0] = '\0';
		if (stat(folder, &st) != 0)
			return fail_errno(why, "%s", folder);
		if ((st.st_mode & S_IWOTH) != 0 &&
		    ((st.st_mode & S_ISVTX) == 0 || st.st_uid != 0))
			return fail(why, REASON_PERMISSION,
			    "%s: in folder %s, which others can write (mode "
			    "%04o)",
			    path, folder, (unsigned)(st.st_mode & 07777));
		if (slash == folder)
			break;
	}
	return true;
}

bool
pki_file_read(const char *path, bool secret, gnutls_datum_t *out,
    struct reason *why)
{
	size_t size = 0;
	bool ok;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = check_file(fd, path, secret, &size, why) &&
	     read_all(fd, path, size, out, why);
	close(fd);
	return ok;
}

static bool
write_all(int fd, const char *path, const void *octets, size_t len,
    struct reason *why)
{
	const unsigned char *at = octets;
	ssize_t n;

	while (len > 0) {
		n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(why, "%s", path);
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool
pki_file_sync_folder(const char *path, struct reason *why)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	bool ok;
	int fd;

	if (slash == NULL)
		snprintf(folder, sizeof(folder), ".");
	else
		snprintf(folder, sizeof(folder), "%.*s",
		    slash == path ? 1 : (int)(slash - path), path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(why, "%s", folder);
	ok = fsync(fd) == 0 || fail_errno(why, "%s", folder);
	close(fd);
	return ok;
}

/* The umask is not asked: a key is 0600, a chain 0644. */
static bool
write_aside(const char *path, const void *octets, size_t len, mode_t mode,
    struct reason *why)
{
	bool ok;
	int fd;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    PKI_KEY_MODE);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = write_all(fd, path, octets, len, why) &&
	     (fchmod(fd, mode) == 0 || fail_errno(why, "%s", path)) &&
	     (fsync(fd) == 0 || fail_errno(why, "%s", path));
	close(fd);
	if (!ok)
		unlink(path);
	return ok;
}

bool
pki_file_write(const char *path, const void *octets, size_t len, mode_t mode,
    bool replace, struct reason *why)
{
	char aside[PATH_MAX];
	uint64_t salt;
	int rc, n;

	if (gnutls_rnd(GNUTLS_RND_NONCE, &salt, sizeof(salt)) < 0)
		return fail(why, REASON_INTERNAL, "no random numbers");
	n = snprintf(aside, sizeof(aside), "%s.%016llx.new", path,
	    (unsigned long long)salt);
	if (n < 0 || (size_t)n >= sizeof(aside))
		return fail(why, REASON_RANGE, "%s: path too long", path);
	if (!write_aside(aside, octets, len, mode, why))
		return false;
	if (replace)
		rc = rename(aside, path);
	else
		rc = renameat2(AT_FDCWD, aside, AT_FDCWD, path,
		    RENAME_NOREPLACE);
	if (rc < 0) {
		if (errno == EEXIST)
			fail(why, REASON_EXISTS, "%s: exists already", path);
		else
			fail_errno(why, "%s", path);
		unlink(aside);
		return false;
	}
	return pki_file_sync_folder(path, why);
}

/* Does the file end in the middle of a line? */
static bool
is_torn(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	char last;

	return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

bool
pki_file_append(const char *path, const char *line, struct reason *why)
{
	bool ok;
	int fd;

	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
	    PKI_KEY_MODE);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	ok = (!is_torn(fd) || write_all(fd, path, PKI_TORN "\n",
				  strlen(PKI_TORN "\n"), why)) &&
	     write_all(fd, path, line, strlen(line), why) &&
	     write_all(fd, path, "\n", 1, why) &&
	     (fsync(fd) == 0 || fail_errno(why, "%s", path));
	close(fd);
	return ok && pki_file_sync_folder(path, why);
}
