/*
 * t/unit/auth_login.c: logins at smarthosts by token: where it comes from, and
 * what is said with it.  Those by password are in auth_exchange.c.
 */
#include "../../auth/bearer.h"
#include "../../auth/login.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const gnutls_datum_t none = { NULL, 0 };

static struct login_book *
book_of(const char *text, struct reason *why)
{
	gnutls_datum_t octets = { (void *)(uintptr_t)text,
		(unsigned)strlen(text) };
	struct login_book *book;

	return login_book_parse(&book, "/etc/sp/upstream", &octets, NULL, NULL,
		   why)
		   ? book
		   : NULL;
}

static const struct {
	const char *text, *path; /* path NULL: refused */
	bool is_command;
} rows[] = {
	{ "isp XOAUTH2 u file:token", "/etc/sp/token", false },
	{ "isp oauthbearer u file:/run/token", "/run/token", false },
	{ "isp XOAUTH2 u command:bin/print", "/etc/sp/bin/print", true },
	{ "isp XOAUTH2 u command:/bin/print # it", "/bin/print", true },
	{ "isp XOAUTH2 u token", NULL, false },
	{ "isp XOAUTH2 u \"file:token\"", NULL, false },
	{ "isp XOAUTH2 u file:", NULL, false },
	{ "isp XOAUTH2 u command:", NULL, false },
	{ "isp XOAUTH2 u", NULL, false },
	{ "isp XOAUTH2 \"\" file:token", NULL, false },
	{ "isp PLAIN u command:/bin/print", "",
	    false }, /* that is a password */
};

static void
test_sources(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct reason why = { 0 };
		struct login_book *book = book_of(rows[i].text, &why);
		struct login_source from;

		if ((book == NULL) != (rows[i].path == NULL))
			fail_msg("%s: %s", rows[i].text, why.text);
		if (book == NULL) {
			assert_non_null(strstr(why.text, "upstream:1: "));
			continue;
		}
		/* It is no password file, which would be read once. */
		assert_null(login_book_file(book, 0));
		assert_int_equal(login_book_source(book, 0, &from),
		    rows[i].path[0] != '\0');
		if (rows[i].path[0] != '\0') {
			assert_string_equal(from.name, "isp");
			assert_string_equal(from.path, rows[i].path);
			assert_int_equal(from.is_command, rows[i].is_command);
			assert_false(login_book_source(book, 1, &from));
		}
		login_book_free(book);
	}
}

struct talk {
	struct sasl_library *library;
	struct login_book *book;
	struct login *login;
};

static void
begin(struct talk *t, const char *line)
{
	struct reason why;

	assert_true(sasl_library_new(&t->library, NULL));
	t->book = book_of(line, NULL);
	assert_non_null(t->book);
	if (!login_new(&t->login, t->library, t->book, "isp",
		"PLAIN OAUTHBEARER XOAUTH2", true, none, &why))
		fail_msg("%s", why.text);
	assert_true(login_uses_token(t->login));
}

static void
end(struct talk *t)
{
	login_free(t->login);
	login_book_free(t->book);
	sasl_library_free(t->library);
}

/* What is said to challenge (NULL: with AUTH), as a string; NULL: nothing. */
static const char *
said(struct talk *t, const char *challenge)
{
	static char out[BEARER_MESSAGE_MAX + 1];
	gnutls_datum_t octets = { (void *)(uintptr_t)challenge,
		challenge != NULL ? (unsigned)strlen(challenge) : 0 };
	gnutls_datum_t response;
	bool has_response;

	if (!login_step(t->login, challenge != NULL ? &octets : NULL, &response,
		&has_response, NULL))
		return NULL;
	assert_true(has_response);
	memcpy(out, response.data, response.size);
	out[response.size] = '\0';
	return out;
}

static void
test_talk(void **state)
{
	struct talk t;

	(void)state;
	begin(&t, "isp XOAUTH2 u@x file:t");
	assert_true(login_give_token(t.login, "tok\r\nmore", 9, NULL));
	assert_string_equal(said(&t, NULL), "user=u@x\1auth=Bearer tok\1\1");
	/* A yes may be believed; unless there is a no first. */
	assert_true(login_is_complete(t.login));
	assert_string_equal(said(&t, "{\"status\":\"400\"}"), "");
	assert_false(login_is_complete(t.login));
	assert_null(said(&t, "once more"));
	end(&t);

	begin(&t, "isp OAUTHBEARER u,x file:t");
	assert_true(login_give_token(t.login, "tok", 3, NULL));
	assert_string_equal(said(&t, NULL), "n,a=u=2Cx,\1auth=Bearer tok\1\1");
	assert_string_equal(said(&t, "{}"), "\1");
	assert_false(login_is_complete(t.login));
	end(&t);

	/* Out of turn. */
	begin(&t, "isp XOAUTH2 u file:t");
	assert_null(said(&t, NULL));
	end(&t);
	begin(&t, "isp XOAUTH2 u file:t");
	assert_true(login_give_token(t.login, "tok", 3, NULL));
	assert_null(said(&t, "challenge first"));
	assert_false(login_is_complete(t.login));
	end(&t);
}

static void
test_tokens(void **state)
{
	static char longest[BEARER_TOKEN_MAX + 2];
	static const char *const bad[] = { "", "\n", "\ntok", " tok", "tok tok",
		"t\"k", "\xc3\xa9" };
	struct talk t;
	struct reason why;

	(void)state;
	begin(&t, "isp XOAUTH2 u file:t");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (login_give_token(t.login, bad[i], strlen(bad[i]), &why))
			fail_msg("\"%s\" is taken", bad[i]);
		assert_null(strstr(why.text, "tok tok"));
	}
	assert_false(login_give_token(t.login, "to\0k", 4, NULL));
	memset(longest, 'a', sizeof longest);
	assert_false(
	    login_give_token(t.login, longest, BEARER_TOKEN_MAX + 1, NULL));
	assert_true(login_give_token(t.login, longest, BEARER_TOKEN_MAX, NULL));
	assert_int_equal(strlen(said(&t, NULL)),
	    BEARER_TOKEN_MAX + strlen("user=u\1auth=Bearer \1\1"));
	end(&t);
}

/* "any" is for passwords; and nothing is said outside TLS. */
static void
test_choice(void **state)
{
	struct sasl_library *library;
	struct login_book *book = book_of("isp any u p\n"
					  "tok XOAUTH2 u file:t\n",
	    NULL);
	struct login *login;

	(void)state;
	assert_true(sasl_library_new(&library, NULL));
	assert_false(login_new(&login, library, book, "isp",
	    "XOAUTH2 OAUTHBEARER", true, none, NULL));
	assert_false(login_new(&login, library, book, "tok", "XOAUTH2", false,
	    none, NULL));
	assert_false(login_new(&login, library, book, "tok",
	    "PLAIN OAUTHBEARER XOAUTH", true, none, NULL));
	login_book_free(book);
	sasl_library_free(library);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_choice),
	};

	return cmocka_run_group_tests_name("auth_login", tests, NULL, NULL);
}
