/*
 * server/journal_read.c: find the records of a file again, whatever happened
 * to it.
 */
#include "journal_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "../policy/crc32c.h"

enum { WINDOW_OCTETS = 256 * 1024, CHECK_OCTETS = 64 * 1024 };

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
			      : journal_align8(offset),
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
	if (!journal_record_decode(&reader->header, offset, octets, record) ||
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
		if (journal_record_decode(&reader->header, at, octets,
			record) &&
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
	if (!journal_record_decode(header, offset, octets, record_out))
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
journal_read_front(int fd, const struct journal_header *header, uint64_t offset,
    struct journal_record *record_out, void **octets_out, struct reason *why)
{
	unsigned char *octets;

	if (!journal_read_record(fd, header, offset, record_out, why))
		return false;
	octets =
	    malloc((size_t)record_out->envelope_len + record_out->head_len + 1);
	if (octets == NULL)
		return fail(why, REASON_NO_MEMORY, "journal: envelope");
	if (!journal_read_parts(fd, record_out, octets, why)) {
		free(octets);
		return false;
	}
	*octets_out = octets;
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
