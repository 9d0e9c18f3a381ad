/*
 * t/unit/queue_world.h: a scratch state folder with both sides of the queue:
 * the spool writes, the relay's queue reads.
 */
#ifndef T_UNIT_QUEUE_WORLD_H
#define T_UNIT_QUEUE_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#undef fail /* ours is in policy/reason.h */

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../policy/routes.h"
#include "../../server/messages.h"
#include "../../server/queue.h"
#include "../../server/queue_control.h"
#include "../../server/queue_internal.h"
#include "../../server/spool.h"

static inline void
end_with(const struct reason *why)
{
	print_error("%s\n", why->text);
	_fail(__FILE__, __LINE__);
}

/* A scratch state folder with both processes' sides of the queue. */
struct world {
	char root[64], in[80], own[80];
	struct config config;
	uint64_t start_id;
	struct spool *spool;
	struct queue *queue;
	pthread_mutex_t lock; /* of queue, between us and the committer */
	bool deaf;            /* notices are lost */
	bool device;          /* what is submitted is a device's */
	const char *login;    /* who submits it, or NULL */
	uint8_t notify;       /* of what is submitted */
	uint64_t rotate;
	uint64_t segment;
	struct routes *routes; /* or NULL */
};

static inline void
notice(void *context, uint32_t segment, uint64_t end, bool closed)
{
	struct world *world = context;

	pthread_mutex_lock(&world->lock);
	if (!world->deaf && world->queue != NULL)
		queue_committed(world->queue, world->start_id, segment, end,
		    closed);
	pthread_mutex_unlock(&world->lock);
}

static inline void
spool_start(struct world *world)
{
	struct spool_options options = {
		.folder = world->in,
		.start_id = ++world->start_id,
		.memory = 64 << 20,
		.segment = world->segment,
		.committed = notice,
		.context = world,
	};
	struct reason why;

	if (!spool_open(&world->spool, &options, &why))
		end_with(&why);
}

static inline void
queue_start(struct world *world)
{
	struct queue_options options = {
		.in_folder = world->in,
		.relay_folder = world->own,
		.config = &world->config,
		.routes = world->routes,
		.start_id = 77,
		.rotate = world->rotate,
	};
	struct reason why;
	struct queue *queue;

	if (!queue_open(&queue, &options, &why))
		end_with(&why);
	queue_live(queue, world->start_id);
	world->queue = queue;
}

/* As after kill -9 of both and a start: the session's id is a new one. */
static inline void
queue_restart(struct world *world)
{
	struct queue *queue = world->queue;

	pthread_mutex_lock(&world->lock);
	world->queue = NULL;
	queue_close(queue);
	queue_start(world);
	pthread_mutex_unlock(&world->lock);
}

static inline int
world_new(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	snprintf(world->root, sizeof(world->root), "/tmp/t-queue-XXXXXX");
	assert_non_null(mkdtemp(world->root));
	snprintf(world->in, sizeof(world->in), "%s/in", world->root);
	snprintf(world->own, sizeof(world->own), "%s/relay", world->root);
	assert_int_equal(mkdir(world->in, 0770), 0);
	assert_int_equal(mkdir(world->own, 0700), 0);
	world->config.hostname = "mail.example.org";
	world->config.smarthost.host = "smtp.isp.example";
	world->config.smarthost.port = 465;
	world->config.smarthost.implicit_tls = true;
	world->config.retry_first_s = 60;
	world->config.retry_most_s = 3600;
	world->config.expire_s = 86400;
	world->config.relay_threads = 4;
	world->start_id = 0x1000;
	world->segment = 1 << 20;
	pthread_mutex_init(&world->lock, NULL);
	*state = world;
	spool_start(world);
	queue_start(world);
	return 0;
}

static inline int
world_free(void **state)
{
	struct world *world = *state;
	char command[128];

	spool_close(world->spool);
	if (world->queue != NULL)
		queue_close(world->queue);
	routes_close(world->routes);
	snprintf(command, sizeof(command), "rm -rf %s", world->root);
	assert_int_equal(system(command), 0);
	free(world);
	return 0;
}

struct submitted {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned done;
	bool ok;
};

static inline void
submitted_done(void *context, bool ok, const struct reason *why)
{
	struct submitted *submitted = context;

	(void)why;
	pthread_mutex_lock(&submitted->lock);
	submitted->ok = ok;
	submitted->done++;
	pthread_cond_signal(&submitted->cond);
	pthread_mutex_unlock(&submitted->lock);
}

/* Submit and wait; id_out gets the queue id. */
static inline bool
submit(struct world *world, const char *from, const char *const *to,
    const char *head, const char *body, size_t len, char *id_out)
{
	struct submitted submitted = { PTHREAD_MUTEX_INITIALIZER,
		PTHREAD_COND_INITIALIZER, 0, false };
	struct spool_message *message = spool_message_new(world->spool);
	struct envelope envelope;
	struct reason why;

	envelope_init(&envelope);
	spool_queue_id(world->spool, envelope.queue_id);
	envelope.arrival_ms = queue_now_ms();
	envelope.reverse_path = strdup(from);
	envelope.device = world->device;
	if (world->login != NULL)
		envelope.login = strdup(world->login);
	for (; *to != NULL; to++)
		assert_true(envelope_add_recipient(&envelope, *to));
	for (size_t i = 0; i < envelope.recipient_count; i++)
		envelope.recipients[i].notify = world->notify;
	assert_true(spool_message_append(message, body, len, &why));
	if (id_out != NULL)
		strcpy(id_out, envelope.queue_id);
	spool_commit(world->spool, message, &envelope, head, strlen(head),
	    submitted_done, &submitted);
	envelope_fini(&envelope);
	pthread_mutex_lock(&submitted.lock);
	while (submitted.done == 0)
		pthread_cond_wait(&submitted.cond, &submitted.lock);
	pthread_mutex_unlock(&submitted.lock);
	return submitted.ok;
}

static const char *const one_rcpt[] = { "a@x.example", NULL };
static const char text[] = "Subject: hello\r\n\r\nbody\r\n";

static inline void
submit_one(struct world *world, char *id_out)
{
	assert_true(submit(world, "s@y.example", one_rcpt, "Received: x\r\n",
	    text, strlen(text), id_out));
}

static inline void
finish(struct world *world, struct delivery *delivery, enum outcome outcome,
    const char *status, const char *reply)
{
	for (size_t i = 0; i < delivery->recipient_count; i++) {
		struct delivery_recipient *one = &delivery->recipients[i];

		one->outcome = outcome;
		snprintf(one->status, sizeof(one->status), "%s", status);
		snprintf(one->text, sizeof(one->text), "%s", reply);
	}
	queue_done(world->queue, delivery);
}

static inline void
note_said(void *context, bool is_error, const char *said)
{
	(void)context;
	(void)is_error;
	print_error("%s\n", said);
}

/* Routes are in force from now on. */
static inline void
route(struct world *world, const char *rows)
{
	struct routes_source source = { "routes",
		{ (unsigned char *)(uintptr_t)rows, (unsigned)strlen(rows) } };
	struct routes *before = world->routes;
	char name[MAP_NAME], path[200];
	struct reason why;

	assert_true(
	    routes_compile(&source, world->root, name, note_said, NULL, &why));
	snprintf(path, sizeof(path), "%s/%s", world->root, name);
	assert_true(routes_open(&world->routes, path, true, &why));
	queue_configure(world->queue, &world->config, world->routes);
	routes_close(before);
}

/* Files in a folder whose names hold that text. */
static inline unsigned
count_files(const char *path, const char *part)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] != '.' &&
		    strstr(entry->d_name, part) != NULL)
			count++;
	}
	closedir(folder);
	return count;
}

static inline void
settle(struct world *world)
{
	assert_true(log_wait(world->queue, 60000));
}

static inline bool
becomes(unsigned (*count)(struct world *), struct world *world, unsigned wanted)
{
	for (int i = 0; i < 3000; i++) {
		if (count(world) == wanted)
			return true;
		usleep(10000);
	}
	print_message("# %u, expected %u\n", count(world), wanted);
	return false;
}

static inline unsigned
messages_now(struct world *world)
{
	struct queue_counts counts;

	queue_count(world->queue, &counts);
	return (unsigned)counts.messages;
}

/* Ask over a socket pair as the tool does; how it ended. */
static inline bool
ask(struct world *world, enum queue_verb verb, const char *id)
{
	struct queue_request request = { .verb = verb };
	unsigned char packet[QUEUE_REQUEST_MAX];
	struct wire_writer w;
	ssize_t got;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	wire_writer_init(&w, packet, sizeof(packet));
	snprintf(request.filter.id, sizeof(request.filter.id), "%s", id);
	queue_request_put(&w, &request);
	queue_control_answer(world->queue, pair[0], packet, w.len);
	do {
		got = recv(pair[1], packet, sizeof(packet), 0);
		assert_true(got > 2);
	} while (packet[0] == CONTROL_DATA);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(packet[0], CONTROL_END);
	return packet[1] != 0;
}

#endif
