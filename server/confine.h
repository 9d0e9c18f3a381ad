/*
 * server/confine.h: a role gives up what it does not need, before any thread.
 */
#ifndef SERVER_CONFINE_H
#define SERVER_CONFINE_H

#include <stdbool.h>

#include "../policy/reason.h"
#include "messages.h"

/* What DESIGN section 3 gives each role. */
struct confinement {
	enum role role;
	const char *user; /* system user; its primary group is taken too */
	const char *root; /* new root directory, or NULL */
	bool no_network;  /* empty network namespace */
	bool no_connect;  /* the seccomp filter */
	bool all_groups;  /* the user's supplementary ones, too */
	bool best;        /* confine = best: go on when the kernel refuses */
};

/*
 * In this order: unshare, limit of locked memory, chroot, setgroups, setresgid,
 * setresuid, no_new_privs, not dumpable, seccomp.  Not root: only no_new_privs,
 * not dumpable; *confined_out is false.  With best, true is returned although
 * steps were refused; why->code is then not REASON_NONE and why->text names
 * the last of them.
 */
bool confine(const struct confinement *confinement, bool *confined_out,
    struct reason *why);

#endif
