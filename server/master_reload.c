/*
 * server/master_reload.c: numbered configurations: prepare, commit, retire.
 *
 * Nothing changes until every role has said that it can: first those that
 * only answer, then session and relay, which need the others' answers.  A
 * connection keeps the number it began with, so a number lives until session
 * and relay both say that nothing uses it.
 */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "channel.h"
#include "master.h"
#include "role.h"
#include "wire.h"

/* Where problems go while files are read. */
struct problems {
	bool at_start;
	char first[REASON_TEXT_MAX];
};

static void
report_problem(void *context, bool is_error, const char *text)
{
	struct problems *problems = context;
	char value[LOG_LINE_MAX / 2];

	if (is_error && problems->first[0] == '\0')
		snprintf(problems->first, sizeof(problems->first), "%s", text);
	if (is_error && problems->at_start) {
		/* Somebody waits for the start and reads this. */
		fprintf(stderr, "%s\n", text);
		return;
	}
	log_value(value, sizeof(value), text, strlen(text));
	log_line(is_error ? SAY_ALARM : SAY_WARNING, "configuration", "%s=%s",
	    is_error ? "error" : "warning", value);
}

static struct generation_entry *
entry_free_slot(struct master *m)
{
	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++)
		if (m->generations[i].number == 0)
			return &m->generations[i];
	return NULL;
}

static void
entry_fini(struct generation_entry *g)
{
	prepared_free(g->prepared);
	memset(g, 0, sizeof(*g));
}

/* Read all files under a new number. */
static struct generation_entry *
entry_load(struct master *m, struct problems *problems)
{
	struct prepare_options options = { .path = m->conf_path,
		.last_table = problems->at_start,
		.in_force = m->current != NULL ? m->current->prepared : NULL,
		.files = files_tried(m),
		.report = report_problem,
		.context = problems };
	struct generation_entry *g = entry_free_slot(m);

	if (g == NULL) {
		snprintf(problems->first, sizeof(problems->first),
		    "%d configurations are in use already",
		    CONFIGURATIONS_MOST);
		return NULL;
	}
	if (!prepare(&g->prepared, &options))
		return NULL;
	g->number = ++m->last_number;
	return g;
}

bool
reload_first(struct master *m, struct reason *why)
{
	struct problems problems = { .at_start = true };

	m->current = entry_load(m, &problems);
	if (m->current == NULL)
		return fail(why, REASON_SYNTAX,
		    "not started, see what is wrong above");
	return true;
}

/* --- under way ---------------------------------------------------------- */

static void
notify_ready(void)
{
	sd_notify(0, "READY=1");
}

static void
reload_end(struct master *m, bool ok, const char *text)
{
	char value[LOG_LINE_MAX / 2];

	m->reload_stage = RELOAD_NONE;
	m->reloading = NULL;
	m->reload_retried = false;
	if (ok) {
		log_line(SAY_NOTE, "reload", "result=ok configuration=%u",
		    m->current->number);
	} else {
		log_value(value, sizeof(value), text, strlen(text));
		log_line(SAY_ALARM, "reload",
		    "result=refused configuration=%u reason=%s",
		    m->current->number, value);
	}
	control_reload_done(m, ok, text);
	notify_ready();
	files_configured(m, ok);
}

/* Back to how it was. */
static void
reload_undo(struct master *m)
{
	struct generation_entry *g = m->reloading;
	struct reason why;

	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		m->roles[r].awaiting = 0;
		if (m->roles[r].state == ROLE_IS_UP)
			role_send_number(m, (enum role)r, MASTER_RETIRE,
			    g->number);
	}
	entry_fini(g);
	/* Sockets it shares with the current one belong to that again. */
	listen_bind(m, m->current, 0, &why);
	listen_sweep(m);
	m->reload_stage = RELOAD_NONE;
	m->reloading = NULL;
}

static void
reload_refused(struct master *m, const char *text)
{
	char copy[REASON_TEXT_MAX];

	snprintf(copy, sizeof(copy), "%s", text);
	reload_undo(m);
	reload_end(m, false, copy);
}

/* How many configurations newer than g role still uses. */
static size_t
count_newer(const struct master *m, const struct generation_entry *g,
    enum role role)
{
	size_t count = 0;

	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++)
		if (m->generations[i].number > g->number &&
		    m->generations[i].used_by[role])
			count++;
	return count;
}

/*
 * What is still on the oldest ones is to leave when too many are live; and on
 * one that many have followed, because signer and auth keep old keys and
 * logins for it.
 */
static void
retire_old(struct master *m, enum role role)
{
	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++) {
		const struct generation_entry *g = &m->generations[i];

		if (g->number == 0 || g == m->current || !g->used_by[role])
			continue;
		if (count_newer(m, g, role) + 1 >= CONFIGURATIONS_MOST ||
		    m->last_number - g->number >= CONFIGURATIONS_BEHIND)
			role_send_number(m, role, MASTER_RETIRE, g->number);
	}
}

static void
commit(struct master *m)
{
	struct generation_entry *g = m->reloading;

	listen_send(m, g);
	m->current = g;
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		if (m->roles[r].state != ROLE_IS_UP ||
		    role_is_speaker((enum role)r))
			continue;
		role_send_number(m, (enum role)r, MASTER_COMMIT, g->number);
	}
	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		if (m->roles[r].state != ROLE_IS_UP ||
		    !role_is_speaker((enum role)r))
			continue;
		g->used_by[r] = true;
		role_send_number(m, (enum role)r, MASTER_COMMIT, g->number);
	}
	log_set_debug(g->prepared->config->debug);
	if (!m->foreground)
		master_log_target(g->prepared->config->log, false);
	listen_sweep(m);
	reload_end(m, true, "");
	alarm_configured(m);
	reload_unused(m, ROLE_MASTER, 0);
	retire_old(m, ROLE_SESSION);
	retire_old(m, ROLE_RELAY);
}

static bool
is_awaiting(const struct master *m)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].state == ROLE_IS_UP && m->roles[r].awaiting > 0)
			return true;
	return false;
}

/* Send the new number to one half of the roles. */
static void
ask(struct master *m, bool speakers)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].state == ROLE_IS_UP &&
		    role_is_speaker((enum role)r) == speakers)
			role_send_generation(m, (enum role)r, m->reloading);
}

static void
reload_step(struct master *m)
{
	if (is_awaiting(m))
		return;
	if (m->reload_stage == RELOAD_SERVANTS) {
		m->reload_stage = RELOAD_SPEAKERS;
		ticket_keys_make(m, m->reloading->prepared->config);
		ticket_keys_send(m);
		ask(m, true);
		if (is_awaiting(m))
			return;
	}
	commit(m);
}

static bool
all_up(const struct master *m)
{
	for (int r = ROLE_MASTER + 1; r < ROLES; r++)
		if (m->roles[r].state != ROLE_IS_UP)
			return false;
	return true;
}

void
reload_begin(struct master *m)
{
	struct problems problems = { .at_start = false };
	struct reason why;

	if (m->stopping)
		return;
	/* One at a time, not while a role is being started, and not before
	 * an old one is gone where there are too many. */
	if (m->reload_stage != RELOAD_NONE || !all_up(m) ||
	    entry_free_slot(m) == NULL) {
		if (!m->reload_again)
			log_line(SAY_WARNING, "reload", "waiting-for=%s",
			    m->reload_stage != RELOAD_NONE ? "another-reload"
			    : !all_up(m) ? "a-role-that-starts"
					 : "sessions-on-an-old-configuration");
		m->reload_again = true;
		return;
	}
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)master_now() * 1000);
	m->reloading = entry_load(m, &problems);
	if (m->reloading == NULL) {
		reload_end(m, false, problems.first);
		return;
	}
	if (strcmp(m->reloading->prepared->config->state,
		m->current->prepared->config->state) != 0) {
		reload_refused(m, "state: another folder needs a restart");
		return;
	}
	if (!listen_bind(m, m->reloading, 0, &why)) {
		reload_refused(m, why.text);
		return;
	}
	m->reload_stage = RELOAD_SERVANTS;
	m->reload_until = master_now() + PREPARE_TIMEOUT_MS;
	ask(m, false);
}

void
reload_answered(struct master *m, enum role role, uint32_t number, bool ok,
    const char *text)
{
	if (m->reload_stage == RELOAD_NONE || number != m->reloading->number ||
	    m->roles[role].awaiting == 0)
		return;
	m->roles[role].awaiting--;
	if (ok)
		reload_step(m);
	else
		reload_refused(m, text);
}

void
reload_role_died(struct master *m, enum role role)
{
	char text[64];

	if (m->reload_stage == RELOAD_NONE)
		return;
	/* That need not be the new files' doing: once more, when it is back.
	 */
	if (!m->reload_retried && !m->stopping) {
		log_line(SAY_NOTE, "reload", "again=yes died=%s",
		    role_name(role));
		reload_undo(m);
		m->reload_retried = m->reload_again = true;
		return;
	}
	snprintf(text, sizeof(text), "role %s died meanwhile", role_name(role));
	reload_refused(m, text);
}

void
reload_timer(struct master *m, int64_t now)
{
	if (m->reload_stage != RELOAD_NONE && now >= m->reload_until)
		reload_refused(m, "a role did not answer in time");
	if (m->reload_again && m->reload_stage == RELOAD_NONE && all_up(m) &&
	    entry_free_slot(m) != NULL) {
		m->reload_again = false;
		reload_begin(m);
	}
}

/* number is free of role; 0: only look what has become free. */
void
reload_unused(struct master *m, enum role role, uint32_t number)
{
	bool swept = false;

	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++) {
		struct generation_entry *g = &m->generations[i];

		if (g->number == 0 || g == m->current || g == m->reloading)
			continue;
		if (g->number == number)
			g->used_by[role] = false;
		if (g->used_by[ROLE_SESSION] || g->used_by[ROLE_RELAY])
			continue;
		for (int r = ROLE_MASTER + 1; r < ROLES; r++)
			if (!role_is_speaker((enum role)r) &&
			    m->roles[r].state == ROLE_IS_UP)
				role_send_number(m, (enum role)r, MASTER_RETIRE,
				    g->number);
		entry_fini(g);
		swept = true;
	}
	if (swept)
		state_sweep_tables(m);
}

/* --- ticket keys -------------------------------------------------------- */

static bool
make_key(unsigned char out[TICKET_KEY_OCTETS])
{
	gnutls_datum_t key;

	if (gnutls_session_ticket_key_generate(&key) < 0)
		return false;
	if (key.size == TICKET_KEY_OCTETS)
		memcpy(out, key.data, TICKET_KEY_OCTETS);
	gnutls_memset(key.data, 0, key.size);
	gnutls_free(key.data);
	return key.size == TICKET_KEY_OCTETS;
}

static struct ticket_key *
find_key(struct master *m, const char *listener)
{
	for (size_t i = 0; i < LISTENINGS_MOST; i++)
		if (strcmp(m->ticket_keys[i].listener, listener) == 0)
			return &m->ticket_keys[i];
	return NULL;
}

/* A key for each listener that has none. */
void
ticket_keys_make(struct master *m, const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];
		struct ticket_key *k;

		if (!l->tickets || find_key(m, l->name) != NULL)
			continue;
		k = find_key(m, "");
		if (k == NULL || !make_key(k->key)) {
			log_line(SAY_ERROR, "tickets", "listener=%s key=none",
			    l->name);
			continue;
		}
		snprintf(k->listener, sizeof(k->listener), "%s", l->name);
	}
}

void
ticket_keys_renew(struct master *m)
{
	explicit_bzero(m->ticket_keys,
	    LISTENINGS_MOST * sizeof(*m->ticket_keys));
	ticket_keys_make(m, m->current->prepared->config);
	m->ticket_keys_until = master_now() + TICKET_KEY_MS;
	ticket_keys_send(m);
}

void
ticket_keys_send(struct master *m)
{
	unsigned char packet[256];
	struct wire_writer w;

	if (m->roles[ROLE_SESSION].state != ROLE_IS_WAITING &&
	    m->roles[ROLE_SESSION].state != ROLE_IS_UP)
		return;
	for (size_t i = 0; i < LISTENINGS_MOST; i++) {
		const struct ticket_key *k = &m->ticket_keys[i];

		if (k->listener[0] == '\0')
			continue;
		wire_writer_init(&w, packet, sizeof(packet));
		wire_put_u8(&w, MASTER_TICKET_KEY);
		wire_put_string(&w, k->listener);
		wire_put_raw(&w, k->key, sizeof(k->key));
		role_send(m, ROLE_SESSION, w.data, w.len, -1);
		explicit_bzero(packet, sizeof(packet));
	}
}
