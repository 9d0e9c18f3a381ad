/*
 * server/master_control.c: the master's own control socket.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <jansson.h>
#include <unistd.h>

#include "channel.h"
#include "control.h"
#include "master.h"
#include "role.h"
#include "wire.h"

static struct asker *
asker_slot(struct master *m)
{
	for (size_t i = 0; i < ASKERS_MOST; i++)
		if (m->askers[i].fd < 0)
			return &m->askers[i];
	return NULL;
}

static void
asker_end(struct asker *a, bool ok, const char *text)
{
	control_send_end(a->fd, ok, text);
	close(a->fd);
	a->fd = -1;
}

/* --- status ------------------------------------------------------------- */

static const char *
state_word(enum role_state state)
{
	switch (state) {
	case ROLE_IS_AWAY:
		return "away";
	case ROLE_IS_STARTING:
	case ROLE_IS_WAITING:
		return "starting";
	case ROLE_IS_UP:
		return "up";
	case ROLE_IS_STOPPED:
		return "stopped";
	}
	return "?";
}

static json_t *
role_object(const struct master *m, enum role role)
{
	const struct role_process *p = &m->roles[role];
	json_t *object = NULL;

	if (p->status != NULL)
		object = json_loads(p->status, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		object = json_object();
	}
	json_object_set_new(object, "state", json_string(state_word(p->state)));
	json_object_set_new(object, "pid", json_integer(p->pid));
	json_object_set_new(object, "restarts", json_integer(p->restarts));
	/* It did not answer in time: the rest is what it said before. */
	if ((m->status_awaiting & (1U << role)) != 0)
		json_object_set_new(object, "late", json_true());
	return object;
}

static json_t *
listeners_array(const struct master *m)
{
	json_t *array = json_array();

	for (size_t i = 0; i < m->listening_count; i++) {
		const struct listening *l = &m->listenings[i];

		json_array_append_new(array,
		    json_pack("{s:s,s:s,s:b}", "name", l->name, "address",
			l->bound, "inherited", (int)l->inherited));
	}
	return array;
}

static char *
status_text(const struct master *m)
{
	json_t *roles = json_object(), *top;
	char *text;

	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		json_object_set_new(roles, role_name((enum role)r),
		    role_object(m, (enum role)r));
	top = json_pack("{s:s,s:i,s:s,s:i,s:b,s:b,s:o,s:o,s:o}", "version",
	    SALLYPORT_VERSION, "pid", (int)getpid(), "configuration",
	    m->conf_path, "number", (int)m->current->number, "confined",
	    (int)m->confining, "reloading", m->reload_stage != RELOAD_NONE,
	    "listeners", listeners_array(m), "alarms", alarm_status(m), "roles",
	    roles);
	text = top == NULL ? NULL : json_dumps(top, JSON_COMPACT);
	json_decref(top);
	return text;
}

static void
answer_status(struct master *m)
{
	char *text = status_text(m);

	for (size_t i = 0; i < ASKERS_MOST; i++) {
		struct asker *a = &m->askers[i];

		if (a->fd < 0 || a->wants_reload)
			continue;
		if (text != NULL &&
		    control_send_data(a->fd, text, strlen(text)))
			asker_end(a, true, "");
		else
			asker_end(a, false, "status too long");
	}
	free(text);
}

static void
ask_roles(struct master *m)
{
	unsigned char packet[16];
	struct wire_writer w;

	m->status_number++;
	m->status_awaiting = 0;
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		if (m->roles[r].state != ROLE_IS_UP)
			continue;
		wire_writer_init(&w, packet, sizeof(packet));
		wire_put_u8(&w, MASTER_STATUS);
		wire_put_u64(&w, m->status_number);
		role_send(m, (enum role)r, w.data, w.len, -1);
		m->status_awaiting |= 1U << r;
	}
	if (m->status_awaiting == 0)
		answer_status(m);
}

void
control_status(struct master *m, enum role role, uint64_t number,
    const char *json)
{
	struct role_process *p = &m->roles[role];

	free(p->status);
	p->status = strdup(json);
	if (number != m->status_number)
		return;
	m->status_awaiting &= ~(1U << role);
	if (m->status_awaiting == 0)
		answer_status(m);
}

/* --- reload ------------------------------------------------------------- */

void
control_reload_done(struct master *m, bool ok, const char *text)
{
	for (size_t i = 0; i < ASKERS_MOST; i++)
		if (m->askers[i].fd >= 0 && m->askers[i].wants_reload)
			asker_end(&m->askers[i], ok, text);
}

/* --- requests ----------------------------------------------------------- */

static void
request(struct master *m, struct asker *a, uint8_t type)
{
	switch (type) {
	case CONTROL_STATUS:
		a->until = master_now() + STATUS_TIMEOUT_MS;
		ask_roles(m);
		break;
	case CONTROL_RELOAD:
		a->wants_reload = true;
		a->until = master_now() + 2 * PREPARE_TIMEOUT_MS;
		reload_begin(m);
		break;
	default:
		asker_end(a, false, "unknown request");
		break;
	}
}

void
control_packets(struct master *m)
{
	struct timeval soon = { .tv_usec = 200000 };
	struct asker *a = asker_slot(m);
	unsigned char packet[16];
	size_t len;
	int fd;

	fd = control_accept(m->control[ROLE_MASTER]);
	if (fd < 0)
		return;
	/* A tool sends its request at once; nobody else may make us wait. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (a == NULL || m->current == NULL ||
	    channel_recv(fd, packet, sizeof(packet), &len, NULL) !=
		CHANNEL_DONE) {
		close(fd);
		return;
	}
	memset(a, 0, sizeof(*a));
	a->fd = fd;
	request(m, a, len == 1 ? packet[0] : 0);
}

void
control_timer(struct master *m, int64_t now)
{
	for (size_t i = 0; i < ASKERS_MOST; i++) {
		struct asker *a = &m->askers[i];

		if (a->fd < 0 || now < a->until)
			continue;
		if (a->wants_reload)
			asker_end(a, false, "no answer in time");
		else
			answer_status(m); /* with what is known */
	}
}
