/*
 * policy/parse.h: one line of the table's text.
 *
 * Looks at nothing but the line: files, dates against the clock and names of
 * the configuration are the compiler's to check.
 */
#ifndef POLICY_PARSE_H
#define POLICY_PARSE_H

#include "key.h"
#include "row.h"

enum parse_result {
	PARSE_ROW,   /* row and key are filled */
	PARSE_EMPTY, /* blank or comment */
	PARSE_BAD,   /* why says what and what was expected, without position */
};

/*
 * line    len octets without line end.
 * folder  that relative paths count from.
 */
enum parse_result row_parse(struct row *row, struct key *key, const char *line,
    size_t len, const char *folder, struct reason *why);

/*
 * One option of a row whose site, direction and level are known.
 *
 * seen    the options before it, one bit each; 0 to begin with.
 */
bool option_parse(struct row *row, const char *word, const char *folder,
    unsigned *seen, struct reason *why);

#endif
