/*
 * policy/option.c: the options of a row: which may stand where, and what their
 * values mean.
 */
#include "parse.h"

#include <gnutls/crypto.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "hex.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* No cipher of TLS has a longer key than 256 bits. */
enum { BITS_LEAST = 40, BITS_MOST = 256 };

/* Where a parser of an option's value finds what it needs. */
struct option_context {
	struct row *row;
	const char *folder;
	const char *word; /* the option's */
	struct reason *why;
};

typedef bool (*option_take)(const struct option_context *c, const char *value);

/* --- values ------------------------------------------------- */

static bool
add(const struct option_context *c, enum field tag, const char *text)
{
	if (row_add(c->row, tag, text))
		return true;
	return fail(c->why, REASON_RANGE,
	    "row is too long, expected at most %d octets", ROW_FIELDS);
}

static bool
expected(const struct option_context *c, const char *value, const char *what)
{
	return fail(c->why, REASON_SYNTAX, "%s=%.80s, expected %s", c->word,
	    value, what);
}

/* Call take for each part between commas. */
static bool
each_part(const struct option_context *c, const char *value, option_take take)
{
	char part[KEY_TEXT];

	for (;;) {
		size_t len = strcspn(value, ",");

		if (len == 0 || len >= sizeof(part))
			return expected(c, value,
			    "values with one comma between two");
		memcpy(part, value, len);
		part[len] = '\0';
		if (!take(c, part))
			return false;
		if (value[len] == '\0')
			return true;
		value += len + 1;
	}
}

static bool
add_path(const struct option_context *c, enum field tag, const char *value)
{
	char path[PATH_MAX];
	int len;

	if (value[0] == '/')
		len = snprintf(path, sizeof(path), "%s", value);
	else
		len = snprintf(path, sizeof(path), "%s/%s", c->folder, value);
	if (len < 0 || (size_t)len >= sizeof(path))
		return expected(c, value, "a shorter path");
	return add(c, tag, path);
}

static bool
take_ca(const struct option_context *c, const char *value)
{
	return add_path(c, FIELD_CA, value);
}

static bool
take_crl(const struct option_context *c, const char *value)
{
	return add_path(c, FIELD_CRL, value);
}

static bool
decode_pin(const char *text, unsigned char out[static 64], size_t *len_out)
{
	gnutls_datum_t in = { (void *)(uintptr_t)text, (unsigned)strlen(text) };
	gnutls_datum_t got = { NULL, 0 };
	char padded[64];
	bool ok;

	if (in.size == 64) {
		*len_out = 64;
		return gnutls_hex_decode(&in, out, len_out) == 0;
	}
	if (in.size == 43) { /* base64 without its padding */
		(void)snprintf(padded, sizeof(padded), "%s=", text);
		in.data = (unsigned char *)padded;
		in.size = 44;
	}
	if (gnutls_base64_decode2(&in, &got) != 0)
		return false;
	ok = got.size <= 64;
	if (ok) {
		memcpy(out, got.data, got.size);
		*len_out = got.size;
	}
	gnutls_free(got.data);
	return ok;
}

static bool
take_one_pin(const struct option_context *c, const char *value)
{
	unsigned char octets[64];
	char hex[2 * SPKI_OCTETS + 1];
	size_t len = 0;

	if (strncasecmp(value, "sha256:", 7) != 0)
		return expected(c, value, "sha256: and a digest");
	if (!decode_pin(value + 7, octets, &len) || len != SPKI_OCTETS)
		return expected(c, value,
		    "sha256: and 32 octets as 64 hex digits or 44 of base64");
	hex_print(hex, octets, SPKI_OCTETS);
	return add(c, FIELD_PIN, hex);
}

static bool
take_pin(const struct option_context *c, const char *value)
{
	return each_part(c, value, take_one_pin);
}

static bool
take_one_match(const struct option_context *c, const char *value)
{
	struct key key;

	if (!key_parse(&key, value, c->why))
		return false;
	if (key.kind != KEY_HOST && key.kind != KEY_SUFFIX &&
	    key.kind != KEY_ADDRESS)
		return expected(c, value, "a host name, .suffix or address");
	return add(c, FIELD_MATCH, key.text);
}

static bool
take_match(const struct option_context *c, const char *value)
{
	return each_part(c, value, take_one_match);
}

static bool
take_issuer(const struct option_context *c, const char *value)
{
	if (strchr(value, '=') == NULL)
		return expected(c, value,
		    "a distinguished name such as \"CN=Example CA,O=Example\"");
	return add(c, FIELD_ISSUER, value);
}

static bool
take_org(const struct option_context *c, const char *value)
{
	return add(c, FIELD_ORG, value);
}

static bool
take_min(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "tls1.2") == 0)
		c->row->min = 12;
	else if (strcasecmp(value, "tls1.3") == 0)
		c->row->min = 13;
	else
		return expected(c, value, "tls1.2 or tls1.3");
	return true;
}

/* Decimal digits only, all of text. */
static bool
number(const char *text, size_t len, unsigned *out)
{
	unsigned value = 0;

	if (len == 0 || len > 6)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text[i] - '0');
	}
	*out = value;
	return true;
}

static bool
take_bits(const struct option_context *c, const char *value)
{
	unsigned bits;

	if (!number(value, strlen(value), &bits) || bits < BITS_LEAST ||
	    bits > BITS_MOST)
		return expected(c, value, "40 to 256");
	c->row->bits = bits;
	return true;
}

static bool
take_eku(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "any") != 0)
		return expected(c, value, "any");
	c->row->eku_any = true;
	return true;
}

static bool
take_chain(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "no") != 0)
		return expected(c, value, "no");
	c->row->no_chain = true;
	return true;
}

static bool
add_name(const struct option_context *c, enum field tag, const char *value)
{
	if (value[strspn(value,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789-_.")] != '\0')
		return expected(c, value, "a name of letters, digits, - _ .");
	return add(c, tag, value);
}

static bool
take_cert(const struct option_context *c, const char *value)
{
	return add_name(c, FIELD_CERT, value);
}

static bool
take_auth(const struct option_context *c, const char *value)
{
	return add_name(c, FIELD_AUTH, value);
}

static bool
take_sni(const struct option_context *c, const char *value)
{
	struct key key;

	if (!key_parse(&key, value, c->why))
		return false;
	if (key.kind != KEY_HOST)
		return expected(c, value, "a host name");
	return add(c, FIELD_SNI, key.text);
}

static bool
take_reuse(const struct option_context *c, const char *value)
{
	c->row->no_reuse = strcasecmp(value, "no") == 0;
	if (!c->row->no_reuse && strcasecmp(value, "yes") != 0)
		return expected(c, value, "yes or no");
	return true;
}

static bool
take_mode(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "observe") != 0)
		return expected(c, value, "observe");
	c->row->observe = true;
	return true;
}

static bool
take_dane(const struct option_context *c, const char *value)
{
	(void)value;
	c->row->dane = true;
	return true;
}

static bool
take_ratchet(const struct option_context *c, const char *value)
{
	(void)value;
	c->row->ratchet = true;
	return true;
}

static bool
take_tls_optional(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "yes") != 0)
		return expected(c, value, "yes");
	c->row->tls_optional = true;
	return true;
}

static bool
take_fail(const struct option_context *c, const char *value)
{
	if (strcasecmp(value, "temporary") == 0)
		c->row->fail = FAIL_TEMPORARY;
	else if (strcasecmp(value, "permanent") == 0)
		c->row->fail = FAIL_PERMANENT;
	else
		return expected(c, value, "temporary or permanent");
	return true;
}

/* Days since 1970-01-01 in the Gregorian calendar, years counted from March
 * so that the leap day comes last. */
static long long
days_of_date(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month > 2 ? year : year - 1;
	unsigned m = month > 2 ? month - 3 : month + 9;

	return 365LL * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day -
	       1 - 719468;
}

static unsigned
days_of_month(unsigned year, unsigned month)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31,
		30, 31, 30, 31 };
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap ? 1u : 0u);
}

/* The exception holds to the end of that day, UTC. */
static bool
take_until(const struct option_context *c, const char *value)
{
	unsigned year, month, day;

	if (strlen(value) != 10 || value[4] != '-' || value[7] != '-' ||
	    !number(value, 4, &year) || !number(value + 5, 2, &month) ||
	    !number(value + 8, 2, &day))
		return expected(c, value, "a date such as 2027-03-31");
	if (year < 2000 || month < 1 || month > 12 || day < 1 ||
	    day > days_of_month(year, month))
		return expected(c, value, "a day that exists, from 2000 on");
	c->row->until = (days_of_date(year, month, day) + 1) * 86400;
	return true;
}

static bool
take_reason(const struct option_context *c, const char *value)
{
	if (value[strspn(value, " \t")] == '\0')
		return expected(c, value, "a few words");
	return add(c, FIELD_REASON, value);
}

/* --- which there are ------------------------------------------------------ */

enum { ANY_DIRECTION = DIRECTION_BOTH | DIRECTION_FROM | DIRECTION_RCPT };

enum form {
	ONCE,    /* word=value */
	SEVERAL, /* the same, and again */
	BARE,    /* the word alone */
};

static const struct option {
	const char *word;
	enum form form;
	unsigned directions; /* all of the row's must be among these */
	enum level least;    /* that gives it something to say */
	option_take take;
} options[] = {
	{ "ca", ONCE, ANY_DIRECTION, LEVEL_VERIFY, take_ca },
	{ "crl", ONCE, ANY_DIRECTION, LEVEL_VERIFY, take_crl },
	{ "pin", SEVERAL, ANY_DIRECTION, LEVEL_LOCK, take_pin },
	{ "match", SEVERAL, ANY_DIRECTION, LEVEL_LOCK, take_match },
	{ "issuer", SEVERAL, ANY_DIRECTION, LEVEL_LOCK, take_issuer },
	{ "org", SEVERAL, ANY_DIRECTION, LEVEL_LOCK, take_org },
	{ "min", ONCE, ANY_DIRECTION, LEVEL_ENCRYPT, take_min },
	{ "bits", ONCE, ANY_DIRECTION, LEVEL_ENCRYPT, take_bits },
	{ "eku", ONCE, ANY_DIRECTION, LEVEL_VERIFY, take_eku },
	{ "chain", ONCE, ANY_DIRECTION, LEVEL_LOCK, take_chain },
	{ "cert", ONCE, DIRECTION_OUT, LEVEL_MAY, take_cert },
	{ "auth", ONCE, DIRECTION_OUT, LEVEL_MAY, take_auth },
	{ "sni", ONCE, DIRECTION_OUT, LEVEL_MAY, take_sni },
	{ "reuse", ONCE, DIRECTION_OUT, LEVEL_NONE, take_reuse },
	{ "dane", BARE, DIRECTION_BOTH | DIRECTION_RCPT, LEVEL_ENCRYPT,
	    take_dane },
	{ "ratchet", BARE, DIRECTION_BOTH, LEVEL_ENCRYPT, take_ratchet },
	{ "tls-optional", ONCE, DIRECTION_BOTH | DIRECTION_RCPT, LEVEL_ENCRYPT,
	    take_tls_optional },
	{ "mode", ONCE, ANY_DIRECTION, LEVEL_ENCRYPT, take_mode },
	{ "fail", ONCE, ANY_DIRECTION, LEVEL_ENCRYPT, take_fail },
	{ "until", ONCE, ANY_DIRECTION, LEVEL_NONE, take_until },
	{ "reason", ONCE, ANY_DIRECTION, LEVEL_NONE, take_reason },
};

static const struct option *
option_of_word(const char *word, size_t len)
{
	for (size_t i = 0; i < COUNT(options); i++)
		if (strlen(options[i].word) == len &&
		    strncasecmp(options[i].word, word, len) == 0)
			return &options[i];
	return NULL;
}

static bool
fail_unknown(const char *word, struct reason *why)
{
	char all[192] = "";
	size_t len = 0;

	for (size_t i = 0; i < COUNT(options) && len < sizeof(all); i++)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s",
		    i == 0                    ? ""
		    : i == COUNT(options) - 1 ? " or "
					      : ", ",
		    options[i].word);
	return fail(why, REASON_SYNTAX, "unknown option \"%.40s\", expected %s",
	    word, all);
}

/* What is about the next hop says nothing in a row about clients alone. */
static bool
direction_has_option(unsigned of_row, const struct option *option)
{
	bool about_clients = (option->directions & DIRECTION_FROM) != 0;

	return (of_row & ~option->directions) == 0 &&
	       (about_clients ||
		   (of_row & (DIRECTION_OUT | DIRECTION_RCPT)) != 0);
}

static bool
fail_direction(const struct option *option, const struct row *row,
    struct reason *why)
{
	static const unsigned directions[] = { DIRECTION_OUT, DIRECTION_BOTH,
		DIRECTION_RCPT };
	char all[40] = "";
	size_t len = 0;

	for (size_t i = 0; i < COUNT(directions) && len < sizeof(all); i++)
		if (direction_has_option(directions[i], option))
			len += (size_t)snprintf(all + len, sizeof(all) - len,
			    "%s%s", len == 0 ? "" : " or ",
			    direction_word(directions[i]));
	return fail(why, REASON_SYNTAX,
	    "option %s in a row of direction %s, expected %s", option->word,
	    direction_word(row->directions), all);
}

static bool
option_may_stand(const struct option *option, const struct row *row,
    bool repeated, struct reason *why)
{
	if (repeated && option->form != SEVERAL)
		return fail(why, REASON_SYNTAX,
		    "option %s stands twice, expected once", option->word);
	if (!direction_has_option(row->directions, option))
		return fail_direction(option, row, why);
	if (row->level < option->least)
		return fail(why, REASON_SYNTAX,
		    "option %s at level %s says nothing, expected level %s%s",
		    option->word, level_word(row->level),
		    level_word(option->least),
		    option->least < LEVEL_LOCK ? " or more" : "");
	return true;
}

bool
option_parse(struct row *row, const char *word, const char *folder,
    unsigned *seen, struct reason *why)
{
	size_t len = strcspn(word, "=");
	const struct option *option = option_of_word(word, len);
	struct option_context c = { row, folder, NULL, why };
	unsigned bit;

	if (option == NULL)
		return fail_unknown(word, why);
	bit = 1u << (option - options);
	if (!option_may_stand(option, row, (*seen & bit) != 0, why))
		return false;
	*seen |= bit;
	c.word = option->word;
	if (option->form == BARE) {
		if (word[len] != '\0')
			return expected(&c, word + len + 1,
			    "the word alone, without a value");
		return option->take(&c, NULL);
	}
	if (word[len] == '\0' || word[len + 1] == '\0')
		return fail(why, REASON_SYNTAX,
		    "option %s without a value, expected %s=VALUE",
		    option->word, option->word);
	return option->take(&c, word + len + 1);
}
