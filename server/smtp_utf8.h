/*
 * server/smtp_utf8.h: addresses beyond ASCII (RFC 6531, RFC 6533).
 *
 * UTF-8 is judged strictly (RFC 3629): nothing overlong, no surrogates,
 * nothing beyond U+10FFFF.  Local parts are octets that mean something to
 * their own server alone: they are neither normalised nor folded (RFC 6530,
 * section 10.1).  Domains are brought to A-labels where an address comes in,
 * so that what is looked up is what is passed on.  Threads: any; no state.
 */
#ifndef SERVER_SMTP_UTF8_H
#define SERVER_SMTP_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "smtp_parse.h"

/* Octets that come in pieces; zeroed at first. */
struct utf8_scan {
	unsigned char left;      /* octets the character still needs */
	unsigned char low, high; /* bounds of the next of them */
	bool has_high;           /* an octet above 127 was seen */
	bool is_bad;             /* what was seen is no UTF-8 */
};

void utf8_scan(struct utf8_scan *scan, const char *at, size_t len);
/* All that was seen is UTF-8, the last character complete. */
bool utf8_scan_is_good(const struct utf8_scan *scan);

/* Is there an octet above 127? */
bool utf8_has_high(struct slice s);
/*
 * UTF-8 that shows what it is: no controls (C1 too), no marks that turn the
 * direction of what stands beside them, no line ends of Unicode's own, no
 * noncharacters.  ASCII controls are the caller's business.
 */
bool utf8_is_plain(struct slice s);

/*
 * Bring the domain of a path to A-labels (IDNA 2008): path is out's then, or
 * as it was if its domain is ASCII.  BAD if it is no domain name, TOO_LONG if
 * the path has become so.
 */
enum smtp_syntax smtp_path_to_ascii(struct smtp_path *path,
    char out[static SMTP_PATH_MAX + 1]);

/* May this path be said in a transaction with SMTPUTF8: a local part that is
 * plain UTF-8, a domain in ASCII? */
bool smtp_is_utf8_path(const char *path);

enum {
	/* Octets of a utf-8-addr-xtext as it is written here, with a NUL: it
	 * fits a line of a message with the name of its field. */
	UTF8_XTEXT_SIZE = 900,
};

/*
 * The address type utf-8 of RFC 6533, section 3.  The first two read any of
 * its three forms, and say false if s is none of them; out gets the address
 * itself and has room for s.len + 1 octets.  The third writes a path, cut to
 * size at a whole character, as utf-8-addr-xtext, for where ASCII alone goes;
 * false if it is not plain.
 */
bool utf8_is_address(struct slice s);
bool utf8_address_decode(struct slice s, char *out);
bool utf8_xtext_encode(const char *path, char out[static UTF8_XTEXT_SIZE]);

/* An ORCPT as it can be said without SMTPUTF8; false if it is too long then,
 * or not plain. */
bool utf8_orcpt_to_ascii(const char *orcpt,
    char out[static SMTP_ORCPT_MAX + 1]);

#endif
