/*
 * t/unit/journal.c: what is read back of a file after every kind of accident:
 * cut anywhere, any bit flipped, records forged in bodies.
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

#include "../../policy/crc32c.h"
#include "../../server/journal.h"

enum { RECORDS_MOST = 32 };

/* A journal in a scratch folder. */
struct scratch {
	char path[64];
	int folder;
	struct journal journal;
	struct journal_batch *batch;
};

static int
scratch_new(void **state)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));
	struct reason why;

	snprintf(scratch->path, sizeof(scratch->path), "/tmp/t-journal-XXXXXX");
	assert_non_null(mkdtemp(scratch->path));
	scratch->folder = open(scratch->path, O_RDONLY | O_DIRECTORY);
	assert_true(journal_create(&scratch->journal, scratch->folder, "j",
	    0640, JOURNAL_SPOOL, 42, 7, true, &why));
	scratch->batch = malloc(sizeof(*scratch->batch));
	*state = scratch;
	return 0;
}

static int
scratch_free(void **state)
{
	struct scratch *scratch = *state;

	journal_close(&scratch->journal);
	unlinkat(scratch->folder, "j", 0);
	close(scratch->folder);
	rmdir(scratch->path);
	free(scratch->batch);
	free(scratch);
	return 0;
}

/* One record a batch, synced; returns its offset. */
static uint64_t
append(struct scratch *scratch, const char *envelope, const char *head,
    const void *body, size_t body_len)
{
	struct journal_record record = {
		.type = JOURNAL_MESSAGE,
		.envelope_len = (uint32_t)strlen(envelope),
		.head_len = (uint32_t)strlen(head),
		.body_len = body_len,
		.envelope_crc = crc32c(0, envelope, strlen(envelope)),
		.head_crc = crc32c(0, head, strlen(head)),
		.body_crc = crc32c(0, body, body_len),
	};
	struct iovec parts[] = {
		{ (void *)(uintptr_t)envelope, strlen(envelope) },
		{ (void *)(uintptr_t)head, strlen(head) },
		{ (void *)(uintptr_t)body, body_len },
	};
	struct reason why;

	journal_batch_begin(scratch->batch, &scratch->journal);
	assert_true(journal_batch_add(scratch->batch, &record, parts, 3));
	assert_true(journal_batch_write(scratch->batch, &why));
	assert_true(journal_sync(&scratch->journal, &why));
	return record.offset;
}

/* What a reader found. */
struct result {
	size_t count, damages, torn;
	uint64_t offsets[RECORDS_MOST];
	char first[RECORDS_MOST]; /* first octet of each envelope */
};

static struct result
read_all(int fd, bool exact, uint64_t limit)
{
	struct result result = { .count = 0 };
	struct journal_header header;
	struct journal_record record;
	struct journal_reader reader;
	enum journal_found found;
	const void *envelope;
	uint64_t from, to;
	struct reason why;

	assert_true(journal_read_header(fd, &header, &why));
	journal_reader_init(&reader, fd, &header, 0, limit, exact, true);
	while ((found = journal_reader_next(&reader, &record, &envelope, &from,
		    &to, &why)) != JOURNAL_END) {
		assert_int_not_equal(found, JOURNAL_TROUBLE);
		if (found != JOURNAL_FOUND)
			assert_true(from < to && to <= limit);
		result.damages += found == JOURNAL_DAMAGE;
		result.torn += found == JOURNAL_TORN;
		if (found != JOURNAL_FOUND)
			continue;
		assert_in_range(result.count, 0, RECORDS_MOST - 1);
		result.offsets[result.count] = record.offset;
		result.first[result.count++] =
		    record.envelope_len > 0 ? *(const char *)envelope : '\0';
	}
	journal_reader_fini(&reader);
	return result;
}

static uint64_t
size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

static void
test_round_trip(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd;
	struct journal_header header;
	struct journal_record record;
	char front[16], body[600];
	uint64_t second;
	struct reason why;
	struct result result;

	memset(body, 'b', sizeof(body));
	append(scratch, "A envelope", "head", body, 0);
	second = append(scratch, "B", "hh", body, sizeof(body));
	append(scratch, "C", "", body, 1);
	assert_int_equal(second % 8, 0);
	result = read_all(fd, true, scratch->journal.end);
	assert_int_equal(result.count, 3);
	assert_int_equal(result.damages + result.torn, 0);
	assert_int_equal(result.first[1], 'B');
	assert_true(journal_read_header(fd, &header, &why));
	assert_int_equal(header.start_id, 42);
	assert_int_equal(header.file, 7);
	assert_true(journal_read_record(fd, &header, second, &record, &why));
	assert_true(journal_read_parts(fd, &record, front, &why));
	assert_memory_equal(front, "Bhh", 3);
	assert_true(journal_check_octets(fd, journal_body_offset(&record),
	    record.body_len, record.body_crc, &why));
	assert_false(journal_check_octets(fd, journal_body_offset(&record) + 1,
	    record.body_len, record.body_crc, &why));
	assert_false(
	    journal_read_record(fd, &header, second + 8, &record, &why));
}

/* Every cut of the last record: it is dropped, those before live, and nothing
 * counts as damage. */
static void
test_torn_tail(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd;
	char body[300];
	uint64_t last, end;

	memset(body, 'x', sizeof(body));
	append(scratch, "A", "head", body, 100);
	append(scratch, "B", "head", body, 33);
	last = append(scratch, "C", "head", body, sizeof(body));
	end = scratch->journal.end;
	for (uint64_t cut = end - 1; cut >= last; cut--) {
		struct result result;

		assert_int_equal(ftruncate(fd, (off_t)cut), 0);
		result = read_all(fd, false, cut);
		/* Padding is part of the record: a cut there is one too. */
		assert_int_equal(result.count, 2);
		assert_int_equal(result.damages, 0);
		assert_int_equal(result.torn, cut > last ? 1 : 0);
	}
	/* The same when the writer said it was all there: damage. */
	assert_int_equal(read_all(fd, true, end).damages, 1);
}

/* Any flipped bit costs one record at most; nothing is found that was not
 * written. */
static void
test_flipped_bits(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd;
	uint64_t offsets[5], size;
	char body[77];

	memset(body, 'x', sizeof(body));
	for (int i = 0; i < 5; i++) {
		char envelope[] = { (char)('A' + i), 'e', '\0' };

		offsets[i] = append(scratch, envelope, "head", body,
		    (size_t)(i == 4 ? 0 : 10 + i * 13));
	}
	size = size_of(fd);
	for (uint64_t bit = 0; bit < size * 8; bit++) {
		unsigned char octet;
		struct result result;
		size_t j = 0;

		assert_int_equal(pread(fd, &octet, 1, (off_t)(bit / 8)), 1);
		octet ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(pwrite(fd, &octet, 1, (off_t)(bit / 8)), 1);
		result = read_all(fd, false, size);
		octet ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(pwrite(fd, &octet, 1, (off_t)(bit / 8)), 1);
		assert_in_range(result.count, 4, 5);
		assert_int_equal(result.count + result.damages + result.torn,
		    5);
		/* The last one is a torn tail, the others were settled. */
		if (result.count == 4)
			assert_int_equal(result.torn,
			    bit / 8 >= offsets[4] ? 1 : 0);
		for (size_t i = 0; i < result.count; i++) {
			while (j < 5 && offsets[j] != result.offsets[i])
				j++;
			assert_in_range(j, 0, 4);
			assert_int_equal(result.first[i], 'A' + j);
		}
	}
}

/* A body that holds whole records, of this file and of another, at every
 * alignment: when its own record is damaged, none of them comes to life. */
static void
test_forged_records(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd, other_fd;
	struct journal other;
	struct reason why;
	unsigned char *file, *body;
	size_t size, at = 0;
	struct result result;
	uint64_t target;
	char zero = 0;

	append(scratch, "A", "head", "body", 4);
	append(scratch, "B", "head", "body", 4);
	size = (size_t)size_of(fd);
	file = malloc(size);
	assert_int_equal(pread(fd, file, size, 0), size);
	body = calloc(16, size + 8);
	for (size_t i = 0; i < 8; i++) {
		at = i * (size + 8) + i;
		memcpy(body + at, file, size);
	}
	/* As a body of the same file, and as the body in another file, whose
	 * offsets are those of the records within. */
	target = append(scratch, "T", "head", body, at + size);
	append(scratch, "Z", "head", "body", 4);
	assert_int_equal(pwrite(fd, &zero, 1, (off_t)target + 3), 1);
	result = read_all(fd, true, scratch->journal.end);
	if (result.count == 4) { /* the octet was zero already */
		zero = 1;
		assert_int_equal(pwrite(fd, &zero, 1, (off_t)target + 3), 1);
		result = read_all(fd, true, scratch->journal.end);
	}
	assert_int_equal(result.count, 3);
	assert_int_equal(result.first[2], 'Z');
	assert_int_equal(result.damages, 1);

	assert_true(journal_create(&other, scratch->folder, "other", 0640,
	    JOURNAL_SPOOL, 42, 8, false, &why));
	other_fd = other.fd;
	assert_int_equal(pwrite(other_fd, file + JOURNAL_HEADER_OCTETS,
			     size - JOURNAL_HEADER_OCTETS,
			     JOURNAL_HEADER_OCTETS),
	    size - JOURNAL_HEADER_OCTETS);
	result = read_all(other_fd, true, size);
	assert_int_equal(result.count, 0);
	journal_close(&other);
	unlinkat(scratch->folder, "other", 0);
	free(file);
	free(body);
}

/* A batch that reached the disk in part is torn, not damaged: the record
 * after the hole was not acknowledged either. */
static void
test_torn_batch(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd;
	struct journal_record record = { .type = JOURNAL_MESSAGE,
		.envelope_len = 1,
		.envelope_crc = crc32c(0, "E", 1) };
	struct iovec part = { (void *)(uintptr_t) "E", 1 };
	char zeros[JOURNAL_RECORD_OCTETS] = "";
	struct result result;
	uint64_t middle = 0;
	struct reason why;

	append(scratch, "A", "", "", 0);
	journal_batch_begin(scratch->batch, &scratch->journal);
	for (int i = 0; i < 3; i++) {
		assert_true(
		    journal_batch_add(scratch->batch, &record, &part, 1));
		if (i == 1)
			middle = record.offset;
	}
	assert_true(journal_batch_write(scratch->batch, &why));
	assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)middle),
	    sizeof(zeros));
	result = read_all(fd, false, scratch->journal.end);
	assert_int_equal(result.count, 3);
	assert_int_equal(result.torn, 1);
	assert_int_equal(result.damages, 0);
}

static void
test_header_copies(void **state)
{
	struct scratch *scratch = *state;
	int fd = scratch->journal.fd;
	struct journal_header header;
	struct reason why;
	char zeros[64] = "";

	assert_int_equal(pwrite(fd, zeros, 64, 0), 64);
	assert_true(journal_read_header(fd, &header, &why));
	assert_int_equal(header.start_id, 42);
	assert_int_equal(pwrite(fd, zeros, 64, 64), 64);
	assert_false(journal_read_header(fd, &header, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
	assert_int_equal(ftruncate(fd, 20), 0);
	assert_false(journal_read_header(fd, &header, &why));
	assert_int_equal(why.code, REASON_DAMAGED);
}

static void
test_abandon(void **state)
{
	struct scratch *scratch = *state;
	struct journal_record record = { .type = JOURNAL_MESSAGE,
		.envelope_len = 1,
		.envelope_crc = crc32c(0, "E", 1) };
	struct iovec part = { (void *)(uintptr_t) "E", 1 };
	struct reason why;

	append(scratch, "A", "", "", 0);
	journal_batch_begin(scratch->batch, &scratch->journal);
	assert_true(journal_batch_add(scratch->batch, &record, &part, 1));
	assert_true(journal_batch_write(scratch->batch, &why));
	assert_true(journal_abandon(&scratch->journal));
	assert_int_equal(size_of(scratch->journal.fd),
	    scratch->journal.settled);
	append(scratch, "B", "", "", 0);
	assert_int_equal(
	    read_all(scratch->journal.fd, true, scratch->journal.end).count, 2);
}

static void
test_names(void **state)
{
	static const char *const wrong[] = { "", ".", "..", "0000000000000001",
		"0000000000000001.", "0000000000000001.x",
		"0000000000000001.01", "000000000000000G.1",
		"0000000000000001.1 ", "0000000000000001.4294967296",
		"0000000000000001.-1", "0000000000000001.m",
		"0000000000000001.m-1", "000000000000000A.1",
		"0x00000000000001.1", " 000000000000001.1" };
	char name[JOURNAL_NAME_SIZE];
	uint64_t start_id, number;
	bool large;

	(void)state;
	journal_segment_name(name, 0xabcdef, 12);
	assert_string_equal(name, "0000000000abcdef.12");
	assert_true(journal_parse_name(name, &start_id, &number, &large));
	assert_int_equal(start_id, 0xabcdef);
	assert_int_equal(number, 12);
	assert_false(large);
	journal_large_name(name, UINT64_MAX, UINT64_MAX);
	assert_true(journal_parse_name(name, &start_id, &number, &large));
	assert_true(large && number == UINT64_MAX);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (journal_parse_name(wrong[i], &start_id, &number, &large))
			print_error("\"%s\" passed\n", wrong[i]);
		assert_false(
		    journal_parse_name(wrong[i], &start_id, &number, &large));
	}
}

/* Others can write to the folder: what is no plain file is not opened. */
static void
test_open_file(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(symlinkat("j", scratch->folder, "link"), 0);
	assert_int_equal(mkfifoat(scratch->folder, "fifo", 0600), 0);
	assert_int_equal(journal_open_file(scratch->folder, "link", O_RDONLY),
	    -1);
	assert_int_equal(journal_open_file(scratch->folder, "fifo", O_RDONLY),
	    -1);
	assert_int_equal(journal_open_file(scratch->folder, ".", O_RDONLY), -1);
	unlinkat(scratch->folder, "link", 0);
	unlinkat(scratch->folder, "fifo", 0);
}

int
main(void)
{
#define WITH_SCRATCH(test)                                                     \
	cmocka_unit_test_setup_teardown(test, scratch_new, scratch_free)
	const struct CMUnitTest tests[] = {
		WITH_SCRATCH(test_round_trip),
		WITH_SCRATCH(test_torn_tail),
		WITH_SCRATCH(test_flipped_bits),
		WITH_SCRATCH(test_forged_records),
		WITH_SCRATCH(test_torn_batch),
		WITH_SCRATCH(test_header_copies),
		WITH_SCRATCH(test_abandon),
		cmocka_unit_test(test_names),
		WITH_SCRATCH(test_open_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
