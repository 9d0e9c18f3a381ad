/*
 * server/upstream_data.c: the message itself, and the reply to its end.
 */
#include "upstream_transaction.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct outflow {
	struct transaction *t;
	struct relay_dots dots;
	size_t len; /* octets in up->out */
	bool unfit; /* a bare CR or LF, or the spool could not be read */
};

/* A server that speaks before the end of data refuses it. */
static bool
outflow_flush(struct outflow *flow)
{
	struct transaction *t = flow->t;
	size_t len = flow->len, put;

	flow->len = 0;
	if (!upstream_io_has_input(&t->up->io)) {
		if (!upstream_io_send_some(&t->up->io, t->up->out, len, &put,
			t->up->timeouts.block, &t->why))
			return false;
		if (put == len)
			return true;
	}
	return fail(&t->why, REASON_UPSTREAM, "reply before the end of data");
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
		flow->unfit = true;
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

bool
data_read(struct transaction *t, void *to, uint64_t at, size_t want,
    size_t *got_out)
{
	const struct delivery *delivery = t->delivery;
	ssize_t n;

	do {
		n = pread(delivery->body_fd, to, want,
		    delivery->body_offset + (off_t)at);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		*got_out = (size_t)n;
		return true;
	}
	if (n == 0)
		return fail(&t->why, REASON_DAMAGED,
		    "spooled message is cut off");
	return fail_errno(&t->why, "spool");
}

void
data_unfit(struct transaction *t, bool accepted_only)
{
	if (t->why.code == REASON_DAMAGED)
		outcome_all(t, accepted_only, OUTCOME_PERMANENT, "5.6.0",
		    t->why.text);
	else
		outcome_all(t, accepted_only, OUTCOME_TEMPORARY, "4.3.0",
		    t->why.text);
}

static bool
outflow_body(struct outflow *flow)
{
	struct transaction *t = flow->t;
	uint64_t len = t->delivery->body_len, at = 0;

	while (at < len) {
		size_t want = len - at < UPSTREAM_CHUNK ? (size_t)(len - at)
							: UPSTREAM_CHUNK;
		size_t got = 0;

		if (!data_read(t, t->up->in, at, want, &got)) {
			flow->unfit = true;
			return false;
		}
		if (!outflow_add(flow, t->up->in, got))
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
		flow->unfit = true;
		return fail(&flow->t->why, REASON_DAMAGED,
		    "message with a bare CR");
	}
	flow->len += added;
	return outflow_flush(flow);
}

/* The message did not get across: whose fault? */
static enum mail_end
outflow_failed(struct outflow *flow)
{
	struct transaction *t = flow->t;
	struct upstream_reply reply;

	t->up->io.dead = t->up->io.dead || flow->unfit;
	if (flow->unfit) {
		data_unfit(t, true);
		return MAIL_CLOSE;
	}
	upstream_reply_init(&reply);
	if (!upstream_io_last_reply(&t->up->io, &reply) ||
	    upstream_reply_class(&reply) < 4) {
		outcome_broken(t);
		return t->why.code == REASON_TIMEOUT ? MAIL_REFUSED_HOP
						     : MAIL_CLOSE;
	}
	if (t->way == DATA_CHUNK && chunk_is_unknown(&reply)) {
		chunk_forswear(t, reply.text);
		return MAIL_AGAIN;
	}
	outcome_all_from_reply(t, true, &reply, OUTCOME_TEMPORARY);
	return reply.code == 421 ? MAIL_REFUSED_HOP : MAIL_CLOSE;
}

/* BDAT stands before the octets it counts. */
static void
outflow_begin(struct outflow *flow)
{
	struct transaction *t = flow->t;

	if (t->way != DATA_CHUNK) {
		relay_dots_init(&flow->dots);
		return;
	}
	relay_dots_init_counted(&flow->dots);
	flow->len = command_make(t, t->count + 1, (char *)t->up->out);
}

enum mail_end
data_run(struct transaction *t)
{
	struct outflow flow = { .t = t };
	struct upstream_reply reply;

	outflow_begin(&flow);
	if (!outflow_all(&flow))
		return outflow_failed(&flow);
	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply, t->up->timeouts.end,
		&t->why) ||
	    !outcome_is_expected(t, &reply, 2)) {
		outcome_in_doubt(t);
		return MAIL_CLOSE;
	}
	if (t->way == DATA_CHUNK && chunk_is_unknown(&reply)) {
		chunk_forswear(t, reply.text);
		return MAIL_AGAIN;
	}
	outcome_of_data(t, &reply);
	t->up->needs_reset = upstream_reply_class(&reply) != 2;
	if (reply.code == 421)
		return MAIL_REFUSED_HOP;
	/* Were the octets of a refused chunk skipped?  Nobody can tell. */
	return t->way == DATA_CHUNK && t->up->needs_reset ? MAIL_CLOSE
							  : MAIL_KEEP;
}
