/*
 * server/upstream_tlsa.c: the relay's question to lookup about TLSA records.
 */
#include "upstream_tlsa.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "channel.h"
#include "upstream_internal.h"

static bool
is_literal(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 ||
	       inet_pton(AF_INET6, host, address) == 1;
}

static void
ask(const struct upstream_thread *thread, const struct next_hop *hop,
    unsigned char *packet, struct tlsa_answer *out)
{
	unsigned char question[512];
	struct wire_writer w;
	struct wire_reader r;
	struct reason why;
	uint64_t number;
	uint8_t type;

	number = call_number(thread->lookup);
	wire_writer_init(&w, question, sizeof(question));
	wire_put_u8(&w, LOOKUP_TLSA);
	wire_put_u64(&w, number);
	wire_put_string(&w, hop->host);
	wire_put_u16(&w, hop->port);
	if (!call_ask(thread->lookup, &w, true, number, packet,
		CHANNEL_PACKET_MAX, TIMEOUT_LOOKUP, &type, &r, &why))
		tlsa_answer_init(out, LOOKUP_TROUBLE, why.text);
	else if (type != LOOKUP_TLSA_ANSWER || !tlsa_answer_get(&r, out))
		tlsa_answer_init(out, LOOKUP_TROUBLE,
		    "malformed answer of the lookup role");
}

void
upstream_tlsa(const struct upstream_thread *thread, const struct next_hop *hop,
    struct tlsa_answer *out)
{
	unsigned char *packet;

	if (is_literal(hop->host)) {
		tlsa_answer_init(out, LOOKUP_NONE,
		    "an address has no TLSA records");
		return;
	}
	packet = malloc(CHANNEL_PACKET_MAX);
	if (packet == NULL) {
		tlsa_answer_init(out, LOOKUP_TROUBLE, "out of memory");
		return;
	}
	ask(thread, hop, packet, out);
	free(packet);
}
