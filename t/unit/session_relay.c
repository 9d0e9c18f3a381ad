/*
 * t/unit/session_relay.c: notices and decisions to a relay that is slow or
 * away, and proofs from one that may lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../server/channel.h"
#include "../../server/proof.h"
#include "../../server/session.h"
#include "../../server/wire.h"

/* After ours: it has a macro of the name of policy/reason.h's fail. */
#include <cmocka.h>

static struct proofs *proofs;
static struct relay_link *link_;
static int relay; /* the relay's end of the channel */

static void
connect_relay(void)
{
	struct reason why;
	int ends[2];

	assert_true(channel_pair(ends, true, &why));
	relay = ends[1];
	relay_link_set(link_, ends[0], NULL);
}

static int
set_up(void **state)
{
	(void)state;
	server.epoll = epoll_create1(0);
	proofs = proofs_new();
	assert_non_null(proofs);
	link_ = relay_link_new(42, proofs);
	assert_non_null(link_);
	relay = -1;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	relay_link_free(link_);
	proofs_free(proofs);
	if (relay >= 0)
		close(relay);
	close(server.epoll);
	return 0;
}

static bool
is_silent(void)
{
	char octet;

	return recv(relay, &octet, 1, MSG_DONTWAIT | MSG_PEEK) == -1;
}

/* Is the link told of what the relay says? */
static bool
is_listening(void)
{
	struct epoll_event event;

	return epoll_wait(server.epoll, &event, 1, 0) == 1 &&
	       event.data.ptr == link_;
}

/* --- notices ------------------------------------------------------------ */

static void
read_notice(unsigned *type_out, uint32_t *segment_out, uint64_t *end_out)
{
	unsigned char packet[64];
	struct wire_reader r;
	size_t len;

	assert_int_equal(channel_recv(relay, packet, sizeof packet, &len, NULL),
	    CHANNEL_DONE);
	wire_reader_init(&r, packet, len);
	*type_out = wire_get_u8(&r);
	assert_int_equal(wire_get_u64(&r), 42);
	*segment_out = wire_get_u32(&r);
	*end_out = wire_get_u64(&r);
	assert_true(wire_reader_done(&r));
}

static void
a_relay_that_was_away_is_told_everything(void **state)
{
	unsigned type;
	uint32_t segment;
	uint64_t end;

	(void)state;
	relay_link_committed(link_, 1, 100, false);
	relay_link_committed(link_, 1, 200, true);
	relay_link_committed(link_, 2, 50, false);
	relay_link_committed(link_, 2, 60, false);
	connect_relay();
	relay_link_tick(link_);
	read_notice(&type, &segment, &end);
	assert_true(type == SPOOL_CLOSED && segment == 1 && end == 200);
	read_notice(&type, &segment, &end);
	assert_true(type == SPOOL_COMMITTED && segment == 2 && end == 60);
	/* And only once. */
	relay_link_tick(link_);
	assert_true(is_silent());
}

/* --- decisions ---------------------------------------------------------- */

static struct decision
decision_of(const char *site, enum verdict verdict, bool one_site)
{
	struct decision decision = {
		.side = SIDE_IN,
		.asked = LEVEL_VERIFY,
		.verdict = verdict,
		.names_one_site = one_site,
	};

	snprintf(decision.site, sizeof decision.site, "%s", site);
	snprintf(decision.rows, sizeof decision.rows, "sites:1");
	return decision;
}

/* Did the relay hear of this decision, and of nothing else? */
static bool
is_told(struct decision decision)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct decision heard;
	struct wire_reader r;
	size_t len;

	relay_link_decided(link_, &decision);
	if (channel_recv(relay, packet, sizeof packet, &len, NULL) !=
	    CHANNEL_DONE)
		return false;
	wire_reader_init(&r, packet, len);
	assert_int_equal(wire_get_u8(&r), SITE_DECIDED);
	assert_true(decision_get(&r, &heard));
	assert_string_equal(heard.site, decision.site);
	assert_int_equal(heard.verdict, decision.verdict);
	assert_true(is_silent());
	return true;
}

static void
only_what_matters_is_told(void **state)
{
	struct decision observed =
	    decision_of("192.0.2.9", VERDICT_OBSERVED, false);

	(void)state;
	connect_relay();
	assert_false(is_told(decision_of("192.0.2.1", VERDICT_PASS, false)));
	assert_true(
	    is_told(decision_of("192.0.2.1", VERDICT_PERMANENT, false)));
	assert_true(
	    is_told(decision_of("192.0.2.1", VERDICT_TEMPORARY, false)));
	assert_false(is_told(decision_of("192.0.2.1", VERDICT_PASS, false)));
	observed.observed_count = 1;
	observed.observed[0].identity = 7;
	assert_true(is_told(observed));
	assert_true(is_told(observed));
	observed.verdict = VERDICT_PASS;
	observed.observed[0].met = true;
	assert_true(is_told(observed));
}

static void
a_site_that_passes_is_told_once(void **state)
{
	struct decision good = decision_of("192.0.2.1", VERDICT_PASS, true);
	struct decision bad = decision_of("192.0.2.1", VERDICT_PERMANENT, true);

	(void)state;
	connect_relay();
	assert_true(is_told(good));
	assert_false(is_told(good));
	assert_true(is_told(decision_of("192.0.2.2", VERDICT_PASS, true)));
	assert_false(is_told(good));
	assert_true(is_told(bad));
	assert_true(is_told(bad));
	assert_true(is_told(good));
	assert_false(is_told(good));
	/* A new relay may not have heard of it. */
	close(relay);
	connect_relay();
	assert_true(is_told(good));
}

/* Such as what its address's row asks when it connects, and what the row of its
 * name adds at MAIL. */
static void
a_pass_of_less_hides_no_pass_of_more(void **state)
{
	struct decision less = decision_of("192.0.2.1", VERDICT_PASS, true);
	struct decision bad = decision_of("192.0.2.1", VERDICT_PERMANENT, true);
	struct decision more;

	(void)state;
	connect_relay();
	bad.asked = LEVEL_LOCK;
	strcpy(bad.rows, "sites:1,sites:2");
	more = bad;
	more.verdict = VERDICT_PASS;
	assert_true(is_told(bad));
	assert_true(is_told(less));
	assert_true(is_told(more));
	assert_false(is_told(less));
	assert_false(is_told(more));
}

static void
a_relay_that_is_away_or_slow_holds_nobody_up(void **state)
{
	struct decision good = decision_of("192.0.2.1", VERDICT_PASS, true);
	struct decision bad = decision_of("192.0.2.2", VERDICT_PERMANENT, true);
	unsigned char packet[CHANNEL_PACKET_MAX];
	unsigned sent;
	size_t len;

	(void)state;
	relay_link_decided(link_, &good);
	assert_int_equal(relay_link_dropped(link_), 1);
	connect_relay();
	for (sent = 0; relay_link_dropped(link_) == 1 && sent < 1000000; sent++)
		relay_link_decided(link_, &bad);
	assert_int_equal(relay_link_dropped(link_), 2);
	relay_link_decided(link_, &good);
	assert_int_equal(relay_link_dropped(link_), 3);
	while (channel_recv(relay, packet, sizeof packet, &len, NULL) ==
	       CHANNEL_DONE)
		sent--;
	assert_int_equal(sent, 1); /* the one that was dropped */
	/* What was dropped is not taken for told. */
	assert_true(is_told(good));
}

/* --- proofs ------------------------------------------------------------- */

static struct next_hop
hop_of(const char *host)
{
	struct next_hop hop = { .port = 25 };

	snprintf(hop.host, sizeof hop.host, "%s", host);
	return hop;
}

static void
say_proof(const char *host, int64_t at, size_t too_much)
{
	struct facts facts = { .tls = true, .version = 13, .bits = 256 };
	struct proof *proof = calloc(1, sizeof *proof);
	struct next_hop hop = hop_of(host);
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	proof_init(proof, &hop, &facts, at);
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, SITE_PROOF);
	proof_put(&w, proof);
	assert_false(w.failed);
	assert_int_equal(channel_send(relay, packet, w.len + too_much, -1),
	    CHANNEL_DONE);
	free(proof);
	if (is_listening())
		relay_link_read(link_);
}

/* When it was proved, or 0. */
static int64_t
known_since(const char *host)
{
	struct next_hop hop = hop_of(host);
	const struct proof *proof = proofs_find(proofs, &hop);
	int64_t at = proof != NULL ? proof->at : 0;

	proof_release(proof);
	return at;
}

static void
the_last_proof_of_each_hop_is_kept(void **state)
{
	struct next_hop hop = hop_of("a.example");
	const struct proof *held;

	(void)state;
	connect_relay();
	assert_int_equal(known_since("a.example"), 0);
	say_proof("a.example", 1000, 0);
	say_proof("b.example", 1001, 0);
	assert_int_equal(known_since("a.example"), 1000);
	held = proofs_find(proofs, &hop);
	say_proof("A.example", 2000, 0);
	assert_int_equal(known_since("a.example"), 2000);
	assert_int_equal(known_since("b.example"), 1001);
	/* Who holds one may go on reading it. */
	assert_int_equal(held->at, 1000);
	assert_int_equal(held->facts.version, 13);
	proof_release(held);
	hop.port = 465;
	assert_null(proofs_find(proofs, &hop));
	proof_release(NULL);
}

static void
proofs_are_bounded(void **state)
{
	char host[64];
	int i;

	(void)state;
	connect_relay();
	for (i = 0; i <= PROOFS_MOST; i++) {
		snprintf(host, sizeof host, "h%d.example", i);
		say_proof(host, 1000 + (i + 3) % PROOFS_MOST, 0);
	}
	/* The oldest made room. */
	snprintf(host, sizeof host, "h%d.example", PROOFS_MOST - 3);
	assert_int_equal(known_since(host), 0);
	assert_int_equal(known_since("h0.example"), 1003);
	snprintf(host, sizeof host, "h%d.example", PROOFS_MOST);
	assert_int_equal(known_since(host), 1003);
}

/* Nothing it says counts any more, but it hears what mail waits for. */
static void
a_relay_that_lies_is_not_listened_to(void **state)
{
	unsigned type;
	uint32_t segment;
	uint64_t end;

	(void)state;
	connect_relay();
	say_proof("a.example", 1000, 0);
	say_proof("b.example", 1000, 1);
	assert_int_equal(known_since("a.example"), 0);
	assert_int_equal(known_since("b.example"), 0);
	say_proof("a.example", 1000, 0);
	assert_int_equal(known_since("a.example"), 0);
	relay_link_committed(link_, 3, 70, false);
	read_notice(&type, &segment, &end);
	assert_true(type == SPOOL_COMMITTED && segment == 3 && end == 70);
	/* The next one is. */
	close(relay);
	connect_relay();
	say_proof("a.example", 1000, 0);
	assert_int_equal(known_since("a.example"), 1000);
}

static void
a_relay_that_hangs_up_leaves_what_it_proved(void **state)
{
	(void)state;
	connect_relay();
	say_proof("a.example", 1000, 0);
	close(relay);
	relay = -1;
	assert_true(is_listening());
	relay_link_read(link_);
	assert_int_equal(known_since("a.example"), 1000);
	assert_false(is_listening());
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_relay_that_was_away_is_told_everything, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(only_what_matters_is_told,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_pass_of_less_hides_no_pass_of_more, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_site_that_passes_is_told_once,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_relay_that_is_away_or_slow_holds_nobody_up, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    the_last_proof_of_each_hop_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(proofs_are_bounded, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    a_relay_that_lies_is_not_listened_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_relay_that_hangs_up_leaves_what_it_proved, set_up,
		    tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
