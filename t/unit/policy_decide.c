/*
 * t/unit/policy_decide.c: a row, what a peer showed, and the verdict.
 */
#include "policy_fixture.h"

#include <arpa/inet.h>

#define KEY_1 "0101010101010101010101010101010101010101010101010101010101010101"
#define KEY_2 "0202020202020202020202020202020202020202020202020202020202020202"
#define DATED " until=2027-01-01 reason=x"

/* What a good peer shows, and each a change to it. */
static const struct facts good = {
	.tls = true,
	.version = 13,
	.bits = 256,
	.suite = "TLS_AES_256_GCM_SHA384",
	.peer_cert = true,
	.purpose = PURPOSE_YES,
	.spki = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 },
	.subject = "CN=mx.example",
	.issuer = "CN=Example CA,O=Example",
	.organisation = "Example Inc",
	.issuer_organisation = "Example",
	.names = "dns:mx.example",
	.names_len = sizeof("dns:mx.example"),
	.chain = { CHAIN_GOOD },
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
clear_refused(struct facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	facts->why_not = REASON_STARTTLS_REFUSED;
	strcpy(facts->why_not_text, "454 no TLS today");
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
no_certificate(struct facts *facts)
{
	struct facts none = { .tls = true, .version = 13, .bits = 256 };

	*facts = none;
}

static void
no_names(struct facts *facts)
{
	facts->names = NULL;
	facts->names_len = 0;
}

static void
other_name(struct facts *facts)
{
	facts->names = "dns:mx.other.example";
	facts->names_len = sizeof("dns:mx.other.example");
}

static void
other_key(struct facts *facts)
{
	memset(facts->spki, 9, sizeof(facts->spki));
}

static void
other_issuer(struct facts *facts)
{
	strcpy(facts->issuer, "CN=Evil CA,O=Example");
}

static void
no_organisation(struct facts *facts)
{
	facts->organisation[0] = '\0';
}

static void
other_purpose(struct facts *facts)
{
	facts->purpose = PURPOSE_OTHER;
}

static void
no_purpose(struct facts *facts)
{
	facts->purpose = PURPOSE_NONE;
}

#define DANE_IS(name, state)                                                   \
	static void name(struct facts *facts)                                  \
	{                                                                      \
		facts->dane = state;                                           \
		facts->chain[0] = CHAIN_UNTRUSTED;                             \
	}
DANE_IS(dane_good, DANE_GOOD)
DANE_IS(dane_none, DANE_NONE)
DANE_IS(dane_mismatch, DANE_MISMATCH)
DANE_IS(dane_failed, DANE_FAILED)
DANE_IS(dane_unchecked, DANE_UNCHECKED)
DANE_IS(dane_unknown, (enum dane_state)99)

static void
dane_and_chain_good(struct facts *facts)
{
	facts->dane = DANE_GOOD;
}

#define CHAIN_IS(name, state)                                                  \
	static void name(struct facts *facts)                                  \
	{                                                                      \
		facts->chain[0] = state;                                       \
	}
CHAIN_IS(unchecked, CHAIN_UNCHECKED)
CHAIN_IS(untrusted, CHAIN_UNTRUSTED)
CHAIN_IS(self_signed, CHAIN_SELF_SIGNED)
CHAIN_IS(expired, CHAIN_EXPIRED)
CHAIN_IS(not_yet, CHAIN_NOT_YET_VALID)
CHAIN_IS(revoked, CHAIN_REVOKED)
CHAIN_IS(revocation_unknown, CHAIN_REVOCATION_UNKNOWN)
CHAIN_IS(unstapled, CHAIN_UNSTAPLED)
CHAIN_IS(weak, CHAIN_WEAK)
CHAIN_IS(bad, CHAIN_BAD)
CHAIN_IS(beyond_known, (enum chain_state)99)

static const struct row {
	const char *what, *text; /* of the row, going out to mx.example */
	void (*change)(struct facts *facts);
	enum verdict verdict;
	enum reason_code code;
	enum level reached;
} rows[] = {
	{ "encrypt: TLS", "encrypt", nothing, VERDICT_PASS, REASON_NONE,
	    LEVEL_ENCRYPT },
	{ "encrypt: whoever it is", "encrypt", untrusted, VERDICT_PASS,
	    REASON_NONE, LEVEL_ENCRYPT },
	{ "encrypt: no certificate needed", "encrypt", no_certificate,
	    VERDICT_PASS, REASON_NONE, LEVEL_ENCRYPT },
	{ "encrypt: not in clear", "encrypt", clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },
	{ "encrypt: STARTTLS refused", "encrypt", clear_refused,
	    VERDICT_TEMPORARY, REASON_STARTTLS_REFUSED, LEVEL_NONE },
	{ "may: TLS", "may" DATED, nothing, VERDICT_PASS, REASON_NONE,
	    LEVEL_ENCRYPT },
	{ "may: in clear, and the record says so", "may" DATED, clear,
	    VERDICT_PASS, REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },
	{ "min=tls1.3: 1.2", "encrypt min=tls1.3", old_protocol,
	    VERDICT_TEMPORARY, REASON_PROTOCOL_TOO_OLD, LEVEL_ENCRYPT },
	{ "min=tls1.2: 1.2", "encrypt min=tls1.2", old_protocol, VERDICT_PASS,
	    REASON_NONE, LEVEL_ENCRYPT },
	{ "bits=256: 128", "encrypt bits=256", weak_cipher, VERDICT_TEMPORARY,
	    REASON_CIPHER_TOO_WEAK, LEVEL_ENCRYPT },
	{ "bits=256: 256", "encrypt bits=256", nothing, VERDICT_PASS,
	    REASON_NONE, LEVEL_ENCRYPT },
	{ "fail=permanent", "encrypt fail=permanent", clear, VERDICT_PERMANENT,
	    REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },

	{ "verify: good", "verify", nothing, VERDICT_PASS, REASON_NONE,
	    LEVEL_VERIFY },
	{ "verify: in clear", "verify", clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },
	{ "verify: no certificate", "verify", no_certificate, VERDICT_TEMPORARY,
	    REASON_CERT_MISSING, LEVEL_ENCRYPT },
	{ "verify: any name", "verify", other_name, VERDICT_PASS, REASON_NONE,
	    LEVEL_VERIFY },
	{ "verify: unchecked is not good", "verify", unchecked,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },
	{ "verify: untrusted", "verify", untrusted, VERDICT_TEMPORARY,
	    REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },
	{ "verify: self-signed", "verify", self_signed, VERDICT_TEMPORARY,
	    REASON_CERT_SELF_SIGNED, LEVEL_ENCRYPT },
	{ "verify: expired", "verify", expired, VERDICT_TEMPORARY,
	    REASON_CERT_EXPIRED, LEVEL_ENCRYPT },
	{ "verify: not yet valid", "verify", not_yet, VERDICT_TEMPORARY,
	    REASON_CERT_NOT_YET_VALID, LEVEL_ENCRYPT },
	{ "verify: revoked", "verify", revoked, VERDICT_TEMPORARY,
	    REASON_CERT_REVOKED, LEVEL_ENCRYPT },
	{ "verify: no good staple where one is demanded", "verify", unstapled,
	    VERDICT_TEMPORARY, REASON_CERT_REVOCATION_UNKNOWN, LEVEL_ENCRYPT },
	{ "verify: revocation unknown", "verify", revocation_unknown,
	    VERDICT_TEMPORARY, REASON_CERT_REVOCATION_UNKNOWN, LEVEL_ENCRYPT },
	{ "verify: weak key", "verify", weak, VERDICT_TEMPORARY,
	    REASON_CERT_WEAK, LEVEL_ENCRYPT },
	{ "verify: unreadable", "verify", bad, VERDICT_TEMPORARY,
	    REASON_CERT_BAD, LEVEL_ENCRYPT },
	{ "verify: a state we do not know", "verify", beyond_known,
	    VERDICT_TEMPORARY, REASON_CERT_BAD, LEVEL_ENCRYPT },
	{ "verify: another purpose", "verify", other_purpose, VERDICT_TEMPORARY,
	    REASON_CERT_PURPOSE, LEVEL_ENCRYPT },
	{ "verify: no purpose is not enough", "verify", no_purpose,
	    VERDICT_TEMPORARY, REASON_CERT_NO_PURPOSE, LEVEL_ENCRYPT },
	{ "eku=any: another purpose", "verify eku=any" DATED, other_purpose,
	    VERDICT_PASS, REASON_NONE, LEVEL_VERIFY },
	{ "eku=any: no purpose", "verify eku=any" DATED, no_purpose,
	    VERDICT_PASS, REASON_NONE, LEVEL_VERIFY },
	{ "eku=any: still not untrusted", "verify eku=any" DATED, untrusted,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },

	{ "lock: good", "lock", nothing, VERDICT_PASS, REASON_NONE,
	    LEVEL_LOCK },
	{ "lock: another name", "lock", other_name, VERDICT_TEMPORARY,
	    REASON_CERT_NAME, LEVEL_VERIFY },
	{ "lock: CN is not consulted", "lock", no_names, VERDICT_TEMPORARY,
	    REASON_CERT_NO_SAN, LEVEL_VERIFY },
	{ "lock: untrusted", "lock", untrusted, VERDICT_TEMPORARY,
	    REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },
	{ "lock: no purpose", "lock", no_purpose, VERDICT_TEMPORARY,
	    REASON_CERT_NO_PURPOSE, LEVEL_ENCRYPT },
	{ "match= instead of the key", "lock match=mx.other.example",
	    other_name, VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "match=: the key does not count", "lock match=mx.other.example",
	    nothing, VERDICT_TEMPORARY, REASON_CERT_NAME, LEVEL_VERIFY },
	{ "match=: one of two", "lock match=a.example,mx.example", nothing,
	    VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "pin: right", "lock pin=sha256:" KEY_1, nothing, VERDICT_PASS,
	    REASON_NONE, LEVEL_LOCK },
	{ "pin: one of two", "lock pin=sha256:" KEY_2 ",sha256:" KEY_1, nothing,
	    VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "pin: wrong", "lock pin=sha256:" KEY_1, other_key, VERDICT_TEMPORARY,
	    REASON_CERT_PIN, LEVEL_VERIFY },
	{ "pin: needs no name", "lock pin=sha256:" KEY_1, other_name,
	    VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "pin and match: both", "lock match=mx.example pin=sha256:" KEY_1,
	    other_name, VERDICT_TEMPORARY, REASON_CERT_NAME, LEVEL_VERIFY },
	{ "pin: still verified", "lock pin=sha256:" KEY_1, untrusted,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },
	{ "chain=no: the key alone", "lock chain=no pin=sha256:" KEY_1,
	    self_signed, VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "chain=no: purpose does not count", "lock chain=no pin=sha256:" KEY_1,
	    no_purpose, VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "chain=no: another key", "lock chain=no pin=sha256:" KEY_1, other_key,
	    VERDICT_TEMPORARY, REASON_CERT_PIN, LEVEL_VERIFY },
	{ "chain=no: no certificate",
	    "lock chain=no "
	    "pin=sha256:0000000000000000000000000000000000000000000000000000"
	    "000000000000",
	    no_certificate, VERDICT_TEMPORARY, REASON_CERT_MISSING,
	    LEVEL_ENCRYPT },
	{ "issuer: right, without case",
	    "lock issuer=\"cn=example ca,O=Example\"", nothing, VERDICT_PASS,
	    REASON_NONE, LEVEL_LOCK },
	{ "issuer: another", "lock issuer=\"CN=Example CA,O=Example\"",
	    other_issuer, VERDICT_TEMPORARY, REASON_CERT_ISSUER, LEVEL_VERIFY },
	{ "issuer: part of it is not it", "lock issuer=\"CN=Example CA\"",
	    nothing, VERDICT_TEMPORARY, REASON_CERT_ISSUER, LEVEL_VERIFY },
	{ "issuer: the name counts, too",
	    "lock issuer=\"CN=Example CA,O=Example\"", other_name,
	    VERDICT_TEMPORARY, REASON_CERT_NAME, LEVEL_VERIFY },
	{ "org: right", "lock org=\"Example Inc\"", nothing, VERDICT_PASS,
	    REASON_NONE, LEVEL_LOCK },
	{ "org: none", "lock org=\"Example Inc\"", no_organisation,
	    VERDICT_TEMPORARY, REASON_CERT_ORGANISATION, LEVEL_VERIFY },

	{ "dane: good, and no chain is asked", "encrypt dane", dane_good,
	    VERDICT_PASS, REASON_NONE, LEVEL_ENCRYPT },
	{ "dane: no record", "encrypt dane", dane_none, VERDICT_TEMPORARY,
	    REASON_DANE_REQUIRED, LEVEL_ENCRYPT },
	{ "dane: no record, for good", "encrypt dane fail=permanent", dane_none,
	    VERDICT_PERMANENT, REASON_DANE_REQUIRED, LEVEL_ENCRYPT },
	{ "dane: no match", "encrypt dane", dane_mismatch, VERDICT_TEMPORARY,
	    REASON_TLSA_INVALID, LEVEL_ENCRYPT },
	{ "dane: no match, for good", "encrypt dane fail=permanent",
	    dane_mismatch, VERDICT_PERMANENT, REASON_TLSA_INVALID,
	    LEVEL_ENCRYPT },
	{ "dane: bogus", "encrypt dane", dane_failed, VERDICT_TEMPORARY,
	    REASON_DNSSEC_INVALID, LEVEL_ENCRYPT },
	{ "dane: bogus is never for good", "encrypt dane fail=permanent",
	    dane_failed, VERDICT_TEMPORARY, REASON_DNSSEC_INVALID,
	    LEVEL_ENCRYPT },
	{ "dane: unchecked is not good", "encrypt dane fail=permanent",
	    dane_unchecked, VERDICT_TEMPORARY, REASON_DNSSEC_INVALID,
	    LEVEL_ENCRYPT },
	{ "dane: a state we do not know", "encrypt dane", dane_unknown,
	    VERDICT_TEMPORARY, REASON_DNSSEC_INVALID, LEVEL_ENCRYPT },
	{ "dane: not in clear", "encrypt dane", clear, VERDICT_TEMPORARY,
	    REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },
	{ "dane is a further demand", "verify dane", dane_good,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED, LEVEL_ENCRYPT },
	{ "dane beside lock: both", "lock dane", dane_and_chain_good,
	    VERDICT_PASS, REASON_NONE, LEVEL_LOCK },
	{ "dane beside lock: the level is reached without it", "lock dane",
	    nothing, VERDICT_TEMPORARY, REASON_DNSSEC_INVALID, LEVEL_LOCK },
	{ "dane without the word does not count", "encrypt", dane_mismatch,
	    VERDICT_PASS, REASON_NONE, LEVEL_ENCRYPT },
	{ "dane observed", "encrypt dane mode=observe" DATED, dane_mismatch,
	    VERDICT_OBSERVED, REASON_TLSA_INVALID, LEVEL_ENCRYPT },
	{ "tls-optional=yes alone changes nothing",
	    "lock tls-optional=yes" DATED, other_name, VERDICT_TEMPORARY,
	    REASON_CERT_NAME, LEVEL_VERIFY },
	{ "ratchet: nothing is remembered yet", "encrypt ratchet", untrusted,
	    VERDICT_PASS, REASON_NONE, LEVEL_ENCRYPT },

	{ "observe: good", "lock mode=observe" DATED, nothing, VERDICT_PASS,
	    REASON_NONE, LEVEL_LOCK },
	{ "observe: wrong name goes on", "lock mode=observe" DATED, other_name,
	    VERDICT_OBSERVED, REASON_CERT_NAME, LEVEL_VERIFY },
	{ "observe: old protocol goes on",
	    "encrypt min=tls1.3 mode=observe" DATED, old_protocol,
	    VERDICT_OBSERVED, REASON_PROTOCOL_TOO_OLD, LEVEL_ENCRYPT },
	{ "observe: never in clear", "lock mode=observe" DATED, clear,
	    VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED, LEVEL_NONE },
};

static struct demand *
demand_of(const char *text)
{
	struct demand *demand = demand_new();
	struct table *table;
	struct reason why;
	char line[512];

	(void)snprintf(line, sizeof(line), "mx.example out %s\n", text);
	table = table_of(line);
	assert_true(demand_out(demand, table, "mx.example", 465, NOW, &why));
	table_close(table); /* a demand keeps nothing of it */
	return demand;
}

static void
test_row(void **state)
{
	const struct row *row = *state;
	struct demand *demand = demand_of(row->text);
	struct facts facts = good;
	struct decision decision;

	row->change(&facts);
	decide(&decision, demand, &facts);
	assert_string_equal(reason_word(decision.code), reason_word(row->code));
	assert_string_equal(verdict_word(decision.verdict),
	    verdict_word(row->verdict));
	assert_string_equal(level_word(decision.reached),
	    level_word(row->reached));
	assert_string_equal(decision.rows, "sites:1");
	assert_int_equal(decision.detail[0] == '\0', row->code == REASON_NONE);
	demand_free(demand);
}

/* --- the ratchet --------------------------------------------------------- */

static void
issued_by_another(struct facts *facts)
{
	strcpy(facts->issuer_organisation, "Other");
}

static void
issued_by_nobody(struct facts *facts)
{
	facts->issuer_organisation[0] = facts->issuer[0] = '\0';
}

static void
other_key_same_issuer(struct facts *facts)
{
	other_key(facts);
	strcpy(facts->issuer, "CN=Example CA 2,O=Example");
}

static const struct ratchet {
	const char *what, *text;
	void (*change)(struct facts *facts);
	struct shown best;
	enum verdict verdict;
	enum reason_code code;
} ratchets[] = {
	{ "as before", "encrypt ratchet", nothing,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_PASS, REASON_NONE },
	{ "better than before", "encrypt ratchet", nothing,
	    { LEVEL_ENCRYPT, 12, "" }, VERDICT_PASS, REASON_NONE },
	{ "another name", "encrypt ratchet", other_name,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "another name, and a name was never shown", "encrypt ratchet",
	    other_name, { LEVEL_VERIFY, 13, "Example" }, VERDICT_PASS,
	    REASON_NONE },
	{ "untrusted", "encrypt ratchet", untrusted, { LEVEL_VERIFY, 12, "" },
	    VERDICT_TEMPORARY, REASON_RATCHET },
	{ "no purpose is not verified", "encrypt ratchet", no_purpose,
	    { LEVEL_VERIFY, 12, "" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "no certificate", "encrypt ratchet", no_certificate,
	    { LEVEL_VERIFY, 12, "" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "an older protocol", "encrypt ratchet", old_protocol,
	    { LEVEL_ENCRYPT, 13, "" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "another issuer", "encrypt ratchet", issued_by_another,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "an issuer without a name", "encrypt ratchet", issued_by_nobody,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "a new key of the same issuer", "encrypt ratchet",
	    other_key_same_issuer, { LEVEL_LOCK, 13, "Example" }, VERDICT_PASS,
	    REASON_NONE },
	{ "never for good", "encrypt ratchet fail=permanent", untrusted,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "no TLS has a reason of its own", "encrypt ratchet fail=permanent",
	    clear, { LEVEL_LOCK, 13, "Example" }, VERDICT_PERMANENT,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "what the row asks comes first", "lock ratchet", other_name,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY,
	    REASON_CERT_NAME },
	{ "a key alone: the chain is looked at, too",
	    "lock ratchet chain=no pin=sha256:" KEY_1, untrusted,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_TEMPORARY, REASON_RATCHET },
	{ "observed", "encrypt ratchet mode=observe" DATED, untrusted,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_OBSERVED, REASON_RATCHET },
	{ "without the word nothing is remembered", "encrypt", untrusted,
	    { LEVEL_LOCK, 13, "Example" }, VERDICT_PASS, REASON_NONE },
};

static void
test_ratchet(void **state)
{
	const struct ratchet *row = *state;
	struct demand *demand = demand_of(row->text);
	struct facts facts = good;
	struct decision decision;

	demand->best = row->best;
	row->change(&facts);
	decide(&decision, demand, &facts);
	assert_string_equal(reason_word(decision.code), reason_word(row->code));
	assert_string_equal(verdict_word(decision.verdict),
	    verdict_word(row->verdict));
	demand_free(demand);
}

static void
test_shown(void **state)
{
	static const struct {
		const char *text;
		void (*change)(struct facts *facts);
		struct shown shown;
	} cases[] = {
		{ "encrypt ratchet", nothing, { LEVEL_LOCK, 13, "Example" } },
		{ "lock ratchet match=mx.other.example", nothing,
		    { LEVEL_LOCK, 13, "Example" } },
		{ "encrypt ratchet", other_name,
		    { LEVEL_VERIFY, 13, "Example" } },
		{ "encrypt ratchet", expired, { LEVEL_ENCRYPT, 13, "" } },
		{ "encrypt ratchet", other_purpose, { LEVEL_ENCRYPT, 13, "" } },
		{ "encrypt ratchet", old_protocol,
		    { LEVEL_LOCK, 12, "Example" } },
		{ "encrypt ratchet", clear, { LEVEL_NONE, 0, "" } },
		{ "encrypt", nothing, { LEVEL_NONE, 0, "" } },
	};

	(void)state;
	for (size_t i = 0; i < ROWS(cases); i++) {
		struct demand *demand = demand_of(cases[i].text);
		struct facts facts = good;
		struct shown shown;

		cases[i].change(&facts);
		decide_shown(&shown, demand, &facts);
		assert_int_equal(shown.level, cases[i].shown.level);
		assert_int_equal(shown.version, cases[i].shown.version);
		assert_string_equal(shown.issuer, cases[i].shown.issuer);
		demand_free(demand);
	}
}

/* No organisation: the whole name. */
static void
test_shown_issuer(void **state)
{
	struct demand *demand = demand_of("verify ratchet ca=a.pem");
	struct facts facts = good;
	struct shown shown;

	(void)state;
	facts.issuer_organisation[0] = '\0';
	decide_shown(&shown, demand, &facts);
	assert_string_equal(shown.issuer, "CN=Example CA,O=Example");
	assert_int_equal(demand->anchors, 1);
	assert_non_null(strstr(demand->anchor[0], "/a.pem"));
	demand_free(demand);
}

/* --- promises ------------------------------------------------------------ */

static void
keyword(struct facts *facts)
{
	facts->requiretls = true;
}

static void
keyword_dane(struct facts *facts)
{
	keyword(facts);
	dane_good(facts);
}

static void
keyword_dane_failed(struct facts *facts)
{
	keyword(facts);
	dane_failed(facts);
}

static void
keyword_untrusted(struct facts *facts)
{
	keyword(facts);
	untrusted(facts);
}

static void
keyword_other_name(struct facts *facts)
{
	keyword(facts);
	other_name(facts);
}

static void
keyword_other_key(struct facts *facts)
{
	keyword(facts);
	other_key(facts);
	untrusted(facts);
}

static void
handshake_failed(struct facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	facts->why_not = REASON_HANDSHAKE_FAILED;
}

static const struct promise {
	const char *what, *text;
	void (*change)(struct facts *facts);
	enum verdict verdict;
	enum reason_code code;
} promises[] = {
	{ "kept by name", "encrypt", keyword, VERDICT_PASS, REASON_NONE },
	{ "no keyword", "encrypt", nothing, VERDICT_PERMANENT,
	    REASON_REQUIRETLS },
	{ "no keyword at lock", "lock", nothing, VERDICT_PERMANENT,
	    REASON_REQUIRETLS },
	{ "encrypt is not enough", "encrypt", keyword_untrusted,
	    VERDICT_PERMANENT, REASON_CERT_UNTRUSTED },
	{ "the name counts", "verify", keyword_other_name, VERDICT_PERMANENT,
	    REASON_CERT_NAME },
	{ "what the row refuses is the row's", "verify", keyword_untrusted,
	    VERDICT_TEMPORARY, REASON_CERT_UNTRUSTED },
	{ "a lock of its own will do", "lock match=mx.other.example",
	    keyword_other_name, VERDICT_PASS, REASON_NONE },
	{ "a key of its own will do", "lock chain=no pin=sha256:" KEY_1,
	    keyword_untrusted, VERDICT_PASS, REASON_NONE },
	{ "another key", "lock chain=no pin=sha256:" KEY_1, keyword_other_key,
	    VERDICT_TEMPORARY, REASON_CERT_PIN },
	{ "kept by DANE", "encrypt dane", keyword_dane, VERDICT_PASS,
	    REASON_NONE },
	{ "DANE that fails for the time being", "encrypt dane",
	    keyword_dane_failed, VERDICT_TEMPORARY, REASON_DNSSEC_INVALID },
	{ "DANE without the row's word", "encrypt", keyword_dane,
	    VERDICT_PERMANENT, REASON_CERT_UNTRUSTED },
	{ "in clear", "may" DATED, clear, VERDICT_PERMANENT,
	    REASON_STARTTLS_NOT_OFFERED },
	{ "in clear where the row forbids it", "encrypt", clear,
	    VERDICT_TEMPORARY, REASON_STARTTLS_NOT_OFFERED },
	{ "STARTTLS fails today", "may" DATED, clear_refused, VERDICT_TEMPORARY,
	    REASON_STARTTLS_REFUSED },
	{ "the handshake fails today", "may" DATED, handshake_failed,
	    VERDICT_TEMPORARY, REASON_HANDSHAKE_FAILED },
	{ "observing does not let it go", "lock mode=observe" DATED,
	    keyword_other_name, VERDICT_PERMANENT, REASON_CERT_NAME },
	{ "fail=permanent stays", "verify fail=permanent", keyword_untrusted,
	    VERDICT_PERMANENT, REASON_CERT_UNTRUSTED },
};

static void
test_promise(void **state)
{
	const struct promise *row = *state;
	struct demand *demand = demand_of(row->text);
	struct facts facts = good;
	struct decision decision, alone;
	struct reason why;

	assert_true(demand_add_requiretls(demand, &why));
	assert_true(demand_add_requiretls(demand, &why)); /* once is enough */
	assert_true(demand->requiretls);
	demand_relax(demand); /* gives way */
	row->change(&facts);
	decide(&decision, demand, &facts);
	assert_string_equal(reason_word(decision.code), reason_word(row->code));
	assert_string_equal(verdict_word(decision.verdict),
	    verdict_word(row->verdict));
	assert_string_equal(decision.rows, "sites:1,requiretls");
	/* Nobody can raise an alarm about a site that meets its own row. */
	demand_free(demand);
	demand = demand_of(row->text);
	decide(&alone, demand, &facts);
	assert_int_equal(decision.names_one_site,
	    alone.verdict >= VERDICT_TEMPORARY || row->code == REASON_NONE);
	demand_free(demand);
}

/* With the anchors of the next hop's row, or the default ones; none where no
 * chain is asked. */
static void
test_promise_anchors(void **state)
{
	struct demand *demand = demand_of("verify ca=a.pem");
	struct reason why;

	(void)state;
	assert_true(demand_add_requiretls(demand, &why));
	assert_int_equal(demand->anchors, 1);
	assert_int_equal(demand->rows[1].anchors, 0);
	assert_string_equal(demand->rows[1].match, "mx.example");
	demand_free(demand);
	demand = demand_of("encrypt");
	assert_int_equal(demand->anchors, 0);
	assert_true(demand_add_requiretls(demand, &why));
	assert_int_equal(demand->anchors, 1);
	assert_string_equal(demand->anchor[0], "");
	demand_free(demand);
	demand = demand_of("encrypt dane");
	assert_true(demand_add_requiretls(demand, &why));
	assert_int_equal(demand->anchors, 0);
	demand_free(demand);
}

/* "TLS-Required: No": rows that allow it ask no more than may. */
static void
test_relax(void **state)
{
	struct table *table = table_of(
	    "mx.example out lock min=tls1.3 dane ratchet tls-optional=yes" DATED
	    "\nbank.test rcpt verify\n"
	    "my.example out lock mode=observe tls-optional=yes" DATED "\n");
	struct demand *demand = demand_new();
	struct facts facts = { .why_not = REASON_HANDSHAKE_FAILED };
	struct decision decision;
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	demand_relax(demand);
	assert_int_equal(demand->level, LEVEL_MAY);
	assert_false(demand->dane || demand->ratchet);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);
	assert_int_equal(decision.code, REASON_HANDSHAKE_FAILED);
	facts = good;
	old_protocol(&facts);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);

	/* A row without it stays. */
	facts = good;
	untrusted(&facts);
	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	assert_true(demand_add_rcpt(demand, table, "u@bank.test", NOW, &why));
	demand_relax(demand);
	assert_int_equal(demand->level, LEVEL_VERIFY);
	facts.chain[1] = CHAIN_GOOD;
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_UNTRUSTED);

	/* What observes asks nothing that could be missed. */
	assert_true(demand_out(demand, table, "my.example", 25, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.observed_count, 1);
	demand_relax(demand);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.observed_count, 0);
	assert_int_equal(decision.verdict, VERDICT_PASS);

	/* It is an exception, and ends. */
	assert_true(
	    demand_out(demand, table, "mx.example", 25, NOW + 999 * DAY, &why));
	demand_relax(demand);
	assert_int_equal(demand->level, LEVEL_LOCK);
	assert_int_equal(demand->ended_line, 1);
	demand_free(demand);
	table_close(table);
}

/* --- what rehearsal and alarms rest on ------------------------------------ */

static void
test_observed_rows(void **state)
{
	struct table *table =
	    table_of("mx.example out verify mode=observe" DATED
		     "\nbank.test rcpt lock match=bank.test "
		     "mode=observe" DATED "\ntls.test rcpt encrypt\n");
	struct demand *demand = demand_new();
	struct facts facts = good;
	struct decision decision;
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	assert_true(demand_add_rcpt(demand, table, "u@bank.test", NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_OBSERVED);
	assert_int_equal(decision.observed_count, 2);
	assert_true(decision.observed[0].met);
	assert_int_equal(decision.observed[0].code, REASON_NONE);
	assert_false(decision.observed[1].met);
	assert_int_equal(decision.observed[1].code, REASON_CERT_NAME);
	assert_true(decision.observed[0].identity == demand->rows[0].identity);
	assert_true(decision.observed[1].identity == demand->rows[1].identity);
	assert_true(
	    decision.observed[0].identity != decision.observed[1].identity);

	/* Beside a row that is enforced, and with no TLS at all. */
	assert_true(demand_add_rcpt(demand, table, "u@tls.test", NOW, &why));
	clear(&facts);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_TEMPORARY);
	assert_int_equal(decision.observed_count, 2);
	assert_int_equal(decision.observed[0].code,
	    REASON_STARTTLS_NOT_OFFERED);

	/* Enforced from its date on. */
	assert_true(
	    demand_out(demand, table, "mx.example", 25, NOW + 999 * DAY, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.observed_count, 0);
	demand_free(demand);
	table_close(table);
}

static uint64_t
identity_of(const char *text)
{
	struct table *table = table_of(text);
	struct demand *demand = demand_new();
	struct reason why;
	uint64_t identity;

	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	identity = demand->rows[0].identity;
	demand_free(demand);
	table_close(table);
	return identity;
}

static void
test_identity(void **state)
{
	uint64_t one = identity_of("mx.example out verify\n");

	(void)state;
	assert_true(one != 0);
	assert_true(one == identity_of("# moved\n\n* out encrypt\n"
				       "MX.example.\tOUT verify # same\n"));
	assert_true(one != identity_of("mx.example out lock\n"));
	assert_true(one != identity_of("mx.example out verify dane\n"));
	assert_true(one != identity_of("mx.example both verify\n"));
}

static struct sockaddr_storage
peer_of(const char *text)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };

	assert_int_equal(
	    inet_pton(AF_INET, text, &((struct sockaddr_in *)&peer)->sin_addr),
	    1);
	return peer;
}

/* Networks and "*" are not one site; a claimed name is its row's. */
static void
test_one_site(void **state)
{
	static const struct {
		const char *address, *ehlo, *site;
		bool one;
	} cases[] = {
		{ "192.0.2.1", NULL, "192.0.2.1", true },
		{ "192.0.2.2", NULL, "192.0.2.2", false },
		{ "198.51.100.1", NULL, "198.51.100.1", false },
		{ "198.51.100.1", "mail.partner.test", "mail.partner.test",
		    true },
		{ "198.51.100.1", "x.branch.test", "198.51.100.1", false },
		{ "192.0.2.1", "mail.partner.test", "192.0.2.1", true },
	};
	struct table *table = table_of("192.0.2.1 in encrypt\n"
				       "192.0.2.0/24 in encrypt\n"
				       "mail.partner.test in lock\n"
				       ".branch.test in verify\n");
	struct demand *demand = demand_new();
	struct decision decision;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < ROWS(cases); i++) {
		struct sockaddr_storage peer = peer_of(cases[i].address);

		assert_true(demand_in(demand, table, &peer, NOW, &why));
		if (cases[i].ehlo != NULL)
			assert_true(demand_add_ehlo(demand, table,
			    cases[i].ehlo, NOW, &why));
		decide(&decision, demand, &good);
		assert_string_equal(decision.site, cases[i].site);
		assert_int_equal(decision.names_one_site, cases[i].one);
	}
	assert_true(demand_out(demand, NULL, "mx.example", 25, NOW, &why));
	decide(&decision, demand, &good);
	assert_true(decision.names_one_site);
	demand_free(demand);
	table_close(table);
}

static void
test_none(void **state)
{
	struct table *table = table_of("127.0.0.1 out none\n");
	struct demand *demand = demand_new();
	struct facts facts = { 0 };
	struct decision decision;
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, table, "127.0.0.1", 25, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);
	assert_int_equal(decision.code, REASON_NONE);
	demand_free(demand);
	table_close(table);
}

/* Coming in a refusal is for good unless a row says otherwise. */
static void
test_in(void **state)
{
	struct sockaddr_storage peer = { .ss_family = AF_UNIX };
	struct table *hard = table_of("* in verify\n");
	struct table *soft = table_of("* in verify fail=temporary\n");
	struct demand *demand = demand_new();
	struct facts facts = { .tls = true, .version = 13, .bits = 256 };
	struct decision decision;
	struct reason why;

	(void)state;
	assert_true(demand_in(demand, hard, &peer, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PERMANENT);
	assert_int_equal(decision.code, REASON_CERT_MISSING);
	assert_true(demand_in(demand, soft, &peer, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_TEMPORARY);
	facts.tls = false;
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CLEARTEXT);
	demand_free(demand);
	table_close(hard);
	table_close(soft);
}

/* Every row's own set: two names, two sets of anchors. */
static void
test_several_rows(void **state)
{
	struct table *table =
	    table_of("mx.example out lock ca=a.pem\n"
		     "bank.test rcpt lock ca=b.pem match=.bank.test\n"
		     "tls.test rcpt encrypt min=tls1.3\n");
	struct demand *demand = demand_new();
	struct facts facts = good;
	struct decision decision;
	struct reason why;
	static const char two[] = "dns:mx.example\0dns:out.bank.test";

	(void)state;
	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);

	assert_true(demand_add_rcpt(demand, table, "u@bank.test", NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_UNTRUSTED);
	assert_string_equal(decision.rows, "sites:1,sites:2");

	facts.chain[1] = CHAIN_GOOD;
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_NAME);

	facts.names = two;
	facts.names_len = sizeof(two);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);

	facts.chain[0] = CHAIN_EXPIRED;
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_EXPIRED);

	facts.chain[0] = CHAIN_GOOD;
	facts.version = 12;
	assert_true(demand_add_rcpt(demand, table, "u@tls.test", NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_PROTOCOL_TOO_OLD);
	demand_free(demand);
	table_close(table);
}

/* Observed only if every row observes. */
static void
test_observed_beside_enforced(void **state)
{
	struct table *table =
	    table_of("mx.example out verify mode=observe" DATED "\n"
		     "bank.test rcpt encrypt\n");
	struct demand *demand = demand_new();
	struct facts facts = good;
	struct decision decision;
	struct reason why;

	(void)state;
	facts.chain[0] = CHAIN_UNTRUSTED;
	assert_true(demand_out(demand, table, "mx.example", 25, NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_OBSERVED);
	assert_true(demand_add_rcpt(demand, table, "u@bank.test", NOW, &why));
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_TEMPORARY);
	demand_free(demand);
	table_close(table);
}

static void
test_record(void **state)
{
	struct demand *demand = demand_of("lock");
	struct facts facts = good;
	struct decision decision;
	char out[1024];
	size_t len;

	(void)state;
	other_name(&facts);
	decide(&decision, demand, &facts);
	len = decision_print(&decision, out, sizeof(out));
	assert_int_equal(len, strlen(out));
	assert_string_equal(out,
	    "direction=out site=mx.example row=sites:1 asked=lock "
	    "reached=verify verdict=refuse-temporary reason=certificate-name "
	    "result=certificate-host-mismatch tls=TLS1.3 "
	    "suite=TLS_AES_256_GCM_SHA384 "
	    "detail=\"names mx.other.example, expected mx.example\"");
	len = decision_reply(&decision, out, sizeof(out));
	assert_int_equal(len, strlen(out));
	assert_string_equal(out,
	    "TLS policy for mx.example: lock asked, verify reached: "
	    "certificate-name (row sites:1, certificate-host-mismatch): "
	    "names mx.other.example, expected mx.example");
	assert_int_equal(decision_print(&decision, out, 10), 9);
	assert_string_equal(out, "direction");
	demand_free(demand);
}

/* A stranger's certificate cannot write lines of its own. */
static void
test_record_is_escaped(void **state)
{
	struct demand *demand = demand_of("verify");
	struct facts facts = good;
	struct decision decision;
	char out[1024];
	size_t len;

	(void)state;
	facts.chain[0] = CHAIN_UNTRUSTED;
	strcpy(facts.subject, "CN=a\"\r\nsession=x \x1b[0m\xc3\xbc\\");
	decide(&decision, demand, &facts);
	len = decision_print(&decision, out, sizeof(out));
	for (size_t i = 0; i < len; i++)
		assert_in_range(out[i], 0x20, 0x7e);
	assert_non_null(strstr(out, "CN=a\\\"\\x0d\\x0asession=x "));
	memset(facts.subject, '\n', sizeof(facts.subject) - 1);
	facts.subject[sizeof(facts.subject) - 1] = '\0';
	decide(&decision, demand, &facts);
	len = decision_reply(&decision, out, sizeof(out));
	assert_in_range(len, 1, 200);
	for (size_t i = 0; i < len; i++)
		assert_in_range(out[i], 0x20, 0x7e);
	demand_free(demand);
}

/* Names of certificates are cut to fit the facts; what may have been cut is
 * not the issuer a row means. */
static void
test_cut_issuer(void **state)
{
	struct facts facts = good;
	struct decision decision;
	struct demand *demand;
	char text[400];

	(void)state;
	memset(facts.issuer, 'x', sizeof(facts.issuer) - 1);
	facts.issuer[sizeof(facts.issuer) - 1] = '\0';
	memcpy(facts.issuer, "CN=", 3);
	(void)snprintf(text, sizeof(text), "lock issuer=%s", facts.issuer);
	demand = demand_of(text);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.code, REASON_CERT_ISSUER);
	demand_free(demand);

	facts.issuer[sizeof(facts.issuer) - 2] = '\0';
	(void)snprintf(text, sizeof(text), "lock issuer=%s", facts.issuer);
	demand = demand_of(text);
	decide(&decision, demand, &facts);
	assert_int_equal(decision.verdict, VERDICT_PASS);
	demand_free(demand);
}

static void
test_without_tls(void **state)
{
	struct demand *demand = demand_of("encrypt fail=permanent");
	struct decision decision;

	(void)state;
	decide_without_tls(&decision, demand, REASON_HANDSHAKE_FAILED,
	    "fatal alert");
	assert_int_equal(decision.verdict, VERDICT_PERMANENT);
	assert_int_equal(decision.code, REASON_HANDSHAKE_FAILED);
	assert_string_equal(decision.detail, "fatal alert");
	decide_without_tls(&decision, demand, REASON_STARTTLS_NOT_OFFERED,
	    NULL);
	assert_string_equal(decision.detail, "no TLS");
	demand_free(demand);
}

static int
setup(void **state)
{
	static const char pem[] = "-----BEGIN CERTIFICATE-----\n";

	if (scratch_make(state) != 0)
		return 1;
	scratch_file("a.pem", pem, strlen(pem));
	scratch_file("b.pem", pem, strlen(pem));
	return 0;
}

int
main(void)
{
	struct CMUnitTest
	    tests[ROWS(rows) + ROWS(ratchets) + ROWS(promises) + 15];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(rows); i++)
		tests[n++] = row_test(rows[i].what, test_row, &rows[i]);
	for (size_t i = 0; i < ROWS(ratchets); i++)
		tests[n++] =
		    row_test(ratchets[i].what, test_ratchet, &ratchets[i]);
	for (size_t i = 0; i < ROWS(promises); i++)
		tests[n++] =
		    row_test(promises[i].what, test_promise, &promises[i]);
	tests[n++] = row_test("what a site has shown", test_shown, NULL);
	tests[n++] =
	    row_test("who issued what it has shown", test_shown_issuer, NULL);
	tests[n++] =
	    row_test("a promise's anchors", test_promise_anchors, NULL);
	tests[n++] = row_test("TLS-Required: No", test_relax, NULL);
	tests[n++] = row_test("observed rows", test_observed_rows, NULL);
	tests[n++] = row_test("a row's identity", test_identity, NULL);
	tests[n++] = row_test("one site, or many", test_one_site, NULL);
	tests[n++] = row_test("none: in clear", test_none, NULL);
	tests[n++] = row_test("coming in", test_in, NULL);
	tests[n++] = row_test("several rows", test_several_rows, NULL);
	tests[n++] = row_test("observed beside enforced",
	    test_observed_beside_enforced, NULL);
	tests[n++] = row_test("the record", test_record, NULL);
	tests[n++] =
	    row_test("the record escapes", test_record_is_escaped, NULL);
	tests[n++] =
	    row_test("an issuer that may be cut", test_cut_issuer, NULL);
	tests[n++] = row_test("no TLS at all", test_without_tls, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("decide", tests, setup,
	    scratch_remove);
}
