/*
 * server/master_command.c: the program alarms are handed to (alarm-command).
 *
 * Never by a shell: the words stand as they are configured, the alarm is its
 * standard input and nothing else, so that no octet a stranger had logged is
 * ever more than text.  It gets none of our descriptors, environment and
 * rights, and has COMMAND_MS to finish.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master.h"

enum { COMMAND_MS = 30000 };

/* The user of the role that has no secrets at all. */
static const struct passwd *
command_user(void)
{
	return getpwnam(state_user(ROLE_LOOKUP));
}

/* Could it be run, as root by the user it is run as? */
static bool
may_run(const struct stat *st, const char *path)
{
	const struct passwd *pw;

	if (geteuid() != 0)
		return access(path, X_OK) == 0;
	pw = command_user();
	if (pw == NULL)
		return (st->st_mode & 0111) != 0; /* told elsewhere */
	if (st->st_uid == pw->pw_uid)
		return (st->st_mode & S_IXUSR) != 0;
	if (st->st_gid == pw->pw_gid)
		return (st->st_mode & S_IXGRP) != 0;
	return (st->st_mode & S_IXOTH) != 0;
}

bool
command_is_program(const char *path, struct reason *why)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return fail(why, REASON_ABSENT, "%s: %s, expected a program",
		    path, strerror(errno));
	if ((st.st_mode & S_IWOTH) != 0)
		return fail(why, REASON_PERMISSION,
		    "%s: others can write it, expected a program that they "
		    "cannot",
		    path);
	if (S_ISREG(st.st_mode) && may_run(&st, path))
		return true;
	return fail(why, REASON_PERMISSION,
	    "%s: expected a program that %s may execute", path,
	    geteuid() == 0 ? state_user(ROLE_LOOKUP) : "the server");
}

bool
command_check(const struct config *c, struct reason *why)
{
	struct reason at;

	if (c->alarm_command_count == 0 ||
	    command_is_program(c->alarm_command[0], &at))
		return true;
	return fail(why, at.code, "%s:%u: alarm-command: %s", c->path,
	    c->alarm_command_line, at.text);
}

/* What the child needs, found out before there is one. */
struct command {
	const char *hostname;
	const char *const *argv;
	int input, output, error; /* its descriptors 0, 1 and 2 */
	bool drop;                /* started as root */
	uid_t uid;
	gid_t gid;
};

/* Never more than it had: a program that is set-user-id stays what we made
 * it. */
static bool
give_up_rights(const struct command *c)
{
	struct rlimit none = { 0, 0 };

	if (c->drop && (setgroups(0, NULL) != 0 ||
			   setresgid(c->gid, c->gid, c->gid) != 0 ||
			   setresuid(c->uid, c->uid, c->uid) != 0))
		return false;
	return setrlimit(RLIMIT_CORE, &none) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static _Noreturn void
child_exec(const struct command *c)
{
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
			     "/usr/bin:/sbin:/bin";
	static char version[] = "SALLYPORT_VERSION=" SALLYPORT_VERSION;
	char hostname[300];
	char *environment[] = { path, version, hostname, NULL };
	sigset_t none;

	snprintf(hostname, sizeof(hostname), "SALLYPORT_HOSTNAME=%s",
	    c->hostname);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	umask(077);
	if (dup2(c->input, STDIN_FILENO) < 0 ||
	    dup2(c->output, STDOUT_FILENO) < 0 ||
	    dup2(c->error, STDERR_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, UINT_MAX, 0) != 0 ||
	    chdir("/") != 0 || !give_up_rights(c))
		_exit(126);
	/* The list is ours for good and execve does not change it. */
	execve(c->argv[0], (char *const *)(uintptr_t)c->argv, environment);
	_exit(127);
}

/* A pipe that holds the whole text and its end: nobody has to feed it. */
static bool
make_input(const char *text, int *fd_out, struct reason *why)
{
	size_t len = strlen(text);
	int ends[2];
	bool ok;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail_errno(why, "pipe");
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	ok = write(ends[1], text, len) == (ssize_t)len &&
	     write(ends[1], "\n", 1) == 1;
	if (!ok)
		fail_errno(why, "pipe");
	close(ends[1]);
	if (ok)
		*fd_out = ends[0];
	else
		close(ends[0]);
	return ok;
}

static bool
find_identity(const struct master *m, struct command *c, struct reason *why)
{
	const struct passwd *pw;

	c->drop = m->confining;
	if (!c->drop)
		return true;
	pw = command_user();
	if (pw == NULL)
		return fail(why, REASON_ABSENT, "system user %s does not exist",
		    state_user(ROLE_LOOKUP));
	c->uid = pw->pw_uid;
	c->gid = pw->pw_gid;
	return true;
}

bool
command_start(const struct master *m, const char *const *argv, int input,
    int output, pid_t *pid_out, struct reason *why)
{
	struct command c = { .argv = argv };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = -1;

	if (null < 0)
		return fail_errno(why, "/dev/null");
	c.hostname = m->current->prepared->config->hostname;
	c.input = input >= 0 ? input : null;
	c.output = output >= 0 ? output : null;
	c.error = null;
	if (find_identity(m, &c, why)) {
		pid = fork();
		if (pid == 0)
			child_exec(&c);
		if (pid < 0)
			fail_errno(why, "fork");
	}
	close(null);
	*pid_out = pid;
	return pid > 0;
}

static bool
start(const struct master *m, const char *text, pid_t *pid_out,
    struct reason *why)
{
	int input = -1;
	bool ok;

	if (!make_input(text, &input, why))
		return false;
	ok = command_start(m, m->current->prepared->config->alarm_command,
	    input, -1, pid_out, why);
	close(input);
	return ok;
}

bool
command_run(struct master *m, const char *text)
{
	struct alarm_program *free_one = NULL;
	struct reason why;

	for (size_t i = 0; i < ALARM_PROGRAMS; i++)
		if (m->alarms.programs[i].pid == 0)
			free_one = &m->alarms.programs[i];
	if (free_one == NULL)
		return false;
	if (start(m, text, &free_one->pid, &why)) {
		free_one->killed = false;
		free_one->until = master_now() + COMMAND_MS;
		return true;
	}
	/* Not an alarm: it would come back here. */
	free_one->pid = 0;
	m->alarms.failed++;
	log_line(SAY_ERROR, "alarm-command", "result=failed reason=\"%s\"",
	    why.text);
	return true;
}

bool
command_reaped(struct master *m, pid_t pid, int status)
{
	for (size_t i = 0; i < ALARM_PROGRAMS; i++) {
		struct alarm_program *p = &m->alarms.programs[i];

		if (p->pid != pid)
			continue;
		p->pid = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			m->alarms.commanded++;
			return true;
		}
		m->alarms.failed++;
		if (m->stopping)
			return true; /* it was cut off */
		if (WIFEXITED(status))
			log_line(SAY_ERROR, "alarm-command",
			    "result=failed exit=%d", WEXITSTATUS(status));
		else
			log_line(SAY_ERROR, "alarm-command",
			    "result=failed signal=%d%s", WTERMSIG(status),
			    p->killed ? " late=yes" : "");
		return true;
	}
	return false;
}

/* All it has started, as far as that is in its session's first group. */
static void
kill_program(struct alarm_program *p)
{
	kill(-p->pid, SIGKILL);
	kill(p->pid, SIGKILL); /* before its setsid there is no such group */
	p->killed = true;
	p->until = INT64_MAX;
}

int64_t
command_timers(struct master *m, int64_t now)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < ALARM_PROGRAMS; i++) {
		struct alarm_program *p = &m->alarms.programs[i];

		if (p->pid == 0)
			continue;
		if (now >= p->until)
			kill_program(p);
		else if (p->until < next)
			next = p->until;
	}
	return next;
}

void
command_end(struct master *m)
{
	for (size_t i = 0; i < ALARM_PROGRAMS; i++)
		if (m->alarms.programs[i].pid != 0)
			kill_program(&m->alarms.programs[i]);
}
