/*
 * policy/names.h: reference identifiers against presented ones (RFC 9525).
 */
#ifndef POLICY_NAMES_H
#define POLICY_NAMES_H

#include <stdbool.h>

#include "facts.h"

enum names_match {
	NAMES_MATCH,
	NAMES_OTHER, /* DNS names or addresses, none of them wanted */
	NAMES_NONE,  /* no DNS name and no address in the SAN */
};

/*
 * Does the certificate name one of references, a list ended by an empty
 * string?  Each is a host (DNS-ID; a presented wildcard counts as complete
 * left-most label only), a .suffix (any name under it) or an address (iPAddress
 * alone, never a DNS name).  The CN is not even among the facts.
 */
enum names_match names_compare(const struct facts *facts,
    const char *references);

/* The presented ones as "a, b, c" for a log, cut to size. */
void names_print(const struct facts *facts, char *out, size_t size);

#endif
