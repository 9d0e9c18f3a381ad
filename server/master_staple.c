/*
 * server/master_staple.c: OCSP responses on their way to the session role, and
 * what is told when they are not refreshed.
 */
#include <string.h>
#include <time.h>

#include "channel.h"
#include "master.h"
#include "wire.h"

enum { LOOK_MS = 60 * 1000 /* at their ends */ };

static void
send_one(struct master *m, uint32_t number, const struct staple *staple)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_STAPLE);
	wire_put_u32(&w, number);
	wire_put_string(&w, staple->certificate);
	wire_put_u64(&w, (uint64_t)staple->until);
	wire_put_bytes(&w, staple->response.data, staple->response.size);
	role_send(m, ROLE_SESSION, w.data, w.len, -1);
}

void
staples_send(struct master *m, const struct generation_entry *g)
{
	const struct staples *staples = &g->prepared->staples;

	for (size_t i = 0; i < staples->count; i++)
		if (staples->list[i].response.data != NULL)
			send_one(m, g->number, &staples->list[i]);
}

static void
say(enum log_level level, const struct staple *staple, const char *state,
    const char *detail)
{
	char path[400], text[LOG_LINE_MAX / 2], until[32] = "-";
	time_t end = (time_t)staple->until;
	struct tm tm;

	if (staple->response.data != NULL && gmtime_r(&end, &tm) != NULL)
		strftime(until, sizeof(until), "%Y-%m-%dT%H:%M:%SZ", &tm);
	log_line(level, "ocsp",
	    "certificate=%s file=%s state=%s until=%s must-staple=%s%s%s",
	    staple->certificate,
	    log_value(path, sizeof(path), staple->path, strlen(staple->path)),
	    state, until, staple->is_demanded ? "yes" : "no",
	    detail[0] != '\0' ? " detail=" : "",
	    detail[0] != '\0'
		? log_value(text, sizeof(text), detail, strlen(detail))
		: "");
}

static void
look(struct master *m)
{
	struct staples *staples = &m->current->prepared->staples;
	bool ended;

	for (size_t i = 0; i < staples->count; i++) {
		struct staple *staple = &staples->list[i];

		if (!staple_is_due(staple, time(NULL), &ended))
			continue;
		say(SAY_ALARM, staple, ended ? "ended" : "near-end",
		    ended ? "it is not stapled any more"
			  : "nobody has refreshed it");
	}
}

void
staples_refresh(struct master *m, const char *path)
{
	struct staples *staples = &m->current->prepared->staples;
	struct reason why;

	for (size_t i = 0; i < staples->count; i++) {
		struct staple *staple = &staples->list[i];

		if (strcmp(staple->path, path) != 0)
			continue;
		if (staple_read(staple, time(NULL), &why)) {
			send_one(m, m->current->number, staple);
			say(SAY_NOTE, staple, "refreshed", "");
		} else {
			say(SAY_ALARM, staple, "refused", why.text);
		}
	}
	m->staples_look_at = 0;
}

/* The next look, or the end of one that comes before it. */
static int64_t
next_look(const struct staples *staples, int64_t now)
{
	int64_t next = now + LOOK_MS;

	for (size_t i = 0; i < staples->count; i++) {
		const struct staple *staple = &staples->list[i];
		int64_t left = staple->until - time(NULL);

		if (staple->response.data != NULL && left >= 0 &&
		    left < LOOK_MS / 1000)
			next = now + (left + 1) * 1000 < next
				   ? now + (left + 1) * 1000
				   : next;
	}
	return next;
}

int64_t
staples_timer(struct master *m, int64_t now)
{
	if (m->stopping || m->current == NULL ||
	    m->current->prepared->staples.count == 0)
		return INT64_MAX;
	if (now >= m->staples_look_at) {
		look(m);
		m->staples_look_at =
		    next_look(&m->current->prepared->staples, now);
	}
	return m->staples_look_at;
}
