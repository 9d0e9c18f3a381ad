/*
 * auth/export.h: the credential store as text: JSON (RFC 8259), one object a
 * line.
 *
 *     {"format":"sallyport-users","version":1,"secret":BASE64}
 *     {"name":...,"kind":...,"enabled":...,"created":SECONDS,
 *      "changed":SECONDS,"verifiers":[{"mechanism":...,"iterations":N,
 *      "salt":BASE64,"stored":BASE64,"server":BASE64}],"keys":["sha256:HEX"],
 *      "foreign":HASH,"sans":[{"ca":"sha256:HEX","name":...}],
 *      "legacy":PASSWORD,"binding_required":true,
 *      "legacy_until":SECONDS|"never","rights":[PATTERN],"networks":[...],
 *      "rate":N,"until":SECONDS,"owner":...,"devices":[LABEL]}
 *     {"users":N}
 *
 * The first line has the secret that salts of unknown names are drawn by, the
 * last one how many users there are: text that was cut off is found out.  The
 * members from "foreign" on are there where an entry has them.  Another one
 * that is missing, or one that is not known, makes its line unreadable, as in
 * auth/entry.h.  All of it is a secret.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef AUTH_EXPORT_H
#define AUTH_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "entry.h"
#include "store.h"

/* JSON has up to six octets for one of an entry. */
enum { EXPORT_LINE_MAX = 6 * ENTRY_OCTETS_MAX, EXPORT_VERSION = 1 };

/* Lines without their ends; free them with export_wipe.  NULL: no memory. */
char *export_header(const unsigned char secret[static STORE_SECRET_OCTETS]);
char *export_entry(const struct entry *entry);
char *export_trailer(uint64_t users);
void export_wipe(char *line); /* NULL is fine */

/* Each of one line; out is written on success only. */
bool export_read_header(const char *line, size_t len,
    unsigned char secret_out[static STORE_SECRET_OCTETS], struct reason *why);
bool export_read_entry(const char *line, size_t len, struct entry *out,
    struct reason *why);
/* False if it is not the last line's form, which is no failure. */
bool export_read_trailer(const char *line, size_t len, uint64_t *users_out);

#endif
