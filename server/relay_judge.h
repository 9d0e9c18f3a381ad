/*
 * server/relay_judge.h: what the site table demands for each recipient of a
 * delivery, and whether a connection meets it.
 *
 * Recipients whose rows are the same form a group, which has one demand and
 * one decision.
 */
#ifndef SERVER_RELAY_JUDGE_H
#define SERVER_RELAY_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "../policy/decide.h"
#include "queue.h"
#include "relay_config.h"

enum {
	JUDGE_GROUPS = 16,
	JUDGE_LATER = 255, /* no group was left: the next attempt's turn */
};

struct judge_group {
	struct demand *demand;
	struct decision decision; /* when the judgement is made */
	size_t recipients;        /* how many are in it; may be none */
};

struct judgement {
	/* groups[0] is the next hop's own demand. */
	struct judge_group groups[JUDGE_GROUPS];
	size_t group_count;
	unsigned char *group_of; /* by index of delivery.recipients */
	bool made;               /* decisions are filled */
	/* What the hop has shown, if it meets its own demand and that has
	 * ratchet; else LEVEL_NONE. */
	struct shown shown;
};

/* The rows, and what the message itself asks: REQUIRETLS, or by the header
 * field "TLS-Required: No" (RFC 8689).  False if the table could not be asked
 * (REASON_TABLE, temporary). */
bool judgement_new(struct judgement **judgement_out,
    const struct relay_config *config, const struct delivery *delivery,
    time_t now, struct reason *why);
void judgement_free(struct judgement *judgement);

/* The next hop's own demand: cert, auth, sni, reuse, min. */
const struct demand *judgement_base(const struct judgement *judgement);

/* Some recipient's demand is more than none. */
bool judgement_wants_tls(const struct judgement *judgement);
/* Some recipient's demand is encrypt or more: say no name in clear. */
bool judgement_hides_name(const struct judgement *judgement);
/* Some recipient's demand is may or less: clear may do if TLS cannot be. */
bool judgement_allows_clear(const struct judgement *judgement);

/* Some recipient's rows have dane. */
bool judgement_wants_dane(const struct judgement *judgement);
/* The message does: whether the next hop offers it decides. */
bool judgement_wants_requiretls(const struct judgement *judgement);

/* What is remembered of the next hop, for rows with ratchet. */
void judgement_recall(struct judgement *judgement, const struct shown *best);

/* Decide for every group about a connection without TLS; code may be
 * REASON_NONE where none was tried. */
void judgement_without_tls(struct judgement *judgement, enum reason_code code,
    const char *detail);

/* Decide for every group about facts; verify gives the chain's state against
 * one anchor set of a demand. */
void judgement_with_facts(struct judgement *judgement,
    const struct facts *facts,
    enum chain_state (
	*verify)(void *context, const char *anchors, const char *crl),
    void *context);

bool decision_passes(const struct decision *decision);
/* Does every group with recipients, or any, pass? */
bool judgement_all_pass(const struct judgement *judgement);
bool judgement_any_passes(const struct judgement *judgement);

/* The decision for a recipient. */
const struct decision *judgement_of(const struct judgement *judgement,
    size_t recipient);

#endif
