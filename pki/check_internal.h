/*
 * pki/check_internal.h: what the files of check share.
 */
#ifndef PKI_CHECK_INTERNAL_H
#define PKI_CHECK_INTERNAL_H

#include "check.h"

enum { CHECK_DN_SIZE = 256, CHECK_TIME_SIZE = 32 };

/* One certificate of a file, as texts name it. */
struct check_one {
	const struct check_options *options;
	const char *path;
	gnutls_x509_crt_t crt;
	char name[CHECK_DN_SIZE]; /* its subject */
};

void check_one_init(struct check_one *one, const struct check_options *options,
    const char *path, gnutls_x509_crt_t crt);
void check_dates(const struct check_one *one);
void check_strength(const struct check_one *one);

/* RFC 3339, UTC; "?" if it is beyond all years. */
void check_print_time(char out[static CHECK_TIME_SIZE], time_t when);

/* No private key may lie among certificates: they go to processes that must
 * not have it. */
void check_inside(const struct check_options *options, const char *path,
    const gnutls_datum_t *file);

#endif
