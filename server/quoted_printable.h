/*
 * server/quoted_printable.h: octets as lines of ASCII (RFC 2045, section 6.7).
 */
#ifndef SERVER_QUOTED_PRINTABLE_H
#define SERVER_QUOTED_PRINTABLE_H

#include <stddef.h>
#include <stdio.h>

/*
 * Write octets of text in canonical form: its CRLFs stay line ends, every other
 * CR and LF is encoded, and no line is longer than 76.  If the text does not
 * end with CRLF, neither does what is written.  Whether it could be written,
 * out knows (ferror).
 */
void quoted_printable_put(FILE *out, const char *octets, size_t len);

#endif
