/*
 * server/auth_upstream.c: logins at smarthosts, for the relay's threads.
 *
 * Each thread has a channel and one exchange on it at most.  A password leaves
 * this process only inside a PLAIN or LOGIN response, and only when the relay
 * says that the connection has TLS.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth_role.h"
#include "channel.h"
#include "log.h"

enum {
	OFFERED_SIZE = 1024,
	HOST_SIZE = 512,
	BINDING_OCTETS = 32,
	REFUSAL_MAX = 512, /* octets of a refusal that are logged */
	LOGIN_PACKET_MAX = LOGIN_CHALLENGE_MAX + 64,
};

static void
forget_login(struct auth_relay *relay)
{
	auth_token_forget(relay);
	login_free(relay->login);
	relay->login = NULL;
	relay->number = 0;
}

static void
relay_gone(struct auth_role *role, struct auth_relay *relay)
{
	forget_login(relay);
	auth_watch_close(role, &relay->watch);
}

static void
say_failed(struct auth_relay *relay, uint64_t number, const char *text)
{
	unsigned char packet[512];
	struct wire_writer w;

	forget_login(relay);
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, LOGIN_FAILED);
	wire_put_u64(&w, number);
	wire_put_string(&w, text);
	/* Without room the relay's call runs out of time. */
	if (!w.failed)
		(void)channel_send(relay->watch.fd, packet, w.len, -1);
}

/* The JSON object with which a smarthost refuses a token (RFC 7628, 3.2.2). */
static void
log_refusal(const struct auth_relay *relay, const gnutls_datum_t *challenge)
{
	char text[REFUSAL_MAX * 4 + 8];
	size_t len = challenge->size < REFUSAL_MAX ? challenge->size
						   : (size_t)REFUSAL_MAX;

	log_line(SAY_WARNING, "login",
	    "login=%s mechanism=%s result=refused detail=%s", relay->name,
	    login_mechanism(relay->login),
	    log_value(text, sizeof text, (const char *)challenge->data, len));
}

/* The response to challenge, or what goes with the AUTH command. */
static void
say_step(struct auth_relay *relay, const gnutls_datum_t *challenge)
{
	unsigned char packet[LOGIN_PACKET_MAX];
	struct wire_writer w;
	gnutls_datum_t response;
	bool has_response;
	struct reason why;

	if (challenge != NULL && login_uses_token(relay->login))
		log_refusal(relay, challenge);
	if (!login_step(relay->login, challenge, &response, &has_response,
		&why)) {
		say_failed(relay, relay->number, why.text);
		return;
	}
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, LOGIN_SEND);
	wire_put_u64(&w, relay->number);
	wire_put_string(&w,
	    challenge == NULL ? login_mechanism(relay->login) : "");
	wire_put_u8(&w, has_response);
	wire_put_bytes(&w, response.data, response.size);
	wire_put_u8(&w, login_is_complete(relay->login));
	if (w.failed)
		say_failed(relay, relay->number, "response over the bound");
	else
		(void)channel_send(relay->watch.fd, packet, w.len, -1);
	explicit_bzero(packet, sizeof packet);
}

static void
answer_start(struct auth_role *role, struct auth_relay *relay,
    struct wire_reader *r)
{
	char name[LOGIN_WORD_MAX + 1], offered[OFFERED_SIZE], host[HOST_SIZE];
	uint64_t number = wire_get_u64(r);
	uint32_t configuration = wire_get_u32(r);
	const struct auth_config *config;
	gnutls_datum_t binding;
	struct reason why;
	uint8_t tls;

	forget_login(relay);
	if (!wire_get_string(r, name, sizeof name) ||
	    !wire_get_string(r, offered, sizeof offered) ||
	    !wire_get_string(r, host, sizeof host)) {
		say_failed(relay, number, "broken request");
		return;
	}
	binding = wire_get_bytes(r, BINDING_OCTETS);
	tls = wire_get_u8(r);
	if (!wire_reader_done(r) || tls > 1 ||
	    (binding.size != 0 && binding.size != BINDING_OCTETS)) {
		say_failed(relay, number, "broken request");
		return;
	}
	config = auth_config_find(role, configuration);
	if (config == NULL || config->book == NULL) {
		say_failed(relay, number,
		    config == NULL ? "no such configuration"
				   : "no upstream logins are configured");
		return;
	}
	if (!login_new(&relay->login, role->sasl, config->book, name, offered,
		tls == 1, binding, &why)) {
		say_failed(relay, number, why.text);
		return;
	}
	relay->number = number;
	strcpy(relay->name, name);
	if (login_uses_token(relay->login))
		auth_token_want(relay, configuration);
	else
		say_step(relay, NULL);
}

void
auth_upstream_go_on(struct auth_relay *relay, const struct reason *why)
{
	if (why != NULL)
		say_failed(relay, relay->number, why->text);
	else
		say_step(relay, NULL);
}

static void
answer_step(struct auth_role *role, struct auth_relay *relay,
    struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);
	gnutls_datum_t challenge = wire_get_bytes(r, LOGIN_CHALLENGE_MAX);

	(void)role;
	if (!wire_reader_done(r))
		say_failed(relay, number, "broken request");
	else if (relay->login == NULL || relay->number != number ||
		 relay->wants != 0)
		say_failed(relay, number, "no such exchange");
	else
		say_step(relay, &challenge);
}

static void
answer_abort(struct auth_role *role, struct auth_relay *relay,
    struct wire_reader *r)
{
	(void)role;
	if (wire_get_u64(r) == relay->number && wire_reader_done(r))
		forget_login(relay);
}

/* What the relay may ask. */
static const struct request {
	void (*answer)(struct auth_role *role, struct auth_relay *relay,
	    struct wire_reader *r);
	size_t longest;
} requests[] = {
	[LOGIN_START - LOGIN_START] = { answer_start, 4096 },
	[LOGIN_STEP - LOGIN_START] = { answer_step, LOGIN_PACKET_MAX },
	[LOGIN_ABORT - LOGIN_START] = { answer_abort, 16 },
};

static void
relay_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	static unsigned char packet[CHANNEL_PACKET_MAX];
	struct auth_relay *relay = (struct auth_relay *)watch;
	enum channel_io io;
	struct wire_reader r;
	unsigned type;
	size_t len;

	(void)events;
	io = channel_recv(watch->fd, packet, sizeof packet, &len, NULL);
	if (io == CHANNEL_WAIT)
		return;
	if (io != CHANNEL_DONE) {
		relay_gone(role, relay);
		return;
	}
	type = (unsigned)packet[0] - LOGIN_START;
	if (type >= sizeof requests / sizeof requests[0] ||
	    len > requests[type].longest) {
		log_line(SAY_ALARM, "protocol",
		    "peer=relay packet=%u octets=%zu", packet[0], len);
		return;
	}
	wire_reader_init(&r, packet + 1, len - 1);
	requests[type].answer(role, relay, &r);
}

_Static_assert(offsetof(struct auth_relay, watch) == 0,
    "a watch is the first field of its relay");

void
auth_upstream_relay(struct auth_role *role, unsigned index, int fd)
{
	struct auth_relay *relay = role->relays[index];

	if (relay == NULL) {
		relay = calloc(1, sizeof *relay);
		if (relay == NULL) {
			log_line(SAY_ERROR, "memory", "peer=relay");
			close(fd);
			return;
		}
		relay->watch.fd = relay->source.fd = -1;
		relay->role = role;
		role->relays[index] = relay;
	}
	forget_login(relay);
	auth_watch_set(role, &relay->watch, fd, relay_ready);
}
