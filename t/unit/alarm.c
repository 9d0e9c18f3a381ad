/*
 * t/unit/alarm.c: which alarms are told, how often, and in what order they
 * leave; what ends soon is told once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/alarm.h"
#include "../../server/expiry.h"

#include <cmocka.h>

enum { HOUR = 3600 * 1000, DAY = 86400 };

static void
repeats_are_told_once_an_hour(void **state)
{
	struct alarm_filter f = { 0 };

	(void)state;
	assert_int_equal(alarm_judge(&f, ROLE_RELAY, "a", 5), ALARM_TOLD);
	assert_int_equal(alarm_judge(&f, ROLE_RELAY, "a", 6), ALARM_REPEATED);
	/* Not even kept alive by repetition. */
	assert_int_equal(alarm_judge(&f, ROLE_RELAY, "a", 4 + HOUR),
	    ALARM_REPEATED);
	assert_int_equal(alarm_judge(&f, ROLE_RELAY, "a", 5 + HOUR),
	    ALARM_TOLD);
	/* Another text, and the same of another role, are others. */
	assert_int_equal(alarm_judge(&f, ROLE_RELAY, "b", 5 + HOUR),
	    ALARM_TOLD);
	assert_int_equal(alarm_judge(&f, ROLE_SESSION, "a", 5 + HOUR),
	    ALARM_TOLD);
	alarm_filter_fini(&f);
}

static unsigned
flood(struct alarm_filter *f, enum role role, unsigned count, int64_t now)
{
	unsigned told = 0;
	char text[32];

	for (unsigned i = 0; i < count; i++) {
		snprintf(text, sizeof(text), "%lld %u", (long long)now, i);
		if (alarm_judge(f, role, text, now) == ALARM_TOLD)
			told++;
	}
	return told;
}

static void
one_role_cannot_silence_the_others(void **state)
{
	struct alarm_filter f = { 0 };

	(void)state;
	assert_int_equal(flood(&f, ROLE_SESSION, 100, 0), ALARM_OF_ROLE);
	assert_int_equal(flood(&f, ROLE_RELAY, 100, 0),
	    ALARM_AN_HOUR - ALARM_OF_ROLE);
	assert_int_equal(flood(&f, ROLE_MASTER, 100, 0), 0);
	alarm_filter_fini(&f);
}

static void
what_was_left_out_is_counted(void **state)
{
	struct alarm_filter f = { 0 };

	(void)state;
	assert_int_equal(alarm_left_out_at(&f), INT64_MAX);
	flood(&f, ROLE_RELAY, 100, 7);
	/* Not before there is room. */
	assert_int_equal(alarm_left_out(&f, 8), 0);
	assert_int_equal(alarm_left_out_at(&f), 7 + HOUR);
	assert_int_equal(alarm_left_out(&f, 6 + HOUR), 0);
	assert_int_equal(alarm_left_out(&f, 7 + HOUR), 100 - ALARM_OF_ROLE);
	assert_int_equal(alarm_left_out(&f, 7 + HOUR), 0);
	/* Under a lasting flood that line has its hour too. */
	flood(&f, ROLE_RELAY, 100, 8 + HOUR);
	assert_int_equal(alarm_left_out(&f, 9 + HOUR), 0);
	assert_int_equal(alarm_left_out(&f, 7 + 2 * HOUR),
	    100 - ALARM_OF_ROLE + 1);
	alarm_filter_fini(&f);
}

/* The lines come many at a time; the count is asked for between two times. */
static void
a_lasting_flood_does_not_crowd_out_the_count(void **state)
{
	struct alarm_filter f = { 0 };
	uint64_t hour;

	(void)state;
	for (hour = 0; hour < 5; hour++) {
		flood(&f, ROLE_RELAY, 100, (int64_t)hour * HOUR);
		assert_int_equal(alarm_left_out(&f, (int64_t)hour * HOUR) != 0,
		    hour > 0);
		/* Nor is it all that is told. */
		assert_int_equal(
		    flood(&f, ROLE_RELAY, 50, (int64_t)hour * HOUR + 1),
		    hour > 0 ? ALARM_OF_ROLE - 1 : 0);
	}
	alarm_filter_fini(&f);
}

static void
what_was_sent_comes_again_until_it_arrives(void **state)
{
	struct alarm_queue q = { 0 };
	struct alarm_waiting *one;
	uint64_t first;

	(void)state;
	assert_null(alarm_queue_next(&q));
	alarm_queue_add(&q, "one");
	alarm_queue_add(&q, "two");
	one = alarm_queue_next(&q);
	assert_string_equal(one->text, "one");
	first = one->number;
	/* Nothing arrives that was not sent. */
	assert_false(alarm_queue_arrived(&q, first));
	one->sent = true;
	one = alarm_queue_next(&q);
	assert_string_equal(one->text, "two");
	one->sent = true;
	assert_null(alarm_queue_next(&q));
	assert_true(alarm_queue_arrived(&q, first));
	assert_false(alarm_queue_arrived(&q, first));
	alarm_queue_again(&q);
	assert_string_equal(alarm_queue_next(&q)->text, "two");
	assert_int_equal(q.count, 1);
	alarm_queue_fini(&q);
}

static void
waiting_ones_are_bounded(void **state)
{
	struct alarm_queue q = { 0 };
	char text[16];

	(void)state;
	alarm_queue_add(&q, "sent");
	alarm_queue_next(&q)->sent = true;
	for (int i = 0; i < 2 * ALARM_WAITING; i++) {
		snprintf(text, sizeof(text), "%d", i);
		alarm_queue_add(&q, text);
	}
	assert_int_equal(q.count, ALARM_WAITING);
	assert_int_equal(q.dropped, ALARM_WAITING + 1);
	assert_string_equal(q.waiting[0].text, "sent");
	/* The newest are there. */
	snprintf(text, sizeof(text), "%d", 2 * ALARM_WAITING - 1);
	assert_string_equal(q.waiting[ALARM_WAITING - 1].text, text);
	for (size_t i = 0; i < q.count; i++)
		q.waiting[i].sent = true;
	alarm_queue_add(&q, "more");
	assert_int_equal(q.count, ALARM_WAITING);
	assert_string_equal(alarm_queue_next(&q)->text, "more");
	alarm_queue_fini(&q);
}

/* --- what ends soon ----------------------------------------------------- */

static char folder[64], path[128];

static int
make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/t-alarm.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/alarms.json", folder);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static struct expiry *
open_good(void)
{
	struct expiry *e;
	struct reason why;

	assert_true(expiry_open(&e, path, &why));
	assert_int_equal(why.code, REASON_NONE);
	return e;
}

/* Days left as told, or -2 when it is not told. */
static int64_t
told(struct expiry *e, const char *key, int64_t end, int64_t now)
{
	int64_t days;

	return expiry_is_due(e, key, end, now, &days) ? days : -2;
}

static void
each_threshold_once(void **state)
{
	static const struct {
		int64_t left; /* seconds */
		int64_t days; /* -2: not told */
	} steps[] = {
		{ 31 * DAY, -2 },
		{ 30 * DAY + 1, -2 },
		{ 30 * DAY, 30 },
		{ 29 * DAY, -2 },
		{ 14 * DAY, 14 },
		{ 14 * DAY - 1, -2 },
		{ 7 * DAY, 7 },
		{ 2 * DAY, -2 },
		{ DAY, 1 },
		{ DAY / 2, -2 },
		{ 0, -2 }, /* its last second */
		{ -1, -1 },
		{ -DAY, -2 },
	};
	int64_t end = 2000000000;
	struct expiry *e = open_good();
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		int64_t now = end - steps[i].left;

		assert_int_equal(told(e, "k", end, now), steps[i].days);
		/* Nor after a restart. */
		assert_true(expiry_save(e, now, &why));
		expiry_free(e);
		e = open_good();
		assert_int_equal(told(e, "k", end, now), -2);
	}
	expiry_free(e);
}

static void
late_sight_tells_the_nearest_alone(void **state)
{
	int64_t end = 2000000000;
	struct expiry *e = open_good();

	(void)state;
	assert_int_equal(told(e, "k", end, end - 5 * DAY), 5);
	assert_int_equal(told(e, "k", end, end - 4 * DAY), -2);
	assert_int_equal(told(e, "other", end, end - 4 * DAY), 4);
	/* A new date is a new promise. */
	assert_int_equal(told(e, "k", end + DAY, end - 4 * DAY), 5);
	expiry_free(e);
}

static void
more_than_can_be_remembered(void **state)
{
	enum { ALL = 2 * EXPIRY_ENTRIES_MAX };
	int64_t now = 2000000000, end = now + 5 * DAY;
	struct expiry *e = open_good();
	int due[3] = { 0 };
	char key[32];

	(void)state;
	for (int look = 0; look < 3; look++)
		for (int i = 0; i < ALL; i++) {
			/* At first, an hour later, and the day after that. */
			int64_t at = now + look * DAY - (look == 1) * 23 * 3600;

			snprintf(key, sizeof(key), "row %d", i);
			due[look] += told(e, key, end, at) != -2;
		}
	assert_int_equal(due[0], ALL);
	assert_int_equal(due[1], 0);
	assert_int_equal(due[2], ALL - EXPIRY_ENTRIES_MAX);
	expiry_free(e);
}

static void
a_damaged_file_tells_again(void **state)
{
	static const char *const damage[] = { "", "{", "[]", "{\"told\": 1}",
		"{\"told\": {\"k\": {\"stage\": 5}}}",
		"{\"told\": {\"k\": {\"stage\": true, \"end\": 1}}}" };
	struct expiry *e;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(damage[i], f);
		fclose(f);
		assert_true(expiry_open(&e, path, &why));
		assert_int_equal(why.code, REASON_DAMAGED);
		assert_int_equal(told(e, "k", 100, 200), -1);
		/* And it is whole again. */
		assert_true(expiry_save(e, 200, &why));
		expiry_free(e);
		expiry_free(open_good());
	}
}

static void
what_is_gone_for_long_is_forgotten(void **state)
{
	struct expiry *e = open_good();
	struct reason why;
	struct stat st;

	(void)state;
	assert_int_equal(told(e, "gone", 100, 200), -1);
	assert_int_equal(told(e, "here", 100, 200), -1);
	assert_true(expiry_save(e, 200, &why));
	assert_int_equal(told(e, "here", 100, 200 + 80 * DAY), -2);
	assert_true(expiry_save(e, 200 + 80 * DAY, &why));
	assert_int_equal(told(e, "new", 100, 200 + 100 * DAY), -1);
	assert_true(expiry_save(e, 200 + 100 * DAY, &why));
	expiry_free(e);
	e = open_good();
	assert_int_equal(told(e, "here", 100, 200 + 100 * DAY), -2);
	assert_int_equal(told(e, "gone", 100, 200 + 100 * DAY), -1);
	expiry_free(e);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

#define IN_FOLDER(f)                                                           \
	cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(repeats_are_told_once_an_hour),
		cmocka_unit_test(one_role_cannot_silence_the_others),
		cmocka_unit_test(what_was_left_out_is_counted),
		cmocka_unit_test(a_lasting_flood_does_not_crowd_out_the_count),
		cmocka_unit_test(what_was_sent_comes_again_until_it_arrives),
		cmocka_unit_test(waiting_ones_are_bounded),
		IN_FOLDER(each_threshold_once),
		IN_FOLDER(late_sight_tells_the_nearest_alone),
		IN_FOLDER(more_than_can_be_remembered),
		IN_FOLDER(a_damaged_file_tells_again),
		IN_FOLDER(what_is_gone_for_long_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
