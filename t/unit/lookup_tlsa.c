/*
 * t/unit/lookup_tlsa.c: TLSA answers as packets: what is sent comes out, and
 * nothing else does.
 */
#include "../../server/lookup_tlsa.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../../server/channel.h"
#include "../../server/lookup_resolver.h"

static struct tlsa_answer answer, read_back;
static unsigned char packet[CHANNEL_PACKET_MAX];

static size_t
put(void)
{
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	tlsa_answer_put(&w, &answer);
	assert_false(w.failed);
	return w.len;
}

static bool
get(const unsigned char *octets, size_t len)
{
	/* Of its very size, so that a sanitizer sees a step too far. */
	unsigned char *copy = malloc(len + 1);
	struct wire_reader r;
	bool ok;

	assert_non_null(copy);
	memcpy(copy, octets, len);
	wire_reader_init(&r, copy, len);
	memset(&read_back, 0xee, sizeof(read_back));
	ok = tlsa_answer_get(&r, &read_back);
	free(copy);
	return ok;
}

static void
fill(void)
{
	tlsa_answer_init(&answer, LOOKUP_FOUND, "");
	strcpy(answer.base, "mx.example.com");
	assert_true(tlsa_answer_add(&answer, "\3\1\1digest", 9));
	assert_true(tlsa_answer_add(&answer, "\2\0\0", 3));
	assert_true(tlsa_answer_add(&answer, "\377\376\375x", 4));
}

static void
what_is_put_is_got(void **state)
{
	(void)state;
	fill();
	assert_true(get(packet, put()));
	assert_int_equal(read_back.answer, LOOKUP_FOUND);
	assert_string_equal(read_back.base, "mx.example.com");
	assert_string_equal(read_back.text, "");
	assert_int_equal(read_back.count, 3);
	assert_int_equal(read_back.records[0].usage, 3);
	assert_int_equal(read_back.records[0].selector, 1);
	assert_int_equal(read_back.records[0].matching, 1);
	assert_int_equal(read_back.records[0].len, 6);
	assert_memory_equal(read_back.records[0].data, "digest", 6);
	assert_int_equal(read_back.records[1].len, 0);
	assert_int_equal(read_back.records[2].usage, 255);
	assert_memory_equal(read_back.records[2].data, "x", 1);

	tlsa_answer_init(&answer, LOOKUP_NONE, "no TLSA record");
	assert_true(get(packet, put()));
	assert_int_equal(read_back.answer, LOOKUP_NONE);
	assert_int_equal(read_back.count, 0);
	assert_string_equal(read_back.text, "no TLSA record");
}

static void
records_are_bounded(void **state)
{
	static unsigned char large[3 + TLSA_DATA_MAX + 1];
	size_t count = 0;

	(void)state;
	tlsa_answer_init(&answer, LOOKUP_FOUND, "");
	assert_true(tlsa_answer_add(&answer, "\3\1", 2));
	assert_true(tlsa_answer_add(&answer, NULL, 0));
	assert_int_equal(answer.count, 0);
	assert_false(tlsa_answer_add(&answer, large, sizeof(large)));
	while (tlsa_answer_add(&answer, large, sizeof(large) - 1))
		count++;
	assert_int_equal(count, TLSA_OCTETS_MAX / TLSA_DATA_MAX);
	tlsa_answer_init(&answer, LOOKUP_FOUND, "");
	for (count = 0; tlsa_answer_add(&answer, "\3\1\1x", 4);)
		count++;
	assert_int_equal(count, TLSA_RECORDS_MAX);
}

/* The largest answer still is one packet. */
static void
the_largest_fits(void **state)
{
	static unsigned char large[3 + TLSA_OCTETS_MAX / TLSA_RECORDS_MAX];
	char text[2 * REASON_TEXT_MAX];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	tlsa_answer_init(&answer, LOOKUP_FOUND, text);
	assert_int_equal(strlen(answer.text), REASON_TEXT_MAX - 1);
	memset(answer.base, 'a', TLSA_BASE_MAX);
	while (tlsa_answer_add(&answer, large, sizeof(large)))
		;
	assert_int_equal(answer.count, TLSA_RECORDS_MAX);
	assert_int_equal(answer.octets_len, TLSA_OCTETS_MAX);
	assert_true(put() + 16 < CHANNEL_PACKET_MAX);
	assert_true(get(packet, put()));
	assert_int_equal(read_back.count, TLSA_RECORDS_MAX);
}

static void
text_of_strangers_is_made_printable(void **state)
{
	(void)state;
	tlsa_answer_init(&answer, LOOKUP_TROUBLE, "a\nb\x80\xff\x1b[0m\x7f");
	assert_string_equal(answer.text, "a?b???[0m?");
}

static void
cut_or_longer_packets_are_refused(void **state)
{
	size_t len;

	(void)state;
	fill();
	len = put();
	for (size_t i = 0; i < len; i++)
		assert_false(get(packet, i));
	assert_false(get(packet, len + 1));
}

static void
hostile_packets_are_refused(void **state)
{
	struct wire_writer w;
	static const struct {
		const char *name;
		uint8_t what;
		const char *base;
		uint8_t count;
		size_t len; /* of each record's data */
		const char *text;
	} rows[] = {
		{ "an answer that does not exist", 3, "a", 1, 1, "" },
		{ "found without records", LOOKUP_FOUND, "a", 0, 0, "" },
		{ "found without a base", LOOKUP_FOUND, "", 1, 1, "" },
		{ "a base that is no host name", LOOKUP_FOUND, "a b", 1, 1,
		    "" },
		{ "a base with an empty label", LOOKUP_FOUND, "a..b", 1, 1,
		    "" },
		{ "none with records", LOOKUP_NONE, "", 1, 1, "" },
		{ "none with a base", LOOKUP_NONE, "a", 0, 0, "" },
		{ "trouble with records", LOOKUP_TROUBLE, "", 1, 1, "" },
		{ "too many records", LOOKUP_FOUND, "a", TLSA_RECORDS_MAX + 1,
		    1, "" },
		{ "255 records", LOOKUP_FOUND, "a", 255, 0, "" },
		{ "a record too large", LOOKUP_FOUND, "a", 1, TLSA_DATA_MAX + 1,
		    "" },
		{ "records too large together", LOOKUP_FOUND, "a", 4,
		    TLSA_DATA_MAX - 1000, "" },
		{ "a line end in the text", LOOKUP_NONE, "", 0, 0,
		    "a\nrole=relay" },
	};
	static unsigned char data[TLSA_DATA_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		wire_writer_init(&w, packet, sizeof(packet));
		wire_put_u8(&w, rows[i].what);
		wire_put_string(&w, rows[i].base);
		wire_put_u8(&w, rows[i].count);
		for (unsigned k = 0; k < rows[i].count; k++) {
			wire_put_raw(&w, "\3\1\1", 3);
			wire_put_bytes(&w, data, rows[i].len);
		}
		wire_put_string(&w, rows[i].text);
		assert_false(w.failed);
		if (get(packet, w.len))
			fail_msg("%s: taken", rows[i].name);
	}
}

static void
names_too_long_are_refused(void **state)
{
	char base[TLSA_BASE_MAX + 2];
	struct wire_writer w;

	(void)state;
	memset(base, 'a', sizeof(base) - 1);
	base[sizeof(base) - 1] = '\0';
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_FOUND);
	wire_put_string(&w, base);
	wire_put_u8(&w, 1);
	wire_put_raw(&w, "\3\1\1", 3);
	wire_put_bytes(&w, "x", 1);
	wire_put_string(&w, "");
	assert_false(get(packet, w.len));
}

static void
only_found_is_compared(void **state)
{
	static const struct {
		enum lookup_answer answer;
		enum dane_state expected;
	} rows[] = {
		{ LOOKUP_NONE, DANE_NONE },
		{ LOOKUP_TROUBLE, DANE_FAILED },
		/* Without a handshake nothing is known, and never good. */
		{ LOOKUP_FOUND, DANE_UNCHECKED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct facts facts = { .dane = DANE_GOOD };

		fill();
		answer.answer = rows[i].answer;
		tlsa_answer_judge(&answer, "hop.example", NULL, 0, &facts);
		assert_int_equal(facts.dane, rows[i].expected);
	}
}

/* --- trust anchors and what can be asked without DNS --------------------- */

static void
anchors_are_checked(void **state)
{
	static const char ds[] =
	    "; a comment\n\nexample. IN DS 59465 13 2 1e2453f84fc895e113c9271eb"
	    "26f789b20e8e218cab869699ff90ab9e72e66a2 ; keytag\r\n";
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{ ds, true },
		{ "", false },
		{ "; nothing\n\n", false },
		{ "rubbish here\n", false },
		{ ". IN A 192.0.2.1\n", false },
		{ ". IN DS 1 13 2 zz\n", false },
		{ "-----BEGIN CERTIFICATE-----\n", false },
	};
	static char line[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		gnutls_datum_t anchor = { (unsigned char *)rows[i].text,
			(unsigned)strlen(rows[i].text) };
		struct reason why = { .code = REASON_NONE };

		if (resolver_check_anchor(&anchor, &why) != rows[i].good)
			fail_msg("row %zu: %s", i, why.text);
		assert_int_equal(why.text[0] == '\0', rows[i].good);
	}
	memset(line, 'x', sizeof(line));
	assert_false(resolver_check_anchor(
	    &(gnutls_datum_t){ (unsigned char *)line, sizeof(line) }, NULL));
}

static void
on_trouble(void *context, const struct tlsa_answer *got)
{
	int *calls = context;

	assert_int_equal(got->answer, LOOKUP_TROUBLE);
	assert_non_null(strstr(got->text, "trust-anchor"));
	assert_non_null(strstr(got->text, "dns-root-data"));
	++*calls;
}

static void
without_an_anchor_tlsa_is_trouble(void **state)
{
	const char *const servers[] = { "127.0.0.1:1", "[::1]:1" };
	struct resolver_options options = { .servers = servers,
		.server_count = 2 };
	struct resolver *resolver;
	struct reason why = { .code = REASON_NONE };
	int calls = 0;

	(void)state;
	if (!resolver_new(&resolver, &options, &why))
		fail_msg("%s", why.text);
	assert_null(resolver_ask_tlsa(resolver, "mx.example.com", 25,
	    on_trouble, &calls));
	assert_int_equal(calls, 1);
	resolver_free(resolver);
}

static void
must_not_come(void *context, const struct tlsa_answer *got)
{
	(void)context;
	fail_msg("an answer to what was cancelled: %s", got->text);
}

static void
must_not_come_either(void *context, const struct resolver_answer *got)
{
	(void)context;
	fail_msg("an answer to what was cancelled: %s", got->text);
}

static void
cancelled_questions_have_no_answer(void **state)
{
	const char *const servers[] = { "127.0.0.1:1" };
	static const char ds[] =
	    "example. IN DS 59465 13 2 1e2453f84fc895e113c9271eb26f789b20e8e2"
	    "18cab869699ff90ab9e72e66a2";
	struct resolver_options options = { .servers = servers,
		.server_count = 1,
		.trust_anchor = { (unsigned char *)(uintptr_t)ds,
		    sizeof(ds) - 1 } };
	struct resolver_question *addresses, *records;
	struct resolver *resolver;
	struct reason why = { .code = REASON_NONE };

	(void)state;
	for (int i = 0; i < 2; i++) {
		options.validate_all = i != 0;
		if (!resolver_new(&resolver, &options, &why))
			fail_msg("%s", why.text);
		addresses = resolver_ask(resolver, "mx.example",
		    must_not_come_either, NULL);
		records = resolver_ask_tlsa(resolver, "mx.example", 25,
		    must_not_come, NULL);
		assert_non_null(addresses);
		assert_non_null(records);
		resolver_cancel(records);
		resolver_cancel(addresses);
		resolver_process(resolver);
		resolver_free(resolver);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_got),
		cmocka_unit_test(records_are_bounded),
		cmocka_unit_test(the_largest_fits),
		cmocka_unit_test(text_of_strangers_is_made_printable),
		cmocka_unit_test(cut_or_longer_packets_are_refused),
		cmocka_unit_test(hostile_packets_are_refused),
		cmocka_unit_test(names_too_long_are_refused),
		cmocka_unit_test(only_found_is_compared),
		cmocka_unit_test(anchors_are_checked),
		cmocka_unit_test(without_an_anchor_tlsa_is_trouble),
		cmocka_unit_test(cancelled_questions_have_no_answer),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
