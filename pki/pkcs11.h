/*
 * pki/pkcs11.h: private keys in a token (PKCS#11), named by a URL (RFC 7512):
 *
 *     pkcs11:token=mail;object=server?pin-source=/etc/sallyport/pin
 *
 * The token does the signing and the key never leaves it.  Its module, a
 * library of somebody else, runs in the calling process: it opens files and
 * sockets of its own, may start threads, and does not survive a fork, after
 * which only a process that had loaded none may call.
 */
#ifndef PKI_PKCS11_H
#define PKI_PKCS11_H

#include <gnutls/abstract.h>
#include <stdbool.h>

#include "../policy/reason.h"
#include "pin_file.h"

enum { PKCS11_URL_SIZE = 2048 }; /* with its NUL */

struct pkcs11_url {
	char *key;    /* URL of the key; nothing about PIN or module in it */
	char *token;  /* URL of the token alone */
	char *module; /* absolute path of the library to load, or NULL: those
			 that p11-kit is configured for */
	char *pin;    /* absolute path of the file with the PIN, or NULL */
};

bool pkcs11_is_url(const char *text);

/*
 * Take a URL apart.  It has to name a token, by label or serial number: a PIN
 * that is offered to whatever is plugged in locks the others.  A PIN in it
 * (pin-value) is refused: configurations and command lines are for everybody
 * to read.
 */
bool pkcs11_url_parse(struct pkcs11_url *out, const char *text,
    struct reason *why);
void pkcs11_url_free(struct pkcs11_url *url);

/* How the token gets its PIN. */
struct pkcs11_pin {
	/* Asked when the token wants one and text is empty; NULL: there is
	 * none.  what: the token's label. */
	bool (*ask)(void *context, const char *what, char out[static PIN_SIZE],
	    struct reason *why);
	void *context;
	char text[PIN_SIZE]; /* the caller wipes it */

	/* What became of it. */
	unsigned given;
	bool withheld; /* text is not offered for the last try of a token */
	bool unasked;  /* it was wanted, and ask had none */
	struct reason why;
};

/*
 * The private key at the URL, logged in to its token; key is an object of
 * gnutls_privkey_init, and pin has to outlive it.  A PIN is offered once.
 * REASON_AUTH: it was refused.  REASON_ABSENT: the module, the token or the key
 * is not there.
 */
bool pkcs11_open(gnutls_privkey_t key, const struct pkcs11_url *url,
    struct pkcs11_pin *pin, struct reason *why);

/* The public half, from the token; it may hold only the private one. */
bool pkcs11_public(gnutls_pubkey_t out, gnutls_privkey_t key,
    const struct pkcs11_url *url, struct reason *why);

#endif
