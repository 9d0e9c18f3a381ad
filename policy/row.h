/*
 * policy/row.h: one row of the table: as parsed, and as the database has it.
 */
#ifndef POLICY_ROW_H
#define POLICY_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decide.h"
#include "key.h"
#include "reason.h"
#include "words.h"

enum {
	ROW_FIELDS = 8192,      /* octets; paths are absolute here */
	ROW_OCTETS = ROW_FIELDS + 64,
	ROW_TEXT = 3 * ROW_FIELDS, /* a row printed, quotes escaped */
};

enum direction {
	DIRECTION_IN = 1,
	DIRECTION_OUT = 2,
	DIRECTION_BOTH = DIRECTION_IN | DIRECTION_OUT,
	DIRECTION_FROM = 4,
	DIRECTION_RCPT = 8,
};

/* What fields hold; a tag that stands several times is a list. */
enum field {
	FIELD_KEY = 1, /* the site as printed */
	FIELD_MATCH,   /* host, .suffix or address */
	FIELD_PIN,     /* 64 hex digits */
	FIELD_ISSUER,
	FIELD_ORG,
	FIELD_CA,  /* absolute path */
	FIELD_CRL, /* absolute path */
	FIELD_CERT,
	FIELD_AUTH,
	FIELD_SNI,
	FIELD_REASON,
	FIELDS
};

struct row {
	unsigned line;
	unsigned directions; /* all the row names, though stored per one */
	enum key_kind kind;
	enum level level;
	bool eku_any, no_chain, observe, no_reuse;
	bool dane, ratchet, tls_optional;
	enum row_fail fail;
	unsigned min;    /* 0, 12 or 13 */
	unsigned bits;   /* 0: not given */
	long long until; /* Unix second at which the exception is over, or 0 */
	uint64_t identity; /* row_identity(), once the compiler has asked */
	size_t fields_len;
	unsigned char fields[ROW_FIELDS];
};

/* Append; false if there is no room. */
bool row_add(struct row *row, enum field tag, const char *text);

/* The first field of tag after *cursor (0 to begin), or NULL. */
const char *row_next(const struct row *row, enum field tag, size_t *cursor);
const char *row_first(const struct row *row, enum field tag);

/* Is this an exception, which ends at until? */
bool row_is_exception(const struct row *row);
bool row_is_over(const struct row *row, time_t now);

/* The value for the database, bound to its key by a CRC. */
size_t row_encode(const struct row *row, const unsigned char *key,
    size_t key_len, unsigned char out[static ROW_OCTETS]);
/* REASON_DAMAGED unless every octet makes sense. */
bool row_decode(struct row *out, const unsigned char *key, size_t key_len,
    const unsigned char *value, size_t len, struct reason *why);

/* Canonical text without line end; cut to size.  Returns the length. */
size_t row_print(const struct row *row, char *out, size_t size);

/* Depends on the canonical text alone, so that a row that has only moved to
 * another line is still the same; never 0. */
uint64_t row_identity(const struct row *row);

const char *direction_word(unsigned directions);

#endif
