/*
 * t/unit/policy_names.c: reference against presented identifiers (RFC 9525).
 */
#include "policy_fixture.h"

#include "../../policy/names.h"

/* names and references: one after the other, "|" between for NUL. */
static const struct row {
	const char *what, *names, *references;
	enum names_match expected;
} rows[] = {
	{ "the name itself", "dns:mx.example.org", "mx.example.org",
	    NAMES_MATCH },
	{ "another name", "dns:mx.example.net", "mx.example.org", NAMES_OTHER },
	{ "without case", "dns:MX.example.ORG", "mx.example.org", NAMES_MATCH },
	{ "the second of three", "dns:a.example|dns:b.example|dns:c.example",
	    "b.example", NAMES_MATCH },
	{ "the second reference", "dns:b.example", "a.example|b.example",
	    NAMES_MATCH },
	{ "a wildcard stands for one label", "dns:*.example.org",
	    "mx.example.org", NAMES_MATCH },
	{ "a wildcard does not stand for two labels", "dns:*.example.org",
	    "a.mx.example.org", NAMES_OTHER },
	{ "a wildcard does not stand for none", "dns:*.example.org",
	    "example.org", NAMES_OTHER },
	{ "part of a label is no wildcard", "dns:m*.example.org",
	    "mx.example.org", NAMES_OTHER },
	{ "a wildcard is the left-most label", "dns:mx.*.org", "mx.example.org",
	    NAMES_OTHER },
	{ "two wildcards are none", "dns:*.*.org", "mx.example.org",
	    NAMES_OTHER },
	{ "a wildcard for a whole registry is none", "dns:*.org", "example.org",
	    NAMES_OTHER },
	{ "a lone wildcard is none", "dns:*", "org", NAMES_OTHER },
	{ "an embedded A-label is compared whole", "dns:xn--*.example.org",
	    "xn--bcher-kva.example.org", NAMES_OTHER },
	{ "a wildcard covers an A-label", "dns:*.example.org",
	    "xn--bcher-kva.example.org", NAMES_MATCH },
	{ "a prefix is not the name", "dns:mx.example.org.evil.net",
	    "mx.example.org", NAMES_OTHER },
	{ "a suffix is not the name", "dns:evilmx.example.org",
	    "mx.example.org", NAMES_OTHER },
	{ "an address", "ip:192.0.2.1", "192.0.2.1", NAMES_MATCH },
	{ "another address", "ip:192.0.2.2", "192.0.2.1", NAMES_OTHER },
	{ "an address in another spelling", "ip:2001:db8:0:0::1", "2001:db8::1",
	    NAMES_MATCH },
	{ "a mapped address", "ip:::ffff:192.0.2.1", "192.0.2.1", NAMES_MATCH },
	{ "a DNS name is never an address", "dns:192.0.2.1", "192.0.2.1",
	    NAMES_OTHER },
	{ "a wildcard is never an address", "dns:*.0.2.1", "192.0.2.1",
	    NAMES_OTHER },
	{ "an address is never a DNS name", "ip:192.0.2.1", "mx.example",
	    NAMES_OTHER },
	{ "a name under the suffix", "dns:a.b.example.org", ".example.org",
	    NAMES_MATCH },
	{ "the suffix itself is not under it", "dns:example.org",
	    ".example.org", NAMES_OTHER },
	{ "a wildcard under the suffix", "dns:*.example.org", ".example.org",
	    NAMES_MATCH },
	{ "a wildcard above the suffix", "dns:*.org", ".example.org",
	    NAMES_OTHER },
	{ "half a label is not under the suffix", "dns:badexample.org",
	    ".example.org", NAMES_OTHER },
	{ "an empty label is no name under the suffix", "dns:.example.org",
	    ".example.org", NAMES_OTHER },
	{ "two wildcards under the suffix", "dns:*.*.example.org",
	    ".example.org", NAMES_OTHER },
	{ "mail addresses are not compared", "email:u@mx.example.org",
	    "mx.example.org", NAMES_NONE },
	{ "no names at all", "", "mx.example.org", NAMES_NONE },
	{ "names of an unknown kind", "uri:mx.example.org", "mx.example.org",
	    NAMES_NONE },
	{ "no references: nobody", "dns:mx.example.org", "", NAMES_OTHER },
};

static size_t
nul_list(char *out, const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i <= len; i++)
		out[i] = text[i] == '|' ? '\0' : text[i];
	out[len + 1] = '\0';
	return len == 0 ? 0 : len + 1;
}

static void
test_row(void **state)
{
	const struct row *row = *state;
	char names[256], references[256];
	struct facts facts = { .names = names };

	facts.names_len = nul_list(names, row->names);
	(void)nul_list(references, row->references);
	assert_int_equal(names_compare(&facts, references), row->expected);
}

/* What is not ended by NUL is not read beyond its length. */
static void
test_unterminated(void **state)
{
	char *names = malloc(18);
	struct facts facts = { .names = names, .names_len = 18 };

	(void)state;
	memcpy(names, "dns:mx.example.org", 18);
	assert_int_equal(names_compare(&facts, "mx.example.org\0"), NAMES_NONE);
	free(names);
}

static void
test_print(void **state)
{
	static const char names[] = "dns:a.example\0email:u@b\0ip:192.0.2.1";
	struct facts facts = { .names = names, .names_len = sizeof(names) };
	char out[40], small[12];

	(void)state;
	names_print(&facts, out, sizeof(out));
	assert_string_equal(out, "a.example, 192.0.2.1");
	names_print(&facts, small, sizeof(small));
	assert_string_equal(small, "a.example");
}

int
main(void)
{
	struct CMUnitTest tests[ROWS(rows) + 2];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(rows); i++)
		tests[n++] = row_test(rows[i].what, test_row, &rows[i]);
	tests[n++] = row_test("names without an end", test_unterminated, NULL);
	tests[n++] = row_test("names for a log", test_print, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
