/*
 * server/auth_helper.c: the helpers, as a session's exchanges ask them.
 */
#include <string.h>

#include "auth_dialogue.h"
#include "channel.h"
#include "log.h"

enum {
	HELPER_GRACE_MS = 2000,    /* beyond the helpers' own deadline */
	HELPER_PASSWORD_MAX = 512, /* PAM_MAX_RESP_SIZE */
	HELPER_PACKET_MAX = EXCHANGE_RESPONSE_MAX + 2048,
	PACKETS_A_TURN = 64,
};

static bool
is_helped(const struct dialogue *d)
{
	return (d->mechanism & MECHANISMS_HELPED) != 0;
}

/* A packet, which is wiped. */
static bool
send_packet(struct auth_role *role, struct wire_writer *w)
{
	bool ok =
	    !w->failed && role->helpers.fd >= 0 &&
	    channel_send(role->helpers.fd, w->data, w->len, -1) == CHANNEL_DONE;

	explicit_bzero(w->data, w->len);
	return ok;
}

void
helper_forget(struct dialogue *d)
{
	unsigned char packet[16];
	struct wire_writer w;

	if (d->call != NULL && is_helped(d)) {
		wire_writer_init(&w, packet, sizeof packet);
		wire_put_u8(&w, HELPER_ABORT);
		wire_put_u64(&w, d->call->serial);
		/* Without room it runs into its deadline. */
		(void)send_packet(d->role, &w);
	}
	if (d->call != NULL)
		d->call->serial = 0;
	d->call = NULL;
	d->foreign = 0;
}

static struct auth_helper_call *
free_call(struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == 0)
			return &role->calls[i];
	return NULL;
}

/* A helper has something to do; the spawner ends it in time. */
static void
await_helper(struct dialogue *d)
{
	d->state = DIALOGUE_HELPER;
	timer_set(&d->role->timers, &d->timer,
	    auth_now_ms() + d->config->config->helper_deadline_ms +
		HELPER_GRACE_MS);
}

void
helper_begin(struct dialogue *d, enum message type,
    void (*write)(struct wire_writer *w, const void *context),
    const void *context)
{
	struct auth_role *role = d->role;
	struct auth_helper_call *call = free_call(role);
	unsigned char packet[HELPER_PACKET_MAX];
	struct wire_writer w;

	/* A serial of our own: an answer must not fit another attempt that
	 * has been given the same number. */
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, (uint8_t)type);
	wire_put_u64(&w, ++role->helper_serial);
	wire_put_u32(&w, d->config->number);
	wire_put_u32(&w, d->config->config->helper_deadline_ms);
	write(&w, context);
	if (call == NULL || !send_packet(role, &w)) {
		explicit_bzero(packet, sizeof packet);
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the helpers are away or busy");
		return;
	}
	call->serial = role->helper_serial;
	call->dialogue = d;
	d->call = call;
	await_helper(d);
}

void
helper_send(struct dialogue *d, enum message type, const gnutls_datum_t *octets)
{
	unsigned char packet[HELPER_PACKET_MAX];
	struct wire_writer w;

	if (d->call == NULL) {
		dialogue_decide(d, AUTH_UNAVAILABLE, "its helper is gone");
		return;
	}
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, (uint8_t)type);
	wire_put_u64(&w, d->call->serial);
	wire_put_bytes(&w, octets->data, octets->size);
	if (send_packet(d->role, &w))
		await_helper(d);
	else
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the helpers are away or busy");
}

static void
write_check(struct wire_writer *w, const void *context)
{
	const struct dialogue *d = context;
	const char *password = exchange_password(d->exchange);
	char local[NAME_LOCAL_MAX + 1];

	name_local(d->name, local);
	wire_put_string(w, local);
	wire_put_bytes(w, password, strlen(password));
	wire_put_string(w, d->client);
}

bool
helper_check_password(struct dialogue *d)
{
	if (strlen(exchange_password(d->exchange)) > HELPER_PASSWORD_MAX) {
		strcpy(d->text, "password too long for PAM");
		return false;
	}
	helper_begin(d, HELPER_CHECK, write_check, d);
	return true;
}

static struct dialogue *
find_call(const struct auth_role *role, uint64_t serial)
{
	for (size_t i = 0; serial != 0 && i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == serial)
			return role->calls[i].dialogue;
	return NULL;
}

static enum auth_result
result_of(enum helper_answer answer)
{
	switch (answer) {
	case HELPER_NO:
		return AUTH_DENIED;
	case HELPER_MALFORMED:
		return AUTH_MALFORMED;
	default:
		return AUTH_UNAVAILABLE;
	}
}

/* It is over.  A yes is PAM's to say; other helpers say whom they prove. */
static bool
helper_answered(struct dialogue *d, struct wire_reader *r)
{
	enum helper_answer answer = wire_get_u8(r);
	char text[sizeof d->text];

	if (!wire_get_string(r, text, sizeof text) || !wire_reader_done(r))
		return false;
	if (answer == HELPER_YES && is_helped(d))
		return false;
	if (answer == HELPER_YES)
		dialogue_prove(d, d->name);
	else if (answer == HELPER_NO && !is_helped(d))
		dialogue_pam_refuses(d, text);
	else
		dialogue_decide(d, result_of(answer), text);
	return true;
}

static void
helper_says(struct auth_role *role, const unsigned char *packet, size_t len)
{
	struct wire_reader r;
	struct dialogue *d;
	uint8_t type;
	bool ok;

	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	d = find_call(role, wire_get_u64(&r));
	if (r.failed)
		log_line(SAY_ALARM, "protocol", "peer=helpers octets=%zu", len);
	if (d == NULL)
		return;
	if (type == HELPER_ANSWER)
		ok = helper_answered(d, &r);
	else if (d->state != DIALOGUE_HELPER || !is_helped(d))
		ok = false;
	else if ((d->mechanism & MECHANISMS_TOKEN) != 0)
		ok = type == HELPER_PROVED && token_helper_says(d, &r);
	else
		ok = sasl_helper_says(d, type, &r);
	if (ok)
		return;
	log_line(SAY_ALARM, "protocol", "peer=helpers packet=%u octets=%zu",
	    type, len);
	dialogue_decide(d, AUTH_UNAVAILABLE, "the helper broke its protocol");
}

static void
helpers_gone(struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial != 0)
			dialogue_decide(role->calls[i].dialogue,
			    AUTH_UNAVAILABLE, "the helpers went away");
}

static void
helpers_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	static unsigned char packet[HELPER_PACKET_MAX];
	enum channel_io io;
	size_t len;

	(void)events;
	for (int i = 0; i < PACKETS_A_TURN && watch->fd >= 0; i++) {
		io = channel_recv(watch->fd, packet, sizeof packet, &len, NULL);
		if (io == CHANNEL_WAIT)
			return;
		if (io != CHANNEL_DONE) {
			auth_watch_close(role, watch);
			helpers_gone(role);
			return;
		}
		helper_says(role, packet, len);
	}
}

void
auth_dialogue_helpers(struct auth_role *role, int fd)
{
	helpers_gone(role);
	auth_watch_set(role, &role->helpers, fd, helpers_ready);
}
