/*
 * t/unit/pki_pem.c: what is said of a file that is not what it should be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../pki/pem.h"

#include <cmocka.h>

#define CRT_BEGIN "-----BEGIN CERTIFICATE-----\n"
#define CRT_END "-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

struct row {
	const char *name;
	const char *octets;
	size_t len; /* 0: a string */
	enum pem_kind wanted;
	const char *said;
};

static const struct row rows[] = {
	{ "empty", "", 0, PEM_CERTIFICATE, "the file is empty" },
	{ "blank", " \r\n\n", 0, PEM_KEY, "the file is empty" },
	{ "text", "hello\n", 0, PEM_CERTIFICATE, "it is none" },
	{ "base64 alone", "AAAA\n", 0, PEM_CERTIFICATE, "it is none" },
	{ "no beginning", "AAAA\n" CRT_END, 0, PEM_CERTIFICATE,
	    "its beginning is missing" },
	{ "cut in the middle", "x\n" CRT_BEGIN "AAAA\nAA", 0, PEM_CERTIFICATE,
	    "the CERTIFICATE that begins in line 2 has no line" },
	{ "the second is cut", CRT_BEGIN "AAAA\n" CRT_END CRT_BEGIN "AAAA", 0,
	    PEM_CERTIFICATE, "begins in line 4 has no line" },
	{ "another begins before the end", CRT_BEGIN "AAAA\n" KEY, 0,
	    PEM_CERTIFICATE, "begins in line 1 has no line" },
	{ "another's end", CRT_BEGIN "AAAA\n-----END PRIVATE KEY-----\n", 0,
	    PEM_CERTIFICATE, "begins in line 1 has no line" },
	{ "no base64", CRT_BEGIN "AAAA\nA*AA\n" CRT_END, 0, PEM_CERTIFICATE,
	    "line 3 is damaged: it is no base64" },
	{ "an octet is missing", CRT_BEGIN "AAAA\nAAA\n" CRT_END, 0,
	    PEM_CERTIFICATE, "some of its base64 is missing" },
	{ "nothing between", CRT_BEGIN CRT_END, 0, PEM_CERTIFICATE,
	    "some of its base64 is missing" },
	{ "good base64 of nothing", CRT_BEGIN "AAAA\n" CRT_END, 0,
	    PEM_CERTIFICATE, "though its base64 is whole" },
	{ "lines end in CRLF",
	    "-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END "
	    "CERTIFICATE-----\r\n",
	    0, PEM_CERTIFICATE, "though its base64 is whole" },
	{ "a key for a certificate", KEY, 0, PEM_CERTIFICATE,
	    "expected certificates in PEM, but it holds a private key" },
	{ "a certificate for a key", CRT_BEGIN "AAAA\n" CRT_END, 0, PEM_KEY,
	    "expected a private key in PEM, but it holds a certificate" },
	{ "a request for a certificate",
	    "-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n"
	    "-----END NEW CERTIFICATE REQUEST-----\n",
	    0, PEM_CERTIFICATE, "it holds a certificate request" },
	{ "a list for anchors",
	    "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", 0,
	    PEM_ANCHORS, "it holds a revocation list" },
	{ "a public key",
	    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0,
	    PEM_KEY, "it holds a public key" },
	{ "PKCS#7", "-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", 0,
	    PEM_CERTIFICATE, "openssl pkcs7 -print_certs" },
	{ "OpenSSL's own",
	    "-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n"
	    "-----END TRUSTED CERTIFICATE-----\n",
	    0, PEM_CERTIFICATE, "OpenSSL's own form" },
	{ "something else",
	    "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n"
	    "-----END AGE ENCRYPTED FILE-----\n",
	    0, PEM_KEY, "it holds AGE ENCRYPTED FILE" },
	{ "an encrypted key",
	    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n"
	    "-----END ENCRYPTED PRIVATE KEY-----\n",
	    0, PEM_KEY, "it is encrypted" },
	{ "an encrypted key of the old kind",
	    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
	    "DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
	    0, PEM_KEY, "it is encrypted" },
	{ "DER", "\x30\x82\x01\x00\x30\x81\x20\x00\x00\x00", 10,
	    PEM_CERTIFICATE, "it is DER: \"openssl x509 -inform DER" },
	{ "a key in DER", "\x30\x82\x01\x00\x30\x81\x20\x00\x00\x00", 10,
	    PEM_KEY, "it is DER: \"openssl pkey -inform DER" },
	{ "a short key in DER", "\x30\x04\x02\x02\x01\x00", 6, PEM_KEY,
	    "it is DER: \"openssl pkey -inform DER" },
	{ "text like short DER", "0A1234", 6, PEM_KEY, "it is none" },
	{ "PKCS#12", "\x30\x82\x01\x00\x02\x01\x03\x30\x00\x00", 10,
	    PEM_CERTIFICATE, "it is PKCS#12" },
	{ "UTF-16", "\xff\xfe-\0-\0", 6, PEM_CERTIFICATE, "UTF-16" },
	{ "a label that is none", "-----BEGIN \x1b[2J-----\nAAAA\n", 0,
	    PEM_CERTIFICATE, "it is none" },
};

static void
is_said(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		size_t len = row->len > 0 ? row->len : strlen(row->octets);
		const gnutls_datum_t file = {
			(unsigned char *)(uintptr_t)row->octets, (unsigned)len
		};
		struct reason why;

		assert_false(pem_fail(&why, REASON_CERT_BAD, &file, row->wanted,
		    GNUTLS_E_ASN1_DER_ERROR));
		if (strstr(why.text, row->said) == NULL)
			fail_msg("%s: \"%s\", expected \"%s\"", row->name,
			    why.text, row->said);
	}
}

static void
is_had(void **state)
{
	static const char both[] = "Bag Attributes\n" KEY CRT_BEGIN "AAAA\n";
	const gnutls_datum_t file = { (unsigned char *)(uintptr_t)both,
		sizeof(both) - 1 };

	(void)state;
	assert_true(pem_has(&file, PEM_KEY));
	assert_true(pem_has(&file, PEM_CERTIFICATE));
	assert_true(pem_has(&file, PEM_ANCHORS));
	assert_false(pem_has(&file, PEM_CRL));
	assert_false(pem_has(&file, PEM_REQUEST));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_said),
		cmocka_unit_test(is_had),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
