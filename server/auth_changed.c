/*
 * server/auth_changed.c: the session role hears of logins from which something
 * was taken away, so that their sessions end.
 *
 * What the channel has no room for is kept and tried again.  When more is kept
 * than a few names, all sessions of logins are to end: that is what must not
 * be lost, and the clients come back.  A session role that starts anew has no
 * sessions to end.
 */
#include <stdlib.h>
#include <string.h>

#include "auth_dialogue.h"
#include "channel.h"

enum { CHANGED_MAX = 64 };

struct auth_changed {
	struct timer timer;
	bool all; /* instead of names */
	size_t count;
	struct {
		char login[NAME_SIZE];
		const char *action;
	} waiting[CHANGED_MAX]; /* the oldest first */
};

static enum channel_io
say_changed(const struct auth_role *role, const char *login, const char *action)
{
	unsigned char packet[NAME_SIZE + 64];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_CHANGED);
	wire_put_string(&w, login);
	wire_put_string(&w, action);
	if (w.failed || role->session.fd < 0)
		return CHANNEL_FAILED;
	return channel_send(role->session.fd, packet, w.len, -1);
}

static void
drop_first(struct auth_changed *changed)
{
	changed->all = false;
	if (changed->count > 0)
		memmove(&changed->waiting[0], &changed->waiting[1],
		    --changed->count * sizeof changed->waiting[0]);
}

static void
say_waiting(void *owner)
{
	struct auth_role *role = owner;
	struct auth_changed *changed = role->changed;
	enum channel_io io = CHANNEL_DONE;

	while (io == CHANNEL_DONE && (changed->all || changed->count > 0)) {
		io = changed->all ? say_changed(role, "", "many changes")
				  : say_changed(role, changed->waiting[0].login,
					changed->waiting[0].action);
		if (io == CHANNEL_DONE)
			drop_first(changed);
	}
	if (io == CHANNEL_WAIT)
		timer_set(&role->timers, &changed->timer,
		    auth_now_ms() + AUTH_RETRY_MS);
	else if (io != CHANNEL_DONE)
		auth_changed_forget(role); /* its sessions are gone */
}

bool
auth_changed_begin(struct auth_role *role)
{
	role->changed = calloc(1, sizeof *role->changed);
	if (role->changed == NULL)
		return false;
	role->changed->timer.fire = say_waiting;
	role->changed->timer.owner = role;
	return true;
}

void
auth_changed_forget(struct auth_role *role)
{
	timer_clear(&role->timers, &role->changed->timer);
	role->changed->all = false;
	role->changed->count = 0;
}

static void
tell(struct auth_role *role, const char *login, const char *action)
{
	struct auth_changed *changed = role->changed;
	bool is_behind = changed->all || changed->count > 0;

	if (!changed->all && changed->count < CHANGED_MAX) {
		strcpy(changed->waiting[changed->count].login, login);
		changed->waiting[changed->count++].action = action;
	} else {
		changed->all = true;
		changed->count = 0;
	}
	if (!is_behind)
		say_waiting(role);
}

/* Are all of some_count things of size octets among those of all? */
static bool
are_among(const void *some, size_t some_count, const void *all,
    size_t all_count, size_t size)
{
	for (size_t i = 0, k; i < some_count; i++) {
		for (k = 0; k < all_count; k++)
			if (memcmp((const char *)some + i * size,
				(const char *)all + k * size, size) == 0)
				break;
		if (k == all_count)
			return false;
	}
	return true;
}

/* What came to it beside what it had is as if it had not come. */
static void
without_additions(struct entry *after, const struct entry *before)
{
	if (are_among(before->keys, before->key_count, after->keys,
		after->key_count, sizeof before->keys[0])) {
		memcpy(after->keys, before->keys, sizeof after->keys);
		after->key_count = before->key_count;
	}
	if (are_among(before->sans, before->san_count, after->sans,
		after->san_count, sizeof before->sans[0])) {
		memcpy(after->sans, before->sans, sizeof after->sans);
		after->san_count = before->san_count;
	}
	if (are_among(before->devices, before->device_count, after->devices,
		after->device_count, sizeof before->devices[0])) {
		memcpy(after->devices, before->devices, sizeof after->devices);
		after->device_count = before->device_count;
	}
	after->kind = before->kind;
	after->change = before->change;
	after->created = before->created;
	after->changed = before->changed;
}

/* Is after, what it gained apart, another entry than before? */
static bool
is_another(const struct entry *before, const struct entry *after)
{
	unsigned char was[ENTRY_OCTETS_MAX], is[ENTRY_OCTETS_MAX];
	struct entry rest = *after;
	size_t was_len, is_len;
	bool same;

	without_additions(&rest, before);
	was_len = entry_encode(before, true, was);
	is_len = entry_encode(&rest, true, is);
	same = was_len == is_len && memcmp(was, is, is_len) == 0;
	explicit_bzero(was, sizeof was);
	explicit_bzero(is, sizeof is);
	explicit_bzero(&rest, sizeof rest);
	return !same;
}

/* Might somebody else say who it is, so that the entry only takes from him? */
static bool
has_no_password(const struct entry *entry)
{
	for (int h = 0; h < VERIFIER_HASHES; h++)
		if (entry->verifiers[h].present)
			return false;
	return entry->foreign[0] == '\0';
}

void
auth_changed(struct auth_role *role, const char *login, const char *action,
    const struct entry *before, const struct entry *after)
{
	bool is_less = true;

	/* What is disabled again is told again: the process that did it before
	 * may not have lived to say so. */
	if (before != NULL && after != NULL)
		is_less = !after->enabled ||
			  (before->enabled && is_another(before, after));
	else if (after != NULL)
		is_less = has_no_password(after);
	if (!is_less)
		return;
	auth_dialogue_changed(role, login);
	tell(role, login, action);
}
