/*
 * auth/name.h: login names, local@realm.
 *
 * The local part is SASLprepped (RFC 4013) and keeps its case; the realm is in
 * lower case.  A bare name gets the default realm.  The grammar is small on
 * purpose: names appear in logs, in PAM and later in sender rights.
 */
#ifndef AUTH_NAME_H
#define AUTH_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

enum {
	NAME_LOCAL_MAX = 64,  /* octets; RFC 5321, 4.5.3.1.1 */
	NAME_REALM_MAX = 253, /* octets; RFC 1035, 2.3.4 */
	NAME_SIZE = NAME_LOCAL_MAX + 1 + NAME_REALM_MAX + 1,
};

/*
 * The canonical form of a name as a client or an operator gave it.
 *
 * Local part: ASCII letters and digits, what of UTF-8 passes SASLprep,
 * !#$%&'*+-/=?^_`{|}~ and dots that neither begin, end nor repeat (RFC 5321
 * Dot-string; RFC 6531). Realm: letters, digits and hyphens in labels of at
 * most 63 octets.
 *
 * default_realm  in any case; NULL: a bare name is refused.
 */
bool name_parse(char out[static NAME_SIZE], const char *name,
    const char *default_realm, struct reason *why);

/*
 * Does text, of which name was parsed, have its local part octet by octet?
 * Who vouches for names by other rules than ours may have given two of them
 * that SASLprep makes one.
 */
bool name_is_as_given(const char *name, const char *text);

/* The realm of a canonical name (after its last "@"); borrowed from name. */
const char *name_realm(const char *name);

/* The local part of a canonical name. */
void name_local(const char *name, char out[static NAME_LOCAL_MAX + 1]);

/* Is this a realm?  Writes it in lower case. */
bool name_realm_parse(char out[static NAME_REALM_MAX + 1], const char *realm,
    struct reason *why);

#endif
