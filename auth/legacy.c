/* auth/legacy.c: old ways of logging in, which are to go. */
#include "legacy.h"

#include <string.h>

static const struct {
	unsigned bit;
	const char *word;
} practices_known[] = {
	{ LEGACY_IN_CLEAR, "auth-in-clear" },
	{ LEGACY_TLS_1_2, "tls1.2" },
	{ LEGACY_LOGIN, "login" },
	{ LEGACY_UNBOUND, "unbound" },
	{ LEGACY_MD5, "md5" },
	{ LEGACY_SHA_1, "sha-1" },
};

enum { KNOWN = sizeof practices_known / sizeof practices_known[0] };

static unsigned
bit_of(const char *word, size_t len)
{
	for (size_t i = 0; i < KNOWN; i++)
		if (strlen(practices_known[i].word) == len &&
		    memcmp(practices_known[i].word, word, len) == 0)
			return practices_known[i].bit;
	return 0;
}

bool
legacy_parse(unsigned *out, const char *words)
{
	unsigned practices = 0;

	while (*words != '\0') {
		size_t len = strcspn(words, " ");
		unsigned bit = bit_of(words, len);

		if (len > 0 && (bit == 0 || (practices & bit) != 0))
			return false;
		practices |= bit;
		words += len;
		words += strspn(words, " ");
	}
	*out = practices;
	return true;
}

void
legacy_print(unsigned practices, char out[static LEGACY_TEXT])
{
	char *at = out;

	for (size_t i = 0; i < KNOWN; i++) {
		if ((practices & practices_known[i].bit) == 0)
			continue;
		if (at != out)
			*at++ = ' ';
		at = stpcpy(at, practices_known[i].word);
	}
	*at = '\0';
}

unsigned
legacy_practices(const char *mechanism, unsigned tls_version)
{
	static const struct {
		const char *mechanism;
		unsigned practices;
	} rows[] = {
		{ "EXTERNAL", 0 },
		{ "SCRAM-SHA-256-PLUS", 0 },
		{ "SCRAM-SHA-1-PLUS", LEGACY_SHA_1 },
		{ "SCRAM-SHA-1", LEGACY_SHA_1 | LEGACY_UNBOUND },
		{ "LOGIN", LEGACY_LOGIN | LEGACY_UNBOUND },
		{ "CRAM-MD5", LEGACY_MD5 | LEGACY_UNBOUND },
		{ "DIGEST-MD5", LEGACY_MD5 | LEGACY_UNBOUND },
	};
	unsigned of_tls = tls_version < 13 ? LEGACY_TLS_1_2 : 0;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (strcmp(rows[i].mechanism, mechanism) == 0)
			return rows[i].practices | of_tls;
	return LEGACY_UNBOUND | of_tls;
}
