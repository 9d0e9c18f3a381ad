/*
 * t/unit/auth_guess.c: what failed logins do to later answers.
 */
#include "../../auth/guess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { FREE = 5, DELAY = 2000 };

static int64_t now;

static int
setup(void **state)
{
	struct guesses *guesses;

	now = 1000000;
	if (!guesses_new(&guesses, NULL))
		return -1;
	*state = guesses;
	return 0;
}

static int
teardown(void **state)
{
	guesses_free(*state);
	return 0;
}

static struct guess
of(const char *client, const char *name)
{
	return (struct guess){ .client = client,
		.name = name,
		.now_ms = now,
		.delay_ms = DELAY,
		.free = FREE };
}

static int64_t
failed(void **state, const char *client, const char *name)
{
	struct guess guess = of(client, name);
	struct guess_answer answer = guess_failed(*state, &guess);

	return answer.refuse ? -1 : answer.at_ms - now;
}

static int64_t
granted(void **state, const char *client, const char *name)
{
	struct guess guess = of(client, name);
	struct guess_answer answer = guess_granted(*state, &guess);

	return answer.refuse ? -1 : answer.at_ms - now;
}

static void
test_source(void **state)
{
	for (int i = 0; i < FREE; i++) {
		assert_int_equal(failed(state, "192.0.2.1", "alice@x.org"),
		    DELAY);
		now += 10000;
	}
	/* Beyond: twice as long each time, up to the most. */
	assert_int_equal(failed(state, "192.0.2.1", "bob@x.org"), 2 * DELAY);
	now += 10000;
	assert_int_equal(failed(state, "192.0.2.1", "carol@x.org"), 4 * DELAY);
	now += 60000;
	for (int i = 0; i < 6; i++, now += 60000)
		failed(state, "192.0.2.1", "dave@x.org");
	assert_int_equal(failed(state, "192.0.2.1", "eve@x.org"),
	    GUESS_FACTOR_MOST * DELAY);
	/* Others feel nothing of it. */
	assert_int_equal(failed(state, "198.51.100.1", "zoe@x.org"), DELAY);
	assert_int_equal(granted(state, "198.51.100.1", "zoe@x.org"), 0);
}

/* Many connections at once get one answer after another, and soon none. */
static void
test_serial(void **state)
{
	int64_t last = 0;
	int refused = 0;

	for (int i = 0; i < FREE; i++)
		failed(state, "2001:db8::1", "alice@x.org");
	for (int i = 0; i < 100; i++) {
		/* The other half of a /64 is the same source. */
		int64_t at = failed(state, "2001:db8::ffff", "alice@x.org");

		if (at < 0) {
			refused++;
			continue;
		}
		assert_true(at > last);
		last = at;
	}
	assert_true(refused > 90);
	/* Right or wrong, who comes now is told to come later. */
	assert_int_equal(granted(state, "2001:db8::2", "bob@x.org"), -1);
	now += last;
	assert_int_equal(granted(state, "2001:db8::2", "bob@x.org"), 0);
}

/* A name that strangers guess at stays open where its owner has been. */
static void
test_lane(void **state)
{
	char client[32];

	assert_int_equal(granted(state, "192.0.2.7", "alice@x.org"), 0);
	for (int i = 0; i < 200; i++) {
		snprintf(client, sizeof client, "198.51.%d.1", i);
		failed(state, client, "alice@x.org");
	}
	assert_int_equal(granted(state, "203.0.113.1", "alice@x.org"), -1);
	assert_int_equal(granted(state, "192.0.2.7", "alice@x.org"), 0);
	assert_int_equal(failed(state, "192.0.2.7", "alice@x.org"), DELAY);

	/* Neighbours behind the same address do not lock the owner out... */
	for (int i = 0; i < 50; i++)
		failed(state, "192.0.2.7", "bob@x.org");
	assert_int_equal(granted(state, "192.0.2.7", "alice@x.org"), 0);
	/* ...but cannot guess through the owner's lane either. */
	for (int i = 0; i < FREE + 4; i++)
		failed(state, "192.0.2.7", "alice@x.org");
	assert_true(failed(state, "192.0.2.7", "alice@x.org") > 10 * DELAY ||
		    failed(state, "192.0.2.7", "alice@x.org") == -1);
}

/* The owner mistypes, too; but his logins are no guesses for who shares his
 * address. */
static void
test_lane_forgives(void **state)
{
	const char *client = "192.0.2.7", *name = "alice@x.org";

	assert_int_equal(granted(state, client, name), 0);
	for (int i = 0; i < FREE; i++)
		assert_int_equal(failed(state, client, name), DELAY);
	assert_int_equal(granted(state, client, name), 0);
	for (int i = 0; i < FREE; i++) {
		now += 60000;
		assert_int_equal(failed(state, client, name), DELAY);
		now += 60000;
		assert_int_equal(granted(state, client, name), 0);
	}
	assert_int_equal(failed(state, client, name), 2 * DELAY);
	now += GUESS_HALF_LIFE_MS;
	assert_int_equal(granted(state, client, name), 0);
	assert_int_equal(failed(state, client, name), DELAY);
}

/* More lanes than there is room for: those used last stay. */
static void
test_lanes_in_use(void **state)
{
	char name[32];

	for (int i = 0; i < 300000; i++) {
		if (i % 10000 == 0) {
			now += 1000;
			for (int k = 0; k < 100; k++) {
				snprintf(name, sizeof name, "n%d@x.org", k);
				granted(state, "192.0.2.7", name);
			}
			now += GUESS_HALF_LIFE_MS - 1000;
		}
		snprintf(name, sizeof name, "m%d@x.org", i);
		granted(state, "198.51.100.1", name);
	}
	/* The source is closed to all but the lanes. */
	for (int i = 0; i < 50; i++)
		failed(state, "192.0.2.7", "z@x.org");
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n%d@x.org", i);
		assert_int_equal(granted(state, "192.0.2.7", name), 0);
	}
}

static int64_t
right(void **state, const char *client, const char *name)
{
	struct guess guess = of(client, name);
	struct guess_answer answer = guess_right(*state, &guess);

	return answer.refuse ? -1 : answer.at_ms - now;
}

/* Who is right waits as long before he is granted anything, and has no lane
 * yet. */
static void
test_right(void **state)
{
	int64_t last = 0;

	assert_int_equal(right(state, "192.0.2.1", "alice@x.org"), 0);
	for (int i = 0; i < FREE + 1; i++)
		last = failed(state, "192.0.2.1", "bob@x.org");
	assert_int_equal(last, 2 * DELAY);
	assert_int_equal(right(state, "192.0.2.1", "alice@x.org"), last);
	assert_int_equal(granted(state, "192.0.2.1", "alice@x.org"), last);
	assert_int_equal(right(state, "192.0.2.1", "alice@x.org"), 0);
	for (int i = 0; i < 5; i++)
		failed(state, "192.0.2.1", "bob@x.org");
	assert_int_equal(right(state, "192.0.2.1", "carol@x.org"), -1);
}

/* To PAM's modules ALICE may be alice. */
static void
test_case_of_names(void **state)
{
	char name[] = "alice@x.org", client[32];

	for (int i = 0; i < 2 * FREE; i++) {
		name[i % 5] ^= 0x20;
		snprintf(client, sizeof client, "198.51.%d.1", i);
		assert_int_equal(failed(state, client, name), DELAY);
	}
	assert_int_equal(failed(state, "203.0.113.1", "Alice@x.org"),
	    2 * DELAY);
}

static void
test_network(void **state)
{
	char client[32];

	for (int i = 0; i < 4 * FREE; i++, now += 20000) {
		snprintf(client, sizeof client, "192.0.2.%d", i);
		assert_int_equal(failed(state, client, client), DELAY);
	}
	assert_int_equal(failed(state, "192.0.2.200", "new@x.org"), 2 * DELAY);
}

static void
test_forgiven(void **state)
{
	for (int i = 0; i < FREE + 3; i++, now += 60000)
		failed(state, "192.0.2.1", "");
	now += 2 * GUESS_HALF_LIFE_MS;
	assert_int_equal(failed(state, "192.0.2.1", "alice@x.org"), DELAY);
	now += 365LL * 86400 * 1000;
	assert_int_equal(failed(state, "192.0.2.1", "alice@x.org"), DELAY);
}

/* Sources and names beyond number; those that fail most stay known. */
static void
test_flood(void **state)
{
	char client[64], name[32];

	for (int i = 0; i < FREE + 2; i++, now += 10000)
		failed(state, "192.0.2.1", "alice@x.org");
	for (int i = 0; i < 200000; i++) {
		snprintf(client, sizeof client, "2001:db8:%x:%x::1", i / 65536,
		    i % 65536);
		snprintf(name, sizeof name, "n%d@x.org", i);
		failed(state, client, name);
	}
	assert_true(failed(state, "192.0.2.1", "bob@x.org") > DELAY);
	assert_int_equal(failed(state, "no address", "x"), DELAY);
}

#define guess_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		guess_test(test_source),
		guess_test(test_serial),
		guess_test(test_lane),
		guess_test(test_lane_forgives),
		guess_test(test_lanes_in_use),
		guess_test(test_right),
		guess_test(test_case_of_names),
		guess_test(test_network),
		guess_test(test_forgiven),
		guess_test(test_flood),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
