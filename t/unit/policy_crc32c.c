/*
 * t/unit/policy_crc32c.c: CRC-32C against the vectors of RFC 3720, B.4, and
 * the two ways to compute it against each other.
 */
#include "policy_fixture.h"

#include "../../policy/crc32c.h"

static void
test_vectors(void **state)
{
	unsigned char octets[32];

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(octets, 0, sizeof(octets));
	assert_int_equal(crc32c(0, octets, 32), 0x8a9136aa);
	memset(octets, 0xff, sizeof(octets));
	assert_int_equal(crc32c(0, octets, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		octets[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, octets, 32), 0x46dd794e);
	assert_int_equal(crc32c_by_table(0, octets, 32), 0x46dd794e);
}

static void
test_both_ways(void **state)
{
	unsigned char octets[300];

	(void)state;
	for (unsigned i = 0; i < sizeof(octets); i++)
		octets[i] = (unsigned char)(i * 167 + 13);
	for (size_t begin = 0; begin < 9; begin++)
		for (size_t len = 0; begin + len <= sizeof(octets); len++)
			assert_int_equal(crc32c(7, octets + begin, len),
			    crc32c_by_table(7, octets + begin, len));
}

static void
test_in_parts(void **state)
{
	(void)state;
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
	assert_int_equal(crc32c(5, "", 0), 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_in_parts),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
