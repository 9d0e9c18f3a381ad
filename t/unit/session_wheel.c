/*
 * t/unit/session_wheel.c: deadlines pass when they should, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../server/session_wheel.h"

static struct wheel wheel;
static struct timer {
	struct wheel_entry entry;
	unsigned expired;
} timers[4];

static void
expired(struct wheel_entry *entry)
{
	((struct timer *)entry)->expired++;
}

static int
set_up(void **state)
{
	size_t i;

	(void)state;
	wheel_init(&wheel, 1000);
	for (i = 0; i < 4; i++)
		timers[i] = (struct timer){ 0 };
	return 0;
}

static void
expires_at_its_second(void **state)
{
	(void)state;
	wheel_add(&wheel, &timers[0].entry, 1003);
	wheel_tick(&wheel, 1002, expired);
	assert_int_equal(timers[0].expired, 0);
	wheel_tick(&wheel, 1003, expired);
	assert_int_equal(timers[0].expired, 1);
	/* It is told again until somebody does something about it. */
	wheel_tick(&wheel, 1004, expired);
	assert_int_equal(timers[0].expired, 2);
	wheel_remove(&wheel, &timers[0].entry);
	wheel_tick(&wheel, 1010, expired);
	assert_int_equal(timers[0].expired, 2);
}

static void
a_later_deadline_is_looked_up_lazily(void **state)
{
	int64_t due;

	(void)state;
	wheel_add(&wheel, &timers[0].entry, 1003);
	due = timers[0].entry.due;
	wheel_set(&wheel, &timers[0].entry, 1300);
	assert_int_equal(timers[0].entry.due, due);
	wheel_tick(&wheel, 1299, expired);
	assert_int_equal(timers[0].expired, 0);
	wheel_tick(&wheel, 1300, expired);
	assert_int_equal(timers[0].expired, 1);
}

static void
an_earlier_deadline_is_moved_to(void **state)
{
	(void)state;
	wheel_add(&wheel, &timers[0].entry, 1500);
	wheel_set(&wheel, &timers[0].entry, 1002);
	wheel_tick(&wheel, 1002, expired);
	assert_int_equal(timers[0].expired, 1);
}

static void
a_deadline_in_the_past_is_the_next_second(void **state)
{
	(void)state;
	wheel_add(&wheel, &timers[0].entry, 3);
	wheel_tick(&wheel, 1001, expired);
	assert_int_equal(timers[0].expired, 1);
}

static void
deadlines_beyond_the_wheel_go_round(void **state)
{
	(void)state;
	wheel_add(&wheel, &timers[0].entry, 1000 + 3 * WHEEL_SLOTS + 7);
	wheel_tick(&wheel, 1000 + 3 * WHEEL_SLOTS + 6, expired);
	assert_int_equal(timers[0].expired, 0);
	wheel_tick(&wheel, 1000 + 3 * WHEEL_SLOTS + 7, expired);
	assert_int_equal(timers[0].expired, 1);
}

static void
neighbours_in_a_slot_do_not_disturb_each_other(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++)
		wheel_add(&wheel, &timers[i].entry, 1005);
	wheel_remove(&wheel, &timers[1].entry);
	wheel_remove(&wheel, &timers[1].entry);
	wheel_set(&wheel, &timers[2].entry, 1009);
	wheel_tick(&wheel, 1005, expired);
	assert_int_equal(timers[0].expired, 1);
	assert_int_equal(timers[1].expired, 0);
	assert_int_equal(timers[2].expired, 0);
	assert_int_equal(timers[3].expired, 1);
	wheel_tick(&wheel, 1009, expired);
	assert_int_equal(timers[2].expired, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(expires_at_its_second, set_up),
		cmocka_unit_test_setup(a_later_deadline_is_looked_up_lazily,
		    set_up),
		cmocka_unit_test_setup(an_earlier_deadline_is_moved_to, set_up),
		cmocka_unit_test_setup(
		    a_deadline_in_the_past_is_the_next_second, set_up),
		cmocka_unit_test_setup(deadlines_beyond_the_wheel_go_round,
		    set_up),
		cmocka_unit_test_setup(
		    neighbours_in_a_slot_do_not_disturb_each_other, set_up),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
