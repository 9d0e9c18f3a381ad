/*
 * t/unit/pki_cert.c: questions about one certificate, hostile ones included.
 */
#include "tls_fixture.h"

#include "../../pki/cert.h"

static struct made ca;

static int
setup(void **state)
{
	(void)state;
	make(&ca, &(struct recipe){ .cn = "CA", .ca = true });
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unmake(&ca);
	return 0;
}

/* GeneralName tags, RFC 5280, appendix A.2. */
enum { EMAIL = 0x81, DNS = 0x82, URI = 0x86, ADDRESS = 0x87 };

/* A certificate with one SAN of these octets, as no honest library makes it;
 * NULL if it cannot even be read. */
static gnutls_x509_crt_t
with_san(unsigned char tag, const void *octets, size_t len)
{
	unsigned char der_san[128] = { 0x30, (unsigned char)(len + 2), tag,
		(unsigned char)len };
	struct made m;
	gnutls_x509_crt_t crt, again;
	gnutls_datum_t der;

	make(&m, &(struct recipe){ .cn = "x", .issuer = &ca });
	OK(gnutls_x509_crt_init(&crt));
	OK(gnutls_x509_crt_set_version(crt, 3));
	OK(gnutls_x509_crt_set_serial(crt, "\1", 1));
	OK(gnutls_x509_crt_set_activation_time(crt, NOW));
	OK(gnutls_x509_crt_set_expiration_time(crt, NOW + DAY));
	OK(gnutls_x509_crt_set_key(crt, m.key));
	assert_true(len < sizeof(der_san) - 4);
	memcpy(der_san + 4, octets, len);
	OK(gnutls_x509_crt_set_extension_by_oid(crt, "2.5.29.17", der_san,
	    len + 4, 0));
	OK(gnutls_x509_crt_sign2(crt, ca.crt, ca.key, GNUTLS_DIG_SHA256, 0));
	OK(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der));
	OK(gnutls_x509_crt_init(&again));
	if (gnutls_x509_crt_import(again, &der, GNUTLS_X509_FMT_DER) < 0) {
		gnutls_x509_crt_deinit(again);
		again = NULL;
	}
	gnutls_free(der.data);
	gnutls_x509_crt_deinit(crt);
	unmake(&m);
	return again;
}

static void
names(void **state)
{
#define OCTETS(s) (s), sizeof(s) - 1
	static const struct {
		unsigned char type;
		const char *octets;
		size_t len;
		const char *expected; /* NULL: no names */
	} rows[] = {
		{ DNS, OCTETS("Mail.Example.ORG"), "dns:mail.example.org" },
		{ DNS, OCTETS("mail.example.org."), "dns:mail.example.org" },
		{ DNS, OCTETS("*.example.org"), "dns:*.example.org" },
		{ DNS, OCTETS("good.example\0.evil.example"), NULL },
		{ DNS, OCTETS("a b.example"), NULL },
		{ DNS, OCTETS("a\nb.example"), NULL },
		{ DNS, OCTETS("b\xc3\xbc.example"), NULL },
		{ DNS, OCTETS(""), NULL },
		{ DNS, OCTETS("."), NULL },
		{ EMAIL, OCTETS("Joe@Example.org"), "email:Joe@example.org" },
		{ EMAIL, OCTETS("example.org"), NULL },
		{ ADDRESS, OCTETS("\xc0\x00\x02\x01"), "ip:192.0.2.1" },
		{ ADDRESS, OCTETS("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
		    "ip:2001:db8::1" },
		{ ADDRESS, OCTETS("\xc0\x00\x02"), NULL },
		{ URI, OCTETS("https://mail.example.org"), NULL },
	};
#undef OCTETS

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		gnutls_x509_crt_t crt =
		    with_san(rows[i].type, rows[i].octets, rows[i].len);
		struct reason why = { 0 };
		char *got = NULL;
		size_t len = 0;

		if (crt != NULL && !cert_names(crt, &got, &len, &why))
			fail_msg("row %zu: %s", i, why.text);
		if (rows[i].expected == NULL) {
			if (got != NULL)
				fail_msg("row %zu: got %s", i, got);
			assert_int_equal(len, 0);
		} else {
			assert_non_null(got);
			assert_string_equal(got, rows[i].expected);
			assert_int_equal(len, strlen(rows[i].expected) + 1);
		}
		free(got);
		if (crt != NULL)
			gnutls_x509_crt_deinit(crt);
	}
}

static void
common_name_is_no_name(void **state)
{
	struct made m;
	struct reason why;
	char *got = NULL;
	size_t len;

	(void)state;
	make(&m, &(struct recipe){ .cn = "mail.example.org", .issuer = &ca });
	assert_true(cert_names(m.crt, &got, &len, &why));
	assert_null(got);
	unmake(&m);
}

static void
purposes(void **state)
{
	static const struct {
		enum eku eku;
		enum purpose_state server, client;
	} rows[] = {
		{ EKU_NONE, PURPOSE_NONE, PURPOSE_NONE },
		{ EKU_SERVER, PURPOSE_YES, PURPOSE_OTHER },
		{ EKU_CLIENT, PURPOSE_OTHER, PURPOSE_YES },
		{ EKU_BOTH, PURPOSE_YES, PURPOSE_YES },
		{ EKU_OTHER, PURPOSE_OTHER, PURPOSE_OTHER },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct made m;

		make(&m, &(struct recipe){ .cn = "x",
			     .issuer = &ca,
			     .eku = rows[i].eku });
		assert_int_equal(cert_purpose(m.crt, CERT_FOR_SERVER),
		    rows[i].server);
		assert_int_equal(cert_purpose(m.crt, CERT_FOR_CLIENT),
		    rows[i].client);
		unmake(&m);
	}
}

static void
key_and_certificate_have_one_spki(void **state)
{
	static const gnutls_pk_algorithm_t kinds[] = { GNUTLS_PK_ECDSA,
		GNUTLS_PK_RSA, GNUTLS_PK_EDDSA_ED25519 };

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		unsigned char a[SPKI_OCTETS], b[SPKI_OCTETS];
		struct made m;
		struct reason why;

		make(&m, &(struct recipe){ .cn = "x",
			     .issuer = &ca,
			     .pk = kinds[i] });
		assert_true(cert_spki(m.crt, a, &why));
		assert_true(cert_key_spki(&m.key_pem, b, &why));
		assert_memory_equal(a, b, SPKI_OCTETS);
		assert_true(cert_matches_key(&m.pem, &m.key_pem, &why));
		assert_false(cert_matches_key(&m.pem, &ca.key_pem, &why));
		assert_int_equal(why.code, REASON_CERT_BAD);
		assert_false(cert_key_spki(&m.pem, a, &why));
		assert_int_equal(why.code, REASON_SYNTAX);
		unmake(&m);
	}
}

/* count copies of the authority's certificate. */
static gnutls_datum_t
copies(unsigned count)
{
	gnutls_datum_t pem = { .size = count * ca.pem.size };

	pem.data = malloc(pem.size);
	assert_non_null(pem.data);
	for (unsigned i = 0; i < count; i++)
		memcpy(pem.data + i * ca.pem.size, ca.pem.data, ca.pem.size);
	return pem;
}

static void
chains_are_bounded(void **state)
{
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem = copies(CERT_CHAIN_MAX);
	struct reason why;
	unsigned count;

	(void)state;
	assert_true(cert_chain_parse(&pem, &chain, &count, &why));
	assert_int_equal(count, CERT_CHAIN_MAX);
	cert_chain_free(chain, count);
	free(pem.data);
	pem = copies(CERT_CHAIN_MAX + 1);
	assert_false(cert_chain_parse(&pem, &chain, &count, &why));
	assert_int_equal(why.code, REASON_CERT_BAD);
	free(pem.data);
	pem = (gnutls_datum_t){ (unsigned char *)"nothing", 7 };
	assert_false(cert_chain_parse(&pem, &chain, &count, &why));
	pem.size = 0;
	assert_false(cert_chain_parse(&pem, &chain, &count, &why));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(common_name_is_no_name),
		cmocka_unit_test(purposes),
		cmocka_unit_test(key_and_certificate_have_one_spki),
		cmocka_unit_test(chains_are_bounded),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
