/*
 * tools/init_files.c: making files and folders, and taking them back.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../server/files.h"

bool
init_path(const struct wish *w, const char *name, char out[static PATH_MAX],
    struct reason *why)
{
	if (snprintf(out, PATH_MAX, "%s/%s", w->folder, name) < PATH_MAX)
		return true;
	return fail(why, REASON_RANGE, "%s: path too long", w->folder);
}

void
init_remember(struct wish *w, const char *path)
{
	if (w->made_count < MADE_MOST)
		snprintf(w->made[w->made_count++], PATH_MAX, "%s", path);
}

void
init_take_back(struct wish *w)
{
	while (w->made_count > 0) {
		w->made_count--;
		remove(w->made[w->made_count]);
	}
	if (w->made_folder)
		rmdir(w->folder);
}

/* A new file; REASON_EXISTS if there is one. */
bool
init_write(struct wish *w, const char *name, mode_t mode, const char *text,
    size_t len, struct reason *why)
{
	char path[PATH_MAX];
	bool ok;
	int fd;

	if (!init_path(w, name, path, why))
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0 && errno == EEXIST)
		return fail(why, REASON_EXISTS,
		    "%s exists and is not overwritten", path);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	init_remember(w, path);
	ok = fchmod(fd, mode) == 0 && files_write(fd, text, len);
	if (!ok)
		fail_errno(why, "%s", path);
	close(fd);
	return ok;
}

bool
init_folder(struct wish *w, const char *name, mode_t mode, struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;

	if (!init_path(w, name, path, why))
		return false;
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return true;
		return fail(why, REASON_EXISTS, "%s: expected a folder", path);
	}
	if (mkdir(path, mode) != 0 || chmod(path, mode) != 0)
		return fail_errno(why, "%s", path);
	init_remember(w, path);
	return true;
}
