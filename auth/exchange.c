/* auth/exchange.c: the server's side of one SASL exchange, by GNU SASL. */
#include "exchange.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum { BINDING_MAX = 64, BASE64_SIZE = 2 * VERIFIER_SALT_MAX };

enum mechanism_way { WAY_SCRAM, WAY_PLAIN, WAY_LOGIN, WAY_EXTERNAL };

/* The allow-list.  GNU SASL would start any mechanism it was built with. */
static const struct way {
	const char *name;
	enum mechanism_way way;
	enum verifier_hash hash;
	bool bound; /* -PLUS: bound to the channel */
} ways[] = {
	{ "EXTERNAL", WAY_EXTERNAL, VERIFIER_SHA_256, false },
	{ "SCRAM-SHA-256-PLUS", WAY_SCRAM, VERIFIER_SHA_256, true },
	{ "SCRAM-SHA-1-PLUS", WAY_SCRAM, VERIFIER_SHA_1, true },
	{ "SCRAM-SHA-256", WAY_SCRAM, VERIFIER_SHA_256, false },
	{ "SCRAM-SHA-1", WAY_SCRAM, VERIFIER_SHA_1, false },
	{ "PLAIN", WAY_PLAIN, VERIFIER_SHA_256, false },
	{ "LOGIN", WAY_LOGIN, VERIFIER_SHA_256, false },
};

struct exchange {
	const struct way *way;
	struct exchange_options options; /* but for the strings in it */
	char default_realm[NAME_REALM_MAX + 1];
	char binding[2 * BINDING_MAX]; /* base64, or "" */
	Gsasl_session *session;        /* NULL once over */
	unsigned steps;
	unsigned prompts; /* LOGIN: asked for so far */
	bool proved;  /* the server's signature is out, an empty line is due */
	bool trouble; /* the verifier could not be read */
	bool validated; /* PLAIN, LOGIN: name and password were handed over */
	bool other;     /* authorization identity is another's */
	enum exchange_step result; /* once session is NULL */
	char name[NAME_SIZE];
	char claimed[EXCHANGE_CLAIMED_MAX + 1];
	char *password;
	char *challenge;
	size_t challenge_len;
	struct exchange_scram scram;
};

static void
forget_password(struct exchange *x)
{
	if (x->password == NULL)
		return;
	explicit_bzero(x->password, strlen(x->password));
	free(x->password);
	x->password = NULL;
}

/* Claimed name, authorization identity: both of which are SASLprepped by the
 * library for PLAIN and SCRAM, and by name_parse for all. */
static void
take_identity(struct exchange *x, const char *authid, const char *authzid)
{
	char other[NAME_SIZE];

	strncpy(x->claimed, authid, EXCHANGE_CLAIMED_MAX);
	if (!name_parse(x->name, authid, x->default_realm, NULL))
		x->name[0] = '\0';
	if (authzid != NULL && *authzid != '\0')
		x->other =
		    !name_parse(other, authzid, x->default_realm, NULL) ||
		    strcmp(other, x->name) != 0;
}

static int
validate_simple(struct exchange *x, Gsasl_session *session)
{
	const char *authid = gsasl_property_fast(session, GSASL_AUTHID);
	const char *authzid = gsasl_property_fast(session, GSASL_AUTHZID);
	const char *password = gsasl_property_fast(session, GSASL_PASSWORD);

	if (authid == NULL || password == NULL)
		return GSASL_NO_AUTHID;
	take_identity(x, authid, authzid);
	forget_password(x);
	x->password = strdup(password);
	/* Nobody else will wipe the library's copy. */
	explicit_bzero((void *)(uintptr_t)password, strlen(password));
	if (x->password == NULL)
		return GSASL_MALLOC_ERROR;
	x->validated = true;
	return GSASL_OK;
}

/* RFC 4422, appendix A: an authorization identity is empty or one's own. */
static int
validate_external(struct exchange *x, Gsasl_session *session)
{
	const char *authzid = gsasl_property_fast(session, GSASL_AUTHZID);
	char other[NAME_SIZE];

	if (!x->options.external(x->options.context, x->name)) {
		x->trouble = true;
		return GSASL_NO_CALLBACK;
	}
	snprintf(x->claimed, sizeof x->claimed, "%.*s", EXCHANGE_CLAIMED_MAX,
	    x->name);
	if (authzid != NULL && *authzid != '\0') {
		strncpy(x->claimed, authzid, EXCHANGE_CLAIMED_MAX);
		x->other =
		    !name_parse(other, authzid, x->default_realm, NULL) ||
		    strcmp(other, x->name) != 0;
	}
	return x->name[0] != '\0' && !x->other ? GSASL_OK
					       : GSASL_AUTHENTICATION_ERROR;
}

static int
set_base64(Gsasl_session *session, Gsasl_property property, const void *octets,
    size_t len)
{
	char *text;
	int rc = gsasl_base64_to(octets, len, &text, NULL);

	if (rc != GSASL_OK)
		return rc;
	rc = gsasl_property_set(session, property, text);
	gsasl_wipe(text, strlen(text));
	return rc;
}

static int
scram_begin(struct exchange *x, Gsasl_session *session)
{
	const char *authid = gsasl_property_fast(session, GSASL_AUTHID);
	char iterations[16];

	if (authid == NULL)
		return GSASL_NO_AUTHID;
	take_identity(x, authid, gsasl_property_fast(session, GSASL_AUTHZID));
	if (!x->options.scram(x->options.context, x->way->hash,
		x->name[0] != '\0' ? x->name : authid, &x->scram) ||
	    x->scram.salt_len > VERIFIER_SALT_MAX) {
		x->trouble = true;
		return GSASL_NO_CALLBACK;
	}
	if (x->name[0] == '\0' || x->other)
		x->scram.has_keys = false;
	snprintf(iterations, sizeof iterations, "%u",
	    (unsigned)x->scram.iterations);
	return gsasl_property_set(session, GSASL_SCRAM_ITER, iterations);
}

static int
scram_key(struct exchange *x, Gsasl_session *session, Gsasl_property property)
{
	if (!x->scram.has_keys)
		return GSASL_NO_CALLBACK;
	return set_base64(session, property,
	    property == GSASL_SCRAM_SERVERKEY ? x->scram.server
					      : x->scram.stored,
	    verifier_key_len(x->way->hash));
}

static int
server_callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
	struct exchange *x = gsasl_session_hook_get(session);

	(void)gsasl;
	if (x == NULL) /* asked while the session is being made */
		return GSASL_NO_CALLBACK;
	switch (property) {
	case GSASL_VALIDATE_SIMPLE:
		return validate_simple(x, session);
	case GSASL_VALIDATE_EXTERNAL:
		return validate_external(x, session);
	case GSASL_SCRAM_ITER:
		return scram_begin(x, session);
	case GSASL_SCRAM_SALT:
		return set_base64(session, property, x->scram.salt,
		    x->scram.salt_len);
	case GSASL_SCRAM_SERVERKEY:
	case GSASL_SCRAM_STOREDKEY:
		return scram_key(x, session, property);
	case GSASL_CB_TLS_EXPORTER:
		/* tls-unique is not safe and never given. */
		return x->way->bound && x->binding[0] != '\0'
			   ? gsasl_property_set(session, property, x->binding)
			   : GSASL_NO_CALLBACK;
	default:
		return GSASL_NO_CALLBACK;
	}
}

bool
sasl_library_new(struct sasl_library **library_out, struct reason *why)
{
	struct sasl_library *library = calloc(1, sizeof *library);

	if (library == NULL)
		return fail(why, REASON_NO_MEMORY, "GNU SASL");
	if (gsasl_init(&library->server) != GSASL_OK ||
	    gsasl_init(&library->client) != GSASL_OK) {
		sasl_library_free(library);
		return fail(why, REASON_INTERNAL, "GNU SASL does not start");
	}
	gsasl_callback_set(library->server, server_callback);
	gsasl_callback_set(library->client, login_callback);
	*library_out = library;
	return true;
}

void
sasl_library_free(struct sasl_library *library)
{
	if (library == NULL)
		return;
	if (library->server != NULL)
		gsasl_done(library->server);
	if (library->client != NULL)
		gsasl_done(library->client);
	free(library);
}

static const struct way *
find_way(const char *mechanism)
{
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
		if (strcasecmp(ways[i].name, mechanism) == 0)
			return &ways[i];
	return NULL;
}

static bool
take_binding(struct exchange *x, const gnutls_datum_t *binding)
{
	char *text;
	bool ok;

	if (binding->size == 0)
		return true;
	if (binding->size > BINDING_MAX ||
	    gsasl_base64_to((const char *)binding->data, binding->size, &text,
		NULL) != GSASL_OK)
		return false;
	ok = strlen(text) < sizeof x->binding;
	if (ok)
		strcpy(x->binding, text);
	gsasl_free(text);
	return ok;
}

bool
exchange_new(struct exchange **exchange_out, struct sasl_library *library,
    const struct exchange_options *options, struct reason *why)
{
	const struct way *way = find_way(options->mechanism);
	struct exchange *x;

	if (way == NULL)
		return fail(why, REASON_ABSENT, "no such mechanism");
	x = calloc(1, sizeof *x);
	if (x == NULL)
		return fail(why, REASON_NO_MEMORY, "SASL exchange");
	x->way = way;
	x->options = *options;
	if (!name_realm_parse(x->default_realm, options->default_realm, why))
		goto bad;
	if (!take_binding(x, &options->binding)) {
		fail(why, REASON_RANGE, "channel binding");
		goto bad;
	}
	if (way->way == WAY_EXTERNAL && options->external == NULL) {
		fail(why, REASON_ABSENT, "%s: no certificate was shown",
		    way->name);
		goto bad;
	}
	if (way->bound && x->binding[0] == '\0') {
		fail(why, REASON_ABSENT, "%s: no channel to bind to",
		    way->name);
		goto bad;
	}
	if (gsasl_server_start(library->server, way->name, &x->session) !=
	    GSASL_OK) {
		fail(why, REASON_INTERNAL, "%s does not start", way->name);
		goto bad;
	}
	gsasl_session_hook_set(x->session, x);
	*exchange_out = x;
	return true;
bad:
	exchange_free(x);
	return false;
}

static void
forget_challenge(struct exchange *x)
{
	if (x->challenge != NULL)
		gsasl_free(x->challenge);
	x->challenge = NULL;
	x->challenge_len = 0;
}

void
exchange_free(struct exchange *x)
{
	if (x == NULL)
		return;
	if (x->session != NULL)
		gsasl_finish_wiped(x->session);
	forget_password(x);
	forget_challenge(x);
	explicit_bzero(x, sizeof *x);
	free(x);
}

/* PLAIN would validate again at a further step: no session outlives its
 * result. */
static enum exchange_step
finish(struct exchange *x, enum exchange_step result)
{
	gsasl_finish_wiped(x->session);
	x->session = NULL;
	explicit_bzero(&x->scram, sizeof x->scram);
	forget_challenge(x);
	if (result != EXCHANGE_PASSWORD)
		forget_password(x);
	if (result != EXCHANGE_PASSWORD && result != EXCHANGE_PROVED)
		x->name[0] = '\0';
	x->result = result;
	return result;
}

/* What clients look for in the prompts of LOGIN differs; these are the ones
 * that all of them know. */
static bool
prompt(struct exchange *x)
{
	const char *text = x->prompts++ == 0 ? "Username:" : "Password:";
	size_t len = strlen(text);
	char *copy = malloc(len);

	if (copy == NULL)
		return false;
	memcpy(copy, text, len);
	forget_challenge(x);
	x->challenge = copy;
	x->challenge_len = len;
	return true;
}

static enum exchange_step
finish_simple(struct exchange *x, struct reason *why)
{
	size_t len = strnlen(x->password, PASSWORD_MAX + 1);

	if (x->name[0] == '\0')
		fail(why, REASON_AUTH, "what was claimed is no login name");
	else if (x->other)
		fail(why, REASON_AUTH,
		    "authorization identity of somebody else");
	else if (len == 0 || len > PASSWORD_MAX)
		fail(why, REASON_AUTH, "password is empty or too long");
	else
		return finish(x, EXCHANGE_PASSWORD);
	return finish(x, EXCHANGE_DENIED);
}

static enum exchange_step
finish_failed(struct exchange *x, int rc, struct reason *why)
{
	if (x->way->way == WAY_EXTERNAL && rc == GSASL_AUTHENTICATION_ERROR)
		fail(why, REASON_AUTH, "%s",
		    x->other ? "authorization identity of somebody else"
			     : "the certificate is nobody's");
	else
		fail(why, REASON_AUTH, "%s: %s", x->way->name,
		    gsasl_strerror(rc));
	if (x->trouble || rc == GSASL_MALLOC_ERROR || rc == GSASL_CRYPTO_ERROR)
		return finish(x, EXCHANGE_TROUBLE);
	switch (rc) {
	case GSASL_MECHANISM_PARSE_ERROR:
	case GSASL_MECHANISM_CALLED_TOO_MANY_TIMES:
	case GSASL_BASE64_ERROR:
		return finish(x, EXCHANGE_MALFORMED);
	default:
		return finish(x, EXCHANGE_DENIED);
	}
}

static enum exchange_step
judge(struct exchange *x, int rc, struct reason *why)
{
	/* A verifier that could not be read must not look like none. */
	if (x->trouble)
		return finish_failed(x, rc, why);
	if (rc == GSASL_NEEDS_MORE) {
		if (x->way->way == WAY_LOGIN && !prompt(x))
			return finish_failed(x, GSASL_MALLOC_ERROR, why);
		return EXCHANGE_CHALLENGE;
	}
	if (rc != GSASL_OK)
		return finish_failed(x, rc, why);
	if (x->way->way == WAY_EXTERNAL)
		return finish(x, EXCHANGE_PROVED);
	if (x->way->way != WAY_SCRAM)
		return x->validated ? finish_simple(x, why)
				    : finish_failed(x, GSASL_NO_AUTHID, why);
	if (!x->scram.has_keys) /* cannot be, and must never be a yes */
		return finish_failed(x, GSASL_AUTHENTICATION_ERROR, why);
	/* The server's signature goes out as a challenge, and an empty
	 * response to it ends the exchange (RFC 4954, 4). */
	x->proved = true;
	return EXCHANGE_CHALLENGE;
}

/*
 * The client's word on channel binding (RFC 5802, section 6), looked at before
 * the library, which would go on until the client's proof.  With -PLUS it is
 * tls-exporter or nothing: tls-unique is not safe.  EXCHANGE_CHALLENGE: go on.
 */
static enum exchange_step
judge_binding(const struct exchange *x, const gnutls_datum_t *first)
{
	static const char good[] = "p=tls-exporter,";
	size_t len = sizeof good - 1;
	char word = first->size > 0 ? (char)first->data[0] : '\0';

	if (x->way->bound)
		return first->size >= len && memcmp(first->data, good, len) == 0
			   ? EXCHANGE_CHALLENGE
			   : EXCHANGE_DENIED;
	if (word == 'p')
		return EXCHANGE_DENIED;
	return word == 'y' && x->binding[0] != '\0' ? EXCHANGE_DOWNGRADE
						    : EXCHANGE_CHALLENGE;
}

/* RFC 5802, 5.1: in names "=" begins "=2C" or "=3D", or the login must fail;
 * the library would take it as it is. */
static bool
is_escaped(const unsigned char *at, const unsigned char *end)
{
	for (; at < end; at++)
		if (*at == '=' &&
		    (end - at < 3 || (memcmp(at, "=2C", 3) != 0 &&
					 memcmp(at, "=3D", 3) != 0)))
			return false;
	return true;
}

/* The authorization identity and the name, in fields two and three of the
 * client's first message; what else is wrong with it the library sees. */
static bool
has_escaped_names(const gnutls_datum_t *first)
{
	const unsigned char *at = first->data, *end = at + first->size;

	for (int field = 0; field < 3 && at < end; field++) {
		const unsigned char *comma =
		    memchr(at, ',', (size_t)(end - at));
		const unsigned char *stop = comma != NULL ? comma : end;

		if (field > 0 && stop - at > 2 && !is_escaped(at + 2, stop))
			return false;
		at = comma != NULL ? comma + 1 : end;
	}
	return true;
}

static enum exchange_step
finish_binding(struct exchange *x, enum exchange_step step, struct reason *why)
{
	if (step == EXCHANGE_DOWNGRADE)
		fail(why, REASON_PROTOCOL,
		    "%s: the client could bind channels and was not told of "
		    "-PLUS: somebody between us changed the offer",
		    x->way->name);
	else
		fail(why, REASON_AUTH, "%s: channel binding, expected %s",
		    x->way->name, x->way->bound ? "tls-exporter" : "none");
	return finish(x, step);
}

static int
feed(struct exchange *x, const gnutls_datum_t *response)
{
	static const char nothing[1] = "";
	int rc;

	forget_challenge(x);
	if (response == NULL)
		return gsasl_step(x->session, NULL, 0, &x->challenge,
		    &x->challenge_len);
	/* To the library that is no response at all, and it would ask again;
	 * LOGIN's are texts, and an empty one is just wrong; EXTERNAL's means
	 * "as my certificate says". */
	if (response->size == 0 && x->way->way != WAY_LOGIN &&
	    x->way->way != WAY_EXTERNAL)
		return GSASL_MECHANISM_PARSE_ERROR;
	if (x->way->way == WAY_LOGIN && x->steps == 1) {
		/* The library would drop an initial response: let it ask for
		 * the name first. */
		rc = gsasl_step(x->session, NULL, 0, &x->challenge,
		    &x->challenge_len);
		if (rc != GSASL_NEEDS_MORE)
			return rc;
		x->prompts = 1;
		forget_challenge(x);
	}
	return gsasl_step(x->session,
	    response->size > 0 ? (const char *)response->data : nothing,
	    response->size, &x->challenge, &x->challenge_len);
}

enum exchange_step
exchange_step(struct exchange *x, const gnutls_datum_t *response,
    struct reason *why)
{
	int rc;

	if (x->session == NULL)
		return x->result;
	if (++x->steps > EXCHANGE_STEPS_MAX ||
	    (response != NULL && response->size > EXCHANGE_RESPONSE_MAX)) {
		fail(why, REASON_RANGE, "%s: too many or too long responses",
		    x->way->name);
		return finish(x, EXCHANGE_MALFORMED);
	}
	if (x->proved) {
		if (response != NULL && response->size == 0)
			return finish(x, EXCHANGE_PROVED);
		fail(why, REASON_SYNTAX,
		    "%s: response to the server's "
		    "signature, expected an empty one",
		    x->way->name);
		return finish(x, EXCHANGE_MALFORMED);
	}
	if (x->way->way == WAY_SCRAM && x->claimed[0] == '\0' &&
	    response != NULL && response->size > 0) {
		enum exchange_step step = judge_binding(x, response);

		if (step != EXCHANGE_CHALLENGE)
			return finish_binding(x, step, why);
		if (!has_escaped_names(response)) {
			fail(why, REASON_SYNTAX,
			    "%s: \"=\" in a name, expected =2C or =3D",
			    x->way->name);
			return finish(x, EXCHANGE_MALFORMED);
		}
	}
	rc = feed(x, response);
	if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) {
		x->challenge = NULL; /* not ours then */
		x->challenge_len = 0;
	}
	return judge(x, rc, why);
}

gnutls_datum_t
exchange_challenge(const struct exchange *x)
{
	gnutls_datum_t challenge = { (unsigned char *)x->challenge,
		(unsigned)x->challenge_len };

	return challenge;
}

const char *
exchange_signed(const struct exchange *x)
{
	return x->session != NULL && x->proved ? x->name : NULL;
}

const char *
exchange_name(const struct exchange *x)
{
	return x->session == NULL ? x->name : "";
}

const char *
exchange_password(const struct exchange *x)
{
	return x->password != NULL ? x->password : "";
}

const char *
exchange_claimed(const struct exchange *x)
{
	return x->claimed;
}
