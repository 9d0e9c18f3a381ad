/*
 * tools/audit.h: what the files of "sallyport policy audit" share: the sites,
 * and what their probes found.
 */
#ifndef TOOLS_AUDIT_H
#define TOOLS_AUDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "probe.h"

enum {
	AUDIT_SITES = 100000,
	AUDIT_JOBS = 8,
	AUDIT_JOBS_MOST = 64,
	AUDIT_SOON_S = 30 * 86400,
	AUDIT_FINDINGS = 4, /* of one site */
};

/* A row of the table, a line of a list, or the smarthost. */
struct audit_site {
	char *label;         /* as the table or list has it */
	unsigned line;       /* of the table or list; 0: the smarthost */
	long long until;     /* of a dated exception, Unix seconds; or 0 */
	const char *skipped; /* why it is not probed, or NULL; static */
	bool is_about_out;   /* else only its exception matters */
	struct probe_target target;

	/* Filled by audit_run. */
	bool probed, fails;
	char *failure;                  /* what would fail, or NULL */
	char *findings[AUDIT_FINDINGS]; /* what ends soon, and the like */
	size_t finding_count;
	json_t *json; /* the whole probe, where asked for */
};

struct audit {
	struct probe_setup *setup;
	const char *file; /* base name of the table or list */
	struct audit_site *sites;
	size_t count, capacity;
	json_t *seen; /* "host:port" of those that will be probed */
	json_t *by_srv; /* domains that stand in srv: of a next hop */
	struct probe_options options;
	unsigned jobs;
	bool json;
};

/* Errors are told.  path "-": standard input. */
bool audit_take_table(struct audit *audit);
bool audit_take_list(struct audit *audit, const char *path);
/* Probe all sites, as many at once as jobs says; false if it could not be
 * begun, which is told, or was interrupted. */
bool audit_run(struct audit *audit);
void audit_fini(struct audit *audit);

/* Note something about a site; the text is cut to what a line can hold. */
void audit_find(struct audit_site *site, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
