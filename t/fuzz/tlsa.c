/*
 * t/fuzz/tlsa.c: a TLSA answer from a lookup role that somebody else has
 * taken over, and the octets of a certificate.
 *
 * What is read must come out the same when written again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../server/channel.h"
#include "../../server/lookup_tlsa.h"
#include "../../tls/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fuzz_answer(const uint8_t *data, size_t size)
{
	static struct tlsa_answer answer;
	static unsigned char again[CHANNEL_PACKET_MAX];
	struct facts facts = { .dane = DANE_GOOD };
	struct wire_writer w;
	struct wire_reader r;

	wire_reader_init(&r, data, size);
	if (!tlsa_answer_get(&r, &answer))
		return;
	for (size_t i = 0; i < answer.count; i++)
		assert(answer.records[i].data >= answer.octets &&
		       answer.records[i].data + answer.records[i].len <=
			   answer.octets + answer.octets_len);
	wire_writer_init(&w, again, sizeof(again));
	tlsa_answer_put(&w, &answer);
	assert(!w.failed && w.len == size && memcmp(again, data, size) == 0);
	tlsa_answer_judge(&answer, "hop.example", NULL, 0, &facts);
	assert(facts.dane != DANE_GOOD);
}

static bool
is_inside(const gnutls_datum_t *part, const uint8_t *data, size_t size)
{
	return part->data >= data && part->data + part->size <= data + size;
}

static void
fuzz_certificate(const uint8_t *data, size_t size)
{
	gnutls_datum_t whole = { (unsigned char *)(uintptr_t)data,
		(unsigned)size };
	gnutls_datum_t tbs, spki;

	if (!tls_der_parts(&whole, &tbs, &spki))
		return;
	assert(is_inside(&tbs, data, size));
	assert(is_inside(&spki, tbs.data, tbs.size));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_answer(data, size);
	fuzz_certificate(data, size);
	return 0;
}
