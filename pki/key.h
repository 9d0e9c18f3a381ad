/*
 * pki/key.h: private keys in files: made, read, perhaps encrypted with a
 * passphrase.
 *
 * Wherever a key file is named, a PKCS#11 URL (pki/pkcs11.h) names a key in a
 * token instead; and what is in the file may be such a URL rather than PEM.
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

struct pkcs11_pin;

struct pki_key {
	gnutls_privkey_t private_key;
	gnutls_pubkey_t public_key;
	struct pkcs11_pin *pin; /* of a key in a token, else NULL */
};

/* All zero, it may be given to pki_key_free. */
void pki_key_free(struct pki_key *key);

/* A new one, and its PKCS#8 PEM (malloc'd): encrypted (PBES2, AES-256) with
 * the passphrase that passphrase tells, in clear if that is NULL. */
bool pki_key_generate(struct pki_key *key_out, enum key_algorithm algorithm,
    const struct pki_passphrase *passphrase, const char *what,
    gnutls_datum_t *pem_out, struct reason *why);

/*
 * From a file (0600, or REASON_PERMISSION) or a PKCS#11 URL.  passphrase NULL:
 * one that is encrypted is refused.  A token gets its PIN from the file that
 * the URL names, else from passphrase; REASON_AUTH if it was wrong.
 */
bool pki_key_read(struct pki_key *key_out, const char *path,
    const struct pki_passphrase *passphrase, struct reason *why);

/* The same, made of that algorithm if there is no such file. */
bool pki_key_get(struct pki_key *key_out, const char *path,
    enum key_algorithm algorithm, const struct pki_passphrase *passphrase,
    struct reason *why);

/* Is it in a token? */
bool pki_key_is_in_token(const struct pki_key *key);

/* Does it belong to the first certificate of that chain? */
bool pki_key_fits(const struct pki_key *key, const gnutls_datum_t *chain_pem,
    struct reason *why);

/* Make a key file with that URL in it.  If there is one with the same, that is
 * good too; *made_out tells which (false after a failure). */
bool pki_key_link(const char *path, const char *url, bool *made_out,
    struct reason *why);

/* What a key file has or would have of that key: the file's octets, or the URL
 * and a line end.  pki_octets_wipe frees them. */
bool pki_key_octets(const char *path, gnutls_datum_t *out, struct reason *why);

/* The URL that the octets of a key file are, malloc'd; NULL: something else,
 * as a rule PEM. */
char *pki_key_url_in(const gnutls_datum_t *file);

#endif
