/*
 * server/session_auth.c: AUTH (RFC 4954).
 *
 * The exchange runs in the auth role; here it is framed: base64 on the wire,
 * octets on the channel.  What passes is overwritten as soon as it has.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "../auth/legacy.h"
#include "log.h"
#include "session.h"

static enum step run_answer(struct session *s);
static enum step run_implicit_answer(struct session *s);
static enum step run_response(struct session *s);

/* Parked until auth has answered. */
static const struct state state_auth_answer = { "auth-answer", run_answer,
	false };
/* The same, and the client has not asked for it. */
static const struct state state_implicit_answer = { "implicit-answer",
	run_implicit_answer, false };
/* Waiting for the client's next response. */
static const struct state state_auth_response = { "auth-response", run_response,
	true };

/* How long auth may take at most: its helpers' deadline, and the penalty it
 * adds for failures. */
enum { AUTH_EXTRA_S = 60 };

void
session_auth_abort(struct session *s)
{
	if (s->exchange != 0)
		auth_link_abort(server.auth, s->exchange);
	s->exchange = 0;
}

/* Back to commands.  reply is a refusal that is nobody's guess. */
static enum step
end_exchange(struct session *s, const char *reply)
{
	session_auth_abort(s);
	session_wipe_input(s);
	session_refuse(s, reply);
	return session_await_command(s);
}

static enum step
await_answer(struct session *s, const struct state *state)
{
	const struct config *config = s->generation->config;

	session_deadline(s, config->helper_deadline_ms / 1000 + AUTH_EXTRA_S);
	return session_enter(s, state);
}

unsigned
session_mechanisms(const struct session *s)
{
	unsigned mechanisms = session_service(s)->config->mechanisms;

	if (s->must_bind)
		mechanisms &=
		    (unsigned)MECHANISMS_BOUND | (unsigned)MECHANISM_EXTERNAL;
	return s->certificate != NULL
		   ? mechanisms
		   : mechanisms & ~(unsigned)MECHANISM_EXTERNAL;
}

static bool
is_offered(const struct session *s)
{
	unsigned bit, offered = session_mechanisms(s);

	for (bit = 1; bit != 0 && bit <= offered; bit <<= 1) {
		const char *name = mechanism_name(offered & bit);

		if (name != NULL && strcmp(name, s->mechanism) == 0)
			return true;
	}
	return false;
}

static bool
is_external(const struct session *s)
{
	return strcmp(s->mechanism, mechanism_name(MECHANISM_EXTERNAL)) == 0;
}

/* malloc'd octets of a response; false if it is not base64. */
static bool
decode(struct slice text, gnutls_datum_t *out)
{
	size_t len;

	out->data = malloc(text.len / 4 * 3 + 1);
	if (out->data == NULL)
		return false;
	if (!smtp_base64_decode(text, out->data, &len)) {
		explicit_bzero(out->data, text.len / 4 * 3 + 1);
		free(out->data);
		out->data = NULL;
		return false;
	}
	out->size = (unsigned)len;
	return true;
}

static void
forget(gnutls_datum_t *octets)
{
	if (octets->data != NULL)
		explicit_bzero(octets->data, octets->size);
	free(octets->data);
	*octets = (gnutls_datum_t){ NULL, 0 };
}

/* A login name in canonical form, malloc'd, or NULL.  Whoever says it has
 * proved nothing: what is not ASCII is not prepared here. */
static char *
claimed_name(const struct session *s, const char *claim, size_t len)
{
	char text[NAME_SIZE], name[NAME_SIZE];

	if (len == 0 || len >= sizeof text)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)claim[i] > 127)
			return NULL;
	memcpy(text, claim, len);
	text[len] = '\0';
	if (!name_parse(name, text, s->generation->config->realm, NULL))
		return NULL;
	return strdup(name);
}

/* Who says in a PLAIN initial response (RFC 4616) that he is who; the password
 * beside it goes no further. */
static char *
name_in_clear(const struct session *s, struct slice args)
{
	struct slice mechanism, text;
	gnutls_datum_t response;
	const char *begin, *end, *name, *name_end;
	char *claimed = NULL;

	smtp_split(args, &mechanism, &text);
	if (!slice_is(mechanism, "PLAIN") || !decode(text, &response))
		return NULL;
	begin = (const char *)response.data;
	end = begin + response.size;
	name = memchr(begin, '\0', response.size);
	name_end = name != NULL
		       ? memchr(name + 1, '\0', (size_t)(end - name) - 1)
		       : NULL;
	if (name_end != NULL)
		claimed =
		    claimed_name(s, name + 1, (size_t)(name_end - name) - 1);
	forget(&response);
	return claimed;
}

void
session_tell_practices(struct session *s, const char *program)
{
	const struct grant *grant = s->grant;
	const char *login = grant != NULL ? grant->login : s->clear_name;

	if (s->practices != 0 && login != NULL)
		auth_link_seen(server.auth, login,
		    program[0] != '\0' ? program : "-", s->client,
		    s->practices);
	s->practices = 0;
}

void
session_auth_in_clear(struct session *s, struct slice args)
{
	s->practices |= LEGACY_IN_CLEAR;
	if (s->clear_name == NULL)
		s->clear_name = name_in_clear(s, args);
	log_line(SAY_WARNING, "auth",
	    "session=%s result=in-clear user=- mechanism=- client=%s "
	    "listener=%s detail=\"AUTH before TLS\"",
	    s->id, s->client, session_service(s)->config->name);
	auth_link_in_clear(server.auth, s->client);
}

/* False if auth is away. */
static bool
start_exchange(struct session *s, bool has_initial, gnutls_datum_t initial)
{
	unsigned char binding[TLS_BINDING_OCTETS];
	struct identities identities;
	struct auth_request request = {
		.configuration = s->generation->number,
		.listener = session_service(s)->config->name,
		.mechanism = s->mechanism,
		.client = s->client,
		.has_initial = has_initial,
		.initial = initial,
		.tls_version = s->tls_version,
	};
	bool ok;

	if (tls_session_binding(s->tls, binding))
		request.binding = (gnutls_datum_t){ binding, sizeof binding };
	if (s->certificate != NULL && is_external(s)) {
		session_identities(s, &identities);
		request.identities = (gnutls_datum_t){ identities.of[0],
			(unsigned)(identities.count * SPKI_OCTETS) };
	}
	ok = auth_link_start(server.auth, s, &request, &s->exchange);
	explicit_bzero(binding, sizeof binding);
	return ok;
}

enum step
command_auth(struct session *s, struct slice args)
{
	gnutls_datum_t initial = { NULL, 0 };
	struct slice name, text;
	bool has_initial;
	bool ok;
	size_t i;

	smtp_split(args, &name, &text);
	if (!smtp_is_mechanism(name))
		return end_exchange(s, "501 5.5.4 a mechanism is expected");
	for (i = 0; i < name.len; i++)
		s->mechanism[i] = (char)toupper((unsigned char)name.at[i]);
	s->mechanism[i] = '\0';
	if (!is_offered(s))
		return end_exchange(s, "504 5.5.4 mechanism is not offered");
	has_initial = text.len > 0;
	/* "=" is an initial response of no octets. */
	if (has_initial && !slice_is(text, "=") && !decode(text, &initial))
		return end_exchange(s, "501 5.5.2 initial response is not "
				       "base64");
	ok = start_exchange(s, has_initial, initial);
	forget(&initial);
	if (!ok)
		return end_exchange(s, "454 4.7.0 authentication is not "
				       "available now, try again later");
	return await_answer(s, &state_auth_answer);
}

bool
session_may_be_implicit(const struct session *s)
{
	return session_service(s)->config->implicit_external &&
	       (session_mechanisms(s) & MECHANISM_EXTERNAL) != 0 &&
	       (s->facts & (IN_TLS | SAID_HELLO)) == (IN_TLS | SAID_HELLO) &&
	       (s->facts & (AUTHED | IMPLICIT_DENIED | IMPLICIT_AWAY)) == 0 &&
	       s->refusal == NULL;
}

enum step
session_auth_implicit(struct session *s)
{
	gnutls_datum_t none = { NULL, 0 };

	strcpy(s->mechanism, mechanism_name(MECHANISM_EXTERNAL));
	if (start_exchange(s, true, none))
		return await_answer(s, &state_implicit_answer);
	s->facts |= IMPLICIT_AWAY;
	return session_await_command(s);
}

static enum step
send_challenge(struct session *s, struct auth_answer *answer)
{
	size_t len = (answer->challenge.size + 2) / 3 * 4;
	char *text = malloc(len + 6);

	if (text == NULL) {
		s->broken = true;
		return STEP_CLOSE;
	}
	memcpy(text, "334 ", 4);
	len = smtp_base64_encode(answer->challenge.data, answer->challenge.size,
	    text + 4);
	memcpy(text + 4 + len, "\r\n", 2);
	session_say(s, text, len + 6);
	explicit_bzero(text, len + 6);
	free(text);
	session_deadline(s, s->generation->config->command_timeout_s);
	return session_enter(s, &state_auth_response);
}

/* The one line that tools for blocking guessers read. */
static void
log_result(const struct session *s, const struct auth_answer *answer,
    const char *result)
{
	char user[600], text[300];

	log_line(SAY_NOTE, "auth",
	    "session=%s result=%s user=%s mechanism=%s client=%s "
	    "listener=%s detail=%s",
	    s->id, result,
	    answer->login[0] != '\0' ? log_value(user, sizeof user,
					   answer->login, strlen(answer->login))
				     : "-",
	    s->mechanism, s->client, session_service(s)->config->name,
	    log_value(text, sizeof text, answer->text, strlen(answer->text)));
}

static enum step
granted(struct session *s, const struct auth_answer *answer)
{
	s->facts |= AUTHED;
	s->practices |= legacy_practices(s->mechanism, s->tls_version);
	if (!is_external(s))
		s->facts |= BY_PASSWORD;
	log_result(s, answer, "ok");
	if (s->state != &state_implicit_answer)
		session_reply(s, "235 2.7.0 authentication successful");
	return session_await_command(s);
}

static enum step
denied(struct session *s, const struct auth_answer *answer)
{
	log_result(s, answer, "failed");
	session_reply(s, "535 5.7.8 authentication credentials invalid");
	if (++s->auth_failures < s->generation->config->auth_tries)
		return session_await_command(s);
	session_reply(s, "421 4.7.0 %s too many failed logins",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_AUTH);
}

static enum step
take_result(struct session *s, const struct auth_answer *answer)
{
	s->exchange = 0;
	switch (answer->result) {
	case AUTH_GRANTED:
		return granted(s, answer);
	case AUTH_DENIED:
		return denied(s, answer);
	case AUTH_MALFORMED:
		log_result(s, answer, "malformed");
		return end_exchange(s, "501 5.5.2 authentication exchange is "
				       "malformed");
	case AUTH_NO_MECHANISM:
		return end_exchange(s, "504 5.5.4 mechanism is not offered");
	case AUTH_UNAVAILABLE:
		break;
	}
	log_result(s, answer, "unavailable");
	return end_exchange(s, "454 4.7.0 temporary authentication failure, "
			       "try again later");
}

/* No reply: what the client has asked is MAIL, which comes next. */
static enum step
run_implicit_answer(struct session *s)
{
	struct auth_answer answer;

	if (!auth_link_collect(server.auth, s->exchange, &answer)) {
		if (!session_is(s, SESSION_EXPIRED))
			return STEP_PARK;
		session_auth_abort(s);
		s->facts |= IMPLICIT_AWAY;
		return session_await_command(s);
	}
	if (answer.is_challenge) { /* EXTERNAL has none */
		forget(&answer.challenge);
		session_auth_abort(s);
		s->facts |= IMPLICIT_AWAY;
		return session_await_command(s);
	}
	s->exchange = 0;
	if (answer.result == AUTH_GRANTED)
		return granted(s, &answer);
	log_result(s, &answer,
	    answer.result == AUTH_DENIED ? "failed" : "unavailable");
	s->facts |=
	    answer.result == AUTH_DENIED ? IMPLICIT_DENIED : IMPLICIT_AWAY;
	return session_await_command(s);
}

static enum step
run_answer(struct session *s)
{
	struct auth_answer answer;
	enum step step;

	if (!auth_link_collect(server.auth, s->exchange, &answer)) {
		if (!session_is(s, SESSION_EXPIRED))
			return STEP_PARK;
		session_auth_abort(s);
		session_reply(s, "421 4.4.2 %s timeout, closing",
		    s->generation->config->hostname);
		return session_end(s, CLOSE_TIMEOUT);
	}
	if (answer.is_challenge) {
		step = send_challenge(s, &answer);
		forget(&answer.challenge);
		return step;
	}
	return take_result(s, &answer);
}

/* One response line, without its CRLF. */
static enum step
take_response(struct session *s, struct slice line)
{
	gnutls_datum_t response;
	bool ok;

	if (slice_is(line, "*"))
		return end_exchange(s, "501 5.7.0 authentication cancelled");
	if (session_has_input(s)) {
		session_reply(s, "554 5.5.0 input where a reply has to be "
				 "waited for");
		return session_end(s, CLOSE_EARLY);
	}
	if (!decode(line, &response))
		return end_exchange(s, "501 5.5.2 response is not base64");
	ok = auth_link_step(server.auth, s->exchange, response);
	forget(&response);
	if (!ok)
		return end_exchange(s, "454 4.7.0 temporary authentication "
				       "failure, try again later");
	return await_answer(s, &state_auth_answer);
}

static enum step
run_response(struct session *s)
{
	struct slice line;
	enum step step;

	switch (session_line(s, SMTP_AUTH_LINE_MAX, &line)) {
	case LINE_MORE:
		return STEP_INPUT;
	case LINE_LONG:
		return end_exchange(s, "500 5.5.6 authentication exchange "
				       "line is too long");
	case LINE_BROKEN:
		session_reply(s, "500 5.5.2 bare CR, bare LF or NUL: lines "
				 "end with CRLF");
		return session_end(s, CLOSE_MALFORMED);
	case LINE_GOT:
		break;
	}
	step = take_response(s, line);
	session_wipe_input(s);
	return step;
}
