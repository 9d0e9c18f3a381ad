/*
 * pki/crl.h: what an authority has taken back, signed for others (RFC 5280,
 * section 5).
 */
#ifndef PKI_CRL_H
#define PKI_CRL_H

#include <time.h>

#include "authority.h"

enum { CRL_DAYS_MAX = 3650 };

/*
 * Make folder/crl.pem of the ledger, good for so many days: all that are
 * revoked and have not yet expired.  Its number is the Unix time, or one more
 * than that of the list before.
 */
bool authority_write_crl(struct authority *authority, unsigned days,
    struct reason *why);

/* Is there a list in folder that ends before then? */
bool crl_ends_before(const char *folder, time_t then);

/* Record that it is taken back.  REASON_ABSENT: never issued; REASON_EXISTS:
 * taken back before.  The list is not yet made anew. */
bool authority_revoke(struct authority *authority, const char *serial,
    struct reason *why);

#endif
