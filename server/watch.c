/*
 * server/watch.c: have files changed since they were read?
 */
#include "watch.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

enum {
	LINKS_MOST = 40, /* on the way to one file, as the kernel has it */
	PLACES_MOST = 1024,
	DIGEST_OCTETS = 32,
	READS_MOST = 64, /* at once: others may write faster than we read */
	FILE_WATCHED = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO |
		       IN_MOVED_FROM | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |
		       IN_MOVE_SELF | IN_ONLYDIR,
};

struct watched {
	char *path;
	unsigned char digest[DIGEST_OCTETS]; /* of what was read */
	uint64_t stamp; /* when digest was made; 0: never made */
};

/* What is looked for in a watched folder: a name on the way to a file. */
struct place {
	int folder; /* inotify's descriptor */
	char *name;
};

struct watch {
	struct watched *files;
	size_t count;
	int inotify; /* -1: none */
	struct place *places;
	size_t place_count;
};

/* --- lists -------------------------------------------------------------- */

bool
watch_list_add(struct watch_list *list, const char *path)
{
	char **more;

	if (path == NULL || path[0] != '/')
		return true;
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->paths[i], path) == 0)
			return true;
	more = reallocarray(list->paths, list->count + 1, sizeof(*more));
	if (more == NULL)
		return false;
	list->paths = more;
	more[list->count] = strdup(path);
	if (more[list->count] == NULL)
		return false;
	list->count++;
	return true;
}

void
watch_list_fini(struct watch_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
	list->paths = NULL;
	list->count = 0;
}

/* --- the way to a file ---------------------------------------------------- */

/* One name that decides where the way leads: a link, or the file itself.  st
 * NULL: it is not there. */
typedef void (*on_name)(void *context, const char *folder, const char *name,
    const struct stat *st);

struct way {
	char at[PATH_MAX];   /* the folder it has come to */
	char rest[PATH_MAX]; /* what is still to be gone */
	unsigned links;
};

/* The next name of rest into name; false: there is none. */
static bool
take_name(struct way *way, char name[static NAME_MAX + 1])
{
	char *from = way->rest + strspn(way->rest, "/");
	size_t len = strcspn(from, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, from, len);
	name[len] = '\0';
	from += len;
	memmove(way->rest, from, strlen(from) + 1);
	return true;
}

static bool
is_last(const struct way *way)
{
	return way->rest[strspn(way->rest, "/")] == '\0';
}

/* The link at path leads the way elsewhere. */
static bool
follow(struct way *way, const char *path)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len <= 0 || ++way->links > LINKS_MOST)
		return false;
	target[len] = '\0';
	if (target[0] == '/')
		way->at[0] = '\0';
	if (snprintf(rest, sizeof(rest), "%s/%s", target, way->rest) >=
	    (int)sizeof(rest))
		return false;
	memcpy(way->rest, rest, sizeof(rest));
	return true;
}

static void
walk(const char *path, on_name on, void *context)
{
	struct way way = { .at = "", .links = 0 };
	char name[NAME_MAX + 1], here[PATH_MAX];
	struct stat st;

	if (snprintf(way.rest, sizeof(way.rest), "%s", path) >=
	    (int)sizeof(way.rest))
		return;
	while (take_name(&way, name)) {
		const char *folder = way.at[0] == '\0' ? "/" : way.at;

		if (snprintf(here, sizeof(here), "%s/%s", way.at, name) >=
		    (int)sizeof(here))
			return;
		if (lstat(here, &st) != 0) {
			on(context, folder, name, NULL);
			return;
		}
		if (S_ISLNK(st.st_mode)) {
			on(context, folder, name, &st);
			if (!follow(&way, here))
				return;
		} else if (is_last(&way)) {
			on(context, folder, name, &st);
			return;
		} else {
			memcpy(way.at, here, sizeof(here));
		}
	}
}

/* --- has it changed? ------------------------------------------------------ */

static void
stir(uint64_t *stamp, uint64_t value)
{
	*stamp = (*stamp ^ value) * 0x9e3779b97f4a7c15;
	*stamp ^= *stamp >> 29;
}

static int64_t
nanoseconds(struct timespec ts)
{
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct stamping {
	uint64_t stamp;
	int64_t newest; /* change on the way */
};

static void
stamp_name(void *context, const char *folder, const char *name,
    const struct stat *st)
{
	struct stamping *s = context;

	(void)folder;
	(void)name;
	if (st == NULL) {
		stir(&s->stamp, 1);
		return;
	}
	stir(&s->stamp, st->st_dev);
	stir(&s->stamp, st->st_ino);
	stir(&s->stamp, (uint64_t)nanoseconds(st->st_mtim));
	stir(&s->stamp, (uint64_t)nanoseconds(st->st_ctim));
	stir(&s->stamp, (uint64_t)st->st_size);
	if (nanoseconds(st->st_ctim) > s->newest)
		s->newest = nanoseconds(st->st_ctim);
}

static struct stamping
stamp_file(const char *path)
{
	struct stamping s = { .stamp = 2, .newest = INT64_MIN };

	walk(path, stamp_name, &s);
	return s;
}

/* Of octets, owner and mode; of nothing where it cannot be read. */
static void
digest_file(const char *path, unsigned char out[static DIGEST_OCTETS])
{
	gnutls_datum_t file = { NULL, 0 };
	gnutls_hash_hd_t hash;
	struct stat st;
	uint64_t who[3];

	memset(out, 0, DIGEST_OCTETS);
	if (stat(path, &st) != 0 || !files_read(path, &file, NULL))
		return;
	who[0] = st.st_mode;
	who[1] = st.st_uid;
	who[2] = st.st_gid;
	if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) >= 0) {
		gnutls_hash(hash, who, sizeof(who));
		gnutls_hash(hash, file.data, file.size);
		gnutls_hash_deinit(hash, out);
	}
	files_wipe(&file); /* it may be a key */
}

uint64_t
watch_stamp(const struct watch *watch)
{
	uint64_t stamp = 0;

	for (size_t i = 0; i < watch->count; i++)
		stir(&stamp, stamp_file(watch->files[i].path).stamp);
	return stamp;
}

void
watch_look(struct watch *watch,
    void (*changed)(void *context, const char *path), void *context)
{
	for (size_t i = 0; i < watch->count; i++) {
		struct watched *file = &watch->files[i];
		unsigned char digest[DIGEST_OCTETS];
		uint64_t stamp = stamp_file(file->path).stamp;
		bool was_known = file->stamp != 0;

		if (stamp == file->stamp)
			continue;
		digest_file(file->path, digest);
		file->stamp = stamp;
		if (was_known &&
		    memcmp(digest, file->digest, sizeof(digest)) == 0)
			continue;
		memcpy(file->digest, digest, sizeof(digest));
		changed(context, file->path);
	}
}

int64_t
watch_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return nanoseconds(ts);
}

/* --- making --------------------------------------------------------------- */

struct watch *
watch_new(const struct watch_list *list, int64_t read_from)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	struct timespec now;

	if (watch == NULL)
		return NULL;
	/* Kernels date changes by either of the two clocks. */
	clock_gettime(CLOCK_REALTIME, &now);
	watch->inotify = -1;
	watch->files = calloc(list->count + 1, sizeof(*watch->files));
	watch->places = calloc(PLACES_MOST, sizeof(*watch->places));
	if (watch->files == NULL || watch->places == NULL) {
		watch_free(watch);
		return NULL;
	}
	for (size_t i = 0; i < list->count; i++) {
		struct watched *file = &watch->files[i];
		struct stamping s = stamp_file(list->paths[i]);

		file->path = strdup(list->paths[i]);
		if (file->path == NULL) {
			watch_free(watch);
			return NULL;
		}
		watch->count++;
		/* A clock that was set back must not mean "for ever". */
		if (s.newest >= read_from && s.newest <= nanoseconds(now))
			continue;
		file->stamp = s.stamp;
		digest_file(file->path, file->digest);
	}
	return watch;
}

static void
places_clear(struct watch *watch)
{
	while (watch->place_count > 0)
		free(watch->places[--watch->place_count].name);
	if (watch->inotify >= 0)
		close(watch->inotify);
	watch->inotify = -1;
}

void
watch_free(struct watch *watch)
{
	if (watch == NULL)
		return;
	places_clear(watch);
	for (size_t i = 0; i < watch->count; i++)
		free(watch->files[i].path);
	free(watch->files);
	free(watch->places);
	free(watch);
}

/* --- inotify -------------------------------------------------------------- */

struct listening_to {
	struct watch *watch;
	int error; /* the first */
};

static void
listen_name(void *context, const char *folder, const char *name,
    const struct stat *st)
{
	struct listening_to *l = context;
	struct watch *watch = l->watch;
	struct place place;

	(void)st;
	if (l->error != 0 || watch->place_count == PLACES_MOST)
		return;
	place.folder = inotify_add_watch(watch->inotify, folder, FILE_WATCHED);
	if (place.folder < 0) {
		/* A folder that has just gone is looked for the next time. */
		if (errno != ENOENT && errno != ENOTDIR)
			l->error = errno;
		return;
	}
	for (size_t i = 0; i < watch->place_count; i++)
		if (watch->places[i].folder == place.folder &&
		    strcmp(watch->places[i].name, name) == 0)
			return;
	place.name = strdup(name);
	if (place.name == NULL)
		l->error = ENOMEM;
	else
		watch->places[watch->place_count++] = place;
}

bool
watch_listen(struct watch *watch, int *fd_out, struct reason *why)
{
	struct listening_to l = { .watch = watch, .error = 0 };

	places_clear(watch);
	watch->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch->inotify < 0)
		return fail_errno(why, "inotify");
	for (size_t i = 0; i < watch->count; i++)
		walk(watch->files[i].path, listen_name, &l);
	if (l.error != 0) {
		places_clear(watch);
		errno = l.error;
		return fail_errno(why, "inotify");
	}
	*fd_out = watch->inotify;
	return true;
}

static bool
concerns(const struct watch *watch, const struct inotify_event *event)
{
	/* Of a folder as a whole, or more than could be told. */
	if (event->len == 0)
		return true;
	for (size_t i = 0; i < watch->place_count; i++)
		if (watch->places[i].folder == event->wd &&
		    strcmp(watch->places[i].name, event->name) == 0)
			return true;
	return false;
}

bool
watch_drain(struct watch *watch)
{
	_Alignas(struct inotify_event) char octets[16 * 1024];
	bool found = false;
	ssize_t got;

	if (watch->inotify < 0)
		return false;
	for (int i = 0; i < READS_MOST; i++) {
		got = read(watch->inotify, octets, sizeof(octets));
		if (got <= 0)
			break;
		for (char *at = octets; at < octets + got;) {
			const struct inotify_event *event =
			    (const struct inotify_event *)at;

			found = found || concerns(watch, event);
			at += sizeof(*event) + event->len;
		}
	}
	return found;
}
