/*
 * server/helpers.c: the spawner: a child for each attempt to log in that may
 * block or crash (server/helper.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../auth/jwk.h"
#include "channel.h"
#include "config_bundle.h"
#include "helpers_internal.h"
#include "log.h"

static const struct helper_kind *const kinds[] = { &helper_pam, &helper_sasl,
	&helper_token };

int64_t
spawner_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool
watch_set(struct spawner *s, struct watch *watch, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };

	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return false;
	watch->fd = fd;
	return true;
}

/* Out of the epoll set by hand: a child that has just been forked has a copy of
 * the descriptor for a moment, and as long as it has, closing ours would not
 * take it out. */
void
watch_close(struct spawner *s, struct watch *watch)
{
	if (watch->fd >= 0) {
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
		close(watch->fd);
	}
	watch->fd = -1;
}

struct numbered *
spawner_config(struct spawner *s, uint32_t number)
{
	for (size_t i = 0; i < CONFIGS_MAX; i++)
		if (s->configs[i].config != NULL &&
		    s->configs[i].number == number)
			return &s->configs[i];
	return NULL;
}

static void
auth_says(struct spawner *s, const unsigned char *packet, size_t len)
{
	struct wire_reader r;

	wire_reader_init(&r, packet + 1, len - 1);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i]->start == packet[0]) {
			attempt_begin(s, kinds[i], &r, len);
			return;
		}
	switch (packet[0]) {
	case HELPER_STEP:
	case HELPER_SECRET:
	case HELPER_ABORT:
		attempt_go_on(s, packet[0], &r);
		return;
	default:
		log_line(SAY_ALARM, "protocol",
		    "peer=auth packet=%u octets=%zu", packet[0], len);
	}
}

static void
auth_ready(struct spawner *s, struct watch *watch)
{
	static unsigned char packet[PACKET_MAX];
	size_t len;

	switch (channel_recv(watch->fd, packet, sizeof packet, &len, NULL)) {
	case CHANNEL_DONE:
		auth_says(s, packet, len);
		explicit_bzero(packet, sizeof packet);
		return;
	case CHANNEL_WAIT:
		return;
	case CHANNEL_FAILED:
		/* What was in it may be for nobody else. */
		explicit_bzero(packet, sizeof packet);
		/* fall through */
	case CHANNEL_CLOSED:
		/* Nobody is left to hear an answer: the master starts us
		 * again together with auth. */
		attempts_end(s);
		log_line(SAY_NOTE, "helpers", "detail=\"auth is gone\"");
		exit(0);
	}
}

static void
numbered_fini(struct numbered *n)
{
	config_free(n->config);
	jwk_set_free(n->keys);
	free(n->anchors);
	memset(n, 0, sizeof *n);
}

static bool
numbered_build(struct numbered *n, const struct bundle *bundle,
    struct reason *why)
{
	gnutls_datum_t text;

	if (!config_from_bundle(&n->config, bundle, why))
		return false;
	n->settings.config = n->config;
	if (bundle_find(bundle, BUNDLE_TOKEN_KEYS, "", &text)) {
		if (!jwk_set_parse(&n->keys, n->config->token.keys, &text, why))
			return false;
		n->settings.keys = n->keys;
	}
	if (!bundle_find(bundle, BUNDLE_ANCHORS, "", &text))
		return true;
	n->anchors = malloc(text.size);
	if (n->anchors == NULL)
		return fail(why, REASON_NO_MEMORY, "trust anchors");
	memcpy(n->anchors, text.data, text.size);
	n->settings.anchors =
	    (gnutls_datum_t){ (unsigned char *)n->anchors, text.size };
	return true;
}

static bool
helpers_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct spawner *s = self;

	for (size_t i = 0; i < CONFIGS_MAX; i++) {
		struct numbered *place = &s->configs[i];

		if (place->config != NULL)
			continue;
		if (!numbered_build(place, bundle, why)) {
			numbered_fini(place);
			return false;
		}
		place->number = number;
		return true;
	}
	return fail(why, REASON_RANGE, "too many configurations");
}

static void
helpers_commit(void *self, uint32_t number)
{
	struct spawner *s = self;
	const struct numbered *n = spawner_config(s, number);

	if (n == NULL)
		return;
	s->at_once = n->config->helpers;
	log_set_debug(n->config->debug);
}

static void
helpers_retire(void *self, uint32_t number)
{
	struct numbered *n = spawner_config(self, number);

	if (n == NULL)
		return;
	numbered_fini(n);
	role_say_unused(number);
}

static void
helpers_peer(void *self, enum role peer, unsigned index, int fd)
{
	struct spawner *s = self;

	(void)index;
	if (peer != ROLE_AUTH) {
		close(fd);
		return;
	}
	/* Answers are for the auth that asked. */
	attempts_end(s);
	watch_close(s, &s->auth);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || !watch_set(s, &s->auth, fd)) {
		log_line(SAY_ALARM, "epoll", "error=%s",
		    strerrorname_np(errno));
		close(fd);
	}
}

static void
helpers_stop(void *self, uint32_t ms)
{
	struct spawner *s = self;

	s->stopping = true;
	s->stop_ms = spawner_now_ms() + ms;
}

static void
helpers_status(void *self, json_t *object)
{
	const struct spawner *s = self;

	json_object_set_new(object, "running",
	    json_integer(attempts_running(s)));
	json_object_set_new(object, "most", json_integer(s->at_once));
}

static const struct role_handler handler = {
	.prepare = helpers_prepare,
	.commit = helpers_commit,
	.retire = helpers_retire,
	.peer = helpers_peer,
	.stop = helpers_stop,
	.status = helpers_status,
};

static void
master_ready(struct spawner *s, struct watch *watch)
{
	(void)watch;
	role_dispatch(&handler, s);
}

/* Milliseconds until something is due; -1: nothing is. */
static int
next_due(const struct spawner *s)
{
	int64_t due = attempts_due_ms(s), now = spawner_now_ms();

	if (s->stopping && s->stop_ms < due)
		due = s->stop_ms;
	if (due == INT64_MAX)
		return -1;
	return due <= now ? 0 : (int)(due - now);
}

static void
act_on_time(struct spawner *s)
{
	attempts_expire(s);
	if (s->stopping &&
	    (attempts_running(s) == 0 || s->stop_ms <= spawner_now_ms())) {
		attempts_end(s);
		role_say_stopped();
		exit(0);
	}
}

int
helpers_main(void)
{
	static struct spawner s;

	role_start(&s.info);
	signal(SIGPIPE, SIG_IGN);
	s.master = (struct watch){ -1, master_ready, NULL };
	s.auth = (struct watch){ -1, auth_ready, NULL };
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s.epoll < 0 || !watch_set(&s, &s.master, ROLE_MASTER_FD)) {
		log_line(SAY_ALARM, "start", "error=%s",
		    strerrorname_np(errno));
		exit(1);
	}
	for (;;) {
		struct epoll_event event;
		struct watch *watch;
		int n;

		/* One at a time: what it does may end other watches. */
		n = epoll_wait(s.epoll, &event, 1, next_due(&s));
		if (n < 0 && errno != EINTR) {
			log_line(SAY_ALARM, "epoll", "error=%s",
			    strerrorname_np(errno));
			exit(1);
		}
		if (n == 1) {
			watch = event.data.ptr;
			watch->ready(&s, watch);
		}
		act_on_time(&s);
	}
}
