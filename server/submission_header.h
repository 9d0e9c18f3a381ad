/*
 * server/submission_header.h: what a submission server looks at in a message,
 * and what it puts before it (RFC 6409, section 8).
 *
 * The message itself is never changed, and its octets are looked at once, as
 * they come.  What says who wrote or sent it is kept for submission_from.h.
 * Threads: an object belongs to one.
 */
#ifndef SERVER_SUBMISSION_HEADER_H
#define SERVER_SUBMISSION_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "smtp_utf8.h"

enum {
	SUBMISSION_FIELD_MAX = 16, /* the longest name we know, and more */
	/* Octets of all fields together that are kept; a message has few. */
	SUBMISSION_KEPT_MAX = 16384,
	SUBMISSION_KEPT_FIRST = 256, /* without an allocation */
	SUBMISSION_PROGRAM_MAX = 64,
	SUBMISSION_HEAD_MAX = 2048,
	/* Received fields, after which a message goes round in circles; RFC
	 * 5321, section 6.3. */
	SUBMISSION_RECEIVED_MAX = 100,
	/* Those of them that servers of our name wrote: a few instances under
	 * one name, or a list that sends a message through us again, stay far
	 * below it. */
	SUBMISSION_OWN_MAX = 8,
};

/* Fields that mean something here. */
enum submission_field {
	FIELD_OTHER,
	FIELD_DATE,
	FIELD_MESSAGE_ID,
	FIELD_RECEIVED,
	FIELD_TLS_REQUIRED,
	FIELD_PROGRAM, /* User-Agent, X-Mailer */
	/* Kept: who wrote it, who sent it (RFC 5322, sections 3.6.2, 3.6.6). */
	FIELD_FROM,
	FIELD_SENDER,
	FIELD_RESENT_FROM,
	FIELD_RESENT_SENDER,
};

/* What has been seen of the value of a TLS-Required field (RFC 8689, section
 * 3: [FWS] "No"; blanks after it are let through). */
enum tls_required_value {
	TLS_REQUIRED_BLANK, /* nothing yet */
	TLS_REQUIRED_N,
	TLS_REQUIRED_NO,
	TLS_REQUIRED_NO_BLANK, /* "No" and blanks */
	TLS_REQUIRED_OTHER,
};

enum submission_header_place {
	HEADER_LINE_START,
	HEADER_NAME,  /* in a field's name */
	HEADER_BLANK, /* blanks between name and colon (obsolete syntax) */
	HEADER_VALUE, /* until LF */
	HEADER_TLS_REQUIRED, /* the same, in a TLS-Required field */
	HEADER_PROGRAM,      /* in a User-Agent or X-Mailer field */
	HEADER_RECEIVED,     /* in a Received field */
	HEADER_KEPT,         /* in a field that is kept */
	HEADER_OVER,         /* the body, or something that is no header */
};

struct submission_header {
	enum submission_header_place place;
	enum submission_field field; /* that a folded line continues */
	char name[SUBMISSION_FIELD_MAX];
	size_t name_len; /* may exceed what name holds: then it is unknown */
	bool has_date, has_message_id;
	bool has_field; /* any field at all */
	bool has_text;  /* text that is no header field follows directly */
	struct utf8_scan utf8; /* of all fields */
	unsigned received, from;
	const char *hostname; /* ours, borrowed; NULL (as after init): own is
				 not counted */
	unsigned own;         /* Received fields by Sallyport of that name */
	/* "by", hostname, "(Sallyport)": the word that comes next, how much of
	 * it was seen, and whether that was right. */
	unsigned own_word;
	size_t own_at;
	bool own_same;
	unsigned tls_required; /* fields of that name */
	enum tls_required_value value;
	char program[SUBMISSION_PROGRAM_MAX + 1];
	size_t program_len;
	/* Fields kept: each a NUL, its enum submission_field, its value. */
	char *kept; /* first, or malloc'd */
	size_t kept_len, kept_capacity;
	bool kept_failed; /* too much, or no memory: they are not all there */
	char first[SUBMISSION_KEPT_FIRST];
};

void submission_header_init(struct submission_header *header);
void submission_header_fini(struct submission_header *header); /* or zeroed */

/* The next octets of the message, in any pieces; cheap once the header is
 * over. */
void submission_header_look(struct submission_header *header, const char *at,
    size_t len);

/* Does the header say "TLS-Required: No"?  Several such fields (which section
 * 3 forbids) or another value ask for nothing.  For a whole message. */
bool submission_header_is_tls_optional(const struct submission_header *header);

/* What the client's program calls itself (the first User-Agent or X-Mailer),
 * printable; "" if it does not say.  For a whole header. */
const char *submission_header_program(struct submission_header *header);

/* The fields that are kept, one after the other: *at is NULL first.  False
 * after the last.  The value, with its line ends, is borrowed from header. */
bool submission_header_next(const struct submission_header *header,
    const char **at, enum submission_field *field_out, const char **value_out,
    size_t *len_out);

/* What the head says about how the message came. */
struct submission_trace {
	const char *hostname;
	const char *queue_id;
	bool smtputf8;           /* the transaction had it */
	const char *tls_version; /* "TLS1.3" */
	const char *tls_suite;   /* IANA name */
	/* Both NULL unless trace-client = yes. */
	const char *greeting_name; /* as EHLO gave it */
	const char *client;        /* address literal, with brackets */
	/* What goes into a From field if the message has none; NULL: none. */
	const char *from;
	time_t now;
};

/*
 * Write the fields that go before the message: Received (RFC 5321, section
 * 4.4, with the tls clause of RFC 8314, section 4.3; the protocol as in RFC
 * 3848 and RFC 6531, section 4.3), and Date, Message-ID and From where the
 * message has none.  An empty line ends them if the message has no header of
 * its own.  Returns the length; 0 if it does not fit.
 */
size_t submission_head(const struct submission_header *header,
    const struct submission_trace *trace, char *out, size_t capacity);

#endif
