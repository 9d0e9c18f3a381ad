/*
 * server/auth_upstream_token.c: the token of a login at a smarthost.
 *
 * It is fetched anew for each login, since tokens live for minutes.  The master
 * opens the file or starts the command that the upstream file names and hands
 * over a descriptor; only this role reads from it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../auth/bearer.h"
#include "auth_role.h"

enum {
	TOKEN_DEADLINE_MS = 28000,             /* the relay waits for 30 s */
	TOKEN_TEXT_MAX = BEARER_TOKEN_MAX + 2, /* with the line's end */
};

void
auth_token_forget(struct auth_relay *relay)
{
	if (relay->wants == 0)
		return;
	relay->wants = 0;
	timer_clear(&relay->role->timers, &relay->timer);
	auth_watch_close(relay->role, &relay->source);
	if (relay->token != NULL)
		explicit_bzero(relay->token, TOKEN_TEXT_MAX);
	free(relay->token);
	relay->token = NULL;
	relay->token_len = 0;
}

static void
give_up(struct auth_relay *relay, const char *text)
{
	struct reason why;

	auth_token_forget(relay);
	fail(&why, REASON_AUTH, "token: %s", text);
	auth_upstream_go_on(relay, &why);
}

static void
too_late(void *owner)
{
	give_up(owner, "nothing to read within 28 s");
}

void
auth_token_want(struct auth_relay *relay, uint32_t configuration)
{
	struct auth_role *role = relay->role;

	relay->wants = ++role->token_serial;
	relay->timer.fire = too_late;
	relay->timer.owner = relay;
	if (!timer_set(&role->timers, &relay->timer,
		auth_now_ms() + TOKEN_DEADLINE_MS))
		give_up(relay, "too many are fetched");
	else
		role_say_wants_token(relay->wants, configuration, relay->name);
}

/* The line is there, or all there is. */
static void
use(struct auth_relay *relay)
{
	struct reason why;
	bool ok = login_give_token(relay->login, relay->token, relay->token_len,
	    &why);

	auth_token_forget(relay);
	auth_upstream_go_on(relay, ok ? NULL : &why);
}

/* As much as is there; true: that was all. */
static bool
read_more(struct auth_relay *relay, int fd)
{
	for (;;) {
		char *at = relay->token + relay->token_len;
		ssize_t got = read(fd, at, TOKEN_TEXT_MAX - relay->token_len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return false;
		if (got <= 0)
			return true;
		relay->token_len += (size_t)got;
		if (memchr(at, '\n', (size_t)got) != NULL ||
		    relay->token_len == TOKEN_TEXT_MAX)
			return true;
	}
}

static void
source_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	struct auth_relay *relay =
	    (struct auth_relay *)((char *)watch -
				  offsetof(struct auth_relay, source));

	(void)role;
	(void)events;
	if (read_more(relay, watch->fd))
		use(relay);
}

static struct auth_relay *
find_relay(const struct auth_role *role, uint64_t serial)
{
	for (size_t i = 0; serial != 0 && i < AUTH_RELAYS_MAX; i++)
		if (role->relays[i] != NULL && role->relays[i]->wants == serial)
			return role->relays[i];
	return NULL;
}

void
auth_token_given(struct auth_role *role, uint64_t serial, int fd,
    const char *text)
{
	struct auth_relay *relay = find_relay(role, serial);
	struct stat st;

	if (relay == NULL || relay->token != NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd >= 0)
		relay->token = malloc(TOKEN_TEXT_MAX);
	if (relay->token == NULL) {
		if (fd >= 0)
			close(fd);
		give_up(relay, fd >= 0 ? "out of memory" : text);
	} else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		/* Which no epoll set takes, for it never waits. */
		(void)read_more(relay, fd);
		close(fd);
		use(relay);
	} else {
		auth_watch_set(role, &relay->source, fd, source_ready);
	}
}
