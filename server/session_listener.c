/*
 * server/session_listener.c: accepting connections.
 *
 * Listening sockets are in the epoll set like everything else, one-shot: the
 * thread that gets the event accepts a bounded number and arms it again.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

enum { ACCEPT_MOST = 8 };

void
listeners_init(void)
{
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++) {
		server.listeners[i].watch.kind = WATCH_LISTENER;
		server.listeners[i].fd = -1;
		pthread_mutex_init(&server.listeners[i].lock, NULL);
	}
}

/* Under the listener's lock. */
static void
listener_arm(struct listener *listener)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLONESHOT,
		.data.ptr = listener,
	};
	int operation = listener->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	listener->starved = false;
	if (epoll_ctl(server.epoll, operation, listener->fd, &event) == 0)
		listener->armed = true;
	else
		listener->starved = true; /* the timer tries again */
}

/* Under the listener's lock.  Out of the set first: the socket lives on in
 * the master, and would go on giving us events. */
static void
listener_close(struct listener *listener)
{
	if (listener->armed)
		epoll_ctl(server.epoll, EPOLL_CTL_DEL, listener->fd, NULL);
	close(listener->fd);
	listener->fd = -1;
	listener->armed = listener->starved = listener->alarmed = false;
}

void
listener_add(uint32_t number, const char *name, int fd)
{
	struct listener *listener;
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++) {
		listener = &server.listeners[i];
		pthread_mutex_lock(&listener->lock);
		if (listener->fd < 0 && strlen(name) < sizeof listener->name) {
			strcpy(listener->name, name);
			listener->number = number;
			listener->fd = fd;
			pthread_mutex_unlock(&listener->lock);
			return;
		}
		pthread_mutex_unlock(&listener->lock);
	}
	log_line(SAY_ERROR, "listener", "name=%s detail=\"too many\"", name);
	close(fd);
}

/* Did this name get sockets with that configuration? */
static bool
has_newer(const char *name, uint32_t number)
{
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++)
		if (server.listeners[i].fd >= 0 &&
		    server.listeners[i].number == number &&
		    strcmp(server.listeners[i].name, name) == 0)
			return true;
	return false;
}

void
listeners_commit(const struct generation *generation)
{
	struct listener *listener;
	bool stays;
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++) {
		listener = &server.listeners[i];
		pthread_mutex_lock(&listener->lock);
		stays = listener->fd >= 0 &&
			config_listener(generation->config, listener->name) !=
			    NULL &&
			(listener->number >= generation->number ||
			    !has_newer(listener->name, generation->number));
		if (stays && !listener->armed)
			listener_arm(listener);
		else if (!stays && listener->fd >= 0)
			listener_close(listener);
		pthread_mutex_unlock(&listener->lock);
	}
}

void
listeners_close(void)
{
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++) {
		pthread_mutex_lock(&server.listeners[i].lock);
		if (server.listeners[i].fd >= 0)
			listener_close(&server.listeners[i]);
		pthread_mutex_unlock(&server.listeners[i].lock);
	}
}

void
listeners_tick(void)
{
	size_t i;

	for (i = 0; i < LISTENERS_MOST; i++) {
		pthread_mutex_lock(&server.listeners[i].lock);
		if (server.listeners[i].starved)
			listener_arm(&server.listeners[i]);
		pthread_mutex_unlock(&server.listeners[i].lock);
	}
}

static bool
is_starved(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS ||
	       error == ENOMEM;
}

/* The service of that name in generation; false if it has none. */
static bool
find_service(const struct generation *generation, const char *name,
    unsigned *service_out)
{
	const struct config *config = generation->config;
	size_t i;

	for (i = 0; i < config->listener_count; i++)
		if (strcmp(config->listeners[i].name, name) == 0) {
			*service_out = (unsigned)i;
			return true;
		}
	return false;
}

static void
welcome(int fd, const struct sockaddr_storage *peer, const char *name)
{
	struct generation *generation = generation_current();
	unsigned service;
	int on = 1;

	/* Replies are written whole: nothing is gained by waiting. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (generation != NULL && find_service(generation, name, &service)) {
		session_begin(fd, peer, generation, service);
		return;
	}
	if (generation != NULL)
		generation_unref(generation);
	close(fd);
}

/* One connection; false when there is no more, or none can be had. */
static bool
accept_one(struct listener *listener, int *fd_out,
    struct sockaddr_storage *peer)
{
	socklen_t len = sizeof *peer;

	do {
		*fd_out = accept4(listener->fd, (struct sockaddr *)peer, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (*fd_out < 0 && (errno == ECONNABORTED || errno == EINTR));
	return *fd_out >= 0;
}

/* Under the lock.  One alarm for as long as it lasts, however often the timer
 * tries. */
static void
stop_starved(struct listener *listener)
{
	listener->starved = true;
	if (!listener->alarmed)
		log_line(SAY_ALARM, "accept",
		    "listener=%s detail=\"%s; trying again every second\"",
		    listener->name, strerrordesc_np(errno));
	listener->alarmed = true;
}

static void
note_recovery(struct listener *listener)
{
	if (listener->alarmed)
		log_line(SAY_NOTE, "accept", "listener=%s recovered=yes",
		    listener->name);
	listener->alarmed = false;
}

/* As many as the bound allows; arms again or leaves that to the timer. */
static size_t
accept_some(struct listener *listener, int fds[ACCEPT_MOST],
    struct sockaddr_storage peers[ACCEPT_MOST], char name[64])
{
	size_t n = 0;

	pthread_mutex_lock(&listener->lock);
	if (listener->fd < 0 || !listener->armed) {
		pthread_mutex_unlock(&listener->lock);
		return 0;
	}
	strcpy(name, listener->name);
	while (n < ACCEPT_MOST && accept_one(listener, &fds[n], &peers[n]))
		n++;
	if (n < ACCEPT_MOST && is_starved(errno)) {
		stop_starved(listener);
	} else {
		if (n < ACCEPT_MOST)
			note_recovery(listener);
		listener_arm(listener);
	}
	pthread_mutex_unlock(&listener->lock);
	return n;
}

void
listener_accept(struct listener *listener)
{
	struct sockaddr_storage peers[ACCEPT_MOST];
	int fds[ACCEPT_MOST];
	char name[64];
	size_t n = accept_some(listener, fds, peers, name), i;

	for (i = 0; i < n; i++)
		welcome(fds[i], &peers[i], name);
}
