/*
 * t/unit/pki_authority.c: the authority in its folder, and what it issues.
 */
#include "../../pki/authority.h"
#include "../../pki/cert.h"
#include "../../pki/file.h"
#include "../../pki/pkcs12.h"
#include "../../policy/hex.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <gnutls/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 512 };

static char folder[PATH_SIZE];

static const char *
in(const char *name)
{
	static char paths[4][PATH_SIZE + 256];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static bool
create(const char *name, unsigned days, struct reason *why)
{
	const struct authority_options options = { .common_name = name,
		.days = days };

	return authority_create(folder, &options, why);
}

static int
setup(void **state)
{
	const char *base = getenv("TMPDIR");
	struct reason why = { 0 };

	(void)state;
	snprintf(folder, sizeof(folder), "%s/sallyport-pki.XXXXXX",
	    base ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return -1;
	if (!create("Test CA", 3650, &why))
		fail_msg("%s", why.text);
	return 0;
}

static int
teardown(void **state)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	(void)state;
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.')
			unlink(in(e->d_name));
	if (dir != NULL)
		closedir(dir);
	return rmdir(folder);
}

static unsigned
mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static bool
issue_to(const struct authority_request *request, const char *chain,
    const char *key, struct reason *why)
{
	struct authority *authority;
	bool ok;

	if (!authority_open(&authority, folder, NULL, why))
		return false;
	ok = authority_issue_to(authority, request, KEY_ECDSA, chain, key, why);
	authority_close(authority);
	return ok;
}

/* Issue for one name into NAME.pem and NAME.key. */
static bool
issue(const char *file, const char *name, enum authority_role role,
    unsigned days, struct reason *why)
{
	char chain[PATH_SIZE + 64], key[PATH_SIZE + 64];
	const char *names[] = { name };
	const struct authority_request request = { .names = names,
		.name_count = 1,
		.role = role,
		.days = days };

	snprintf(chain, sizeof(chain), "%s/%s.pem", folder, file);
	snprintf(key, sizeof(key), "%s/%s.key", folder, file);
	return issue_to(&request, chain, key, why);
}

static void
must_issue(const char *file, const char *name, enum authority_role role)
{
	struct reason why = { 0 };

	if (!issue(file, name, role, 90, &why))
		fail_msg("%s", why.text);
}

/* The chain in NAME.pem. */
static unsigned
load(const char *file, gnutls_x509_crt_t **chain)
{
	char name[64];
	gnutls_datum_t pem;
	struct reason why = { 0 };
	unsigned count = 0;

	snprintf(name, sizeof(name), "%s.pem", file);
	if (!pki_file_read(in(name), false, &pem, &why) ||
	    !cert_chain_parse(&pem, chain, &count, &why))
		fail_msg("%s", why.text);
	pki_octets_wipe(&pem);
	return count;
}

static void
authority_is_what_it_should_be(void **state)
{
	gnutls_x509_crt_t *chain;
	unsigned usage, ca;
	int path_length;

	(void)state;
	assert_int_equal(mode_of(in("ca.key")), 0600);
	assert_int_equal(mode_of(in("ca.pem")), 0644);
	assert_int_equal(load("ca", &chain), 1);
	assert_true(gnutls_x509_crt_get_basic_constraints(chain[0], NULL, &ca,
			&path_length) >= 0);
	assert_true(ca);
	assert_int_equal(path_length, 0);
	assert_true(gnutls_x509_crt_get_key_usage(chain[0], &usage, NULL) >= 0);
	assert_int_equal(usage, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	assert_true(gnutls_x509_crt_check_issuer(chain[0], chain[0]));
	cert_chain_free(chain, 1);
}

static void
authority_is_not_overwritten(void **state)
{
	struct reason why;

	(void)state;
	assert_false(create("Other", 10, &why));
	assert_int_equal(why.code, REASON_EXISTS);
}

static void
issued_certificates_say_what_was_asked(void **state)
{
	static const struct {
		const char *file, *name, *expected;
		enum authority_role role;
		bool for_server, for_client;
	} rows[] = {
		{ "server", "Mail.Example.org", "dns:mail.example.org",
		    ISSUE_SERVER, true, false },
		{ "client", "relay.example.org", "dns:relay.example.org",
		    ISSUE_CLIENT, false, true },
		{ "both", "*.example.org", "dns:*.example.org", ISSUE_BOTH,
		    true, true },
		{ "v4", "192.0.2.1", "ip:192.0.2.1", ISSUE_SERVER, true,
		    false },
		{ "v6", "2001:DB8::1", "ip:2001:db8::1", ISSUE_SERVER, true,
		    false },
		{ "device", "alice+phone@example.org",
		    "email:alice+phone@example.org", ISSUE_CLIENT, false,
		    true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		gnutls_x509_crt_t *chain;
		char name[64], *names;
		struct reason why;
		unsigned char serial[64];
		size_t size = sizeof(serial), len;
		unsigned usage;

		must_issue(rows[i].file, rows[i].name, rows[i].role);
		snprintf(name, sizeof(name), "%s.key", rows[i].file);
		assert_int_equal(mode_of(in(name)), 0600);
		assert_int_equal(load(rows[i].file, &chain), 2);
		assert_true(cert_chain_in_order(chain, 2, &why));
		assert_true(cert_names(chain[0], &names, &len, &why));
		assert_string_equal(names, rows[i].expected);
		assert_int_equal(len, strlen(rows[i].expected) + 1);
		free(names);
		assert_int_equal(cert_purpose(chain[0], CERT_FOR_SERVER) ==
				     PURPOSE_YES,
		    rows[i].for_server);
		assert_int_equal(cert_purpose(chain[0], CERT_FOR_CLIENT) ==
				     PURPOSE_YES,
		    rows[i].for_client);
		assert_true(
		    gnutls_x509_crt_get_key_usage(chain[0], &usage, NULL) >= 0);
		assert_int_equal(usage, GNUTLS_KEY_DIGITAL_SIGNATURE);
		assert_true(
		    gnutls_x509_crt_get_serial(chain[0], serial, &size) >= 0);
		assert_int_equal(size, 16);
		assert_true(gnutls_x509_crt_get_activation_time(chain[0]) <=
			    time(NULL) - 3600);
		assert_true(gnutls_x509_crt_get_expiration_time(chain[0]) <=
			    time(NULL) + 90 * 86400);
		cert_chain_free(chain, 2);
	}
}

static void
serial_numbers_are_recorded(void **state)
{
	gnutls_x509_crt_t *chain;
	unsigned char serial[64], spki[SPKI_OCTETS];
	char text[160] = "serial=", key[2 * SPKI_OCTETS + 1], names[256];
	size_t size = sizeof(serial);
	gnutls_datum_t record;
	struct reason why;

	(void)state;
	must_issue("noted", "noted.example.org", ISSUE_SERVER);
	load("noted", &chain);
	assert_true(gnutls_x509_crt_get_serial(chain[0], serial, &size) >= 0);
	assert_true(cert_spki(chain[0], spki, &why));
	cert_chain_free(chain, 2);
	hex_print(key, spki, SPKI_OCTETS);
	snprintf(names, sizeof(names),
	    "role=server key=%s names=noted.example.org", key);
	for (size_t i = 0; i < size; i++)
		snprintf(text + 7 + 2 * i, 3, "%02x", serial[i]);
	assert_true(pki_file_read(in("issued"), true, &record, &why));
	assert_non_null(strstr((char *)record.data, text));
	assert_non_null(strstr((char *)record.data, names));
	assert_int_equal(record.data[record.size - 1], '\n');
	pki_octets_wipe(&record);
}

static void
torn_record_is_ended_first(void **state)
{
	gnutls_datum_t record;
	struct reason why;
	FILE *f = fopen(in("log"), "w");

	(void)state;
	assert_non_null(f);
	fputs("serial=12", f);
	fclose(f);
	assert_true(pki_file_append(in("log"), "serial=34", &why));
	assert_true(pki_file_read(in("log"), false, &record, &why));
	assert_string_equal((char *)record.data,
	    "serial=12 cut-off\nserial=34\n");
	pki_octets_wipe(&record);
}

static void
key_is_kept_when_issued_again(void **state)
{
	gnutls_datum_t before, after, pem;
	unsigned char a[SPKI_OCTETS], b[SPKI_OCTETS];
	gnutls_x509_crt_t *chain;
	struct reason why;

	(void)state;
	must_issue("again", "a.example.org", ISSUE_SERVER);
	assert_true(pki_file_read(in("again.key"), true, &before, &why));
	must_issue("again", "b.example.org", ISSUE_SERVER);
	assert_true(pki_file_read(in("again.key"), true, &after, &why));
	assert_int_equal(before.size, after.size);
	assert_memory_equal(before.data, after.data, before.size);
	assert_true(cert_key_spki(&after, a, &why));
	load("again", &chain);
	assert_true(cert_spki(chain[0], b, &why));
	assert_memory_equal(a, b, SPKI_OCTETS);
	cert_chain_free(chain, 2);
	assert_true(pki_file_read(in("again.pem"), false, &pem, &why));
	assert_true(cert_matches_key(&pem, &after, &why));
	pki_octets_wipe(&pem);
	pki_octets_wipe(&before);
	pki_octets_wipe(&after);
}

static void
certificate_ends_with_the_authority(void **state)
{
	gnutls_x509_crt_t *chain;
	struct reason why;

	(void)state;
	assert_true(issue("long", "x.example.org", ISSUE_SERVER, 36500, &why));
	load("long", &chain);
	assert_int_equal(gnutls_x509_crt_get_expiration_time(chain[0]),
	    gnutls_x509_crt_get_expiration_time(chain[1]));
	cert_chain_free(chain, 2);
}

/* For who takes the key away: it is nowhere else. */
static void
new_keys_go_into_pkcs12(void **state)
{
	const char *names[] = { "alice+phone@example.org" };
	const struct authority_request request = { .names = names,
		.name_count = 1,
		.role = ISSUE_CLIENT,
		.days = 10 };
	gnutls_datum_t chain, key, p12, other_chain, other_key;
	gnutls_pkcs12_t parsed;
	unsigned mac;
	gnutls_x509_privkey_t private;
	gnutls_x509_crt_t *list, *above;
	unsigned count = 0, above_count = 0;
	struct reason why = { 0 };
	struct authority *authority;

	(void)state;
	if (!authority_open(&authority, folder, NULL, &why) ||
	    !authority_issue_new(authority, &request, &chain, &key, &why) ||
	    !authority_issue_new(authority, &request, &other_chain, &other_key,
		&why) ||
	    !pkcs12_make(&chain, &key, "phone", "pass phrase", &p12, &why))
		fail_msg("%s", why.text);
	authority_close(authority);
	assert_true(cert_matches_key(&chain, &key, &why));
	assert_false(cert_matches_key(&chain, &other_key, &why));
	/* certtool and openssl read it in t/39-device.t. */
	assert_int_equal(gnutls_pkcs12_init(&parsed), 0);
	assert_int_equal(
	    gnutls_pkcs12_import(parsed, &p12, GNUTLS_X509_FMT_DER, 0), 0);
	assert_true(gnutls_pkcs12_verify_mac(parsed, "pass phras") < 0);
	assert_int_equal(gnutls_pkcs12_verify_mac(parsed, "pass phrase"), 0);
	/* Others are "a wrong password" to old programs. */
	assert_int_equal(
	    gnutls_pkcs12_mac_info(parsed, &mac, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(mac, GNUTLS_MAC_SHA1);
	assert_int_equal(gnutls_pkcs12_simple_parse(parsed, "pass phrase",
			     &private, &list, &count, &above, &above_count,
			     NULL, GNUTLS_PKCS12_SP_INCLUDE_SELF_SIGNED),
	    0);
	assert_int_equal(count + above_count, 2);
	assert_null(memmem(p12.data, p12.size, "phone@example.org", 17));
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(list[i]);
	for (unsigned i = 0; i < above_count; i++)
		gnutls_x509_crt_deinit(above[i]);
	gnutls_free(list);
	gnutls_free(above);
	gnutls_x509_privkey_deinit(private);
	gnutls_pkcs12_deinit(parsed);
	pki_octets_wipe(&chain);
	pki_octets_wipe(&key);
	pki_octets_wipe(&other_chain);
	pki_octets_wipe(&other_key);
	pki_octets_wipe(&p12);
}

/* Nothing comes of what is wrong, and nothing is left to free. */
static void
pkcs12_of_no_key_is_refused(void **state)
{
	gnutls_datum_t pem = { (unsigned char *)(uintptr_t) "rubbish", 7 };
	gnutls_datum_t chain, p12 = { 0 };
	struct reason why;

	(void)state;
	must_issue("for-p12", "x.example", ISSUE_CLIENT);
	assert_true(pki_file_read(in("for-p12.pem"), false, &chain, &why));
	assert_false(pkcs12_make(&chain, &pem, "x", "y", &p12, &why));
	assert_false(pkcs12_make(&pem, &chain, "x", "y", &p12, &why));
	assert_null(p12.data);
	pki_octets_wipe(&chain);
}

static void
bad_requests_are_refused(void **state)
{
	static const char long_label[] =
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaa.example";
	static const char long_local[] =
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaa@a.example";
	const char *const names[] = { "", " ", "a b", "-a.example",
		"a-.example", "a..example", ".example", "example.", "ex_ample",
		"a.*.example", "*", "*.", "b\xc3\xbc.example", "a.example\n",
		"@a.example", "a@", "a@b@c.example", "a b@c.example",
		"a@*.example", "b\xc3\xbc@c.example", "a\"@c.example",
		"a<b@c.example", "a(b@c.example", long_local, long_label };
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (issue("bad", names[i], ISSUE_SERVER, 10, &why))
			fail_msg("\"%s\" was accepted", names[i]);
	assert_false(issue("bad", "x.example", ISSUE_SERVER, 0, &why));
	assert_false(issue("bad", "x.example", ISSUE_SERVER, 36501, &why));
	assert_false(issue_to(
	    &(struct authority_request){ .role = ISSUE_SERVER, .days = 1 },
	    in("bad.pem"), in("bad.key"), &why));
	assert_int_equal(access(in("bad.pem"), F_OK), -1);
	assert_int_equal(access(in("bad.key"), F_OK), -1);
	assert_false(create("", 10, &why));
	assert_false(create("a\nb", 10, &why));
}

static void
open_key_is_refused(void **state)
{
	struct reason why;

	(void)state;
	must_issue("open", "x.example.org", ISSUE_SERVER);
	assert_int_equal(chmod(in("open.key"), 0640), 0);
	assert_false(issue("open", "x.example.org", ISSUE_SERVER, 10, &why));
	assert_int_equal(why.code, REASON_PERMISSION);
	assert_int_equal(chmod(in("ca.key"), 0604), 0);
	assert_false(issue("y", "y.example.org", ISSUE_SERVER, 10, &why));
	assert_int_equal(why.code, REASON_PERMISSION);
	assert_int_equal(chmod(in("ca.key"), 0600), 0);
}

static void
key_of_another_authority_is_refused(void **state)
{
	struct reason why;

	(void)state;
	must_issue("swap", "x.example.org", ISSUE_SERVER);
	assert_int_equal(rename(in("ca.key"), in("ca.key.kept")), 0);
	assert_int_equal(rename(in("swap.key"), in("ca.key")), 0);
	assert_false(issue("z", "z.example.org", ISSUE_SERVER, 10, &why));
	assert_int_equal(why.code, REASON_CERT_BAD);
	assert_int_equal(rename(in("ca.key.kept"), in("ca.key")), 0);
	assert_int_equal(access(in("z.pem"), F_OK), -1);
}

static void
nothing_is_left_aside(void **state)
{
	DIR *dir = opendir(folder);
	struct dirent *e;

	(void)state;
	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL)
		assert_null(strstr(e->d_name, ".new"));
	closedir(dir);
}

/* 0 if another program agrees, 127 if it is not installed. */
__attribute__((format(printf, 1, 2))) static int
run(const char *format, ...)
{
	char command[4 * PATH_SIZE];
	va_list ap;
	int status;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
others_agree(void **state)
{
	static const struct {
		const char *file, *purpose;
		bool good;
	} rows[] = {
		{ "server", "sslserver", true },
		{ "server", "sslclient", false },
		{ "client", "sslclient", true },
		{ "client", "sslserver", false },
		{ "both", "sslserver", true },
		{ "both", "sslclient", true },
	};

	(void)state;
	if (run("openssl version >/dev/null 2>&1") != 0)
		skip();
	must_issue("server", "mail.example.org", ISSUE_SERVER);
	must_issue("client", "relay.example.org", ISSUE_CLIENT);
	must_issue("both", "both.example.org", ISSUE_BOTH);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
		    run("openssl verify -x509_strict -CAfile '%s/ca.pem' "
			"-purpose %s '%s/%s.pem' >/dev/null 2>&1",
			folder, rows[i].purpose, folder, rows[i].file) == 0,
		    rows[i].good);
}

static void
certtool_agrees(void **state)
{
	(void)state;
	if (run("certtool --version >/dev/null 2>&1") != 0)
		skip();
	must_issue("server", "mail.example.org", ISSUE_SERVER);
	assert_int_equal(
	    run("certtool --verify --load-ca-certificate '%s/ca.pem' "
		"--verify-hostname mail.example.org "
		"--verify-purpose 1.3.6.1.5.5.7.3.1 --infile '%s/server.pem' "
		">/dev/null 2>&1",
		folder, folder),
	    0);
	assert_int_not_equal(
	    run("certtool --verify --load-ca-certificate '%s/ca.pem' "
		"--verify-hostname other.example.org --infile "
		"'%s/server.pem' >/dev/null 2>&1",
		folder, folder),
	    0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(authority_is_what_it_should_be),
		cmocka_unit_test(authority_is_not_overwritten),
		cmocka_unit_test(issued_certificates_say_what_was_asked),
		cmocka_unit_test(serial_numbers_are_recorded),
		cmocka_unit_test(torn_record_is_ended_first),
		cmocka_unit_test(key_is_kept_when_issued_again),
		cmocka_unit_test(certificate_ends_with_the_authority),
		cmocka_unit_test(new_keys_go_into_pkcs12),
		cmocka_unit_test(pkcs12_of_no_key_is_refused),
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(open_key_is_refused),
		cmocka_unit_test(key_of_another_authority_is_refused),
		cmocka_unit_test(others_agree),
		cmocka_unit_test(certtool_agrees),
		cmocka_unit_test(nothing_is_left_aside),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
