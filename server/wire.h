/*
 * server/wire.h: numbers and octets to and from a bounded buffer.
 *
 * Used for packets between roles, control sockets and the spool's envelopes.
 * Numbers are big-endian.  Both sides remember the first failure, so that a
 * whole message is written or read and then asked once.  Threads: each object
 * belongs to one.
 */
#ifndef SERVER_WIRE_H
#define SERVER_WIRE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_writer {
	unsigned char *data;
	size_t len, capacity;
	bool failed; /* it did not fit */
};

void wire_writer_init(struct wire_writer *w, void *data, size_t capacity);
void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_u64(struct wire_writer *w, uint64_t v);
void wire_put_raw(struct wire_writer *w, const void *data, size_t len);
/* u32 length, then the octets. */
void wire_put_bytes(struct wire_writer *w, const void *data, size_t len);
/* As bytes; NULL is written as "". */
void wire_put_string(struct wire_writer *w, const char *s);

struct wire_reader {
	const unsigned char *at, *end;
	bool failed; /* it was too short, or a field broke its bound */
};

void wire_reader_init(struct wire_reader *r, const void *data, size_t len);
uint8_t wire_get_u8(struct wire_reader *r); /* 0 after a failure, as all */
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
/* Exactly len octets. */
bool wire_get_raw(struct wire_reader *r, void *out, size_t len);
/* Borrowed from the buffer; fails if longer than most. */
gnutls_datum_t wire_get_bytes(struct wire_reader *r, size_t most);
/* Copied and NUL-terminated; fails on a NUL inside or if it does not fit. */
bool wire_get_string(struct wire_reader *r, char *out, size_t capacity);
/* malloc'd copy, at most most octets; NULL after a failure. */
char *wire_get_string_new(struct wire_reader *r, size_t most);
/* Nothing failed and nothing is left over. */
bool wire_reader_done(const struct wire_reader *r);

#endif
