/*
 * t/unit/call.c: a relay thread's questions while the other role dies,
 * comes back, or answers what was not asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../server/channel.h"
#include "../../server/call.h"

/* cmocka's fail() would hide ours. */
#include <cmocka.h>

enum { ASK = 1, ANSWER = 2, PATIENCE_MS = 3000, SHORT_MS = 100 };

/* What the other role does with each request, in order. */
enum deed {
	DEED_ANSWER,
	DEED_OTHER_NUMBER, /* then nothing */
	DEED_OTHER_FIRST,  /* another number's answer, then the right one */
	DEED_DIE,          /* close; the next request comes on a new channel */
	DEED_SHORT,        /* an answer cut off within its number */
};

struct role {
	struct call *call;
	const enum deed *deeds;
	size_t count;
	bool late; /* the first channel comes only after a while */
	unsigned requests;
};

static void
answer(int fd, uint64_t number)
{
	unsigned char packet[16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ANSWER);
	wire_put_u64(&w, number);
	wire_put_u8(&w, 42);
	assert_int_equal(channel_send(fd, packet, w.len, -1), CHANNEL_DONE);
}

static int
new_channel(struct role *role)
{
	const struct timeval most = { .tv_usec = 5 * SHORT_MS * 1000 };
	struct reason why;
	int fd[2];

	assert_true(channel_pair(fd, false, &why));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	call_set(role->call, fd[0]);
	return fd[1];
}

static void *
role_run(void *context)
{
	struct role *role = context;
	unsigned char packet[64];
	struct wire_reader r;
	int fd;

	if (role->late)
		usleep(SHORT_MS * 1000);
	fd = new_channel(role);
	for (size_t i = 0; i < role->count; i++) {
		size_t len = 0;
		uint64_t number;

		if (channel_recv(fd, packet, sizeof(packet), &len, NULL) !=
		    CHANNEL_DONE)
			break;
		role->requests++;
		wire_reader_init(&r, packet + 1, len - 1);
		number = wire_get_u64(&r);
		switch (role->deeds[i]) {
		case DEED_OTHER_FIRST:
			answer(fd, number + 1);
			answer(fd, number);
			break;
		case DEED_ANSWER:
			answer(fd, number);
			break;
		case DEED_OTHER_NUMBER:
			answer(fd, number - 1);
			break;
		case DEED_SHORT:
			packet[0] = ANSWER;
			channel_send(fd, packet, 5, -1);
			break;
		case DEED_DIE:
			close(fd);
			usleep(SHORT_MS * 1000);
			fd = new_channel(role);
			break;
		}
	}
	/* Open until the caller is done with it. */
	usleep(2 * SHORT_MS * 1000);
	close(fd);
	return NULL;
}

static bool
ask(struct role *role, bool is_first, int timeout_ms, struct reason *why)
{
	unsigned char packet[32], octets[64];
	struct call call;
	struct wire_writer w;
	struct wire_reader r;
	uint64_t number;
	uint8_t type = 0;
	pthread_t id;
	bool ok;

	call_init(&call, 5000);
	role->call = &call;
	assert_int_equal(pthread_create(&id, NULL, role_run, role), 0);
	number = call_number(&call);
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, ASK);
	wire_put_u64(&w, number);
	ok = call_ask(&call, &w, is_first, number, octets, sizeof(octets),
	    timeout_ms, &type, &r, why);
	if (ok) {
		assert_int_equal(type, ANSWER);
		assert_int_equal(wire_get_u8(&r), 42);
		assert_true(wire_reader_done(&r));
	}
	pthread_join(id, NULL);
	call_set(&call, -1);
	return ok;
}

static const struct {
	const char *name; /* what a "not ok" should teach */
	enum deed deeds[2];
	size_t count;
	bool late, is_first;
	int timeout_ms;
	bool ok;
	enum reason_code code;
	unsigned requests;
} rows[] = {
	{ "an answer", { DEED_ANSWER }, 1, false, true, PATIENCE_MS, true, 0,
	    1 },
	{ "a role that comes later", { DEED_ANSWER }, 1, true, false,
	    PATIENCE_MS, true, 0, 1 },
	{ "an answer to something else is dropped", { DEED_OTHER_FIRST }, 1,
	    false, true, PATIENCE_MS, true, 0, 1 },
	{ "only an answer to something else", { DEED_OTHER_NUMBER }, 1, false,
	    true, SHORT_MS, false, REASON_TIMEOUT, 1 },
	{ "an answer that is cut off", { DEED_SHORT }, 1, false, true, SHORT_MS,
	    false, REASON_TIMEOUT, 1 },
	{ "a first request is sent again", { DEED_DIE, DEED_ANSWER }, 2, false,
	    true, PATIENCE_MS, true, 0, 2 },
	{ "but once", { DEED_DIE, DEED_DIE }, 2, false, true, PATIENCE_MS,
	    false, REASON_AWAY, 2 },
	{ "a later step has nobody to go to", { DEED_DIE, DEED_ANSWER }, 2,
	    false, false, PATIENCE_MS, false, REASON_AWAY, 1 },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct role role = {
			.deeds = rows[i].deeds,
			.count = rows[i].count,
			.late = rows[i].late,
		};
		struct reason why = { .code = REASON_NONE };

		print_message("# %s\n", rows[i].name);
		assert_int_equal(
		    ask(&role, rows[i].is_first, rows[i].timeout_ms, &why),
		    rows[i].ok);
		if (!rows[i].ok)
			assert_int_equal(why.code, rows[i].code);
		assert_int_equal(role.requests, rows[i].requests);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
