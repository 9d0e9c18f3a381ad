/*
 * tools/init.h: what the files of "sallyport init" share.
 *
 *   init.c        the command line, what was asked for, the order of things
 *   init_files.c  making files and folders, and taking them back
 *   init_make.c   users, certificates, configuration, state
 */
#ifndef TOOLS_INIT_H
#define TOOLS_INIT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../policy/reason.h"

enum {
	ADDRESSES_MOST = 8,
	MADE_MOST = 32,
	SECRET_SIZE = 1024,
};

/* What was asked for. */
struct wish {
	char folder[PATH_MAX]; /* absolute */
	char hostname[254], realm[254];
	char smarthost[254]; /* without brackets; the domain of srv:DOMAIN */
	uint16_t port;       /* 0: srv:DOMAIN */
	bool implicit_tls;
	const char *smarthost_ca, *cert, *key;
	const char *user; /* at the smarthost, or NULL */
	char secret[SECRET_SIZE];
	bool from_stdin;
	const char *submission[ADDRESSES_MOST + 1];
	const char *submissions[ADDRESSES_MOST + 1];

	/* Filled while asking: strings of getline. */
	char *asked[4];
	size_t asked_count;

	/* Files made so far, to be removed when something fails. */
	char made[MADE_MOST][PATH_MAX];
	size_t made_count;
	bool made_folder;
};

/* init_files.c; names are relative to the folder. */
bool init_path(const struct wish *w, const char *name,
    char out[static PATH_MAX], struct reason *why);
/* To be removed when something fails. */
void init_remember(struct wish *w, const char *path);
void init_take_back(struct wish *w);
/* REASON_EXISTS if there is one. */
bool init_write(struct wish *w, const char *name, mode_t mode, const char *text,
    size_t len, struct reason *why);
/* One that exists is kept as it is. */
bool init_folder(struct wish *w, const char *name, mode_t mode,
    struct reason *why);

/* init_make.c */
bool init_users(struct reason *why);
bool init_certificates(struct wish *w, struct reason *why);
bool init_smarthost_ca(struct wish *w, struct reason *why);
bool init_upstream(struct wish *w, struct reason *why);
bool init_sites(struct wish *w, struct reason *why);
bool init_configuration(struct wish *w, struct reason *why);
bool init_state(struct wish *w, struct reason *why);
/* What the server would do at its start: all is read, the table compiled. */
bool init_try_out(struct wish *w, struct reason *why);

#endif
