/*
 * server/master.c: the master's loop, signals, start and stop.
 */
#include "master.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "role.h"

enum { EVENTS_MOST = 64, STOP_GRACE_MS = 2000, BIND_PATIENCE_MS = 1000 };

int64_t
master_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool
master_watch(struct master *m, int fd, struct watched_fd *watch)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = watch };

	if (epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e) == 0)
		return true;
	log_line(SAY_ALARM, "role", "watch=failed errno=%d", errno);
	return false;
}

void
master_start_failed(struct master *m, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	va_list ap;

	if (m->failed)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	/* A text that begins with a file's place is told as it is. */
	fprintf(stderr, "%s%s\n", text[0] == '/' ? "" : "sallyportd: ", text);
	m->failed = true;
	m->stopping = m->stop_now = true;
}

/* --- start -------------------------------------------------------------- */

static void
raise_descriptors(const struct config *c)
{
	rlim_t want = (rlim_t)c->sessions + 4096;
	struct rlimit l, more;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= want)
		return;
	more = (struct rlimit){ want, l.rlim_max < want ? want : l.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	/* Not allowed to raise the hard limit: up to it, then. */
	more = (struct rlimit){ l.rlim_max, l.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &more) != 0)
		more = l;
	log_line(SAY_WARNING, "descriptors",
	    "limit=%llu sessions=%u note=\"fewer sessions than configured can "
	    "be open\"",
	    (unsigned long long)more.rlim_cur, c->sessions);
}

static unsigned
count_threads(const struct config *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (c->threads > 0)
		return c->threads;
	return cores * 4 < 16     ? 16
	       : cores * 4 > 1024 ? 1024
				  : (unsigned)cores * 4;
}

/* Our own log lines take the way of a role's. */
static bool
open_own_log(struct master *m, struct reason *why)
{
	struct log_pipe *p = &m->roles[ROLE_MASTER].log;
	int ends[2], high[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return fail_errno(why, "log pipe");
	for (int i = 0; i < 2; i++) {
		high[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
		close(ends[i]);
		if (high[i] < 0)
			return fail_errno(why, "log pipe");
	}
	p->fd = high[0];
	p->watch = (struct watched_fd){ WATCHED_LOG, ROLE_MASTER };
	log_open(high[1]);
	return true;
}

static int
high_fd(int fd)
{
	int high;

	if (fd < 0 || fd >= DESCRIPTORS_FROM)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
	close(fd);
	return high;
}

/* Neither we nor a role read it; and 0 to 2 are never anything else. */
static bool
close_input(struct reason *why)
{
	int null;

	do
		null = open("/dev/null", O_RDWR);
	while (null >= 0 && null <= STDERR_FILENO);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return fail_errno(why, "/dev/null");
	close(null);
	return true;
}

static bool
open_loop(struct master *m, struct reason *why)
{
	static const int wanted[] = { SIGHUP, SIGTERM, SIGINT, SIGCHLD };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		sigaddset(&set, wanted[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	m->epoll = high_fd(epoll_create1(EPOLL_CLOEXEC));
	m->signals = high_fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	m->exe = high_fd(open("/proc/self/exe", O_PATH | O_CLOEXEC));
	if (m->epoll < 0 || m->signals < 0 || m->exe < 0)
		return fail_errno(why, "starting");
	m->signals_watch.kind = WATCHED_SIGNALS;
	m->control_watch.kind = WATCHED_CONTROL;
	if (!open_own_log(m, why))
		return false;
	return master_watch(m, m->signals, &m->signals_watch) &&
	       master_watch(m, m->roles[ROLE_MASTER].log.fd,
		   &m->roles[ROLE_MASTER].log.watch);
}

static bool
open_controls(struct master *m, const char *state, struct reason *why)
{
	static const enum role owners[] = { ROLE_MASTER, ROLE_AUTH,
		ROLE_RELAY };

	for (size_t i = 0; i < sizeof(owners) / sizeof(*owners); i++) {
		enum role r = owners[i];
		int fd;

		if (!control_listen(state, role_name(r), &fd, why))
			return false;
		m->control[r] = high_fd(fd);
	}
	return master_watch(m, m->control[ROLE_MASTER], &m->control_watch);
}

static bool
open_keys(struct master *m, struct reason *why)
{
	size_t size = LISTENINGS_MOST * sizeof(*m->ticket_keys);
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return fail_errno(why, "memory for ticket keys");
	/* Best effort: the bound for locked memory is often tiny. */
	(void)mlock(map, size);
	(void)madvise(map, size, MADV_DONTDUMP);
	m->ticket_keys = map;
	return true;
}

/* What must be there before the files are read: the compiled table goes into
 * the state folder. */
static bool
open_state(struct master *m, struct reason *why)
{
	struct config *c;
	bool ok;

	if (!config_load(&c, m->conf_path, why))
		return false;
	log_set_debug(c->debug);
	master_log_target(m->foreground ? LOG_TO_STDERR : c->log, true);
	ok = !m->confining || state_check_users(why);
	ok = ok && state_make_folders(c->state, m->confining, why) &&
	     state_lock(c->state, &m->lock, why);
	if (ok) {
		m->lock = high_fd(m->lock);
		ok = open_controls(m, c->state, why);
	}
	config_free(c);
	return ok;
}

static bool
start(struct master *m, struct reason *why)
{
	const struct config *c;

	m->confining = geteuid() == 0;
	if (!close_input(why) || !open_loop(m, why) || !open_state(m, why) ||
	    !open_keys(m, why) || !reload_first(m, why))
		return false;
	c = m->current->prepared->config;
	log_line(SAY_NOTE, "start",
	    "version=%s pid=%d configuration=%s hostname=%s", SALLYPORT_VERSION,
	    (int)getpid(), m->conf_path, c->hostname);
	if (!m->confining)
		log_line(SAY_WARNING, "start",
		    "confined=no note=\"not root: roles run unconfined\"");
	raise_descriptors(c);
	m->session_threads = count_threads(c);
	m->relay_threads = c->relay_threads;
	listen_inherit(m);
	if (!listen_bind(m, m->current, BIND_PATIENCE_MS, why))
		return false;
	ticket_keys_renew(m);
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		role_run(m, (enum role)r);
	alarm_configured(m);
	files_configured(m, true);
	return true;
}

/* Let go of the terminal, or of the pipe of whoever started us. */
static void
become_quiet(bool log_too)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDOUT_FILENO);
	if (log_too)
		dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

/* All roles are up for the first time. */
static void
announce(struct master *m)
{
	const struct config *c = m->current->prepared->config;

	m->running = true;
	log_line(SAY_NOTE, "ready", "pid=%d", (int)getpid());
	sd_notifyf(0, "READY=1\nMAINPID=%d\nSTATUS=accepting mail for %s",
	    (int)getpid(), c->hostname);
	state_sweep_tables(m);
	if (m->ready_fd < 0)
		return;
	if (write(m->ready_fd, "1", 1) != 1)
		log_line(SAY_WARNING, "ready", "told=nobody");
	close(m->ready_fd);
	m->ready_fd = -1;
	if (!m->foreground) {
		master_log_target(c->log, false);
		become_quiet(c->log == LOG_TO_SYSLOG);
	}
}

static void
check_running(struct master *m)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].state != ROLE_IS_UP)
			return;
	announce(m);
}

/* --- stop --------------------------------------------------------------- */

static void
stop_begin(struct master *m)
{
	unsigned seconds = m->current->prepared->config->stop_timeout_s;

	if (m->stopping) {
		m->stop_now = true; /* asked for twice */
		return;
	}
	m->stopping = true;
	m->stop_until = master_now() + (int64_t)seconds * 1000;
	log_line(SAY_NOTE, "stop", "timeout=%us", seconds);
	sd_notify(0, "STOPPING=1");
	role_send_number(m, ROLE_SESSION, MASTER_STOP, seconds * 1000);
	role_send_number(m, ROLE_RELAY, MASTER_STOP, seconds * 1000);
	for (size_t i = 0; i < m->listening_count; i++)
		close(m->listenings[i].fd);
	m->listening_count = 0;
}

static bool
has_stopped(const struct role_process *p)
{
	return p->pid == 0 || p->state == ROLE_IS_STOPPED;
}

/* Nothing left to do, or no time left. */
static bool
stop_is_over(const struct master *m)
{
	return m->stop_now ||
	       (has_stopped(&m->roles[ROLE_SESSION]) &&
		   has_stopped(&m->roles[ROLE_RELAY])) ||
	       master_now() >= m->stop_until;
}

static void
reap(struct master *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (!command_reaped(m, pid, status) &&
		    !token_reaped(m, pid, status))
			role_reaped(m, pid, status);
}

static bool
any_role(const struct master *m)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].pid > 0)
			return true;
	return false;
}

/* End of file ends them; those that do not look get SIGKILL. */
static void
end_roles(struct master *m)
{
	int64_t until = master_now() + STOP_GRACE_MS;

	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		if (m->roles[r].channel >= 0)
			close(m->roles[r].channel);
		m->roles[r].channel = -1;
	}
	for (;;) {
		reap(m);
		for (int r = ROLE_MASTER; r < ROLES; r++)
			log_pipe_read(m, (enum role)r);
		if (!any_role(m))
			return;
		if (master_now() >= until)
			for (int r = ROLE_MASTER + 1; r < ROLES; r++)
				if (m->roles[r].pid > 0)
					kill(m->roles[r].pid, SIGKILL);
		usleep(5000);
	}
}

static void
finish(struct master *m)
{
	command_end(m);
	token_end(m);
	end_roles(m);
	if (m->running)
		log_line(SAY_NOTE, "stopped", "pid=%d", (int)getpid());
	for (int r = ROLE_MASTER; r < ROLES; r++)
		log_pipe_close(m, (enum role)r);
	if (m->ticket_keys != NULL)
		explicit_bzero(m->ticket_keys,
		    LISTENINGS_MOST * sizeof(*m->ticket_keys));
	alarm_end(m);
	files_end(m);
}

/* --- loop --------------------------------------------------------------- */

static void
on_signals(struct master *m)
{
	struct signalfd_siginfo info;

	while (read(m->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			reap(m);
			break;
		case SIGHUP:
			reload_begin(m);
			break;
		default:
			stop_begin(m);
			break;
		}
	}
}

static void
on_event(struct master *m, const struct watched_fd *watch)
{
	switch (watch->kind) {
	case WATCHED_SIGNALS:
		on_signals(m);
		break;
	case WATCHED_CHANNEL:
		role_packets(m, watch->role);
		break;
	case WATCHED_LOG:
		log_pipe_read(m, watch->role);
		break;
	case WATCHED_CONTROL:
		control_packets(m);
		break;
	case WATCHED_FILES:
		files_happened(m);
		break;
	}
}

/* Do what is due; how long the loop may sleep. */
static int
timers(struct master *m)
{
	int64_t now = master_now(), next = now + 60000, other;

	if (now >= m->ticket_keys_until)
		ticket_keys_renew(m);
	reload_timer(m, now);
	control_timer(m, now);
	other = role_timers(m, now);
	if (other < next)
		next = other;
	other = alarm_timers(m, now);
	if (other < next)
		next = other;
	other = files_timer(m, now);
	if (other < next)
		next = other;
	other = staples_timer(m, now);
	if (other < next)
		next = other;
	other = token_timers(m, now);
	if (other < next)
		next = other;
	if (m->stopping && m->stop_until < next)
		next = m->stop_until;
	if (m->reload_stage != RELOAD_NONE && m->reload_until < next)
		next = m->reload_until;
	for (size_t i = 0; i < ASKERS_MOST; i++)
		if (m->askers[i].fd >= 0 && m->askers[i].until < next)
			next = m->askers[i].until;
	return next <= now ? 0 : (int)(next - now);
}

static void
run(struct master *m)
{
	struct epoll_event events[EVENTS_MOST];

	while (!m->stopping || !stop_is_over(m)) {
		int n = epoll_wait(m->epoll, events, EVENTS_MOST, timers(m));

		for (int i = 0; i < n; i++)
			on_event(m, events[i].data.ptr);
		if (!m->running && !m->stopping)
			check_running(m);
	}
	if (m->running && !m->stop_now && master_now() >= m->stop_until)
		log_line(SAY_WARNING, "stop", "result=timeout");
}

int
master_main(const struct master_options *options)
{
	static struct master m; /* big, and there is one */
	struct reason why = { .code = REASON_NONE };

	m.conf_path = options->conf_path;
	m.foreground = options->foreground;
	m.ready_fd = high_fd(options->ready_fd);
	m.lock = m.files.fd = -1;
	for (int r = 0; r < ROLES; r++) {
		m.roles[r].channel = m.roles[r].log.fd = m.control[r] = -1;
		m.roles[r].state_until = m.roles[r].restart_at = INT64_MAX;
	}
	for (size_t i = 0; i < ASKERS_MOST; i++)
		m.askers[i].fd = -1;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it reads private keys */
	umask(027);
	if (start(&m, &why))
		run(&m);
	else
		master_start_failed(&m, "%s", why.text);
	finish(&m);
	return m.failed ? 1 : 0;
}
