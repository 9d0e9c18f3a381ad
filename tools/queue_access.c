/* tools/queue_access.c: the queue, by the running relay or from its files. */
#include "queue_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../server/control.h"
#include "../server/messages.h"
#include "../server/wire.h"
#include "queue_feed.h"
#include "route_table.h"

struct queue_access {
	const struct config *config;
	int fd;                /* a connection that was not used yet, or -1 */
	struct queue *queue;   /* NULL: the relay has it */
	struct routes *routes; /* the queue's */
};

/* The server does not run: its files say what would wait. */
static bool
open_files(struct queue_access *access, struct reason *why)
{
	const char *state = access->config->state;
	char in[4096], own[4096];
	struct queue_options options = {
		.in_folder = in,
		.relay_folder = own,
		.config = access->config,
		.read_only = true,
	};
	struct reason unrouted;

	snprintf(in, sizeof(in), "%s/run/in", state);
	snprintf(own, sizeof(own), "%s/run/relay", state);
	/* A start would refuse it or use an older one: better told of the
	 * queue by the smarthost's name than not at all. */
	if (!route_table_load(&access->routes, access->config->routes,
		&unrouted))
		fprintf(stderr,
		    "sallyport: %s; next hops are told as if there were no "
		    "routes\n",
		    unrouted.text);
	options.routes = access->routes;
	return queue_open(&access->queue, &options, why);
}

bool
queue_access_open(struct queue_access **access_out, const struct config *config,
    bool may_read, struct reason *why)
{
	struct queue_access *access = calloc(1, sizeof *access);

	if (access == NULL)
		return fail(why, REASON_NO_MEMORY, "queue");
	access->config = config;
	access->fd = -1;
	if (!control_connect(config->state, "relay", &access->fd, why) &&
	    (why->code != REASON_AWAY || !may_read ||
		!open_files(access, why))) {
		queue_access_close(access);
		return false;
	}
	*access_out = access;
	return true;
}

void
queue_access_close(struct queue_access *access)
{
	if (access == NULL)
		return;
	if (access->fd >= 0)
		close(access->fd);
	queue_close(access->queue);
	routes_close(access->routes);
	free(access);
}

static bool
ask_relay(struct queue_access *access, const struct queue_request *request,
    void (*take)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	unsigned char packet[QUEUE_REQUEST_MAX];
	struct wire_writer w;
	bool ok;

	/* One request a connection. */
	if (access->fd < 0 &&
	    !control_connect(access->config->state, "relay", &access->fd, why))
		return false;
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, CONTROL_QUEUE);
	queue_request_put(&w, request);
	ok = w.failed
		 ? fail(why, REASON_RANGE, "the request is too long")
		 : queue_feed(access->fd, packet, w.len, take, context, why);
	close(access->fd);
	access->fd = -1;
	return ok;
}

struct told {
	void (*take)(void *context, const char *text, size_t len);
	void *context;
};

static bool
tell(void *context, const char *text, size_t len)
{
	const struct told *told = context;

	told->take(told->context, text, len);
	return true;
}

bool
queue_access_ask(struct queue_access *access,
    const struct queue_request *request,
    void (*take)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	struct told told = { take, context };

	if (access->queue == NULL)
		return ask_relay(access, request, take, context, why);
	return queue_control_tell(access->queue, request, tell, &told, why);
}
