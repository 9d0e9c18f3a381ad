/*
 * t/unit/upstream_shun.c: what failed lately is known for a while, and the
 * memory has an end.
 */
#include "../../server/upstream_shun.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

static struct shunned shunned;

static int
setup(void **state)
{
	(void)state;
	shunned_init(&shunned);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	shunned_fini(&shunned);
	return 0;
}

static void
for_a_while(void **state)
{
	(void)state;
	assert_false(is_shunned(&shunned, "a:465", 1000));
	shun(&shunned, "a:465", 1000);
	assert_true(is_shunned(&shunned, "a:465", 1000));
	assert_true(is_shunned(&shunned, "a:465", 1000 + SHUN_MS - 1));
	assert_false(is_shunned(&shunned, "a:465", 1000 + SHUN_MS));
	assert_false(is_shunned(&shunned, "a:587", 1000));
	shun(&shunned, "a:465", 2000);
	assert_true(is_shunned(&shunned, "a:465", 1000 + SHUN_MS));
}

static void
until_it_works(void **state)
{
	(void)state;
	shun(&shunned, "a:465", 1000);
	shun(&shunned, "b:465", 1000);
	shun_no_more(&shunned, "a:465");
	shun_no_more(&shunned, "c:465");
	assert_false(is_shunned(&shunned, "a:465", 1000));
	assert_true(is_shunned(&shunned, "b:465", 1000));
}

static void
the_oldest_makes_room(void **state)
{
	char place[SHUN_TEXT];

	(void)state;
	for (int i = 0; i <= SHUN_PLACES; i++) {
		snprintf(place, sizeof(place), "h%d:465", i);
		shun(&shunned, place, 1000);
		shun(&shunned, place, 1001); /* takes no second place */
	}
	assert_false(is_shunned(&shunned, "h0:465", 1001));
	assert_true(is_shunned(&shunned, "h1:465", 1001));
	snprintf(place, sizeof(place), "h%d:465", SHUN_PLACES);
	assert_true(is_shunned(&shunned, place, 1001));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(until_it_works, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(the_oldest_makes_room, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
