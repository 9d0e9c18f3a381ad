/*
 * server/journal_internal.h: what the writing and the reading of a journal
 * share: how headers and records lie in the file.
 */
#ifndef SERVER_JOURNAL_INTERNAL_H
#define SERVER_JOURNAL_INTERNAL_H

#include "journal.h"

enum { JOURNAL_HEADER_COPY = 64 };

uint64_t journal_align8(uint64_t n);
/* Without the padding. */
uint64_t journal_record_octets(const struct journal_record *record);

void journal_header_encode(const struct journal_header *header,
    unsigned char out[static JOURNAL_HEADER_COPY]);
void journal_record_encode(const struct journal_header *header,
    const struct journal_record *record,
    unsigned char out[static JOURNAL_RECORD_OCTETS]);
/* False if octets are no record that stands at offset. */
bool journal_record_decode(const struct journal_header *header,
    uint64_t offset, const unsigned char in[static JOURNAL_RECORD_OCTETS],
    struct journal_record *record_out);

#endif
