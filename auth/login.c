/* auth/login.c: logins at smarthosts, the client's side of SASL. */
#include "login.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* RFC 5802, 5.1 gives the least; the most is what one hostile smarthost may
 * cost the process that all logins depend on (about 0.1 s). */
enum { SERVER_ITERATIONS_LEAST = 4096, SERVER_ITERATIONS_MOST = 600000 };
enum { WORDS = 4 };

/* Strongest first; "any" does not come to EXTERNAL. */
static const struct manner {
	const char *name;
	bool scram;
	enum verifier_hash hash;
	bool by_any;
	bool has_password;
	bool has_initial;
	bool bound; /* -PLUS: bound to the channel */
} manners[] = {
	{ "SCRAM-SHA-256-PLUS", true, VERIFIER_SHA_256, true, true, true,
	    true },
	{ "SCRAM-SHA-1-PLUS", true, VERIFIER_SHA_1, true, true, true, true },
	{ "SCRAM-SHA-256", true, VERIFIER_SHA_256, true, true, true, false },
	{ "SCRAM-SHA-1", true, VERIFIER_SHA_1, true, true, true, false },
	{ "PLAIN", false, VERIFIER_SHA_256, true, true, true, false },
	{ "LOGIN", false, VERIFIER_SHA_256, true, true, false, false },
	{ "EXTERNAL", false, VERIFIER_SHA_256, false, false, true, false },
};

enum { MANNERS = sizeof manners / sizeof manners[0] };

struct book_row {
	char *name;
	const struct manner *manner; /* NULL: any */
	char *user;
	char *password; /* NULL: EXTERNAL, or its file was not given */
	char *file;     /* absolute, or NULL */
};

struct login_book {
	size_t count;
	struct book_row *rows;
};

struct login {
	const struct manner *manner;
	Gsasl_session *session; /* NULL once failed */
	char *user;
	char *password;
	char *binding; /* base64, or NULL */
	unsigned steps;
	bool done; /* the library wants no further challenge */
	char *response;
	size_t response_len;
};

/* One line being read. */
struct line {
	const char *path;
	unsigned number;
	const char *at, *end;
	char *words[WORDS];
	bool quoted[WORDS];
	size_t count;
	char room[LOGIN_LINE_MAX + WORDS + 1]; /* the words, one by one */
	char *free;
};

static void
wipe_string(char *s)
{
	if (s == NULL)
		return;
	explicit_bzero(s, strlen(s));
	free(s);
}

static void
row_fini(struct book_row *row)
{
	free(row->name);
	wipe_string(row->user);
	wipe_string(row->password);
	free(row->file);
}

void
login_book_free(struct login_book *book)
{
	if (book == NULL)
		return;
	for (size_t i = 0; i < book->count; i++)
		row_fini(&book->rows[i]);
	free(book->rows);
	free(book);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The word at line->at, which is not a blank. */
static bool
read_word(struct line *line)
{
	bool quoted = *line->at == '"';

	line->words[line->count] = line->free;
	line->quoted[line->count] = quoted;
	if (quoted)
		line->at++;
	for (; line->at < line->end; line->at++) {
		char c = *line->at;

		if (quoted ? c == '"' : is_blank(c))
			break;
		if (quoted && c == '\\') {
			if (++line->at == line->end ||
			    (*line->at != '"' && *line->at != '\\'))
				return false;
			c = *line->at;
		} else if (c == '"' || c == '\0') {
			return false;
		}
		*line->free++ = c;
	}
	*line->free++ = '\0';
	line->count++;
	if (!quoted)
		return true;
	/* The closing quote, and nothing glued to it. */
	return line->at < line->end && ++line->at <= line->end &&
	       (line->at == line->end || is_blank(*line->at));
}

static bool
read_words(struct line *line, struct reason *why)
{
	line->count = 0;
	line->free = line->room;
	while (true) {
		while (line->at < line->end && is_blank(*line->at))
			line->at++;
		if (line->at == line->end || *line->at == '#')
			return true;
		if (line->count == WORDS)
			return fail(why, REASON_SYNTAX,
			    "%s:%u: more than %d words, expected NAME "
			    "MECHANISM USER PASSWORD",
			    line->path, line->number, WORDS);
		if (!read_word(line))
			return fail(why, REASON_SYNTAX,
			    "%s:%u: broken quotes, expected \"...\" with \\\" "
			    "and \\\\ inside",
			    line->path, line->number);
	}
}

static bool
is_name(const char *word)
{
	size_t len = strlen(word);

	return len > 0 && len <= LOGIN_WORD_MAX &&
	       strspn(word,
		   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		   "0123456789._-") == len;
}

static const struct manner *
find_manner(const char *name)
{
	for (size_t i = 0; i < MANNERS; i++)
		if (strcasecmp(manners[i].name, name) == 0)
			return &manners[i];
	return NULL;
}

/* The first line of a password file. */
static char *
first_line(const gnutls_datum_t *octets)
{
	const char *text = (const char *)octets->data;
	size_t len = 0;

	while (len < octets->size && text[len] != '\n' && text[len] != '\0')
		len++;
	if (len < octets->size && text[len] == '\0')
		return NULL;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	return len > 0 && len <= PASSWORD_MAX ? strndup(text, len) : NULL;
}

static char *
absolute(const char *base, const char *path)
{
	const char *slash = strrchr(base, '/');
	char *out;

	if (*path == '/' || slash == NULL)
		return strdup(path);
	if (asprintf(&out, "%.*s/%s", (int)(slash - base), base, path) < 0)
		return NULL;
	return out;
}

struct secrets {
	bool (*give)(void *context, const char *path, gnutls_datum_t *octets);
	void *context;
};

static bool
read_password(struct book_row *row, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	const char *word = line->words[3];
	gnutls_datum_t octets;

	if (line->quoted[3] || strncmp(word, "file:", 5) != 0) {
		size_t len = strlen(word);

		if (len == 0 || len > PASSWORD_MAX)
			return fail(why, REASON_RANGE,
			    "%s:%u: password of %zu octets, expected 1 to %d",
			    line->path, line->number, len, PASSWORD_MAX);
		row->password = strdup(word);
		return row->password != NULL
			   ? true
			   : fail(why, REASON_NO_MEMORY, "upstream logins");
	}
	if (word[5] == '\0')
		return fail(why, REASON_SYNTAX, "%s:%u: file: without a path",
		    line->path, line->number);
	row->file = absolute(line->path, word + 5);
	if (row->file == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	if (secrets->give == NULL)
		return true;
	if (!secrets->give(secrets->context, row->file, &octets))
		return fail(why, REASON_ABSENT,
		    "%s:%u: the password file %s cannot be had", line->path,
		    line->number, row->file);
	row->password = first_line(&octets);
	return row->password != NULL ? true
				     : fail(why, REASON_SYNTAX,
					   "%s:1: expected a password of 1 to "
					   "%d octets, without NUL",
					   row->file, PASSWORD_MAX);
}

static bool
read_row(struct book_row *row, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	bool any = line->count > 1 && strcasecmp(line->words[1], "any") == 0;

	if (!is_name(line->words[0]))
		return fail(why, REASON_SYNTAX,
		    "%s:%u: name of a login, expected at most %d of letters, "
		    "digits, '.', '-' and '_'",
		    line->path, line->number, LOGIN_WORD_MAX);
	if (line->count > 1)
		row->manner = find_manner(line->words[1]);
	if (line->count > 1 && !any && row->manner == NULL)
		return fail(why, REASON_SYNTAX,
		    "%s:%u: unknown mechanism, expected any, SCRAM-SHA-256, "
		    "SCRAM-SHA-1, PLAIN, LOGIN or EXTERNAL",
		    line->path, line->number);
	if (line->count < 3)
		return fail(why, REASON_SYNTAX,
		    "%s:%u: cut off, expected NAME MECHANISM USER PASSWORD",
		    line->path, line->number);
	if ((line->count == 4) != (any || row->manner->has_password))
		return fail(why, REASON_SYNTAX,
		    line->count == 4
			? "%s:%u: EXTERNAL has no password"
			: "%s:%u: no password, expected it or file:PATH after "
			  "the user",
		    line->path, line->number);
	if (line->count == 4 && *line->words[2] == '\0')
		return fail(why, REASON_SYNTAX, "%s:%u: empty user", line->path,
		    line->number);
	row->name = strdup(line->words[0]);
	row->user = strdup(line->words[2]);
	if (row->name == NULL || row->user == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	return line->count < 4 || read_password(row, line, secrets, why);
}

static const struct book_row *
find_row(const struct login_book *book, const char *name)
{
	for (size_t i = 0; i < book->count; i++)
		if (strcmp(book->rows[i].name, name) == 0)
			return &book->rows[i];
	return NULL;
}

static bool
add_row(struct login_book *book, const struct line *line,
    const struct secrets *secrets, struct reason *why)
{
	struct book_row row = { 0 };
	struct book_row *rows;

	if (!read_row(&row, line, secrets, why))
		goto bad;
	if (find_row(book, row.name) != NULL) {
		fail(why, REASON_EXISTS, "%s:%u: second login %s", line->path,
		    line->number, row.name);
		goto bad;
	}
	rows = reallocarray(book->rows, book->count + 1, sizeof *rows);
	if (rows == NULL) {
		fail(why, REASON_NO_MEMORY, "upstream logins");
		goto bad;
	}
	book->rows = rows;
	book->rows[book->count++] = row;
	return true;
bad:
	row_fini(&row);
	return false;
}

bool
login_book_parse(struct login_book **book_out, const char *path,
    const gnutls_datum_t *text,
    bool (*secret)(void *context, const char *path, gnutls_datum_t *octets),
    void *context, struct reason *why)
{
	const struct secrets secrets = { secret, context };
	const char *at = (const char *)text->data, *end = at + text->size;
	struct login_book *book;
	struct line line = { .path = path };
	bool ok = true;

	if (text->size > LOGIN_BOOK_MAX)
		return fail(why, REASON_RANGE, "%s: more than %d octets", path,
		    LOGIN_BOOK_MAX);
	book = calloc(1, sizeof *book);
	if (book == NULL)
		return fail(why, REASON_NO_MEMORY, "upstream logins");
	while (ok && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		line.at = at;
		line.end = stop != NULL ? stop : end;
		line.number++;
		at = stop != NULL ? stop + 1 : end;
		if (line.end - line.at > LOGIN_LINE_MAX)
			ok = fail(why, REASON_RANGE,
			    "%s:%u: more than %d octets", path, line.number,
			    LOGIN_LINE_MAX);
		else
			ok = read_words(&line, why) &&
			     (line.count == 0 ||
				 add_row(book, &line, &secrets, why));
	}
	explicit_bzero(&line, sizeof line);
	if (ok)
		*book_out = book;
	else
		login_book_free(book);
	return ok;
}

bool
login_book_has(const struct login_book *book, const char *name)
{
	return find_row(book, name) != NULL;
}

const char *
login_book_file(const struct login_book *book, size_t i)
{
	for (size_t r = 0; r < book->count; r++)
		if (book->rows[r].file != NULL && i-- == 0)
			return book->rows[r].file;
	return NULL;
}

static bool
add_word(char **at, char *end, const char *word, char after)
{
	char *p = *at;

	if (end - p < 1)
		return false;
	*p++ = '"';
	for (; *word != '\0'; word++) {
		if ((unsigned char)*word < ' ' || *word == 0x7f)
			return false;
		if (end - p < 2)
			return false;
		if (*word == '"' || *word == '\\')
			*p++ = '\\';
		*p++ = *word;
	}
	if (end - p < 3)
		return false;
	*p++ = '"';
	*p++ = after;
	*p = '\0';
	*at = p;
	return true;
}

bool
login_book_line(char *out, size_t size, const char *name, const char *mechanism,
    const char *user, const char *password, struct reason *why)
{
	char *end = out + size;
	int n;

	if (!is_name(name) || (strcasecmp(mechanism, "any") != 0 &&
				  find_manner(mechanism) == NULL))
		return fail(why, REASON_SYNTAX,
		    "not the name of a login, or not a mechanism");
	n = snprintf(out, size, "%s %s ", name, mechanism);
	if (n < 0 || (size_t)n >= size)
		return fail(why, REASON_RANGE, "line is too long");
	out += n;
	if (!add_word(&out, end, user, password != NULL ? ' ' : '\n') ||
	    (password != NULL && !add_word(&out, end, password, '\n')))
		return fail(why, REASON_SYNTAX,
		    "user or password is too long or has control characters");
	return true;
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
can_use(const struct manner *manner, const char *offered,
    const gnutls_datum_t *binding)
{
	return is_offered(offered, manner->name) &&
	       (!manner->bound || binding->size > 0);
}

static const struct manner *
choose(const struct book_row *row, const char *offered,
    const gnutls_datum_t *binding)
{
	if (row->manner != NULL)
		return can_use(row->manner, offered, binding) ? row->manner
							      : NULL;
	for (size_t i = 0; i < MANNERS; i++)
		if (manners[i].by_any && can_use(&manners[i], offered, binding))
			return &manners[i];
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
	const struct book_row *row = find_row(book, name);
	const struct manner *manner;
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
	if (manner->has_password && row->password == NULL)
		return fail(why, REASON_ABSENT, "login %s: no password", name);
	login = calloc(1, sizeof *login);
	if (login == NULL)
		return fail(why, REASON_NO_MEMORY, "login %s", name);
	login->manner = manner;
	if (!copy_row(login, row, &binding)) {
		login_free(login);
		return fail(why, REASON_NO_MEMORY, "login %s", name);
	}
	if (gsasl_client_start(library->client, manner->name,
		&login->session) != GSASL_OK) {
		login_free(login);
		return fail(why, REASON_INTERNAL, "%s does not start",
		    manner->name);
	}
	gsasl_session_hook_set(login->session, login);
	*login_out = login;
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
	wipe_string(login->binding);
	free(login);
}

const char *
login_mechanism(const struct login *login)
{
	return login->manner->name;
}

static bool
step_failed(struct login *login, struct reason *why, const char *text)
{
	gsasl_finish_wiped(login->session);
	login->session = NULL;
	return fail(why, REASON_AUTH, "%s: %s", login->manner->name, text);
}

bool
login_step(struct login *login, const gnutls_datum_t *challenge,
    gnutls_datum_t *response_out, bool *has_response_out, struct reason *why)
{
	int rc;

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
