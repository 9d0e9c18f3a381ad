/*
 * t/unit/channel.c: packets keep their bounds, and calls their time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../server/channel.h"

#include <cmocka.h> /* last: it has a macro named fail */

static unsigned char big[CHANNEL_PACKET_MAX + 1];

static int
make_pair(int ends[2])
{
	return channel_pair(ends, true, NULL) ? 0 : -1;
}

static void
close_pair(int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

static void
packets_stay_apart(void **state)
{
	char data[16];
	size_t len;
	int ends[2];

	(void)state;
	assert_int_equal(make_pair(ends), 0);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_WAIT);
	assert_int_equal(channel_send(ends[0], "one", 3, -1), CHANNEL_DONE);
	assert_int_equal(channel_send(ends[0], "three", 5, -1), CHANNEL_DONE);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_DONE);
	assert_int_equal(len, 3);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_DONE);
	assert_int_equal(len, 5);
	close(ends[0]);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_CLOSED);
	assert_int_equal(channel_send(ends[1], "x", 1, -1), CHANNEL_CLOSED);
	close(ends[1]);
}

static void
bounds_hold(void **state)
{
	char data[16];
	size_t len;
	int ends[2];

	(void)state;
	assert_int_equal(make_pair(ends), 0);
	assert_int_equal(channel_send(ends[0], big, CHANNEL_PACKET_MAX + 1, -1),
	    CHANNEL_FAILED);
	assert_int_equal(channel_send(ends[0], big, 0, -1), CHANNEL_FAILED);
	assert_int_equal(channel_send(ends[0], big, CHANNEL_PACKET_MAX, -1),
	    CHANNEL_DONE);
	/* More than the receiver takes is no packet, not half a one. */
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_FAILED);
	close_pair(ends);
}

static void
a_descriptor_travels(void **state)
{
	char data[4];
	int ends[2], pipes[2], got;
	size_t len;

	(void)state;
	assert_int_equal(make_pair(ends), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(channel_send(ends[0], "f", 1, pipes[1]), CHANNEL_DONE);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, &got),
	    CHANNEL_DONE);
	assert_true(got >= 0);
	assert_int_equal(fcntl(got, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(got, "y", 1), 1);
	close(got);
	/* One that nobody wants is closed, not leaked. */
	assert_int_equal(channel_send(ends[0], "f", 1, pipes[1]), CHANNEL_DONE);
	close(pipes[1]);
	assert_int_equal(channel_recv(ends[1], data, sizeof(data), &len, NULL),
	    CHANNEL_DONE);
	assert_int_equal(read(pipes[0], data, 1), 1);
	assert_int_equal(read(pipes[0], data, 1), 0); /* end of file */
	close(pipes[0]);
	close_pair(ends);
}

/* An answer: type, number. */
static void
put_answer(int fd, uint8_t number)
{
	unsigned char packet[9] = { 7 };

	packet[8] = number;
	assert_int_equal(channel_send(fd, packet, sizeof(packet), -1),
	    CHANNEL_DONE);
}

static void
a_call_drops_answers_to_others(void **state)
{
	unsigned char answer[16];
	size_t len;
	int ends[2];

	(void)state;
	assert_int_equal(make_pair(ends), 0);
	assert_int_equal(channel_send(ends[1], "short", 5, -1), CHANNEL_DONE);
	put_answer(ends[1], 41);
	put_answer(ends[1], 42);
	assert_int_equal(channel_call(ends[0], "q", 1, 42, answer,
			     sizeof(answer), &len, 1000),
	    CHANNEL_DONE);
	assert_int_equal(answer[8], 42);
	assert_int_equal(len, 9);
	close_pair(ends);
}

static void
a_call_ends_in_time(void **state)
{
	struct timespec before, after;
	unsigned char answer[16];
	size_t len;
	int ends[2];

	(void)state;
	assert_int_equal(make_pair(ends), 0);
	put_answer(ends[1], 41);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(
	    channel_call(ends[0], "q", 1, 42, answer, sizeof(answer), &len, 50),
	    CHANNEL_WAIT);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true((after.tv_sec - before.tv_sec) * 1000 +
			(after.tv_nsec - before.tv_nsec) / 1000000 <
		    2000);
	close(ends[1]);
	assert_int_equal(
	    channel_call(ends[0], "q", 1, 42, answer, sizeof(answer), &len, 50),
	    CHANNEL_CLOSED);
	close(ends[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_stay_apart),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(a_descriptor_travels),
		cmocka_unit_test(a_call_drops_answers_to_others),
		cmocka_unit_test(a_call_ends_in_time),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
