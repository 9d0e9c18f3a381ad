/*
 * server/submission_from.h: the mailboxes in a From, Sender or Resent field.
 *
 * The grammar is that of RFC 5322, section 3.4, with groups (RFC 6854) and
 * UTF-8 (RFC 6532).  Of the obsolete syntax (section 4.4) what can be read in
 * one way only: routes, empty list elements, dots in display names, quoted
 * words in a local part; not blanks or comments inside an address, which mail
 * programs join, cut or drop as they like.  Whatever else two programs could
 * read differently is bad as well.  Threads: an object belongs to one.
 */
#ifndef SERVER_SUBMISSION_FROM_H
#define SERVER_SUBMISSION_FROM_H

#include <stdbool.h>
#include <stddef.h>

enum {
	/* Octets of an address that is returned: 64 of a local part, which
	 * quoting can double, and 253 of a domain, with a NUL. */
	SUBMISSION_ADDRESS_SIZE = 400,
	SUBMISSION_COMMENT_DEPTH = 16,
};

enum submission_from_result {
	FROM_MAILBOX, /* the next one */
	FROM_END,     /* there are no more; perhaps there was none */
	FROM_BAD,     /* not the grammar: nothing can be said of it */
};

struct submission_from {
	const char *at, *end; /* borrowed: what is left to read */
	bool is_bad;
	bool in_group;
	bool after_mailbox; /* a comma or an end has to come */
	/* In comments or quoted strings so far. */
	bool hides_line_end, hides_at;
};

/* value: what follows the colon, with its line ends, folded as it came. */
void submission_from_init(struct submission_from *from, const char *value,
    size_t len);

/* The next mailbox as local@domain; the local part is quoted only where that
 * is needed.  Once it is bad it stays so. */
enum submission_from_result submission_from_next(struct submission_from *from,
    char out[static SUBMISSION_ADDRESS_SIZE]);

#endif
