/*
 * policy/row.c: a row as octets, and as text again.
 *
 * A value is: CRC-32C over the key and all that follows (u32), line (u32),
 * format, directions, kind of key, level, flags, fail, min (u8 each), 0,
 * bits (u32), until (u64), identity (u64), then fields: tag (u8), length
 * (u16), octets that end with NUL.  Numbers are little-endian.
 */
#include "row.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "crc32c.h"

enum {
	FORMAT = 2,
	HEAD_OCTETS = 36,
	FIELD_HEAD = 3,
	FLAG_EKU_ANY = 1,
	FLAG_NO_CHAIN = 2,
	FLAG_OBSERVE = 4,
	FLAG_NO_REUSE = 8,
	FLAG_DANE = 16,
	FLAG_RATCHET = 32,
	FLAG_TLS_OPTIONAL = 64,
	FLAGS_ALL = 127,
};

bool
row_add(struct row *row, enum field tag, const char *text)
{
	size_t len = strlen(text) + 1;
	unsigned char *at = row->fields + row->fields_len;

	if (len > UINT16_MAX ||
	    sizeof(row->fields) - row->fields_len < FIELD_HEAD + len)
		return false;
	at[0] = (unsigned char)tag;
	at[1] = (unsigned char)(len & 0xff);
	at[2] = (unsigned char)(len >> 8);
	memcpy(at + FIELD_HEAD, text, len);
	row->fields_len += FIELD_HEAD + len;
	return true;
}

const char *
row_next(const struct row *row, enum field tag, size_t *cursor)
{
	while (*cursor < row->fields_len) {
		const unsigned char *at = row->fields + *cursor;

		*cursor += FIELD_HEAD + (size_t)(at[1] | at[2] << 8);
		if (at[0] == tag)
			return (const char *)at + FIELD_HEAD;
	}
	return NULL;
}

const char *
row_first(const struct row *row, enum field tag)
{
	size_t cursor = 0;

	return row_next(row, tag, &cursor);
}

bool
row_is_exception(const struct row *row)
{
	return row->level == LEVEL_MAY || row->observe || row->eku_any ||
	       row->tls_optional;
}

bool
row_is_over(const struct row *row, time_t now)
{
	return row->until != 0 && (long long)now >= row->until;
}

static void
put_number(unsigned char *at, uint64_t value, unsigned octets)
{
	for (unsigned i = 0; i < octets; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t
get_number(const unsigned char *at, unsigned octets)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < octets; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

static unsigned char
flags_of(const struct row *row)
{
	return (unsigned char)((row->eku_any ? FLAG_EKU_ANY : 0) |
			       (row->no_chain ? FLAG_NO_CHAIN : 0) |
			       (row->observe ? FLAG_OBSERVE : 0) |
			       (row->no_reuse ? FLAG_NO_REUSE : 0) |
			       (row->dane ? FLAG_DANE : 0) |
			       (row->ratchet ? FLAG_RATCHET : 0) |
			       (row->tls_optional ? FLAG_TLS_OPTIONAL : 0));
}

static void
take_flags(struct row *row, unsigned flags)
{
	row->eku_any = flags & FLAG_EKU_ANY;
	row->no_chain = flags & FLAG_NO_CHAIN;
	row->observe = flags & FLAG_OBSERVE;
	row->no_reuse = flags & FLAG_NO_REUSE;
	row->dane = flags & FLAG_DANE;
	row->ratchet = flags & FLAG_RATCHET;
	row->tls_optional = flags & FLAG_TLS_OPTIONAL;
}

size_t
row_encode(const struct row *row, const unsigned char *key, size_t key_len,
    unsigned char out[static ROW_OCTETS])
{
	size_t len = HEAD_OCTETS + row->fields_len;

	put_number(out + 4, row->line, 4);
	out[8] = FORMAT;
	out[9] = (unsigned char)row->directions;
	out[10] = (unsigned char)row->kind;
	out[11] = (unsigned char)row->level;
	out[12] = flags_of(row);
	out[13] = (unsigned char)row->fail;
	out[14] = (unsigned char)row->min;
	out[15] = 0;
	put_number(out + 16, row->bits, 4);
	put_number(out + 20, (uint64_t)row->until, 8);
	put_number(out + 28, row->identity, 8);
	memcpy(out + HEAD_OCTETS, row->fields, row->fields_len);
	put_number(out, crc32c(crc32c(0, key, key_len), out + 4, len - 4), 4);
	return len;
}

static bool
fields_are_whole(const unsigned char *fields, size_t len)
{
	size_t at = 0;

	while (at < len) {
		size_t octets;

		if (len - at < FIELD_HEAD)
			return false;
		octets = (size_t)(fields[at + 1] | fields[at + 2] << 8);
		if (fields[at] == 0 || fields[at] >= FIELDS || octets == 0 ||
		    len - at - FIELD_HEAD < octets ||
		    memchr(fields + at + FIELD_HEAD, 0, octets) !=
			fields + at + FIELD_HEAD + octets - 1)
			return false;
		at += FIELD_HEAD + octets;
	}
	return true;
}

static bool
head_makes_sense(const unsigned char *value)
{
	unsigned directions = value[9];

	return value[8] == FORMAT && value[10] <= KEY_ANY &&
	       (directions == DIRECTION_IN || directions == DIRECTION_OUT ||
		   directions == DIRECTION_BOTH ||
		   directions == DIRECTION_FROM ||
		   directions == DIRECTION_RCPT) &&
	       value[11] <= LEVEL_LOCK && value[12] <= FLAGS_ALL &&
	       value[13] <= FAIL_PERMANENT && value[15] == 0 &&
	       (value[14] == 0 || value[14] == 12 || value[14] == 13);
}

bool
row_decode(struct row *out, const unsigned char *key, size_t key_len,
    const unsigned char *value, size_t len, struct reason *why)
{
	if (len < HEAD_OCTETS || len > ROW_OCTETS ||
	    len - HEAD_OCTETS > sizeof(out->fields))
		return fail(why, REASON_DAMAGED,
		    "table value of %zu octets, expected %d to %d", len,
		    HEAD_OCTETS, HEAD_OCTETS + ROW_FIELDS);
	if (get_number(value, 4) !=
	    crc32c(crc32c(0, key, key_len), value + 4, len - 4))
		return fail(why, REASON_DAMAGED, "table value has a wrong CRC");
	if (!head_makes_sense(value) ||
	    !fields_are_whole(value + HEAD_OCTETS, len - HEAD_OCTETS))
		return fail(why, REASON_DAMAGED,
		    "table value of another format");
	out->line = (unsigned)get_number(value + 4, 4);
	out->directions = value[9];
	out->kind = (enum key_kind)value[10];
	out->level = (enum level)value[11];
	take_flags(out, value[12]);
	out->fail = (enum row_fail)value[13];
	out->min = value[14];
	out->bits = (unsigned)get_number(value + 16, 4);
	out->until = (long long)get_number(value + 20, 8);
	out->identity = get_number(value + 28, 8);
	out->fields_len = len - HEAD_OCTETS;
	memcpy(out->fields, value + HEAD_OCTETS, out->fields_len);
	if (row_first(out, FIELD_KEY) == NULL)
		return fail(why, REASON_DAMAGED, "table value without site");
	return true;
}

const char *
direction_word(unsigned directions)
{
	switch (directions) {
	case DIRECTION_IN:
		return "in";
	case DIRECTION_OUT:
		return "out";
	case DIRECTION_BOTH:
		return "both";
	case DIRECTION_FROM:
		return "from";
	case DIRECTION_RCPT:
		return "rcpt";
	default:
		return "?";
	}
}

/* Text that grows at the end of a bounded buffer. */
struct page {
	char *out;
	size_t size, len;
};

static void
put_char(struct page *page, char c)
{
	if (page->len + 1 < page->size)
		page->out[page->len++] = c;
}

static void
put_text(struct page *page, const char *text)
{
	for (; *text != '\0'; text++)
		put_char(page, *text);
}

static void
put_quoted(struct page *page, const char *text)
{
	if (text[strcspn(text, " \t\"\\")] == '\0') {
		put_text(page, text);
		return;
	}
	put_char(page, '"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			put_char(page, '\\');
		put_char(page, *text);
	}
	put_char(page, '"');
}

static void
put_word(struct page *page, const char *word)
{
	put_char(page, ' ');
	put_text(page, word);
}

static void
put_option(struct page *page, const char *word, const char *value)
{
	put_word(page, word);
	put_char(page, '=');
	put_quoted(page, value);
}

static void
put_fields(struct page *page, const struct row *row)
{
	static const struct {
		enum field tag;
		const char *word;
	} options[] = {
		{ FIELD_CA, "ca" },
		{ FIELD_CRL, "crl" },
		{ FIELD_PIN, "pin" },
		{ FIELD_MATCH, "match" },
		{ FIELD_ISSUER, "issuer" },
		{ FIELD_ORG, "org" },
		{ FIELD_CERT, "cert" },
		{ FIELD_AUTH, "auth" },
		{ FIELD_SNI, "sni" },
	};
	char pin[80];

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		size_t cursor = 0;
		const char *value;

		while ((value = row_next(row, options[i].tag, &cursor))) {
			if (options[i].tag == FIELD_PIN) {
				(void)snprintf(pin, sizeof(pin), "sha256:%.64s",
				    value);
				value = pin;
			}
			put_option(page, options[i].word, value);
		}
	}
}

static void
put_dates(struct page *page, const struct row *row)
{
	time_t last = (time_t)row->until - 1;
	char date[16] = "";
	struct tm tm;

	if (row->until != 0 && gmtime_r(&last, &tm) != NULL &&
	    strftime(date, sizeof(date), "%Y-%m-%d", &tm) > 0)
		put_option(page, "until", date);
	if (row_first(row, FIELD_REASON) != NULL)
		put_option(page, "reason", row_first(row, FIELD_REASON));
}

static void
put_strength(struct page *page, const struct row *row)
{
	char number[16];

	if (row->min != 0)
		put_option(page, "min", row->min == 13 ? "tls1.3" : "tls1.2");
	if (row->bits != 0) {
		(void)snprintf(number, sizeof(number), "%u", row->bits);
		put_option(page, "bits", number);
	}
}

static void
put_flags(struct page *page, const struct row *row)
{
	if (row->eku_any)
		put_option(page, "eku", "any");
	if (row->no_chain)
		put_option(page, "chain", "no");
	if (row->no_reuse)
		put_option(page, "reuse", "no");
	if (row->dane)
		put_word(page, "dane");
	if (row->ratchet)
		put_word(page, "ratchet");
	if (row->tls_optional)
		put_option(page, "tls-optional", "yes");
	if (row->observe)
		put_option(page, "mode", "observe");
	if (row->fail != FAIL_UNSET)
		put_option(page, "fail",
		    row->fail == FAIL_PERMANENT ? "permanent" : "temporary");
}

size_t
row_print(const struct row *row, char *out, size_t size)
{
	struct page page = { out, size, 0 };

	put_text(&page, row_first(row, FIELD_KEY));
	put_word(&page, direction_word(row->directions));
	put_word(&page, level_word(row->level));
	put_fields(&page, row);
	put_strength(&page, row);
	put_flags(&page, row);
	put_dates(&page, row);
	if (size > 0)
		out[page.len] = '\0';
	return page.len;
}

/* FNV-1a: rows are few and the operator's own, nobody looks for collisions. */
uint64_t
row_identity(const struct row *row)
{
	char text[ROW_TEXT];
	size_t len = row_print(row, text, sizeof(text));
	uint64_t identity = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++) {
		identity ^= (unsigned char)text[i];
		identity *= 0x100000001b3;
	}
	return identity == 0 ? 1 : identity;
}
