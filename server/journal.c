/*
 * server/journal.c: append records to a file.
 */
#include "journal_internal.h"

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

enum { VECTORS_A_CALL = 1024 /* IOV_MAX of Linux */ };

static const unsigned char padding[8];

bool
journal_fsync(int fd)
{
	int rc;

	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc == 0;
}

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
	size_t done = 0;

	journal_header_encode(header, octets);
	memcpy(octets + JOURNAL_HEADER_COPY, octets, JOURNAL_HEADER_COPY);
	while (done < sizeof(octets)) {
		ssize_t wrote = pwrite(fd, octets + done, sizeof(octets) - done,
		    (off_t)done);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return fail_errno(why, "%s: write", name);
		if (wrote == 0)
			return fail(why, REASON_IO, "%s: write took nothing",
			    name);
		done += (size_t)wrote;
	}
	if (!journal_fsync(fd))
		return fail_errno(why, "%s: fsync", name);
	return true;
}

/* The header is filled in; flags say what may be there already. */
static bool
file_make(struct journal *journal, int folder, const char *name, unsigned mode,
    int flags, struct reason *why)
{
	/* With its mode from the start: killed before fchmod, it would be one
	 * that its reader cannot open. */
	int fd = openat(folder, name,
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, (mode_t)mode);

	if (fd < 0)
		return fail_errno(why, "%s: create", name);
	if (fchmod(fd, (mode_t)mode) < 0) {
		fail_errno(why, "%s: chmod", name);
		goto undo;
	}
	if (!header_write(fd, &journal->header, name, why))
		goto undo;
	journal->fd = fd;
	journal->settled = journal->end = JOURNAL_HEADER_OCTETS;
	return true;
undo:
	unlinkat(folder, name, 0);
	close(fd);
	return false;
}

bool
journal_create(struct journal *journal, int folder, const char *name,
    unsigned mode, enum journal_kind kind, uint64_t start_id, uint32_t file,
    bool sync_folder, struct reason *why)
{
	if (!header_new(&journal->header, kind, start_id, file, why) ||
	    !file_make(journal, folder, name, mode, O_EXCL, why))
		return false;
	if (!sync_folder || journal_fsync(folder))
		return true;
	fail_errno(why, "%s: fsync of its folder", name);
	unlinkat(folder, name, 0);
	journal_close(journal);
	return false;
}

bool
journal_create_kept(struct journal *journal, int folder, const char *name,
    unsigned mode, const struct journal_header *of, struct reason *why)
{
	if (!header_new(&journal->header, JOURNAL_KEPT, of->start_id, of->file,
		why))
		return false;
	/* Messages are named by it, so it stays.  What cannot pass for a record
	 * of the image cannot because of the seed. */
	journal->header.mark = of->mark;
	return file_make(journal, folder, name, mode, O_TRUNC, why);
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
	journal_record_encode(&batch->journal->header, record, octets);
	batch->vector[batch->vectors++] =
	    (struct iovec){ octets, JOURNAL_RECORD_OCTETS };
	for (size_t i = 0; i < part_count; i++) {
		if (parts[i].iov_len > 0)
			batch->vector[batch->vectors++] = parts[i];
	}
	gap = journal_extent(record) - journal_record_octets(record);
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
journal_copy(struct journal *journal, struct journal_batch *batch, int from_fd,
    const struct journal_header *from, uint64_t offset, uint64_t origin,
    uint64_t *offset_out, struct reason *why)
{
	struct journal_record record;
	struct iovec part;
	bool ok;

	if (!journal_read_record(from_fd, from, offset, &record, why))
		return false;
	part.iov_len =
	    (size_t)(journal_record_octets(&record) - JOURNAL_RECORD_OCTETS);
	part.iov_base = malloc(part.iov_len + 1);
	if (part.iov_base == NULL)
		return fail(why, REASON_NO_MEMORY, "journal: copy");
	record.origin = origin;
	ok = journal_pread(from_fd, part.iov_base, part.iov_len,
	    offset + JOURNAL_RECORD_OCTETS, why);
	if (ok) {
		journal_batch_begin(batch, journal);
		journal_batch_add(batch, &record, &part, 1);
		ok = journal_batch_write(batch, why);
	}
	free(part.iov_base);
	if (ok)
		*offset_out = record.offset;
	return ok;
}

bool
journal_sync(struct journal *journal, struct reason *why)
{
	int rc;

	do
		rc = fdatasync(journal->fd);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
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
