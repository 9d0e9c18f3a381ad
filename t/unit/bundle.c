/*
 * t/unit/bundle.c: a configuration travels whole, sealed, or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../server/bundle.h"

#include <cmocka.h> /* last: it has a macro named fail */

static gnutls_datum_t
datum(const char *text)
{
	gnutls_datum_t d = { (unsigned char *)(uintptr_t)text,
		(unsigned)strlen(text) };

	return d;
}

static int
sealed(void)
{
	gnutls_datum_t conf = datum("end = true\n"), key = datum("secret");
	struct bundle *b = bundle_new();
	int fd;

	assert_non_null(b);
	assert_true(bundle_add(b, BUNDLE_CONF, "/etc/s.conf", &conf, NULL));
	assert_true(bundle_add(b, BUNDLE_TABLE, "sites.kch", NULL, NULL));
	assert_true(bundle_add(b, BUNDLE_KEY, "server", &key, NULL));
	assert_true(bundle_seal(b, &fd, NULL));
	bundle_free(b);
	return fd;
}

static void
entries_survive(void **state)
{
	struct bundle *b;
	enum bundle_kind kind;
	gnutls_datum_t octets;
	const char *name;

	(void)state;
	assert_true(bundle_open(&b, sealed(), NULL));
	assert_true(bundle_find(b, BUNDLE_KEY, "server", &octets));
	assert_int_equal(octets.size, 6);
	assert_string_equal((const char *)octets.data, "secret");
	assert_false(bundle_find(b, BUNDLE_CHAIN, "server", &octets));
	assert_false(bundle_find(b, BUNDLE_KEY, "serve", &octets));
	assert_true(bundle_entry(b, 1, &kind, &name, &octets));
	assert_int_equal(kind, BUNDLE_TABLE);
	assert_string_equal(name, "sites.kch");
	assert_int_equal(octets.size, 0);
	assert_false(bundle_entry(b, 3, &kind, &name, &octets));
	bundle_free(b);
}

static void
it_cannot_be_changed(void **state)
{
	int fd = sealed();

	(void)state;
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_ptr_equal(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0),
	    MAP_FAILED);
	close(fd);
}

static void
an_unsealed_one_is_refused(void **state)
{
	struct reason why;
	struct bundle *b;
	int fd = memfd_create("test", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(write(fd, "SLYB\0\0\0\0", 8), 8);
	assert_false(bundle_open(&b, fd, &why));
	assert_int_equal(why.code, REASON_PROTOCOL);
}

/* A sealed memfd of these octets. */
static int
seal_octets(const unsigned char *octets, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(write(fd, octets, len), (ssize_t)len);
	assert_int_equal(
	    fcntl(fd, F_ADD_SEALS,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL),
	    0);
	return fd;
}

/* Every cut and every changed octet either is refused or gives entries that
 * lie inside: a sanitizer would say otherwise. */
static void
broken_ones_are_harmless(void **state)
{
	unsigned char octets[512], copy[512];
	enum bundle_kind kind;
	gnutls_datum_t got;
	const char *name;
	struct bundle *b;
	int fd = sealed();
	ssize_t len = pread(fd, octets, sizeof(octets), 0);

	(void)state;
	assert_true(len > 0);
	for (ssize_t cut = 1; cut < len; cut++)
		assert_false(
		    bundle_open(&b, seal_octets(octets, (size_t)cut), NULL));
	for (ssize_t at = 0; at < len; at++) {
		memcpy(copy, octets, (size_t)len);
		copy[at] ^= 0xff;
		if (!bundle_open(&b, seal_octets(copy, (size_t)len), NULL))
			continue;
		for (size_t i = 0; bundle_entry(b, i, &kind, &name, &got); i++)
			assert_true(strlen(name) + got.size < (size_t)len);
		bundle_free(b);
	}
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_survive),
		cmocka_unit_test(it_cannot_be_changed),
		cmocka_unit_test(an_unsealed_one_is_refused),
		cmocka_unit_test(broken_ones_are_harmless),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
