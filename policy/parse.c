/*
 * policy/parse.c: the grammar of the table: words, levels, and what may stand
 * together.
 */
#include "parse.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- the language ------------------------------------------------------ */

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

/* TLSA records stand under names (RFC 7672, section 2.2.2). */
static bool
check_dane(const struct row *row, const struct key *key, struct reason *why)
{
	if (!row->dane || !key->is_address)
		return true;
	return fail(why, REASON_SYNTAX,
	    "dane for %.80s can never be met, expected a site with a host name",
	    key->text);
}

static const char *
exception_word(const struct row *row)
{
	return row->level == LEVEL_MAY ? "level may"
	       : row->observe          ? "mode=observe"
	       : row->eku_any          ? "eku=any"
				       : "tls-optional=yes";
}

static bool
check_exception(const struct row *row, struct reason *why)
{
	const char *what = exception_word(row);

	if (row->observe && row->level == LEVEL_ENCRYPT && row->min == 0 &&
	    row->bits == 0 && !row->dane && !row->ratchet)
		return fail(why, REASON_SYNTAX,
		    "mode=observe with nothing to observe, expected verify, "
		    "lock, min=, bits=, dane or ratchet");
	if (!row_is_exception(row)) {
		if (row->until != 0)
			return fail(why, REASON_SYNTAX,
			    "until= without an exception, expected level may, "
			    "mode=observe, eku=any or tls-optional=yes");
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
	unsigned seen = 0;

	if (count < 3)
		return fail(why, REASON_SYNTAX,
		    "%zu words, expected SITE DIRECTION LEVEL", count);
	if (!key_parse(key, words[0], why) ||
	    !parse_direction(row, words[1], why) ||
	    !parse_level(row, words[2], why) ||
	    !row_add(row, FIELD_KEY, key->text))
		return false;
	row->kind = key->kind;
	if (!check_site(row, key, why) || !check_level(row, key, why))
		return false;
	for (size_t i = 3; i < count; i++)
		if (!option_parse(row, words[i], folder, &seen, why))
			return false;
	return check_binding(row, key, why) && check_dane(row, key, why) &&
	       check_exception(row, why);
}

enum parse_result
row_parse(struct row *row, struct key *key, const char *line, size_t len,
    const char *folder, struct reason *why)
{
	struct words words;

	if (!words_read(&words, line, len, why))
		return PARSE_BAD;
	if (words.count == 0)
		return PARSE_EMPTY;
	memset(row, 0, offsetof(struct row, fields));
	if (!parse_words(row, key, words.at, words.count, folder, why))
		return PARSE_BAD;
	return PARSE_ROW;
}
