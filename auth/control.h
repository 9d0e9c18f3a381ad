/*
 * auth/control.h: what "sallyport user" asks of the credential store.
 *
 * A CONTROL_USER packet is its type (u8), a verb (u8), and an entry as
 * entry_encode writes it.  The tool derives the verifiers itself: no password
 * is in it.  The answer's CONTROL_DATA hold entries without salts and keys
 * (those of EXPORT with them), each with its length (u16) before it.  The auth
 * role and a tool that has opened the store itself act through the same
 * function.
 */
#ifndef AUTH_CONTROL_H
#define AUTH_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "entry.h"
#include "store.h"

enum control_user_verb {
	CONTROL_USER_ADD = 1, /* name, kind (no device), enabled, rights; and
				 verifiers, keys, or neither */
	CONTROL_USER_SET,     /* name, verifiers, and a legacy secret or none:
				 a new password */
	CONTROL_USER_REMOVE,  /* name: with all its devices; a device as
				 REVOKE does */
	CONTROL_USER_ENABLE,  /* name */
	CONTROL_USER_DISABLE, /* name */
	CONTROL_USER_SHOW,    /* name; data: that entry */
	CONTROL_USER_LIST,    /* nothing; data: all entries, in no order */
	CONTROL_USER_BIND,    /* name, keys, sans: added to those there are */
	CONTROL_USER_UNBIND,  /* name, keys, sans: taken away; none: all */
	CONTROL_USER_FIND,    /* name; data: that entry, if there is one */
	CONTROL_USER_IMPORT,  /* a whole entry, its times too; 0: now */
	CONTROL_USER_REPLACE, /* the same, in place of one that may be there */
	CONTROL_USER_EXPORT,  /* nothing; data: all entries, whole */
	CONTROL_USER_SECRET,  /* nothing; data: STORE_SECRET_OCTETS */
	/* An entry as SHOW gave it, with other settings: rights, networks,
	 * rate, until, legacy_until and binding_required are taken from it, and
	 * nothing else.  REASON_EXISTS if change is no longer the entry's. */
	CONTROL_USER_ALTER,
	/* A whole entry of kind device with its owner, and a credential; the
	 * times are set.  Adds it, or replaces a device that the owner no
	 * longer lists, and adds its label to the owner's. */
	CONTROL_USER_ENROL,
	/* The name of a device: removes it, and its label from the owner's. */
	CONTROL_USER_REVOKE,
	CONTROL_USER_VERBS
};

enum {
	CONTROL_USER_PACKET_MAX = 2 + ENTRY_OCTETS_MAX,
	CONTROL_USER_DATA_MAX = 16384,
};

/* Is the verb all of the request, without an entry? */
bool control_user_is_bare(enum control_user_verb verb);

/* "add", "passwd" and so on; NULL if it is none. */
const char *control_user_word(enum control_user_verb verb);

/* A request packet; returns its length.  The caller wipes it. */
size_t control_user_encode(unsigned char out[static CONTROL_USER_PACKET_MAX],
    uint8_t type, enum control_user_verb verb, const struct entry *entry);

/* The octets after the type; false if they are no such request. */
bool control_user_decode(const void *octets, size_t len,
    enum control_user_verb *verb_out, struct entry *entry_out,
    struct reason *why);

/* Append an entry to data of an answer; false if there is no room.  with_keys
 * makes the data a secret. */
bool control_user_data_add(unsigned char *data, size_t *len, size_t size,
    const struct entry *entry, bool with_keys);

/* Take the next entry of data; false at its end (why REASON_NONE), or if it is
 * broken. */
bool control_user_data_next(const unsigned char **at, size_t *left,
    struct entry *out, struct reason *why);

/*
 * Do what a request with an entry asks, all of it or nothing.  SHOW and FIND
 * fill *entry; FIND empties its name if there is none.  name must be canonical
 * already: decoding has checked it.
 */
bool control_user_apply(struct store *store, enum control_user_verb verb,
    struct entry *entry, int64_t now, struct reason *why);

#endif
