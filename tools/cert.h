/*
 * tools/cert.h: what the files of "sallyport cert" share.
 */
#ifndef TOOLS_CERT_H
#define TOOLS_CERT_H

#include <stdbool.h>
#include <time.h>

#include "../policy/reason.h"

enum { CERT_TIME_SIZE = 32 };

/* RFC 3339, UTC. */
void cert_print_time(char out[static CERT_TIME_SIZE], time_t when);

/* Describe all certificates of a PEM file on stdout; an exit status. */
int cert_show(const char *path, bool json);

/* Check all certificates and trust anchors of the configuration; problems and
 * warnings go to stdout; an exit status. */
int cert_check(void);

#endif
