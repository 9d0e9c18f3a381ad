/*
 * t/unit/staple.c: when somebody has to hear of an OCSP response.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../server/staple.h"

#include <cmocka.h>

enum { FROM = 1000000, UNTIL = 1004000 };

static void
each_stage_is_told_once(void **state)
{
	static unsigned char octets[] = "response";
	struct staple staple = { .response = { octets, 8 },
		.is_demanded = true,
		.from = FROM,
		.until = UNTIL };
	bool ended = true;

	(void)state;
	assert_false(staple_is_due(&staple, FROM, &ended));
	assert_false(staple_is_due(&staple, UNTIL - 1000, &ended));
	assert_true(staple_is_due(&staple, UNTIL - 999, &ended));
	assert_false(ended);
	assert_false(staple_is_due(&staple, UNTIL, &ended));
	assert_true(staple_is_due(&staple, UNTIL + 1, &ended));
	assert_true(ended);
	assert_false(staple_is_due(&staple, UNTIL + 9999, &ended));
}

static void
nobody_misses_what_is_not_demanded(void **state)
{
	static unsigned char octets[] = "response";
	struct staple staple = { .response = { octets, 8 },
		.from = FROM,
		.until = UNTIL };
	bool ended = false;

	(void)state;
	assert_false(staple_is_due(&staple, UNTIL, &ended));
	assert_true(staple_is_due(&staple, UNTIL + 1, &ended));
	assert_true(ended);
	/* There is none: that was told when it was refused. */
	staple.response.data = NULL;
	staple.told = 0;
	assert_false(staple_is_due(&staple, UNTIL + 1, &ended));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_stage_is_told_once),
		cmocka_unit_test(nobody_misses_what_is_not_demanded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
