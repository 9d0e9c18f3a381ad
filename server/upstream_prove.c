/*
 * server/upstream_prove.c: what a connection proved: judged for a message,
 * remembered for the ratchet, and kept for others to ask.
 */
#include "upstream_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"

/* Was what was found out at that time found out too long ago? */
static bool
is_stale(const struct upstream *up, time_t at, time_t now)
{
	long long end = up->facts.not_after;

	return now < at || now - at > UPSTREAM_VERIFIED_S ||
	       (now > end && at <= end);
}

/* The one kept for that set; if there is none, or it is of long ago, its
 * place, made anew; NULL if there is no room. */
static struct upstream_verified *
verified_slot(struct upstream *up, const struct tls_anchors *set, time_t now,
    bool *fresh_out)
{
	struct upstream_verified *slot = NULL;

	*fresh_out = false;
	for (size_t i = 0; i < up->verified_count; i++)
		if (up->verified[i].anchors == set)
			slot = &up->verified[i];
	if (slot != NULL)
		*fresh_out = !is_stale(up, slot->at, now);
	else if (up->verified_count < UPSTREAM_VERIFIED)
		slot = &up->verified[up->verified_count++];
	return slot;
}

static enum chain_state
verify_lately(void *context, const char *anchors, const char *crl)
{
	struct upstream *up = context;
	struct upstream_verified *slot;
	const struct tls_anchors *set;
	time_t now = time(NULL);
	enum chain_state state;
	bool fresh;

	set = relay_config_anchors(up->config, anchors, crl);
	if (set == NULL)
		return CHAIN_UNCHECKED;
	slot = verified_slot(up, set, now, &fresh);
	if (slot != NULL && fresh)
		return slot->state;
	state = tls_session_verify(up->io.tls, set, now);
	if (slot != NULL)
		*slot = (struct upstream_verified){ set, state, now };
	return state;
}

/* As rows write a key, and as "policy ratchet" knows it. */
static void
site_text(const struct next_hop *hop, char out[static NEXT_HOP_TEXT])
{
	if (next_hop_is_srv(hop))
		snprintf(out, NEXT_HOP_TEXT, "%s", hop->host);
	else
		next_hop_print(hop, out);
}

void
upstream_judge(struct upstream *upstream, struct judgement *judgement)
{
	char site[NEXT_HOP_TEXT];
	struct shown best;

	if (judgement_base(judgement)->ratchet) {
		site_text(&upstream->hop, site);
		book_best(upstream->thread->book, site, &best);
		judgement_recall(judgement, &best);
	}
	if (upstream->io.tls != NULL)
		judgement_with_facts(judgement, &upstream->facts, verify_lately,
		    upstream);
	else
		judgement_without_tls(judgement, upstream->clear_code,
		    upstream->clear_detail);
}

bool
upstream_has_dane(struct upstream *upstream, const struct judgement *judgement)
{
	return !judgement_wants_dane(judgement) ||
	       (upstream->facts.dane != DANE_UNCHECKED &&
		   !is_stale(upstream, upstream->dane_at, time(NULL)));
}

void
upstream_raise(const struct upstream *upstream,
    const struct judgement *judgement)
{
	char site[NEXT_HOP_TEXT];
	struct reason why;

	if (judgement->shown.level == LEVEL_NONE)
		return;
	site_text(&upstream->hop, site);
	/* It is met all the same, and the next connection shows it again. */
	if (!book_raise(upstream->thread->book, site, &judgement->shown, &why))
		log_line(SAY_ERROR, "ratchet",
		    "site=%s what=\"not remembered\" reason=%s detail=\"%s\"",
		    site, reason_word(why.code), why.text);
}

static void
prove_chains(struct upstream *up, struct proof *proof)
{
	/* What a promise, or a row by recipient, asks for where the hop's own
	 * row does not. */
	verify_lately(up, "", "");
	for (size_t i = 0; i < up->verified_count; i++) {
		struct proof_set *set = &proof->sets[proof->set_count];
		const char *anchors, *crl;

		if (proof->set_count == FACTS_CHAINS)
			return;
		if (!relay_config_anchor_paths(up->config,
			up->verified[i].anchors, &anchors, &crl) ||
		    strlen(anchors) >= sizeof(set->anchors) ||
		    strlen(crl) >= sizeof(set->crl))
			continue;
		snprintf(set->anchors, sizeof(set->anchors), "%s", anchors);
		snprintf(set->crl, sizeof(set->crl), "%s", crl);
		set->state = up->verified[i].state;
		proof->set_count++;
	}
}

void
upstream_prove(struct upstream *upstream, const struct judgement *judgement)
{
	const struct demand *demand = judgement_base(judgement);
	struct proof proof;

	proof_init(&proof, &upstream->hop, &upstream->facts, time(NULL));
	prove_chains(upstream, &proof);
	book_proved(upstream->thread->book, &proof,
	    demand->rows[0].level >= LEVEL_VERIFY);
}
