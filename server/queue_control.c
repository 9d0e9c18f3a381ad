/*
 * server/queue_control.c: the relay's answers to "sallyport queue".
 */
#include "queue_control.h"

#include <jansson.h>
#include <string.h>

#include "channel.h"
#include "control.h"
#include "queue_change.h"
#include "queue_tell.h"

static bool
tell_changed(const struct queue_teller *told,
    const struct queue_changed *changed)
{
	json_t *object = json_object();

	json_object_set_new(object, "kind", json_string("result"));
	json_object_set_new(object, "matched",
	    json_integer((json_int_t)changed->matched));
	json_object_set_new(object, "changed",
	    json_integer((json_int_t)changed->changed));
	json_object_set_new(object, "unchanged",
	    json_integer((json_int_t)changed->unchanged));
	json_object_set_new(object, "active",
	    json_integer((json_int_t)changed->active));
	json_object_set_new(object, "refused",
	    json_integer((json_int_t)changed->refused));
	json_object_set_new(object, "failed",
	    json_integer((json_int_t)changed->failed));
	return queue_tell_object(told, object);
}

static bool
answer(struct queue *queue, const struct queue_request *request,
    const struct queue_teller *told, struct reason *why)
{
	struct queue_request trace = *request;
	struct queue_changed changed;
	bool ok;

	switch (request->verb) {
	case QUEUE_SHOW:
		if (request->filter.id[0] == '\0')
			return fail(why, REASON_SYNTAX,
			    "a queue id was expected");
		/* fall through */
	case QUEUE_LIST:
		return queue_tell_messages(queue, told, request, why);
	case QUEUE_TRACE:
		if (request->filter.id[0] == '\0')
			return fail(why, REASON_SYNTAX,
			    "a queue id was expected");
		trace.filter.states = QUEUE_STATES | QUEUE_DONE;
		return queue_tell_messages(queue, told, &trace, why);
	case QUEUE_SUMMARY:
		return queue_tell_summary(queue, told, request, why);
	case QUEUE_FLUSH:
	case QUEUE_HOLD:
	case QUEUE_RELEASE:
	case QUEUE_REMOVE:
	case QUEUE_BOUNCE:
		ok = queue_change(queue, request, &changed, why);
		/* How far it came, even if it failed. */
		if (!tell_changed(told, &changed) && ok)
			return fail(why, REASON_AWAY,
			    "nobody reads the answer");
		return ok;
	}
	return fail(why, REASON_PROTOCOL, "unknown request %d", request->verb);
}

/* What could be told is not all there is. */
static bool
is_whole(struct queue *queue, struct reason *why)
{
	struct queue_condition condition;

	queue_condition(queue, &condition);
	return !condition.unread ||
	       fail(why, REASON_IO, "the queue is not known whole: %.180s",
		   condition.unread_why.text);
}

bool
queue_control_tell(struct queue *queue, const struct queue_request *request,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	const struct queue_teller told = { tell, context };
	bool ok = answer(queue, request, &told, why);
	bool lists =
	    request->verb == QUEUE_LIST || request->verb == QUEUE_SUMMARY;

	if (ok ? lists : why->code == REASON_ABSENT)
		ok = is_whole(queue, why) && ok;
	return ok;
}

/* The socket. */

enum { JOINED_MOST = CHANNEL_PACKET_MAX - 16 }; /* less what frames them */

/* Objects that go in one packet: one each would cost more than to find them. */
struct joined {
	int fd;
	size_t len;
	char text[JOINED_MOST];
};

static bool
send_joined(struct joined *joined)
{
	size_t len = joined->len;

	joined->len = 0;
	return len == 0 || control_send_data(joined->fd, joined->text, len);
}

static bool
join_text(void *context, const char *text, size_t len)
{
	struct joined *joined = context;

	if (len + 1 > sizeof(joined->text) - joined->len &&
	    !send_joined(joined))
		return false;
	if (len + 1 > sizeof(joined->text))
		return false;
	memcpy(joined->text + joined->len, text, len);
	joined->text[joined->len + len] = '\n';
	joined->len += len + 1;
	return true;
}

void
queue_control_answer(struct queue *queue, int fd, const void *packet,
    size_t len)
{
	struct joined joined = { .fd = fd };
	struct queue_request request;
	struct wire_reader r;
	struct reason why;
	bool ok;

	wire_reader_init(&r, packet, len);
	ok = queue_request_get(&r, &request, &why) &&
	     queue_control_tell(queue, &request, join_text, &joined, &why);
	/* How far it came, even if it failed. */
	if (!send_joined(&joined) && ok)
		ok = fail(&why, REASON_AWAY, "nobody reads the answer");
	control_send_end(fd, ok, ok ? "" : why.text);
}
