/*
 * server/journal_format.c: names, headers and records of the files that
 * messages and outcomes are appended to, both ways.
 */
#include "journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../policy/crc32c.h"
#include "wire.h"

static const char magic[8] = { 'S', 'A', 'L', 'L', 'Y', 'J', 'N', 'L' };

uint64_t
journal_align8(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

uint64_t
journal_record_octets(const struct journal_record *record)
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
	return journal_align8(journal_record_octets(record));
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

void
journal_header_encode(const struct journal_header *header,
    unsigned char out[static JOURNAL_HEADER_COPY])
{
	struct wire_writer w;

	wire_writer_init(&w, out, JOURNAL_HEADER_COPY);
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
header_decode(const unsigned char in[static JOURNAL_HEADER_COPY],
    struct journal_header *header_out, struct reason *why)
{
	struct wire_reader r;
	char found[sizeof(magic)];
	uint32_t version, kind;

	wire_reader_init(&r, in, JOURNAL_HEADER_COPY);
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
	if (wire_get_u32(&r) != crc32c(0, in, JOURNAL_HEADER_COPY - 4) ||
	    memcmp(found, magic, sizeof(magic)) != 0 || header_out->mark == 0)
		return fail(why, REASON_DAMAGED, "journal header is wrong");
	if (version != JOURNAL_VERSION ||
	    (kind != JOURNAL_SPOOL && kind != JOURNAL_LOG &&
		kind != JOURNAL_KEPT))
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
	if (got < JOURNAL_HEADER_COPY)
		return fail(why, REASON_DAMAGED, "journal header is cut off");
	if (header_decode(octets, header_out, why))
		return true;
	if (got < JOURNAL_HEADER_OCTETS)
		return false;
	return header_decode(octets + JOURNAL_HEADER_COPY, header_out, why);
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

void
journal_record_encode(const struct journal_header *header,
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
	wire_put_u32(&w, (uint32_t)(record->origin / 8));
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

bool
journal_record_decode(const struct journal_header *header, uint64_t offset,
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
	record_out->origin = UINT64_C(8) * wire_get_u32(&r);
	record_out->offset = offset;
	return wire_get_u32(&r) == record_crc(header, offset, in) &&
	       record_in_bounds(record_out);
}
