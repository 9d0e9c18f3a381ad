/*
 * server/relay_deliver.c: from a delivery to its outcomes.
 */
#include "relay_deliver.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"

/* Connections for one message, where the next hop bounds what it takes over
 * one. */
enum { FRESH_MOST = 16 };

static atomic_ullong clear_count;

static void
set_temporary(struct delivery *delivery, size_t recipient, const char *status,
    const char *text)
{
	struct delivery_recipient *r = &delivery->recipients[recipient];

	r->outcome = OUTCOME_TEMPORARY;
	snprintf(r->status, sizeof(r->status), "%s", status);
	snprintf(r->text, sizeof(r->text), "%s", text);
}

/* What can be returned to nobody waits for the site to mend: the bounce of a
 * message that was refused for good takes the same way as the message. */
static bool
is_for_good(const struct delivery *delivery, const struct decision *decision)
{
	return decision->verdict == VERDICT_PERMANENT &&
	       delivery->envelope.reverse_path[0] != '\0';
}

/* X.7.4: a security feature is missing; X.7.5: cryptographic failure (RFC 3463,
 * section 3.8).  X.7.30: REQUIRETLS support required (RFC 8689, section 8). */
static const char *
decision_status(const struct decision *decision, bool permanent)
{
	switch (decision->code) {
	case REASON_STARTTLS_NOT_OFFERED:
	case REASON_STARTTLS_REFUSED:
		return permanent ? "5.7.4" : "4.7.4";
	case REASON_REQUIRETLS:
		return permanent ? "5.7.30" : "4.7.30";
	default:
		return permanent ? "5.7.5" : "4.7.5";
	}
}

static void
set_refused(struct delivery *delivery, size_t recipient,
    const struct decision *decision)
{
	struct delivery_recipient *r = &delivery->recipients[recipient];
	bool permanent = is_for_good(delivery, decision);

	r->outcome = permanent ? OUTCOME_PERMANENT : OUTCOME_TEMPORARY;
	snprintf(r->status, sizeof(r->status), "%s",
	    decision_status(decision, permanent));
	decision_reply(decision, r->text, sizeof(r->text));
}

/* Let through without TLS that was wanted; "none" wants no TLS. */
static bool
crosses_in_clear(const struct decision *decision)
{
	return decision_passes(decision) && decision->version == 0 &&
	       decision->asked != LEVEL_NONE;
}

/* One line a decision, for every message: DESIGN, section 5. */
static void
log_decision(const struct delivery *delivery, const struct decision *decision)
{
	enum log_level level = SAY_NOTE;
	char line[1024];

	if (!decision_passes(decision))
		level = SAY_ERROR;
	else if (crosses_in_clear(decision) ||
		 decision->verdict == VERDICT_OBSERVED)
		level = SAY_WARNING;
	decision_print(decision, line, sizeof(line));
	log_line(level, "policy", "queue=%s %s", delivery->envelope.queue_id,
	    line);
}

static void
log_no_connection(const struct delivery *delivery,
    const struct upstream_failure *failure)
{
	char text[LOG_LINE_MAX / 2], site[NEXT_HOP_TEXT];

	log_value(text, sizeof(text), failure->text, strlen(failure->text));
	log_line(SAY_WARNING, "connect",
	    "queue=%s site=%s remote=%s result=failed status=%s text=%s",
	    delivery->envelope.queue_id, next_hop_print(&delivery->hop, site),
	    failure->remote, failure->status, text);
}

/* refusals only: there is no connection that could have used the others. */
static bool
is_reported(const struct judge_group *group, bool refusals_only)
{
	return group->recipients > 0 &&
	       !(refusals_only && decision_passes(&group->decision));
}

/* The decision that goes with the delivery, by its group: a refusal rather than
 * one that was observed.  JUDGE_GROUPS: all passed. */
static size_t
group_to_tell(const struct judgement *judgement, bool refusals_only)
{
	size_t told = JUDGE_GROUPS;

	for (size_t i = 0; i < judgement->group_count; i++) {
		const struct judge_group *group = &judgement->groups[i];

		if (!is_reported(group, refusals_only) ||
		    group->decision.verdict == VERDICT_PASS)
			continue;
		if (!decision_passes(&group->decision))
			return i;
		if (told == JUDGE_GROUPS)
			told = i;
	}
	return told;
}

/* Log each decision, and keep the one to be told, with whose it is: another
 * recipient's line must not show it.  If all pass the record of the attempt has
 * what passed. */
static void
report_decisions(struct delivery *delivery, const struct judgement *judgement,
    bool refusals_only)
{
	size_t told = group_to_tell(judgement, refusals_only);

	for (size_t i = 0; i < judgement->group_count; i++)
		if (is_reported(&judgement->groups[i], refusals_only))
			log_decision(delivery, &judgement->groups[i].decision);
	delivery->decision[0] = '\0';
	if (told < JUDGE_GROUPS)
		decision_print(&judgement->groups[told].decision,
		    delivery->decision, sizeof(delivery->decision));
	else if (!refusals_only && judgement->group_count > 0)
		decision_print(&judgement->groups[0].decision,
		    delivery->decision, sizeof(delivery->decision));
	for (size_t i = 0; i < delivery->recipient_count; i++)
		delivery->recipients[i].decided =
		    told < JUDGE_GROUPS && judgement->group_of[i] == told;
}

/* One group's decision; about_site: for the site's state, too. */
static void
book_group(struct book *book, const struct decision *decision, bool crossed,
    bool about_site)
{
	struct decision counted;

	if (about_site) {
		book_decided(book, decision, crossed);
		return;
	}
	counted = *decision;
	counted.names_one_site = false;
	book_decided(book, &counted, crossed);
}

/*
 * Into the book; said_mail: something has crossed on the connection.  All are
 * counted, but a site's state has one word an attempt: where something was
 * refused, what passed for other recipients does not say that it is well.
 */
static void
book_decisions(struct book *book, const struct judgement *judgement,
    bool refusals_only, bool said_mail)
{
	size_t told = group_to_tell(judgement, refusals_only);
	bool refused = told < JUDGE_GROUPS &&
		       !decision_passes(&judgement->groups[told].decision);
	bool crossed = false;

	for (size_t i = 0; i < judgement->group_count; i++) {
		const struct judge_group *group = &judgement->groups[i];
		bool clear = said_mail && crosses_in_clear(&group->decision);

		if (!is_reported(group, refusals_only))
			continue;
		book_group(book, &group->decision, clear,
		    !refused || i == told);
		crossed = crossed || clear;
	}
	if (crossed)
		atomic_fetch_add(&clear_count, 1);
}

/* Outcomes for recipients whose decision does not pass. */
static void
refuse(struct delivery *delivery, const struct judgement *judgement)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		if (judgement->group_of[i] == JUDGE_LATER ||
		    decision_passes(judgement_of(judgement, i)))
			continue;
		set_refused(delivery, i, judgement_of(judgement, i));
	}
}

/* Whoever was not judged for want of a group is not tried at all. */
static void
fail_all(struct delivery *delivery, const struct judgement *judgement,
    const struct upstream_failure *failure)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		if (delivery->recipients[i].outcome != OUTCOME_NONE ||
		    (judgement->made && judgement->group_of[i] == JUDGE_LATER))
			continue;
		set_temporary(delivery, i, failure->status, failure->text);
		/* Later it goes round again; from nobody it is held. */
		if (failure->loops)
			delivery->recipients[i].outcome = OUTCOME_PERMANENT;
	}
	snprintf(delivery->remote, sizeof(delivery->remote), "%s",
	    failure->remote);
}

/* Is the hop itself at fault, rather than what one recipient's rows, a
 * fail=permanent or one message's REQUIRETLS want of it? */
static bool
hop_is_at_fault(const struct judgement *judgement)
{
	const struct decision *base = &judgement->groups[0].decision;

	if (!judgement->made || judgement_any_passes(judgement))
		return true;
	return base->verdict == VERDICT_TEMPORARY &&
	       !judgement_wants_requiretls(judgement);
}

/* What the queue is told of the hop.  False: it takes others' mail, but not one
 * more connection.  Mail that loops is not to wait until the hop is better. */
static bool
hop_failed(struct queue *queue, const struct delivery *delivery,
    const struct judgement *judgement, const struct upstream_failure *failure)
{
	char text[512];

	if (failure->loops || !hop_is_at_fault(judgement))
		return true;
	if (!judgement->made || judgement_any_passes(judgement))
		return !queue_hop_refused(queue, delivery, failure->text);
	decision_reply(&judgement->groups[0].decision, text, sizeof(text));
	queue_hop_failed(queue, delivery, text);
	return true;
}

/* True: another hop of the way is delivery->hop now. */
static bool
open_failed(struct relay_deliverer *deliverer, struct queue *queue,
    struct delivery *delivery, const struct judgement *judgement,
    const struct upstream_failure *failure)
{
	enum queue_next next = QUEUE_NEXT_LATER;

	if (judgement->made) {
		report_decisions(delivery, judgement, true);
		book_decisions(deliverer->thread.book, judgement, true, false);
	}
	if (!judgement->made || judgement_any_passes(judgement))
		log_no_connection(delivery, failure);
	if (hop_failed(queue, delivery, judgement, failure))
		next = queue_next_hop(queue, delivery);
	if (next == QUEUE_NEXT_NONE) {
		if (judgement->made)
			refuse(delivery, judgement);
		fail_all(delivery, judgement, failure);
	}
	return next == QUEUE_NEXT_TAKEN;
}

unsigned long long
relay_deliver_clear_count(void)
{
	return atomic_load(&clear_count);
}

/* The connection broke, or was ended, rather than that a message was refused:
 * RFC 3463, X.4.2, and RFC 5321, section 3.8. */
static bool
is_broken(const struct delivery *delivery)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		const struct delivery_recipient *r = &delivery->recipients[i];

		if (r->outcome == OUTCOME_TEMPORARY &&
		    (strcmp(r->status, "4.4.2") == 0 ||
			strncmp(r->text, "421", 3) == 0))
			return true;
	}
	return false;
}

/* All that can be sent over the connection that is there; true if what is left
 * is to be sent over a fresh one. */
static bool
transact(struct relay_deliverer *deliverer, struct queue *queue,
    struct delivery *delivery, const struct judgement *judgement)
{
	enum mail_end end;

	report_decisions(delivery, judgement, false);
	refuse(delivery, judgement);
	end = upstream_mail(deliverer->upstream, delivery, judgement);
	if (end != MAIL_AGAIN)
		book_decisions(deliverer->thread.book, judgement, false,
		    upstream_said_mail(deliverer->upstream));
	switch (end) {
	case MAIL_KEEP:
		queue_hop_worked(queue, delivery);
		return false;
	case MAIL_CLOSE:
		if (is_broken(delivery))
			queue_hop_broke(queue, delivery);
		else
			queue_hop_worked(queue, delivery);
		break;
	case MAIL_REFUSED_HOP:
		queue_hop_refused(queue, delivery,
		    delivery->recipients[0].text);
		break;
	case MAIL_AGAIN:
		break;
	}
	upstream_quit(deliverer->upstream);
	deliverer->upstream = NULL;
	return end == MAIL_AGAIN;
}

/* True if there was no connection, and delivery->hop is another hop. */
static bool
deliver_judged(struct relay_deliverer *deliverer, struct queue *queue,
    struct relay_config *config, struct delivery *delivery,
    struct judgement *judgement)
{
	struct upstream_failure failure = { .status = "4.4.1" };

	if (deliverer->upstream != NULL) {
		if (upstream_may_serve(deliverer->upstream, config,
			&delivery->hop, judgement)) {
			if (!transact(deliverer, queue, delivery, judgement))
				return false;
		} else {
			upstream_quit(deliverer->upstream);
			deliverer->upstream = NULL;
		}
	}
	for (int fresh = 0; fresh < FRESH_MOST; fresh++) {
		if (!upstream_open(&deliverer->upstream, &deliverer->thread,
			config, &delivery->hop, judgement, &failure))
			return open_failed(deliverer, queue, delivery,
			    judgement, &failure);
		if (!transact(deliverer, queue, delivery, judgement))
			break;
	}
	return false;
}

/* Over delivery->hop.  True as deliver_judged. */
static bool
deliver_over(struct relay_deliverer *deliverer, struct queue *queue,
    struct relay_config *config, struct delivery *delivery)
{
	struct judgement *judgement;
	struct reason why;
	bool again;

	if (!judgement_new(&judgement, config, delivery, time(NULL), &why)) {
		/* Never "no row": a table that cannot be asked refuses. */
		for (size_t i = 0; i < delivery->recipient_count; i++)
			set_temporary(delivery, i, "4.3.0", why.text);
		log_line(relay_config_first_trouble(config) ? SAY_ALARM
							    : SAY_ERROR,
		    "policy", "queue=%s site=%s verdict=refuse reason=%s",
		    delivery->envelope.queue_id, delivery->hop.host,
		    reason_word(why.code));
		return false;
	}
	again = deliver_judged(deliverer, queue, config, delivery, judgement);
	judgement_free(judgement);
	return again;
}

/* What the route itself says of all recipients. */
static void
end_here(struct delivery *delivery)
{
	const struct way *way = delivery->way;

	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *r = &delivery->recipients[i];

		if (way->kind == ROUTE_DISCARD) {
			r->outcome = OUTCOME_DISCARDED;
			strcpy(r->status, "2.0.0");
			snprintf(r->text, sizeof(r->text),
			    "discarded by line %u of the routes", way->line);
			continue;
		}
		r->outcome = way->status[0] == '5' ? OUTCOME_PERMANENT
						   : OUTCOME_TEMPORARY;
		strcpy(r->status, way->status);
		strcpy(r->text, way->text);
	}
}

void
relay_deliver(struct relay_deliverer *deliverer, struct queue *queue,
    struct relay_config *config, struct delivery *delivery)
{
	for (size_t i = 0; i < delivery->recipient_count; i++)
		delivery->recipients[i].outcome = OUTCOME_NONE;
	/* Released while another worker has a part of it: it is routed again
	 * when that is back. */
	if (delivery->way->kind == ROUTE_HOLD)
		return;
	if (delivery->way->kind != ROUTE_RELAY) {
		end_here(delivery);
		return;
	}
	while (deliver_over(deliverer, queue, config, delivery))
		continue;
}
