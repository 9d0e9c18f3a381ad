/*
 * server/queue_summary.c: how many messages wait by site and reason, and how
 * long they have; and the sites that are left alone, or being tried.
 */
#include "queue_tell.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ROWS_MOST = 500, SITES_MOST = 500, REASON_SIZE = 96, AGES = 7 };

/* Up to so many seconds; the last column is all that is older. */
static const struct {
	int64_t seconds;
	const char *word;
} ages[AGES] = {
	{ 300, "5m" },
	{ 900, "15m" },
	{ 3600, "1h" },
	{ 4 * 3600, "4h" },
	{ 86400, "1d" },
	{ 3 * 86400, "3d" },
	{ INT64_MAX, "older" },
};

struct row {
	struct next_hop hop;
	char reason[REASON_SIZE];
	uint64_t count[AGES];
};

struct summary {
	struct row *rows; /* the last, once there are ROWS_MOST: all others */
	size_t count;
	uint64_t total[AGES], octets;
};

/*
 * What was said, without what is different each time: words with a digit
 * become "#" unless they are a code or status at the beginning.
 */
static void
reduce_reason(const char *text, char out[static REASON_SIZE])
{
	size_t len = 0;
	bool front = true;

	while (*text != '\0' && len + 1 < REASON_SIZE) {
		size_t word = strcspn(text, " ");
		size_t digits = strcspn(text, "0123456789");
		size_t put = word;

		front = front && strspn(text, "0123456789.-") >= word;
		if (!front && digits < word) {
			out[len++] = '#';
		} else {
			if (put > REASON_SIZE - 1 - len)
				put = REASON_SIZE - 1 - len;
			memcpy(out + len, text, put);
			len += put;
		}
		text += word;
		if (*text == ' ' && len + 1 < REASON_SIZE)
			out[len++] = ' ';
		text += strspn(text, " ");
	}
	out[len] = '\0';
}

static struct row *
find_row(struct summary *summary, const struct next_hop *hop,
    const char *reason)
{
	struct row *row;

	for (size_t i = 0; i < summary->count; i++) {
		row = &summary->rows[i];
		if (row->hop.port == hop->port &&
		    strcasecmp(row->hop.host, hop->host) == 0 &&
		    strcmp(row->reason, reason) == 0)
			return row;
	}
	if (summary->count == ROWS_MOST)
		return &summary->rows[ROWS_MOST - 1];
	row = &summary->rows[summary->count++];
	if (summary->count == ROWS_MOST)
		reason = "all others";
	else
		row->hop = *hop;
	snprintf(row->reason, sizeof(row->reason), "%s", reason);
	return row;
}

static void
leg_reason(const struct look *look, const struct look_leg *leg,
    char out[static REASON_SIZE])
{
	if (look->by_operator)
		snprintf(out, REASON_SIZE, "held by the operator");
	else if (leg->held && look->held_line != 0)
		snprintf(out, REASON_SIZE, "%.*s", REASON_SIZE - 1, leg->text);
	else if (leg->text[0] != '\0')
		reduce_reason(leg->text, out);
	else
		snprintf(out, REASON_SIZE, "%s", queue_state_word(look->state));
}

static void
add_look(struct summary *summary, const struct look *look, int64_t now_ms)
{
	int64_t age_s = (now_ms - look->arrival_ms) / 1000;
	char reason[REASON_SIZE];
	size_t age = 0;

	while (age + 1 < AGES && age_s > ages[age].seconds)
		age++;
	summary->total[age]++;
	summary->octets += look->message_octets;
	for (size_t i = 0; i < look->leg_count; i++) {
		const struct look_leg *leg = &look->legs[i];

		if (leg->pending == 0)
			continue;
		leg_reason(look, leg, reason);
		find_row(summary, &leg->hop, reason)->count[age]++;
	}
}

static uint64_t
sum(const uint64_t count[static AGES])
{
	uint64_t all = 0;

	for (size_t i = 0; i < AGES; i++)
		all += count[i];
	return all;
}

/* Sites with the most first, and so within a site. */
static int
compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	uint64_t more = sum(x->count), less = sum(y->count);
	int order;

	if (more != less)
		return more > less ? -1 : 1;
	order = strcasecmp(x->hop.host, y->hop.host);
	if (order == 0)
		order = (int)x->hop.port - (int)y->hop.port;
	return order != 0 ? order : strcmp(x->reason, y->reason);
}

static json_t *
ages_object(const uint64_t count[static AGES])
{
	json_t *object = json_object();

	for (size_t i = 0; i < AGES; i++)
		json_object_set_new(object, ages[i].word,
		    json_integer((json_int_t)count[i]));
	return object;
}

static bool
tell_row(const struct queue_teller *told, const struct row *row)
{
	json_t *object = json_object();

	json_object_set_new(object, "kind", json_string("row"));
	json_object_set_new(object, "host",
	    sent_text(row->hop.host, strlen(row->hop.host)));
	json_object_set_new(object, "port", json_integer(row->hop.port));
	json_object_set_new(object, "reason",
	    sent_text(row->reason, strlen(row->reason)));
	json_object_set_new(object, "messages",
	    json_integer((json_int_t)sum(row->count)));
	json_object_set_new(object, "ages", ages_object(row->count));
	return queue_tell_object(told, object);
}

static bool
tell_summary(const struct queue_teller *told, struct summary *summary)
{
	json_t *object;
	bool ok = true;

	qsort(summary->rows, summary->count, sizeof(struct row), compare_rows);
	for (size_t i = 0; ok && i < summary->count; i++)
		ok = tell_row(told, &summary->rows[i]);
	object = json_object();
	json_object_set_new(object, "kind", json_string("total"));
	json_object_set_new(object, "messages",
	    json_integer((json_int_t)sum(summary->total)));
	json_object_set_new(object, "octets",
	    json_integer((json_int_t)summary->octets));
	json_object_set_new(object, "ages", ages_object(summary->total));
	return queue_tell_object(told, object) && ok;
}

/* Sites. */

struct site_look {
	struct next_hop name;
	unsigned active, limit, failures;
	bool tls_optional, probing; /* of its gate, if that failed */
	int64_t until_ms;           /* Unix */
	char text[256];
};

static void
look_at_gate(const struct site *site, bool tls_optional, int64_t now_ms,
    struct site_look *out)
{
	const struct gate *gate = &site->gates[tls_optional];

	*out = (struct site_look){
		.name = site->name,
		.active = site->active,
		.limit = pace_limit(site),
		.failures = gate->failures,
		.tls_optional = tls_optional,
		.probing = gate->probing,
		.until_ms = queue_now_ms() + gate->until_ms - now_ms,
	};
	if (gate->failures > 0)
		memcpy(out->text, gate->text, sizeof(out->text));
}

/* Those that have workers, or failed; how many, SITES_MOST at most. */
static size_t
look_at_sites(struct queue *queue, const struct queue_filter *filter,
    struct site_look *looks)
{
	int64_t now_ms = queue_monotonic_ms();
	const struct site *site;
	size_t count = 0;

	pthread_mutex_lock(&queue->lock);
	LIST_FOREACH(site, &queue->all_sites, all)
	{
		if (site->name.host[0] == '\0' ||
		    !queue_filter_hop(filter, &site->name))
			continue;
		for (int i = 0; i < 2 && count < SITES_MOST; i++)
			if (site->gates[i].failures > 0 ||
			    (i == 0 && site->active > 0))
				look_at_gate(site, i, now_ms, &looks[count++]);
	}
	pthread_mutex_unlock(&queue->lock);
	return count;
}

static bool
tell_site(const struct queue_teller *told, const struct site_look *look)
{
	json_t *object = json_object();

	json_object_set_new(object, "kind", json_string("site"));
	json_object_set_new(object, "host",
	    sent_text(look->name.host, strlen(look->name.host)));
	json_object_set_new(object, "port", json_integer(look->name.port));
	json_object_set_new(object, "active", json_integer(look->active));
	json_object_set_new(object, "limit", json_integer(look->limit));
	json_object_set_new(object, "failures", json_integer(look->failures));
	json_object_set_new(object, "until",
	    look->failures > 0 && !look->probing
		? json_integer(look->until_ms / 1000)
		: json_null());
	json_object_set_new(object, "reason",
	    sent_text(look->text, strlen(look->text)));
	json_object_set_new(object, "tls_optional",
	    json_boolean(look->tls_optional));
	return queue_tell_object(told, object);
}

static bool
tell_sites(struct queue *queue, const struct queue_teller *told,
    const struct queue_filter *filter)
{
	struct site_look *looks = calloc(SITES_MOST, sizeof(*looks));
	size_t count = looks == NULL ? 0 : look_at_sites(queue, filter, looks);
	bool ok = looks != NULL;

	for (size_t i = 0; ok && i < count; i++)
		ok = tell_site(told, &looks[i]);
	free(looks);
	return ok;
}

bool
queue_tell_summary(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, struct reason *why)
{
	struct summary summary = { .rows =
				       calloc(ROWS_MOST, sizeof(struct row)) };
	struct selection selection = { .count = 0 };
	int64_t now_ms = queue_now_ms();
	struct look look;
	bool ok = summary.rows != NULL
		      ? selection_make(queue, &request->filter, &selection, why)
		      : fail(why, REASON_NO_MEMORY, "queue: summary");

	for (size_t i = 0; ok && i < selection.count; i++) {
		if (!look_copy(queue, selection.messages[i].key,
			&request->filter, &look))
			continue;
		if (look_fits_deep(queue, &look, &request->filter)) {
			look_read_reasons(queue, &look);
			add_look(&summary, &look, now_ms);
		}
		look_fini(queue, &look);
	}
	if (ok && !(tell_summary(told, &summary) &&
		      tell_sites(queue, told, &request->filter)))
		ok = fail(why, REASON_AWAY, "nobody reads the answer");
	selection_free(&selection);
	free(summary.rows);
	return ok;
}
