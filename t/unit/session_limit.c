/*
 * t/unit/session_limit.c: sessions are counted by client.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../server/session_limit.h"

static const unsigned char *
address(const char *text)
{
	static unsigned char out[2][16];
	static unsigned turn;

	turn ^= 1;
	assert_int_equal(inet_pton(AF_INET6, text, out[turn]), 1);
	return out[turn];
}

static void
counts_and_forgets(void **state)
{
	struct limits *limits = limits_new();

	(void)state;
	assert_true(limits_take(limits, address("::ffff:192.0.2.1"), 2));
	assert_true(limits_take(limits, address("::ffff:192.0.2.1"), 2));
	assert_false(limits_take(limits, address("::ffff:192.0.2.1"), 2));
	assert_true(limits_take(limits, address("::ffff:192.0.2.2"), 2));
	limits_give(limits, address("::ffff:192.0.2.1"));
	assert_true(limits_take(limits, address("::ffff:192.0.2.1"), 2));
	limits_free(limits);
}

static void
a_network_of_64_bits_is_one_client(void **state)
{
	struct limits *limits = limits_new();

	(void)state;
	assert_true(limits_take(limits, address("2001:db8:0:1::1"), 1));
	assert_false(limits_take(limits, address("2001:db8:0:1::2"), 1));
	assert_true(limits_take(limits, address("2001:db8:0:2::1"), 1));
	limits_free(limits);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_and_forgets),
		cmocka_unit_test(a_network_of_64_bits_is_one_client),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
