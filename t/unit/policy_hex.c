/* t/unit/policy_hex.c: hexadecimal digits, and keys as "sha256:". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../policy/hex.h"

#include <cmocka.h>

static void
test_digits(void **state)
{
	unsigned digits = 0;

	(void)state;
	for (int c = 0; c < 256; c++)
		digits += hex_digit((char)c) >= 0;
	assert_int_equal(digits, 22);
	assert_int_equal(hex_digit('9'), 9);
	assert_int_equal(hex_digit('a'), 10);
	assert_int_equal(hex_digit('F'), 15);
}

static void
test_octets(void **state)
{
	const unsigned char octets[] = { 0x00, 0x1f, 0xa0, 0xff };
	unsigned char back[sizeof(octets)];
	char text[2 * sizeof(octets) + 1];

	(void)state;
	hex_print(text, octets, sizeof(octets));
	assert_string_equal(text, "001fa0ff");
	assert_true(hex_read(back, sizeof(back), text));
	assert_memory_equal(back, octets, sizeof(back));
	assert_true(hex_read(back, sizeof(back), "001FA0fF"));
	assert_memory_equal(back, octets, sizeof(back));
	hex_print(text, octets, 0);
	assert_string_equal(text, "");
	assert_true(hex_read(back, 0, ""));
	assert_false(hex_read(back, sizeof(back), ""));
	assert_false(hex_read(back, sizeof(back), "001fa0f"));
	assert_false(hex_read(back, sizeof(back), "001fa0ff0"));
	assert_false(hex_read(back, sizeof(back), "001fg0ff"));
	assert_false(hex_read(back, sizeof(back), "00 1fa0f"));
}

static void
test_pins(void **state)
{
	unsigned char key[SPKI_OCTETS], back[SPKI_OCTETS];
	char text[PIN_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)(i * 37);
	pin_print(text, key);
	assert_int_equal(strlen(text), PIN_TEXT - 1);
	assert_int_equal(strncmp(text, "sha256:00254a", 13), 0);
	assert_true(pin_read(back, text));
	assert_memory_equal(back, key, sizeof(key));
	assert_false(pin_read(back, text + 7));
	text[PIN_TEXT - 2] = '\0';
	assert_false(pin_read(back, text));
	assert_false(pin_read(back, "sha256"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digits),
		cmocka_unit_test(test_octets),
		cmocka_unit_test(test_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
