/*
 * t/unit/upstream_race.c: which of several addresses a connection is had to:
 * one that says nothing holds up nobody.
 */
#include "../../server/upstream_race.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
	LONG_MS = 600000, /* nobody here may have to wait for it */
	HELD = 16,
};

static struct sockaddr_storage
address_of(const char *text, unsigned port)
{
	struct sockaddr_storage address;
	struct sockaddr_in *four = (struct sockaddr_in *)&address;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;

	memset(&address, 0, sizeof(address));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
	}
	return address;
}

/* On a port of 127.0.0.1 that the kernel chose. */
static int
bound(struct sockaddr_storage *address_out)
{
	socklen_t len = sizeof(*address_out);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage any = address_of("127.0.0.1", 0);

	assert_true(fd >= 0);
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&any, sizeof(struct sockaddr_in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)address_out, &len),
	    0);
	return fd;
}

/* --- order -------------------------------------------------------------- */

static void
families_take_turns(void **state)
{
	static const struct {
		const char *before[6], *after[6];
	} rows[] = {
		{ { "192.0.2.1" }, { "192.0.2.1" } },
		{ { "192.0.2.1", "2001:db8::1" },
		    { "2001:db8::1", "192.0.2.1" } },
		{ { "2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1",
		      "192.0.2.2" },
		    { "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2",
			"2001:db8::3" } },
		{ { "192.0.2.3", "192.0.2.1", "192.0.2.2", "2001:db8::1" },
		    { "2001:db8::1", "192.0.2.3", "192.0.2.1", "192.0.2.2" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sockaddr_storage addresses[6];
		size_t count = 0;

		for (; rows[i].before[count] != NULL; count++)
			addresses[count] =
			    address_of(rows[i].before[count], 465);
		race_order(addresses, count);
		for (size_t at = 0; at < count; at++) {
			struct sockaddr_storage wanted =
			    address_of(rows[i].after[at], 465);

			assert_memory_equal(&addresses[at], &wanted,
			    sizeof(wanted));
		}
	}
	race_order(NULL, 0);
}

/* --- connecting ---------------------------------------------------------- */

/* Which failed, in that order. */
struct failed {
	size_t count, index[RACE_ADDRESSES];
	enum reason_code code;
};

static void
note_failed(void *context, size_t index, const struct reason *why)
{
	struct failed *failed = context;

	failed->index[failed->count++] = index;
	failed->code = why->code;
}

static bool
is_connected_to(int fd, const struct sockaddr_storage *address)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
	       peer.sin_port == ((const struct sockaddr_in *)address)->sin_port;
}

static void
each_is_had_once(void **state)
{
	struct sockaddr_storage addresses[3];
	struct failed failed = { 0 };
	int listeners[2], fd;
	struct reason why;
	struct race race;
	size_t index;
	int closed;

	(void)state;
	closed = bound(&addresses[0]); /* does not listen: refuses */
	listeners[0] = bound(&addresses[1]);
	listeners[1] = bound(&addresses[2]);
	assert_int_equal(listen(listeners[0], 8) | listen(listeners[1], 8), 0);
	race_init(&race, addresses, 3, NULL);
	for (size_t want = 1; want <= 2; want++) {
		assert_true(race_has_more(&race));
		assert_true(race_connect(&race, LONG_MS, note_failed, &failed,
		    &fd, &index, &why));
		assert_int_equal(index, want);
		assert_true(is_connected_to(fd, &addresses[want]));
		close(fd);
	}
	assert_int_equal(failed.count, 1);
	assert_int_equal(failed.index[0], 0);
	assert_false(race_has_more(&race));
	assert_false(race_connect(&race, LONG_MS, note_failed, &failed, &fd,
	    &index, &why));
	assert_int_equal(failed.count, 1);
	close(closed);
	close(listeners[0]);
	close(listeners[1]);
}

static void
all_refuse(void **state)
{
	struct sockaddr_storage addresses[2];
	struct failed failed = { 0 };
	int closed[2], fd = -1;
	struct reason why;
	struct race race;
	size_t index;

	(void)state;
	closed[0] = bound(&addresses[0]);
	closed[1] = bound(&addresses[1]);
	race_init(&race, addresses, 2, NULL);
	assert_false(race_connect(&race, LONG_MS, note_failed, &failed, &fd,
	    &index, &why));
	assert_int_equal(fd, -1);
	assert_int_equal(failed.count, 2);
	assert_int_equal(index, 1);
	assert_string_equal(why.text, "connect: Connection refused");
	close(closed[0]);
	close(closed[1]);
}

/* A listener whose queue is full drops what else comes: connect waits. */
static size_t
fill(int listener, const struct sockaddr_storage *address, int held[HELD])
{
	assert_int_equal(listen(listener, 0), 0);
	for (size_t n = 0; n < HELD; n++) {
		struct pollfd p = { .events = POLLOUT };

		held[n] = p.fd = socket(AF_INET,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(p.fd >= 0);
		if (connect(p.fd, (const struct sockaddr *)address,
			sizeof(struct sockaddr_in)) < 0) {
			assert_int_equal(errno, EINPROGRESS);
			if (poll(&p, 1, 300) == 0)
				return n + 1;
		}
	}
	fail_msg("the queue of a listener does not fill");
	return 0;
}

static void
who_says_nothing_is_overtaken(void **state)
{
	struct sockaddr_storage addresses[2];
	struct failed failed = { 0 };
	int silent, listener, fd, held[HELD];
	struct reason why;
	struct race race;
	size_t index, count;

	(void)state;
	silent = bound(&addresses[0]);
	listener = bound(&addresses[1]);
	assert_int_equal(listen(listener, 8), 0);
	count = fill(silent, &addresses[0], held);
	race_init(&race, addresses, 2, NULL);
	assert_true(race_connect(&race, LONG_MS, note_failed, &failed, &fd,
	    &index, &why));
	assert_int_equal(index, 1);
	assert_int_equal(failed.count, 0);
	close(fd);

	/* It was only overtaken, and may be tried still. */
	assert_true(race_has_more(&race));
	assert_false(
	    race_connect(&race, 1, note_failed, &failed, &fd, &index, &why));
	assert_int_equal(index, 0);
	assert_int_equal(failed.count, 1);
	assert_int_equal(failed.code, REASON_TIMEOUT);
	assert_false(race_has_more(&race));
	while (count > 0)
		close(held[--count]);
	close(silent);
	close(listener);
}

static void
a_relay_that_stops(void **state)
{
	atomic_llong stop_at_ms = 1; /* long ago */
	struct sockaddr_storage address;
	struct failed failed = { 0 };
	struct reason why;
	struct race race;
	int listener, fd;
	size_t index;

	(void)state;
	listener = bound(&address);
	assert_int_equal(listen(listener, 8), 0);
	race_init(&race, &address, 1, &stop_at_ms);
	assert_false(race_connect(&race, LONG_MS, note_failed, &failed, &fd,
	    &index, &why));
	assert_string_equal(why.text, "relay is stopping");
	close(listener);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_take_turns),
		cmocka_unit_test(each_is_had_once),
		cmocka_unit_test(all_refuse),
		cmocka_unit_test(who_says_nothing_is_overtaken),
		cmocka_unit_test(a_relay_that_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
