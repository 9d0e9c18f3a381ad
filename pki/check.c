/*
 * pki/check.c: what a mail administrator gets wrong about a certificate, its
 * key, trust anchors and lists of revoked ones: the words for it, and what is
 * wrong with files as such.
 */
#include "check_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "pem.h"

static const struct {
	const char *name;
	bool is_error;
} words[CHECK_WORDS] = {
	[CHECK_UNREADABLE] = { "unreadable", true },
	[CHECK_BROKEN] = { "broken", true },
	[CHECK_KEY_MODE] = { "key-mode", true },
	[CHECK_KEY_UNUSABLE] = { "key-unusable", true },
	[CHECK_KEY_MISMATCH] = { "key-mismatch", true },
	[CHECK_KEY_INSIDE] = { "key-inside", true },
	[CHECK_CHAIN_ORDER] = { "chain-order", true },
	[CHECK_FILE_MODE] = { "file-mode", true },
	[CHECK_MUST_STAPLE] = { "must-staple", true },
	[CHECK_GROUP_MODE] = { "group-mode", false },
	[CHECK_CHAIN_INCOMPLETE] = { "chain-incomplete", false },
	[CHECK_NAME_MISSING] = { "name-missing", false },
	[CHECK_NAME_OTHER] = { "name-other", false },
	[CHECK_PURPOSE_SERVER] = { "purpose-server", false },
	[CHECK_PURPOSE_CLIENT] = { "purpose-client", false },
	[CHECK_SELF_SIGNED] = { "self-signed", false },
	[CHECK_WEAK_KEY] = { "weak-key", false },
	[CHECK_WEAK_HASH] = { "weak-hash", false },
	[CHECK_EXPIRED] = { "expired", false },
	[CHECK_NOT_YET_VALID] = { "not-yet-valid", false },
	[CHECK_NEAR_END] = { "near-end", false },
	[CHECK_CRL_BROKEN] = { "crl-broken", false },
	[CHECK_CRL_STALE] = { "crl-stale", false },
	[CHECK_CRL_ISSUER] = { "crl-issuer", false },
	[CHECK_STAPLE] = { "staple", false },
};

const char *
check_word(enum check_word word)
{
	return words[word].name;
}

bool
check_is_error(enum check_word word)
{
	return words[word].is_error;
}

static void
make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

void
check_say(const struct check_options *options, enum check_word word,
    const char *file, const char *format, ...)
{
	struct check_finding finding = { .word = word, .file = file };
	size_t len = strlen(file);
	va_list ap;

	va_start(ap, format);
	vsnprintf(finding.text, sizeof(finding.text), format, ap);
	va_end(ap);
	if (strncmp(finding.text, file, len) == 0 &&
	    strncmp(finding.text + len, ": ", 2) == 0)
		memmove(finding.text, finding.text + len + 2,
		    strlen(finding.text + len + 2) + 1);
	make_printable(finding.text);
	options->report(options->context, &finding);
}

bool
check_size(const struct check_options *options, const char *path,
    const gnutls_datum_t *file, unsigned most)
{
	if (file->size <= most)
		return true;
	check_say(options, CHECK_BROKEN, path, "%u octets, expected at most %u",
	    file->size, most);
	return false;
}

/* What holds certificates goes to processes that must not have keys. */
void
check_inside(const struct check_options *options, const char *path,
    const gnutls_datum_t *file)
{
	if (pem_has(file, PEM_KEY) && pem_has(file, PEM_CERTIFICATE))
		check_say(options, CHECK_KEY_INSIDE, path,
		    "a private key is in it, expected certificates alone: the "
		    "key goes into a file of its own, that others cannot read");
}

/* --- modes --------------------------------------------------------------- */

void
check_modes(const struct check_options *options, const char *path)
{
	struct reason why;
	struct stat st;

	if (stat(path, &st) != 0)
		return; /* whoever reads it says so */
	if ((st.st_mode & S_IWOTH) != 0)
		check_say(options, CHECK_FILE_MODE, path,
		    "mode %04o lets everybody write it, expected 0644",
		    (unsigned)(st.st_mode & 07777));
	else if ((st.st_mode & S_IWGRP) != 0)
		check_say(options, CHECK_GROUP_MODE, path,
		    "mode %04o lets its group write it, expected 0644",
		    (unsigned)(st.st_mode & 07777));
	if (!pki_file_folders(path, &why))
		check_say(options, CHECK_FILE_MODE, path, "%s", why.text);
}
