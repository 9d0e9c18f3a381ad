/*
 * server/session_policy.c: what the site table says about a client.
 *
 * Its address selects a row when it connects (ask for a certificate?) and
 * again after the handshake, when the row is judged.  A demand is large and
 * is not kept: a session that waits keeps at most the refusal's text.
 *
 * At RCPT the next hop is asked about too, as far as the relay has told what
 * it proved: who would get a bounce hears it while still connected.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../policy/decide.h"
#include "../policy/row.h"
#include "log.h"
#include "route.h"
#include "session.h"

static void
peer_sockaddr(const struct session *s, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof *out);
	if (s->family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(s->port);
		memcpy(&in->sin_addr, s->address + 12, 4);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(s->port);
		memcpy(&in6->sin6_addr, s->address, 16);
	}
}

/* The demand of the client's address; NULL with why. */
static struct demand *
address_demand(const struct session *s, struct reason *why)
{
	struct demand *demand = demand_new();
	struct sockaddr_storage peer;

	if (demand == NULL) {
		fail(why, REASON_NO_MEMORY, "demand");
		return NULL;
	}
	peer_sockaddr(s, &peer);
	if (!demand_in(demand, s->generation->table, &peer, time(NULL), why)) {
		demand_free(demand);
		return NULL;
	}
	return demand;
}

bool
policy_asks_certificate(const struct session *s)
{
	struct demand *demand;
	struct reason why;
	bool asks = session_service(s)->config->ask_client_cert;

	if (asks)
		return true;
	/* A table that cannot be read is dealt with after the handshake. */
	demand = address_demand(s, &why);
	if (demand == NULL)
		return false;
	asks = demand_wants_certificate(demand);
	demand_free(demand);
	return asks;
}

/* The kept chain against each set of anchors the demand names. */
static void
verify_chains(struct session *s, const struct demand *demand,
    struct facts *facts)
{
	const struct config_listener *config = session_service(s)->config;
	const struct tls_anchors *anchors;
	size_t i;

	if (!facts->peer_cert)
		return;
	for (i = 0; i < demand->anchors && i < FACTS_CHAINS; i++) {
		anchors = generation_anchors(s->generation, config,
		    demand->anchor[i], demand->crl[i]);
		facts->chain[i] = anchors == NULL ? CHAIN_UNTRUSTED
						  : tls_session_verify(s->tls,
							anchors, time(NULL));
	}
}

static bool
is_pass(const struct decision *decision)
{
	return decision->verdict == VERDICT_PASS ||
	       decision->verdict == VERDICT_OBSERVED;
}

/* Judge and log.  reply gets what to say if it is a refusal; true: none. */
static bool
judge(struct session *s, const struct demand *demand, struct facts *facts,
    char *reply, size_t capacity)
{
	struct decision decision;
	char record[1024], text[256];
	bool temporary;

	verify_chains(s, demand, facts);
	decide(&decision, demand, facts);
	decision_print(&decision, record, sizeof record);
	log_line(SAY_NOTE, "policy", "session=%s %s", s->id, record);
	relay_link_decided(server.relay, &decision);
	if (is_pass(&decision))
		return true;
	temporary = decision.verdict == VERDICT_TEMPORARY;
	decision_reply(&decision, text, sizeof text);
	snprintf(reply, capacity, "%s %s",
	    temporary ? "454 4.7.0" : "554 5.7.0", text);
	return false;
}

/* Failing to decide is never yes. */
static void
undecided(const struct session *s, const struct reason *why, char *reply,
    size_t capacity)
{
	log_line(SAY_ERROR, "policy",
	    "session=%s client=%s verdict=refuse reason=%s detail=\"%s\"",
	    s->id, s->client, reason_word(why->code), why->text);
	snprintf(reply, capacity,
	    "454 4.7.0 the site table cannot be read, try again later");
}

void
policy_judge_connection(struct session *s, struct facts *facts)
{
	char reply[300];
	struct reason why;
	struct demand *demand = address_demand(s, &why);
	bool passes = false;

	if (demand == NULL)
		undecided(s, &why, reply, sizeof reply);
	else
		passes = judge(s, demand, facts, reply, sizeof reply);
	demand_free(demand);
	if (passes)
		return;
	s->refusal = strdup(reply);
	if (s->refusal == NULL)
		s->broken = true;
}

static bool
add_claimed_rows(const struct session *s, struct demand *demand,
    const char *reverse_path, struct reason *why)
{
	const struct table *table = s->generation->table;
	time_t now = time(NULL);

	return demand_add_ehlo(demand, table, s->greeting_name, now, why) &&
	       demand_add_from(demand, table, reverse_path, now, why);
}

bool
policy_judge_mail(struct session *s, const char *reverse_path)
{
	char reply[300];
	struct facts facts;
	struct reason why;
	struct demand *demand;
	bool passes = false;

	if ((s->facts & BY_PASSWORD) != 0)
		return true;
	demand = address_demand(s, &why);
	if (demand == NULL || !add_claimed_rows(s, demand, reverse_path, &why))
		undecided(s, &why, reply, sizeof reply);
	else {
		tls_session_facts(s->tls, CERT_FOR_CLIENT, &facts);
		passes = judge(s, demand, &facts, reply, sizeof reply);
	}
	demand_free(demand);
	if (!passes)
		session_refuse(s, reply);
	return passes;
}

/* --- RCPT: what the next hop is known not to meet ------------------------ */

struct recipient {
	struct session *session;
	const char *path;
	const struct proof *proof; /* of the next hop */
	struct demand *demand;
	time_t now;
};

enum answer { ACCEPTED, REFUSED, UNDECIDED };

/* Of the certificate's path: a matter of anchors and CRLs, too. */
static bool
is_of_path(enum reason_code code)
{
	return code >= REASON_CERT_UNTRUSTED && code <= REASON_CERT_WEAK;
}

/* Is it known, and would the next attempt be refused as well?  Two reasons
 * end by themselves or by an operator's hand, and so does what was found out
 * by the files of an earlier configuration. */
static bool
is_broken(const struct recipient *to, struct decision *decision)
{
	return proof_decide(to->proof, to->demand, to->now, decision) &&
	       !is_pass(decision) && decision->code != REASON_DNSSEC_INVALID &&
	       decision->code != REASON_RATCHET &&
	       !(is_of_path(decision->code) &&
		   to->proof->at < to->session->generation->since);
}

/* The message, which is still to come, may say "TLS-Required: No" where rows
 * let it; not if it was said that it requires TLS. */
static bool
may_be_relaxed(const struct recipient *to)
{
	struct decision decision;

	if (to->session->transaction->envelope.requiretls)
		return false;
	demand_relax(to->demand);
	return !is_broken(to, &decision);
}

/* For good, whatever the rows say about a delivery that fails. */
static enum answer
refuse_recipient(const struct recipient *to, const char *code,
    struct decision *decision)
{
	char record[1024], rcpt[600], text[256];

	decision->verdict = VERDICT_PERMANENT;
	decision_print(decision, record, sizeof record);
	log_line(SAY_NOTE, "policy", "session=%s rcpt=%s %s", to->session->id,
	    log_value(rcpt, sizeof rcpt, to->path, strlen(to->path)), record);
	decision_reply(decision, text, sizeof text);
	session_reply(to->session, "%s %s", code, text);
	return REFUSED;
}

/*
 * What the next hop's own row asks is its affair and may be met at the next
 * attempt; what the recipient's rows and the message's promise add to it is
 * this client's.
 */
static enum answer
judge_recipient(const struct recipient *to, struct reason *why)
{
	const struct table *table = to->session->generation->table;
	const struct next_hop *hop = &to->proof->hop;
	struct decision decision;
	size_t rows;

	if (!demand_out(to->demand, table, hop->host, hop->port, to->now, why))
		return UNDECIDED;
	rows = to->demand->row_count;
	if (!proof_decide(to->proof, to->demand, to->now, &decision) ||
	    !is_pass(&decision))
		return ACCEPTED;
	if (!demand_add_rcpt(to->demand, table, to->path, to->now, why))
		return UNDECIDED;
	if (to->demand->row_count > rows && is_broken(to, &decision) &&
	    !may_be_relaxed(to))
		return refuse_recipient(to, "554 5.7.0", &decision);
	if (!to->session->transaction->envelope.requiretls)
		return ACCEPTED;
	if (!demand_add_requiretls(to->demand, why))
		return UNDECIDED;
	if (is_broken(to, &decision))
		return refuse_recipient(to, "550 5.7.30", &decision);
	return ACCEPTED;
}

/* Without memory for it there is no early answer. */
static enum answer
judge_with_demand(struct recipient *to, struct reason *why)
{
	enum answer answer;

	to->demand = demand_new();
	if (to->demand == NULL)
		return ACCEPTED;
	answer = judge_recipient(to, why);
	demand_free(to->demand);
	return answer;
}

/* Where its next hop is known for sure, and is one host. */
static bool
judge_by_proof(struct session *s, const char *path, const struct next_hop *hop)
{
	struct recipient to = { .session = s, .path = path, .now = time(NULL) };
	enum answer answer;
	struct reason why;
	char reply[300];

	to.proof = proofs_find(server.proofs, hop);
	if (to.proof == NULL)
		return true;
	answer = judge_with_demand(&to, &why);
	proof_release(to.proof);
	if (answer == UNDECIDED) {
		undecided(s, &why, reply, sizeof reply);
		session_reply(s, "%s", reply);
	}
	return answer == ACCEPTED;
}

bool
policy_judge_rcpt(struct session *s)
{
	const struct envelope *envelope = &s->transaction->envelope;
	const char *path =
	    envelope->recipients[envelope->recipient_count - 1].forward_path;
	bool has_demands = envelope->requiretls ||
			   table_has(s->generation->table, DIRECTION_RCPT);
	struct way way;

	if (!has_demands && s->generation->routes == NULL)
		return true;
	way_find(s->generation->config, s->generation->routes,
	    envelope->reverse_path, path, &way);
	if (way.kind == ROUTE_ERROR) {
		session_reply(s, "%s %s %s",
		    way.status[0] == '5' ? "550" : "450", way.status, way.text);
		return false;
	}
	return !has_demands || way.kind != ROUTE_RELAY || way.hop_count != 1 ||
	       next_hop_is_srv(&way.hops[0]) ||
	       judge_by_proof(s, path, &way.hops[0]);
}
