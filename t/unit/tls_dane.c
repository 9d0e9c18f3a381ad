/*
 * t/unit/tls_dane.c: certificates of real handshakes against TLSA records.
 */
#include "../../tls/dane.h"
#include "tls_fixture.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>

static const char names[] = "mx.example.com\0hop.example\0";

static struct made ca, sub, sub_expired, stranger, weak_ca, hidden;

static int
setup(void **state)
{
	(void)state;
	make(&ca, &(struct recipe){ .cn = "CA", .ca = true });
	make(&sub, &(struct recipe){ .cn = "Sub", .ca = true, .issuer = &ca });
	make(&sub_expired, &(struct recipe){ .cn = "Old sub",
			       .ca = true,
			       .issuer = &ca,
			       .from = NOW - 10 * DAY,
			       .until = NOW - DAY });
	make(&stranger, &(struct recipe){ .cn = "Stranger", .ca = true });
	make(&weak_ca, &(struct recipe){ .cn = "Weak CA",
			   .ca = true,
			   .pk = GNUTLS_PK_RSA,
			   .bits = 1024 });
	/* An end entity that plays authority. */
	make(&hidden, &(struct recipe){ .cn = "Hidden", .issuer = &ca });
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unmake(&ca);
	unmake(&sub);
	unmake(&sub_expired);
	unmake(&stranger);
	unmake(&weak_ca);
	unmake(&hidden);
	return 0;
}

/* --- records ------------------------------------------------------------ */

enum whose {
	OF_LEAF,
	OF_CA,
	OF_SUB,
	OF_OLD,
	OF_STRANGER,
	OF_WEAK,
	OF_HIDDEN,
	OF_RUBBISH
};

static const struct made *
made_of(enum whose whose, const struct made *leaf)
{
	const struct made *all[] = { leaf, &ca, &sub, &sub_expired, &stranger,
		&weak_ca, &hidden };

	return all[whose];
}

/* What a record of that selector is about, as this test sees it. */
static gnutls_datum_t
octets_of(const struct made *m, unsigned selector)
{
	gnutls_datum_t out;
	gnutls_pubkey_t key;

	if (selector == 0) {
		OK(gnutls_x509_crt_export2(m->crt, GNUTLS_X509_FMT_DER, &out));
		return out;
	}
	OK(gnutls_pubkey_init(&key));
	OK(gnutls_pubkey_import_x509(key, m->crt, 0));
	OK(gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &out));
	gnutls_pubkey_deinit(key);
	return out;
}

struct wanted {
	unsigned usage, selector, matching;
	enum whose whose;
	size_t cut; /* octets missing at the end */
};

/* record->data is to be freed. */
static void
record_make(struct tlsa *record, const struct wanted *w,
    const struct made *leaf)
{
	static const char rubbish[] = "no key, no certificate, no digest";
	gnutls_datum_t of = { (unsigned char *)(uintptr_t)rubbish,
		sizeof(rubbish) };
	unsigned char *data = malloc(TLSA_DATA_MAX + 64);

	assert_non_null(data);
	if (w->whose != OF_RUBBISH)
		of = octets_of(made_of(w->whose, leaf), w->selector);
	*record = (struct tlsa){ .usage = (uint8_t)w->usage,
		.selector = (uint8_t)w->selector,
		.matching = (uint8_t)w->matching,
		.data = data,
		.len = of.size };
	if (w->matching == 1) {
		OK(gnutls_hash_fast(GNUTLS_DIG_SHA256, of.data, of.size, data));
		record->len = 32;
	} else if (w->matching == 2) {
		OK(gnutls_hash_fast(GNUTLS_DIG_SHA512, of.data, of.size, data));
		record->len = 64;
	} else {
		assert_true(of.size <= TLSA_DATA_MAX);
		memcpy(data, of.data, of.size);
	}
	record->len -= w->cut;
	if (w->whose != OF_RUBBISH)
		gnutls_free(of.data);
}

/* --- handshakes --------------------------------------------------------- */

static void
present(struct made *leaf, const struct made *issuer)
{
	gnutls_datum_t both;

	if (issuer == NULL)
		return;
	both.size = leaf->pem.size + issuer->pem.size;
	both.data = gnutls_malloc(both.size);
	assert_non_null(both.data);
	memcpy(both.data, leaf->pem.data, leaf->pem.size);
	memcpy(both.data + leaf->pem.size, issuer->pem.data, issuer->pem.size);
	gnutls_free(leaf->pem.data);
	leaf->pem = both;
}

/* A client's connection to a server that presents leaf. */
struct connection {
	struct made leaf;
	struct test_signer signer;
	struct tls_identity *identity;
	struct tls_server *server;
	struct ends ends;
};

static void
connection_open(struct connection *c, const struct recipe *recipe,
    const struct made *sent_along)
{
	make(&c->leaf, recipe);
	present(&c->leaf, sent_along);
	c->identity = identity_of(&c->leaf, CERT_FOR_SERVER, &c->signer);
	c->server = server_of(&c->identity, 1, NULL, 12);
	ends_open(&c->ends, c->server, false,
	    &(struct tls_connect_options){ 0 });
	assert_connected(&c->ends);
}

static void
connection_close(struct connection *c)
{
	ends_close(&c->ends);
	tls_server_unref(c->server);
	tls_identity_unref(c->identity);
	tls_key_free(c->signer.key);
	unmake(&c->leaf);
}

static enum dane_state
judged(struct connection *c, const struct wanted *wanted, size_t count,
    time_t now, struct reason *why)
{
	struct tlsa records[TLSA_RECORDS_MAX + 1];
	enum dane_state state;

	assert_true(count <= TLSA_RECORDS_MAX + 1);
	for (size_t i = 0; i < count; i++)
		record_make(&records[i], &wanted[i], &c->leaf);
	state =
	    tls_session_dane(c->ends.client, records, count, names, now, why);
	/* Nothing is kept that a second question would change. */
	assert_int_equal(
	    tls_session_dane(c->ends.client, records, count, names, now, NULL),
	    state);
	for (size_t i = 0; i < count; i++)
		free((unsigned char *)(uintptr_t)records[i].data);
	return state;
}

/* --- one record --------------------------------------------------------- */

#define HOP .cn = "x", .dns = { "hop.example" }

struct row {
	const char *name;
	struct recipe recipe;
	const struct made *sent_along;
	struct wanted wanted;
	enum dane_state expected;
	time_t now; /* 0: NOW */
};

static void
check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &rows[i];
		struct connection c;
		struct reason why = { .code = REASON_NONE };
		enum dane_state got;

		connection_open(&c, &row->recipe, row->sent_along);
		got = judged(&c, &row->wanted, 1, row->now ? row->now : NOW,
		    &why);
		if (got != row->expected)
			fail_msg("%s: state %d, expected %d: %s", row->name,
			    (int)got, (int)row->expected, why.text);
		assert_int_equal(why.code, got == DANE_GOOD ? REASON_NONE
					   : got == DANE_NONE
					       ? REASON_DANE_REQUIRED
					       : REASON_TLSA_INVALID);
		if (why.text[0] == '\0')
			fail_msg("%s: no text", row->name);
		connection_close(&c);
	}
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof(*(rows)))

static void
end_entity(void **state)
{
	const struct recipe self = { .cn = "x" }, other = { .cn = "x",
		.dns = { "other.example" },
		.issuer = &ca };
	const struct row rows[] = {
		{ "whole certificate", self, NULL, { 3, 0, 0, OF_LEAF, 0 },
		    DANE_GOOD, 0 },
		{ "SHA-256 of the certificate", self, NULL,
		    { 3, 0, 1, OF_LEAF, 0 }, DANE_GOOD, 0 },
		{ "SHA-512 of the certificate", self, NULL,
		    { 3, 0, 2, OF_LEAF, 0 }, DANE_GOOD, 0 },
		{ "whole key", self, NULL, { 3, 1, 0, OF_LEAF, 0 }, DANE_GOOD,
		    0 },
		{ "SHA-256 of the key", self, NULL, { 3, 1, 1, OF_LEAF, 0 },
		    DANE_GOOD, 0 },
		{ "SHA-512 of the key", self, NULL, { 3, 1, 2, OF_LEAF, 0 },
		    DANE_GOOD, 0 },
		{ "names are not asked for", other, NULL,
		    { 3, 1, 1, OF_LEAF, 0 }, DANE_GOOD, 0 },
		{ "nor dates: expired", self, NULL, { 3, 1, 1, OF_LEAF, 0 },
		    DANE_GOOD, NOW + 90 * DAY },
		{ "nor dates: not yet valid", self, NULL,
		    { 3, 1, 1, OF_LEAF, 0 }, DANE_GOOD, NOW - 90 * DAY },
		{ "RSA key", { .cn = "x", .pk = GNUTLS_PK_RSA }, NULL,
		    { 3, 1, 1, OF_LEAF, 0 }, DANE_GOOD, 0 },
		{ "another's certificate", self, NULL,
		    { 3, 0, 1, OF_STRANGER, 0 }, DANE_MISMATCH, 0 },
		{ "another's key", self, NULL, { 3, 1, 0, OF_STRANGER, 0 },
		    DANE_MISMATCH, 0 },
		{ "the issuer's is not the end entity's", other, &ca,
		    { 3, 1, 1, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "the beginning of a key", self, NULL, { 3, 1, 0, OF_LEAF, 1 },
		    DANE_MISMATCH, 0 },
		{ "rubbish", self, NULL, { 3, 0, 0, OF_RUBBISH, 0 },
		    DANE_MISMATCH, 0 },
	};

	(void)state;
	CHECK_ROWS(rows);
}

static void
authority(void **state)
{
	const struct recipe good = { HOP, .issuer = &ca },
			    by_sub = { HOP, .issuer = &sub };
	const struct row rows[] = {
		{ "certificate sent", good, &ca, { 2, 0, 1, OF_CA, 0 },
		    DANE_GOOD, 0 },
		{ "key of a certificate sent", good, &ca, { 2, 1, 1, OF_CA, 0 },
		    DANE_GOOD, 0 },
		{ "SHA-512", good, &ca, { 2, 1, 2, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "whole certificate, sent", good, &ca, { 2, 0, 0, OF_CA, 0 },
		    DANE_GOOD, 0 },
		{ "whole certificate, not sent", good, NULL,
		    { 2, 0, 0, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "whole key, sent", good, &ca, { 2, 1, 0, OF_CA, 0 },
		    DANE_GOOD, 0 },
		{ "whole key, not sent", good, NULL, { 2, 1, 0, OF_CA, 0 },
		    DANE_GOOD, 0 },
		{ "intermediate sent", by_sub, &sub, { 2, 1, 1, OF_SUB, 0 },
		    DANE_GOOD, 0 },
		{ "root not sent, by an intermediate sent", by_sub, &sub,
		    { 2, 0, 0, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "root's key, by an intermediate sent", by_sub, &sub,
		    { 2, 1, 0, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "wildcard",
		    { .cn = "x", .dns = { "*.example.com" }, .issuer = &ca },
		    &ca, { 2, 1, 1, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "the TLSA base domain will do",
		    { .cn = "x", .dns = { "mx.example.com" }, .issuer = &ca },
		    &ca, { 2, 1, 1, OF_CA, 0 }, DANE_GOOD, 0 },
		{ "digest of what is not sent", good, NULL,
		    { 2, 1, 1, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "intermediate missing", by_sub, NULL, { 2, 0, 0, OF_CA, 0 },
		    DANE_MISMATCH, 0 },
		{ "intermediate missing, by key", by_sub, NULL,
		    { 2, 1, 0, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "another authority", good, &ca, { 2, 1, 1, OF_STRANGER, 0 },
		    DANE_MISMATCH, 0 },
		{ "another authority, whole", good, &ca,
		    { 2, 0, 0, OF_STRANGER, 0 }, DANE_MISMATCH, 0 },
		{ "another authority's key", good, &ca,
		    { 2, 1, 0, OF_STRANGER, 0 }, DANE_MISMATCH, 0 },
		{ "another name",
		    { .cn = "x", .dns = { "other.example" }, .issuer = &ca },
		    &ca, { 2, 1, 1, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "another name, by a key not sent",
		    { .cn = "x", .dns = { "other.example" }, .issuer = &ca },
		    NULL, { 2, 1, 0, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "name in the CN only", { .cn = "hop.example", .issuer = &ca },
		    &ca, { 2, 1, 1, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "expired", good, &ca, { 2, 1, 1, OF_CA, 0 }, DANE_MISMATCH,
		    NOW + 31 * DAY },
		{ "expired, by a key not sent", good, NULL,
		    { 2, 1, 0, OF_CA, 0 }, DANE_MISMATCH, NOW + 31 * DAY },
		{ "not yet valid, by a key not sent", good, NULL,
		    { 2, 1, 0, OF_CA, 0 }, DANE_MISMATCH, NOW - 2 * DAY },
		{ "authority expired", { HOP, .issuer = &sub_expired },
		    &sub_expired, { 2, 1, 1, OF_OLD, 0 }, DANE_MISMATCH, 0 },
		{ "weak authority", { HOP, .issuer = &weak_ca }, &weak_ca,
		    { 2, 1, 1, OF_WEAK, 0 }, DANE_MISMATCH, 0 },
		{ "weak key, not sent", { HOP, .issuer = &weak_ca }, NULL,
		    { 2, 1, 0, OF_WEAK, 0 }, DANE_MISMATCH, 0 },
		{ "intermediate that is no authority",
		    { HOP, .issuer = &hidden }, &hidden, { 2, 1, 0, OF_CA, 0 },
		    DANE_MISMATCH, 0 },
		{ "nor is it, whole", { HOP, .issuer = &hidden }, &hidden,
		    { 2, 0, 0, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "an authority has to be one", { HOP, .issuer = &hidden },
		    &hidden, { 2, 1, 1, OF_HIDDEN, 0 }, DANE_MISMATCH, 0 },
		{ "SHA-1, by a key not sent",
		    { HOP, .issuer = &ca, .digest = GNUTLS_DIG_SHA1 }, NULL,
		    { 2, 1, 0, OF_CA, 0 }, DANE_MISMATCH, 0 },
		{ "an end entity is no authority", { HOP }, NULL,
		    { 2, 0, 1, OF_LEAF, 0 }, DANE_MISMATCH, 0 },
		{ "not even whole", { HOP }, NULL, { 2, 0, 0, OF_LEAF, 0 },
		    DANE_MISMATCH, 0 },
		{ "nor by its key", { HOP }, NULL, { 2, 1, 0, OF_LEAF, 0 },
		    DANE_MISMATCH, 0 },
		{ "rubbish for a certificate", good, &ca,
		    { 2, 0, 0, OF_RUBBISH, 0 }, DANE_MISMATCH, 0 },
		{ "rubbish for a key", good, &ca, { 2, 1, 0, OF_RUBBISH, 0 },
		    DANE_MISMATCH, 0 },
		{ "a certificate cut short", good, NULL, { 2, 0, 0, OF_CA, 1 },
		    DANE_MISMATCH, 0 },
	};

	(void)state;
	CHECK_ROWS(rows);
}

static void
unusable(void **state)
{
	const struct recipe good = { HOP, .issuer = &ca };
	const struct row rows[] = {
		{ "PKIX-TA", good, &ca, { 0, 1, 1, OF_CA, 0 }, DANE_NONE, 0 },
		{ "PKIX-EE", good, NULL, { 1, 1, 1, OF_LEAF, 0 }, DANE_NONE,
		    0 },
		{ "usage 4", good, NULL, { 4, 1, 1, OF_LEAF, 0 }, DANE_NONE,
		    0 },
		{ "PrivCert", good, NULL, { 255, 1, 1, OF_LEAF, 0 }, DANE_NONE,
		    0 },
		{ "selector 2", good, NULL, { 3, 2, 1, OF_LEAF, 0 }, DANE_NONE,
		    0 },
		{ "matching type 3", good, NULL, { 3, 1, 3, OF_LEAF, 0 },
		    DANE_NONE, 0 },
		{ "SHA-256 of 31 octets", good, NULL, { 3, 1, 1, OF_LEAF, 1 },
		    DANE_NONE, 0 },
		{ "SHA-256 of none", good, NULL, { 3, 1, 1, OF_LEAF, 32 },
		    DANE_NONE, 0 },
		{ "SHA-512 of 63 octets", good, NULL, { 3, 1, 2, OF_LEAF, 1 },
		    DANE_NONE, 0 },
		{ "SHA-512 of 32 octets", good, NULL, { 3, 1, 2, OF_LEAF, 32 },
		    DANE_NONE, 0 },
	};

	(void)state;
	CHECK_ROWS(rows);
}

/* --- several ------------------------------------------------------------ */

static void
several_records(void **state)
{
	const struct {
		const char *name;
		struct wanted wanted[3];
		size_t count;
		enum dane_state expected;
	} rows[] = {
		{ "none", { { 0 } }, 0, DANE_NONE },
		{ "one of them matches",
		    { { 3, 1, 1, OF_STRANGER, 0 }, { 3, 1, 1, OF_LEAF, 0 } }, 2,
		    DANE_GOOD },
		{ "none of them matches",
		    { { 3, 1, 1, OF_STRANGER, 0 }, { 2, 1, 1, OF_WEAK, 0 } }, 2,
		    DANE_MISMATCH },
		{ "unusable ones do not hide one that matches",
		    { { 1, 1, 1, OF_LEAF, 0 }, { 3, 1, 1, OF_LEAF, 0 } }, 2,
		    DANE_GOOD },
		{ "an unusable one that matches does not help",
		    { { 1, 1, 1, OF_LEAF, 0 }, { 3, 1, 1, OF_CA, 0 } }, 2,
		    DANE_MISMATCH },
		{ "authority after end entity",
		    { { 3, 1, 1, OF_STRANGER, 0 }, { 2, 1, 1, OF_CA, 0 } }, 2,
		    DANE_GOOD },
		{ "SHA-512 outdoes SHA-256",
		    { { 3, 1, 1, OF_LEAF, 0 }, { 3, 1, 2, OF_STRANGER, 0 } }, 2,
		    DANE_MISMATCH },
		{ "not of another selector",
		    { { 3, 1, 1, OF_LEAF, 0 }, { 3, 0, 2, OF_STRANGER, 0 } }, 2,
		    DANE_GOOD },
		{ "not of another usage",
		    { { 3, 1, 1, OF_LEAF, 0 }, { 2, 1, 2, OF_STRANGER, 0 } }, 2,
		    DANE_GOOD },
		{ "not one of the wrong length",
		    { { 3, 1, 1, OF_LEAF, 0 }, { 3, 1, 2, OF_STRANGER, 1 } }, 2,
		    DANE_GOOD },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct connection c;
		struct reason why;
		enum dane_state got;

		connection_open(&c, &(struct recipe){ HOP, .issuer = &ca },
		    &ca);
		got = judged(&c, rows[i].wanted, rows[i].count, NOW, &why);
		if (got != rows[i].expected)
			fail_msg("%s: state %d, expected %d: %s", rows[i].name,
			    (int)got, (int)rows[i].expected, why.text);
		connection_close(&c);
	}
}

/* A caller that brings more than the bound has its rest passed over. */
static void
more_than_the_bound(void **state)
{
	struct wanted wanted[TLSA_RECORDS_MAX + 1];
	struct connection c;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < TLSA_RECORDS_MAX; i++)
		wanted[i] = (struct wanted){ 3, 1, 1, OF_STRANGER, 0 };
	wanted[TLSA_RECORDS_MAX] = (struct wanted){ 3, 1, 1, OF_LEAF, 0 };
	connection_open(&c, &(struct recipe){ HOP }, NULL);
	assert_int_equal(judged(&c, wanted, TLSA_RECORDS_MAX + 1, NOW, &why),
	    DANE_MISMATCH);
	wanted[TLSA_RECORDS_MAX - 1] = wanted[TLSA_RECORDS_MAX];
	assert_int_equal(judged(&c, wanted, TLSA_RECORDS_MAX + 1, NOW, &why),
	    DANE_GOOD);
	connection_close(&c);
}

static void
no_certificate_matches_nothing(void **state)
{
	const struct tlsa record = { 3, 1, 1,
		(const unsigned char *)"0123456789abcdef0123456789abcdef", 32 };
	struct connection c;
	struct reason why = { .code = REASON_NONE };

	(void)state;
	connection_open(&c, &(struct recipe){ HOP }, NULL);
	/* The server asked its client for none. */
	assert_int_equal(
	    tls_session_dane(c.ends.server, &record, 1, names, NOW, &why),
	    DANE_MISMATCH);
	assert_int_equal(why.code, REASON_CERT_MISSING);
	connection_close(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(end_entity),
		cmocka_unit_test(authority),
		cmocka_unit_test(unusable),
		cmocka_unit_test(several_records),
		cmocka_unit_test(more_than_the_bound),
		cmocka_unit_test(no_certificate_matches_nothing),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
