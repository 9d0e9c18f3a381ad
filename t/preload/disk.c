/*
 * t/preload/disk.c: a disk that fails on command, for LD_PRELOAD.
 *
 * SALLYPORT_TEST_DISK names a file of DISK_OCTETS octets.  Its first page is
 * text, a rule a line:
 *
 *     CALL PATTERN ERROR [FIRST [COUNT]]
 *
 * The FIRST and the COUNT-1 next calls of CALL on files whose names fit PATTERN
 * (fnmatch, the last component) fail with ERROR; FIRST is 1 if it is not given,
 * COUNT 0 or not given means all.  ERROR is a name from the table below, or
 * "short": the call does half of what it was asked for.  The second page holds
 * a u32 a rule: the calls that have fitted.
 *
 * The file is mapped when the library is loaded, that is before a role confines
 * itself: afterwards rules change by writing to the file, and no call that a
 * role would not do itself is needed but fstat.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	DISK_OCTETS = 2 * PAGE,
	FILES_MOST = 65536,
	NAME_SIZE = 64,
	SHORT = -1,
};

static const char *text; /* NULL: nothing fails */
static _Atomic uint32_t *fitted;

static const struct {
	const char *name;
	int error;
} errors[] = {
	{ "EIO", EIO },
	{ "ENOSPC", ENOSPC },
	{ "EDQUOT", EDQUOT },
	{ "EROFS", EROFS },
	{ "EMFILE", EMFILE },
	{ "EINTR", EINTR },
	{ "short", SHORT },
};

/* What was opened under a number: as long as it is the same file. */
static struct {
	dev_t dev;
	ino_t ino;
	char name[NAME_SIZE];
} files[FILES_MOST];

__attribute__((constructor)) static void
load(void)
{
	const char *path = getenv("SALLYPORT_TEST_DISK");
	int fd;
	char *map;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	map =
	    mmap(NULL, DISK_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return;
	fitted = (_Atomic uint32_t *)(void *)(map + PAGE);
	text = map;
}

static int
error_of(const char *name)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].error;
	return 0;
}

static const char *
last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

/* What a call on a file of that name is to fail with; 0: nothing. */
static int
judge(const char *call, const char *name)
{
	char rules[PAGE], *line, *rest = rules;
	unsigned number = 0;

	if (text == NULL || text[0] == '\0')
		return 0;
	memcpy(rules, text, sizeof(rules));
	rules[PAGE - 1] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char verb[16], pattern[64], word[16];
		unsigned first = 1, count = 0;
		uint32_t call_number;
		int error;

		if (sscanf(line, "%15s %63s %15s %u %u", verb, pattern, word,
			&first, &count) < 3)
			break;
		number++;
		error = error_of(word);
		if (error == 0 || strcmp(verb, call) != 0 ||
		    fnmatch(pattern, name, 0) != 0)
			continue;
		call_number = atomic_fetch_add(&fitted[number - 1], 1) + 1;
		if (call_number >= first &&
		    (count == 0 || call_number - first < count))
			return error;
	}
	return 0;
}

static void
remember(int fd, const char *path)
{
	int saved = errno;
	struct stat st;

	if (text != NULL && fd >= 0 && fd < FILES_MOST && fstat(fd, &st) == 0) {
		snprintf(files[fd].name, NAME_SIZE, "%s", last_component(path));
		files[fd].dev = st.st_dev;
		files[fd].ino = st.st_ino;
	}
	errno = saved;
}

static int
judge_fd(const char *call, int fd)
{
	int saved = errno, error;
	struct stat st;

	if (text == NULL || text[0] == '\0' || fd < 0 || fd >= FILES_MOST ||
	    files[fd].name[0] == '\0')
		return 0;
	error = fstat(fd, &st) == 0 && st.st_dev == files[fd].dev &&
			st.st_ino == files[fd].ino
		    ? judge(call, files[fd].name)
		    : 0;
	errno = saved;
	return error;
}

/* The function that ours stands before. */
#define NEXT(name)                                                             \
	static __typeof__(&name) next;                                         \
	if (next == NULL)                                                      \
	next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int
refuse(int error)
{
	errno = error;
	return -1;
}

static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
}

int
open(const char *path, int flags, ...)
{
	NEXT(open);
	va_list ap;
	mode_t mode;
	int error, fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	error = judge("open", last_component(path));
	if (error > 0)
		return refuse(error);
	fd = next(path, flags, mode);
	remember(fd, path);
	return fd;
}

int
openat(int folder, const char *path, int flags, ...)
{
	NEXT(openat);
	va_list ap;
	mode_t mode;
	int error, fd;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	error = judge("open", last_component(path));
	if (error > 0)
		return refuse(error);
	fd = next(folder, path, flags, mode);
	remember(fd, path);
	return fd;
}

/* What fortified objects call where no mode is given. */
int __open_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);

int
__open_2(const char *path, int flags)
{
	return open(path, flags);
}

int
__openat_2(int folder, const char *path, int flags)
{
	return openat(folder, path, flags);
}

ssize_t
write(int fd, const void *octets, size_t len)
{
	NEXT(write);
	int error = judge_fd("write", fd);

	if (error > 0)
		return refuse(error);
	return next(fd, octets, error == SHORT ? len - len / 2 : len);
}

ssize_t
pwrite(int fd, const void *octets, size_t len, off_t offset)
{
	NEXT(pwrite);
	int error = judge_fd("write", fd);

	if (error > 0)
		return refuse(error);
	return next(fd, octets, error == SHORT ? len - len / 2 : len, offset);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	NEXT(pwritev);
	int error = judge_fd("write", fd);

	if (error > 0) {
		/* As on a real disk: some of it may have got there. */
		if (error != EINTR)
			(void)!next(fd, vector, (count + 1) / 2, offset);
		return refuse(error);
	}
	if (error == SHORT && count == 1) {
		struct iovec half = { vector->iov_base,
			vector->iov_len - vector->iov_len / 2 };

		return next(fd, &half, 1, offset);
	}
	return next(fd, vector, error == SHORT ? (count + 1) / 2 : count,
	    offset);
}

int
fsync(int fd)
{
	NEXT(fsync);
	int error = judge_fd("fsync", fd);

	return error > 0 ? refuse(error) : next(fd);
}

int
fdatasync(int fd)
{
	NEXT(fdatasync);
	int error = judge_fd("fdatasync", fd);

	return error > 0 ? refuse(error) : next(fd);
}

int
ftruncate(int fd, off_t length)
{
	NEXT(ftruncate);
	int error = judge_fd("ftruncate", fd);

	return error > 0 ? refuse(error) : next(fd, length);
}

int
fallocate(int fd, int mode, off_t offset, off_t length)
{
	NEXT(fallocate);
	int error = judge_fd("fallocate", fd);

	return error > 0 ? refuse(error) : next(fd, mode, offset, length);
}

int
unlinkat(int folder, const char *path, int flags)
{
	NEXT(unlinkat);
	int error = judge("unlink", last_component(path));

	return error > 0 ? refuse(error) : next(folder, path, flags);
}

int
renameat(int from, const char *old, int to, const char *new)
{
	NEXT(renameat);
	int error = judge("rename", last_component(new));

	return error > 0 ? refuse(error) : next(from, old, to, new);
}

int
rename(const char *old, const char *new)
{
	NEXT(rename);
	int error = judge("rename", last_component(new));

	return error > 0 ? refuse(error) : next(old, new);
}
