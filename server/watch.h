/*
 * server/watch.h: have files changed since they were read?
 *
 * What counts is what a file contains and who may read it, however it came
 * there: written in place, renamed, or because a link on the way to it leads
 * elsewhere now (certbot's live/, ..data of Kubernetes).  inotify only says
 * when to look: on folders, since a watch on a file is lost when it is
 * replaced.  Threads: one.
 */
#ifndef SERVER_WATCH_H
#define SERVER_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../policy/reason.h"

/* Absolute paths, each once. */
struct watch_list {
	char **paths;
	size_t count;
};
/* False: no memory.  PKCS#11 URLs are left out. */
bool watch_list_add(struct watch_list *list, const char *path);
void watch_list_fini(struct watch_list *list);

struct watch;

/*
 * The files as they are now count as read, but for those that have changed
 * since read_from, CLOCK_REALTIME_COARSE in nanoseconds: those count as
 * changed.  NULL: no memory.
 */
struct watch *watch_new(const struct watch_list *list, int64_t read_from);
void watch_free(struct watch *watch);

/*
 * A descriptor that becomes readable when it is worth looking.  Call again
 * after each look, since links may lead elsewhere: it is another one then.
 * False: the kernel refuses; the earlier one is closed.
 */
bool watch_listen(struct watch *watch, int *fd_out, struct reason *why);

/* Take what the descriptor has to tell; true if it concerns the files. */
bool watch_drain(struct watch *watch);

/* A number that is another one when something was done to the files since:
 * cheap. */
uint64_t watch_stamp(const struct watch *watch);

/* Call changed for each file that is not what it was when it was read; from
 * now on it counts as read. */
void watch_look(struct watch *watch,
    void (*changed)(void *context, const char *path), void *context);

int64_t watch_clock(void); /* for read_from */

#endif
