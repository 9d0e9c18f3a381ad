/*
 * server/confine.c: a role gives up what it does not need, before any thread.
 */
#include "confine.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { GROUPS_MAX = 64 };

/* Looked up before chroot takes /etc away. */
struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	int group_count;
};

static bool
identity_find(const struct confinement *c, struct identity *out,
    struct reason *why)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(c->user);
	if (pw == NULL)
		return fail(why, REASON_ABSENT, "system user %s does not exist",
		    c->user);
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	out->group_count = 0;
	if (c->all_groups) {
		out->group_count = GROUPS_MAX;
		if (getgrouplist(c->user, pw->pw_gid, out->groups,
			&out->group_count) < 0)
			return fail(why, REASON_RANGE,
			    "system user %s is in more than %d groups", c->user,
			    GROUPS_MAX);
	}
	return true;
}

static bool
step_network(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	(void)id;
	if (!c->no_network || unshare(CLONE_NEWNET) == 0)
		return true;
	return fail_errno(why, "empty network namespace");
}

/* For private keys and what proves a password; a failure is the role's to
 * report. */
static bool
step_memory(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	(void)id;
	(void)why;
	if (c->role == ROLE_SIGNER || c->role == ROLE_AUTH)
		setrlimit(RLIMIT_MEMLOCK, &all);
	return true;
}

static bool
step_root(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	(void)id;
	if (c->root == NULL)
		return true;
	tzset(); /* the time zone's file is outside */
	if (chroot(c->root) == 0 && chdir("/") == 0)
		return true;
	return fail_errno(why, "root directory %s", c->root);
}

static bool
step_user(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	if (setgroups((size_t)id->group_count, id->groups) == 0 &&
	    setresgid(id->gid, id->gid, id->gid) == 0 &&
	    setresuid(id->uid, id->uid, id->uid) == 0)
		return true;
	return fail_errno(why, "becoming user %s", c->user);
}

static bool
step_privileges(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	struct rlimit none = { 0, 0 };

	(void)c;
	(void)id;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return fail_errno(why, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
	    setrlimit(RLIMIT_CORE, &none) != 0)
		return fail_errno(why, "not dumpable");
	return true;
}

/* A send call whose flags are argument at. */
static int
deny_fast_open(scmp_filter_ctx ctx, int call, unsigned at)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), call, 1,
	    SCMP_CMP(at, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN));
}

/*
 * What a namespace cannot take back: an inherited listener or an accepted
 * socket belongs to the old one and could be turned round by connect, by a
 * send with MSG_FASTOPEN, or by either through io_uring.
 */
static int
filter_build(scmp_filter_ctx ctx)
{
	static const int calls[] = { SCMP_SYS(connect),
		SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
		SCMP_SYS(io_uring_register) };
	int rc = 0;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls) && rc == 0; i++)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EACCES), calls[i], 0);
	if (rc == 0)
		rc = deny_fast_open(ctx, SCMP_SYS(sendto), 3);
	if (rc == 0)
		rc = deny_fast_open(ctx, SCMP_SYS(sendmsg), 2);
	if (rc == 0)
		rc = deny_fast_open(ctx, SCMP_SYS(sendmmsg), 3);
	return rc;
}

static bool
step_filter(const struct confinement *c, const struct identity *id,
    struct reason *why)
{
	scmp_filter_ctx ctx;
	int rc;

	(void)id;
	if (!c->no_connect)
		return true;
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (ctx == NULL)
		return fail(why, REASON_INTERNAL, "seccomp filter");
	rc = filter_build(ctx);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc == 0)
		return true;
	errno = -rc;
	return fail_errno(why, "seccomp filter");
}

typedef bool (*step)(const struct confinement *, const struct identity *,
    struct reason *);

bool
confine(const struct confinement *c, bool *confined_out, struct reason *why)
{
	/* The order matters: each needs what the next one gives up. */
	static const step steps[] = { step_network, step_memory, step_root,
		step_user, step_privileges, step_filter };
	struct identity id = { 0 };
	struct reason refused = { .code = REASON_NONE };

	*confined_out = false;
	if (geteuid() != 0)
		return step_privileges(c, &id, why) || c->best;
	if (!identity_find(c, &id, why))
		return false;
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		if (steps[i](c, &id, &refused))
			continue;
		/* Staying root is no "best". */
		if (!c->best || steps[i] == step_user) {
			fail(why, refused.code, "%s", refused.text);
			return false;
		}
	}
	if (why != NULL)
		*why = refused;
	*confined_out = refused.code == REASON_NONE;
	return true;
}
