/*
 * server/master_spawn.c: starting a role: its descriptors, its image, its
 * first packet.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <linux/close_range.h>

#include "channel.h"
#include "master.h"
#include "role.h"
#include "wire.h"

enum { LOCK_FD = 5 }; /* of the state folder, in every role */

/* In the child: descriptors where the role expects them, nothing else. */
static _Noreturn void
child_exec(const struct master *m, enum role role, int channel, int log)
{
	char program[] = "sallyportd", option[] = "--role", word[32];
	char *argv[] = { program, option, word, NULL };
	sigset_t none;

	snprintf(word, sizeof(word), "%s", role_name(role));
	/* Away from the terminal that a foreground server was started on: who
	 * controls it could type into it. */
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(channel, ROLE_MASTER_FD) < 0 || dup2(log, ROLE_LOG_FD) < 0 ||
	    dup2(m->lock, LOCK_FD) < 0)
		_exit(127);
	close_range(LOCK_FD + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	fexecve(m->exe, argv, role_environment());
	_exit(127);
}

static bool
is_high(int fd)
{
	return fd >= DESCRIPTORS_FROM;
}

/* Move a descriptor above those a role uses. */
static bool
raise_fd(int *fd)
{
	int high;

	if (is_high(*fd))
		return true;
	high = fcntl(*fd, F_DUPFD_CLOEXEC, DESCRIPTORS_FROM);
	if (high < 0)
		return false;
	close(*fd);
	*fd = high;
	return true;
}

static bool
make_pipes(int channel[2], int log[2], struct reason *why)
{
	if (!channel_pair(channel, true, why))
		return false;
	if (pipe2(log, O_CLOEXEC | O_NONBLOCK) != 0) {
		fail_errno(why, "log pipe");
		close(channel[0]);
		close(channel[1]);
		return false;
	}
	if (raise_fd(&channel[0]) && raise_fd(&channel[1]) &&
	    raise_fd(&log[0]) && raise_fd(&log[1]))
		return true;
	fail_errno(why, "descriptors for a role");
	for (int i = 0; i < 2; i++) {
		close(channel[i]);
		close(log[i]);
	}
	return false;
}

static unsigned
threads_of(const struct master *m, enum role role)
{
	if (role == ROLE_SESSION)
		return m->session_threads;
	if (role == ROLE_RELAY)
		return m->relay_threads;
	return m->session_threads > m->relay_threads ? m->session_threads
						     : m->relay_threads;
}

static void
send_hello(struct master *m, enum role role)
{
	const struct config *c = m->current->prepared->config;
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;
	uint8_t flags = 0;

	if (c->confine_best)
		flags |= HELLO_CONFINE_BEST;
	if (c->debug)
		flags |= HELLO_DEBUG;
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_HELLO);
	wire_put_u8(&w, (uint8_t)role);
	wire_put_u8(&w, flags);
	wire_put_u16(&w, (uint16_t)threads_of(m, role));
	wire_put_u64(&w, m->roles[role].start_id);
	wire_put_string(&w, c->state);
	wire_put_string(&w, state_user(role));
	wire_put_string(&w, c->hostname);
	role_send(m, role, w.data, w.len, -1);
}

/* Never 0, never twice in practice, and later starts sort later. */
static uint64_t
new_start_id(void)
{
	struct timespec now;
	uint16_t salt = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(&salt, sizeof(salt), 0) < 0)
		salt = (uint16_t)now.tv_nsec;
	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000)
		   << 16 |
	       salt;
}

static bool
spawn(struct master *m, enum role role, struct reason *why)
{
	struct role_process *p = &m->roles[role];
	int channel[2], log[2];
	pid_t pid;

	if (!make_pipes(channel, log, why))
		return false;
	pid = fork();
	if (pid == 0)
		child_exec(m, role, channel[1], log[1]);
	close(channel[1]);
	close(log[1]);
	if (pid < 0) {
		fail_errno(why, "starting role %s", role_name(role));
		close(channel[0]);
		close(log[0]);
		return false;
	}
	p->pid = pid;
	p->channel = channel[0];
	p->log.fd = log[0];
	p->log.len = 0;
	p->watch = (struct watched_fd){ WATCHED_CHANNEL, role };
	p->log.watch = (struct watched_fd){ WATCHED_LOG, role };
	return master_watch(m, p->channel, &p->watch) &&
	       master_watch(m, p->log.fd, &p->log.watch);
}

void
role_run(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];
	struct reason why;

	p->started_at = master_now();
	p->state = ROLE_IS_STARTING;
	p->state_until = p->started_at + READY_TIMEOUT_MS;
	p->start_id = new_start_id();
	p->awaiting = 0;
	if (!spawn(m, role, &why)) {
		log_line(SAY_ALARM, "role",
		    "role=%s start=failed reason=\"%s\"", role_name(role),
		    why.text);
		p->state = ROLE_IS_AWAY;
		p->restart_at = p->started_at + 5000;
		return;
	}
	log_line(SAY_NOTE, "role", "role=%s start=ok pid=%d", role_name(role),
	    (int)p->pid);
	send_hello(m, role);
}
