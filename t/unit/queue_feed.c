/*
 * t/unit/queue_feed.c: a long answer of the relay, as a tool reads it.
 */
#include "queue_world.h"

#include <jansson.h>

#include "../../tools/queue_feed.h"

enum { MESSAGES = 1500, WAIT_S = 60 };

/* The relay's end. */
struct relay_end {
	struct world *world;
	int fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool answered;
};

static void *
answer_one(void *context)
{
	struct relay_end *end = context;
	unsigned char packet[QUEUE_REQUEST_MAX];
	ssize_t len = recv(end->fd, packet, sizeof(packet), 0);

	queue_control_answer(end->world->queue, end->fd, packet, (size_t)len);
	pthread_mutex_lock(&end->lock);
	end->answered = true;
	pthread_cond_signal(&end->changed);
	pthread_mutex_unlock(&end->lock);
	return NULL;
}

struct reader {
	struct relay_end *end;
	char (*ids)[QUEUE_ID_SIZE]; /* expected, in order */
	size_t count;
	bool waits; /* at the first, until the relay is done with it all */
};

static void
take(void *context, const char *octets, size_t len)
{
	struct reader *reader = context;
	json_t *object = json_loadb(octets, len, 0, NULL);
	struct timespec until;

	assert_non_null(object);
	assert_true(reader->count < MESSAGES);
	assert_string_equal(json_string_value(json_object_get(object, "queue")),
	    reader->ids[reader->count++]);
	json_decref(object);
	if (!reader->waits)
		return;
	reader->waits = false;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&reader->end->lock);
	while (!reader->end->answered)
		assert_int_equal(pthread_cond_timedwait(&reader->end->changed,
				     &reader->end->lock, &until),
		    0);
	pthread_mutex_unlock(&reader->end->lock);
}

/* Ask as the tool does; how it ended. */
static bool
feed(struct world *world, const struct queue_request *request,
    struct reader *reader, struct reason *why)
{
	struct relay_end end = { .world = world,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER };
	unsigned char packet[QUEUE_REQUEST_MAX];
	struct wire_writer w;
	pthread_t thread;
	int pair[2], room = 40 * 1024; /* less than the answer */
	bool ok;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	end.fd = pair[0];
	reader->end = &end;
	assert_int_equal(pthread_create(&thread, NULL, answer_one, &end), 0);
	wire_writer_init(&w, packet, sizeof(packet));
	queue_request_put(&w, request);
	ok = queue_feed(pair[1], packet, w.len, take, reader, why);
	pthread_join(thread, NULL);
	close(pair[0]);
	close(pair[1]);
	return ok;
}

/* Each once, the oldest first, however many go in a packet; and a reader who
 * takes his time does not hold up the relay. */
static void
test_list(void **state)
{
	static char ids[MESSAGES][QUEUE_ID_SIZE];
	struct world *world = *state;
	struct queue_request list = { .verb = QUEUE_LIST };
	struct reader reader = { .ids = ids, .waits = true };
	struct reason why;

	for (size_t i = 0; i < MESSAGES; i++)
		submit_one(world, ids[i]);
	assert_true(becomes(messages_now, world, MESSAGES));
	if (!feed(world, &list, &reader, &why))
		end_with(&why);
	assert_int_equal(reader.count, MESSAGES);
}

static void
test_refusal(void **state)
{
	struct queue_request show = { .verb = QUEUE_SHOW, .filter.id = "0NO" };
	struct reader reader = { .count = 0 };
	struct reason why;

	assert_false(feed(*state, &show, &reader, &why));
	assert_string_equal(why.text, "no message 0NO in the queue");
}

int
main(void)
{
#define WITH_WORLD(test)                                                       \
	cmocka_unit_test_setup_teardown(test, world_new, world_free)
	const struct CMUnitTest tests[] = {
		WITH_WORLD(test_list),
		WITH_WORLD(test_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
