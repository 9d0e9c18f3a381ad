/*
 * server/upstream_flight.c: the commands of a mail transaction and their
 * replies, pipelined where offered (RFC 2920).
 *
 * A small message crosses with them where CHUNKING is offered (RFC 3030), and
 * RSET after it: its 250 says that the octets were counted as they should be,
 * and that no reply was one more or less than there are commands.
 */
#include "upstream_transaction.h"

#include <string.h>

enum { PIPELINED_COMMANDS = 100 /* unanswered ones at most */ };

static size_t
number_end(const struct transaction *t)
{
	switch (t->way) {
	case DATA_CHUNK:
		return t->count + 1;
	case DATA_FLIGHT:
		return t->count + 3;
	case DATA_DOTS:
		break;
	}
	return t->count + 2;
}

/* The commands from number first on that go into one flight, at least one, in
 * up->out; the number after the last of them. */
static size_t
flight_make(const struct transaction *t, size_t first, size_t *len_out)
{
	size_t most = t->up->extensions.pipelining ? PIPELINED_COMMANDS : 1;
	size_t all = number_end(t), number = first, len = 0;
	char *out = (char *)t->up->out;

	while (number < all) {
		char command[COMMAND_OCTETS_MAX];
		size_t n;

		/* What comes after RCPT is never parted. */
		if (number <= t->count + 1 &&
		    (number - first == most ||
			len + COMMAND_OCTETS_MAX > UPSTREAM_COMMANDS))
			break;
		n = command_make(t, number, command);
		memcpy(out + len, command, n);
		len += n;
		if (t->way == DATA_FLIGHT && number == t->count + 1) {
			memcpy(out + len, t->up->in, t->chunk_len);
			len += t->chunk_len;
		}
		number++;
	}
	*len_out = len;
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
		return;
	}
	t->refused_count++;
	/* Too many recipients, as RFC 5321, section 4.5.3.1.10, has it. */
	if (reply->code == 552 &&
	    (reply->status[0] == '\0' || strcmp(reply->status, "5.5.3") == 0))
		outcome_set(t->order[recipient], OUTCOME_TEMPORARY, "4.5.3",
		    reply->text);
	else
		outcome_from_reply(t->order[recipient], reply, OUTCOME_NONE);
}

static void
data_answer(struct transaction *t, const struct upstream_reply *reply)
{
	t->data_answered = true;
	t->data_reply = *reply;
}

/* Read the reply to the command of that number. */
static bool
command_answer(struct transaction *t, size_t number)
{
	const struct upstream_timeouts *timeouts = &t->up->timeouts;
	struct upstream_reply reply;
	bool is_data = number == t->count + 1;
	bool is_dots = is_data && t->way == DATA_DOTS;

	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply,
		is_dots   ? timeouts->data
		: is_data ? timeouts->end
			  : timeouts->command,
		&t->why) ||
	    !outcome_is_expected(t, &reply, is_dots ? 354 : 2))
		return false;
	if (number == 0)
		mail_answer(t, &reply);
	else if (number <= t->count)
		rcpt_answer(t, number - 1, &reply);
	else if (is_data)
		data_answer(t, &reply);
	else
		t->reset_code = reply.code;
	if (reply.code != 421)
		return true;
	t->service_closing = true;
	return fail(&t->why, REASON_UPSTREAM, "%.200s", reply.text);
}

/* Send what is in up->out.  What is answered meanwhile is taken: a server need
 * not read on before its replies are. */
static bool
flight_send(struct transaction *t, size_t len, size_t *next, size_t end)
{
	size_t at = 0, put;

	while (at < len) {
		if (!upstream_io_send_some(&t->up->io, t->up->out + at,
			len - at, &put, t->up->timeouts.block, &t->why))
			return false;
		at += put;
		if (at == len)
			break;
		if (*next == end)
			return upstream_io_unasked(&t->up->io, &t->why);
		if (!command_answer(t, (*next)++))
			return false;
	}
	t->data_sent = t->way == DATA_FLIGHT && end == number_end(t);
	return true;
}

/* One reply more than commands: whose are those before it?  But a server may
 * say that it closes when it has answered all (RFC 5321, section 3.8). */
static bool
flight_is_in_step(struct transaction *t)
{
	struct upstream_reply reply;

	if (!upstream_io_has_reply(&t->up->io))
		return true;
	upstream_reply_init(&reply);
	if (upstream_io_last_reply(&t->up->io, &reply) && reply.code == 421)
		return true;
	return fail(&t->why, REASON_PROTOCOL,
	    "it spoke without being asked: %.180s", reply.text);
}

bool
flight_run(struct transaction *t)
{
	size_t all = number_end(t), next = 0, end, len;

	while (next < all) {
		if (t->mail_answered && !t->mail_ok)
			return true;
		if (next > t->count && t->accepted_count == 0)
			return true; /* no message without a recipient */
		if (upstream_io_has_input(&t->up->io))
			return upstream_io_unasked(&t->up->io, &t->why);
		end = flight_make(t, next, &len);
		if (!flight_send(t, len, &next, end))
			return false;
		for (; next < end; next++)
			if (!command_answer(t, next))
				return false;
	}
	return flight_is_in_step(t);
}
