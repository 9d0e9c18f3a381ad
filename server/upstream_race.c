/*
 * server/upstream_race.c: overlapping attempts to connect, on one thread.
 */
#include "upstream_race.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "upstream_io.h"

/* A wait looks this often whether the relay is to stop. */
enum { STOP_LOOK_MS = 250 };

/* One call of race_connect. */
struct heat {
	struct race *race;
	int timeout_ms;
	long long next_at; /* when another attempt is due */
	void (*failed)(void *context, size_t index, const struct reason *why);
	void *context;
	size_t last; /* that failed */
	struct reason why;
};

void
race_order(struct sockaddr_storage *addresses, size_t count)
{
	struct sockaddr_storage sorted[RACE_ADDRESSES];
	size_t six = 0, four = 0;
	bool want_six = true;

	assert(count <= RACE_ADDRESSES);
	for (size_t put = 0; put < count; want_six = !want_six) {
		size_t *at = want_six ? &six : &four;

		while (*at < count &&
		       (addresses[*at].ss_family == AF_INET6) != want_six)
			++*at;
		if (*at < count)
			sorted[put++] = addresses[(*at)++];
	}
	if (count > 0)
		memcpy(addresses, sorted, count * sizeof(*addresses));
}

void
race_init(struct race *race, const struct sockaddr_storage *addresses,
    size_t count, const atomic_llong *stop_at_ms)
{
	assert(count <= RACE_ADDRESSES);
	memset(race, 0, sizeof(*race));
	race->addresses = addresses;
	race->count = count;
	race->stop_at_ms = stop_at_ms;
	for (size_t i = 0; i < count; i++)
		race->attempts[i].fd = -1;
}

bool
race_has_more(const struct race *race)
{
	for (size_t i = 0; i < race->count; i++)
		if (!race->attempts[i].over)
			return true;
	return false;
}

static void
attempt_close(struct race_attempt *attempt)
{
	if (attempt->fd >= 0)
		close(attempt->fd);
	attempt->fd = -1;
}

/* It failed as why says; the next one need not wait. */
static void
lose(struct heat *heat, size_t index)
{
	attempt_close(&heat->race->attempts[index]);
	heat->race->attempts[index].over = true;
	heat->last = index;
	heat->next_at = 0;
	heat->failed(heat->context, index, &heat->why);
}

static void
lose_errno(struct heat *heat, size_t index, const char *what)
{
	(void)fail_errno(&heat->why, "%s", what);
	lose(heat, index);
}

/* True if it is connected already. */
static bool
attempt_start(struct heat *heat, size_t index)
{
	const struct sockaddr_storage *address = &heat->race->addresses[index];
	struct race_attempt *attempt = &heat->race->attempts[index];
	socklen_t len = address->ss_family == AF_INET6
			    ? sizeof(struct sockaddr_in6)
			    : sizeof(struct sockaddr_in);
	long long now = upstream_now_ms();
	int on = 1;

	attempt->deadline = now + heat->timeout_ms;
	heat->next_at = now + RACE_DELAY_MS;
	attempt->fd = socket(address->ss_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0) {
		lose_errno(heat, index, "socket");
		return false;
	}
	setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(attempt->fd, (const struct sockaddr *)address, len) == 0)
		return true;
	if (errno != EINPROGRESS)
		lose_errno(heat, index, "connect");
	return false;
}

/* The first that has not begun, or count. */
static size_t
next_waiting(const struct race *race)
{
	size_t i = 0;

	while (i < race->count &&
	       (race->attempts[i].over || race->attempts[i].fd >= 0))
		i++;
	return i;
}

static bool
is_running(const struct race *race)
{
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].fd >= 0)
			return true;
	return false;
}

/* Begin what is due; true with *winner_out if one is connected at once. */
static bool
start_due(struct heat *heat, size_t *winner_out)
{
	struct race *race = heat->race;
	size_t next;

	while ((next = next_waiting(race)) < race->count &&
	       (!is_running(race) || upstream_now_ms() >= heat->next_at))
		if (attempt_start(heat, next)) {
			*winner_out = next;
			return true;
		}
	return false;
}

/* Milliseconds until something is due, if nothing is heard before. */
static int
patience(const struct heat *heat, long long now)
{
	const struct race *race = heat->race;
	long long until = now + STOP_LOOK_MS;

	if (next_waiting(race) < race->count && heat->next_at < until)
		until = heat->next_at;
	for (size_t i = 0; i < race->count; i++)
		if (race->attempts[i].fd >= 0 &&
		    race->attempts[i].deadline < until)
			until = race->attempts[i].deadline;
	return until > now ? (int)(until - now) : 0;
}

/* What poll says of one; true if it is connected. */
static bool
attempt_hear(struct heat *heat, size_t index, short revents)
{
	struct race_attempt *attempt = &heat->race->attempts[index];
	socklen_t len = sizeof(int);
	int error = 0;

	if (revents == 0) {
		if (upstream_now_ms() < attempt->deadline)
			return false;
		(void)fail(&heat->why, REASON_TIMEOUT, "timed out");
		lose(heat, index);
		return false;
	}
	if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
	    error == 0)
		return true;
	if (error != 0)
		errno = error;
	lose_errno(heat, index, "connect");
	return false;
}

/* True with *winner_out; of several the one that was begun first. */
static bool
hear(struct heat *heat, size_t *winner_out)
{
	struct race *race = heat->race;
	struct pollfd polled[RACE_ADDRESSES];

	for (size_t i = 0; i < race->count; i++)
		polled[i] = (struct pollfd){ .fd = race->attempts[i].fd,
			.events = POLLOUT };
	if (poll(polled, race->count, patience(heat, upstream_now_ms())) < 0)
		for (size_t i = 0; i < race->count; i++)
			polled[i].revents = 0; /* EINTR */
	for (size_t i = 0; i < race->count; i++)
		if (polled[i].fd >= 0 &&
		    attempt_hear(heat, i, polled[i].revents)) {
			*winner_out = i;
			return true;
		}
	return false;
}

static bool
must_stop(const struct race *race)
{
	long long at =
	    race->stop_at_ms == NULL ? 0 : atomic_load(race->stop_at_ms);

	return at != 0 && upstream_now_ms() >= at;
}

static bool
run(struct heat *heat, size_t *winner_out)
{
	for (;;) {
		if (must_stop(heat->race))
			return fail(&heat->why, REASON_TIMEOUT,
			    "relay is stopping");
		if (start_due(heat, winner_out))
			return true;
		if (!is_running(heat->race))
			return false;
		if (hear(heat, winner_out))
			return true;
	}
}

bool
race_connect(struct race *race, int timeout_ms,
    void (*failed)(void *context, size_t index, const struct reason *why),
    void *context, int *fd_out, size_t *index_out, struct reason *why)
{
	struct heat heat = {
		.race = race,
		.timeout_ms = timeout_ms,
		.failed = failed,
		.context = context,
		.why = { REASON_INTERNAL, "no address" },
	};
	size_t winner = 0;
	bool won = run(&heat, &winner);

	if (won) {
		*fd_out = race->attempts[winner].fd;
		race->attempts[winner].fd = -1;
		race->attempts[winner].over = true;
	}
	for (size_t i = 0; i < race->count; i++)
		attempt_close(&race->attempts[i]);
	*index_out = won ? winner : heat.last;
	if (!won)
		*why = heat.why;
	return won;
}
