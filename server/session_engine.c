/*
 * server/session_engine.c: one engine drives every session.
 *
 * A state runs until it must wait and says for what; the engine does the
 * waiting: sends what is to be sent, fills the buffer, arms the socket, parks.
 *
 * What other threads say to a session are bits of one atomic word, set in the
 * same operation that wakes it: who sets them need not touch the session
 * again, unless it was parked, and then nobody else can.
 */
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

/* Steps of one session before another gets the thread. */
enum { DRIVE_BUDGET = 64 };

static const char *const cause_words[CLOSE_CAUSES] = {
	[CLOSE_NONE] = "none",
	[CLOSE_QUIT] = "quit",
	[CLOSE_CLIENT] = "client-left",
	[CLOSE_TIMEOUT] = "timeout",
	[CLOSE_IO] = "io",
	[CLOSE_TLS] = "tls",
	[CLOSE_EARLY] = "early-input",
	[CLOSE_HTTP] = "other-protocol",
	[CLOSE_MALFORMED] = "malformed",
	[CLOSE_ERRORS] = "errors",
	[CLOSE_AUTH] = "auth-tries",
	[CLOSE_CERTIFICATE] = "certificate",
	[CLOSE_SIZE] = "size",
	[CLOSE_SIGNER] = "signer-away",
	[CLOSE_SHUTDOWN] = "shutdown",
	[CLOSE_REVOKED] = "revoked",
	[CLOSE_MEMORY] = "memory",
};

bool
session_is(const struct session *s, unsigned bit)
{
	return (atomic_load(&s->bits) & bit) != 0;
}

void
session_deadline(struct session *s, unsigned seconds)
{
	wheel_set(&server.wheel, &s->timer, server_now() + seconds);
}

struct service *
session_service(const struct session *s)
{
	return &s->generation->services[s->service];
}

enum step
session_enter(struct session *s, const struct state *state)
{
	s->state = state;
	log_line(SAY_DEBUG, "state", "session=%s state=%s", s->id, state->name);
	return STEP_AGAIN;
}

/*
 * The only place that arms.  The caller owns the session, and no longer does
 * once the kernel has it.  The bit says the same in the terms of C, where
 * only an atomic orders what one thread wrote and the next one reads.
 */
static bool
arm(struct session *s, uint32_t events)
{
	struct epoll_event event = {
		.events = events | EPOLLONESHOT,
		.data.ptr = s,
	};
	bool registered = s->registered;
	int operation = registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int fd = s->fd;

	s->registered = true;
	atomic_fetch_or(&s->bits, SESSION_ARMED);
	if (epoll_ctl(server.epoll, operation, fd, &event) == 0)
		return true;
	s->registered = registered; /* still the caller's */
	return false;
}

void
session_wake(struct session *s, unsigned bits)
{
	unsigned old = atomic_fetch_or(&s->bits, bits | SESSION_WOKEN);

	/* Woken by somebody else: he arms it.  Not parked: the owner will
	 * find the bit before he parks. */
	if ((old & SESSION_PARKED) == 0 || (old & SESSION_WOKEN) != 0)
		return;
	/* Writable at once, nearly always; a client that takes nothing of
	 * ours becomes readable when its deadline passes.  If the kernel has
	 * no memory for it, the next waker tries, at the latest the wheel. */
	if (!arm(s, EPOLLIN | EPOLLOUT))
		atomic_fetch_and(&s->bits, ~(unsigned)SESSION_WOKEN);
}

/* Now nobody but a waker may touch the session; false: woken meanwhile. */
static bool
park(struct session *s)
{
	unsigned bits = atomic_load(&s->bits);

	do {
		if ((bits & SESSION_WOKEN) != 0)
			return false;
	} while (!atomic_compare_exchange_weak(&s->bits, &bits,
	    bits | SESSION_PARKED));
	return true;
}

/*
 * Under the wheel's lock.  The socket is told, not the session: its owner
 * reads end of file, or is hung up on if he waits for room.  Which of the
 * two is read after the bit is set, and the owner looks at the bit after he
 * has said what he waits for: one sees the other.
 */
void
session_expired(struct wheel_entry *entry)
{
	struct session *s =
	    (struct session *)((char *)entry - offsetof(struct session, timer));
	bool for_room;

	session_wake(s, SESSION_EXPIRED);
	for_room = (atomic_load(&s->waits) & WAITS_FOR_ROOM) != 0;
	shutdown(s->fd, for_room ? SHUT_RDWR : SHUT_RD);
}

/* Who waits for a command is told by end of file.  Who does not will look at
 * the bit before his next command; cutting his input off would cost him the
 * message he is sending. */
void
session_leave(struct session *s)
{
	atomic_fetch_or(&s->bits, SESSION_LEAVE);
	if ((atomic_load(&s->waits) & WAITS_IDLE) != 0)
		shutdown(s->fd, SHUT_RD);
}

/* All who wait for their client's input are told by end of file, in the middle
 * of a message as well: it will not be accepted.  A client that takes no
 * replies is hung up on. */
void
session_revoke(struct session *s)
{
	unsigned waits;

	atomic_fetch_or(&s->bits, SESSION_REVOKED);
	waits = atomic_load(&s->waits);
	if ((waits & WAITS_FOR_ROOM) != 0)
		shutdown(s->fd, SHUT_RDWR);
	else if ((waits & WAITS_FOR_INPUT) != 0)
		shutdown(s->fd, SHUT_RD);
}

static void
make_id(char id[SESSION_ID_SIZE])
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char octets[SESSION_ID_SIZE - 1];
	size_t i;

	if (getrandom(octets, sizeof octets, 0) != sizeof octets)
		memset(octets, 0, sizeof octets);
	for (i = 0; i < sizeof octets; i++)
		id[i] = letters[octets[i] & 31];
	id[i] = '\0';
}

static void
leave_generation(struct session *s)
{
	struct generation *generation = s->generation;

	pthread_mutex_lock(&generation->lock);
	if (s->link != NULL) {
		*s->link = s->next;
		if (s->next != NULL)
			s->next->link = s->link;
		s->link = NULL;
	}
	pthread_mutex_unlock(&generation->lock);
}

static void
join_generation(struct session *s)
{
	struct generation *generation = s->generation;

	pthread_mutex_lock(&generation->lock);
	s->next = generation->sessions;
	s->link = &generation->sessions;
	if (s->next != NULL)
		s->next->link = &s->next;
	generation->sessions = s;
	/* Retired after this connection was given it. */
	if (generation->retired || atomic_load(&server.stopping))
		atomic_fetch_or(&s->bits, SESSION_LEAVE);
	pthread_mutex_unlock(&generation->lock);
}

void
session_free(struct session *s)
{
	session_auth_abort(s);
	session_tell_practices(s,
	    s->greeting_name != NULL ? s->greeting_name : "");
	signer_wait_leave(s);
	/* From here on no other thread has the session, so that its
	 * descriptor may be closed. */
	leave_generation(s);
	wheel_remove(&server.wheel, &s->timer);
	log_line(SAY_NOTE, "disconnect",
	    "session=%s client=%s cause=%s commands=%u messages=%u "
	    "seconds=%lld",
	    s->id, s->client, cause_words[s->cause], s->commands, s->messages,
	    (long long)(server_now() - s->since));
	session_reset(s);
	tls_session_free(s->tls);
	close(s->fd);
	session_free_buffers(s);
	limits_give(server.limits, s->address);
	generation_unref(s->generation);
	free(s->refusal);
	free(s->greeting_name);
	grant_free(s->grant);
	free(s->clear_name);
	free(s->tls_suite);
	free(s->certificate);
	free(s);
	atomic_fetch_sub(&server.sessions, 1);
}

enum step
session_drop(struct session *s, enum close_cause cause)
{
	if (s->cause == CLOSE_NONE)
		s->cause = cause;
	return STEP_CLOSE;
}

/*
 * Closing a socket with octets unread sends a reset, which can overtake our
 * last reply.  They are thrown away inside the kernel, never looked at.
 */
static enum step
run_linger(struct session *s)
{
	ssize_t n;

	n = recv(s->fd, NULL, LINGER_OCTETS, MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STEP_READ;
	if (n <= 0 || (s->linger += (uint64_t)n) > LINGER_OCTETS)
		return STEP_CLOSE;
	return STEP_AGAIN;
}

static const struct state state_linger = { "linger", run_linger, false };

/* A client that was told after its last octet gets the reply anyway. */
static bool
needs_linger(const struct session *s)
{
	char octet;

	if (s->cause != CLOSE_QUIT && s->cause != CLOSE_TIMEOUT &&
	    s->cause != CLOSE_SHUTDOWN && s->cause != CLOSE_REVOKED)
		return true;
	return s->input.start < s->input.end ||
	       recv(s->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static enum step
run_closing(struct session *s)
{
	if (session_has_output(s))
		return STEP_FLUSH;
	if (s->tls != NULL)
		tls_session_bye(s->tls);
	shutdown(s->fd, SHUT_WR);
	if (!needs_linger(s))
		return STEP_CLOSE;
	session_deadline(s, LINGER_S);
	return session_enter(s, &state_linger);
}

static const struct state state_closing = { "closing", run_closing, false };

enum step
session_end(struct session *s, enum close_cause cause)
{
	if (s->cause == CLOSE_NONE)
		s->cause = cause;
	session_deadline(s, CLOSING_S);
	atomic_fetch_and(&s->bits, ~(unsigned)SESSION_EXPIRED);
	return session_enter(s, &state_closing);
}

/* Its deadline has passed.  Who does not take our output is told nothing; but
 * what has just been said, perhaps that a message is stored, goes first. */
static enum step
time_out(struct session *s)
{
	if (session_flush(s) != IO_DONE || !s->state->speaks)
		return session_drop(s, CLOSE_TIMEOUT);
	session_reply(s, "421 4.4.2 %s timeout, closing",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_TIMEOUT);
}

enum waiting { GO_ON, LET_GO };

static enum waiting
let_go(struct session *s, uint32_t events)
{
	if (!arm(s, events)) {
		session_drop(s, CLOSE_IO);
		session_free(s);
	}
	return LET_GO;
}

/* Arm the socket, unless something was said to the session that it has to
 * hear first: see session_expired. */
static enum waiting
wait_for(struct session *s, unsigned waits)
{
	bool idle = s->state == &state_command && s->input.data == NULL;
	/* Those that end already have nothing to say. */
	unsigned stop = SESSION_EXPIRED | (idle ? SESSION_LEAVE : 0) |
			(s->state->speaks ? SESSION_REVOKED : 0);

	atomic_store(&s->waits, waits | (idle ? WAITS_IDLE : 0));
	if (session_is(s, stop))
		return GO_ON;
	return let_go(s,
	    (waits & WAITS_FOR_ROOM) != 0 ? EPOLLOUT : EPOLLIN | EPOLLRDHUP);
}

/* What input or output said; *next is STEP_CLOSE if it failed. */
static enum waiting
wait_for_io(struct session *s, enum io io, enum step *next)
{
	switch (io) {
	case IO_DONE:
		break;
	case IO_WAIT_INPUT:
		session_release_buffers(s);
		return wait_for(s, WAITS_FOR_INPUT);
	case IO_WAIT_ROOM:
		return wait_for(s, WAITS_FOR_ROOM);
	case IO_EOF:
		*next = session_drop(s, CLOSE_CLIENT);
		break;
	case IO_FAILED:
		*next = session_drop(s, s->broken ? CLOSE_MEMORY : CLOSE_IO);
		break;
	}
	return GO_ON;
}

/* Send, then get input.  After a reply the client has to think: do not try
 * to read what cannot be there yet, arm at once. */
static enum waiting
wait_for_input(struct session *s, enum step *next)
{
	enum io io = session_flush(s);

	if (io != IO_DONE)
		return wait_for_io(s, io, next);
	if (s->wrote && (s->tls == NULL || !tls_session_pending(s->tls)))
		io = IO_WAIT_INPUT;
	else
		io = session_fill(s);
	s->wrote = false;
	return wait_for_io(s, io, next);
}

/* Send what fits now; the rest goes when we are back. */
static enum waiting
wait_parked(struct session *s)
{
	session_flush(s);
	session_release_buffers(s);
	if (park(s))
		return LET_GO;
	atomic_fetch_and(&s->bits, ~(unsigned)SESSION_WOKEN);
	return GO_ON;
}

/* Wait as the state told; on GO_ON *next says whether to run it again. */
static enum waiting
wait_as_told(struct session *s, enum step told, enum step *next)
{
	*next = STEP_AGAIN;
	switch (told) {
	case STEP_AGAIN:
		break;
	case STEP_INPUT:
		return wait_for_input(s, next);
	case STEP_FLUSH:
		return wait_for_io(s, session_flush(s), next);
	case STEP_READ:
		return wait_for(s, WAITS_FOR_INPUT);
	case STEP_WRITE:
		return wait_for(s, WAITS_FOR_ROOM);
	case STEP_PARK:
		return wait_parked(s);
	case STEP_CLOSE:
		*next = STEP_CLOSE;
		break;
	}
	return GO_ON;
}

/* Steps that wait for the client, whom a deadline binds.  A parked session's
 * state looks at its deadline itself. */
static bool
is_for_client(enum step step)
{
	return step == STEP_INPUT || step == STEP_FLUSH || step == STEP_READ ||
	       step == STEP_WRITE;
}

void
session_drive(struct session *s)
{
	unsigned budget = DRIVE_BUDGET;
	enum step step;

	/* Before the first look at the bits: see session_leave. */
	atomic_store(&s->waits, 0);
	atomic_fetch_and(&s->bits,
	    ~(unsigned)(SESSION_ARMED | SESSION_PARKED | SESSION_WOKEN));
	do {
		if (budget-- == 0) {
			/* Others wait for the thread; we are writable, and
			 * will be back. */
			let_go(s, EPOLLIN | EPOLLOUT);
			return;
		}
		step = s->state->run(s);
		if (is_for_client(step) && session_is(s, SESSION_EXPIRED))
			step = time_out(s);
		if (s->broken)
			step = session_drop(s, CLOSE_MEMORY);
		if (wait_as_told(s, step, &step) == LET_GO)
			return;
	} while (step != STEP_CLOSE);
	session_free(s);
}

/* IPv4 and mapped IPv4 are one client. */
static void
take_address(struct session *s, const struct sockaddr_storage *peer)
{
	static const unsigned char mapped[12] = { [10] = 0xff, 0xff };
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;

	if (peer->ss_family == AF_INET) {
		memcpy(s->address, mapped, sizeof mapped);
		memcpy(s->address + 12, &in->sin_addr, 4);
		s->port = ntohs(in->sin_port);
	} else {
		memcpy(s->address, &in6->sin6_addr, 16);
		s->port = ntohs(in6->sin6_port);
	}
	s->family = AF_INET6;
	if (memcmp(s->address, mapped, sizeof mapped) == 0)
		s->family = AF_INET;
	inet_ntop(s->family,
	    s->family == AF_INET ? s->address + 12 : s->address, s->client,
	    sizeof s->client);
}

/* Say why and hang up.  A client of implicit TLS could not read it. */
static void
turn_away(int fd, const struct generation *generation, unsigned service,
    const char *reply)
{
	char line[512];
	int n;

	atomic_fetch_add(&server.refused, 1);
	if (generation->services[service].config->kind == LISTENER_SUBMISSION) {
		n = snprintf(line, sizeof line, "421 %s\r\n", reply);
		if (n > 0 && (size_t)n < sizeof line)
			send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	close(fd);
}

static const char *
limit_reached(const struct session *s)
{
	const struct config *config = s->generation->config;

	if (atomic_fetch_add(&server.sessions, 1) >= config->sessions)
		return "4.3.2 too many sessions, try again later";
	if (!limits_take(server.limits, s->address,
		config->sessions_per_client))
		return "4.7.0 too many sessions from your address";
	return NULL;
}

static struct session *
session_new(int fd, const struct sockaddr_storage *peer,
    struct generation *generation, unsigned service)
{
	struct session *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->watch.kind = WATCH_SESSION;
	s->fd = fd;
	s->generation = generation;
	s->service = service;
	s->since = server_now();
	make_id(s->id);
	take_address(s, peer);
	s->must_bind = config_requires_binding(generation->config, s->client);
	return s;
}

void
session_begin(int fd, const struct sockaddr_storage *peer,
    struct generation *generation, unsigned service)
{
	struct session *s = session_new(fd, peer, generation, service);
	const char *limit;

	if (s == NULL) {
		close(fd);
		generation_unref(generation);
		return;
	}
	limit = limit_reached(s);
	log_line(SAY_NOTE, "connect",
	    "session=%s client=%s port=%u "
	    "listener=%s%s%s",
	    s->id, s->client, s->port, session_service(s)->config->name,
	    limit != NULL ? " refused=" : "",
	    limit != NULL ? (limit[2] == '3' ? "sessions" : "client") : "");
	if (limit != NULL) {
		turn_away(fd, generation, service, limit);
		atomic_fetch_sub(&server.sessions, 1);
		generation_unref(generation);
		free(s);
		return;
	}
	atomic_fetch_add(&server.connections, 1);
	wheel_add(&server.wheel, &s->timer,
	    server_now() + generation->config->handshake_timeout_s);
	join_generation(s);
	session_enter(s, session_first_state(s));
	session_drive(s);
}
