/*
 * t/unit/tls_verify.c: how presented chains fare against trust anchors.
 */
#include "tls_fixture.h"

static struct made ca, sub, sub_expired, stranger, weak_ca;

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
	return 0;
}

/* What is presented: the end entity and, if given, one issuer. */
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

static struct tls_anchors *
anchors_of(const gnutls_datum_t *pem, const gnutls_datum_t *crl)
{
	struct tls_anchors *anchors;
	struct reason why = { 0 };

	if (!tls_anchors_new(&anchors, pem, crl, &why))
		fail_msg("%s", why.text);
	return anchors;
}

/* The client's view of a server that presents leaf (used up). */
static enum chain_state
verified(struct made *leaf, const gnutls_datum_t *anchors_pem,
    const gnutls_datum_t *crl, time_t now, struct facts *facts_out)
{
	struct test_signer signer;
	struct tls_identity *identity =
	    identity_of(leaf, CERT_FOR_SERVER, &signer);
	struct tls_server *server = server_of(&identity, 1, NULL, 12);
	struct tls_anchors *anchors = anchors_of(anchors_pem, crl);
	enum chain_state state;
	struct facts facts;
	struct ends e;

	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	tls_session_facts(e.client, CERT_FOR_SERVER,
	    facts_out ? facts_out : &facts);
	state = tls_session_verify(e.client, anchors, now);
	/* Nothing is kept that a second question would change. */
	assert_int_equal(tls_session_verify(e.client, anchors, now), state);
	if (facts_out != NULL)
		facts_out->names = NULL; /* goes with the session */
	ends_close(&e);
	tls_anchors_free(anchors);
	tls_server_unref(server);
	tls_identity_unref(identity);
	tls_key_free(signer.key);
	unmake(leaf);
	return state;
}

static void
chains(void **state)
{
	const struct {
		const char *name;
		struct recipe recipe;
		const struct made *sent_along, *anchor;
		time_t now;
		enum chain_state expected;
	} rows[] = {
		{ "good", { .cn = "x", .issuer = &ca }, NULL, &ca, NOW,
		    CHAIN_GOOD },
		{ "good, with its root", { .cn = "x", .issuer = &ca }, &ca, &ca,
		    NOW, CHAIN_GOOD },
		{ "good by an intermediate", { .cn = "x", .issuer = &sub },
		    &sub, &ca, NOW, CHAIN_GOOD },
		{ "intermediate missing", { .cn = "x", .issuer = &sub }, NULL,
		    &ca, NOW, CHAIN_UNTRUSTED },
		{ "intermediate as the anchor", { .cn = "x", .issuer = &sub },
		    NULL, &sub, NOW, CHAIN_GOOD },
		{ "intermediate expired", { .cn = "x", .issuer = &sub_expired },
		    &sub_expired, &ca, NOW, CHAIN_EXPIRED },
		{ "expired a second ago", { .cn = "x", .issuer = &ca }, NULL,
		    &ca, NOW + 30 * DAY + 1, CHAIN_EXPIRED },
		{ "in its last second", { .cn = "x", .issuer = &ca }, NULL, &ca,
		    NOW + 30 * DAY, CHAIN_GOOD },
		{ "expired",
		    { .cn = "x",
			.issuer = &ca,
			.from = NOW - 20 * DAY,
			.until = NOW - 10 * DAY },
		    NULL, &ca, NOW, CHAIN_EXPIRED },
		{ "not yet valid",
		    { .cn = "x",
			.issuer = &ca,
			.from = NOW + DAY,
			.until = NOW + 2 * DAY },
		    NULL, &ca, NOW, CHAIN_NOT_YET_VALID },
		{ "another root", { .cn = "x", .issuer = &stranger }, NULL, &ca,
		    NOW, CHAIN_UNTRUSTED },
		{ "another root, sent along",
		    { .cn = "x", .issuer = &stranger }, &stranger, &ca, NOW,
		    CHAIN_UNTRUSTED },
		{ "expired and of another root",
		    { .cn = "x",
			.issuer = &stranger,
			.from = NOW - 9 * DAY,
			.until = NOW - DAY },
		    NULL, &ca, NOW, CHAIN_UNTRUSTED },
		{ "self-signed", { .cn = "x" }, NULL, &ca, NOW,
		    CHAIN_SELF_SIGNED },
		{ "root of 1024 bits", { .cn = "x", .issuer = &weak_ca }, NULL,
		    &weak_ca, NOW, CHAIN_WEAK },
		{ "SHA-1",
		    { .cn = "x", .issuer = &ca, .digest = GNUTLS_DIG_SHA1 },
		    NULL, &ca, NOW, CHAIN_WEAK },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made leaf;
		enum chain_state got;

		make(&leaf, &rows[i].recipe);
		present(&leaf, rows[i].sent_along);
		got = verified(&leaf, &rows[i].anchor->pem, NULL, rows[i].now,
		    NULL);
		if (got != rows[i].expected)
			fail_msg("%s: state %d, expected %d", rows[i].name,
			    (int)got, (int)rows[i].expected);
	}
}

/* The end entity itself as an anchor has dates too. */
static void
end_entity_as_anchor(void **state)
{
	static const struct {
		time_t now;
		enum chain_state expected;
	} rows[] = {
		{ NOW, CHAIN_GOOD },
		{ NOW + 31 * DAY, CHAIN_EXPIRED },
		{ NOW - 2 * DAY, CHAIN_NOT_YET_VALID },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made leaf;
		gnutls_datum_t anchor;

		make(&leaf, &(struct recipe){ .cn = "x", .issuer = &ca });
		anchor.size = leaf.pem.size;
		anchor.data = malloc(anchor.size);
		assert_non_null(anchor.data);
		memcpy(anchor.data, leaf.pem.data, anchor.size);
		assert_int_equal(
		    verified(&leaf, &anchor, NULL, rows[i].now, NULL),
		    rows[i].expected);
		free(anchor.data);
	}
}

static void
purposes_are_read_from_the_eku(void **state)
{
	static const struct {
		enum eku eku;
		enum purpose_state expected;
	} rows[] = {
		{ EKU_SERVER, PURPOSE_YES },
		{ EKU_BOTH, PURPOSE_YES },
		{ EKU_CLIENT, PURPOSE_OTHER },
		{ EKU_OTHER, PURPOSE_OTHER },
		{ EKU_NONE, PURPOSE_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made leaf;
		struct facts facts;

		make(&leaf, &(struct recipe){ .cn = "x",
				.issuer = &ca,
				.eku = rows[i].eku });
		/* The chain is good either way: purpose is another fact. */
		assert_int_equal(verified(&leaf, &ca.pem, NULL, NOW, &facts),
		    CHAIN_GOOD);
		assert_int_equal(facts.purpose, rows[i].expected);
	}
}

/* --- authorities --------------------------------------------------------- */

static gnutls_datum_t
two(const gnutls_datum_t *a, const gnutls_datum_t *b)
{
	gnutls_datum_t both = { gnutls_malloc(a->size + b->size),
		a->size + b->size };

	assert_non_null(both.data);
	memcpy(both.data, a->data, a->size);
	memcpy(both.data + a->size, b->data, b->size);
	return both;
}

/* Of a server that presents leaf (used up), to a client with these anchors. */
static enum chain_state
vouched(struct made *leaf, const gnutls_datum_t *anchors_pem, time_t now,
    unsigned char out[static TLS_CHAIN_MAX][SPKI_OCTETS], size_t *count_out)
{
	struct test_signer signer;
	struct tls_identity *identity =
	    identity_of(leaf, CERT_FOR_SERVER, &signer);
	struct tls_server *server = server_of(&identity, 1, NULL, 12);
	struct tls_anchors *anchors = anchors_of(anchors_pem, NULL);
	enum chain_state state;
	struct ends e;

	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	state = tls_session_authorities(e.client, anchors, now, out, count_out);
	ends_close(&e);
	tls_anchors_free(anchors);
	tls_server_unref(server);
	tls_identity_unref(identity);
	tls_key_free(signer.key);
	unmake(leaf);
	return state;
}

static void
authorities_are_those_of_the_path(void **state)
{
	struct made twin; /* another CA by the same name */
	const struct {
		const char *name;
		const struct made *issuer, *sent_along, *anchor, *anchor_too;
		time_t now;
		const struct made *expected[3];
	} rows[] = {
		{ "the anchor itself", &ca, NULL, &ca, NULL, NOW, { &ca } },
		{ "an intermediate and the anchor", &sub, &sub, &ca, NULL, NOW,
		    { &sub, &ca } },
		{ "an intermediate that is an anchor", &sub, NULL, &sub, NULL,
		    NOW, { &sub } },
		{ "with the root sent along", &ca, &ca, &ca, NULL, NOW,
		    { &ca } },
		{ "with another anchor", &ca, NULL, &stranger, &ca, NOW,
		    { &ca } },
		{ "not another of the same name", &ca, NULL, &ca, &twin,
		    NOW, { &ca } },
		{ "no anchor", &ca, &ca, &stranger, NULL, NOW, { NULL } },
		{ "an anchor of that name alone", &ca, NULL, &twin, NULL, NOW,
		    { NULL } },
		{ "no path", &sub, NULL, &ca, NULL, NOW, { NULL } },
		{ "expired", &ca, NULL, &ca, NULL, NOW + 31 * DAY, { NULL } },
	};

	(void)state;
	make(&twin, &(struct recipe){ .cn = "CA", .ca = true });
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char spki[TLS_CHAIN_MAX][SPKI_OCTETS],
		    one[SPKI_OCTETS];
		gnutls_datum_t pem = rows[i].anchor->pem, both = { NULL, 0 };
		enum chain_state got;
		size_t count = 99, k;
		struct made leaf;

		if (rows[i].anchor_too != NULL)
			pem = both = two(&pem, &rows[i].anchor_too->pem);
		make(&leaf,
		    &(struct recipe){ .cn = "x", .issuer = rows[i].issuer });
		present(&leaf, rows[i].sent_along);
		got = vouched(&leaf, &pem, rows[i].now, spki, &count);
		for (k = 0; rows[i].expected[k] != NULL; k++) {
			if (k >= count)
				break;
			assert_true(
			    cert_spki(rows[i].expected[k]->crt, one, NULL));
			if (memcmp(spki[k], one, SPKI_OCTETS) != 0)
				fail_msg("%s: another key", rows[i].name);
		}
		if (k != count || rows[i].expected[k] != NULL ||
		    (got == CHAIN_GOOD) != (k > 0))
			fail_msg("%s: %zu authorities, state %d", rows[i].name,
			    count, (int)got);
		gnutls_free(both.data);
	}
	unmake(&twin);
}

static void
no_certificate_is_unchecked(void **state)
{
	struct made leaf;
	struct test_signer signer;
	struct tls_identity *identity;
	struct tls_server *server;
	struct tls_anchors *anchors = anchors_of(&ca.pem, NULL);
	struct ends e;

	(void)state;
	make(&leaf, &(struct recipe){ .cn = "x", .issuer = &ca });
	identity = identity_of(&leaf, CERT_FOR_SERVER, &signer);
	server = server_of(&identity, 1, NULL, 12);
	ends_open(&e, server, true, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	assert_int_equal(tls_session_verify(e.server, anchors, NOW),
	    CHAIN_UNCHECKED);
	ends_close(&e);
	tls_anchors_free(anchors);
	tls_server_unref(server);
	tls_identity_unref(identity);
	tls_key_free(signer.key);
	unmake(&leaf);
}

/* --- revocation -------------------------------------------------------- */

static gnutls_datum_t
crl_of(const struct made *issuer, unsigned char revoked, time_t from,
    time_t until)
{
	unsigned char serial[2] = { 0x40, revoked };
	unsigned char number[1] = { 1 };
	gnutls_datum_t pem;
	gnutls_x509_crl_t crl;

	OK(gnutls_x509_crl_init(&crl));
	OK(gnutls_x509_crl_set_version(crl, 2));
	OK(gnutls_x509_crl_set_this_update(crl, from));
	OK(gnutls_x509_crl_set_next_update(crl, until));
	OK(gnutls_x509_crl_set_number(crl, number, sizeof(number)));
	if (revoked != 0)
		OK(gnutls_x509_crl_set_crt_serial(crl, serial, sizeof(serial),
		    NOW - DAY));
	OK(gnutls_x509_crl_sign2(crl, issuer->crt, issuer->key,
	    GNUTLS_DIG_SHA256, 0));
	OK(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem));
	gnutls_x509_crl_deinit(crl);
	return pem;
}

static void
revocation(void **state)
{
	const struct {
		const char *name;
		const struct made *crl_issuer;
		unsigned char revoked;
		time_t from, until;
		enum chain_state expected;
	} rows[] = {
		{ "not on the list", &ca, 5, NOW - DAY, NOW + DAY, CHAIN_GOOD },
		{ "on the list", &ca, 9, NOW - DAY, NOW + DAY, CHAIN_REVOKED },
		{ "stale list", &ca, 5, NOW - 2 * DAY, NOW - 1,
		    CHAIN_REVOCATION_UNKNOWN },
		{ "on a stale list", &ca, 9, NOW - 2 * DAY, NOW - 1,
		    CHAIN_REVOKED },
		{ "list of tomorrow", &ca, 5, NOW + DAY, NOW + 2 * DAY,
		    CHAIN_REVOCATION_UNKNOWN },
		{ "list of somebody else", &stranger, 9, NOW - DAY, NOW + DAY,
		    CHAIN_REVOCATION_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made leaf;
		enum chain_state got;
		gnutls_datum_t crl = crl_of(rows[i].crl_issuer, rows[i].revoked,
		    rows[i].from, rows[i].until);

		make(&leaf,
		    &(struct recipe){ .cn = "x", .issuer = &ca, .serial = 9 });
		got = verified(&leaf, &ca.pem, &crl, NOW, NULL);
		if (got != rows[i].expected)
			fail_msg("%s: state %d, expected %d", rows[i].name,
			    (int)got, (int)rows[i].expected);
		gnutls_free(crl.data);
	}
}

/* Two authorities are trusted, one of them tells whom it has revoked. */
static void
crl_of_one_authority_says_nothing_of_another(void **state)
{
	gnutls_datum_t crl = crl_of(&ca, 9, NOW - DAY, NOW + DAY);
	gnutls_datum_t both = { malloc(ca.pem.size + stranger.pem.size),
		ca.pem.size + stranger.pem.size };
	struct made leaf;

	(void)state;
	assert_non_null(both.data);
	memcpy(both.data, ca.pem.data, ca.pem.size);
	memcpy(both.data + ca.pem.size, stranger.pem.data, stranger.pem.size);
	make(&leaf, &(struct recipe){ .cn = "x", .issuer = &ca, .serial = 5 });
	assert_int_equal(verified(&leaf, &both, &crl, NOW, NULL), CHAIN_GOOD);
	make(&leaf,
	    &(struct recipe){ .cn = "x", .issuer = &stranger, .serial = 5 });
	assert_int_equal(verified(&leaf, &both, &crl, NOW, NULL),
	    CHAIN_REVOCATION_UNKNOWN);
	free(both.data);
	gnutls_free(crl.data);
}

static void
unreadable_crl_is_never_good(void **state)
{
	static const char *const texts[] = { "", "rubbish",
		"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		gnutls_datum_t crl = { (unsigned char *)texts[i],
			(unsigned)strlen(texts[i]) };
		struct made leaf;

		make(&leaf, &(struct recipe){ .cn = "x", .issuer = &ca });
		assert_int_equal(verified(&leaf, &ca.pem, &crl, NOW, NULL),
		    CHAIN_REVOCATION_UNKNOWN);
	}
}

static void
bad_anchors_are_refused(void **state)
{
	static const char torn[] = "-----BEGIN CERTIFICATE-----\nMIIB\n"
				   "-----END CERTIFICATE-----\n";
	const char *const texts[] = { "", "rubbish", torn };
	struct tls_anchors *anchors;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		gnutls_datum_t pem = { (unsigned char *)texts[i],
			(unsigned)strlen(texts[i]) };

		assert_false(tls_anchors_new(&anchors, &pem, NULL, &why));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains),
		cmocka_unit_test(end_entity_as_anchor),
		cmocka_unit_test(purposes_are_read_from_the_eku),
		cmocka_unit_test(authorities_are_those_of_the_path),
		cmocka_unit_test(no_certificate_is_unchecked),
		cmocka_unit_test(revocation),
		cmocka_unit_test(crl_of_one_authority_says_nothing_of_another),
		cmocka_unit_test(unreadable_crl_is_never_good),
		cmocka_unit_test(bad_anchors_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
