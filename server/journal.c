/*
 * server/journal.c: append records to a file, and find them again whatever
 * happened to it.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "wire.h"

enum {
	HEADER_COPY = 64,
	WINDOW_OCTETS = 256 * 1024,
	VECTORS_A_CALL = 1024, /* IOV_MAX of Linux */
	CHECK_OCTETS = 64 * 1024,
};

static const char magic[8] = { 'S', 'A', 'L', 'L', 'Y', 'J', 'N', 'L' };
static const unsigned char padding[8];

static uint64_t
align8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

static uint64_t
record_octets(const struct journal_record *record)
{
	uint64_t octets = (uint64_t)JOURNAL_RECORD_OCTETS +
			  record->envelope_len + record->head_len;

	if ((record->flags & JOURNAL_LARGE) == 0)
		octets += record->body_len;
	return octets;
}

uint64_t
journal_extent(const struct journal_record *record)
{
	return align8(record_octets(record));
}

uint64_t
journal_body_offset(const struct journal_record *record)
{
	return record->offset + JOURNAL_RECORD_OCTETS + record->envelope_len +
	       record->head_len;
}

/* Names. */

void
journal_segment_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint32_t file)
{
	snprintf(out, JOURNAL_NAME_SIZE, "%016" PRIx64 ".%" PRIu32, start_id,
	    file);
}

void
journal_large_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint64_t counter)
{
	snprintf(out, JOURNAL_NAME_SIZE, "%016" PRIx64 ".m%" PRIu64, start_id,
	    counter);
}

bool
journal_parse_name(const char *name, uint64_t *start_id_out,
    uint64_t *number_out, bool *large_out)
{
	char again[JOURNAL_NAME_SIZE];
	uint64_t start_id, number;
	bool large;

	if (strlen(name) >= sizeof(again) || strlen(name) < 18 ||
	    name[16] != '.')
		return false;
	large = name[17] == 'm';
	start_id = strtoull(name, NULL, 16);
	number = strtoull(name + 17 + (large ? 1 : 0), NULL, 10);
	if (large)
		journal_large_name(again, start_id, number);
	else if (number <= UINT32_MAX)
		journal_segment_name(again, start_id, (uint32_t)number);
	else
		return false;
	if (strcmp(again, name) != 0)
		return false; /* there is one spelling */
	*start_id_out = start_id;
	*number_out = number;
	*large_out = large;
	return true;
}

int
journal_open_file(int folder, const char *name, int flags)
{
	int fd = openat(folder, name,
	    flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	return fd;
}

/* Headers. */

static void
header_encode(const struct journal_header *header,
    unsigned char out[static HEADER_COPY])
{
	struct wire_writer w;

	wire_writer_init(&w, out, HEADER_COPY);
	wire_put_raw(&w, magic, sizeof(magic));
	wire_put_u32(&w, JOURNAL_VERSION);
	wire_put_u32(&w, header->kind);
	wire_put_u64(&w, header->start_id);
	wire_put_u32(&w, header->file);
	wire_put_u32(&w, 0);
	wire_put_u64(&w, header->mark);
	wire_put_u64(&w, header->seed);
	wire_put_u64(&w, (uint64_t)header->made_ms);
	wire_put_u32(&w, 0);
	wire_put_u32(&w, crc32c(0, out, w.len));
}

static bool
header_decode(const unsigned char in[static HEADER_COPY],
    struct journal_header *header_out, struct reason *why)
{
	struct wire_reader r;
	char found[sizeof(magic)];
	uint32_t version, kind;

	wire_reader_init(&r, in, HEADER_COPY);
	wire_get_raw(&r, found, sizeof(found));
	version = wire_get_u32(&r);
	kind = wire_get_u32(&r);
	header_out->start_id = wire_get_u64(&r);
	header_out->file = wire_get_u32(&r);
	wire_get_u32(&r);
	header_out->mark = wire_get_u64(&r);
	header_out->seed = wire_get_u64(&r);
	header_out->made_ms = (int64_t)wire_get_u64(&r);
	wire_get_u32(&r);
	if (wire_get_u32(&r) != crc32c(0, in, HEADER_COPY - 4) ||
	    memcmp(found, magic, sizeof(magic)) != 0)
		return fail(why, REASON_DAMAGED, "journal header is wrong");
	if (version != JOURNAL_VERSION ||
	    (kind != JOURNAL_SPOOL && kind != JOURNAL_LOG))
		return fail(why, REASON_RANGE,
		    "journal version %" PRIu32 ", expected %d", version,
		    JOURNAL_VERSION);
	header_out->kind = (enum journal_kind)kind;
	return true;
}

bool
journal_read_header(int fd, struct journal_header *header_out,
    struct reason *why)
{
	unsigned char octets[JOURNAL_HEADER_OCTETS];
	ssize_t got = pread(fd, octets, sizeof(octets), 0);

	if (got < 0)
		return fail_errno(why, "journal header");
	if (got < HEADER_COPY)
		return fail(why, REASON_DAMAGED, "journal header is cut off");
	if (header_decode(octets, header_out, why))
		return true;
	if (got < JOURNAL_HEADER_OCTETS)
		return false;
	return header_decode(octets + HEADER_COPY, header_out, why);
}

static uint32_t
record_crc(const struct journal_header *header, uint64_t offset,
    const unsigned char *octets)
{
	unsigned char first[16];
	struct wire_writer w;

	wire_writer_init(&w, first, sizeof(first));
	wire_put_u64(&w, header->seed);
	wire_put_u64(&w, offset);
	return crc32c(crc32c(0, first, sizeof(first)), octets,
	    JOURNAL_RECORD_OCTETS - 4);
}

static void
record_encode(const struct journal_header *header,
    const struct journal_record *record,
    unsigned char out[static JOURNAL_RECORD_OCTETS])
{
	struct wire_writer w;

	wire_writer_init(&w, out, JOURNAL_RECORD_OCTETS);
	wire_put_u64(&w, header->mark ^ record->offset);
	wire_put_u8(&w, (uint8_t)record->type);
	wire_put_u8(&w, (uint8_t)record->flags);
	wire_put_u16(&w, 0);
	wire_put_u32(&w, record->envelope_len);
	wire_put_u32(&w, record->head_len);
	wire_put_u64(&w, record->body_len);
	wire_put_u32(&w, record->envelope_crc);
	wire_put_u32(&w, record->head_crc);
	wire_put_u32(&w, record->body_crc);
	wire_put_u64(&w, record->number);
	wire_put_u64(&w, record->settled);
	wire_put_u32(&w, 0);
	wire_put_u32(&w, record_crc(header, record->offset, out));
}

static bool
record_in_bounds(const struct journal_record *record)
{
	uint64_t body_max = (record->flags & JOURNAL_LARGE) != 0
				? JOURNAL_BODY_MAX
				: (uint64_t)JOURNAL_INLINE_MAX;

	return record->envelope_len <= JOURNAL_ENVELOPE_MAX &&
	       record->head_len <= JOURNAL_HEAD_MAX &&
	       record->body_len <= body_max;
}

static bool
record_decode(const struct journal_header *header, uint64_t offset,
    const unsigned char in[static JOURNAL_RECORD_OCTETS],
    struct journal_record *record_out)
{
	struct wire_reader r;

	wire_reader_init(&r, in, JOURNAL_RECORD_OCTETS);
	if (wire_get_u64(&r) != (header->mark ^ offset))
		return false;
	record_out->type = (enum journal_type)wire_get_u8(&r);
	record_out->flags = wire_get_u8(&r);
	wire_get_u16(&r);
	record_out->envelope_len = wire_get_u32(&r);
	record_out->head_len = wire_get_u32(&r);
	record_out->body_len = wire_get_u64(&r);
	record_out->envelope_crc = wire_get_u32(&r);
	record_out->head_crc = wire_get_u32(&r);
	record_out->body_crc = wire_get_u32(&r);
	record_out->number = wire_get_u64(&r);
	record_out->settled = wire_get_u64(&r);
	wire_get_u32(&r);
	record_out->offset = offset;
	return wire_get_u32(&r) == record_crc(header, offset, in) &&
	       record_in_bounds(record_out);
}

/* Writing. */

static bool
header_new(struct journal_header *header, enum journal_kind kind,
    uint64_t start_id, uint32_t file, struct reason *why)
{
	struct timespec now;
	uint64_t salt[2];

	if (getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return fail_errno(why, "getrandom");
	clock_gettime(CLOCK_REALTIME, &now);
	header->kind = kind;
	header->start_id = start_id;
	header->file = file;
	header->mark = salt[0];
	header->seed = salt[1];
	header->made_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	return true;
}

static bool
header_write(int fd, const struct journal_header *header, const char *name,
    struct reason *why)
{
	unsigned char octets[JOURNAL_HEADER_OCTETS];
	ssize_t wrote;

	header_encode(header, octets);
	memcpy(octets + HEADER_COPY, octets, HEADER_COPY);
	wrote = pwrite(fd, octets, sizeof(octets), 0);
	if (wrote < 0)
		return fail_errno(why, "%s: write", name);
	if (wrote != (ssize_t)sizeof(octets))
		return fail(why, REASON_NO_SPACE, "%s: write was cut short",
		    name);
	if (fsync(fd) < 0)
		return fail_errno(why, "%s: fsync", name);
	return true;
}

bool
journal_create(struct journal *journal, int folder, const char *name,
    unsigned mode, enum journal_kind kind, uint64_t start_id, uint32_t file,
    bool sync_folder, struct reason *why)
{
	/* With its mode from the start: killed before fchmod, it would be one
	 * that its reader cannot open. */
	int fd = openat(folder, name,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);

	if (fd < 0)
		return fail_errno(why, "%s: create", name);
	if (fchmod(fd, (mode_t)mode) < 0) {
		fail_errno(why, "%s: chmod", name);
		goto undo;
	}
	if (!header_new(&journal->header, kind, start_id, file, why) ||
	    !header_write(fd, &journal->header, name, why))
		goto undo;
	if (sync_folder && fsync(folder) < 0) {
		fail_errno(why, "%s: fsync of its folder", name);
		goto undo;
	}
	journal->fd = fd;
	journal->settled = journal->end = JOURNAL_HEADER_OCTETS;
	return true;
undo:
	unlinkat(folder, name, 0);
	close(fd);
	return false;
}

void
journal_close(struct journal *journal)
{
	if (journal->fd >= 0)
		close(journal->fd);
	journal->fd = -1;
}

void
journal_batch_begin(struct journal_batch *batch, struct journal *journal)
{
	batch->journal = journal;
	batch->end = journal->end;
	batch->records = batch->vectors = 0;
}

bool
journal_batch_add(struct journal_batch *batch, struct journal_record *record,
    const struct iovec *parts, size_t part_count)
{
	unsigned char *octets;
	uint64_t gap;

	if (batch->records == JOURNAL_BATCH_RECORDS ||
	    part_count + 2 > JOURNAL_BATCH_VECTORS - batch->vectors)
		return false;
	record->offset = batch->end;
	record->settled = batch->journal->settled;
	octets = batch->headers[batch->records++];
	record_encode(&batch->journal->header, record, octets);
	batch->vector[batch->vectors++] =
	    (struct iovec){ octets, JOURNAL_RECORD_OCTETS };
	for (size_t i = 0; i < part_count; i++) {
		if (parts[i].iov_len > 0)
			batch->vector[batch->vectors++] = parts[i];
	}
	gap = journal_extent(record) - record_octets(record);
	if (gap > 0)
		batch->vector[batch->vectors++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)padding,
			.iov_len = gap,
		};
	batch->end += journal_extent(record);
	return true;
}

/* Step over octets that were written. */
static void
vector_advance(struct iovec **vector, size_t *count, size_t octets)
{
	while (*count > 0 && octets >= (*vector)->iov_len) {
		octets -= (*vector)->iov_len;
		(*vector)++;
		(*count)--;
	}
	if (*count > 0) {
		(*vector)->iov_base = (char *)(*vector)->iov_base + octets;
		(*vector)->iov_len -= octets;
	}
}

bool
journal_batch_write(struct journal_batch *batch, struct reason *why)
{
	struct journal *journal = batch->journal;
	struct iovec *vector = batch->vector;
	size_t count = batch->vectors;

	while (count > 0) {
		size_t now = count < VECTORS_A_CALL ? count : VECTORS_A_CALL;
		ssize_t wrote =
		    pwritev(journal->fd, vector, (int)now, (off_t)journal->end);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return fail_errno(why, "journal: write");
		if (wrote == 0)
			return fail(why, REASON_IO,
			    "journal: write took nothing");
		journal->end += (uint64_t)wrote;
		vector_advance(&vector, &count, (size_t)wrote);
	}
	return true;
}

bool
journal_sync(struct journal *journal, struct reason *why)
{
	if (fdatasync(journal->fd) < 0)
		return fail_errno(why, "journal: fdatasync");
	journal->settled = journal->end;
	return true;
}

bool
journal_abandon(struct journal *journal)
{
	if (ftruncate(journal->fd, (off_t)journal->settled) < 0)
		return false;
	journal->end = journal->settled;
	return true;
}

/* Reading. */

bool
journal_pread(int fd, void *out, size_t len, uint64_t offset,
    struct reason *why)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = pread(fd, (char *)out + done, len - done,
		    (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_errno(why, "journal: read");
		if (got == 0)
			return fail(why, REASON_DAMAGED,
			    "journal: the file ends at %" PRIu64,
			    offset + done);
		done += (size_t)got;
	}
	return true;
}

void
journal_reader_init(struct journal_reader *reader, int fd,
    const struct journal_header *header, uint64_t offset, uint64_t limit,
    bool exact, bool verify)
{
	*reader = (struct journal_reader){
		.fd = fd,
		.header = *header,
		.offset = offset < JOURNAL_HEADER_OCTETS
			      ? (uint64_t)JOURNAL_HEADER_OCTETS
			      : align8(offset),
		.limit = limit,
		.exact = exact,
		.verify = verify,
	};
}

void
journal_reader_fini(struct journal_reader *reader)
{
	free(reader->window);
	reader->window = NULL;
}

enum look { LOOK_YES, LOOK_NO, LOOK_TROUBLE };

static bool
window_grow(struct journal_reader *reader, size_t size, struct reason *why)
{
	unsigned char *grown;

	if (size < WINDOW_OCTETS)
		size = WINDOW_OCTETS;
	if (reader->window_size >= size)
		return true;
	grown = realloc(reader->window, size);
	if (grown == NULL)
		return fail(why, REASON_NO_MEMORY, "journal window");
	reader->window = grown;
	reader->window_size = size;
	return true;
}

/*
 * len octets at offset, borrowed from the window; read as much further as fits
 * and the limit allows, because what follows is wanted next.  LOOK_NO: the
 * file or the limit ends before.
 */
static enum look
window_look(struct journal_reader *reader, uint64_t offset, size_t len,
    const unsigned char **out, struct reason *why)
{
	size_t want, got = 0;

	if (offset > reader->limit || len > reader->limit - offset)
		return LOOK_NO;
	if (offset >= reader->window_at && reader->window != NULL &&
	    offset - reader->window_at <= reader->window_len &&
	    len <= reader->window_len - (offset - reader->window_at)) {
		*out = reader->window + (offset - reader->window_at);
		return LOOK_YES;
	}
	if (!window_grow(reader, len, why))
		return LOOK_TROUBLE;
	want = reader->window_size;
	if (want > reader->limit - offset)
		want = (size_t)(reader->limit - offset);
	while (got < want) {
		ssize_t n = pread(reader->fd, reader->window + got, want - got,
		    (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail_errno(why, "journal: read");
			return LOOK_TROUBLE;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	reader->window_at = offset;
	reader->window_len = got;
	*out = reader->window;
	return got >= len ? LOOK_YES : LOOK_NO;
}

/* Is there a record's header at offset, and does the record end before the
 * limit? */
static enum look
look_header(struct journal_reader *reader, uint64_t offset,
    struct journal_record *record, struct reason *why)
{
	const unsigned char *octets;
	enum look look =
	    window_look(reader, offset, JOURNAL_RECORD_OCTETS, &octets, why);

	if (look != LOOK_YES)
		return look;
	if (!record_decode(&reader->header, offset, octets, record) ||
	    journal_extent(record) > reader->limit - offset)
		return LOOK_NO;
	if (!reader->verify || journal_extent(record) > WINDOW_OCTETS)
		return LOOK_YES;
	/* All of it will be wanted: at once, not part by part. */
	return window_look(reader, offset, (size_t)journal_extent(record),
	    &octets, why);
}

/* Do len octets at offset have that CRC?  In pieces: no part needs to fit the
 * window. */
static enum look
look_crc(struct journal_reader *reader, uint64_t offset, uint64_t len,
    uint32_t crc, struct reason *why)
{
	uint32_t sum = 0;

	while (len > 0) {
		size_t piece = len < CHECK_OCTETS ? (size_t)len : CHECK_OCTETS;
		const unsigned char *octets;
		enum look look =
		    window_look(reader, offset, piece, &octets, why);

		if (look != LOOK_YES)
			return look;
		sum = crc32c(sum, octets, piece);
		offset += piece;
		len -= piece;
	}
	return sum == crc ? LOOK_YES : LOOK_NO;
}

static enum look
look_parts(struct journal_reader *reader, const struct journal_record *record,
    struct reason *why)
{
	uint64_t at = record->offset + JOURNAL_RECORD_OCTETS;
	enum look look = LOOK_YES;

	if (reader->verify)
		look = look_crc(reader, at + record->envelope_len,
		    record->head_len, record->head_crc, why);
	if (look == LOOK_YES && reader->verify &&
	    (record->flags & JOURNAL_LARGE) == 0)
		look = look_crc(reader, journal_body_offset(record),
		    record->body_len, record->body_crc, why);
	if (look == LOOK_YES)
		look = look_crc(reader, at, record->envelope_len,
		    record->envelope_crc, why);
	return look;
}

/* The first offset from at on where a record's header is, or the limit. */
static enum look
find_header(struct journal_reader *reader, uint64_t at,
    struct journal_record *record, struct reason *why)
{
	const unsigned char *octets;

	for (;
	     at < reader->limit && reader->limit - at >= JOURNAL_RECORD_OCTETS;
	     at += 8) {
		enum look look = window_look(reader, at, JOURNAL_RECORD_OCTETS,
		    &octets, why);

		if (look == LOOK_NO)
			break; /* the file ends */
		if (look == LOOK_TROUBLE)
			return LOOK_TROUBLE;
		if (record_decode(&reader->header, at, octets, record) &&
		    journal_extent(record) <= reader->limit - at)
			return LOOK_YES;
	}
	return LOOK_NO;
}

/*
 * What the records from here on say was settled when they were written: tells
 * damage of acknowledged octets from a batch that never reached the disk
 * whole.  Once a reader, however much is wrong.
 */
static bool
find_settled(struct journal_reader *reader, struct reason *why)
{
	struct journal_record record;
	uint64_t at = reader->offset;
	enum look look;

	if (reader->settled_known)
		return true;
	while ((look = find_header(reader, at, &record, why)) == LOOK_YES) {
		if (record.settled > reader->most_settled)
			reader->most_settled = record.settled;
		at = record.offset + journal_extent(&record);
	}
	if (look == LOOK_TROUBLE)
		return false;
	reader->settled_known = true;
	return true;
}

/* There is no good record at reader->offset; resume is where to look on. */
static enum journal_found
pass_over(struct journal_reader *reader, uint64_t resume, uint64_t *from_out,
    uint64_t *to_out, struct reason *why)
{
	struct journal_record next;
	enum look look = find_header(reader, resume, &next, why);

	if (look == LOOK_TROUBLE ||
	    (!reader->exact && !find_settled(reader, why)))
		return JOURNAL_TROUBLE;
	*from_out = reader->offset;
	*to_out = look == LOOK_YES ? next.offset : reader->limit;
	reader->offset = *to_out;
	if (reader->exact || reader->most_settled > *from_out) {
		fail(why, REASON_DAMAGED,
		    "octets %" PRIu64 " to %" PRIu64 " are no record",
		    *from_out, *to_out);
		return JOURNAL_DAMAGE;
	}
	return JOURNAL_TORN;
}

enum journal_found
journal_reader_next(struct journal_reader *reader,
    struct journal_record *record_out, const void **envelope_out,
    uint64_t *from_out, uint64_t *to_out, struct reason *why)
{
	struct journal_record record;
	const unsigned char *envelope;
	uint64_t resume = reader->offset + 8;
	enum look look;

	if (reader->offset >= reader->limit)
		return JOURNAL_END;
	look = look_header(reader, reader->offset, &record, why);
	if (look == LOOK_YES) {
		resume = record.offset + journal_extent(&record);
		look = look_parts(reader, &record, why);
	}
	if (look == LOOK_YES)
		look =
		    window_look(reader, record.offset + JOURNAL_RECORD_OCTETS,
			record.envelope_len, &envelope, why);
	if (look == LOOK_TROUBLE)
		return JOURNAL_TROUBLE;
	if (look == LOOK_NO)
		return pass_over(reader, resume, from_out, to_out, why);
	reader->offset = resume;
	*record_out = record;
	*envelope_out = envelope;
	return JOURNAL_FOUND;
}

bool
journal_read_record(int fd, const struct journal_header *header,
    uint64_t offset, struct journal_record *record_out, struct reason *why)
{
	unsigned char octets[JOURNAL_RECORD_OCTETS];

	if (!journal_pread(fd, octets, sizeof(octets), offset, why))
		return false;
	if (!record_decode(header, offset, octets, record_out))
		return fail(why, REASON_DAMAGED, "no record at %" PRIu64,
		    offset);
	return true;
}

bool
journal_read_parts(int fd, const struct journal_record *record, void *out,
    struct reason *why)
{
	const unsigned char *octets = out;

	if (!journal_pread(fd, out,
		(size_t)record->envelope_len + record->head_len,
		record->offset + JOURNAL_RECORD_OCTETS, why))
		return false;
	if (crc32c(0, octets, record->envelope_len) != record->envelope_crc)
		return fail(why, REASON_DAMAGED,
		    "envelope at %" PRIu64 ": wrong CRC", record->offset);
	if (crc32c(0, octets + record->envelope_len, record->head_len) !=
	    record->head_crc)
		return fail(why, REASON_DAMAGED,
		    "head at %" PRIu64 ": wrong CRC", record->offset);
	return true;
}

bool
journal_check_octets(int fd, uint64_t offset, uint64_t len, uint32_t crc,
    struct reason *why)
{
	unsigned char octets[CHECK_OCTETS];
	uint64_t at = offset;
	uint32_t sum = 0;

	while (len > 0) {
		size_t piece =
		    len < sizeof(octets) ? (size_t)len : sizeof(octets);

		if (!journal_pread(fd, octets, piece, at, why))
			return false;
		sum = crc32c(sum, octets, piece);
		at += piece;
		len -= piece;
	}
	if (sum != crc)
		return fail(why, REASON_DAMAGED,
		    "body at %" PRIu64 ": wrong CRC", offset);
	return true;
}
