/*
 * t/unit/policy_combine.c: several rows about one connection: each point takes
 * the stricter, and nothing lowers a demand.
 */
#include "policy_fixture.h"

#include <arpa/inet.h>

#define KEY_1 "0101010101010101010101010101010101010101010101010101010101010101"
#define KEY_2 "0202020202020202020202020202020202020202020202020202020202020202"
#define PIN_1 "pin=sha256:" KEY_1
#define PIN_2 "pin=sha256:" KEY_2
#define DATED " until=2027-01-01 reason=x"

/* What a good peer shows, to two sets of anchors. */
static const struct facts good = {
	.tls = true,
	.version = 13,
	.bits = 256,
	.peer_cert = true,
	.purpose = PURPOSE_YES,
	.spki = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 },
	.subject = "CN=mx.example",
	.issuer = "CN=Example CA,O=Example",
	.organisation = "Example Inc",
	.issuer_organisation = "Example",
	.names = "dns:mx.example\0dns:mx2.example",
	.names_len = sizeof("dns:mx.example\0dns:mx2.example"),
	.chain = { CHAIN_GOOD, CHAIN_GOOD },
	.dane = DANE_GOOD,
	.requiretls = true,
};

static void
nothing(struct facts *facts)
{
	(void)facts;
}

static void
clear(struct facts *facts)
{
	memset(facts, 0, sizeof(*facts));
}

static void
old_protocol(struct facts *facts)
{
	facts->version = 12;
}

static void
weak_cipher(struct facts *facts)
{
	facts->bits = 128;
}

static void
one_name(struct facts *facts)
{
	facts->names_len = sizeof("dns:mx.example");
}

static void
other_name(struct facts *facts)
{
	facts->names = "dns:mx.other.example";
	facts->names_len = sizeof("dns:mx.other.example");
}

static void
no_purpose(struct facts *facts)
{
	facts->purpose = PURPOSE_NONE;
}

static void
untrusted(struct facts *facts)
{
	facts->chain[0] = facts->chain[1] = CHAIN_UNTRUSTED;
}

static void
untrusted_by_second(struct facts *facts)
{
	facts->chain[1] = CHAIN_UNTRUSTED;
}

static void
revoked_by_second(struct facts *facts)
{
	facts->chain[1] = CHAIN_REVOKED;
}

static void
dane_mismatch(struct facts *facts)
{
	facts->dane = DANE_MISMATCH;
}

static void
dane_failed(struct facts *facts)
{
	facts->dane = DANE_FAILED;
}

/* What is done after the rows. */
enum then {
	AS_IT_IS,
	RELAXED,  /* TLS-Required: No */
	PROMISED, /* REQUIRETLS */
	LATER,    /* all dates are over */
};

static const struct combination {
	const char *what;
	const char *base;  /* mx.example out ... */
	const char *added; /* bank.test rcpt ... */
	enum then then;
	void (*change)(struct facts *facts);
	enum verdict verdict;
	enum reason_code code;
} combinations[] = {
	{ "level: the added one is higher", "encrypt", "verify", AS_IT_IS,
	    untrusted, VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "level: the added one is lower", "lock", "encrypt", AS_IT_IS,
	    other_name, VERDICT_TEMPORARY, REASON_CERT_NAME },
	{ "level: may gives way", "may" DATED, "encrypt", AS_IT_IS, clear,
	    VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED },
	{ "min: of the base", "encrypt min=tls1.3", "encrypt min=tls1.2",
	    AS_IT_IS, old_protocol, VERDICT_TEMPORARY,
	    REASON_PROTOCOL_TOO_OLD },
	{ "min: of the added", "encrypt min=tls1.2", "encrypt min=tls1.3",
	    AS_IT_IS, old_protocol, VERDICT_TEMPORARY,
	    REASON_PROTOCOL_TOO_OLD },
	{ "bits: of the base", "encrypt bits=256", "encrypt bits=128", AS_IT_IS,
	    weak_cipher, VERDICT_TEMPORARY, REASON_CIPHER_TOO_WEAK },
	{ "bits: of the added, beside another's min", "encrypt min=tls1.3",
	    "encrypt bits=256", AS_IT_IS, weak_cipher, VERDICT_TEMPORARY,
	    REASON_CIPHER_TOO_WEAK },
	{ "pin: in both sets", "lock " PIN_1, "lock " PIN_2 " " PIN_1, AS_IT_IS,
	    nothing, VERDICT_PASS, REASON_NONE },
	{ "pin: in one set", "lock " PIN_1, "lock " PIN_2, AS_IT_IS, nothing,
	    VERDICT_TEMPORARY, REASON_CERT_PIN },
	{ "match: a name of each", "lock", "lock match=mx2.example", AS_IT_IS,
	    nothing, VERDICT_PASS, REASON_NONE },
	{ "match: a name of one", "lock", "lock match=mx2.example", AS_IT_IS,
	    one_name, VERDICT_TEMPORARY, REASON_CERT_NAME },
	{ "issuer: of one", "lock issuer=\"CN=Example CA,O=Example\"",
	    "lock issuer=\"CN=Other CA\"", AS_IT_IS, nothing, VERDICT_TEMPORARY,
	    REASON_CERT_ISSUER },
	{ "org: of one, beside another's pin", "lock " PIN_1,
	    "lock org=\"Other Inc\"", AS_IT_IS, nothing, VERDICT_TEMPORARY,
	    REASON_CERT_ORGANISATION },
	{ "ca: both", "verify ca=a.pem", "verify ca=b.pem", AS_IT_IS, nothing,
	    VERDICT_PASS, REASON_NONE },
	{ "ca: one", "verify ca=a.pem", "verify ca=b.pem", AS_IT_IS,
	    untrusted_by_second, VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "crl: all apply", "verify ca=a.pem", "verify crl=crl.pem", AS_IT_IS,
	    revoked_by_second, VERDICT_TEMPORARY, REASON_CERT_REVOKED },
	{ "chain=no of one is not another's", "lock chain=no " PIN_1, "verify",
	    AS_IT_IS, untrusted, VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "eku=any of the base is not the added's", "verify eku=any" DATED,
	    "verify", AS_IT_IS, no_purpose, VERDICT_TEMPORARY,
	    REASON_CERT_NO_PURPOSE },
	{ "eku=any of the added is not the base's", "verify",
	    "verify eku=any" DATED, AS_IT_IS, no_purpose, VERDICT_TEMPORARY,
	    REASON_CERT_NO_PURPOSE },
	{ "eku=any of both", "verify eku=any" DATED, "verify eku=any" DATED,
	    AS_IT_IS, no_purpose, VERDICT_PASS, REASON_NONE },

	{ "dane of the added alone", "encrypt", "encrypt dane", AS_IT_IS,
	    dane_mismatch, VERDICT_TEMPORARY, REASON_TLSA_INVALID },
	{ "dane of the base alone", "encrypt dane", "encrypt", AS_IT_IS,
	    dane_mismatch, VERDICT_TEMPORARY, REASON_TLSA_INVALID },
	{ "dane of one does not stand for another's chain", "encrypt dane",
	    "verify", AS_IT_IS, untrusted, VERDICT_TEMPORARY,
	    REASON_CERT_UNTRUSTED },
	{ "dane that fails is for the time being, whoever says permanent",
	    "encrypt dane", "encrypt fail=permanent", AS_IT_IS, dane_failed,
	    VERDICT_TEMPORARY, REASON_DNSSEC_INVALID },

	{ "observe: every row does", "verify mode=observe" DATED,
	    "lock mode=observe" DATED, AS_IT_IS, other_name, VERDICT_OBSERVED,
	    REASON_CERT_NAME },
	{ "observe: every row does, but not in clear",
	    "verify mode=observe" DATED, "lock mode=observe" DATED, AS_IT_IS,
	    clear, VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED },
	{ "observe: the base alone", "verify mode=observe" DATED, "encrypt",
	    AS_IT_IS, untrusted, VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "observe: the added alone", "encrypt", "verify mode=observe" DATED,
	    AS_IT_IS, untrusted, VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "observe: the base's date is over", "verify mode=observe" DATED,
	    "encrypt", LATER, untrusted, VERDICT_TEMPORARY,
	    REASON_CERT_UNTRUSTED },

	{ "fail: permanent of the added wins", "encrypt fail=temporary",
	    "verify fail=permanent", AS_IT_IS, untrusted, VERDICT_PERMANENT,
	    REASON_CERT_UNTRUSTED },
	{ "fail: permanent of the base wins", "encrypt fail=permanent",
	    "verify fail=temporary", AS_IT_IS, untrusted, VERDICT_PERMANENT,
	    REASON_CERT_UNTRUSTED },
	{ "fail: of the row that is met, too", "encrypt fail=permanent",
	    "verify", AS_IT_IS, untrusted, VERDICT_PERMANENT,
	    REASON_CERT_UNTRUSTED },
	{ "fail: temporary where nobody says permanent",
	    "encrypt fail=temporary", "verify", AS_IT_IS, untrusted,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },

	{ "tls-optional of both", "lock tls-optional=yes" DATED,
	    "verify tls-optional=yes" DATED, RELAXED, clear, VERDICT_PASS,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "tls-optional of the base alone", "lock tls-optional=yes" DATED,
	    "encrypt", RELAXED, clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "tls-optional of the added alone", "encrypt",
	    "verify tls-optional=yes" DATED, RELAXED, clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "tls-optional of the added alone: what it adds is let off", "encrypt",
	    "verify dane tls-optional=yes" DATED, RELAXED, untrusted,
	    VERDICT_PASS, REASON_NONE },
	{ "tls-optional where the message does not ask",
	    "lock tls-optional=yes" DATED, "verify tls-optional=yes" DATED,
	    AS_IT_IS, clear, VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED },

	{ "requiretls: a key of the next hop's own will do",
	    "lock chain=no " PIN_1, "encrypt", PROMISED, untrusted,
	    VERDICT_PASS, REASON_NONE },
	{ "requiretls: a recipient's lock is not the next hop's", "encrypt",
	    "lock " PIN_1, PROMISED, other_name, VERDICT_PERMANENT,
	    REASON_CERT_NAME },
	{ "requiretls: a recipient's dane will do", "encrypt", "encrypt dane",
	    PROMISED, untrusted, VERDICT_PASS, REASON_NONE },
	{ "requiretls: what a recipient's row refuses is that row's", "encrypt",
	    "verify", PROMISED, untrusted, VERDICT_TEMPORARY,
	    REASON_CERT_UNTRUSTED },
	{ "requiretls: rows that observe do not let it go",
	    "verify mode=observe" DATED, "lock mode=observe" DATED, PROMISED,
	    other_name, VERDICT_PERMANENT, REASON_CERT_NAME },
	{ "requiretls before tls-optional", "may" DATED,
	    "encrypt tls-optional=yes" DATED, PROMISED, clear,
	    VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED },

	{ "a date over: may is absent, the default speaks", "may" DATED,
	    "verify", LATER, clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "a date over: eku=any", "encrypt", "verify eku=any" DATED, LATER,
	    no_purpose, VERDICT_TEMPORARY, REASON_CERT_NO_PURPOSE },
};

static struct demand *
demand_of(const struct table *table, enum then then)
{
	struct demand *demand = demand_new();
	time_t now = then == LATER ? NOW + 999 * (time_t)DAY : NOW;
	struct reason why;

	assert_true(demand_out(demand, table, "mx.example", 465, now, &why));
	assert_true(demand_add_rcpt(demand, table, "u@bank.test", now, &why));
	if (then == PROMISED)
		assert_true(demand_add_requiretls(demand, &why));
	if (then == RELAXED || then == PROMISED)
		demand_relax(demand);
	return demand;
}

static void
test_combination(void **state)
{
	const struct combination *row = *state;
	struct facts facts = good;
	struct decision decision;
	struct demand *demand;
	struct table *table;
	char text[1024];

	(void)snprintf(text, sizeof(text),
	    "mx.example out %s\nbank.test rcpt %s\n", row->base, row->added);
	table = table_of(text);
	demand = demand_of(table, row->then);
	table_close(table);
	row->change(&facts);
	decide(&decision, demand, &facts);
	demand_free(demand);
	assert_string_equal(reason_word(decision.code), reason_word(row->code));
	assert_string_equal(verdict_word(decision.verdict),
	    verdict_word(row->verdict));
	assert_non_null(strstr(decision.rows, "sites:2"));
}

/* --- three rows of clients ------------------------------------------------ */

static struct sockaddr_storage
peer_of(const char *text)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET6 };

	assert_int_equal(inet_pton(AF_INET6, text,
			     &((struct sockaddr_in6 *)&peer)->sin6_addr),
	    1);
	return peer;
}

/* The address, its EHLO name and its sender: each row's own names and
 * anchors. */
static void
test_clients(void **state)
{
	struct table *table =
	    table_of("::ffff:192.0.2.0/120 in verify ca=a.pem fail=temporary\n"
		     "mx.example in lock ca=b.pem min=tls1.3\n"
		     ".sender.test from lock match=mx2.example ca=a.pem\n");
	struct sockaddr_storage peer = peer_of("::ffff:192.0.2.77");
	struct demand *demand = demand_new();
	struct facts facts = good;
	struct decision decision;
	struct reason why;

	(void)state;
	assert_true(demand_in(demand, table, &peer, NOW, &why));
	assert_true(demand_add_ehlo(demand, table, "MX.example.", NOW, &why));
	assert_true(
	    demand_add_from(demand, table, "u@a.sender.test", NOW, &why));
	assert_int_equal(demand->anchors, 2);
	decide(&decision, demand, &facts);
	assert_string_equal(decision.rows, "sites:1,sites:2,sites:3");
	assert_int_equal(decision.verdict, VERDICT_PASS);

	old_protocol(&facts);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_PROTOCOL_TOO_OLD);
	assert_int_equal(decision.verdict, VERDICT_TEMPORARY);

	facts = good;
	one_name(&facts);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_NAME);

	facts = good;
	untrusted_by_second(&facts);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_UNTRUSTED);
	demand_free(demand);
	table_close(table);
}

/* U-labels, wherever they come from, meet the row's A-labels. */
static void
test_international(void **state)
{
	static const char name[] = "B\xc3\x9c"
				   "CHER.example";
	struct table *table = table_of("xn--bcher-kva.example both verify\n"
				       "xn--bcher-kva.example from encrypt\n"
				       "xn--bcher-kva.example rcpt encrypt\n"
				       ".xn--bcher-kva.example out lock\n");
	struct sockaddr_storage peer = peer_of("2001:db8::1");
	struct demand *demand = demand_new();
	struct reason why;
	char path[64];

	(void)state;
	(void)snprintf(path, sizeof(path), "u@%s", name);
	assert_true(demand_in(demand, table, &peer, NOW, &why));
	assert_true(demand_add_ehlo(demand, table, name, NOW, &why));
	assert_true(demand_add_from(demand, table, path, NOW, &why));
	assert_int_equal(demand->row_count, 3);
	assert_int_equal(demand->rows[1].line, 1);
	assert_int_equal(demand->rows[2].line, 2);

	assert_true(demand_out(demand, table, name, 465, NOW, &why));
	assert_true(demand_add_rcpt(demand, table, path, NOW, &why));
	assert_string_equal(demand->site, "xn--bcher-kva.example");
	assert_int_equal(demand->rows[0].line, 1);
	assert_int_equal(demand->rows[1].line, 3);

	(void)snprintf(path, sizeof(path), "mx.%s.", name);
	assert_true(demand_out(demand, table, path, 465, NOW, &why));
	assert_int_equal(demand->rows[0].line, 4);
	assert_string_equal(demand->rows[0].match, "mx.xn--bcher-kva.example");
	demand_free(demand);
	table_close(table);
}

static int
setup(void **state)
{
	static const char pem[] =
	    "-----BEGIN CERTIFICATE-----\n-----BEGIN X509 CRL-----\n";

	if (scratch_make(state) != 0)
		return 1;
	scratch_file("a.pem", pem, strlen(pem));
	scratch_file("b.pem", pem, strlen(pem));
	scratch_file("crl.pem", pem, strlen(pem));
	return 0;
}

int
main(void)
{
	struct CMUnitTest tests[ROWS(combinations) + 2];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(combinations); i++)
		tests[n++] = row_test(combinations[i].what, test_combination,
		    &combinations[i]);
	tests[n++] = row_test("rows of clients", test_clients, NULL);
	tests[n++] = row_test("U-labels", test_international, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("combine", tests, setup,
	    scratch_remove);
}
