/*
 * auth/network.h: the networks that a login may come from.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef AUTH_NETWORK_H
#define AUTH_NETWORK_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

struct network {
	unsigned char family;      /* 4 or 6 */
	unsigned char bits;        /* at most 32 or 128 */
	unsigned char address[16]; /* network order; what is past bits is 0 */
};

enum { NETWORK_TEXT = 46 + 4 };

/* "192.0.2.0/24", "2001:db8::/32", or an address alone.  Bits of the address
 * beyond the prefix are an error: one of the two is not what was meant. */
bool network_parse(struct network *out, const char *text, struct reason *why);

bool network_is_valid(const struct network *network);

void network_print(const struct network *network,
    char out[static NETWORK_TEXT]);

/* Is address, a literal without brackets, in it?  ::ffff:a.b.c.d is a.b.c.d.
 * What is no address is in none. */
bool network_has(const struct network *network, const char *address);

#endif
