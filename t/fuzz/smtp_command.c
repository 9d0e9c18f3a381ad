/*
 * t/fuzz/smtp_command.c: any line as an SMTP command.
 *
 * Beside memory errors: what a parser returns lies within what it was given.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/envelope.h"
#include "../../server/smtp_parse.h"
#include "../../server/smtp_utf8.h"

static struct slice whole;

static void
assert_within(struct slice s)
{
	assert(s.at >= whole.at && s.at + s.len <= whole.at + whole.len);
}

/* What goes without SMTPUTF8 means the same. */
static void
try_orcpt(struct slice value)
{
	char ascii[SMTP_ORCPT_MAX + 1], text[SMTP_ORCPT_MAX + 1];
	char again[SMTP_ORCPT_MAX + 1], *orcpt = slice_copy(value);
	struct slice type, address;

	assert(orcpt != NULL);
	smtp_split_orcpt(value, &type, &address);
	if (utf8_orcpt_to_ascii(orcpt, ascii)) {
		assert(!utf8_has_high(slice_of(ascii)));
		assert(smtp_is_orcpt(slice_of(ascii)));
		if (utf8_address_decode(address, text)) {
			smtp_split_orcpt(slice_of(ascii), &type, &address);
			assert(utf8_address_decode(address, again));
			assert(strcmp(text, again) == 0);
		}
	}
	free(orcpt);
}

/* Where there is nothing but ASCII it stays as it is; a domain always is. */
static void
try_domain(struct smtp_path *path)
{
	char ascii[SMTP_PATH_MAX + 1], xtext[UTF8_XTEXT_SIZE], *mailbox;
	const char *before = path->mailbox.at;

	if (smtp_path_to_ascii(path, ascii) != SMTP_SYNTAX_OK)
		return;
	assert(path->is_utf8 || path->mailbox.at == before);
	assert(path->mailbox.len + 2 <= SMTP_PATH_MAX);
	assert(!utf8_has_high(path->domain));
	mailbox = slice_copy(path->mailbox);
	assert(mailbox != NULL && utf8_xtext_encode(mailbox, xtext));
	assert(!utf8_has_high(slice_of(xtext)));
	assert(!utf8_has_high(path->mailbox) || smtp_is_utf8_path(mailbox));
	free(mailbox);
}

/* What is accepted fits a command and a header field. */
static void
try_dsn(struct slice value)
{
	char *text = malloc(value.len + 1);
	struct slice type, xtext;
	uint8_t number = 0;

	assert(text != NULL);
	if (smtp_xtext_decode(value, text)) {
		assert(smtp_is_xtext(value));
		assert(strlen(text) <= value.len);
		assert(strpbrk(text, "\r\n") == NULL);
	}
	free(text);
	assert(!smtp_is_envid(value) || value.len <= SMTP_ENVID_MAX);
	if (smtp_is_orcpt(value)) {
		assert(value.len <= SMTP_ORCPT_MAX);
		smtp_split_orcpt(value, &type, &xtext);
		assert_within(type);
		assert_within(xtext);
		assert(type.len > 0);
		assert(smtp_is_xtext(xtext) ||
		       (slice_is(type, "utf-8") && utf8_is_address(xtext)));
		try_orcpt(value);
	}
	if (smtp_parse_ret(value, &number))
		assert(number == RET_FULL || number == RET_HDRS);
	if (smtp_parse_notify(value, &number))
		assert(number == NOTIFY_NEVER ||
		       (number != 0 && (number & NOTIFY_NEVER) == 0));
}

static void
try_path(
    enum smtp_syntax (*parse)(struct slice, struct smtp_path *, struct slice *),
    struct slice args)
{
	struct smtp_param param;
	struct smtp_path path;
	struct slice rest;
	uint64_t size;

	if (parse(args, &path, &rest) != SMTP_SYNTAX_OK)
		return;
	assert_within(path.mailbox);
	assert_within(path.domain);
	assert(path.mailbox.len <= SMTP_PATH_MAX);
	assert(memchr(path.mailbox.at, '\n', path.mailbox.len) == NULL);
	assert(memchr(path.mailbox.at, '\0', path.mailbox.len) == NULL);
	while (smtp_next_param(&rest, &param) == SMTP_PARAM_GOT) {
		assert_within(param.keyword);
		assert_within(param.value);
		assert_within(rest);
		smtp_parse_size(param.value, &size);
		try_dsn(param.value);
	}
	try_domain(&path);
}

static void
try_base64(struct slice text)
{
	unsigned char *octets = malloc(text.len / 4 * 3 + 1);
	char *again = malloc(text.len + 4);
	size_t len;

	assert(octets != NULL && again != NULL);
	/* What is accepted is the one way to write it. */
	if (smtp_base64_decode(text, octets, &len)) {
		assert(smtp_base64_encode(octets, len, again) == text.len);
		assert(memcmp(again, text.at, text.len) == 0);
	}
	free(octets);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice verb, args, name, text;

	whole = (struct slice){ (const char *)data, size };
	smtp_split(whole, &verb, &args);
	assert_within(verb);
	assert_within(args);
	try_path(smtp_parse_mail, args);
	try_path(smtp_parse_rcpt, args);
	smtp_is_greeting_name(args);
	smtp_split(args, &name, &text);
	smtp_is_mechanism(name);
	try_base64(text);
	try_base64(whole);
	return 0;
}
