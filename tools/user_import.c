/*
 * tools/user_import.c: "sallyport user import": users from text.
 *
 * While the server runs, each line that is somebody becomes one change of the
 * store, on stable storage before the next line is looked at.  Without it they
 * all go into a copy of the store, which takes its place at the end.  A line
 * that cannot be taken is named and left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../server/control.h"
#include "user.h"

struct reading {
	const struct user_import_options *options;
	const struct config *config;
	const char *name; /* of the file, for messages */
	FILE *from;
	struct user_access *access;
	struct user_import import;
	unsigned long line;
	uint64_t taken, refused;
	/* Passwords in clear pass through here. */
	char text[IMPORT_LINE_MAX + 2];
	char buffer[BUFSIZ];
};

static void
say(struct reading *r, const struct reason *why)
{
	if (r->line > 0)
		fprintf(stderr, "%s:%lu: %s\n", r->name, r->line, why->text);
	else
		fprintf(stderr, "%s: %s\n", r->name, why->text);
	r->refused++;
}

enum line { LINE, LINE_BAD, LINE_NONE };

/* The next line without its end; one that is too long is skipped. */
static enum line
next_line(struct reading *r, size_t *len_out, struct reason *why)
{
	size_t len = 0;
	bool too_long = false;
	int c;

	while ((c = getc_unlocked(r->from)) != EOF && c != '\n') {
		too_long |= len > IMPORT_LINE_MAX;
		if (!too_long)
			r->text[len++] = (char)c;
	}
	if (c == EOF && len == 0)
		return LINE_NONE;
	r->line++;
	if (len > 0 && r->text[len - 1] == '\r')
		len--;
	r->text[len] = '\0';
	*len_out = len;
	if (!too_long && len <= IMPORT_LINE_MAX)
		return LINE;
	fail(why, REASON_RANGE, "line too long, expected at most %d octets",
	    IMPORT_LINE_MAX);
	return LINE_BAD;
}

/* The export's own secret, before its first user. */
static bool
restore_secret(struct reading *r, struct reason *why)
{
	if (!r->options->into_empty || !r->import.has_secret ||
	    r->import.users > 0)
		return true;
	return store_set_secret(user_access_store(r->access), r->import.secret,
	    why);
}

/* False: nothing more can be done.  A refusal of one user is none such. */
static bool
take(struct reading *r, struct entry *entry, struct reason *why)
{
	enum control_user_verb verb =
	    r->options->replace ? CONTROL_USER_REPLACE : CONTROL_USER_IMPORT;

	if (!user_access_copy(r->access, why))
		return false;
	if (user_access_ask(r->access, verb, entry, NULL, NULL, why)) {
		r->taken++;
		return true;
	}
	if (why->code == REASON_IO || why->code == REASON_DAMAGED ||
	    why->code == REASON_AWAY || why->code == REASON_TIMEOUT ||
	    why->code == REASON_PROTOCOL)
		return false;
	say(r, why);
	return true;
}

static bool
take_line(struct reading *r, size_t len, struct reason *why)
{
	struct entry entry;
	bool more = true;

	switch (user_import_line(&r->import, r->text, len, &entry, why)) {
	case IMPORT_NOTHING:
		more = restore_secret(r, why);
		break;
	case IMPORT_USER:
		more = take(r, &entry, why);
		break;
	case IMPORT_REFUSED:
		say(r, why);
		break;
	case IMPORT_STOP:
		more = false;
		break;
	}
	explicit_bzero(&entry, sizeof entry);
	return more;
}

/* Of a text that is cut off, what came before the cut is kept. */
static bool
keep(struct reading *r, struct reason *why)
{
	if (r->taken == 0 || user_access_adopt(r->access, why))
		return true;
	r->taken = 0;
	return false;
}

static void
read_all(struct reading *r)
{
	struct reason why = { 0 };
	enum line line = LINE;
	bool more = true;
	size_t len;

	while (more && (line = next_line(r, &len, &why)) != LINE_NONE) {
		if (line == LINE) {
			more = take_line(r, len, &why);
			explicit_bzero(r->text, len);
		} else {
			say(r, &why);
			explicit_bzero(r->text, sizeof r->text);
		}
	}
	if (more && ferror(r->from))
		more = fail_errno(&why, "reading");
	if (more)
		more = import_end(&r->import, &why);
	if (!more)
		say(r, &why);
}

/* A store that is not there is made; one with users in it stays as it is. */
static bool
prepare_empty(const struct config *config, struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (control_connect(config->state, "auth", &fd, why)) {
		close(fd);
		return fail(why, REASON_EXISTS,
		    "the server runs, expected it to be stopped for "
		    "--into-empty");
	}
	if (why->code != REASON_AWAY)
		return false;
	if (snprintf(path, sizeof path, "%s/store/users.kch", config->state) >=
	    (int)sizeof path)
		return fail(why, REASON_RANGE, "%s: path is too long",
		    config->state);
	if (lstat(path, &st) == 0 || errno != ENOENT)
		return true;
	return store_create(path, why);
}

static bool
open_store(struct reading *r, struct reason *why)
{
	const struct store *store;

	if (r->options->into_empty && !prepare_empty(r->config, why))
		return false;
	if (!user_access_open(&r->access, r->config, why))
		return false;
	store = user_access_store(r->access);
	if (!r->options->into_empty)
		return true;
	if (store == NULL)
		return fail(why, REASON_EXISTS,
		    "the server runs, expected it to be stopped for "
		    "--into-empty");
	if (store_count(store) == 0)
		return true;
	return fail(why, REASON_EXISTS,
	    "the store holds %ju users, expected an empty one for "
	    "--into-empty",
	    (uintmax_t)store_count(store));
}

static bool
open_input(struct reading *r, struct reason *why)
{
	const char *file = r->options->file;

	if (strcmp(file, "-") == 0) {
		r->name = "stdin";
		r->from = stdin;
	} else {
		r->name = file;
		r->from = fopen(file, "re");
	}
	if (r->from == NULL)
		return fail_errno(why, "%s", file);
	setvbuf(r->from, r->buffer, _IOFBF, sizeof r->buffer);
	return true;
}

enum tool_status
user_import(const struct config *config,
    const struct user_import_options *options)
{
	struct reading *r = calloc(1, sizeof *r);
	struct reason why = { 0 };
	enum tool_status status;
	bool ok;

	if (r == NULL)
		return TOOL_NO;
	r->options = options;
	r->config = config;
	import_init(&r->import, options->format, config->realm,
	    config->scram_iterations);
	ok = open_input(r, &why) && open_store(r, &why);
	if (ok) {
		read_all(r);
		ok = keep(r, &why);
		printf("%" PRIu64 " users imported, %" PRIu64
		       " lines refused\n",
		    r->taken, r->refused);
	}
	if (!ok)
		tool_error(&why);
	status = ok && r->refused == 0 ? TOOL_DONE : TOOL_NO;
	user_access_close(r->access);
	if (r->from != NULL)
		fclose(r->from);
	import_fini(&r->import);
	explicit_bzero(r, sizeof *r);
	free(r);
	return status;
}
