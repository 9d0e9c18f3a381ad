/*
 * server/session_mail.c: MAIL and RCPT, which open a mail transaction.
 */
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "session.h"
#include "smtp_utf8.h"

void
session_reset(struct session *s)
{
	struct transaction *transaction = s->transaction;

	s->facts &= ~(unsigned)(IN_MAIL | HAS_RCPT);
	if (transaction == NULL)
		return;
	spool_message_free(transaction->message);
	submission_header_fini(&transaction->header);
	envelope_fini(&transaction->envelope);
	free(transaction);
	s->transaction = NULL;
}

static enum step
refuse(struct session *s, const char *reply)
{
	session_refuse(s, reply);
	return STEP_AGAIN;
}

struct mail_params {
	bool has_size, has_body, has_auth, has_ret, has_envid;
	bool eight_bit, requiretls, smtputf8;
	uint64_t size;
	uint8_t ret;
	struct slice envid;
};

struct rcpt_params {
	bool has_notify, has_orcpt;
	uint8_t notify;
	struct slice orcpt;
};

/* RFC 4954, section 5: read, checked, and dropped: nobody here is trusted to
 * vouch for others. */
static bool
is_auth_value(struct slice value)
{
	return slice_is(value, "<>") || smtp_is_xtext(value);
}

/* One parameter of MAIL; the reply that refuses it, or NULL. */
static const char *
take_mail_param(void *context, const struct smtp_param *param)
{
	struct mail_params *params = context;
	bool *seen;

	if (slice_is(param->keyword, "SIZE")) {
		seen = &params->has_size;
		if (!smtp_parse_size(param->value, &params->size))
			return "501 5.5.4 SIZE= is not a number";
	} else if (slice_is(param->keyword, "BODY")) {
		seen = &params->has_body;
		params->eight_bit = slice_is(param->value, "8BITMIME");
		if (!params->eight_bit && !slice_is(param->value, "7BIT"))
			return "501 5.5.4 BODY= is 7BIT or 8BITMIME";
	} else if (slice_is(param->keyword, "AUTH")) {
		seen = &params->has_auth;
		if (!param->has_value || !is_auth_value(param->value))
			return "501 5.5.4 AUTH= is not xtext";
	} else if (slice_is(param->keyword, "REQUIRETLS")) {
		seen = &params->requiretls;
		if (param->has_value) /* RFC 8689, section 2 */
			return "501 5.5.4 REQUIRETLS has no value";
	} else if (slice_is(param->keyword, "SMTPUTF8")) {
		seen = &params->smtputf8;
		if (param->has_value) /* RFC 6531, section 3.4 */
			return "501 5.5.4 SMTPUTF8 has no value";
	} else if (slice_is(param->keyword, "RET")) {
		seen = &params->has_ret;
		if (!smtp_parse_ret(param->value, &params->ret))
			return "501 5.5.4 RET= is FULL or HDRS";
	} else if (slice_is(param->keyword, "ENVID")) {
		seen = &params->has_envid;
		params->envid = param->value;
		if (!smtp_is_envid(param->value))
			return "501 5.5.4 ENVID= is xtext of at most 100 "
			       "characters";
	} else {
		return "555 5.5.4 MAIL parameter is not known";
	}
	if (*seen)
		return "501 5.5.4 MAIL parameter is given twice";
	*seen = true;
	return NULL;
}

/* One parameter of RCPT (RFC 3461, sections 4.1 and 4.2); the reply that
 * refuses it, or NULL. */
static const char *
take_rcpt_param(void *context, const struct smtp_param *param)
{
	struct rcpt_params *params = context;
	bool *seen;

	if (slice_is(param->keyword, "NOTIFY")) {
		seen = &params->has_notify;
		if (!smtp_parse_notify(param->value, &params->notify))
			return "501 5.5.4 NOTIFY= is NEVER, or some of "
			       "SUCCESS,FAILURE,DELAY";
	} else if (slice_is(param->keyword, "ORCPT")) {
		seen = &params->has_orcpt;
		params->orcpt = param->value;
		if (!smtp_is_orcpt(param->value))
			return "501 5.5.4 ORCPT= is type;xtext of at most 500 "
			       "characters";
	} else {
		return "555 5.5.4 RCPT parameter is not known";
	}
	if (*seen)
		return "501 5.5.4 RCPT parameter is given twice";
	*seen = true;
	return NULL;
}

/* All parameters, each by take; the reply that refuses one, or NULL. */
static const char *
take_params(struct slice rest,
    const char *(*take)(void *params, const struct smtp_param *param),
    void *params)
{
	struct smtp_param param;
	const char *reply;

	for (;;) {
		switch (smtp_next_param(&rest, &param)) {
		case SMTP_PARAM_END:
			return NULL;
		case SMTP_PARAM_BAD:
			return "501 5.5.4 parameters are malformed";
		case SMTP_PARAM_GOT:
			reply = take(params, &param);
			if (reply != NULL)
				return reply;
		}
	}
}

/* The reply for a path that is not to be taken, or NULL. */
static const char *
syntax_reply(enum smtp_syntax syntax, const char *bad)
{
	switch (syntax) {
	case SMTP_SYNTAX_OK:
		return NULL;
	case SMTP_SYNTAX_TOO_LONG:
		return "501 5.1.0 address is too long";
	case SMTP_SYNTAX_NOT_UTF8:
		return "501 5.5.2 address is neither ASCII nor plain UTF-8";
	case SMTP_SYNTAX_BAD:
		break;
	}
	return bad;
}

/* RFC 6531, sections 3.3 and 3.5: a path that needs SMTPUTF8, and its domain
 * to A-labels, into ascii. */
static const char *
utf8_reply(bool smtputf8, struct smtp_path *path, const char *bad,
    char ascii[static SMTP_PATH_MAX + 1])
{
	if (path->is_utf8 && !smtputf8)
		return "553 5.6.7 an address in UTF-8 needs SMTPUTF8 of MAIL";
	return syntax_reply(smtp_path_to_ascii(path, ascii), bad);
}

static const char *
room_reply(const struct session *s, uint64_t size)
{
	struct reason why;

	if (size > s->generation->config->message_size)
		return "552 5.3.4 message is larger than the limit";
	if (spool_has_room(server.spool, size, &why))
		return NULL;
	log_line(SAY_WARNING, "no-space", "session=%s detail=\"%s\"", s->id,
	    why.text);
	return "452 4.3.1 not enough space, try again later";
}

static struct transaction *
transaction_new(struct slice reverse_path, const struct mail_params *params)
{
	struct transaction *transaction = calloc(1, sizeof *transaction);

	if (transaction == NULL)
		return NULL;
	envelope_init(&transaction->envelope);
	transaction->envelope.eight_bit = params->eight_bit;
	transaction->envelope.requiretls = params->requiretls;
	transaction->envelope.smtputf8 = params->smtputf8;
	transaction->envelope.ret = params->ret;
	transaction->size = params->size;
	transaction->envelope.reverse_path = slice_copy(reverse_path);
	if (params->has_envid)
		transaction->envelope.envid = slice_copy(params->envid);
	if (transaction->envelope.reverse_path == NULL ||
	    (params->has_envid && transaction->envelope.envid == NULL)) {
		envelope_fini(&transaction->envelope);
		free(transaction);
		return NULL;
	}
	return transaction;
}

enum step
command_mail(struct session *s, struct slice args)
{
	static const char bad[] = "501 5.1.7 FROM:<address> is expected";
	char ascii[SMTP_PATH_MAX + 1];
	struct mail_params params = { 0 };
	struct smtp_path path;
	struct slice rest;
	const char *reply;
	enum step step;

	reply = syntax_reply(smtp_parse_mail(args, &path, &rest), bad);
	if (reply == NULL)
		reply = take_params(rest, take_mail_param, &params);
	if (reply == NULL)
		reply = utf8_reply(params.smtputf8, &path, bad, ascii);
	if (reply == NULL)
		reply = room_reply(s, params.size);
	if (reply != NULL)
		return refuse(s, reply);
	if (!session_may_mail(s, path.mailbox, &step))
		return step;
	s->transaction = transaction_new(path.mailbox, &params);
	if (s->transaction == NULL)
		return refuse(s, "452 4.3.0 out of memory, try again later");
	if (!policy_judge_mail(s, s->transaction->envelope.reverse_path)) {
		session_reset(s);
		return STEP_AGAIN;
	}
	s->facts |= IN_MAIL;
	session_reply(s, "250 2.1.0 OK");
	return STEP_AGAIN;
}

/* Postmaster alone is that of the default realm: what goes out is fully
 * qualified (RFC 6409, section 6.2). */
static bool
add_recipient(struct session *s, const struct smtp_path *path,
    const struct rcpt_params *params)
{
	struct envelope *envelope = &s->transaction->envelope;
	struct envelope_recipient *recipient;
	char mailbox[SMTP_PATH_MAX + SMTP_DOMAIN_MAX];
	int n;

	if (path->domain.len > 0)
		n = snprintf(mailbox, sizeof mailbox, "%.*s",
		    (int)path->mailbox.len, path->mailbox.at);
	else
		n = snprintf(mailbox, sizeof mailbox, "%.*s@%s",
		    (int)path->mailbox.len, path->mailbox.at,
		    s->generation->config->realm);
	if (n <= 0 || (size_t)n >= sizeof mailbox ||
	    !envelope_add_recipient(envelope, mailbox))
		return false;
	recipient = &envelope->recipients[envelope->recipient_count - 1];
	recipient->notify = params->notify;
	if (!params->has_orcpt)
		return true;
	recipient->orcpt = slice_copy(params->orcpt);
	if (recipient->orcpt != NULL)
		return true;
	envelope_drop_recipient(envelope);
	return false;
}

enum step
command_rcpt(struct session *s, struct slice args)
{
	const struct envelope *envelope = &s->transaction->envelope;
	static const char bad[] = "501 5.1.3 TO:<address> is expected";
	char ascii[SMTP_PATH_MAX + 1];
	struct rcpt_params params = { 0 };
	struct smtp_path path;
	struct slice rest;
	const char *reply;

	reply = syntax_reply(smtp_parse_rcpt(args, &path, &rest), bad);
	if (reply == NULL)
		reply = take_params(rest, take_rcpt_param, &params);
	if (reply == NULL)
		reply = utf8_reply(envelope->smtputf8, &path, bad, ascii);
	if (reply == NULL && !envelope->smtputf8 && params.has_orcpt &&
	    utf8_has_high(params.orcpt)) /* RFC 6533, section 3 */
		reply = "501 5.5.4 ORCPT= in UTF-8 needs SMTPUTF8 of MAIL";
	if (reply != NULL)
		return refuse(s, reply);
	/* Not counted as a mistake: RFC 5321, section 4.5.3.1.10. */
	if (envelope->recipient_count >= s->generation->config->recipients) {
		session_reply(s, "452 4.5.3 too many recipients");
		return STEP_AGAIN;
	}
	if (!add_recipient(s, &path, &params))
		return refuse(s, "452 4.3.0 out of memory, try again later");
	if (!policy_judge_rcpt(s)) {
		envelope_drop_recipient(&s->transaction->envelope);
		return STEP_AGAIN;
	}
	s->facts |= HAS_RCPT;
	session_reply(s, "250 2.1.5 OK");
	return STEP_AGAIN;
}
