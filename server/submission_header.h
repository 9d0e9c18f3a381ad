/*
 * server/submission_header.h: what a submission server looks at in a message,
 * and what it puts before it (RFC 6409, section 8).
 *
 * The message itself is never changed.  Threads: an object belongs to one.
 */
#ifndef SERVER_SUBMISSION_HEADER_H
#define SERVER_SUBMISSION_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
	SUBMISSION_FIELD_MAX = 16, /* the longest name we know, and more */
	SUBMISSION_HEAD_MAX = 2048,
	/* Received fields, after which a message goes round in circles; RFC
	 * 5321, section 6.3. */
	SUBMISSION_RECEIVED_MAX = 100,
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
	HEADER_OVER,         /* the body, or something that is no header */
};

struct submission_header {
	enum submission_header_place place;
	char name[SUBMISSION_FIELD_MAX];
	size_t name_len; /* may exceed what name holds: then it is unknown */
	bool has_date, has_message_id;
	bool has_field; /* any field at all */
	bool has_text;  /* text that is no header field follows directly */
	unsigned received;
	unsigned tls_required; /* fields of that name */
	bool in_tls_required;  /* the field that a folded line continues */
	enum tls_required_value value;
};

void submission_header_init(struct submission_header *header);

/* The next octets of the message, in any pieces; cheap once the header is
 * over. */
void submission_header_look(struct submission_header *header, const char *at,
    size_t len);

/* Does the header say "TLS-Required: No"?  Several such fields (which section
 * 3 forbids) or another value ask for nothing.  For a whole message. */
bool submission_header_is_tls_optional(const struct submission_header *header);

/* What the head says about how the message came. */
struct submission_trace {
	const char *hostname;
	const char *queue_id;
	const char *tls_version; /* "TLS1.3" */
	const char *tls_suite;   /* IANA name */
	/* Both NULL unless trace-client = yes. */
	const char *greeting_name; /* as EHLO gave it */
	const char *client;        /* address literal, with brackets */
	time_t now;
};

/*
 * Write the fields that go before the message: Received (RFC 5321, section
 * 4.4, with the tls clause of RFC 8314, section 4.3), and Date and Message-ID
 * where the message has none.  An empty line ends them if the message has no
 * header of its own.  Returns the length; 0 if it does not fit.
 */
size_t submission_head(const struct submission_header *header,
    const struct submission_trace *trace, char *out, size_t capacity);

#endif
