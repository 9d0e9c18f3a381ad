/*
 * server/session_link.c: the session role's channel to auth.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"
#include "session.h"
#include "session_link.h"
#include "wire.h"

enum {
	READ_MOST = 64, /* packets before the channel is armed again */
	START_MAX = 16384,
};

enum exchange_place {
	EXCHANGE_FREE,
	EXCHANGE_CLIENT, /* the client's turn */
	EXCHANGE_ASKED,  /* auth's turn: the session is parked */
	EXCHANGE_ANSWERED,
	EXCHANGE_LOST, /* the auth it began with is gone */
};

struct exchange {
	uint64_t number; /* of its use, its index in the low 16 bits */
	enum exchange_place place;
	struct session *session;
	struct auth_answer *answer;
	struct grant *grant; /* with AUTH_GRANTED */
};

/* What AUTH_CHANGED said. */
struct change {
	bool is_there;
	char login[NAME_SIZE];
	char text[256];
};

struct auth_link {
	struct watch watch;
	pthread_mutex_t lock;
	int fd;           /* -1: auth is away */
	size_t next_free; /* where to look for a free one */
	struct exchange exchanges[AUTH_EXCHANGES];
};

static void
set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

struct auth_link *
auth_link_new(void)
{
	struct auth_link *link = calloc(1, sizeof *link);
	size_t i;

	if (link == NULL)
		return NULL;
	link->watch.kind = WATCH_AUTH;
	pthread_mutex_init(&link->lock, NULL);
	link->fd = -1;
	for (i = 0; i < AUTH_EXCHANGES; i++)
		link->exchanges[i].number = i;
	return link;
}

static void
answer_free(struct auth_answer *answer)
{
	if (answer == NULL)
		return;
	if (answer->challenge.data != NULL)
		explicit_bzero(answer->challenge.data, answer->challenge.size);
	free(answer->challenge.data);
	free(answer);
}

void
auth_link_free(struct auth_link *link)
{
	size_t i;

	if (link == NULL)
		return;
	for (i = 0; i < AUTH_EXCHANGES; i++) {
		answer_free(link->exchanges[i].answer);
		grant_free(link->exchanges[i].grant);
	}
	if (link->fd >= 0)
		close(link->fd);
	free(link);
}

/* Under the lock, all below. */

static void
release(struct exchange *exchange)
{
	answer_free(exchange->answer);
	exchange->answer = NULL;
	grant_free(exchange->grant);
	exchange->grant = NULL;
	exchange->session = NULL;
	exchange->place = EXCHANGE_FREE;
	exchange->number += 1u << 16;
}

static struct exchange *
find(struct auth_link *link, uint64_t number)
{
	struct exchange *exchange = &link->exchanges[number % AUTH_EXCHANGES];

	if (exchange->place == EXCHANGE_FREE || exchange->number != number)
		return NULL;
	return exchange;
}

static struct exchange *
take_free(struct auth_link *link)
{
	size_t i, at;

	for (i = 0; i < AUTH_EXCHANGES; i++) {
		at = (link->next_free + i) % AUTH_EXCHANGES;
		if (link->exchanges[at].place == EXCHANGE_FREE) {
			link->next_free = at + 1;
			return &link->exchanges[at];
		}
	}
	return NULL;
}

/* The channel is no more: nobody will answer. */
static void
lose(struct auth_link *link)
{
	struct exchange *exchange;
	size_t i;

	if (link->fd < 0)
		return;
	epoll_ctl(server.epoll, EPOLL_CTL_DEL, link->fd, NULL);
	close(link->fd);
	link->fd = -1;
	for (i = 0; i < AUTH_EXCHANGES; i++) {
		exchange = &link->exchanges[i];
		if (exchange->place == EXCHANGE_FREE ||
		    exchange->place == EXCHANGE_ANSWERED)
			continue;
		if (exchange->place == EXCHANGE_ASKED)
			session_wake(exchange->session, 0);
		exchange->place = EXCHANGE_LOST;
	}
}

static bool
arm(struct auth_link *link, int operation)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLONESHOT,
		.data.ptr = link,
	};

	return epoll_ctl(server.epoll, operation, link->fd, &event) == 0;
}

/* An auth that takes nothing is as good as away. */
static bool
send_packet(struct auth_link *link, const struct wire_writer *w)
{
	if (w->failed || link->fd < 0)
		return false;
	switch (channel_send(link->fd, w->data, w->len, -1)) {
	case CHANNEL_DONE:
		return true;
	case CHANNEL_WAIT:
	case CHANNEL_FAILED:
		return false;
	case CHANNEL_CLOSED:
		break;
	}
	lose(link);
	return false;
}

static bool
read_challenge(struct auth_answer *answer, struct wire_reader *r)
{
	gnutls_datum_t octets = wire_get_bytes(r, AUTH_OCTETS_MAX);

	if (!wire_reader_done(r))
		return false;
	answer->is_challenge = true;
	answer->challenge.data = malloc(octets.size + 1);
	if (answer->challenge.data == NULL)
		return false;
	if (octets.size > 0)
		memcpy(answer->challenge.data, octets.data, octets.size);
	answer->challenge.size = octets.size;
	return true;
}

static bool
read_grant(struct grant **out, struct wire_reader *r)
{
	struct grant *grant = malloc(sizeof *grant);

	if (grant == NULL || !grant_get(r, grant)) {
		free(grant);
		return false;
	}
	*out = grant;
	return true;
}

/* On failure there may be a grant nevertheless. */
static bool
read_result(struct auth_answer *answer, struct grant **grant_out,
    struct wire_reader *r)
{
	answer->result = wire_get_u8(r);
	wire_get_string(r, answer->login, sizeof answer->login);
	wire_get_string(r, answer->text, sizeof answer->text);
	if (answer->result == AUTH_GRANTED && !read_grant(grant_out, r))
		return false;
	return wire_reader_done(r) && answer->result <= AUTH_NO_MECHANISM;
}

static bool
take_answer(struct auth_link *link, uint8_t type, struct wire_reader *r)
{
	struct auth_answer *answer = calloc(1, sizeof *answer);
	struct grant *grant = NULL;
	uint64_t number = wire_get_u64(r);
	struct exchange *exchange;
	bool ok;

	if (answer == NULL)
		return false;
	ok = type == AUTH_CHALLENGE ? read_challenge(answer, r)
				    : read_result(answer, &grant, r);
	exchange = ok ? find(link, number) : NULL;
	/* One that was aborted meanwhile is nobody's fault. */
	if (exchange == NULL || exchange->place != EXCHANGE_ASKED) {
		answer_free(answer);
		grant_free(grant);
		return ok;
	}
	exchange->answer = answer;
	exchange->grant = grant;
	exchange->place = EXCHANGE_ANSWERED;
	session_wake(exchange->session, 0);
	return true;
}

/* A login that was granted before the change, and whose session has not looked
 * yet, is not granted. */
static void
withdraw(struct exchange *exchange)
{
	grant_free(exchange->grant);
	exchange->grant = NULL;
	exchange->answer->result = AUTH_UNAVAILABLE;
	strcpy(exchange->answer->text, "changed meanwhile");
}

static bool
take_change(struct auth_link *link, struct wire_reader *r,
    struct change *change)
{
	wire_get_string(r, change->login, sizeof change->login);
	wire_get_string(r, change->text, sizeof change->text);
	if (!wire_reader_done(r))
		return false;
	change->is_there = true;
	for (size_t i = 0; i < AUTH_EXCHANGES; i++)
		if (link->exchanges[i].grant != NULL &&
		    grant_is_of(link->exchanges[i].grant, change->login))
			withdraw(&link->exchanges[i]);
	return true;
}

/* False: the packet is not one auth may send. */
static bool
take_packet(struct auth_link *link, const void *packet, size_t len,
    struct change *change)
{
	struct wire_reader r;
	uint8_t type;

	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	switch (type) {
	case AUTH_CHALLENGE:
	case AUTH_RESULT:
		return take_answer(link, type, &r);
	case AUTH_CHANGED:
		return take_change(link, &r, change);
	default:
		return false;
	}
}

/* Sessions are ended without the lock, one change at a time. */
void
auth_link_read(struct auth_link *link)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	enum channel_io io = CHANNEL_DONE;
	struct change change = { .is_there = false };
	unsigned i;
	size_t len;

	pthread_mutex_lock(&link->lock);
	for (i = 0; i < READ_MOST && link->fd >= 0 && !change.is_there; i++) {
		io = channel_recv(link->fd, packet, sizeof packet, &len, NULL);
		if (io != CHANNEL_DONE)
			break;
		if (!take_packet(link, packet, len, &change)) {
			log_line(SAY_ERROR, "auth-channel",
			    "detail=\"a packet that is none\"");
			io = CHANNEL_FAILED;
			break;
		}
	}
	explicit_bzero(packet, sizeof packet);
	if (link->fd >= 0) {
		if (io == CHANNEL_DONE || io == CHANNEL_WAIT)
			arm(link, EPOLL_CTL_MOD);
		else
			lose(link);
	}
	pthread_mutex_unlock(&link->lock);
	if (change.is_there)
		sessions_revoke(change.login, change.text);
}

void
auth_link_set(struct auth_link *link, int fd)
{
	set_nonblocking(fd);
	pthread_mutex_lock(&link->lock);
	lose(link);
	link->fd = fd;
	if (!arm(link, EPOLL_CTL_ADD))
		lose(link);
	pthread_mutex_unlock(&link->lock);
}

static void
write_start(struct wire_writer *w, const struct auth_request *request,
    uint64_t number)
{
	wire_put_u8(w, AUTH_START);
	wire_put_u64(w, number);
	wire_put_u32(w, request->configuration);
	wire_put_string(w, request->listener);
	wire_put_string(w, request->mechanism);
	wire_put_string(w, request->client);
	wire_put_u8(w, request->has_initial);
	wire_put_bytes(w, request->initial.data, request->initial.size);
	wire_put_bytes(w, request->binding.data, request->binding.size);
	wire_put_bytes(w, request->identities.data, request->identities.size);
	wire_put_u8(w, (uint8_t)request->tls_version);
}

bool
auth_link_start(struct auth_link *link, struct session *s,
    const struct auth_request *request, uint64_t *number_out)
{
	unsigned char packet[START_MAX];
	struct exchange *exchange;
	struct wire_writer w;
	bool ok = false;

	wire_writer_init(&w, packet, sizeof packet);
	pthread_mutex_lock(&link->lock);
	exchange = link->fd >= 0 ? take_free(link) : NULL;
	if (exchange != NULL) {
		exchange->session = s;
		exchange->place = EXCHANGE_ASKED;
		/* 0 is no exchange. */
		if (exchange->number == 0)
			exchange->number += 1u << 16;
		write_start(&w, request, exchange->number);
		ok = send_packet(link, &w);
		if (ok)
			*number_out = exchange->number;
		else
			release(exchange);
	}
	pthread_mutex_unlock(&link->lock);
	explicit_bzero(packet, w.len);
	return ok;
}

bool
auth_link_step(struct auth_link *link, uint64_t number, gnutls_datum_t response)
{
	unsigned char packet[START_MAX];
	struct exchange *exchange;
	struct wire_writer w;
	bool ok = false;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_STEP);
	wire_put_u64(&w, number);
	wire_put_bytes(&w, response.data, response.size);
	pthread_mutex_lock(&link->lock);
	exchange = find(link, number);
	if (exchange != NULL && exchange->place == EXCHANGE_CLIENT) {
		exchange->place = EXCHANGE_ASKED;
		ok = send_packet(link, &w);
		if (!ok && exchange->place == EXCHANGE_ASKED)
			exchange->place = EXCHANGE_CLIENT;
	}
	pthread_mutex_unlock(&link->lock);
	explicit_bzero(packet, w.len);
	return ok;
}

void
auth_link_abort(struct auth_link *link, uint64_t number)
{
	unsigned char packet[16];
	struct exchange *exchange;
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_ABORT);
	wire_put_u64(&w, number);
	pthread_mutex_lock(&link->lock);
	exchange = find(link, number);
	if (exchange != NULL) {
		if (exchange->place != EXCHANGE_LOST)
			send_packet(link, &w);
		release(exchange);
	}
	pthread_mutex_unlock(&link->lock);
}

void
auth_link_in_clear(struct auth_link *link, const char *client)
{
	unsigned char packet[64];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_IN_CLEAR);
	wire_put_string(&w, client);
	pthread_mutex_lock(&link->lock);
	send_packet(link, &w);
	pthread_mutex_unlock(&link->lock);
}

void
auth_link_seen(struct auth_link *link, const char *login, const char *program,
    const char *client, unsigned practices)
{
	unsigned char packet[1024];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_SEEN);
	wire_put_string(&w, login);
	wire_put_bytes(&w, program, strnlen(program, AUTH_PROGRAM_MAX));
	wire_put_string(&w, client);
	wire_put_u32(&w, practices);
	pthread_mutex_lock(&link->lock);
	send_packet(link, &w);
	pthread_mutex_unlock(&link->lock);
}

static void
unavailable(struct auth_answer *out)
{
	memset(out, 0, sizeof *out);
	out->result = AUTH_UNAVAILABLE;
	strcpy(out->text, "the auth role is away");
}

bool
auth_link_collect(struct auth_link *link, uint64_t number,
    struct auth_answer *out)
{
	struct exchange *exchange;
	bool got = true;

	pthread_mutex_lock(&link->lock);
	exchange = find(link, number);
	if (exchange == NULL) {
		unavailable(out);
	} else if (exchange->place == EXCHANGE_ANSWERED) {
		*out = *exchange->answer;
		free(exchange->answer);
		exchange->answer = NULL;
		exchange->place = EXCHANGE_CLIENT;
		if (exchange->grant != NULL)
			exchange->session->grant = exchange->grant;
		exchange->grant = NULL;
		if (!out->is_challenge)
			release(exchange);
	} else if (exchange->place == EXCHANGE_LOST) {
		unavailable(out);
		release(exchange);
	} else {
		got = false;
	}
	pthread_mutex_unlock(&link->lock);
	return got;
}
