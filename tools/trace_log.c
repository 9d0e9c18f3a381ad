/*
 * tools/trace_log.c: a message's story from the server's log, which knows it
 * long after the queue does not.
 *
 * The log is read twice: what a session did before it brought the message is
 * known to belong to it only from the line that says "accepted".
 */
#include "trace_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_SIZE = 64 };

/* key=VALUE as a word of line; NULL: it has none.  The length in *len_out. */
static const char *
value_of(const char *line, const char *key, size_t *len_out)
{
	size_t key_len = strlen(key);

	for (const char *at = line; (at = strstr(at, key)) != NULL;
	     at += key_len) {
		if (at == line || at[-1] != ' ')
			continue;
		*len_out = strcspn(at + key_len, " \n");
		return at + key_len;
	}
	return NULL;
}

static bool
has_value(const char *line, const char *key, const char *value)
{
	size_t len;
	const char *at = value_of(line, key, &len);

	return at != NULL && len == strlen(value) && len > 0 &&
	       memcmp(at, value, len) == 0;
}

/* The session that brought it, from the log's line about that. */
static bool
find_session(FILE *file, const char *id, char out[static SESSION_SIZE])
{
	char *line = NULL;
	size_t size = 0;

	out[0] = '\0';
	while (out[0] == '\0' && getline(&line, &size, file) >= 0) {
		const char *session;
		size_t len;

		if (strstr(line, " accepted ") == NULL ||
		    !has_value(line, "queue=", id))
			continue;
		session = value_of(line, "session=", &len);
		if (session != NULL && len < SESSION_SIZE) {
			memcpy(out, session, len);
			out[len] = '\0';
		}
	}
	free(line);
	return ferror(file) == 0;
}

static bool
belongs(const char *line, const char *id, const char *session)
{
	size_t len;

	if (has_value(line, "queue=", id) || has_value(line, "for=", id))
		return true;
	/* Not to another message of the same session. */
	return has_value(line, "session=", session) &&
	       value_of(line, "queue=", &len) == NULL;
}

/* Terminals obey some octets: none of them is printed. */
static void
print_line(const char *line)
{
	for (; *line != '\0'; line++) {
		unsigned char c = (unsigned char)*line;

		putchar((c < 0x20 && c != '\n') || c == 0x7f ? '?' : c);
	}
}

static bool
print_story(FILE *file, const char *id, unsigned long *count_out)
{
	char session[SESSION_SIZE];
	char *line = NULL;
	size_t size = 0;

	*count_out = 0;
	if (!find_session(file, id, session))
		return false;
	rewind(file);
	while (getline(&line, &size, file) >= 0) {
		if (!belongs(line, id, session))
			continue;
		print_line(line);
		++*count_out;
	}
	free(line);
	return ferror(file) == 0;
}

/* What cannot be read twice is kept in a file without a name meanwhile. */
static FILE *
open_again(FILE *from, const char *path, struct reason *why)
{
	FILE *copy = tmpfile();
	char octets[65536];
	size_t len;

	if (copy == NULL) {
		fail_errno(why, "a scratch file");
		return NULL;
	}
	while ((len = fread(octets, 1, sizeof(octets), from)) > 0)
		if (fwrite(octets, 1, len, copy) != len)
			break;
	if (ferror(from) == 0 && ferror(copy) == 0) {
		rewind(copy);
		return copy;
	}
	fail_errno(why, "%s", path);
	fclose(copy);
	return NULL;
}

bool
trace_log(const char *path, const char *id, unsigned long *count_out,
    struct reason *why)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *file = is_stdin ? open_again(stdin, "standard input", why)
			      : fopen(path, "re");
	bool ok;

	if (file == NULL)
		return is_stdin ? false : fail_errno(why, "%s", path);
	ok = print_story(file, id, count_out) ||
	     fail(why, REASON_IO, "%.200s: could not be read", path);
	fclose(file);
	return ok;
}
