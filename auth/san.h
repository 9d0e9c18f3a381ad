/*
 * auth/san.h: names in certificates that a login may be bound to, as text.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef AUTH_SAN_H
#define AUTH_SAN_H

#include <stdbool.h>

#include "entry.h"

/*
 * The canonical form, for struct entry_san, of "dns:HOST" (RFC 5280, 4.2.1.6: a
 * dNSName; A-labels, without wildcard) or "email:MAILBOX" (an rfc822Name):
 * host and domain in lower case without trailing dot, the local part as it is.
 * What cannot be one is no name that anybody may be bound to.
 */
bool san_parse(char out[static ENTRY_SAN_MAX + 1], const char *text,
    struct reason *why);

#endif
