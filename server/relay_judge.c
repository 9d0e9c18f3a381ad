/*
 * server/relay_judge.c: groups of recipients with equal demands.
 */
#include "relay_judge.h"

#include <stdlib.h>
#include <string.h>

void
judgement_free(struct judgement *judgement)
{
	if (judgement == NULL)
		return;
	for (size_t i = 0; i < judgement->group_count; i++)
		demand_free(judgement->groups[i].demand);
	free(judgement->group_of);
	free(judgement);
}

static bool
demand_add_message(struct demand *demand, const struct envelope *envelope,
    struct reason *why)
{
	if (envelope->requiretls)
		return demand_add_requiretls(demand, why);
	if (envelope->tls_optional)
		demand_relax(demand);
	return true;
}

/* The demand of the hop, of a recipient's rows where path is given, and of the
 * message itself. */
static struct demand *
demand_make(const struct relay_config *config, const struct delivery *delivery,
    const char *path, time_t now, struct reason *why)
{
	const struct table *table = relay_config_table(config);
	const struct next_hop *hop = &delivery->hop;
	struct demand *demand = demand_new();

	if (demand == NULL) {
		fail(why, REASON_NO_MEMORY, "demand");
		return NULL;
	}
	if (!demand_out(demand, table, hop->host, hop->port, now, why) ||
	    (path != NULL && !demand_add_rcpt(demand, table, path, now, why)) ||
	    !demand_add_message(demand, &delivery->envelope, why)) {
		demand_free(demand);
		return NULL;
	}
	return demand;
}

/* Made of the same table at the same moment for the same message: equal rows,
 * equal demand. */
static bool
same_rows(const struct demand *a, const struct demand *b)
{
	if (a->row_count != b->row_count)
		return false;
	for (size_t i = 0; i < a->row_count; i++)
		if (a->rows[i].line != b->rows[i].line)
			return false;
	return true;
}

static bool
group_find(const struct judgement *judgement, const struct demand *demand,
    size_t *group_out)
{
	for (size_t i = 0; i < judgement->group_count; i++) {
		if (same_rows(judgement->groups[i].demand, demand)) {
			*group_out = i;
			return true;
		}
	}
	return false;
}

/* Takes *demand where a new group keeps it. */
static unsigned char
group_for(struct judgement *judgement, struct demand **demand)
{
	size_t group;

	if (!group_find(judgement, *demand, &group)) {
		if (judgement->group_count == JUDGE_GROUPS)
			return JUDGE_LATER;
		group = judgement->group_count++;
		judgement->groups[group].demand = *demand;
		*demand = NULL;
	}
	judgement->groups[group].recipients++;
	return (unsigned char)group;
}

/* Where there are more groups than places each attempt begins with others: no
 * recipient waits for good behind those that are refused. */
static size_t
first_judged(const struct delivery *delivery)
{
	size_t attempt = delivery->attempt > 0 ? delivery->attempt - 1 : 0;

	return delivery->recipient_count == 0
		   ? 0
		   : attempt * (JUDGE_GROUPS - 1) % delivery->recipient_count;
}

static bool
groups_make(struct judgement *judgement, const struct relay_config *config,
    const struct delivery *delivery, time_t now, struct reason *why)
{
	size_t count = delivery->recipient_count, i = first_judged(delivery);
	struct demand *demand;

	demand = demand_make(config, delivery, NULL, now, why);
	if (demand == NULL)
		return false;
	judgement->groups[judgement->group_count++].demand = demand;
	for (size_t n = 0; n < count; n++, i = (i + 1) % count) {
		unsigned index = delivery->recipients[i].index;

		demand = demand_make(config, delivery,
		    delivery->envelope.recipients[index].forward_path, now,
		    why);
		if (demand == NULL)
			return false;
		judgement->group_of[i] = group_for(judgement, &demand);
		demand_free(demand);
	}
	return true;
}

bool
judgement_new(struct judgement **judgement_out,
    const struct relay_config *config, const struct delivery *delivery,
    time_t now, struct reason *why)
{
	struct judgement *judgement = calloc(1, sizeof(*judgement));

	if (judgement == NULL)
		return fail(why, REASON_NO_MEMORY, "judgement");
	judgement->group_of = malloc(delivery->recipient_count + 1);
	if (judgement->group_of == NULL) {
		judgement_free(judgement);
		return fail(why, REASON_NO_MEMORY, "judgement");
	}
	if (!groups_make(judgement, config, delivery, now, why)) {
		judgement_free(judgement);
		return false;
	}
	*judgement_out = judgement;
	return true;
}

const struct demand *
judgement_base(const struct judgement *judgement)
{
	return judgement->groups[0].demand;
}

/* Some recipient's level is between low and high. */
static bool
has_level(const struct judgement *judgement, enum level low, enum level high)
{
	for (size_t i = 0; i < judgement->group_count; i++) {
		const struct judge_group *group = &judgement->groups[i];

		if (group->recipients > 0 && group->demand->level >= low &&
		    group->demand->level <= high)
			return true;
	}
	return false;
}

bool
judgement_wants_tls(const struct judgement *judgement)
{
	return has_level(judgement, LEVEL_MAY, LEVEL_LOCK);
}

bool
judgement_hides_name(const struct judgement *judgement)
{
	return has_level(judgement, LEVEL_ENCRYPT, LEVEL_LOCK);
}

bool
judgement_allows_clear(const struct judgement *judgement)
{
	return has_level(judgement, LEVEL_NONE, LEVEL_MAY);
}

bool
judgement_wants_dane(const struct judgement *judgement)
{
	for (size_t i = 0; i < judgement->group_count; i++)
		if (judgement->groups[i].recipients > 0 &&
		    judgement->groups[i].demand->dane)
			return true;
	return false;
}

bool
judgement_wants_requiretls(const struct judgement *judgement)
{
	return judgement_base(judgement)->requiretls;
}

void
judgement_recall(struct judgement *judgement, const struct shown *best)
{
	for (size_t i = 0; i < judgement->group_count; i++)
		judgement->groups[i].demand->best = *best;
}

void
judgement_without_tls(struct judgement *judgement, enum reason_code code,
    const char *detail)
{
	judgement->shown.level = LEVEL_NONE;
	for (size_t i = 0; i < judgement->group_count; i++) {
		struct judge_group *group = &judgement->groups[i];

		decide_without_tls(&group->decision, group->demand, code,
		    detail);
	}
	judgement->made = true;
}

void
judgement_with_facts(struct judgement *judgement, const struct facts *facts,
    enum chain_state (
	*verify)(void *context, const char *anchors, const char *crl),
    void *context)
{
	struct facts of_group = *facts;

	judgement->shown.level = LEVEL_NONE;
	for (size_t i = 0; i < judgement->group_count; i++) {
		struct judge_group *group = &judgement->groups[i];
		const struct demand *demand = group->demand;

		for (size_t set = 0; set < FACTS_CHAINS; set++)
			of_group.chain[set] =
			    set >= demand->anchors
				? CHAIN_UNCHECKED
				: verify(context, demand->anchor[set],
				      demand->crl[set]);
		decide(&group->decision, demand, &of_group);
		if (i == 0 && group->decision.verdict == VERDICT_PASS)
			decide_shown(&judgement->shown, demand, &of_group);
	}
	judgement->made = true;
}

bool
decision_passes(const struct decision *decision)
{
	return decision->verdict == VERDICT_PASS ||
	       decision->verdict == VERDICT_OBSERVED;
}

bool
judgement_all_pass(const struct judgement *judgement)
{
	for (size_t i = 0; i < judgement->group_count; i++)
		if (judgement->groups[i].recipients > 0 &&
		    !decision_passes(&judgement->groups[i].decision))
			return false;
	return true;
}

bool
judgement_any_passes(const struct judgement *judgement)
{
	for (size_t i = 0; i < judgement->group_count; i++)
		if (judgement->groups[i].recipients > 0 &&
		    decision_passes(&judgement->groups[i].decision))
			return true;
	return false;
}

const struct decision *
judgement_of(const struct judgement *judgement, size_t recipient)
{
	return &judgement->groups[judgement->group_of[recipient]].decision;
}
