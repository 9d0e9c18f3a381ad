/*
 * server/auth_legacy.h: the auth role keeps the report of old practices.
 *
 * A CONTROL_LEGACY packet is its type alone; the octets of the CONTROL_DATA
 * that answer it are together the text of a struct legacy_book.
 */
#ifndef SERVER_AUTH_LEGACY_H
#define SERVER_AUTH_LEGACY_H

#include <stdbool.h>
#include <stddef.h>

struct auth_role;

/* Reads what was kept; a damaged file is set aside.  False without memory. */
bool auth_legacy_begin(struct auth_role *role);
/* Keeps what is not kept yet, and ends the thread that writes. */
void auth_legacy_stop(struct auth_role *role);

/* A login was granted, or proved and refused for its practices: see
 * legacy_book_add. */
bool auth_legacy_seen(struct auth_role *role, const char *login,
    const char *program, const char *client, unsigned practices);

/* As legacy_book_print. */
char *auth_legacy_print(const struct auth_role *role, size_t *len_out);

#endif
