/* auth/guarded.c: CRAM-MD5, DIGEST-MD5 and GSSAPI, by GNU SASL. */
#include "guarded.h"

#include <gsasl.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum guarded_way { WAY_CRAM, WAY_DIGEST, WAY_GSSAPI };

/* The allow-list.  GNU SASL would start any mechanism it was built with. */
static const struct way {
	const char *name;
	enum guarded_way way;
} ways[] = {
	{ "CRAM-MD5", WAY_CRAM },
	{ "DIGEST-MD5", WAY_DIGEST },
	{ "GSSAPI", WAY_GSSAPI },
};

struct guarded {
	const struct way *way;
	const struct guarded_options *options;
	Gsasl *library;
	Gsasl_session *session;
	unsigned steps;
	bool asked;     /* for the secret */
	bool has_names; /* GSSAPI: handed over by the library */
	bool trouble;   /* the secret could not be had */
	bool proved;    /* an empty response to the last challenge is due */
	char *authid, *authzid, *challenge;
	size_t challenge_len;
};

static const struct way *
find_way(const char *mechanism)
{
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		if (strcmp(ways[i].name, mechanism) == 0)
			return &ways[i];
	return NULL;
}

bool
guarded_is(const char *mechanism)
{
	return find_way(mechanism) != NULL;
}

bool
guarded_is_server_first(const char *mechanism)
{
	const struct way *way = find_way(mechanism);

	return way != NULL && way->way != WAY_GSSAPI;
}

static bool
keep(char **out, const char *text)
{
	free(*out);
	*out = strdup(text != NULL ? text : "");
	return *out != NULL;
}

static bool
keep_names(struct guarded *g, const char *authid, const char *authzid)
{
	return authid != NULL && keep(&g->authid, authid) &&
	       keep(&g->authzid, authzid);
}

/* DIGEST-MD5's realm goes into the hash, and only one was offered. */
static bool
is_our_realm(const struct guarded *g, Gsasl_session *session)
{
	const char *realm = gsasl_property_fast(session, GSASL_REALM);

	return g->way->way != WAY_DIGEST || realm == NULL || *realm == '\0' ||
	       strcmp(realm, g->options->realm) == 0;
}

static int
give_secret(struct guarded *g, Gsasl_session *session)
{
	char secret[GUARDED_SECRET_MAX + 1];
	int rc;

	if (g->asked || g->way->way == WAY_GSSAPI ||
	    !keep_names(g, gsasl_property_fast(session, GSASL_AUTHID),
		gsasl_property_fast(session, GSASL_AUTHZID)))
		return GSASL_NO_AUTHID;
	g->asked = true;
	if (!g->options->secret(g->options->context, g->authid, secret)) {
		g->trouble = true;
		return GSASL_NO_PASSWORD;
	}
	rc = is_our_realm(g, session)
		 ? gsasl_property_set(session, GSASL_PASSWORD, secret)
		 : GSASL_AUTHENTICATION_ERROR;
	explicit_bzero(secret, sizeof secret);
	return rc;
}

/* The library asks whether the principal may act as the authorization
 * identity: those who decide that are elsewhere. */
static int
take_gssapi(struct guarded *g, Gsasl_session *session)
{
	if (g->way->way != WAY_GSSAPI ||
	    !keep_names(g,
		gsasl_property_fast(session, GSASL_GSSAPI_DISPLAY_NAME),
		gsasl_property_fast(session, GSASL_AUTHZID)))
		return GSASL_AUTHENTICATION_ERROR;
	g->has_names = true;
	return GSASL_OK;
}

static int
callback(Gsasl *library, Gsasl_session *session, Gsasl_property property)
{
	struct guarded *g = gsasl_session_hook_get(session);

	(void)library;
	if (g == NULL) /* asked while the session is being made */
		return GSASL_NO_CALLBACK;
	switch (property) {
	case GSASL_REALM:
		return gsasl_property_set(session, property, g->options->realm);
	case GSASL_QOPS:
		return gsasl_property_set(session, property, "qop-auth");
	case GSASL_SERVICE:
		return gsasl_property_set(session, property, "smtp");
	case GSASL_HOSTNAME:
		return gsasl_property_set(session, property,
		    g->options->hostname);
	case GSASL_PASSWORD:
		return give_secret(g, session);
	case GSASL_VALIDATE_GSSAPI:
		return take_gssapi(g, session);
	default:
		return GSASL_NO_CALLBACK;
	}
}

bool
guarded_new(struct guarded **guarded_out, const struct guarded_options *options,
    struct reason *why)
{
	const struct way *way = find_way(options->mechanism);
	struct guarded *g;

	if (way == NULL)
		return fail(why, REASON_ABSENT, "no such mechanism");
	g = calloc(1, sizeof *g);
	if (g == NULL)
		return fail(why, REASON_NO_MEMORY, "SASL exchange");
	g->way = way;
	g->options = options;
	if (gsasl_init(&g->library) != GSASL_OK) {
		guarded_free(g);
		return fail(why, REASON_INTERNAL, "GNU SASL does not start");
	}
	gsasl_callback_set(g->library, callback);
	if (gsasl_server_start(g->library, way->name, &g->session) !=
	    GSASL_OK) {
		guarded_free(g);
		return fail(why, REASON_INTERNAL, "%s does not start",
		    way->name);
	}
	gsasl_session_hook_set(g->session, g);
	*guarded_out = g;
	return true;
}

static void
forget_challenge(struct guarded *g)
{
	if (g->challenge != NULL)
		gsasl_free(g->challenge);
	g->challenge = NULL;
	g->challenge_len = 0;
}

void
guarded_free(struct guarded *g)
{
	if (g == NULL)
		return;
	if (g->session != NULL)
		gsasl_finish_wiped(g->session);
	if (g->library != NULL)
		gsasl_done(g->library);
	forget_challenge(g);
	free(g->authid);
	free(g->authzid);
	free(g);
}

static enum exchange_step
judge_failure(const struct guarded *g, int rc, struct reason *why)
{
	fail(why, REASON_AUTH, "%s: %s", g->way->name, gsasl_strerror(rc));
	if (g->trouble)
		return EXCHANGE_TROUBLE;
	switch (rc) {
	case GSASL_MECHANISM_PARSE_ERROR:
	case GSASL_MECHANISM_CALLED_TOO_MANY_TIMES:
		return EXCHANGE_MALFORMED;
	case GSASL_MALLOC_ERROR:
	case GSASL_CRYPTO_ERROR:
	case GSASL_GSSAPI_ACQUIRE_CRED_ERROR:
	case GSASL_GSSAPI_IMPORT_NAME_ERROR:
		return EXCHANGE_TROUBLE;
	default:
		return EXCHANGE_DENIED;
	}
}

/* The library's yes, which is worth something only with the names that we were
 * asked about. */
static enum exchange_step
judge_success(struct guarded *g, struct reason *why)
{
	if (g->way->way == WAY_GSSAPI ? !g->has_names : !g->asked) {
		fail(why, REASON_INTERNAL, "%s ended early", g->way->name);
		return EXCHANGE_TROUBLE;
	}
	if (g->challenge_len == 0)
		return EXCHANGE_PROVED;
	g->proved = true; /* RFC 4954, 4: an empty response is to follow */
	return EXCHANGE_CHALLENGE;
}

enum exchange_step
guarded_step(struct guarded *g, const gnutls_datum_t *response,
    struct reason *why)
{
	bool is_first = g->steps == 0;
	int rc;

	if (++g->steps > EXCHANGE_STEPS_MAX ||
	    (response != NULL && response->size > EXCHANGE_RESPONSE_MAX)) {
		fail(why, REASON_RANGE, "%s: too many or too long responses",
		    g->way->name);
		return EXCHANGE_MALFORMED;
	}
	if (g->proved && response != NULL && response->size == 0)
		return EXCHANGE_PROVED;
	/* To the library an empty response is none, and CRAM-MD5 would give
	 * another challenge. */
	if (g->proved || (g->way->way != WAY_GSSAPI && !is_first &&
			     (response == NULL || response->size == 0))) {
		fail(why, REASON_SYNTAX, "%s: %s response", g->way->name,
		    g->proved ? "unexpected" : "empty");
		return EXCHANGE_MALFORMED;
	}
	forget_challenge(g);
	rc = gsasl_step(g->session,
	    response != NULL && response->size > 0
		? (const char *)response->data
		: NULL,
	    response != NULL ? response->size : 0, &g->challenge,
	    &g->challenge_len);
	if (rc == GSASL_NEEDS_MORE)
		return EXCHANGE_CHALLENGE;
	if (rc == GSASL_OK && !g->trouble)
		return judge_success(g, why);
	return judge_failure(g, rc, why);
}

gnutls_datum_t
guarded_challenge(const struct guarded *g)
{
	return (gnutls_datum_t){ (unsigned char *)g->challenge,
		(unsigned)g->challenge_len };
}

const char *
guarded_authid(const struct guarded *g)
{
	return g->authid;
}

const char *
guarded_authzid(const struct guarded *g)
{
	return g->authzid;
}

bool
guarded_try_gssapi(const char *hostname, struct reason *why)
{
	const struct guarded_options options = { .mechanism = "GSSAPI",
		.hostname = hostname };
	static unsigned char noise[1] = { 0x60 };
	const gnutls_datum_t response = { noise, sizeof noise };
	enum exchange_step step;
	struct guarded *g;

	if (!guarded_new(&g, &options, why))
		return false;
	/* The library asks for the key before it looks at the response, which
	 * is none, and is denied. */
	step = guarded_step(g, &response, why);
	guarded_free(g);
	return step == EXCHANGE_DENIED;
}
