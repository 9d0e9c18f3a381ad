/*
 * t/unit/upstream_io.c: octets and replies over a socket: what trickles
 * extends nothing, and whoever speaks while we send is heard.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../../server/upstream_io.h"

#include <cmocka.h>

enum {
	SHORT_MS = 200,
	LONG_MS = 60000,
	MUCH = 4 * 1024 * 1024, /* more than the kernel takes */
};

static struct upstream_io io;
static int other;
static unsigned char much[MUCH];

static int
setup(void **state)
{
	int two[2];

	(void)state;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two) < 0)
		return -1;
	upstream_io_init(&io, NULL);
	io.fd = two[0];
	other = two[1];
	return fcntl(io.fd, F_SETFL, O_NONBLOCK);
}

static int
teardown(void **state)
{
	(void)state;
	upstream_io_close(&io);
	close(other);
	return 0;
}

static void
say(const char *text)
{
	assert_int_equal(write(other, text, strlen(text)),
	    (ssize_t)strlen(text));
}

static void
nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

/* An octet of an endless line from time to time, until nobody listens. */
static void *
trickle_out(void *unused)
{
	while (send(other, "2", 1, MSG_NOSIGNAL) == 1)
		nap();
	return unused;
}

static void
test_trickling_reply(void **state)
{
	struct upstream_reply reply;
	struct reason why;
	pthread_t id;

	(void)state;
	assert_int_equal(pthread_create(&id, NULL, trickle_out, NULL), 0);
	upstream_reply_init(&reply);
	reply.line_max = REPLY_CHALLENGE_MAX; /* not reached by then */
	assert_false(upstream_io_reply(&io, &reply, SHORT_MS, &why));
	assert_int_equal(why.code, REASON_TIMEOUT);
	assert_true(io.dead);
	upstream_io_close(&io);
	pthread_join(id, NULL);
}

static atomic_bool enough;

static void *
trickle_in(void *unused)
{
	char octets[16];

	while (!atomic_load(&enough) &&
	       read(other, octets, sizeof(octets)) > 0)
		nap();
	return unused;
}

static void
test_trickling_block(void **state)
{
	struct reason why;
	pthread_t id;

	(void)state;
	assert_int_equal(pthread_create(&id, NULL, trickle_in, NULL), 0);
	assert_false(upstream_io_send(&io, much, sizeof(much), SHORT_MS, &why));
	assert_int_equal(why.code, REASON_TIMEOUT);
	assert_true(io.dead);
	atomic_store(&enough, true);
	shutdown(other, SHUT_RDWR);
	upstream_io_close(&io);
	pthread_join(id, NULL);
}

static void *
take_all(void *unused)
{
	static unsigned char octets[65536];
	size_t got = 0;

	while (got < sizeof(much)) {
		ssize_t n = read(other, octets, sizeof(octets));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, got++)
			if (octets[i] != (unsigned char)(got % 251))
				return NULL;
	}
	return unused;
}

/* A server that answers before it reads on would wait for us for ever. */
static void
test_spoken_meanwhile(void **state)
{
	struct upstream_reply reply;
	struct reason why;
	pthread_t id;
	void *all;
	size_t put;

	(void)state;
	say("250 first\r\n250 second\r\n");
	assert_true(upstream_io_send_some(&io, much, sizeof(much), &put,
	    LONG_MS, &why));
	assert_true(put < sizeof(much));
	upstream_reply_init(&reply);
	assert_true(upstream_io_reply(&io, &reply, LONG_MS, &why));
	assert_string_equal(reply.text, "250 first");
	upstream_reply_init(&reply);
	assert_true(upstream_io_reply(&io, &reply, LONG_MS, &why));
	assert_string_equal(reply.text, "250 second");
	assert_int_equal(pthread_create(&id, NULL, take_all, much), 0);
	while (put < sizeof(much)) {
		size_t more;

		assert_true(upstream_io_send_some(&io, much + put,
		    sizeof(much) - put, &more, LONG_MS, &why));
		put += more;
	}
	pthread_join(id, &all);
	assert_ptr_equal(all, much);
}

static void
test_unasked(void **state)
{
	struct reason why;

	(void)state;
	say("421 4.3.2 closing\r\n");
	assert_false(upstream_io_send(&io, "MAIL\r\n", 6, LONG_MS, &why));
	assert_int_equal(why.code, REASON_PROTOCOL);
	assert_non_null(strstr(why.text, "421 4.3.2 closing"));
	assert_true(io.dead);
}

/* What came in one piece with the reply before. */
static void
test_unasked_in_buffer(void **state)
{
	struct upstream_reply reply;
	struct reason why;

	(void)state;
	say("250 yes\r\n250 and again\r\n");
	upstream_reply_init(&reply);
	assert_true(upstream_io_reply(&io, &reply, LONG_MS, &why));
	assert_false(upstream_io_send(&io, "MAIL\r\n", 6, LONG_MS, &why));
	assert_int_equal(why.code, REASON_PROTOCOL);
	assert_true(io.dead);
}

static void
test_closed(void **state)
{
	struct reason why;

	(void)state;
	shutdown(other, SHUT_WR);
	assert_false(upstream_io_send(&io, "MAIL\r\n", 6, LONG_MS, &why));
	assert_int_equal(why.code, REASON_IO);
	assert_true(io.dead);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_trickling_reply),
		TEST(test_trickling_block),
		TEST(test_spoken_meanwhile),
		TEST(test_unasked),
		TEST(test_unasked_in_buffer),
		TEST(test_closed),
	};

	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (unsigned char)(i % 251);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
