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
	size_t len;   /* octets in up->out */
	bool damaged; /* a bare CR or LF, or the spool could not be read */
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

bool
data_run(struct transaction *t)
{
	struct outflow flow = { .t = t };
	struct upstream_reply reply;

	relay_dots_init(&flow.dots);
	if (!outflow_all(&flow)) {
		outflow_failed(&flow);
		return false;
	}
	upstream_reply_init(&reply);
	if (!upstream_io_reply(&t->up->io, &reply, t->up->timeouts.end,
		&t->why) ||
	    !outcome_is_expected(t, &reply, 2)) {
		outcome_broken(t);
		return false;
	}
	outcome_all_from_reply(t, true, &reply, OUTCOME_DELIVERED);
	for (size_t i = 0; i < t->count; i++)
		t->order[i]->dsn = t->up->extensions.dsn;
	t->up->needs_reset = upstream_reply_class(&reply) != 2;
	return reply.code != 421;
}
