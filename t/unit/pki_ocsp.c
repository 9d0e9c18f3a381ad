/*
 * t/unit/pki_ocsp.c: stapled responses: good, revoked, of another time, of
 * another certificate, by another authority, and broken octet by octet.
 *
 * No library at hand makes responses; these were made once, with keys that
 * nobody has any more, and are judged at their own time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../pki/ocsp.h"

#include <cmocka.h>

/* When the responses were made; they hold for two days. */
enum { MADE = 1795241166, OPEN_MADE = 1795242673, DAY = 86400 };

static char authority_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBcDCCARWgAwIBAgIFAMdNaMowCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2Ew\n"
    "IBcNMjYwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMA0xCzAJBgNVBAMMAmNh\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE4bKiagLvd7ljNBShJ64Ir9ajHSt7\n"
    "33FSvLEXajWDnXlVoBfEy4vk3ZXxkyKcvShxtzcWka0aKKEsDgfbAQIvjKNgMF4w\n"
    "HQYDVR0OBBYEFBCfEOuinROIOU2C3UCj3tFwlL5SMAkGA1UdIwQCMAAwDwYDVR0T\n"
    "AQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAoQwEQYJYIZIAYb4QgEBBAQDAgAHMAoG\n"
    "CCqGSM49BAMCA0kAMEYCIQDJX3F1bjOEc+ERYXMs8ox3GjeAmO/oVJaA3+0HCFAk\n"
    "DwIhAO6VEOsP/LmV3b6pp8BL5ebJe1ovJtdy3y/tLl3myXii\n"
    "-----END CERTIFICATE-----\n";

static char other_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBdTCCARqgAwIBAgIECeHt1zAKBggqhkjOPQQDAjAQMQ4wDAYDVQQDDAVvdGhl\n"
    "cjAgFw0yNjAxMDEwMDAwMDBaGA8yMTAwMDEwMTAwMDAwMFowEDEOMAwGA1UEAwwF\n"
    "b3RoZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASfG7f9jtpDQ39ErL2O86pt\n"
    "wJtRr9id49esKggsP9CdloxDFYMeJln3BchxvWL/ZjIWh7MYkCGMPtSbbKWSRwpz\n"
    "o2AwXjAdBgNVHQ4EFgQU8bxEFD1gcTxVnJtqdvc8GnNP5RUwCQYDVR0jBAIwADAP\n"
    "BgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDARBglghkgBhvhCAQEEBAMC\n"
    "AAcwCgYIKoZIzj0EAwIDSQAwRgIhAKZToscQIxvk88JVUWr89v2KkqZQfAWjPbhl\n"
    "1163PjsFAiEAyTrdjr4gMCUN0rAn9GOc10SY36LeeYyZ3wW631j3CKI=\n"
    "-----END CERTIFICATE-----\n";

static char subject_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBtzCCAV2gAwIBAgIELQuKszAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAg\n"
    "Fw0yNjAxMDEwMDAwMDBaGA8yMTAwMDEwMTAwMDAwMFowDzENMAsGA1UEAwwEbGVh\n"
    "ZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMDBdGYNyhkfxLGR2agnbaog58IM\n"
    "A3AWdCHq2ytRX5ot/JysUnk/mNpvkOrf5hd5QemMn0RBN/QuP1NB8TS7b7ajgaYw\n"
    "gaMwHQYDVR0OBBYEFLDCcgEPlOkv3/8Rfi+9gJ1nRi+EMB8GA1UdIwQYMBaAFBCf\n"
    "EOuinROIOU2C3UCj3tFwlL5SMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQDAgWg\n"
    "MBEGCWCGSAGG+EIBAQQEAwIGwDAdBgNVHSUEFjAUBggrBgEFBQcDAgYIKwYBBQUH\n"
    "AwEwEQYIKwYBBQUHARgEBTADAgEFMAoGCCqGSM49BAMCA0gAMEUCIBhlnbUiFeI+\n"
    "sYenVciEg4kq6RBv44FWuehMmEZiLBflAiEA9WApll9RNQXhC9SjvV08TLapbyIZ\n"
    "PImzdazY87tv/tg=\n"
    "-----END CERTIFICATE-----\n";

static char second_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBqDCCAU2gAwIBAgIFAJrrOGgwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2Ew\n"
    "IBcNMjYwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBExDzANBgNVBAMMBnNl\n"
    "Y29uZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKyEopNPEclzcC3iXCR0cYMe\n"
    "FINwmpaP4knA8wyf7BZOztpqy8QwGqt3NgZaCzifbSZCFJk77G1Iwm0N5KtchLOj\n"
    "gZMwgZAwHQYDVR0OBBYEFLITneRhM04H/krnKd99gSG7pzdlMB8GA1UdIwQYMBaA\n"
    "FBCfEOuinROIOU2C3UCj3tFwlL5SMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQD\n"
    "AgWgMBEGCWCGSAGG+EIBAQQEAwIGwDAdBgNVHSUEFjAUBggrBgEFBQcDAgYIKwYB\n"
    "BQUHAwEwCgYIKoZIzj0EAwIDSQAwRgIhAKcZC/GLIcdoKqkO0MDw7hW3pRapEitu\n"
    "jigvgATzJrl7AiEAwUdymTzTE4AQbUUhib+4RdIn4+To7QR5qliOjRA6dQg=\n"
    "-----END CERTIFICATE-----\n";

static char good_pem[] =
    "-----BEGIN OCSP RESPONSE-----\n"
    "MIH+CgEAoIH4MIH1BgkrBgEFBQcwAQEEgecwgeQwgYuhDzANMQswCQYDVQQDDAJj\n"
    "YRgPMjAyNjExMjEwNjA2MDZaMGcwZTA9MAkGBSsOAwIaBQAEFBEEjNIMs1kjB9AZ\n"
    "/QiJViti02SSBBQQnxDrop0TiDlNgt1Ao97RcJS+UgIELQuKs4AAGA8yMDI2MTEy\n"
    "MTA2MDYwNlqgERgPMjAyNjExMjMwNjA2MDZaMAoGCCqGSM49BAMCA0gAMEUCIBoL\n"
    "dNBEsNDlmygyKHDN1aEgUIn7YH1KyJ9Sd1g+PG8CAiEAtWy8pmZyS5pEiaKaja2R\n"
    "ht57pOY679WHgwWhg0RR6aE=\n"
    "-----END OCSP RESPONSE-----\n";

static char revoked_pem[] =
    "-----BEGIN OCSP RESPONSE-----\n"
    "MIIBEgoBAKCCAQswggEHBgkrBgEFBQcwAQEEgfkwgfYwgZyhDzANMQswCQYDVQQD\n"
    "DAJjYRgPMjAyNjExMjEwNjA2MDZaMHgwdjA9MAkGBSsOAwIaBQAEFBEEjNIMs1kj\n"
    "B9AZ/QiJViti02SSBBQQnxDrop0TiDlNgt1Ao97RcJS+UgIELQuKs6ERGA8yMDI2\n"
    "MDEwMTAwMDAwMFoYDzIwMjYxMTIxMDYwNjA2WqARGA8yMDI2MTEyMzA2MDYwNlow\n"
    "CgYIKoZIzj0EAwIDSQAwRgIhAImvHqiDCumFQMsnaJFlkhf5YzPtLVRLTdQNkHIy\n"
    "nGPJAiEAxTZ7jhNqqWcyiOrZzrnWFck+ovdPtBqwfFzzOn30fcI=\n"
    "-----END OCSP RESPONSE-----\n";

static char unknown_pem[] =
    "-----BEGIN OCSP RESPONSE-----\n"
    "MIH/CgEAoIH5MIH2BgkrBgEFBQcwAQEEgegwgeUwgYuhDzANMQswCQYDVQQDDAJj\n"
    "YRgPMjAyNjExMjEwNjA2MDZaMGcwZTA9MAkGBSsOAwIaBQAEFBEEjNIMs1kjB9AZ\n"
    "/QiJViti02SSBBQQnxDrop0TiDlNgt1Ao97RcJS+UgIELQuKs4IAGA8yMDI2MTEy\n"
    "MTA2MDYwNlqgERgPMjAyNjExMjMwNjA2MDZaMAoGCCqGSM49BAMCA0kAMEYCIQDi\n"
    "9NzDcVGdrtRVGW2HAQKq8T1TbBQ8JeOOGrf20Gc18AIhAKX5KJ6jC3vVd7PwWNJC\n"
    "8ttMbp/2cLD7P9qQAlZPvsZr\n"
    "-----END OCSP RESPONSE-----\n";

/* Another set, whose response does not say when it ends. */
static char open_authority_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBgDCCASegAwIBAgIUa7bjMcAAK9ZZ8af4wIygCJIuvUwwCgYIKoZIzj0EAwIw\n"
    "DTELMAkGA1UEAwwCY2EwIBcNMjYxMTIxMDYzMTEzWhgPMjA4MTA4MjQwNjMxMTNa\n"
    "MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEq2v9Q/91\n"
    "ymVCrRKzHDu1X7Qml6wfIIb4XhidC2m+8NgyUVYtxmQTmVHhOWbAJUtWA73qwF9h\n"
    "nAUkqXtWws0sQKNjMGEwHQYDVR0OBBYEFENEGkGMiq1UKQNP0u+hSfA1o1QHMB8G\n"
    "A1UdIwQYMBaAFENEGkGMiq1UKQNP0u+hSfA1o1QHMA8GA1UdEwEB/wQFMAMBAf8w\n"
    "DgYDVR0PAQH/BAQDAgKEMAoGCCqGSM49BAMCA0cAMEQCIGVvmkcI96my/a42HXho\n"
    "cLeT64av+6gvL/4GQ/eidtUMAiAd2DAVUWfVwlS0aFijhcvrqa9JpV79S5lxSR9a\n"
    "AOkPzA==\n"
    "-----END CERTIFICATE-----\n";

static char open_subject_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBBzCBrwIELQuKtDAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0yNjEx\n"
    "MjEwNjMxMTNaGA8yMDgxMDgyNDA2MzExM1owDzENMAsGA1UEAwwEbGVhZjBZMBMG\n"
    "ByqGSM49AgEGCCqGSM49AwEHA0IABGZ7OwDSMxc7u3pOSq5GEH/cchR61d2C7kVn\n"
    "DM2fY7DlG+aoavJj5QHGYKhb8qtTgFu1nd9BhrKgxTZgTqyYXtMwCgYIKoZIzj0E\n"
    "AwIDRwAwRAIgaVj2H/ervhmcJpFz4pUa/AOJPWgeJHCt3OCL6NBjLtQCIHAEL+DU\n"
    "KDoPVXRYLOW7FxAyttWmw1/WV4pOYuwDd1GP\n"
    "-----END CERTIFICATE-----\n";

static char open_pem[] =
    "-----BEGIN OCSP RESPONSE-----\n"
    "MIHrCgEAoIHlMIHiBgkrBgEFBQcwAQEEgdQwgdEweKEPMA0xCzAJBgNVBAMMAmNh\n"
    "GA8yMDI2MTEyMTA2MzExM1owVDBSMD0wCQYFKw4DAhoFAAQUEQSM0gyzWSMH0Bn9\n"
    "CIlWK2LTZJIEFENEGkGMiq1UKQNP0u+hSfA1o1QHAgQtC4q0gAAYDzIwMjYxMTIx\n"
    "MDYzMTEzWjAKBggqhkjOPQQDAgNJADBGAiEAt28DxOeuxaXof5rhXR0D07bdg1HN\n"
    "AmH5r7XnEXfHTJECIQDlkzwuORERYXUo+hPvI7eDBHmA5WlDjMzTxqlxf35eOw==\n"
    "-----END OCSP RESPONSE-----\n";

static gnutls_x509_crt_t authority, other, subject, second;
static gnutls_x509_crt_t open_authority, open_subject;

static gnutls_x509_crt_t
certificate(char *pem)
{
	gnutls_datum_t text = { (unsigned char *)pem, (unsigned)strlen(pem) };
	gnutls_x509_crt_t crt;

	assert_int_equal(gnutls_x509_crt_init(&crt), 0);
	assert_int_equal(
	    gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
	return crt;
}

static int
setup(void **state)
{
	(void)state;
	authority = certificate(authority_pem);
	other = certificate(other_pem);
	subject = certificate(subject_pem);
	second = certificate(second_pem);
	open_authority = certificate(open_authority_pem);
	open_subject = certificate(open_subject_pem);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	gnutls_x509_crt_deinit(authority);
	gnutls_x509_crt_deinit(other);
	gnutls_x509_crt_deinit(subject);
	gnutls_x509_crt_deinit(second);
	gnutls_x509_crt_deinit(open_authority);
	gnutls_x509_crt_deinit(open_subject);
	return 0;
}

static gnutls_datum_t
der_of(char *pem)
{
	gnutls_datum_t text = { (unsigned char *)pem, (unsigned)strlen(pem) };
	gnutls_datum_t der;

	assert_int_equal(
	    gnutls_pem_base64_decode2("OCSP RESPONSE", &text, &der), 0);
	return der;
}

static void
test_states(void **state)
{
	const struct {
		const char *name;
		char *pem;
		gnutls_x509_crt_t crt, issuer;
		time_t now;
		enum ocsp_state expected;
	} cases[] = {
		{ "good", good_pem, subject, authority, MADE + DAY, OCSP_GOOD },
		{ "revoked", revoked_pem, subject, authority, MADE + DAY,
		    OCSP_REVOKED },
		{ "unknown there", unknown_pem, subject, authority, MADE + DAY,
		    OCSP_UNKNOWN },
		{ "its last second", good_pem, subject, authority,
		    MADE + 2 * DAY, OCSP_GOOD },
		{ "too old", good_pem, subject, authority, MADE + 2 * DAY + 1,
		    OCSP_STALE },
		{ "too early", good_pem, subject, authority, MADE - 1,
		    OCSP_STALE },
		{ "an old revocation still counts", revoked_pem, subject,
		    authority, MADE + 9 * DAY, OCSP_REVOKED },
		{ "no issuer at hand", good_pem, subject, NULL, MADE + DAY,
		    OCSP_UNCHECKED },
		{ "signed by another", good_pem, subject, other, MADE + DAY,
		    OCSP_INVALID },
		{ "about another", good_pem, second, authority, MADE + DAY,
		    OCSP_INVALID },
		{ "names no end", open_pem, open_subject, open_authority,
		    OPEN_MADE + DAY, OCSP_GOOD },
		{ "names no end, and is old", open_pem, open_subject,
		    open_authority, OPEN_MADE + 11 * DAY, OCSP_STALE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		gnutls_datum_t der = der_of(cases[i].pem);
		struct ocsp ocsp;

		ocsp_read(&ocsp, &der, cases[i].crt, cases[i].issuer,
		    cases[i].now);
		gnutls_free(der.data);
		if (ocsp.state != cases[i].expected)
			print_error("%s: %s\n", cases[i].name,
			    ocsp_word(ocsp.state));
		assert_int_equal(ocsp.state, cases[i].expected);
		assert_int_equal(ocsp.text[0] == '\0',
		    cases[i].expected == OCSP_GOOD);
	}
}

static void
test_absent_and_times(void **state)
{
	gnutls_datum_t none = { NULL, 0 }, der = der_of(good_pem);
	struct ocsp ocsp;

	(void)state;
	ocsp_read(&ocsp, &none, subject, authority, MADE);
	assert_int_equal(ocsp.state, OCSP_ABSENT);
	assert_true(ocsp.this_update == (time_t)-1);
	ocsp_read(&ocsp, &der, subject, authority, MADE);
	assert_int_equal(ocsp.this_update, MADE);
	assert_int_equal(ocsp.next_update, MADE + 2 * DAY);
	assert_int_equal(ocsp.until, MADE + 2 * DAY);
	gnutls_free(der.data);
}

static void
test_demanded(void **state)
{
	(void)state;
	assert_true(ocsp_is_demanded(subject));
	assert_false(ocsp_is_demanded(second));
}

/* No change of any octet makes a revoked certificate good, or does harm. */
static void
test_flipped(void **state)
{
	gnutls_datum_t der = der_of(revoked_pem);
	struct ocsp ocsp;

	(void)state;
	for (unsigned i = 0; i < der.size; i++) {
		der.data[i] ^= 0x41;
		ocsp_read(&ocsp, &der, subject, authority, MADE + DAY);
		assert_int_not_equal(ocsp.state, OCSP_GOOD);
		der.data[i] ^= 0x41;
	}
	for (unsigned size = der.size; size > 0; size--) {
		gnutls_datum_t cut = { der.data, size - 1 };

		ocsp_read(&ocsp, &cut, subject, authority, MADE + DAY);
		assert_int_not_equal(ocsp.state, OCSP_GOOD);
	}
	gnutls_free(der.data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_absent_and_times),
		cmocka_unit_test(test_demanded),
		cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
