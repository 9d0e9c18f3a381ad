/*
 * t/unit/proof.c: proofs and decisions survive their packet, and hostile
 * packets do not; what a proof says about a demand, and when it says nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/channel.h"
#include "../../server/proof.h"

#include <cmocka.h> /* last: it has a macro named fail */

enum { NOW = 1800000000 };

static const char names[] = "dns:a.example\0ip:192.0.2.1";

static void
fill(struct proof *proof)
{
	struct facts facts = { .tls = true, .version = 13, .bits = 256 };
	struct next_hop hop = { .host = "a.example", .port = 587 };

	strcpy(facts.suite, "TLS_AES_256_GCM_SHA384");
	strcpy(facts.group, "x25519");
	facts.peer_cert = facts.requiretls = true;
	facts.purpose = PURPOSE_YES;
	memset(facts.spki, 0x5a, sizeof(facts.spki));
	facts.not_after = NOW + 86400;
	strcpy(facts.subject, "CN=a.example");
	strcpy(facts.issuer, "CN=Authority,O=One");
	strcpy(facts.issuer_organisation, "One");
	facts.names = names;
	facts.names_len = sizeof(names);
	facts.dane = DANE_NONE;
	proof_init(proof, &hop, &facts, NOW);
	proof->set_count = 1;
	proof->sets[0].state = CHAIN_GOOD;
}

static size_t
put(unsigned char out[static CHANNEL_PACKET_MAX], const struct proof *proof)
{
	struct wire_writer w;

	wire_writer_init(&w, out, CHANNEL_PACKET_MAX);
	proof_put(&w, proof);
	assert_false(w.failed);
	return w.len;
}

static bool
get(const unsigned char *octets, size_t len, struct proof *out)
{
	struct wire_reader r;

	wire_reader_init(&r, octets, len);
	return proof_get(&r, out) && wire_reader_done(&r);
}

static void
a_proof_survives(void **state)
{
	static unsigned char octets[CHANNEL_PACKET_MAX], again[sizeof(octets)];
	static struct proof proof, read;
	size_t len;

	(void)state;
	fill(&proof);
	len = put(octets, &proof);
	assert_true(get(octets, len, &read));
	assert_true(read.facts.names == read.names);
	assert_memory_equal(read.names, names, sizeof(names));
	assert_string_equal(read.facts.issuer_organisation, "One");
	assert_int_equal(read.sets[0].state, CHAIN_GOOD);
	assert_int_equal(put(again, &read), len);
	assert_memory_equal(octets, again, len);
}

/* The largest there can be fits a packet. */
static void
the_largest_proof_fits(void **state)
{
	static unsigned char octets[CHANNEL_PACKET_MAX];
	static struct proof proof, read;

	(void)state;
	fill(&proof);
	memset(proof.names, 'x', sizeof(proof.names) - 1);
	proof.names[sizeof(proof.names) - 1] = '\0';
	proof.facts.names_len = sizeof(proof.names);
	proof.set_count = FACTS_CHAINS;
	for (size_t i = 0; i < FACTS_CHAINS; i++) {
		memset(proof.sets[i].anchors, 'a', PROOF_PATH - 1);
		memset(proof.sets[i].crl, 'c', PROOF_PATH - 1);
	}
	assert_true(get(octets, put(octets, &proof), &read));
}

static void
names_that_do_not_fit_are_left_out_whole(void **state)
{
	static char many[PROOF_NAMES + 64];
	static struct proof proof;
	struct facts facts = { .names = many, .names_len = sizeof(many) };
	struct next_hop hop = { .host = "a.example", .port = 25 };

	(void)state;
	memset(many, 'x', sizeof(many));
	many[PROOF_NAMES - 10] = '\0';
	many[PROOF_NAMES + 20] = '\0';
	memcpy(many + PROOF_NAMES + 21, "y", 2);
	proof_init(&proof, &hop, &facts, NOW);
	assert_int_equal(proof.facts.names_len, PROOF_NAMES - 9 + 2);
	assert_string_equal(proof.names + PROOF_NAMES - 9, "y");
}

static void
cut_or_changed_proofs_are_refused_or_sound(void **state)
{
	static unsigned char octets[CHANNEL_PACKET_MAX];
	static struct proof proof, read;
	size_t len;

	(void)state;
	fill(&proof);
	len = put(octets, &proof);
	for (size_t cut = 0; cut < len; cut++)
		assert_false(get(octets, cut, &read));
	for (size_t i = 0; i < 8 * len; i++) {
		octets[i / 8] ^= (unsigned char)(1 << i % 8);
		if (get(octets, len, &read)) {
			assert_in_range(read.facts.names_len, 0, PROOF_NAMES);
			assert_in_range(read.facts.purpose, 0, PURPOSE_NONE);
			assert_in_range(read.facts.dane, 0, DANE_FAILED);
			assert_in_range(read.sets[0].state, 0, CHAIN_BAD);
			assert_true(read.at >= 0);
		}
		octets[i / 8] ^= (unsigned char)(1 << i % 8);
	}
}

static bool
survives(const struct proof *proof)
{
	static unsigned char octets[CHANNEL_PACKET_MAX];
	static struct proof read;

	return get(octets, put(octets, proof), &read);
}

static void
nonsense_in_proofs_is_refused(void **state)
{
	static struct proof proof;

	(void)state;
	fill(&proof);
	assert_true(survives(&proof));
#define REFUSES(change)                                                        \
	do {                                                                   \
		fill(&proof);                                                  \
		change;                                                        \
		assert_false(survives(&proof));                                \
	} while (0)
	REFUSES(proof.hop.host[0] = '\0');
	REFUSES(proof.hop.host[0] = '\n');
	/* Of srv:DOMAIN; TLS is then not the hop's to say. */
	fill(&proof);
	proof.hop.port = 0;
	proof.hop.implicit_tls = false;
	assert_true(survives(&proof));
	REFUSES(proof.hop.port = 0; proof.hop.implicit_tls = true);
	REFUSES(proof.at = -1);
	REFUSES(proof.facts.version = 11);
	REFUSES(proof.facts.version = 0);
	REFUSES(proof.facts.tls = false);
	REFUSES(proof.facts.bits = 60000);
	REFUSES(proof.facts.purpose = (enum purpose_state)9);
	REFUSES(proof.facts.dane = (enum dane_state)9);
	REFUSES(proof.facts.why_not = REASON_CODES);
	REFUSES(proof.sets[0].state = (enum chain_state)77);
	REFUSES(proof.facts.names_len -= 1);
	REFUSES(proof.facts.suite[3] = ' ');
}

/* A decision. */

static void
fill_decision(struct decision *d)
{
	memset(d, 0, sizeof(*d));
	d->side = SIDE_IN;
	strcpy(d->site, "192.0.2.1");
	strcpy(d->rows, "sites:1,sites:7");
	d->asked = LEVEL_LOCK;
	d->reached = LEVEL_ENCRYPT;
	d->verdict = VERDICT_OBSERVED;
	d->code = REASON_CERT_PIN;
	strcpy(d->detail, "not \"that\" key");
	d->version = 12;
	strcpy(d->suite, "TLS_X");
	strcpy(d->ended, "sites:9");
	d->observed_count = 2;
	d->observed[0].identity = UINT64_MAX;
	d->observed[1].met = true;
	d->observed[1].code = REASON_CERT_NAME;
	d->names_one_site = true;
}

static bool
carry(const struct decision *in, struct decision *out)
{
	unsigned char octets[4096];
	struct wire_writer w;
	struct wire_reader r;

	wire_writer_init(&w, octets, sizeof(octets));
	decision_put(&w, in);
	assert_false(w.failed);
	wire_reader_init(&r, octets, w.len);
	return decision_get(&r, out) && wire_reader_done(&r);
}

static void
a_decision_survives(void **state)
{
	struct decision d, read;

	(void)state;
	fill_decision(&d);
	assert_true(carry(&d, &read));
	assert_memory_equal(&d.site, &read.site, sizeof(d.site));
	assert_string_equal(read.rows, d.rows);
	assert_int_equal(read.side, SIDE_IN);
	assert_int_equal(read.asked, LEVEL_LOCK);
	assert_int_equal(read.reached, LEVEL_ENCRYPT);
	assert_int_equal(read.verdict, VERDICT_OBSERVED);
	assert_int_equal(read.code, REASON_CERT_PIN);
	assert_string_equal(read.detail, d.detail);
	assert_int_equal(read.version, 12);
	assert_string_equal(read.suite, "TLS_X");
	assert_string_equal(read.ended, "sites:9");
	assert_int_equal(read.observed_count, 2);
	assert_true(read.observed[0].identity == UINT64_MAX);
	assert_true(read.observed[1].met);
	assert_int_equal(read.observed[1].code, REASON_CERT_NAME);
	assert_true(read.names_one_site);
}

static void
nonsense_in_decisions_is_refused(void **state)
{
	struct decision d, read;

	(void)state;
#define NO(change)                                                             \
	do {                                                                   \
		fill_decision(&d);                                             \
		change;                                                        \
		assert_false(carry(&d, &read));                                \
	} while (0)
	NO(d.side = (enum side)2);
	NO(d.site[0] = ' ');
	NO(d.rows[0] = '\n');
	NO(d.asked = (enum level)5);
	NO(d.reached = (enum level)5);
	NO(d.verdict = (enum verdict)4);
	NO(d.code = REASON_CODES);
	NO(d.version = 10);
	NO(d.observed[0].code = (enum reason_code)(REASON_CODES + 1));
}

/* Deciding. */

static bool
decide_for(const struct proof *proof, const struct demand *demand, time_t now,
    enum reason_code code)
{
	struct decision decision;

	if (!proof_decide(proof, demand, now, &decision))
		return false;
	assert_int_equal(decision.code, code);
	return true;
}

static void
a_proof_speaks_only_of_what_it_knows(void **state)
{
	static struct proof proof;
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_non_null(demand);
	assert_true(demand_out(demand, NULL, "a.example", 587, NOW, &why));
	fill(&proof);
	assert_true(decide_for(&proof, demand, NOW, REASON_NONE));
	assert_true(
	    decide_for(&proof, demand, NOW + PROOF_FRESH_S - 1, REASON_NONE));
	assert_false(
	    decide_for(&proof, demand, NOW + PROOF_FRESH_S + 1, REASON_NONE));
	assert_false(decide_for(&proof, demand, NOW - 1, REASON_NONE));
	proof.facts.not_after = NOW + 10; /* it may be renewed since */
	assert_false(decide_for(&proof, demand, NOW + 11, REASON_NONE));
	proof.facts.not_after = NOW - 10; /* it had ended already */
	assert_true(decide_for(&proof, demand, NOW + 11, REASON_NONE));

	demand->dane = demand->rows[0].dane = true;
	fill(&proof);
	proof.facts.dane = DANE_UNCHECKED;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	proof.facts.dane = DANE_FAILED;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	proof.facts.dane = DANE_NONE;
	assert_true(decide_for(&proof, demand, NOW, REASON_DANE_REQUIRED));
	demand->dane = demand->rows[0].dane = false;

	demand->anchors = 1;
	demand->anchor[0] = "/other.pem";
	demand->crl[0] = "";
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	demand->anchor[0] = "";
	assert_true(decide_for(&proof, demand, NOW, REASON_NONE));
	demand->crl[0] = "/list.pem";
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	demand->crl[0] = "";
	proof.sets[0].state = CHAIN_UNCHECKED;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	proof.sets[0].state = CHAIN_REVOCATION_UNKNOWN;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	proof.sets[0].state = CHAIN_NOT_YET_VALID;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	demand_free(demand);
}

static void
a_handshake_that_failed_may_work_next_time(void **state)
{
	static struct proof proof;
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_non_null(demand);
	assert_true(demand_out(demand, NULL, "a.example", 587, NOW, &why));
	fill(&proof);
	proof.facts.tls = false;
	proof.facts.why_not = REASON_HANDSHAKE_FAILED;
	assert_false(decide_for(&proof, demand, NOW, REASON_NONE));
	proof.facts.why_not = REASON_STARTTLS_NOT_OFFERED;
	assert_true(
	    decide_for(&proof, demand, NOW, REASON_STARTTLS_NOT_OFFERED));
	demand_free(demand);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proof_survives),
		cmocka_unit_test(the_largest_proof_fits),
		cmocka_unit_test(names_that_do_not_fit_are_left_out_whole),
		cmocka_unit_test(cut_or_changed_proofs_are_refused_or_sound),
		cmocka_unit_test(nonsense_in_proofs_is_refused),
		cmocka_unit_test(a_decision_survives),
		cmocka_unit_test(nonsense_in_decisions_is_refused),
		cmocka_unit_test(a_proof_speaks_only_of_what_it_knows),
		cmocka_unit_test(a_handshake_that_failed_may_work_next_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
