/*
 * t/unit/session_rate.c: messages an hour.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../server/session_rate.h"

/* A step begins here. */
enum { BEGIN = 1000 * RATES_STEP_S };

static int
set_up(void **state)
{
	*state = rates_new();
	return *state == NULL;
}

static int
tear_down(void **state)
{
	rates_free(*state);
	return 0;
}

static void
so_many_and_no_more(void **state)
{
	struct rates *rates = *state;

	assert_int_equal(rates_wait(rates, "a@x", 2, BEGIN), 0);
	assert_int_equal(rates_take(rates, "a@x", 2, BEGIN), 0);
	assert_int_equal(rates_wait(rates, "a@x", 2, BEGIN), 0);
	assert_int_equal(rates_take(rates, "a@x", 2, BEGIN + 10), 0);
	assert_int_equal(rates_wait(rates, "a@x", 2, BEGIN + 10),
	    RATES_STEPS * RATES_STEP_S - 10);
	assert_int_equal(rates_take(rates, "a@x", 2, BEGIN + 20),
	    RATES_STEPS * RATES_STEP_S - 20);
	/* Asking, or being refused, counts nothing. */
	assert_int_equal(rates_take(rates, "a@x", 3, BEGIN + 20), 0);
	/* Others have their own. */
	assert_int_equal(rates_take(rates, "b@x", 1, BEGIN + 20), 0);
	assert_true(rates_take(rates, "b@x", 1, BEGIN + 20) > 0);
}

/* What it says when it goes on is true, to the second. */
static void
goes_on_when_it_says(void **state)
{
	struct rates *rates = *state;
	int64_t now = BEGIN + 123;
	unsigned wait;

	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(rates_take(rates, "a@x", 7, now + 200 * i), 0);
	now += 1400;
	for (unsigned round = 0; round < 50; round++) {
		wait = rates_wait(rates, "a@x", 7, now);
		if (wait > 0) {
			assert_true(
			    rates_take(rates, "a@x", 7, now + wait - 1) > 0);
			now += wait;
		}
		assert_int_equal(rates_take(rates, "a@x", 7, now), 0);
	}
}

/* Whatever the times, never more than the rate within an hour. */
static void
never_more_within_an_hour(void **state)
{
	enum { MOST = 5, TRIES = 20000 };
	static int64_t sent[TRIES];
	struct rates *rates = *state;
	uint32_t chance = 1;
	int64_t now = BEGIN;
	unsigned count = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		chance = chance * 1664525 + 1013904223;
		now += chance >> 24;
		if (rates_take(rates, "a@x", MOST, now) != 0)
			continue;
		sent[count++] = now;
		if (count > MOST)
			assert_true(now - sent[count - MOST - 1] >= 3600);
	}
	/* Nor much less: each is forgotten after 65 minutes. */
	assert_true(count >= (now - BEGIN) / 3900 * MOST);
}

static void
what_was_not_sent_is_given_back(void **state)
{
	struct rates *rates = *state;

	assert_int_equal(rates_take(rates, "a@x", 1, BEGIN), 0);
	rates_give(rates, "a@x", BEGIN);
	assert_int_equal(rates_take(rates, "a@x", 1, BEGIN + 600), 0);
	/* Only once, and only where it was counted. */
	rates_give(rates, "a@x", BEGIN);
	assert_true(rates_take(rates, "a@x", 1, BEGIN + 600) > 0);
	/* What is forgotten cannot be given back. */
	rates_give(rates, "a@x", BEGIN - 86400);
	rates_give(rates, "nobody@x", BEGIN);
	assert_true(rates_take(rates, "a@x", 1, BEGIN + 600) > 0);
}

static void
is_forgotten_after_a_long_time(void **state)
{
	struct rates *rates = *state;

	assert_int_equal(rates_take(rates, "a@x", 1, BEGIN), 0);
	assert_int_equal(rates_wait(rates, "a@x", 1, BEGIN + 86400 * 30), 0);
	assert_int_equal(rates_take(rates, "a@x", 1, BEGIN + 86400 * 30), 0);
	assert_true(rates_take(rates, "a@x", 1, BEGIN + 86400 * 30 + 1) > 0);
}

/* Bounded: who finds no place waits, and finds one when others go. */
static void
places_are_bounded(void **state)
{
	struct rates *rates = *state;
	unsigned refused = 0;
	char login[32];

	for (unsigned i = 0; i < RATES_LOGINS_MAX + RATES_LOGINS_MAX / 4; i++) {
		snprintf(login, sizeof login, "u%u@x", i);
		refused += rates_take(rates, login, 1, BEGIN) != 0;
	}
	assert_true(refused >= RATES_LOGINS_MAX / 4);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(login, sizeof login, "v%u@x", i);
		rates_wait(rates, login, 1, BEGIN + 7200);
	}
	assert_int_equal(rates_take(rates, "w@x", 1, BEGIN + 7200), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(so_many_and_no_more, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(goes_on_when_it_says, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(never_more_within_an_hour,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_not_sent_is_given_back,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_forgotten_after_a_long_time,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(places_are_bounded, set_up,
		    tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
