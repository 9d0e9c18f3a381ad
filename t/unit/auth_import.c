/*
 * t/unit/auth_import.c: users from the text of other programs, the store as
 * text, and hashes that crypt(3) checks.
 */
#include <crypt.h>
#include <stdio.h>

#include "../../auth/control.h"
#include "../../auth/export.h"
#include "../../auth/foreign.h"
#include "../../auth/import.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define KEY32 "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
#define KEY20 "a2tra2tra2tra2tra2tra2tra2s="

static enum user_import_result
one(enum import_format format, const char *line, struct entry *out,
    struct reason *why)
{
	struct user_import import;
	enum user_import_result result;

	import_init(&import, format, "example.org", 4096);
	memset(why, 0, sizeof *why);
	result = user_import_line(&import, line, strlen(line), out, why);
	import_fini(&import);
	return result;
}

struct row {
	const char *line;
	const char *want; /* name, or what the reason says after "!" */
};

static void
check_rows(enum import_format format, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct row *row = &rows[i];
		struct entry entry;
		struct reason why;
		enum user_import_result result =
		    one(format, row->line, &entry, &why);

		if (row->want == NULL) {
			assert_int_equal(result, IMPORT_NOTHING);
		} else if (row->want[0] == '!') {
			if (result != IMPORT_REFUSED && result != IMPORT_STOP)
				fail_msg("%s was taken", row->line);
			if (strstr(why.text, row->want + 1) == NULL)
				fail_msg("%s: %s", row->line, why.text);
			assert_null(strstr(why.text, "secret"));
		} else {
			if (result != IMPORT_USER)
				fail_msg("%s: %s", row->line, why.text);
			assert_string_equal(entry.name, row->want);
		}
	}
}

#define ROWS(rows) rows, sizeof rows / sizeof rows[0]

static void
dovecot_lines(void **state)
{
	static const struct row rows[] = {
		{ "", NULL },
		{ "# u:{PLAIN}x", NULL },
		{ "u:{PLAIN}secret", "u@example.org" },
		{ "u@EXAMPLE.com:{CLEARTEXT}secret:::::", "u@example.com" },
		{ "u:{plain}secret", "u@example.org" },
		{ "u:{PLAIN}", "!empty" },
		{ "u", "!expected USER" },
		{ ":{PLAIN}secret", "!local part" },
		{ "u:", "!no password" },
		{ "u:*", "!locked" },
		{ "u:!$6$secret", "!locked" },
		{ "u:{PLAIN", "!broken scheme" },
		{ "u:{}secret", "!broken scheme" },
		{ "u:{PLAIN.b64}c2VjcmV0", "!{PLAIN.b64}" },
		{ "u:{SSHA}secret", "!{SSHA}" },
		{ "u:{ARGON2ID}$argon2id$secret", "!{ARGON2ID}" },
		{ "u:{CRYPT}$argon2id$secret", "!Argon2" },
		{ "u:secret", "!no password hash" },
		{ "u:{SHA512-CRYPT}$1$abcdefgh$ZE59VolIMROFw2UgfozW8/",
		    "!not one" },
		{ "u:{MD5-CRYPT}$1$abcdefgh$ZE59VolIMROFw2UgfozW8/",
		    "u@example.org" },
		{ "u:{MD5}$1$abcdefgh$ZE59VolIMROFw2UgfozW8/",
		    "u@example.org" },
		{ "u:{SCRAM-SHA-256}4096,c2FsdA==," KEY32 "," KEY32,
		    "u@example.org" },
		{ "u:{SCRAM-SHA-1}4096,c2FsdA==," KEY20 "," KEY20 ":1:2::/h",
		    "u@example.org" },
		{ "u:{SCRAM-SHA-256}4096,c2FsdA==," KEY20 "," KEY32,
		    "!broken" },
		{ "u:{SCRAM-SHA-256}4096,c2FsdA==," KEY32, "!broken" },
		{ "u:{SCRAM-SHA-256}4096,," KEY32 "," KEY32, "!broken" },
		{ "u:{SCRAM-SHA-256}4095,c2FsdA==," KEY32 "," KEY32,
		    "!4095 iterations" },
		{ "u:{SCRAM-SHA-256}99999999999,c2FsdA==," KEY32 "," KEY32,
		    "!broken" },
		{ "u:{PLAIN}x::::::allow_nets=::1", "!allow_nets" },
		{ "u:{PLAIN}x::::::a=b allow_nets=::1", "!allow_nets" },
		{ "u:{PLAIN}x::::::not_allow_nets=::1", "u@example.org" },
	};
	struct entry entry;
	struct reason why;

	(void)state;
	check_rows(IMPORT_DOVECOT, ROWS(rows));
	one(IMPORT_DOVECOT, "u:{PLAIN}secret::::::nologin", &entry, &why);
	assert_false(entry.enabled);
	one(IMPORT_DOVECOT, "u:{PLAIN}secret::::::nologins=1", &entry, &why);
	assert_true(entry.enabled);
	assert_true(verifier_matches(&entry.verifiers[VERIFIER_SHA_1],
	    VERIFIER_SHA_1, "secret"));
}

static void
htpasswd_lines(void **state)
{
	static const struct row rows[] = {
		{ "u:$2y$05$abcdefghijklmnopqrstuu"
		  "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe",
		    "u@example.org" },
		{ "u:$apr1$secret00$ZE59VolIMROFw2UgfozW8/", "!$apr1$" },
		{ "u:{SHA}secret=", "!{SHA}" },
		{ "u:{SSHA}secret=", "!{SSHA}" },
		{ "u:abcdefghijklm", "!DES" },
		{ "u:secret", "!no password hash" },
		{ "#", NULL },
	};

	(void)state;
	check_rows(IMPORT_HTPASSWD, ROWS(rows));
}

static void
foreign_bounds(void **state)
{
	static const struct {
		const char *hash, *want; /* NULL: taken */
	} rows[] = {
		{ "$1$abcdefgh$ZE59VolIMROFw2UgfozW8/", NULL },
		{ "$1$abcdefgh$ZE59VolIMROFw2UgfozW8", "broken" },
		{ "$1$ZE59VolIMROFw2UgfozW8/", "broken" },
		{ "$1$abc*efgh$ZE59VolIMROFw2UgfozW8/", "broken" },
		{ "$1$abc\x01"
		  "fgh$ZE59VolIMROFw2UgfozW8/",
		    "broken" },
		{ "$5$rounds=1000000$s$"
		  "wBKOuU6FC8bYfUBI04LAF84Y0Av5EwUiTwxjXKEKWCC",
		    NULL },
		{ "$5$rounds=1000001$s$"
		  "wBKOuU6FC8bYfUBI04LAF84Y0Av5EwUiTwxjXKEKWCC",
		    "rounds" },
		{ "$5$rounds=-1$s$"
		  "wBKOuU6FC8bYfUBI04LAF84Y0Av5EwUiTwxjXKEKWCC",
		    "rounds" },
		{ "$5$rounds=99999999999999999999999$s$"
		  "wBKOuU6FC8bYfUBI04LAF84Y0Av5EwUiTwxjXKEKWCC",
		    "rounds" },
		{ "$2y$14$abcdefghijklmnopqrstuu"
		  "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe",
		    NULL },
		{ "$2y$15$abcdefghijklmnopqrstuu"
		  "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe",
		    "cost" },
		{ "$2b$03$abcdefghijklmnopqrstuu"
		  "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe",
		    "cost" },
		{ "$2a$5$abcdefghijklmnopqrstuu"
		  "Ck8jkoqETEiNj.yXXza3UhEkEmCpaNe",
		    "cost" },
		{ "$2y$05$", "broken" },
		{ "$y$jBT$abcdefgh$"
		  "AlN3PnB/tCp9aPh7Z6CpTQnKnPPN10t9lUDSbt2Ui4B",
		    NULL },
		{ "$y$jCT$abcdefgh$"
		  "AlN3PnB/tCp9aPh7Z6CpTQnKnPPN10t9lUDSbt2Ui4B",
		    "yescrypt" },
		{ "$y$", "yescrypt" },
		{ "$7$CU..../....abcdefgh$x", "scrypt" },
		{ "$", "no password hash" },
		{ "", "no password hash" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct reason why = { 0 };
		bool ok = foreign_check(rows[i].hash, &why);

		if (ok != (rows[i].want == NULL) ||
		    (!ok && strstr(why.text, rows[i].want) == NULL))
			fail_msg("%s: %s", rows[i].hash, why.text);
	}
}

static void
foreign_hashes_match(void **state)
{
	static const char *const settings[] = { "$1$abcdefgh$",
		"$5$rounds=1000$abcdefgh$", "$6$abcdefgh$",
		"$2a$04$abcdefghijklmnopqrstuu",
		"$2b$04$abcdefghijklmnopqrstuu",
		"$2y$04$abcdefghijklmnopqrstuu", "$y$j75$abcdefgh$" };
	char hash[FOREIGN_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		snprintf(hash, sizeof hash, "%s",
		    crypt("correct horse", settings[i]));
		assert_true(foreign_matches(hash, "correct horse"));
		assert_false(foreign_matches(hash, "correct horsf"));
		assert_false(foreign_matches(hash, ""));
		assert_true(foreign_prefix(hash) <= 4);
		hash[strlen(hash) - 3] ^= 1;
		assert_false(foreign_matches(hash, "correct horse"));
	}
	assert_false(foreign_matches("", ""));
	assert_false(foreign_matches("*0", "x"));
}

/* A foreign hash in an entry's octets: whole, cut for listings, never beside a
 * verifier. */
static void
foreign_in_entries(void **state)
{
	unsigned char octets[ENTRY_OCTETS_MAX];
	struct entry entry = { .name = "u@example.org" }, out;
	size_t len;

	(void)state;
	strcpy(entry.foreign, "$1$abcdefgh$ZE59VolIMROFw2UgfozW8/");
	len = entry_encode(&entry, true, octets);
	assert_true(entry_decode(&out, octets, len, NULL));
	assert_string_equal(out.foreign, entry.foreign);
	len = entry_encode(&entry, false, octets);
	assert_null(memmem(octets, len, "abcdefgh", 8));
	assert_true(entry_decode(&out, octets, len, NULL));
	assert_string_equal(out.foreign, "$1$");
	entry.verifiers[VERIFIER_SHA_1] =
	    (struct verifier){ .present = true, .iterations = 4096 };
	len = entry_encode(&entry, true, octets);
	assert_false(entry_decode(&out, octets, len, NULL));
}

static void
fill_settings(struct entry *entry)
{
	static const char *const rights[] = { "*", "@.sub.example.org",
		"alice+*@example.org", "\"odd name\"@example.org" };

	for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
		strcpy(entry->rights + entry->rights_len, rights[i]);
		entry->rights_len += strlen(rights[i]) + 1;
	}
	for (size_t i = 0; i < ENTRY_SANS_MAX; i++) {
		memset(entry->sans[i].ca, (int)(0xb0 + i), SPKI_OCTETS);
		sprintf(entry->sans[i].name, "dns:h%zu", i);
	}
	entry->san_count = ENTRY_SANS_MAX;
	entry->binding_required = true;
	entry->has_legacy = true;
	strcpy(entry->legacy, "p\xc3\xa4ss \"\\word");
	entry->legacy_until = ENTRY_LEGACY_ALWAYS;
	for (size_t i = 0; i < ENTRY_NETWORKS_MAX; i++)
		assert_true(network_parse(&entry->networks[i],
		    i % 2 ? "2001:db8::/32" : "192.0.2.0/24", NULL));
	entry->network_count = ENTRY_NETWORKS_MAX;
	entry->rate = UINT32_MAX;
	entry->until = 1900000000;
	strcpy(entry->owner, "full@example.com");
	for (size_t i = 0; i < ENTRY_DEVICES_MAX; i++)
		sprintf(entry->devices[i], "d%zu", i);
	entry->device_count = ENTRY_DEVICES_MAX;
}

static struct entry
full_entry(void)
{
	struct entry entry = { .name = "full@example.org",
		.enabled = true,
		.kind = ENTRY_DEVICE,
		.created = 1700000000,
		.changed = 1700000001,
		.key_count = ENTRY_KEYS_MAX };

	for (size_t i = 0; i < ENTRY_KEYS_MAX; i++)
		memset(entry.keys[i], (int)(0xa0 + i), SPKI_OCTETS);
	for (int h = 0; h < VERIFIER_HASHES; h++) {
		struct verifier *v = &entry.verifiers[h];

		v->present = v->has_keys = true;
		v->iterations = VERIFIER_ITERATIONS_MOST;
		v->salt_len = VERIFIER_SALT_MAX;
		memset(v->salt, 0xff, v->salt_len);
		memset(v->stored, 1 + h,
		    verifier_key_len((enum verifier_hash)h));
		memset(v->server, 3 + h,
		    verifier_key_len((enum verifier_hash)h));
	}
	fill_settings(&entry);
	return entry;
}

static void
export_comes_back(void **state)
{
	unsigned char secret[STORE_SECRET_OCTETS], read[STORE_SECRET_OCTETS];
	struct entry entry = full_entry(), out;
	char *line;
	uint64_t users;

	(void)state;
	memset(secret, 0xfe, sizeof secret);
	line = export_header(secret);
	assert_true(export_read_header(line, strlen(line), read, NULL));
	assert_memory_equal(secret, read, sizeof secret);
	export_wipe(line);
	line = export_entry(&entry);
	assert_non_null(line);
	assert_null(strchr(line, '\n'));
	assert_true(export_read_entry(line, strlen(line), &out, NULL));
	export_wipe(line);
	assert_memory_equal(&out, &entry, sizeof out);
	/* Another date than none or never. */
	entry.legacy_until = 1850000000;
	line = export_entry(&entry);
	assert_true(export_read_entry(line, strlen(line), &out, NULL));
	export_wipe(line);
	assert_memory_equal(&out, &entry, sizeof out);
	line = export_trailer(7);
	assert_true(export_read_trailer(line, strlen(line), &users));
	assert_int_equal(users, 7);
	export_wipe(line);
}

/* What JSON has the most octets for fits in a line; and an export of before
 * there were settings is read. */
static void
export_extremes(void **state)
{
	static const char old[] =
	    "{\"name\":\"a@x.org\",\"kind\":\"device\",\"enabled\":false,"
	    "\"created\":1,\"changed\":2,\"verifiers\":[],\"keys\":[]}";
	struct entry entry = full_entry(), out;
	char *line;

	(void)state;
	entry.rights_len = 0;
	while (entry.rights_len + 2 <= sizeof entry.rights) {
		memcpy(entry.rights + entry.rights_len, "*", 2);
		entry.rights_len += 2;
	}
	for (size_t i = 0; i < ENTRY_SANS_MAX; i++) {
		memset(entry.sans[i].name, 'h', ENTRY_SAN_MAX);
		memcpy(entry.sans[i].name, "email:", 6);
		memset(entry.sans[i].name + 6, '"', NAME_LOCAL_MAX);
		entry.sans[i].name[6 + NAME_LOCAL_MAX] = '@';
		for (size_t o = 6 + NAME_LOCAL_MAX + 2; o < ENTRY_SAN_MAX - 1;
		     o += 2)
			entry.sans[i].name[o] = '.';
	}
	memset(entry.legacy, '"', ENTRY_LEGACY_MAX);
	line = export_entry(&entry);
	assert_non_null(line);
	if (!export_read_entry(line, strlen(line), &out, NULL))
		fail_msg("%s", line);
	export_wipe(line);
	assert_memory_equal(&out, &entry, sizeof out);
	assert_true(export_read_entry(old, strlen(old), &out, NULL));
	assert_int_equal(out.kind, ENTRY_DEVICE);
	assert_string_equal(out.owner, "");
	assert_int_equal(out.rights_len, 0);
	assert_false(out.has_legacy);
}

#define ROW_64                                                                 \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void
broken_exports(void **state)
{
	/* What to change in a good line, and into what. */
	static const struct {
		const char *what, *into;
	} rows[] = { { "\"name\"", "\"names\"" },
		{ "full@example.org", "full" },
		{ "full@example.org", "full@EXAMPLE.org" },
		{ "\"device\"", "\"thing\"" }, { "\"device\"", "3" },
		{ "\"enabled\":true", "\"enabled\":1" },
		{ "\"enabled\":true", "\"enabled\":true,\"untold\":5" },
		{ "\"legacy\":\"", "\"legacy\":\"\\u0007" },
		{ "\"legacy\":\"", "\"legacy\":\"" ROW_64 ROW_64 },
		{ "\"legacy\":\"", "\"legacy\":7,\"" },
		{ "\"legacy_until\":\"never\"", "\"legacy_until\":\"ever\"" },
		{ "\"legacy_until\":\"never\"", "\"legacy_until\":-5" },
		{ "\"legacy_until\":\"never\"", "\"legacy_until\":1.5" },
		{ "\"binding_required\":true", "\"binding_required\":1" },
		{ "\"sans\":[", "\"sans\":[{}," },
		{ "\"sans\":[", "\"sans\":[7," },
		{ "\"ca\":\"sha256:b0", "\"ca\":\"sha256:b" },
		{ "dns:h0", "ip:h0" }, { "dns:h0", "dns:*" },
		{ "\"rights\":[", "\"rights\":[\"@\"," },
		{ "\"rights\":[", "\"rights\":[[]," },
		{ "\"rights\":[",
		    "\"rights\":[\"" ROW_64 ROW_64 ROW_64 ROW_64 ROW_64
		    "@x.org\"," },
		{ "\"rights\":[", "\"rights\":{},\"right\":[" },
		{ "\"networks\":[", "\"networks\":[\"192.0.2.1/24\"," },
		{ "\"networks\":[", "\"networks\":[\"192.0.2.0/24\"," },
		{ "\"rate\":4294967295", "\"rate\":4294967296" },
		{ "\"rate\":4294967295", "\"rate\":-1" },
		{ "\"until\":1900000000", "\"until\":-1" },
		{ "\"owner\":\"", "\"owner\":\"@" },
		{ "\"owner\":\"full@e", "\"owner\":\"full@E" },
		{ "\"devices\":[", "\"devices\":[\"a b\"," },
		{ "\"devices\":[\"d0\"", "\"devices\":[\"d1\"" },
		{ "\"enabled\":true", "\"enabled\":true,\"enabled\":true" },
		{ ":1700000000", ":-1" }, { ":1700000000", ":1e400" },
		{ "SCRAM-SHA-256", "SCRAM-SHA-512" },
		{ "SCRAM-SHA-256", "SCRAM-SHA-1" },
		{ ":10000000", ":10000001" }, { ":10000000", ":0" },
		{ "\"salt\":\"", "\"salt\":\"=" },
		{ "\"salt\":\"", "\"salt\":\"AAAA" },
		{ "\"stored\":\"", "\"stored\":\"AAAA" },
		{ "\"stored\":", "\"store\":" }, { "sha256:a0", "sha1:a0" },
		{ "sha256:a0", "sha256:g0" }, { "sha256:a0", "sha256:a0a0" },
		{ "\"keys\":[", "\"keys\":[7," },
		{ "\"keys\":[", "\"foreign\":\"$1$\",\"keys\":[" },
		{ "\"keys\":[", "\"keys\":[[],[],[],[],[]," },
		{ "{\"name\"", "{{\"name\"" }, { "{\"name\"", "[{\"name\"" } };
	struct entry entry = full_entry(), out;
	char *line = export_entry(&entry), made[2 * EXPORT_LINE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *at = strstr(line, rows[i].what);
		struct reason why = { 0 };

		assert_non_null(at);
		snprintf(made, sizeof made, "%.*s%s%s", (int)(at - line), line,
		    rows[i].into, at + strlen(rows[i].what));
		if (export_read_entry(made, strlen(made), &out, &why))
			fail_msg("taken: %s", rows[i].into);
		assert_true(why.text[0] != '\0');
	}
	/* Cut anywhere. */
	for (size_t len = 0; len < strlen(line); len++)
		assert_false(export_read_entry(line, len, &out, NULL));
	export_wipe(line);
	memset(made, ' ', sizeof made);
	assert_false(export_read_entry(made, EXPORT_LINE_MAX + 1, &out, NULL));
}

static void
whole_text(void **state)
{
	unsigned char secret[STORE_SECRET_OCTETS] = { 1 };
	struct entry entry = full_entry(), out;
	struct user_import import;
	struct reason why;
	char *header = export_header(secret), *line = export_entry(&entry);

	(void)state;
	import_init(&import, IMPORT_SALLYPORT, "example.org", 4096);
	assert_int_equal(
	    user_import_line(&import, line, strlen(line), &out, &why),
	    IMPORT_STOP);
	assert_false(import.has_secret);
	assert_int_equal(
	    user_import_line(&import, header, strlen(header), &out, &why),
	    IMPORT_NOTHING);
	assert_true(import.has_secret);
	assert_int_equal(
	    user_import_line(&import, line, strlen(line), &out, &why),
	    IMPORT_USER);
	assert_false(import_end(&import, &why));
	assert_int_equal(
	    user_import_line(&import, "{\"users\":2}", 11, &out, &why),
	    IMPORT_NOTHING);
	assert_false(import_end(&import, &why));
	import.announced = 1;
	assert_true(import_end(&import, &why));
	assert_int_equal(
	    user_import_line(&import, line, strlen(line), &out, &why),
	    IMPORT_REFUSED);
	import_fini(&import);
	export_wipe(header);
	export_wipe(line);
}

static void
cyrus_dumps(void **state)
{
	static const struct {
		const char *line;
		enum user_import_result result;
		const char *name;
	} rows[] = {
		{ "VERSION=3", IMPORT_NOTHING, NULL },
		{ "format=print", IMPORT_NOTHING, NULL },
		{ "HEADER=END", IMPORT_NOTHING, NULL },
		{ " u\\00example.com\\00userPassword", IMPORT_NOTHING, NULL },
		{ " pa\\\\ss\\3a", IMPORT_USER, "u@example.com" },
		{ " v\\00\\00userPassword", IMPORT_NOTHING, NULL },
		{ " pass", IMPORT_USER, "v@example.org" },
		{ " w@example.net\\00host\\00userPassword", IMPORT_NOTHING,
		    NULL },
		{ " pass", IMPORT_USER, "w@example.net" },
		{ " u\\00example.com\\00cmusaslsecretOTP", IMPORT_REFUSED,
		    NULL },
		{ " pass", IMPORT_NOTHING, NULL },
		{ " u\\00example.com\\00userPassword\\00", IMPORT_REFUSED,
		    NULL },
		{ " pass", IMPORT_NOTHING, NULL },
		{ " u\\0", IMPORT_REFUSED, NULL },
		{ " pass", IMPORT_NOTHING, NULL },
		{ " u\\00example.com\\00userPassword", IMPORT_NOTHING, NULL },
		{ " a\\00b", IMPORT_REFUSED, NULL },
		{ " u\\00example.com\\00userPassword", IMPORT_NOTHING, NULL },
		{ " ", IMPORT_REFUSED, NULL },
		{ "u", IMPORT_REFUSED, NULL },
		{ "DATA=END", IMPORT_NOTHING, NULL },
		{ " u", IMPORT_REFUSED, NULL },
	};
	struct user_import import;
	struct entry out;
	struct reason why;

	(void)state;
	import_init(&import, IMPORT_CYRUS, "example.org", 4096);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *line = rows[i].line;

		if (user_import_line(&import, line, strlen(line), &out, &why) !=
		    rows[i].result)
			fail_msg("row %zu: %s", i, line);
		if (rows[i].name != NULL)
			assert_string_equal(out.name, rows[i].name);
		if (i == 4)
			assert_true(
			    verifier_matches(&out.verifiers[VERIFIER_SHA_256],
				VERIFIER_SHA_256, "pa\\ss:"));
	}
	assert_true(import_end(&import, &why));
	import_fini(&import);
}

static void
hostile_lines(void **state)
{
	static char line[IMPORT_LINE_MAX + 2];
	struct entry out;
	struct reason why;
	struct user_import import;

	(void)state;
	for (int f = 0; f < IMPORT_FORMATS; f++) {
		import_init(&import, (enum import_format)f, "example.org",
		    4096);
		memset(line, 'x', sizeof line - 1);
		line[sizeof line - 1] = '\0';
		assert_int_equal(user_import_line(&import, line,
				     IMPORT_LINE_MAX + 1, &out, &why),
		    IMPORT_REFUSED);
		assert_int_equal(
		    user_import_line(&import, "a\0b", 3, &out, &why),
		    IMPORT_REFUSED);
		/* As long as it may be: refused for what it is. */
		line[IMPORT_LINE_MAX] = '\0';
		memcpy(line, "u:{PLAIN}", 9);
		assert_int_not_equal(user_import_line(&import, line,
					 IMPORT_LINE_MAX, &out, &why),
		    IMPORT_USER);
		import_fini(&import);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dovecot_lines),
		cmocka_unit_test(htpasswd_lines),
		cmocka_unit_test(foreign_bounds),
		cmocka_unit_test(foreign_hashes_match),
		cmocka_unit_test(foreign_in_entries),
		cmocka_unit_test(export_comes_back),
		cmocka_unit_test(export_extremes),
		cmocka_unit_test(broken_exports),
		cmocka_unit_test(whole_text),
		cmocka_unit_test(cyrus_dumps),
		cmocka_unit_test(hostile_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
