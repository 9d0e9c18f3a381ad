/*
 * t/fuzz/srv.c: the RDATA of an SRV record from a hostile name server, and an
 * answer from a lookup role that somebody else has taken over.
 *
 * What is kept of a record can be sent; what is read must come out the same
 * when written again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../server/lookup_resolver.h"
#include "../../server/lookup_srv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
is_usable(const struct srv_answer *answer)
{
	assert(answer->count <= SRV_TARGETS_MAX);
	for (size_t i = 0; i < answer->count; i++)
		assert(answer->targets[i].port != 0 &&
		       resolver_is_host(answer->targets[i].host));
}

/* Packets of one octet of length and so much RDATA. */
static void
fuzz_records(const uint8_t *data, size_t size)
{
	static struct srv_answer answer, again;
	static unsigned char packet[SRV_PACKET_MAX];
	struct wire_writer w;
	struct wire_reader r;

	srv_answer_init(&answer, LOOKUP_NONE, "");
	while (size > 0) {
		size_t len = data[0] < size - 1 ? data[0] : size - 1;

		srv_answer_add(&answer, data + 1, len, len % 2 == 0,
		    len % 3 == 0);
		data += 1 + len;
		size -= 1 + len;
	}
	is_usable(&answer);
	if (answer.count > 0)
		answer.answer = LOOKUP_FOUND;
	wire_writer_init(&w, packet, sizeof(packet));
	srv_answer_put(&w, &answer);
	assert(!w.failed);
	wire_reader_init(&r, packet, w.len);
	assert(srv_answer_get(&r, &again) && again.count == answer.count);
}

static void
fuzz_answer(const uint8_t *data, size_t size)
{
	static struct srv_answer answer;
	static unsigned char again[SRV_PACKET_MAX];
	struct wire_writer w;
	struct wire_reader r;

	wire_reader_init(&r, data, size);
	if (!srv_answer_get(&r, &answer))
		return;
	is_usable(&answer);
	wire_writer_init(&w, again, sizeof(again));
	srv_answer_put(&w, &answer);
	assert(!w.failed && w.len == size && memcmp(again, data, size) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_records(data, size);
	fuzz_answer(data, size);
	return 0;
}
