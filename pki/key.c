/*
 * pki/key.c: private keys: made, read, perhaps encrypted, perhaps in a token.
 */
#include "key.h"

#include <gnutls/x509.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cert.h"
#include "file.h"
#include "pem.h"
#include "pkcs11.h"

enum { RSA_BITS = 3072 };

bool
key_algorithm_parse(const char *word, enum key_algorithm *out)
{
	if (strcmp(word, "ecdsa") == 0)
		*out = KEY_ECDSA;
	else if (strcmp(word, "ed25519") == 0)
		*out = KEY_ED25519;
	else if (strcmp(word, "rsa") == 0)
		*out = KEY_RSA;
	else
		return false;
	return true;
}

void
pki_key_free(struct pki_key *key)
{
	if (key->private_key != NULL)
		gnutls_privkey_deinit(key->private_key);
	if (key->public_key != NULL)
		gnutls_pubkey_deinit(key->public_key);
	/* The private key may ask for it until then. */
	if (key->pin != NULL)
		explicit_bzero(key->pin, sizeof(*key->pin));
	free(key->pin);
	*key = (struct pki_key){ NULL, NULL, NULL };
}

static bool
key_init(struct pki_key *key, struct reason *why)
{
	*key = (struct pki_key){ NULL, NULL, NULL };
	if (gnutls_privkey_init(&key->private_key) >= 0 &&
	    gnutls_pubkey_init(&key->public_key) >= 0)
		return true;
	pki_key_free(key);
	return fail(why, REASON_NO_MEMORY, "private key");
}

static int
generate(gnutls_x509_privkey_t raw, enum key_algorithm algorithm)
{
	switch (algorithm) {
	case KEY_ED25519:
		return gnutls_x509_privkey_generate(raw,
		    GNUTLS_PK_EDDSA_ED25519, 0, 0);
	case KEY_RSA:
		return gnutls_x509_privkey_generate(raw, GNUTLS_PK_RSA,
		    RSA_BITS, 0);
	case KEY_ECDSA:
		break;
	}
	return gnutls_x509_privkey_generate(raw, GNUTLS_PK_ECDSA,
	    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
}

/* Copied to where pki_octets_wipe can free it. */
static bool
export_pem(gnutls_x509_privkey_t raw, const char *passphrase,
    gnutls_datum_t *out, struct reason *why)
{
	gnutls_datum_t pem = { 0 };
	int rc = gnutls_x509_privkey_export2_pkcs8(raw, GNUTLS_X509_FMT_PEM,
	    passphrase,
	    passphrase == NULL ? GNUTLS_PKCS_PLAIN : GNUTLS_PKCS_PBES2_AES_256,
	    &pem);

	if (rc < 0)
		return fail(why, REASON_INTERNAL, "private key: %s",
		    gnutls_strerror(rc));
	out->data = malloc(pem.size);
	out->size = pem.size;
	if (out->data != NULL)
		memcpy(out->data, pem.data, pem.size);
	explicit_bzero(pem.data, pem.size);
	gnutls_free(pem.data);
	return out->data != NULL || fail(why, REASON_NO_MEMORY, "private key");
}

static bool
export_key(gnutls_x509_privkey_t raw, const struct pki_passphrase *passphrase,
    const char *what, gnutls_datum_t *out, struct reason *why)
{
	char secret[PKI_PASSPHRASE_SIZE];
	bool ok;

	if (passphrase == NULL)
		return export_pem(raw, NULL, out, why);
	ok = passphrase->ask(passphrase->context, what, true, secret, why) &&
	     export_pem(raw, secret, out, why);
	explicit_bzero(secret, sizeof(secret));
	return ok;
}

/* raw is the key's from here on. */
static bool
take_raw(struct pki_key *key, gnutls_x509_privkey_t raw, struct reason *why)
{
	int rc = gnutls_privkey_import_x509(key->private_key, raw,
	    GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE);

	if (rc < 0)
		gnutls_x509_privkey_deinit(raw);
	else
		rc = gnutls_pubkey_import_privkey(key->public_key,
		    key->private_key, 0, 0);
	return rc >= 0 || fail(why, REASON_INTERNAL, "private key: %s",
			      gnutls_strerror(rc));
}

bool
pki_key_generate(struct pki_key *key_out, enum key_algorithm algorithm,
    const struct pki_passphrase *passphrase, const char *what,
    gnutls_datum_t *pem_out, struct reason *why)
{
	gnutls_x509_privkey_t raw;
	gnutls_datum_t pem = { 0 };
	struct pki_key key;
	int rc;

	if (!key_init(&key, why))
		return false;
	rc = gnutls_x509_privkey_init(&raw);
	if (rc >= 0 && (rc = generate(raw, algorithm)) < 0)
		gnutls_x509_privkey_deinit(raw);
	if (rc < 0) {
		pki_key_free(&key);
		return fail(why, REASON_INTERNAL, "private key: %s",
		    gnutls_strerror(rc));
	}
	if (!export_key(raw, passphrase, what, &pem, why)) {
		gnutls_x509_privkey_deinit(raw);
		pki_key_free(&key);
		return false;
	}
	if (!take_raw(&key, raw, why)) {
		pki_octets_wipe(&pem);
		pki_key_free(&key);
		return false;
	}
	*key_out = key;
	*pem_out = pem;
	return true;
}

/* The library takes a wrong passphrase, and one that is missing, for octets it
 * cannot decrypt. */
static bool
import_pem(gnutls_x509_privkey_t raw, const gnutls_datum_t *pem,
    const char *path, const struct pki_passphrase *passphrase,
    struct reason *why)
{
	bool encrypted =
	    memmem(pem->data, pem->size, "ENCRYPTED", strlen("ENCRYPTED"));
	char secret[PKI_PASSPHRASE_SIZE] = "";
	struct reason at;
	int rc;

	if (encrypted && passphrase == NULL)
		return fail(why, REASON_PERMISSION,
		    "%s: encrypted, expected one that opens without a "
		    "passphrase",
		    path);
	if (encrypted &&
	    !passphrase->ask(passphrase->context, path, false, secret, why))
		return false;
	rc = gnutls_x509_privkey_import2(raw, pem, GNUTLS_X509_FMT_PEM,
	    encrypted ? secret : NULL, encrypted ? 0 : GNUTLS_PKCS_PLAIN);
	explicit_bzero(secret, sizeof(secret));
	if (rc == GNUTLS_E_DECRYPTION_FAILED)
		return fail(why, REASON_AUTH, "%s: wrong passphrase", path);
	if (rc >= 0)
		return true;
	pem_fail(&at, REASON_SYNTAX, pem, PEM_KEY, rc);
	return fail(why, at.code, "%s: %s", path, at.text);
}

static bool
take_pem(struct pki_key *key, const gnutls_datum_t *pem, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	gnutls_x509_privkey_t raw;

	if (gnutls_x509_privkey_init(&raw) < 0)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	if (!import_pem(raw, pem, path, passphrase, why)) {
		gnutls_x509_privkey_deinit(raw);
		return false;
	}
	return take_raw(key, raw, why);
}

/* --- in a token --------------------------------------------------------- */

/* context is the pki_passphrase. */
static bool
ask_pin(void *context, const char *what, char out[static PIN_SIZE],
    struct reason *why)
{
	const struct pki_passphrase *passphrase = context;
	char secret[PKI_PASSPHRASE_SIZE], token[64];
	bool ok;

	snprintf(token, sizeof(token), "token %.40s (PIN)", what);
	if (!passphrase->ask(passphrase->context, token, false, secret, why))
		return false;
	ok = strlen(secret) < PIN_SIZE ||
	     fail(why, REASON_RANGE, "PIN: expected at most %d octets",
		 PIN_SIZE - 1);
	if (ok)
		strcpy(out, secret);
	explicit_bzero(secret, sizeof(secret));
	return ok;
}

/* What a file's PIN came to is remembered beside the file. */
static bool
open_token(struct pki_key *key, const struct pkcs11_url *url,
    struct reason *why)
{
	struct reason unmarked;

	if (pkcs11_open(key->private_key, url, key->pin, why)) {
		if (url->pin != NULL && key->pin->given > 0)
			pin_file_accepted(url->pin);
		return true;
	}
	if (url->pin != NULL && why->code == REASON_AUTH &&
	    !pin_file_refused(url->pin, &unmarked))
		return fail(why, REASON_AUTH,
		    "wrong PIN, and the next run will try it again: %s",
		    unmarked.text);
	return false;
}

static bool
read_url(struct pki_key *key, const char *text,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	struct pkcs11_url url;
	bool ok;

	if (!pkcs11_url_parse(&url, text, why))
		return false;
	key->pin = calloc(1, sizeof(*key->pin));
	ok = key->pin != NULL || fail(why, REASON_NO_MEMORY, "private key");
	if (ok && passphrase != NULL) {
		key->pin->ask = ask_pin;
		key->pin->context = (void *)(uintptr_t)passphrase;
	}
	ok = ok && (url.pin == NULL || pin_file_read(url.pin, key->pin->text, why)) &&
	     open_token(key, &url, why) &&
	     pkcs11_public(key->public_key, key->private_key, &url, why);
	pkcs11_url_free(&url);
	return ok;
}

bool
pki_key_is_in_token(const struct pki_key *key)
{
	return gnutls_privkey_get_type(key->private_key) ==
	       GNUTLS_PRIVKEY_PKCS11;
}

bool
pki_key_fits(const struct pki_key *key, const gnutls_datum_t *chain_pem,
    struct reason *why)
{
	gnutls_datum_t of_chain = { 0 }, own = { 0 };
	bool ok = cert_public_key(chain_pem, &of_chain, why);
	int rc = 0;

	if (ok)
		rc = gnutls_pubkey_export2(key->public_key, GNUTLS_X509_FMT_DER,
		    &own);
	if (rc < 0)
		ok = fail(why, REASON_INTERNAL, "public key: %s",
		    gnutls_strerror(rc));
	else if (ok && (own.size != of_chain.size ||
			   memcmp(own.data, of_chain.data, own.size) != 0))
		ok = fail(why, REASON_CERT_BAD,
		    "the key does not belong to the certificate");
	gnutls_free(of_chain.data);
	gnutls_free(own.data);
	return ok;
}

char *
pki_key_url_in(const gnutls_datum_t *file)
{
	char *url = strndup((const char *)file->data, file->size);

	if (url == NULL || !pkcs11_is_url(url)) {
		if (url != NULL)
			explicit_bzero(url, strlen(url));
		free(url);
		return NULL;
	}
	url[strcspn(url, " \t\r\n")] = '\0';
	return url;
}

bool
pki_key_octets(const char *path, gnutls_datum_t *out, struct reason *why)
{
	char *line;
	int len;

	if (!pkcs11_is_url(path))
		return pki_file_read(path, true, out, why);
	len = asprintf(&line, "%s\n", path);
	if (len < 0)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	out->data = (unsigned char *)line;
	out->size = (unsigned)len;
	return true;
}

bool
pki_key_link(const char *path, const char *url, bool *made_out,
    struct reason *why)
{
	gnutls_datum_t present = { 0 }, wanted;
	struct pkcs11_url parts;
	bool ok;

	*made_out = false;
	if (!pkcs11_url_parse(&parts, url, why))
		return false;
	pkcs11_url_free(&parts);
	if (!pki_key_octets(url, &wanted, why))
		return false;
	if (access(path, F_OK) < 0) {
		ok = pki_file_write(path, wanted.data, wanted.size,
		    PKI_KEY_MODE, false, why);
		*made_out = ok;
	} else {
		ok = pki_file_read(path, true, &present, why);
		if (ok && (present.size != wanted.size ||
			      memcmp(present.data, wanted.data, wanted.size) !=
				  0))
			ok = fail(why, REASON_EXISTS,
			    "%s: exists already, with another key", path);
		pki_octets_wipe(&present);
	}
	pki_octets_wipe(&wanted);
	return ok;
}

/* --- either ------------------------------------------------------------- */

static bool
read_file(struct pki_key *key, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	gnutls_datum_t file;
	char *url;
	bool ok;

	if (!pki_file_read(path, true, &file, why))
		return false;
	url = pki_key_url_in(&file);
	ok = url != NULL ? read_url(key, url, passphrase, why)
			 : take_pem(key, &file, path, passphrase, why);
	free(url);
	pki_octets_wipe(&file);
	return ok;
}

bool
pki_key_read(struct pki_key *key_out, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	struct reason unwanted;
	struct pki_key key;

	if (why == NULL)
		why = &unwanted;
	if (!key_init(&key, why))
		return false;
	if (!(pkcs11_is_url(path) ? read_url(&key, path, passphrase, why)
				  : read_file(&key, path, passphrase, why))) {
		pki_key_free(&key);
		return false;
	}
	*key_out = key;
	return true;
}

bool
pki_key_get(struct pki_key *key_out, const char *path,
    enum key_algorithm algorithm, const struct pki_passphrase *passphrase,
    struct reason *why)
{
	gnutls_datum_t pem;
	bool ok;

	if (pkcs11_is_url(path) || access(path, F_OK) == 0)
		return pki_key_read(key_out, path, passphrase, why);
	if (!pki_key_generate(key_out, algorithm, passphrase, path, &pem, why))
		return false;
	ok = pki_file_write(path, pem.data, pem.size, PKI_KEY_MODE, false, why);
	pki_octets_wipe(&pem);
	if (!ok)
		pki_key_free(key_out);
	return ok;
}
