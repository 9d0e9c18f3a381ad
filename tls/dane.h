/*
 * tls/dane.h: the peer's chain against TLSA records (RFC 6698, 7671, 7672).
 */
#ifndef TLS_DANE_H
#define TLS_DANE_H

#include "tls.h"

enum {
	TLSA_RECORDS_MAX = 32,
	TLSA_DATA_MAX = 8192, /* octets of one record's data */
};

/* One record as DNS has it; data is borrowed. */
struct tlsa {
	uint8_t usage, selector, matching;
	const unsigned char *data;
	size_t len;
};

/*
 * records: those DNSSEC has proved.  Usages 2 (DANE-TA) and 3 (DANE-EE) alone
 * count (RFC 7672, section 3.1.3); DANE-EE asks for neither names nor dates,
 * DANE-TA for a path to the record's authority, dates, and one of names (the
 * next hop and the TLSA base domain, a list ended by an empty string) in the
 * SAN.  Returns DANE_GOOD, DANE_NONE (no record is usable) or DANE_MISMATCH;
 * why says which record or what was wrong.  now is a Unix time.
 */
enum dane_state tls_session_dane(struct tls_session *session,
    const struct tlsa *records, size_t count, const char *names, time_t now,
    struct reason *why);

#endif
