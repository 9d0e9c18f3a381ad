/*
 * server/prepare_keytab.c: can GSSAPI be offered?
 *
 * A mechanism that fails whenever it is tried is worse than one that is not
 * offered: clients take it first and do not go on to the next.  So the key is
 * asked for in advance, by a child that is what the helpers will be, and may do
 * no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../auth/guarded.h"
#include "files.h"
#include "helper_confine.h"
#include "master.h"
#include "prepare_internal.h"

enum { TRY_TIMEOUT_MS = 10000 };

static const char yes[] = "yes"; /* of the child; all else is why not */

static bool
is_wanted(const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if ((config->listeners[i].mechanisms & MECHANISM_GSSAPI) != 0)
			return true;
	return false;
}

static bool
become_helper(struct reason *why)
{
	const char *user = state_user(ROLE_HELPERS);
	const struct passwd *pw;

	if (geteuid() != 0)
		return true;
	pw = getpwnam(user);
	if (pw == NULL)
		return fail(why, REASON_ABSENT, "system user %s does not exist",
		    user);
	if (initgroups(user, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 ||
	    setuid(pw->pw_uid) != 0)
		return fail_errno(why, "becoming user %s", user);
	return true;
}

static bool
try(const struct config *config, struct reason *why)
{
	int fd;

	if (!become_helper(why))
		return false;
	fd = open(config->keytab, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(why, REASON_PERMISSION,
		    "user %s cannot read it: %s", state_user(ROLE_HELPERS),
		    strerror(errno));
	close(fd);
	if (!helper_confine(config, true, why))
		return false;
	if (guarded_try_gssapi(config->hostname, why))
		return true;
	return fail(why, REASON_ABSENT,
	    "no key can be had from it, expected one of smtp/%s",
	    config->hostname);
}

static _Noreturn void
run_child(const struct config *config, int out)
{
	struct reason why = { 0 };
	const char *text;

	environ = role_environment();
	text = try(config, &why) ? yes : why.text;

	_exit(write(out, text, strlen(text)) > 0 ? 0 : 1);
}

/* What the child says; nothing if it does not say it in time. */
static void
hear(int in, char *text, size_t size)
{
	struct pollfd ready = { .fd = in, .events = POLLIN };
	ssize_t got = 0;

	if (poll(&ready, 1, TRY_TIMEOUT_MS) > 0)
		got = read(in, text, size - 1);
	text[got > 0 ? got : 0] = '\0';
}

/* Why GSSAPI cannot be offered: false. */
static bool
try_in_child(const struct config *config, struct reason *why)
{
	char text[REASON_TEXT_MAX];
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail_errno(why, "pipe");
	pid = fork();
	if (pid == 0)
		run_child(config, ends[1]);
	close(ends[1]);
	if (pid > 0)
		hear(ends[0], text, sizeof text);
	close(ends[0]);
	if (pid < 0)
		return fail_errno(why, "fork");
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (strcmp(text, yes) == 0)
		return true;
	return fail(why, REASON_ABSENT, "%s",
	    text[0] != '\0' ? text : "the Kerberos library does not answer");
}

void
work_keytab(struct work *w)
{
	const struct config *c = w->config;
	const char *gssapi = mechanism_name(MECHANISM_GSSAPI);
	char text[REASON_TEXT_MAX + PATH_MAX];
	struct reason why = { 0 };

	if (c->keytab == NULL)
		return;
	if (!files_check_secret(c->keytab, &why)) {
		work_report(w, true, "%s:%u: keytab: %s", c->path,
		    c->keytab_line, why.text);
		return;
	}
	if (!is_wanted(c) || try_in_child(c, &why))
		return;
	snprintf(text, sizeof text,
	    "%s:%u: keytab: %s: GSSAPI is not offered: %s", c->path,
	    c->keytab_line, c->keytab, why.text);
	work_report_alarm(w, text);
	work_add(w, ROLE_SESSION, BUNDLE_WITHHELD, gssapi, NULL);
	work_add(w, ROLE_AUTH, BUNDLE_WITHHELD, gssapi, NULL);
}
