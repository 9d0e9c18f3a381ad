/*
 * pki/key.c: private keys: made, read, perhaps encrypted.
 */
#include "key.h"

#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "file.h"
#include "pem.h"

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

bool
pki_key_is_url(const char *path)
{
	return strncasecmp(path, "pkcs11:", 7) == 0;
}

void
pki_key_free(struct pki_key *key)
{
	if (key->private_key != NULL)
		gnutls_privkey_deinit(key->private_key);
	if (key->public_key != NULL)
		gnutls_pubkey_deinit(key->public_key);
	*key = (struct pki_key){ NULL, NULL };
}

static bool
key_init(struct pki_key *key, struct reason *why)
{
	*key = (struct pki_key){ NULL, NULL };
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
read_file(struct pki_key *key, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	gnutls_x509_privkey_t raw;
	gnutls_datum_t pem;
	bool ok;

	if (!pki_file_read(path, true, &pem, why))
		return false;
	if (gnutls_x509_privkey_init(&raw) < 0) {
		pki_octets_wipe(&pem);
		return fail(why, REASON_NO_MEMORY, "%s", path);
	}
	ok = import_pem(raw, &pem, path, passphrase, why);
	pki_octets_wipe(&pem);
	if (!ok) {
		gnutls_x509_privkey_deinit(raw);
		return false;
	}
	return take_raw(key, raw, why);
}

static bool
read_url(struct pki_key *key, const char *url, struct reason *why)
{
	int rc = gnutls_privkey_import_url(key->private_key, url, 0);

	if (rc >= 0)
		rc = gnutls_pubkey_import_privkey(key->public_key,
		    key->private_key, 0, 0);
	return rc >= 0 ||
	       fail(why, REASON_ABSENT, "%s: %s", url, gnutls_strerror(rc));
}

bool
pki_key_read(struct pki_key *key_out, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why)
{
	struct pki_key key;

	if (!key_init(&key, why))
		return false;
	if (!(pki_key_is_url(path) ? read_url(&key, path, why)
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

	if (pki_key_is_url(path) || access(path, F_OK) == 0)
		return pki_key_read(key_out, path, passphrase, why);
	if (!pki_key_generate(key_out, algorithm, passphrase, path, &pem, why))
		return false;
	ok = pki_file_write(path, pem.data, pem.size, PKI_KEY_MODE, false, why);
	pki_octets_wipe(&pem);
	if (!ok)
		pki_key_free(key_out);
	return ok;
}
