/*
 * t/unit/lookup_srv.c: SRV records as DNS has them and as packets: what is
 * usable is kept in order, and nothing else.
 */
#include "../../server/lookup_srv.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct srv_answer answer, read_back;
static unsigned char packet[SRV_PACKET_MAX];

/* Of its very size, so that a sanitizer sees a step too far. */
static void
add(const void *rdata, size_t len, bool implicit_tls, bool secure)
{
	unsigned char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, rdata, len);
	srv_answer_add(&answer, copy, len, implicit_tls, secure);
	free(copy);
}

/* Weight 7, port 465. */
#define RDATA(priority, name) "\0" priority "\0\7\1\321" name
#define ADD(rdata) add(rdata, sizeof(rdata) - 1, true, false)

static void
one_record(void **state)
{
	(void)state;
	srv_answer_init(&answer, LOOKUP_NONE, "");
	add(RDATA("\5", "\2Mx\7EXAMPLE\0"), 18, true, true);
	assert_int_equal(answer.count, 1);
	assert_string_equal(answer.targets[0].host, "mx.example");
	assert_int_equal(answer.targets[0].priority, 5);
	assert_int_equal(answer.targets[0].weight, 7);
	assert_int_equal(answer.targets[0].port, 465);
	assert_true(answer.targets[0].implicit_tls);
	assert_true(answer.targets[0].secure);
	assert_false(answer.denied);
}

static void
no_targets(void **state)
{
	unsigned char whole[6 + 257] = { 0, 1, 0, 1, 1, 209 };

	(void)state;
	srv_answer_init(&answer, LOOKUP_NONE, "");
	ADD("");
	ADD("\0\1\0\1\1\321");
	ADD("\0\1\0\1\1");
	ADD(RDATA("\1", "\2mx"));     /* no root */
	ADD(RDATA("\1", "\2mx\0x"));  /* octets behind it */
	ADD(RDATA("\1", "\3mx\0"));   /* a label past the end */
	ADD(RDATA("\1", "\300\14"));  /* a pointer */
	ADD(RDATA("\1", "\4a.mx\0")); /* a dot in a label */
	ADD(RDATA("\1", "\3m x\0"));  /* no host name */
	ADD(RDATA("\1", "\3m\n?\0"));
	ADD(RDATA("\1", "\4m\0xy\0"));
	ADD(RDATA("\1", "\3127\0010\0010\0011\0")); /* an address */
	ADD("\0\1\0\1\0\0\2mx\0");                  /* port 0 */
	/* Four labels of 63 octets: 255 with the dots. */
	for (size_t label = 0; label < 4; label++) {
		whole[6 + label * 64] = 63;
		memset(whole + 7 + label * 64, 'a', 63);
	}
	add(whole, sizeof(whole), true, false);
	assert_int_equal(answer.count, 0);
	assert_false(answer.denied);
	/* The longest there is. */
	whole[6 + 3 * 64] = 61;
	whole[6 + 3 * 64 + 62] = 0;
	add(whole, 6 + 3 * 64 + 63, true, false);
	assert_int_equal(answer.count, 1);
	assert_int_equal(strlen(answer.targets[0].host), 253);
}

static void
a_service_that_is_not_offered(void **state)
{
	(void)state;
	srv_answer_init(&answer, LOOKUP_NONE, "");
	ADD("\0\0\0\0\0\0\0");
	assert_int_equal(answer.count, 0);
	assert_true(answer.denied);
}

static void
sorted_and_once(void **state)
{
	static const char *const wanted[] = { "d.example", "b.example",
		"a.example", "c.example" };

	(void)state;
	srv_answer_init(&answer, LOOKUP_NONE, "");
	add(RDATA("\2", "\1a\7example\0"), 17, false, false);
	add(RDATA("\2", "\1b\7example\0"), 17, true, false);
	add(RDATA("\3", "\1c\7example\0"), 17, true, false);
	add(RDATA("\1", "\1d\7example\0"), 17, false, false);
	add(RDATA("\1", "\1C\7example\0"), 17, true, false);
	assert_int_equal(answer.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(answer.targets[i].host, wanted[i]);
}

/* Sixty, the best last: those that are kept are the best. */
static void
more_than_fit(void **state)
{
	(void)state;
	srv_answer_init(&answer, LOOKUP_NONE, "");
	for (unsigned i = 60; i > 0; i--) {
		unsigned char rdata[] = RDATA("\0", "\3hNN\7example\0");

		rdata[1] = (unsigned char)i;
		rdata[8] = (unsigned char)('0' + i / 10);
		rdata[9] = (unsigned char)('0' + i % 10);
		add(rdata, sizeof(rdata) - 1, true, false);
	}
	assert_int_equal(answer.count, SRV_TARGETS_MAX);
	for (size_t i = 0; i < SRV_TARGETS_MAX; i++)
		assert_int_equal(answer.targets[i].priority, i + 1);
	assert_string_equal(answer.targets[0].host, "h01.example");
}

/* --- packets ------------------------------------------------------------ */

static size_t
put(void)
{
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	srv_answer_put(&w, &answer);
	assert_false(w.failed);
	return w.len;
}

static bool
get(const unsigned char *octets, size_t len)
{
	unsigned char *copy = malloc(len + 1);
	struct wire_reader r;
	bool ok;

	assert_non_null(copy);
	memcpy(copy, octets, len);
	wire_reader_init(&r, copy, len);
	memset(&read_back, 0xee, sizeof(read_back));
	ok = srv_answer_get(&r, &read_back);
	free(copy);
	return ok;
}

static void
fill_whole(void)
{
	char name[SRV_HOST_MAX + 1];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	srv_answer_init(&answer, LOOKUP_FOUND, "");
	for (; answer.count < SRV_TARGETS_MAX; answer.count++) {
		struct srv_target *target = &answer.targets[answer.count];

		strcpy(target->host, name);
		target->port = (uint16_t)(answer.count + 1);
		target->priority = 65535;
		target->weight = (uint16_t)answer.count;
		target->implicit_tls = answer.count % 2 == 0;
		target->secure = answer.count % 3 == 0;
	}
}

static void
what_is_put_is_got(void **state)
{
	(void)state;
	fill_whole();
	assert_true(get(packet, put()));
	assert_int_equal(read_back.answer, LOOKUP_FOUND);
	assert_int_equal(read_back.count, SRV_TARGETS_MAX);
	assert_memory_equal(read_back.targets, answer.targets,
	    sizeof(answer.targets));

	srv_answer_init(&answer, LOOKUP_NONE, "no usable \n record");
	assert_true(get(packet, put()));
	assert_int_equal(read_back.answer, LOOKUP_NONE);
	assert_int_equal(read_back.count, 0);
	assert_string_equal(read_back.text, "no usable ? record");
}

static void
one_target(void)
{
	srv_answer_init(&answer, LOOKUP_FOUND, "");
	answer.targets[answer.count++] =
	    (struct srv_target){ .host = "mx.example", .port = 465 };
}

static void
what_nobody_would_put(void **state)
{
	size_t len;

	(void)state;
	one_target();
	len = put();
	for (size_t cut = 0; cut < len; cut++)
		assert_false(get(packet, cut));
	packet[len] = 0;
	assert_false(get(packet, len + 1));

	answer.answer = LOOKUP_NONE;
	assert_false(get(packet, put()));
	answer.answer = (enum lookup_answer)3;
	assert_false(get(packet, put()));
	srv_answer_init(&answer, LOOKUP_FOUND, "");
	assert_false(get(packet, put()));

	one_target();
	answer.targets[0].port = 0;
	assert_false(get(packet, put()));
	for (const char **host =
		 (const char *[]){ "", ".", "a b", "192.0.2.1", "[::1]", NULL };
	     *host != NULL; host++) {
		one_target();
		strcpy(answer.targets[0].host, *host);
		assert_false(get(packet, put()));
	}
	one_target();
	strcpy(answer.text, "a\nb");
	assert_false(get(packet, put()));
	one_target();
	len = put();
	packet[1] = SRV_TARGETS_MAX + 1;
	assert_false(get(packet, len));
	one_target();
	len = put();
	packet[2 + 4 + strlen("mx.example") + 6] = 4; /* no such flag */
	assert_false(get(packet, len));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_record),
		cmocka_unit_test(no_targets),
		cmocka_unit_test(a_service_that_is_not_offered),
		cmocka_unit_test(sorted_and_once),
		cmocka_unit_test(more_than_fit),
		cmocka_unit_test(what_is_put_is_got),
		cmocka_unit_test(what_nobody_would_put),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
