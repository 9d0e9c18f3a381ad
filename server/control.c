/*
 * server/control.c: control sockets, from both ends.
 *
 * The folder is opened first and the socket reached through /proc/self/fd, so
 * that a long path of the state folder does not meet sun_path's bound.
 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "channel.h"
#include "messages.h"
#include "wire.h"

enum { ROLE_TIMEOUT_S = 5, TOOL_TIMEOUT_S = 60 };

static bool
folder_open(const char *state, int *fd_out, struct reason *why)
{
	char path[4096];
	int fd;

	if (snprintf(path, sizeof(path), "%s/control", state) >=
	    (int)sizeof(path))
		return fail(why, REASON_RANGE, "%s: path too long", state);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	*fd_out = fd;
	return true;
}

static void
address_fill(struct sockaddr_un *un, int folder, const char *name)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d/%s",
	    folder, name);
}

static bool
connect_in(int folder, const char *name, int *fd_out)
{
	struct sockaddr_un un;
	int fd, saved;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	address_fill(&un, folder, name);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0) {
		*fd_out = fd;
		return true;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return false;
}

static bool
bind_in(int folder, const char *state, const char *name, int *fd_out,
    struct reason *why)
{
	struct sockaddr_un un;
	int fd;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail_errno(why, "%s/control/%s", state, name);
	address_fill(&un, folder, name);
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) != 0 ||
	    listen(fd, 32) != 0) {
		fail_errno(why, "%s/control/%s", state, name);
		close(fd);
		return false;
	}
	*fd_out = fd;
	return true;
}

bool
control_listen(const char *state, const char *name, int *fd_out,
    struct reason *why)
{
	int folder;
	bool ok;

	if (!folder_open(state, &folder, why))
		return false;
	unlinkat(folder, name, 0);
	ok = bind_in(folder, state, name, fd_out, why);
	close(folder);
	return ok;
}

static void
set_timeouts(int fd, int seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int
control_accept(int listener)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 ||
	    (peer.uid != 0 && peer.uid != geteuid())) {
		close(fd);
		return -1;
	}
	set_timeouts(fd, ROLE_TIMEOUT_S);
	return fd;
}

bool
control_send_data(int fd, const void *octets, size_t len)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, CONTROL_DATA);
	wire_put_bytes(&w, octets, len);
	return !w.failed && channel_send(fd, w.data, w.len, -1) == CHANNEL_DONE;
}

bool
control_send_end(int fd, bool ok, const char *text)
{
	unsigned char packet[REASON_TEXT_MAX + 64];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, CONTROL_END);
	wire_put_u8(&w, ok);
	wire_put_bytes(&w, text, strnlen(text, REASON_TEXT_MAX - 1));
	return channel_send(fd, w.data, w.len, -1) == CHANNEL_DONE;
}

bool
control_connect(const char *state, const char *name, int *fd_out,
    struct reason *why)
{
	bool ok;
	int folder;

	if (!folder_open(state, &folder, why)) {
		if (why != NULL && why->code == REASON_ABSENT)
			why->code = REASON_AWAY;
		return false;
	}
	ok = connect_in(folder, name, fd_out);
	if (!ok && (errno == ECONNREFUSED || errno == ENOENT))
		fail(why, REASON_AWAY, "%s: the server is not running", state);
	else if (!ok)
		fail_errno(why, "%s/control/%s", state, name);
	else
		set_timeouts(*fd_out, TOOL_TIMEOUT_S);
	close(folder);
	return ok;
}

/* CONTROL_END: what the role said. */
static bool
end_read(struct wire_reader *r, struct reason *why)
{
	char text[REASON_TEXT_MAX];
	bool ok = wire_get_u8(r) == 1;

	if (!wire_get_string(r, text, sizeof(text)) || !wire_reader_done(r))
		return fail(why, REASON_PROTOCOL,
		    "control socket: malformed answer");
	if (!ok)
		return fail(why, REASON_ABSENT, "%s", text);
	return true;
}

bool
control_ask(int fd, const void *request, size_t len,
    void (*data)(void *context, const char *octets, size_t len), void *context,
    struct reason *why)
{
	char packet[CHANNEL_PACKET_MAX + 1];
	struct wire_reader r;
	gnutls_datum_t octets;
	size_t got;
	uint8_t type;

	if (channel_send(fd, request, len, -1) != CHANNEL_DONE)
		return fail(why, REASON_AWAY, "the server went away");
	for (;;) {
		switch (
		    channel_recv(fd, packet, sizeof(packet) - 1, &got, NULL)) {
		case CHANNEL_DONE:
			break;
		case CHANNEL_WAIT:
			return fail(why, REASON_TIMEOUT,
			    "the server did not answer in %d s",
			    TOOL_TIMEOUT_S);
		default:
			return fail(why, REASON_AWAY, "the server went away");
		}
		packet[got] = '\0';
		wire_reader_init(&r, packet, got);
		type = wire_get_u8(&r);
		if (type == CONTROL_END)
			return end_read(&r, why);
		octets = wire_get_bytes(&r, CHANNEL_PACKET_MAX);
		if (type != CONTROL_DATA || !wire_reader_done(&r))
			return fail(why, REASON_PROTOCOL,
			    "control socket: malformed answer");
		data(context, (const char *)octets.data, octets.size);
	}
}
