/*
 * t/unit/import.c: the invariant of "sallyport policy import": a row that
 * demands less than its source asked for is never taken for one that will do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../policy/parse.h"
#include "../../tools/policy_import.h"

#include <cmocka.h>

#define PIN                                                                    \
	" pin=sha256:0123456789abcdef0123456789abcdef"                         \
	"0123456789abcdef0123456789abcdef"

static const struct {
	const char *what, *row;
	struct asked asked;
	bool will_do;
} cases[] = {
	{ "the same level", "h out encrypt", { .level = LEVEL_ENCRYPT }, true },
	{ "a higher level", "h out lock", { .level = LEVEL_ENCRYPT }, true },
	{ "a lower level", "h out encrypt", { .level = LEVEL_VERIFY }, false },
	{ "no least protocol", "h out encrypt",
	    { .level = LEVEL_ENCRYPT, .min = 13 }, false },
	{ "an older protocol", "h out encrypt min=tls1.2",
	    { .level = LEVEL_ENCRYPT, .min = 13 }, false },
	{ "a newer protocol", "h out encrypt min=tls1.3",
	    { .level = LEVEL_ENCRYPT, .min = 12 }, true },
	{ "fewer bits", "h out encrypt bits=128",
	    { .level = LEVEL_ENCRYPT, .bits = 256 }, false },
	{ "no DANE", "h out encrypt", { .level = LEVEL_ENCRYPT, .dane = true },
	    false },
	{ "DANE", "h out encrypt dane",
	    { .level = LEVEL_ENCRYPT, .dane = true }, true },
	{ "observed only",
	    "h out verify mode=observe until=2099-01-01 reason=x",
	    { .level = LEVEL_VERIFY }, false },
	{ "any purpose", "h out verify eku=any until=2099-01-01 reason=x",
	    { .level = LEVEL_VERIFY }, false },
	{ "TLS optional",
	    "h out encrypt tls-optional=yes until=2099-01-01 reason=x",
	    { .level = LEVEL_ENCRYPT }, false },
	{ "other anchors", "h out verify ca=/b",
	    { .level = LEVEL_VERIFY, .anchors = "/a" }, false },
	{ "the default anchors", "h out verify",
	    { .level = LEVEL_VERIFY, .anchors = "/a" }, false },
	{ "the anchors asked for", "h out verify ca=/a",
	    { .level = LEVEL_VERIFY, .anchors = "/a" }, true },
	{ "its own name", "h out lock", { .level = LEVEL_LOCK }, true },
	{ "one of the names", "h out lock match=a.example",
	    { .level = LEVEL_LOCK, .names = "b.example,a.example" }, true },
	{ "another name beside it", "h out lock match=a.example,c.example",
	    { .level = LEVEL_LOCK, .names = "b.example,a.example" }, false },
	{ "a key instead of the name", "h out lock" PIN,
	    { .level = LEVEL_LOCK }, false },
	{ "a key without a chain", "h out lock chain=no" PIN,
	    { .level = LEVEL_VERIFY }, false },
	{ "a key where a key was asked for", "h out lock chain=no" PIN,
	    { .level = LEVEL_LOCK, .key_alone = true }, true },
	{ "a name where a key was asked for", "h out lock",
	    { .level = LEVEL_LOCK, .key_alone = true }, false },
};

static void
test_no_weaker(void **state)
{
	static struct row row;
	struct reason why = { 0 };
	struct key key;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (row_parse(&row, &key, cases[i].row, strlen(cases[i].row),
			"/", &why) != PARSE_ROW)
			fail_msg("%s: %s", cases[i].what, why.text);
		if (import_is_no_weaker(&row, &cases[i].asked) !=
		    cases[i].will_do)
			fail_msg("%s: %s", cases[i].what,
			    cases[i].will_do ? "refused" : "taken");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_weaker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
