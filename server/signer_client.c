/*
 * server/signer_client.c: asking the signer, on the calling thread's own
 * channel.
 */
#include "signer_client.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "messages.h"

enum { REQUEST_MAX = 256, ANSWER_MAX = 32 + TLS_SIGNATURE_MAX };

static struct call slots[SIGNER_CLIENT_CHANNELS];
static pthread_once_t slots_made = PTHREAD_ONCE_INIT;

static _Thread_local struct call *own_slot;

/* A handshake does not wait for a signer that is away. */
static void
slots_make(void)
{
	for (size_t i = 0; i < SIGNER_CLIENT_CHANNELS; i++)
		call_init(&slots[i], 0);
}

/* NULL if index is out of range. */
static struct call *
slot_of(unsigned index)
{
	pthread_once(&slots_made, slots_make);
	return index < SIGNER_CLIENT_CHANNELS ? &slots[index] : NULL;
}

void
signer_client_set(unsigned index, int fd)
{
	struct call *slot = slot_of(index);

	if (slot != NULL)
		call_set(slot, fd);
	else if (fd >= 0)
		close(fd);
}

void
signer_client_use(unsigned index)
{
	own_slot = slot_of(index);
}

bool
signer_client_alive(unsigned index)
{
	struct call *slot = slot_of(index);

	return slot != NULL && call_is_alive(slot);
}

static void
request_encode(struct wire_writer *w, uint64_t number,
    const struct tls_sign_request *request)
{
	wire_put_u8(w, SIGNER_SIGN);
	wire_put_u64(w, number);
	wire_put_u32(w, request->algorithm);
	wire_put_u8(w, request->is_data);
	wire_put_raw(w, request->spki, SPKI_OCTETS);
	wire_put_bytes(w, request->input, request->input_len);
}

/* r is past type and number. */
static bool
answer_decode(struct wire_reader *r, unsigned char *signature,
    size_t *signature_len)
{
	uint8_t ok = wire_get_u8(r);
	gnutls_datum_t octets = wire_get_bytes(r, TLS_SIGNATURE_MAX);

	if (!wire_reader_done(r) || ok != 1 || octets.size == 0 ||
	    octets.size > *signature_len)
		return false;
	memcpy(signature, octets.data, octets.size);
	*signature_len = octets.size;
	return true;
}

bool
signer_sign(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *signature_len)
{
	struct call *slot = own_slot;
	unsigned char packet[REQUEST_MAX], answer[ANSWER_MAX];
	struct wire_writer w;
	struct wire_reader r;
	uint64_t number;
	uint8_t type;

	(void)context;
	if (slot == NULL || request->input_len > TLS_SIGN_INPUT_MAX)
		return false;
	number = call_number(slot);
	wire_writer_init(&w, packet, sizeof(packet));
	request_encode(&w, number, request);
	return call_ask(slot, &w, false, number, answer, sizeof(answer),
		   SIGNER_CLIENT_TIMEOUT_MS, &type, &r, NULL) &&
	       type == SIGNER_SIGNED &&
	       answer_decode(&r, signature, signature_len);
}
