/* server/auth_role.c: the auth role: its start, configurations and loop. */
#include "auth_role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "auth_legacy.h"
#include "config_bundle.h"
#include "log.h"

enum {
	STORE_AGAIN_MS = 1000,
	STORE_WAIT_S = 5,
	STORE_POLL_MS = 50,
};

int64_t
auth_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
auth_watch_close(struct auth_role *role, struct auth_watch *watch)
{
	if (watch->fd >= 0) {
		/* Whoever passed it may hold a copy still, for which it would
		 * stay in the set. */
		epoll_ctl(role->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
		close(watch->fd);
	}
	watch->fd = -1;
}

void
auth_watch_set(struct auth_role *role, struct auth_watch *watch, int fd,
    void (*ready)(struct auth_role *, struct auth_watch *, uint32_t))
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };

	auth_watch_close(role, watch);
	watch->ready = ready;
	/* How the master's channel waits is server/role.c's business. */
	if ((fd != ROLE_MASTER_FD && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) ||
	    epoll_ctl(role->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		log_line(SAY_ALARM, "epoll", "error=%s",
		    strerrorname_np(errno));
		close(fd);
		return;
	}
	watch->fd = fd;
}

struct auth_config *
auth_config_find(struct auth_role *role, uint32_t number)
{
	for (size_t i = 0; i < AUTH_CONFIGS_MAX; i++)
		if (role->configs[i] != NULL &&
		    role->configs[i]->number == number)
			return role->configs[i];
	return NULL;
}

static void
config_drop(struct auth_config *config)
{
	if (config == NULL)
		return;
	login_book_free(config->book);
	if (config->token_login != NULL)
		explicit_bzero(config->token_login,
		    strlen(config->token_login));
	free(config->token_login);
	config_free(config->config);
	free(config);
}

static void
config_drop_unused(struct auth_role *role, struct auth_config *config)
{
	if (!config->retired || config->users > 0)
		return;
	for (size_t i = 0; i < AUTH_CONFIGS_MAX; i++)
		if (role->configs[i] == config)
			role->configs[i] = NULL;
	role_say_unused(config->number);
	config_drop(config);
}

void
auth_config_release(struct auth_role *role, struct auth_config *config)
{
	config->users--;
	config_drop_unused(role, config);
}

/* In a root directory of its own the path says little: state, where it is
 * known, comes before it. */
static bool
store_try(struct auth_role *role, const char *state, struct reason *why)
{
	char path[sizeof role->info.root + 16];
	struct reason at;

	snprintf(path, sizeof path, "%s/users.kch", role->info.root);
	if (store_open(&role->store, path, &at))
		return true;
	return role->info.root[0] == '\0' && state != NULL
		   ? fail(why, at.code, "%s/store%s", state, at.text)
		   : fail(why, at.code, "%s", at.text);
}

/*
 * At the start a tool may have the file, for as long as one command takes: the
 * server need not fail for that.  Nobody is served yet.
 */
static bool
store_wait(struct auth_role *role, const char *state, struct reason *why)
{
	struct pollfd master = { .fd = ROLE_MASTER_FD }; /* for its end */
	int64_t until = auth_now_ms() + STORE_WAIT_S * 1000;
	bool said = false;
	struct reason at;

	while (!store_try(role, state, &at)) {
		if (at.code != REASON_AWAY || poll(&master, 1, 0) > 0)
			return fail(why, at.code, "%s", at.text);
		if (auth_now_ms() >= until)
			return fail(why, at.code, "%s, after %d s still",
			    at.text, STORE_WAIT_S);
		if (!said)
			log_line(SAY_WARNING, "store",
			    "reason=%s detail=\"%s\" waiting=%ds",
			    reason_word(at.code), at.text, STORE_WAIT_S);
		said = true;
		poll(&master, 1, STORE_POLL_MS);
	}
	return true;
}

struct store *
auth_store(struct auth_role *role)
{
	struct reason why;
	int64_t now = auth_now_ms();

	if (role->store != NULL && store_is_broken(role->store)) {
		auth_users_end_lists(role);
		store_close(role->store);
		role->store = NULL;
	}
	if (role->store != NULL || now < role->store_again_ms)
		return role->store;
	role->store_again_ms = now + STORE_AGAIN_MS;
	if (!store_try(role, NULL, &why))
		log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
	return role->store;
}

static bool
uses_store(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if ((config->listeners[i].backends & BACKEND_STORE) != 0)
			return true;
	return false;
}

static bool
is_starting(const struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_CONFIGS_MAX; i++)
		if (role->configs[i] != NULL)
			return false;
	return true;
}

static bool
store_need(struct auth_role *role, const struct config *config,
    struct reason *why)
{
	if (!uses_store(config) || role->store != NULL)
		return true;
	return is_starting(role) ? store_wait(role, config->state, why)
				 : store_try(role, config->state, why);
}

static bool
give_secret(void *context, const char *path, gnutls_datum_t *octets)
{
	return bundle_find(context, BUNDLE_UPSTREAM, path, octets);
}

static bool
config_build(struct auth_config *made, const struct bundle *bundle,
    struct reason *why)
{
	const char *path;
	gnutls_datum_t text;

	if (!config_from_bundle(&made->config, bundle, why))
		return false;
	if (bundle_find(bundle, BUNDLE_TOKEN_LOGIN, "", &text)) {
		made->token_login = strndup((const char *)text.data, text.size);
		if (made->token_login == NULL)
			return fail(why, REASON_NO_MEMORY, "configuration");
	}
	path = made->config->upstream;
	if (path == NULL || !bundle_find(bundle, BUNDLE_UPSTREAM, path, &text))
		return true;
	return login_book_parse(&made->book, path, &text, give_secret,
	    (void *)(uintptr_t)bundle, why);
}

static bool
auth_prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct auth_role *role = self;
	struct auth_config *made;
	size_t place = 0;

	if (auth_config_find(role, number) != NULL)
		return fail(why, REASON_PROTOCOL, "configuration %u is there",
		    (unsigned)number);
	while (place < AUTH_CONFIGS_MAX && role->configs[place] != NULL)
		place++;
	if (place == AUTH_CONFIGS_MAX)
		return fail(why, REASON_RANGE, "too many configurations");
	made = calloc(1, sizeof *made);
	if (made == NULL)
		return fail(why, REASON_NO_MEMORY, "configuration");
	made->number = number;
	if (!config_build(made, bundle, why) ||
	    !store_need(role, made->config, why)) {
		config_drop(made);
		return false;
	}
	role->configs[place] = made;
	return true;
}

static void
auth_commit(void *self, uint32_t number)
{
	struct auth_role *role = self;
	const struct auth_config *config = auth_config_find(role, number);
	struct cache *cache;
	struct reason why;

	if (config == NULL)
		return;
	log_set_debug(config->config->debug);
	role->failure_delay_ms = config->config->auth_failure_delay_ms;
	role->free_failures = config->config->auth_free_failures;
	if (role->cache != NULL &&
	    role->cache_size == config->config->cache_size &&
	    role->cache_ttl_s == config->config->cache_ttl_s)
		return;
	if (!cache_new(&cache, config->config->cache_size,
		config->config->cache_ttl_s, &why)) {
		log_line(SAY_ERROR, "cache", "detail=\"%s\"", why.text);
		return;
	}
	cache_free(role->cache);
	role->cache = cache;
	role->cache_size = config->config->cache_size;
	role->cache_ttl_s = config->config->cache_ttl_s;
}

static void
auth_retire(void *self, uint32_t number)
{
	struct auth_role *role = self;
	struct auth_config *config = auth_config_find(role, number);

	if (config == NULL)
		return;
	config->retired = true;
	config_drop_unused(role, config);
}

static void
auth_peer(void *self, enum role peer, unsigned index, int fd)
{
	struct auth_role *role = self;

	if (peer == ROLE_SESSION)
		auth_dialogue_session(role, fd);
	else if (peer == ROLE_HELPERS)
		auth_dialogue_helpers(role, fd);
	else if (peer == ROLE_RELAY && index < AUTH_RELAYS_MAX)
		auth_upstream_relay(role, index, fd);
	else
		close(fd);
}

static void
auth_control(void *self, int fd)
{
	auth_users_control(self, fd);
}

static void
auth_token(void *self, uint64_t number, int fd, const char *text)
{
	auth_token_given(self, number, fd, text);
}

static void
stop_now(void *self)
{
	struct auth_role *role = self;

	auth_foreign_stop(role);
	auth_legacy_stop(role);
	store_close(role->store);
	role->store = NULL;
	cache_free(role->cache);
	role_say_stopped();
	exit(0);
}

void
auth_role_idle(struct auth_role *role)
{
	if (role->stopping && role->dialogue_count == 0)
		stop_now(role);
}

static void
auth_stop(void *self, uint32_t ms)
{
	struct auth_role *role = self;

	role->stopping = true;
	role->stop_timer.fire = stop_now;
	role->stop_timer.owner = role;
	if (!timer_set(&role->timers, &role->stop_timer, auth_now_ms() + ms))
		stop_now(role);
	auth_role_idle(role);
}

static void
auth_gone(void *self)
{
	auth_legacy_stop(self);
}

static void
auth_status(void *self, json_t *object)
{
	const struct auth_role *role = self;

	if (role->store != NULL)
		json_object_set_new(object, "users",
		    json_integer((json_int_t)store_count(role->store)));
	json_object_set_new(object, "store", json_boolean(role->store != NULL));
	json_object_set_new(object, "helpers",
	    json_boolean(role->helpers.fd >= 0));
	json_object_set_new(object, "exchanges",
	    json_integer((json_int_t)role->dialogue_count));
	json_object_set_new(object, "granted",
	    json_integer((json_int_t)role->granted));
	json_object_set_new(object, "denied",
	    json_integer((json_int_t)role->denied));
}

static const struct role_handler handler = {
	.prepare = auth_prepare,
	.commit = auth_commit,
	.retire = auth_retire,
	.peer = auth_peer,
	.control = auth_control,
	.token = auth_token,
	.stop = auth_stop,
	.gone = auth_gone,
	.status = auth_status,
};

static void
master_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
	role_dispatch(&handler, role);
}

static void
clock_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	uint64_t times;

	(void)events;
	role->rings_ms = 0;
	if (read(watch->fd, &times, sizeof times) < 0 && errno != EAGAIN)
		log_line(SAY_ALARM, "timer", "error=%s",
		    strerrorname_np(errno));
}

/* The clock rings before the first timer is due, or when it is: ringing for one
 * that was cleared costs less than setting it anew for every one. */
static void
clock_arm(struct auth_role *role)
{
	int64_t next = timers_next(&role->timers);
	struct itimerspec when = { 0 };

	if (next < 0 || (role->rings_ms != 0 && role->rings_ms <= next))
		return;
	/* A time of zero would stop the clock. */
	next = next > 0 ? next : 1;
	when.it_value.tv_sec = next / 1000;
	when.it_value.tv_nsec = next % 1000 * 1000000;
	if (timerfd_settime(role->clock.fd, TFD_TIMER_ABSTIME, &when, NULL) ==
	    0)
		role->rings_ms = next;
}

static void
role_begin(struct auth_role *role)
{
	struct reason why = { 0 };

	umask(077);
	role->epoll = epoll_create1(EPOLL_CLOEXEC);
	role->master.fd = role->clock.fd = role->session.fd = -1;
	role->helpers.fd = role->control.fd = role->foreign_done.fd = -1;
	if (role->epoll < 0 ||
	    !timers_init(&role->timers, AUTH_DIALOGUES_MAX + AUTH_TOOLS_MAX +
					    AUTH_RELAYS_MAX +
					    AUTH_TIMERS_OWN) ||
	    !auth_changed_begin(role) || !auth_legacy_begin(role) ||
	    !sasl_library_new(&role->sasl, &why) ||
	    !guesses_new(&role->guesses, &why)) {
		log_line(SAY_ALARM, "start", "detail=\"%s\"",
		    why.code != REASON_NONE ? why.text : strerror(errno));
		exit(1);
	}
	auth_watch_set(role, &role->clock,
	    timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
	    clock_ready);
	auth_watch_set(role, &role->master, ROLE_MASTER_FD, master_ready);
}

int
auth_main(void)
{
	static struct auth_role role;

	role_start(&role.info);
	role_begin(&role);
	for (;;) {
		struct epoll_event event;
		struct auth_watch *watch;
		int n;

		clock_arm(&role);
		/* One at a time: what it does may end other watches. */
		n = epoll_wait(role.epoll, &event, 1, -1);
		if (n < 0 && errno != EINTR) {
			log_line(SAY_ALARM, "epoll", "error=%s",
			    strerrorname_np(errno));
			exit(1);
		}
		if (n == 1) {
			watch = event.data.ptr;
			watch->ready(&role, watch, event.events);
		}
		timers_fire(&role.timers, auth_now_ms());
	}
}
