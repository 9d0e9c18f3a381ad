/* auth/bearer.c: the messages of OAUTHBEARER and XOAUTH2. */
#include "bearer.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

enum { SEPARATOR = 0x01 };

/* What is left of a message. */
struct rest {
	const char *at, *end;
};

static bool
take(struct rest *r, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* The octets before the next separator, which is skipped. */
static bool
take_until(struct rest *r, char separator, struct rest *out)
{
	const char *stop = memchr(r->at, separator, (size_t)(r->end - r->at));

	if (stop == NULL)
		return false;
	out->at = r->at;
	out->end = stop;
	r->at = stop + 1;
	return true;
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Octets of the character that begins at p; 0: it is none (RFC 3629). */
static size_t
utf8_len(const unsigned char *p, size_t left)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} shapes[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 },
		{ 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
		uint32_t point = p[0] & (unsigned char)~shapes[n].mask;

		if ((p[0] & shapes[n].mask) != shapes[n].lead)
			continue;
		if (n >= left)
			return 0;
		for (size_t i = 1; i <= n; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			point = point << 6 | (p[i] & 0x3f);
		}
		return point >= shapes[n].least && point <= 0x10ffff &&
			       (point < 0xd800 || point > 0xdfff)
			   ? n + 1
			   : 0;
	}
	return 0;
}

static bool
is_text(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;

	while (len > 0) {
		size_t one = utf8_len(p, len);

		if (one == 0 || *p < 0x20 || *p == 0x7f)
			return false;
		p += one;
		len -= one;
	}
	return true;
}

/* One octet of a saslname (RFC 5801, 4): "=2C" is a comma, "=3D" an equals
 * sign, and neither stands there as itself; at a comma it was cut. */
static bool
take_name_octet(struct rest *in, char *out)
{
	if (take(in, "=2C"))
		*out = ',';
	else if (take(in, "=3D"))
		*out = '=';
	else if (*in->at != '=')
		*out = *in->at++;
	else
		return false;
	return true;
}

static bool
read_name(char out[static NAME_SIZE], struct rest in, bool is_saslname,
    struct reason *why)
{
	size_t len = 0;

	while (in.at < in.end) {
		if (len == NAME_SIZE - 1)
			return fail(why, REASON_RANGE, "name is too long");
		if (!is_saslname)
			out[len++] = *in.at++;
		else if (!take_name_octet(&in, &out[len++]))
			return fail(why, REASON_SYNTAX,
			    "authorization identity is no saslname");
	}
	out[len] = '\0';
	return is_text(out, len)
		   ? true
		   : fail(why, REASON_SYNTAX, "name is not UTF-8 text");
}

/* gs2-header and the separator after it: "n,a=NAME,\1". */
static bool
read_gs2_header(struct bearer *b, struct rest *r, struct reason *why)
{
	struct rest name;

	if (take(r, "p="))
		return fail(why, REASON_SYNTAX,
		    "a channel binding, which OAUTHBEARER does not have");
	if (!take(r, "n,") && !take(r, "y,"))
		return fail(why, REASON_SYNTAX, "no GS2 header");
	if (take(r, "a=")) {
		if (!take_until(r, ',', &name))
			return fail(why, REASON_SYNTAX,
			    "GS2 header does not end");
		if (name.at == name.end)
			return fail(why, REASON_SYNTAX,
			    "empty authorization identity");
		if (!read_name(b->name, name, true, why))
			return false;
	} else if (!take(r, ",")) {
		return fail(why, REASON_SYNTAX, "GS2 header is malformed");
	}
	return r->at < r->end && *r->at++ == SEPARATOR
		   ? true
		   : fail(why, REASON_SYNTAX, "no separator after the header");
}

bool
bearer_is_token(const char *text, size_t len)
{
	size_t at = 0;

	if (len > BEARER_TOKEN_MAX)
		return false;
	while (at < len &&
	       (is_letter(text[at]) || (text[at] >= '0' && text[at] <= '9') ||
		   (text[at] != '\0' && strchr("-._~+/", text[at]) != NULL)))
		at++;
	if (at == 0)
		return false;
	while (at < len && text[at] == '=')
		at++;
	return at == len;
}

/* "Bearer TOKEN"; the scheme in any case (RFC 9110, 11.1). */
static bool
read_auth(struct bearer *b, struct rest value, struct reason *why)
{
	static const char scheme[] = "Bearer ";
	size_t len = (size_t)(value.end - value.at);

	if (len < sizeof scheme - 1 ||
	    strncasecmp(value.at, scheme, sizeof scheme - 1) != 0)
		return fail(why, REASON_SYNTAX,
		    "authorization scheme is not Bearer");
	value.at += sizeof scheme - 1;
	while (value.at < value.end && *value.at == ' ')
		value.at++;
	len = (size_t)(value.end - value.at);
	if (len > BEARER_TOKEN_MAX)
		return fail(why, REASON_RANGE, "token is too long");
	if (!bearer_is_token(value.at, len))
		return fail(why, REASON_SYNTAX, "token is no b64token");
	memcpy(b->token, value.at, len);
	b->token[len] = '\0';
	return true;
}

static bool
is_value(struct rest value)
{
	for (; value.at < value.end; value.at++) {
		unsigned char c = (unsigned char)*value.at;

		if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') ||
		    c >= 0x7f)
			return false;
	}
	return true;
}

static bool
is_key(struct rest key)
{
	if (key.at == key.end)
		return false;
	for (; key.at < key.end; key.at++)
		if (!is_letter(*key.at))
			return false;
	return true;
}

static bool
is_word(struct rest r, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(r.end - r.at) == len && memcmp(r.at, word, len) == 0;
}

/* The keys of RFC 7628, 3.1. */
enum { KEY_AUTH = 1 };
static const char *const keys[] = { "auth", "host", "port", "mthd", "path",
	"post", "qs" };

/* "KEY=VALUE"; seen has a bit for each of the keys. */
static bool
read_pair(struct bearer *b, struct rest pair, unsigned *seen,
    struct reason *why)
{
	struct rest key;

	if (!take_until(&pair, '=', &key) || !is_key(key) || !is_value(pair))
		return fail(why, REASON_SYNTAX, "malformed key and value");
	for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		if (!is_word(key, keys[i]))
			continue;
		if ((*seen & 1U << i) != 0)
			return fail(why, REASON_SYNTAX, "a key comes twice");
		*seen |= 1U << i;
	}
	/* An empty one asks what tokens are wanted here. */
	return !is_word(key, "auth") || pair.at == pair.end ||
	       read_auth(b, pair, why);
}

static bool
read_oauthbearer(struct bearer *b, struct rest *r, struct reason *why)
{
	unsigned seen = 0;
	struct rest pair;

	if (!read_gs2_header(b, r, why))
		return false;
	while (r->at < r->end && *r->at != SEPARATOR)
		if (!take_until(r, SEPARATOR, &pair))
			return fail(why, REASON_SYNTAX,
			    "key and value do not end");
		else if (!read_pair(b, pair, &seen, why))
			return false;
	return (seen & KEY_AUTH) != 0 ? true
				      : fail(why, REASON_SYNTAX, "no token");
}

static bool
read_xoauth2(struct bearer *b, struct rest *r, struct reason *why)
{
	struct rest value;

	if (!take(r, "user=") || !take_until(r, SEPARATOR, &value))
		return fail(why, REASON_SYNTAX, "no user");
	if (!read_name(b->name, value, false, why))
		return false;
	if (!take(r, "auth=") || !take_until(r, SEPARATOR, &value))
		return fail(why, REASON_SYNTAX, "no token");
	return read_auth(b, value, why);
}

bool
bearer_parse(struct bearer *out, enum bearer_form form,
    const gnutls_datum_t *message, struct reason *why)
{
	const char *text = message->size > 0 ? (const char *)message->data : "";
	struct rest r = { text, text + message->size };
	struct bearer b = { .name = "" };
	bool ok = form == BEARER_OAUTHBEARER ? read_oauthbearer(&b, &r, why)
					     : read_xoauth2(&b, &r, why);

	if (ok && (r.end - r.at != 1 || *r.at != SEPARATOR))
		ok = fail(why, REASON_SYNTAX, "the message has no proper end");
	if (ok)
		*out = b;
	explicit_bzero(&b, sizeof b);
	return ok;
}

void
bearer_give_up(char *out, size_t *len_out, enum bearer_form form)
{
	*len_out = form == BEARER_OAUTHBEARER ? 1 : 0;
	*out = SEPARATOR;
}

/* What is being written; the room is known to suffice. */
struct text {
	char *at;
};

static void
put(struct text *t, const char *s)
{
	size_t len = strlen(s);

	memcpy(t->at, s, len);
	t->at += len;
}

static void
put_saslname(struct text *t, const char *name)
{
	for (; *name != '\0'; name++)
		if (*name == ',')
			put(t, "=2C");
		else if (*name == '=')
			put(t, "=3D");
		else
			*t->at++ = *name;
}

bool
bearer_make(char *out, size_t *len_out, enum bearer_form form, const char *name,
    const char *token, struct reason *why)
{
	struct text t = { out };

	if (strlen(name) >= NAME_SIZE || !is_text(name, strlen(name)))
		return fail(why, REASON_SYNTAX,
		    "user is too long or not UTF-8 text");
	if (!bearer_is_token(token, strlen(token)))
		return fail(why, REASON_SYNTAX,
		    "no token of letters, digits and -._~+/=, at most %d "
		    "octets",
		    BEARER_TOKEN_MAX);
	if (form == BEARER_XOAUTH2) {
		put(&t, "user=");
		put(&t, name);
	} else if (*name != '\0') {
		put(&t, "n,a=");
		put_saslname(&t, name);
		put(&t, ",");
	} else {
		put(&t, "n,,");
	}
	put(&t, "\1auth=Bearer ");
	put(&t, token);
	put(&t, "\1\1");
	*len_out = (size_t)(t.at - out);
	return true;
}
