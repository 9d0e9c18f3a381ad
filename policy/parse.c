/*
 * policy/parse.c: the grammar of the table: words, levels, options, and which
 * may stand together.
 */
#include "parse.h"

#include <gnutls/crypto.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { WORDS = 128, BITS_LEAST = 40, BITS_MOST = 512 };

/* Where a parser of an option's value finds what it needs. */
struct option_context {
	struct row *row;
	const struct key *key;
	const char *folder;
	const char *word; /* the option's */
	struct reason *why;
};

typedef bool (*option_take)(const struct option_context *c, const char *value);

/* --- words ------------------------------------------------------------- */

/* Length of the UTF-8 sequence (RFC 3629) that text begins with; 0 if it is
 * none. */
static size_t
utf8_sequence(const unsigned char *text, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t octets = text[0] < 0x80   ? 1
			: text[0] < 0xc0 ? 0
			: text[0] < 0xe0 ? 2
			: text[0] < 0xf0 ? 3
			: text[0] < 0xf8 ? 4
					 : 0;
	uint32_t point;

	if (octets < 2 || octets > len)
		return octets == 1 ? 1 : 0;
	point = text[0] & (0x7fu >> octets);
	for (size_t i = 1; i < octets; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3fu);
	}
	if (point < least[octets] || point > 0x10ffff ||
	    (point >= 0xd800 && point < 0xe000))
		return 0;
	return octets;
}

static bool
octets_are_text(const char *line, size_t len, struct reason *why)
{
	size_t octets;

	for (size_t i = 0; i < len; i += octets) {
		unsigned char c = (unsigned char)line[i];

		octets =
		    utf8_sequence((const unsigned char *)line + i, len - i);
		if (octets == 0)
			return fail(why, REASON_SYNTAX,
			    "octet 0x%02x in column %zu, expected UTF-8", c,
			    i + 1);
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return fail(why, REASON_SYNTAX,
			    "control character 0x%02x in column %zu, expected "
			    "text%s",
			    c, i + 1,
			    c == '\r' ? " (line ends are LF alone)" : "");
	}
	return true;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * Cut line, in place, into words between blanks.  Quotes may stand around any
 * part of a word; backslash within them takes the next octet as it is.  "#"
 * begins a comment where a word could begin.
 */
static bool
split(char *line, char **words, size_t *count_out, struct reason *why)
{
	char *in = line, *out = line;
	size_t count = 0;

	for (;;) {
		bool quoted = false;

		while (is_blank(*in))
			in++;
		if (*in == '\0' || *in == '#')
			break;
		if (count == WORDS)
			return fail(why, REASON_RANGE,
			    "more than %d words, expected fewer options",
			    WORDS);
		words[count++] = out;
		for (; *in != '\0' && (quoted || !is_blank(*in)); in++) {
			if (*in == '"') {
				quoted = !quoted;
				continue;
			}
			if (quoted && *in == '\\' && in[1] != '\0')
				in++;
			*out++ = *in;
		}
		if (quoted)
			return fail(why, REASON_SYNTAX,
			    "quote without end, expected \"");
		if (*in != '\0')
			in++;
		*out++ = '\0';
	}
	*count_out = count;
	return true;
}

/* --- values of options ------------------------------------------------- */

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
	for (size_t i = 0; i < SPKI_OCTETS; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", octets[i]);
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
		return expected(c, value, "40 to 512");
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
	return add(c, FIELD_REASON, value);
}

/* --- the language ------------------------------------------------------ */

enum { ANY_DIRECTION = DIRECTION_BOTH | DIRECTION_FROM | DIRECTION_RCPT };

static const struct option {
	const char *word;
	bool several;
	unsigned directions; /* all of the row's must be among these */
	enum level least;    /* that gives it something to say */
	option_take take;
} options[] = {
	{ "ca", false, ANY_DIRECTION, LEVEL_VERIFY, take_ca },
	{ "crl", false, ANY_DIRECTION, LEVEL_VERIFY, take_crl },
	{ "pin", true, ANY_DIRECTION, LEVEL_LOCK, take_pin },
	{ "match", true, ANY_DIRECTION, LEVEL_LOCK, take_match },
	{ "issuer", true, ANY_DIRECTION, LEVEL_LOCK, take_issuer },
	{ "org", true, ANY_DIRECTION, LEVEL_LOCK, take_org },
	{ "min", false, ANY_DIRECTION, LEVEL_ENCRYPT, take_min },
	{ "bits", false, ANY_DIRECTION, LEVEL_ENCRYPT, take_bits },
	{ "eku", false, ANY_DIRECTION, LEVEL_VERIFY, take_eku },
	{ "chain", false, ANY_DIRECTION, LEVEL_LOCK, take_chain },
	{ "cert", false, DIRECTION_OUT, LEVEL_MAY, take_cert },
	{ "auth", false, DIRECTION_OUT, LEVEL_MAY, take_auth },
	{ "sni", false, DIRECTION_OUT, LEVEL_MAY, take_sni },
	{ "reuse", false, DIRECTION_OUT, LEVEL_NONE, take_reuse },
	{ "mode", false, ANY_DIRECTION, LEVEL_ENCRYPT, take_mode },
	{ "fail", false, ANY_DIRECTION, LEVEL_ENCRYPT, take_fail },
	{ "until", false, ANY_DIRECTION, LEVEL_NONE, take_until },
	{ "reason", false, ANY_DIRECTION, LEVEL_NONE, take_reason },
};

static const struct {
	const char *word;
	unsigned directions;
} directions[] = {
	{ "in", DIRECTION_IN },
	{ "out", DIRECTION_OUT },
	{ "both", DIRECTION_BOTH },
	{ "from", DIRECTION_FROM },
	{ "rcpt", DIRECTION_RCPT },
};

static bool
parse_direction(struct row *row, const char *word, struct reason *why)
{
	for (size_t i = 0; i < COUNT(directions); i++)
		if (strcasecmp(word, directions[i].word) == 0) {
			row->directions = directions[i].directions;
			return true;
		}
	return fail(why, REASON_SYNTAX,
	    "direction \"%.40s\", expected in, out, both, from or rcpt", word);
}

static bool
parse_level(struct row *row, const char *word, struct reason *why)
{
	for (enum level level = LEVEL_NONE; level <= LEVEL_LOCK; level++)
		if (strcasecmp(word, level_word(level)) == 0) {
			row->level = level;
			return true;
		}
	return fail(why, REASON_SYNTAX,
	    "level \"%.40s\", expected none, may, encrypt, verify or lock",
	    word);
}

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
	char all[160] = "";
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

static bool
option_may_stand(const struct option *option, const struct row *row,
    bool repeated, struct reason *why)
{
	if (repeated && !option->several)
		return fail(why, REASON_SYNTAX,
		    "option %s stands twice, expected once", option->word);
	if ((row->directions & ~option->directions) != 0)
		return fail(why, REASON_SYNTAX,
		    "option %s in a row of direction %s, expected out",
		    option->word, direction_word(row->directions));
	if (row->level < option->least)
		return fail(why, REASON_SYNTAX,
		    "option %s at level %s says nothing, expected level %s%s",
		    option->word, level_word(row->level),
		    level_word(option->least),
		    option->least < LEVEL_LOCK ? " or more" : "");
	return true;
}

static bool
parse_option(const struct option_context *base, const char *word,
    unsigned *seen)
{
	struct option_context c = *base;
	size_t len = strcspn(word, "=");
	const struct option *option = option_of_word(word, len);
	unsigned bit;

	if (option == NULL)
		return fail_unknown(word, c.why);
	bit = 1u << (option - options);
	if (!option_may_stand(option, c.row, (*seen & bit) != 0, c.why))
		return false;
	*seen |= bit;
	if (word[len] == '\0' || word[len + 1] == '\0')
		return fail(c.why, REASON_SYNTAX,
		    "option %s without a value, expected %s=VALUE",
		    option->word, option->word);
	c.word = option->word;
	return option->take(&c, word + len + 1);
}

/* --- what may stand together ------------------------------------------- */

static bool
check_site(const struct row *row, const struct key *key, struct reason *why)
{
	bool is_name = key->kind == KEY_HOST || key->kind == KEY_SUFFIX;

	if (key->kind == KEY_MAILBOX && row->directions != DIRECTION_RCPT)
		return fail(why, REASON_SYNTAX,
		    "mailbox %.80s in direction %s, expected rcpt", key->text,
		    direction_word(row->directions));
	if (key->kind == KEY_HOST_PORT && row->directions != DIRECTION_OUT)
		return fail(why, REASON_SYNTAX,
		    "%.80s has a port in direction %s, expected out", key->text,
		    direction_word(row->directions));
	if (row->directions == DIRECTION_FROM && !is_name)
		return fail(why, REASON_SYNTAX,
		    "site %.80s in direction from, expected a domain or "
		    ".suffix",
		    key->text);
	if (row->directions == DIRECTION_RCPT && !is_name &&
	    key->kind != KEY_MAILBOX)
		return fail(why, REASON_SYNTAX,
		    "site %.80s in direction rcpt, expected a domain, .suffix "
		    "or user@domain",
		    key->text);
	return true;
}

/* Rows that names select can only add to what holds without them. */
static bool
check_level(const struct row *row, const struct key *key, struct reason *why)
{
	bool is_name = key->kind == KEY_HOST || key->kind == KEY_SUFFIX;

	if (row->level == LEVEL_NONE &&
	    !(key->is_address && address_is_loopback(&key->address)))
		return fail(why, REASON_SYNTAX,
		    "level none for %.80s, expected an address in 127.0.0.0/8 "
		    "or ::1",
		    key->text);
	if (row->level != LEVEL_MAY)
		return true;
	if ((row->directions & (DIRECTION_FROM | DIRECTION_RCPT)) != 0 ||
	    ((row->directions & DIRECTION_IN) != 0 && is_name))
		return fail(why, REASON_SYNTAX,
		    "level may can never decide in a row of direction %s for "
		    "a name, which only adds, expected encrypt or more",
		    direction_word(row->directions));
	return true;
}

static bool
check_binding(const struct row *row, const struct key *key, struct reason *why)
{
	bool pins = row_first(row, FIELD_PIN) != NULL;
	bool other = row_first(row, FIELD_MATCH) != NULL ||
		     row_first(row, FIELD_ISSUER) != NULL ||
		     row_first(row, FIELD_ORG) != NULL;

	if (row->no_chain && !pins)
		return fail(why, REASON_SYNTAX,
		    "chain=no without pin=, expected the key that binds");
	if (row->no_chain &&
	    (other || row->eku_any || row_first(row, FIELD_CA) != NULL ||
		row_first(row, FIELD_CRL) != NULL))
		return fail(why, REASON_SYNTAX,
		    "chain=no trusts the key alone, expected none of ca, crl, "
		    "eku, match, issuer, org beside it");
	if (row->level == LEVEL_LOCK && !pins && !other &&
	    (key->is_address || key->kind == KEY_ANY))
		return fail(why, REASON_SYNTAX,
		    "lock on %.80s binds nothing, expected match=, pin=, "
		    "issuer= or org=",
		    key->text);
	return true;
}

static bool
check_exception(const struct row *row, struct reason *why)
{
	const char *what = row->level == LEVEL_MAY ? "level may"
			   : row->observe          ? "mode=observe"
						   : "eku=any";

	if (row->observe && row->level == LEVEL_ENCRYPT && row->min == 0 &&
	    row->bits == 0)
		return fail(why, REASON_SYNTAX,
		    "mode=observe with nothing to observe, expected verify, "
		    "lock, min= or bits=");
	if (!row_is_exception(row)) {
		if (row->until != 0)
			return fail(why, REASON_SYNTAX,
			    "until= without an exception, expected level may, "
			    "mode=observe or eku=any");
		return true;
	}
	if (row->until == 0)
		return fail(why, REASON_SYNTAX,
		    "%s is an exception, expected until=YYYY-MM-DD", what);
	if (row_first(row, FIELD_REASON) == NULL)
		return fail(why, REASON_SYNTAX,
		    "%s is an exception, expected reason=\"...\"", what);
	return true;
}

static bool
parse_words(struct row *row, struct key *key, char **words, size_t count,
    const char *folder, struct reason *why)
{
	struct option_context c = { row, key, folder, NULL, why };
	unsigned seen = 0;

	if (count < 3)
		return fail(why, REASON_SYNTAX,
		    "%zu words, expected SITE DIRECTION LEVEL", count);
	if (!key_parse(key, words[0], why) ||
	    !parse_direction(row, words[1], why) ||
	    !parse_level(row, words[2], why) || !add(&c, FIELD_KEY, key->text))
		return false;
	row->kind = key->kind;
	if (!check_site(row, key, why) || !check_level(row, key, why))
		return false;
	for (size_t i = 3; i < count; i++)
		if (!parse_option(&c, words[i], &seen))
			return false;
	return check_binding(row, key, why) && check_exception(row, why);
}

enum parse_result
row_parse(struct row *row, struct key *key, const char *line, size_t len,
    const char *folder, struct reason *why)
{
	char copy[LINE_MAX_OCTETS + 2];
	char *words[WORDS];
	size_t count = 0;

	if (len > LINE_MAX_OCTETS) {
		fail(why, REASON_RANGE,
		    "line of %zu octets, expected at most %d", len,
		    LINE_MAX_OCTETS);
		return PARSE_BAD;
	}
	if (!octets_are_text(line, len, why))
		return PARSE_BAD;
	memcpy(copy, line, len);
	copy[len] = '\0';
	if (!split(copy, words, &count, why))
		return PARSE_BAD;
	if (count == 0)
		return PARSE_EMPTY;
	memset(row, 0, offsetof(struct row, fields));
	if (!parse_words(row, key, words, count, folder, why))
		return PARSE_BAD;
	return PARSE_ROW;
}
