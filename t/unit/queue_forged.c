/*
 * t/unit/queue_forged.c: messages made of the spool's own records.
 *
 * SMTP's DATA lets none through, because every record has a NUL in it; whoever
 * gets further must still not be able to make a message of a message's body,
 * whatever is wrong with the file around it.
 */
#include "queue_world.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "../../policy/crc32c.h"
#include "../../server/journal_internal.h"

enum { FORGED_MOST = 200 * 1024, COPY_MOST = 16 * 1024 };

/* What is done to the segment of the dead session before the relay reads it. */
enum accident {
	NO_ACCIDENT,
	FORGED_RECORD,  /* its header is gone: the search passes its body */
	RECORD_BEFORE,  /* the same of the record right before it */
	FORGED_BODY,    /* a flipped bit, in a body that is checked */
	FORGED_CUT_OFF, /* the file ends within it */
};

static size_t
read_file(const struct world *world, unsigned file, unsigned char *out,
    size_t size)
{
	char path[200];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/%016llx.%u", world->in,
	    (unsigned long long)world->start_id, file);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	got = read(fd, out, size);
	assert_true(got >= JOURNAL_HEADER_OCTETS);
	close(fd);
	return (size_t)got;
}

/* Copies of a file, header and all, at every alignment. */
static size_t
forge(const struct world *world, unsigned file, char *out)
{
	static unsigned char copy[COPY_MOST];
	size_t size = read_file(world, file, copy, sizeof(copy)), len = 0;

	for (size_t i = 0; i < 8; i++) {
		assert_true(len + size + 8 <= FORGED_MOST);
		memset(out + len, 'p', 1);
		memcpy(out + len + 1, copy, size);
		len += size + 1;
		/* Whatever the size is, every copy stands elsewhere. */
		while (len % 8 != (i + 1) % 8)
			out[len++] = 'p';
	}
	return len;
}

static void
damage(const struct world *world, unsigned file, uint64_t at,
    enum accident accident, uint64_t before)
{
	char path[200], octets[8] = "nothing";
	int fd;

	snprintf(path, sizeof(path), "%s/%016llx.%u", world->in,
	    (unsigned long long)world->start_id, file);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	switch (accident) {
	case NO_ACCIDENT:
		break;
	case RECORD_BEFORE:
		at = before;
		/* fall through */
	case FORGED_RECORD:
		assert_int_equal(pwrite(fd, octets, 8, (off_t)at), 8);
		break;
	case FORGED_BODY:
		assert_int_equal(pwrite(fd, octets, 1, (off_t)at + 400), 1);
		break;
	case FORGED_CUT_OFF:
		assert_int_equal(ftruncate(fd, (off_t)at + 3000), 0);
		break;
	}
	close(fd);
}

/* Both processes are killed, and started. */
static void
start_again(struct world *world)
{
	queue_close(world->queue);
	world->queue = NULL;
	spool_start(world);
	queue_start(world);
}

static unsigned
count_damaged(const struct world *world)
{
	struct dirent *entry;
	unsigned count = 0;
	char path[200];
	DIR *folder;

	snprintf(path, sizeof(path), "%s/damaged", world->own);
	folder = opendir(path);
	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count;
}

/* Take all there is: how many plain ones and how many of the forged text. */
static void
take_all(struct world *world, const char *forged, size_t len,
    unsigned *plain_out, unsigned *forged_out)
{
	static char octets[FORGED_MOST];
	struct delivery *delivery;
	struct reason why;

	*plain_out = *forged_out = 0;
	while ((delivery = queue_take(world->queue, NULL, 200)) != NULL) {
		assert_true(delivery->body_len <= sizeof(octets));
		assert_true(journal_pread(delivery->body_fd, octets,
		    (size_t)delivery->body_len, (uint64_t)delivery->body_offset,
		    &why));
		if (delivery->body_len == len &&
		    memcmp(octets, forged, len) == 0)
			(*forged_out)++;
		else if (delivery->body_len == strlen(text) &&
			 memcmp(octets, text, strlen(text)) == 0)
			(*plain_out)++;
		else
			assert_null("a message nobody submitted");
		finish(world, delivery, OUTCOME_DELIVERED, "", "250");
	}
}

static void
recover(struct world *world, enum accident accident, unsigned plain,
    unsigned whole, unsigned damaged)
{
	static char forged[FORGED_MOST];
	uint64_t before = 0, at = 0;
	uint32_t file = 0;
	unsigned got_plain, got_whole;
	size_t len;

	world->deaf = true;
	submit_one(world, NULL);
	submit_one(world, NULL);
	spool_position(world->spool, &file, &before);
	submit_one(world, NULL);
	spool_position(world->spool, &file, &at);
	len = forge(world, file, forged);
	assert_true(
	    submit(world, "s@y.example", one_rcpt, "", forged, len, NULL));
	if (accident != FORGED_CUT_OFF)
		submit_one(world, NULL);
	spool_close(world->spool);
	damage(world, file, at, accident, before);
	start_again(world);
	take_all(world, forged, len, &got_plain, &got_whole);
	assert_int_equal(got_plain, plain);
	assert_int_equal(got_whole, whole);
	assert_int_equal(count_damaged(world), damaged);
}

static void
test_intact(void **state)
{
	recover(*state, NO_ACCIDENT, 4, 1, 0);
}

static void
test_forged_record_damaged(void **state)
{
	recover(*state, FORGED_RECORD, 4, 0, 1);
}

static void
test_record_before_damaged(void **state)
{
	recover(*state, RECORD_BEFORE, 3, 1, 1);
}

static void
test_forged_body_damaged(void **state)
{
	recover(*state, FORGED_BODY, 4, 0, 1);
}

static void
test_forged_cut_off(void **state)
{
	recover(*state, FORGED_CUT_OFF, 3, 0, 0);
}

/* A segment that says where the one before ended, within a body: what it says
 * is heard where it stands first in its file, and nowhere else. */
static void
test_forged_end(void **state)
{
	struct world *world = *state;
	static char forged[FORGED_MOST];
	unsigned plain, whole;
	uint32_t file;
	uint64_t end;
	size_t len;

	spool_close(world->spool);
	world->segment = 1024;
	world->deaf = true;
	spool_start(world);
	do {
		submit_one(world, NULL);
		spool_position(world->spool, &file, &end);
	} while (file < 2);
	len = forge(world, 2, forged); /* it begins with the end of 1 */
	assert_true(
	    submit(world, "s@y.example", one_rcpt, "", forged, len, NULL));
	submit_one(world, NULL);
	spool_position(world->spool, &file, &end);
	assert_int_equal(file, 3);
	spool_close(world->spool);
	damage(world, 2, end, NO_ACCIDENT, 0);
	start_again(world);
	take_all(world, forged, len, &plain, &whole);
	assert_int_equal(whole, 1);
	assert_in_range(plain, 3, 20);
	assert_int_equal(count_damaged(world), 0);
}

/* What names the relay's own messages is no mark of a segment: they are freed
 * when they are done, not when a segment is gone. */
static void
test_no_mark(void **state)
{
	static struct journal_batch batch;
	struct world *world = *state;
	char name[JOURNAL_NAME_SIZE], front[400];
	unsigned char octets[JOURNAL_HEADER_OCTETS];
	struct journal_record record = { .type = JOURNAL_MESSAGE };
	struct envelope envelope;
	struct journal journal;
	struct wire_writer w;
	struct iovec part;
	struct reason why;

	journal_segment_name(name, 0x99, 1);
	assert_true(journal_create(&journal, world->queue->in_folder, name,
	    0640, JOURNAL_SPOOL, 0x99, 1, true, &why));
	journal.header.mark = 0;
	journal_header_encode(&journal.header, octets);
	memcpy(octets + JOURNAL_HEADER_COPY, octets, JOURNAL_HEADER_COPY);
	assert_int_equal(pwrite(journal.fd, octets, sizeof(octets), 0),
	    sizeof(octets));
	envelope_init(&envelope);
	envelope_queue_id(envelope.queue_id);
	envelope.notice = true;
	envelope.reverse_path = strdup("");
	assert_true(envelope_add_recipient(&envelope, "a@x.example"));
	wire_writer_init(&w, front, sizeof(front));
	envelope_encode(&envelope, &w);
	envelope_fini(&envelope);
	record.envelope_len = (uint32_t)w.len;
	record.envelope_crc = crc32c(0, front, w.len);
	part = (struct iovec){ front, w.len };
	journal_batch_begin(&batch, &journal);
	assert_true(journal_batch_add(&batch, &record, &part, 1));
	assert_true(journal_batch_write(&batch, &why));
	journal_close(&journal);
	queue_live(world->queue, world->start_id + 1);
	assert_int_equal(messages_now(world), 0);
	assert_int_equal(count_damaged(world), 1);
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_intact),
		WITH_WORLD(test_forged_record_damaged),
		WITH_WORLD(test_record_before_damaged),
		WITH_WORLD(test_forged_body_damaged),
		WITH_WORLD(test_forged_cut_off),
		WITH_WORLD(test_forged_end),
		WITH_WORLD(test_no_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
