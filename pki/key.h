/*
 * pki/key.h: private keys in files (or in a token, named by its PKCS#11 URL):
 * made, read, perhaps encrypted with a passphrase.
 */
#ifndef PKI_KEY_H
#define PKI_KEY_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum key_algorithm { KEY_ECDSA, KEY_ED25519, KEY_RSA };

/* "ecdsa" (P-256), "ed25519", "rsa" (3072 bits). */
bool key_algorithm_parse(const char *word, enum key_algorithm *out);

enum { PKI_PASSPHRASE_SIZE = 1024 };

/*
 * Where passphrases come from: called when one is needed.  what is the file
 * (for a prompt); fresh: of a new key, to be asked for twice.
 */
struct pki_passphrase {
	bool (*ask)(void *context, const char *what, bool fresh,
	    char out[static PKI_PASSPHRASE_SIZE], struct reason *why);
	void *context;
};

struct pki_key {
	gnutls_privkey_t private_key;
	gnutls_pubkey_t public_key;
};

/* All zero, it may be given to pki_key_free. */
void pki_key_free(struct pki_key *key);

/* A new one, and its PKCS#8 PEM (malloc'd): encrypted (PBES2, AES-256) with
 * the passphrase that passphrase tells, in clear if that is NULL. */
bool pki_key_generate(struct pki_key *key_out, enum key_algorithm algorithm,
    const struct pki_passphrase *passphrase, const char *what,
    gnutls_datum_t *pem_out, struct reason *why);

/* From a file (0600, or REASON_PERMISSION) or a PKCS#11 URL.  passphrase NULL:
 * one that is encrypted is refused. */
bool pki_key_read(struct pki_key *key_out, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why);

/* The same, made of that algorithm if there is no such file. */
bool pki_key_get(struct pki_key *key_out, const char *path,
    enum key_algorithm algorithm, const struct pki_passphrase *passphrase,
    struct reason *why);

/* Is that the name of a key in a token rather than of a file? */
bool pki_key_is_url(const char *path);

#endif
