/*
 * server/bounce_internal.h: what the files that write a notification share.
 */
#ifndef SERVER_BOUNCE_INTERNAL_H
#define SERVER_BOUNCE_INTERNAL_H

#include <stdio.h>

#include "bounce.h"

/* --- server/bounce_address.c --- */

/* As the ASCII that the fields of a message/delivery-status are (RFC 3464,
 * section 2.1.1), without an octet that could end its line. */
void bounce_put_ascii(FILE *out, const char *text);
/* Is the address one that SMTPUTF8 can carry, and nothing else? */
bool bounce_is_utf8(const struct bounce *bounce, const char *path);
/* Does the notification itself need SMTPUTF8? */
bool bounce_is_global(const struct bounce *bounce);
/* For people, and where it is an address of the notification itself. */
void bounce_put_path(FILE *out, const struct bounce *bounce, const char *path);
/* With its address type, for machines. */
void bounce_put_typed(FILE *out, const struct bounce *bounce, const char *path);
/* The fields Original-Recipient and Original-Envelope-Id, as they were before
 * they were written as xtext (RFC 3461, section 6.3); nothing where they are
 * not what MAIL and RCPT let in.  orcpt: or NULL. */
void bounce_put_original(FILE *out, const struct bounce *bounce,
    const char *orcpt);
void bounce_put_envid(FILE *out, const char *envid);

#endif
