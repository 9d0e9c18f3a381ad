/* tools/user_access.c: the credential store, with the server or without. */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../server/channel.h"
#include "../server/control.h"
#include "../server/messages.h"
#include "user.h"

struct user_access {
	const struct config *config;
	int fd;                 /* a connection that was not used yet, or -1 */
	struct store *store;    /* NULL: the server has it */
	struct store *original; /* what store is a copy of, or NULL */
	int folder;             /* where we were before we went to the store */
	bool was_root;
};

/*
 * Be in the store's folder, as its owner: what the library makes there must
 * be his.  The folder may lie where only root can go.
 */
static bool
become_owner(struct user_access *access, struct reason *why)
{
	const char *state = access->config->state;
	char folder[PATH_MAX];
	struct stat st;

	if (snprintf(folder, sizeof folder, "%s/store", state) >=
	    (int)sizeof folder)
		return fail(why, REASON_RANGE, "%s: path is too long", state);
	access->folder = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (chdir(folder) < 0)
		return fail_errno(why, "%s", folder);
	if (geteuid() != 0)
		return true;
	if (lstat("users.kch", &st) < 0)
		return fail_errno(why, "%s/users.kch", folder);
	if (st.st_uid == 0)
		return true;
	access->was_root = true;
	if (setgroups(0, NULL) < 0 ||
	    setresgid(st.st_gid, st.st_gid, (gid_t)-1) < 0 ||
	    setresuid((uid_t)-1, st.st_uid, (uid_t)-1) < 0)
		return fail_errno(why, "becoming the owner of %s/users.kch",
		    folder);
	return true;
}

static void
become_oneself(struct user_access *access)
{
	if (access->was_root &&
	    (seteuid(0) < 0 || setresgid(0, 0, (gid_t)-1) < 0))
		_exit(TOOL_NO); /* as somebody else nothing is ours to do */
	if (access->folder >= 0 && fchdir(access->folder) < 0)
		_exit(TOOL_NO);
}

bool
user_access_open(struct user_access **access_out, const struct config *config,
    struct reason *why)
{
	struct user_access *access = calloc(1, sizeof *access);
	struct reason at;

	if (access == NULL)
		return fail(why, REASON_NO_MEMORY, "credential store");
	access->config = config;
	access->fd = access->folder = -1;
	if (control_connect(config->state, "auth", &access->fd, &at)) {
		*access_out = access;
		return true;
	}
	if (at.code != REASON_AWAY) {
		fail(why, at.code, "%s", at.text);
	} else if (become_owner(access, why)) {
		/* What it says of "users.kch" is put behind its folder. */
		if (store_open(&access->store, "users.kch", &at)) {
			*access_out = access;
			return true;
		}
		fail(why, at.code, "%s/store/%s", config->state, at.text);
	}
	user_access_close(access);
	return false;
}

void
user_access_close(struct user_access *access)
{
	if (access == NULL)
		return;
	store_close(access->store);
	store_close(access->original);
	become_oneself(access);
	if (access->fd >= 0)
		close(access->fd);
	if (access->folder >= 0)
		close(access->folder);
	free(access);
}

bool
user_access_is_file(const struct user_access *access)
{
	return access->store != NULL;
}

struct store *
user_access_store(struct user_access *access)
{
	return access->store;
}

/* What is wrong with the file is said with its folder. */
static bool
fail_at(const struct user_access *access, struct reason *why,
    const struct reason *at)
{
	return fail(why, at->code, "%s/store/%s", access->config->state,
	    at->text);
}

bool
user_access_copy(struct user_access *access, struct reason *why)
{
	struct store *copy;
	struct reason at;

	if (access->store == NULL || access->original != NULL)
		return true;
	if (!store_copy(&copy, access->store, &at))
		return fail_at(access, why, &at);
	access->original = access->store;
	access->store = copy;
	return true;
}

bool
user_access_adopt(struct user_access *access, struct reason *why)
{
	struct reason at;

	return access->original == NULL ||
	       store_adopt(access->store, access->original, &at) ||
	       fail_at(access, why, &at);
}

/* An answer on its way to whoever takes entries, or the secret. */
struct answer {
	bool (*each)(void *context, const struct entry *entry);
	void *context;
	unsigned char *secret; /* NULL: entries */
	bool broken, stopped;
};

static void
take_data(void *context, const char *octets, size_t len)
{
	struct answer *answer = context;
	const unsigned char *at = (const unsigned char *)octets;
	struct entry entry;
	struct reason why;

	if (answer->secret != NULL) {
		answer->broken = len != STORE_SECRET_OCTETS;
		if (!answer->broken)
			memcpy(answer->secret, octets, len);
		return;
	}
	answer->broken |= answer->each == NULL;
	while (!answer->broken && !answer->stopped &&
	       control_user_data_next(&at, &len, &entry, &why))
		answer->stopped = !answer->each(answer->context, &entry);
	explicit_bzero(&entry, sizeof entry);
	if (len > 0 && !answer->stopped)
		answer->broken = true;
}

static bool
ask_server(struct user_access *access, enum control_user_verb verb,
    const struct entry *entry, struct answer *answer, struct reason *why)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	size_t len = control_user_encode(packet, CONTROL_USER, verb, entry);
	bool ok = access->fd >= 0 || control_connect(access->config->state,
					 "auth", &access->fd, why);

	/* One request a connection. */
	if (ok) {
		ok = control_ask(access->fd, packet, len, take_data, answer,
		    why);
		close(access->fd);
		access->fd = -1;
	}
	explicit_bzero(packet, sizeof packet);
	if (ok && answer->broken)
		return fail(why, REASON_PROTOCOL,
		    "the server's answer could not be read");
	return ok;
}

static bool
ask_store(struct user_access *access, enum control_user_verb verb,
    struct entry *entry, struct answer *answer, struct reason *why)
{
	struct store_walk *walk;
	struct reason end = { 0 };

	if (!control_user_is_bare(verb)) {
		if (!control_user_apply(access->store, verb, entry, time(NULL),
			why))
			return false;
		if (answer->each != NULL && entry->name[0] != '\0')
			answer->stopped = !answer->each(answer->context, entry);
		return true;
	}
	if (!store_walk_new(&walk, access->store, why))
		return false;
	while (!answer->stopped && store_walk_next(walk, entry, &end))
		answer->stopped = !answer->each(answer->context, entry);
	store_walk_free(walk);
	return end.code == REASON_NONE || fail(why, end.code, "%s", end.text);
}

bool
user_access_ask(struct user_access *access, enum control_user_verb verb,
    struct entry *entry, bool (*each)(void *context, const struct entry *entry),
    void *context, struct reason *why)
{
	struct answer answer = { .each = each, .context = context };
	bool ok = access->store != NULL
		      ? ask_store(access, verb, entry, &answer, why)
		      : ask_server(access, verb, entry, &answer, why);

	if (ok && answer.stopped)
		return fail(why, REASON_IO, "the answer could not be kept");
	return ok;
}

static bool
keep_entry(void *context, const struct entry *entry)
{
	memcpy(context, entry, sizeof *entry);
	return true;
}

static bool
ask_for_one(struct user_access *access, enum control_user_verb verb,
    const char *name, struct entry *out, struct reason *why)
{
	struct entry entry = { 0 };
	bool ok;

	memset(out, 0, sizeof *out);
	snprintf(entry.name, sizeof entry.name, "%s", name);
	ok = user_access_ask(access, verb, &entry, keep_entry, out, why);
	explicit_bzero(&entry, sizeof entry);
	return ok;
}

bool
user_access_show(struct user_access *access, const char *name,
    struct entry *out, struct reason *why)
{
	return ask_for_one(access, CONTROL_USER_SHOW, name, out, why);
}

bool
user_access_find(struct user_access *access, const char *name,
    struct entry *out, struct reason *why)
{
	return ask_for_one(access, CONTROL_USER_FIND, name, out, why);
}

bool
user_access_secret(struct user_access *access,
    unsigned char out[static STORE_SECRET_OCTETS], struct reason *why)
{
	struct answer answer = { .secret = out, .broken = false };

	if (access->store != NULL) {
		store_secret(access->store, out);
		return true;
	}
	memset(out, 0, STORE_SECRET_OCTETS);
	return ask_server(access, CONTROL_USER_SECRET, NULL, &answer, why);
}
