/*
 * server/submission_parts.h: are there header fields in UTF-8 inside a message?
 *
 * RFC 6532 lets them stand at the head of body parts, too, and a message that
 * has them is not for a server without SMTPUTF8 (RFC 6531, section 3.2).
 * Boundaries are not followed: lines after one that begins with "--" are taken
 * for a part's header as long as they are fields, if one of them is a Content
 * field.  That can only find too much, in text that quotes such a header.
 * Threads: an object belongs to one.
 */
#ifndef SERVER_SUBMISSION_PARTS_H
#define SERVER_SUBMISSION_PARTS_H

#include <stdbool.h>
#include <stddef.h>

enum submission_parts_place {
	PARTS_LINE,      /* at the start of a line */
	PARTS_DASH,      /* "-" was there */
	PARTS_REST,      /* in a line that does not matter */
	PARTS_DELIMITER, /* in one that began with "--" */
	PARTS_FIELD,     /* at the start of a line in a part's header */
	PARTS_NAME,      /* in a field's name */
	PARTS_VALUE,     /* in its value, or in a folded line */
};

/* Zeroed at first. */
struct submission_parts {
	enum submission_parts_place place;
	char name[8];     /* of a field, as much as tells a Content field */
	size_t name_len;  /* may exceed what name holds */
	bool has_field;   /* of the header that is being read */
	bool has_content; /* the same: a Content field */
	bool has_high;    /* the same: an octet above 127 */
	bool has_utf8;    /* of any */
};

/* The next octets of the message, in any pieces. */
void submission_parts_look(struct submission_parts *parts, const char *at,
    size_t len);

#endif
