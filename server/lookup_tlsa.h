/*
 * server/lookup_tlsa.h: what DNS says of a next hop's certificate: TLSA
 * records with the name they were found at (RFC 7672, section 2.2), as lookup
 * sends them and relay and the probe use them.
 */
#ifndef SERVER_LOOKUP_TLSA_H
#define SERVER_LOOKUP_TLSA_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "../policy/facts.h"
#include "../policy/reason.h"
#include "../tls/dane.h"
#include "messages.h"
#include "wire.h"

enum {
	/* Data of all records of an answer; more is LOOKUP_TROUBLE.  Fits
	 * into a packet between roles together with all else. */
	TLSA_OCTETS_MAX = 24 * 1024,
	TLSA_BASE_MAX = 253, /* octets of a TLSA base domain */
};

/*
 * Plain data that points into itself: hand it on by address, never by
 * assignment.
 */
struct tlsa_answer {
	/* FOUND: proved by DNSSEC, as are the host's addresses or its being an
	 * alias.  NONE: there is none, or DNSSEC proves nothing.  TROUBLE:
	 * bogus, or the lookup failed. */
	enum lookup_answer answer;
	/* Of FOUND alone: lower case, no trailing dot.  It is also what SNI
	 * has to say (RFC 7672, section 8.1). */
	char base[TLSA_BASE_MAX + 1];
	size_t count;
	struct tlsa records[TLSA_RECORDS_MAX]; /* data lies in octets */
	size_t octets_len;
	unsigned char octets[TLSA_OCTETS_MAX];
	char text[REASON_TEXT_MAX]; /* why not FOUND; printable ASCII */
};

/* Empty, with that answer and text. */
void tlsa_answer_init(struct tlsa_answer *answer, enum lookup_answer what,
    const char *text);

/* Adds a record by its RDATA (RFC 6698, section 2.1).  One too short to be a
 * record at all is passed over.  False if it does not fit. */
bool tlsa_answer_add(struct tlsa_answer *answer, const void *rdata, size_t len);

/* The fields of LOOKUP_TLSA_ANSWER behind its number. */
void tlsa_answer_put(struct wire_writer *w, const struct tlsa_answer *answer);
/* The same, read and checked up to the packet's end; false if malformed, and
 * answer is not to be used. */
bool tlsa_answer_get(struct wire_reader *r, struct tlsa_answer *answer);

/*
 * Compare the certificate of a finished handshake with answer: fills dane and
 * dane_text of facts.  host is the next hop's name; now is a Unix time.
 * session NULL: there was no handshake, which leaves DANE_UNCHECKED where
 * there are records.
 */
void tlsa_answer_judge(const struct tlsa_answer *answer, const char *host,
    struct tls_session *session, time_t now, struct facts *facts);

#endif
