/*
 * server/endings.h: when the certificates of a configuration end.
 *
 * Collected while its files are read: what counts is what is in force, not
 * what lies in the files by now.  Threads: one.
 */
#ifndef SERVER_ENDINGS_H
#define SERVER_ENDINGS_H

#include <gnutls/gnutls.h>
#include <stddef.h>
#include <stdint.h>

enum { ENDINGS_MOST = 4096 };

struct ending {
	char key[80];   /* names the certificate for good */
	char what[768]; /* its file, use and subject, for the log */
	int64_t end;    /* Unix */
};

struct endings {
	struct ending *list;
	size_t count;
};

/*
 * Each certificate of the PEM file that is not there yet, up to ENDINGS_MOST
 * of them altogether.  use: "certificate server", "client-ca of listener x".
 * What cannot be parsed is left out: others judge it.
 */
void endings_add(struct endings *endings, const gnutls_datum_t *pem,
    const char *path, const char *use);
void endings_fini(struct endings *endings);

#endif
