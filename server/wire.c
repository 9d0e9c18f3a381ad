/*
 * server/wire.c: numbers and octets to and from a bounded buffer.
 */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

void
wire_writer_init(struct wire_writer *w, void *data, size_t capacity)
{
	w->data = data;
	w->len = 0;
	w->capacity = capacity;
	w->failed = false;
}

void
wire_put_raw(struct wire_writer *w, const void *data, size_t len)
{
	if (w->failed || len > w->capacity - w->len) {
		w->failed = true;
		return;
	}
	if (len > 0)
		memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void
put_number(struct wire_writer *w, uint64_t v, size_t octets)
{
	unsigned char raw[8];

	for (size_t i = 0; i < octets; i++)
		raw[i] = (unsigned char)(v >> (8 * (octets - 1 - i)));
	wire_put_raw(w, raw, octets);
}

void
wire_put_u8(struct wire_writer *w, uint8_t v)
{
	put_number(w, v, 1);
}

void
wire_put_u16(struct wire_writer *w, uint16_t v)
{
	put_number(w, v, 2);
}

void
wire_put_u32(struct wire_writer *w, uint32_t v)
{
	put_number(w, v, 4);
}

void
wire_put_u64(struct wire_writer *w, uint64_t v)
{
	put_number(w, v, 8);
}

void
wire_put_bytes(struct wire_writer *w, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		w->failed = true;
		return;
	}
	wire_put_u32(w, (uint32_t)len);
	wire_put_raw(w, data, len);
}

void
wire_put_string(struct wire_writer *w, const char *s)
{
	wire_put_bytes(w, s, s == NULL ? 0 : strlen(s));
}

void
wire_reader_init(struct wire_reader *r, const void *data, size_t len)
{
	r->at = data;
	r->end = len == 0 ? r->at : r->at + len;
	r->failed = false;
}

/* The next len octets, or NULL and failed. */
static const unsigned char *
take(struct wire_reader *r, size_t len)
{
	const unsigned char *at = r->at;

	if (r->failed || len > (size_t)(r->end - r->at)) {
		r->failed = true;
		return NULL;
	}
	r->at += len;
	return at;
}

static uint64_t
get_number(struct wire_reader *r, size_t octets)
{
	const unsigned char *at = take(r, octets);
	uint64_t v = 0;

	if (at == NULL)
		return 0;
	for (size_t i = 0; i < octets; i++)
		v = v << 8 | at[i];
	return v;
}

uint8_t
wire_get_u8(struct wire_reader *r)
{
	return (uint8_t)get_number(r, 1);
}

uint16_t
wire_get_u16(struct wire_reader *r)
{
	return (uint16_t)get_number(r, 2);
}

uint32_t
wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)get_number(r, 4);
}

uint64_t
wire_get_u64(struct wire_reader *r)
{
	return get_number(r, 8);
}

bool
wire_get_raw(struct wire_reader *r, void *out, size_t len)
{
	const unsigned char *at = take(r, len);

	if (at == NULL)
		return false;
	if (len > 0)
		memcpy(out, at, len);
	return true;
}

gnutls_datum_t
wire_get_bytes(struct wire_reader *r, size_t most)
{
	gnutls_datum_t d = { NULL, 0 };
	uint32_t len = wire_get_u32(r);
	const unsigned char *at;

	if (len > most) {
		r->failed = true;
		return d;
	}
	at = take(r, len);
	if (at == NULL)
		return d;
	/* gnutls_datum_t has no const; the header says it is borrowed. */
	d.data = (unsigned char *)(uintptr_t)at;
	d.size = len;
	return d;
}

bool
wire_get_string(struct wire_reader *r, char *out, size_t capacity)
{
	gnutls_datum_t d;

	out[0] = '\0';
	d = wire_get_bytes(r, capacity - 1);
	if (r->failed)
		return false;
	if (d.size > 0 && memchr(d.data, '\0', d.size) != NULL) {
		r->failed = true;
		return false;
	}
	if (d.size > 0)
		memcpy(out, d.data, d.size);
	out[d.size] = '\0';
	return true;
}

char *
wire_get_string_new(struct wire_reader *r, size_t most)
{
	gnutls_datum_t d = wire_get_bytes(r, most);
	char *s;

	if (r->failed)
		return NULL;
	if (d.size > 0 && memchr(d.data, '\0', d.size) != NULL) {
		r->failed = true;
		return NULL;
	}
	s = malloc((size_t)d.size + 1);
	if (s == NULL) {
		r->failed = true;
		return NULL;
	}
	if (d.size > 0)
		memcpy(s, d.data, d.size);
	s[d.size] = '\0';
	return s;
}

bool
wire_reader_done(const struct wire_reader *r)
{
	return !r->failed && r->at == r->end;
}
