/*
 * server/queue_tell.c: what the queue says of messages: list and show.
 */
#include "queue_tell.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounce.h"

enum {
	LIST_RECIPIENTS = 16,
	ATTEMPT_OUTCOMES = 6, /* in one object: it has to fit a packet */
	ATTEMPTS_MOST = 300,  /* told by SHOW, the latest */
	COUNTED_MOST = 10000, /* of the others, how many they are */
	PIECE = 4 * 1024,
	BODY_WINDOW = 2 * PIECE,
	UTF8_REST = 3, /* octets of a character that is not whole, at most */
};

/* JSON. */

static json_t *
json_text(const char *text)
{
	return text == NULL ? json_null() : sent_text(text, strlen(text));
}

bool
queue_tell_object(const struct queue_teller *told, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	bool ok = text != NULL && told->tell(told->context, text, strlen(text));

	free(text);
	json_decref(object);
	return ok;
}

static json_t *
pending_paths(const struct look *look)
{
	json_t *paths = json_array();

	for (size_t i = 0; i < look->envelope.recipient_count &&
			   json_array_size(paths) < LIST_RECIPIENTS;
	     i++) {
		if (i < look->recipients && !look->done[i])
			json_array_append_new(paths,
			    json_text(
				look->envelope.recipients[i].forward_path));
	}
	return paths;
}

/* Why it is where it is. */
static void
set_reason(json_t *object, const struct look *look, const struct look_leg *leg)
{
	const struct look_leg *held;

	json_object_set_new(object, "host",
	    json_text(leg == NULL ? "" : leg->hop.host));
	json_object_set_new(object, "port",
	    json_integer(leg == NULL ? 0 : leg->hop.port));
	json_object_set_new(object, "status",
	    json_text(leg == NULL ? "" : leg->status));
	json_object_set_new(object, "reason",
	    json_text(leg == NULL ? "" : leg->text));
	if (look->state == QUEUE_HELD)
		json_object_set_new(object, "by_operator",
		    json_boolean(look->by_operator));
	if (look->held_line != 0)
		json_object_set_new(object, "route_line",
		    json_integer(look->held_line));
	held = look_held_leg(look);
	if (held != NULL && held != leg)
		json_object_set_new(object, "held_reason",
		    json_text(held->text));
}

/* It waits for a time that is known. */
static bool
is_due(const struct look *look, const struct look_leg *leg)
{
	return (look->state & (QUEUE_QUEUED | QUEUE_DEFERRED)) != 0 &&
	       leg->due_known && !leg->active && !leg->held;
}

static json_t *
message_object(const struct look *look)
{
	const struct envelope *envelope = &look->envelope;
	const struct look_leg *leg = look_next_leg(look);
	json_t *object = json_object();

	json_object_set_new(object, "kind", json_string("message"));
	json_object_set_new(object, "queue", json_string(envelope->queue_id));
	json_object_set_new(object, "state",
	    json_string(queue_state_word(look->state)));
	json_object_set_new(object, "arrival",
	    json_integer(look->arrival_ms / 1000));
	json_object_set_new(object, "next",
	    leg != NULL && is_due(look, leg)
		? json_integer(leg->next_ms / 1000)
		: json_null());
	json_object_set_new(object, "size",
	    json_integer(
		(json_int_t)(look->message_octets)));
	json_object_set_new(object, "attempts", json_integer(look->attempts));
	json_object_set_new(object, "from", json_text(envelope->reverse_path));
	json_object_set_new(object, "recipients", pending_paths(look));
	json_object_set_new(object, "recipient_count",
	    json_integer(look->pending));
	json_object_set_new(object, "recipient_total",
	    json_integer(look->recipients));
	set_reason(object, look, leg);
	json_object_set_new(object, "login", json_text(envelope->login));
	json_object_set_new(object, "client", json_text(envelope->client));
	return object;
}

/* SHOW. */

/* What else the envelope says: who brought it, and how. */
static void
set_origin(json_t *object, const struct envelope *envelope)
{
	json_object_set_new(object, "session", json_text(envelope->session_id));
	json_object_set_new(object, "listener", json_text(envelope->listener));
	json_object_set_new(object, "tls", json_text(envelope->tls));
	json_object_set_new(object, "envid", json_text(envelope->envid));
	json_object_set_new(object, "smtputf8",
	    json_boolean(envelope->smtputf8));
	json_object_set_new(object, "requiretls",
	    json_boolean(envelope->requiretls));
}

static const char *
leg_word(const struct look *look, const struct look_leg *leg)
{
	if (leg->active)
		return "active";
	if (look->state == QUEUE_HELD || leg->held || look->by_operator)
		return "held";
	return leg->attempts > 0 ? "deferred" : "queued";
}

static bool
tell_legs(const struct queue_teller *told, const struct look *look)
{
	bool ok = true;

	for (size_t i = 0; ok && i < look->leg_count; i++) {
		const struct look_leg *leg = &look->legs[i];
		const char *word = leg_word(look, leg);
		json_t *object;

		if (leg->pending == 0)
			continue;
		object = json_object();
		json_object_set_new(object, "kind", json_string("leg"));
		json_object_set_new(object, "host", json_text(leg->hop.host));
		json_object_set_new(object, "port",
		    json_integer(leg->hop.port));
		json_object_set_new(object, "state", json_string(word));
		json_object_set_new(object, "recipients",
		    json_integer(leg->pending));
		json_object_set_new(object, "attempts",
		    json_integer(leg->attempts));
		json_object_set_new(object, "next",
		    leg->due_known && (strcmp(word, "deferred") == 0 ||
					  strcmp(word, "queued") == 0)
			? json_integer(leg->next_ms / 1000)
			: json_null());
		json_object_set_new(object, "status", json_text(leg->status));
		json_object_set_new(object, "reason", json_text(leg->text));
		ok = queue_tell_object(told, object);
	}
	return ok;
}

static const char *
outcome_name(enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_DELIVERED:
		return "delivered";
	case OUTCOME_TEMPORARY:
		return "deferred";
	case OUTCOME_DISCARDED:
		return "discarded";
	case OUTCOME_PERMANENT:
		return "failed";
	case OUTCOME_NONE:
		break;
	}
	return "none";
}

static json_t *
outcome_object(const struct envelope *envelope,
    const struct attempt_recipient *one)
{
	json_t *object = json_object();

	json_object_set_new(object, "rcpt",
	    json_text(one->index < envelope->recipient_count
			  ? envelope->recipients[one->index].forward_path
			  : NULL));
	json_object_set_new(object, "outcome",
	    json_string(outcome_name(one->outcome)));
	json_object_set_new(object, "status", json_text(one->status));
	json_object_set_new(object, "text", json_text(one->text));
	return object;
}

/* left_out: of those before it. */
static bool
tell_attempt(const struct queue_teller *told, const struct envelope *envelope,
    const struct attempt *attempt, uint64_t left_out)
{
	size_t i = 0;
	bool ok;

	do {
		json_t *object = json_object(), *outcomes = json_array();

		for (; i < attempt->count &&
		       json_array_size(outcomes) < ATTEMPT_OUTCOMES;
		     i++)
			json_array_append_new(outcomes,
			    outcome_object(envelope, &attempt->recipients[i]));
		json_object_set_new(object, "kind",
		    json_string((attempt->flags & ATTEMPT_TOLD) != 0
				    ? "delay-notice"
				    : "attempt"));
		json_object_set_new(object, "number",
		    json_integer(attempt->number));
		json_object_set_new(object, "when",
		    json_integer(attempt->when_ms / 1000));
		json_object_set_new(object, "next",
		    json_integer(attempt->next_ms / 1000));
		json_object_set_new(object, "host", json_text(attempt->host));
		json_object_set_new(object, "port",
		    json_integer(attempt->port));
		json_object_set_new(object, "remote",
		    json_text(attempt->remote));
		json_object_set_new(object, "decision",
		    json_text(attempt->decision));
		json_object_set_new(object, "left_out",
		    json_integer((json_int_t)left_out));
		json_object_set_new(object, "outcomes", outcomes);
		left_out = 0;
		ok = queue_tell_object(told, object);
	} while (ok && i < attempt->count);
	return ok;
}

/* Where an attempt stands. */
struct place {
	uint32_t file;
	uint64_t offset;
};

/* Each attempt's record names the one before, which was written before it. */
static bool
step_back(struct queue *queue, struct place *at, uint32_t *gap_out)
{
	struct attempt attempt;
	struct reason why;
	bool before;

	if (at->file == 0 ||
	    !log_read_attempt(queue, at->file, at->offset, &attempt, &why))
		return false;
	before =
	    attempt.prev_file < at->file ||
	    (attempt.prev_file == at->file && attempt.prev_offset < at->offset);
	at->file = before ? attempt.prev_file : 0;
	at->offset = attempt.prev_offset;
	*gap_out = attempt.gap;
	attempt_fini(&attempt);
	return true;
}

static bool
tell_attempts(struct queue *queue, const struct queue_teller *told,
    const struct look *look)
{
	struct place places[ATTEMPTS_MOST];
	struct place at = { look->last_file, look->last_offset }, from = at;
	uint64_t before = 0; /* those that are told */
	size_t count = 0;
	uint32_t gap = 0;
	bool ok = true;

	for (; count < ATTEMPTS_MOST && step_back(queue, &at, &gap); from = at)
		places[count++] = from;
	for (size_t i = 0; i < COUNTED_MOST && step_back(queue, &at, &gap); i++)
		before += 1 + gap;
	while (ok && count-- > 0) {
		struct attempt attempt;
		struct reason why;

		if (!log_read_attempt(queue, places[count].file,
			places[count].offset, &attempt, &why))
			continue;
		ok = tell_attempt(told, &look->envelope, &attempt,
		    attempt.gap + before);
		before = 0;
		attempt_fini(&attempt);
	}
	return ok;
}

/* Header and body. */

/* Octets up to the first empty line. */
static size_t
header_end(const char *octets, size_t len)
{
	const char *end;

	if (len >= 2 && memcmp(octets, "\r\n", 2) == 0)
		return 0;
	end = memmem(octets, len, "\r\n\r\n", 4);
	return end == NULL ? len : (size_t)(end - octets) + 2;
}

/* How much of len octets to tell at once: no character is divided. */
static size_t
piece_length(const char *octets, size_t len)
{
	size_t piece = PIECE;

	if (len <= PIECE)
		return len;
	while (piece > PIECE - UTF8_REST &&
	       ((unsigned char)octets[piece] & 0xc0) == 0x80)
		piece--;
	return piece;
}

static bool
tell_pieces(const struct queue_teller *told, const char *kind,
    const char *octets, size_t len)
{
	bool ok = true;

	for (size_t at = 0, piece; ok && at < len; at += piece) {
		json_t *object = json_object();

		piece = piece_length(octets + at, len - at);
		json_object_set_new(object, "kind", json_string(kind));
		json_object_set_new(object, "text",
		    sent_text(octets + at, piece));
		ok = queue_tell_object(told, object);
	}
	return ok;
}

/* len octets of the body from offset on. */
static bool
read_body(struct queue *queue, const struct look *look, char *out,
    uint64_t offset, size_t len, struct reason *why)
{
	bool large = (look->record.flags & JOURNAL_LARGE) != 0;
	bool ok;
	int fd;

	if (large ? !store_body_open(queue, look->segment, look->record.number,
			&fd, why)
		  : !store_segment_use(queue, look->segment, &fd, why))
		return false;
	if (!large)
		offset += journal_body_offset(&look->record);
	ok = journal_pread(fd, out, len, offset, why);
	if (large)
		close(fd);
	else
		store_segment_release(queue, look->segment);
	return ok;
}

/* The empty line between and all after it; skip octets of the body are the
 * header's. */
static bool
tell_body(struct queue *queue, const struct queue_teller *told,
    const struct look *look, uint64_t skip)
{
	char *window = malloc(BODY_WINDOW);
	struct reason why;
	bool ok = window != NULL;

	while (ok && skip < look->record.body_len) {
		uint64_t left = look->record.body_len - skip;
		size_t len =
		    left < BODY_WINDOW ? (size_t)left : (size_t)BODY_WINDOW;

		if (!read_body(queue, look, window, skip, len, &why))
			break;
		/* All of the rest, else a piece: where it ends is seen by the
		 * octet after it. */
		if (len < left)
			len = piece_length(window, len);
		ok = tell_pieces(told, "body", window, len);
		skip += len;
	}
	free(window);
	return ok;
}

static bool
tell_content(struct queue *queue, const struct queue_teller *told,
    const struct look *look, bool body)
{
	size_t head_len = look->record.head_len;
	size_t start = look->record.body_len < BOUNCE_HEADER_MAX
			   ? (size_t)look->record.body_len
			   : (size_t)BOUNCE_HEADER_MAX;
	char *octets = malloc(head_len + start + 1);
	struct reason why;
	size_t header;
	bool ok;

	if (octets == NULL)
		return false;
	memcpy(octets, look->octets + look->record.envelope_len, head_len);
	if (!read_body(queue, look, octets + head_len, 0, start, &why))
		start = 0;
	header = header_end(octets, head_len + start);
	ok = tell_pieces(told, "header", octets, header);
	free(octets);
	if (ok && body)
		ok = tell_body(queue, told, look,
		    header > head_len ? header - head_len : 0);
	return ok;
}

static bool
tell_all(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, const struct look *look)
{
	json_t *object = message_object(look);
	bool show = request->verb != QUEUE_LIST;

	if (show)
		set_origin(object, &look->envelope);
	if (!queue_tell_object(told, object))
		return false;
	if (show &&
	    !(tell_legs(told, look) && tell_attempts(queue, told, look)))
		return false;
	return request->verb != QUEUE_SHOW ||
	       tell_content(queue, told, look, request->body);
}

/* *count counts those that the filter means; false if nobody listens. */
static bool
tell_message(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, struct message_key key, size_t *count)
{
	struct look look;
	struct reason why;
	bool ok = true;

	if (!look_copy(queue, key, &request->filter, &look))
		return true; /* gone since */
	if (look_fits_deep(queue, &look, &request->filter) &&
	    look_read(queue, &look, &why)) {
		look_read_reasons(queue, &look);
		(*count)++;
		ok = tell_all(queue, told, request, &look);
	}
	look_fini(queue, &look);
	return ok;
}

bool
queue_tell_messages(struct queue *queue, const struct queue_teller *told,
    const struct queue_request *request, struct reason *why)
{
	struct selection selection;
	size_t count = 0;
	bool ok = selection_make(queue, &request->filter, &selection, why);

	if (!ok)
		goto out;
	for (size_t i = 0; ok && i < selection.count; i++)
		ok = tell_message(queue, told, request,
		    selection.messages[i].key, &count);
	if (!ok)
		fail(why, REASON_AWAY, "nobody reads the answer");
	else if (count == 0 && request->filter.id[0] != '\0')
		ok = fail(why, REASON_ABSENT, "no message %s in the queue",
		    request->filter.id);
out:
	selection_free(&selection);
	return ok;
}
