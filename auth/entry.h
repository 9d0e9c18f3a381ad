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
#include "network.h"
#include "verifier.h"

enum entry_kind { ENTRY_PERSON, ENTRY_SERVER, ENTRY_DEVICE, ENTRY_KINDS };

enum {
	ENTRY_KEYS_MAX = 4,
	ENTRY_SANS_MAX = 4,
	ENTRY_SAN_MAX = 255, /* octets, with its "dns:" or "email:" */
	ENTRY_RIGHTS_MAX = 2048,
	ENTRY_RIGHT_MAX = 320, /* octets of one pattern */
	ENTRY_NETWORKS_MAX = 8,
	ENTRY_DEVICES_MAX = 16,
	ENTRY_LABEL_MAX = 32,
	ENTRY_LEGACY_MAX = 128,
};

/* A name in certificates of one authority. */
struct entry_san {
	unsigned char ca[SPKI_OCTETS]; /* of the authority's key */
	char name[ENTRY_SAN_MAX + 1];  /* "dns:HOST", "email:MAILBOX"; in lower
					  case but for the local part */
};

/* entry.legacy_until, beside Unix seconds. */
#define ENTRY_LEGACY_AS_CONFIGURED INT64_C(0)
#define ENTRY_LEGACY_ALWAYS INT64_MAX

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
	/* The same for a certificate of that authority with that name. */
	size_t san_count;
	struct entry_san sans[ENTRY_SANS_MAX];
	/* Only by mechanisms bound to the TLS channel: -PLUS, EXTERNAL. */
	bool binding_required;
	/* What CRAM-MD5 and DIGEST-MD5 need: the password itself.  In listings
	 * only that there is one. */
	bool has_legacy;
	char legacy[ENTRY_LEGACY_MAX + 1];
	/* From when on old ways of logging in (auth/legacy.h) are refused. */
	int64_t legacy_until;
	/* Patterns of auth/rights.h, each ended by a NUL; none: its own
	 * address. */
	size_t rights_len;
	char rights[ENTRY_RIGHTS_MAX];
	/* From where; none: from everywhere. */
	size_t network_count;
	struct network networks[ENTRY_NETWORKS_MAX];
	uint32_t rate; /* messages an hour; 0: as many as it likes */
	int64_t until; /* Unix seconds from when on it is refused; 0: none */
	/* A device: whose it is, "" for others.  It may log in while this entry
	 * is enabled and lists its label, and may do nothing that this entry
	 * may not. */
	char owner[NAME_SIZE];
	/* Labels of its devices: LOCAL+LABEL@REALM each. */
	size_t device_count;
	char devices[ENTRY_DEVICES_MAX][ENTRY_LABEL_MAX + 1];
};

enum { ENTRY_OCTETS_MAX = 8192 };

/* "person", "server", "device". */
const char *entry_kind_word(enum entry_kind kind);
bool entry_kind_parse(enum entry_kind *out, const char *word);

bool entry_has_key(const struct entry *entry,
    const unsigned char key[static SPKI_OCTETS]);

bool entry_has_san(const struct entry *entry, const struct entry_san *san);

/* What a certificate's name under an authority is found by: as long as a
 * key's digest, and never one. */
void entry_san_id(const unsigned char ca[static SPKI_OCTETS], const char *name,
    unsigned char out[static SPKI_OCTETS]);

/* Letters, digits, "-" and "_", at most ENTRY_LABEL_MAX. */
bool entry_label_is_valid(const char *label);
bool entry_has_device(const struct entry *entry, const char *label);
/* LOCAL+LABEL@REALM; false if that is no name. */
bool entry_device_name(const char *owner, const char *label,
    char out[static NAME_SIZE]);

/* Can it log in with anything of its own?  Else others (PAM, Kerberos, tokens)
 * say who it is, and the entry what it may. */
bool entry_has_credential(const struct entry *entry);

/*
 * Octets of an entry; returns how many.  with_keys false leaves out salts, keys
 * and the legacy secret: for listings.  Octets with keys are a secret.
 */
size_t entry_encode(const struct entry *entry, bool with_keys,
    unsigned char out[static ENTRY_OCTETS_MAX]);

/* Strict; out is complete or untouched. */
bool entry_decode(struct entry *out, const void *octets, size_t len,
    struct reason *why);

#endif
