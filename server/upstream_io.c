/*
 * server/upstream_io.c: a non-blocking socket driven by poll.
 */
#include "upstream_io.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A wait looks this often whether the relay is to stop. */
enum { STOP_LOOK_MS = 250, LAST_REPLY_MS = 1000 };

long long
upstream_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
upstream_io_init(struct upstream_io *io, const atomic_llong *stop_at_ms)
{
	memset(io, 0, sizeof(*io));
	io->fd = -1;
	io->stop_at_ms = stop_at_ms;
}

void
upstream_io_close(struct upstream_io *io)
{
	if (io->tls != NULL) {
		if (!io->dead)
			tls_session_bye(io->tls);
		tls_session_free(io->tls);
		io->tls = NULL;
	}
	if (io->fd >= 0)
		close(io->fd);
	io->fd = -1;
	io->dead = true;
	explicit_bzero(io->in, sizeof(io->in));
	io->in_len = 0;
}

static bool
must_stop(const struct upstream_io *io, long long now)
{
	long long at = io->stop_at_ms == NULL ? 0 : atomic_load(io->stop_at_ms);

	return at != 0 && now >= at;
}

/* Until events are there; false: REASON_TIMEOUT. */
static bool
wait_for(struct upstream_io *io, short events, long long deadline,
    struct reason *why)
{
	struct pollfd p = { .fd = io->fd, .events = events };

	for (;;) {
		long long now = upstream_now_ms();
		long long left = deadline - now;
		int rc;

		if (must_stop(io, now))
			return fail(why, REASON_TIMEOUT, "relay is stopping");
		if (left <= 0)
			return fail(why, REASON_TIMEOUT, "timed out");
		rc =
		    poll(&p, 1, left < STOP_LOOK_MS ? (int)left : STOP_LOOK_MS);
		if (rc > 0)
			return true;
		if (rc < 0 && errno != EINTR)
			return fail_errno(why, "poll");
	}
}

bool
upstream_io_connect(struct upstream_io *io,
    const struct sockaddr_storage *address, int timeout_ms, struct reason *why)
{
	long long deadline = upstream_now_ms() + timeout_ms;
	socklen_t len = address->ss_family == AF_INET6
			    ? sizeof(struct sockaddr_in6)
			    : sizeof(struct sockaddr_in);
	socklen_t error_len = sizeof(int);
	int error = 0, on = 1;

	io->fd = socket(address->ss_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (io->fd < 0)
		return fail_errno(why, "socket");
	setsockopt(io->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(io->fd, (const struct sockaddr *)address, len) == 0)
		return true;
	if (errno != EINPROGRESS)
		return fail_errno(why, "connect");
	if (!wait_for(io, POLLOUT, deadline, why))
		return false;
	if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &error_len) < 0)
		return fail_errno(why, "connect");
	errno = error;
	return error == 0 || fail_errno(why, "connect");
}

static bool
die(struct upstream_io *io)
{
	io->dead = true;
	return false;
}

/* What a TLS call that did not finish asks for. */
static bool
wait_tls(struct upstream_io *io, enum tls_io want, long long deadline,
    struct reason *why)
{
	switch (want) {
	case TLS_IO_READ:
		return wait_for(io, POLLIN, deadline, why);
	case TLS_IO_WRITE:
		return wait_for(io, POLLOUT, deadline, why);
	case TLS_IO_EOF:
		return fail(why, REASON_IO, "connection was closed");
	case TLS_IO_TRUNCATED:
		return fail(why, REASON_IO,
		    "connection ended without close_notify");
	case TLS_IO_FAILED:
	case TLS_IO_DONE:
		break;
	}
	return false;
}

/* As much as the other side takes now; events are what to wait for, 0 when all
 * has been sent. */
static bool
put_tls(struct upstream_io *io, const unsigned char *data, size_t len,
    size_t *put_out, short *events_out, struct reason *why)
{
	switch (tls_session_write(io->tls, data, len, put_out, why)) {
	case TLS_IO_DONE:
		*events_out = 0;
		return true;
	case TLS_IO_READ:
		*events_out = POLLIN;
		return true;
	case TLS_IO_WRITE:
		*events_out = POLLOUT;
		return true;
	case TLS_IO_EOF:
	case TLS_IO_TRUNCATED:
		return fail(why, REASON_IO, "connection was closed");
	case TLS_IO_FAILED:
		break;
	}
	return false;
}

static bool
put_clear(struct upstream_io *io, const unsigned char *data, size_t len,
    size_t *put_out, short *events_out, struct reason *why)
{
	*put_out = 0;
	while (*put_out < len) {
		ssize_t n =
		    send(io->fd, data + *put_out, len - *put_out, MSG_NOSIGNAL);

		if (n >= 0) {
			*put_out += (size_t)n;
		} else if (errno == EAGAIN) {
			*events_out = POLLOUT;
			return true;
		} else if (errno != EINTR) {
			return fail_errno(why, "send");
		}
	}
	*events_out = 0;
	return true;
}

bool
upstream_io_send_some(struct upstream_io *io, const void *data, size_t len,
    size_t *put_out, int timeout_ms, struct reason *why)
{
	long long deadline = upstream_now_ms() + timeout_ms;
	const unsigned char *octets = data;

	*put_out = 0;
	if (io->dead)
		return fail(why, REASON_IO, "connection is closed");
	for (;;) {
		size_t put = 0;
		short events = 0;

		if (!(io->tls != NULL ? put_tls : put_clear)(io,
			octets + *put_out, len - *put_out, &put, &events, why))
			return die(io);
		*put_out += put;
		if (events == 0)
			return true;
		if (!wait_for(io, events | POLLIN, deadline, why))
			return die(io);
		if (upstream_io_has_input(io))
			return true;
	}
}

bool
upstream_io_send(struct upstream_io *io, const void *data, size_t len,
    int timeout_ms, struct reason *why)
{
	size_t put;

	if (upstream_io_has_input(io))
		return upstream_io_unasked(io, why);
	if (!upstream_io_send_some(io, data, len, &put, timeout_ms, why))
		return false;
	return put == len || upstream_io_unasked(io, why);
}

bool
upstream_io_unasked(struct upstream_io *io, struct reason *why)
{
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	if (upstream_io_last_reply(io, &reply))
		return fail(why, REASON_PROTOCOL,
		    "it spoke without being asked: %.180s", reply.text);
	if (reply.broken != NULL || io->in_len > 0)
		return fail(why, REASON_PROTOCOL,
		    "it spoke without being asked");
	return fail(why, REASON_IO, "connection was closed");
}

static bool
fill_tls(struct upstream_io *io, long long deadline, struct reason *why)
{
	for (;;) {
		size_t got = 0;
		enum tls_io want;

		want = tls_session_read(io->tls, io->in + io->in_len,
		    sizeof(io->in) - io->in_len, &got, why);
		io->in_len += got;
		if (got > 0)
			return true;
		if (want != TLS_IO_DONE && !wait_tls(io, want, deadline, why))
			return false;
		if (upstream_now_ms() >= deadline)
			return fail(why, REASON_TIMEOUT, "timed out");
	}
}

static bool
fill_clear(struct upstream_io *io, long long deadline, struct reason *why)
{
	for (;;) {
		ssize_t n = recv(io->fd, io->in + io->in_len,
		    sizeof(io->in) - io->in_len, 0);

		if (n > 0) {
			io->in_len += (size_t)n;
			return true;
		}
		if (n == 0)
			return fail(why, REASON_IO, "connection was closed");
		if (errno != EAGAIN && errno != EINTR)
			return fail_errno(why, "recv");
		if (!wait_for(io, POLLIN, deadline, why))
			return false;
	}
}

/* A server that sends pipelined replies one by one, with Nagle's algorithm,
 * would wait 40 ms for our delayed acknowledgement. */
static void
acknowledge_at_once(const struct upstream_io *io)
{
	int on = 1;

	setsockopt(io->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

/* At least one more octet; in always has room, because a line that fills it
 * was refused before. */
static bool
fill(struct upstream_io *io, long long deadline, struct reason *why)
{
	acknowledge_at_once(io);
	return io->tls != NULL ? fill_tls(io, deadline, why)
			       : fill_clear(io, deadline, why);
}

bool
upstream_io_reply(struct upstream_io *io, struct upstream_reply *reply,
    int timeout_ms, struct reason *why)
{
	long long deadline = upstream_now_ms() + timeout_ms;

	for (;;) {
		enum reply_step step;
		size_t used = 0;

		step = upstream_reply_feed(reply, io->in, io->in_len, &used);
		io->in_len -= used;
		memmove(io->in, io->in + used, io->in_len);
		if (step == REPLY_DONE)
			return true;
		if (step == REPLY_BROKEN) {
			fail(why, REASON_PROTOCOL, "%s", reply->broken);
			return die(io);
		}
		if (io->dead) {
			fail(why, REASON_IO, "connection is closed");
			return false;
		}
		if (!fill(io, deadline, why))
			return die(io);
	}
}

bool
upstream_io_last_reply(struct upstream_io *io, struct upstream_reply *reply)
{
	bool got;

	/* The socket still has what came before the reset; a TLS session
	 * that failed has nothing more to give. */
	if (io->dead && io->tls == NULL)
		io->dead = false;
	got = upstream_io_reply(io, reply, LAST_REPLY_MS, NULL);
	io->dead = true;
	return got;
}

bool
upstream_io_has_input(struct upstream_io *io)
{
	char octet;
	ssize_t n;

	if (io->in_len > 0 || io->dead)
		return true;
	if (io->tls != NULL) {
		size_t got = 0;
		enum tls_io want;

		/* Post-handshake messages (tickets) are not input. */
		want = tls_session_read(io->tls, io->in, sizeof(io->in), &got,
		    NULL);
		io->in_len = got;
		if (want != TLS_IO_DONE && want != TLS_IO_READ &&
		    want != TLS_IO_WRITE)
			io->dead = true;
		return got > 0 || io->dead;
	}
	n = recv(io->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT);
	return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

bool
upstream_io_has_reply(struct upstream_io *io)
{
	return upstream_io_has_input(io) &&
	       (io->in_len > 0 ||
		   (io->tls == NULL && upstream_io_has_octets(io)));
}

bool
upstream_io_has_octets(const struct upstream_io *io)
{
	char octet;

	return io->in_len > 0 ||
	       recv(io->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool
upstream_io_start_tls(struct upstream_io *io,
    const struct tls_connect_options *options, int timeout_ms,
    struct reason *why)
{
	long long deadline = upstream_now_ms() + timeout_ms;
	enum tls_io want;

	if (io->in_len > 0) {
		fail(why, REASON_PROTOCOL, "octets before the handshake");
		return die(io);
	}
	if (!tls_session_connect(&io->tls, options, io->fd, why))
		return die(io);
	while ((want = tls_session_handshake(io->tls, why)) != TLS_IO_DONE)
		if (!wait_tls(io, want, deadline, why))
			return die(io);
	return true;
}
