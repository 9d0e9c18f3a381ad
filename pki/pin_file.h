/*
 * pki/pin_file.h: the PIN of a token, in a file of its own.
 *
 * Tokens lock after a few wrong PINs, so one that was refused is remembered
 * beside its file, as FILE.refused, and not tried again until the file has
 * changed: not by the next reload, restart or timer either.
 */
#ifndef PKI_PIN_FILE_H
#define PKI_PIN_FILE_H

#include <stdbool.h>

#include "../policy/reason.h"

enum { PIN_SIZE = 256 }; /* with its NUL */

/*
 * The first line of the file, which has to be 0600.  REASON_AUTH if the token
 * has refused what is in it.  The caller wipes out.
 */
bool pin_file_read(const char *path, char out[static PIN_SIZE],
    struct reason *why);

/* The token refused, or took, what is in the file.  A mark that cannot be
 * written is no failure of anything else: false tells. */
bool pin_file_refused(const char *path, struct reason *why);
void pin_file_accepted(const char *path);

#endif
