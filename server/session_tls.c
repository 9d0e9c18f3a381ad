/*
 * server/session_tls.c: the greeting and the handshake, in either order.
 *
 * On a submission listener the greeting comes first and STARTTLS later (RFC
 * 3207); on a submissions listener TLS comes first (RFC 8314).  Nothing a
 * client said in clear survives the handshake.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session.h"
#include "signer_client.h"

static enum step run_handshake(struct session *s);
static const struct state state_handshake = { "handshake", run_handshake,
	false };

const struct state *
session_first_state(const struct session *s)
{
	if (session_service(s)->config->kind == LISTENER_SUBMISSIONS)
		return &state_await_signer;
	return &state_greet;
}

const char *
session_tls_version(const struct session *s)
{
	return s->tls_version >= 13 ? "TLS1.3" : "TLS1.2";
}

/* Inside TLS only a read can tell, which also takes what the handshake left
 * to be taken. */
static bool
spoke_first(struct session *s)
{
	if (s->tls == NULL)
		return session_has_input(s);
	return session_fill(s) == IO_DONE;
}

/* A client that speaks before it is spoken to is no mail client, or somebody
 * speaks through one. */
static enum step
run_greet(struct session *s)
{
	const char *hostname = s->generation->config->hostname;

	if (session_is(s, SESSION_LEAVE))
		return session_say_leaving(s);
	if (spoke_first(s)) {
		session_reply(s, "554 5.5.0 input before the greeting");
		return session_end(s, CLOSE_EARLY);
	}
	session_reply(s, "220 %s ESMTP Sallyport", hostname);
	return session_await_command(s);
}

const struct state state_greet = { "greet", run_greet, false };

static void
signer_wait_join(struct session *s)
{
	if (s->awaits_signer)
		return;
	s->awaits_signer = true;
	pthread_mutex_lock(&server.signer_wait);
	s->signer_next = server.awaiting_signer;
	s->signer_link = &server.awaiting_signer;
	if (s->signer_next != NULL)
		s->signer_next->signer_link = &s->signer_next;
	server.awaiting_signer = s;
	pthread_mutex_unlock(&server.signer_wait);
	session_deadline(s, SIGNER_WAIT_S);
}

void
signer_wait_leave(struct session *s)
{
	if (!s->awaits_signer)
		return;
	s->awaits_signer = false;
	pthread_mutex_lock(&server.signer_wait);
	*s->signer_link = s->signer_next;
	if (s->signer_next != NULL)
		s->signer_next->signer_link = s->signer_link;
	pthread_mutex_unlock(&server.signer_wait);
}

void
signer_wait_over(void)
{
	struct session *s;

	pthread_mutex_lock(&server.signer_wait);
	for (s = server.awaiting_signer; s != NULL; s = s->signer_next)
		session_wake(s, 0);
	pthread_mutex_unlock(&server.signer_wait);
}

static bool
begin_tls(struct session *s)
{
	struct tls_server *tls = generation_tls(s->generation, s->service);
	struct reason why;
	bool ok;

	if (tls == NULL)
		return false;
	ok = tls_session_accept(&s->tls, tls, s->fd, policy_asks_certificate(s),
	    &why);
	tls_server_unref(tls);
	if (!ok)
		log_line(SAY_WARNING, "tls",
		    "session=%s result=failed "
		    "detail=\"%s\"",
		    s->id, why.text);
	return ok;
}

static enum step
enter_handshake(struct session *s)
{
	session_deadline(s, s->generation->config->handshake_timeout_s);
	if (!begin_tls(s))
		return session_drop(s, CLOSE_TLS);
	return session_enter(s, &state_handshake);
}

/* Implicit TLS.  Nobody can be told 454 before the handshake, so the
 * connection waits a moment for a signer that is being restarted. */
static enum step
run_await_signer(struct session *s)
{
	if (signer_client_alive(server_thread())) {
		signer_wait_leave(s);
		return enter_handshake(s);
	}
	if (s->awaits_signer && session_is(s, SESSION_EXPIRED))
		return session_drop(s, CLOSE_SIGNER);
	signer_wait_join(s);
	/* It may have come back before we were in the list. */
	if (signer_client_alive(server_thread()))
		return STEP_AGAIN;
	return STEP_PARK;
}

const struct state state_await_signer = { "await-signer", run_await_signer,
	false };

/* The reply to STARTTLS goes out whole before the first octet of TLS. */
static enum step
run_starttls(struct session *s)
{
	if (session_has_output(s))
		return STEP_FLUSH;
	return enter_handshake(s);
}

const struct state state_starttls = { "starttls", run_starttls, false };

/* RFC 3207, section 4.2: what was said in clear may be an attacker's. */
static void
forget_clear(struct session *s)
{
	session_reset(s);
	free(s->greeting_name);
	s->greeting_name = NULL;
	s->facts = IN_TLS;
	s->errors = 0;
	session_free_buffers(s);
}

static void
log_tls(const struct session *s, const struct facts *facts)
{
	char subject[300], sni[300];
	const char *name = tls_session_sni(s->tls);

	log_line(SAY_NOTE, "tls",
	    "session=%s result=ok version=%s suite=%s bits=%u group=%s "
	    "resumed=%s sni=%s certificate=%s",
	    s->id, session_tls_version(s), facts->suite, facts->bits,
	    facts->group[0] != '\0' ? facts->group : "-",
	    facts->resumed ? "yes" : "no",
	    name != NULL ? log_value(sni, sizeof sni, name, strlen(name)) : "-",
	    facts->peer_cert ? log_value(subject, sizeof subject,
				   facts->subject, strlen(facts->subject))
			     : "-");
}

/* The client has proved that it holds this key; auth is told, and knows whether
 * it is bound to somebody.  No authority needs to vouch for it. */
static bool
keep_client_key(struct session *s, const struct facts *facts)
{
	static const unsigned char unreadable[SPKI_OCTETS];

	if (!facts->peer_cert ||
	    memcmp(facts->spki, unreadable, SPKI_OCTETS) == 0)
		return true;
	s->certificate = calloc(1, sizeof *s->certificate);
	if (s->certificate == NULL)
		return false;
	memcpy(s->certificate->spki, facts->spki, SPKI_OCTETS);
	return true;
}

static enum step
finish_handshake(struct session *s)
{
	bool greeted = session_service(s)->config->kind == LISTENER_SUBMISSION;
	struct facts facts;

	forget_clear(s);
	tls_session_facts(s->tls, CERT_FOR_CLIENT, &facts);
	s->tls_version = facts.version;
	s->tls_suite = strdup(facts.suite);
	if (s->tls_suite == NULL || !keep_client_key(s, &facts))
		return session_drop(s, CLOSE_MEMORY);
	log_tls(s, &facts);
	policy_judge_connection(s, &facts);
	if (!greeted)
		return session_enter(s, &state_greet);
	return session_await_command(s);
}

static enum step
run_handshake(struct session *s)
{
	struct reason why = { 0 };
	char text[512];

	switch (tls_session_handshake(s->tls, &why)) {
	case TLS_IO_DONE:
		return finish_handshake(s);
	case TLS_IO_READ:
		return STEP_READ;
	case TLS_IO_WRITE:
		return STEP_WRITE;
	case TLS_IO_EOF:
	case TLS_IO_TRUNCATED:
		fail(&why, REASON_HANDSHAKE_FAILED,
		    "the client hung up during the handshake");
		break;
	case TLS_IO_FAILED:
		break;
	}
	log_line(SAY_NOTE, "tls",
	    "session=%s client=%s result=failed reason=%s detail=%s", s->id,
	    s->client, reason_word(why.code),
	    log_value(text, sizeof text, why.text, strlen(why.text)));
	return session_drop(s,
	    session_is(s, SESSION_EXPIRED) ? CLOSE_TIMEOUT : CLOSE_TLS);
}
