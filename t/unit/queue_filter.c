/* t/unit/queue_filter.c: which messages of the queue are meant. */
#include "../../server/queue_filter.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct row {
	const char *name, *wanted, *a, *b;
	bool yes;
};

static void
check(const struct row *row, bool (*fits)(const struct row *row))
{
	if (fits(row) != row->yes)
		_fail(row->name, 0);
}

#define CHECK(rows, fits)                                                      \
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)            \
	check(&rows[i], fits)

static bool
fits_user(const struct row *row)
{
	struct queue_filter filter = { .states = 0 };

	snprintf(filter.user, sizeof(filter.user), "%s", row->wanted);
	return queue_filter_user(&filter, row->a, row->b != NULL);
}

static void
test_user(void **state)
{
	static const struct row rows[] = {
		{ "not asked", "", NULL, NULL, true },
		{ "nobody's", "a@x.example", NULL, NULL, false },
		{ "the same", "a@x.example", "A@X.example", NULL, true },
		{ "another", "a@x.example", "ab@x.example", NULL, false },
		{ "a device", "a@x.example", "a+p@x.example", "d", true },
		{ "looks like a device", "a@x.example", "a+p@x.example", NULL,
		    false },
		{ "another realm's", "a@x.example", "a+p@y.example", "d",
		    false },
		{ "another's device", "a@x.example", "ab+p@x.example", "d",
		    false },
		{ "the device alone", "a+p@x.example", "a@x.example", NULL,
		    false },
	};

	(void)state;
	CHECK(rows, fits_user);
}

static bool
fits_sender(const struct row *row)
{
	struct queue_filter filter = { .states = 0 };

	snprintf(filter.sender, sizeof(filter.sender), "%s", row->wanted);
	return queue_filter_sender(&filter, row->a);
}

static void
test_sender(void **state)
{
	static const struct row rows[] = {
		{ "not asked", "", "a@x.example", NULL, true },
		{ "the same", "a@x.example", "a@X.example", NULL, true },
		{ "another", "a@x.example", "aa@x.example", NULL, false },
		{ "its domain", "@x.example", "a@x.example", NULL, true },
		{ "a domain under it", "@x.example", "a@m.x.example", NULL,
		    false },
		{ "the same, as U-labels", "a@b\xc3\xbc.example",
		    "a@xn--b-eha.example", NULL, true },
		{ "its domain as U-labels", "@b\xc3\xbc.example",
		    "a@xn--b-eha.example", NULL, true },
		{ "a user in UTF-8", "J\xc3\xbc@x.example",
		    "j\xc3\xbc@x.example", NULL, true },
		{ "decomposed it is another", "ju\xcc\x88@x.example",
		    "j\xc3\xbc@x.example", NULL, false },
		{ "null", "<>", "", NULL, true },
		{ "not null", "<>", "a@x.example", NULL, false },
		{ "null has no domain", "@x.example", "", NULL, false },
	};

	(void)state;
	CHECK(rows, fits_sender);
}

static bool
fits_hop(const struct row *row)
{
	struct queue_filter filter = { .states = 0 };
	struct next_hop hop = { .port = row->b == NULL ? 465 : 0 };

	snprintf(filter.site, sizeof(filter.site), "%s", row->wanted);
	snprintf(hop.host, sizeof(hop.host), "%s", row->a);
	return queue_filter_hop(&filter, &hop);
}

static bool
fits_domain(const struct row *row)
{
	struct queue_filter filter = { .states = 0 };

	snprintf(filter.site, sizeof(filter.site), "%s", row->wanted);
	return queue_filter_domain(&filter, row->a);
}

static void
test_site(void **state)
{
	static const struct row hops[] = {
		{ "not asked", "", "m.example", NULL, true },
		{ "case and dot", "M.example.", "m.EXAMPLE", NULL, true },
		{ "a part", "example", "m.example", NULL, false },
		{ "under it", ".x.example", "m.x.example", NULL, true },
		{ "not itself", ".x.example", "x.example", NULL, false },
		{ "no label's part", ".x.example", "mx.example", NULL, false },
		{ "shorter", ".very.long.example", "m", NULL, false },
		{ "with its port", "M.example:465", "m.example", NULL, true },
		{ "another port", "m.example:587", "m.example", NULL, false },
		{ "address", "::1", "::1", NULL, true },
		{ "address and port", "[::1]:465", "::1", NULL, true },
		{ "by SRV", "srv:m.example", "m.example", "srv", true },
		{ "not by SRV", "srv:m.example", "m.example", NULL, false },
	};
	static const struct row domains[] = {
		{ "recipient's", "x.example", "a@x.example", NULL, true },
		{ "after the last @", "x.example", "\"a@y\"@x.example", NULL,
		    true },
		{ "the local part is none", "a", "a@x.example", NULL, false },
		{ "no domain", "a", "a", NULL, false },
	};

	(void)state;
	CHECK(hops, fits_hop);
	CHECK(domains, fits_domain);
}

static bool
fits_reason(const struct row *row)
{
	struct queue_filter filter = { .states = 0 };

	snprintf(filter.reason, sizeof(filter.reason), "%s", row->wanted);
	return queue_filter_reason(&filter, row->a, row->b);
}

static void
test_reason(void **state)
{
	static const struct row rows[] = {
		{ "not asked", "", "", "", true },
		{ "a part in any case", "Try LATER", "4.2.0",
		    "450 try later please", true },
		{ "not said", "never", "4.2.0", "450 try later", false },
		{ "class", "4", "4.2.0", "x", true },
		{ "another class", "5", "4.2.0", "x", false },
		{ "subject", "4.2", "4.2.0", "x", true },
		{ "subject with its dot", "4.2.", "4.2.0", "x", true },
		{ "digits of a longer number", "4.2", "4.20.0", "x", false },
		{ "all of it", "4.2.0", "4.2.0", "x", true },
		{ "no status", "4.2", "", "450 4.2.0 is in the text", false },
		{ "a number that is none", "450", "4.2.0", "450 later", true },
	};

	(void)state;
	CHECK(rows, fits_reason);
}

static void
test_age(void **state)
{
	struct queue_filter filter = { .older_s = 60, .newer_s = 120 };

	(void)state;
	assert_false(queue_filter_age(&filter, 59999));
	assert_true(queue_filter_age(&filter, 60000));
	assert_true(queue_filter_age(&filter, 120000));
	assert_false(queue_filter_age(&filter, 120001));
	filter.newer_s = 0;
	assert_true(queue_filter_age(&filter, 120001));
}

static void
test_empty(void **state)
{
	struct queue_filter filter = { .states = 0 };

	(void)state;
	assert_true(queue_filter_is_empty(&filter));
	filter.states = QUEUE_HELD;
	assert_false(queue_filter_is_empty(&filter));
	assert_false(queue_filter_is_deep(&filter));
	strcpy(filter.site, "x");
	assert_true(queue_filter_is_deep(&filter));
}

static bool
passes(const struct queue_request *request, struct queue_request *out,
    size_t cut)
{
	unsigned char packet[QUEUE_REQUEST_MAX];
	struct wire_writer w;
	struct wire_reader r;
	struct reason why;

	wire_writer_init(&w, packet, sizeof(packet));
	queue_request_put(&w, request);
	assert_false(w.failed);
	wire_reader_init(&r, packet, w.len - cut);
	return queue_request_get(&r, out, &why);
}

static void
test_request(void **state)
{
	struct queue_request in = { .verb = QUEUE_BOUNCE,
		.all = true,
		.filter = { .states = QUEUE_HELD | QUEUE_QUEUED,
		    .older_s = 60 },
		.status = "5.7.1",
		.text = "no longer wanted" };
	struct queue_request out;

	(void)state;
	memset(in.filter.user, 'u', sizeof(in.filter.user) - 1);
	memset(in.filter.site, 's', sizeof(in.filter.site) - 1);
	memset(in.filter.sender, 'f', sizeof(in.filter.sender) - 1);
	memset(in.filter.reason, 'r', sizeof(in.filter.reason) - 1);
	assert_true(passes(&in, &out, 0));
	assert_int_equal(out.verb, QUEUE_BOUNCE);
	assert_true(out.all);
	assert_false(out.body);
	assert_string_equal(out.filter.user, in.filter.user);
	assert_string_equal(out.filter.sender, in.filter.sender);
	assert_int_equal(out.filter.states, in.filter.states);
	assert_int_equal(out.filter.older_s, 60);
	assert_string_equal(out.status, "5.7.1");
	assert_string_equal(out.text, in.text);
	assert_false(passes(&in, &out, 1));
	in.filter.states = QUEUE_DONE;
	assert_false(passes(&in, &out, 0));
	in.filter.states = 0;
	in.filter.older_s = INT64_MAX;
	assert_false(passes(&in, &out, 0));
}

/* What a bounce may say. */
static void
test_bounce_words(void **state)
{
	static const struct {
		const char *status, *text;
		bool ok;
	} rows[] = {
		{ "", "", true },
		{ "5.7.1", "so", true },
		{ "5.123.999", "", true },
		{ "4.7.1", "", false },
		{ "5.7", "", false },
		{ "5.7.1x", "", false },
		{ "5.7. 1", "", false },
		{ "5.7.+1", "", false },
		{ "5.1234.1", "", false },
		{ "", "two\r\nlines", false },
		{ "", "\xc3\xa4", false },
	};
	struct queue_request in = { .verb = QUEUE_BOUNCE }, out;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		strcpy(in.status, rows[i].status);
		strcpy(in.text, rows[i].text);
		if (passes(&in, &out, 0) != rows[i].ok)
			_fail(rows[i].status, (int)i);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_sender),
		cmocka_unit_test(test_site),
		cmocka_unit_test(test_reason),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_bounce_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
