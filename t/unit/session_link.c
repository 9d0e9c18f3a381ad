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
	pthread_rwlock_init(&server.configurations, NULL);
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
	grant_free(s.grant);
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
	assert_non_null(s.grant);
	assert_string_equal(s.grant->login, "a@b");
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
	for (i = 0; i < 6; i++) {
		unsigned char packet[64];
		struct wire_writer w;

		start();
		wire_writer_init(&w, packet, sizeof packet);
		wire_put_u8(&w, i == 0   ? AUTH_START
				: i == 5 ? AUTH_CHANGED
					 : AUTH_RESULT);
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

static void
say_changed(const char *login)
{
	unsigned char packet[512];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_CHANGED);
	wire_put_string(&w, login);
	wire_put_string(&w, "rights");
	say(&w);
}

/* What was granted before the change, and not looked at, is not granted. */
static void
a_change_overtakes_no_grant(void **state)
{
	static const struct {
		const char *login;
		bool granted;
	} changes[] = { { "a@b", false }, { "", false }, { "c@d", true },
		{ "a@bc", true } };

	(void)state;
	connect_auth();
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		struct auth_answer answer;

		assert_true(auth_link_start(link_, &s, &request, &number));
		say_result(number, AUTH_GRANTED, "a@b");
		say_changed(changes[i].login);
		assert_true(auth_link_collect(link_, number, &answer));
		assert_int_equal(answer.result,
		    changes[i].granted ? AUTH_GRANTED : AUTH_UNAVAILABLE);
		assert_int_equal(s.grant != NULL, changes[i].granted);
		grant_free(s.grant);
		s.grant = NULL;
	}
}

static struct grant *
grant_of(const char *login, const char *owner)
{
	struct grant *grant = calloc(1, sizeof *grant);

	assert_non_null(grant);
	strcpy(grant->login, login);
	strcpy(grant->owner, owner);
	return grant;
}

/* All sessions of the login and of its devices, in whatever configuration they
 * are, and nobody else's. */
static void
a_change_ends_sessions(void **state)
{
	static struct session sessions[5];
	static struct generation old, now;
	static const char *const names[][2] = { { "a@b", "" },
		{ "a+phone@b", "a@b" }, { "c@b", "" }, { "c+a@b", "c@b" } };
	bool waits[5] = { true, false, true, true, true };
	int ends[5][2];
	char octet;

	(void)state;
	pthread_mutex_init(&old.lock, NULL);
	pthread_mutex_init(&now.lock, NULL);
	now.next = &old;
	server.generations = &now;
	for (size_t i = 0; i < 5; i++) {
		struct generation *generation = i < 2 ? &old : &now;

		assert_int_equal(socketpair(AF_UNIX,
				     SOCK_STREAM | SOCK_NONBLOCK, 0, ends[i]),
		    0);
		sessions[i].fd = ends[i][0];
		/* The last one has not logged in. */
		if (i < 4)
			sessions[i].grant = grant_of(names[i][0], names[i][1]);
		if (waits[i])
			atomic_store(&sessions[i].waits, WAITS_FOR_INPUT);
		sessions[i].next = generation->sessions;
		generation->sessions = &sessions[i];
	}
	connect_auth();
	say_changed("a@b");
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(session_is(&sessions[i], SESSION_REVOKED),
		    i < 2);
	/* Who waits for input is told by its end; who does not looks later. */
	assert_int_equal(recv(ends[0][0], &octet, 1, 0), 0);
	assert_int_equal(recv(ends[1][0], &octet, 1, 0), -1);
	assert_int_equal(recv(ends[2][0], &octet, 1, 0), -1);
	say_changed("c+a@b");
	assert_false(session_is(&sessions[2], SESSION_REVOKED));
	assert_true(session_is(&sessions[3], SESSION_REVOKED));
	say_changed("");
	assert_true(session_is(&sessions[2], SESSION_REVOKED));
	assert_false(session_is(&sessions[4], SESSION_REVOKED));
	server.generations = NULL;
	for (size_t i = 0; i < 5; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
		grant_free(sessions[i].grant);
	}
}

/* They come one after the other, and none is lost. */
static void
many_changes_at_once(void **state)
{
	static struct session one;
	static struct generation now;
	unsigned char packet[512];
	struct wire_writer w;

	(void)state;
	pthread_mutex_init(&now.lock, NULL);
	server.generations = &now;
	now.sessions = &one;
	one.fd = -1;
	one.grant = grant_of("u9@b", "");
	connect_auth();
	for (unsigned i = 0; i < 10; i++) {
		char login[16];

		snprintf(login, sizeof login, "u%u@b", i);
		wire_writer_init(&w, packet, sizeof packet);
		wire_put_u8(&w, AUTH_CHANGED);
		wire_put_string(&w, login);
		wire_put_string(&w, "");
		assert_int_equal(channel_send(auth, w.data, w.len, -1),
		    CHANNEL_DONE);
	}
	for (unsigned i = 0; i < 10; i++) {
		struct epoll_event event;

		assert_false(session_is(&one, SESSION_REVOKED));
		assert_int_equal(epoll_wait(server.epoll, &event, 1, 0), 1);
		auth_link_read(link_);
	}
	assert_true(session_is(&one, SESSION_REVOKED));
	server.generations = NULL;
	grant_free(one.grant);
}

static void
what_was_seen_is_told(void **state)
{
	char program[AUTH_PROGRAM_MAX + 2], got[600], client_address[64];
	unsigned char packet[2048];
	struct wire_reader r;
	size_t len;

	(void)state;
	memset(program, 'p', sizeof program - 1);
	program[sizeof program - 1] = '\0';
	connect_auth();
	auth_link_seen(link_, "a@b", program, "192.0.2.1", 5);
	assert_int_equal(channel_recv(auth, packet, sizeof packet, &len, NULL),
	    CHANNEL_DONE);
	wire_reader_init(&r, packet, len);
	assert_int_equal(wire_get_u8(&r), AUTH_SEEN);
	assert_true(wire_get_string(&r, got, sizeof got));
	assert_string_equal(got, "a@b");
	assert_true(wire_get_string(&r, got, sizeof got));
	assert_int_equal(strlen(got), AUTH_PROGRAM_MAX);
	assert_true(wire_get_string(&r, client_address, sizeof client_address));
	assert_string_equal(client_address, "192.0.2.1");
	assert_int_equal(wire_get_u32(&r), 5);
	assert_true(wire_reader_done(&r));
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
		cmocka_unit_test_setup_teardown(a_change_overtakes_no_grant,
		    set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_change_ends_sessions, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(many_changes_at_once, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(what_was_seen_is_told, set_up,
		    tear_down),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
