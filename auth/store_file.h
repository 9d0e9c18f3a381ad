/*
 * auth/store_file.h: the credential store as a file, before the library sees
 * it.
 */
#ifndef AUTH_STORE_FILE_H
#define AUTH_STORE_FILE_H

#include <limits.h>
#include <stdbool.h>

#include "../policy/reason.h"

/* The folder that path lies in. */
void store_file_folder(const char *path, char out[static PATH_MAX]);
bool store_file_sync_folder(const char *folder, struct reason *why);

/*
 * An empty file of the folder's owner, made by us and nobody else: the library
 * would follow a symbolic link, and make it as root.
 */
bool store_file_make(const char *path, const char *folder, struct reason *why);

/* All that fd has goes to the file of path, which is there. */
bool store_file_copy(int fd, const char *path, struct reason *why);

/* Put made, with all that was written to it, in the place of path: on stable
 * storage when it returns true. */
bool store_file_put_in_place(const char *made, const char *path,
    struct reason *why);

/*
 * Who may read it and its write-ahead log, or write where they lie.  Closes a
 * descriptor, which drops the locks that this process has on the file: nothing
 * may be open through the library yet.  REASON_ABSENT: there is no store;
 * REASON_AWAY: another process has it open; else REASON_PERMISSION.
 */
bool store_file_check(const char *path, struct reason *why);

#endif
