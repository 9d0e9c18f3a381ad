/*
 * server/signer_client.c: one blocking call to the signer at a time, on the
 * calling thread's own channel.
 */
#include "signer_client.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "messages.h"
#include "wire.h"

enum { REQUEST_MAX = 256, ANSWER_MAX = 32 + TLS_SIGNATURE_MAX };

/* lock guards all; it is never held while a call waits, so that
 * signer_client_set does not wait either. */
struct channel_slot {
	pthread_mutex_t lock;
	int fd;          /* -1: none */
	int fd_next;     /* takes fd's place when the call ends */
	bool busy;       /* a call is under way on fd */
	bool replaced;   /* fd_next is to be taken, -1 included */
	uint64_t number; /* of the last request */
};

static struct channel_slot slots[SIGNER_CLIENT_CHANNELS] = {
	[0 ... SIGNER_CLIENT_CHANNELS -
	    1] = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .fd_next = -1 },
};

static _Thread_local struct channel_slot *own_slot;

static void
close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void
slot_put(struct channel_slot *slot, int fd)
{
	close_if_open(slot->fd);
	slot->fd = fd;
}

void
signer_client_set(unsigned index, int fd)
{
	struct channel_slot *slot;

	if (index >= SIGNER_CLIENT_CHANNELS) {
		close_if_open(fd);
		return;
	}
	slot = &slots[index];
	pthread_mutex_lock(&slot->lock);
	if (slot->busy) {
		close_if_open(slot->fd_next);
		slot->fd_next = fd;
		slot->replaced = true;
		/* Wakes the call: its answer will not come any more. */
		shutdown(slot->fd, SHUT_RDWR);
	} else {
		slot_put(slot, fd);
	}
	pthread_mutex_unlock(&slot->lock);
}

void
signer_client_use(unsigned index)
{
	own_slot = index < SIGNER_CLIENT_CHANNELS ? &slots[index] : NULL;
}

bool
signer_client_alive(unsigned index)
{
	struct channel_slot *slot;
	struct pollfd p = { .fd = -1 };
	bool alive;

	if (index >= SIGNER_CLIENT_CHANNELS)
		return false;
	slot = &slots[index];
	pthread_mutex_lock(&slot->lock);
	if (slot->replaced) {
		alive = slot->fd_next >= 0;
	} else {
		p.fd = slot->fd;
		alive = slot->fd >= 0 && poll(&p, 1, 0) >= 0 &&
			(p.revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
	}
	pthread_mutex_unlock(&slot->lock);
	return alive;
}

/* Mark the calling thread's channel busy; -1 if there is none. */
static int
call_begin(struct channel_slot *slot, uint64_t *number_out)
{
	int fd = -1;

	pthread_mutex_lock(&slot->lock);
	if (slot->fd >= 0 && !slot->busy) {
		slot->busy = true;
		*number_out = ++slot->number;
		fd = slot->fd;
	}
	pthread_mutex_unlock(&slot->lock);
	return fd;
}

static void
call_end(struct channel_slot *slot, bool usable)
{
	pthread_mutex_lock(&slot->lock);
	slot->busy = false;
	if (slot->replaced) {
		slot_put(slot, slot->fd_next);
		slot->fd_next = -1;
		slot->replaced = false;
	} else if (!usable) {
		slot_put(slot, -1);
	}
	pthread_mutex_unlock(&slot->lock);
}

static size_t
request_encode(unsigned char out[static REQUEST_MAX], uint64_t number,
    const struct tls_sign_request *request)
{
	struct wire_writer w;

	wire_writer_init(&w, out, REQUEST_MAX);
	wire_put_u8(&w, SIGNER_SIGN);
	wire_put_u64(&w, number);
	wire_put_u32(&w, request->algorithm);
	wire_put_u8(&w, request->is_data);
	wire_put_raw(&w, request->spki, SPKI_OCTETS);
	wire_put_bytes(&w, request->input, request->input_len);
	return w.failed ? 0 : w.len;
}

static bool
answer_decode(const unsigned char *answer, size_t len, uint64_t number,
    unsigned char *signature, size_t *signature_len)
{
	struct wire_reader r;
	gnutls_datum_t octets;
	uint8_t type, ok;
	uint64_t answered;

	wire_reader_init(&r, answer, len);
	type = wire_get_u8(&r);
	answered = wire_get_u64(&r);
	ok = wire_get_u8(&r);
	octets = wire_get_bytes(&r, TLS_SIGNATURE_MAX);
	if (!wire_reader_done(&r) || type != SIGNER_SIGNED ||
	    answered != number || ok != 1 || octets.size == 0 ||
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
	struct channel_slot *slot = own_slot;
	unsigned char packet[REQUEST_MAX], answer[ANSWER_MAX];
	enum channel_io io;
	uint64_t number = 0;
	size_t len, answer_len = 0;
	int fd;

	(void)context;
	if (slot == NULL || request->input_len > TLS_SIGN_INPUT_MAX)
		return false;
	fd = call_begin(slot, &number);
	if (fd < 0)
		return false;
	len = request_encode(packet, number, request);
	if (len == 0) {
		call_end(slot, true);
		return false;
	}
	io = channel_call(fd, packet, len, number, answer, sizeof(answer),
	    &answer_len, SIGNER_CLIENT_TIMEOUT_MS);
	/* A late answer is dropped by its number: WAIT keeps the channel. */
	call_end(slot, io == CHANNEL_DONE || io == CHANNEL_WAIT);
	return io == CHANNEL_DONE && answer_decode(answer, answer_len, number,
					 signature, signature_len);
}
