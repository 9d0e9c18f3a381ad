/*
 * t/unit/session_link.c: exchanges with an auth role that answers, lies, or
 * goes away.
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
#include "../../server/session.h"
#include "../../server/wire.h"

/* After ours: it has a macro of the name of policy/reason.h's fail. */
#include <cmocka.h>

static struct session s;
static int client; /* the other end of s's socket */
static int auth;   /* the auth role's end of the channel */
static struct auth_link *link_;
static uint64_t number;

static const struct auth_request request = {
	.configuration = 7,
	.listener = "submission",
	.mechanism = "PLAIN",
	.client = "192.0.2.1",
	.tls_version = 13,
};

static void
connect_auth(void)
{
	struct reason why;
	int ends[2];

	assert_true(channel_pair(ends, true, &why));
	auth = ends[1];
	auth_link_set(link_, ends[0]);
}

static int
set_up(void **state)
{
	int ends[2];

	(void)state;
	server.epoll = epoll_create1(0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	memset(&s, 0, sizeof s);
	s.fd = ends[0];
	client = ends[1];
	link_ = auth_link_new();
	assert_non_null(link_);
	number = 0;
	auth = -1;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	auth_link_free(link_);
	if (auth >= 0)
		close(auth);
	close(s.fd);
	close(client);
	close(server.epoll);
	return 0;
}

static void
start(void)
{
	connect_auth();
	assert_true(auth_link_start(link_, &s, &request, &number));
	assert_true(number != 0);
	atomic_store(&s.bits, SESSION_PARKED);
}

/* Was the session put back into the epoll set, and by one waker only? */
static bool
was_woken(void)
{
	struct epoll_event events[4];
	int n = epoll_wait(server.epoll, events, 4, 0), i, mine = 0;

	for (i = 0; i < n; i++)
		if (events[i].data.ptr == &s)
			mine++;
	return mine == 1;
}

static void
say(const struct wire_writer *w)
{
	assert_false(w->failed);
	assert_int_equal(channel_send(auth, w->data, w->len, -1), CHANNEL_DONE);
	auth_link_read(link_);
}

static void
say_challenge(uint64_t to, const char *text)
{
	unsigned char packet[128];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_CHALLENGE);
	wire_put_u64(&w, to);
	wire_put_bytes(&w, text, strlen(text));
	say(&w);
}

static void
say_result(uint64_t to, unsigned result, const char *login)
{
	unsigned char packet[128];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_RESULT);
	wire_put_u64(&w, to);
	wire_put_u8(&w, (uint8_t)result);
	wire_put_string(&w, login);
	wire_put_string(&w, "text");
	if (result == AUTH_GRANTED) {
		struct grant grant;

		assert_true(grant_make(&grant, login, NULL, NULL));
		grant_put(&w, &grant);
	}
	say(&w);
}

static void
an_exchange_from_start_to_result(void **state)
{
	struct auth_answer answer;

	(void)state;
	start();
	assert_false(auth_link_collect(link_, number, &answer));
	say_challenge(number, "who");
	assert_true(was_woken());
	assert_true(auth_link_collect(link_, number, &answer));
	assert_true(answer.is_challenge);
	assert_int_equal(answer.challenge.size, 3);
	free(answer.challenge.data);
	assert_true(auth_link_step(link_, number,
	    (gnutls_datum_t){ (unsigned char *)"me", 2 }));
	atomic_store(&s.bits, SESSION_PARKED);
	say_result(number, AUTH_GRANTED, "a@b");
	assert_true(was_woken());
	assert_true(auth_link_collect(link_, number, &answer));
	assert_int_equal(answer.result, AUTH_GRANTED);
	assert_string_equal(answer.login, "a@b");
	assert_string_equal(answer.grant.login, "a@b");
	grant_fini(&answer.grant);
	/* It is over. */
	assert_false(auth_link_step(link_, number, (gnutls_datum_t){ 0 }));
}

static void
an_auth_that_goes_away_means_unavailable(void **state)
{
	struct auth_answer answer;

	(void)state;
	start();
	close(auth);
	auth = -1;
	auth_link_read(link_);
	assert_true(was_woken());
	assert_true(auth_link_collect(link_, number, &answer));
	assert_int_equal(answer.result, AUTH_UNAVAILABLE);
	assert_false(auth_link_start(link_, &s, &request, &number));
}

static void
a_new_auth_does_not_answer_for_the_old_one(void **state)
{
	struct auth_answer answer;
	int old;

	(void)state;
	start();
	old = auth;
	connect_auth();
	say_result(number, AUTH_GRANTED, "a@b");
	assert_true(auth_link_collect(link_, number, &answer));
	assert_int_equal(answer.result, AUTH_UNAVAILABLE);
	close(old);
}

static void
answers_nobody_asked_for_are_dropped(void **state)
{
	struct auth_answer answer;
	uint64_t aborted;

	(void)state;
	start();
	aborted = number;
	auth_link_abort(link_, aborted);
	say_result(aborted, AUTH_GRANTED, "a@b");
	assert_true(auth_link_start(link_, &s, &request, &number));
	assert_true(number != aborted);
	say_result(aborted, AUTH_GRANTED, "a@b");
	say_result(number + 1, AUTH_GRANTED, "a@b");
	say_result(number + (1 << 16), AUTH_GRANTED, "a@b");
	assert_false(auth_link_collect(link_, number, &answer));
	/* On the client's turn auth has nothing to say. */
	say_challenge(number, "x");
	assert_true(auth_link_collect(link_, number, &answer));
	free(answer.challenge.data);
	say_result(number, AUTH_GRANTED, "a@b");
	assert_false(auth_link_collect(link_, number, &answer));
}

/* Whatever it is that auth sends instead, nobody is let in. */
static void
malformed_packets_end_the_channel(void **state)
{
	struct auth_answer answer;
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		unsigned char packet[64];
		struct wire_writer w;

		start();
		wire_writer_init(&w, packet, sizeof packet);
		wire_put_u8(&w, i == 0 ? AUTH_START : AUTH_RESULT);
		wire_put_u64(&w, number);
		wire_put_u8(&w, i == 1 ? 99 : AUTH_GRANTED);
		wire_put_string(&w, i == 2 ? "" : "a@b");
		if (i != 3)
			wire_put_string(&w, "text");
		if (i == 4)
			wire_put_u8(&w, 0);
		say(&w);
		assert_true(auth_link_collect(link_, number, &answer));
		assert_int_equal(answer.result, AUTH_UNAVAILABLE);
		close(auth);
	}
	auth = -1;
}

static void
a_session_that_runs_is_not_armed(void **state)
{
	(void)state;
	start();
	atomic_store(&s.bits, 0);
	say_challenge(number, "x");
	assert_false(was_woken());
	assert_true(session_is(&s, SESSION_WOKEN));
}

static void
exchanges_are_bounded(void **state)
{
	uint64_t numbers[AUTH_EXCHANGES];
	unsigned char packet[1024];
	size_t i, len;

	(void)state;
	connect_auth();
	for (i = 0; i < AUTH_EXCHANGES; i++) {
		assert_true(auth_link_start(link_, &s, &request, &numbers[i]));
		channel_recv(auth, packet, sizeof packet, &len, NULL);
	}
	assert_false(auth_link_start(link_, &s, &request, &number));
	auth_link_abort(link_, numbers[17]);
	channel_recv(auth, packet, sizeof packet, &len, NULL);
	assert_int_equal(packet[0], AUTH_ABORT);
	assert_true(auth_link_start(link_, &s, &request, &number));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    an_exchange_from_start_to_result, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    an_auth_that_goes_away_means_unavailable, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    a_new_auth_does_not_answer_for_the_old_one, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(
		    answers_nobody_asked_for_are_dropped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    malformed_packets_end_the_channel, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_session_that_runs_is_not_armed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(exchanges_are_bounded, set_up,
		    tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
