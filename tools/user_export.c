/*
 * tools/user_export.c: "sallyport user export": the store as text.
 *
 * Whoever has it can guess at all passwords: it goes to a file that nobody else
 * can read, made aside and put in place once it is whole, or to a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../auth/export.h"
#include "user.h"

struct export
{
	FILE *to;
	uint64_t users;
};

static bool
put_line(FILE *to, char *line)
{
	bool ok =
	    line != NULL && fputs(line, to) != EOF && putc('\n', to) != EOF;

	export_wipe(line);
	return ok;
}

static bool
put_entry(void *context, const struct entry *entry)
{
	struct export *export = context;

	export->users++;
	return put_line(export->to, export_entry(entry));
}

static bool
write_all(struct user_access *access, struct export *export, struct reason *why)
{
	unsigned char secret[STORE_SECRET_OCTETS];
	struct entry entry = { 0 };
	bool ok;

	if (!user_access_secret(access, secret, why))
		return false;
	ok = put_line(export->to, export_header(secret)) ||
	     fail_errno(why, "export");
	explicit_bzero(secret, sizeof secret);
	ok = ok && user_access_ask(access, CONTROL_USER_EXPORT, &entry,
		       put_entry, export, why);
	explicit_bzero(&entry, sizeof entry);
	if (ok && (!put_line(export->to, export_trailer(export->users)) ||
		      fflush(export->to) != 0))
		return fail_errno(why, "export");
	return ok;
}

/* Its place is kept by path: the folder is whoever's who called. */
static bool
put_in_place(int fd, const char *made, const char *file, struct reason *why)
{
	char copy[PATH_MAX];
	int folder;
	bool ok;

	if (fsync(fd) < 0 || rename(made, file) < 0)
		return fail_errno(why, "%s", file);
	strcpy(copy, file);
	folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = folder >= 0 && fsync(folder) == 0;
	if (!ok)
		fail_errno(why, "%s", file);
	if (folder >= 0)
		close(folder);
	return ok;
}

static bool
export_to(const struct config *config, FILE *to, struct reason *why)
{
	struct export export = { .to = to };
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok = write_all(access, &export, why);
	user_access_close(access);
	return ok;
}

static bool
export_file(const struct config *config, const char *file, struct reason *why)
{
	char made[PATH_MAX];
	FILE *to = NULL;
	struct stat st;
	int fd;
	bool ok = false;

	/* Such as /dev/stdout, whose place a file would take. */
	if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
		return fail(why, REASON_EXISTS,
		    "%s: not a regular file, expected one or standard output",
		    file);
	if (snprintf(made, sizeof made, "%s.XXXXXX", file) >= (int)sizeof made)
		return fail(why, REASON_RANGE, "%s: path is too long", file);
	fd = mkostemp(made, O_CLOEXEC); /* mode 0600, and nobody else's */
	if (fd < 0)
		return fail_errno(why, "%s", file);
	to = fdopen(fd, "w");
	if (to == NULL) {
		fail_errno(why, "%s", file);
		close(fd);
	} else {
		ok = export_to(config, to, why) &&
		     put_in_place(fd, made, file, why);
		fclose(to);
	}
	if (!ok)
		unlink(made);
	return ok;
}

enum tool_status
user_export(const struct config *config, const char *file)
{
	struct reason why = { 0 };
	bool ok;

	if (file != NULL && strcmp(file, "-") != 0)
		ok = export_file(config, file, &why);
	else if (isatty(STDOUT_FILENO))
		ok = fail(&why, REASON_PERMISSION,
		    "an export holds what proves passwords and is not shown "
		    "at a terminal, expected FILE or a pipe");
	else
		ok = export_to(config, stdout, &why);
	if (!ok)
		tool_error(&why);
	return ok ? TOOL_DONE : TOOL_NO;
}
