/*
 * server/channel.c: packets between roles, over SOCK_SEQPACKET.
 */
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

bool
channel_pair(int fd_out[static 2], bool nonblocking, struct reason *why)
{
	int type = SOCK_SEQPACKET | SOCK_CLOEXEC;

	if (nonblocking)
		type |= SOCK_NONBLOCK;
	if (socketpair(AF_UNIX, type, 0, fd_out) != 0)
		return fail_errno(why, "socket pair between roles");
	return true;
}

static enum channel_io
channel_error(void)
{
	switch (errno) {
	case EAGAIN:
#if EAGAIN != EWOULDBLOCK
	case EWOULDBLOCK:
#endif
		return CHANNEL_WAIT;
	case EPIPE:
	case ECONNRESET:
		return CHANNEL_CLOSED;
	default:
		return CHANNEL_FAILED;
	}
}

enum channel_io
channel_send(int fd, const void *data, size_t len, int pass_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t put;

	if (len == 0 || len > CHANNEL_PACKET_MAX)
		return CHANNEL_FAILED;
	memcpy(&iov.iov_base, &data, sizeof(data)); /* const */
	if (pass_fd >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	do
		put = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0)
		return channel_error();
	return (size_t)put == len ? CHANNEL_DONE : CHANNEL_FAILED;
}

/* Take the passed descriptors out of msg: the first one, close the others. */
static int
take_descriptor(struct msghdr *msg)
{
	int kept = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL;
	     c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int),
			    sizeof(int));
			if (kept < 0)
				kept = fd;
			else
				close(fd);
		}
	}
	return kept;
}

enum channel_io
channel_recv(int fd, void *data, size_t capacity, size_t *len_out, int *fd_out)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = capacity };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space) };
	ssize_t got;
	int passed;

	if (fd_out != NULL)
		*fd_out = -1;
	do
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return channel_error();
	passed = take_descriptor(&msg);
	if (got == 0 || (msg.msg_flags & MSG_TRUNC) != 0) {
		if (passed >= 0)
			close(passed);
		/* An empty packet is never sent: it is end of file. */
		return got == 0 ? CHANNEL_CLOSED : CHANNEL_FAILED;
	}
	if (fd_out != NULL)
		*fd_out = passed;
	else if (passed >= 0)
		close(passed);
	*len_out = (size_t)got;
	return CHANNEL_DONE;
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait for events on fd until the deadline. */
static enum channel_io
wait_until(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline - now_ms();
		int rc;

		if (left <= 0)
			return CHANNEL_WAIT;
		rc = poll(&p, 1, left > 3600000 ? 3600000 : (int)left);
		if (rc > 0)
			return CHANNEL_DONE;
		if (rc < 0 && errno != EINTR)
			return CHANNEL_FAILED;
	}
}

static bool
answers(const unsigned char *answer, size_t len, uint64_t number)
{
	uint64_t got = 0;

	if (len < 9)
		return false;
	for (size_t i = 1; i < 9; i++)
		got = got << 8 | answer[i];
	return got == number;
}

enum channel_io
channel_call(int fd, const void *request, size_t request_len, uint64_t number,
    void *answer, size_t capacity, size_t *len_out, int timeout_ms)
{
	int64_t deadline = now_ms() + timeout_ms;
	enum channel_io io;

	for (;;) {
		io = wait_until(fd, POLLOUT, deadline);
		if (io != CHANNEL_DONE)
			return io;
		io = channel_send(fd, request, request_len, -1);
		if (io == CHANNEL_DONE)
			break;
		if (io != CHANNEL_WAIT)
			return io;
	}
	for (;;) {
		io = wait_until(fd, POLLIN, deadline);
		if (io != CHANNEL_DONE)
			return io;
		io = channel_recv(fd, answer, capacity, len_out, NULL);
		if (io == CHANNEL_DONE && answers(answer, *len_out, number))
			return CHANNEL_DONE;
		if (io == CHANNEL_CLOSED || io == CHANNEL_FAILED)
			return io;
	}
}
