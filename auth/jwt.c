/* auth/jwt.c: signed tokens. */
#include "jwt.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base64url.h"
#include "bearer.h"
#include "claims.h"

/* What is between the dots, as it stands there. */
struct part {
	const char *at;
	size_t len;
};

enum { HEADER, CLAIMS, SIGNATURE, PARTS };

static bool
split(const char *token, struct part parts[static PARTS])
{
	for (int i = 0; i < PARTS; i++) {
		parts[i].at = token;
		parts[i].len = strcspn(token, ".");
		token += parts[i].len;
		if (parts[i].len == 0 || (i < PARTS - 1) != (*token == '.'))
			return false;
		token += *token == '.';
	}
	return *token == '\0';
}

/* A part is shorter than the token, and so is what it stands for. */
static json_t *
load(const struct part *part)
{
	unsigned char octets[BASE64URL_OCTETS(BEARER_TOKEN_MAX)];
	json_t *object = NULL;
	size_t len;

	if (base64url_decode(part->at, part->len, octets, &len))
		object = claims_load((const char *)octets, len);
	explicit_bzero(octets, sizeof octets);
	return object;
}

static bool
is_type(const json_t *typ)
{
	static const char *const types[] = { "JWT", "at+jwt",
		"application/at+jwt" };
	const char *text = json_string_value(typ);

	for (size_t i = 0; text != NULL && i < 3; i++)
		if (strcasecmp(text, types[i]) == 0)
			return true;
	return typ == NULL;
}

/* "b64" (RFC 7797) is only ever critical. */
static bool
check_header(const json_t *header, struct reason *why)
{
	const json_t *kid = json_object_get(header, "kid");

	if (json_object_get(header, "crit") != NULL ||
	    json_object_get(header, "b64") != NULL)
		return fail(why, REASON_AUTH,
		    "token with an extension that it calls critical");
	if (!is_type(json_object_get(header, "typ")))
		return fail(why, REASON_AUTH, "token of another type (typ)");
	if (!json_is_string(json_object_get(header, "alg")))
		return fail(why, REASON_AUTH, "token without alg");
	if (kid != NULL &&
	    (!json_is_string(kid) || json_string_length(kid) > JWK_ID_MAX))
		return fail(why, REASON_AUTH, "token with a malformed kid");
	return true;
}

static bool
check_signature(const struct jwk_set *set, const json_t *header,
    const struct part parts[static PARTS], struct reason *why)
{
	unsigned char octets[BASE64URL_OCTETS(BEARER_TOKEN_MAX)];
	/* Header and claims with the dot between them. */
	gnutls_datum_t data = { (unsigned char *)(uintptr_t)parts[HEADER].at,
		(unsigned)(parts[HEADER].len + 1 + parts[CLAIMS].len) };
	gnutls_datum_t signature = { octets, 0 };
	size_t len;

	if (!base64url_decode(parts[SIGNATURE].at, parts[SIGNATURE].len, octets,
		&len))
		return fail(why, REASON_AUTH, "not a signed token (JWS)");
	signature.size = (unsigned)len;
	switch (jwk_set_verify(set,
	    json_string_value(json_object_get(header, "alg")),
	    json_string_value(json_object_get(header, "kid")), &data,
	    &signature)) {
	case JWK_SIGNED:
		return true;
	case JWK_NOT_SIGNED:
		return fail(why, REASON_AUTH, "signature is wrong");
	case JWK_NO_ALGORITHM:
		return fail(why, REASON_AUTH,
		    "token with an algorithm that is not accepted");
	case JWK_NO_KEY:
		break;
	}
	return fail(why, REASON_AUTH,
	    "no key of the set has the token's kid and fits its alg");
}

bool
jwt_verify(json_t **claims_out, const struct jwk_set *set, const char *token,
    struct reason *why)
{
	struct part parts[PARTS];
	json_t *header, *claims;
	bool ok;

	if (strlen(token) > BEARER_TOKEN_MAX || !split(token, parts))
		return fail(why, REASON_AUTH, "not a signed token (JWS)");
	header = load(&parts[HEADER]);
	if (header == NULL)
		return fail(why, REASON_AUTH, "not a signed token (JWS)");
	ok = check_header(header, why) &&
	     check_signature(set, header, parts, why);
	json_decref(header);
	if (!ok)
		return false;
	claims = load(&parts[CLAIMS]);
	if (claims == NULL)
		return fail(why, REASON_AUTH, "token without claims in JSON");
	*claims_out = claims;
	return true;
}
