/* auth/rights.c: sender rights, the addresses that a login may send from. */
#include "rights.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum { LABEL_MAX = 63 };

/* An address as it is compared. */
struct address {
	size_t local_len;
	char local[NAME_LOCAL_MAX]; /* unquoted, in lower case */
	char domain[NAME_REALM_MAX + 1];
};

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool
is_high(char c)
{
	return (unsigned char)c > 127;
}

static bool
has_high(const char *text)
{
	while (*text != '\0' && !is_high(*text))
		text++;
	return *text != '\0';
}

/* RFC 5322, section 3.2.3; RFC 6532, section 3.2. */
static bool
is_atext(char c)
{
	return is_high(c) || (c >= '0' && c <= '9') ||
	       (lower(c) >= 'a' && lower(c) <= 'z') ||
	       (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Atoms with single dots between them. */
static bool
is_dot_string(const char *at, size_t len)
{
	char before = '.';

	for (size_t i = 0; i < len; before = at[i++])
		if (at[i] == '.' ? before == '.' : !is_atext(at[i]))
			return false;
	return before != '.';
}

/* The octets of a quoted string that text begins with; returns what follows
 * it, or NULL. */
static const char *
unquote(const char *text, char *out, size_t size, size_t *len_out)
{
	size_t len = 0;

	for (text++; *text != '"'; text++) {
		if (*text == '\\')
			text++;
		if (((unsigned char)*text < 32 && *text != '\t') ||
		    *text == 127 || len == size)
			return NULL;
		out[len++] = lower(*text);
	}
	*len_out = len;
	return text + 1;
}

/* The local part that text begins with; returns the "@" after it, or NULL. */
static const char *
take_local(const char *text, char *out, size_t size, size_t *len_out)
{
	const char *at;

	if (text[0] == '"') {
		at = unquote(text, out, size, len_out);
		return at != NULL && *at == '@' ? at : NULL;
	}
	at = strchr(text, '@');
	if (at == NULL || (size_t)(at - text) > size ||
	    !is_dot_string(text, (size_t)(at - text)))
		return NULL;
	*len_out = (size_t)(at - text);
	for (size_t i = 0; i < *len_out; i++)
		out[i] = lower(text[i]);
	return at;
}

/* "[192.0.2.1]", "[ipv6:2001:db8::1]": one text for each address. */
static bool
literal_parse(char *out, size_t size, const char *text)
{
	static const char tag[] = "[IPv6:";
	bool is_v6 = strncasecmp(text, tag, sizeof tag - 1) == 0;
	const char *from = text + (is_v6 ? sizeof tag - 1 : 1);
	const char *end = strchr(from, ']');
	char inside[INET6_ADDRSTRLEN];
	unsigned char octets[16];

	if (end == NULL || end[1] != '\0' ||
	    (size_t)(end - from) >= sizeof inside)
		return false;
	memcpy(inside, from, (size_t)(end - from));
	inside[end - from] = '\0';
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, inside, octets) != 1)
		return false;
	inet_ntop(is_v6 ? AF_INET6 : AF_INET, octets, inside, sizeof inside);
	snprintf(out, size, "[%s%s]", is_v6 ? "ipv6:" : "", inside);
	return true;
}

/* Letters, digits, hyphens and underscores in labels. */
static bool
domain_parse_ascii(char out[static NAME_REALM_MAX + 1], const char *text)
{
	size_t len = strnlen(text, NAME_REALM_MAX + 2), label = 0;

	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > NAME_REALM_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = lower(text[i]);

		label = c == '.' ? 0 : label + 1;
		if (c == '.'
			? i == 0 || text[i - 1] == '.' || text[i - 1] == '-'
			: !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			      c == '_' || (c == '-' && label > 1)))
			return false;
		if (label > LABEL_MAX)
			return false;
		out[i] = c;
	}
	out[len] = '\0';
	return out[len - 1] != '.' && out[len - 1] != '-';
}

static bool
domain_parse(char out[static NAME_REALM_MAX + 1], const char *text)
{
	size_t len = strnlen(text, 1024);
	gnutls_datum_t mapped;
	bool ok;

	if (text[0] == '[')
		return literal_parse(out, NAME_REALM_MAX + 1, text);
	if (!has_high(text))
		return domain_parse_ascii(out, text);
	if (len == 1024 || gnutls_idna_map(text, (unsigned)len, &mapped, 0) < 0)
		return false;
	ok = domain_parse_ascii(out, (const char *)mapped.data);
	gnutls_free(mapped.data);
	return ok;
}

static bool
address_parse(struct address *out, const char *text)
{
	const char *at =
	    take_local(text, out->local, sizeof out->local, &out->local_len);

	return at != NULL && domain_parse(out->domain, at + 1);
}

/* Appends the local part of a pattern, runs of "*" as one. */
static char *
put_glob(char *to, const char *local, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (local[i] != '*' || i == 0 || local[i - 1] != '*')
			*to++ = local[i];
	return to;
}

static char *
put_quoted(char *to, const char *local, size_t len)
{
	*to++ = '"';
	for (size_t i = 0; i < len; i++) {
		if (local[i] == '"' || local[i] == '\\')
			*to++ = '\\';
		*to++ = local[i];
	}
	*to++ = '"';
	return to;
}

/* "@domain", "@.domain". */
static bool
put_domain(char *to, const char *after_at, bool may_be_suffix)
{
	char domain[NAME_REALM_MAX + 1];
	bool is_suffix = may_be_suffix && after_at[0] == '.';

	if (!domain_parse(domain, after_at + (is_suffix ? 1 : 0)) ||
	    (is_suffix && domain[0] == '['))
		return false;
	*to++ = '@';
	if (is_suffix)
		*to++ = '.';
	strcpy(to, domain);
	return true;
}

/* A glob may be longer than what it matches: it has stars. */
enum { GLOB_MAX = 2 * NAME_LOCAL_MAX };

_Static_assert(2 * GLOB_MAX + 2 + 1 + NAME_REALM_MAX < 2 * ENTRY_RIGHT_MAX,
    "what turns out too long has room where it is made");

static bool
parse_local_and_domain(char *out, const char *text, struct reason *why)
{
	char local[GLOB_MAX], *end = out;
	const char *at;
	size_t len;

	at = take_local(text, local, sizeof local, &len);
	if (at == NULL)
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": not a local part before \"@\", expected "
		    "user@domain, @domain, @.domain or *",
		    text);
	if (text[0] == '"' &&
	    (memchr(local, '*', len) != NULL || !is_dot_string(local, len)))
		end = put_quoted(out, local, len);
	else
		end = put_glob(out, local, len);
	if (strcmp(at, "@*") == 0 || at[1] == '.')
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": \"*\" stands in the local part only, and all "
		    "addresses in domains under one are @.domain",
		    text);
	if (end - out == 1 && *out == '*')
		end = out; /* *@domain */
	if (!put_domain(end, at + 1, false))
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": not a domain or address literal after \"@\"",
		    text);
	return true;
}

/* text is in the form that names have: name.h. */
static bool
parse_prepared(char out[static ENTRY_RIGHT_MAX + 1], const char *text,
    struct reason *why)
{
	char pattern[2 * ENTRY_RIGHT_MAX];

	if (strnlen(text, ENTRY_RIGHT_MAX + 1) > ENTRY_RIGHT_MAX)
		return fail(why, REASON_RANGE,
		    "pattern is longer than %d octets", ENTRY_RIGHT_MAX);
	if (text[0] == '@') {
		if (!put_domain(pattern, text + 1, true))
			return fail(why, REASON_SYNTAX,
			    "\"%.80s\": not a domain after \"@\", expected "
			    "@domain or @.domain",
			    text);
	} else if (!parse_local_and_domain(pattern, text, why)) {
		return false;
	}
	if (strlen(pattern) > ENTRY_RIGHT_MAX)
		return fail(why, REASON_RANGE,
		    "pattern is longer than %d octets", ENTRY_RIGHT_MAX);
	strcpy(out, pattern);
	return true;
}

bool
rights_pattern_parse(char out[static ENTRY_RIGHT_MAX + 1], const char *text,
    struct reason *why)
{
	char *prepared;
	bool ok;

	if (strcmp(text, "*") == 0) {
		strcpy(out, "*");
		return true;
	}
	if (!has_high(text))
		return parse_prepared(out, text, why);
	if (!saslprep(text, &prepared, why))
		return false;
	ok = parse_prepared(out, prepared, why);
	gsasl_free(prepared);
	return ok;
}

/* A star takes as little as will do; where that turns out to be too little,
 * only the last one is asked for more: len times glob's length at worst. */
static bool
glob_matches(const char *glob, size_t glob_len, const char *text, size_t len)
{
	size_t g = 0, t = 0, after_star = 0, star_ends = 0;

	while (t < len) {
		if (g < glob_len && glob[g] == '*') {
			after_star = ++g;
			star_ends = t;
		} else if (g < glob_len && glob[g] == text[t]) {
			g++;
			t++;
		} else if (after_star > 0) {
			g = after_star;
			t = ++star_ends;
		} else {
			return false;
		}
	}
	while (g < glob_len && glob[g] == '*')
		g++;
	return g == glob_len;
}

static bool
domain_matches(const char *pattern, const char *domain)
{
	size_t len = strlen(domain), suffix = strlen(pattern);

	if (pattern[0] != '.')
		return strcmp(pattern, domain) == 0;
	return len > suffix && strcmp(domain + len - suffix, pattern) == 0;
}

static bool
local_matches(const char *pattern, size_t len, const struct address *address)
{
	char local[GLOB_MAX];
	size_t local_len;

	if (len == 0)
		return true;
	if (pattern[0] != '"')
		return glob_matches(pattern, len, address->local,
		    address->local_len);
	return unquote(pattern, local, sizeof local, &local_len) != NULL &&
	       local_len == address->local_len &&
	       memcmp(local, address->local, local_len) == 0;
}

/* No domain has an "@" in it, quoted local parts may. */
static bool
pattern_matches(const char *pattern, const struct address *address)
{
	const char *at = strrchr(pattern, '@');

	return at != NULL && domain_matches(at + 1, address->domain) &&
	       local_matches(pattern, (size_t)(at - pattern), address);
}

/* A login name is no pattern: it may have a star. */
static bool
is_own(const char *own, const struct address *address)
{
	const char *at = strrchr(own, '@');
	size_t len = at != NULL ? (size_t)(at - own) : 0;

	return len > 0 && len == address->local_len &&
	       strncasecmp(own, address->local, len) == 0 &&
	       strcasecmp(at + 1, address->domain) == 0;
}

const char *
rights_match(const struct rights *rights, const char *address)
{
	const char *end = rights->patterns + rights->len, *p;
	struct address parsed;
	bool is_address;

	/* What nearly all send with nearly always. */
	if (rights->len == 0 && strcasecmp(rights->own, address) == 0)
		return rights->own;
	is_address = address_parse(&parsed, address);
	if (rights->len == 0)
		return is_address && is_own(rights->own, &parsed) ? rights->own
								  : NULL;
	for (p = rights->patterns; p < end; p += strlen(p) + 1)
		if (strcmp(p, "*") == 0 ||
		    (is_address && pattern_matches(p, &parsed)))
			return p;
	return NULL;
}

bool
rights_allow(const struct rights *login, const struct rights *owner,
    const char *address, struct rights_decision *out)
{
	struct rights_decision decision = { NULL, NULL };
	bool asks_login = owner == NULL || login->len > 0;

	if (asks_login)
		decision.login_pattern = rights_match(login, address);
	if (owner != NULL)
		decision.owner_pattern = rights_match(owner, address);
	if (out != NULL)
		*out = decision;
	return (!asks_login || decision.login_pattern != NULL) &&
	       (owner == NULL || decision.owner_pattern != NULL);
}

static bool
has_star(const struct rights *rights)
{
	const char *end = rights->patterns + rights->len, *p;

	for (p = rights->patterns; p < end; p += strlen(p) + 1)
		if (strcmp(p, "*") == 0)
			return true;
	return false;
}

bool
rights_allow_all(const struct rights *login, const struct rights *owner)
{
	return owner == NULL
		   ? has_star(login)
		   : (login->len == 0 || has_star(login)) && has_star(owner);
}
