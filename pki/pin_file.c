/*
 * pki/pin_file.c: the PIN of a token, in a file of its own.
 */
#include "pin_file.h"

#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { STATE_SIZE = 160 };

static bool
mark_path(char out[static PATH_MAX], const char *path, struct reason *why)
{
	int n = snprintf(out, PATH_MAX, "%s.refused", path);

	return (n >= 0 && n < PATH_MAX) ||
	       fail(why, REASON_RANGE, "%s: path too long", path);
}

/* What tells this content of the file from the next, and nothing about it. */
static bool
state_of(const char *path, char out[static STATE_SIZE], struct reason *why)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return fail_errno(why, "%s", path);
	snprintf(out, STATE_SIZE, "%llu %llu %lld %lld.%09ld %lld.%09ld\n",
	    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
	    (long long)st.st_size, (long long)st.st_mtim.tv_sec,
	    st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
	    st.st_ctim.tv_nsec);
	return true;
}

/* A mark that cannot be read, though it is there, may be of this content. */
static bool
check_mark(const char *path, struct reason *why)
{
	char mark[PATH_MAX], state[STATE_SIZE];
	gnutls_datum_t octets;
	bool same;

	if (!mark_path(mark, path, why) || !state_of(path, state, why))
		return false;
	if (access(mark, F_OK) < 0)
		return true;
	if (!pki_file_read(mark, false, &octets, why))
		return false;
	same = octets.size == strlen(state) &&
	       memcmp(octets.data, state, octets.size) == 0;
	pki_octets_wipe(&octets);
	return !same ||
	       fail(why, REASON_AUTH,
		   "%s: the token has refused this PIN: not tried again until "
		   "the file has another",
		   path);
}

static bool
take_line(const char *path, const gnutls_datum_t *file,
    char out[static PIN_SIZE], struct reason *why)
{
	size_t len = strcspn((const char *)file->data, "\r\n");

	if (len == 0)
		return fail(why, REASON_SYNTAX, "%s: empty, expected a PIN",
		    path);
	if (len >= PIN_SIZE)
		return fail(why, REASON_RANGE,
		    "%s: a PIN of %zu octets, expected at most %d", path, len,
		    PIN_SIZE - 1);
	memcpy(out, file->data, len);
	out[len] = '\0';
	return true;
}

bool
pin_file_read(const char *path, char out[static PIN_SIZE], struct reason *why)
{
	gnutls_datum_t file;
	bool ok;

	if (!check_mark(path, why) || !pki_file_read(path, true, &file, why))
		return false;
	ok = take_line(path, &file, out, why);
	pki_octets_wipe(&file);
	return ok;
}

bool
pin_file_refused(const char *path, struct reason *why)
{
	char mark[PATH_MAX], state[STATE_SIZE];

	return mark_path(mark, path, why) && state_of(path, state, why) &&
	       pki_file_write(mark, state, strlen(state), PKI_KEY_MODE, true,
		   why);
}

void
pin_file_accepted(const char *path)
{
	char mark[PATH_MAX];

	if (mark_path(mark, path, NULL))
		unlink(mark);
}
