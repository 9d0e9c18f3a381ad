/*
 * server/relay_dots.h: mail data on its way into DATA, or BDAT.
 *
 * Pure: dot-stuffing (RFC 5321, section 4.5.2) of a message that comes in
 * pieces, and the check that every CR is followed by LF and every LF preceded
 * by CR.  The spool holds nothing else; asking again here keeps a damaged
 * message from becoming somebody's smuggled one.
 */
#ifndef SERVER_RELAY_DOTS_H
#define SERVER_RELAY_DOTS_H

#include <stdbool.h>
#include <stddef.h>

enum dots_state {
	DOTS_LINE_START, /* a dot now is doubled */
	DOTS_IN_LINE,
	DOTS_AFTER_CR, /* only LF may follow */
	DOTS_BROKEN,   /* a bare CR or LF was met: send nothing more */
};

struct relay_dots {
	enum dots_state state;
	bool counted; /* for BDAT: no dot is doubled, none ends the message */
};

enum { RELAY_DOTS_END_MAX = 5 };

void relay_dots_init(struct relay_dots *dots);
/* The same check for BDAT (RFC 3030), where octets are counted: a missing CRLF
 * at the end is added, else they pass as they are. */
void relay_dots_init_counted(struct relay_dots *dots);

/* Octets that out must have room for, for len octets in. */
size_t relay_dots_room(size_t len);

/*
 * Stuff len octets into out; the number of octets written is *out_len.  False
 * at a bare CR or LF: *out_len octets before it are good, but the message must
 * not be ended.
 */
bool relay_dots_add(struct relay_dots *dots, const void *in, size_t len,
    void *out, size_t *out_len);

/* The end of data, CRLF first if the last line lacks it; at most
 * RELAY_DOTS_END_MAX octets.  False if the message ends in CR or was broken. */
bool relay_dots_end(struct relay_dots *dots, void *out, size_t *out_len);

#endif
