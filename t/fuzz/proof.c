/*
 * t/fuzz/proof.c: any octets as a proof or a decision.
 *
 * What is accepted is written again and must be read alike; a proof is asked
 * about a demand, and a decision printed.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/channel.h"
#include "../../server/proof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
as_proof(const uint8_t *data, size_t size)
{
	static struct proof proof, again;
	static unsigned char octets[CHANNEL_PACKET_MAX];
	static struct demand *demand;
	struct decision decision;
	struct wire_reader r;
	struct wire_writer w;
	struct reason why;

	if (demand == NULL)
		demand = demand_new();
	assert(demand != NULL &&
	       demand_out(demand, NULL, "a.example", 25, 1800000000, &why));
	wire_reader_init(&r, data, size);
	if (!proof_get(&r, &proof) || !wire_reader_done(&r))
		return;
	(void)proof_decide(&proof, demand, (time_t)proof.at, &decision);
	(void)proof_decide(&proof, demand, 1800000000, &decision);
	wire_writer_init(&w, octets, sizeof(octets));
	proof_put(&w, &proof);
	assert(!w.failed && w.len == size);
	wire_reader_init(&r, octets, w.len);
	assert(proof_get(&r, &again) && wire_reader_done(&r));
	assert(memcmp(octets, data, size) == 0);
}

static void
as_decision(const uint8_t *data, size_t size)
{
	unsigned char octets[4096];
	struct decision decision;
	struct wire_reader r;
	struct wire_writer w;
	char line[1024];

	wire_reader_init(&r, data, size);
	if (!decision_get(&r, &decision) || !wire_reader_done(&r))
		return;
	decision_print(&decision, line, sizeof(line));
	for (const char *c = line; *c != '\0'; c++)
		assert(*c >= 0x20 && *c < 0x7f);
	wire_writer_init(&w, octets, sizeof(octets));
	decision_put(&w, &decision);
	assert(!w.failed && w.len == size && memcmp(octets, data, size) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2 == 0)
		as_proof(data + 1, size - 1);
	else
		as_decision(data + 1, size - 1);
	return 0;
}
