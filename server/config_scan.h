/*
 * server/config_scan.h: what libconfuse lets pass in silence, refused first.
 *
 * Options and sections given twice, "${", "+=", a brace that is never closed,
 * anything after "end = true" and its absence.
 */
#ifndef SERVER_CONFIG_SCAN_H
#define SERVER_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "../policy/reason.h"

/*
 * Check text (len octets, named path in messages) and return a copy for
 * libconfuse: NUL-terminated, comments blanked out, because libconfuse
 * miscounts the lines of comments.  *lines_out is the number of the last
 * line.  The caller frees.  NULL with why filled.
 */
char *config_scan(const char *path, const char *text, size_t len,
    int *lines_out, struct reason *why);

#endif
