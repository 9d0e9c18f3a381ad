/*
 * t/unit/submission_from.c: who wrote a message, by its From field, in all the
 * ways in which that can be said or hidden.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../server/submission_from.h"
#include "../../server/submission_header.h"

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define TEN "0123456789"
#define LOCAL_64 TEN TEN TEN TEN TEN TEN "abcd"
#define LABEL_50 TEN TEN TEN TEN TEN
#define DOMAIN_253                                                             \
	LABEL_50 "." LABEL_50 "." LABEL_50 "." LABEL_50 "." TEN TEN TEN TEN    \
		 "123456789"

static const struct {
	const char *what;      /* what a "not ok" should teach */
	const char *in;        /* after the colon, without the last CRLF */
	const char *mailboxes; /* with a blank between; NULL: bad */
} rows[] = {
	/* As programs write it. */
	{ "an address", " alice@x.org", "alice@x.org" },
	{ "without a blank", "alice@x.org", "alice@x.org" },
	{ "in angle brackets", " <alice@x.org>", "alice@x.org" },
	{ "with a display name", " Alice <alice@x.org>", "alice@x.org" },
	{ "with a name of atoms", " Alice A Author <alice@x.org>",
	    "alice@x.org" },
	{ "with a quoted name", " \"Author, Alice\" <alice@x.org>",
	    "alice@x.org" },
	{ "with quotes in a quoted name",
	    " \"Alice \\\"Al\\\" <b@y.org>\" <alice@x.org>", "alice@x.org" },
	{ "with dots in the name (obs-phrase)",
	    " Alice A. Author <alice@x.org>", "alice@x.org" },
	{ "with an encoded name", " =?utf-8?q?J=C3=BCrgen?= <j@x.org>",
	    "j@x.org" },
	{ "an encoded name says nothing",
	    " =?utf-8?b?PGJvc3NAeS5vcmc+?= <alice@x.org>", "alice@x.org" },
	{ "with a name in UTF-8", " J\xc3\xbcrgen M\xc3\xbcller <j@x.org>",
	    "j@x.org" },
	{ "with a name in Latin 1", " J\xfcrgen <j@x.org>", "j@x.org" },
	{ "with a quoted name in UTF-8", " \"J\xc3\xbcrgen\" <j@x.org>",
	    "j@x.org" },
	{ "with a comment after it", " alice@x.org (Alice Author)",
	    "alice@x.org" },
	{ "with an address in a comment", " alice@x.org (boss@y.org)",
	    "alice@x.org" },
	{ "two of them", " alice@x.org, Bob <bob@y.org>",
	    "alice@x.org bob@y.org" },
	{ "folded", "\r\n Alice\r\n\t<alice@x.org>", "alice@x.org" },
	{ "folded in a quoted name", " \"Alice\r\n Author\" <alice@x.org>",
	    "alice@x.org" },
	{ "an address as a quoted name", " \"bob@y.org\" <alice@x.org>",
	    "alice@x.org" },
	{ "a backslash in a quoted name", " \"Al \\(x\\)\" <alice@x.org>",
	    "alice@x.org" },
	{ "folded between two", " alice@x.org,\r\n bob@y.org",
	    "alice@x.org bob@y.org" },
	{ "blanks inside the brackets", " < alice@x.org >", "alice@x.org" },
	{ "blanks round the @", " alice @ x.org", "alice@x.org" },
	{ "a domain literal", " alice@[192.0.2.1]", "alice@[192.0.2.1]" },
	{ "a domain literal of IPv6", " <alice@[IPv6:2001:db8::1]>",
	    "alice@[IPv6:2001:db8::1]" },
	{ "all of atext", " !#$%&'*+-/=?^_`{|}~a@x.org",
	    "!#$%&'*+-/=?^_`{|}~a@x.org" },
	{ "the longest", " " LOCAL_64 "@" DOMAIN_253, LOCAL_64 "@" DOMAIN_253 },
	{ "a local part in UTF-8", " j\xc3\xbcrgen@x.org",
	    "j\xc3\xbcrgen@x.org" },
	{ "a domain in UTF-8",
	    " a@b\xc3\xbc"
	    "cher.example",
	    "a@b\xc3\xbc"
	    "cher.example" },

	/* Quoted local parts. */
	{ "quotes that are not needed go", " \"alice\"@x.org", "alice@x.org" },
	{ "so do backslashes", " \"al\\ice\"@x.org", "alice@x.org" },
	{ "quotes that are needed stay", " <\"a b\"@x.org>", "\"a b\"@x.org" },
	{ "@ in quotes is of the local part", " \"alice@x.org\"@evil.org",
	    "\"alice@x.org\"@evil.org" },
	{ "so it is in brackets", " Al <\"alice@x.org>\"@evil.org>",
	    "\"alice@x.org>\"@evil.org" },
	{ "a quote in quotes", " \"a\\\"b\"@x.org", "\"a\\\"b\"@x.org" },
	{ "a backslash in quotes", " \"a\\\\b\"@x.org", "\"a\\\\b\"@x.org" },
	{ "quoted words with dots (obs-local-part)", " \"a\".\"b c\".d@x.org",
	    "\"a.b c.d\"@x.org" },
	{ "the longest, quoted", " \"" LOCAL_64 "\"@x.org", LOCAL_64 "@x.org" },

	/* Groups: RFC 6854. */
	{ "a group of one", " Friends: alice@x.org;", "alice@x.org" },
	{ "a group of two", " Friends: alice@x.org, B <bob@y.org>;",
	    "alice@x.org bob@y.org" },
	{ "an empty group", " Undisclosed: ;", "" },
	{ "an empty group and one", " Nobody:;, alice@x.org", "alice@x.org" },
	{ "one and a group", " alice@x.org, F: bob@y.org;",
	    "alice@x.org bob@y.org" },
	{ "a group with a comment", " F (a): bob@y.org (b) ; (c)",
	    "bob@y.org" },
	{ "empty elements in a group", " F: ,, bob@y.org,;", "bob@y.org" },

	/* Comments, blanks and obsolete forms. */
	{ "comments everywhere",
	    " (a) Alice (b) < (c) alice (d) @ (e) x.org (f) > (g)",
	    "alice@x.org" },
	{ "a comment in a comment", " (a (b) c) alice@x.org", "alice@x.org" },
	{ "brackets in a comment", " (<boss@y.org>) alice@x.org",
	    "alice@x.org" },
	{ "a comma in a comment", " alice@x.org (, boss@y.org)",
	    "alice@x.org" },
	{ "quotes mean nothing in a comment", " (\") alice@x.org (\")",
	    "alice@x.org" },
	{ "a comment means nothing in quotes", " \"(\" <alice@x.org>",
	    "alice@x.org" },
	{ "a backslash in a comment", " (\\) <boss@y.org>) alice@x.org",
	    "alice@x.org" },
	{ "a folded comment", " (a\r\n b) alice@x.org", "alice@x.org" },
	{ "a route", " <@a.org,@b.org:alice@x.org>", "alice@x.org" },
	{ "a route is not who wrote it", " Al <@x.org:boss@evil.org>",
	    "boss@evil.org" },
	{ "empty list elements", " , alice@x.org,, bob@y.org ,",
	    "alice@x.org bob@y.org" },

	/* Nothing that says who wrote it. */
	{ "nothing", "", "" },
	{ "blanks", " \r\n ", "" },
	{ "commas", " ,,", "" },
	{ "a comment alone", " (alice@x.org)", "" },

	/* What is bad, however some program may read it. */
	{ "a bare name", " alice", NULL },
	{ "a name and an empty address", " Alice <>", NULL },
	{ "an empty address", " <>", NULL },
	{ "an address as a name", " boss@y.org <alice@x.org>", NULL },
	{ "an address after an address", " alice@x.org boss@y.org", NULL },
	{ "an address after brackets", " <alice@x.org> boss@y.org", NULL },
	{ "brackets after brackets", " <alice@x.org> <boss@y.org>", NULL },
	{ "brackets after an address", " alice@x.org <boss@y.org>", NULL },
	{ "a name after brackets", " <alice@x.org> Boss", NULL },
	{ "two @", " alice@x.org@evil.org", NULL },
	{ "two @ in brackets", " <alice@x.org@evil.org>", NULL },
	{ "brackets in brackets", " <<alice@x.org>>", NULL },
	{ "brackets that do not end", " <alice@x.org", NULL },
	{ "brackets that do not begin", " alice@x.org>", NULL },
	{ "a comma in brackets", " <alice@x.org,boss@y.org>", NULL },
	{ "a semicolon between them", " alice@x.org; boss@y.org", NULL },
	{ "a group that does not end", " F: alice@x.org", NULL },
	{ "a group in a group", " F: G: alice@x.org;;", NULL },
	{ "a group without a name", " : alice@x.org;", NULL },
	{ "an address after a group", " F: a@x.org; boss@y.org", NULL },
	{ "an end of no group", " a@x.org;", NULL },
	{ "a comment that does not end", " alice@x.org (", NULL },
	{ "a comment that does not begin", " alice@x.org )", NULL },
	{ "a comment ends later than one thinks", " (a (b) alice@x.org", NULL },
	{ "quotes that do not end", " \"Alice <alice@x.org>", NULL },
	{ "quotes that end with their line, for some",
	    " \"\r\n boss@y.org\" <alice@x.org>", NULL },
	{ "so do comments", " (\r\n <boss@y.org>) alice@x.org", NULL },
	{ "an address and a line end in others",
	    " \"boss@y.org\" (\r\n ,) <alice@x.org>", NULL },
	{ "a backslash that may be half a letter",
	    " \"\x83\\\" <boss@y.org>, \" <alice@x.org>", NULL },
	{ "so it may in a comment", " (\x83\\) <boss@y.org> ) alice@x.org",
	    NULL },
	{ "a backslash at the end", " \"Alice\\", NULL },
	{ "a backslash outside", " Al\\ice <alice@x.org>", NULL },
	{ "a comment inside a domain", " alice@x(a).org", NULL },
	{ "a blank inside a domain", " alice@x .org", NULL },
	{ "a blank after the dot of a domain", " alice@x. org", NULL },
	{ "a fold inside a domain", " alice@x.org\r\n .evil.org", NULL },
	{ "a comment inside a local part", " al(a)ice@x.org", NULL },
	{ "a comment beside a dot", " al(a).ice@x.org", NULL },
	{ "blanks in a local part", " alice b@x.org", NULL },
	{ "quotes beside an atom", " \"a\"b@x.org", NULL },
	{ "quotes beside quotes", " \"a\"\"b\"@x.org", NULL },
	{ "a dot first", " .alice@x.org", NULL },
	{ "a dot last", " alice.@x.org", NULL },
	{ "two dots", " al..ice@x.org", NULL },
	{ "a dot at the end of the domain", " alice@x.org.", NULL },
	{ "two dots in the domain", " alice@x..org", NULL },
	{ "no domain", " alice@", NULL },
	{ "no local part", " @x.org", NULL },
	{ "a quoted domain", " alice@\"x.org\"", NULL },
	{ "an encoded word as local part", " =?utf-8?q?boss=40y.org?=@x.org",
	    NULL },
	{ "an encoded word in a quoted local part",
	    " \"=?utf-8?q?boss?=\"@x.org", NULL },
	{ "a literal that does not end", " alice@[192.0.2.1", NULL },
	{ "text after a literal", " alice@[192.0.2.1]x.org", NULL },
	{ "a blank in a literal", " alice@[192.0.2. 1]", NULL },
	{ "a route without end", " <@a.org alice@x.org>", NULL },
	{ "a route without an address", " <@a.org:>", NULL },
	{ "a backspace", " boss\b\b\b\balice@x.org", NULL },
	{ "an escape in a name", " \"\033[2J\" <alice@x.org>", NULL },
	{ "an escape in a comment", " (\033[2J) <alice@x.org>", NULL },
	{ "a delete", " al\177ice@x.org", NULL },
	{ "a local part of 65 octets", " " LOCAL_64 "e@x.org", NULL },
	{ "a domain of 254 octets", " a@" DOMAIN_253 "b", NULL },
	{ "brackets of another kind in a name", " Alice [work] <alice@x.org>",
	    NULL },
	{ "one that is good before one that is bad", " alice@x.org, boss@",
	    NULL },
};

/* The mailboxes with blanks between; NULL: bad. */
static const char *
read_all(const char *value, size_t len)
{
	static char all[4096];
	char mailbox[SUBMISSION_ADDRESS_SIZE];
	struct submission_from from;
	size_t at = 0;

	all[0] = '\0';
	submission_from_init(&from, value, len);
	for (;;) {
		switch (submission_from_next(&from, mailbox)) {
		case FROM_MAILBOX:
			at += (size_t)snprintf(all + at, sizeof all - at,
			    "%s%s", at > 0 ? " " : "", mailbox);
			break;
		case FROM_END:
			return all;
		case FROM_BAD:
			assert_int_equal(submission_from_next(&from, mailbox),
			    FROM_BAD);
			return NULL;
		}
	}
}

static void
mailboxes_of_a_value(void **state)
{
	char value[1024];
	size_t bad = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		int len = snprintf(value, sizeof value, "%s\r\n", rows[i].in);
		const char *got = read_all(value, (size_t)len);

		if (got == NULL ? rows[i].mailboxes == NULL
				: rows[i].mailboxes != NULL &&
				      strcmp(got, rows[i].mailboxes) == 0)
			continue;
		print_message("# %s:%s: %s\n", rows[i].what, rows[i].in,
		    got != NULL ? got : "bad");
		bad++;
	}
	assert_int_equal(bad, 0);
}

static void
comments_are_bounded(void **state)
{
	char value[8192];
	size_t len = 0;

	(void)state;
	for (unsigned depth = SUBMISSION_COMMENT_DEPTH; depth < 2000;
	     depth += 500) {
		memset(value, '(', depth);
		memset(value + depth, ')', depth);
		memcpy(value + 2 * depth, "a@x.org", 7);
		len = 2 * depth + 7;
		if (depth == SUBMISSION_COMMENT_DEPTH)
			assert_string_equal(read_all(value, len), "a@x.org");
		else
			assert_null(read_all(value, len));
	}
}

/* "F alice@x.org|S bob@y.org": the fields kept and what is in them. */
static const struct {
	const char *what, *message, *fields;
	unsigned from;
	bool text; /* something that is no field ends the header */
} headers[] = {
	{ "one", "From: a@x.org\r\n\r\nb", "F a@x.org", 1, false },
	{ "in any case", "fROM:a@x.org\r\n", "F a@x.org", 1, false },
	{ "a blank before the colon", "From \t: a@x.org\r\n", "F a@x.org", 1,
	    false },
	{ "folded at once", "From:\r\n a@x.org\r\n", "F a@x.org", 1, false },
	{ "folded twice", "From: A\r\n B\r\n\t<a@x.org>\r\nTo: c\r\n",
	    "F a@x.org", 1, false },
	{ "a fold in another field is none", "To: a\r\n From: b@y.org\r\n", "",
	    0, false },
	{ "two are two", "From: a@x.org\r\nFrom: b@y.org\r\n",
	    "F a@x.org|F b@y.org", 2, false },
	{ "two in other case", "From: a@x.org\r\nFROM : b@y.org\r\n",
	    "F a@x.org|F b@y.org", 2, false },
	{ "an empty one counts", "From:\r\nFrom: b@y.org\r\n", "F |F b@y.org",
	    2, false },
	{ "a longer name is another", "Froms: a@x.org\r\nX-From: b@y.org\r\n",
	    "", 0, false },
	{ "not in the body", "To: a\r\n\r\nFrom: b@y.org\r\n", "", 0, false },
	{ "nor after what is no field", "To: a\r\nhello\r\nFrom: b@y.org\r\n",
	    "", 0, true },
	{ "a blank in a name makes it none",
	    "To: a\r\nFrom x: b@y.org\r\nFrom: c@x.org\r\n", "", 0, true },
	{ "a fold before the colon makes it none",
	    "To: a\r\nFrom\r\n : b@y.org\r\n", "", 0, true },
	{ "eight bits in a name make it none",
	    "To: a\r\nFrom\xc2\xa0: b@y.org\r\n", "", 0, true },
	{ "an empty name makes it none", "To: a\r\n: b\r\nFrom: b@y.org\r\n",
	    "", 0, true },
	{ "a control character in a name makes it none",
	    "To: a\r\nFr\bom: b@y.org\r\n", "", 0, true },
	{ "the envelope of a mailbox file makes it none",
	    "From a@x.org Mon\r\nFrom: b@y.org\r\n", "", 0, true },
	{ "who sent it", "Sender: a@x.org\r\nFrom: b@y.org\r\n",
	    "S a@x.org|F b@y.org", 1, false },
	{ "who sent it again",
	    "Resent-From: a@x.org\r\nResent-Sender: c@x.org\r\n"
	    "From: b@y.org\r\n",
	    "R a@x.org|r c@x.org|F b@y.org", 1, false },
};

static const char letters[] = {
	[FIELD_FROM] = 'F',
	[FIELD_SENDER] = 'S',
	[FIELD_RESENT_FROM] = 'R',
	[FIELD_RESENT_SENDER] = 'r',
};

static const char *
kept_fields(const struct submission_header *header)
{
	static char all[1024];
	enum submission_field field;
	const char *at = NULL, *value;
	size_t len, n = 0;

	all[0] = '\0';
	while (submission_header_next(header, &at, &field, &value, &len)) {
		const char *mailboxes = read_all(value, len);

		n += (size_t)snprintf(all + n, sizeof all - n, "%s%c %s",
		    n > 0 ? "|" : "", letters[field],
		    mailboxes != NULL ? mailboxes : "bad");
	}
	return all;
}

static void
fields_however_they_are_cut(void **state)
{
	struct submission_header header;

	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		size_t len = strlen(headers[i].message);

		for (size_t cut = 0; cut <= len; cut++) {
			submission_header_init(&header);
			submission_header_look(&header, headers[i].message,
			    cut);
			submission_header_look(&header,
			    headers[i].message + cut, len - cut);
			if (strcmp(kept_fields(&header), headers[i].fields) !=
				0 ||
			    header.from != headers[i].from ||
			    header.has_text != headers[i].text ||
			    header.kept_failed)
				fail_msg("%s, cut at %zu: %s", headers[i].what,
				    cut, kept_fields(&header));
			submission_header_fini(&header);
		}
	}
}

/* Many lines of one field, up to the bound and beyond. */
static void
what_is_kept_is_bounded(void **state)
{
	static const char line[] = " aaaaaaaaaaaaaaaaaaaaaaaaaaa@x.org,\r\n";
	static const char last[] = " z@x.org\r\n\r\n";
	struct submission_header header;
	unsigned lines = SUBMISSION_KEPT_MAX / (sizeof line - 1) - 1;

	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		submission_header_init(&header);
		submission_header_look(&header, "From:\r\n", 7);
		for (unsigned i = 0; i < lines + 2 * more; i++)
			submission_header_look(&header, line, sizeof line - 1);
		submission_header_look(&header, last, sizeof last - 1);
		assert_int_equal(header.kept_failed, more);
		assert_true(header.kept_capacity <= SUBMISSION_KEPT_MAX);
		submission_header_fini(&header);
	}
	/* What is short needs no allocation. */
	submission_header_init(&header);
	submission_header_look(&header, "From: a@x.org\r\n\r\n", 17);
	assert_ptr_equal(header.kept, header.first);
	submission_header_fini(&header);
}

/* It would begin another field. */
static void
a_nul_spoils_it(void **state)
{
	static const char message[] = "From: a@x.org\0\6b@y.org\r\n\r\n";
	struct submission_header header;

	(void)state;
	submission_header_init(&header);
	submission_header_look(&header, message, sizeof message - 1);
	assert_true(header.kept_failed);
	submission_header_fini(&header);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mailboxes_of_a_value),
		cmocka_unit_test(comments_are_bounded),
		cmocka_unit_test(fields_however_they_are_cut),
		cmocka_unit_test(what_is_kept_is_bounded),
		cmocka_unit_test(a_nul_spoils_it),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
