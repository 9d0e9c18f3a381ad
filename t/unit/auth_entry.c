/*
 * t/unit/auth_entry.c: settings of entries as octets, what is refused of them,
 * and their parts: networks, names in certificates, labels of devices.
 */
#include <stdio.h>

#include "../../auth/entry.h"
#include "../../auth/san.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { TAG_NAME = 1, TAG_FLAGS, TAG_KIND, TAG_SAN = 10, TAG_LEGACY };
enum { TAG_LEGACY_UNTIL = 12, TAG_RIGHT, TAG_NETWORK, TAG_RATE, TAG_UNTIL };
enum { TAG_OWNER = 17, TAG_DEVICE };

static struct entry
plain(void)
{
	struct entry entry = { .name = "alice@example.org",
		.enabled = true,
		.change = 7,
		.created = 1700000000,
		.changed = 1700000001 };

	return entry;
}

static struct entry
settled(void)
{
	struct entry entry = plain();

	entry.kind = ENTRY_DEVICE;
	entry.binding_required = true;
	entry.has_legacy = true;
	strcpy(entry.legacy, "old password");
	entry.legacy_until = 1800000000;
	memcpy(entry.rights, "@example.org\0a@b\0", 17);
	entry.rights_len = 17;
	assert_true(network_parse(&entry.networks[0], "192.0.2.0/24", NULL));
	assert_true(network_parse(&entry.networks[1], "2001:db8::1", NULL));
	entry.network_count = 2;
	entry.rate = 50;
	entry.until = 1900000000;
	strcpy(entry.owner, "bob@example.org");
	strcpy(entry.devices[0], "phone");
	strcpy(entry.devices[1], "Tab-1_x");
	entry.device_count = 2;
	memset(entry.sans[0].ca, 1, SPKI_OCTETS);
	strcpy(entry.sans[0].name, "dns:host.example.org");
	memset(entry.sans[1].ca, 2, SPKI_OCTETS);
	strcpy(entry.sans[1].name, "dns:host.example.org");
	entry.san_count = 2;
	return entry;
}

static void
comes_back(const struct entry *in, bool with_keys, struct entry *out)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	size_t len = entry_encode(in, with_keys, octets);

	memset(out, 0xff, sizeof *out);
	assert_true(entry_decode(out, octets, len, NULL));
}

static void
settings_come_back(void **state)
{
	struct entry in = settled(), out;

	(void)state;
	comes_back(&in, true, &out);
	assert_memory_equal(&in, &out, sizeof in);
	in.legacy_until = ENTRY_LEGACY_ALWAYS;
	in.binding_required = false;
	in.enabled = false;
	comes_back(&in, true, &out);
	assert_memory_equal(&in, &out, sizeof in);
	in = plain();
	comes_back(&in, true, &out);
	assert_memory_equal(&in, &out, sizeof in);
}

/* All that is in a listing but the secret. */
static void
listings_have_no_secret(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	struct entry in = settled(), out;
	size_t len = entry_encode(&in, false, octets);

	(void)state;
	assert_null(memmem(octets, len, "old pass", 8));
	assert_true(entry_decode(&out, octets, len, NULL));
	assert_true(out.has_legacy);
	assert_string_equal(out.legacy, "");
	memset(in.legacy, 0, sizeof in.legacy);
	assert_memory_equal(&in, &out, sizeof in);
}

/* As much as fits of everything. */
static void
full_entries_fit(void **state)
{
	struct entry in = plain(), out;

	(void)state;
	memset(in.legacy, 'p', ENTRY_LEGACY_MAX);
	in.has_legacy = true;
	while (in.rights_len + 2 <= ENTRY_RIGHTS_MAX) {
		memcpy(in.rights + in.rights_len, "*", 2);
		in.rights_len += 2;
	}
	for (size_t i = 0; i < ENTRY_NETWORKS_MAX; i++)
		assert_true(network_parse(&in.networks[i], "::1", NULL));
	in.network_count = ENTRY_NETWORKS_MAX;
	for (size_t i = 0; i < ENTRY_SANS_MAX; i++) {
		memset(in.sans[i].ca, (int)i, SPKI_OCTETS);
		memset(in.sans[i].name, 'n', ENTRY_SAN_MAX);
	}
	in.san_count = ENTRY_SANS_MAX;
	for (size_t i = 0; i < ENTRY_DEVICES_MAX; i++) {
		memset(in.devices[i], 'd', ENTRY_LABEL_MAX);
		in.devices[i][0] = (char)('a' + i);
	}
	in.device_count = ENTRY_DEVICES_MAX;
	memset(in.foreign, 'x', FOREIGN_MAX);
	memcpy(in.foreign, "$6$", 3);
	comes_back(&in, true, &out);
	assert_memory_equal(&in, &out, sizeof in);
}

struct row {
	const char *name; /* what its being taken would teach */
	unsigned tag;
	size_t len;
	const char *octets;
	unsigned times; /* so often behind a plain entry; 0: once */
};

#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16
#define X256 X64 X64 X64 X64
#define ZERO16 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define DIGEST ZERO16 ZERO16

static const struct row rows[] = {
	{ "flags twice", TAG_FLAGS, 1, "\1", 1 },
	{ "a san without a name", TAG_SAN, 32, DIGEST, 1 },
	{ "a san shorter than a digest", TAG_SAN, 31, DIGEST, 1 },
	{ "a san too long", TAG_SAN, 32 + 256, DIGEST X256, 1 },
	{ "a san with NUL", TAG_SAN, 32 + 3, DIGEST "a\0b", 1 },
	{ "a san twice", TAG_SAN, 32 + 5, DIGEST "dns:a", 2 },
	{ "a legacy secret too long", TAG_LEGACY, 129, X256, 1 },
	{ "a legacy secret with NUL", TAG_LEGACY, 3, "a\0b", 1 },
	{ "two legacy secrets", TAG_LEGACY, 1, "a", 2 },
	{ "no time", TAG_LEGACY_UNTIL, 8, ZERO16, 1 },
	{ "a time before 1970", TAG_LEGACY_UNTIL, 8,
	    "\xff\xff\xff\xff\xff\xff\xff\xff", 1 },
	{ "a short time", TAG_LEGACY_UNTIL, 7, X16, 1 },
	{ "an empty right", TAG_RIGHT, 0, "", 1 },
	{ "a right too long", TAG_RIGHT, 321, X256 X64 "x", 1 },
	{ "a right with NUL", TAG_RIGHT, 3, "a\0b", 1 },
	{ "rights that do not fit", TAG_RIGHT, 256, X256, 8 },
	{ "a network of a short length", TAG_NETWORK, 17, "\4\x18" ZERO16, 1 },
	{ "a network of no family", TAG_NETWORK, 18, "\5\x18" ZERO16, 1 },
	{ "a network of 33 bits", TAG_NETWORK, 18, "\4\x21" ZERO16, 1 },
	{ "a network with bits past its prefix", TAG_NETWORK, 18,
	    "\4\x08\x0a\x01" ZERO16, 1 },
	{ "nine networks", TAG_NETWORK, 18, "\4\0" ZERO16, 9 },
	{ "no rate", TAG_RATE, 4, ZERO16, 1 },
	{ "a rate of eight octets", TAG_RATE, 8, X16, 1 },
	{ "no end", TAG_UNTIL, 8, ZERO16, 1 },
	{ "an empty owner", TAG_OWNER, 0, "", 1 },
	{ "an owner too long", TAG_OWNER, 320, X256 X64, 1 },
	{ "two owners", TAG_OWNER, 1, "a", 2 },
	{ "a label with a blank", TAG_DEVICE, 3, "a b", 1 },
	{ "an empty label", TAG_DEVICE, 0, "", 1 },
	{ "a label too long", TAG_DEVICE, 33, X64, 1 },
	{ "a label twice", TAG_DEVICE, 1, "a", 2 },
};

static size_t
with_row(const struct row *row, unsigned char *octets)
{
	struct entry entry = plain();
	size_t len = entry_encode(&entry, true, octets);

	for (unsigned i = 0; i < row->times; i++) {
		octets[len++] = (unsigned char)row->tag;
		octets[len++] = (unsigned char)(row->len >> 8);
		octets[len++] = (unsigned char)row->len;
		memcpy(octets + len, row->octets, row->len);
		len += row->len;
	}
	return len;
}

static void
hostile_fields(void **state)
{
	unsigned char octets[2 * ENTRY_OCTETS_MAX];
	struct entry out, before;
	struct reason why = { 0 };

	(void)state;
	memset(&out, 0x5a, sizeof out);
	before = out;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t len = with_row(&rows[i], octets);

		if (entry_decode(&out, octets, len, &why))
			fail_msg("taken: %s", rows[i].name);
		assert_int_equal(why.code, REASON_DAMAGED);
		assert_memory_equal(&out, &before, sizeof out);
	}
}

/* Those next to what is refused. */
static void
bounds_are_taken(void **state)
{
	static const struct row good[] = {
		{ "a long san", TAG_SAN, 32 + 255, DIGEST X256, 1 },
		{ "a long legacy secret", TAG_LEGACY, 128, X256, 1 },
		{ "seven long rights", TAG_RIGHT, 255, X256, 7 },
		{ "a right of 320 octets", TAG_RIGHT, 320, X256 X64, 1 },
		{ "eight networks", TAG_NETWORK, 18, "\4\0" ZERO16, 8 },
		{ "a long label", TAG_DEVICE, 32, X64, 1 },
	};
	unsigned char octets[2 * ENTRY_OCTETS_MAX];
	struct entry out;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (!entry_decode(&out, octets, with_row(&good[i], octets),
			NULL))
			fail_msg("refused: %s", good[i].name);
}

/* Any octet changed: refused, or another entry that can be written. */
static void
changed_octets(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX], again[ENTRY_OCTETS_MAX];
	struct entry in = settled(), out, back;
	size_t len = entry_encode(&in, true, octets);

	(void)state;
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			octets[i] ^= (unsigned char)(1 << bit);
			if (entry_decode(&out, octets, len, NULL)) {
				size_t n = entry_encode(&out, true, again);

				assert_true(
				    entry_decode(&back, again, n, NULL));
				assert_memory_equal(&out, &back, sizeof out);
			}
			octets[i] ^= (unsigned char)(1 << bit);
		}
}

static void
networks(void **state)
{
	static const struct {
		const char *text, *printed; /* NULL: refused */
		const char *in, *out;       /* addresses */
	} cases[] = {
		{ "192.0.2.0/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0" },
		{ "192.0.2.1", "192.0.2.1/32", "::ffff:192.0.2.1",
		    "192.0.2.2" },
		{ "0.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::1" },
		{ "10.128.0.0/9", "10.128.0.0/9", "10.255.1.1", "10.127.1.1" },
		{ "2001:DB8::/32", "2001:db8::/32", "2001:db8:ffff::1",
		    "2001:db9::" },
		{ "::/0", "::/0", "fe80::1", "127.0.0.1" },
		{ "::ffff:192.0.2.0/24", "192.0.2.0/24", "192.0.2.7", "::1" },
		{ "192.0.2.1/24", NULL, NULL, NULL },
		{ "192.0.2.0/33", NULL, NULL, NULL },
		{ "192.0.2.0/", NULL, NULL, NULL },
		{ "192.0.2.0/ 8", NULL, NULL, NULL },
		{ "192.0.2.0/+8", NULL, NULL, NULL },
		{ "192.0.2.0/8x", NULL, NULL, NULL },
		{ "192.0.2.0/99999999999999999999", NULL, NULL, NULL },
		{ "192.0.2/24", NULL, NULL, NULL },
		{ "2001:db8::/129", NULL, NULL, NULL },
		{ "[::1]", NULL, NULL, NULL },
		{ "fe80::1%lo", NULL, NULL, NULL },
		{ "host.example", NULL, NULL, NULL },
		{ "", NULL, NULL, NULL },
		{ "/0", NULL, NULL, NULL },
	};
	char text[NETWORK_TEXT];
	struct network n;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct reason why = { 0 };
		bool ok = network_parse(&n, cases[i].text, &why);

		if (ok != (cases[i].printed != NULL))
			fail_msg("%s: %s", cases[i].text, why.text);
		if (!ok) {
			assert_int_equal(why.code, REASON_SYNTAX);
			continue;
		}
		assert_true(network_is_valid(&n));
		network_print(&n, text);
		assert_string_equal(text, cases[i].printed);
		if (!network_has(&n, cases[i].in))
			fail_msg("%s has no %s", text, cases[i].in);
		if (network_has(&n, cases[i].out))
			fail_msg("%s has %s", text, cases[i].out);
		assert_false(network_has(&n, "client.example"));
		assert_false(network_has(&n, ""));
	}
}

static void
names_in_certificates(void **state)
{
	static const struct {
		const char *text, *made; /* NULL: refused */
	} cases[] = {
		{ "dns:Host.Example.ORG", "dns:host.example.org" },
		{ "dns:host.example.org.", "dns:host.example.org" },
		{ "dns:xn--bcher-kva.example", "dns:xn--bcher-kva.example" },
		{ "email:Bob@Example.ORG", "email:Bob@example.org" },
		{ "email:\"a@b\"@x.org", "email:\"a@b\"@x.org" },
		{ "dns:*.example.org", NULL },
		{ "dns:", NULL },
		{ "dns:.", NULL },
		{ "dns:a..b", NULL },
		{ "dns:a b", NULL },
		{ "dns:a/b", NULL },
		{ "dns:b\xc3\xbc.example", NULL },
		{ "email:example.org", NULL },
		{ "email:@x.org", NULL },
		{ "email:a@", NULL },
		{ "email:a b@x.org", NULL },
		{ "email:" X64 "x@x.org", NULL },
		{ "dns:" X64 ".org", NULL },
		{ "ip:192.0.2.1", NULL },
		{ "DNS:x", NULL },
		{ "", NULL },
		{ "dns:" X256 X64, NULL },
	};
	char made[ENTRY_SAN_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct reason why = { 0 };
		bool ok = san_parse(made, cases[i].text, &why);

		if (ok != (cases[i].made != NULL))
			fail_msg("%s: %s", cases[i].text, why.text);
		if (ok)
			assert_string_equal(made, cases[i].made);
		else
			assert_int_equal(why.code, REASON_SYNTAX);
	}
}

/* What they are found by: not alike for another name or authority. */
static void
san_ids_differ(void **state)
{
	unsigned char ids[4][SPKI_OCTETS], a[SPKI_OCTETS] = { 1 },
					   b[SPKI_OCTETS] = { 2 };

	(void)state;
	entry_san_id(a, "dns:x", ids[0]);
	entry_san_id(b, "dns:x", ids[1]);
	entry_san_id(a, "dns:y", ids[2]);
	entry_san_id(a, "dns:x", ids[3]);
	assert_memory_equal(ids[0], ids[3], SPKI_OCTETS);
	assert_memory_not_equal(ids[0], ids[1], SPKI_OCTETS);
	assert_memory_not_equal(ids[0], ids[2], SPKI_OCTETS);
	assert_memory_not_equal(ids[1], ids[2], SPKI_OCTETS);
}

static void
device_names(void **state)
{
	char name[NAME_SIZE];

	(void)state;
	assert_true(entry_device_name("alice@example.org", "phone", name));
	assert_string_equal(name, "alice+phone@example.org");
	assert_false(entry_device_name("alice@example.org", "", name));
	assert_false(entry_device_name("alice@example.org", "a@b", name));
	assert_false(entry_device_name("alice@example.org", "a.b", name));
	/* Too long together. */
	assert_false(entry_device_name(X16 X16 "@example.org", X16 X16, name));
	assert_true(entry_device_name(X16 X16 "@example.org",
	    X16 "xxxxxxxxxxxxxxx", name));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_come_back),
		cmocka_unit_test(listings_have_no_secret),
		cmocka_unit_test(full_entries_fit),
		cmocka_unit_test(hostile_fields),
		cmocka_unit_test(bounds_are_taken),
		cmocka_unit_test(changed_octets),
		cmocka_unit_test(networks),
		cmocka_unit_test(names_in_certificates),
		cmocka_unit_test(san_ids_differ),
		cmocka_unit_test(device_names),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
