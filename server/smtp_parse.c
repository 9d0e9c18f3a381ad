/*
 * server/smtp_parse.c: the grammar of SMTP commands.
 *
 * Scanners take octets off the front of a slice and say whether they could;
 * they are named by the rules of RFC 5321 they implement.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../policy/hex.h"
#include "envelope.h"
#include "smtp_parse.h"
#include "smtp_utf8.h"

struct slice
slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

bool
slice_is(struct slice s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

char *
slice_copy(struct slice s)
{
	return strndup(s.at, s.len);
}

static void
slice_skip(struct slice *s, size_t octets)
{
	s->at += octets;
	s->len -= octets;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void
skip_blanks(struct slice *s)
{
	while (s->len > 0 && is_blank(s->at[0]))
		slice_skip(s, 1);
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_let_dig(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 5322, section 3.2.3. */
static bool
is_atext(char c)
{
	return is_let_dig(c) ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
is_printable(char c)
{
	return c >= 32 && c <= 126;
}

/* UTF8-non-ascii (RFC 6531, section 3.3); that it is UTF-8 is checked for the
 * whole. */
static bool
is_high(char c)
{
	return (unsigned char)c > 127;
}

static bool
take(struct slice *s, char c)
{
	if (s->len == 0 || s->at[0] != c)
		return false;
	slice_skip(s, 1);
	return true;
}

static bool
take_word(struct slice *s, const char *word)
{
	size_t len = strlen(word);

	if (s->len < len || strncasecmp(s->at, word, len) != 0)
		return false;
	slice_skip(s, len);
	return true;
}

/* What s has lost against before. */
static struct slice
taken(struct slice before, struct slice s)
{
	return (struct slice){ before.at, before.len - s.len };
}

void
smtp_split(struct slice line, struct slice *verb_out, struct slice *args_out)
{
	struct slice rest = line;

	while (rest.len > 0 && !is_blank(rest.at[0]))
		slice_skip(&rest, 1);
	*verb_out = taken(line, rest);
	skip_blanks(&rest);
	while (rest.len > 0 && is_blank(rest.at[rest.len - 1]))
		rest.len--;
	*args_out = rest;
}

static bool
take_atom(struct slice *s)
{
	size_t n = 0;

	while (n < s->len && is_atext(s->at[n]))
		n++;
	slice_skip(s, n);
	return n > 0;
}

static bool
take_dot_string(struct slice *s)
{
	do {
		size_t n = 0;

		while (n < s->len && (is_atext(s->at[n]) || is_high(s->at[n])))
			n++;
		slice_skip(s, n);
		if (n == 0)
			return false;
	} while (take(s, '.'));
	return true;
}

static bool
take_quoted_string(struct slice *s)
{
	if (!take(s, '"'))
		return false;
	while (s->len > 0 && s->at[0] != '"') {
		bool is_pair = take(s, '\\');

		if (s->len == 0 || !(is_printable(s->at[0]) ||
				       (!is_pair && is_high(s->at[0]))))
			return false;
		slice_skip(s, 1);
	}
	return take(s, '"');
}

static bool
take_local_part(struct slice *s)
{
	if (s->len > 0 && s->at[0] == '"')
		return take_quoted_string(s);
	return take_dot_string(s);
}

/* What a label may have beside letters, digits and hyphens. */
enum label_extra { NO_EXTRA, UNDERSCORES, U_LABELS };

/* How long an U-label may be is known by its A-label. */
static bool
take_label(struct slice *s, enum label_extra extra)
{
	bool has_high = false;
	size_t n = 0;

	for (; n < s->len; n++) {
		if (extra == U_LABELS && is_high(s->at[n]))
			has_high = true;
		else if (!is_let_dig(s->at[n]) && s->at[n] != '-' &&
			 (extra != UNDERSCORES || s->at[n] != '_'))
			break;
	}
	if (n == 0 || (n > 63 && !has_high) || s->at[0] == '-' ||
	    s->at[n - 1] == '-')
		return false;
	slice_skip(s, n);
	return true;
}

static bool
take_domain(struct slice *s, enum label_extra extra)
{
	struct slice before = *s;

	do {
		if (!take_label(s, extra))
			return false;
	} while (take(s, '.'));
	return taken(before, *s).len <= SMTP_DOMAIN_MAX;
}

bool
smtp_is_address_literal(struct slice s)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char address[16];
	int family = AF_INET;

	if (!take(&s, '[') || s.len == 0 || s.at[s.len - 1] != ']')
		return false;
	s.len--;
	if (take_word(&s, "IPv6:"))
		family = AF_INET6;
	if (s.len >= sizeof text || memchr(s.at, '\0', s.len) != NULL)
		return false;
	memcpy(text, s.at, s.len);
	text[s.len] = '\0';
	return inet_pton(family, text, address) == 1;
}

bool
smtp_is_greeting_name(struct slice s)
{
	if (smtp_is_address_literal(s))
		return true;
	return take_domain(&s, UNDERSCORES) && s.len == 0;
}

/* The domain or literal of a mailbox; it ends where the path does. */
static bool
take_mailbox_domain(struct slice *s)
{
	struct slice before = *s;
	const char *end;

	if (s->len == 0 || s->at[0] != '[')
		return take_domain(s, U_LABELS);
	end = memchr(s->at, ']', s->len);
	if (end == NULL)
		return false;
	slice_skip(s, (size_t)(end - s->at) + 1);
	return smtp_is_address_literal(taken(before, *s));
}

/* A-d-l ":" of RFC 5321, section 4.1.2: accepted, never used. */
static bool
take_source_route(struct slice *s)
{
	do {
		if (!take(s, '@') || !take_domain(s, NO_EXTRA))
			return false;
	} while (take(s, ','));
	return take(s, ':');
}

static enum smtp_syntax
take_mailbox(struct slice *s, struct smtp_path *out)
{
	struct slice before = *s, domain;

	if (!take_local_part(s))
		return SMTP_SYNTAX_BAD;
	if (taken(before, *s).len > SMTP_LOCAL_PART_MAX)
		return SMTP_SYNTAX_TOO_LONG;
	if (!take(s, '@'))
		return SMTP_SYNTAX_BAD;
	domain = *s;
	if (!take_mailbox_domain(s))
		return SMTP_SYNTAX_BAD;
	out->domain = taken(domain, *s);
	out->mailbox = taken(before, *s);
	return SMTP_SYNTAX_OK;
}

enum path_kind { REVERSE_PATH, FORWARD_PATH };

static enum smtp_syntax
take_path(struct slice *s, enum path_kind kind, struct smtp_path *out)
{
	struct slice before = *s, word;
	struct smtp_path path = { { s->at, 0 }, { s->at, 0 }, false };
	enum smtp_syntax syntax = SMTP_SYNTAX_OK;

	if (!take(s, '<'))
		return SMTP_SYNTAX_BAD;
	word = *s;
	if (kind == FORWARD_PATH && take_word(s, "Postmaster") && s->len > 0 &&
	    s->at[0] == '>') {
		path.mailbox = taken(word, *s);
	} else if (*s = word,
	    kind == FORWARD_PATH || s->len == 0 || s->at[0] != '>') {
		if (s->len > 0 && s->at[0] == '@' && !take_source_route(s))
			return SMTP_SYNTAX_BAD;
		syntax = take_mailbox(s, &path);
	}
	if (syntax != SMTP_SYNTAX_OK)
		return syntax;
	if (!take(s, '>'))
		return SMTP_SYNTAX_BAD;
	if (taken(before, *s).len > SMTP_PATH_MAX)
		return SMTP_SYNTAX_TOO_LONG;
	if (!utf8_is_plain(path.mailbox))
		return SMTP_SYNTAX_NOT_UTF8;
	path.is_utf8 = utf8_has_high(path.mailbox);
	*out = path;
	return SMTP_SYNTAX_OK;
}

static enum smtp_syntax
parse_path_command(struct slice args, const char *prefix, enum path_kind kind,
    struct smtp_path *path_out, struct slice *params_out)
{
	enum smtp_syntax syntax;

	if (!take_word(&args, prefix))
		return SMTP_SYNTAX_BAD;
	skip_blanks(&args);
	syntax = take_path(&args, kind, path_out);
	if (syntax != SMTP_SYNTAX_OK)
		return syntax;
	if (args.len > 0 && !is_blank(args.at[0]))
		return SMTP_SYNTAX_BAD;
	*params_out = args;
	return SMTP_SYNTAX_OK;
}

enum smtp_syntax
smtp_parse_mail(struct slice args, struct smtp_path *path_out,
    struct slice *params_out)
{
	return parse_path_command(args, "FROM:", REVERSE_PATH, path_out,
	    params_out);
}

enum smtp_syntax
smtp_parse_rcpt(struct slice args, struct smtp_path *path_out,
    struct slice *params_out)
{
	return parse_path_command(args, "TO:", FORWARD_PATH, path_out,
	    params_out);
}

/* RFC 5321, section 4.1.2: esmtp-keyword. */
static bool
take_keyword(struct slice *s)
{
	size_t n = 0;

	while (
	    n < s->len && (is_let_dig(s->at[n]) || (n > 0 && s->at[n] == '-')))
		n++;
	slice_skip(s, n);
	return n > 0;
}

/* RFC 5321, section 4.1.2: esmtp-value; RFC 6531, section 3.3. */
static bool
take_value(struct slice *s)
{
	struct slice before = *s;
	size_t n = 0;

	while (n < s->len &&
	       ((s->at[n] > 32 && s->at[n] < 127 && s->at[n] != '=') ||
		   is_high(s->at[n])))
		n++;
	slice_skip(s, n);
	return n > 0 && utf8_is_plain(taken(before, *s));
}

enum smtp_param_result
smtp_next_param(struct slice *rest, struct smtp_param *out)
{
	struct slice s = *rest, before;
	struct smtp_param param;

	skip_blanks(&s);
	if (s.len == 0)
		return SMTP_PARAM_END;
	before = s;
	if (!take_keyword(&s))
		return SMTP_PARAM_BAD;
	param.keyword = taken(before, s);
	param.value = (struct slice){ s.at, 0 };
	param.has_value = take(&s, '=');
	if (param.has_value) {
		before = s;
		if (!take_value(&s))
			return SMTP_PARAM_BAD;
		param.value = taken(before, s);
	}
	if (s.len > 0 && !is_blank(s.at[0]))
		return SMTP_PARAM_BAD;
	*out = param;
	*rest = s;
	return SMTP_PARAM_GOT;
}

bool
smtp_parse_size(struct slice s, uint64_t *out)
{
	uint64_t n = 0;
	size_t i;

	if (s.len == 0 || s.len > 20)
		return false;
	for (i = 0; i < s.len; i++) {
		if (!is_digit(s.at[i]))
			return false;
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(s.at[i] - '0'), &n))
			return false;
	}
	*out = n;
	return true;
}

static bool
is_upper_hex(char c)
{
	return is_digit(c) || (c >= 'A' && c <= 'F');
}

bool
smtp_is_xtext(struct slice s)
{
	while (s.len > 0) {
		if (s.at[0] == '+') {
			if (s.len < 3 || !is_upper_hex(s.at[1]) ||
			    !is_upper_hex(s.at[2]))
				return false;
			slice_skip(&s, 3);
			continue;
		}
		if (s.at[0] <= 32 || s.at[0] >= 127 || s.at[0] == '=')
			return false;
		slice_skip(&s, 1);
	}
	return true;
}

bool
smtp_xtext_decode(struct slice s, char *out)
{
	if (!smtp_is_xtext(s))
		return false;
	while (s.len > 0) {
		char c = s.at[0];

		if (c == '+')
			c = (char)(hex_digit(s.at[1]) << 4 |
				   hex_digit(s.at[2]));
		slice_skip(&s, s.at[0] == '+' ? 3 : 1);
		if (!is_printable(c))
			return false;
		*out++ = c;
	}
	*out = '\0';
	return true;
}

bool
smtp_parse_ret(struct slice s, uint8_t *out)
{
	if (slice_is(s, "FULL"))
		*out = RET_FULL;
	else if (slice_is(s, "HDRS"))
		*out = RET_HDRS;
	else
		return false;
	return true;
}

bool
smtp_parse_notify(struct slice s, uint8_t *out)
{
	uint8_t notify = 0;

	if (slice_is(s, "NEVER")) {
		*out = NOTIFY_NEVER;
		return true;
	}
	do {
		if (take_word(&s, "SUCCESS"))
			notify |= NOTIFY_SUCCESS;
		else if (take_word(&s, "FAILURE"))
			notify |= NOTIFY_FAILURE;
		else if (take_word(&s, "DELAY"))
			notify |= NOTIFY_DELAY;
		else
			return false;
	} while (take(&s, ','));
	if (s.len > 0)
		return false;
	*out = notify;
	return true;
}

bool
smtp_is_envid(struct slice s)
{
	char text[SMTP_ENVID_MAX + 1];

	return s.len > 0 && s.len <= SMTP_ENVID_MAX &&
	       smtp_xtext_decode(s, text);
}

bool
smtp_is_orcpt(struct slice s)
{
	char text[SMTP_ORCPT_MAX + 1];
	struct slice type = s;

	if (s.len > SMTP_ORCPT_MAX || !take_atom(&s))
		return false;
	type = taken(type, s);
	return take(&s, ';') && s.len > 0 &&
	       (smtp_xtext_decode(s, text) ||
		   (slice_is(type, "utf-8") && utf8_is_address(s)));
}

void
smtp_split_orcpt(struct slice s, struct slice *type_out,
    struct slice *xtext_out)
{
	struct slice rest = s;

	take_atom(&rest);
	*type_out = taken(s, rest);
	take(&rest, ';');
	*xtext_out = rest;
}

bool
smtp_is_mechanism(struct slice s)
{
	size_t i;

	if (s.len == 0 || s.len > 20)
		return false;
	for (i = 0; i < s.len; i++)
		if (!is_let_dig(s.at[i]) && s.at[i] != '-' && s.at[i] != '_')
			return false;
	return true;
}
