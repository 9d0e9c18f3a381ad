/*
 * t/unit/auth_judge.c: what forbids a login although it was proved, a row for
 * each condition and one for its opposite.
 */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../auth/legacy.h"
#include "../../server/auth_dialogue.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { NOW = 1800000000 }; /* 2027-01-15 */

static struct auth_role role;
static char folder[64];

static const char conf[] =
    "hostname = \"mail.example.org\"\n"
    "smarthost { address = \"smtp.isp.example:465\" tls = implicit }\n"
    "listener a { kind = submissions addresses = { \"127.0.0.1:465\" } }\n"
    "certificate s { chain = \"c.pem\" key = \"c.key\" role = server }\n"
    "require-binding = { \"203.0.113.0/24\" }\n"
    "legacy = { tls1.2, login, md5, sha-1 }\n"
    "%s"
    "end = true\n";

static struct network
network(const char *text)
{
	struct network n;

	assert_true(network_parse(&n, text, NULL));
	return n;
}

/* What differs from alice, who may do all. */
struct row {
	const char *what;
	const char *denial; /* "": it is allowed; ends in "...": begins so */
	unsigned mechanism, tls; /* 0: PLAIN, 13 */
	const char *client;      /* NULL: 192.0.2.1 */
	const char *network;     /* of the entry */
	int64_t until, legacy_until;
	bool disabled, binding;
	bool nobody;        /* the store has no entry */
	const char *owner;  /* makes a device of it */
	const char *device; /* its name, else alice@example.org */
	bool device_kind;
};

static struct entry
entry_of(const struct row *row)
{
	struct entry e = { .enabled = !row->disabled,
		.until = row->until,
		.legacy_until = row->legacy_until,
		.binding_required = row->binding };

	strcpy(e.name, row->device != NULL ? row->device : "alice@example.org");
	if (row->owner != NULL)
		strcpy(e.owner, row->owner);
	if (row->owner != NULL || row->device_kind)
		e.kind = ENTRY_DEVICE;
	if (row->network != NULL)
		e.networks[e.network_count++] = network(row->network);
	return e;
}

static void
put(const struct row *row, const char *name, const char *label)
{
	struct entry e = entry_of(row);

	strcpy(e.name, name);
	strcpy(e.devices[e.device_count++], label);
	assert_true(store_put(role.store, &e, NULL));
}

static int
setup(void **state)
{
	static const struct row good,
	    disabled = { .disabled = true }, over = { .until = NOW },
	    far = { .network = "198.51.100.0/24" }, bound = { .binding = true },
	    old = { .legacy_until = NOW },
	    device = { .owner = "good@example.org" };
	char path[128];

	(void)state;
	strcpy(folder, "/tmp/auth_judge.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/users.kch", folder);
	if (!store_create(path, NULL) || !store_open(&role.store, path, NULL))
		return -1;
	put(&good, "good@example.org", "phone");
	put(&disabled, "disabled@example.org", "phone");
	put(&over, "over@example.org", "phone");
	put(&far, "far@example.org", "phone");
	put(&bound, "bound@example.org", "phone");
	put(&old, "old@example.org", "phone");
	put(&device, "good+tablet@example.org", "watch");
	return 0;
}

static int
teardown(void **state)
{
	char command[128];

	(void)state;
	store_close(role.store);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static struct auth_config
configured(const char *more)
{
	struct auth_config made = { .number = 1 };
	struct reason why;
	char text[1024];

	snprintf(text, sizeof text, conf, more);
	if (!config_parse(&made.config, "/x/s.conf", text, strlen(text), &why))
		fail_msg("%s", why.text);
	return made;
}

static void
judge(struct auth_config *config, const struct row *row)
{
	struct dialogue d = { .role = &role, .config = config };
	struct entry e = entry_of(row), entry, owner;
	char text[DIALOGUE_TEXT] = "";
	size_t len = strcspn(row->denial, "."); /* of "...", if it has that */
	enum judgement got;

	d.listener = &config->config->listeners[0];
	d.mechanism = row->mechanism != 0 ? (enum mechanism)row->mechanism
					  : MECHANISM_PLAIN;
	d.tls_version = row->tls != 0 ? row->tls : 13;
	strcpy(d.client, row->client != NULL ? row->client : "192.0.2.1");
	if (row->nobody)
		strcpy(e.name, "nobody@example.org");
	else
		assert_true(store_put(role.store, &e, NULL));
	got = dialogue_judge(&d, e.name, NOW, &entry, &owner, text);
	if (got != (row->denial[0] == '\0' ? JUDGED_ALLOWED : JUDGED_DENIED))
		fail_msg("%s: %d \"%s\"", row->what, got, text);
	if (got == JUDGED_DENIED &&
	    (strstr(row->denial, "...") != NULL
		    ? strncmp(text, row->denial, len) != 0
		    : strcmp(text, row->denial) != 0))
		fail_msg("%s: \"%s\"", row->what, text);
	assert_string_equal(entry.name, row->nobody ? "" : e.name);
	if (got == JUDGED_ALLOWED &&
	    strcmp(owner.name, row->owner != NULL ? row->owner : "") != 0)
		fail_msg("%s: owner \"%s\"", row->what, owner.name);
}

/* Somebody who does not mind case has let "ALICE" in. */
static void
test_spelling(void **state)
{
	static const struct row gone = { .disabled = true };
	struct auth_config config = configured("");
	struct dialogue d = { .role = &role,
		.config = &config,
		.listener = &config.config->listeners[0],
		.mechanism = MECHANISM_PLAIN,
		.tls_version = 13,
		.client = "192.0.2.1" };
	struct entry entry, owner;
	char text[DIALOGUE_TEXT] = "";

	(void)state;
	put(&gone, "carol@example.org", "phone");
	assert_int_equal(
	    dialogue_judge(&d, "CARol@example.org", NOW, &entry, &owner, text),
	    JUDGED_DENIED);
	assert_string_equal(text, "disabled");
	/* The store itself knows names as they are. */
	d.change = 7;
	assert_int_equal(
	    dialogue_judge(&d, "CARol@example.org", NOW, &entry, &owner, text),
	    JUDGED_DENIED);
	assert_string_equal(text, "changed during the exchange");
	config_free(config.config);
}

static void
test_entries(void **state)
{
	static const struct row rows[] = {
		{ "alice", "", .tls = 13 },
		{ "nobody of the store", "", .nobody = true },
		{ "disabled", "disabled", .disabled = true },
		{ "the second before the end", "", .until = NOW + 1 },
		{ "at the end", "its time is over", .until = NOW },
		{ "in its network", "", .network = "192.0.2.0/24" },
		{ "in its network, mapped", "", .network = "192.0.2.0/24",
		    .client = "::ffff:192.0.2.1" },
		{ "from elsewhere", "not from this network",
		    .network = "192.0.2.128/25" },
		{ "IPv6 where IPv4 is asked", "not from this network",
		    .network = "0.0.0.0/0", .client = "2001:db8::1" },
		{ "a user who has to bind, PLAIN",
		    "channel binding is required", .binding = true },
		{ "a user who has to bind, SCRAM-SHA-256",
		    "channel binding is required", .binding = true,
		    .mechanism = MECHANISM_SCRAM_SHA_256 },
		{ "a user who has to bind, GSSAPI",
		    "channel binding is required", .binding = true,
		    .mechanism = MECHANISM_GSSAPI },
		{ "a user who has to bind, -PLUS", "", .binding = true,
		    .mechanism = MECHANISM_SCRAM_SHA_256_PLUS },
		{ "a user who has to bind, EXTERNAL", "", .binding = true,
		    .mechanism = MECHANISM_EXTERNAL },
		{ "a network that has to bind, PLAIN",
		    "channel binding is required from this network",
		    .client = "203.0.113.9" },
		{ "a network that has to bind, nobody of the store",
		    "channel binding is required from this network",
		    .client = "203.0.113.9", .nobody = true },
		{ "a network that has to bind, -PLUS", "",
		    .client = "203.0.113.9",
		    .mechanism = MECHANISM_SCRAM_SHA_1_PLUS },
		{ "a network that has to bind, EXTERNAL", "",
		    .client = "203.0.113.9", .mechanism = MECHANISM_EXTERNAL },
	};
	struct auth_config config = configured("");

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		judge(&config, &rows[i]);
	config_free(config.config);
}

static void
test_devices(void **state)
{
#define DEVICE(who)                                                            \
	.owner = who "@example.org", .device = who "+phone@example.org"
	static const struct row rows[] = {
		{ "a device", "", DEVICE("good") },
		{ "of nobody", "a device of nobody", .device_kind = true,
		    .device = "good+phone@example.org" },
		{ "of a user who is gone", "its owner is no user",
		    DEVICE("gone") },
		{ "of a disabled user", "its owner: disabled",
		    DEVICE("disabled") },
		{ "of one whose time is over", "its owner: its time is over",
		    DEVICE("over") },
		{ "outside its owner's networks",
		    "its owner: not from this network", DEVICE("far") },
		{ "inside them", "", DEVICE("far"), .client = "198.51.100.1" },
		{ "outside its own", "not from this network", DEVICE("far"),
		    .client = "198.51.100.1", .network = "192.0.2.0/24" },
		{ "of one who has to bind",
		    "its owner: channel binding is required", DEVICE("bound") },
		{ "of one who has to bind, bound", "", DEVICE("bound"),
		    .mechanism = MECHANISM_SCRAM_SHA_256_PLUS },
		{ "in an old way that is over for its owner",
		    "its owner: login: not taken after ...", DEVICE("old"),
		    .mechanism = MECHANISM_LOGIN },
		{ "disabled itself", "disabled", DEVICE("good"),
		    .disabled = true },
		{ "with a label that its owner has not",
		    "its owner has no such device", .owner = "good@example.org",
		    .device = "good+laptop@example.org" },
		{ "that has no label", "its owner has no such device",
		    .owner = "good@example.org",
		    .device = "phone@example.org" },
		{ "named after somebody else", "its owner has no such device",
		    .owner = "good@example.org",
		    .device = "evil+phone@example.org" },
		{ "in another realm", "its owner has no such device",
		    .owner = "good@example.org",
		    .device = "good+phone@example.net" },
		{ "of a device", "its owner has no such device",
		    .owner = "good+tablet@example.org",
		    .device = "good+tablet+watch@example.org" },
	};
	struct auth_config config = configured("");

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		judge(&config, &rows[i]);
	config_free(config.config);
}

/* 2027-01-14 is over at NOW, 2027-01-15 is not. */
static void
test_old_practices(void **state)
{
	static const struct row never[] = {
		{ "no date", "", .mechanism = MECHANISM_LOGIN, .tls = 12 },
		{ "a user's own date",
		    "login: not taken after 2027-01-15T08:00:00Z, expected "
		    "SCRAM-SHA-256 or PLAIN",
		    .mechanism = MECHANISM_LOGIN, .legacy_until = NOW },
		{ "the second before it", "", .mechanism = MECHANISM_LOGIN,
		    .legacy_until = NOW + 1 },
	};
	static const struct row rows[] = {
		{ "PLAIN over TLS 1.3", "", .tls = 13 },
		{ "LOGIN",
		    "login: not taken after 2027-01-14, expected "
		    "SCRAM-SHA-256 or PLAIN",
		    .mechanism = MECHANISM_LOGIN },
		{ "TLS 1.2",
		    "tls1.2: not taken after 2027-01-14, expected TLS 1.3",
		    .tls = 12 },
		{ "TLS 1.2, nobody of the store", "tls1.2: ...", .tls = 12,
		    .nobody = true },
		{ "TLS 1.2 with a certificate", "tls1.2: ...", .tls = 12,
		    .mechanism = MECHANISM_EXTERNAL },
		{ "both",
		    "tls1.2 login: not taken after 2027-01-14, expected TLS "
		    "1.3, and SCRAM-SHA-256 or PLAIN",
		    .mechanism = MECHANISM_LOGIN, .tls = 12 },
		{ "SCRAM-SHA-1-PLUS", "sha-1: ...",
		    .mechanism = MECHANISM_SCRAM_SHA_1_PLUS },
		{ "CRAM-MD5", "md5: ...", .mechanism = MECHANISM_CRAM_MD5 },
		{ "unbound, which is not in the list", "",
		    .mechanism = MECHANISM_SCRAM_SHA_256 },
		{ "a user with a later date", "", .tls = 12,
		    .legacy_until = NOW + 1 },
		{ "a user who always may", "", .tls = 12,
		    .legacy_until = ENTRY_LEGACY_ALWAYS },
	};
	static const struct row bound[] = {
		{ "unbound",
		    "unbound: not taken after 2027-01-14, expected "
		    "SCRAM-SHA-256-PLUS",
		    .tls = 13 },
		{ "unbound, TLS 1.2", "unbound: ...", .tls = 12 },
		{ "bound", "", .mechanism = MECHANISM_SCRAM_SHA_256_PLUS },
	};
	struct auth_config config = configured("");

	(void)state;
	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
		judge(&config, &never[i]);
	config_free(config.config);
	config = configured("legacy-until = \"2027-01-14\"\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		judge(&config, &rows[i]);
	config.config->legacy = LEGACY_UNBOUND;
	for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++)
		judge(&config, &bound[i]);
	config_free(config.config);
	config = configured("legacy-until = \"2027-01-15\"\n");
	judge(&config, &never[0]);
	config_free(config.config);
}

/* Between the proof and its judgement. */
static void
test_changed_meanwhile(void **state)
{
	static const struct row alice = { "alice", "", .tls = 13 };
	struct auth_config config = configured("");
	struct dialogue d = { .role = &role,
		.config = &config,
		.mechanism = MECHANISM_SCRAM_SHA_256,
		.tls_version = 13,
		.client = "192.0.2.1" };
	struct entry e = entry_of(&alice), entry, owner;
	char text[DIALOGUE_TEXT] = "";

	(void)state;
	d.listener = &config.config->listeners[0];
	assert_true(store_put(role.store, &e, NULL));
	d.change = e.change;
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_ALLOWED);
	/* A device now. */
	e.kind = ENTRY_DEVICE;
	strcpy(e.owner, "good@example.org");
	assert_true(store_put(role.store, &e, NULL));
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_DENIED);
	assert_string_equal(text, "changed during the exchange");
	assert_true(store_remove(role.store, e.name, NULL));
	text[0] = '\0';
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_DENIED);
	assert_string_equal(text, "changed during the exchange");
	/* Others say who it is: nothing can have changed. */
	d.change = 0;
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_ALLOWED);
	config_free(config.config);
}

/* Where the store is no backend, it has no say. */
static void
test_other_backends(void **state)
{
	static const struct row off = { "off", "", .disabled = true };
	struct auth_config config = configured("");
	struct dialogue d = { .role = &role,
		.config = &config,
		.mechanism = MECHANISM_PLAIN,
		.tls_version = 13,
		.client = "192.0.2.1" };
	struct config_listener pam = config.config->listeners[0];
	struct entry e = entry_of(&off), entry, owner;
	char text[DIALOGUE_TEXT] = "";

	(void)state;
	assert_true(store_put(role.store, &e, NULL));
	pam.backends = BACKEND_PAM;
	d.listener = &pam;
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_ALLOWED);
	strcpy(d.client, "203.0.113.9");
	assert_int_equal(dialogue_judge(&d, e.name, NOW, &entry, &owner, text),
	    JUDGED_DENIED);
	config_free(config.config);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changed_meanwhile),
		cmocka_unit_test(test_other_backends),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_spelling),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_old_practices),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
