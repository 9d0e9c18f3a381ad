/* auth/login.c: logins at smarthosts, the client's side of SASL. */
#include "login.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* RFC 5802, 5.1 gives the least; the most is what one hostile smarthost may
 * cost the process that all logins depend on (about 0.1 s). */
enum { SERVER_ITERATIONS_LEAST = 4096, SERVER_ITERATIONS_MOST = 600000 };

struct login {
	const struct login_manner *manner;
	Gsasl_session *session; /* NULL once failed, and for tokens */
	char *user;
	char *password;
	char *token;   /* NULL: not given yet */
	char *binding; /* base64, or NULL */
	unsigned steps;
	bool done; /* the library wants no further challenge */
	char *response;
	size_t response_len;
};

static void
wipe_string(char *s)
{
	if (s == NULL)
		return;
	explicit_bzero(s, strlen(s));
	free(s);
}

/* The salted password only: given the password itself, the library would
 * derive with whatever count the server names. */
static int
give_salted_password(const struct login *login, Gsasl_session *session)
{
	const char *iter = gsasl_property_fast(session, GSASL_SCRAM_ITER);
	const char *salt = gsasl_property_fast(session, GSASL_SCRAM_SALT);
	size_t key_len = verifier_key_len(login->manner->hash);
	unsigned char salted[VERIFIER_KEY_MAX];
	char prepared[PASSWORD_MAX + 1], *octets = NULL, *hex = NULL;
	size_t octets_len, hex_len; /* it writes to the latter, wanted or not */
	unsigned long count;
	int rc = GSASL_NO_PASSWORD;

	if (iter == NULL || salt == NULL)
		return rc;
	count = strtoul(iter, NULL, 10);
	if (count < SERVER_ITERATIONS_LEAST || count > SERVER_ITERATIONS_MOST)
		return rc;
	if (gsasl_base64_from(salt, strlen(salt), &octets, &octets_len) !=
	    GSASL_OK)
		return rc;
	if (password_prepare(prepared, login->password, NULL) &&
	    verifier_salted_password(login->manner->hash, prepared,
		(uint32_t)count, octets, octets_len, salted, NULL) &&
	    gsasl_hex_to((const char *)salted, key_len, &hex, &hex_len) ==
		GSASL_OK)
		rc = gsasl_property_set(session, GSASL_SCRAM_SALTED_PASSWORD,
		    hex);
	if (hex != NULL)
		gsasl_wipe(hex, strlen(hex));
	gsasl_free(octets);
	explicit_bzero(prepared, sizeof prepared);
	explicit_bzero(salted, sizeof salted);
	return rc;
}

int
login_callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
	struct login *login = gsasl_session_hook_get(session);
	bool external;

	(void)gsasl;
	if (login == NULL) /* asked while the session is being made */
		return GSASL_NO_CALLBACK;
	external = !login->manner->has_password;
	switch (property) {
	case GSASL_AUTHID:
		return external
			   ? GSASL_NO_CALLBACK
			   : gsasl_property_set(session, property, login->user);
	case GSASL_AUTHZID:
		return external && *login->user != '\0'
			   ? gsasl_property_set(session, property, login->user)
			   : GSASL_NO_CALLBACK;
	case GSASL_PASSWORD:
		return external || login->manner->scram
			   ? GSASL_NO_CALLBACK
			   : gsasl_property_set(session, property,
				 login->password);
	case GSASL_SCRAM_SALTED_PASSWORD:
		return give_salted_password(login, session);
	case GSASL_CB_TLS_EXPORTER:
		/* Given one, the library refuses mechanisms without -PLUS;
		 * which of them is offered has been looked at already. */
		return login->manner->bound ? gsasl_property_set(session,
						  property, login->binding)
					    : GSASL_NO_CALLBACK;
	default:
		return GSASL_NO_CALLBACK;
	}
}

static bool
is_offered(const char *offered, const char *mechanism)
{
	size_t len = strlen(mechanism);

	for (const char *at = offered; *at != '\0'; at += strcspn(at, " ")) {
		at += strspn(at, " ");
		if (strcspn(at, " ") == len &&
		    strncasecmp(at, mechanism, len) == 0)
			return true;
	}
	return false;
}

static bool
can_use(const struct login_manner *manner, const char *offered,
    const gnutls_datum_t *binding)
{
	return is_offered(offered, manner->name) &&
	       (!manner->bound || binding->size > 0);
}

static const struct login_manner *
choose(const struct book_row *row, const char *offered,
    const gnutls_datum_t *binding)
{
	const struct login_manner *manner = row->manner;

	if (manner != NULL)
		return can_use(manner, offered, binding) ? manner : NULL;
	for (size_t i = 0; (manner = login_manner(i)) != NULL; i++)
		if (manner->by_any && can_use(manner, offered, binding))
			return manner;
	return NULL;
}

static bool
copy_row(struct login *login, const struct book_row *row,
    const gnutls_datum_t *binding)
{
	login->user = strdup(row->user);
	if (row->password != NULL)
		login->password = strdup(row->password);
	if (login->manner->bound &&
	    gsasl_base64_to((const char *)binding->data, binding->size,
		&login->binding, NULL) != GSASL_OK)
		return false;
	return login->user != NULL &&
	       (row->password == NULL || login->password != NULL);
}

bool
login_new(struct login **login_out, struct sasl_library *library,
    const struct login_book *book, const char *name, const char *offered,
    bool tls, gnutls_datum_t binding, struct reason *why)
{
	const struct book_row *row = login_book_row(book, name);
	const struct login_manner *manner;
	struct login *login;

	if (row == NULL)
		return fail(why, REASON_ABSENT,
		    "no upstream login of that "
		    "name");
	if (!tls)
		return fail(why, REASON_CLEARTEXT,
		    "login %s: never outside TLS", name);
	manner = choose(row, offered, &binding);
	if (manner == NULL)
		return fail(why, REASON_ABSENT,
		    "login %s: the smarthost does "
		    "not offer %s",
		    name,
		    row->manner != NULL ? row->manner->name
					: "SCRAM, PLAIN or LOGIN");
	if (manner->has_password && !manner->token && row->password == NULL)
		return fail(why, REASON_ABSENT, "login %s: no password", name);
	login = calloc(1, sizeof *login);
	if (login == NULL)
		return fail(why, REASON_NO_MEMORY, "login %s", name);
	login->manner = manner;
	if (!copy_row(login, row, &binding)) {
		login_free(login);
		return fail(why, REASON_NO_MEMORY, "login %s", name);
	}
	*login_out = login;
	if (manner->token)
		return true;
	if (gsasl_client_start(library->client, manner->name,
		&login->session) != GSASL_OK) {
		login_free(login);
		*login_out = NULL;
		return fail(why, REASON_INTERNAL, "%s does not start",
		    manner->name);
	}
	gsasl_session_hook_set(login->session, login);
	return true;
}

static void
forget_response(struct login *login)
{
	gsasl_wipe(login->response, login->response_len);
	login->response = NULL;
	login->response_len = 0;
}

void
login_free(struct login *login)
{
	if (login == NULL)
		return;
	if (login->session != NULL)
		gsasl_finish_wiped(login->session);
	forget_response(login);
	wipe_string(login->user);
	wipe_string(login->password);
	wipe_string(login->token);
	wipe_string(login->binding);
	free(login);
}

const char *
login_mechanism(const struct login *login)
{
	return login->manner->name;
}

bool
login_uses_token(const struct login *login)
{
	return login->manner->token;
}

bool
login_give_token(struct login *login, const char *text, size_t len,
    struct reason *why)
{
	const char *end = memchr(text, '\n', len);

	if (end != NULL)
		len = (size_t)(end - text);
	if (len > 0 && text[len - 1] == '\r')
		len--;
	if (!bearer_is_token(text, len))
		return fail(why, REASON_SYNTAX,
		    "no token in the first line of what %s was given, expected "
		    "letters, digits and -._~+/=, at most %d octets",
		    login->manner->name, BEARER_TOKEN_MAX);
	wipe_string(login->token);
	login->token = strndup(text, len);
	return login->token != NULL ? true
				    : fail(why, REASON_NO_MEMORY, "token");
}

static bool
step_failed(struct login *login, struct reason *why, const char *text)
{
	if (login->session != NULL)
		gsasl_finish_wiped(login->session);
	login->session = NULL;
	login->done = false;
	return fail(why, REASON_AUTH, "%s: %s", login->manner->name, text);
}

/* One message.  A challenge says why it is refused, and is answered before the
 * smarthost says no. */
static bool
token_step(struct login *login, const gnutls_datum_t *challenge,
    struct reason *why)
{
	unsigned step = login->steps++;

	if (login->token == NULL || step != (challenge != NULL))
		return step_failed(login, why,
		    login->token == NULL
			? "no token"
			: "the smarthost asks for more than the mechanism has");
	login->response = malloc(BEARER_MESSAGE_MAX);
	if (login->response == NULL)
		return step_failed(login, why, "out of memory");
	login->done = challenge == NULL;
	if (challenge == NULL)
		return bearer_make(login->response, &login->response_len,
		    login->manner->form, login->user, login->token, why);
	bearer_give_up(login->response, &login->response_len,
	    login->manner->form);
	return true;
}

bool
login_step(struct login *login, const gnutls_datum_t *challenge,
    gnutls_datum_t *response_out, bool *has_response_out, struct reason *why)
{
	int rc;

	if (login->manner->token) {
		forget_response(login);
		if (!token_step(login, challenge, why))
			return false;
		*has_response_out = true;
		response_out->data = (unsigned char *)login->response;
		response_out->size = (unsigned)login->response_len;
		return true;
	}
	if (login->session == NULL)
		return fail(why, REASON_AUTH, "%s: has failed already",
		    login->manner->name);
	forget_response(login);
	*has_response_out = challenge != NULL || login->manner->has_initial;
	response_out->data = NULL;
	response_out->size = 0;
	if (!*has_response_out)
		return true;
	if (login->done || ++login->steps > LOGIN_STEPS_MAX ||
	    (challenge != NULL && challenge->size > LOGIN_CHALLENGE_MAX))
		return step_failed(login, why,
		    "the smarthost asks for more than the mechanism has");
	rc = gsasl_step(login->session,
	    challenge == NULL      ? NULL
	    : challenge->size == 0 ? ""
				   : (const char *)challenge->data,
	    challenge == NULL ? 0 : challenge->size, &login->response,
	    &login->response_len);
	if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) {
		login->response = NULL;
		login->response_len = 0;
		return step_failed(login, why,
		    rc == GSASL_NO_PASSWORD
			? "the smarthost's salt or iteration count is out of "
			  "range"
			: gsasl_strerror(rc));
	}
	login->done = rc == GSASL_OK;
	response_out->data = (unsigned char *)login->response;
	response_out->size = (unsigned)login->response_len;
	return true;
}

bool
login_is_complete(const struct login *login)
{
	return login->done;
}
