/*
 * server/upstream_login.c: AUTH upstream (RFC 4954), with the auth role as the
 * one who knows the password.
 *
 * For PLAIN and LOGIN the response passes through here once; it is wiped on
 * every way out.
 */
#include "upstream_internal.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "messages.h"

enum {
	LOGIN_STEPS = 16,        /* challenges one exchange may have */
	LOGIN_OCTETS_MAX = 9216, /* decoded: REPLY_CHALLENGE_MAX in base64 */
	LOGIN_COMMAND_MAX = 512, /* an AUTH command: RFC 4954, section 4 */
	LOGIN_PACKET_MAX = 16384,
};

struct login {
	struct upstream *up;
	uint64_t number;
	char mechanism[32];
	bool has_response;
	bool complete;           /* a 235 may be believed */
	gnutls_datum_t response; /* inside packet */
	gnutls_datum_t challenge;
	struct reason why;
	unsigned char packet[LOGIN_PACKET_MAX];
	char line[LOGIN_PACKET_MAX];
};

static void
secret_free(gnutls_datum_t *octets)
{
	if (octets->data != NULL) {
		explicit_bzero(octets->data, octets->size);
		gnutls_free(octets->data);
	}
	octets->data = NULL;
	octets->size = 0;
}

/* Ask auth with the packet in w; what it wants sent is in login->response
 * afterwards. */
static bool
ask_auth(struct login *login, const struct wire_writer *w, bool is_first)
{
	struct wire_reader r;
	uint8_t type, has_octets, complete;
	char mechanism[32];

	if (!call_ask(login->up->thread->auth, w, is_first, login->number,
		login->packet, sizeof(login->packet), TIMEOUT_AUTH, &type, &r,
		&login->why))
		return false;
	if (type == LOGIN_FAILED) {
		char text[REASON_TEXT_MAX];

		if (!wire_get_string(&r, text, sizeof(text)))
			text[0] = '\0';
		return fail(&login->why, REASON_AUTH, "%s", text);
	}
	wire_get_string(&r, mechanism, sizeof(mechanism));
	has_octets = wire_get_u8(&r);
	login->response = wire_get_bytes(&r, LOGIN_OCTETS_MAX);
	complete = wire_get_u8(&r);
	if (!wire_reader_done(&r) || type != LOGIN_SEND)
		return fail(&login->why, REASON_PROTOCOL,
		    "malformed answer of the auth role");
	login->has_response = has_octets != 0;
	login->complete = complete != 0;
	if (login->mechanism[0] == '\0')
		memcpy(login->mechanism, mechanism, sizeof(mechanism));
	return true;
}

static bool
ask_start(struct login *login, const char *name)
{
	const struct upstream *up = login->up;
	unsigned char packet[2048], binding[TLS_BINDING_OCTETS];
	struct wire_writer w;
	bool bound, ok;

	bound = tls_session_binding(up->io.tls, binding);
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOGIN_START);
	wire_put_u64(&w, login->number);
	wire_put_u32(&w, relay_config_number(up->config));
	wire_put_string(&w, name);
	wire_put_string(&w, up->extensions.mechanisms);
	wire_put_string(&w, up->hop.host);
	wire_put_bytes(&w, binding, bound ? sizeof(binding) : 0);
	wire_put_u8(&w, up->io.tls != NULL);
	ok = ask_auth(login, &w, true);
	explicit_bzero(packet, sizeof(packet));
	explicit_bzero(binding, sizeof(binding));
	return ok;
}

static bool
ask_step(struct login *login)
{
	unsigned char packet[LOGIN_PACKET_MAX];
	struct wire_writer w;
	bool ok;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOGIN_STEP);
	wire_put_u64(&w, login->number);
	wire_put_bytes(&w, login->challenge.data, login->challenge.size);
	ok = ask_auth(login, &w, false);
	explicit_bzero(packet, sizeof(packet));
	return ok;
}

static void
tell_abort(struct login *login)
{
	unsigned char packet[16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOGIN_ABORT);
	wire_put_u64(&w, login->number);
	call_tell(login->up->thread->auth, &w);
}

/* The text of a 334, decoded; octets stay empty if it is not base64. */
static void
take_challenge(void *context, unsigned number, const char *text, size_t len)
{
	struct login *login = context;
	gnutls_datum_t encoded = { (unsigned char *)text, (unsigned)len };

	if (number != 0 || len == 0)
		return;
	if (gnutls_base64_decode2(&encoded, &login->challenge) < 0)
		login->challenge.data = NULL;
	if (login->challenge.data == NULL)
		login->challenge.size = 0;
}

static bool
send_line(struct login *login, size_t len, struct upstream_reply *reply)
{
	struct upstream_io *io = &login->up->io;
	bool sent;

	secret_free(&login->challenge);
	upstream_reply_init(reply);
	reply->line = take_challenge;
	reply->context = login;
	reply->line_max = REPLY_CHALLENGE_MAX;
	sent = upstream_io_send(io, login->line, len,
	    login->up->timeouts.command, &login->why);
	explicit_bzero(login->line, sizeof(login->line));
	return sent && upstream_io_reply(io, reply, login->up->timeouts.command,
			   &login->why);
}

/* The response in base64, before and CRLF around it; "" octets are "=" after
 * AUTH and an empty line elsewhere. */
static bool
line_make(struct login *login, const char *before, const char *empty,
    size_t *len_out)
{
	gnutls_datum_t encoded = { NULL, 0 };
	int n;

	if (login->response.size > 0 &&
	    gnutls_base64_encode2(&login->response, &encoded) < 0)
		return fail(&login->why, REASON_NO_MEMORY, "AUTH response");
	n = snprintf(login->line, sizeof(login->line), "%s%.*s\r\n", before,
	    encoded.data != NULL ? (int)encoded.size : (int)strlen(empty),
	    encoded.data != NULL ? (const char *)encoded.data : empty);
	secret_free(&encoded);
	if (n < 0 || (size_t)n >= sizeof(login->line))
		return fail(&login->why, REASON_RANGE, "AUTH response");
	*len_out = (size_t)n;
	return true;
}

static void
response_wipe(struct login *login)
{
	explicit_bzero(login->packet, sizeof(login->packet));
	login->response.data = NULL;
	login->response.size = 0;
	login->has_response = false;
}

/* AUTH with the initial response where it fits into the command's line. */
static bool
send_auth(struct login *login, struct upstream_reply *reply)
{
	char before[48];
	size_t len;

	snprintf(before, sizeof(before), "AUTH %s ", login->mechanism);
	if (login->has_response) {
		if (!line_make(login, before, "=", &len))
			return false;
		if (len <= LOGIN_COMMAND_MAX) {
			response_wipe(login);
			return send_line(login, len, reply);
		}
	}
	len = (size_t)snprintf(login->line, sizeof(login->line), "AUTH %s\r\n",
	    login->mechanism);
	return send_line(login, len, reply);
}

/* One response; an initial one that did not fit waits in login->response. */
static bool
send_response(struct login *login, struct upstream_reply *reply)
{
	size_t len;
	bool ok;

	if (!login->has_response && !ask_step(login))
		return false;
	ok = line_make(login, "", "", &len);
	response_wipe(login);
	return ok && send_line(login, len, reply);
}

static void
cancel(struct login *login)
{
	struct upstream_reply reply;

	if (login->up->io.dead)
		return;
	upstream_reply_init(&reply);
	upstream_command(login->up, "*", &reply, login->up->timeouts.command,
	    NULL);
}

static bool
exchange(struct login *login, const char *name)
{
	struct upstream_reply reply = { .code = 0 };

	if (!ask_start(login, name) || !send_auth(login, &reply))
		return false;
	for (int step = 0; reply.code == 334; step++) {
		if (step == LOGIN_STEPS) {
			cancel(login);
			return fail(&login->why, REASON_PROTOCOL,
			    "too many challenges");
		}
		if (!send_response(login, &reply)) {
			cancel(login);
			return false;
		}
	}
	if (reply.code == 235)
		return login->complete
			   ? true
			   : fail(&login->why, REASON_AUTH,
				 "the server says yes before %s is over, it "
				 "has not proved itself",
				 login->mechanism);
	return fail(&login->why, REASON_AUTH, "%.200s", reply.text);
}

bool
upstream_login(struct upstream *upstream, const char *name,
    struct upstream_failure *failure)
{
	char site[NEXT_HOP_TEXT];
	struct login *login;
	bool ok;

	if (upstream->extensions.mechanisms[0] == '\0') {
		upstream_fail(failure, "4.7.0", "%s[%s]: AUTH is not offered",
		    upstream->hop.host, upstream->remote);
		return false;
	}
	login = calloc(1, sizeof(*login));
	if (login == NULL) {
		upstream_fail(failure, "4.3.0", "out of memory");
		return false;
	}
	login->up = upstream;
	login->number = call_number(upstream->thread->auth);
	ok = exchange(login, name);
	tell_abort(login);
	if (!ok)
		upstream_fail(failure, "4.7.0", "%s[%s]: login %s: %s",
		    upstream->hop.host, upstream->remote, name,
		    login->why.text);
	log_line(ok ? SAY_NOTE : SAY_ALARM, "login",
	    "site=%s login=%s mechanism=%s result=%s",
	    next_hop_print(&upstream->hop, site), name,
	    login->mechanism[0] == '\0' ? "none" : login->mechanism,
	    ok ? "ok" : "failed");
	secret_free(&login->challenge);
	explicit_bzero(login, sizeof(*login));
	free(login);
	return ok;
}
