/*
 * server/session.c: the session role: a main thread and a pool.
 *
 * The main thread reads the master's packets and keeps the clock; it drives
 * no session.  The pool's threads share one epoll set and drive whatever
 * comes out of it.  The main thread has signer channel 0, because building a
 * configuration takes a signature.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "session.h"
#include "signer_client.h"

enum {
	TICK_MS = 1000,
	STOP_TICK_MS = 20,    /* while sessions are being waited for */
	STOP_MARGIN_MS = 300, /* for last replies, before the master ends us */
	TRIM_S = 60,
	THREADS_LEAST = 2,
};

struct server server;

static struct {
	pthread_t *threads;
	unsigned count;
	struct watch watch;
	int wake; /* eventfd: readable for all when it is time to end */
} pool = { .watch = { WATCH_STOP }, .wake = -1 };

/* Main thread only. */
static int64_t stop_at_ms; /* 0: go on */
static int64_t trimmed_at;

static _Thread_local unsigned thread_index;

unsigned
server_thread(void)
{
	return thread_index;
}

int64_t
server_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_sec;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void
die(const char *what)
{
	log_line(SAY_ERROR, "exit", "what=%s detail=\"%s\"", what,
	    strerror(errno));
	_exit(1);
}

/* Give the event to what it is about; false: the pool ends. */
static bool
serve(void *target)
{
	const struct watch *watch = target;

	switch (watch->kind) {
	case WATCH_SESSION:
		session_drive(target);
		return true;
	case WATCH_LISTENER:
		listener_accept(target);
		return true;
	case WATCH_AUTH:
		auth_link_read(target);
		return true;
	case WATCH_RELAY:
		relay_link_read(target);
		return true;
	case WATCH_STOP:
		break;
	}
	return false;
}

static void *
run_thread(void *index)
{
	struct epoll_event event;
	int n;

	thread_index = (unsigned)(uintptr_t)index;
	signer_client_use(thread_index);
	/* One event at a time: a session that holds the thread up must not
	 * hold up others that wait in its hand. */
	do {
		n = epoll_wait(server.epoll, &event, 1, -1);
	} while (n <= 0 || serve(event.data.ptr));
	return NULL;
}

static void
pool_start(void)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.ptr = &pool.watch,
	};
	unsigned i;

	pool.count = server.info.threads - 1;
	pool.threads = calloc(pool.count, sizeof *pool.threads);
	pool.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool.threads == NULL || pool.wake < 0 ||
	    epoll_ctl(server.epoll, EPOLL_CTL_ADD, pool.wake, &event) != 0)
		die("pool");
	for (i = 0; i < pool.count; i++) {
		errno = pthread_create(&pool.threads[i], NULL, run_thread,
		    (void *)(uintptr_t)(i + 1));
		if (errno != 0)
			die("thread");
	}
}

static void
pool_stop(void)
{
	uint64_t one = 1;
	unsigned i;

	if (write(pool.wake, &one, sizeof one) != sizeof one)
		die("eventfd");
	for (i = 0; i < pool.count; i++)
		pthread_join(pool.threads[i], NULL);
	free(pool.threads);
}

static bool
prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	(void)self;
	return generation_prepare(number, bundle, why);
}

static void
commit(void *self, uint32_t number)
{
	(void)self;
	generation_commit(number);
}

static void
retire(void *self, uint32_t number)
{
	(void)self;
	generation_retire(number);
}

static void
peer(void *self, enum role role, unsigned index, int fd)
{
	(void)self;
	switch (role) {
	case ROLE_SIGNER:
		signer_client_set(index, fd);
		signer_wait_over();
		return;
	case ROLE_AUTH:
		auth_link_set(server.auth, fd);
		return;
	case ROLE_RELAY:
		relay_link_set(server.relay, fd, server.spool);
		return;
	default:
		log_line(SAY_ERROR, "peer", "role=%d detail=unexpected",
		    (int)role);
		close(fd);
	}
}

static void
listener(void *self, uint32_t number, const char *name, int fd)
{
	(void)self;
	listener_add(number, name, fd);
}

static void
ticket_key(void *self, const char *name, const unsigned char key[64])
{
	(void)self;
	generation_ticket_key(name, key);
}

static void
staple(void *self, uint32_t number, const char *certificate, int64_t until,
    const gnutls_datum_t *response)
{
	(void)self;
	generation_staple(number, certificate, until, response);
}

static void
stop(void *self, uint32_t ms)
{
	(void)self;
	atomic_store(&server.stopping, true);
	stop_at_ms = now_ms() + (ms > STOP_MARGIN_MS ? ms - STOP_MARGIN_MS : 0);
	listeners_close();
	generations_leave();
}

static void
spool_status(json_t *object)
{
	struct spool_condition condition;
	json_t *spool;

	if (server.spool == NULL)
		return;
	spool_condition(server.spool, &condition);
	spool = json_object();
	json_object_set_new(spool, "disk",
	    json_string(condition.failing ? "failing"
			: condition.low   ? "low"
					  : "well"));
	json_object_set_new(spool, "free",
	    json_integer((json_int_t)(condition.free_octets & INT64_MAX)));
	json_object_set_new(spool, "promised",
	    json_integer((json_int_t)(condition.promised & INT64_MAX)));
	json_object_set_new(spool, "reserve",
	    json_integer((json_int_t)(condition.reserve & INT64_MAX)));
	if (condition.failing)
		json_object_set_new(spool, "trouble",
		    json_string(condition.trouble.text));
	json_object_set_new(object, "spool", spool);
}

static void
status(void *self, json_t *object)
{
	(void)self;
	spool_status(object);
	json_object_set_new(object, "sessions",
	    json_integer(atomic_load(&server.sessions)));
	json_object_set_new(object, "connections",
	    json_integer((json_int_t)atomic_load(&server.connections)));
	json_object_set_new(object, "refused_connections",
	    json_integer((json_int_t)atomic_load(&server.refused)));
	json_object_set_new(object, "accepted_messages",
	    json_integer((json_int_t)atomic_load(&server.accepted)));
	json_object_set_new(object, "threads", json_integer(pool.count));
	json_object_set_new(object, "decisions_not_told",
	    json_integer((json_int_t)relay_link_dropped(server.relay)));
}

static const struct role_handler handler = {
	.prepare = prepare,
	.commit = commit,
	.retire = retire,
	.peer = peer,
	.listener = listener,
	.ticket_key = ticket_key,
	.staple = staple,
	.stop = stop,
	.status = status,
};

static void
server_init(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (server.info.threads < THREADS_LEAST)
		server.info.threads = THREADS_LEAST;
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.limits = limits_new();
	server.rates = rates_new();
	server.auth = auth_link_new();
	server.proofs = proofs_new();
	server.relay = relay_link_new(server.info.start_id, server.proofs);
	if (server.epoll < 0 || server.limits == NULL || server.rates == NULL ||
	    server.auth == NULL || server.proofs == NULL ||
	    server.relay == NULL)
		die("start");
	pthread_rwlock_init(&server.configurations, NULL);
	pthread_mutex_init(&server.signer_wait, NULL);
	wheel_init(&server.wheel, server_now());
	listeners_init();
	signer_client_use(0);
}

static void
tick(void)
{
	wheel_tick(&server.wheel, server_now(), session_expired);
	listeners_tick();
	relay_link_tick(server.relay);
	/* What many closed sessions have freed goes back to the kernel only
	 * when it is asked to. */
	if (server_now() - trimmed_at >= TRIM_S) {
		trimmed_at = server_now();
		malloc_trim(0);
	}
}

static bool
is_time_to_end(void)
{
	return stop_at_ms != 0 &&
	       (atomic_load(&server.sessions) == 0 || now_ms() >= stop_at_ms);
}

/* The pool is gone.  A message that is still being received goes before the
 * spool does; one that the committer has belongs to him. */
static void
end_transfers(void)
{
	struct generation *generation;
	struct session *s;

	for (generation = server.generations; generation != NULL;
	     generation = generation->next)
		for (s = generation->sessions; s != NULL; s = s->next)
			if (s->transaction != NULL &&
			    s->transaction->message != NULL)
				session_reset(s);
}

/* A message that was stored at the last moment is still told so. */
static void
say_last_words(struct session *s)
{
	if (session_is(s, SESSION_STORED))
		s->state->run(s);
	if (s->state->speaks)
		session_say_leaving(s);
	session_flush(s);
}

/* The committer is gone too: what is left is ours. */
static void
end_sessions(void)
{
	struct generation *generation;
	struct session *s;

	while ((generation = server.generations) != NULL) {
		s = generation->sessions;
		if (s == NULL) {
			server.generations = generation->next;
			continue;
		}
		say_last_words(s);
		session_drop(s, CLOSE_SHUTDOWN);
		session_free(s);
	}
}

static _Noreturn void
finish(void)
{
	pool_stop();
	end_transfers();
	if (server.spool != NULL)
		spool_close(server.spool);
	end_sessions();
	role_say_stopped();
	_exit(0);
}

int
session_main(void)
{
	struct pollfd master = { .fd = ROLE_MASTER_FD, .events = POLLIN };
	int64_t last_tick = 0;

	role_start(&server.info);
	server_init();
	pool_start();
	while (!is_time_to_end()) {
		if (poll(&master, 1, stop_at_ms != 0 ? STOP_TICK_MS : TICK_MS) >
		    0)
			role_dispatch(&handler, NULL);
		if (server_now() != last_tick) {
			last_tick = server_now();
			tick();
		}
	}
	finish();
}
