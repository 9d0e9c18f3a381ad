/*
 * server/call.c: one blocking call at a time on a channel that the main
 * thread may replace at any moment.
 */
#include "call.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

void
call_init(struct call *call, int away_ms)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&call->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&call->set, &attributes);
	pthread_condattr_destroy(&attributes);
	call->away_ms = away_ms;
	call->fd = -1;
	call->fd_next = -1;
	call->busy = false;
	call->replaced = false;
	call->number = 0;
}

static void
close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void
call_set(struct call *call, int fd)
{
	pthread_mutex_lock(&call->lock);
	if (call->busy) {
		close_if_open(call->fd_next);
		call->fd_next = fd;
		call->replaced = true;
		/* Wakes the call: its answer will not come any more. */
		shutdown(call->fd, SHUT_RDWR);
	} else {
		close_if_open(call->fd);
		call->fd = fd;
	}
	pthread_cond_broadcast(&call->set);
	pthread_mutex_unlock(&call->lock);
}

bool
call_is_alive(struct call *call)
{
	struct pollfd p = { .fd = -1 };
	bool alive;

	pthread_mutex_lock(&call->lock);
	if (call->replaced) {
		alive = call->fd_next >= 0;
	} else {
		p.fd = call->fd;
		alive = call->fd >= 0 && poll(&p, 1, 0) >= 0 &&
			(p.revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
	}
	pthread_mutex_unlock(&call->lock);
	return alive;
}

uint64_t
call_number(struct call *call)
{
	uint64_t number;

	pthread_mutex_lock(&call->lock);
	number = ++call->number;
	pthread_mutex_unlock(&call->lock);
	return number;
}

/* Mark the channel busy; -1 if there is none, not even after wait_ms. */
static int
call_begin(struct call *call, int wait_ms)
{
	struct timespec until;
	int fd, rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	pthread_mutex_lock(&call->lock);
	while (call->fd < 0 && wait_ms > 0 && rc == 0)
		rc = pthread_cond_timedwait(&call->set, &call->lock, &until);
	fd = call->fd;
	call->busy = fd >= 0;
	pthread_mutex_unlock(&call->lock);
	return fd;
}

static void
call_end(struct call *call, bool usable)
{
	pthread_mutex_lock(&call->lock);
	call->busy = false;
	if (call->replaced || !usable) {
		close_if_open(call->fd);
		call->fd = call->fd_next;
		call->fd_next = -1;
		call->replaced = false;
	}
	pthread_mutex_unlock(&call->lock);
}

static enum channel_io
call_once(struct call *call, const struct wire_writer *request, uint64_t number,
    void *answer, size_t capacity, size_t *len_out, int timeout_ms)
{
	int fd = call_begin(call, call->away_ms);
	enum channel_io io;

	if (fd < 0)
		return CHANNEL_CLOSED;
	io = channel_call(fd, request->data, request->len, number, answer,
	    capacity, len_out, timeout_ms);
	/* A late answer is dropped by its number: WAIT keeps the channel. */
	call_end(call, io == CHANNEL_DONE || io == CHANNEL_WAIT);
	return io;
}

bool
call_ask(struct call *call, const struct wire_writer *request, bool is_first,
    uint64_t number, void *answer, size_t capacity, int timeout_ms,
    uint8_t *type_out, struct wire_reader *answer_out, struct reason *why)
{
	enum channel_io io;
	size_t len = 0;

	if (request->failed)
		return fail(why, REASON_RANGE, "request too long");
	io = call_once(call, request, number, answer, capacity, &len,
	    timeout_ms);
	if (is_first && io == CHANNEL_CLOSED)
		io = call_once(call, request, number, answer, capacity, &len,
		    timeout_ms);
	if (io == CHANNEL_WAIT)
		return fail(why, REASON_TIMEOUT, "role did not answer");
	if (io != CHANNEL_DONE)
		return fail(why, REASON_AWAY, "role is away");
	wire_reader_init(answer_out, answer, len);
	*type_out = wire_get_u8(answer_out);
	if (wire_get_u64(answer_out) != number || answer_out->failed)
		return fail(why, REASON_PROTOCOL, "malformed answer");
	return true;
}

void
call_tell(struct call *call, const struct wire_writer *packet)
{
	int fd;

	if (packet->failed)
		return;
	fd = call_begin(call, 0);
	if (fd < 0)
		return;
	channel_send(fd, packet->data, packet->len, -1);
	call_end(call, true);
}
