/*
 * server/upstream_mail.c: one mail transaction: MAIL, RCPT, DATA (RFC 5321,
 * section 3.3), pipelined where offered (RFC 2920).
 */
#include "smtp_parse.h"
#include "upstream_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PIPELINED_COMMANDS = 100, /* unanswered ones at most */
	PATH_OCTETS_MAX = 1024,   /* far beyond RFC 5321, 4.5.3.1.3 */
	/* " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=", or the shorter RET, ENVID */
	DSN_OCTETS_MAX = SMTP_ORCPT_MAX + 64,
	/* "RCPT TO:<" and the parameters of MAIL. */
	COMMAND_OCTETS_MAX = PATH_OCTETS_MAX + 128 + DSN_OCTETS_MAX,
};

/*
 * Commands are numbered: 0 is MAIL, 1 to count the recipients in order[],
 * count + 1 DATA.
 */
struct transaction {
	struct upstream *up;
	struct delivery *delivery;
	struct delivery_recipient **order;
	bool *accepted; /* by number - 1 */
	size_t count, accepted_count;
	bool mail_answered, mail_ok;
	bool data_sent;
	unsigned data_code;
	bool service_closing; /* a 421 was read */
	struct reason why;
};

static void
outcome_set(struct delivery_recipient *recipient, enum outcome outcome,
    const char *status, const char *text)
{
	recipient->outcome = outcome;
	snprintf(recipient->status, sizeof(recipient->status), "%s", status);
	snprintf(recipient->text, sizeof(recipient->text), "%s", text);
}

/* A refusal for want of our login is ours to mend, and must not bounce
 * anybody's mail (RFC 4954, section 6). */
static void
outcome_from_reply(struct delivery_recipient *recipient,
    const struct upstream_reply *reply, enum outcome best)
{
	static const char *const missing[] = { "2.0.0", "4.0.0", "5.0.0" };
	unsigned class = upstream_reply_class(reply);
	enum outcome outcome = OUTCOME_TEMPORARY;
	const char *status = missing[1];

	if (class == 2 && best == OUTCOME_DELIVERED) {
		outcome = OUTCOME_DELIVERED;
		status = missing[0];
	} else if (reply->code == 530 || reply->code == 534 ||
		   reply->code == 535 || reply->code == 538) {
		outcome_set(recipient, OUTCOME_TEMPORARY, "4.7.0", reply->text);
		return;
	} else if (class == 5) {
		outcome = OUTCOME_PERMANENT;
		status = missing[2];
	}
	outcome_set(recipient, outcome,
	    reply->status[0] != '\0' ? reply->status : status, reply->text);
}

/* Every reply but 354 is 2xx, 4xx or 5xx; with any other we are out of step
 * with the server, and the next one would be taken for something else's. */
static bool
reply_expected(struct transaction *t, const struct upstream_reply *reply,
    unsigned good)
{
	unsigned class = upstream_reply_class(reply);

	if (class == 4 || class == 5 || reply->code == good || class == good)
		return true;
	t->up->io.dead = true;
	return fail(&t->why, REASON_PROTOCOL, "unexpected reply: %.180s",
	    reply->text);
}

/* For all recipients in order, or all accepted ones. */
static void
outcome_all(struct transaction *t, bool accepted_only, enum outcome outcome,
    const char *status, const char *text)
{
	for (size_t i = 0; i < t->count; i++)
		if (!accepted_only || t->accepted[i])
			outcome_set(t->order[i], outcome, status, text);
}

static void
outcome_all_from_reply(struct transaction *t, bool accepted_only,
    const struct upstream_reply *reply, enum outcome best)
{
	for (size_t i = 0; i < t->count; i++)
		if (!accepted_only || t->accepted[i])
			outcome_from_reply(t->order[i], reply, best);
}

/* The connection broke: whoever has no answer yet is tried again. */
static void
outcome_broken(struct transaction *t)
{
	char text[512];

	snprintf(text, sizeof(text), "%s[%s]: %.180s", t->up->hop.host,
	    t->up->remote, t->why.text);
	for (size_t i = 0; i < t->count; i++)
		if (t->order[i]->outcome == OUTCOME_NONE)
			outcome_set(t->order[i], OUTCOME_TEMPORARY, "4.4.2",
			    text);
}

/* Can this path stand between angle brackets?  The spool held it, but a
 * command line is not where to find out that it was damaged. */
static bool
path_fits(const char *path)
{
	size_t len = strlen(path);

	if (len > PATH_OCTETS_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)path[i] < 0x20 ||
		    (unsigned char)path[i] >= 0x7f)
			return false;
	return true;
}

static const char *
forward_path(const struct transaction *t, size_t recipient)
{
	unsigned index = t->order[recipient]->index;

	return t->delivery->envelope.recipients[index].forward_path;
}

/*
 * What RFC 3461, section 5.2.1, has passed on, to a server that offers DSN:
 * only what was given, and as it was.  The spool held it, as with paths.
 */
static void
mail_dsn(const struct transaction *t, char out[static DSN_OCTETS_MAX])
{
	const struct envelope *envelope = &t->delivery->envelope;
	bool has_envid =
	    envelope->envid != NULL && smtp_is_envid(slice_of(envelope->envid));

	snprintf(out, DSN_OCTETS_MAX, "%s%s%s",
	    envelope->ret == RET_FULL   ? " RET=FULL"
	    : envelope->ret == RET_HDRS ? " RET=HDRS"
					: "",
	    has_envid ? " ENVID=" : "", has_envid ? envelope->envid : "");
}

static void
rcpt_dsn(const struct envelope_recipient *recipient,
    char out[static DSN_OCTETS_MAX])
{
	static const struct {
		enum notify bit;
		const char *word;
	} words[] = {
		{ NOTIFY_NEVER, "NEVER" },
		{ NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" },
		{ NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";
	char *end = out;

	*end = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if ((recipient->notify & words[i].bit) == 0)
			continue;
		end = stpcpy(stpcpy(end, before), words[i].word);
		before = ",";
		if (words[i].bit == NOTIFY_NEVER)
			break; /* it stands alone */
	}
	if (recipient->orcpt != NULL &&
	    smtp_is_orcpt(slice_of(recipient->orcpt)))
		stpcpy(stpcpy(end, " ORCPT="), recipient->orcpt);
}

static size_t
rcpt_make(const struct transaction *t, size_t recipient,
    char out[static COMMAND_OCTETS_MAX])
{
	unsigned index = t->order[recipient]->index;
	const struct envelope_recipient *one =
	    &t->delivery->envelope.recipients[index];
	char dsn[DSN_OCTETS_MAX];

	dsn[0] = '\0';
	if (t->up->extensions.dsn && (one->notify != 0 || one->orcpt != NULL))
		rcpt_dsn(one, dsn);
	return (size_t)snprintf(out, COMMAND_OCTETS_MAX, "RCPT TO:<%s>%s\r\n",
	    one->forward_path, dsn);
}

static size_t
command_make(const struct transaction *t, size_t number,
    char out[static COMMAND_OCTETS_MAX])
{
	const struct upstream_extensions *extensions = &t->up->extensions;
	const struct envelope *envelope = &t->delivery->envelope;
	char size[40] = "", dsn[DSN_OCTETS_MAX];

	if (number == t->count + 1)
		return (size_t)snprintf(out, COMMAND_OCTETS_MAX, "DATA\r\n");
	if (number > 0)
		return rcpt_make(t, number - 1, out);
	dsn[0] = '\0';
	if (extensions->dsn && (envelope->ret != 0 || envelope->envid != NULL))
		mail_dsn(t, dsn);
	if (extensions->size)
		snprintf(size, sizeof(size), " SIZE=%llu",
		    (unsigned long long)(t->delivery->head_len +
					 t->delivery->body_len));
	return (size_t)snprintf(out, COMMAND_OCTETS_MAX,
	    "MAIL FROM:<%s>%s%s%s%s\r\n", envelope->reverse_path, size,
	    envelope->eight_bit ? " BODY=8BITMIME" : "",
	    envelope->requiretls ? " REQUIRETLS" : "", dsn);
}

/* Send commands first to before end in one write; returns the number after
 * the last one sent, 0 if the connection broke. */
static size_t
commands_send(struct transaction *t, size_t first, size_t end)
{
	char *out = (char *)t->up->out;
	size_t len = 0, number = first;

	while (number < end && len + COMMAND_OCTETS_MAX <= UPSTREAM_COMMANDS) {
		char command[COMMAND_OCTETS_MAX];
		size_t n = command_make(t, number, command);

		memcpy(out + len, command, n);
		len += n;
		number++;
	}
	if (number == t->count + 2)
		t->data_sent = true;
	if (!upstream_io_send(&t->up->io, out, len, TIMEOUT_BLOCK, &t->why))
		return 0;
	return number;
}

static void
mail_answer(struct transaction *t, const struct upstream_reply *reply)
{
	t->mail_answered = true;
	t->mail_ok = upstream_reply_class(reply) == 2;
	if (!t->mail_ok)
		outcome_all_from_reply(t, false, reply, OUTCOME_NONE);
}

static void
rcpt_answer(struct transaction *t, size_t recipient,
    const struct upstream_reply *reply)
{
	if (!t->mail_ok)
		return; /* MAIL's reply is the one that says why */
	if (upstream_reply_class(reply) == 2) {
		t->accepted[recipient] = true;
		t->accepted_count++;
	} else if (reply->code == 552) {
		/* Too many recipients: RFC 5321, section 4.5.3.1.10. */
		outcome_set(t->order[recipient], OUTCOME_TEMPORARY, "4.5.3",
		    reply->text);
	} else {
		outcome_from_reply(t->order[recipient], reply, OUTCOME_NONE);
	}
}

static void
data_answer(struct transaction *t, const struct upstream_reply *reply)
{
	t->data_code = reply->code;
	if (reply->code != 354)
		outcome_all_from_reply(t, true, reply, OUTCOME_TEMPORARY);
}

static bool
command_answer(struct transaction *t, size_t number)
{
	struct upstream_reply reply;
	int timeout = number == t->count + 1 ? TIMEOUT_DATA : TIMEOUT_COMMAND;

	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply, timeout, &t->why))
		return false;
	if (!reply_expected(t, &reply, number == t->count + 1 ? 354 : 2))
		return false;
	if (reply.code == 421)
		t->service_closing = true;
	if (number == 0)
		mail_answer(t, &reply);
	else if (number <= t->count)
		rcpt_answer(t, number - 1, &reply);
	else
		data_answer(t, &reply);
	if (t->service_closing)
		return fail(&t->why, REASON_UPSTREAM, "%.200s", reply.text);
	return true;
}

/* MAIL to DATA.  False if the connection broke or is being closed. */
static bool
commands(struct transaction *t)
{
	size_t most = t->up->extensions.pipelining ? PIPELINED_COMMANDS : 1;
	size_t all = t->count + 2, next = 0;

	while (next < all) {
		size_t end = all - next < most ? all : next + most;
		size_t sent;

		if (t->mail_answered && !t->mail_ok)
			return true;
		if (next == all - 1 && t->accepted_count == 0)
			return true; /* no DATA without a recipient */
		sent = commands_send(t, next, end);
		if (sent == 0)
			return false;
		for (; next < sent; next++)
			if (!command_answer(t, next))
				return false;
	}
	return true;
}

/* Mail data that is being put together for the next write. */
struct outflow {
	struct transaction *t;
	struct relay_dots dots;
	size_t len;   /* octets in up->out */
	bool begun;   /* something was sent */
	bool damaged; /* a bare CR or LF, or the spool could not be read */
};

/* A server that speaks before the end of data refuses it. */
static bool
outflow_flush(struct outflow *flow)
{
	struct transaction *t = flow->t;
	size_t len = flow->len;

	flow->len = 0;
	if (flow->begun && upstream_io_has_input(&t->up->io))
		return fail(&t->why, REASON_UPSTREAM,
		    "reply before the end of data");
	flow->begun = true;
	return upstream_io_send(&t->up->io, t->up->out, len, TIMEOUT_BLOCK,
	    &t->why);
}

/* len is at most UPSTREAM_CHUNK. */
static bool
outflow_add(struct outflow *flow, const void *octets, size_t len)
{
	size_t added = 0;

	if (flow->len >= UPSTREAM_CHUNK && !outflow_flush(flow))
		return false;
	if (!relay_dots_add(&flow->dots, octets, len,
		flow->t->up->out + flow->len, &added)) {
		flow->damaged = true;
		return fail(&flow->t->why, REASON_DAMAGED,
		    "message with a bare CR or LF");
	}
	flow->len += added;
	return true;
}

static bool
outflow_head(struct outflow *flow)
{
	const struct delivery *delivery = flow->t->delivery;
	const unsigned char *head = delivery->head;
	size_t left = delivery->head_len;

	while (left > 0) {
		size_t n = left < UPSTREAM_CHUNK ? left : UPSTREAM_CHUNK;

		if (!outflow_add(flow, head, n))
			return false;
		head += n;
		left -= n;
	}
	return true;
}

static bool
body_read(struct outflow *flow, uint64_t at, size_t want, size_t *got_out)
{
	const struct delivery *delivery = flow->t->delivery;
	ssize_t n;

	do {
		n = pread(delivery->body_fd, flow->t->up->in, want,
		    delivery->body_offset + (off_t)at);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		*got_out = (size_t)n;
		return true;
	}
	flow->damaged = true;
	if (n == 0)
		return fail(&flow->t->why, REASON_DAMAGED,
		    "spooled message is cut off");
	return fail_errno(&flow->t->why, "spool");
}

static bool
outflow_body(struct outflow *flow)
{
	uint64_t len = flow->t->delivery->body_len, at = 0;

	while (at < len) {
		size_t want = len - at < UPSTREAM_CHUNK ? (size_t)(len - at)
							: UPSTREAM_CHUNK;
		size_t got = 0;

		if (!body_read(flow, at, want, &got) ||
		    !outflow_add(flow, flow->t->up->in, got))
			return false;
		at += got;
	}
	return true;
}

/* Head, body and end of data, the end in one write with what is before it. */
static bool
outflow_all(struct outflow *flow)
{
	size_t added = 0;

	if (!outflow_head(flow) || !outflow_body(flow))
		return false;
	if (!relay_dots_end(&flow->dots, flow->t->up->out + flow->len,
		&added)) {
		flow->damaged = true;
		return fail(&flow->t->why, REASON_DAMAGED,
		    "message with a bare CR");
	}
	flow->len += added;
	return outflow_flush(flow);
}

/* The mail data did not get across: whose fault? */
static void
outflow_failed(struct outflow *flow)
{
	struct transaction *t = flow->t;
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	if (flow->damaged && t->why.code == REASON_DAMAGED)
		outcome_all(t, true, OUTCOME_PERMANENT, "5.6.0", t->why.text);
	else if (flow->damaged)
		outcome_all(t, true, OUTCOME_TEMPORARY, "4.3.0", t->why.text);
	else if (upstream_io_last_reply(&t->up->io, &reply) &&
		 upstream_reply_class(&reply) >= 4)
		outcome_all_from_reply(t, true, &reply, OUTCOME_TEMPORARY);
	else
		outcome_broken(t);
}

/* After 354.  False if the connection cannot be used any more. */
static bool
mail_data(struct transaction *t)
{
	struct outflow flow = { .t = t };
	struct upstream_reply reply;

	relay_dots_init(&flow.dots);
	if (!outflow_all(&flow)) {
		outflow_failed(&flow);
		return false;
	}
	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply, TIMEOUT_END, &t->why) ||
	    !reply_expected(t, &reply, 2)) {
		outcome_broken(t);
		return false;
	}
	outcome_all_from_reply(t, true, &reply, OUTCOME_DELIVERED);
	for (size_t i = 0; i < t->count; i++)
		t->order[i]->dsn = t->up->extensions.dsn;
	t->up->needs_reset = upstream_reply_class(&reply) != 2;
	return reply.code != 421;
}

/* Recipients beyond the server's bound: the rest went through, so the next
 * transaction may follow at once (RFC 5321, section 4.5.3.1.10). */
static void
leave_surplus(struct transaction *t)
{
	bool delivered = false;

	for (size_t i = 0; i < t->count && !delivered; i++)
		delivered = t->order[i]->outcome == OUTCOME_DELIVERED;
	for (size_t i = 0; i < t->count && delivered; i++)
		if (t->order[i]->outcome == OUTCOME_TEMPORARY &&
		    (strncmp(t->order[i]->text, "452", 3) == 0 ||
			strncmp(t->order[i]->text, "552", 3) == 0) &&
		    strcmp(t->order[i]->status, "4.5.3") == 0)
			t->order[i]->outcome = OUTCOME_NONE;
}

/* DATA was pipelined and answered 354 although nobody is to get it: a lone dot
 * ends it (RFC 2920, section 3.1). */
static bool
empty_data(struct transaction *t)
{
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	return upstream_io_send(&t->up->io, ".\r\n", 3, TIMEOUT_BLOCK,
		   &t->why) &&
	       upstream_io_reply(&t->up->io, &reply, TIMEOUT_END, &t->why) &&
	       reply.code != 421;
}

static bool
reset(struct transaction *t)
{
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	if (!upstream_command(t->up, "RSET", &reply, TIMEOUT_COMMAND, &t->why))
		return false;
	if (reply.code != 250)
		return fail(&t->why, REASON_UPSTREAM, "%.200s", reply.text);
	t->up->needs_reset = false;
	return true;
}

static enum mail_end
broke_before_mail(struct transaction *t)
{
	if (t->up->messages > 1) {
		for (size_t i = 0; i < t->count; i++)
			t->order[i]->outcome = OUTCOME_NONE;
		return MAIL_STALE;
	}
	outcome_broken(t);
	return MAIL_REFUSED_HOP;
}

static enum mail_end
transaction_run(struct transaction *t)
{
	if (upstream_io_has_input(&t->up->io)) {
		fail(&t->why, REASON_PROTOCOL,
		    "closed, or spoke without being asked");
		return broke_before_mail(t);
	}
	if (t->up->needs_reset && !reset(t))
		return broke_before_mail(t);
	t->up->needs_reset = true;
	t->up->said_mail = true;
	if (!commands(t)) {
		if (!t->mail_answered || (t->service_closing && !t->mail_ok))
			return broke_before_mail(t);
		outcome_broken(t);
		return MAIL_CLOSE;
	}
	if (t->data_code == 354 && t->accepted_count > 0) {
		if (!mail_data(t))
			return MAIL_CLOSE;
		leave_surplus(t);
	} else if (t->data_code == 354 && !empty_data(t)) {
		return MAIL_CLOSE;
	}
	return t->up->io.dead ? MAIL_CLOSE : MAIL_KEEP;
}

/* What this server says it cannot take; refusing here saves the attempt. */
static bool
message_fits(struct transaction *t)
{
	const struct upstream_extensions *extensions = &t->up->extensions;
	const struct delivery *delivery = t->delivery;
	uint64_t size = delivery->head_len + delivery->body_len;
	const char *status = NULL, *text = NULL;

	if (extensions->size_max > 0 && size > extensions->size_max) {
		status = "5.3.4";
		text = "message is larger than the next hop takes";
	} else if (delivery->envelope.eight_bit &&
		   !extensions->eight_bit_mime) {
		status = "5.6.3";
		text = "message is 8bit, the next hop does not offer 8BITMIME";
	} else if (!path_fits(delivery->envelope.reverse_path)) {
		status = "5.1.7";
		text = "reverse-path cannot be sent";
	}
	if (status != NULL)
		outcome_all(t, false, OUTCOME_PERMANENT, status, text);
	return status == NULL;
}

/* Recipients whose decision passes and whose path can be said. */
static void
recipients_order(struct transaction *t, const struct judgement *judgement)
{
	struct delivery *delivery = t->delivery;

	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *r = &delivery->recipients[i];

		if (r->outcome != OUTCOME_NONE ||
		    judgement->group_of[i] == JUDGE_LATER ||
		    !decision_passes(judgement_of(judgement, i)))
			continue;
		t->order[t->count] = r;
		if (path_fits(forward_path(t, t->count)))
			t->count++;
		else
			outcome_set(r, OUTCOME_PERMANENT, "5.1.3",
			    "forward-path cannot be sent");
	}
}

enum mail_end
upstream_mail(struct upstream *upstream, struct delivery *delivery,
    const struct judgement *judgement)
{
	struct transaction t = { .up = upstream, .delivery = delivery };
	enum mail_end end = MAIL_KEEP;

	snprintf(delivery->remote, sizeof(delivery->remote), "%s",
	    upstream->remote);
	upstream->said_mail = false;
	t.order = calloc(delivery->recipient_count + 1, sizeof(*t.order));
	t.accepted = calloc(delivery->recipient_count + 1, sizeof(*t.accepted));
	if (t.order != NULL && t.accepted != NULL) {
		recipients_order(&t, judgement);
		if (t.count > 0 && message_fits(&t)) {
			upstream->messages++;
			end = transaction_run(&t);
		}
	}
	free(t.order);
	free(t.accepted);
	return end;
}
