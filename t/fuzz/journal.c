/*
 * t/fuzz/journal.c: any octets as a segment.
 *
 * The first octet of the input says what is mended before reading, because
 * hardly any input has a right CRC by chance: bit 0 the file's header, bit 1
 * the mark and CRC of each record's header from the first on, bit 2 the
 * reader's idea that all is settled.  Envelopes and attempts are also decoded
 * from the plain input.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../policy/crc32c.h"
#include "../../server/journal.h"
#include "../../server/queue_internal.h"

enum {
	MEND_HEADER = 1,
	MEND_RECORDS = 2,
	ALL_SETTLED = 4,
	INPUT_MOST = 1024 * 1024,
	COPY = 64,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
put_u32(uint8_t *at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint64_t
get_number(const uint8_t *at, int octets)
{
	uint64_t v = 0;

	for (int i = 0; i < octets; i++)
		v = v << 8 | at[i];
	return v;
}

static void
mend_header(uint8_t *image)
{
	memcpy(image, "SALLYJNL\0\0\0\1\0\0\0\1", 16);
	put_u32(image + COPY - 4, crc32c(0, image, COPY - 4));
}

/* The layout is in server/journal.h. */
static void
mend_records(uint8_t *image, size_t size)
{
	uint64_t mark = get_number(image + 32, 8);
	size_t at = JOURNAL_HEADER_OCTETS;

	while (at < size && size - at >= JOURNAL_RECORD_OCTETS) {
		uint8_t *record = image + at, first[16];
		uint64_t extent;

		for (int i = 0; i < 8; i++) {
			record[i] = (uint8_t)((mark ^ at) >> (56 - 8 * i));
			first[8 + i] = (uint8_t)((uint64_t)at >> (56 - 8 * i));
		}
		memcpy(first, image + 40, 8);
		put_u32(record + JOURNAL_RECORD_OCTETS - 4,
		    crc32c(crc32c(0, first, sizeof(first)), record,
			JOURNAL_RECORD_OCTETS - 4));
		extent = JOURNAL_RECORD_OCTETS + get_number(record + 12, 4) +
			 get_number(record + 16, 4) +
			 get_number(record + 20, 8);
		if (extent > size - at)
			break;
		at += (size_t)((extent + 7) & ~UINT64_C(7));
	}
}

static void
read_parts(int fd, const struct journal_record *record)
{
	unsigned char *parts =
	    malloc((size_t)record->envelope_len + record->head_len + 1);
	struct reason why;

	assert(parts != NULL);
	journal_read_parts(fd, record, parts, &why);
	if ((record->flags & JOURNAL_LARGE) == 0)
		journal_check_octets(fd, journal_body_offset(record),
		    record->body_len, record->body_crc, &why);
	free(parts);
}

static void
decode(const void *octets, size_t len)
{
	struct envelope envelope;
	struct attempt attempt;
	struct reason why;

	if (envelope_decode(&envelope, octets, len, &why)) {
		assert(envelope.recipient_count > 0);
		envelope_fini(&envelope);
	}
	if (attempt_decode(&attempt, octets, len, &why))
		attempt_fini(&attempt);
}

static void
read_image(int fd, size_t size, bool settled)
{
	struct journal_header header;
	struct journal_record record;
	struct journal_reader reader;
	enum journal_found found;
	const void *envelope;
	uint64_t from, to, before = JOURNAL_HEADER_OCTETS;
	struct reason why;

	if (!journal_read_header(fd, &header, &why))
		return;
	journal_reader_init(&reader, fd, &header, 0, size, settled, true);
	while ((found = journal_reader_next(&reader, &record, &envelope, &from,
		    &to, &why)) != JOURNAL_END) {
		assert(found != JOURNAL_TROUBLE);
		/* It gets on, and never beyond the end. */
		assert(reader.offset > before && reader.offset <= size);
		if (found == JOURNAL_FOUND) {
			assert(record.offset == before);
			decode(envelope, record.envelope_len);
			read_parts(fd, &record);
		} else {
			assert(from == before && to == reader.offset);
			assert(found != JOURNAL_TORN || !settled);
		}
		before = reader.offset;
	}
	journal_reader_fini(&reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned what;
	uint8_t *image;
	int fd;

	if (size == 0 || size > INPUT_MOST)
		return 0;
	what = data[0];
	data++;
	size--;
	decode(data, size);
	image = malloc(size + 1);
	assert(image != NULL);
	memcpy(image, data, size);
	if ((what & MEND_HEADER) != 0 && size >= COPY)
		mend_header(image);
	if ((what & MEND_RECORDS) != 0 && size >= JOURNAL_HEADER_OCTETS)
		mend_records(image, size);
	fd = memfd_create("segment", MFD_CLOEXEC);
	assert(fd >= 0 && write(fd, image, size) == (ssize_t)size);
	read_image(fd, size, (what & ALL_SETTLED) != 0);
	close(fd);
	free(image);
	return 0;
}
