/*
 * pki/file.h: small files that are either there whole or not at all, and keys
 * that nobody else can read.
 */
#ifndef PKI_FILE_H
#define PKI_FILE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../policy/reason.h"

enum {
	PKI_FILE_MAX = 1024 * 1024, /* octets of a PEM file of ours */
	PKI_KEY_MODE = 0600,
	PKI_CHAIN_MODE = 0644,
};

/*
 * Read a whole regular file.  secret: refuse one that others than the owner
 * can read or write.  *out is malloc'd; pki_octets_wipe frees it.
 */
bool pki_file_read(const char *path, bool secret, gnutls_datum_t *out,
    struct reason *why);

/*
 * Put octets at path: written aside, synced, renamed, the folder synced.
 * replace false fails with REASON_EXISTS if there is a file.
 */
bool pki_file_write(const char *path, const void *octets, size_t len,
    mode_t mode, bool replace, struct reason *why);

/*
 * Refuse (REASON_PERMISSION, naming the folder) a file in or under a folder
 * that others can write, sticky root-owned ones excepted.
 */
bool pki_file_folders(const char *path, struct reason *why);

/* Sync the folder that the file of that path is in. */
bool pki_file_sync_folder(const char *path, struct reason *why);

/* Append one line (without line end) and sync; a torn last line of an
 * earlier crash is ended first, with PKI_TORN. */
#define PKI_TORN " cut-off"
bool pki_file_append(const char *path, const char *line, struct reason *why);

void pki_octets_wipe(gnutls_datum_t *octets);

/* a, then b (which may have no data); pki_octets_wipe frees *out. */
bool pki_octets_join(const gnutls_datum_t *a, const gnutls_datum_t *b,
    gnutls_datum_t *out, struct reason *why);

#endif
