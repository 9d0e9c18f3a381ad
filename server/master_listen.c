/*
 * server/master_listen.c: listening sockets, by bind or from the service
 * manager.
 *
 * They stay with the master, so that a session role that dies refuses nobody:
 * connections wait in the kernel's queue for its successor.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "channel.h"
#include "config_value.h"
#include "master.h"
#include "wire.h"

enum { BIND_STEP_MS = 20 };

static void
set_options(int fd, int family)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Accepted sockets inherit it: Nagle costs 40 ms a login. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
}

/* A message for what people meet most. */
static bool
bind_failed(const char *name, const char *address, struct reason *why)
{
	switch (errno) {
	case EADDRINUSE:
		return fail(why, REASON_EXISTS,
		    "listener %s: %s is in use by another program", name,
		    address);
	case EACCES:
		return fail(why, REASON_PERMISSION,
		    "listener %s: %s: ports below 1024 need root", name,
		    address);
	case EADDRNOTAVAIL:
		return fail(why, REASON_ABSENT,
		    "listener %s: %s is no address of this machine", name,
		    address);
	default:
		return fail_errno(why, "listener %s: %s", name, address);
	}
}

/* The roles of a master that was killed may still be closing its listeners
 * when they have let its lock go. */
static bool
bind_patiently(int fd, const struct sockaddr_storage *ss, socklen_t len,
    unsigned patience_ms)
{
	for (unsigned waited = 0;; waited += BIND_STEP_MS) {
		if (bind(fd, (const struct sockaddr *)ss, len) == 0 &&
		    listen(fd, SOMAXCONN) == 0)
			return true;
		if (errno != EADDRINUSE || waited >= patience_ms)
			return false;
		usleep(BIND_STEP_MS * 1000);
	}
}

static bool
bind_one(const char *name, const char *address, unsigned patience_ms,
    int *fd_out, struct reason *why)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int low, fd;

	if (!value_address(address, &ss, &len))
		return fail(why, REASON_SYNTAX, "listener %s: %s", name,
		    address);
	low =
	    socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
	if (low >= 0)
		close(low);
	if (fd < 0)
		return bind_failed(name, address, why);
	set_options(fd, ss.ss_family);
	if (!bind_patiently(fd, &ss, len, patience_ms)) {
		bind_failed(name, address, why);
		close(fd);
		return false;
	}
	*fd_out = fd;
	return true;
}

static struct listening *
add(struct master *m, const char *name, const char *address, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct listening *l;

	if (m->listening_count == LISTENINGS_MOST) {
		close(fd);
		return NULL;
	}
	l = &m->listenings[m->listening_count++];
	memset(l, 0, sizeof(*l));
	l->fd = fd;
	snprintf(l->name, sizeof(l->name), "%s", name);
	snprintf(l->address, sizeof(l->address), "%s", address);
	memset(&ss, 0, sizeof(ss));
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		value_address_print(&ss, l->bound);
	log_line(SAY_NOTE, "listening", "listener=%s address=%s", name,
	    l->bound);
	return l;
}

void
listen_inherit(struct master *m)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < count; i++) {
		int low = SD_LISTEN_FDS_START + i;
		int fd = fcntl(low, F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
		struct listening *l;

		close(low);
		if (fd < 0)
			continue;
		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
			log_line(SAY_ERROR, "listening",
			    "refused=\"descriptor %d of the service manager "
			    "is no listening socket\"",
			    low);
			close(fd);
			continue;
		}
		l = add(m, names[i], "", fd);
		if (l != NULL)
			l->inherited = true;
	}
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* Sockets of the service manager stand for all addresses of their listener. */
static bool
claim_inherited(struct master *m, const char *name, uint32_t number)
{
	bool any = false;

	for (size_t i = 0; i < m->listening_count; i++) {
		struct listening *l = &m->listenings[i];

		if (!l->inherited || strcmp(l->name, name) != 0)
			continue;
		l->number = number;
		any = true;
	}
	return any;
}

static struct listening *
find(struct master *m, const char *name, const char *address)
{
	for (size_t i = 0; i < m->listening_count; i++) {
		struct listening *l = &m->listenings[i];

		if (!l->inherited && strcmp(l->address, address) == 0 &&
		    strcmp(l->name, name) == 0)
			return l;
	}
	return NULL;
}

/* The same address under another listener's name: take the socket over; but
 * for port 0, which is another one each time. */
static struct listening *
find_renamed(struct master *m, const char *address, uint32_t number)
{
	if (strcmp(strrchr(address, ':'), ":0") == 0)
		return NULL;
	for (size_t i = 0; i < m->listening_count; i++) {
		struct listening *l = &m->listenings[i];

		if (!l->inherited && l->number != number &&
		    strcmp(l->address, address) == 0)
			return l;
	}
	return NULL;
}

static bool
has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool
bind_listener(struct master *m, const struct config_listener *c,
    uint32_t number, unsigned patience_ms, struct reason *why)
{
	if (claim_inherited(m, c->name, number))
		return true;
	for (size_t i = 0; i < c->address_count; i++) {
		const char *address = c->addresses[i];
		struct listening *l = find(m, c->name, address), *old;
		int fd = -1;

		if (l != NULL) {
			l->number = number;
			continue;
		}
		if (strncmp(address, "[::]:", 5) == 0 && !has_ipv6()) {
			log_line(SAY_WARNING, "listening",
			    "listener=%s address=%s skipped=\"no IPv6 here\"",
			    c->name, address);
			continue;
		}
		old = find_renamed(m, address, number);
		if (old != NULL)
			fd = fcntl(old->fd, F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
		else if (!bind_one(c->name, address, patience_ms, &fd, why))
			return false;
		l = fd < 0 ? NULL : add(m, c->name, address, fd);
		if (l == NULL)
			return fail(why, REASON_RANGE,
			    "listener %s: expected at most %d addresses",
			    c->name, LISTENINGS_MOST);
		l->number = number;
	}
	return true;
}

/* Clients of such a socket wait for a greeting that never comes. */
static void
report_unclaimed(const struct master *m, uint32_t number)
{
	char name[LOG_LINE_MAX / 4];

	for (size_t i = 0; i < m->listening_count; i++) {
		const struct listening *l = &m->listenings[i];

		if (l->inherited && l->number != number)
			log_line(SAY_ERROR, "listening",
			    "listener=%s address=%s unserved=\"the "
			    "configuration has no listener of the name that "
			    "the service manager gave\"",
			    log_value(name, sizeof(name), l->name,
				strlen(l->name)),
			    l->bound);
	}
}

bool
listen_bind(struct master *m, const struct generation_entry *g,
    unsigned patience_ms, struct reason *why)
{
	const struct config *c = g->prepared->config;

	for (size_t i = 0; i < c->listener_count; i++)
		if (!bind_listener(m, &c->listeners[i], g->number, patience_ms,
			why))
			return false;
	report_unclaimed(m, g->number);
	return true;
}

void
listen_send(struct master *m, const struct generation_entry *g)
{
	unsigned char packet[128];
	struct wire_writer w;

	for (size_t i = 0; i < m->listening_count; i++) {
		const struct listening *l = &m->listenings[i];

		if (l->number != g->number)
			continue;
		wire_writer_init(&w, packet, sizeof(packet));
		wire_put_u8(&w, MASTER_LISTENER);
		wire_put_u32(&w, g->number);
		wire_put_string(&w, l->name);
		role_send(m, ROLE_SESSION, w.data, w.len, l->fd);
	}
}

void
listen_sweep(struct master *m)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->listening_count; i++) {
		struct listening *l = &m->listenings[i];

		/* Those of the service manager may be wanted again. */
		if (l->inherited || l->number == m->current->number) {
			m->listenings[kept++] = *l;
			continue;
		}
		log_line(SAY_NOTE, "listening",
		    "listener=%s address=%s closed=yes", l->name, l->bound);
		close(l->fd);
	}
	m->listening_count = kept;
}
