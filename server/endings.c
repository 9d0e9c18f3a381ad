/*
 * server/endings.c: when the certificates of a configuration end.
 */
#include "endings.h"

#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../policy/hex.h"
#include "log.h"

static bool
is_known(const struct endings *endings, const char *key)
{
	for (size_t i = 0; i < endings->count; i++)
		if (strcmp(endings->list[i].key, key) == 0)
			return true;
	return false;
}

static bool
make_key(gnutls_x509_crt_t crt, char out[static 80])
{
	unsigned char digest[32];
	size_t size = sizeof(digest), at;

	if (gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest,
		&size) < 0)
		return false;
	at = (size_t)sprintf(out, "certificate ");
	hex_print(out + at, digest, size);
	return true;
}

static void
make_what(gnutls_x509_crt_t crt, const char *path, const char *use, char *out,
    size_t capacity)
{
	char subject[256] = "", value[300], file[320];
	size_t size = sizeof(subject);

	if (gnutls_x509_crt_get_dn(crt, subject, &size) < 0)
		subject[0] = '\0';
	snprintf(out, capacity, "file=%s for=\"%.80s\" subject=%s",
	    log_value(file, sizeof(file), path, strlen(path)), use,
	    log_value(value, sizeof(value), subject, strlen(subject)));
}

static void
add_one(struct endings *endings, gnutls_x509_crt_t crt, const char *path,
    const char *use)
{
	time_t end = gnutls_x509_crt_get_expiration_time(crt);
	struct ending *grown;
	char key[80];

	if (end == (time_t)-1 || endings->count >= ENDINGS_MOST ||
	    !make_key(crt, key) || is_known(endings, key))
		return;
	grown = reallocarray(endings->list, endings->count + 1, sizeof(*grown));
	if (grown == NULL)
		return;
	endings->list = grown;
	grown = &endings->list[endings->count++];
	strcpy(grown->key, key); /* of the same size */
	make_what(crt, path, use, grown->what, sizeof(grown->what));
	grown->end = end;
}

void
endings_add(struct endings *endings, const gnutls_datum_t *pem,
    const char *path, const char *use)
{
	gnutls_x509_crt_t *crts;
	unsigned count;

	if (gnutls_x509_crt_list_import2(&crts, &count, pem,
		GNUTLS_X509_FMT_PEM, 0) < 0)
		return;
	for (unsigned i = 0; i < count; i++) {
		add_one(endings, crts[i], path, use);
		gnutls_x509_crt_deinit(crts[i]);
	}
	gnutls_free(crts);
}

void
endings_fini(struct endings *endings)
{
	free(endings->list);
	endings->list = NULL;
	endings->count = 0;
}
