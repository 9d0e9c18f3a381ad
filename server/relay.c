/*
 * server/relay.c: the relay role: owns the queue, and the threads that deliver
 * it.
 *
 * The main thread reads what master and session say.  The control socket is
 * answered on a thread of its own, because a tool may read slowly.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "book.h"
#include "channel.h"
#include "control.h"
#include "log.h"
#include "proof.h"
#include "queue.h"
#include "queue_control.h"
#include "relay_config.h"
#include "relay_deliver.h"
#include "relay_pool.h"
#include "role.h"
#include "signer_client.h"
#include "upstream_io.h"

enum {
	RELAY_CONFIGS = 16,
	CONTROL_AGAIN_MS = 100,
	SETTLE_MS = 5000,
	BOOK_TICK_MS = 1000,
	SESSION_PACKET = 4096, /* more than a decision */
	SESSION_AT_ONCE = 64,  /* packets, before the master is heard again */
};

struct relay {
	struct role_info info;
	int epoll;
	struct relay_pool *pool;
	struct relay_config *configs[RELAY_CONFIGS]; /* a reference each */
	struct relay_config *current; /* the queue's; a reference */
	struct queue *queue;          /* NULL until the first commit */
	struct book *book;            /* opened with the queue */
	long long tick_at;            /* book_tick is due */
	int session_fd;               /* -1: session is away */
	uint64_t proofs_sent;         /* to this session, by generation */
	int control_fd;               /* -1: none yet */
	uint64_t live;                /* session's start-id, 0: not known */
	long long stop_at;            /* 0: not stopping */
	/* Held while a control request is answered from the queue. */
	pthread_mutex_t control_lock;
};

static _Noreturn void
relay_broken(const char *what, const struct reason *why)
{
	log_line(SAY_ALARM, "relay", "what=%s reason=%s detail=\"%s\"", what,
	    reason_word(why->code), why->text);
	_exit(1);
}

static struct relay_config **
config_slot(struct relay *relay, uint32_t number)
{
	for (size_t i = 0; i < RELAY_CONFIGS; i++)
		if (relay->configs[i] != NULL &&
		    relay_config_number(relay->configs[i]) == number)
			return &relay->configs[i];
	return NULL;
}

static bool
on_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct relay *relay = self;
	size_t i;

	if (config_slot(relay, number) != NULL)
		return fail(why, REASON_EXISTS, "configuration %u", number);
	for (i = 0; i < RELAY_CONFIGS && relay->configs[i] != NULL; i++)
		;
	if (i == RELAY_CONFIGS)
		return fail(why, REASON_RANGE, "too many configurations");
	/* A signer that is being restarted is no fault of what is tried. */
	return relay_config_new(&relay->configs[i], number, bundle,
	    relay->info.root, signer_client_alive(relay->info.threads), why);
}

static void
watch(struct relay *relay, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(relay->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		struct reason why;

		fail_errno(&why, "epoll");
		relay_broken("epoll", &why);
	}
}

static void
session_gone(struct relay *relay)
{
	if (relay->session_fd >= 0)
		close(relay->session_fd);
	relay->session_fd = -1;
}

static bool
notice_spool(struct relay *relay, struct wire_reader *r, uint8_t type)
{
	uint64_t start_id = wire_get_u64(r);
	uint32_t segment = wire_get_u32(r);
	uint64_t end = wire_get_u64(r);

	if (!wire_reader_done(r))
		return false;
	queue_committed(relay->queue, start_id, segment, end,
	    type == SPOOL_CLOSED);
	return true;
}

/* Session knows clients alone: it has no say about next hops. */
static bool
notice_decided(struct relay *relay, struct wire_reader *r)
{
	struct decision decision;

	if (!decision_get(r, &decision) || !wire_reader_done(r) ||
	    decision.side != SIDE_IN)
		return false;
	book_decided(relay->book, &decision, false);
	return true;
}

static bool
session_notice(struct relay *relay, const unsigned char *packet, size_t len)
{
	struct wire_reader r;
	uint8_t type;

	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	switch (type) {
	case SPOOL_COMMITTED:
	case SPOOL_CLOSED:
		return notice_spool(relay, &r, type);
	case SITE_DECIDED:
		return notice_decided(relay, &r);
	default:
		return false;
	}
}

/* Notices of the spool that are lost are made good by reading the segments. */
static void
session_read(struct relay *relay)
{
	unsigned char packet[SESSION_PACKET];
	size_t len = 0;
	enum channel_io io;

	for (int i = 0; i < SESSION_AT_ONCE && relay->session_fd >= 0; i++) {
		io = channel_recv(relay->session_fd, packet, sizeof(packet),
		    &len, NULL);
		if (io == CHANNEL_WAIT)
			return;
		if (io == CHANNEL_CLOSED) {
			session_gone(relay);
		} else if (io != CHANNEL_DONE ||
			   !session_notice(relay, packet, len)) {
			log_line(SAY_ERROR, "session",
			    "what=\"malformed notice\"");
			session_gone(relay);
		}
	}
}

/* False if the channel is full: the next tick tries again. */
static bool
proof_send(void *context, const struct proof *proof)
{
	const struct relay *relay = context;
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, SITE_PROOF);
	proof_put(&w, proof);
	return w.failed || channel_send(relay->session_fd, w.data, w.len, -1) !=
			       CHANNEL_WAIT;
}

static void
on_tick(struct relay *relay)
{
	relay->tick_at = upstream_now_ms() + BOOK_TICK_MS;
	queue_tick(relay->queue);
	book_tick(relay->book);
	if (relay->session_fd >= 0)
		book_proofs(relay->book, &relay->proofs_sent, proof_send,
		    relay);
}

static void
control_answer(struct relay *relay, int fd, const unsigned char *request,
    size_t len)
{
	pthread_mutex_lock(&relay->control_lock);
	if (request[0] == CONTROL_QUEUE)
		queue_control_answer(relay->queue, fd, request + 1, len - 1);
	else if (request[0] == CONTROL_SITES)
		book_control_answer(relay->book, fd, request + 1, len - 1);
	else
		control_send_end(fd, false,
		    "relay answers requests about queue and sites only");
	pthread_mutex_unlock(&relay->control_lock);
}

static void *
control_run(void *self)
{
	struct relay *relay = self;
	unsigned char packet[CHANNEL_PACKET_MAX];

	for (;;) {
		struct pollfd p = { .fd = relay->control_fd, .events = POLLIN };
		size_t len = 0;
		int fd;

		if (poll(&p, 1, -1) < 0)
			continue;
		fd = control_accept(relay->control_fd);
		if (fd < 0) {
			/* Without descriptors it stays readable. */
			poll(NULL, 0, CONTROL_AGAIN_MS);
			continue;
		}
		if (channel_recv(fd, packet, sizeof(packet), &len, NULL) ==
			CHANNEL_DONE &&
		    len > 1)
			control_answer(relay, fd, packet, len);
		else
			control_send_end(fd, false, "malformed request");
		close(fd);
	}
	return NULL;
}

static void
control_start(struct relay *relay)
{
	pthread_t id;

	if (pthread_create(&id, NULL, control_run, relay) != 0)
		log_line(SAY_ERROR, "control",
		    "what=\"no thread for the control socket\"");
	else
		pthread_detach(id);
}

static void
queue_begin(struct relay *relay)
{
	char in[sizeof(relay->info.root) + 8];
	char own[sizeof(relay->info.root) + 8];
	struct queue_options options = {
		.in_folder = in,
		.relay_folder = own,
		.config = relay_config_conf(relay->current),
		.routes = relay_config_routes(relay->current),
		.start_id = relay->info.start_id,
	};
	struct reason why;

	snprintf(in, sizeof(in), "%s/in", relay->info.root);
	snprintf(own, sizeof(own), "%s/relay", relay->info.root);
	if (!queue_open(&relay->queue, &options, &why))
		relay_broken("queue", &why);
	if (!book_open(&relay->book, own, &why))
		relay_broken("book", &why);
	if (relay->live != 0)
		queue_live(relay->queue, relay->live);
	if (!relay_pool_start(relay->pool, relay->queue, relay->book, &why))
		relay_broken("threads", &why);
	if (relay->session_fd >= 0)
		watch(relay, relay->session_fd);
	if (relay->control_fd >= 0)
		control_start(relay);
}

static void
on_commit(void *self, uint32_t number)
{
	struct relay *relay = self;
	struct relay_config **slot = config_slot(relay, number);
	struct relay_config *before = relay->current;

	if (slot == NULL) {
		log_line(SAY_ERROR, "configuration",
		    "number=%u what=\"commit of one that was not prepared\"",
		    number);
		return;
	}
	relay->current = relay_config_ref(*slot);
	relay_pool_configure(relay->pool, relay->current);
	if (relay->queue == NULL)
		queue_begin(relay);
	else
		queue_configure(relay->queue, relay_config_conf(relay->current),
		    relay_config_routes(relay->current));
	relay_config_unref(before);
}

static void
on_retire(void *self, uint32_t number)
{
	struct relay *relay = self;
	struct relay_config **slot = config_slot(relay, number);
	struct relay_config *config;

	if (slot == NULL)
		return;
	config = *slot;
	*slot = NULL;
	relay_config_retire(config);
	relay_config_unref(config);
}

static void
on_peer(void *self, enum role peer, unsigned index, int fd)
{
	struct relay *relay = self;

	if (peer != ROLE_SESSION) {
		relay_pool_peer(relay->pool, peer, index, fd);
		return;
	}
	session_gone(relay);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	relay->session_fd = fd;
	relay->proofs_sent = 0;
	if (relay->queue != NULL)
		watch(relay, fd);
}

static void
on_control(void *self, int fd)
{
	struct relay *relay = self;

	if (relay->control_fd >= 0) {
		close(fd);
		return;
	}
	relay->control_fd = fd;
	if (relay->queue != NULL)
		control_start(relay);
}

static void
on_start_id(void *self, uint64_t start_id)
{
	struct relay *relay = self;

	relay->live = start_id;
	if (relay->queue != NULL)
		queue_live(relay->queue, start_id);
}

static _Noreturn void
relay_stopped(void)
{
	role_say_stopped();
	_exit(0);
}

static void
on_stop(void *self, uint32_t ms)
{
	struct relay *relay = self;

	if (relay->queue == NULL)
		relay_stopped();
	relay->stop_at = upstream_now_ms() + ms;
	queue_stop(relay->queue);
	relay_pool_stop(relay->pool, ms);
}

static void
log_status(const struct relay *relay, json_t *object)
{
	struct queue_condition condition;
	json_t *log, *files;

	if (relay->queue == NULL)
		return;
	queue_condition(relay->queue, &condition);
	log = json_object();
	json_object_set_new(log, "disk",
	    json_string(condition.failing ? "failing" : "well"));
	json_object_set_new(log, "waiting",
	    json_integer((json_int_t)condition.waiting));
	if (condition.failing)
		json_object_set_new(log, "trouble",
		    json_string(condition.trouble.text));
	json_object_set_new(object, "log", log);
	files = json_object();
	json_object_set_new(files, "state",
	    json_string(condition.unread ? "not-read" : "read"));
	if (condition.unread)
		json_object_set_new(files, "trouble",
		    json_string(condition.unread_why.text));
	json_object_set_new(object, "files", files);
}

static void
on_status(void *self, json_t *object)
{
	const struct relay *relay = self;
	struct queue_counts counts = { 0 };

	if (relay->queue != NULL)
		queue_count(relay->queue, &counts);
	if (relay->book != NULL)
		book_count(relay->book, object);
	log_status(relay, object);
	json_object_set_new(object, "messages",
	    json_integer((json_int_t)counts.messages));
	json_object_set_new(object, "deferred",
	    json_integer((json_int_t)counts.deferred));
	json_object_set_new(object, "held",
	    json_integer((json_int_t)counts.held));
	json_object_set_new(object, "delivered",
	    json_integer((json_int_t)counts.delivered));
	json_object_set_new(object, "bounced",
	    json_integer((json_int_t)counts.bounced));
	json_object_set_new(object, "octets",
	    json_integer((json_int_t)counts.octets));
	json_object_set_new(object, "in-clear",
	    json_integer((json_int_t)relay_deliver_clear_count()));
	json_object_set_new(object, "unanswered",
	    json_integer((json_int_t)upstream_doubt_count()));
	json_object_set_new(object, "delivering",
	    json_integer((json_int_t)relay_pool_busy(relay->pool)));
}

/* The master keeps it until it hears that it is safe. */
static void
on_alarm(void *self, uint64_t number, const char *text)
{
	struct relay *relay = self;
	struct reason why;

	if (relay->queue == NULL)
		return;
	if (queue_notice(relay->queue, text, &why))
		role_say_alarm_kept(number);
	else
		log_line(SAY_WARNING, "alarm-mail",
		    "number=%llu trouble=\"%s\"", (unsigned long long)number,
		    why.text);
}

static const struct role_handler handler = {
	.alarm = on_alarm,
	.prepare = on_prepare,
	.commit = on_commit,
	.retire = on_retire,
	.peer = on_peer,
	.control = on_control,
	.start_id = on_start_id,
	.stop = on_stop,
	.status = on_status,
};

/* The threads have ended: leave the queue whole.  A tool that is still being
 * answered is cut off by our end; what was delivered just before is recorded
 * nevertheless, or it would be again. */
static _Noreturn void
relay_finish(struct relay *relay)
{
	relay_pool_join(relay->pool);
	book_save(relay->book);
	if (pthread_mutex_trylock(&relay->control_lock) == 0) {
		queue_close(relay->queue);
		book_close(relay->book);
	} else if (!queue_settle(relay->queue, SETTLE_MS)) {
		log_line(SAY_WARNING, "queue",
		    "trouble=\"not all of the log is written\"");
	}
	relay_stopped();
}

/* Until the tick or the end of stopping, whichever is first. */
static int
wait_ms(const struct relay *relay)
{
	long long now = upstream_now_ms(), at = relay->stop_at;

	if (relay->book != NULL && (at == 0 || relay->tick_at < at))
		at = relay->tick_at;
	if (at == 0)
		return -1;
	return at > now ? (int)(at - now) : 0;
}

static _Noreturn void
relay_loop(struct relay *relay)
{
	for (;;) {
		struct epoll_event event;
		int n = epoll_wait(relay->epoll, &event, 1, wait_ms(relay));

		/* A transaction that outlasts the bound is one more of those
		 * that are sent again. */
		if (relay->stop_at != 0 &&
		    upstream_now_ms() >= relay->stop_at) {
			if (relay->book != NULL)
				book_save(relay->book);
			relay_stopped();
		}
		if (relay->book != NULL && upstream_now_ms() >= relay->tick_at)
			on_tick(relay);
		if (n < 1)
			continue;
		if (event.data.fd == ROLE_MASTER_FD)
			role_dispatch(&handler, relay);
		else if (event.data.fd == relay_pool_finished_fd(relay->pool))
			relay_finish(relay);
		else if (event.data.fd == relay->session_fd)
			session_read(relay);
	}
}

int
relay_main(void)
{
	static struct relay relay = {
		.session_fd = -1,
		.control_fd = -1,
		.control_lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct reason why;

	role_start(&relay.info);
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0) {
		fail_errno(&why, "epoll");
		relay_broken("epoll", &why);
	}
	if (!relay_pool_new(&relay.pool, relay.info.threads, &why))
		relay_broken("threads", &why);
	/* Its threads use those below. */
	signer_client_use(relay.info.threads);
	watch(&relay, ROLE_MASTER_FD);
	watch(&relay, relay_pool_finished_fd(relay.pool));
	relay_loop(&relay);
}
