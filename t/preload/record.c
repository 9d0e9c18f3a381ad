/*
 * t/preload/record.c: writes down, in the order they happen, the operations
 * on files by which the session and relay roles change the disk.
 *
 * Loaded into sallyportd by LD_PRELOAD, with SALLYPORT_RECORD naming a file to
 * append to.  t/lib/Sallyport/PowerLoss.pm reads it; an entry is
 *
 *     octets   all numbers little-endian
 *     0  4     "REC:"
 *     4  1     kind: C create, U unlink, R rename, W write, T truncate,
 *              S a sync begins, E it has ended well
 *     5  3     zero
 *     8  8     inode of the file (S, E: or folder)
 *     16 8     inode of the folder (C, U, R), offset (W), size (T),
 *              thread (S, E)
 *     24 8     inode of the other folder (R)
 *     32 4     octets that follow: name (C, U), both with a NUL between (R),
 *              data (W)
 *
 * Tests append entries of their own: A, a message was acknowledged; D, the
 * smarthost keeps one.
 *
 * Whatever the caller does after an operation comes after its entry: an entry
 * is written before the call returns, with one write to a file opened with
 * O_APPEND, so the order holds across threads and processes.  What takes away
 * (U, R) is written down before it is done: killed between the two, a process
 * would leave a file in the record that is gone.  A sync is slowed down, so
 * that nothing that ought to wait for it passes unnoticed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FD_FROM = 900, SYNC_DELAY_NS = 3000000, VECTORS_MOST = 1024 };

struct entry {
	char magic[4];
	char kind;
	char zero[3];
	uint64_t inode, where, where_too;
	uint32_t len;
} __attribute__((packed));

static int record_fd = -1;

/* The real function of that name. */
#define REAL(type, name, ...)                                                  \
	static type (*real)(__VA_ARGS__);                                      \
	if (real == NULL)                                                      \
	*(void **)&real = dlsym(RTLD_NEXT, name)

/* Only the roles that keep messages; the role is a word of the command line. */
static bool
is_recorded(void)
{
	char line[256];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	const char *word = line;

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return false;
	line[got] = '\0';
	for (; word < line + got; word += strlen(word) + 1) {
		if (strcmp(word, "session") == 0 || strcmp(word, "relay") == 0)
			return true;
	}
	return false;
}

/* Before the role gives up what it needs to open it. */
__attribute__((constructor)) static void
record_open(void)
{
	const char *name = getenv("SALLYPORT_RECORD");
	int fd;

	if (name == NULL || !is_recorded())
		return;
	fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		abort();
	record_fd = fcntl(fd, F_DUPFD_CLOEXEC, FD_FROM);
	close(fd);
}

static void
record(char kind, uint64_t inode, uint64_t where, uint64_t where_too,
    const struct iovec *data, int count)
{
	struct entry entry = { { 'R', 'E', 'C', ':' }, kind, { 0 }, inode,
		where, where_too, 0 };
	unsigned char *octets, *at;
	size_t len = sizeof(entry);
	int error = errno;
	ssize_t wrote;

	for (int i = 0; i < count; i++)
		len += data[i].iov_len;
	entry.len = (uint32_t)(len - sizeof(entry));
	octets = at = malloc(len);
	if (octets == NULL)
		abort();
	memcpy(at, &entry, sizeof(entry));
	at += sizeof(entry);
	for (int i = 0; i < count; i++) {
		memcpy(at, data[i].iov_base, data[i].iov_len);
		at += data[i].iov_len;
	}
	/* In one piece or not at all: the order is in the file. */
	wrote = syscall(SYS_write, record_fd, octets, len);
	if (wrote != (ssize_t)len)
		abort();
	free(octets);
	errno = error;
}

/* The inode of a regular file, or of a folder; 0 if it is neither. */
static uint64_t
inode_of(int fd)
{
	struct stat st;

	if (record_fd < 0 || fstat(fd, &st) != 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return 0;
	return st.st_ino;
}

/* Names are relative to a folder in what is recorded. */
static void
record_name(char kind, uint64_t inode, int folder, const char *name)
{
	struct iovec data = { (void *)(uintptr_t)name, strlen(name) };
	uint64_t where = inode_of(folder);

	if (where != 0)
		record(kind, inode, where, 0, &data, 1);
}

int
openat(int folder, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list more;
	int fd;

	REAL(int, "openat", int, const char *, int, ...);
	if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
		va_start(more, flags);
		mode = va_arg(more, mode_t);
		va_end(more);
	}
	fd = real(folder, name, flags, mode);
	if (fd >= 0 && (flags & O_CREAT) != 0 && folder >= 0)
		record_name('C', inode_of(fd), folder, name);
	return fd;
}

int
openat64(int folder, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list more;

	if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
		va_start(more, flags);
		mode = va_arg(more, mode_t);
		va_end(more);
	}
	return openat(folder, name, flags, mode);
}

static void
record_write(int fd, off_t at, const struct iovec *data, int count,
    ssize_t wrote)
{
	struct iovec kept[VECTORS_MOST];
	uint64_t inode = wrote > 0 ? inode_of(fd) : 0;
	size_t left = (size_t)wrote;
	int n = 0;

	if (inode == 0 || count > VECTORS_MOST)
		return;
	for (; n < count && left > 0; n++) {
		kept[n] = data[n];
		if (kept[n].iov_len > left)
			kept[n].iov_len = left;
		left -= kept[n].iov_len;
	}
	record('W', inode, (uint64_t)at, 0, kept, n);
}

ssize_t
pwritev(int fd, const struct iovec *data, int count, off_t at)
{
	ssize_t wrote;

	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	wrote = real(fd, data, count, at);
	record_write(fd, at, data, count, wrote);
	return wrote;
}

ssize_t
pwritev64(int fd, const struct iovec *data, int count, off64_t at)
{
	return pwritev(fd, data, count, at);
}

ssize_t
pwrite(int fd, const void *octets, size_t len, off_t at)
{
	struct iovec data = { (void *)(uintptr_t)octets, len };
	ssize_t wrote;

	REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
	wrote = real(fd, octets, len, at);
	record_write(fd, at, &data, 1, wrote);
	return wrote;
}

ssize_t
pwrite64(int fd, const void *octets, size_t len, off64_t at)
{
	return pwrite(fd, octets, len, at);
}

/* Where it went is where the file's position was: nobody shares it. */
ssize_t
write(int fd, const void *octets, size_t len)
{
	struct iovec data = { (void *)(uintptr_t)octets, len };
	ssize_t wrote;

	REAL(ssize_t, "write", int, const void *, size_t);
	wrote = real(fd, octets, len);
	if (wrote > 0 && inode_of(fd) != 0)
		record_write(fd, lseek(fd, 0, SEEK_CUR) - wrote, &data, 1,
		    wrote);
	return wrote;
}

int
ftruncate(int fd, off_t size)
{
	int rc;

	REAL(int, "ftruncate", int, off_t);
	rc = real(fd, size);
	if (rc == 0 && inode_of(fd) != 0)
		record('T', inode_of(fd), (uint64_t)size, 0, NULL, 0);
	return rc;
}

int
ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int
unlinkat(int folder, const char *name, int flags)
{
	REAL(int, "unlinkat", int, const char *, int);
	record_name('U', 0, folder, name);
	return real(folder, name, flags);
}

int
renameat(int folder, const char *name, int new_folder, const char *new_name)
{
	struct iovec both[] = {
		{ (void *)(uintptr_t)name, strlen(name) + 1 },
		{ (void *)(uintptr_t)new_name, strlen(new_name) },
	};
	uint64_t from = inode_of(folder), to = inode_of(new_folder);

	REAL(int, "renameat", int, const char *, int, const char *);
	if (from != 0 && to != 0)
		record('R', 0, from, to, both, 2);
	return real(folder, name, new_folder, new_name);
}

static int
record_sync(int fd, int (*sync)(int))
{
	struct timespec delay = { 0, SYNC_DELAY_NS };
	uint64_t inode = inode_of(fd), thread = (uint64_t)gettid();
	int rc;

	if (inode == 0)
		return sync(fd);
	record('S', inode, thread, 0, NULL, 0);
	nanosleep(&delay, NULL);
	rc = sync(fd);
	if (rc == 0)
		record('E', inode, thread, 0, NULL, 0);
	return rc;
}

int
fsync(int fd)
{
	REAL(int, "fsync", int);
	return record_sync(fd, real);
}

int
fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	return record_sync(fd, real);
}
