/*
 * server/session_policy.c: what the site table says about a client.
 *
 * Its address selects a row when it connects (ask for a certificate?) and
 * again after the handshake, when the row is judged.  A demand is large and
 * is not kept: a session that waits keeps at most the refusal's text.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../policy/decide.h"
#include "log.h"
#include "session.h"

void
session_sockaddr(const struct session *s, struct sockaddr_storage *out)
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
	session_sockaddr(s, &peer);
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
	if (decision.verdict == VERDICT_PASS ||
	    decision.verdict == VERDICT_OBSERVED)
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
