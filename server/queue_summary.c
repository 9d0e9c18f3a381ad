/*
 * server/queue_summary.c: how many messages wait by site and reason, and how
 * long they have.
 */
#include "queue_tell.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ROWS_MOST = 500, REASON_SIZE = 96, AGES = 7 };

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
	char site[256];
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
find_row(struct summary *summary, const char *site, const char *reason)
{
	struct row *row;

	for (size_t i = 0; i < summary->count; i++) {
		row = &summary->rows[i];
		if (strcasecmp(row->site, site) == 0 &&
		    strcmp(row->reason, reason) == 0)
			return row;
	}
	if (summary->count == ROWS_MOST)
		return &summary->rows[ROWS_MOST - 1];
	row = &summary->rows[summary->count++];
	if (summary->count == ROWS_MOST) {
		site = "(others)";
		reason = "";
	}
	snprintf(row->site, sizeof(row->site), "%s", site);
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
		find_row(summary,
		    leg->hop.host[0] != '\0' ? leg->hop.host : "(none)", reason)
		    ->count[age]++;
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
	order = strcasecmp(x->site, y->site);
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
	    sent_text(row->site, strlen(row->site)));
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
	if (ok && !tell_summary(told, &summary))
		ok = fail(why, REASON_AWAY, "nobody reads the answer");
	selection_free(&selection);
	free(summary.rows);
	return ok;
}
