/*
 * t/unit/queue_sent.c: the list of what devices have sent: written once a
 * message, bounded, and read from a folder that is somebody else's.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#undef fail /* ours is in policy/reason.h */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/queue_sent.h"

struct world {
	char path[64];
	int folder;
};

static int
world_new(void **state)
{
	struct world *world = calloc(1, sizeof *world);

	snprintf(world->path, sizeof world->path, "/tmp/t-sent-XXXXXX");
	assert_non_null(mkdtemp(world->path));
	world->folder = open(world->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(world->folder >= 0);
	*state = world;
	return 0;
}

static int
world_end(void **state)
{
	struct world *world = *state;

	unlinkat(world->folder, "sent", 0);
	unlinkat(world->folder, "sent.1", 0);
	unlinkat(world->folder, "other", 0);
	close(world->folder);
	rmdir(world->path);
	free(world);
	return 0;
}

static struct envelope
envelope_of(const char *id, const char *from, unsigned recipients)
{
	struct envelope envelope;
	char path[64];

	envelope_init(&envelope);
	snprintf(envelope.queue_id, sizeof envelope.queue_id, "%s", id);
	envelope.arrival_ms = 1795248000123;
	envelope.login = strdup("alice+phone@example.org");
	envelope.client = strdup("192.0.2.7");
	envelope.reverse_path = strdup(from);
	envelope.size = 4711;
	envelope.device = true;
	for (unsigned i = 0; i < recipients; i++) {
		snprintf(path, sizeof path, "r%u@example.net", i);
		assert_true(envelope_add_recipient(&envelope, path));
	}
	return envelope;
}

static void
record(struct sent *sent, const char *id, const char *from, unsigned recipients)
{
	struct envelope envelope = envelope_of(id, from, recipients);

	sent_record(sent, &envelope);
	envelope_fini(&envelope);
}

/* What is listed, in order. */
struct listed {
	size_t count, broken;
	struct sent_message last;
	char ids[64][QUEUE_ID_SIZE];
};

static bool
take(void *context, const char *line, size_t len)
{
	struct listed *listed = context;
	struct sent_message message;

	if (!sent_parse(line, len, &message)) {
		listed->broken++;
		return true;
	}
	if (listed->count < 64)
		strcpy(listed->ids[listed->count], message.queue_id);
	listed->count++;
	json_decref(listed->last.object);
	listed->last = message;
	return true;
}

static void
list(const struct world *world, struct listed *out)
{
	struct reason why = { 0 };

	memset(out, 0, sizeof *out);
	if (!sent_read(world->folder, take, out, &why)) {
		print_error("%s\n", why.text);
		assert_true(false);
	}
}

static void
test_fields(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct listed listed;

	record(sent, "0AAA", "alice@example.org", 2);
	sent_free(sent);
	list(world, &listed);
	assert_int_equal(listed.count, 1);
	assert_string_equal(listed.last.queue_id, "0AAA");
	assert_int_equal(listed.last.time, 1795248000);
	assert_string_equal(listed.last.login, "alice+phone@example.org");
	assert_string_equal(listed.last.from, "alice@example.org");
	assert_string_equal(listed.last.client, "192.0.2.7");
	assert_int_equal(listed.last.size, 4711);
	assert_int_equal(listed.last.recipient_count, 2);
	assert_string_equal(
	    json_string_value(json_array_get(listed.last.recipients, 1)),
	    "r1@example.net");
	json_decref(listed.last.object);
}

static void
test_none(void **state)
{
	struct listed listed;

	list(*state, &listed);
	assert_int_equal(listed.count, 0);
}

/* The rest of them is a number. */
static void
test_recipients(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct listed listed;

	record(sent, "0AAA", "", 500);
	sent_free(sent);
	list(world, &listed);
	assert_int_equal(listed.last.recipient_count, 500);
	assert_int_equal(json_array_size(listed.last.recipients),
	    SENT_RECIPIENTS);
	json_decref(listed.last.object);
}

/* However long a compromised writer makes them. */
static void
test_line_bound(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct envelope envelope = envelope_of("0AAA", "x", 0);
	char path[ENVELOPE_STRING_MAX + 1];
	struct listed listed;
	struct stat st;

	/* Each of these octets takes three. */
	for (size_t i = 0; i + 1 < sizeof path; i += 2)
		memcpy(path + i, "\xc3\xa9", 2);
	path[ENVELOPE_STRING_MAX] = '\0';
	for (int i = 0; i < 20; i++)
		assert_true(envelope_add_recipient(&envelope, path));
	sent_record(sent, &envelope);
	envelope_fini(&envelope);
	sent_free(sent);
	assert_int_equal(fstatat(world->folder, "sent", &st, 0), 0);
	assert_in_range(st.st_size, 1, SENT_LINE_MAX);
	list(world, &listed);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.last.recipient_count, 20);
	assert_in_range(json_array_size(listed.last.recipients), 1, 19);
	json_decref(listed.last.object);
}

/* What is no UTF-8, or a terminal's or JSON's own, is a string all the same. */
static void
test_octets(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct listed listed;

	record(sent, "0AAA", "\xff\xfe\"\\{}@example.org", 1);
	record(sent, "0BBB", "m\xc3\xbcller@example.org", 1);
	sent_free(sent);
	list(world, &listed);
	assert_int_equal(listed.count, 2);
	assert_int_equal(listed.broken, 0);
	assert_string_equal(listed.last.from, "m\xc3\xbcller@example.org");
	json_decref(listed.last.object);
}

/* A crash makes the relay take in messages again. */
static void
test_once(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct listed listed;

	record(sent, "0AAA", "a", 1);
	record(sent, "0BBB", "a", 1);
	record(sent, "0CCC", "a", 1);
	sent_free(sent);
	sent = sent_new(world->folder, SENT_FILE_MAX);
	record(sent, "0BBB", "a", 1);
	record(sent, "0DDD", "a", 1);
	record(sent, "0CCC", "a", 1);
	sent_free(sent);
	list(world, &listed);
	assert_int_equal(listed.count, 4);
	assert_string_equal(listed.ids[3], "0DDD");
	json_decref(listed.last.object);
}

static void
test_rotation(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, 1000);
	struct listed listed;
	struct stat st;
	char id[QUEUE_ID_SIZE];

	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof id, "0AA%02d", i);
		record(sent, id, "a@example.org", 1);
	}
	sent_free(sent);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
		    fstatat(world->folder, i ? "sent" : "sent.1", &st, 0), 0);
		assert_in_range(st.st_size, 100, 1000);
	}
	list(world, &listed);
	assert_in_range(listed.count, 5, 15);
	for (size_t i = 1; i < listed.count; i++)
		assert_true(strcmp(listed.ids[i - 1], listed.ids[i]) < 0);
	assert_string_equal(listed.last.queue_id, "0AA49");
	json_decref(listed.last.object);
}

static void
write_file(const struct world *world, const char *name, const char *octets)
{
	int fd =
	    openat(world->folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, octets, strlen(octets)), strlen(octets));
	close(fd);
}

/* Damage is passed over; a torn end is no line. */
static void
test_damage(void **state)
{
	struct world *world = *state;
	struct sent *sent = sent_new(world->folder, SENT_FILE_MAX);
	struct listed listed;

	record(sent, "0AAA", "a", 1);
	sent_free(sent);
	write_file(world, "sent.1",
	    "rubbish\n{\"queue\":\"\n\n{\"queue\":\"0B");
	sent = sent_new(world->folder, SENT_FILE_MAX);
	sent_free(sent);
	list(world, &listed);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.broken, 3);
	json_decref(listed.last.object);
}

static bool
is_refused(const struct world *world)
{
	struct listed listed = { 0 };
	struct reason why = { 0 };
	bool ok = sent_read(world->folder, take, &listed, &why);

	json_decref(listed.last.object);
	return !ok && why.text[0] != '\0' && listed.count == 0;
}

/* The folder's owner may try to have root read other files to him. */
static void
test_other_files(void **state)
{
	struct world *world = *state;
	int fd;

	write_file(world, "other", "{}\n");
	assert_int_equal(symlinkat("other", world->folder, "sent"), 0);
	assert_true(is_refused(world));
	unlinkat(world->folder, "sent", 0);
	assert_int_equal(
	    linkat(world->folder, "other", world->folder, "sent", 0), 0);
	assert_true(is_refused(world));
	unlinkat(world->folder, "sent", 0);
	assert_int_equal(mkfifoat(world->folder, "sent", 0600), 0);
	assert_true(is_refused(world));
	unlinkat(world->folder, "sent", 0);
	fd = openat(world->folder, "sent", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 1LL << 40), 0);
	close(fd);
	assert_true(is_refused(world));
}

static void
test_parse(void **state)
{
	static const struct {
		const char *what, *line;
		bool good;
	} rows[] = {
		{ "as written",
		    "{\"queue\":\"0A\",\"time\":1,\"login\":\"l\",\"from\":"
		    "\"\","
		    "\"recipients\":[\"r\"],\"recipient_count\":1,\"size\":2,"
		    "\"client\":\"c\"}",
		    true },
		{ "a queue id that is none",
		    "{\"queue\":\"../"
		    "A\",\"time\":1,\"login\":\"l\",\"from\":\"\","
		    "\"recipients\":[\"r\"],\"recipient_count\":1,\"size\":2,"
		    "\"client\":\"c\"}",
		    false },
		{ "a queue id that is too long",
		    "{\"queue\":\"AAAAAAAAAAAAAAAAAAAA\",\"time\":1,\"login\":"
		    "\"l\","
		    "\"from\":\"\",\"recipients\":[],\"recipient_count\":1,"
		    "\"size\":2,\"client\":\"c\"}",
		    false },
		{ "a number among the recipients",
		    "{\"queue\":\"0A\",\"time\":1,\"login\":\"l\",\"from\":"
		    "\"\","
		    "\"recipients\":[7],\"recipient_count\":1,\"size\":2,"
		    "\"client\":\"c\"}",
		    false },
		{ "more recipients than counted",
		    "{\"queue\":\"0A\",\"time\":1,\"login\":\"l\",\"from\":"
		    "\"\","
		    "\"recipients\":[\"a\",\"b\"],\"recipient_count\":1,"
		    "\"size\":2,"
		    "\"client\":\"c\"}",
		    false },
		{ "a negative time",
		    "{\"queue\":\"0A\",\"time\":-1,\"login\":\"l\",\"from\":"
		    "\"\","
		    "\"recipients\":[],\"recipient_count\":1,\"size\":2,"
		    "\"client\":\"c\"}",
		    false },
		{ "one field more",
		    "{\"queue\":\"0A\",\"time\":1,\"login\":\"l\",\"from\":"
		    "\"\","
		    "\"recipients\":[],\"recipient_count\":1,\"size\":2,"
		    "\"client\":\"c\",\"x\":1}",
		    false },
		{ "no object", "[]", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sent_message message;
		bool good =
		    sent_parse(rows[i].line, strlen(rows[i].line), &message);

		if (good)
			json_decref(message.object);
		if (good != rows[i].good)
			print_error("%s\n", rows[i].what);
		assert_true(good == rows[i].good);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_new, world_end)
		TEST(test_fields),
		TEST(test_none),
		TEST(test_recipients),
		TEST(test_line_bound),
		TEST(test_octets),
		TEST(test_once),
		TEST(test_rotation),
		TEST(test_damage),
		TEST(test_other_files),
		cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
