/*
 * t/unit/policy_srv.c: a next hop whose hosts DNS names: which row speaks, and
 * what a certificate has to name.
 */
#include "policy_fixture.h"

static const struct facts shown = {
	.tls = true,
	.version = 13,
	.bits = 256,
	.suite = "TLS_AES_256_GCM_SHA384",
	.peer_cert = true,
	.purpose = PURPOSE_YES,
	.issuer = "CN=Example CA",
	.chain = { CHAIN_GOOD, CHAIN_GOOD },
};

static const struct row {
	const char *what;
	const char *table;
	const char *name;   /* in the certificate */
	const char *proved; /* the target, where DNSSEC proves it */
	enum reason_code code;
	enum level level; /* that is asked */
} rows[] = {
	{ "lock: the domain", "isp.example out lock", "isp.example", "",
	    REASON_NONE, LEVEL_LOCK },
	{ "lock: the target alone", "isp.example out lock", "mx.example", "",
	    REASON_CERT_NAME, LEVEL_LOCK },
	{ "lock: the target that is proved", "isp.example out lock",
	    "mx.example", "mx.example", REASON_NONE, LEVEL_LOCK },
	{ "lock: the domain, though the target is proved",
	    "isp.example out lock", "isp.example", "mx.example", REASON_NONE,
	    LEVEL_LOCK },
	{ "lock: somebody else, though the target is proved",
	    "isp.example out lock", "else.example", "mx.example",
	    REASON_CERT_NAME, LEVEL_LOCK },
	{ "lock by a suffix: the domain", ".example out lock", "isp.example",
	    "", REASON_NONE, LEVEL_LOCK },
	{ "lock by a suffix: the target", ".example out lock", "mx.example", "",
	    REASON_CERT_NAME, LEVEL_LOCK },
	{ "match= says who", "isp.example out lock match=mx.example",
	    "mx.example", "", REASON_NONE, LEVEL_LOCK },
	{ "match= says who alone", "isp.example out lock match=a.example",
	    "mx.example", "mx.example", REASON_CERT_NAME, LEVEL_LOCK },
	{ "verify: the domain", "isp.example out verify", "isp.example", "",
	    REASON_NONE, LEVEL_VERIFY },
	{ "verify: the target", "isp.example out verify", "mx.example", "",
	    REASON_CERT_NAME, LEVEL_VERIFY },
	{ "verify: the target that is proved", "isp.example out verify",
	    "mx.example", "mx.example", REASON_NONE, LEVEL_VERIFY },
	{ "verify of *: the target", "* out verify", "mx.example", "",
	    REASON_CERT_NAME, LEVEL_VERIFY },
	{ "verify by recipient: the target", "bank.example rcpt verify",
	    "mx.example", "", REASON_CERT_NAME, LEVEL_VERIFY },
	{ "verify by recipient: the domain", "bank.example rcpt verify",
	    "isp.example", "", REASON_NONE, LEVEL_VERIFY },
	{ "lock by recipient: the target that is proved",
	    "bank.example rcpt lock", "mx.example", "mx.example", REASON_NONE,
	    LEVEL_LOCK },
	{ "encrypt: whoever it is", "isp.example out encrypt", "mx.example", "",
	    REASON_NONE, LEVEL_ENCRYPT },
	{ "a row with a port does not speak",
	    "isp.example out lock\nisp.example:465 out encrypt", "mx.example",
	    "", REASON_CERT_NAME, LEVEL_LOCK },
	{ "nor does one for the target",
	    "* out verify\nmx.example out encrypt\n"
	    "mx.example:465 out encrypt",
	    "mx.example", "", REASON_CERT_NAME, LEVEL_VERIFY },
};

static struct facts
facts_of(const char *name, const char *proved)
{
	static char names[300];
	struct facts facts = shown;

	facts.names_len =
	    (size_t)snprintf(names, sizeof(names), "dns:%s", name) + 1;
	facts.names = names;
	strcpy(facts.proved_name, proved);
	return facts;
}

/* Of srv:isp.example, or of host and port. */
static struct demand *
demand_of(const char *text, const char *host, uint16_t port)
{
	struct demand *demand = demand_new();
	struct table *table;
	struct reason why;
	char lines[512];

	(void)snprintf(lines, sizeof(lines), "%s\n", text);
	table = table_of(lines);
	assert_true(demand_out(demand, table, host, port, NOW, &why));
	assert_true(
	    demand_add_rcpt(demand, table, "u@bank.example", NOW, &why));
	table_close(table);
	return demand;
}

static void
test_row(void **state)
{
	const struct row *row = *state;
	struct demand *demand = demand_of(row->table, "isp.example", 0);
	struct facts facts = facts_of(row->name, row->proved);
	struct decision decision;

	decide(&decision, demand, &facts);
	assert_string_equal(reason_word(decision.code), reason_word(row->code));
	assert_string_equal(level_word(decision.asked), level_word(row->level));
	assert_string_equal(decision.site, "isp.example");
	assert_int_equal(decision.verdict,
	    row->code == REASON_NONE ? VERDICT_PASS : VERDICT_TEMPORARY);
	demand_free(demand);
}

/* What verify is elsewhere. */
static void
test_of_a_host(void **state)
{
	struct demand *demand =
	    demand_of("isp.example out verify", "isp.example", 465);
	struct facts facts = facts_of("mx.example", "");
	struct decision decision;

	(void)state;
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);
	demand_free(demand);
}

static void
test_requiretls(void **state)
{
	struct demand *demand =
	    demand_of("isp.example out encrypt", "isp.example", 0);
	struct facts facts = facts_of("mx.example", "");
	struct decision decision;
	struct reason why;

	(void)state;
	facts.requiretls = true;
	assert_true(demand_add_requiretls(demand, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_NAME);
	strcpy(facts.proved_name, "mx.example");
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);
	demand_free(demand);
}

/* What the ratchet remembers of the site. */
static void
test_shown(void **state)
{
	struct demand *demand =
	    demand_of("isp.example out encrypt ratchet", "isp.example", 0);
	struct facts facts = facts_of("mx.example", "");
	struct shown best;

	(void)state;
	decide_shown(&best, demand, &facts);
	assert_int_equal(best.level, LEVEL_VERIFY);
	strcpy(facts.proved_name, "mx.example");
	decide_shown(&best, demand, &facts);
	assert_int_equal(best.level, LEVEL_LOCK);
	facts = facts_of("isp.example", "mx.example");
	decide_shown(&best, demand, &facts);
	assert_int_equal(best.level, LEVEL_LOCK);
	demand_free(demand);
}

int
main(void)
{
	struct CMUnitTest tests[ROWS(rows) + 3];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(rows); i++)
		tests[n++] = row_test(rows[i].what, test_row, &rows[i]);
	tests[n++] = row_test("verify of a host", test_of_a_host, NULL);
	tests[n++] = row_test("REQUIRETLS", test_requiretls, NULL);
	tests[n++] = row_test("the ratchet", test_shown, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("srv", tests, scratch_make,
	    scratch_remove);
}
