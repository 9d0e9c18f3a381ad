/*
 * t/unit/auth_control.c: what tools ask of the credential store: settings,
 * devices and names in certificates; and groups of changes and copies, by which
 * it is done.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../auth/control.h"
#include "../../auth/store.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ALICE "alice@example.org"
#define BOB "bob@example.org"
#define PHONE "alice+phone@example.org"
#define TABLET "alice+tablet@example.org"

enum { NOW = 1000 };

static char folder[64];
static char path[96];
static struct store *store;

static void
open_it(void)
{
	struct reason why;

	if (!store_open(&store, path, &why))
		fail_msg("%s", why.text);
}

static int
setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/auth_control.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/users.kch", folder);
	if (!store_create(path, NULL))
		return -1;
	open_it();
	return 0;
}

static int
teardown(void **state)
{
	char command[128];

	(void)state;
	store_close(store);
	store = NULL;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static struct entry
user(const char *name)
{
	struct entry entry = { .enabled = true };

	strcpy(entry.name, name);
	assert_true(verifier_derive(&entry.verifiers[VERIFIER_SHA_256],
	    VERIFIER_SHA_256, name, 4096, "0123456789abcdef", 16, NULL));
	return entry;
}

static struct entry
device(const char *name, const char *owner)
{
	struct entry entry = user(name);

	entry.kind = ENTRY_DEVICE;
	strcpy(entry.owner, owner);
	return entry;
}

/* As a packet, as the auth role does it. */
static enum reason_code
ask(enum control_user_verb verb, const struct entry *entry)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	size_t len = control_user_encode(packet, 0, verb, entry);
	uint64_t count = store_count(store);
	struct entry decoded;
	struct reason why = { 0 };

	if (!control_user_decode(packet + 1, len - 1, &verb, &decoded, &why) ||
	    !control_user_apply(store, verb, &decoded, NOW, &why)) {
		assert_int_not_equal(why.code, REASON_NONE);
		assert_int_equal(store_count(store), count);
		return why.code;
	}
	return REASON_NONE;
}

static enum reason_code
ask_name(enum control_user_verb verb, const char *name)
{
	struct entry entry = { .enabled = true };

	strcpy(entry.name, name);
	return ask(verb, &entry);
}

static void
done(enum control_user_verb verb, struct entry entry)
{
	enum reason_code code = ask(verb, &entry);

	if (code != REASON_NONE)
		fail_msg("%s %s: %s", control_user_word(verb), entry.name,
		    reason_word(code));
}

static struct entry
get(const char *name)
{
	struct entry entry;
	struct reason why;

	if (!store_get(store, name, &entry, &why))
		fail_msg("%s", why.text);
	return entry;
}

static bool
is_there(const char *name)
{
	struct entry entry;
	struct reason why;

	if (store_get(store, name, &entry, &why))
		return true;
	assert_int_equal(why.code, REASON_ABSENT);
	return false;
}

/* All that is acknowledged is in the file. */
static void
reopen(void)
{
	store_close(store);
	open_it();
}

static bool
has_label(const char *owner, const char *label)
{
	struct entry entry = get(owner);

	return entry_has_device(&entry, label);
}

static void
enrol_and_revoke(void **state)
{
	struct entry phone = device(PHONE, ALICE), other;

	(void)state;
	done(CONTROL_USER_ADD, user(ALICE));
	done(CONTROL_USER_ENROL, phone);
	reopen();
	assert_true(has_label(ALICE, "phone"));
	other = get(PHONE);
	assert_string_equal(other.owner, ALICE);
	assert_int_equal(other.created, NOW);
	assert_int_equal(get(ALICE).changed, NOW);
	/* Once. */
	assert_int_equal(ask(CONTROL_USER_ENROL, &phone), REASON_EXISTS);
	assert_int_equal(ask_name(CONTROL_USER_REVOKE, ALICE), REASON_SYNTAX);
	assert_int_equal(ask_name(CONTROL_USER_REVOKE, PHONE), REASON_NONE);
	reopen();
	assert_false(is_there(PHONE));
	assert_false(has_label(ALICE, "phone"));
	assert_int_equal(store_count(store), 1);
	assert_int_equal(ask_name(CONTROL_USER_REVOKE, PHONE), REASON_ABSENT);
	/* And again; "remove" does the same. */
	done(CONTROL_USER_ENROL, phone);
	assert_int_equal(ask_name(CONTROL_USER_REMOVE, PHONE), REASON_NONE);
	assert_false(has_label(ALICE, "phone"));
}

static void
enrolment_is_refused(void **state)
{
	struct entry phone = device(PHONE, ALICE), bad;

	(void)state;
	assert_int_equal(ask(CONTROL_USER_ENROL, &phone), REASON_ABSENT);
	done(CONTROL_USER_ADD, user(ALICE));
	done(CONTROL_USER_ADD, user(BOB));
	bad = phone;
	bad.kind = ENTRY_PERSON;
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_PROTOCOL);
	bad = phone;
	bad.owner[0] = '\0';
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_PROTOCOL);
	bad = device(PHONE, BOB);
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_SYNTAX);
	bad = device("alice+a.b@example.org", ALICE);
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_SYNTAX);
	bad = phone;
	memset(bad.verifiers, 0, sizeof bad.verifiers);
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_PROTOCOL);
	bad = phone;
	bad.verifiers[VERIFIER_SHA_256].has_keys = false;
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_PROTOCOL);
	/* A person who is called so is not replaced, nor another's device. */
	done(CONTROL_USER_ADD, user(PHONE));
	assert_int_equal(ask(CONTROL_USER_ENROL, &phone), REASON_EXISTS);
	assert_false(has_label(ALICE, "phone"));
	assert_int_equal(ask_name(CONTROL_USER_REMOVE, PHONE), REASON_NONE);
	/* Devices have no devices. */
	done(CONTROL_USER_ENROL, phone);
	bad = device("alice+phone+x@example.org", PHONE);
	assert_int_equal(ask(CONTROL_USER_ENROL, &bad), REASON_SYNTAX);
	/* Only this way are there devices. */
	bad = device(TABLET, ALICE);
	assert_int_equal(ask(CONTROL_USER_ADD, &bad), REASON_PROTOCOL);
	bad = device(TABLET, "");
	assert_int_equal(ask(CONTROL_USER_ADD, &bad), REASON_PROTOCOL);
}

static void
too_many_devices(void **state)
{
	char name[64];

	(void)state;
	done(CONTROL_USER_ADD, user(ALICE));
	for (int i = 0; i <= ENTRY_DEVICES_MAX; i++) {
		struct entry entry;

		snprintf(name, sizeof name, "alice+d%d@example.org", i);
		entry = device(name, ALICE);
		assert_int_equal(ask(CONTROL_USER_ENROL, &entry),
		    i < ENTRY_DEVICES_MAX ? REASON_NONE : REASON_RANGE);
	}
}

/* What an import brought of a device that its owner has not, or no more. */
static void
unlisted_devices_are_replaced(void **state)
{
	struct entry phone = device(PHONE, ALICE);

	(void)state;
	done(CONTROL_USER_ADD, user(ALICE));
	phone.rate = 5;
	done(CONTROL_USER_IMPORT, phone);
	phone.rate = 0;
	done(CONTROL_USER_ENROL, phone);
	assert_int_equal(get(PHONE).rate, 0);
	assert_true(has_label(ALICE, "phone"));
	/* The owner gone, the device can go too. */
	phone = device("zoe+x@example.org", "zoe@example.org");
	done(CONTROL_USER_IMPORT, phone);
	assert_int_equal(ask_name(CONTROL_USER_REVOKE, phone.name),
	    REASON_NONE);
	assert_false(is_there(phone.name));
}

static void
removal_takes_devices(void **state)
{
	struct entry tablet = device(TABLET, ALICE);

	(void)state;
	memset(tablet.keys[0], 7, SPKI_OCTETS);
	tablet.key_count = 1;
	done(CONTROL_USER_ADD, user(ALICE));
	done(CONTROL_USER_ADD, user(BOB));
	done(CONTROL_USER_ENROL, device(PHONE, ALICE));
	done(CONTROL_USER_ENROL, tablet);
	done(CONTROL_USER_ENROL, device("bob+phone@example.org", BOB));
	assert_int_equal(store_count(store), 5);
	assert_int_equal(ask_name(CONTROL_USER_REMOVE, ALICE), REASON_NONE);
	reopen();
	assert_int_equal(store_count(store), 2);
	assert_false(is_there(PHONE));
	assert_false(is_there(TABLET));
	assert_true(is_there("bob+phone@example.org"));
	/* Its key is free. */
	memset(tablet.keys[0], 7, SPKI_OCTETS);
	strcpy(tablet.name, "bob+tablet@example.org");
	strcpy(tablet.owner, BOB);
	done(CONTROL_USER_ENROL, tablet);
}

/* Nothing of it: the key is somebody's. */
static void
enrolment_is_whole_or_not(void **state)
{
	struct entry alice = user(ALICE), phone = device(PHONE, ALICE);

	(void)state;
	memset(alice.keys[0], 7, SPKI_OCTETS);
	alice.key_count = 1;
	done(CONTROL_USER_ADD, alice);
	memset(phone.keys[0], 7, SPKI_OCTETS);
	phone.key_count = 1;
	assert_int_equal(ask(CONTROL_USER_ENROL, &phone), REASON_EXISTS);
	assert_false(has_label(ALICE, "phone"));
	assert_int_equal(get(ALICE).change, 1);
}

/* What was undone may have been listed: that a list says so is better than that
 * it ends early. */
static void
lists_go_on(void **state)
{
	struct entry alice = user(ALICE), phone = device(PHONE, ALICE), entry;
	struct store_walk *walk;
	struct reason why;
	int n = 0;

	(void)state;
	memset(alice.keys[0], 7, SPKI_OCTETS);
	alice.key_count = 1;
	memset(phone.keys[0], 7, SPKI_OCTETS);
	phone.key_count = 1;
	done(CONTROL_USER_ADD, alice);
	for (int i = 0; i < 5; i++) {
		char name[32];

		snprintf(name, sizeof name, "u%d@example.org", i);
		done(CONTROL_USER_ADD, user(name));
	}
	assert_true(store_walk_new(&walk, store, &why));
	assert_true(store_walk_next(walk, &entry, &why));
	/* Refused before anything was written. */
	assert_int_equal(ask(CONTROL_USER_ENROL, &phone), REASON_EXISTS);
	while (store_walk_next(walk, &entry, &why))
		n++;
	assert_int_equal(why.code, REASON_NONE);
	assert_int_equal(n, 5);
	store_walk_free(walk);
	assert_true(store_walk_new(&walk, store, &why));
	assert_true(store_walk_next(walk, &entry, &why));
	assert_true(store_begin(store, &why));
	assert_true(store_remove(store, ALICE, &why));
	assert_true(store_end(store, false, &why));
	assert_false(store_walk_next(walk, &entry, &why));
	assert_int_equal(why.code, REASON_IO);
	store_walk_free(walk);
}

static void
alter_takes_settings(void **state)
{
	struct entry was, sent, now;

	(void)state;
	was = user(ALICE);
	was.has_legacy = true;
	strcpy(was.legacy, "secret");
	done(CONTROL_USER_ADD, was);
	was = get(ALICE);
	sent = was;
	/* As a listing has it, and more than may be altered. */
	memset(sent.verifiers, 0, sizeof sent.verifiers);
	memset(sent.legacy, 0, sizeof sent.legacy);
	sent.enabled = false;
	sent.kind = ENTRY_SERVER;
	sent.binding_required = true;
	sent.legacy_until = 77;
	memcpy(sent.rights, "@example.org\0*", 15);
	sent.rights_len = 15;
	assert_true(network_parse(&sent.networks[0], "192.0.2.0/24", NULL));
	sent.network_count = 1;
	sent.rate = 10;
	sent.until = 88;
	done(CONTROL_USER_ALTER, sent);
	reopen();
	now = get(ALICE);
	assert_int_equal(now.changed, NOW);
	assert_int_not_equal(now.change, was.change);
	sent.change = now.change;
	sent.enabled = true;
	sent.kind = ENTRY_PERSON;
	sent.created = sent.changed = NOW;
	memcpy(sent.verifiers, was.verifiers, sizeof sent.verifiers);
	memcpy(sent.legacy, was.legacy, sizeof sent.legacy);
	assert_memory_equal(&now, &sent, sizeof now);
	/* Somebody else was first. */
	assert_int_equal(ask_name(CONTROL_USER_DISABLE, ALICE), REASON_NONE);
	sent.rate = 11;
	assert_int_equal(ask(CONTROL_USER_ALTER, &sent), REASON_EXISTS);
	assert_int_equal(get(ALICE).rate, 10);
	/* A pattern that would never match. */
	sent = get(ALICE);
	memcpy(sent.rights, "@Example.org", 13);
	sent.rights_len = 13;
	assert_int_equal(ask(CONTROL_USER_ALTER, &sent), REASON_SYNTAX);
	strcpy(sent.name, BOB);
	assert_int_equal(ask(CONTROL_USER_ALTER, &sent), REASON_ABSENT);
}

static void
passwords_and_legacy_secrets(void **state)
{
	struct entry entry = user(ALICE), none = { .enabled = true };

	(void)state;
	entry.has_legacy = true;
	assert_int_equal(ask(CONTROL_USER_ADD, &entry), REASON_PROTOCOL);
	assert_int_equal(ask(CONTROL_USER_IMPORT, &entry), REASON_PROTOCOL);
	strcpy(entry.legacy, "secret");
	done(CONTROL_USER_ADD, entry);
	assert_string_equal(get(ALICE).legacy, "secret");
	strcpy(entry.legacy, "other");
	done(CONTROL_USER_SET, entry);
	assert_string_equal(get(ALICE).legacy, "other");
	/* Without it, it is gone. */
	done(CONTROL_USER_SET, user(ALICE));
	assert_false(get(ALICE).has_legacy);
	assert_string_equal(get(ALICE).legacy, "");
	/* Nobody but others can say who that is. */
	strcpy(none.name, BOB);
	done(CONTROL_USER_ADD, none);
	entry = get(BOB);
	assert_false(entry_has_credential(&entry));
	/* A legacy secret alone is no password. */
	strcpy(none.name, "eve@example.org");
	none.has_legacy = true;
	strcpy(none.legacy, "x");
	assert_int_equal(ask(CONTROL_USER_ADD, &none), REASON_PROTOCOL);
	strcpy(none.name, BOB);
	assert_int_equal(ask(CONTROL_USER_SET, &none), REASON_PROTOCOL);
}

static struct entry
with_san(const char *name, int ca, const char *san)
{
	struct entry entry = { .enabled = true, .san_count = 1 };

	strcpy(entry.name, name);
	memset(entry.sans[0].ca, ca, SPKI_OCTETS);
	strcpy(entry.sans[0].name, san);
	return entry;
}

static bool
leads_to(int ca, const char *san, const char *name)
{
	unsigned char authority[SPKI_OCTETS], id[SPKI_OCTETS];
	char found[NAME_SIZE];
	struct reason why;

	memset(authority, ca, sizeof authority);
	entry_san_id(authority, san, id);
	if (store_find_key(store, id, found, &why))
		return name != NULL && strcmp(found, name) == 0;
	assert_int_equal(why.code, REASON_ABSENT);
	return name == NULL;
}

static void
names_in_certificates(void **state)
{
	struct entry entry;

	(void)state;
	done(CONTROL_USER_ADD, user(ALICE));
	done(CONTROL_USER_ADD, user(BOB));
	entry = with_san(ALICE, 1, "dns:mx.example.org");
	done(CONTROL_USER_BIND, entry);
	assert_int_equal(ask(CONTROL_USER_BIND, &entry), REASON_EXISTS);
	done(CONTROL_USER_BIND, with_san(ALICE, 2, "dns:mx.example.org"));
	reopen();
	assert_true(leads_to(1, "dns:mx.example.org", ALICE));
	assert_true(leads_to(2, "dns:mx.example.org", ALICE));
	assert_true(leads_to(3, "dns:mx.example.org", NULL));
	/* One user's. */
	entry = with_san(BOB, 1, "dns:mx.example.org");
	assert_int_equal(ask(CONTROL_USER_BIND, &entry), REASON_EXISTS);
	/* Not as it would be compared. */
	entry = with_san(BOB, 1, "dns:MX2.example.org");
	assert_int_equal(ask(CONTROL_USER_BIND, &entry), REASON_SYNTAX);
	entry = with_san(ALICE, 3, "dns:mx.example.org");
	assert_int_equal(ask(CONTROL_USER_UNBIND, &entry), REASON_ABSENT);
	done(CONTROL_USER_UNBIND, with_san(ALICE, 1, "dns:mx.example.org"));
	assert_true(leads_to(1, "dns:mx.example.org", NULL));
	assert_true(leads_to(2, "dns:mx.example.org", ALICE));
	done(CONTROL_USER_BIND, with_san(BOB, 1, "dns:mx.example.org"));
	/* All of them, keys too. */
	entry = user(ALICE);
	entry.key_count = 1;
	memset(entry.keys[0], 9, SPKI_OCTETS);
	done(CONTROL_USER_BIND, entry);
	assert_int_equal(ask_name(CONTROL_USER_UNBIND, ALICE), REASON_NONE);
	entry = get(ALICE);
	assert_int_equal(entry.key_count + entry.san_count, 0);
	assert_true(leads_to(2, "dns:mx.example.org", NULL));
	for (int i = 0; i <= ENTRY_SANS_MAX; i++) {
		entry = with_san(ALICE, 20 + i, "dns:mx.example.org");
		assert_int_equal(ask(CONTROL_USER_BIND, &entry),
		    i < ENTRY_SANS_MAX ? REASON_NONE : REASON_RANGE);
	}
	assert_int_equal(ask_name(CONTROL_USER_REMOVE, ALICE), REASON_NONE);
	reopen();
	assert_true(leads_to(20, "dns:mx.example.org", NULL));
	assert_true(leads_to(1, "dns:mx.example.org", BOB));
}

static void
put(struct store *into, const char *name)
{
	struct entry entry = user(name);
	struct reason why;

	if (!store_put(into, &entry, &why))
		fail_msg("%s", why.text);
}

static void
groups(void **state)
{
	struct entry entry = user(ALICE);
	struct reason why;
	uint64_t change;

	(void)state;
	/* What is in it is seen at once, and kept. */
	assert_true(store_begin(store, &why));
	put(store, ALICE);
	put(store, BOB);
	assert_true(is_there(BOB));
	assert_int_equal(store_count(store), 2);
	assert_true(store_remove(store, ALICE, &why));
	/* A refusal is no failure of the others. */
	assert_false(store_remove(store, ALICE, &why));
	assert_true(store_end(store, true, &why));
	reopen();
	assert_int_equal(store_count(store), 1);
	assert_true(is_there(BOB));
	/* Undone, the store is as before, and can be written. */
	change = get(BOB).change;
	assert_true(store_begin(store, &why));
	put(store, ALICE);
	put(store, BOB);
	assert_true(store_end(store, false, &why));
	assert_false(is_there(ALICE));
	assert_int_equal(get(BOB).change, change);
	assert_int_equal(store_count(store), 1);
	assert_true(store_put(store, &entry, &why));
	/* Closed in the middle, it is undone too. */
	assert_true(store_begin(store, &why));
	put(store, "c@example.org");
	reopen();
	assert_false(is_there("c@example.org"));
	assert_int_equal(store_count(store), 2);
}

static void
copies(void **state)
{
	char made[128];
	struct store *copy;
	struct stat st;
	struct reason why;

	(void)state;
	snprintf(made, sizeof made, "%s.import", path);
	put(store, ALICE);
	assert_true(store_copy(&copy, store, &why));
	assert_int_equal(stat(made, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	put(copy, BOB);
	assert_int_equal(store_count(copy), 2);
	assert_false(is_there(BOB));
	/* Closed it is gone. */
	store_close(copy);
	assert_int_equal(stat(made, &st), -1);
	assert_int_equal(store_count(store), 1);
	assert_true(store_copy(&copy, store, &why));
	put(copy, BOB);
	assert_true(store_remove(copy, ALICE, &why));
	assert_true(store_adopt(copy, store, &why));
	assert_int_equal(stat(made, &st), -1);
	/* What is no longer the store must not be written. */
	assert_true(store_is_broken(store));
	assert_false(store_begin(store, &why));
	assert_false(store_remove(copy, BOB, &why));
	store_close(copy);
	reopen();
	assert_int_equal(store_count(store), 1);
	assert_true(is_there(BOB));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	put(store, ALICE);
}

/* Nobody else gets at it meanwhile: another process asks for the lock. */
static void
copies_are_locked(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct store *copy;
	struct reason why;
	int status;
	pid_t pid;

	(void)state;
	assert_true(store_copy(&copy, store, &why));
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_RDWR);

		_exit(fd >= 0 && fcntl(fd, F_SETLK, &lock) < 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(store_adopt(copy, store, &why));
	store_close(copy);
}

#define store_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		store_test(enrol_and_revoke),
		store_test(enrolment_is_refused),
		store_test(too_many_devices),
		store_test(unlisted_devices_are_replaced),
		store_test(removal_takes_devices),
		store_test(enrolment_is_whole_or_not),
		store_test(lists_go_on),
		store_test(alter_takes_settings),
		store_test(passwords_and_legacy_secrets),
		store_test(names_in_certificates),
		store_test(groups),
		store_test(copies),
		store_test(copies_are_locked),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
