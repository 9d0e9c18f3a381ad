/*
 * t/fuzz/submission_from.c: any octets as a message whose senders are read.
 *
 * The first octet says in what pieces the rest comes.  What is kept does not
 * depend on the pieces; a mailbox that is found is one for the grammar of
 * sender rights too, reads as itself, and is found again when it is written
 * into a field of its own.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../auth/rights.h"
#include "../../server/submission_from.h"
#include "../../server/submission_header.h"

enum { MAILBOXES_MOST = 16384 }; /* one needs octets of the field */

static bool
has_high(const char *text)
{
	while (*text != '\0' && (unsigned char)*text < 128)
		text++;
	return *text != '\0';
}

static void
check_mailbox(const char *mailbox)
{
	char field[SUBMISSION_ADDRESS_SIZE + 16];
	char again[SUBMISSION_ADDRESS_SIZE];
	struct rights rights = { "l@x.org", "*", 2 };
	struct submission_from from;
	size_t len = strlen(mailbox);

	assert(len > 2 && len < SUBMISSION_ADDRESS_SIZE);
	assert(strchr(mailbox, '\n') == NULL && strchr(mailbox, '\r') == NULL);
	assert(rights_match(&rights, mailbox) == rights.patterns);
	snprintf(field, sizeof field, " A <%s>\r\n", mailbox);
	submission_from_init(&from, field, strlen(field));
	assert(submission_from_next(&from, again) == FROM_MAILBOX);
	assert(strcmp(again, mailbox) == 0);
	assert(submission_from_next(&from, again) == FROM_END);
	/* A domain's rights hold for the domain that stands at its end. */
	if (!has_high(mailbox)) {
		char pattern[ENTRY_RIGHT_MAX + 1];
		const char *domain = strrchr(mailbox, '@');

		if (rights_pattern_parse(pattern, domain, NULL)) {
			rights.patterns = pattern;
			rights.len = strlen(pattern) + 1;
			assert(rights_match(&rights, mailbox) == pattern);
		}
	}
}

static void
check_fields(const struct submission_header *header)
{
	char mailbox[SUBMISSION_ADDRESS_SIZE];
	enum submission_field field;
	struct submission_from from;
	const char *at = NULL, *value;
	unsigned found = 0, froms = 0;
	size_t len;

	while (submission_header_next(header, &at, &field, &value, &len)) {
		assert(field >= FIELD_FROM && field <= FIELD_RESENT_SENDER);
		froms += field == FIELD_FROM;
		submission_from_init(&from, value, len);
		while (submission_from_next(&from, mailbox) == FROM_MAILBOX) {
			check_mailbox(mailbox);
			assert(++found < MAILBOXES_MOST);
		}
	}
	assert(header->kept_failed || froms == header->from);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct submission_header whole, pieces;
	size_t piece;

	if (size == 0)
		return 0;
	piece = data[0] == 0 ? SIZE_MAX : data[0];
	data++;
	size--;
	submission_header_init(&whole);
	submission_header_init(&pieces);
	submission_header_look(&whole, (const char *)data, size);
	for (size_t at = 0; at < size;) {
		size_t n = size - at < piece ? size - at : piece;

		submission_header_look(&pieces, (const char *)data + at, n);
		at += n;
	}
	assert(whole.kept_failed == pieces.kept_failed);
	assert(whole.from == pieces.from);
	assert(whole.has_text == pieces.has_text);
	assert(strcmp(submission_header_program(&whole),
		   submission_header_program(&pieces)) == 0);
	/* What is cut by the bound is not judged. */
	if (!whole.kept_failed) {
		assert(whole.kept_len == pieces.kept_len);
		assert(memcmp(whole.kept, pieces.kept, whole.kept_len) == 0);
		check_fields(&whole);
	}
	submission_header_fini(&whole);
	submission_header_fini(&pieces);
	return 0;
}
