/*
 * server/master_role.c: roles' packets, and their restart.
 *
 * A role that is started goes through: MASTER_HELLO, ROLE_READY, channels to
 * its peers, every configuration in use, ROLE_PREPARED for each, and what else
 * it owns.  session and relay wait for the signer: loading a certificate makes
 * a test signature.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "master.h"
#include "role.h"
#include "wire.h"

enum {
	LIVED_MS = 60000, /* a role that lived so long starts afresh */
	ROOM_TIMEOUT_MS = 5000,
};

/* Which roles talk, over how many channels. */
enum width { WIDTH_ONE, WIDTH_SESSION, WIDTH_RELAY, WIDTH_RELAY_AND_MAIN };
static const struct {
	enum role a, b;
	enum width width;
} pairs[] = {
	{ ROLE_SESSION, ROLE_SIGNER, WIDTH_SESSION },
	{ ROLE_SESSION, ROLE_AUTH, WIDTH_ONE },
	{ ROLE_SESSION, ROLE_RELAY, WIDTH_ONE },
	{ ROLE_RELAY, ROLE_SIGNER, WIDTH_RELAY_AND_MAIN },
	{ ROLE_RELAY, ROLE_AUTH, WIDTH_RELAY },
	{ ROLE_RELAY, ROLE_LOOKUP, WIDTH_RELAY },
	{ ROLE_AUTH, ROLE_HELPERS, WIDTH_ONE },
};

bool
role_is_speaker(enum role role)
{
	return role == ROLE_SESSION || role == ROLE_RELAY;
}

/* --- packets to roles --------------------------------------------------- */

/* A relay that recovers its queue may not read for a moment. */
static bool
wait_for_room(int channel)
{
	struct pollfd p = { .fd = channel, .events = POLLOUT };

	return poll(&p, 1, ROOM_TIMEOUT_MS) > 0;
}

void
role_send(struct master *m, enum role role, const void *packet, size_t len,
    int fd)
{
	struct role_process *p = &m->roles[role];

	enum channel_io io;

	if (p->channel < 0)
		return;
	do
		io = channel_send(p->channel, packet, len, fd);
	while (io == CHANNEL_WAIT && wait_for_room(p->channel));
	if (io == CHANNEL_DONE || io == CHANNEL_CLOSED)
		return; /* a death will be reported */
	log_line(SAY_ALARM, "role", "role=%s pid=%d hangs=yes", role_name(role),
	    (int)p->pid);
	kill(p->pid, SIGKILL);
}

void
role_send_number(struct master *m, enum role role, enum message type,
    uint32_t number)
{
	unsigned char packet[8];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, (uint8_t)type);
	wire_put_u32(&w, number);
	role_send(m, role, w.data, w.len, -1);
}

void
role_send_generation(struct master *m, enum role role,
    const struct generation_entry *g)
{
	unsigned char packet[8];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_PREPARE);
	wire_put_u32(&w, g->number);
	role_send(m, role, w.data, w.len, g->prepared->bundle[role]);
	m->roles[role].awaiting++;
	if (role == ROLE_SESSION)
		staples_send(m, g);
}

static void
send_peer(struct master *m, enum role role, enum role peer, unsigned index,
    int fd)
{
	unsigned char packet[8];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_PEER);
	wire_put_u8(&w, (uint8_t)peer);
	wire_put_u16(&w, (uint16_t)index);
	role_send(m, role, w.data, w.len, fd);
}

static unsigned
width_of(const struct master *m, enum width width)
{
	switch (width) {
	case WIDTH_SESSION:
		return m->session_threads;
	case WIDTH_RELAY:
		return m->relay_threads;
	case WIDTH_RELAY_AND_MAIN:
		return m->relay_threads + 1;
	default:
		return 1;
	}
}

static void
connect_pair(struct master *m, enum role a, enum role b, unsigned count)
{
	struct reason why;
	int ends[2];

	for (unsigned i = 0; i < count; i++) {
		if (!channel_pair(ends, true, &why)) {
			log_line(SAY_ALARM, "role",
			    "channel=%s-%s reason=\"%s\"", role_name(a),
			    role_name(b), why.text);
			return;
		}
		send_peer(m, a, b, i, ends[0]);
		send_peer(m, b, a, i, ends[1]);
		close(ends[0]);
		close(ends[1]);
	}
}

static bool
is_listening(const struct role_process *p)
{
	return p->state == ROLE_IS_WAITING || p->state == ROLE_IS_UP;
}

/* Channels to all peers that are there; the others get theirs when they are. */
static void
connect_peers(struct master *m, enum role role)
{
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		enum role other;

		if (pairs[i].a == role)
			other = pairs[i].b;
		else if (pairs[i].b == role)
			other = pairs[i].a;
		else
			continue;
		if (is_listening(&m->roles[other]))
			connect_pair(m, pairs[i].a, pairs[i].b,
			    width_of(m, pairs[i].width));
	}
}

static void
send_start_id(struct master *m)
{
	unsigned char packet[16];
	struct wire_writer w;

	if (!is_listening(&m->roles[ROLE_RELAY]))
		return;
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_START_ID);
	wire_put_u64(&w, m->roles[ROLE_SESSION].start_id);
	role_send(m, ROLE_RELAY, w.data, w.len, -1);
}

static void
send_control(struct master *m, enum role role)
{
	unsigned char packet[1] = { MASTER_CONTROL };

	if (m->control[role] >= 0)
		role_send(m, role, packet, sizeof(packet), m->control[role]);
}

/* --- from ready to up --------------------------------------------------- */

/* All that is in use, oldest first; speakers only serve the current one. */
static void
send_generations(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];

	p->awaiting = 0;
	for (uint32_t n = 1; n <= m->last_number; n++)
		for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++) {
			struct generation_entry *g = &m->generations[i];

			if (g->number != n || g == m->reloading ||
			    (role_is_speaker(role) && g != m->current))
				continue;
			role_send_generation(m, role, g);
		}
}

static void
become_up(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];

	p->state = ROLE_IS_UP;
	if (role == ROLE_SESSION)
		listen_send(m, m->current);
	role_send_number(m, role, MASTER_COMMIT, m->current->number);
	send_control(m, role);
	if (role_is_speaker(role))
		m->current->used_by[role] = true;
	/* What waited for the signer. */
	role_advance(m, ROLE_SESSION);
	role_advance(m, ROLE_RELAY);
}

static bool
others_are_up(const struct master *m, enum role role)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (r != (int)role && m->roles[r].state != ROLE_IS_UP)
			return false;
	return true;
}

void
role_advance(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];

	if (p->state != ROLE_IS_WAITING || p->awaiting > 0)
		return;
	if (role_is_speaker(role) && m->roles[ROLE_SIGNER].state != ROLE_IS_UP)
		return;
	/* At a start nobody is greeted who would have to come again. */
	if (role == ROLE_SESSION && !m->running && !others_are_up(m, role))
		return;
	p->state_until = master_now() + PREPARE_TIMEOUT_MS;
	send_generations(m, role);
}

static void
on_ready(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];

	if (p->state != ROLE_IS_STARTING)
		return;
	p->state = ROLE_IS_WAITING;
	p->state_until = INT64_MAX;
	connect_peers(m, role);
	if (role == ROLE_SESSION)
		ticket_keys_send(m);
	if (role_is_speaker(role))
		send_start_id(m);
	role_advance(m, role);
}

/* An answer to a configuration of its start. */
static void
on_start_prepared(struct master *m, enum role role, bool ok, const char *text)
{
	struct role_process *p = &m->roles[role];
	char value[LOG_LINE_MAX / 2];

	if (!ok) {
		log_value(value, sizeof(value), text, strlen(text));
		log_line(SAY_ALARM, "role", "role=%s refused=%s",
		    role_name(role), value);
		if (!m->running)
			master_start_failed(m, "%s", text);
		kill(p->pid, SIGKILL);
		return;
	}
	if (p->awaiting > 0 && --p->awaiting == 0) {
		p->state_until = INT64_MAX;
		become_up(m, role);
	}
}

/* --- packets from roles ------------------------------------------------- */

static void
on_answer(struct master *m, enum role role, struct wire_reader *r, bool ok)
{
	uint32_t number = wire_get_u32(r);
	char text[REASON_TEXT_MAX] = "";

	if (!ok)
		wire_get_string(r, text, sizeof(text));
	if (!wire_reader_done(r))
		return;
	if (m->roles[role].state == ROLE_IS_UP)
		reload_answered(m, role, number, ok, text);
	else if (m->roles[role].state == ROLE_IS_WAITING)
		on_start_prepared(m, role, ok, text);
}

static void
on_status(struct master *m, enum role role, struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);
	char *json = wire_get_string_new(r, CHANNEL_PACKET_MAX);

	if (json != NULL && wire_reader_done(r))
		control_status(m, role, number, json);
	free(json);
}

static void
on_unused(struct master *m, enum role role, struct wire_reader *r)
{
	uint32_t number = wire_get_u32(r);

	if (wire_reader_done(r))
		reload_unused(m, role, number);
}

static void
on_alarm_kept(struct master *m, enum role role, struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);

	if (wire_reader_done(r) && role == ROLE_RELAY)
		alarm_kept(m, number);
}

static void
on_wants_token(struct master *m, enum role role, struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);
	uint32_t configuration = wire_get_u32(r);
	char login[64 + 1];

	if (wire_get_string(r, login, sizeof(login)) && wire_reader_done(r) &&
	    role == ROLE_AUTH)
		token_wanted(m, number, configuration, login);
}

static void
on_packet(struct master *m, enum role role, const void *packet, size_t len)
{
	struct wire_reader r;

	wire_reader_init(&r, packet, len);
	switch (wire_get_u8(&r)) {
	case ROLE_READY:
		on_ready(m, role);
		break;
	case ROLE_PREPARED:
		on_answer(m, role, &r, true);
		break;
	case ROLE_REFUSED:
		on_answer(m, role, &r, false);
		break;
	case ROLE_UNUSED:
		on_unused(m, role, &r);
		break;
	case ROLE_STATUS:
		on_status(m, role, &r);
		break;
	case ROLE_ALARM_KEPT:
		on_alarm_kept(m, role, &r);
		break;
	case ROLE_WANTS_TOKEN:
		on_wants_token(m, role, &r);
		break;
	case ROLE_STOPPED:
		if (m->stopping)
			m->roles[role].state = ROLE_IS_STOPPED;
		break;
	default:
		log_line(SAY_ALARM, "role", "role=%s packet=unknown",
		    role_name(role));
		break;
	}
}

void
role_packets(struct master *m, enum role role)
{
	static unsigned char packet[CHANNEL_PACKET_MAX];
	struct role_process *p = &m->roles[role];
	size_t len;

	/* A bound, so that one role cannot keep us from the others. */
	for (int i = 0; i < 64 && p->channel >= 0; i++) {
		enum channel_io io = channel_recv(p->channel, packet,
		    sizeof(packet), &len, NULL);

		if (io == CHANNEL_WAIT)
			return;
		if (io != CHANNEL_DONE) {
			close(p->channel);
			p->channel = -1;
			return;
		}
		on_packet(m, role, packet, len);
	}
}

/* --- death -------------------------------------------------------------- */

static void
describe(int status, char *out, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(out, size, "signal=%d name=%s", WTERMSIG(status),
		    sigabbrev_np(WTERMSIG(status)) == NULL
			? "?"
			: sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(out, size, "exit=%d", WEXITSTATUS(status));
}

static int64_t
back_off(unsigned deaths)
{
	static const int64_t delays[] = { 0, 100, 1000, 5000 };

	return delays[deaths < 4 ? deaths : 3];
}

static void
bury(struct master *m, enum role role)
{
	struct role_process *p = &m->roles[role];

	role_packets(m, role);
	log_pipe_close(m, role);
	if (role == ROLE_RELAY)
		alarm_relay_gone(m);
	if (p->channel >= 0)
		close(p->channel);
	p->channel = -1;
	p->pid = 0;
	p->state = ROLE_IS_AWAY;
	p->state_until = INT64_MAX;
	p->awaiting = 0;
	free(p->status);
	p->status = NULL;
	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++)
		m->generations[i].used_by[role] = false;
}

void
role_reaped(struct master *m, pid_t pid, int status)
{
	int64_t now = master_now();
	char how[64];
	enum role role = ROLE_MASTER;
	struct role_process *p;

	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].pid == pid)
			role = (enum role)r;
	if (role == ROLE_MASTER)
		return;
	p = &m->roles[role];
	bury(m, role);
	describe(status, how, sizeof(how));
	if (m->stopping) {
		log_line(SAY_DEBUG, "role", "role=%s ended %s", role_name(role),
		    how);
		p->restart_at = INT64_MAX;
		return;
	}
	/* The spawner ends with auth, as it should; that is no trouble. */
	log_line(role == ROLE_HELPERS && status == 0 ? SAY_NOTE : SAY_ALARM,
	    "role-died", "role=%s pid=%d %s", role_name(role), (int)pid, how);
	if (!m->running)
		master_start_failed(m, "role %s ended at its start: %s",
		    role_name(role), how);
	if (now - p->started_at > LIVED_MS)
		p->deaths = 0;
	p->restart_at = now + back_off(p->deaths++);
	p->restarts++;
	reload_role_died(m, role);
	/* Configurations only it still used. */
	reload_unused(m, role, 0);
}

int64_t
role_timers(struct master *m, int64_t now)
{
	int64_t next = INT64_MAX;

	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		struct role_process *p = &m->roles[r];
		int64_t due =
		    p->state == ROLE_IS_AWAY ? p->restart_at : p->state_until;

		if (due > now) {
			if (due < next)
				next = due;
		} else if (p->state == ROLE_IS_AWAY) {
			if (!m->stopping)
				role_run(m, (enum role)r);
			else
				p->restart_at = INT64_MAX;
		} else {
			log_line(SAY_ALARM, "role", "role=%s pid=%d late=yes",
			    role_name((enum role)r), (int)p->pid);
			p->state_until = INT64_MAX;
			kill(p->pid, SIGKILL);
		}
	}
	return next;
}
