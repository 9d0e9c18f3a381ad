/*
 * server/queue_record.c: the records of the relay's own log, both ways.
 *
 * Numbers in envelopes are written by server/wire.h:
 *     every record  mark u64, number u64: the message it is about
 *     ATTEMPT       when u64, next u64, attempt u32, flags u8, bounce u64,
 *                   earlier attempt's file u32 and offset u64, host s,
 *                   port u16, remote s, decision s, count u32, and each:
 *                   recipient u32, outcome u8, status s, text s; then u32: how
 *                   many attempts between the earlier one and this one a
 *                   rotation left out (absent: none)
 *     STATE         attempts u32, next u64, flags u8, words u32, u64 each,
 *                   ways u32, and each: host s, port u16, attempts u32,
 *                   next u64, flags u8 (1 held, 2 told of the delay); then,
 *                   absent in older logs, u32: the line of the routes that
 *                   hold some of it, or 0, and u64: where its last ATTEMPT
 *                   stands in the same file, or 0: what a snapshot keeps; next
 *                   is 0
 *     HELD, REMOVED, RELEASED text s; of HELD and RELEASED the record's number
 *                   says who did it
 */
#include "queue_internal.h"

#include <stdlib.h>
#include <string.h>

#include "../policy/crc32c.h"

enum {
	/* Of an ATTEMPT's earlier one: after key, times, number, flags and
	 * bounce. */
	FLAGS_AT = 16 + 8 + 8 + 4,
	PREVIOUS_AT = FLAGS_AT + 1 + 8,
	GAP_OCTETS = 4,   /* at an ATTEMPT's end */
	PLACE_OCTETS = 8, /* at a STATE's */
	TEXT_MAX = 1024,
	TEXTS_MAX = 3 * 1024 * 1024, /* of all recipients of one attempt */
};

struct log_entry *
log_entry_new(enum journal_type type, const void *envelope, size_t envelope_len,
    const void *head, size_t head_len, const void *body, size_t body_len)
{
	struct log_entry *entry = calloc(1, sizeof(*entry));
	struct journal_record *record;

	if (entry == NULL)
		return NULL;
	entry->octets = malloc(envelope_len + head_len + body_len + 1);
	if (entry->octets == NULL) {
		free(entry);
		return NULL;
	}
	memcpy(entry->octets, envelope, envelope_len);
	if (head_len > 0)
		memcpy(entry->octets + envelope_len, head, head_len);
	if (body_len > 0)
		memcpy(entry->octets + envelope_len + head_len, body, body_len);
	record = &entry->record;
	record->type = type;
	record->envelope_len = (uint32_t)envelope_len;
	record->head_len = (uint32_t)head_len;
	record->body_len = body_len;
	record->envelope_crc = crc32c(0, envelope, envelope_len);
	record->head_crc = crc32c(0, head, head_len);
	record->body_crc = crc32c(0, body, body_len);
	return entry;
}

struct log_entry *
log_message_entry(const struct envelope *envelope, const char *octets,
    size_t len)
{
	size_t size = envelope_encoded_size(envelope);
	struct log_entry *entry;
	struct wire_writer w;
	unsigned char *front;

	if (len > JOURNAL_INLINE_MAX)
		return NULL;
	front = malloc(size);
	if (front == NULL)
		return NULL;
	wire_writer_init(&w, front, size);
	envelope_encode(envelope, &w);
	entry =
	    log_entry_new(JOURNAL_MESSAGE, front, w.len, NULL, 0, octets, len);
	free(front);
	return entry;
}

void
log_entry_free(struct log_entry *entry)
{
	if (entry == NULL)
		return;
	free(entry->octets);
	free(entry);
}

static void
put_key(struct wire_writer *w, struct message_key key)
{
	wire_put_u64(w, key.mark);
	wire_put_u64(w, key.number);
}

struct message_key
log_get_key(struct wire_reader *r)
{
	struct message_key key;

	key.mark = wire_get_u64(r);
	key.number = wire_get_u64(r);
	return key;
}

static void
put_text(struct wire_writer *w, const char *text, size_t most)
{
	size_t len = text == NULL ? 0 : strlen(text);

	wire_put_bytes(w, text, len < most ? len : most);
}

struct log_entry *
log_attempt_entry(const struct attempt *attempt)
{
	size_t most = TEXTS_MAX / (attempt->count + 1);
	size_t size = 256 + 3 * TEXT_MAX;
	struct log_entry *entry = NULL;
	struct wire_writer w;
	unsigned char *octets;

	if (most > TEXT_MAX)
		most = TEXT_MAX;
	for (size_t i = 0; i < attempt->count; i++)
		size += 4 + 1 + 4 + 4 + strlen(attempt->recipients[i].status) +
			strlen(attempt->recipients[i].text);
	octets = malloc(size);
	if (octets == NULL)
		return NULL;
	wire_writer_init(&w, octets, size);
	put_key(&w, attempt->key);
	wire_put_u64(&w, (uint64_t)attempt->when_ms);
	wire_put_u64(&w, (uint64_t)attempt->next_ms);
	wire_put_u32(&w, attempt->number);
	wire_put_u8(&w, (uint8_t)attempt->flags);
	wire_put_u64(&w, attempt->bounce);
	wire_put_u32(&w, 0); /* log_chain_attempt knows */
	wire_put_u64(&w, 0);
	put_text(&w, attempt->host, TEXT_MAX);
	wire_put_u16(&w, attempt->port);
	put_text(&w, attempt->remote, TEXT_MAX);
	put_text(&w, attempt->decision, TEXT_MAX);
	wire_put_u32(&w, (uint32_t)attempt->count);
	for (size_t i = 0; i < attempt->count; i++) {
		const struct attempt_recipient *one = &attempt->recipients[i];

		wire_put_u32(&w, one->index);
		wire_put_u8(&w, (uint8_t)one->outcome);
		put_text(&w, one->status, most);
		put_text(&w, one->text, most);
	}
	wire_put_u32(&w, 0);
	if (!w.failed)
		entry = log_entry_new(JOURNAL_ATTEMPT, octets, w.len, NULL, 0,
		    NULL, 0);
	free(octets);
	return entry;
}

void
log_chain_attempt(struct log_entry *entry, uint32_t file, uint64_t offset)
{
	struct wire_writer w;

	wire_writer_init(&w, entry->octets + PREVIOUS_AT, 4 + 8);
	wire_put_u32(&w, file);
	wire_put_u64(&w, offset);
	entry->record.envelope_crc =
	    crc32c(0, entry->octets, entry->record.envelope_len);
}

void
log_unchain_attempt(struct log_entry *entry, uint32_t *file_out,
    uint64_t *offset_out)
{
	struct wire_reader r;

	wire_reader_init(&r, entry->octets + PREVIOUS_AT, 4 + 8);
	*file_out = wire_get_u32(&r);
	*offset_out = wire_get_u64(&r);
}

void
log_place_state(struct log_entry *entry, uint64_t offset)
{
	struct wire_writer w;

	wire_writer_init(&w,
	    entry->octets + entry->record.envelope_len - PLACE_OCTETS,
	    PLACE_OCTETS);
	wire_put_u64(&w, offset);
	entry->record.envelope_crc =
	    crc32c(0, entry->octets, entry->record.envelope_len);
}

void
attempt_copied(struct journal_record *record, unsigned char *octets,
    bool has_gap, uint32_t file, uint64_t offset, uint32_t gap)
{
	struct wire_writer w;

	if (!has_gap)
		record->envelope_len += GAP_OCTETS;

	octets[FLAGS_AT] |= ATTEMPT_COPIED;
	wire_writer_init(&w, octets + PREVIOUS_AT, 4 + 8);
	wire_put_u32(&w, file);
	wire_put_u64(&w, offset);
	wire_writer_init(&w, octets + record->envelope_len - GAP_OCTETS,
	    GAP_OCTETS);
	wire_put_u32(&w, gap);
	record->envelope_crc = crc32c(0, octets, record->envelope_len);
}

struct log_entry *
log_key_entry(enum journal_type type, struct message_key key, const char *text)
{
	unsigned char octets[2 * 8 + 4 + TEXT_MAX];
	struct wire_writer w;

	wire_writer_init(&w, octets, sizeof(octets));
	put_key(&w, key);
	put_text(&w, text, TEXT_MAX);
	return log_entry_new(type, octets, w.len, NULL, 0, NULL, 0);
}

static void
put_way(struct wire_writer *w, const char *host, uint16_t port,
    uint32_t attempts, int64_t next_ms, bool held, bool told)
{
	wire_put_string(w, host);
	wire_put_u16(w, port);
	wire_put_u32(w, attempts);
	wire_put_u64(w, (uint64_t)next_ms);
	wire_put_u8(w,
	    (uint8_t)((held ? WAY_HELD : 0) | (told ? WAY_TOLD : 0)));
}

static bool
has_way(const struct leg *leg)
{
	return leg->hop != NULL && leg->pending > 0 &&
	       (leg->attempts > 0 || leg->told);
}

/* What is known by the names of hops: of legs, or of a message that has none
 * yet. */
static void
put_ways(struct wire_writer *w, const struct queued *message)
{
	const struct leg *leg;
	const struct queued_more *more = message_more(message);
	uint32_t count = more->recalled_count;

	for (leg = &message->leg; leg != NULL; leg = leg->next)
		count += has_way(leg);
	wire_put_u32(w, count);
	for (uint32_t i = 0; i < more->recalled_count; i++) {
		const struct recalled *r = &more->recalled[i];

		put_way(w, r->host, r->port, r->attempts, r->next_ms, r->held,
		    r->told);
	}
	for (leg = &message->leg; leg != NULL; leg = leg->next)
		if (has_way(leg))
			put_way(w, hop_name(leg->hop)->host,
			    hop_name(leg->hop)->port, leg->attempts,
			    leg->next_ms, leg->held, leg->told);
}

static size_t
ways_size(const struct queued *message)
{
	size_t count = message_more(message)->recalled_count;

	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next)
		count++;
	return 4 + count * (4 + sizeof(((struct next_hop *)0)->host) + 15);
}

struct log_entry *
log_state_entry(const struct queued *message)
{
	const struct queued_more *more = message_more(message);
	size_t size = 64 + 8 * (size_t)more->done_words + ways_size(message);
	bool complete = message->state == MESSAGE_COMPLETE || message->settled;
	struct log_entry *entry = NULL;
	struct wire_writer w;
	unsigned char *octets = malloc(size);

	if (octets == NULL)
		return NULL;
	wire_writer_init(&w, octets, size);
	put_key(&w, message->key);
	wire_put_u32(&w, message->attempts);
	wire_put_u64(&w, 0);
	wire_put_u8(&w,
	    (uint8_t)((complete ? ATTEMPT_COMPLETE : 0) |
		      (message->held ? ATTEMPT_HELD : 0) |
		      (message->by_operator ? STATE_BY_OPERATOR : 0) |
		      (message->passed ? STATE_PASSED : 0)));
	wire_put_u32(&w, 1 + more->done_words);
	wire_put_u64(&w, message->done);
	for (uint32_t i = 0; i < more->done_words; i++)
		wire_put_u64(&w, more->done[i]);
	put_ways(&w, message);
	wire_put_u32(&w, message->held_line);
	wire_put_u64(&w, 0); /* log_place_state knows */
	if (!w.failed)
		entry = log_entry_new(JOURNAL_STATE, octets, w.len, NULL, 0,
		    NULL, 0);
	free(octets);
	return entry;
}

/* Decoding. */

void
attempt_fini(struct attempt *attempt)
{
	free(attempt->host);
	free(attempt->remote);
	free(attempt->decision);
	for (size_t i = 0; i < attempt->count; i++) {
		free(attempt->recipients[i].status);
		free(attempt->recipients[i].text);
	}
	free(attempt->recipients);
	memset(attempt, 0, sizeof(*attempt));
}

static bool
attempt_get_recipients(struct attempt *attempt, struct wire_reader *r,
    size_t count)
{
	/* Each takes 13 octets at least: no more than can be there. */
	if (count > ENVELOPE_RECIPIENTS_MAX ||
	    count > (size_t)(r->end - r->at) / 13)
		return false;
	attempt->recipients =
	    calloc(count + 1, sizeof(struct attempt_recipient));
	if (attempt->recipients == NULL)
		return false;
	for (; attempt->count < count; attempt->count++) {
		struct attempt_recipient *one =
		    &attempt->recipients[attempt->count];

		one->index = wire_get_u32(r);
		one->outcome = (enum outcome)wire_get_u8(r);
		one->status = wire_get_string_new(r, TEXT_MAX);
		one->text = wire_get_string_new(r, TEXT_MAX);
		if (one->status == NULL || one->text == NULL ||
		    one->outcome > OUTCOME_DISCARDED) {
			attempt->count++; /* for attempt_fini */
			return false;
		}
	}
	return true;
}

bool
attempt_decode(struct attempt *attempt_out, const void *octets, size_t len,
    struct reason *why)
{
	struct attempt attempt = { .count = 0 };
	struct wire_reader r;
	uint32_t count;
	bool ok;

	wire_reader_init(&r, octets, len);
	attempt.key = log_get_key(&r);
	attempt.when_ms = (int64_t)wire_get_u64(&r);
	attempt.next_ms = (int64_t)wire_get_u64(&r);
	attempt.number = wire_get_u32(&r);
	attempt.flags = wire_get_u8(&r);
	attempt.bounce = wire_get_u64(&r);
	attempt.prev_file = wire_get_u32(&r);
	attempt.prev_offset = wire_get_u64(&r);
	attempt.host = wire_get_string_new(&r, TEXT_MAX);
	attempt.port = wire_get_u16(&r);
	attempt.remote = wire_get_string_new(&r, TEXT_MAX);
	attempt.decision = wire_get_string_new(&r, TEXT_MAX);
	count = wire_get_u32(&r);
	ok = !r.failed && attempt_get_recipients(&attempt, &r, count);
	attempt.has_gap = ok && !wire_reader_done(&r);
	if (attempt.has_gap)
		attempt.gap = wire_get_u32(&r);
	if (!ok || !wire_reader_done(&r)) {
		attempt_fini(&attempt);
		return fail(why, REASON_DAMAGED,
		    "relay log: attempt is malformed");
	}
	*attempt_out = attempt;
	return true;
}
