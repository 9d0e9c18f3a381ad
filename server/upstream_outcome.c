/*
 * server/upstream_outcome.c: what a reply, or the lack of one, means for the
 * recipients of a transaction.
 */
#include "upstream_transaction.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

static atomic_ullong doubts;

void
outcome_set(struct delivery_recipient *recipient, enum outcome outcome,
    const char *status, const char *text)
{
	recipient->outcome = outcome;
	snprintf(recipient->status, sizeof(recipient->status), "%s", status);
	snprintf(recipient->text, sizeof(recipient->text), "%s", text);
}

void
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

bool
outcome_is_expected(struct transaction *t, const struct upstream_reply *reply,
    unsigned good)
{
	unsigned class = upstream_reply_class(reply);

	if (reply->code == 421)
		t->up->io.dead = true; /* there is nobody to say QUIT to */
	if (class == 4 || class == 5 || reply->code == good || class == good)
		return true;
	t->up->io.dead = true;
	return fail(&t->why, REASON_PROTOCOL, "unexpected reply: %.180s",
	    reply->text);
}

void
outcome_all(struct transaction *t, bool accepted_only, enum outcome outcome,
    const char *status, const char *text)
{
	for (size_t i = 0; i < t->count; i++)
		if (!accepted_only || t->accepted[i])
			outcome_set(t->order[i], outcome, status, text);
}

void
outcome_all_from_reply(struct transaction *t, bool accepted_only,
    const struct upstream_reply *reply, enum outcome best)
{
	for (size_t i = 0; i < t->count; i++)
		if (!accepted_only || t->accepted[i])
			outcome_from_reply(t->order[i], reply, best);
}

/* Nobody is left without an outcome, or, if whose replies they were is not
 * known, with one that was read from them. */
static void
outcome_try_again(struct transaction *t, const char *status, const char *more)
{
	char text[512];

	snprintf(text, sizeof(text), "%s[%s]: %.180s%s", t->up->hop.host,
	    t->up->remote, t->why.text, more);
	for (size_t i = 0; i < t->count; i++)
		if (t->order[i]->outcome == OUTCOME_NONE ||
		    t->why.code == REASON_PROTOCOL)
			outcome_set(t->order[i], OUTCOME_TEMPORARY, status,
			    text);
}

void
outcome_broken(struct transaction *t)
{
	outcome_try_again(t, t->service_closing ? "4.3.2" : "4.4.2", "");
}

void
outcome_in_doubt(struct transaction *t)
{
	const struct upstream *up = t->up;
	char text[LOG_LINE_MAX / 2];

	atomic_fetch_add(&doubts, 1);
	log_line(SAY_WARNING, "unanswered",
	    "queue=%s site=%s:%u remote=%s recipients=%zu text=%s",
	    t->delivery->envelope.queue_id, up->hop.host, up->hop.port,
	    up->remote, t->accepted_count > 0 ? t->accepted_count : t->count,
	    log_value(text, sizeof(text), t->why.text, strlen(t->why.text)));
	outcome_try_again(t, "4.4.2",
	    "; the message was sent, it may have been taken");
}

unsigned long long
upstream_doubt_count(void)
{
	return atomic_load(&doubts);
}

void
outcome_of_data(struct transaction *t, const struct upstream_reply *reply)
{
	outcome_all_from_reply(t, true, reply, OUTCOME_DELIVERED);
	for (size_t i = 0; i < t->count; i++)
		t->order[i]->dsn = t->up->extensions.dsn;
}
