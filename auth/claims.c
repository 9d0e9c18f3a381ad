/* auth/claims.c: what a token says, and whether that is enough. */
#include "claims.h"

#include <string.h>

/* The parser's own bound is 2048, each of which is a frame of its stack. */
static bool
is_flat(const char *text, size_t len)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (quoted) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				quoted = false;
			continue;
		}
		if (text[i] == '"')
			quoted = true;
		else if (text[i] == '{' || text[i] == '[')
			depth++;
		else if ((text[i] == '}' || text[i] == ']') && depth > 0)
			depth--;
		if (depth > CLAIMS_DEPTH_MAX)
			return false;
	}
	return true;
}

json_t *
claims_load(const char *text, size_t len)
{
	json_t *claims;

	if (len > CLAIMS_OCTETS_MAX || !is_flat(text, len))
		return NULL;
	claims = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(claims))
		return claims;
	json_decref(claims);
	return NULL;
}

/* A NumericDate (RFC 7519, 2). */
static bool
read_date(const json_t *value, int64_t *out)
{
	double seconds;

	if (!json_is_number(value))
		return false;
	seconds = json_number_value(value);
	if (!(seconds >= 0 && seconds < 1e15))
		return false;
	*out = (int64_t)seconds;
	return true;
}

static bool
check_time(const json_t *claims, const struct claims_rule *rule,
    struct reason *why)
{
	const json_t *exp = json_object_get(claims, "exp");
	const json_t *nbf = json_object_get(claims, "nbf");
	int64_t at;

	if (exp == NULL && rule->complete)
		return fail(why, REASON_AUTH, "token without end (exp)");
	if (exp != NULL && !read_date(exp, &at))
		return fail(why, REASON_AUTH, "token with a malformed exp");
	if (exp != NULL && rule->now >= at + CLAIMS_LEEWAY_S)
		return fail(why, REASON_AUTH, "token has expired %jd s ago",
		    (intmax_t)(rule->now - at));
	if (nbf == NULL)
		return true;
	if (!read_date(nbf, &at))
		return fail(why, REASON_AUTH, "token with a malformed nbf");
	if (rule->now < at - CLAIMS_LEEWAY_S)
		return fail(why, REASON_AUTH,
		    "token is not valid for another %jd s",
		    (intmax_t)(at - rule->now));
	return true;
}

static bool
is_string(const json_t *value, const char *text)
{
	return json_is_string(value) &&
	       strcmp(json_string_value(value), text) == 0;
}

/* One string, or one of an array of them. */
static bool
has_string(const json_t *value, const char *text)
{
	size_t i;
	json_t *one;

	if (!json_is_array(value))
		return is_string(value, text);
	json_array_foreach(value, i, one) if (is_string(one, text)) return true;
	return false;
}

static bool
has_word(const char *words, const char *word)
{
	size_t len = strlen(word);

	while (*words != '\0') {
		size_t one = strcspn(words, " ");

		if (one == len && memcmp(words, word, len) == 0)
			return true;
		words += one + strspn(words + one, " ");
	}
	return false;
}

/* "scope" of RFC 8693 and 7662; "scp" is what some issuers have instead. */
static bool
has_scope(const json_t *claims, const char *scope)
{
	const json_t *value = json_object_get(claims, "scope");

	if (value == NULL)
		value = json_object_get(claims, "scp");
	if (json_is_string(value))
		return has_word(json_string_value(value), scope);
	return has_string(value, scope);
}

static bool
check_parties(const json_t *claims, const struct claims_rule *rule,
    struct reason *why)
{
	const json_t *iss = json_object_get(claims, "iss");
	const json_t *aud = json_object_get(claims, "aud");

	if (rule->issuer != NULL && (iss != NULL || rule->complete) &&
	    !is_string(iss, rule->issuer))
		return fail(why, REASON_AUTH, "token of another issuer");
	if (rule->audience != NULL && (aud != NULL || rule->complete) &&
	    !has_string(aud, rule->audience))
		return fail(why, REASON_AUTH, "token for another audience");
	if (rule->scope != NULL && !has_scope(claims, rule->scope))
		return fail(why, REASON_AUTH, "token without the scope %s",
		    rule->scope);
	return true;
}

bool
claims_check(char name_out[static CLAIMS_VALUE_SIZE], const json_t *claims,
    const struct claims_rule *rule, struct reason *why)
{
	const json_t *value = json_object_get(claims, rule->claim);
	const json_t *verified = json_object_get(claims, "email_verified");
	size_t len;

	if (!check_time(claims, rule, why) || !check_parties(claims, rule, why))
		return false;
	if (!json_is_string(value))
		return fail(why, REASON_AUTH, "token without the claim %s",
		    rule->claim);
	len = json_string_length(value);
	if (len == 0 || len >= CLAIMS_VALUE_SIZE)
		return fail(why, REASON_AUTH,
		    "token with a claim %s of %zu octets", rule->claim, len);
	/* Some issuers say "true" as a string. */
	if (strcmp(rule->claim, "email") == 0 && verified != NULL &&
	    !json_is_true(verified) && !is_string(verified, "true"))
		return fail(why, REASON_AUTH,
		    "token with an address that its issuer has not verified");
	memcpy(name_out, json_string_value(value), len + 1);
	return true;
}
