/*
 * server/upstream_flight.c: the commands of a mail transaction and their
 * replies, pipelined where offered (RFC 2920).
 */
#include "upstream_transaction.h"

#include <string.h>

enum { PIPELINED_COMMANDS = 100 /* unanswered ones at most */ };

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
	if (!upstream_io_send(&t->up->io, out, len, t->up->timeouts.block,
		&t->why))
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
	int timeout = number == t->count + 1 ? t->up->timeouts.data
					     : t->up->timeouts.command;

	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply, timeout, &t->why))
		return false;
	if (!outcome_is_expected(t, &reply, number == t->count + 1 ? 354 : 2))
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

bool
flight_run(struct transaction *t)
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
