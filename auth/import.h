/*
 * auth/import.h: logins from the text of other programs, line by line.
 *
 * SALLYPORT  as auth/export.h writes it
 * DOVECOT    passwd-file: USER:{SCHEME}PASSWORD:..., see passdb passwd-file
 * HTPASSWD   USER:HASH
 * CYRUS      sasldb2 as db_dump or mdb_dump prints it, with -p or without:
 *            pairs of a key USER NUL REALM NUL userPassword and a password in
 *            clear
 *
 * SCRAM verifiers are taken as they are, passwords in clear become verifiers at
 * once, other hashes are kept as auth/foreign.h says.  A reason never has more
 * of a line than a scheme's name.
 *
 * Threads: an import belongs to one thread.
 */
#ifndef AUTH_IMPORT_H
#define AUTH_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "entry.h"
#include "export.h"

enum { IMPORT_LINE_MAX = EXPORT_LINE_MAX };

enum import_format {
	IMPORT_SALLYPORT,
	IMPORT_DOVECOT,
	IMPORT_HTPASSWD,
	IMPORT_CYRUS,
	IMPORT_FORMATS
};

/* "sallyport", "dovecot" and so on. */
const char *import_format_word(enum import_format format);
bool import_format_parse(enum import_format *out, const char *word);

struct user_import {
	enum import_format format;
	const char *realm;   /* of bare names; borrowed */
	uint32_t iterations; /* of verifiers made from passwords in clear */
	bool has_secret;     /* SALLYPORT: its first line was read */
	unsigned char secret[STORE_SECRET_OCTETS];
	uint64_t users; /* lines that are users, taken or not */

	/* Private from here on. */
	bool begun, ended;
	uint64_t announced; /* users, by the last line */
	bool is_hex;        /* CYRUS: no -p */
	bool has_key;       /* CYRUS: its value comes next */
	bool key_is_bad;
	char name[NAME_SIZE];
};

void import_init(struct user_import *import, enum import_format format,
    const char *realm, uint32_t iterations);
void import_fini(struct user_import *import); /* wipes */

enum user_import_result {
	IMPORT_NOTHING, /* a comment, a header, half of a pair */
	IMPORT_USER,    /* *out is somebody; change, created and changed are 0
			   but for SALLYPORT */
	IMPORT_REFUSED, /* why says for what */
	IMPORT_STOP,    /* so does it here, and what follows is worth nothing */
};

/* line is NUL-terminated after len octets, without its line end, of at most
 * IMPORT_LINE_MAX.  The caller wipes line and out. */
enum user_import_result user_import_line(struct user_import *import,
    const char *line, size_t len, struct entry *out, struct reason *why);

/* After the last line: was it all? */
bool import_end(const struct user_import *import, struct reason *why);

#endif
