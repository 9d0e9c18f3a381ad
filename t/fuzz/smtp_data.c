/*
 * t/fuzz/smtp_data.c: any octets as mail data, cut anywhere.
 *
 * The first octet says in what pieces the rest comes.  A plain reading of the
 * rules, octet by octet, is compared with the scanner: same end, same text,
 * same verdict.  What is noticed of the header does not depend on the pieces.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/smtp_data.h"
#include "../../server/submission_header.h"

struct message {
	uint8_t *text;
	size_t len; /* of text */
	size_t end; /* octets up to and with the end; 0: none */
	bool malformed;
};

/* The end by its definition: the first CRLF.CRLF, where DATA's own CRLF
 * counts as the one before the first line. */
static size_t
find_end(const uint8_t *data, size_t size)
{
	size_t i;

	if (size >= 3 && memcmp(data, ".\r\n", 3) == 0)
		return 3;
	for (i = 0; i + 5 <= size; i++)
		if (memcmp(data + i, "\r\n.\r\n", 5) == 0)
			return i + 5;
	return 0;
}

static bool
begins_line(const uint8_t *data, size_t i)
{
	return i == 0 || (i >= 2 && data[i - 2] == '\r' && data[i - 1] == '\n');
}

static void
read_plainly(struct message *m, const uint8_t *data, size_t size)
{
	size_t i, stop;

	m->end = find_end(data, size);
	stop = m->end != 0 ? m->end - 3 : size;
	for (i = 0; i < stop; i++) {
		if (data[i] == '\0' ||
		    (data[i] == '\n' && (i == 0 || data[i - 1] != '\r')) ||
		    (data[i] == '\r' && i + 1 < size && data[i + 1] != '\n'))
			m->malformed = true;
		if (data[i] == '.' && begins_line(data, i))
			continue;
		m->text[m->len++] = data[i];
	}
}

static void
check_header(const struct submission_header *header, const struct message *m)
{
	struct submission_header whole;

	submission_header_init(&whole);
	submission_header_look(&whole, (const char *)m->text, m->len);
	assert(whole.has_date == header->has_date);
	assert(whole.has_message_id == header->has_message_id);
	assert(whole.received == header->received);
	assert(submission_header_is_tls_optional(&whole) ==
	       submission_header_is_tls_optional(header));
}

static void
scan(struct message *m, const uint8_t *data, size_t size, size_t piece)
{
	struct submission_header header;
	struct smtp_data state;
	struct slice in, text;
	size_t at = 0, n;

	smtp_data_init(&state);
	submission_header_init(&header);
	while (at < size && !smtp_data_ended(&state)) {
		in.at = (const char *)data + at;
		in.len = size - at < piece ? size - at : piece;
		n = smtp_data_scan(&state, in, &text);
		assert(n > 0 && n <= in.len);
		assert(text.at >= in.at && text.at + text.len <= in.at + n);
		submission_header_look(&header, text.at, text.len);
		memcpy(m->text + m->len, text.at, text.len);
		m->len += text.len;
		at += n;
	}
	check_header(&header, m);
	m->end = smtp_data_ended(&state) ? at : 0;
	m->malformed = smtp_data_is_malformed(&state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message plain = { 0 }, scanned = { 0 };
	size_t piece;

	if (size == 0)
		return 0;
	piece = data[0] == 0 ? SIZE_MAX : data[0];
	data++;
	size--;
	plain.text = malloc(size + 1);
	scanned.text = malloc(size + 1);
	assert(plain.text != NULL && scanned.text != NULL);
	read_plainly(&plain, data, size);
	scan(&scanned, data, size, piece);
	assert(plain.end == scanned.end);
	/* Without an end the last octets are still open. */
	if (plain.end != 0) {
		assert(plain.malformed == scanned.malformed);
		if (!plain.malformed) {
			assert(plain.len == scanned.len);
			assert(
			    memcmp(plain.text, scanned.text, plain.len) == 0);
		}
	}
	free(plain.text);
	free(scanned.text);
	return 0;
}
