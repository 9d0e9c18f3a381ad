/*
 * server/upstream_mail.c: one mail transaction (RFC 5321, section 3.3), from
 * what the other side can take to what is left for another one.
 */
#include "smtp_utf8.h"
#include "upstream_transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
forward_path(const struct transaction *t, size_t recipient)
{
	unsigned index = t->order[recipient]->index;

	return t->delivery->envelope.recipients[index].forward_path;
}

/* Refused for their number, and not for a full mailbox, which 452 and 552 say
 * as well (RFC 5321, section 4.5.3.1.10). */
static bool
is_surplus(const struct delivery_recipient *r)
{
	if (r->outcome != OUTCOME_TEMPORARY)
		return false;
	if (strncmp(r->text, "452", 3) == 0)
		return strcmp(r->status, "4.5.3") == 0 ||
		       strcmp(r->status, "4.0.0") == 0;
	return strncmp(r->text, "552", 3) == 0 &&
	       strcmp(r->status, "4.5.3") == 0;
}

/* Did somebody get it? */
static bool
was_taken(const struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->order[i]->outcome == OUTCOME_DELIVERED)
			return true;
	return false;
}

/* Recipients beyond the server's bound: the rest went through, so the next
 * transaction may follow at once (RFC 5321, section 4.5.3.1.10). */
static void
leave_surplus(struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (is_surplus(t->order[i]))
			t->order[i]->outcome = OUTCOME_NONE;
}

/* DATA was pipelined and answered 354 although nobody is to get it: a lone dot
 * ends it (RFC 2920, section 3.1). */
static bool
empty_data(struct transaction *t)
{
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	return upstream_io_send(&t->up->io, ".\r\n", 3, t->up->timeouts.block,
		   &t->why) &&
	       upstream_io_reply(&t->up->io, &reply, t->up->timeouts.end,
		   &t->why) &&
	       reply.code != 421;
}

static bool
reset(struct transaction *t)
{
	struct upstream_reply reply;

	upstream_reply_init(&reply);
	if (!upstream_command(t->up, "RSET", &reply, t->up->timeouts.command,
		&t->why))
		return false;
	if (reply.code != 250)
		return fail(&t->why, REASON_UPSTREAM, "%.200s", reply.text);
	t->up->needs_reset = false;
	return true;
}

/* What came of it is this connection's trouble, not the message's. */
static enum mail_end
start_afresh(struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++)
		t->order[i]->outcome = OUTCOME_NONE;
	return MAIL_AGAIN;
}

static enum mail_end
broke_before_mail(struct transaction *t)
{
	if (t->up->kept)
		return start_afresh(t);
	outcome_broken(t);
	return MAIL_REFUSED_HOP;
}

/* Some servers take so many messages over a connection and put off all that
 * come after; OpenSMTPD says 452 4.5.3 to MAIL after 100. */
static bool
has_had_enough(const struct transaction *t)
{
	return t->up->took && t->mail_answered && !t->mail_ok &&
	       t->order[0]->outcome == OUTCOME_TEMPORARY;
}

/* Did the message cross as a whole, to somebody, and nobody says what became
 * of it? */
static bool
is_in_doubt(const struct transaction *t)
{
	return t->data_sent && !t->data_answered && !t->service_closing &&
	       (!t->mail_answered || t->mail_ok) && t->refused_count < t->count;
}

static enum mail_end
flight_broke(struct transaction *t)
{
	if (is_in_doubt(t))
		outcome_in_doubt(t);
	else if (t->mail_answered)
		outcome_broken(t);
	if (!t->mail_answered || (t->service_closing && !t->mail_ok))
		return broke_before_mail(t);
	return t->service_closing || t->why.code == REASON_TIMEOUT
		   ? MAIL_REFUSED_HOP
		   : MAIL_CLOSE;
}

/* The message was in the flight, and was answered. */
static enum mail_end
flight_landed(struct transaction *t, bool whole)
{
	bool out_of_step = t->why.code == REASON_PROTOCOL;

	if (chunk_is_unknown(&t->data_reply)) {
		chunk_forswear(t, t->data_reply.text);
		return MAIL_AGAIN;
	}
	if (whole && t->reset_code / 100 != 2)
		out_of_step = !fail(&t->why, REASON_PROTOCOL,
		    "reply %u to RSET after \"%.120s\" to BDAT", t->reset_code,
		    t->data_reply.text);
	if (out_of_step) {
		chunk_forswear(t, t->why.text);
		outcome_in_doubt(t);
		return MAIL_CLOSE;
	}
	outcome_of_data(t, &t->data_reply);
	t->up->needs_reset = !whole;
	if (t->data_reply.code == 421)
		return MAIL_REFUSED_HOP;
	return whole ? MAIL_KEEP : MAIL_CLOSE;
}

/* MAIL and RCPT have been answered, and DATA if it was said. */
static enum mail_end
send_data(struct transaction *t)
{
	bool go_on = t->data_answered && t->data_reply.code == 354;

	if (t->accepted_count == 0)
		return go_on && !empty_data(t) ? MAIL_CLOSE : MAIL_KEEP;
	if (t->way == DATA_DOTS && !go_on) {
		outcome_all_from_reply(t, true, &t->data_reply,
		    OUTCOME_TEMPORARY);
		return MAIL_KEEP;
	}
	return data_run(t);
}

/* Nobody took the chunk of a flight; was it skipped, as it should be? */
static enum mail_end
chunk_for_nobody(struct transaction *t)
{
	if (t->reset_code / 100 == 2) {
		t->up->needs_reset = false;
		return MAIL_KEEP;
	}
	fail(&t->why, REASON_PROTOCOL, "reply %u to RSET after BDAT",
	    t->reset_code);
	chunk_forswear(t, t->why.text);
	outcome_broken(t);
	return MAIL_CLOSE;
}

static enum mail_end
transaction_run(struct transaction *t)
{
	enum mail_end end;
	bool whole;

	if (upstream_io_has_input(&t->up->io)) {
		upstream_io_unasked(&t->up->io, &t->why);
		return broke_before_mail(t);
	}
	if (t->up->needs_reset && !reset(t))
		return broke_before_mail(t);
	t->up->needs_reset = true;
	t->up->said_mail = true;
	whole = flight_run(t);
	if (t->way == DATA_FLIGHT && t->data_answered && t->accepted_count > 0)
		end = flight_landed(t, whole);
	else if (!whole)
		end = flight_broke(t);
	else if (t->way == DATA_FLIGHT && t->data_answered)
		end = chunk_for_nobody(t);
	else
		end = send_data(t);
	if (end == MAIL_KEEP && has_had_enough(t))
		return start_afresh(t);
	if (!was_taken(t)) {
		t->up->refusals++;
	} else {
		t->up->took = true;
		if (end == MAIL_KEEP && !t->up->io.dead)
			leave_surplus(t);
	}
	return end == MAIL_KEEP && t->up->io.dead ? MAIL_CLOSE : end;
}

/* RFC 6531, section 3.2: such a path has no other form to be sent in. */
static bool
lacks_utf8(const struct transaction *t, const char *path)
{
	return !t->up->extensions.smtputf8 && utf8_has_high(slice_of(path));
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
	} else if (!command_path_fits(delivery->envelope.reverse_path,
		       &delivery->envelope)) {
		status = "5.1.7";
		text = "reverse-path cannot be sent";
	} else if (lacks_utf8(t, delivery->envelope.reverse_path)) {
		status = "5.6.7";
		text = "sender's address is in UTF-8, the next hop does not "
		       "offer SMTPUTF8";
	} else if (delivery->envelope.utf8_header && !extensions->smtputf8) {
		status = "5.6.9";
		text = "header is in UTF-8, the next hop does not offer "
		       "SMTPUTF8";
	}
	if (status != NULL)
		outcome_all(t, false, OUTCOME_PERMANENT, status, text);
	return status == NULL;
}

/* Recipients without an outcome whose decision passes and whose path can be
 * said, as many as the server takes in one transaction. */
static void
recipients_order(struct transaction *t, const struct judgement *judgement)
{
	struct delivery *delivery = t->delivery;
	size_t most = t->up->extensions.rcpt_max;
	const char *path;

	if (most == 0)
		most = delivery->recipient_count;
	for (size_t i = 0; i < delivery->recipient_count && t->count < most;
	     i++) {
		struct delivery_recipient *r = &delivery->recipients[i];

		if (r->outcome != OUTCOME_NONE ||
		    judgement->group_of[i] == JUDGE_LATER ||
		    !decision_passes(judgement_of(judgement, i)))
			continue;
		t->order[t->count] = r;
		path = forward_path(t, t->count);
		if (!command_path_fits(path, &delivery->envelope))
			outcome_set(r, OUTCOME_PERMANENT, "5.1.3",
			    "forward-path cannot be sent");
		else if (lacks_utf8(t, path))
			outcome_set(r, OUTCOME_PERMANENT, "5.6.7",
			    "address is in UTF-8, the next hop does not offer "
			    "SMTPUTF8");
		else
			t->count++;
	}
}

/* For the recipients in order; true if another one may follow. */
static bool
transact(struct transaction *t, enum mail_end *end_out)
{
	if (!message_fits(t))
		return true;
	if (!chunk_prepare(t)) {
		data_unfit(t, false);
		return true;
	}
	t->up->messages++;
	*end_out = transaction_run(t);
	return *end_out == MAIL_KEEP;
}

/* For all that the server takes over this connection. */
static enum mail_end
transact_all(struct transaction *first, const struct judgement *judgement)
{
	struct upstream *up = first->up;
	size_t most = first->delivery->recipient_count;
	unsigned before = up->messages;
	enum mail_end end = MAIL_KEEP;

	for (;;) {
		struct transaction t = *first;

		memset(t.accepted, 0, most * sizeof(*t.accepted));
		recipients_order(&t, judgement);
		if (t.count == 0)
			return end;
		if (up->messages > before && upstream_is_spent(up))
			return MAIL_AGAIN;
		if (!transact(&t, &end))
			return end;
		up->kept = true;
	}
}

enum mail_end
upstream_mail(struct upstream *upstream, struct delivery *delivery,
    const struct judgement *judgement)
{
	struct transaction t = { .up = upstream, .delivery = delivery };
	size_t most = delivery->recipient_count + 1;
	enum mail_end end = MAIL_KEEP;

	snprintf(delivery->remote, sizeof(delivery->remote), "%s",
	    upstream->remote);
	upstream->said_mail = false;
	/* What a server offered that has closed since is no reason to refuse
	 * anything for good. */
	if (upstream->kept && upstream_io_has_input(&upstream->io))
		return MAIL_AGAIN;
	t.order = calloc(most, sizeof(*t.order));
	t.accepted = calloc(most, sizeof(*t.accepted));
	if (t.order != NULL && t.accepted != NULL)
		end = transact_all(&t, judgement);
	upstream->kept = true;
	free(t.order);
	free(t.accepted);
	return end;
}
