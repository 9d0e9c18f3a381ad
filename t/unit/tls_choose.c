/*
 * t/unit/tls_choose.c: of several certificates each client gets one that it
 * asked for and can verify; and what is stapled to it.
 */
#include "tls_fixture.h"

#include <time.h>

#include "../../tls/hello.h"
#include "../../tls/peer.h"

enum { EC, RSA, WILD, WILD_RSA, ED, COUNT };

static struct made ca, made[COUNT];
static struct test_signer signers[COUNT];
static struct tls_identity *ids[COUNT];

static int
setup(void **state)
{
	static const struct recipe recipes[COUNT] = {
		[EC] = { .cn = "ec", .dns = { "mail.example.test" } },
		[RSA] = { .cn = "rsa",
		    .dns = { "other.example.test", "mail.example.test" },
		    .pk = GNUTLS_PK_RSA },
		[WILD] = { .cn = "wild", .dns = { "*.wild.test" } },
		[WILD_RSA] = { .cn = "wild-rsa",
		    .dns = { "*.wild.test" },
		    .pk = GNUTLS_PK_RSA },
		[ED] = { .cn = "ed",
		    .dns = { "ed.example.test" },
		    .pk = GNUTLS_PK_EDDSA_ED25519 },
	};

	(void)state;
	make(&ca, &(struct recipe){ .cn = "CA", .ca = true });
	for (int i = 0; i < COUNT; i++) {
		struct recipe recipe = recipes[i];

		recipe.issuer = &ca;
		recipe.eku = EKU_SERVER;
		make(&made[i], &recipe);
		ids[i] = identity_of(&made[i], CERT_FOR_SERVER, &signers[i]);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (int i = 0; i < COUNT; i++) {
		tls_identity_unref(ids[i]);
		tls_key_free(signers[i].key);
		unmake(&made[i]);
	}
	unmake(&ca);
	return 0;
}

/* --- clients that are not ours ------------------------------------------ */

#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define BOTH "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
/* Can sign as it likes, but its suites are for one kind of key. */
#define SUITES_RSA ":-KX-ALL:+ECDHE-RSA"
#define SUITES_EC ":-KX-ALL:+ECDHE-ECDSA"
#define SIGNS_RSA                                                              \
	":-SIGN-ALL:+SIGN-RSA-SHA256:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-"     \
	"SHA384"
#define SIGNS_EC ":-SIGN-ALL:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SHA256"
#define SIGNS_P384                                                             \
	":-SIGN-ALL:+SIGN-ECDSA-SECP384R1-SHA384"                              \
	":+SIGN-RSA-PSS-RSAE-SHA256"
#define SIGNS_PKCS1                                                            \
	":-SIGN-ALL:+SIGN-RSA-SHA256:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-"      \
	"ECDSA-SHA256"

/* The CN of who is shown to it, "" if there is no connection. */
static const char *
shown(struct tls_server *server, const char *priority, const char *sni)
{
	gnutls_certificate_credentials_t credentials;
	static char cn[64];
	struct tls_session *ours;
	gnutls_session_t theirs;
	gnutls_x509_crt_t crt;
	size_t size = sizeof(cn);
	struct reason why;
	int rc = GNUTLS_E_AGAIN, fd[2];
	enum tls_io io = TLS_IO_READ;

	pair(fd);
	cn[0] = '\0';
	OK(gnutls_init(&theirs,
	    GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL));
	OK(gnutls_certificate_allocate_credentials(&credentials));
	OK(gnutls_credentials_set(theirs, GNUTLS_CRD_CERTIFICATE, credentials));
	OK(gnutls_priority_set_direct(theirs, priority, NULL));
	if (sni != NULL)
		OK(gnutls_server_name_set(theirs, GNUTLS_NAME_DNS, sni,
		    strlen(sni)));
	gnutls_transport_set_int(theirs, fd[1]);
	assert_true(tls_session_accept(&ours, server, fd[0], false, &why));
	for (int i = 0; i < 50; i++) {
		if (rc == GNUTLS_E_AGAIN)
			rc = gnutls_handshake(theirs);
		if (io == TLS_IO_READ || io == TLS_IO_WRITE)
			io = tls_session_handshake(ours, &why);
	}
	if (rc == 0 && io == TLS_IO_DONE) {
		OK(gnutls_x509_crt_init(&crt));
		OK(gnutls_x509_crt_import(crt,
		    gnutls_certificate_get_peers(theirs, &(unsigned){ 0 }),
		    GNUTLS_X509_FMT_DER));
		OK(gnutls_x509_crt_get_dn_by_oid(crt,
		    GNUTLS_OID_X520_COMMON_NAME, 0, 0, cn, &size));
		gnutls_x509_crt_deinit(crt);
	}
	gnutls_deinit(theirs);
	gnutls_certificate_free_credentials(credentials);
	tls_session_free(ours);
	close(fd[0]);
	close(fd[1]);
	return cn;
}

struct row {
	const char *priority, *sni, *expected;
};

static void
try_rows(struct tls_identity *const *list, size_t count, const struct row *rows,
    size_t row_count)
{
	struct tls_server *server = server_of(list, count, NULL, 12);

	for (size_t i = 0; i < row_count; i++) {
		const char *got = shown(server, rows[i].priority, rows[i].sni);

		if (strcmp(got, rows[i].expected) != 0)
			fail_msg("%s as %s: \"%s\", expected \"%s\"",
			    rows[i].priority, rows[i].sni, got,
			    rows[i].expected);
	}
	tls_server_unref(server);
}

/* Of the same names: each its own, and who can do both the cheaper one. */
static const struct row rows[] = {
	{ BOTH, "mail.example.test", "ec" },
	{ TLS13, "mail.example.test", "ec" },
	{ TLS12, "mail.example.test", "ec" },
	{ TLS13 SIGNS_RSA, "mail.example.test", "rsa" },
	{ TLS12 SIGNS_RSA, "mail.example.test", "rsa" },
	{ TLS13 SIGNS_EC, "mail.example.test", "ec" },
	{ TLS12 SUITES_RSA, "mail.example.test", "rsa" },
	{ TLS12 SUITES_EC, "mail.example.test", "ec" },
	{ BOTH SUITES_RSA, "mail.example.test", "ec" },
	/* Its ECDSA is for another curve; TLS 1.2 does not look at that. */
	{ TLS13 SIGNS_P384, "mail.example.test", "rsa" },
	/* PKCS #1 signs nothing under TLS 1.3. */
	{ TLS13 SIGNS_PKCS1, "mail.example.test", "ec" },
	{ TLS12 SIGNS_PKCS1, "mail.example.test", "ec" },
	{ TLS12 SIGNS_PKCS1 SUITES_RSA, "mail.example.test", "rsa" },
	{ TLS13 SIGNS_RSA, "a.wild.test", "wild-rsa" },
	{ TLS13, "a.wild.test", "wild" },
	{ TLS13, "a.b.wild.test", "ec" },
	/* Without a name, or for one that nobody has. */
	{ TLS13, NULL, "ec" },
	{ TLS13 SIGNS_RSA, NULL, "rsa" },
	{ TLS12 SUITES_RSA, "unknown.test", "rsa" },
	{ TLS13, "other.example.test", "rsa" },
	{ TLS13 SIGNS_EC, "other.example.test", "" },
	{ TLS13 SIGNS_RSA, "ed.example.test", "" },
	{ TLS13, "ed.example.test", "ed" },
	{ TLS12, "ed.example.test", "ed" },
};

static void
each_gets_what_it_can_verify(void **state)
{
	(void)state;
	try_rows(ids, COUNT, rows, sizeof(rows) / sizeof(rows[0]));
}

/* RSA is the default then, but not for those who can do better. */
static void
order_of_kinds_does_not_matter(void **state)
{
	struct tls_identity *turned[] = { ids[RSA], ids[EC] };
	static const struct row some[] = {
		{ TLS13, "mail.example.test", "ec" },
		{ TLS12 SUITES_RSA, "mail.example.test", "rsa" },
		{ TLS13, NULL, "rsa" },
		{ TLS13, "unknown.test", "rsa" },
	};

	(void)state;
	try_rows(turned, 2, some, sizeof(some) / sizeof(some[0]));
}

/* What the trial of a configuration uses. */
static void
our_client_can_be_restricted(void **state)
{
	static const struct {
		gnutls_pk_algorithm_t pk;
		unsigned only;
		int expected;
	} cases[] = {
		{ GNUTLS_PK_UNKNOWN, 0, EC },
		{ GNUTLS_PK_UNKNOWN, 12, EC },
		{ GNUTLS_PK_ECDSA, 12, EC },
		{ GNUTLS_PK_ECDSA, 13, EC },
		{ GNUTLS_PK_RSA, 12, RSA },
		{ GNUTLS_PK_RSA, 13, RSA },
		{ GNUTLS_PK_RSA, 0, RSA },
	};
	struct tls_server *server = server_of(ids, COUNT, NULL, 12);
	struct facts facts;
	struct ends e;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ends_open(&e, server, false,
		    &(struct tls_connect_options){ .sni = "mail.example.test",
			.pk = cases[i].pk,
			.only = cases[i].only });
		assert_connected(&e);
		tls_session_facts(e.client, CERT_FOR_SERVER, &facts);
		assert_memory_equal(facts.spki,
		    tls_identity_spki(ids[cases[i].expected]), SPKI_OCTETS);
		if (cases[i].only != 0)
			assert_int_equal(facts.version, cases[i].only);
		ends_close(&e);
	}
	ends_open(&e, server, false,
	    &(struct tls_connect_options){ .sni = "ed.example.test",
		.pk = GNUTLS_PK_EDDSA_ED25519,
		.only = 12 });
	assert_connected(&e);
	ends_close(&e);
	tls_server_unref(server);
}

/* --- staples -------------------------------------------------------------- */

static void
staples_go_with_their_certificate(void **state)
{
	/* What it says is the master's business: any octets will do here. */
	struct tls_staple staples[COUNT] = {
		[EC] = { { (unsigned char *)"of ec", 5 }, time(NULL) + DAY },
		[WILD] = { { (unsigned char *)"over", 4 }, time(NULL) - 1 },
	};
	static const struct {
		const char *sni;
		gnutls_pk_algorithm_t pk;
		const char *expected;
	} cases[] = {
		{ "mail.example.test", GNUTLS_PK_UNKNOWN, "of ec" },
		{ "mail.example.test", GNUTLS_PK_RSA, NULL },
		{ "a.wild.test", GNUTLS_PK_UNKNOWN, NULL },
	};
	struct tls_server_options options = { .identities = ids,
		.identity_count = COUNT,
		.staples = staples,
		.min = 12 };
	struct tls_server *server;
	struct reason why;
	struct ends e;

	(void)state;
	assert_true(tls_server_new(&server, &options, &why));
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		size_t row = i / 2;
		gnutls_datum_t got = { NULL, 0 };

		ends_open(&e, server, false,
		    &(struct tls_connect_options){ .sni = cases[row].sni,
			.pk = cases[row].pk,
			.only = i % 2 == 0 ? 12 : 13 });
		assert_connected(&e);
		assert_int_equal(tls_session_staple(e.client, &got),
		    cases[row].expected != NULL);
		if (cases[row].expected != NULL) {
			assert_int_equal(got.size, strlen(cases[row].expected));
			assert_memory_equal(got.data, cases[row].expected,
			    got.size);
		}
		ends_close(&e);
	}
	tls_server_unref(server);
}

/* --- a ClientHello's suites ------------------------------------------------
 */

static void
suites_of_a_hello(void **state)
{
	unsigned char hello[64] = { 3, 3, [34] = 2, 0xaa, 0xbb, 0, 6, 0x13,
		0x01, 0xc0, 0x2f, 0xcc, 0xa9 };
	gnutls_datum_t datum = { hello, 45 };

	(void)state;
	assert_int_equal(tls_hello_keys(&datum), TLS_KEYS_ECDSA | TLS_KEYS_RSA);
	hello[44] = 0xa8;
	assert_int_equal(tls_hello_keys(&datum), TLS_KEYS_RSA);
	for (datum.size = 0; datum.size < 45; datum.size++)
		assert_int_equal(tls_hello_keys(&datum), 0);
	datum.size = 45;
	hello[38] = 5; /* an odd length */
	assert_int_equal(tls_hello_keys(&datum), 0);
	hello[38] = 6;
	hello[34] = 255; /* a session's id beyond the end */
	assert_int_equal(tls_hello_keys(&datum), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_gets_what_it_can_verify),
		cmocka_unit_test(order_of_kinds_does_not_matter),
		cmocka_unit_test(our_client_can_be_restricted),
		cmocka_unit_test(staples_go_with_their_certificate),
		cmocka_unit_test(suites_of_a_hello),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
