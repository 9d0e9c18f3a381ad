/*
 * server/queue_control.c: the relay's answers to "sallyport queue".
 *
 * Listing holds the lock only to gather keys and to copy one message's fields
 * at a time; envelopes and attempts are read from disk in between.
 */
#include "queue_control.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounce.h"
#include "control.h"
#include "log.h"
#include "queue_internal.h"

enum {
	LIST_RECIPIENTS = 16,
	ATTEMPT_OUTCOMES = 6, /* in one object: it has to fit a packet */
	ATTEMPTS_MOST = 100,  /* told by SHOW, the latest */
	HEADER_PIECE = 4 * 1024,
	REMOVE_WAIT_MS = 4000,
};

/* What is copied of a message, and what is read of it. */
struct look {
	struct message_key key;
	char queue_id[QUEUE_ID_SIZE];
};

struct copy {
	enum message_state state;
	struct journal_record record;
	struct segment *segment; /* in use */
	struct next_hop hop;
	char hop_text[256];
	uint32_t attempts, pending;
	int64_t arrival_ms, next_ms;
	uint32_t last_file;
	uint64_t last_offset;
	bool *done; /* a recipient */
	uint32_t recipients;
};

struct told {
	bool (*tell)(void *context, const char *text, size_t len);
	void *context;
};

static int
compare_looks(const void *a, const void *b)
{
	const struct look *x = a, *y = b;

	return strcmp(x->queue_id, y->queue_id);
}

static bool
is_listed(const struct queued *message)
{
	return message->state == MESSAGE_WAITING ||
	       message->state == MESSAGE_ACTIVE ||
	       message->state == MESSAGE_HELD;
}

/* Keys of all messages, or of the one with that id, by id. */
static bool
gather(struct queue *queue, const char *id, struct look **looks_out,
    size_t *count_out, struct reason *why)
{
	struct look *looks;
	size_t count = 0;

	pthread_mutex_lock(&queue->lock);
	looks = calloc(queue->table_count + 1, sizeof(*looks));
	for (size_t i = 0; looks != NULL && i < queue->table_size; i++) {
		for (const struct queued *message = queue->table[i];
		     message != NULL; message = message->chain) {
			if (!is_listed(message) ||
			    (id[0] != '\0' &&
				strcmp(id, message->queue_id) != 0))
				continue;
			looks[count].key = message->key;
			memcpy(looks[count].queue_id, message->queue_id,
			    QUEUE_ID_SIZE);
			count++;
		}
	}
	pthread_mutex_unlock(&queue->lock);
	if (looks == NULL)
		return fail(why, REASON_NO_MEMORY, "queue list");
	qsort(looks, count, sizeof(*looks), compare_looks);
	*looks_out = looks;
	*count_out = count;
	return true;
}

/* Of the legs that have something left the one that comes next. */
static void
copy_leg(struct copy *copy, const struct queued *message)
{
	const struct leg *found = NULL;

	for (const struct leg *leg = &message->leg; leg != NULL;
	     leg = leg->next)
		if (leg->hop != NULL && leg->pending > 0 &&
		    (found == NULL || leg->next_ms < found->next_ms))
			found = leg;
	if (found == NULL)
		return;
	copy->hop = *hop_name(found->hop);
	memcpy(copy->hop_text, found->hop->last_text, sizeof(copy->hop_text));
	copy->next_ms = found->next_ms;
}

/* False if it is gone meanwhile, or without memory. */
static bool
copy_message(struct queue *queue, struct message_key key, struct copy *copy)
{
	struct queued *message;
	bool ok = false;

	pthread_mutex_lock(&queue->lock);
	message = index_find(queue, key);
	if (message != NULL && is_listed(message)) {
		copy->state = message->state;
		copy->record = message->record;
		copy->segment = message->segment;
		copy_leg(copy, message);
		copy->attempts = message->attempts;
		copy->pending = message->pending;
		copy->arrival_ms = message->arrival_ms;
		copy->last_file = message->last_file;
		copy->last_offset = message->last_offset;
		copy->recipients = message->recipients;
		copy->done = calloc(message->recipients + 1u, sizeof(bool));
		ok = copy->done != NULL;
		for (uint32_t i = 0; ok && i < message->recipients; i++)
			copy->done[i] = message_is_done(message, i);
		if (ok)
			message->segment->users++;
	}
	pthread_mutex_unlock(&queue->lock);
	return ok;
}

/* Envelope and head of a copied message; octets_out is malloc'd. */
static bool
read_message(struct queue *queue, const struct copy *copy,
    struct envelope *envelope, unsigned char **octets_out, struct reason *why)
{
	unsigned char *octets;
	bool ok;
	int fd;

	octets = malloc(
	    (size_t)copy->record.envelope_len + copy->record.head_len + 1);
	if (octets == NULL)
		return fail(why, REASON_NO_MEMORY, "queue list");
	ok = store_segment_use(queue, copy->segment, &fd, why);
	if (ok) {
		ok = journal_read_parts(fd, &copy->record, octets, why) &&
		     envelope_decode(envelope, octets,
			 copy->record.envelope_len, why);
		store_segment_release(queue, copy->segment);
	}
	if (!ok) {
		free(octets);
		return false;
	}
	*octets_out = octets;
	return true;
}

/* JSON. */

static json_t *
json_text(const char *text)
{
	return text == NULL ? json_null() : sent_text(text, strlen(text));
}

static bool
tell_object(const struct told *told, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	bool ok = text != NULL && told->tell(told->context, text, strlen(text));

	free(text);
	json_decref(object);
	return ok;
}

static const char *
state_word(const struct copy *copy)
{
	switch (copy->state) {
	case MESSAGE_ACTIVE:
		return "active";
	case MESSAGE_HELD:
		return "held";
	default:
		return copy->attempts > 0 ? "deferred" : "queued";
	}
}

/* What was said last, or why the next hop is not tried. */
static json_t *
last_reason(struct queue *queue, const struct copy *copy)
{
	struct attempt attempt;
	struct reason why;
	json_t *value = NULL;

	if (log_read_attempt(queue, copy->last_file, copy->last_offset,
		&attempt, &why)) {
		for (size_t i = 0; i < attempt.count && value == NULL; i++) {
			if (attempt.recipients[i].outcome != OUTCOME_DELIVERED)
				value = json_text(attempt.recipients[i].text);
		}
		attempt_fini(&attempt);
	}
	return value != NULL ? value : json_text(copy->hop_text);
}

static json_t *
message_object(struct queue *queue, const struct copy *copy,
    const struct envelope *envelope)
{
	json_t *object = json_object(), *paths = json_array();

	for (size_t i = 0; i < envelope->recipient_count &&
			   json_array_size(paths) < LIST_RECIPIENTS;
	     i++) {
		if (i < copy->recipients && !copy->done[i])
			json_array_append_new(paths,
			    json_text(envelope->recipients[i].forward_path));
	}
	json_object_set_new(object, "kind", json_string("message"));
	json_object_set_new(object, "queue", json_string(envelope->queue_id));
	json_object_set_new(object, "state", json_string(state_word(copy)));
	json_object_set_new(object, "arrival",
	    json_integer(copy->arrival_ms / 1000));
	json_object_set_new(object, "next",
	    copy->state == MESSAGE_WAITING && copy->attempts > 0
		? json_integer(copy->next_ms / 1000)
		: json_null());
	json_object_set_new(object, "size",
	    json_integer(
		(json_int_t)(copy->record.head_len + copy->record.body_len)));
	json_object_set_new(object, "attempts", json_integer(copy->attempts));
	json_object_set_new(object, "from", json_text(envelope->reverse_path));
	json_object_set_new(object, "recipients", paths);
	json_object_set_new(object, "recipient_count",
	    json_integer(copy->pending));
	json_object_set_new(object, "recipient_total",
	    json_integer(copy->recipients));
	json_object_set_new(object, "host", json_text(copy->hop.host));
	json_object_set_new(object, "port", json_integer(copy->hop.port));
	json_object_set_new(object, "reason", last_reason(queue, copy));
	json_object_set_new(object, "login", json_text(envelope->login));
	json_object_set_new(object, "client", json_text(envelope->client));
	return object;
}

/* SHOW. */

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

static bool
tell_attempt(const struct told *told, const struct envelope *envelope,
    const struct attempt *attempt)
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
		json_object_set_new(object, "kind", json_string("attempt"));
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
		json_object_set_new(object, "outcomes", outcomes);
		ok = tell_object(told, object);
	} while (ok && i < attempt->count);
	return ok;
}

/* Each attempt's record names the one before; told from the first on. */
static bool
tell_attempts(struct queue *queue, const struct told *told,
    const struct copy *copy, const struct envelope *envelope)
{
	struct {
		uint32_t file;
		uint64_t offset;
	} places[ATTEMPTS_MOST];
	struct attempt attempt;
	struct reason why;
	uint32_t file = copy->last_file;
	uint64_t offset = copy->last_offset;
	size_t count = 0;
	bool ok = true;

	while (count < ATTEMPTS_MOST && file != 0 &&
	       log_read_attempt(queue, file, offset, &attempt, &why)) {
		places[count].file = file;
		places[count++].offset = offset;
		file = attempt.prev_file;
		offset = attempt.prev_offset;
		attempt_fini(&attempt);
	}
	while (ok && count-- > 0) {
		if (!log_read_attempt(queue, places[count].file,
			places[count].offset, &attempt, &why))
			continue;
		ok = tell_attempt(told, envelope, &attempt);
		attempt_fini(&attempt);
	}
	return ok;
}

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

static bool
tell_pieces(const struct told *told, const char *octets, size_t len)
{
	bool ok = true;

	for (size_t at = 0; ok && at < len; at += HEADER_PIECE) {
		size_t piece =
		    len - at < HEADER_PIECE ? len - at : (size_t)HEADER_PIECE;
		json_t *object = json_object();

		json_object_set_new(object, "kind", json_string("header"));
		json_object_set_new(object, "text",
		    sent_text(octets + at, piece));
		ok = tell_object(told, object);
	}
	return ok;
}

static bool
read_body_start(struct queue *queue, const struct copy *copy, char *out,
    size_t len, struct reason *why)
{
	const struct queued message = {
		.segment = copy->segment,
		.record = copy->record,
	};
	uint64_t offset = journal_body_offset(&copy->record);
	bool large = (copy->record.flags & JOURNAL_LARGE) != 0;
	bool ok;
	int fd;

	if (large ? !store_body_open(queue, &message, &fd, why)
		  : !store_segment_use(queue, copy->segment, &fd, why))
		return false;
	ok = journal_pread(fd, out, len, large ? 0 : offset, why);
	if (large)
		close(fd);
	else
		store_segment_release(queue, copy->segment);
	return ok;
}

static bool
tell_header(struct queue *queue, const struct told *told,
    const struct copy *copy, const unsigned char *head)
{
	size_t head_len = copy->record.head_len;
	size_t body = copy->record.body_len < BOUNCE_HEADER_MAX
			  ? (size_t)copy->record.body_len
			  : (size_t)BOUNCE_HEADER_MAX;
	char *octets = malloc(head_len + body + 1);
	struct reason why;
	bool ok;

	if (octets == NULL)
		return false;
	memcpy(octets, head, head_len);
	if (!read_body_start(queue, copy, octets + head_len, body, &why))
		body = 0;
	ok = tell_pieces(told, octets, header_end(octets, head_len + body));
	free(octets);
	return ok;
}

static bool
tell_message(struct queue *queue, const struct told *told, enum queue_verb verb,
    struct message_key key)
{
	struct copy copy = { .done = NULL };
	struct envelope envelope;
	unsigned char *octets = NULL;
	struct reason why;
	bool ok = true;

	if (!copy_message(queue, key, &copy))
		return true; /* gone since */
	if (read_message(queue, &copy, &envelope, &octets, &why)) {
		ok = tell_object(told, message_object(queue, &copy, &envelope));
		if (ok && verb == QUEUE_SHOW)
			ok = tell_attempts(queue, told, &copy, &envelope) &&
			     tell_header(queue, told, &copy,
				 octets + copy.record.envelope_len);
		envelope_fini(&envelope);
		free(octets);
	}
	store_segment_release(queue, copy.segment);
	free(copy.done);
	return ok;
}

bool
queue_control_tell(struct queue *queue, enum queue_verb verb, const char *id,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	const struct told told = { tell, context };
	struct look *looks = NULL;
	size_t count = 0;
	bool ok = true;

	if (!gather(queue, id, &looks, &count, why))
		return false;
	for (size_t i = 0; ok && i < count; i++)
		ok = tell_message(queue, &told, verb, looks[i].key);
	free(looks);
	if (!ok)
		return fail(why, REASON_AWAY, "nobody reads the answer");
	if (count == 0 && id[0] != '\0')
		return fail(why, REASON_ABSENT, "no message %s in the queue",
		    id);
	return true;
}

/* Changes. */

static struct queued *
find_by_id(struct queue *queue, const char *id)
{
	for (size_t i = 0; i < queue->table_size; i++) {
		for (struct queued *message = queue->table[i]; message != NULL;
		     message = message->chain) {
			if (is_listed(message) &&
			    strcmp(id, message->queue_id) == 0)
				return message;
		}
	}
	return NULL;
}

static void
flush_message(struct queue *queue, struct queued *message, size_t *count)
{
	bool any = false;

	for (struct leg *leg = &message->leg; leg != NULL; leg = leg->next) {
		if (leg->due_at == 0)
			continue;
		leg->hop->until_ms = 0;
		leg->next_ms = queue_now_ms();
		index_wait(queue, leg, queue_monotonic_ms());
		any = true;
	}
	*count += any;
}

/* Everything that waits, or one message, is due now. */
static bool
flush(struct queue *queue, const char *id, size_t *count_out,
    struct reason *why)
{
	struct queued *message = NULL;

	*count_out = 0;
	pthread_mutex_lock(&queue->lock);
	if (id[0] != '\0') {
		message = find_by_id(queue, id);
		if (message != NULL)
			flush_message(queue, message, count_out);
	} else {
		for (size_t i = 0; i < queue->table_size; i++) {
			for (message = queue->table[i]; message != NULL;
			     message = message->chain)
				flush_message(queue, message, count_out);
		}
	}
	pthread_cond_broadcast(&queue->work);
	pthread_mutex_unlock(&queue->lock);
	if (id[0] != '\0' && message == NULL)
		return fail(why, REASON_ABSENT, "no message %s in the queue",
		    id);
	return true;
}

/* Callers hold lock. */
static void
remove_message(struct queue *queue, struct queued *message,
    struct log_entry *entry)
{
	message->remove = true;
	index_unwait_all(message);
	/* Workers that have a leg of it go on; what the last of them does then
	 * is the end. */
	if (message->active == 0) {
		entry->message = message;
		entry->completes = true;
	}
	index_settle(queue, message);
	log_add(queue, entry);
}

static bool
remove_by_id(struct queue *queue, const char *id, struct reason *why)
{
	struct log_entry *entry = NULL;
	struct queued *message;

	pthread_mutex_lock(&queue->lock);
	message = find_by_id(queue, id);
	if (message != NULL)
		entry = log_key_entry(JOURNAL_REMOVED, message->key,
		    "by the operator");
	if (entry != NULL)
		remove_message(queue, message, entry);
	pthread_mutex_unlock(&queue->lock);
	if (message == NULL)
		return fail(why, REASON_ABSENT, "no message %s in the queue",
		    id);
	if (entry == NULL)
		return fail(why, REASON_NO_MEMORY, "queue remove");
	if (!log_wait(queue, REMOVE_WAIT_MS))
		return fail(why, REASON_IO, "the queue's log does not write");
	log_line(SAY_NOTE, "removed", "queue=%s by=operator", id);
	return true;
}

/* The socket. */

static bool
send_text(void *context, const char *text, size_t len)
{
	const int *fd = context;

	return control_send_data(*fd, text, len);
}

static bool
answer(struct queue *queue, int fd, uint8_t verb, const char *id, char *text,
    size_t size, struct reason *why)
{
	size_t count;

	if (id[0] == '\0' && (verb == QUEUE_SHOW || verb == QUEUE_REMOVE))
		return fail(why, REASON_SYNTAX, "a queue id was expected");
	switch (verb) {
	case QUEUE_LIST:
	case QUEUE_SHOW:
		return queue_control_tell(queue, (enum queue_verb)verb, id,
		    send_text, &fd, why);
	case QUEUE_FLUSH:
		if (!flush(queue, id, &count, why))
			return false;
		snprintf(text, size, "%zu", count);
		return true;
	case QUEUE_REMOVE:
		return remove_by_id(queue, id, why);
	default:
		return fail(why, REASON_PROTOCOL, "unknown request %u", verb);
	}
}

void
queue_control_answer(struct queue *queue, int fd, const void *packet,
    size_t len)
{
	char id[QUEUE_ID_SIZE], text[32] = "";
	struct wire_reader r;
	struct reason why;
	uint8_t verb;
	bool ok;

	wire_reader_init(&r, packet, len);
	verb = wire_get_u8(&r);
	wire_get_string(&r, id, sizeof(id));
	if (!wire_reader_done(&r)) {
		control_send_end(fd, false, "malformed request");
		return;
	}
	ok = answer(queue, fd, verb, id, text, sizeof(text), &why);
	control_send_end(fd, ok, ok ? text : why.text);
}
