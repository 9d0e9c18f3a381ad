/*
 * server/master_files.c: files of the configuration that change while it is in
 * use.
 *
 * OCSP responses are looked at once a minute; with watch-files all
 * certificates, keys, anchors and revocation lists are, and as soon as the
 * kernel says that something happened.  Whoever renews a certificate writes
 * several files: nothing is done before they have been left alone for a
 * while.
 */
#include <string.h>
#include <sys/epoll.h>

#include "master.h"

enum {
	LOOK_MS = 60 * 1000, /* without being told */
	TICK_MS = 250,       /* while something happens */
	QUIET_MS = 2000,     /* then it is over */
	UNQUIET_MOST_MS = 30 * 1000 /* and if it is not */,
	/* So many reloads at once, and after them one in that time: each new
	 * configuration brings sessions on old ones nearer to their end. */
	RELOADS_AT_ONCE = 16,
	RELOAD_MS = 30 * 1000,
};

static bool
is_staple(const struct master *m, const char *path)
{
	const struct staples *staples = &m->current->prepared->staples;

	for (size_t i = 0; i < staples->count; i++)
		if (strcmp(staples->list[i].path, path) == 0)
			return true;
	return false;
}

/* --- listening ------------------------------------------------------------ */

/* While something happens the clock says when to look. */
static void
unlisten(struct master *m)
{
	if (m->files.fd >= 0)
		epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->files.fd, NULL);
	m->files.fd = -1;
}

static void
listen_again(struct master *m)
{
	struct files *files = &m->files;
	struct reason why;

	unlisten(m);
	if (!m->current->prepared->config->watch_files)
		return;
	files->fd_watch = (struct watched_fd){ WATCHED_FILES, ROLE_MASTER };
	if (watch_listen(files->watch, &files->fd, &why)) {
		if (!master_watch(m, files->fd, &files->fd_watch))
			files->fd = -1;
		files->is_deaf = false;
		return;
	}
	if (!files->is_deaf)
		log_line(SAY_WARNING, "files",
		    "trouble=\"%s\" note=\"they are looked at once a minute\"",
		    why.text);
	files->is_deaf = true;
}

/* --- which files ---------------------------------------------------------- */

static bool
list_join(struct watch_list *to, const struct watch_list *from)
{
	for (size_t i = 0; i < from->count; i++)
		if (!watch_list_add(to, from->paths[i]))
			return false;
	return true;
}

/* What is in force, and what was refused: that may be put right. */
static bool
list_wanted(const struct master *m, struct watch_list *out)
{
	const struct prepared *p = m->current->prepared;

	if (p->config->watch_files)
		return list_join(out, &m->files.in_force) &&
		       list_join(out, &m->files.tried);
	for (size_t i = 0; i < p->staples.count; i++)
		if (!watch_list_add(out, p->staples.list[i].path))
			return false;
	return true;
}

struct watch_list *
files_tried(struct master *m)
{
	watch_list_fini(&m->files.tried);
	m->files.read_from = watch_clock();
	return &m->files.tried;
}

void
files_configured(struct master *m, bool is_in_force)
{
	struct files *files = &m->files;
	struct watch_list wanted = { NULL, 0 };

	if (is_in_force) {
		watch_list_fini(&files->in_force);
		files->in_force = files->tried;
		files->tried = (struct watch_list){ NULL, 0 };
	}
	unlisten(m);
	watch_free(files->watch);
	files->watch = NULL;
	files->is_pending = false;
	files->look_at = INT64_MAX;
	if (list_wanted(m, &wanted) && wanted.count > 0)
		files->watch = watch_new(&wanted, files->read_from);
	watch_list_fini(&wanted);
	if (files->watch == NULL)
		return;
	/* A first look at once: something may have happened meanwhile. */
	files->stamp = 0;
	files->look_at = 0;
	listen_again(m);
}

void
files_end(struct master *m)
{
	unlisten(m);
	watch_free(m->files.watch);
	m->files.watch = NULL;
	watch_list_fini(&m->files.in_force);
	watch_list_fini(&m->files.tried);
}

/* --- what has changed -------------------------------------------------------
 */

struct change {
	struct master *m;
	struct watch_list staples, others;
};

static void
on_changed(void *context, const char *path)
{
	struct change *change = context;

	/* Without memory the next look does not know it either. */
	if (!watch_list_add(is_staple(change->m, path) ? &change->staples
						       : &change->others,
		path))
		log_line(SAY_ERROR, "files", "file=%s trouble=memory", path);
}

static void
reload_for(struct master *m, const struct watch_list *changed, int64_t now)
{
	struct files *files = &m->files;
	char path[400];

	files->paid_until =
	    (files->paid_until > now ? files->paid_until : now) + RELOAD_MS;
	log_line(SAY_NOTE, "files", "changed=%zu first=%s", changed->count,
	    log_value(path, sizeof(path), changed->paths[0],
		strlen(changed->paths[0])));
	reload_begin(m);
}

static void
act(struct master *m, int64_t now)
{
	struct change change = { .m = m };

	m->files.is_pending = false;
	m->files.look_at = now + LOOK_MS;
	/* First, so that what happens from here on is told. */
	listen_again(m);
	m->files.stamp = watch_stamp(m->files.watch);
	watch_look(m->files.watch, on_changed, &change);
	if (change.others.count > 0)
		reload_for(m, &change.others, now);
	else
		for (size_t i = 0; i < change.staples.count; i++)
			staples_refresh(m, change.staples.paths[i]);
	watch_list_fini(&change.staples);
	watch_list_fini(&change.others);
}

static void
pend(struct master *m, int64_t now)
{
	struct files *files = &m->files;

	if (files->is_pending)
		return;
	files->is_pending = true;
	files->since = files->quiet_since = now;
	files->look_at = now + TICK_MS;
	unlisten(m);
}

/* Is it time to do something about it? */
static bool
is_ripe(struct master *m, int64_t now)
{
	struct files *files = &m->files;
	uint64_t stamp = watch_stamp(files->watch);

	if (watch_drain(files->watch) || stamp != files->stamp)
		files->quiet_since = now;
	files->stamp = stamp;
	return (now - files->quiet_since >= QUIET_MS ||
		   now - files->since >= UNQUIET_MOST_MS) &&
	       files->paid_until - now <= (RELOADS_AT_ONCE - 1) * RELOAD_MS &&
	       m->reload_stage == RELOAD_NONE && !m->reload_again;
}

void
files_happened(struct master *m)
{
	if (m->files.watch != NULL && watch_drain(m->files.watch))
		pend(m, master_now());
}

int64_t
files_timer(struct master *m, int64_t now)
{
	struct files *files = &m->files;

	if (files->watch == NULL || m->stopping)
		return INT64_MAX;
	if (now < files->look_at)
		return files->look_at;
	if (!files->is_pending) {
		files->look_at = now + LOOK_MS;
		if (watch_stamp(files->watch) != files->stamp)
			pend(m, now);
	} else if (is_ripe(m, now)) {
		act(m, now);
	} else {
		files->look_at = now + TICK_MS;
	}
	return files->look_at;
}
