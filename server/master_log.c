/*
 * server/master_log.c: the roles' pipes, to stderr or syslog.
 *
 * A role is not believed: what is no printable ASCII is escaped here again,
 * and the role's name comes from the pipe, never from the line.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "master.h"
#include "role.h"

enum { STDERR_WAIT_MS = 200 };

static enum log_target log_where = LOG_TO_STDERR;
static bool log_copy; /* until ready, errors also go to stderr */
static bool syslog_is_open;

void
master_log_target(enum log_target target, bool copy_to_stderr)
{
	log_where = target;
	log_copy = copy_to_stderr;
	if (target == LOG_TO_SYSLOG && !syslog_is_open) {
		openlog("sallyportd", LOG_PID | LOG_NDELAY, LOG_MAIL);
		syslog_is_open = true;
	}
}

static const struct {
	const char *word;
	int priority;
} levels[] = {
	[SAY_ALARM] = { "alarm", LOG_CRIT },
	[SAY_ERROR] = { "error", LOG_ERR },
	[SAY_WARNING] = { "warning", LOG_WARNING },
	[SAY_NOTE] = { "note", LOG_INFO },
	[SAY_DEBUG] = { "debug", LOG_DEBUG },
};

/* A reader of our stderr that stalls must not stall us: lines are lost. */
static void
write_stderr(const char *text, size_t len)
{
	static unsigned long lost;
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&p, 1, STDERR_WAIT_MS) <= 0) {
		lost++;
		return;
	}
	if (lost > 0) {
		dprintf(STDERR_FILENO, "log-lost lines=%lu\n", lost);
		lost = 0;
	}
	if (write(STDERR_FILENO, text, len) < 0)
		lost++;
}

static void
put_stderr(enum role role, enum log_level level, const char *line)
{
	char text[LOG_LINE_MAX * 2], stamp[32];
	struct timespec now;
	struct tm tm;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	n = snprintf(text, sizeof(text), "%s.%03ldZ %s %s %s\n", stamp,
	    now.tv_nsec / 1000000, role_name(role), levels[level].word, line);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(text)) {
		n = sizeof(text) - 1;
		text[n - 1] = '\n';
	}
	write_stderr(text, (size_t)n);
}

static void
put(enum role role, enum log_level level, const char *line)
{
	if (log_where == LOG_TO_STDERR) {
		put_stderr(role, level, line);
		return;
	}
	syslog(levels[level].priority, "%s %s %s", role_name(role),
	    levels[level].word, line);
	if (log_copy && level <= SAY_ERROR)
		put_stderr(role, level, line);
}

/* One line of the pipe: a digit for the level, then text. */
static void
put_line(struct master *m, enum role role)
{
	struct log_pipe *pipe = &m->roles[role].log;
	enum log_level level = SAY_NOTE;
	char *line = pipe->line;

	line[pipe->len] = '\0';
	for (size_t i = 0; i < pipe->len; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			line[i] = '?';
	if (line[0] >= '0' && line[0] <= '0' + SAY_DEBUG) {
		level = (enum log_level)(line[0] - '0');
		line++;
	}
	if (*line != '\0') {
		put(role, level, line);
		if (level == SAY_ALARM)
			alarm_line(m, role, line);
	}
	pipe->len = 0;
	pipe->overlong = false;
}

static void
take(struct master *m, enum role role, const char *octets, size_t len)
{
	struct log_pipe *pipe = &m->roles[role].log;

	for (size_t i = 0; i < len; i++) {
		if (octets[i] == '\n')
			put_line(m, role);
		else if (pipe->len < LOG_LINE_MAX)
			pipe->line[pipe->len++] = octets[i];
		else
			pipe->overlong = true;
	}
}

void
log_pipe_read(struct master *m, enum role role)
{
	struct log_pipe *pipe = &m->roles[role].log;
	char octets[16384];
	ssize_t got;

	if (pipe->fd < 0)
		return;
	/* One read a turn: a role that floods must not starve the loop. */
	got = read(pipe->fd, octets, sizeof(octets));
	if (got > 0)
		take(m, role, octets, (size_t)got);
	else if (got == 0 || (errno != EAGAIN && errno != EINTR))
		log_pipe_close(m, role);
}

void
log_pipe_close(struct master *m, enum role role)
{
	struct log_pipe *pipe = &m->roles[role].log;
	char octets[16384];
	ssize_t got;

	if (pipe->fd < 0)
		return;
	/* The last words of a role that died, as much as a pipe holds. */
	for (int i = 0; i < 8; i++) {
		got = read(pipe->fd, octets, sizeof(octets));
		if (got <= 0)
			break;
		take(m, role, octets, (size_t)got);
	}
	if (pipe->len > 0)
		put_line(m, role);
	close(pipe->fd);
	pipe->fd = -1;
}
