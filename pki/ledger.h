/*
 * pki/ledger.h: what an authority has issued and taken back, as lines of text:
 *
 *     issued    serial=HEX issued=TIME expires=TIME role=WORD key=HEX names=A,B
 *     revoked   serial=HEX revoked=TIME
 *
 * key is the SHA-256 of the SubjectPublicKeyInfo; older lines have none.
 * Lines are only ever appended and synced, so that a copy, or a version in a
 * repository, of any moment is whole.
 */
#ifndef PKI_LEDGER_H
#define PKI_LEDGER_H

#include <time.h>

#include "../policy/facts.h"
#include "authority.h"
#include "make.h"

enum { LEDGER_SERIAL_SIZE = 2 * SERIAL_OCTETS + 1, LEDGER_TIME_SIZE = 32 };

struct ledger_entry {
	char serial[LEDGER_SERIAL_SIZE];
	time_t issued, expires;
	time_t revoked; /* 0: it is not */
	enum authority_role role;
	bool has_key;
	unsigned char key[SPKI_OCTETS];
	char *names; /* with commas between */
};

struct ledger {
	struct ledger_entry *entries; /* in the order of their making */
	size_t count;
};

/* Both files of folder; a file that is absent is empty.  What is no such line
 * is an error with its place. */
bool ledger_read(struct ledger *out, const char *folder, struct reason *why);
void ledger_free(struct ledger *ledger);
struct ledger_entry *ledger_find(const struct ledger *ledger,
    const char *serial);

/* Hold the authority's lock. */
bool ledger_add_issued(const char *folder,
    const unsigned char serial[static SERIAL_OCTETS], time_t issued,
    time_t expires, const struct authority_request *request,
    const unsigned char key[static SPKI_OCTETS], struct reason *why);
bool ledger_add_revoked(const char *folder, const char *serial, time_t when,
    struct reason *why);

void ledger_print_serial(char out[static LEDGER_SERIAL_SIZE],
    const unsigned char serial[static SERIAL_OCTETS]);
/* The other way round; false if it is no such number. */
bool ledger_parse_serial(const char *text,
    unsigned char out[static SERIAL_OCTETS]);
/* RFC 3339, UTC. */
void ledger_print_time(char out[static LEDGER_TIME_SIZE], time_t when);

/* "server", "client", "both", and back. */
const char *authority_role_word(enum authority_role role);
bool authority_role_parse(const char *word, enum authority_role *out);

#endif
