/*
 * t/unit/wire.c: what is written is read again, and nothing beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/wire.h"

#include <cmocka.h> /* last: it has a macro named fail */

static void
all_fields_survive(void **state)
{
	unsigned char data[128], raw[3];
	struct wire_writer w;
	struct wire_reader r;
	gnutls_datum_t bytes;
	char text[8], *copy;

	(void)state;
	wire_writer_init(&w, data, sizeof(data));
	wire_put_u8(&w, 0xfe);
	wire_put_u16(&w, 0xfedc);
	wire_put_u32(&w, 0xfedcba98);
	wire_put_u64(&w, 0xfedcba9876543210);
	wire_put_raw(&w, "abc", 3);
	wire_put_bytes(&w, "d\0e", 3);
	wire_put_string(&w, "fgh");
	wire_put_string(&w, NULL);
	wire_put_string(&w, "ij");
	assert_false(w.failed);
	assert_int_equal(data[1], 0xfe); /* big-endian */
	assert_int_equal(data[2], 0xdc);

	wire_reader_init(&r, data, w.len);
	assert_int_equal(wire_get_u8(&r), 0xfe);
	assert_int_equal(wire_get_u16(&r), 0xfedc);
	assert_int_equal(wire_get_u32(&r), 0xfedcba98);
	assert_true(wire_get_u64(&r) == 0xfedcba9876543210);
	assert_true(wire_get_raw(&r, raw, 3));
	assert_memory_equal(raw, "abc", 3);
	bytes = wire_get_bytes(&r, 3);
	assert_int_equal(bytes.size, 3);
	assert_memory_equal(bytes.data, "d\0e", 3);
	assert_true(wire_get_string(&r, text, sizeof(text)));
	assert_string_equal(text, "fgh");
	assert_true(wire_get_string(&r, text, sizeof(text)));
	assert_string_equal(text, "");
	assert_false(wire_reader_done(&r));
	copy = wire_get_string_new(&r, 2);
	assert_string_equal(copy, "ij");
	free(copy);
	assert_true(wire_reader_done(&r));
}

static void
a_writer_never_passes_its_end(void **state)
{
	unsigned char data[9];
	struct wire_writer w;

	(void)state;
	memset(data, 0x55, sizeof(data));
	wire_writer_init(&w, data, 8);
	wire_put_u32(&w, 1);
	wire_put_bytes(&w, "x", 1);
	assert_true(w.failed);
	wire_put_u8(&w, 1);
	assert_true(w.failed); /* it remembers */
	assert_int_equal(data[8], 0x55);
}

static void
a_short_packet_fails_and_gives_zero(void **state)
{
	static const unsigned char data[] = { 0, 0, 0, 9, 'a', 'b' };
	struct wire_reader r;

	(void)state;
	wire_reader_init(&r, data, sizeof(data));
	assert_int_equal(wire_get_bytes(&r, 100).size, 0);
	assert_true(r.failed);
	assert_int_equal(wire_get_u8(&r), 0);
	assert_false(wire_reader_done(&r));
	wire_reader_init(&r, data, 3);
	assert_int_equal(wire_get_u32(&r), 0);
	assert_true(r.failed);
}

static void
bounds_hold(void **state)
{
	static const unsigned char five[] = { 0, 0, 0, 5, 'a', 'b', 'c', 'd',
		'e' };
	static const unsigned char nul[] = { 0, 0, 0, 2, 'a', 0 };
	struct wire_reader r;
	char text[5];

	(void)state;
	wire_reader_init(&r, five, sizeof(five));
	wire_get_bytes(&r, 4);
	assert_true(r.failed);
	wire_reader_init(&r, five, sizeof(five));
	assert_false(wire_get_string(&r, text, sizeof(text))); /* no NUL fits */
	wire_reader_init(&r, five, sizeof(five));
	assert_null(wire_get_string_new(&r, 4));
	wire_reader_init(&r, nul, sizeof(nul));
	assert_false(wire_get_string(&r, text, sizeof(text)));
	wire_reader_init(&r, nul, sizeof(nul));
	assert_null(wire_get_string_new(&r, 10));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields_survive),
		cmocka_unit_test(a_writer_never_passes_its_end),
		cmocka_unit_test(a_short_packet_fails_and_gives_zero),
		cmocka_unit_test(bounds_hold),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
