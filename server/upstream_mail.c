/*
 * server/upstream_mail.c: one mail transaction (RFC 5321, section 3.3), from
 * what the other side can take to what is left for another one.
 */
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
		upstream_io_unasked(&t->up->io, &t->why);
		return broke_before_mail(t);
	}
	if (t->up->needs_reset && !reset(t))
		return broke_before_mail(t);
	t->up->needs_reset = true;
	t->up->said_mail = true;
	if (!flight_run(t)) {
		if (!t->mail_answered || (t->service_closing && !t->mail_ok))
			return broke_before_mail(t);
		outcome_broken(t);
		return MAIL_CLOSE;
	}
	if (t->data_code == 354 && t->accepted_count > 0) {
		if (!data_run(t))
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
	} else if (!command_path_fits(delivery->envelope.reverse_path)) {
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
		if (command_path_fits(forward_path(t, t->count)))
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
