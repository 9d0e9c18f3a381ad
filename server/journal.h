/*
 * server/journal.h: the files that messages and outcomes are appended to.
 *
 * One writer a file.  A file is a header (twice, with a CRC each) that holds a
 * random salt, and records at offsets that are multiples of 8.  A record is
 * its own header and up to three parts: envelope, head, body.  The record's
 * first word is made of the salt and the offset, and its CRC-32C, which covers
 * the parts' CRCs too, begins with both: neither the content of a message nor
 * a copy of a record elsewhere can pass for one.
 *
 *     octets   of the file header (numbers are big-endian)
 *     0  8     "SALLYJNL"
 *     8  4     version, 1
 *     12 4     enum journal_kind
 *     16 8     id of the writer's start
 *     24 4     number of the file in the writer's sequence
 *     28 4     zero
 *     32 16    salt: mark, which is not 0, and seed
 *     48 8     Unix milliseconds when it was made
 *     56 4     zero
 *     60 4     CRC-32C of the octets before
 *     64 64    the same again
 *
 *     octets   of a record's header
 *     0  8     mark of the salt, exclusive-or offset of the record
 *     8  1     enum journal_type
 *     9  1     enum journal_flag
 *     10 2     zero
 *     12 4     octets of the envelope
 *     16 4     octets of the head
 *     20 8     octets of the body
 *     28 12    CRC-32C of envelope, head, body
 *     40 8     number: of the large file, or what the type says
 *     48 8     settled: all before this offset was on stable storage when the
 *              record was written
 *     56 4     origin: in a kept image the offset in the segment it is of,
 *              divided by 8; else zero
 *     60 4     CRC-32C of seed, offset and the octets before
 *
 * A kept image is what the relay makes of a segment of which little is left: it
 * has the segment's start, file and mark, a seed of its own, a copy of each
 * message that is left, and at the end a record that says how many there are.
 */
#ifndef SERVER_JOURNAL_H
#define SERVER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../policy/reason.h"
#include "envelope.h"

enum {
	JOURNAL_VERSION = 1,
	JOURNAL_HEADER_OCTETS = 128,
	JOURNAL_RECORD_OCTETS = 64,
	JOURNAL_ENVELOPE_MAX = ENVELOPE_OCTETS_MAX,
	JOURNAL_HEAD_MAX = 1024 * 1024,
	JOURNAL_INLINE_MAX = 1024 * 1024, /* body within the record */
	JOURNAL_BATCH_RECORDS = 256,
	JOURNAL_BATCH_VECTORS = 4096,
};
#define JOURNAL_BODY_MAX (UINT64_C(1) << 40) /* body in a file of its own */

enum journal_kind {
	JOURNAL_SPOOL = 1, /* written by the session role */
	JOURNAL_LOG = 2,   /* written by the relay role */
	JOURNAL_KEPT = 3,  /* the same: what is left of a segment */
};

enum journal_type {
	JOURNAL_MESSAGE = 1,
	JOURNAL_CLOSED = 2, /* envelope: u32 file number, u64 its end */
	/* Of the relay's log; their envelopes are in server/queue_record.c. */
	JOURNAL_ATTEMPT = 3,
	JOURNAL_STATE = 4,
	JOURNAL_HELD = 5,
	JOURNAL_REMOVED = 6,
	JOURNAL_RELEASED = 7,
	JOURNAL_KEPT_END = 8, /* of a kept image; number: messages before it */
};

enum journal_flag {
	JOURNAL_LARGE = 1, /* the body is the large file "number" */
};

struct journal_header {
	enum journal_kind kind;
	uint64_t start_id;
	uint32_t file;
	uint64_t mark, seed; /* the salt */
	int64_t made_ms;
};

struct journal_record {
	enum journal_type type;
	unsigned flags;
	uint32_t envelope_len, head_len;
	uint64_t body_len;
	uint32_t envelope_crc, head_crc, body_crc;
	uint64_t number;
	uint64_t settled; /* the writer fills this in */
	uint64_t offset;  /* and this; where it stands */
	uint64_t origin;  /* in a kept image: where it stood; else 0 */
};

/* Octets a record takes in its file, padding included. */
uint64_t journal_extent(const struct journal_record *record);

/* Writing.  Threads: one at a time. */
struct journal {
	int fd;
	struct journal_header header;
	uint64_t settled; /* on stable storage */
	uint64_t end;     /* written */
};

/*
 * Make a file of that name in folder (never replaces one), write its header
 * and sync it; with sync_folder the folder too, after which records in it can
 * be relied on.  mode is set whatever the umask says.  On failure nothing is
 * left.
 */
bool journal_create(struct journal *journal, int folder, const char *name,
    unsigned mode, enum journal_kind kind, uint64_t start_id, uint32_t file,
    bool sync_folder, struct reason *why);
/* The same of a kept image of the file with that header; what stands there is
 * replaced, and the folder is not synced. */
bool journal_create_kept(struct journal *journal, int folder, const char *name,
    unsigned mode, const struct journal_header *of, struct reason *why);
void journal_close(struct journal *journal);

/* Records gathered for one write.  Borrows all parts until the write. */
struct journal_batch {
	struct journal *journal;
	uint64_t end; /* offset after what was added */
	size_t records, vectors;
	unsigned char headers[JOURNAL_BATCH_RECORDS][JOURNAL_RECORD_OCTETS];
	struct iovec vector[JOURNAL_BATCH_VECTORS];
};

void journal_batch_begin(struct journal_batch *batch, struct journal *journal);
/*
 * Add a record whose lengths, CRCs, type, flags and number are filled in;
 * offset and settled are set here.  parts are envelope, head and inline body
 * in order, in any division.  False if the batch is full.
 */
bool journal_batch_add(struct journal_batch *batch,
    struct journal_record *record, const struct iovec *parts,
    size_t part_count);
/* Write at the journal's end.  After a failure call journal_abandon. */
bool journal_batch_write(struct journal_batch *batch, struct reason *why);

/*
 * Write a copy of the record at offset of another file (or an earlier place of
 * this one); parts are not looked at.  origin: see struct journal_record.
 * REASON_DAMAGED: there is no record, and nothing was written.
 */
bool journal_copy(struct journal *journal, struct journal_batch *batch,
    int from_fd, const struct journal_header *from, uint64_t offset,
    uint64_t origin, uint64_t *offset_out, struct reason *why);

/* fsync, however often it is interrupted; errno otherwise. */
bool journal_fsync(int fd);
/* Everything written is on stable storage. */
bool journal_sync(struct journal *journal, struct reason *why);
/* Cut off what was not synced.  False if even that failed; then nothing may
 * be added any more (nor after a failed journal_sync). */
bool journal_abandon(struct journal *journal);

/* Reading. */

/* From either copy; REASON_DAMAGED if neither is right. */
bool journal_read_header(int fd, struct journal_header *header_out,
    struct reason *why);

enum journal_found {
	JOURNAL_FOUND,   /* a record */
	JOURNAL_DAMAGE,  /* octets that were acknowledged and are not right */
	JOURNAL_TORN,    /* octets that were never acknowledged */
	JOURNAL_END,     /* the limit */
	JOURNAL_TROUBLE, /* the file cannot be read now */
};

/*
 * Reads a file from an offset to a limit, past whatever is wrong in it.
 * Threads: one at a time; any number of readers of one file.
 */
struct journal_reader {
	int fd;
	struct journal_header header;
	uint64_t offset; /* of the next record */
	uint64_t limit;
	bool exact;  /* the writer said that all before limit is settled */
	bool verify; /* check heads and bodies too */
	bool settled_known;
	uint64_t most_settled; /* largest of any record; once damage is seen */
	unsigned char *window; /* octets of the file from window_at */
	size_t window_size, window_len;
	uint64_t window_at;
};

/* fd is borrowed; offset 0 means the first record.  window is allocated at
 * the first need. */
void journal_reader_init(struct journal_reader *reader, int fd,
    const struct journal_header *header, uint64_t offset, uint64_t limit,
    bool exact, bool verify);
void journal_reader_fini(struct journal_reader *reader);

/*
 * The next record, with its envelope (borrowed until the next call), or a
 * range that holds none; then the reader stands behind it.
 */
enum journal_found journal_reader_next(struct journal_reader *reader,
    struct journal_record *record_out, const void **envelope_out,
    uint64_t *from_out, uint64_t *to_out, struct reason *why);

/* The header of the record at offset; REASON_DAMAGED if there is none. */
bool journal_read_record(int fd, const struct journal_header *header,
    uint64_t offset, struct journal_record *record_out, struct reason *why);

/*
 * Read a record's envelope and head, whose extent is known from an
 * earlier reading, into out (record->envelope_len + record->head_len octets),
 * and check both.
 */
bool journal_read_parts(int fd, const struct journal_record *record, void *out,
    struct reason *why);

/* Both, of the record at offset; octets_out is the caller's to free. */
bool journal_read_front(int fd, const struct journal_header *header,
    uint64_t offset, struct journal_record *record_out, void **octets_out,
    struct reason *why);

/* Check len octets at offset against crc. */
bool journal_check_octets(int fd, uint64_t offset, uint64_t len, uint32_t crc,
    struct reason *why);

/* Where an inline body begins. */
uint64_t journal_body_offset(const struct journal_record *record);

/* pread until all is there; a short file is REASON_DAMAGED. */
bool journal_pread(int fd, void *out, size_t len, uint64_t offset,
    struct reason *why);

/* What origin can tell. */
#define JOURNAL_ORIGIN_MAX (UINT64_C(8) * UINT32_MAX)

/* Names in the in folder: "<start-id>.<n>" and "<start-id>.m<counter>". */
enum { JOURNAL_NAME_SIZE = 48 };
void journal_segment_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint32_t file);
void journal_large_name(char out[static JOURNAL_NAME_SIZE], uint64_t start_id,
    uint64_t counter);
/* False if it is neither; *large_out says which. */
bool journal_parse_name(const char *name, uint64_t *start_id_out,
    uint64_t *number_out, bool *large_out);

/* Open a regular file of a folder others can write to: no links followed, no
 * waiting for a fifo.  -1 with errno. */
int journal_open_file(int folder, const char *name, int flags);

#endif
