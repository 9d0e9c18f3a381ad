/*
 * tools/cert_request.c: "sallyport cert request" and "export": asking other
 * authorities, and certificates for other programs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/file.h"
#include "../pki/pkcs12.h"
#include "../pki/renew.h"
#include "../pki/request.h"
#include "cert.h"
#include "tool.h"

static bool
write_request(const struct cert_arguments *a, const char *csr,
    const char *key_path, struct reason *why)
{
	const struct cert_options *options = a->options;
	struct authority_request wanted = {
		.names = (const char *const *)a->words,
		.name_count = (size_t)a->count,
		.role = options->role,
	};
	gnutls_datum_t pem = { 0 };
	struct pki_key key;
	bool ok;

	if (!(options->new_key ? renew_next_key(&key, key_path, why)
			       : pki_key_get(&key, key_path, options->algorithm,
				     NULL, why)))
		return false;
	ok = request_make(&wanted, &key, &pem, why) &&
	     pki_file_write(csr, pem.data, pem.size, PKI_CHAIN_MODE, true, why);
	pki_octets_wipe(&pem);
	pki_key_free(&key);
	return ok;
}

static bool
request(const struct cert_arguments *a, struct reason *why)
{
	const struct cert_options *options = a->options;
	char csr[PATH_MAX], key_path[PATH_MAX], next[PATH_MAX];
	const char *own = options->new_key ? next : key_path;
	bool linked = false;

	if (!cert_path(csr, options->out, ".csr", why) ||
	    !cert_path(key_path, options->out, ".key", why) ||
	    !renew_next_path(next, key_path, why))
		return false;
	if (options->key != NULL &&
	    !pki_key_link(own, options->key, &linked, why))
		return false;
	if (!write_request(a, csr, key_path, why)) {
		if (linked)
			unlink(own);
		return false;
	}
	printf("%s\n%s\n", csr, own);
	return true;
}

int
cert_request(const struct cert_arguments *a)
{
	struct reason why;

	if (a->count == 0 || !a->options->has_role || a->options->out == NULL)
		return cert_wrong_usage(
		    "request: expected NAME, --role and --out PREFIX");
	return cert_status_of(request(a, &why), &why);
}

/* --- export --------------------------------------------------------------- */

/* Before anybody is asked for a passphrase. */
static bool
check_pair(const char *chain_path, const char *key_path,
    const gnutls_datum_t *chain, const gnutls_datum_t *key, struct reason *why)
{
	struct reason at;

	return cert_matches_key(chain, key, &at) ||
	       fail(why, at.code, "%s and %s: %s", chain_path, key_path,
		   at.text);
}

static bool
read_key(const char *path, gnutls_datum_t *out, struct reason *why)
{
	char *url;

	if (!pki_file_read(path, true, out, why))
		return false;
	url = pki_key_url_in(out);
	if (url == NULL)
		return true;
	free(url);
	return fail(why, REASON_PERMISSION,
	    "%s: the key is in a token, which does not give it away; expected "
	    "one in a file",
	    path);
}

static bool export(const char *prefix, const struct cert_options *options,
    struct reason *why)
{
	char chain_path[PATH_MAX], key_path[PATH_MAX];
	char secret[PKI_PASSPHRASE_SIZE];
	gnutls_datum_t chain = { 0 }, key = { 0 }, p12 = { 0 };
	const char *base = strrchr(prefix, '/');
	bool ok;

	ok = cert_path(chain_path, prefix, ".pem", why) &&
	     cert_path(key_path, prefix, ".key", why) &&
	     pki_file_read(chain_path, false, &chain, why) &&
	     read_key(key_path, &key, why) &&
	     check_pair(chain_path, key_path, &chain, &key, why) &&
	     tool_passphrase((void *)(uintptr_t)&options->from_stdin,
		 options->out, true, secret, why);
	if (ok)
		ok = pkcs12_make(&chain, &key,
			 options->name  ? options->name
			 : base != NULL ? base + 1
					: prefix,
			 secret, &p12, why) &&
		     pki_file_write(options->out, p12.data, p12.size,
			 PKI_KEY_MODE, false, why);
	explicit_bzero(secret, sizeof(secret));
	pki_octets_wipe(&chain);
	pki_octets_wipe(&key);
	pki_octets_wipe(&p12);
	if (ok)
		printf("%s\n", options->out);
	return ok;
}

int
cert_export(const struct cert_arguments *a)
{
	struct reason why;

	if (a->count != 1 || a->options->out == NULL)
		return cert_wrong_usage(
		    "export: expected PREFIX and --out FILE");
	return cert_status_of(export(a->words[0], a->options, &why), &why);
}
