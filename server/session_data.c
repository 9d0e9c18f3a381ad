/*
 * server/session_data.c: DATA, from 354 to the reply that is a promise.
 *
 * Message text goes from the read buffer straight to the spool.  250 is said
 * when the committer reports that it is on stable storage, and not before.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "session.h"

static enum step run_data(struct session *s);
static enum step run_store(struct session *s);

static const struct state state_data = { "data", run_data, true };
/* Parked until the committer is through. */
static const struct state state_store = { "store", run_store, false };

static const char reply_no_space[] =
    "452 4.3.1 not enough space, try again later";
static const char reply_not_stored[] =
    "451 4.3.0 cannot store the message, try again later";

/* What may be wasted on a message that is too large already. */
enum { DISCARD_MOST = 16 * 1024 * 1024 };

static enum step
to_command(struct session *s)
{
	session_reset(s);
	return session_await_command(s);
}

enum step
command_data(struct session *s, struct slice args)
{
	struct transaction *transaction = s->transaction;

	(void)args;
	transaction->message = spool_message_new(server.spool);
	if (transaction->message == NULL ||
	    !spool_message_expect(transaction->message, transaction->size,
		&transaction->why)) {
		session_reply(s, "%s", reply_no_space);
		return to_command(s);
	}
	smtp_data_init(&transaction->data);
	submission_header_init(&transaction->header);
	transaction->header.hostname = s->generation->config->hostname;
	session_reply(s, "354 end with <CRLF>.<CRLF>");
	session_deadline(s, s->generation->config->data_timeout_s);
	return session_enter(s, &state_data);
}

/* The message is lost, but its end is still to be found. */
static void
give_up(struct session *s, enum data_refusal refusal)
{
	s->transaction->refusal = refusal;
	spool_message_free(s->transaction->message);
	s->transaction->message = NULL;
}

static void
take_text(struct session *s, struct slice text)
{
	struct transaction *transaction = s->transaction;

	transaction->octets += text.len;
	if (transaction->message == NULL || text.len == 0)
		return;
	if (transaction->octets > s->generation->config->message_size) {
		give_up(s, DATA_TOO_BIG);
		return;
	}
	submission_header_look(&transaction->header, text.at, text.len);
	if (transaction->envelope.smtputf8)
		submission_parts_look(&transaction->parts, text.at, text.len);
	if (!spool_message_append(transaction->message, text.at, text.len,
		&transaction->why)) {
		bool full = transaction->why.code == REASON_NO_SPACE;

		log_line(SAY_WARNING, full ? "no-space" : "not-stored",
		    "session=%s detail=\"%s\"", s->id, transaction->why.text);
		give_up(s, full ? DATA_NO_SPACE : DATA_NOT_STORED);
	}
}

/* Why the message is not acceptable, or NULL. */
static const char *
data_reply(const struct transaction *transaction)
{
	if (smtp_data_is_malformed(&transaction->data))
		return "550 5.6.0 bare CR, bare LF or NUL in the message";
	switch (transaction->refusal) {
	case DATA_TOO_BIG:
		return "552 5.3.4 message is larger than the limit";
	case DATA_NO_SPACE:
		return reply_no_space;
	case DATA_NOT_STORED:
		return reply_not_stored;
	case DATA_FINE:
		break;
	}
	/* RFC 5321, section 4.5.3.1.6.  A line that is longer would be cut
	 * or refused further on, where nobody can tell the author. */
	if (transaction->data.long_line)
		return "550 5.6.0 a line is longer than 998 octets";
	/* RFC 6532, section 3.2; without SMTPUTF8 nothing is said of it. */
	if (transaction->envelope.smtputf8 &&
	    !utf8_scan_is_good(&transaction->header.utf8))
		return "550 5.6.0 the header is not UTF-8";
	if (transaction->header.received > SUBMISSION_RECEIVED_MAX)
		return "554 5.4.6 too many Received fields, mail goes round "
		       "in circles";
	if (transaction->header.own > SUBMISSION_OWN_MAX)
		return "554 5.4.6 it came through here too often, mail goes "
		       "round in circles";
	return NULL;
}

/* Is there a field in UTF-8, in the header, in that of a part, or one of our
 * own making? */
static bool
has_utf8_header(const struct transaction *transaction)
{
	return transaction->header.utf8.has_high ||
	       transaction->parts.has_utf8 ||
	       (transaction->header.from == 0 &&
		   utf8_has_high(slice_of(transaction->envelope.reverse_path)));
}

/* The strings the envelope owns, beside those that MAIL and RCPT gave. */
static bool
fill_envelope(const struct session *s, size_t head_len)
{
	struct envelope *envelope = &s->transaction->envelope;
	struct timespec now;
	char tls[96];

	clock_gettime(CLOCK_REALTIME, &now);
	envelope->arrival_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
	snprintf(tls, sizeof tls, "%s %s", session_tls_version(s),
	    s->tls_suite);
	envelope->login = strdup(s->grant->login);
	envelope->device = s->grant->owner[0] != '\0';
	envelope->client = strdup(s->client);
	envelope->listener = strdup(session_service(s)->config->name);
	envelope->tls = strdup(tls);
	envelope->session_id = strdup(s->id);
	/* RFC 8689, section 4.1: REQUIRETLS outweighs the field. */
	envelope->tls_optional =
	    !envelope->requiretls &&
	    submission_header_is_tls_optional(&s->transaction->header);
	envelope->utf8_header =
	    envelope->smtputf8 && has_utf8_header(s->transaction);
	envelope->size = head_len + spool_message_size(s->transaction->message);
	return envelope->login != NULL && envelope->client != NULL &&
	       envelope->listener != NULL && envelope->tls != NULL &&
	       envelope->session_id != NULL;
}

static size_t
make_head(const struct session *s, char *out, size_t capacity)
{
	const struct config *config = s->generation->config;
	char literal[64];
	struct submission_trace trace = {
		.hostname = config->hostname,
		.queue_id = s->transaction->envelope.queue_id,
		.smtputf8 = s->transaction->envelope.smtputf8,
		.tls_version = session_tls_version(s),
		.tls_suite = s->tls_suite,
		.now = time(NULL),
		.from = s->transaction->envelope.reverse_path,
	};

	if (trace.from[0] == '\0')
		trace.from = NULL;

	snprintf(literal, sizeof literal,
	    s->family == AF_INET ? "[%s]" : "[IPv6:%s]", s->client);
	if (config->trace_client) {
		trace.greeting_name = s->greeting_name;
		trace.client = literal;
	}
	return submission_head(&s->transaction->header, &trace, out, capacity);
}

/* On the committer's thread.  The session is parked or about to be, and does
 * not look at these fields before it sees the bit. */
static void
stored(void *context, bool ok, const struct reason *why)
{
	struct session *s = context;

	s->transaction->stored = ok;
	if (!ok && why != NULL)
		s->transaction->why = *why;
	session_wake(s, SESSION_STORED);
}

static enum step
commit(struct session *s)
{
	struct transaction *transaction = s->transaction;
	struct spool_message *message = transaction->message;
	char head[SUBMISSION_HEAD_MAX];
	size_t head_len;

	spool_queue_id(server.spool, transaction->envelope.queue_id);
	head_len = make_head(s, head, sizeof head);
	if (head_len == 0 || !fill_envelope(s, head_len)) {
		session_uncount_message(s);
		session_reply(s, "451 4.3.0 out of memory, try again later");
		return to_command(s);
	}
	transaction->message = NULL; /* the spool's from here on */
	session_enter(s, &state_store);
	spool_commit(server.spool, message, &transaction->envelope, head,
	    head_len, stored, s);
	return STEP_AGAIN;
}

static void
log_refused(const struct session *s, const char *reply)
{
	const struct grant *grant = s->grant;
	char user[600];

	log_line(SAY_NOTE, "refused", "session=%s user=%s reply=\"%s\"", s->id,
	    log_value(user, sizeof user, grant->login, strlen(grant->login)),
	    reply);
}

static enum step
finish(struct session *s)
{
	char text[REPLY_SIZE];
	const char *reply = data_reply(s->transaction);
	bool malformed = smtp_data_is_malformed(&s->transaction->data);

	if (reply != NULL) {
		log_refused(s, reply);
	} else {
		reply = session_judge_header(s, text);
		if (reply == NULL)
			reply = session_count_message(s, text);
	}
	if (reply == NULL)
		return commit(s);
	session_refuse(s, reply);
	if (malformed) {
		session_reset(s);
		return session_end(s, CLOSE_MALFORMED);
	}
	return to_command(s);
}

static enum step
run_data(struct session *s)
{
	struct transaction *transaction = s->transaction;
	struct slice in, text;
	uint64_t most = s->generation->config->message_size + DISCARD_MOST;

	/* What a login sends that was taken away is not accepted, even if all
	 * of it is there. */
	if (session_is(s, SESSION_REVOKED)) {
		session_reset(s);
		return session_say_revoked(s);
	}
	while ((in = session_input(s)).len > 0) {
		session_consume(s,
		    smtp_data_scan(&transaction->data, in, &text));
		take_text(s, text);
		if (smtp_data_ended(&transaction->data))
			return finish(s);
	}
	if (transaction->octets > most) {
		session_reply(s, "552 5.3.4 message is larger than the limit");
		session_reset(s);
		return session_end(s, CLOSE_SIZE);
	}
	session_deadline(s, s->generation->config->data_timeout_s);
	return STEP_INPUT;
}

static void
log_accepted(const struct session *s)
{
	const struct envelope *envelope = &s->transaction->envelope;
	char from[600], user[600];

	log_line(SAY_NOTE, "accepted",
	    "queue=%s session=%s from=<%s> rcpts=%zu size=%llu user=%s tls=%s "
	    "suite=%s%s%s%s",
	    envelope->queue_id, s->id,
	    log_value(from, sizeof from, envelope->reverse_path,
		strlen(envelope->reverse_path)),
	    envelope->recipient_count, (unsigned long long)envelope->size,
	    log_value(user, sizeof user, s->grant->login,
		strlen(s->grant->login)),
	    session_tls_version(s), s->tls_suite,
	    envelope->requiretls ? " requiretls=yes" : "",
	    envelope->smtputf8 ? " smtputf8=yes" : "",
	    envelope->tls_optional ? " tls-optional=yes" : "");
}

/* A message that does not say what wrote it: perhaps the next one does. */
static void
tell_program(struct session *s)
{
	const char *program =
	    submission_header_program(&s->transaction->header);

	if (program[0] != '\0')
		session_tell_practices(s, program);
}

static enum step
run_store(struct session *s)
{
	const struct transaction *transaction = s->transaction;

	/* Not before: the committer has our address.  A deadline that passes
	 * meanwhile is no reason. */
	if (!session_is(s, SESSION_STORED))
		return STEP_PARK;
	atomic_fetch_and(&s->bits, ~(unsigned)SESSION_STORED);
	if (transaction->stored) {
		s->messages++;
		atomic_fetch_add(&server.accepted, 1);
		log_accepted(s);
		session_reply(s, "250 2.0.0 %s accepted",
		    transaction->envelope.queue_id);
		tell_program(s);
		return to_command(s);
	}
	session_uncount_message(s);
	log_line(SAY_ERROR, "spool",
	    "session=%s queue=%s reason=%s "
	    "detail=\"%s\"",
	    s->id, transaction->envelope.queue_id,
	    reason_word(transaction->why.code), transaction->why.text);
	session_reply(s, "%s",
	    transaction->why.code == REASON_NO_SPACE
		? reply_no_space
		: reply_not_stored);
	return to_command(s);
}
