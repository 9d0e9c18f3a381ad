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
	PACKETS_A_TURN = 64,
};

void
helper_forget(struct dialogue *d)
{
	if (d->call != NULL)
		d->call->serial = 0;
	d->call = NULL;
	d->foreign = 0;
}

static enum channel_io
send_check(struct dialogue *d, uint64_t serial)
{
	const char *password = exchange_password(d->exchange);
	unsigned char packet[2048];
	char local[NAME_LOCAL_MAX + 1];
	struct wire_writer w;
	enum channel_io io;

	name_local(exchange_name(d->exchange), local);
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_CHECK);
	wire_put_u64(&w, serial);
	wire_put_u32(&w, d->config->number);
	wire_put_u32(&w, d->config->config->helper_deadline_ms);
	wire_put_string(&w, local);
	wire_put_bytes(&w, password, strlen(password));
	wire_put_string(&w, d->client);
	io = w.failed || d->role->helpers.fd < 0
		 ? CHANNEL_FAILED
		 : channel_send(d->role->helpers.fd, packet, w.len, -1);
	explicit_bzero(packet, sizeof packet);
	return io;
}

void
helper_check_password(struct dialogue *d)
{
	struct auth_role *role = d->role;
	struct auth_helper_call *call = NULL;

	for (size_t i = 0; call == NULL && i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == 0)
			call = &role->calls[i];
	if (strlen(exchange_password(d->exchange)) > HELPER_PASSWORD_MAX) {
		dialogue_decide(d, AUTH_DENIED, "password too long for PAM");
		return;
	}
	/* A serial of our own: an answer must not fit another attempt that
	 * has been given the same number. */
	if (call == NULL ||
	    send_check(d, ++role->helper_serial) != CHANNEL_DONE) {
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the helpers are away or busy");
		return;
	}
	call->serial = role->helper_serial;
	call->dialogue = d;
	d->call = call;
	d->state = DIALOGUE_HELPER;
	timer_set(&role->timers, &d->timer,
	    auth_now_ms() + d->config->config->helper_deadline_ms +
		HELPER_GRACE_MS);
}

static struct dialogue *
find_call(const struct auth_role *role, uint64_t serial)
{
	for (size_t i = 0; serial != 0 && i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == serial)
			return role->calls[i].dialogue;
	return NULL;
}

static void
helper_answered(struct auth_role *role, const unsigned char *packet, size_t len)
{
	struct wire_reader r;
	struct dialogue *d;
	char text[sizeof d->text];
	uint64_t serial;
	uint8_t answered;

	wire_reader_init(&r, packet, len);
	if (wire_get_u8(&r) != HELPER_ANSWER) {
		log_line(SAY_ALARM, "protocol", "peer=helpers");
		return;
	}
	serial = wire_get_u64(&r);
	answered = wire_get_u8(&r);
	if (!wire_get_string(&r, text, sizeof text) || !wire_reader_done(&r)) {
		log_line(SAY_ALARM, "protocol", "peer=helpers");
		return;
	}
	d = find_call(role, serial);
	if (d == NULL)
		return;
	if (answered == HELPER_YES)
		dialogue_prove(d, exchange_name(d->exchange));
	else
		dialogue_decide(d,
		    answered == HELPER_NO ? AUTH_DENIED : AUTH_UNAVAILABLE,
		    text);
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
	unsigned char packet[1024];
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
		helper_answered(role, packet, len);
	}
}

void
auth_dialogue_helpers(struct auth_role *role, int fd)
{
	helpers_gone(role);
	auth_watch_set(role, &role->helpers, fd, helpers_ready);
}
