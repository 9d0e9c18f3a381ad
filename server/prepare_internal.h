/*
 * server/prepare_internal.h: what the files of prepare share.
 */
#ifndef SERVER_PREPARE_INTERNAL_H
#define SERVER_PREPARE_INTERNAL_H

#include <gnutls/gnutls.h>

#include "bundle.h"
#include "checks.h"
#include "prepare.h"

struct login_book;

/* One configuration being prepared. */
struct work {
	const struct prepare_options *options;
	const struct config *config;
	struct prepared *prepared;
	struct bundle *bundle[ROLES];
	struct checks *checks;
	struct login_book *book; /* upstream logins, without their files */
	/* By index of config->certificates: some row has cert= of it. */
	bool named[CERTIFICATES_MOST];
	bool failed;
};

/* prepare.c */
void work_report(struct work *w, bool is_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A warning now, and an alarm once the configuration is in force. */
void work_report_alarm(struct work *w, const char *text);
void work_add(struct work *w, enum role role, enum bundle_kind kind,
    const char *name, const gnutls_datum_t *octets);

/* A role gets the anchors that an option of the section that ends on that line
 * names. */
void work_add_anchors(struct work *w, enum role role, const char *name,
    const char *path, unsigned line, const char *option);

/* prepare_token.c: what section token names. */
void work_token(struct work *w);

/* prepare_certificate.c */
void work_certificates(struct work *w);
/* Of those that rows have in cert=, the ones that the relay will not show. */
void work_unshown(struct work *w);

/* prepare_staple.c */
void work_staples(struct work *w);

/* prepare_files.c: after all others. */
void work_files(struct work *w);

/* prepare_routes.c: for those who ask. */
void work_routes(struct work *w);

/* prepare_keytab.c */
/* Can GSSAPI be offered? */
void work_keytab(struct work *w);

/* prepare_table.c */
/* The newest file PREFIX.<digest>.kch in folder that is whole. */
bool work_last_good(const char *folder, const char *prefix,
    bool (*is_whole)(const char *path), char out[static 80]);
/* Logins come before it. */
void work_table(struct work *w);
/* A file that rows name is of no use. */
void work_row_error(struct work *w, const char *trouble);
/* The compiled table, and what its rows name, for those who judge. */
void work_add_table(struct work *w);

#endif
