/*
 * auth/rights.h: sender rights, the addresses that a login may send from.
 *
 * Patterns, as operators write them:
 *
 *   user@domain   that address; "*" in the local part is any run of octets,
 *                 an empty one too; in a quoted local part all octets stand
 *                 for themselves
 *   @domain       every address in that domain
 *   @.domain      every address in the domains under it
 *   *             every address
 *
 * Compared without the case of ASCII letters, local parts as they are without
 * quoting (RFC 5321, section 4.1.2: "a"@x is a@x), domains as A-labels without
 * a dot at the end.  Threads: any; nothing here is shared.
 */
#ifndef AUTH_RIGHTS_H
#define AUTH_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"
#include "entry.h"

/* The canonical form: in lower case, with quotes only where they are needed,
 * "@domain" for "*@domain". */
bool rights_pattern_parse(char out[static ENTRY_RIGHT_MAX + 1],
    const char *text, struct reason *why);

/* What one entry has. */
struct rights {
	const char *own;      /* canonical login name */
	const char *patterns; /* canonical, each ended by a NUL; none: own */
	size_t len;
};

/*
 * The pattern that allows an address (RFC 5321 Mailbox, without angle
 * brackets): the first that does, own itself where there are no patterns, or
 * NULL.  Borrowed from rights.  What is no address is allowed by "*" only.
 */
const char *rights_match(const struct rights *rights, const char *address);

struct rights_decision {
	/* Who allows it, borrowed; NULL: does not, or was not asked. */
	const char *login_pattern; /* NULL for a device without patterns */
	const char *owner_pattern; /* NULL without owner */
};

/*
 * May login use address?  owner: of a device, else NULL.  A device may use what
 * its owner may, and of that what its own patterns allow, if it has any.
 * out (NULL is allowed) is filled either way.
 */
bool rights_allow(const struct rights *login, const struct rights *owner,
    const char *address, struct rights_decision *out);

/* Does it not matter what the address is? */
bool rights_allow_all(const struct rights *login, const struct rights *owner);

#endif
