/*
 * server/smtp_data.h: mail data from the wire, as one state machine over
 * octets (RFC 5321, sections 2.3.8, 4.1.1.4 and 4.5.2).
 *
 * Finds the end, which is CRLF.CRLF and nothing else, removes the dots of
 * transparency, and notices what makes the message unacceptable: a bare CR,
 * a bare LF, a NUL, a line that is too long.  What it notices never moves the
 * end: a client and we must agree on where the message stops, or commands can
 * be smuggled in it.  Threads: an object belongs to one.
 */
#ifndef SERVER_SMTP_DATA_H
#define SERVER_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>

#include "smtp_parse.h"

enum smtp_data_place {
	DATA_LINE_START, /* after CRLF, or after the DATA command */
	DATA_TEXT,       /* within a line */
	DATA_CR,         /* after a CR that ends or breaks a line */
	DATA_DOT,        /* after a dot at the start of a line, withheld */
	DATA_DOT_CR,     /* after that dot and a CR, both withheld */
	DATA_END,        /* the whole end was seen */
};

struct smtp_data {
	enum smtp_data_place place;
	size_t line; /* octets of this line so far */
	bool bare_cr, bare_lf, nul, long_line;
};

void smtp_data_init(struct smtp_data *data);

/*
 * Take octets off the front of in until a run of message text is complete or
 * in is used up.  Returns how many were taken (at least one unless in is
 * empty or the end was reached); text_out is what they mean for the message,
 * borrowed from in, possibly empty.  Call again with the rest.
 */
size_t smtp_data_scan(struct smtp_data *data, struct slice in,
    struct slice *text_out);

/* CRLF.CRLF was taken; what is left in the buffer are commands. */
bool smtp_data_ended(const struct smtp_data *data);

/* A bare CR, bare LF or NUL was there: the message is refused, and the
 * session ends, because what the client meant cannot be known. */
bool smtp_data_is_malformed(const struct smtp_data *data);

#endif
