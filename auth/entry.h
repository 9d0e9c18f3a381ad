/*
 * auth/entry.h: one login in the credential store, and its octets.
 *
 * An entry is written as a version octet and tagged fields, in the store's
 * values and in control packets alike.  A tag that is not known, twice there,
 * or of the wrong length makes the whole entry unreadable: a field that an
 * older program ignored might have been what forbade the login.
 */
#ifndef AUTH_ENTRY_H
#define AUTH_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/facts.h"
#include "../policy/reason.h"
#include "foreign.h"
#include "name.h"
#include "verifier.h"

enum entry_kind { ENTRY_PERSON, ENTRY_SERVER, ENTRY_DEVICE, ENTRY_KINDS };

/* SHA-256 of the SubjectPublicKeyInfo of a client certificate. */
enum { ENTRY_KEYS_MAX = 4 };

struct entry {
	char name[NAME_SIZE]; /* canonical */
	bool enabled;
	enum entry_kind kind;
	uint64_t change; /* the store's change that wrote it; never repeats */
	int64_t created; /* Unix seconds */
	int64_t changed; /* Unix seconds */
	struct verifier verifiers[VERIFIER_HASHES];
	/* crypt(3) hash that came by an import, until a PLAIN or LOGIN login
	 * shows the password; "": none.  Never beside verifiers.  In listings
	 * only what names its scheme. */
	char foreign[FOREIGN_MAX + 1];
	/* Whoever proves one of these keys in TLS is this login (EXTERNAL). */
	size_t key_count;
	unsigned char keys[ENTRY_KEYS_MAX][SPKI_OCTETS];
};

enum { ENTRY_OCTETS_MAX = 1024 };

/* "person", "server", "device". */
const char *entry_kind_word(enum entry_kind kind);
bool entry_kind_parse(enum entry_kind *out, const char *word);

bool entry_has_key(const struct entry *entry,
    const unsigned char key[static SPKI_OCTETS]);

/*
 * Octets of an entry; returns how many.  with_keys false leaves out salts and
 * keys: for listings.  Octets with keys are a secret.
 */
size_t entry_encode(const struct entry *entry, bool with_keys,
    unsigned char out[static ENTRY_OCTETS_MAX]);

/* Strict; out is complete or untouched. */
bool entry_decode(struct entry *out, const void *octets, size_t len,
    struct reason *why);

#endif
