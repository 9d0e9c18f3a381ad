/*
 * t/unit/upstream_srv.c: the order in which the targets of SRV records are
 * tried: priorities, services, and the lot among equals (RFC 2782).
 */
#include "../../server/upstream_srv.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

/* A target by priority, weight and service; its port tells it again. */
static struct srv_target
target(uint16_t port, uint16_t priority, uint16_t weight, bool implicit_tls)
{
	return (struct srv_target){ .host = "mx.example",
		.port = port,
		.priority = priority,
		.weight = weight,
		.implicit_tls = implicit_tls };
}

/* Answers, one after the other, ended by their count; what was asked. */
struct lots {
	const uint32_t *lots;
	size_t count, at;
	uint32_t below[SRV_TARGETS_MAX];
};

static uint32_t
next_lot(void *context, uint32_t below)
{
	struct lots *lots = context;
	uint32_t lot = lots->at < lots->count ? lots->lots[lots->at] : 0;

	assert_true(lots->at < SRV_TARGETS_MAX);
	lots->below[lots->at++] = below;
	assert_true(lot < below);
	return lot;
}

static void
order_is(const char *what, const struct srv_target *targets, size_t count,
    const char *wanted)
{
	char order[200] = "";
	size_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(order + len, sizeof(order) - len,
		    "%s%u", i == 0 ? "" : " ", targets[i].port);
	if (strcmp(order, wanted) != 0)
		fail_msg("%s: %s, expected %s", what, order, wanted);
}

static void
priorities_and_services(void **state)
{
	struct srv_target targets[] = {
		target(1, 20, 0, true),
		target(2, 10, 0, false),
		target(3, 65535, 0, true),
		target(4, 10, 0, true),
		target(5, 0, 0, false),
	};
	struct lots lots = { .lots = NULL };

	(void)state;
	srv_order(targets, 5, next_lot, &lots);
	order_is("by priority", targets, 5, "5 4 2 1 3");
}

static void
weights(void **state)
{
	static const struct {
		const char *what, *wanted;
		uint32_t lots[3];
	} rows[] = {
		/* Weights 10, 0, 60, 30: 0 comes first, then as they came,
		 * the running sums are 0 10 70 100. */
		{ "the lot 0 is the weightless one's", "2 1 3 4", { 0, 0, 0 } },
		{ "up to 10 the first", "1 2 3 4", { 10, 0, 0 } },
		{ "11 is the next one's", "3 2 1 4", { 11, 0, 0 } },
		{ "70 still", "3 2 1 4", { 70, 0, 0 } },
		{ "71 and the whole", "4 2 1 3", { 71, 0, 0 } },
		{ "the whole", "4 3 1 2", { 100, 70, 1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct lots lots = { .lots = rows[i].lots, .count = 3 };
		struct srv_target targets[] = {
			target(1, 5, 10, true),
			target(2, 5, 0, true),
			target(3, 5, 60, true),
			target(4, 5, 30, true),
		};

		srv_order(targets, 4, next_lot, &lots);
		order_is(rows[i].what, targets, 4, rows[i].wanted);
		assert_int_equal(lots.below[0], 101);
	}
}

/* Groups have lots of their own: a weight counts among equals alone. */
static void
weights_of_groups(void **state)
{
	struct lots lots = { .lots = (const uint32_t[]){ 5, 1, 0, 0 },
		.count = 4 };
	struct srv_target targets[] = {
		target(1, 2, 65535, true),
		target(2, 1, 5, true),
		target(3, 1, 0, false),
		target(4, 1, 65535, false),
	};

	(void)state;
	srv_order(targets, 4, next_lot, &lots);
	order_is("by group", targets, 4, "2 4 3 1");
	assert_int_equal(lots.below[0], 6);
	assert_int_equal(lots.below[1], 65536);
	assert_int_equal(lots.at, 4);
}

static uint32_t
next_number(void *context, uint32_t below)
{
	uint64_t *seed = context;

	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*seed >> 33) % below);
}

/* Nobody is lost, and who has thrice the weight comes first thrice as often. */
static void
a_thousand_times(void **state)
{
	unsigned first[4] = { 0 };
	uint64_t seed = 1;

	(void)state;
	for (unsigned n = 0; n < 4000; n++) {
		struct srv_target targets[] = {
			target(0, 1, 100, true),
			target(1, 1, 300, true),
			target(2, 1, 0, true),
		};
		unsigned seen = 0;

		srv_order(targets, 3, next_number, &seed);
		for (size_t i = 0; i < 3; i++)
			seen |= 1u << targets[i].port;
		assert_int_equal(seen, 7);
		first[targets[0].port]++;
	}
	assert_in_range(first[0], 800, 1200);
	assert_in_range(first[1], 2800, 3200);
	assert_in_range(first[2], 0, 60);
}

static void
nothing_and_one(void **state)
{
	struct srv_target one = target(1, 65535, 65535, false);
	struct lots lots = { .lots = NULL };

	(void)state;
	srv_order(NULL, 0, next_lot, &lots);
	srv_order(&one, 1, next_lot, &lots);
	assert_int_equal(one.port, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priorities_and_services),
		cmocka_unit_test(weights),
		cmocka_unit_test(weights_of_groups),
		cmocka_unit_test(a_thousand_times),
		cmocka_unit_test(nothing_and_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
