/*
 * tools/acme_run.c: a program of others, run without a shell and for so long,
 * its output kept aside.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "acme.h"

enum {
	TAIL_OCTETS = 2048,             /* shown of what it printed */
	FILE_OCTETS = 64 * 1024 * 1024, /* that it may write into one file */
	GRACE_S = 10,                   /* from SIGTERM to SIGKILL */
};

/* --- the child ------------------------------------------------------------
 */

static bool
redirect(const char *log)
{
	int null = open("/dev/null", O_RDONLY);
	int out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);

	return null >= 0 && out >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
	       dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0;
}

/* A group of its own, so that its helpers end with it.  Files for a web server
 * are to be read by that one; what is secret lies in a folder that is ours
 * alone. */
static _Noreturn void
child(const struct acme_run *run, pid_t parent, const sigset_t *before)
{
	const struct rlimit most = { FILE_OCTETS, FILE_OCTETS };

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigprocmask(SIG_SETMASK, before, NULL);
	umask(022);
	for (const char *const *e = run->environment; *e != NULL; e += 2)
		setenv(e[0], e[1], 1);
	if (getppid() != parent || !redirect(run->log) ||
	    chdir(run->folder) != 0 || setrlimit(RLIMIT_FSIZE, &most) != 0)
		_exit(126);
	execvp(run->argv[0], (char *const *)(uintptr_t)run->argv);
	dprintf(STDERR_FILENO, "%s: %s\n", run->argv[0], strerror(errno));
	_exit(127);
}

/* --- waiting -------------------------------------------------------------
 */

static struct timespec
left(const struct timespec *end)
{
	struct timespec now, left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left.tv_sec = end->tv_sec - now.tv_sec;
	left.tv_nsec = end->tv_nsec - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_nsec += 1000000000L;
		left.tv_sec--;
	}
	if (left.tv_sec < 0)
		left = (struct timespec){ 0 };
	return left;
}

/* Until it has ended: 0; for so long: SIGALRM; or until a signal asks us to
 * end. */
static int
wait_for(pid_t pid, const sigset_t *signals, unsigned seconds, int *status_out)
{
	struct timespec end, rest;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	for (;;) {
		int signo;

		if (waitpid(pid, status_out, WNOHANG) == pid)
			return 0;
		rest = left(&end);
		signo = sigtimedwait(signals, NULL, &rest);
		if (signo < 0 && errno == EAGAIN)
			return SIGALRM;
		if (signo > 0 && signo != SIGCHLD)
			return signo;
	}
}

/* What still runs of its group, too. */
static void
end(pid_t pid, const sigset_t *signals, int *status_out)
{
	kill(-pid, SIGTERM);
	if (wait_for(pid, signals, GRACE_S, status_out) == 0)
		return;
	kill(-pid, SIGKILL);
	while (waitpid(pid, status_out, 0) < 0 && errno == EINTR)
		;
}

/* --- what it said -------------------------------------------------------- */

/* A server's words may be in it. */
static void
show_tail(const struct acme_run *run)
{
	char text[TAIL_OCTETS + 1];
	int fd = open(run->log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *line = text, *next;
	ssize_t got = 0;

	if (fd >= 0) {
		bool cut = lseek(fd, -TAIL_OCTETS, SEEK_END) >= 0;

		got = read(fd, text, TAIL_OCTETS);
		if (cut && got > 0 && memchr(text, '\n', (size_t)got) != NULL)
			line = (char *)memchr(text, '\n', (size_t)got) + 1;
		close(fd);
	}
	if (got < 0)
		got = 0;
	text[got] = '\0';
	for (char *c = text; c < text + got; c++)
		if ((*c < ' ' || *c > '~') && *c != '\n')
			*c = *c == '\t' ? ' ' : '?';
	for (; *line != '\0'; line = next) {
		next = line + strcspn(line, "\n");
		if (*next == '\n')
			*next++ = '\0';
		if (*line != '\0')
			fprintf(stderr, "%s: %s\n", run->argv[0], line);
	}
}

static bool
judge(const struct acme_run *run, int status, struct reason *why)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	show_tail(run);
	if (WIFEXITED(status))
		return fail(why, REASON_UPSTREAM,
		    "%s: exit status %d, all it said is in %s", run->argv[0],
		    WEXITSTATUS(status), run->log);
	return fail(why, REASON_UPSTREAM,
	    "%s: ended by signal %d, all it said is in %s", run->argv[0],
	    WTERMSIG(status), run->log);
}

bool
acme_run(const struct acme_run *run, struct reason *why)
{
	const pid_t parent = getpid();
	sigset_t signals, before;
	int status = 0, signo;
	pid_t pid;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &before);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		fail_errno(why, "fork");
		sigprocmask(SIG_SETMASK, &before, NULL);
		return false;
	}
	if (pid == 0)
		child(run, parent, &before);
	setpgid(pid, pid); /* whoever of us is first */
	signo = wait_for(pid, &signals, run->timeout_s, &status);
	if (signo != 0)
		end(pid, &signals, &status);
	else
		kill(-pid, SIGTERM); /* what it may have left behind */
	if (signo != 0 && signo != SIGALRM)
		raise(signo); /* comes with the next line */
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (signo == SIGALRM) {
		show_tail(run);
		return fail(why, REASON_TIMEOUT, "%s: not done in %u s",
		    run->argv[0], run->timeout_s);
	}
	return judge(run, status, why);
}
