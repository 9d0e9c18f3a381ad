/*
 * t/unit/book.c: the relay's book: alarms, observed rows, ratchets, files.
 *
 * The clock is the test's; alarms are read from the log's pipe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../server/book_internal.h"
#include "../../server/channel.h"
#include "../../server/control.h"
#include "../../server/log.h"
#include "../../server/messages.h"

#include <cmocka.h> /* last: it has a macro named fail */

enum { HOUR = 3600, DAY = 86400, LOG_OCTETS = 65536 };

struct scratch {
	char folder[64];
	struct book *book;
	int64_t now;
	int log[2];
	char text[LOG_OCTETS];
};

static int64_t
clock_of(void *context)
{
	return ((struct scratch *)context)->now;
}

static void
open_again(struct scratch *s)
{
	struct reason why;

	book_close(s->book);
	s->book = NULL;
	assert_true(book_open(&s->book, s->folder, &why));
	book_set_clock(s->book, clock_of, s);
}

static int
set_up(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	strcpy(s->folder, "/tmp/book-XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	assert_int_equal(pipe2(s->log, O_NONBLOCK | O_CLOEXEC), 0);
	log_open(s->log[1]);
	s->now = 1800000000;
	open_again(s);
	*state = s;
	return 0;
}

static int
tear_down(void **state)
{
	struct scratch *s = *state;
	char command[128];

	book_close(s->book);
	log_open(-1);
	close(s->log[0]);
	close(s->log[1]);
	snprintf(command, sizeof(command), "rm -rf %s", s->folder);
	assert_int_equal(system(command), 0);
	free(s);
	return 0;
}

/* What was logged since the last call. */
static const char *
logged(struct scratch *s)
{
	ssize_t got = read(s->log[0], s->text, sizeof(s->text) - 1);

	s->text[got > 0 ? got : 0] = '\0';
	return s->text;
}

static unsigned
lines(const char *text)
{
	unsigned count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\n';
	return count;
}

static struct decision
decision(enum side side, const char *site, enum verdict verdict)
{
	struct decision d = { .side = side, .verdict = verdict };

	snprintf(d.site, sizeof(d.site), "%s", site);
	strcpy(d.rows, "sites:3");
	d.asked = LEVEL_VERIFY;
	d.version = 13;
	d.names_one_site = true;
	if (verdict != VERDICT_PASS)
		d.code = REASON_CERT_UNTRUSTED;
	return d;
}

static void
decided(struct scratch *s, const char *site, enum verdict verdict)
{
	struct decision d = decision(SIDE_OUT, site, verdict);

	book_decided(s->book, &d, false);
}

static void
first_failure_and_recovery_are_told_once(void **state)
{
	struct scratch *s = *state;
	const char *text;

	decided(s, "a.example", VERDICT_PASS);
	assert_string_equal(logged(s), "");
	decided(s, "a.example", VERDICT_TEMPORARY);
	text = logged(s);
	assert_int_equal(lines(text), 1);
	assert_non_null(
	    strstr(text, "0site state=failing next-hop=a.example direction=out "
			 "site=a.example row=sites:3 asked=verify"));
	for (int i = 0; i < 30; i++) {
		s->now += HOUR / 2;
		decided(s, "a.example", VERDICT_TEMPORARY);
		book_tick(s->book);
	}
	assert_string_equal(logged(s), "");
	decided(s, "a.example", VERDICT_PASS);
	text = logged(s);
	assert_int_equal(lines(text), 1);
	assert_non_null(strstr(text, "state=recovered"));
}

static void
two_ports_of_one_host_are_two_sites(void **state)
{
	struct scratch *s = *state;
	struct decision d =
	    decision(SIDE_OUT, "2001:db8::1", VERDICT_TEMPORARY);

	d.port = 465;
	book_decided(s->book, &d, false);
	assert_non_null(strstr(logged(s),
	    "state=failing next-hop=[2001:db8::1]:465 direction=out"));
	d.port = 587;
	book_decided(s->book, &d, false);
	assert_non_null(strstr(logged(s), "next-hop=[2001:db8::1]:587 "));
	d = decision(SIDE_OUT, "2001:db8::1", VERDICT_PASS);
	d.port = 465;
	s->now += 2 * HOUR;
	book_decided(s->book, &d, false);
	assert_non_null(
	    strstr(logged(s), "state=recovered next-hop=[2001:db8::1]:465 "));
	assert_int_equal(s->book->sites[SIDE_OUT].count, 2);
}

/* Its row or route is gone: nobody would ever say that it is well. */
static void
a_bad_state_not_heard_of_is_forgotten(void **state)
{
	struct scratch *s = *state;
	struct decision d = decision(SIDE_OUT, "old.example", VERDICT_PASS);

	d.asked = LEVEL_MAY;
	d.version = 0;
	decided(s, "gone.example", VERDICT_TEMPORARY);
	decided(s, "bad.example", VERDICT_TEMPORARY);
	book_decided(s->book, &d, true);
	for (int day = 0; day < 40; day++) {
		s->now += DAY;
		if (day < 35)
			decided(s, "bad.example", VERDICT_TEMPORARY);
		book_decided(s->book, &d, true);
		book_tick(s->book);
	}
	assert_null(book_table_find(&s->book->sites[SIDE_OUT], "gone.example"));
	assert_non_null(strstr(logged(s),
	    "3site-forgotten direction=out site=gone.example state=failing"));
	/* When it was heard of last is known after a restart, too. */
	open_again(s);
	book_tick(s->book);
	assert_non_null(
	    book_table_find(&s->book->sites[SIDE_OUT], "bad.example"));
	assert_non_null(
	    book_table_find(&s->book->sites[SIDE_OUT], "old.example"));
	decided(s, "gone.example", VERDICT_TEMPORARY);
	assert_non_null(strstr(logged(s), "state=failing"));
}

static void
flapping_is_one_alarm_an_hour(void **state)
{
	struct scratch *s = *state;
	unsigned alarms = 0;

	for (int i = 0; i < 3 * 60; i++) {
		decided(s, "a.example",
		    i % 2 == 0 ? VERDICT_TEMPORARY : VERDICT_PASS);
		book_tick(s->book);
		s->now += 60;
		alarms += lines(logged(s));
	}
	assert_in_range(alarms, 2, 4);
}

static void
a_state_that_differs_after_the_hour_is_told_then(void **state)
{
	struct scratch *s = *state;

	decided(s, "a.example", VERDICT_PERMANENT);
	assert_int_equal(lines(logged(s)), 1);
	s->now += 60;
	decided(s, "a.example", VERDICT_PASS);
	book_tick(s->book);
	assert_string_equal(logged(s), "");
	s->now += HOUR;
	book_tick(s->book);
	assert_non_null(strstr(logged(s), "state=recovered"));
	book_tick(s->book);
	assert_string_equal(logged(s), "");
}

static void
failing_survives_a_restart_without_an_alarm(void **state)
{
	struct scratch *s = *state;

	decided(s, "a.example", VERDICT_TEMPORARY);
	assert_int_equal(lines(logged(s)), 1);
	open_again(s);
	s->now += 2 * HOUR;
	decided(s, "a.example", VERDICT_TEMPORARY);
	book_tick(s->book);
	assert_string_equal(logged(s), "");
	decided(s, "a.example", VERDICT_PASS);
	assert_non_null(strstr(logged(s), "state=recovered"));
}

/* Also when the tick wrote it and nobody closed the book. */
static void
the_tick_writes(void **state)
{
	struct scratch *s = *state;
	struct book *other;
	struct reason why;

	decided(s, "a.example", VERDICT_TEMPORARY);
	book_tick(s->book);
	assert_true(book_open_read_only(&other, s->folder, &why));
	assert_int_equal(other->sites[SIDE_OUT].count, 1);
	book_close(other);
}

/* A book that takes long to write is written less often. */
static void
the_tick_spares_the_disk(void **state)
{
	struct scratch *s = *state;

	book_tick(s->book);
	assert_int_equal(s->book->write_after_s, BOOK_WRITE_EVERY_S);
	s->book->write_after_s = 40;
	decided(s, "a.example", VERDICT_TEMPORARY);
	s->now += 39;
	book_tick(s->book);
	assert_true(s->book->dirty[PART_SITES]);
	s->now++;
	book_tick(s->book);
	assert_false(s->book->dirty[PART_SITES]);
	assert_int_equal(s->book->write_after_s, BOOK_WRITE_EVERY_S);
}

static void
recipients_that_ask_less_do_not_recover_a_site(void **state)
{
	struct scratch *s = *state;
	struct decision more, less;

	more = decision(SIDE_OUT, "a.example", VERDICT_TEMPORARY);
	strcpy(more.rows, "sites:3,sites:9");
	less = decision(SIDE_OUT, "a.example", VERDICT_PASS);
	less.asked = LEVEL_ENCRYPT;
	book_decided(s->book, &more, false);
	s->now += 30;
	book_decided(s->book, &less, false);
	assert_int_equal(lines(logged(s)), 1);
	s->now += HOUR - 31;
	book_decided(s->book, &more, false);
	s->now += 31;
	book_tick(s->book);
	book_decided(s->book, &less, false);
	assert_string_equal(logged(s), "");
	/* Nobody asked for more in an hour: let it be well. */
	s->now += HOUR;
	book_decided(s->book, &less, false);
	assert_non_null(strstr(logged(s), "state=recovered"));
}

static void
clear_text_is_told_when_it_begins_and_ends(void **state)
{
	struct scratch *s = *state;
	struct decision d = decision(SIDE_OUT, "old.example", VERDICT_PASS);
	json_t *status = json_object();

	d.asked = LEVEL_MAY;
	d.version = 0;
	book_decided(s->book, &d, false); /* nothing has crossed yet */
	assert_string_equal(logged(s), "");
	book_decided(s->book, &d, true);
	assert_non_null(strstr(logged(s), "state=clear"));
	s->now += 2 * HOUR;
	book_decided(s->book, &d, false);
	book_decided(s->book, &d, true);
	assert_string_equal(logged(s), "");
	d.version = 13;
	book_decided(s->book, &d, false);
	assert_non_null(strstr(logged(s), "state=encrypted"));
	book_count(s->book, status);
	assert_int_equal(
	    json_integer_value(json_object_get(status, "clear-deliveries")), 2);
	json_decref(status);
}

static void
networks_raise_no_alarm(void **state)
{
	struct scratch *s = *state;
	struct decision d = decision(SIDE_IN, "192.0.2.1", VERDICT_PERMANENT);

	d.names_one_site = false;
	book_decided(s->book, &d, false);
	assert_string_equal(logged(s), "");
	assert_int_equal(s->book->sites[SIDE_IN].count, 0);
}

/* What clients cause, or a session role that lies, is bounded, and crowds out
 * no next hop. */
static void
ten_thousand_failing_clients_are_all_there_is(void **state)
{
	struct scratch *s = *state;
	unsigned first = 0, all = 0;
	char site[32];

	decided(s, "a.example", VERDICT_TEMPORARY);
	assert_int_equal(lines(logged(s)), 1);
	for (int i = 0; i < BOOK_ENTRIES + 500; i++) {
		struct decision d;

		snprintf(site, sizeof(site), "192.0.2.1-%d", i);
		d = decision(SIDE_IN, site, VERDICT_PERMANENT);
		d.observed_count = 1;
		d.observed[0].identity = (uint64_t)i + 1;
		d.observed[0].met = true;
		book_decided(s->book, &d, false);
		if (i == 1000)
			first = lines(logged(s));
	}
	assert_in_range(first, 1, 61); /* no flood */
	assert_non_null(strstr(logged(s), "0sites-full"));
	assert_int_equal(s->book->sites[SIDE_IN].count, BOOK_ENTRIES);
	assert_int_equal(s->book->observed[SIDE_IN].count, BOOK_ENTRIES);
	assert_int_equal(s->book->sites[SIDE_OUT].count, 1);
	/* None is dropped: the rest is told bit by bit. */
	for (int i = 0; i < BOOK_ENTRIES / 60 + 2; i++) {
		s->now += 60;
		pthread_mutex_lock(&s->book->lock);
		book_site_tick(s->book);
		pthread_mutex_unlock(&s->book->lock);
		all += lines(logged(s));
	}
	assert_int_equal(all + first, BOOK_ENTRIES);
}

static void
good_sites_make_room_failing_ones_stay(void **state)
{
	struct scratch *s = *state;
	char site[32];

	decided(s, "bad.example", VERDICT_TEMPORARY);
	for (int i = 0; i < BOOK_ENTRIES + 10; i++) {
		snprintf(site, sizeof(site), "%d.example", i);
		decided(s, site, VERDICT_TEMPORARY);
		s->now += 2 * HOUR;
		decided(s, site, VERDICT_PASS);
		logged(s);
	}
	assert_int_equal(s->book->sites[SIDE_OUT].count, BOOK_ENTRIES);
	assert_non_null(
	    book_table_find(&s->book->sites[SIDE_OUT], "bad.example"));
	assert_null(book_table_find(&s->book->sites[SIDE_OUT], "0.example"));
}

struct told {
	json_t *records;
};

static bool
tell(void *context, const char *text, size_t len)
{
	struct told *told = context;

	json_array_append_new(told->records, json_loadb(text, len, 0, NULL));
	return true;
}

static json_t *
records(struct scratch *s, enum book_verb verb)
{
	struct told told = { json_array() };
	struct reason why;

	assert_true(book_tell(s->book, verb, tell, &told, &why));
	return told.records;
}

static json_int_t
number(const json_t *record, const char *key)
{
	return json_integer_value(json_object_get(record, key));
}

static void
observed_rows_keep_their_record(void **state)
{
	struct scratch *s = *state;
	struct decision d = decision(SIDE_IN, "192.0.2.1", VERDICT_OBSERVED);
	json_t *all, *record;

	d.observed_count = 1;
	d.observed[0].identity = 0xabc;
	d.observed[0].met = true;
	book_decided(s->book, &d, false);
	s->now += 10;
	d.observed[0].met = false;
	d.observed[0].code = REASON_CERT_MISSING;
	book_decided(s->book, &d, false);
	d.observed[0].met = true;
	book_decided(s->book, &d, false);
	open_again(s);
	all = records(s, BOOK_OBSERVED);
	assert_int_equal(json_array_size(all), 1);
	record = json_array_get(all, 0);
	assert_string_equal(
	    json_string_value(json_object_get(record, "identity")),
	    "0000000000000abc");
	assert_int_equal(number(record, "connections"), 3);
	assert_int_equal(number(record, "refused"), 1);
	assert_int_equal(number(record, "clean"), 1);
	assert_int_equal(number(record, "since"), s->now - 10);
	assert_int_equal(number(record, "last-refused"), s->now);
	assert_int_equal(number(json_object_get(record, "reasons"),
			     reason_word(REASON_CERT_MISSING)),
	    1);
	json_decref(all);
}

/* Ratchets. */

static void
raise_to(struct scratch *s, enum level level, unsigned version,
    const char *issuer)
{
	struct shown shown = { .level = level, .version = version };
	struct reason why;

	snprintf(shown.issuer, sizeof(shown.issuer), "%s", issuer);
	assert_true(book_raise(s->book, "a.example:25", &shown, &why));
}

static void
best_is(struct book *book, enum level level, unsigned version,
    const char *issuer)
{
	struct shown best;

	book_best(book, "a.example:25", &best);
	assert_int_equal(best.level, level);
	assert_int_equal(best.version, version);
	assert_string_equal(best.issuer, issuer);
}

/* The file is read while the book is open: nothing waits for a tick. */
static void
a_ratchet_is_durable_and_only_rises(void **state)
{
	struct scratch *s = *state;
	struct book *other;
	struct reason why;

	best_is(s->book, LEVEL_NONE, 0, "");
	raise_to(s, LEVEL_ENCRYPT, 12, "");
	raise_to(s, LEVEL_VERIFY, 12, "One \xff");
	raise_to(s, LEVEL_ENCRYPT, 13, "");
	raise_to(s, LEVEL_VERIFY, 12, "Two");
	best_is(s->book, LEVEL_VERIFY, 13, "One \xff");
	assert_true(book_open_read_only(&other, s->folder, &why));
	best_is(other, LEVEL_VERIFY, 13, "One \xff");
	book_close(other);
}

static void
what_was_not_written_is_not_said_to_be(void **state)
{
	struct scratch *s = *state;
	struct shown shown = { .level = LEVEL_VERIFY, .version = 13 };
	struct reason why;
	char folder[sizeof(s->book->folder)];

	strcpy(folder, s->book->folder);
	strcpy(s->book->folder, "/nonexistent");
	assert_false(book_raise(s->book, "a.example:25", &shown, &why));
	/* Not more than before, but still not on disk. */
	assert_false(book_raise(s->book, "a.example:25", &shown, &why));
	strcpy(s->book->folder, folder);
	assert_true(book_raise(s->book, "a.example:25", &shown, &why));
	open_again(s);
	best_is(s->book, LEVEL_VERIFY, 13, "");
}

static void
an_operator_lowers(void **state)
{
	struct scratch *s = *state;
	struct reason why;

	raise_to(s, LEVEL_VERIFY, 13, "One");
	assert_false(
	    book_ratchet_lower(s->book, "a.example:25", LEVEL_LOCK, &why));
	assert_true(
	    book_ratchet_lower(s->book, "a.example:25", LEVEL_ENCRYPT, &why));
	assert_non_null(strstr(logged(s), "2ratchet-lowered site=a.example:25 "
					  "level=encrypt was=verify"));
	open_again(s);
	best_is(s->book, LEVEL_ENCRYPT, 0, "");
	raise_to(s, LEVEL_VERIFY, 12, "Two");
	best_is(s->book, LEVEL_VERIFY, 12, "Two");
	assert_true(
	    book_ratchet_lower(s->book, "a.example:25", LEVEL_NONE, &why));
	open_again(s);
	best_is(s->book, LEVEL_NONE, 0, "");
	assert_false(
	    book_ratchet_lower(s->book, "a.example:25", LEVEL_NONE, &why));
}

/* Files. */

static void
write_file(struct scratch *s, const char *name, const char *text, size_t len)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", s->folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
}

static void
damaged_files_are_set_aside_and_told(void **state)
{
	struct scratch *s = *state;
	char path[128];

	decided(s, "a.example", VERDICT_TEMPORARY);
	book_save(s->book);
	logged(s);
	write_file(s, "sites.json", "{\"records\": [", 13);
	open_again(s);
	assert_non_null(strstr(logged(s), "0book what=\"damaged file set "
					  "aside\""));
	assert_int_equal(s->book->sites[SIDE_OUT].count, 0);
	snprintf(path, sizeof(path), "%s/sites.json.damaged", s->folder);
	assert_int_equal(access(path, F_OK), 0);
}

static void
ratchets_with_any_octet_changed_do_not_open(void **state)
{
	struct scratch *s = *state;
	struct book *other;
	struct reason why;
	char path[128], text[1024];
	size_t len;
	FILE *file;

	raise_to(s, LEVEL_VERIFY, 13, "One");
	snprintf(path, sizeof(path), "%s/ratchets.json", s->folder);
	file = fopen(path, "r");
	assert_non_null(file);
	len = fread(text, 1, sizeof(text), file);
	fclose(file);
	assert_in_range(len, 50, sizeof(text) - 1);
	for (size_t i = 0; i < len; i++) {
		/* What JSON does not look at says nothing. */
		if (text[i] == ' ' || text[i] == '\n')
			continue;
		text[i] ^= 1;
		write_file(s, "ratchets.json", text, len);
		assert_false(book_open(&other, s->folder, &why));
		text[i] ^= 1;
	}
	write_file(s, "ratchets.json", text, len);
	assert_true(book_open_read_only(&other, s->folder, &why));
	book_close(other);
}

/* Proofs. */

static struct proof
proof_of(struct scratch *s, unsigned char key, int64_t ends)
{
	struct facts facts = { .tls = true, .version = 13, .peer_cert = true };
	struct next_hop hop = { .host = "a.example", .port = 25 };
	struct proof proof;

	memset(facts.spki, key, sizeof(facts.spki));
	facts.not_after = ends;
	strcpy(facts.issuer, "CN=Authority");
	proof_init(&proof, &hop, &facts, s->now);
	return proof;
}

static void
a_certificates_end_is_told_once_a_threshold(void **state)
{
	static const int days[] = { 40, 29, 28, 20, 13, 10, 6, 3, 1, 0, -1 };
	static const char expected[] = "01001010100";
	struct scratch *s = *state;
	int64_t ends = s->now + 40 * DAY + HOUR;

	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		struct proof proof;

		s->now = ends - days[i] * (int64_t)DAY + (days[i] == 1);
		proof = proof_of(s, 1, ends);
		for (int again = 0; again < 3; again++) {
			book_proved(s->book, &proof, true);
			s->now += 2 * HOUR;
		}
		if (i == 3 || i == 6)
			open_again(s);
		if (expected[i] == '1') {
			assert_int_equal(lines(logged(s)), 1);
			assert_non_null(strstr(s->text, "0peer-certificate "));
		} else {
			assert_string_equal(logged(s), "");
		}
	}
}

/* A client's is known by its key, from wherever it comes. */
static void
a_clients_certificate_is_told_once_a_threshold(void **state)
{
	struct scratch *s = *state;
	int64_t ends = s->now + 31 * (int64_t)DAY;
	struct decision decision = { .side = SIDE_IN,
		.asked = LEVEL_VERIFY,
		.reached = LEVEL_VERIFY,
		.verdict = VERDICT_PASS,
		.site = "192.0.2.1",
		.peer_subject = "CN=branch" };

	book_decided(s->book, &decision, false); /* none was shown */
	decision.peer_not_after = ends;
	memset(decision.peer_spki, 7, SPKI_OCTETS);
	book_decided(s->book, &decision, false);
	assert_string_equal(logged(s), "");
	s->now = ends - 20 * (int64_t)DAY;
	book_decided(s->book, &decision, false);
	strcpy(decision.site, "192.0.2.2");
	book_decided(s->book, &decision, false);
	assert_int_equal(lines(logged(s)), 1);
	assert_non_null(
	    strstr(s->text, "0peer-certificate direction=in site=192.0.2.1 "));
	assert_non_null(strstr(s->text, "subject=CN=branch"));
	open_again(s);
	book_decided(s->book, &decision, false);
	assert_string_equal(logged(s), "");
	s->now = ends + HOUR;
	book_decided(s->book, &decision, false);
	assert_int_equal(lines(logged(s)), 1);
	assert_non_null(strstr(s->text, "has ended"));
}

static void
an_end_that_is_not_watched_is_not_told(void **state)
{
	struct scratch *s = *state;
	struct proof proof = proof_of(s, 1, s->now + DAY);

	book_proved(s->book, &proof, false);
	assert_string_equal(logged(s), "");
}

static void
a_new_key_is_logged_once(void **state)
{
	struct scratch *s = *state;
	int64_t ends = s->now + 90 * (int64_t)DAY;

	for (int i = 0; i < 10; i++) {
		struct proof proof = proof_of(s, i % 2 == 0 ? 1 : 2, ends);

		book_proved(s->book, &proof, true);
	}
	assert_int_equal(lines(logged(s)), 1);
	assert_non_null(strstr(s->text, "3peer-key host=a.example port=25 "));
	assert_non_null(strstr(s->text, "issuer-was-the-same=yes"));
}

struct taken {
	unsigned count, most;
	struct proof last;
};

static bool
take(void *context, const struct proof *proof)
{
	struct taken *taken = context;

	if (taken->count == taken->most)
		return false;
	taken->count++;
	taken->last = *proof;
	return true;
}

static unsigned
take_all(struct scratch *s, uint64_t *since, unsigned most)
{
	struct taken taken = { .most = most };

	book_proofs(s->book, since, take, &taken);
	return taken.count;
}

static void
changed_proofs_are_published_and_confirmed_hourly(void **state)
{
	struct scratch *s = *state;
	struct proof proof = proof_of(s, 1, s->now + 90 * (int64_t)DAY);
	uint64_t since = 0;

	for (unsigned i = 0; i < 5; i++) {
		proof.hop.port = (uint16_t)(i + 1);
		book_proved(s->book, &proof, false);
	}
	/* A channel that is full takes the rest later, each once. */
	assert_int_equal(take_all(s, &since, 2), 2);
	assert_int_equal(take_all(s, &since, 9), 3);
	assert_int_equal(take_all(s, &since, 9), 0);
	proof.at = s->now += 60;
	book_proved(s->book, &proof, false);
	assert_int_equal(take_all(s, &since, 9), 0);
	proof.facts.requiretls = true;
	book_proved(s->book, &proof, false);
	assert_int_equal(take_all(s, &since, 9), 1);
	proof.at = s->now += HOUR;
	book_proved(s->book, &proof, false);
	assert_int_equal(take_all(s, &since, 9), 1);
	open_again(s);
	since = 0;
	assert_int_equal(take_all(s, &since, 9), 5);
}

/* The control socket. */

static bool
ask(struct scratch *s, uint8_t verb, const char *site, uint8_t level)
{
	unsigned char packet[128], got[CHANNEL_PACKET_MAX];
	struct wire_writer w;
	struct reason why;
	size_t len;
	int fd[2];

	assert_true(channel_pair(fd, false, &why));
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, verb);
	wire_put_string(&w, site);
	wire_put_u8(&w, level);
	book_control_answer(s->book, fd[0], packet, w.len);
	do
		assert_int_equal(
		    channel_recv(fd[1], got, sizeof(got), &len, NULL),
		    CHANNEL_DONE);
	while (got[0] == CONTROL_DATA);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(got[0], CONTROL_END);
	return got[1] == 1;
}

static void
the_control_socket_refuses_nonsense(void **state)
{
	struct scratch *s = *state;
	struct proof proof = proof_of(s, 1, s->now + DAY);

	book_proved(s->book, &proof, false);
	raise_to(s, LEVEL_VERIFY, 13, "One");
	for (uint8_t verb = BOOK_OBSERVED; verb <= BOOK_PROOFS; verb++)
		assert_int_equal(ask(s, verb, "", 0),
		    verb != BOOK_RATCHET_LOWER);
	assert_false(ask(s, 0, "", 0));
	assert_false(ask(s, 99, "", 0));
	assert_false(ask(s, BOOK_RATCHET_LOWER, "a.example:25", 200));
	assert_true(ask(s, BOOK_RATCHET_LOWER, "a.example:25", 0));
	best_is(s->book, LEVEL_NONE, 0, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_failure_and_recovery_are_told_once),
		TEST(two_ports_of_one_host_are_two_sites),
		TEST(a_bad_state_not_heard_of_is_forgotten),
		TEST(the_tick_spares_the_disk),
		TEST(flapping_is_one_alarm_an_hour),
		TEST(a_state_that_differs_after_the_hour_is_told_then),
		TEST(failing_survives_a_restart_without_an_alarm),
		TEST(the_tick_writes),
		TEST(recipients_that_ask_less_do_not_recover_a_site),
		TEST(clear_text_is_told_when_it_begins_and_ends),
		TEST(networks_raise_no_alarm),
		TEST(ten_thousand_failing_clients_are_all_there_is),
		TEST(good_sites_make_room_failing_ones_stay),
		TEST(observed_rows_keep_their_record),
		TEST(a_ratchet_is_durable_and_only_rises),
		TEST(what_was_not_written_is_not_said_to_be),
		TEST(an_operator_lowers),
		TEST(damaged_files_are_set_aside_and_told),
		TEST(ratchets_with_any_octet_changed_do_not_open),
		TEST(a_certificates_end_is_told_once_a_threshold),
		TEST(a_clients_certificate_is_told_once_a_threshold),
		TEST(an_end_that_is_not_watched_is_not_told),
		TEST(a_new_key_is_logged_once),
		TEST(changed_proofs_are_published_and_confirmed_hourly),
		TEST(the_control_socket_refuses_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
