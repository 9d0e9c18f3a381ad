/*
 * server/prepare_token.c: what section token names: keys, or the login and the
 * trust anchors for an introspection endpoint.
 */
#include "prepare_internal.h"

#include <string.h>

#include "../auth/jwk.h"
#include "files.h"
#include "helper.h"

static void
add_keys(struct work *w)
{
	const struct config *c = w->config;
	struct jwk_set *set;
	gnutls_datum_t file;
	struct reason why;

	if (!files_read(c->token.keys, &file, &why)) {
		work_report(w, true, "%s:%u: token: keys: %s", c->path,
		    c->token.line, why.text);
		return;
	}
	if (jwk_set_parse(&set, c->token.keys, &file, &why)) {
		jwk_set_free(set);
		work_add(w, ROLE_HELPERS, BUNDLE_TOKEN_KEYS, "", &file);
	} else {
		work_report(w, true, "%s:%u: token: keys: %s", c->path,
		    c->token.line, why.text);
	}
	files_free(&file);
}

/* Its first line is what goes to auth. */
static bool
is_login(gnutls_datum_t *text)
{
	const unsigned char *end = memchr(text->data, '\n', text->size);
	const unsigned char *colon;

	if (end != NULL)
		text->size = (unsigned)(end - text->data);
	for (unsigned i = 0; i < text->size; i++)
		if (text->data[i] < 0x20 || text->data[i] >= 0x7f)
			return false;
	colon = memchr(text->data, ':', text->size);
	return text->size <= HELPER_LOGIN_MAX && colon != NULL &&
	       colon > text->data && colon + 1 < text->data + text->size;
}

static void
add_login(struct work *w)
{
	const struct config *c = w->config;
	gnutls_datum_t file, line;
	struct reason why;

	if (!files_read_secret(c->token.login, &file, &why)) {
		work_report(w, true, "%s:%u: token: introspection-login: %s",
		    c->path, c->token.line, why.text);
		return;
	}
	line = file;
	if (is_login(&line))
		work_add(w, ROLE_AUTH, BUNDLE_TOKEN_LOGIN, "", &line);
	else
		work_report(w, true,
		    "%s:1: expected CLIENT-ID:SECRET, printable ASCII of at "
		    "most %d octets",
		    c->token.login, HELPER_LOGIN_MAX);
	files_wipe(&file);
}

void
work_token(struct work *w)
{
	const struct config *c = w->config;

	if (c->token.keys != NULL)
		add_keys(w);
	if (c->token.introspection == NULL)
		return;
	add_login(w);
	if (strncmp(c->token.introspection, "https:", 6) != 0)
		return;
	if (c->token.ca != NULL)
		work_add_anchors(w, ROLE_HELPERS, "", c->token.ca,
		    c->token.line, "token: introspection-ca");
	else
		work_add_anchors(w, ROLE_HELPERS, "", c->system_ca,
		    c->token.line, "token without introspection-ca, system-ca");
}
