/*
 * server/master_alarm.c: what an alarm of any process leads to: a mail by way
 * of the relay, a program that is handed its text; and the alarms that nobody
 * else can raise, about what ends soon.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "channel.h"
#include "expiry.h"
#include "master.h"
#include "role.h"
#include "wire.h"

enum {
	LOOK_MS = 3600 * 1000, /* at what ends soon */
	LOOK_LINES = 10,       /* said at one look; the rest is counted */
};

static const struct config *
config_of(const struct master *m)
{
	return m->current == NULL ? NULL : m->current->prepared->config;
}

/* --- telling ------------------------------------------------------------ */

/* As it stands in the log. */
static void
tell(struct master *m, enum role role, const char *line)
{
	const struct config *c = config_of(m);
	char text[ALARM_TEXT_MAX], stamp[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(text, sizeof(text), "%s %s alarm %s", stamp, role_name(role),
	    line);
	if (c == NULL || c->alarm_mail != NULL)
		alarm_queue_add(&m->alarms.mails, text);
	if (c == NULL || c->alarm_command_count > 0)
		alarm_queue_add(&m->alarms.commands, text);
}

void
alarm_line(struct master *m, enum role role, const char *line)
{
	m->alarms.raised++;
	if (m->stopping)
		return; /* nobody is left to tell it to */
	switch (alarm_judge(&m->alarms.filter, role, line, master_now())) {
	case ALARM_TOLD:
		tell(m, role, line);
		break;
	case ALARM_REPEATED:
		m->alarms.repeated++;
		break;
	case ALARM_LEFT_OUT:
		m->alarms.left_out++;
		break;
	}
}

static void
tell_left_out(struct master *m, int64_t now)
{
	uint64_t count = alarm_left_out(&m->alarms.filter, now);
	char line[80];

	if (count == 0)
		return;
	snprintf(line, sizeof(line), "alarms left-out=%llu within=1h",
	    (unsigned long long)count);
	/* To the log as a note: as an alarm it would come back here. */
	log_line(SAY_NOTE, "alarms", "left-out=%llu within=1h",
	    (unsigned long long)count);
	tell(m, ROLE_MASTER, line);
}

static void
flush_mails(struct master *m)
{
	struct alarm_waiting *one;

	if (config_of(m)->alarm_mail == NULL) {
		alarm_queue_fini(&m->alarms.mails);
		return;
	}
	while (m->roles[ROLE_RELAY].state == ROLE_IS_UP &&
	       (one = alarm_queue_next(&m->alarms.mails)) != NULL) {
		unsigned char packet[ALARM_TEXT_MAX + 32];
		struct wire_writer w;

		wire_writer_init(&w, packet, sizeof(packet));
		wire_put_u8(&w, MASTER_ALARM);
		wire_put_u64(&w, one->number);
		wire_put_string(&w, one->text);
		one->sent = true;
		role_send(m, ROLE_RELAY, w.data, w.len, -1);
	}
}

static void
flush_commands(struct master *m)
{
	struct alarm_waiting *one;

	if (config_of(m)->alarm_command_count == 0) {
		alarm_queue_fini(&m->alarms.commands);
		return;
	}
	while ((one = alarm_queue_next(&m->alarms.commands)) != NULL) {
		if (!command_run(m, one->text))
			return; /* enough of them run */
		one->sent = true;
		alarm_queue_arrived(&m->alarms.commands, one->number);
	}
}

void
alarm_kept(struct master *m, uint64_t number)
{
	if (alarm_queue_arrived(&m->alarms.mails, number))
		m->alarms.mailed++;
}

void
alarm_relay_gone(struct master *m)
{
	alarm_queue_again(&m->alarms.mails);
}

/* --- what ends soon ----------------------------------------------------- */

/* One look: what was said, and what was left to a count. */
struct look {
	struct master *m;
	int64_t now; /* Unix */
	unsigned lines, more;
};

static void
say_ending(struct look *look, const char *what, int64_t days, int64_t end,
    const char *text)
{
	char stamp[32], left[32];
	time_t last = (time_t)end;
	struct tm tm;

	if (look->lines == LOOK_LINES) {
		look->more++;
		return;
	}
	look->lines++;
	if (gmtime_r(&last, &tm) == NULL ||
	    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(stamp, sizeof(stamp), "?");
	snprintf(left, sizeof(left), "days=%lld", (long long)days);
	log_line(SAY_ALARM, what, "%s %s ends=%s",
	    days < 0 ? "state=ended" : left, text, stamp);
}

static void
look_certificates(struct look *look)
{
	const struct endings *all = &look->m->current->prepared->endings;

	for (size_t i = 0; i < all->count; i++) {
		const struct ending *e = &all->list[i];
		int64_t days;

		if (expiry_is_due(look->m->alarms.expiry, e->key, e->end,
			look->now, &days))
			say_ending(look, "certificate-ends", days, e->end,
			    e->what);
	}
}

static bool
look_exception(void *context, unsigned line, const char *site,
    const char *direction, long long until, const char *reason)
{
	struct look *look = context;
	const char *sites = config_of(look->m)->sites;
	const char *slash = strrchr(sites, '/');
	char key[EXPIRY_KEY_MAX], text[LOG_LINE_MAX / 2], value[400];
	int64_t days;

	snprintf(key, sizeof(key), "row %.400s %.16s", site, direction);
	if (!expiry_is_due(look->m->alarms.expiry, key, until, look->now,
		&days))
		return true;
	snprintf(text, sizeof(text),
	    "row=%s:%u site=%.300s direction=%s reason=%s",
	    slash == NULL ? sites : slash + 1, line, site, direction,
	    log_value(value, sizeof(value), reason, strlen(reason)));
	say_ending(look, "exception-ends", days, until, text);
	return true;
}

static void
look_exceptions(struct look *look)
{
	const struct table *table = look->m->current->prepared->sites;
	struct reason why;

	if (!table_exceptions(table, look_exception, look, &why))
		log_line(SAY_ERROR, "exceptions", "trouble=\"%s\"", why.text);
}

static bool
open_expiry(struct master *m)
{
	char path[PATH_MAX];
	struct reason why;

	if (m->alarms.expiry != NULL)
		return true;
	if (snprintf(path, sizeof(path), "%s/alarms.json",
		config_of(m)->state) >= (int)sizeof(path) ||
	    !expiry_open(&m->alarms.expiry, path, &why))
		return false;
	if (why.code != REASON_NONE)
		log_line(SAY_WARNING, "alarms", "trouble=\"%s\"", why.text);
	return true;
}

static void
look_at_endings(struct master *m)
{
	struct look look = { .m = m, .now = time(NULL) };
	struct reason why;

	m->alarms.look_at = master_now() + LOOK_MS;
	if (!open_expiry(m))
		return;
	look_certificates(&look);
	look_exceptions(&look);
	if (look.more > 0)
		log_line(SAY_ALARM, "endings",
		    "more=%u note=\"as many more "
		    "end soon or have ended\"",
		    look.more);
	if (!expiry_save(m->alarms.expiry, look.now, &why))
		log_line(SAY_ERROR, "alarms", "trouble=\"%s\"", why.text);
}

void
alarm_configured(struct master *m)
{
	const struct prepared *p = m->current->prepared;

	for (size_t i = 0; i < p->alarm_count; i++) {
		char value[LOG_LINE_MAX / 2];

		log_line(SAY_ALARM, "configuration", "trouble=%s",
		    log_value(value, sizeof(value), p->alarms[i],
			strlen(p->alarms[i])));
	}
	look_at_endings(m);
}

/* --- the loop, status, the end ------------------------------------------ */

int64_t
alarm_timers(struct master *m, int64_t now)
{
	int64_t next, left_out;

	if (m->stopping || m->current == NULL)
		return INT64_MAX;
	if (now >= m->alarms.look_at)
		look_at_endings(m);
	tell_left_out(m, now);
	next = command_timers(m, now);
	flush_mails(m);
	flush_commands(m);
	left_out = alarm_left_out_at(&m->alarms.filter);
	if (left_out < next)
		next = left_out;
	return m->alarms.look_at < next ? m->alarms.look_at : next;
}

json_t *
alarm_status(const struct master *m)
{
	const struct alarms *a = &m->alarms;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "raised",
	    (json_int_t)a->raised, "repeated", (json_int_t)a->repeated,
	    "left-out",
	    (json_int_t)(a->left_out + a->mails.dropped + a->commands.dropped),
	    "mailed", (json_int_t)a->mailed, "commanded",
	    (json_int_t)a->commanded, "command-failed", (json_int_t)a->failed,
	    "waiting", (json_int_t)(a->mails.count + a->commands.count));
}

void
alarm_end(struct master *m)
{
	command_end(m);
	alarm_filter_fini(&m->alarms.filter);
	alarm_queue_fini(&m->alarms.mails);
	alarm_queue_fini(&m->alarms.commands);
	expiry_free(m->alarms.expiry);
	m->alarms.expiry = NULL;
}
