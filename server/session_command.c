/*
 * server/session_command.c: the table of commands, the gate before them, and
 * the commands that need no file of their own.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session.h"
#include "signer_client.h"

static enum step command_ehlo(struct session *s, struct slice args);
static enum step command_helo(struct session *s, struct slice args);
static enum step command_starttls(struct session *s, struct slice args);
static enum step command_rset(struct session *s, struct slice args);
static enum step command_noop(struct session *s, struct slice args);
static enum step command_quit(struct session *s, struct slice args);
static enum step command_vrfy(struct session *s, struct slice args);
static enum step command_expn(struct session *s, struct slice args);
static enum step command_help(struct session *s, struct slice args);

enum {
	LAST_IN_GROUP = 1, /* RFC 2920: the client has to wait for the reply */
	NO_ARGUMENT = 2,
	SERVED_REFUSED = 4, /* even where the site table says no */
};

static const struct command {
	const char *verb;
	enum step (*run)(struct session *s, struct slice args);
	unsigned need, bar; /* facts that must, must not, hold */
	unsigned flags;
	const char *in_clear; /* instead of the gate's reply before TLS */
} commands[] = {
	{ "EHLO", command_ehlo, 0, 0, LAST_IN_GROUP, NULL },
	{ "HELO", command_helo, 0, 0, LAST_IN_GROUP, NULL },
	{ "STARTTLS", command_starttls, 0, IN_TLS, LAST_IN_GROUP | NO_ARGUMENT,
	    NULL },
	{ "AUTH", command_auth, IN_TLS | SAID_EHLO, AUTHED | IN_MAIL,
	    LAST_IN_GROUP,
	    "538 5.7.11 encryption required for authentication" },
	{ "MAIL", command_mail, IN_TLS | SAID_HELLO | AUTHED, IN_MAIL, 0,
	    NULL },
	{ "RCPT", command_rcpt, IN_TLS | AUTHED | IN_MAIL, 0, 0, NULL },
	{ "DATA", command_data, IN_TLS | AUTHED | IN_MAIL | HAS_RCPT, 0,
	    LAST_IN_GROUP | NO_ARGUMENT, NULL },
	{ "RSET", command_rset, 0, 0, NO_ARGUMENT, NULL },
	{ "NOOP", command_noop, 0, 0, 0, NULL },
	{ "QUIT", command_quit, 0, 0, NO_ARGUMENT | SERVED_REFUSED, NULL },
	{ "VRFY", command_vrfy, IN_TLS, 0, 0, NULL },
	{ "EXPN", command_expn, IN_TLS, 0, 0, NULL },
	{ "HELP", command_help, IN_TLS, 0, 0, NULL },
};

/* Asked in this order. */
static const struct gate {
	unsigned fact;
	const char *missing, *present;
} gates[] = {
	/* RFC 3207, section 4. */
	{ IN_TLS, "530 5.7.0 must issue a STARTTLS command first",
	    "503 5.5.1 TLS is active already" },
	/* RFC 5321, section 4.1.4. */
	{ SAID_HELLO, "503 5.5.1 EHLO first", NULL },
	{ SAID_EHLO, "503 5.5.1 EHLO first: HELO has no extensions", NULL },
	/* RFC 4954, sections 4 and 6. */
	{ AUTHED, "530 5.7.0 authentication required",
	    "503 5.5.1 authenticated already" },
	{ IN_MAIL, "503 5.5.1 MAIL first",
	    "503 5.5.1 a mail transaction is under way" },
	{ HAS_RCPT, "554 5.5.1 no valid recipients", NULL },
};

/* A refused command; a client that does nothing else is sent away. */
void
session_refuse(struct session *s, const char *reply)
{
	s->errors++;
	session_reply(s, "%s", reply);
}

enum step
session_say_leaving(struct session *s)
{
	session_reply(s, "421 4.3.2 %s is shutting down, try again later",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_SHUTDOWN);
}

enum step
session_say_revoked(struct session *s)
{
	session_reply(s, "421 4.7.0 %s this login may not go on",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_REVOKED);
}

static enum step
say_too_many_errors(struct session *s)
{
	session_reply(s, "421 4.7.0 %s too many refused commands",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_ERRORS);
}

/* On a new connection it is asked again whose it is. */
static enum step
say_other_certificate(struct session *s)
{
	session_reply(s, "421 4.7.0 %s the certificate has to be shown again",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_CERTIFICATE);
}

static enum step
refuse(struct session *s, const char *reply)
{
	session_refuse(s, reply);
	return STEP_AGAIN;
}

static const struct command *
find_command(struct slice verb)
{
	size_t i;

	for (i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (slice_is(verb, commands[i].verb))
			return &commands[i];
	return NULL;
}

/* Why the facts do not let this command through, or NULL. */
static const char *
gate(const struct session *s, const struct command *command)
{
	unsigned need = command->need, bar = command->bar, fact;
	size_t i;

	if ((need & ~s->facts & IN_TLS) != 0 && command->in_clear != NULL)
		return command->in_clear;
	for (i = 0; i < sizeof gates / sizeof gates[0]; i++) {
		fact = gates[i].fact;
		if ((need & ~s->facts & fact) != 0)
			return gates[i].missing;
		if ((bar & s->facts & fact) != 0)
			return gates[i].present;
	}
	return NULL;
}

/* A page in a browser can make it send these to us. */
static bool
is_http(struct slice verb)
{
	static const char *const verbs[] = { "GET", "HEAD", "POST", "PUT",
		"DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI" };
	size_t i;

	for (i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (slice_is(verb, verbs[i]))
			return true;
	return false;
}

/* What came of asking auth whose the certificate is was about this MAIL alone:
 * a peer that keeps its connection may be bound before the next. */
static const char *
implicit_reply(struct session *s, const struct command *command)
{
	bool is_away = (s->facts & IMPLICIT_AWAY) != 0;

	if (command->run != command_mail)
		return NULL;
	s->facts &= ~(unsigned)(IMPLICIT_AWAY | IMPLICIT_DENIED);
	return is_away ? "454 4.7.0 authentication is not available now, try "
			 "again later"
		       : NULL;
}

static enum step
run_line(struct session *s, struct slice line)
{
	const struct command *command;
	struct slice verb, args;
	const char *reply;

	smtp_split(line, &verb, &args);
	if (s->facts == 0 || s->facts == IN_TLS)
		if (is_http(verb))
			return session_drop(s, CLOSE_HTTP);
	s->commands++;
	command = find_command(verb);
	if (command != NULL && (command->flags & LAST_IN_GROUP) != 0 &&
	    session_has_input(s)) {
		session_reply(s, "554 5.5.0 input where a reply has to be "
				 "waited for");
		return session_end(s, CLOSE_EARLY);
	}
	if (s->refusal != NULL &&
	    (command == NULL || (command->flags & SERVED_REFUSED) == 0))
		return refuse(s, s->refusal);
	if (command == NULL)
		return refuse(s, (s->facts & IN_TLS) == 0
				     ? gates[0].missing
				     : "500 5.5.1 command not recognised");
	if (line.len + 2 > SMTP_COMMAND_MAX && command->run != command_auth)
		return refuse(s, "500 5.5.2 line too long");
	reply = implicit_reply(s, command);
	if (reply == NULL)
		reply = gate(s, command);
	if (reply == NULL && (command->flags & NO_ARGUMENT) != 0 &&
	    args.len > 0)
		reply = "501 5.5.4 no argument is allowed";
	if (reply != NULL && reply == command->in_clear)
		session_auth_in_clear(s, args);
	if (reply != NULL)
		return refuse(s, reply);
	return command->run(s, args);
}

static bool
begins(struct slice line, const char *verb)
{
	return line.len >= 4 && slice_is((struct slice){ line.at, 4 }, verb);
}

static enum step
run_command(struct session *s)
{
	struct slice line, seen = session_input(s);
	bool secret = begins(seen, "AUTH");
	enum step step;

	if (session_is(s, SESSION_REVOKED))
		return session_say_revoked(s);
	if (session_is(s, SESSION_LEAVE))
		return session_say_leaving(s);
	if (s->errors > ERRORS_MOST)
		return say_too_many_errors(s);
	if (s->output.len - s->output.sent > OUTPUT_PAUSE)
		return STEP_FLUSH;
	if (begins(seen, "MAIL") && !session_certificate_lasts(s))
		return say_other_certificate(s);
	if (begins(seen, "MAIL") && session_may_be_implicit(s))
		return session_auth_implicit(s);
	switch (session_line(s, SMTP_AUTH_LINE_MAX, &line)) {
	case LINE_MORE:
		/* Octets one by one do not buy time. */
		if (seen.len == 0)
			session_await_command(s);
		return STEP_INPUT;
	case LINE_LONG:
		return refuse(s,
		    secret
			? "500 5.5.6 authentication exchange line is too long"
			: "500 5.5.2 line too long");
	case LINE_BROKEN:
		session_reply(s, "500 5.5.2 bare CR, bare LF or NUL: lines "
				 "end with CRLF");
		return session_end(s, CLOSE_MALFORMED);
	case LINE_GOT:
		break;
	}
	session_await_command(s);
	step = run_line(s, line);
	/* Even where it was refused, it may hold a password. */
	if (secret)
		session_wipe_input(s);
	return step;
}

const struct state state_command = { "command", run_command, true };

enum step
session_await_command(struct session *s)
{
	session_deadline(s, s->generation->config->command_timeout_s);
	if (s->state == &state_command)
		return STEP_AGAIN;
	return session_enter(s, &state_command);
}

/* EHLO and HELO begin afresh: RFC 5321, section 4.1.4. */
static bool
take_greeting(struct session *s, struct slice name)
{
	if (!smtp_is_greeting_name(name)) {
		session_refuse(s, "501 5.5.4 a domain or an address literal "
				  "is expected");
		return false;
	}
	session_reset(s);
	free(s->greeting_name);
	s->greeting_name = slice_copy(name);
	if (s->greeting_name == NULL)
		s->broken = true;
	return true;
}

static void
offer_mechanisms(struct session *s)
{
	unsigned bit, offered = session_mechanisms(s);
	char line[256] = "250-AUTH";
	size_t len = strlen(line);

	for (bit = 1; bit != 0 && bit <= offered; bit <<= 1) {
		const char *name = mechanism_name(offered & bit);

		if (name == NULL || len + strlen(name) + 2 > sizeof line)
			continue;
		line[len++] = ' ';
		memcpy(line + len, name, strlen(name) + 1);
		len += strlen(name);
	}
	if (offered != 0)
		session_reply(s, "%s", line);
}

static enum step
command_ehlo(struct session *s, struct slice args)
{
	const struct config *config = s->generation->config;

	if (!take_greeting(s, args))
		return STEP_AGAIN;
	s->facts |= SAID_EHLO | SAID_HELLO;
	session_reply(s, "250-%s", config->hostname);
	session_reply(s, "250-SIZE %llu",
	    (unsigned long long)config->message_size);
	session_reply(s, "250-PIPELINING");
	session_reply(s, "250-8BITMIME");
	session_reply(s, "250-SMTPUTF8");
	/* Neither is offered where it does not work: RFC 3207, section 4.2,
	 * and no password outside TLS. */
	if ((s->facts & IN_TLS) == 0)
		session_reply(s, "250-STARTTLS");
	else if ((s->facts & AUTHED) == 0)
		offer_mechanisms(s);
	/* RFC 8689, section 2: inside TLS only; nor is mail taken outside. */
	if ((s->facts & IN_TLS) != 0) {
		session_reply(s, "250-REQUIRETLS");
		session_reply(s, "250-DSN");
	}
	session_reply(s, "250 ENHANCEDSTATUSCODES");
	return STEP_AGAIN;
}

static enum step
command_helo(struct session *s, struct slice args)
{
	if (!take_greeting(s, args))
		return STEP_AGAIN;
	s->facts &= ~(unsigned)SAID_EHLO;
	s->facts |= SAID_HELLO;
	session_reply(s, "250 %s", s->generation->config->hostname);
	return STEP_AGAIN;
}

static enum step
command_starttls(struct session *s, struct slice args)
{
	(void)args;
	if (!signer_client_alive(server_thread()))
		return refuse(s, "454 4.7.0 TLS is not available now, try "
				 "again later");
	session_reply(s, "220 2.0.0 ready to start TLS");
	return session_enter(s, &state_starttls);
}

static enum step
command_rset(struct session *s, struct slice args)
{
	(void)args;
	session_reset(s);
	session_reply(s, "250 2.0.0 OK");
	return STEP_AGAIN;
}

static enum step
command_noop(struct session *s, struct slice args)
{
	(void)args;
	session_reply(s, "250 2.0.0 OK");
	return STEP_AGAIN;
}

static enum step
command_quit(struct session *s, struct slice args)
{
	(void)args;
	session_reply(s, "221 2.0.0 %s closing",
	    s->generation->config->hostname);
	return session_end(s, CLOSE_QUIT);
}

/* RFC 5321, section 3.5.3: neither yes nor no. */
static enum step
command_vrfy(struct session *s, struct slice args)
{
	if (args.len == 0)
		return refuse(s, "501 5.5.4 a name is expected");
	session_reply(s, "252 2.5.2 cannot verify, but will take mail for "
			 "the address and try to deliver it");
	return STEP_AGAIN;
}

static enum step
command_expn(struct session *s, struct slice args)
{
	(void)args;
	return refuse(s, "502 5.5.1 there are no mailing lists here");
}

static enum step
command_help(struct session *s, struct slice args)
{
	(void)args;
	session_reply(s, "214 2.0.0 see RFC 6409, RFC 8314 and RFC 4954");
	return STEP_AGAIN;
}
