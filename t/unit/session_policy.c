/*
 * t/unit/session_policy.c: the early answer at RCPT, from what the next hop is
 * known to have proved.
 */
#include "../../server/proof.h"
#include "../../server/session.h"

/* After ours: cmocka has a macro of the name of policy/reason.h's fail. */
#include "policy_fixture.h"

static const char sites[] =
    "smtp.isp.example out encrypt\n"
    "bank.example rcpt lock match=smtp.isp.example\n"
    "far.example rcpt lock match=elsewhere.example\n"
    "boss@far.example rcpt verify\n"
    "own.example rcpt verify ca=own.pem\n"
    "dane.example rcpt encrypt dane\n"
    "new.example rcpt encrypt min=tls1.3\n"
    "maybe.example rcpt lock match=elsewhere.example tls-optional=yes "
    "until=2099-12-31 reason=\"a test\"\n"
    "may.example:25 out may until=2099-12-31 reason=\"a test\"\n"
    "lock.example out lock match=elsewhere.example\n";
static const char no_rcpt_rows[] = "smtp.isp.example out encrypt\n";

/* What the next hop has proved. */
enum kind {
	UNKNOWN,
	GOOD,       /* TLS 1.2, verified, named smtp.isp.example, REQUIRETLS */
	NO_KEYWORD, /* the same without REQUIRETLS */
	UNTRUSTED,
	CLEAR, /* no STARTTLS was offered */
};

/* Ages: in this configuration, in the one before, too old. */
enum { FRESH = 60, IN_FORCE = 600, EARLIER = 660, OLD = PROOF_FRESH_S + 60 };

static const struct {
	const char *what, *hop;
	enum kind kind;
	int age;
	bool requiretls;
	const char *rcpt;
	const char *reply; /* how it begins; NULL: accepted */
} rows[] = {
	{ "no row, no promise", "smtp.isp.example", UNTRUSTED, FRESH, false,
	    "a@x.example", NULL },
	{ "a row that is met", "smtp.isp.example", GOOD, FRESH, false,
	    "a@bank.example", NULL },
	{ "a row that is not met", "smtp.isp.example", GOOD, FRESH, false,
	    "a@far.example", "554 5.7.0 " },
	{ "nothing is known", "smtp.isp.example", UNKNOWN, FRESH, false,
	    "a@far.example", NULL },
	{ "what is known is old", "smtp.isp.example", GOOD, OLD, false,
	    "a@far.example", NULL },
	{ "what is known is of the future", "smtp.isp.example", GOOD, -FRESH,
	    false, "a@far.example", NULL },
	{ "another row speaks for one mailbox", "smtp.isp.example", GOOD, FRESH,
	    false, "boss@far.example", NULL },
	{ "the row of one mailbox", "smtp.isp.example", UNTRUSTED, FRESH, false,
	    "boss@far.example", "554 5.7.0 " },
	{ "anchors nobody has tried", "smtp.isp.example", GOOD, FRESH, false,
	    "a@own.example", NULL },
	{ "records nobody has looked up", "smtp.isp.example", GOOD, FRESH,
	    false, "a@dane.example", NULL },
	{ "a protocol that is too old", "smtp.isp.example", GOOD, FRESH, false,
	    "a@new.example", "554 5.7.0 " },
	{ "the next hop's own row is not met", "lock.example", GOOD, FRESH,
	    false, "a@far.example", NULL },
	{ "nor is it with REQUIRETLS", "lock.example", GOOD, FRESH, true,
	    "a@x.example", NULL },
	{ "a promise that is kept", "smtp.isp.example", GOOD, FRESH, true,
	    "a@x.example", NULL },
	{ "the keyword is missing", "smtp.isp.example", NO_KEYWORD, FRESH, true,
	    "a@x.example", "550 5.7.30 " },
	{ "the certificate is not trusted", "smtp.isp.example", UNTRUSTED,
	    FRESH, true, "a@x.example", "550 5.7.30 " },
	{ "the certificate names another", "mx.isp.example", GOOD, FRESH, true,
	    "a@x.example", "550 5.7.30 " },
	{ "no TLS where the row lets that be", "may.example", CLEAR, FRESH,
	    true, "a@x.example", "550 5.7.30 " },
	{ "nor for a row", "may.example", CLEAR, FRESH, false, "a@new.example",
	    "554 5.7.0 " },
	{ "a row that gives way to TLS-Required: No", "smtp.isp.example", GOOD,
	    FRESH, false, "a@maybe.example", NULL },
	{ "but not where the message requires TLS", "smtp.isp.example", GOOD,
	    FRESH, true, "a@maybe.example", "554 5.7.0 " },
	{ "no trust by the anchors of an earlier configuration",
	    "smtp.isp.example", UNTRUSTED, EARLIER, false, "boss@far.example",
	    NULL },
	{ "nor for a promise", "smtp.isp.example", UNTRUSTED, EARLIER, true,
	    "a@x.example", NULL },
	{ "a name that no configuration mends", "smtp.isp.example", GOOD,
	    EARLIER, false, "a@far.example", "554 5.7.0 " },
	{ "a promise nothing is known about", "smtp.isp.example", UNKNOWN,
	    FRESH, true, "a@x.example", NULL },
	{ "a promise, and what is known is old", "smtp.isp.example", NO_KEYWORD,
	    OLD, true, "a@x.example", NULL },
	{ "row and promise: the row is told", "smtp.isp.example", NO_KEYWORD,
	    FRESH, true, "a@far.example", "554 5.7.0 " },
	{ "row met, promise not", "smtp.isp.example", NO_KEYWORD, FRESH, true,
	    "a@bank.example", "550 5.7.30 " },
};

static struct config config;
static struct generation generation = { .config = &config };

static void
prove(size_t i)
{
	static const char names[] = "dns:smtp.isp.example";
	struct facts facts = {
		.tls = rows[i].kind != CLEAR,
		.why_not =
		    rows[i].kind == CLEAR ? REASON_STARTTLS_NOT_OFFERED : 0,
	};
	struct proof *proof = calloc(1, sizeof *proof);
	struct next_hop hop = { .port = 25 };
	unsigned char packet[32768];
	struct wire_writer w;
	struct wire_reader r;

	if (facts.tls) {
		facts.version = 12;
		facts.bits = 256;
		facts.peer_cert = true;
		facts.purpose = PURPOSE_YES;
		facts.not_after = time(NULL) + 30 * DAY;
		facts.names = names;
		facts.names_len = sizeof names;
		facts.requiretls = rows[i].kind != NO_KEYWORD;
	}
	snprintf(hop.host, sizeof hop.host, "%s", rows[i].hop);
	proof_init(proof, &hop, &facts, time(NULL) - rows[i].age);
	proof->set_count = 1;
	proof->sets[0].state =
	    rows[i].kind == UNTRUSTED ? CHAIN_UNTRUSTED : CHAIN_GOOD;
	wire_writer_init(&w, packet, sizeof packet);
	proof_put(&w, proof);
	wire_reader_init(&r, packet, w.len);
	assert_true(proofs_take(server.proofs, &r));
	free(proof);
}

static bool
is_accepted(size_t i, char *reply, size_t capacity)
{
	struct session s = { .generation = &generation };
	struct transaction transaction = { 0 };
	bool accepted;

	server.proofs = proofs_new();
	generation.since = time(NULL) - IN_FORCE;
	config.smarthost.host = (char *)(uintptr_t)rows[i].hop;
	config.smarthost.port = 25;
	if (rows[i].kind != UNKNOWN)
		prove(i);
	s.transaction = &transaction;
	transaction.envelope.requiretls = rows[i].requiretls;
	assert_true(envelope_add_recipient(&transaction.envelope,
	    "before@far.example"));
	assert_true(
	    envelope_add_recipient(&transaction.envelope, rows[i].rcpt));
	accepted = policy_judge_rcpt(&s);
	snprintf(reply, capacity, "%.*s", (int)s.output.len,
	    s.output.len > 0 ? s.output.data : "");
	session_free_buffers(&s);
	envelope_fini(&transaction.envelope);
	proofs_free(server.proofs);
	return accepted;
}

static void
what_is_known_is_told_at_rcpt(void **state)
{
	static const char pem[] = "-----BEGIN CERTIFICATE-----\n";
	char reply[600];

	(void)state;
	/* Named, but only looked at by those who verify. */
	scratch_file("own.pem", pem, strlen(pem));
	generation.table = table_at(sites, NOW);
	for (size_t i = 0; i < ROWS(rows); i++) {
		bool accepted = is_accepted(i, reply, sizeof reply);

		if (accepted != (rows[i].reply == NULL) ||
		    (accepted && reply[0] != '\0') ||
		    (!accepted && strncmp(reply, rows[i].reply,
				      strlen(rows[i].reply)) != 0))
			fail_msg("%s: %s", rows[i].what, reply);
	}
	table_close(generation.table);
}

/* Then there is nothing to be asked of anybody. */
static void
a_table_without_rcpt_rows_costs_nothing(void **state)
{
	struct session s = { .generation = &generation };
	struct transaction transaction = { 0 };

	(void)state;
	server.proofs = NULL; /* who looks there, crashes */
	generation.table = table_at(no_rcpt_rows, NOW);
	s.transaction = &transaction;
	assert_true(
	    envelope_add_recipient(&transaction.envelope, "a@x.example"));
	assert_true(policy_judge_rcpt(&s));
	envelope_fini(&transaction.envelope);
	table_close(generation.table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_known_is_told_at_rcpt),
		cmocka_unit_test(a_table_without_rcpt_rows_costs_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
