/*
 * server/files.h: reading configuration files, and who else could; replacing
 * files of our own.
 */
#ifndef SERVER_FILES_H
#define SERVER_FILES_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../policy/reason.h"

/* A site table of a million rows is some 60 MiB of text. */
enum { FILES_OCTETS_MAX = 256 * 1024 * 1024 };

/* Read all of a regular file of at most FILES_OCTETS_MAX octets; data is
 * malloc'd and NUL-terminated after size. */
bool files_read(const char *path, gnutls_datum_t *out, struct reason *why);

/* As files_read, of a file that holds a secret: files_check_secret first, on
 * the open file.  files_wipe it. */
bool files_read_secret(const char *path, gnutls_datum_t *out,
    struct reason *why);

/* The same file, open and to be read by the caller; -1 on failure. */
int files_open_secret(const char *path, struct reason *why);

/*
 * Refuse (REASON_PERMISSION, naming file or folder) a file that others can
 * read or write, or that lies in or under a folder others can write, sticky
 * root-owned ones excepted.
 */
bool files_check_secret(const char *path, struct reason *why);

/* Write all of octets to fd and sync it; false with errno. */
bool files_write(int fd, const void *octets, size_t len);

/*
 * Put octets in the place of the file at path, or make it: they are written to
 * "PATH.new", synced, renamed, and the folder synced.  If it fails the file is
 * as it was.
 */
bool files_replace(const char *path, const void *octets, size_t len,
    mode_t mode, struct reason *why);

void files_free(gnutls_datum_t *file);
void files_wipe(gnutls_datum_t *file);

/* Make the folder if it is absent, and set mode and owner (-1: keep). */
bool files_folder(const char *path, mode_t mode, uid_t uid, gid_t gid,
    struct reason *why);

#endif
