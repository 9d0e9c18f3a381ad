/*
 * t/unit/auth_exchange.c: both sides of SASL: GNU SASL's client against
 * auth/exchange.h, octets that no client would send, and auth/login.h against
 * auth/exchange.h.
 */
#include <gsasl.h>
#include <stdio.h>

#include "../../auth/exchange.h"
#include "../../auth/login.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ITERATIONS = 4096 };

static struct sasl_library *library;

/* What tls-exporter would give. */
static unsigned char octets_of_channel[32] = "a channel's own octets, 32 ....";
static const gnutls_datum_t channel = { octets_of_channel,
	sizeof octets_of_channel };
static const gnutls_datum_t none = { NULL, 0 };

/* One user; what the callback was asked for last. */
static struct {
	struct verifier verifiers[VERIFIER_HASHES];
	bool trouble;
	char asked[64];
} store;

static int
setup(void **state)
{
	(void)state;
	return sasl_library_new(&library, NULL) &&
		       verifier_make(store.verifiers, "pencil", ITERATIONS,
			   NULL)
		   ? 0
		   : -1;
}

static int
teardown(void **state)
{
	(void)state;
	sasl_library_free(library);
	return 0;
}

static bool
give_scram(void *context, enum verifier_hash hash, const char *name,
    struct exchange_scram *out)
{
	const struct verifier *v = &store.verifiers[hash];

	(void)context;
	snprintf(store.asked, sizeof store.asked, "%s", name);
	if (store.trouble)
		return false;
	memset(out, 0, sizeof *out);
	out->iterations = ITERATIONS;
	out->salt_len = 16;
	memset(out->salt, 'f', 16);
	if (strcmp(name, "alice@x.org") != 0)
		return true;
	memcpy(out->salt, v->salt, v->salt_len);
	out->has_keys = true;
	memcpy(out->stored, v->stored, VERIFIER_KEY_MAX);
	memcpy(out->server, v->server, VERIFIER_KEY_MAX);
	return true;
}

static struct exchange *
begin_on(const char *mechanism, gnutls_datum_t binding)
{
	const struct exchange_options options = { .mechanism = mechanism,
		.default_realm = "x.org",
		.binding = binding,
		.scram = give_scram };
	struct exchange *x;
	struct reason why;

	if (!exchange_new(&x, library, &options, &why))
		fail_msg("%s: %s", mechanism, why.text);
	return x;
}

static struct exchange *
begin(const char *mechanism)
{
	return begin_on(mechanism, none);
}

static enum exchange_step
step(struct exchange *x, const void *octets, size_t len)
{
	gnutls_datum_t response = { (void *)(uintptr_t)octets, (unsigned)len };
	struct reason why;

	return exchange_step(x, octets != NULL ? &response : NULL, &why);
}

#define say(x, text) step(x, text, sizeof(text) - 1)

static void
expect_challenge(struct exchange *x, const char *text)
{
	gnutls_datum_t challenge = exchange_challenge(x);

	assert_int_equal(challenge.size, strlen(text));
	if (challenge.size > 0)
		assert_memory_equal(challenge.data, text, challenge.size);
}

/* Name and password fit what the store has: what the auth role would do. */
static enum exchange_step
decide(struct exchange *x, enum exchange_step result)
{
	if (result != EXCHANGE_PASSWORD)
		return result;
	return strcmp(exchange_name(x), "alice@x.org") == 0 &&
		       verifier_matches(&store.verifiers[0], VERIFIER_SHA_256,
			   exchange_password(x))
		   ? EXCHANGE_PROVED
		   : EXCHANGE_DENIED;
}

/* A GNU SASL client; initial: whether its first octets go with AUTH. */
static enum exchange_step
converse(const char *mechanism, const char *authid, const char *authzid,
    const char *password, bool initial)
{
	struct exchange *x = begin(mechanism);
	enum exchange_step result;
	Gsasl_session *client;
	gnutls_datum_t challenge;
	Gsasl *gsasl;
	char *out = NULL;
	size_t len = 0;
	int rc;

	assert_int_equal(gsasl_init(&gsasl), GSASL_OK);
	assert_int_equal(gsasl_client_start(gsasl, mechanism, &client),
	    GSASL_OK);
	gsasl_property_set(client, GSASL_AUTHID, authid);
	if (authzid != NULL)
		gsasl_property_set(client, GSASL_AUTHZID, authzid);
	gsasl_property_set(client, GSASL_PASSWORD, password);
	result = EXCHANGE_CHALLENGE;
	if (!initial)
		result = step(x, NULL, 0);
	while (result == EXCHANGE_CHALLENGE) {
		challenge = exchange_challenge(x);
		rc = gsasl_step(client, (const char *)challenge.data,
		    challenge.size, &out, &len);
		if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) {
			result = EXCHANGE_TROUBLE; /* the client gives up */
			break;
		}
		result = step(x, out != NULL ? out : "", len);
		gsasl_free(out);
		out = NULL;
	}
	result = decide(x, result);
	gsasl_finish(client);
	gsasl_done(gsasl);
	exchange_free(x);
	return result;
}

static const struct {
	const char *what; /* what a "not ok" should teach */
	const char *authid, *authzid, *password;
	enum exchange_step result;
} people[] = {
	{ "the right password", "alice@x.org", NULL, "pencil",
	    EXCHANGE_PROVED },
	{ "a bare name", "alice", NULL, "pencil", EXCHANGE_PROVED },
	{ "the realm's case", "alice@X.org", NULL, "pencil", EXCHANGE_PROVED },
	{ "a wrong password", "alice@x.org", NULL, "pencils", EXCHANGE_DENIED },
	{ "an unknown name", "bob@x.org", NULL, "pencil", EXCHANGE_DENIED },
	{ "another realm", "alice@y.org", NULL, "pencil", EXCHANGE_DENIED },
	{ "no name at all", "a:b c", NULL, "pencil", EXCHANGE_DENIED },
	{ "acting as oneself", "alice@x.org", "alice@x.org", "pencil",
	    EXCHANGE_PROVED },
	{ "acting as oneself, spelled otherwise", "alice@x.org", "alice",
	    "pencil", EXCHANGE_PROVED },
	{ "acting as another", "alice@x.org", "bob@x.org", "pencil",
	    EXCHANGE_DENIED },
	{ "acting as no name", "alice@x.org", "a b", "pencil",
	    EXCHANGE_DENIED },
};

static void
test_clients(void **state)
{
	static const char *const mechanisms[] = { "SCRAM-SHA-256",
		"SCRAM-SHA-1", "PLAIN", "LOGIN" };

	(void)state;
	for (size_t m = 0; m < 4; m++)
		for (size_t i = 0; i < sizeof people / sizeof people[0]; i++)
			for (int initial = 0; initial < 2; initial++) {
				enum exchange_step result;

				if (m == 3 && people[i].authzid != NULL)
					continue; /* LOGIN has none */
				result = converse(mechanisms[m],
				    people[i].authid, people[i].authzid,
				    people[i].password, initial);
				if (result != people[i].result)
					fail_msg("%s, %s, initial %d: %d, "
						 "expected %d",
					    mechanisms[m], people[i].what,
					    initial, result, people[i].result);
			}
}

static const struct {
	const char *what; /* what a "not ok" should teach */
	const char *mechanism;
	const char *response;
	size_t len;
	enum exchange_step result;
} malformed[] = {
#define ROW(what, mechanism, response, result)                                 \
	{                                                                      \
		what, mechanism, response, sizeof(response) - 1, result        \
	}
	ROW("PLAIN: empty", "PLAIN", "", EXCHANGE_MALFORMED),
	ROW("PLAIN: no NUL", "PLAIN", "alice", EXCHANGE_MALFORMED),
	ROW("PLAIN: one NUL", "PLAIN", "\0alice", EXCHANGE_MALFORMED),
	ROW("PLAIN: three NUL", "PLAIN", "\0alice\0pencil\0",
	    EXCHANGE_MALFORMED),
	ROW("PLAIN: NUL in the password", "PLAIN", "\0alice\0pen\0cil",
	    EXCHANGE_MALFORMED),
	ROW("PLAIN: empty user", "PLAIN", "\0\0pencil", EXCHANGE_DENIED),
	ROW("PLAIN: empty user with a realm", "PLAIN", "\0@x.org\0pencil",
	    EXCHANGE_DENIED),
	ROW("PLAIN: empty password", "PLAIN", "\0alice\0", EXCHANGE_DENIED),
	ROW("PLAIN: not UTF-8", "PLAIN", "\0al\xff\0pencil", EXCHANGE_DENIED),
	ROW("PLAIN: control character", "PLAIN", "\0al\1\0pencil",
	    EXCHANGE_DENIED),
	ROW("PLAIN: line end in the name", "PLAIN", "\0al\r\n\0pencil",
	    EXCHANGE_DENIED),
	ROW("PLAIN: unassigned code point", "PLAIN",
	    "\0alice\0\xf0\x9f\x98\x80", EXCHANGE_DENIED),
	ROW("SCRAM: rubbish", "SCRAM-SHA-256", "rubbish", EXCHANGE_MALFORMED),
	ROW("SCRAM: NUL", "SCRAM-SHA-256", "n,,n=a\0b,r=abc",
	    EXCHANGE_MALFORMED),
	ROW("SCRAM: no nonce", "SCRAM-SHA-256", "n,,n=alice",
	    EXCHANGE_MALFORMED),
	ROW("SCRAM: an extension that must be understood", "SCRAM-SHA-256",
	    "n,,m=x,n=alice,r=abc", EXCHANGE_MALFORMED),
	ROW("SCRAM: a binding where none was offered", "SCRAM-SHA-256",
	    "p=tls-exporter,,n=alice,r=abc", EXCHANGE_DENIED),
	ROW("SCRAM: tls-unique", "SCRAM-SHA-256", "p=tls-unique,,n=alice,r=abc",
	    EXCHANGE_DENIED),
	ROW("SCRAM: y, and none was offered", "SCRAM-SHA-256",
	    "y,,n=alice,r=abc", EXCHANGE_CHALLENGE),
	ROW("SCRAM: an escape that there is not", "SCRAM-SHA-256",
	    "n,,n=al=2Xice,r=abc", EXCHANGE_MALFORMED),
	ROW("SCRAM: = at the end of a name", "SCRAM-SHA-256",
	    "n,,n=alice=3,r=abc", EXCHANGE_MALFORMED),
	ROW("SCRAM: the same for somebody else", "SCRAM-SHA-256",
	    "n,a=al=ice,n=alice,r=abc", EXCHANGE_MALFORMED),
	ROW("SCRAM: both escapes, and = in the nonce", "SCRAM-SHA-256",
	    "n,a=a=2Cb=3D,n=a=2Cb=3D,r=a=bc=", EXCHANGE_CHALLENGE),
#undef ROW
};

/* Whose the certificate is; "": nobody's. */
static bool
give_external(void *context, char name_out[static NAME_SIZE])
{
	strcpy(name_out, context);
	return !store.trouble;
}

static void
test_external(void **state)
{
	static const struct {
		const char *owner, *response;
		enum exchange_step result;
	} rows[] = {
		{ "alice@x.org", "", EXCHANGE_PROVED },
		{ "alice@x.org", "alice@x.org", EXCHANGE_PROVED },
		{ "alice@x.org", "alice", EXCHANGE_PROVED },
		{ "alice@x.org", "bob@x.org", EXCHANGE_DENIED },
		{ "alice@x.org", "alice@y.org", EXCHANGE_DENIED },
		{ "alice@x.org", "a b", EXCHANGE_DENIED },
		{ "", "", EXCHANGE_DENIED },
		{ "", "alice@x.org", EXCHANGE_DENIED },
	};
	struct exchange_options options = { .mechanism = "EXTERNAL",
		.default_realm = "x.org",
		.scram = give_scram };
	struct exchange *x;
	struct reason why;

	(void)state;
	assert_false(exchange_new(&x, library, &options, &why));
	options.external = give_external;
	for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
		enum exchange_step result;

		options.context = (void *)(uintptr_t)rows[i / 2].owner;
		assert_true(exchange_new(&x, library, &options, &why));
		if (i % 2 == 1) /* without an initial response */
			assert_int_equal(step(x, NULL, 0), EXCHANGE_CHALLENGE);
		result =
		    step(x, rows[i / 2].response, strlen(rows[i / 2].response));
		if (result != rows[i / 2].result)
			fail_msg("\"%s\" as \"%s\": %d", rows[i / 2].owner,
			    rows[i / 2].response, result);
		assert_string_equal(exchange_name(x),
		    result == EXCHANGE_PROVED ? rows[i / 2].owner : "");
		exchange_free(x);
	}
	store.trouble = true;
	options.context = (void *)(uintptr_t) "alice@x.org";
	assert_true(exchange_new(&x, library, &options, &why));
	assert_int_equal(say(x, ""), EXCHANGE_TROUBLE);
	exchange_free(x);
	store.trouble = false;
}

/* What a client says of channel binding (RFC 5802, section 6), where -PLUS was
 * offered to it and where it was not. */
static void
test_binding_words(void **state)
{
	static const struct {
		const char *mechanism, *response;
		bool offered;
		enum exchange_step result;
	} rows[] = {
		{ "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=alice,r=abc", true,
		    EXCHANGE_CHALLENGE },
		{ "SCRAM-SHA-1-PLUS", "p=tls-exporter,,n=alice,r=abc", true,
		    EXCHANGE_CHALLENGE },
		{ "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=alice,r=abc", true,
		    EXCHANGE_DENIED },
		{ "SCRAM-SHA-256-PLUS", "p=tls-exporterr,,n=alice,r=abc", true,
		    EXCHANGE_DENIED },
		{ "SCRAM-SHA-256-PLUS", "n,,n=alice,r=abc", true,
		    EXCHANGE_DENIED },
		{ "SCRAM-SHA-256-PLUS", "y,,n=alice,r=abc", true,
		    EXCHANGE_DENIED },
		{ "SCRAM-SHA-256", "n,,n=alice,r=abc", true,
		    EXCHANGE_CHALLENGE },
		{ "SCRAM-SHA-256", "y,,n=alice,r=abc", true,
		    EXCHANGE_DOWNGRADE },
		{ "SCRAM-SHA-1", "y,,n=alice,r=abc", true, EXCHANGE_DOWNGRADE },
		{ "SCRAM-SHA-256", "y,,n=alice,r=abc", false,
		    EXCHANGE_CHALLENGE },
		{ "SCRAM-SHA-256", "p=tls-exporter,,n=alice,r=abc", true,
		    EXCHANGE_DENIED },
	};
	const struct exchange_options nothing_to_bind_to = {
		.mechanism = "SCRAM-SHA-256-PLUS",
		.default_realm = "x.org",
		.scram = give_scram
	};
	struct exchange *x;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		enum exchange_step result;

		x = begin_on(rows[i].mechanism,
		    rows[i].offered ? channel : none);
		result = step(x, rows[i].response, strlen(rows[i].response));
		if (result != rows[i].result)
			fail_msg("%s %s: %d, expected %d", rows[i].mechanism,
			    rows[i].response, result, rows[i].result);
		exchange_free(x);
	}
	assert_false(exchange_new(&x, library, &nothing_to_bind_to, &why));
	assert_int_equal(why.code, REASON_ABSENT);
}

static void
test_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
		struct exchange *x = begin(malformed[i].mechanism);
		enum exchange_step result =
		    step(x, malformed[i].response, malformed[i].len);

		if (result != malformed[i].result)
			fail_msg("%s: %d, expected %d", malformed[i].what,
			    result, malformed[i].result);
		/* Over is over. */
		if (result != EXCHANGE_CHALLENGE)
			assert_int_equal(step(x, "\0alice\0pencil", 13),
			    result);
		exchange_free(x);
	}
}

static void
test_plain_ends(void **state)
{
	struct exchange *x = begin("plain");

	(void)state;
	assert_int_equal(step(x, NULL, 0), EXCHANGE_CHALLENGE);
	expect_challenge(x, "");
	assert_int_equal(say(x, "\0alice\0pencil"), EXCHANGE_PASSWORD);
	assert_string_equal(exchange_name(x), "alice@x.org");
	assert_string_equal(exchange_password(x), "pencil");
	/* The library would validate anew. */
	assert_int_equal(say(x, "\0bob\0other"), EXCHANGE_PASSWORD);
	assert_string_equal(exchange_name(x), "alice@x.org");
	exchange_free(x);
}

static void
test_login_forms(void **state)
{
	struct exchange *x = begin("LOGIN");

	(void)state;
	assert_int_equal(step(x, NULL, 0), EXCHANGE_CHALLENGE);
	expect_challenge(x, "Username:");
	assert_int_equal(say(x, "alice"), EXCHANGE_CHALLENGE);
	expect_challenge(x, "Password:");
	assert_int_equal(say(x, "pencil"), EXCHANGE_PASSWORD);
	exchange_free(x);

	x = begin("LOGIN"); /* as smtplib does */
	assert_int_equal(say(x, "alice"), EXCHANGE_CHALLENGE);
	expect_challenge(x, "Password:");
	assert_int_equal(say(x, "pencil"), EXCHANGE_PASSWORD);
	assert_string_equal(exchange_name(x), "alice@x.org");
	assert_string_equal(exchange_password(x), "pencil");
	exchange_free(x);

	x = begin("LOGIN"); /* NUL would cut the name short */
	assert_int_equal(say(x, "alice\0x"), EXCHANGE_MALFORMED);
	exchange_free(x);

	x = begin("LOGIN");
	assert_int_equal(say(x, ""), EXCHANGE_MALFORMED);
	exchange_free(x);

	x = begin("LOGIN");
	assert_int_equal(say(x, "alice"), EXCHANGE_CHALLENGE);
	assert_int_equal(say(x, ""), EXCHANGE_MALFORMED);
	exchange_free(x);
}

static void
test_bounds(void **state)
{
	static char large[EXCHANGE_RESPONSE_MAX + 1];
	struct exchange *x;

	(void)state;
	memset(large, 'a', sizeof large);
	x = begin("LOGIN");
	assert_int_equal(step(x, large, sizeof large), EXCHANGE_MALFORMED);
	exchange_free(x);
	x = begin("LOGIN");
	assert_int_equal(step(x, large, sizeof large - 1), EXCHANGE_CHALLENGE);
	assert_int_equal(step(x, large, sizeof large - 1), EXCHANGE_DENIED);
	assert_int_equal(strlen(exchange_claimed(x)), EXCHANGE_CLAIMED_MAX);
	exchange_free(x);
	/* Empty responses for ever. */
	x = begin("SCRAM-SHA-1");
	for (int i = 0; i < EXCHANGE_STEPS_MAX; i++)
		(void)step(x, "", 0);
	assert_int_equal(step(x, "", 0), EXCHANGE_MALFORMED);
	exchange_free(x);
}

static void
test_allow_list(void **state)
{
	static const char *const others[] = { "CRAM-MD5", "DIGEST-MD5",
		"ANONYMOUS", "EXTERNAL", "NTLM", "GSSAPI", "GS2-KRB5",
		"SECURID", "SAML20", "OPENID20", "SCRAM-SHA-1-PLUS", "",
		"PLAIN ", "PLAINX" };
	struct exchange_options options = { .default_realm = "x.org",
		.scram = give_scram };
	struct exchange *x;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		options.mechanism = others[i];
		assert_false(exchange_new(&x, library, &options, &why));
		assert_int_equal(why.code, REASON_ABSENT);
	}
}

/* A store that cannot be read is no reason to say no, nor yes. */
static void
test_trouble(void **state)
{
	struct exchange *x = begin("SCRAM-SHA-256");

	(void)state;
	store.trouble = true;
	assert_int_equal(say(x, "n,,n=alice,r=abc"), EXCHANGE_TROUBLE);
	store.trouble = false;
	exchange_free(x);
}

/* The same flow for unknown names, with their stable salt. */
static void
test_unknown_flow(void **state)
{
	struct exchange *x = begin("SCRAM-SHA-256");
	gnutls_datum_t challenge;

	(void)state;
	assert_int_equal(say(x, "n,,n=nobody,r=abc"), EXCHANGE_CHALLENGE);
	assert_string_equal(store.asked, "nobody@x.org");
	assert_string_equal(exchange_claimed(x), "nobody");
	challenge = exchange_challenge(x);
	assert_non_null(memmem(challenge.data, challenge.size,
	    ",s=ZmZmZmZmZmZmZmZmZmZmZg==,i=4096", 34));
	exchange_free(x);
}

/* Something after the server's signature. */
static void
test_after_signature(void **state)
{
	static const char *const last[] = { "", "x" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct exchange *x = begin("SCRAM-SHA-1");
		enum exchange_step result = EXCHANGE_CHALLENGE;
		gnutls_datum_t challenge = { 0 };
		Gsasl_session *client;
		Gsasl *gsasl;
		char *out;
		size_t len;

		gsasl_init(&gsasl);
		gsasl_client_start(gsasl, "SCRAM-SHA-1", &client);
		gsasl_property_set(client, GSASL_AUTHID, "alice");
		gsasl_property_set(client, GSASL_PASSWORD, "pencil");
		for (int n = 0; n < 2; n++) {
			gsasl_step(client, (char *)challenge.data,
			    challenge.size, &out, &len);
			assert_null(exchange_signed(x));
			result = step(x, out, len);
			gsasl_free(out);
			challenge = exchange_challenge(x);
		}
		assert_int_equal(result, EXCHANGE_CHALLENGE);
		assert_memory_equal(challenge.data, "v=", 2);
		/* Not before the client has had its say. */
		assert_string_equal(exchange_name(x), "");
		assert_string_equal(exchange_signed(x), "alice@x.org");
		assert_int_equal(step(x, last[i], strlen(last[i])),
		    i == 0 ? EXCHANGE_PROVED : EXCHANGE_MALFORMED);
		assert_null(exchange_signed(x));
		assert_string_equal(exchange_name(x),
		    i == 0 ? "alice@x.org" : "");
		gsasl_finish(client);
		gsasl_done(gsasl);
		exchange_free(x);
	}
}

/* The client's side. */

static bool
give_file(void *context, const char *path, gnutls_datum_t *octets)
{
	static char secret[] = "from file\r\nsecond line\n";

	(void)context;
	if (strcmp(path, "/etc/sp/secret") != 0)
		return false;
	octets->data = (unsigned char *)secret;
	octets->size = sizeof secret - 1;
	return true;
}

static struct login_book *
book_of(const char *text, struct reason *why)
{
	gnutls_datum_t octets = { (void *)(uintptr_t)text,
		(unsigned)strlen(text) };
	struct login_book *book;

	return login_book_parse(&book, "/etc/sp/upstream", &octets, give_file,
		   NULL, why)
		   ? book
		   : NULL;
}

static const struct {
	const char *text;
	const char *error; /* NULL: parses */
} books[] = {
	{ "", NULL },
	{ "# nothing\n\n   \t\n", NULL },
	{ "isp any alice pencil", NULL },
	{ "isp any alice pencil # why\nb PLAIN b c\n", NULL },
	{ "isp any alice pen#cil\r\n", NULL },
	{ "isp any \"al ice\" \"p \\\"q\\\\\"\n", NULL },
	{ "isp any alice file:secret\n", NULL },
	{ "isp any alice \"file:secret\"\n", NULL },
	{ "isp EXTERNAL \"\"\n", NULL },
	{ "isp external relay\n", NULL },
	{ "isp", "upstream:1: cut off" },
	{ "isp any", "upstream:1: cut off" },
	{ "\nisp any alice", "upstream:2: no password" },
	{ "isp any \"\" pw", "upstream:1: empty user" },
	{ "isp any a \"\"", "upstream:1: password of 0 octets" },
	{ "isp EXTERNAL a pw", "upstream:1: EXTERNAL has no password" },
	{ "isp CRAM-MD5 a b", "upstream:1: unknown mechanism" },
	{ "is/p any a b", "upstream:1: name of a login" },
	{ "isp any a b c", "upstream:1: more than 4 words" },
	{ "isp any a b\nisp any c d", "upstream:2: second login isp" },
	{ "isp any a \"b", "upstream:1: broken quotes" },
	{ "isp any a \"b\"c", "upstream:1: broken quotes" },
	{ "isp any a b\"c", "upstream:1: broken quotes" },
	{ "isp any a \"b\\c\"", "upstream:1: broken quotes" },
	{ "isp any a file:", "upstream:1: file: without a path" },
	{ "isp any a file:other",
	    "upstream:1: the password file /etc/sp/other" },
};

static void
test_books(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof books / sizeof books[0]; i++) {
		struct reason why = { 0 };
		struct login_book *book = book_of(books[i].text, &why);

		if ((book == NULL) != (books[i].error != NULL) ||
		    (book == NULL && strstr(why.text, books[i].error) == NULL))
			fail_msg("%s: %s", books[i].text,
			    book == NULL ? why.text : "parsed");
		login_book_free(book);
	}
}

static void
test_book_questions(void **state)
{
	struct login_book *book = book_of("a any u p\nb any u file:secret\n"
					  "c any u file:/etc/sp/secret\n",
	    NULL);

	(void)state;
	assert_true(login_book_has(book, "a"));
	assert_false(login_book_has(book, "A"));
	assert_false(login_book_has(book, ""));
	assert_string_equal(login_book_file(book, 0), "/etc/sp/secret");
	assert_string_equal(login_book_file(book, 1), "/etc/sp/secret");
	assert_null(login_book_file(book, 2));
	login_book_free(book);
}

static void
test_book_nul(void **state)
{
	gnutls_datum_t octets = { (unsigned char *)"a any u p\0q\n", 12 };
	struct login_book *book;

	(void)state;
	assert_false(login_book_parse(&book, "/u", &octets, NULL, NULL, NULL));
}

/* auth/login.h logs in at auth/exchange.h. */
static enum exchange_step
log_in_on(const char *line, const char *offered, const char *server,
    gnutls_datum_t ours, gnutls_datum_t theirs)
{
	struct login_book *book = book_of(line, NULL);
	struct exchange *x = begin_on(server, theirs);
	enum exchange_step result;
	gnutls_datum_t response, challenge;
	struct login *login;
	bool has_response;
	struct reason why;

	assert_non_null(book);
	if (!login_new(&login, library, book, "isp", offered, true, ours, &why))
		fail_msg("%s", why.text);
	assert_string_equal(login_mechanism(login), server);
	assert_true(login_step(login, NULL, &response, &has_response, &why));
	result = step(x,
	    has_response ? (response.data != NULL ? (void *)response.data : "")
			 : NULL,
	    response.size);
	while (result == EXCHANGE_CHALLENGE) {
		challenge = exchange_challenge(x);
		if (!login_step(login, &challenge, &response, &has_response,
			&why)) {
			result = EXCHANGE_TROUBLE;
			break;
		}
		result =
		    step(x, response.data != NULL ? (void *)response.data : "",
			response.size);
	}
	if (result == EXCHANGE_PROVED || result == EXCHANGE_PASSWORD)
		assert_true(login_is_complete(login));
	result = decide(x, result);
	login_free(login);
	login_book_free(book);
	exchange_free(x);
	return result;
}

static enum exchange_step
log_in(const char *line, const char *offered, const char *server)
{
	return log_in_on(line, offered, server, none, none);
}

static void
test_logins(void **state)
{
	static const char all[] = "LOGIN PLAIN SCRAM-SHA-1 scram-sha-256";

	(void)state;
	assert_int_equal(log_in("isp any alice pencil", all, "SCRAM-SHA-256"),
	    EXCHANGE_PROVED);
	assert_int_equal(log_in("isp any alice pencil",
			     "LOGIN PLAIN SCRAM-SHA-1", "SCRAM-SHA-1"),
	    EXCHANGE_PROVED);
	assert_int_equal(
	    log_in("isp any alice pencil", "LOGIN  PLAIN", "PLAIN"),
	    EXCHANGE_PROVED);
	assert_int_equal(
	    log_in("isp any alice pencil", "LOGIN PLAINER", "LOGIN"),
	    EXCHANGE_PROVED);
	assert_int_equal(log_in("isp plain alice pencil", all, "PLAIN"),
	    EXCHANGE_PROVED);
	assert_int_equal(log_in("isp any alice wrong", all, "SCRAM-SHA-256"),
	    EXCHANGE_DENIED);
	assert_int_equal(log_in("isp any alice file:secret", "PLAIN", "PLAIN"),
	    EXCHANGE_DENIED);
}

/* Our client against our server: the same channel, another one (somebody is
 * between), and a smarthost that offers -PLUS where we have no channel. */
static void
test_logins_bound(void **state)
{
	static const char offer[] = "PLAIN SCRAM-SHA-256 SCRAM-SHA-1-PLUS "
				    "SCRAM-SHA-256-PLUS";
	unsigned char others[32] = "what the other leg would give";
	const gnutls_datum_t other = { others, sizeof others };

	(void)state;
	assert_int_equal(log_in_on("isp any alice pencil", offer,
			     "SCRAM-SHA-256-PLUS", channel, channel),
	    EXCHANGE_PROVED);
	assert_int_equal(log_in_on("isp SCRAM-SHA-1-PLUS alice pencil", offer,
			     "SCRAM-SHA-1-PLUS", channel, channel),
	    EXCHANGE_PROVED);
	assert_int_equal(log_in_on("isp any alice pencil", offer,
			     "SCRAM-SHA-256-PLUS", channel, other),
	    EXCHANGE_DENIED);
	assert_int_equal(log_in_on("isp any alice pencil", offer,
			     "SCRAM-SHA-256", none, channel),
	    EXCHANGE_PROVED);
}

static void
test_login_choice(void **state)
{
	struct login_book *book = book_of("isp any a b\nfix LOGIN a b\n"
					  "cert EXTERNAL \"\"\n"
					  "named EXTERNAL relay\n",
	    NULL);
	gnutls_datum_t response;
	struct login *login;
	struct reason why;
	bool has;

	(void)state;
	assert_false(login_new(&login, library, book, "isp", "PLAIN", false,
	    none, &why));
	assert_int_equal(why.code, REASON_CLEARTEXT);
	assert_false(login_new(&login, library, book, "isp",
	    "EXTERNAL CRAM-MD5", true, none, &why));
	assert_int_equal(why.code, REASON_ABSENT);
	assert_false(
	    login_new(&login, library, book, "fix", "PLAIN", true, none, &why));
	assert_false(login_new(&login, library, book, "other", "PLAIN", true,
	    none, &why));
	assert_true(login_new(&login, library, book, "cert", "EXTERNAL", true,
	    none, &why));
	assert_true(login_step(login, NULL, &response, &has, &why));
	assert_true(has);
	assert_int_equal(response.size, 0);
	login_free(login);
	assert_true(login_new(&login, library, book, "named", "EXTERNAL", true,
	    none, &why));
	assert_true(login_step(login, NULL, &response, &has, &why));
	assert_int_equal(response.size, 5);
	assert_memory_equal(response.data, "relay", 5);
	/* It has said all it has to say. */
	assert_false(login_step(login, &response, &response, &has, &why));
	login_free(login);
	login_book_free(book);
}

/* A smarthost that lies. */
static void
test_hostile_smarthost(void **state)
{
	static const char *const counts[] = { "1", "4095", "600001",
		"4294967295", "-5", "99999999999999999999" };
	struct login_book *book = book_of("isp SCRAM-SHA-1 a b\n", NULL);
	gnutls_datum_t response, challenge;
	struct login *login;
	struct reason why;
	char text[512];
	bool has;

	(void)state;
	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		assert_true(login_new(&login, library, book, "isp",
		    "SCRAM-SHA-1", true, none, &why));
		assert_true(login_step(login, NULL, &response, &has, &why));
		snprintf(text, sizeof text, "%.*sx,s=QSXCR+Q6sek8bf92,i=%s",
		    (int)response.size - 7, response.data + 7, counts[i]);
		assert_memory_equal(text, "r=", 2);
		challenge.data = (unsigned char *)text;
		challenge.size = (unsigned)strlen(text);
		if (login_step(login, &challenge, &response, &has, &why))
			fail_msg("%s iterations", counts[i]);
		assert_int_equal(why.code, REASON_AUTH);
		login_free(login);
	}
	/* The right count, and a signature that it cannot know. */
	assert_true(login_new(&login, library, book, "isp", "SCRAM-SHA-1", true,
	    none, &why));
	assert_true(login_step(login, NULL, &response, &has, &why));
	snprintf(text, sizeof text, "%.*sx,s=QSXCR+Q6sek8bf92,i=4096",
	    (int)response.size - 7, response.data + 7);
	challenge.data = (unsigned char *)text;
	challenge.size = (unsigned)strlen(text);
	assert_false(login_is_complete(login));
	assert_true(login_step(login, &challenge, &response, &has, &why));
	assert_false(login_is_complete(login));
	challenge.data = (unsigned char *)"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=";
	challenge.size = 30;
	assert_false(login_step(login, &challenge, &response, &has, &why));
	assert_false(login_is_complete(login));
	login_free(login);
	login_book_free(book);
}

static void
test_book_line(void **state)
{
	char line[256];
	struct login_book *book;

	(void)state;
	assert_true(login_book_line(line, sizeof line, "isp", "any", "alice",
	    "file:\"p\\ #", NULL));
	assert_string_equal(line, "isp any \"alice\" \"file:\\\"p\\\\ #\"\n");
	book = book_of(line, NULL);
	assert_non_null(book);
	assert_null(login_book_file(book, 0));
	login_book_free(book);
	assert_true(login_book_line(line, sizeof line, "isp", "EXTERNAL", "",
	    NULL, NULL));
	assert_string_equal(line, "isp EXTERNAL \"\"\n");
	assert_false(login_book_line(line, sizeof line, "isp", "any", "a",
	    "b\nc", NULL));
	assert_false(
	    login_book_line(line, sizeof line, "i p", "any", "a", "b", NULL));
	for (size_t size = 1; size < 18; size++)
		assert_false(login_book_line(line, size, "isp", "any", "a",
		    "bcd", NULL));
	assert_true(login_book_line(line, 19, "isp", "any", "a", "bcd", NULL));
	assert_int_equal(strlen(line), 18);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_binding_words),
		cmocka_unit_test(test_logins_bound),
		cmocka_unit_test(test_plain_ends),
		cmocka_unit_test(test_login_forms),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_allow_list),
		cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_unknown_flow),
		cmocka_unit_test(test_after_signature),
		cmocka_unit_test(test_books),
		cmocka_unit_test(test_book_questions),
		cmocka_unit_test(test_book_nul),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_login_choice),
		cmocka_unit_test(test_hostile_smarthost),
		cmocka_unit_test(test_book_line),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
