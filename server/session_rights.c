/*
 * server/session_rights.c: what the login may send, and how much.
 *
 * Sender rights are judged twice: the reverse-path at MAIL, and who the
 * message says has written and sent it once it is there.  A login that may use
 * every address is a server that relays for others: its messages are not
 * looked into.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../auth/rights.h"
#include "log.h"
#include "session.h"
#include "smtp_utf8.h"
#include "submission_from.h"

static struct rights
login_rights(const struct grant *grant)
{
	return (
	    struct rights){ grant->login, grant->rights, grant->rights_len };
}

static struct rights
owner_rights(const struct grant *grant)
{
	return (struct rights){ grant->owner, grant->owner_rights,
		grant->owner_rights_len };
}

static bool
may_use(const struct grant *grant, const char *address)
{
	struct rights login = login_rights(grant), owner = owner_rights(grant);

	return rights_allow(&login, grant->owner[0] != '\0' ? &owner : NULL,
	    address, NULL);
}

static bool
may_use_all(const struct grant *grant)
{
	struct rights login = login_rights(grant), owner = owner_rights(grant);

	return rights_allow_all(&login,
	    grant->owner[0] != '\0' ? &owner : NULL);
}

/* For a reply: ASCII, for MAIL has not been accepted, and RFC 6531, section
 * 3.7.4.2, lets UTF-8 into other replies alone. */
static const char *
printable(char *out, size_t size, const char *text)
{
	size_t len = 0;

	for (; *text != '\0' && len + 1 < size; text++)
		out[len++] = *text >= 32 && *text < 127 ? *text : '?';
	out[len] = '\0';
	return out;
}

/* The one line about a sender that is not the login's to use.  what: where the
 * address stands. */
static void
refuse_address(struct session *s, const char *what, const char *address,
    char reply[REPLY_SIZE])
{
	char login[256], shown[200], value[700], user[600];
	const struct grant *grant = s->grant;

	snprintf(reply, REPLY_SIZE, "553 5.7.1 %s may not send as <%s> (%s)",
	    printable(login, sizeof login, grant->login),
	    printable(shown, sizeof shown, address), what);
	log_line(SAY_NOTE, "refused",
	    "session=%s user=%s client=%s reason=sender-rights field=%s "
	    "address=%s",
	    s->id,
	    log_value(user, sizeof user, grant->login, strlen(grant->login)),
	    s->client, what,
	    log_value(value, sizeof value, address, strlen(address)));
}

/* rates_wait or rates_take. */
typedef unsigned ask_rates(struct rates *rates, const char *login,
    uint32_t most, int64_t now);

/* Seconds until the login, and its owner, may send. */
static unsigned
ask_rate(const struct grant *grant, ask_rates *ask, int64_t now)
{
	unsigned wait = 0;

	if (grant->rate != 0)
		wait = ask(server.rates, grant->login, grant->rate, now);
	if (wait != 0 || grant->owner_rate == 0)
		return wait;
	wait = ask(server.rates, grant->owner, grant->owner_rate, now);
	if (wait != 0 && grant->rate != 0 && ask == rates_take)
		rates_give(server.rates, grant->login, now);
	return wait;
}

static bool
has_room_in_rate(struct session *s, ask_rates *ask, int64_t now,
    char reply[REPLY_SIZE])
{
	const struct grant *grant = s->grant;
	unsigned wait = ask_rate(grant, ask, now);
	char user[600];

	if (wait == 0)
		return true;
	snprintf(reply, REPLY_SIZE,
	    "450 4.7.1 as many messages as an hour may have are sent, try "
	    "again in %u minutes",
	    (wait + 59) / 60);
	log_line(SAY_NOTE, "refused",
	    "session=%s user=%s client=%s reason=rate seconds=%u", s->id,
	    log_value(user, sizeof user, grant->login, strlen(grant->login)),
	    s->client, wait);
	return false;
}

/* The time of a login ends while sessions of it are there. */
static bool
has_ended(const struct session *s)
{
	const struct grant *grant = s->grant;
	char user[600];

	if (grant->until == 0 || time(NULL) < grant->until)
		return false;
	log_line(SAY_NOTE, "refused",
	    "session=%s user=%s client=%s reason=ended", s->id,
	    log_value(user, sizeof user, grant->login, strlen(grant->login)),
	    s->client);
	return true;
}

bool
session_may_mail(struct session *s, struct slice reverse_path,
    enum step *step_out)
{
	char reply[REPLY_SIZE], address[SMTP_PATH_MAX + 1];

	*step_out = STEP_AGAIN;
	if (has_ended(s)) {
		*step_out = session_say_revoked(s);
		return false;
	}
	snprintf(address, sizeof address, "%.*s", (int)reverse_path.len,
	    reverse_path.at);
	/* The null reverse-path is everybody's: nobody answers to it. */
	if (address[0] != '\0' && !may_use(s->grant, address))
		refuse_address(s, "MAIL", address, reply);
	else if (has_room_in_rate(s, rates_wait, server_now(), reply))
		return true;
	session_refuse(s, reply);
	return false;
}

static const char *
refuse_header(struct session *s, const char *reply)
{
	const struct grant *grant = s->grant;
	char user[600];

	log_line(SAY_NOTE, "refused",
	    "session=%s user=%s client=%s reason=authors reply=\"%s\"", s->id,
	    log_value(user, sizeof user, grant->login, strlen(grant->login)),
	    s->client, reply);
	return reply;
}

/* What must be so before single mailboxes are looked at. */
static const char *
shape_reply(const struct transaction *transaction)
{
	const struct submission_header *header = &transaction->header;

	/* Other programs read on behind it, and find fields there. */
	if (header->has_field && header->has_text)
		return "550 5.6.0 a line in the header is no field";
	if (header->kept_failed)
		return "550 5.6.0 fields that name authors are too long";
	if (header->from > 1)
		return "550 5.6.0 more than one From field";
	if (header->from == 0 && transaction->envelope.reverse_path[0] == '\0')
		return "550 5.6.0 no From field, and no reverse-path to make "
		       "one of";
	return NULL;
}

/* In UTF-8 it is an address only where that was said of the message: RFC
 * 6532.  Otherwise it is in a charset that each reader guesses for himself. */
static bool
is_in_doubt(const struct session *s, const char *address)
{
	struct slice octets = slice_of(address);

	return utf8_has_high(octets) &&
	       (!s->transaction->envelope.smtputf8 || !utf8_is_plain(octets));
}

/* The mailboxes of one field: the reply that refuses it, or NULL. */
static const char *
judge_field(struct session *s, const char *name, struct submission_from *from,
    char reply[REPLY_SIZE])
{
	const char *judged = s->transaction->envelope.reverse_path;
	char address[SUBMISSION_ADDRESS_SIZE];
	enum submission_from_result result;
	unsigned mailboxes = 0;

	while ((result = submission_from_next(from, address)) == FROM_MAILBOX) {
		mailboxes++;
		if (is_in_doubt(s, address)) {
			snprintf(reply, REPLY_SIZE,
			    "550 5.6.7 the %s field has an address that is "
			    "not ASCII, nor plain UTF-8 with SMTPUTF8",
			    name);
			return refuse_header(s, reply);
		}
		/* Nearly always the address that MAIL has named. */
		if (strcmp(address, judged) == 0 || may_use(s->grant, address))
			continue;
		refuse_address(s, name, address, reply);
		return reply;
	}
	if (result == FROM_END && mailboxes > 0)
		return NULL;
	snprintf(reply, REPLY_SIZE,
	    "550 5.6.0 the %s field is not a list of addresses", name);
	return refuse_header(s, reply);
}

const char *
session_judge_header(struct session *s, char reply[REPLY_SIZE])
{
	static const char *const names[] = {
		[FIELD_FROM] = "From",
		[FIELD_SENDER] = "Sender",
		[FIELD_RESENT_FROM] = "Resent-From",
		[FIELD_RESENT_SENDER] = "Resent-Sender",
	};
	struct submission_from from;
	enum submission_field field;
	const char *at = NULL, *value, *refusal;
	size_t len;

	if (may_use_all(s->grant))
		return NULL;
	refusal = shape_reply(s->transaction);
	if (refusal != NULL)
		return refuse_header(s, refusal);
	while (
	    refusal == NULL && submission_header_next(&s->transaction->header,
				   &at, &field, &value, &len)) {
		submission_from_init(&from, value, len);
		refusal = judge_field(s, names[field], &from, reply);
	}
	return refusal;
}

const char *
session_count_message(struct session *s, char reply[REPLY_SIZE])
{
	const struct grant *grant = s->grant;
	int64_t now = server_now();

	if (grant->rate == 0 && grant->owner_rate == 0)
		return NULL;
	if (!has_room_in_rate(s, rates_take, now, reply))
		return reply;
	s->transaction->counted = now;
	return NULL;
}

void
session_uncount_message(struct session *s)
{
	const struct grant *grant = s->grant;
	int64_t counted = s->transaction->counted;

	s->transaction->counted = 0;
	if (counted == 0)
		return;
	if (grant->rate != 0)
		rates_give(server.rates, grant->login, counted);
	if (grant->owner_rate != 0)
		rates_give(server.rates, grant->owner, counted);
}
