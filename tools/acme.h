/*
 * tools/acme.h: what the files of "sallyport cert acme" share: certificates
 * obtained by a packaged ACME client (RFC 8555).
 *
 *     cert_acme.c    the command
 *     acme_order.c   what is asked for, and where that is kept
 *     acme_client.c  the clients, and how each is asked
 *     acme_run.c     a program, run with a deadline
 *     acme_hook.c    what the clients call to answer a challenge
 *
 * A client gets a request (PKCS#10) and gives a chain: it sees neither the
 * certificate's key nor the files of the server.  What it keeps, its account,
 * lies in a folder "acme" beside the certificate, which nobody else can read.
 */
#ifndef TOOLS_ACME_H
#define TOOLS_ACME_H

#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "../pki/authority.h"
#include "../policy/reason.h"

#define ACME_DIRECTORY "https://acme-v02.api.letsencrypt.org/directory"

enum {
	ACME_URL_MAX = 512, /* octets */
	ACME_TIMEOUT_S = 600,
	ACME_TIMEOUT_MAX_S = 3600,
};

/* How the authority is shown that the names are ours. */
enum acme_way {
	ACME_HTTP,    /* http-01, by the client itself; where: [ADDRESS:]PORT */
	ACME_WEBROOT, /* http-01, files for a web server; where: its folder */
	ACME_DNS,     /* dns-01; where: the program to call */
	ACME_WAYS
};

/* What is asked for.  The words are borrowed unless owned. */
struct acme_order {
	const char *names[ISSUE_NAMES_MAX]; /* DNS names */
	size_t name_count;
	const char *directory;    /* URL */
	const char *directory_ca; /* anchors for that; NULL: the system's */
	const char *email;        /* of the account; NULL: none */
	const char *client;       /* NULL: one that can */
	const char *where;
	enum acme_way way;
	void *owned; /* acme_order_free */
};

/* acme_order.c */

/* Is it complete and well formed, are the files there?  The error names
 * options. */
bool acme_order_check(const struct acme_order *order, struct reason *why);

/* Keep it beside the certificate, in PREFIX.acme, and read it again. */
bool acme_order_write(const struct acme_order *order, const char *prefix,
    struct reason *why);
bool acme_order_read(struct acme_order *order, const char *prefix,
    struct reason *why);
/* Is there one? */
bool acme_order_exists(const char *prefix);
void acme_order_free(struct acme_order *order);

/* acme_client.c */

bool acme_client_is_known(const char *name);

/* Folders of a run: clients stand in run, which is empty before and after. */
struct acme_folder {
	char path[PATH_MAX], run[PATH_MAX];
	unsigned timeout_s;
	int lock;
};

/* The folder beside PREFIX, made if absent; waits until no other run is under
 * way in it. */
bool acme_folder_open(struct acme_folder *folder, const char *prefix,
    struct reason *why);
void acme_folder_close(struct acme_folder *folder);

/* Have a client ask for what is in csr (PEM); *pem_out is the answer
 * (pki_octets_wipe), which nobody has looked at.  *name_out, static, is who it
 * was. */
bool acme_client_obtain(const struct acme_order *order,
    const struct acme_folder *folder, const gnutls_datum_t *csr,
    gnutls_datum_t *pem_out, const char **name_out, struct reason *why);

/* acme_run.c */

struct acme_run {
	const char *const *argv;
	const char *const *environment; /* name, value, ...; NULL */
	const char *folder;             /* to stand in */
	const char *log;                /* what it prints, replaced */
	unsigned timeout_s;             /* then it is ended */
};

/* True if it ends with status 0; what it printed last goes to stderr if it
 * does not.  SIGINT, SIGTERM and SIGHUP end it and then us, and it does not
 * outlive us. */
bool acme_run(const struct acme_run *run, struct reason *why);

/* acme_hook.c */

/* The name that the clients call us by. */
#define ACME_HOOK_NAME "sallyport-acme-hook"
/* For the hook: the web server's folder, or the program. */
#define ACME_ENV_WEBROOT "SALLYPORT_ACME_WEBROOT"
#define ACME_ENV_PROGRAM "SALLYPORT_ACME_PROGRAM"

int acme_hook(int argc, char **argv);

#endif
