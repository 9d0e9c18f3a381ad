/*
 * server/helper_token.c: what a token is worth, found out in a child: by the
 * key set of the configuration, or by asking the endpoint that has issued it.
 */
#include <string.h>
#include <time.h>

#include "../auth/bearer.h"
#include "../auth/claims.h"
#include "../auth/jwt.h"
#include "helper.h"
#include "helper_confine.h"
#include "introspection.h"

struct check {
	char token[BEARER_TOKEN_MAX + 1];
	char login[HELPER_LOGIN_MAX + 1];
};

/* A field without NUL. */
static bool
read_field(struct wire_reader *r, char *out, size_t most)
{
	gnutls_datum_t field = wire_get_bytes(r, most);

	if (r->failed || memchr(field.data, '\0', field.size) != NULL)
		return false;
	memcpy(out, field.data, field.size);
	out[field.size] = '\0';
	explicit_bzero(field.data, field.size);
	return true;
}

static bool
read_check(struct check *check, struct wire_reader *r)
{
	return read_field(r, check->token, BEARER_TOKEN_MAX) &&
	       read_field(r, check->login, HELPER_LOGIN_MAX) &&
	       wire_reader_done(r) &&
	       bearer_is_token(check->token, strlen(check->token));
}

/* What the token says, if that may be believed. */
static enum helper_answer
find_claims(const struct helper_settings *settings, const struct check *check,
    json_t **claims_out, struct reason *why)
{
	const struct config *c = settings->config;
	const struct introspection ask = { .url = c->token.introspection,
		.anchors = settings->anchors,
		.login = check->login,
		.token = check->token,
		.timeout_ms = (long)c->helper_deadline_ms };

	if (settings->keys != NULL)
		return jwt_verify(claims_out, settings->keys, check->token, why)
			   ? HELPER_YES
			   : HELPER_NO;
	if (ask.url == NULL) {
		fail(why, REASON_ABSENT, "there is no section token");
		return HELPER_TROUBLE;
	}
	if (!introspection_ask(claims_out, &ask, why))
		return HELPER_TROUBLE;
	if (json_is_true(json_object_get(*claims_out, "active")))
		return HELPER_YES;
	fail(why, REASON_AUTH, "token is not active");
	return HELPER_NO;
}

static void
judge(const struct helper_settings *settings, const struct check *check)
{
	const struct config *c = settings->config;
	const struct claims_rule rule = { .issuer = c->token.issuer,
		.audience = c->token.audience,
		.scope = c->token.scope,
		.claim = c->token.claim,
		.now = time(NULL),
		.complete = settings->keys != NULL };
	char name[CLAIMS_VALUE_SIZE];
	struct reason why = { .code = REASON_NONE };
	json_t *claims = NULL;
	enum helper_answer answer = find_claims(settings, check, &claims, &why);

	if (answer != HELPER_YES)
		helper_answer(answer, why.text);
	else if (claims_check(name, claims, &rule, &why))
		helper_proved(name, "");
	else
		helper_answer(HELPER_NO, why.text);
}

static void
run(const struct helper_settings *settings, struct wire_reader *r)
{
	struct check check = { .token = "" };
	struct reason why = { .code = REASON_NONE };

	if (!read_check(&check, r))
		helper_answer_broken();
	/* A signature needs nothing but the key. */
	else if (settings->keys != NULL
		     ? !helper_confine(settings->config, false, &why)
		     : !helper_confine_files(settings->config, &why))
		helper_answer(HELPER_TROUBLE, why.text);
	else
		judge(settings, &check);
	explicit_bzero(&check, sizeof check);
}

const struct helper_kind helper_token = { .start = HELPER_TOKEN,
	.longest = BEARER_TOKEN_MAX + HELPER_LOGIN_MAX + 64,
	.converses = true,
	.run = run };
