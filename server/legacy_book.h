/*
 * server/legacy_book.h: who still logs in in old ways, with which program.
 *
 * A row for each login, program and set of practices (auth/legacy.h), so that
 * a program that has given up one of them gets a new row.  The row not seen for
 * longest goes first when there are too many.  Those with LEGACY_IN_CLEAR have
 * a bound of their own: anybody can claim to be somebody before TLS, and must
 * not push out what was proved.
 *
 * As text it is one JSON object, in the auth role's file and on its control
 * socket alike.
 *
 * Threads: one.
 */
#ifndef SERVER_LEGACY_BOOK_H
#define SERVER_LEGACY_BOOK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../auth/name.h"
#include "../policy/reason.h"
#include "messages.h"

enum {
	LEGACY_CLAIMED_MAX = 1000,
	LEGACY_PROVED_MAX = 9000,
	LEGACY_ROWS_MAX = LEGACY_CLAIMED_MAX + LEGACY_PROVED_MAX,
	LEGACY_BOOK_OCTETS_MAX = 16 * 1024 * 1024, /* as text */
};

struct legacy_row {
	char *login; /* canonical */
	/* What the client calls itself, printable ASCII; "": it was refused
	 * before it said so. */
	char *program;
	unsigned practices;
	char client[INET6_ADDRSTRLEN]; /* address seen last */
	uint64_t count;                /* of sessions */
	int64_t first, last;           /* seen, Unix seconds */
};

struct legacy_book;

struct legacy_book *legacy_book_new(void); /* NULL without memory */
void legacy_book_free(struct legacy_book *book);

/*
 * A login was seen at now (Unix seconds).  Octets of program that are not
 * printable ASCII become "?", and what is beyond AUTH_PROGRAM_MAX is cut.
 * False: login is no canonical name, client no address, practices none or not
 * known, or memory is short.
 */
bool legacy_book_add(struct legacy_book *book, const char *login,
    const char *program, const char *client, unsigned practices, int64_t now);

/* The next row after one, NULL: the first; NULL after the last.  First what was
 * proved and then what was claimed, in the order in which they were seen
 * last. */
const struct legacy_row *legacy_book_next(const struct legacy_book *book,
    const struct legacy_row *row);

/* malloc'd, NUL-terminated; NULL without memory. */
char *legacy_book_print(const struct legacy_book *book, size_t *len_out);

/* Strict: false (REASON_DAMAGED) for what legacy_book_print never writes. */
bool legacy_book_parse(struct legacy_book **book_out, const char *text,
    size_t len, struct reason *why);

#endif
