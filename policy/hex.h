/*
 * policy/hex.h: octets as hexadecimal digits, and keys as "sha256:" and theirs.
 *
 * Written in lower case, read in either.  Any thread.
 */
#ifndef POLICY_HEX_H
#define POLICY_HEX_H

#include <stdbool.h>
#include <stddef.h>

#include "facts.h"

enum { PIN_TEXT = 7 + 2 * SPKI_OCTETS + 1 }; /* with its NUL */

/* 0 to 15, or -1. */
int hex_digit(char c);
/* out gets 2 * len digits and a NUL. */
void hex_print(char *out, const void *octets, size_t len);
/* 2 * len digits and nothing else; false leaves out half written. */
bool hex_read(void *out, size_t len, const char *text);

/* What pin= of the site table and "user bind" take. */
void pin_print(char out[static PIN_TEXT],
    const unsigned char spki[static SPKI_OCTETS]);
bool pin_read(unsigned char out[static SPKI_OCTETS], const char *text);

#endif
