/*
 * server/master_state.c: lock, folders and system users.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "files.h"
#include "master.h"

enum { LOCK_TIMEOUT_MS = 5000, LOCK_STEP_MS = 20 };

const char *
state_user(enum role role)
{
	static const char *const users[ROLES] = {
		[ROLE_SESSION] = "sallyport-session",
		[ROLE_SIGNER] = "sallyport-signer",
		[ROLE_AUTH] = "sallyport-auth",
		[ROLE_HELPERS] = "sallyport-helper",
		[ROLE_RELAY] = "sallyport-relay",
		[ROLE_LOOKUP] = "sallyport-lookup",
	};

	return users[role];
}

bool
state_check_users(struct reason *why)
{
	char missing[REASON_TEXT_MAX] = "";

	for (int r = ROLE_MASTER + 1; r < ROLES; r++) {
		const char *user = state_user((enum role)r);
		size_t len = strlen(missing);

		if (getpwnam(user) == NULL)
			snprintf(missing + len, sizeof(missing) - len, " %s",
			    user);
	}
	if (missing[0] == '\0')
		return true;
	return fail(why, REASON_ABSENT,
	    "system users missing:%s (\"sallyport init\" or systemd-sysusers "
	    "makes them)",
	    missing);
}

/* The ids of a role's user; -1 (leave as is) when not confining. */
static void
ids(enum role role, bool confining, uid_t *uid, gid_t *gid)
{
	const struct passwd *pw;

	*uid = (uid_t)-1;
	*gid = (gid_t)-1;
	if (!confining)
		return;
	*uid = 0;
	*gid = 0;
	if (role == ROLE_MASTER)
		return;
	pw = getpwnam(state_user(role));
	if (pw == NULL)
		return;
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
}

bool
state_make_folders(const char *state, bool confining, struct reason *why)
{
	static const struct {
		const char *name;
		mode_t mode;
		enum role owner, group;
	} folders[] = {
		{ "", 0755, ROLE_MASTER, ROLE_MASTER },
		{ "/control", 0700, ROLE_MASTER, ROLE_MASTER },
		{ "/empty", 0755, ROLE_MASTER, ROLE_MASTER },
		{ "/run", 0755, ROLE_MASTER, ROLE_MASTER },
		{ "/run/tables", 0755, ROLE_MASTER, ROLE_MASTER },
		{ "/run/in", 02770, ROLE_SESSION, ROLE_RELAY },
		{ "/run/relay", 0700, ROLE_RELAY, ROLE_RELAY },
		{ "/store", 0700, ROLE_AUTH, ROLE_AUTH },
		{ "/helper", 0700, ROLE_HELPERS, ROLE_HELPERS },
	};

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		char path[PATH_MAX];
		uid_t uid, unused_uid;
		gid_t gid, unused_gid;

		if (snprintf(path, sizeof(path), "%s%s", state,
			folders[i].name) >= (int)sizeof(path))
			return fail(why, REASON_RANGE, "%s: path too long",
			    state);
		ids(folders[i].owner, confining, &uid, &unused_gid);
		ids(folders[i].group, confining, &unused_uid, &gid);
		if (!files_folder(path, folders[i].mode, uid, gid, why))
			return false;
	}
	return true;
}

static bool
is_alive(const char *state)
{
	int fd;

	if (!control_connect(state, "master", &fd, NULL))
		return false;
	close(fd);
	return true;
}

bool
state_lock(const char *state, int *fd_out, struct reason *why)
{
	char path[PATH_MAX];
	int fd, waited = 0;

	if (snprintf(path, sizeof(path), "%s/lock", state) >= (int)sizeof(path))
		return fail(why, REASON_RANGE, "%s: path too long", state);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			fail_errno(why, "%s", path);
			close(fd);
			return false;
		}
		/* The roles of a master that was killed are on their way
		 * out; two relays on one queue would be worse than a wait. */
		if (is_alive(state) || waited >= LOCK_TIMEOUT_MS) {
			close(fd);
			return fail(why, REASON_EXISTS,
			    "%s: another server uses this state folder", state);
		}
		usleep(LOCK_STEP_MS * 1000);
		waited += LOCK_STEP_MS;
	}
	*fd_out = fd;
	return true;
}

static bool
is_table_used(const struct master *m, const char *name)
{
	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++)
		if (m->generations[i].number != 0 &&
		    (strcmp(m->generations[i].prepared->table, name) == 0 ||
			strcmp(m->generations[i].prepared->routes, name) == 0))
			return true;
	return false;
}

void
state_sweep_tables(struct master *m)
{
	char folder[PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(folder, sizeof(folder), "%s/run/tables",
	    m->current->prepared->config->state);
	d = opendir(folder);
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		if ((strncmp(e->d_name, "sites.", 6) == 0 ||
			strncmp(e->d_name, "routes.", 7) == 0) &&
		    !is_table_used(m, e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}
