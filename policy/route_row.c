/*
 * policy/route_row.c: one row of the table of routes, from text and to it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "routes.h"
#include "words.h"

enum { PORT_SMTP = 587, PORT_SMTPS = 465 }; /* RFC 8314, section 3.3 */

#define SRV_PREFIX "srv:"

static const char *const by_words[] = {
	[ROUTE_BY_RCPT] = "rcpt",
	[ROUTE_BY_FROM] = "from",
	[ROUTE_BY_ANY] = "any",
};

/* --- whose ------------------------------------------------------------------
 */

static bool
parse_whose(struct route *out, const char *word, struct reason *why)
{
	if (strcmp(word, "<>") == 0) {
		out->key.kind = KEY_MAILBOX;
		strcpy(out->key.text, "<>");
		return true;
	}
	if (!key_parse(&out->key, word, why))
		return false;
	switch (out->key.kind) {
	case KEY_HOST:
	case KEY_SUFFIX:
	case KEY_MAILBOX:
	case KEY_ANY:
		return true;
	case KEY_HOST_PORT:
	case KEY_ADDRESS:
	case KEY_NETWORK:
		break;
	}
	return fail(why, REASON_SYNTAX,
	    "\"%.80s\": expected user@domain, a domain, .suffix, <> or *",
	    word);
}

static bool
parse_by(struct route *out, const char *word, struct reason *why)
{
	bool any = out->key.kind == KEY_ANY;
	bool null = strcmp(out->key.text, "<>") == 0;

	for (int by = 0; by <= ROUTE_BY_ANY; by++) {
		if (strcasecmp(word, by_words[by]) != 0)
			continue;
		out->by = (enum route_by)by;
		if (any != (by == ROUTE_BY_ANY))
			return fail(why, REASON_SYNTAX,
			    "%.80s by %s, expected %s", out->key.text, word,
			    any ? "any" : "rcpt or from");
		if (null && by != ROUTE_BY_FROM)
			return fail(why, REASON_SYNTAX,
			    "<> by %s, expected from", word);
		return true;
	}
	return fail(why, REASON_SYNTAX, "by \"%.40s\", expected %s", word,
	    any ? "any" : "rcpt or from");
}

/* --- where ------------------------------------------------------------------
 */

/* Of one hop without a port. */
static void
default_port(struct route_hop *hop, const char *tls)
{
	hop->implicit_tls = tls == NULL || strcmp(tls, "smtps") == 0;
	hop->port = hop->implicit_tls ? PORT_SMTPS : PORT_SMTP;
}

/* A port makes it HOST:PORT of a host of that name. */
static bool
is_srv(const char *word)
{
	return strncasecmp(word, SRV_PREFIX, strlen(SRV_PREFIX)) == 0 &&
	       word[strspn(word + strlen(SRV_PREFIX), "0123456789") +
		   strlen(SRV_PREFIX)] != '\0';
}

static bool
parse_srv(struct route_hop *hop, const char *word, struct reason *why)
{
	const char *domain = word + strlen(SRV_PREFIX);
	struct key key;

	if (!key_parse(&key, domain, why))
		return false;
	if (key.kind != KEY_HOST)
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": expected " SRV_PREFIX "DOMAIN", word);
	hop->port = 0;
	hop->implicit_tls = false;
	(void)snprintf(hop->host, sizeof(hop->host), "%.*s", HOST_MAX - 1,
	    key.text);
	return true;
}

static bool
parse_hop(struct route_hop *hop, const char *word, const char *tls,
    struct reason *why)
{
	struct key key;
	char *colon;

	if (is_srv(word))
		return parse_srv(hop, word, why);
	if (!key_parse(&key, word, why))
		return false;
	/* Written with its port it would be another WHERE. */
	if (strncmp(key.text, "error:", 6) == 0 ||
	    strcmp(key.text, "error") == 0)
		return fail(why, REASON_SYNTAX,
		    "a next hop named %s, expected one with its domain",
		    key.text);
	switch (key.kind) {
	case KEY_HOST:
	case KEY_ADDRESS:
		default_port(hop, tls);
		break;
	case KEY_HOST_PORT:
		colon = strrchr(key.text, ':');
		hop->port = (uint16_t)strtoul(colon + 1, NULL, 10);
		*colon = '\0';
		hop->implicit_tls = tls != NULL ? strcmp(tls, "smtps") == 0
						: hop->port == PORT_SMTPS;
		break;
	default:
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": expected HOST or HOST:PORT", word);
	}
	/* An address is kept without brackets. */
	if (key.is_address)
		address_print(&key.address, key.text);
	(void)snprintf(hop->host, sizeof(hop->host), "%.*s", HOST_MAX - 1,
	    key.text);
	return true;
}

static bool
same_hop(const struct route_hop *a, const struct route_hop *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* The first whose TLS the row itself tells, or NULL. */
static const struct route_hop *
first_host(const struct route *route)
{
	for (size_t i = 0; i < route->hop_count; i++)
		if (route->hops[i].port != 0)
			return &route->hops[i];
	return NULL;
}

static bool
add_hop(struct route *out, const char *word, const char *tls,
    struct reason *why)
{
	struct route_hop *hop = &out->hops[out->hop_count];
	const struct route_hop *first = first_host(out);

	if (out->hop_count == ROUTE_HOPS_MAX)
		return fail(why, REASON_RANGE,
		    "more than %d next hops, expected fewer", ROUTE_HOPS_MAX);
	if (!parse_hop(hop, word, tls, why))
		return false;
	for (size_t i = 0; i < out->hop_count; i++)
		if (same_hop(&out->hops[i], hop))
			return fail(why, REASON_SYNTAX,
			    "%.100s stands twice, expected once", word);
	if (first != NULL && hop->port != 0 &&
	    hop->implicit_tls != first->implicit_tls)
		return fail(why, REASON_SYNTAX,
		    "ports that mean TLS from the start and others, "
		    "expected the word smtp or smtps");
	out->hop_count++;
	return true;
}

static bool
parse_hops(struct route *out, char *word, const char *tls, struct reason *why)
{
	char *rest = word, *one;

	while ((one = strsep(&rest, ",")) != NULL)
		if (!add_hop(out, one, tls, why))
			return false;
	return tls == NULL || first_host(out) != NULL ||
	       fail(why, REASON_SYNTAX,
		   "\"%s\" after " SRV_PREFIX
		   "DOMAIN, expected nothing: the records tell",
		   tls);
}

static bool
is_number(const char *text, size_t len)
{
	return len >= 1 && len <= 3 && strspn(text, "0123456789") >= len &&
	       (len == 1 || text[0] != '0');
}

/* RFC 3463, section 2: class 4 or 5, then two numbers. */
static bool
is_status(const char *text)
{
	const char *subject = text + 2, *detail;

	if ((text[0] != '4' && text[0] != '5') || text[1] != '.')
		return false;
	detail = strchr(subject, '.');
	return detail != NULL &&
	       is_number(subject, (size_t)(detail - subject)) &&
	       is_number(detail + 1, strlen(detail + 1));
}

/* What goes into a reply is printable ASCII. */
static bool
is_reply_text(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static bool
parse_error(struct route *out, const char *status, const char *text,
    struct reason *why)
{
	out->kind = ROUTE_ERROR;
	if (!is_status(status) || strlen(status) >= sizeof(out->status))
		return fail(why, REASON_SYNTAX,
		    "error:%.40s: expected an enhanced status code such as "
		    "5.1.2",
		    status);
	if (text == NULL || !is_reply_text(text) || *text == '\0' ||
	    strlen(text) >= sizeof(out->text))
		return fail(why, REASON_SYNTAX,
		    "error:%s needs a text of 1 to %d printable ASCII "
		    "characters, in quotes",
		    status, ROUTE_TEXT_SIZE - 1);
	strcpy(out->status, status);
	strcpy(out->text, text);
	return true;
}

/* Why, for lists; or nothing. */
static bool
parse_hold(struct route *out, const char *text, struct reason *why)
{
	out->kind = ROUTE_HOLD;
	if (text == NULL)
		return true;
	if (!is_reply_text(text) || *text == '\0' ||
	    strlen(text) >= sizeof(out->text))
		return fail(why, REASON_SYNTAX,
		    "hold: the text has 1 to %d printable ASCII characters, in "
		    "quotes",
		    ROUTE_TEXT_SIZE - 1);
	strcpy(out->text, text);
	return true;
}

static bool
parse_where(struct route *out, char *word, const char *last, struct reason *why)
{
	if (strncasecmp(word, "error:", 6) == 0)
		return parse_error(out, word + 6, last, why);
	if (strcasecmp(word, "discard") == 0) {
		out->kind = ROUTE_DISCARD;
		return last == NULL ||
		       fail(why, REASON_SYNTAX,
			   "\"%.40s\" after %s, expected nothing", last, word);
	}
	if (strcasecmp(word, "hold") == 0)
		return parse_hold(out, last, why);
	if (last != NULL && strcmp(last, "smtp") != 0 &&
	    strcmp(last, "smtps") != 0)
		return fail(why, REASON_SYNTAX,
		    "\"%.40s\": expected smtp or smtps", last);
	out->kind = ROUTE_RELAY;
	return parse_hops(out, word, last, why);
}

enum route_parse
route_parse(struct route *out, const char *line, size_t len, struct reason *why)
{
	struct words words;

	if (!words_read(&words, line, len, why))
		return ROUTE_BAD;
	if (words.count == 0)
		return ROUTE_EMPTY;
	if (words.count < 3 || words.count > 4) {
		fail(why, REASON_SYNTAX,
		    "%zu words, expected WHOSE, BY and WHERE", words.count);
		return ROUTE_BAD;
	}
	memset(out, 0, sizeof(*out));
	return parse_whose(out, words.at[0], why) &&
		       parse_by(out, words.at[1], why) &&
		       parse_where(out, words.at[2],
			   words.count == 4 ? words.at[3] : NULL, why)
		   ? ROUTE_ROW
		   : ROUTE_BAD;
}

/* --- to text ----------------------------------------------------------------
 */

struct page {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void
put(struct page *page, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(page->at, page->left, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= page->left)
		n = page->left == 0 ? 0 : (int)page->left - 1;
	page->at += n;
	page->left -= (size_t)n;
}

static void
put_quoted(struct page *page, const char *text)
{
	put(page, "\"");
	for (; *text != '\0'; text++)
		put(page, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	put(page, "\"");
}

void
route_print(const struct route *route, char *out, size_t size)
{
	struct page page = { out, size };

	put(&page, "%s %s ", route->key.text, by_words[route->by]);
	switch (route->kind) {
	case ROUTE_ERROR:
		put(&page, "error:%s ", route->status);
		put_quoted(&page, route->text);
		return;
	case ROUTE_DISCARD:
		put(&page, "discard");
		return;
	case ROUTE_HOLD:
		put(&page, route->text[0] != '\0' ? "hold " : "hold");
		if (route->text[0] != '\0')
			put_quoted(&page, route->text);
		return;
	case ROUTE_RELAY:
		break;
	}
	for (size_t i = 0; i < route->hop_count; i++) {
		const struct route_hop *hop = &route->hops[i];

		put(&page, "%s", i == 0 ? "" : ",");
		if (hop->port == 0)
			put(&page, SRV_PREFIX "%s", hop->host);
		else
			put(&page,
			    strchr(hop->host, ':') != NULL ? "[%s]:%u"
							   : "%s:%u",
			    hop->host, (unsigned)hop->port);
	}
	if (first_host(route) != NULL)
		put(&page,
		    first_host(route)->implicit_tls ? " smtps" : " smtp");
}
