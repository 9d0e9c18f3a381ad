/*
 * t/unit/policy_routes.c: the table of routes: its grammar, its file, and which
 * row speaks.
 */
#include "../../policy/routes.h"
#include "../../policy/words.h"
#include "policy_fixture.h"

#include <sys/stat.h>

static char path[600];

/* --- the grammar ------------------------------------------------------------
 */

static const struct {
	const char *line, *canonical; /* NULL: refused, and why has */
	const char *why;
} lines[] = {
	{ "* any smtp.isp.example:465", "* any smtp.isp.example:465 smtps",
	    "" },
	{ "* any smtp.isp.example:587", "* any smtp.isp.example:587 smtp", "" },
	{ "* any smtp.isp.example", "* any smtp.isp.example:465 smtps", "" },
	{ "* any smtp.isp.example smtp", "* any smtp.isp.example:587 smtp",
	    "" },
	{ "* any h.example:2525 smtps", "* any h.example:2525 smtps", "" },
	{ "Partner.Example RCPT MX.Partner.example.:465 # why",
	    "partner.example rcpt mx.partner.example:465 smtps", "" },
	{ ".partner.example rcpt a.example:465,b.example:465",
	    ".partner.example rcpt a.example:465,b.example:465 smtps", "" },
	{ "a.example rcpt [2001:db8::1]:465,192.0.2.1",
	    "a.example rcpt [2001:db8::1]:465,192.0.2.1:465 smtps", "" },
	{ "Boss@Example.org from h.example:25 smtp",
	    "boss@example.org from h.example:25 smtp", "" },
	{ "J\xc3\xbc@x.example from discard",
	    "j\xc3\xbc@x.example from discard", "" },
	{ "<> from h.example", "<> from h.example:465 smtps", "" },
	{ "gone.example rcpt error:5.1.2 \"no \\\"mail\\\" to \\\\ them\"",
	    "gone.example rcpt error:5.1.2 \"no \\\"mail\\\" to \\\\ them\"",
	    "" },
	{ "a.example rcpt error:4.7.0 later",
	    "a.example rcpt error:4.7.0 \"later\"", "" },
	{ "a.example rcpt DISCARD", "a.example rcpt discard", "" },
	{ "a.example from discard", "a.example from discard", "" },
	{ "* any SRV:Isp.Example.", "* any srv:isp.example", "" },
	{ "* any srv:isp.example,h.example:587",
	    "* any srv:isp.example,h.example:587 smtp", "" },
	{ "* any h.example,srv:isp.example,srv:other.example smtps",
	    "* any h.example:465,srv:isp.example,srv:other.example smtps", "" },
	{ "* any srv:465", "* any srv:465 smtps", "" }, /* a host, its port */
	{ "* any srv", "* any srv:465 smtps", "" },
	{ "a.example from Hold", "a.example from hold", "" },
	{ "a.example rcpt hold audit", "a.example rcpt hold \"audit\"", "" },
	{ "* any hold \"a \\\"b\\\"\"", "* any hold \"a \\\"b\\\"\"", "" },
	{ "a.example rcpt hold:465", "a.example rcpt hold:465 smtps", "" },

	{ "j@\xc3\xbc.example rcpt discard", NULL, "A-label form xn--tda" },
	{ "j\xfc@x.example rcpt discard", NULL, "expected UTF-8" },
	{ "a.example rcpt", NULL, "2 words" },
	{ "a.example rcpt h.example smtp smtps", NULL, "5 words" },
	{ "a.example to h.example", NULL, "rcpt or from" },
	{ "* rcpt h.example", NULL, "expected any" },
	{ "a.example any h.example", NULL, "expected rcpt or from" },
	{ "<> rcpt h.example", NULL, "expected from" },
	{ "192.0.2.1 rcpt h.example", NULL, "expected user@domain" },
	{ "h.example:25 rcpt h.example", NULL, "expected user@domain" },
	{ "a.example rcpt h.example:0", NULL, "port" },
	{ "a.example rcpt h.example:65536", NULL, "port" },
	{ "a.example rcpt h.example tls", NULL, "smtp or smtps" },
	{ "a.example rcpt .h.example", NULL, "HOST:PORT" },
	{ "a.example rcpt user@h.example", NULL, "HOST:PORT" },
	{ "a.example rcpt h.example,", NULL, "host name" },
	{ "a.example rcpt error", NULL, "with its domain" },
	{ "a.example rcpt h.example,error:465", NULL, "with its domain" },
	{ "a.example rcpt h.example,h.example:465", NULL, "twice" },
	{ "a.example rcpt h.example:465,i.example:587", NULL, "smtp or smtps" },
	{ "a.example rcpt srv:h.example,i.example:465,j.example:587", NULL,
	    "smtp or smtps" },
	{ "a.example rcpt srv:h.example smtps", NULL, "the records tell" },
	{ "a.example rcpt srv:h.example:465", NULL, "srv:DOMAIN" },
	{ "a.example rcpt srv:192.0.2.1", NULL, "srv:DOMAIN" },
	{ "a.example rcpt srv:.h.example", NULL, "srv:DOMAIN" },
	{ "a.example rcpt srv:*", NULL, "srv:DOMAIN" },
	{ "a.example rcpt srv:", NULL, "port" },
	{ "a.example rcpt srv:h.example,srv:H.example", NULL, "twice" },
	{ "a.example rcpt 1.example,2.example,3.example,4.example,5.example,"
	  "6.example,7.example,8.example,9.example",
	    NULL, "more than 8" },
	{ "a.example rcpt error:5.1.2", NULL, "text" },
	{ "a.example rcpt error:2.0.0 yes", NULL, "5.1.2" },
	{ "a.example rcpt error:5.1 no", NULL, "5.1.2" },
	{ "a.example rcpt error:5.1.1000 no", NULL, "5.1.2" },
	{ "a.example rcpt error:5.01.1 no", NULL, "5.1.2" },
	{ "a.example rcpt error:5.1.2 \"n\xc3\xb6\"", NULL, "ASCII" },
	{ "a.example rcpt error:5.1.2 \"\"", NULL, "ASCII" },
	{ "a.example rcpt discard it", NULL, "expected nothing" },
	{ "a.example rcpt hold \"\"", NULL, "1 to 199" },
	{ "a.example rcpt hold \"n\xc3\xb6\"", NULL, "ASCII" },
	{ "a.example rcpt \"h", NULL, "quote" },
};

static void
test_grammar(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS(lines); i++) {
		struct route route, again;
		struct reason why = { 0 };
		char text[LINE_MAX_OCTETS];
		enum route_parse got = route_parse(&route, lines[i].line,
		    strlen(lines[i].line), &why);

		if (lines[i].canonical == NULL) {
			if (got != ROUTE_BAD ||
			    strstr(why.text, lines[i].why) == NULL)
				fail_msg("%s: %d %s", lines[i].line, got,
				    why.text);
			continue;
		}
		if (got != ROUTE_ROW)
			fail_msg("%s: %s", lines[i].line, why.text);
		route_print(&route, text, sizeof(text));
		assert_string_equal(text, lines[i].canonical);
		assert_int_equal(route_parse(&again, text, strlen(text), &why),
		    ROUTE_ROW);
		route_print(&again, text, sizeof(text));
		assert_string_equal(text, lines[i].canonical);
	}
}

static void
test_empty_lines(void **state)
{
	struct route route;
	struct reason why;

	(void)state;
	assert_int_equal(route_parse(&route, "", 0, &why), ROUTE_EMPTY);
	assert_int_equal(route_parse(&route, "  # x", 5, &why), ROUTE_EMPTY);
}

/* --- the file ---------------------------------------------------------------
 */

static const char TEXT[] = "# routes\n"
			   "* any default.example:465\n"
			   "partner.example rcpt p.example:465\n"
			   ".partner.example rcpt under.example:465\n"
			   ".deep.partner.example rcpt deep.example:465\n"
			   "boss@partner.example rcpt boss.example:465\n"
			   "sales.example from sales.example:465\n"
			   ".sales.example from undersales.example:465\n"
			   "vip@sales.example from vip.example:465\n"
			   "<> from bounces.example:465\n"
			   "gone.example rcpt error:5.1.2 \"gone\"\n";

static bool
compile(const char *text, struct reason *why)
{
	struct routes_source source = { "routes",
		{ (unsigned char *)(uintptr_t)text, (unsigned)strlen(text) } };
	char name[MAP_NAME];

	memset(&said, 0, sizeof(said));
	if (!routes_compile(&source, scratch, name, note_said, NULL, why))
		return false;
	(void)snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return true;
}

static const struct {
	const char *from, *rcpt, *host; /* NULL: no row */
	unsigned line;
} found[] = {
	{ "a@b.example", "x@partner.example", "p.example", 3 },
	{ "a@b.example", "x@PARTNER.example", "p.example", 3 },
	{ "a@b.example", "Boss@partner.example", "boss.example", 6 },
	{ "a@b.example", "\"boss\"@partner.example", "boss.example", 6 },
	{ "a@b.example", "x@mail.partner.example", "under.example", 4 },
	{ "a@b.example", "x@a.deep.partner.example", "deep.example", 5 },
	{ "a@b.example", "x@deep.partner.example", "under.example", 4 },
	{ "a@b.example", "x@notpartner.example", "default.example", 2 },
	{ "a@sales.example", "x@other.example", "sales.example", 7 },
	{ "vip@sales.example", "x@other.example", "vip.example", 9 },
	{ "a@eu.sales.example", "x@other.example", "undersales.example", 8 },
	{ "a@sales.example", "x@partner.example", "p.example", 3 },
	{ "", "x@other.example", "bounces.example", 10 },
	{ "", "x@partner.example", "p.example", 3 },
	{ "a@b.example", "x@gone.example", "", 11 },
	{ "a@b.example", "postmaster", "default.example", 2 },
};

static void
test_find(void **state)
{
	struct routes *routes;
	struct reason why;

	(void)state;
	assert_true(compile(TEXT, &why));
	assert_true(routes_open(&routes, path, true, &why));
	assert_int_equal(routes_rows(routes), 10);
	for (size_t i = 0; i < ROWS(found); i++) {
		struct route route;

		if (routes_find(routes, found[i].from, found[i].rcpt, &route,
			NULL, NULL, &why) != ROUTE_FOUND ||
		    route.line != found[i].line)
			fail_msg("%s %s: line %u", found[i].from, found[i].rcpt,
			    route.line);
		if (*found[i].host != '\0')
			assert_string_equal(route.hops[0].host, found[i].host);
		else
			assert_string_equal(route.status, "5.1.2");
	}
	routes_close(routes);
}

struct tried {
	char text[600];
};

static void
note_tried(void *context, enum route_by by, const char *key, unsigned line)
{
	struct tried *tried = context;
	size_t len = strlen(tried->text);

	(void)snprintf(tried->text + len, sizeof(tried->text) - len, "%d%s:%u ",
	    by, key, line);
}

static void
test_tried(void **state)
{
	struct routes *routes;
	struct reason why;
	struct route route;
	struct tried tried = { "" };

	(void)state;
	assert_true(compile("x.example from discard\n", &why));
	assert_true(routes_open(&routes, path, true, &why));
	assert_int_equal(routes_find(routes, "a@b.example", "c@d.e.example",
			     &route, note_tried, &tried, &why),
	    ROUTE_NONE);
	assert_string_equal(tried.text,
	    "0c@d.e.example:0 0d.e.example:0 0.e.example:0 0.example:0 "
	    "1a@b.example:0 1b.example:0 1.example:0 2*:0 ");
	routes_close(routes);
}

static void
test_does_not_compile(void **state)
{
	struct reason why;

	(void)state;
	assert_false(
	    compile("a.example rcpt discard\n\nA.example rcpt discard\n"
		    "b.example rcpt\n",
		&why));
	assert_string_equal(said.text,
	    "routes:3: second row for a.example, expected one (the other is in "
	    "line 1)\n"
	    "routes:4: 2 words, expected WHOSE, BY and WHERE\n");
	assert_false(compile("* any h.example", &why));
	assert_non_null(strstr(said.text, "routes:1: last line is cut off"));
	/* The same mail, by sender and by recipient, is no contradiction. */
	assert_true(
	    compile("a.example rcpt discard\na.example from discard\n", &why));
	assert_true(compile("", &why));
}

static void
test_damaged(void **state)
{
	static unsigned char octets[1 << 20];
	struct routes *routes;
	struct reason why;
	size_t len;
	FILE *f;

	(void)state;
	assert_true(compile("a.example rcpt discard\n* any h.example\n", &why));
	f = fopen(path, "rb");
	assert_non_null(f);
	len = fread(octets, 1, sizeof(octets), f);
	fclose(f);
	for (size_t i = 0; i < len; i += 7) {
		octets[i] ^= 0x10;
		scratch_file(strrchr(path, '/') + 1, octets, len);
		assert_false(routes_open(&routes, path, true, &why));
		octets[i] ^= 0x10;
	}
	scratch_file(strrchr(path, '/') + 1, octets, len);
	assert_true(routes_open(&routes, path, true, &why));
	routes_close(routes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),
		cmocka_unit_test(test_empty_lines),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_tried),
		cmocka_unit_test(test_does_not_compile),
		cmocka_unit_test(test_damaged),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("routes", tests, scratch_make,
	    scratch_remove);
}
