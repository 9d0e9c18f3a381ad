/*
 * policy/words.h: one line of a table's text as words.
 *
 * UTF-8 without control characters; "#" begins a comment where a word could
 * begin; words with blanks are in double quotes, in which \" and \\ stand for
 * " and \.
 */
#ifndef POLICY_WORDS_H
#define POLICY_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "reason.h"

enum {
	LINE_MAX_OCTETS = 4096, /* without line end */
	LINE_WORDS = 128,
};

struct words {
	char octets[LINE_MAX_OCTETS + 2]; /* the words, a NUL after each */
	char *at[LINE_WORDS];
	size_t count; /* 0: blank or a comment */
};

/* text: len octets without line end, copied.  why has no position. */
bool words_read(struct words *out, const char *text, size_t len,
    struct reason *why);

#endif
