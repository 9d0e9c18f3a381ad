/*
 * server/auth_token.c: OAUTHBEARER and XOAUTH2: a helper says whose a token is.
 *
 * The helper reads what strangers have made up and may be in their hands: it
 * can vouch for the realms that section token names, and for nobody else.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../auth/bearer.h"
#include "auth_dialogue.h"

enum { VALUE_SIZE = 1024 }; /* of a claim */

static enum bearer_form
form_of(const struct dialogue *d)
{
	return d->mechanism == MECHANISM_XOAUTH2 ? BEARER_XOAUTH2
						 : BEARER_OAUTHBEARER;
}

struct question {
	const char *token, *login;
};

static void
write_question(struct wire_writer *w, const void *context)
{
	const struct question *q = context;

	wire_put_bytes(w, q->token, strlen(q->token));
	wire_put_string(w, q->login);
}

static void
ask_helper(struct dialogue *d, const struct bearer *bearer)
{
	const struct question q = { bearer->token, d->config->token_login };

	snprintf(d->claimed, sizeof d->claimed, "%.*s", EXCHANGE_CLAIMED_MAX,
	    bearer->name);
	if (bearer->name[0] != '\0' && !name_parse(d->name, bearer->name,
					   d->config->config->realm, NULL)) {
		d->name[0] = '\0';
		dialogue_decide(d, AUTH_DENIED, "not a login name");
	} else if (bearer->token[0] == '\0') {
		dialogue_decide(d, AUTH_DENIED, "no token");
	} else if (d->name[0] == '\0' || !dialogue_is_shut_out(d)) {
		helper_begin(d, HELPER_TOKEN, write_question, &q);
	}
}

void
token_step(struct dialogue *d, const gnutls_datum_t *response)
{
	struct bearer bearer;
	struct reason why = { 0 };

	if (d->explained) {
		/* Whatever it says, this is over. */
		d->state = DIALOGUE_DECIDED;
		dialogue_send_result(d);
	} else if (response == NULL) {
		dialogue_challenge(d,
		    (gnutls_datum_t){ (unsigned char *)"", 0 });
	} else if (!bearer_parse(&bearer, form_of(d), response, &why)) {
		dialogue_decide(d, AUTH_MALFORMED, why.text);
	} else {
		ask_helper(d, &bearer);
		explicit_bzero(&bearer, sizeof bearer);
	}
}

static bool
is_token_realm(const struct config *config, const char *realm)
{
	for (size_t i = 0; i < config->token.realm_count; i++)
		if (strcasecmp(config->token.realms[i], realm) == 0)
			return true;
	return false;
}

bool
token_helper_says(struct dialogue *d, struct wire_reader *r)
{
	const struct config *config = d->config->config;
	char value[VALUE_SIZE], unused[2], name[NAME_SIZE];

	if (!wire_get_string(r, value, sizeof value) ||
	    !wire_get_string(r, unused, sizeof unused) || !wire_reader_done(r))
		return false;
	/* Two names of the issuer's users are never one login. */
	if (!name_parse(name, value, config->realm, NULL) ||
	    !name_is_as_given(name, value)) {
		dialogue_decide(d, AUTH_DENIED,
		    "what the token says is no login name");
	} else if (!is_token_realm(config, name_realm(name))) {
		dialogue_decide(d, AUTH_DENIED,
		    "token of a realm that its issuer cannot vouch for");
	} else if (d->name[0] != '\0' && strcmp(d->name, name) != 0) {
		dialogue_decide(d, AUTH_DENIED, "token of somebody else");
	} else {
		strcpy(d->name, name);
		dialogue_prove(d, d->name);
	}
	return true;
}

/* RFC 7628, 3.2.2; the words of XOAUTH2 are what its inventor sends. */
static json_t *
explanation(const struct dialogue *d)
{
	const struct config *config = d->config->config;
	json_t *object =
	    d->mechanism == MECHANISM_XOAUTH2
		? json_pack("{s:s,s:s}", "status", "401", "schemes", "bearer")
		: json_pack("{s:s}", "status", "invalid_token");

	if (config->token.scope != NULL)
		json_object_set_new(object, "scope",
		    json_string(config->token.scope));
	if (config->token.openid_configuration != NULL)
		json_object_set_new(object, "openid-configuration",
		    json_string(config->token.openid_configuration));
	return object;
}

bool
token_explain(struct dialogue *d)
{
	json_t *object;
	char *text;

	if ((d->mechanism & MECHANISMS_TOKEN) == 0 || d->explained ||
	    d->result != AUTH_DENIED)
		return false;
	object = explanation(d);
	text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	if (text == NULL)
		return false;
	d->explained = true;
	dialogue_challenge(d,
	    (gnutls_datum_t){ (unsigned char *)text, (unsigned)strlen(text) });
	free(text);
	return true;
}
