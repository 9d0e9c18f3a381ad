/*
 * server/queue_control.c: the relay's answers to "sallyport queue".
 */
#include "queue_control.h"

#include <jansson.h>

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

bool
queue_control_tell(struct queue *queue, const struct queue_request *request,
    bool (*tell)(void *context, const char *text, size_t len), void *context,
    struct reason *why)
{
	const struct queue_teller told = { tell, context };
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
		return queue_tell_messages(queue, &told, request, why);
	case QUEUE_TRACE:
		if (request->filter.id[0] == '\0')
			return fail(why, REASON_SYNTAX,
			    "a queue id was expected");
		trace.filter.states = QUEUE_STATES | QUEUE_DONE;
		return queue_tell_messages(queue, &told, &trace, why);
	case QUEUE_SUMMARY:
		return queue_tell_summary(queue, &told, request, why);
	case QUEUE_FLUSH:
	case QUEUE_HOLD:
	case QUEUE_RELEASE:
	case QUEUE_REMOVE:
	case QUEUE_BOUNCE:
		ok = queue_change(queue, request, &changed, why);
		/* How far it came, even if it failed. */
		if (!tell_changed(&told, &changed) && ok)
			return fail(why, REASON_AWAY,
			    "nobody reads the answer");
		return ok;
	}
	return fail(why, REASON_PROTOCOL, "unknown request %d", request->verb);
}

/* The socket. */

static bool
send_text(void *context, const char *text, size_t len)
{
	const int *fd = context;

	return control_send_data(*fd, text, len);
}

void
queue_control_answer(struct queue *queue, int fd, const void *packet,
    size_t len)
{
	struct queue_request request;
	struct wire_reader r;
	struct reason why;
	bool ok;

	wire_reader_init(&r, packet, len);
	ok = queue_request_get(&r, &request, &why) &&
	     queue_control_tell(queue, &request, send_text, &fd, &why);
	control_send_end(fd, ok, ok ? "" : why.text);
}
