/*
 * tools/user_bind.c: what of a certificate a login is bound to: its key, or its
 * authority and a name in it.
 */
#include <string.h>

#include "../auth/san.h"
#include "../pki/cert.h"
#include "../policy/hex.h"
#include "../server/files.h"
#include "user.h"

/* The key of the first certificate in a PEM file, or a digest as it is. */
static bool
read_key(const char *word, unsigned char out[static SPKI_OCTETS],
    struct reason *why)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	unsigned count;
	struct reason at;
	bool ok;

	if (strncmp(word, "sha256:", 7) == 0)
		return pin_read(out, word) ||
		       fail(why, REASON_SYNTAX,
			   "\"%.87s\": expected sha256: and 64 hex digits",
			   word);
	if (!files_read(word, &pem, why))
		return false;
	ok = cert_chain_parse(&pem, &chain, &count, &at);
	files_free(&pem);
	if (!ok)
		return fail(why, at.code, "%s: %s", word, at.text);
	ok = cert_spki(chain[0], out, &at) ||
	     fail(why, at.code, "%s: %s", word, at.text);
	cert_chain_free(chain, count);
	return ok;
}

bool
user_take_key(const char *word, struct entry *entry, struct reason *why)
{
	entry->key_count = 1;
	return read_key(word, entry->keys[0], why);
}

bool
user_take_san(const char *ca, const char *san, struct entry *entry,
    struct reason *why)
{
	entry->san_count = 1;
	return san_parse(entry->sans[0].name, san, why) &&
	       read_key(ca, entry->sans[0].ca, why);
}
