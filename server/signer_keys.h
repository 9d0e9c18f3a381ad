/*
 * server/signer_keys.h: the keys of all configurations that the signer serves,
 * its own and those in tokens.  Threads: the signer has one.
 */
#ifndef SERVER_SIGNER_KEYS_H
#define SERVER_SIGNER_KEYS_H

#include <stdint.h>

#include "../tls/tls.h"
#include "bundle.h"
#include "config.h"
#include "signer_pkcs11.h"

/* One key of one configuration. */
struct held_key {
	struct held_key *next;
	uint32_t number; /* of the configuration */
	unsigned roles;  /* bits of enum certificate_role */
	struct tls_key *key;
	struct pkcs11_key *token; /* or in a token: that is asked */
};

struct signer_keys {
	struct held_key *first;
	struct pkcs11_keys tokens;
};

/* All keys of a bundle, under that number.  After a failure some may be there:
 * signer_keys_drop. */
bool signer_keys_hold(struct signer_keys *keys, uint32_t number,
    const struct bundle *bundle, const struct config *config,
    struct reason *why);
void signer_keys_drop(struct signer_keys *keys, uint32_t number);
void signer_keys_free(struct signer_keys *keys);

/* The key that role may use, one that can sign now before one that cannot; NULL
 * if there is none.  Borrowed until it is dropped. */
const struct held_key *signer_keys_find(const struct signer_keys *keys,
    enum certificate_role role, const unsigned char spki[static SPKI_OCTETS]);

/* How many there are, and in how many cases the token is away. */
unsigned signer_keys_count(const struct signer_keys *keys, unsigned *away_out);

#endif
