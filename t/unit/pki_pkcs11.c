/*
 * t/unit/pki_pkcs11.c: what a PKCS#11 URL says, key files with one in them, and
 * PINs that were refused.  No token is asked: t/68-pkcs11-tools.t does.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../pki/file.h"
#include "../../pki/key.h"
#include "../../pki/pin_file.h"
#include "../../pki/pkcs11.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void
test_url(void **state)
{
	static const struct {
		const char *text, *key, *token, *module, *pin;
	} rows[] = {
		{ "pkcs11:token=a;object=b", "pkcs11:token=a;object=b",
		    "pkcs11:token=a", NULL, NULL },
		{ "PKCS11:id=%01;serial=77", "pkcs11:serial=77;id=%01",
		    "pkcs11:serial=77", NULL, NULL },
		{ "pkcs11:token=a;object=b;type=private?pin-source=/p",
		    "pkcs11:token=a;object=b;type=private", "pkcs11:token=a",
		    NULL, "/p" },
		{ "pkcs11:token=a;object=b?pin-source=file:/p&module-path=/m",
		    "pkcs11:token=a;object=b", "pkcs11:token=a", "/m", "/p" },
		{ "pkcs11:token=a;object=b?pin-source=file:///p/q",
		    "pkcs11:token=a;object=b", "pkcs11:token=a", NULL, "/p/q" },
		{ "pkcs11:token=a%20b;object=%3b?pin-source=%2Fp%20q",
		    "pkcs11:token=a%20b;object=%3B", "pkcs11:token=a%20b", NULL,
		    "/p q" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pkcs11_url url;
		struct reason why;

		print_message("# %s\n", rows[i].text);
		assert_true(pkcs11_is_url(rows[i].text));
		assert_true(pkcs11_url_parse(&url, rows[i].text, &why));
		assert_int_equal(strcasecmp(url.key, rows[i].key), 0);
		assert_string_equal(url.token, rows[i].token);
		if (rows[i].module == NULL)
			assert_null(url.module);
		else
			assert_string_equal(url.module, rows[i].module);
		if (rows[i].pin == NULL)
			assert_null(url.pin);
		else
			assert_string_equal(url.pin, rows[i].pin);
		pkcs11_url_free(&url);
	}
}

static void
test_bad_url(void **state)
{
	static const struct {
		const char *text, *says;
		enum reason_code code;
	} rows[] = {
		{ "", "PKCS#11 URL", REASON_SYNTAX },
		{ "/etc/key", "PKCS#11 URL", REASON_SYNTAX },
		{ "pkcs11:", "no token", REASON_SYNTAX },
		{ "pkcs11:object=b", "no token", REASON_SYNTAX },
		{ "pkcs11:token=;object=b", "no token", REASON_SYNTAX },
		{ "pkcs11:token=a", "no key", REASON_SYNTAX },
		{ "pkcs11:token=a;object=b;type=public", "type=private",
		    REASON_SYNTAX },
		{ "pkcs11:token=a;object=b;hue=1", "not known", REASON_SYNTAX },
		{ "pkcs11:token=a;object=b?pin-value=1", "pin-value",
		    REASON_PERMISSION },
		{ "pkcs11:token=a;object=b?pin-source=p", "absolute",
		    REASON_SYNTAX },
		{ "pkcs11:token=a;object=b?pin-source=file:p", "absolute",
		    REASON_SYNTAX },
		{ "pkcs11:token=a;object=b?pin-source=file://host/p",
		    "absolute", REASON_SYNTAX },
		{ "pkcs11:token=a;object=b?pin-source=%7C/bin/sh", "absolute",
		    REASON_SYNTAX },
		{ "pkcs11:token=a;object=b?module-path=m", "absolute",
		    REASON_SYNTAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pkcs11_url url;
		struct reason why;

		print_message("# %s\n", rows[i].text);
		assert_false(pkcs11_url_parse(&url, rows[i].text, &why));
		assert_non_null(strstr(why.text, rows[i].says));
		assert_int_equal(why.code, rows[i].code);
	}
}

static void
test_file(void **state)
{
	static const struct {
		const char *text, *url;
	} rows[] = {
		{ "pkcs11:token=a;object=b\n", "pkcs11:token=a;object=b" },
		{ "pkcs11:x", "pkcs11:x" },
		{ "pkcs11:x \r\nmore\n", "pkcs11:x" },
		{ "-----BEGIN PRIVATE KEY-----\n", NULL },
		{ "\npkcs11:x\n", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		gnutls_datum_t file = {
			(unsigned char *)(uintptr_t)rows[i].text,
			(unsigned)strlen(rows[i].text)
		};
		char *url = pki_key_url_in(&file);

		if (rows[i].url == NULL)
			assert_null(url);
		else
			assert_string_equal(url, rows[i].url);
		free(url);
	}
}

static void
write_pin(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
test_pin(void **state)
{
	char folder[] = "/tmp/sallyport-pin-XXXXXX", pin[PIN_SIZE];
	char path[64], mark[80];
	struct reason why;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/pin", folder);
	snprintf(mark, sizeof(mark), "%s.refused", path);
	assert_false(pin_file_read(path, pin, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	write_pin(path, "1234\r\nmore\n", 0640);
	assert_false(pin_file_read(path, pin, &why));
	assert_int_equal(why.code, REASON_PERMISSION);
	write_pin(path, "1234\r\nmore\n", 0600);
	assert_true(pin_file_read(path, pin, &why));
	assert_string_equal(pin, "1234");

	assert_true(pin_file_refused(path, &why));
	assert_false(pin_file_read(path, pin, &why));
	assert_int_equal(why.code, REASON_AUTH);
	assert_non_null(strstr(why.text, "not tried again"));
	write_pin(path, "12345", 0600);
	assert_true(pin_file_read(path, pin, &why));
	assert_string_equal(pin, "12345");
	assert_int_equal(access(mark, F_OK), 0);
	pin_file_accepted(path);
	assert_int_equal(access(mark, F_OK), -1);

	write_pin(path, "\n1234\n", 0600);
	assert_false(pin_file_read(path, pin, &why));
	assert_int_equal(why.code, REASON_SYNTAX);
	unlink(path);
	/* A mark that cannot be told from the present one counts. */
	write_pin(path, "1234\n", 0600);
	assert_int_equal(mkdir(mark, 0700), 0);
	assert_false(pin_file_read(path, pin, &why));
	rmdir(mark);
	unlink(path);
	rmdir(folder);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_bad_url),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_pin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
