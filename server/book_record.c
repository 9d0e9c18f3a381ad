/*
 * server/book_record.c: what the book keeps, as JSON objects and back.
 *
 * Objects that are read come from a file, which may be damaged or somebody
 * else's: each member is checked.
 */
#include "book_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "channel.h"

/* Octets as text in hexadecimal; NULL without memory. */
static json_t *
hex_of(const void *octets, size_t len)
{
	char *hex = malloc(2 * len + 1);
	json_t *value;

	if (hex == NULL)
		return NULL;
	hex_print(hex, octets, len);
	value = json_string(hex);
	free(hex);
	return value;
}

static bool
from_hex(const char *hex, unsigned char *out, size_t capacity, size_t *len_out)
{
	size_t len = strlen(hex);

	if (len % 2 != 0 || len / 2 > capacity || !hex_read(out, len / 2, hex))
		return false;
	*len_out = len / 2;
	return true;
}

static bool
get_number(const json_t *record, const char *key, int64_t most, int64_t *out)
{
	const json_t *value = json_object_get(record, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    json_integer_value(value) > most)
		return false;
	*out = json_integer_value(value);
	return true;
}

/* Borrowed; NULL unless it is a string of less than capacity octets. */
static const char *
get_text(const json_t *record, const char *key, size_t capacity)
{
	const char *text = json_string_value(json_object_get(record, key));

	return text != NULL && strlen(text) < capacity ? text : NULL;
}

static bool
get_level(const json_t *record, const char *key, enum level *out)
{
	const char *word = get_text(record, key, 16);

	for (int i = LEVEL_NONE; word != NULL && i <= LEVEL_LOCK; i++) {
		if (strcmp(word, level_word((enum level)i)) == 0) {
			*out = (enum level)i;
			return true;
		}
	}
	return false;
}

static bool
get_state(const json_t *record, const char *key, enum site_state *out)
{
	const char *word = get_text(record, key, 16);

	for (int i = 0; word != NULL && i < SITE_STATES; i++) {
		if (strcmp(word, book_state_word((enum site_state)i)) == 0) {
			*out = (enum site_state)i;
			return true;
		}
	}
	return false;
}

static bool
get_code(const char *word, enum reason_code *out)
{
	for (int i = 0; word != NULL && i < REASON_CODES; i++) {
		if (strcmp(word, reason_word((enum reason_code)i)) == 0) {
			*out = (enum reason_code)i;
			return true;
		}
	}
	return false;
}

static int
get_side(const json_t *record)
{
	const char *word = get_text(record, "direction", 16);

	return word == NULL ? -1 : book_side_by_word(word);
}

/* Sites. */

json_t *
book_record_site(const struct book_site *site)
{
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:i, s:s, s:s}",
	    "direction", book_side_word(site->side), "site", site->entry.key,
	    "state", book_state_word(site->state), "told",
	    book_state_word(site->told), "since", (json_int_t)site->since,
	    "alarm", (json_int_t)site->alarm_at, "failed",
	    (json_int_t)site->failed_at, "bad", (json_int_t)site->bad_at,
	    "asked", level_word(site->asked), "rows", (int)site->row_count,
	    "reason", reason_word(site->code), "decision", site->record);
}

static bool
take_site(struct book *book, const json_t *record)
{
	const char *name = get_text(record, "site", BOOK_KEY);
	const char *line = get_text(record, "decision", BOOK_RECORD);
	struct book_site read = { .side = SIDE_IN }, *site;
	int side = get_side(record);
	int64_t rows;

	if (side < 0 || name == NULL || line == NULL ||
	    !get_state(record, "state", &read.state) ||
	    !get_state(record, "told", &read.told) ||
	    !get_number(record, "since", INT64_MAX, &read.since) ||
	    !get_number(record, "alarm", INT64_MAX, &read.alarm_at) ||
	    !get_number(record, "failed", INT64_MAX, &read.failed_at) ||
	    !get_number(record, "bad", INT64_MAX, &read.bad_at) ||
	    !get_level(record, "asked", &read.asked) ||
	    !get_number(record, "rows", 256, &rows) ||
	    !get_code(get_text(record, "reason", 64), &read.code) ||
	    book_table_find(&book->sites[side], name) != NULL)
		return false;
	site = (struct book_site *)book_table_add(&book->sites[side], name,
	    sizeof(*site));
	if (site == NULL)
		return false;
	read.entry = site->entry;
	read.side = (enum side)side;
	read.row_count = (unsigned)rows;
	*site = read;
	(void)snprintf(site->record, sizeof(site->record), "%s", line);
	if (site->state != site->told)
		book->pending = true;
	return true;
}

/* Observed rows. */

json_t *
book_record_observed(const struct book_observed *row, enum side side)
{
	json_t *reasons = json_object();

	for (int i = 0; i < REASON_CODES; i++) {
		if (row->reasons[i] > 0)
			json_object_set_new(reasons,
			    reason_word((enum reason_code)i),
			    json_integer((json_int_t)row->reasons[i]));
	}
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
	    "direction", book_side_word(side), "identity", row->entry.key,
	    "connections", (json_int_t)row->connections, "refused",
	    (json_int_t)row->refused, "clean", (json_int_t)row->clean, "since",
	    (json_int_t)row->since, "last", (json_int_t)row->last,
	    "last-refused", (json_int_t)row->last_refused, "reasons", reasons);
}

static bool
get_reasons(const json_t *record, struct book_observed *row)
{
	json_t *reasons = json_object_get(record, "reasons"), *value;
	enum reason_code code;
	const char *word;
	int64_t count;

	if (!json_is_object(reasons))
		return false;
	json_object_foreach(reasons, word, value)
	{
		if (!get_code(word, &code) ||
		    !get_number(reasons, word, INT64_MAX, &count))
			return false;
		row->reasons[code] = (uint64_t)count;
	}
	return true;
}

static bool
take_observed(struct book *book, const json_t *record)
{
	const char *identity = get_text(record, "identity", 17);
	int64_t connections, refused, clean;
	struct book_observed read = { .since = 0 }, *row;
	int side = get_side(record);

	if (side < 0 || identity == NULL ||
	    strspn(identity, "0123456789abcdef") != 16 ||
	    !get_number(record, "connections", INT64_MAX, &connections) ||
	    !get_number(record, "refused", INT64_MAX, &refused) ||
	    !get_number(record, "clean", INT64_MAX, &clean) ||
	    !get_number(record, "since", INT64_MAX, &read.since) ||
	    !get_number(record, "last", INT64_MAX, &read.last) ||
	    !get_number(record, "last-refused", INT64_MAX,
		&read.last_refused) ||
	    !get_reasons(record, &read) ||
	    book_table_find(&book->observed[side], identity) != NULL)
		return false;
	row = (struct book_observed *)book_table_add(&book->observed[side],
	    identity, sizeof(*row));
	if (row == NULL)
		return false;
	read.entry = row->entry;
	read.connections = (uint64_t)connections;
	read.refused = (uint64_t)refused;
	read.clean = (uint64_t)clean;
	*row = read;
	return true;
}

/* Ratchets.  An issuer's name need not be UTF-8: then it is in hexadecimal. */

json_t *
book_record_ratchet(const struct book_ratchet *ratchet)
{
	const char *issuer = ratchet->shown.issuer;
	json_t *object = json_pack("{s:s, s:s, s:i, s:I}", "site",
	    ratchet->entry.key, "level", level_word(ratchet->shown.level),
	    "version", (int)ratchet->shown.version, "since",
	    (json_int_t)ratchet->since);
	json_t *text = json_string(issuer);
	int failed;

	if (text != NULL)
		failed = json_object_set_new(object, "issuer", text);
	else
		failed = json_object_set_new(object, "issuer-octets",
		    hex_of(issuer, strlen(issuer)));
	if (failed == 0)
		return object;
	json_decref(object);
	return NULL;
}

static bool
get_issuer(const json_t *record, char *out, size_t capacity)
{
	const char *text = get_text(record, "issuer", capacity), *hex;
	size_t len;

	if (text != NULL) {
		(void)snprintf(out, capacity, "%s", text);
		return true;
	}
	hex = get_text(record, "issuer-octets", 2 * capacity);
	if (hex == NULL ||
	    !from_hex(hex, (unsigned char *)out, capacity - 1, &len))
		return false;
	out[len] = '\0';
	return true;
}

static bool
take_ratchet(struct book *book, const json_t *record)
{
	const char *site = get_text(record, "site", BOOK_KEY);
	struct book_ratchet read = { .since = 0 }, *ratchet;
	int64_t version;

	if (site == NULL || !get_level(record, "level", &read.shown.level) ||
	    read.shown.level == LEVEL_NONE ||
	    !get_number(record, "version", 13, &version) ||
	    (version != 0 && version < 12) ||
	    !get_number(record, "since", INT64_MAX, &read.since) ||
	    !get_issuer(record, read.shown.issuer, sizeof(read.shown.issuer)) ||
	    book_table_find(&book->ratchets, site) != NULL)
		return false;
	ratchet = (struct book_ratchet *)book_table_add(&book->ratchets, site,
	    sizeof(*ratchet));
	if (ratchet == NULL)
		return false;
	read.entry = ratchet->entry;
	read.shown.version = (unsigned)version;
	*ratchet = read;
	return true;
}

/* Proofs and certificates. */

static bool
take_proof(struct book *book, const json_t *record)
{
	const char *hex = get_text(record, "octets", 2 * CHANNEL_PACKET_MAX);
	struct proof *proof = malloc(sizeof(*proof));
	unsigned char *octets = malloc(CHANNEL_PACKET_MAX);
	struct book_proof *kept;
	struct wire_reader r;
	bool ok = false, changed;
	size_t len;

	if (hex != NULL && proof != NULL && octets != NULL &&
	    from_hex(hex, octets, CHANNEL_PACKET_MAX, &len)) {
		wire_reader_init(&r, octets, len);
		ok = proof_get(&r, proof) && wire_reader_done(&r) &&
		     book_proof_put(book, proof, &kept, &changed);
	}
	free(octets);
	free(proof);
	return ok;
}

static bool
take_certificate(struct book *book, const json_t *record)
{
	const char *key = get_text(record, "certificate", BOOK_KEY);
	struct book_certificate *certificate;
	int64_t days;

	if (key == NULL || !get_number(record, "told", 30, &days) ||
	    book_table_find(&book->certificates, key) != NULL)
		return false;
	certificate = (struct book_certificate *)book_table_add(
	    &book->certificates, key, sizeof(*certificate));
	if (certificate == NULL)
		return false;
	certificate->told_days = (unsigned)days;
	return true;
}

/* Parts. */

static json_t *
record_of(const struct book_entry *entry, enum book_part part, enum side side)
{
	const struct book_proof *proof = (const struct book_proof *)entry;

	switch (part) {
	case PART_RATCHETS:
		return book_record_ratchet((const struct book_ratchet *)entry);
	case PART_SITES:
		return book_record_site((const struct book_site *)entry);
	case PART_OBSERVED:
		return book_record_observed((const struct book_observed *)entry,
		    side);
	case PART_PROOFS:
		return json_pack("{s:o}", "octets",
		    hex_of(proof->octets, proof->len));
	case PART_CERTIFICATES:
		return json_pack("{s:s, s:i}", "certificate", entry->key,
		    "told",
		    (int)((const struct book_certificate *)entry)->told_days);
	case BOOK_PARTS:
		break;
	}
	return NULL;
}

/* From the one not heard of for longest, so that reading keeps the order. */
static bool
add_records(json_t *records, const struct book_table *table,
    enum book_part part, enum side side)
{
	for (const struct book_entry *entry = table->oldest; entry != NULL;
	     entry = entry->newer)
		if (json_array_append_new(records,
			record_of(entry, part, side)) != 0)
			return false;
	return true;
}

json_t *
book_part_records(const struct book *book, enum book_part part)
{
	const struct book_table *first =
	    part == PART_SITES          ? book->sites
	    : part == PART_OBSERVED     ? book->observed
	    : part == PART_PROOFS       ? &book->proofs
	    : part == PART_CERTIFICATES ? &book->certificates
					: &book->ratchets;
	size_t count =
	    part == PART_SITES || part == PART_OBSERVED ? BOOK_SIDES : 1;
	json_t *records = json_array();

	for (size_t i = 0; i < count; i++) {
		if (!add_records(records, &first[i], part, (enum side)i)) {
			json_decref(records);
			return NULL;
		}
	}
	return records;
}

bool
book_part_take(struct book *book, enum book_part part, const json_t *record,
    struct reason *why)
{
	static bool (*const take[BOOK_PARTS])(struct book *, const json_t *) = {
		[PART_RATCHETS] = take_ratchet,
		[PART_SITES] = take_site,
		[PART_OBSERVED] = take_observed,
		[PART_PROOFS] = take_proof,
		[PART_CERTIFICATES] = take_certificate,
	};

	if (take[part](book, record))
		return true;
	return fail(why, REASON_DAMAGED, "it does not make sense");
}
