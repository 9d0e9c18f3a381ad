/*
 * server/auth_users.c: "sallyport user" and "sallyport report" at the auth
 * role's control socket.
 *
 * A tool sends one request and reads the answer.  A list goes out a packet at
 * a time, whenever the tool has made room: it holds up nobody.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../auth/control.h"
#include "auth_legacy.h"
#include "auth_role.h"
#include "channel.h"
#include "control.h"
#include "log.h"

struct auth_tool {
	struct auth_watch watch;
	struct auth_role *role;
	struct timer timer;
	bool listing;            /* an answer of many packets is under way */
	struct store_walk *walk; /* what is left of it: entries, */
	char *text;              /* or text, of which text_at has been taken */
	size_t text_len, text_at;
	bool whole;        /* with salts and keys: an export */
	bool walked;       /* nothing is left in walk */
	struct reason why; /* how it ended */
	unsigned char data[CONTROL_USER_DATA_MAX];
	size_t len; /* of data not sent yet */
};

_Static_assert(offsetof(struct auth_tool, watch) == 0,
    "a watch is the first field of its tool");

static void
tool_end(struct auth_tool *tool)
{
	struct auth_role *role = tool->role;

	for (size_t i = 0; i < AUTH_TOOLS_MAX; i++)
		if (role->tools[i] == tool)
			role->tools[i] = NULL;
	timer_clear(&role->timers, &tool->timer);
	store_walk_free(tool->walk);
	free(tool->text);
	auth_watch_close(role, &tool->watch);
	explicit_bzero(tool, sizeof *tool);
	free(tool);
}

static void
tool_fire(void *owner)
{
	tool_end(owner);
}

static enum channel_io
say_data(struct auth_tool *tool)
{
	unsigned char packet[CONTROL_USER_DATA_MAX + 16];
	struct wire_writer w;
	enum channel_io io;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, CONTROL_DATA);
	wire_put_bytes(&w, tool->data, tool->len);
	io = channel_send(tool->watch.fd, packet, w.len, -1);
	explicit_bzero(packet, w.len);
	return io;
}

static enum channel_io
say_end(struct auth_tool *tool, bool ok, const char *text)
{
	unsigned char packet[512];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, CONTROL_END);
	wire_put_u8(&w, ok);
	wire_put_string(&w, text);
	return channel_send(tool->watch.fd, packet, w.len, -1);
}

static void
gather_text(struct auth_tool *tool)
{
	size_t left = tool->text_len - tool->text_at;

	tool->len = left < sizeof tool->data ? left : sizeof tool->data;
	memcpy(tool->data, tool->text + tool->text_at, tool->len);
	tool->text_at += tool->len;
}

/* Put entries into data until it is full or there are no more. */
static void
gather_entries(struct auth_tool *tool)
{
	struct entry entry;

	/* An entry that did not fit would be lost: leave room for any. */
	while (!tool->walked &&
	       sizeof tool->data - tool->len >= 2 + ENTRY_OCTETS_MAX) {
		if (store_walk_next(tool->walk, &entry, &tool->why))
			control_user_data_add(tool->data, &tool->len,
			    sizeof tool->data, &entry, tool->whole);
		else
			tool->walked = true;
	}
	explicit_bzero(&entry, sizeof entry);
}

/* One packet of the list. */
static void
list_on(struct auth_tool *tool)
{
	enum channel_io io;

	if (tool->walk != NULL)
		gather_entries(tool);
	else if (tool->len == 0)
		gather_text(tool);
	if (tool->len > 0) {
		io = say_data(tool);
		if (io == CHANNEL_DONE)
			tool->len = 0;
	} else {
		io = say_end(tool, tool->why.code == REASON_NONE,
		    tool->why.text);
		if (io == CHANNEL_DONE)
			io = CHANNEL_CLOSED;
	}
	if (io == CHANNEL_WAIT)
		return;
	if (io == CHANNEL_DONE)
		timer_set(&tool->role->timers, &tool->timer,
		    auth_now_ms() + AUTH_TOOL_IDLE_MS);
	else
		tool_end(tool);
}

/* From now on it is written to, whenever there is room. */
static void
begin_listing(struct auth_tool *tool, bool ok)
{
	struct epoll_event event = { .events = EPOLLOUT,
		.data.ptr = &tool->watch };

	tool->listing = ok;
	if (!ok || epoll_ctl(tool->role->epoll, EPOLL_CTL_MOD, tool->watch.fd,
		       &event) < 0) {
		say_end(tool, false, tool->why.text);
		tool_end(tool);
	}
}

static void
list_begin(struct auth_tool *tool, struct store *store, bool whole)
{
	tool->whole = whole;
	begin_listing(tool, store_walk_new(&tool->walk, store, &tool->why));
}

static void
answer_legacy(struct auth_tool *tool)
{
	tool->text = auth_legacy_print(tool->role, &tool->text_len);
	begin_listing(tool,
	    tool->text != NULL ||
		fail(&tool->why, REASON_NO_MEMORY, "report of old practices"));
}

static void
change_done(struct auth_role *role, enum control_user_verb verb,
    const struct entry *entry, bool ok, const struct reason *why)
{
	char name[NAME_SIZE * 4];

	if (role->cache != NULL)
		cache_forget(role->cache, entry->name);
	log_value(name, sizeof name, entry->name, strlen(entry->name));
	if (ok)
		log_line(SAY_NOTE, "user", "action=%s user=%s result=ok",
		    control_user_word(verb), name);
	else
		log_line(SAY_WARNING, "user",
		    "action=%s user=%s result=failed reason=%s",
		    control_user_word(verb), name, reason_word(why->code));
}

static bool
is_change(enum control_user_verb verb)
{
	return verb != CONTROL_USER_SHOW && verb != CONTROL_USER_FIND;
}

/* A change, and who has to hear of it.  After a write that failed nobody knows
 * what is there; and the answer to a removal that is said to be of nobody may
 * have been lost the first time. */
static bool
apply_change(struct auth_role *role, struct store *store,
    enum control_user_verb verb, struct entry *entry, struct reason *why)
{
	struct entry before, after;
	bool was_there = store_get(store, entry->name, &before, NULL);
	bool is_there = false;
	bool ok = control_user_apply(store, verb, entry, time(NULL), why);

	change_done(role, verb, entry, ok, why);
	if (!store_is_broken(store))
		is_there = store_get(store, entry->name, &after, NULL);
	if (ok || verb == CONTROL_USER_REMOVE || store_is_broken(store))
		auth_changed(role, entry->name, control_user_word(verb),
		    was_there ? &before : NULL, is_there ? &after : NULL);
	explicit_bzero(&before, sizeof before);
	explicit_bzero(&after, sizeof after);
	return ok;
}

/* Verifiers leave the server: that is a fact for the log. */
static void
answer_bare(struct auth_tool *tool, enum control_user_verb verb,
    struct store *store)
{
	if (verb != CONTROL_USER_LIST)
		log_line(SAY_NOTE, "user", "action=%s users=%ju",
		    control_user_word(verb), (uintmax_t)store_count(store));
	if (verb != CONTROL_USER_SECRET) {
		list_begin(tool, store, verb == CONTROL_USER_EXPORT);
		return;
	}
	store_secret(store, tool->data);
	tool->len = STORE_SECRET_OCTETS;
	say_data(tool);
	say_end(tool, true, "");
	tool_end(tool);
}

static void
answer_request(struct auth_tool *tool, const unsigned char *octets, size_t len)
{
	struct store *store = auth_store(tool->role);
	enum control_user_verb verb;
	struct entry entry = { 0 };
	struct reason why = { 0 };
	bool ok;

	if (store == NULL) {
		say_end(tool, false,
		    "the credential store is not open, see "
		    "the log");
		tool_end(tool);
		return;
	}
	ok = control_user_decode(octets, len, &verb, &entry, &why);
	if (ok && control_user_is_bare(verb)) {
		answer_bare(tool, verb, store);
		return;
	}
	if (ok)
		ok = is_change(verb)
			 ? apply_change(tool->role, store, verb, &entry, &why)
			 : control_user_apply(store, verb, &entry, time(NULL),
			       &why);
	if (ok && !is_change(verb) && entry.name[0] != '\0' &&
	    control_user_data_add(tool->data, &tool->len, sizeof tool->data,
		&entry, false))
		say_data(tool);
	explicit_bzero(&entry, sizeof entry);
	say_end(tool, ok, why.text);
	tool_end(tool);
}

static void
tool_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	struct auth_tool *tool = (struct auth_tool *)watch;
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	enum channel_io io;
	size_t len;

	(void)role;
	if (tool->listing) {
		if ((events & EPOLLOUT) != 0 && (events & EPOLLERR) == 0)
			list_on(tool);
		else
			tool_end(tool);
		return;
	}
	io = channel_recv(watch->fd, packet, sizeof packet, &len, NULL);
	if (io == CHANNEL_WAIT)
		return;
	if (io == CHANNEL_DONE && packet[0] == CONTROL_USER)
		answer_request(tool, packet + 1, len - 1);
	else if (io == CHANNEL_DONE && packet[0] == CONTROL_LEGACY && len == 1)
		answer_legacy(tool);
	else
		tool_end(tool);
	explicit_bzero(packet, sizeof packet);
}

static void
control_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	int fd = control_accept(watch->fd);
	struct auth_tool *tool;
	size_t place = 0;

	(void)events;
	if (fd < 0)
		return;
	while (place < AUTH_TOOLS_MAX && role->tools[place] != NULL)
		place++;
	tool = place < AUTH_TOOLS_MAX ? calloc(1, sizeof *tool) : NULL;
	if (tool == NULL) {
		close(fd);
		return;
	}
	role->tools[place] = tool;
	tool->role = role;
	tool->watch.fd = -1;
	tool->timer.fire = tool_fire;
	tool->timer.owner = tool;
	timer_set(&role->timers, &tool->timer,
	    auth_now_ms() + AUTH_TOOL_IDLE_MS);
	auth_watch_set(role, &tool->watch, fd, tool_ready);
	if (tool->watch.fd < 0)
		tool_end(tool);
}

void
auth_users_end_lists(struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_TOOLS_MAX; i++)
		if (role->tools[i] != NULL && role->tools[i]->walk != NULL)
			tool_end(role->tools[i]);
}

void
auth_users_control(struct auth_role *role, int fd)
{
	auth_watch_set(role, &role->control, fd, control_ready);
}
