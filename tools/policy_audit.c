/*
 * tools/policy_audit.c: "sallyport policy audit": all sites of the table, or
 * of a list: what would fail if it were enforced, and what ends soon.
 */
#include "policy.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "cert.h"
#include "probe_signal.h"
#include "tool.h"

enum { PLACE_SIZE = 160 };

struct arguments {
	const char *list; /* or NULL: the table */
	unsigned jobs, timeout_s;
	bool json;
};

struct counts {
	size_t probed, failing, soon, skipped;
};

/* --- what was found ---------------------------------------------------------
 */

/* Exceptions end for rows of every direction, probed or not. */
static void
find_exception(struct audit_site *site, time_t now)
{
	char when[CERT_TIME_SIZE];

	if (site->until == 0 || site->until - (long long)now > AUDIT_SOON_S)
		return;
	cert_print_time(when, (time_t)site->until - 1);
	if (site->until <= (long long)now)
		audit_find(site, "its exception is over since %.10s", when);
	else
		audit_find(site, "its exception ends %.10s", when);
}

static struct counts
count_all(const struct audit *audit)
{
	struct counts counts = { 0 };

	for (size_t i = 0; i < audit->count; i++) {
		const struct audit_site *site = &audit->sites[i];

		counts.probed += site->probed;
		counts.failing += site->fails;
		counts.soon += site->finding_count > 0;
		counts.skipped += site->skipped != NULL && site->is_about_out;
	}
	return counts;
}

static void
place_of(const struct audit *audit, const struct audit_site *site,
    char out[static PLACE_SIZE])
{
	if (site->line == 0)
		(void)snprintf(out, PLACE_SIZE, "smarthost");
	else
		(void)snprintf(out, PLACE_SIZE, "%.120s:%u", audit->file,
		    site->line);
}

/* --- printing ---------------------------------------------------------------
 */

static void
print_site(const struct audit *audit, const struct audit_site *site)
{
	char place[PLACE_SIZE];

	place_of(audit, site, place);
	if (site->fails)
		printf("%-14s %-32s would fail  %s\n", place, site->label,
		    site->failure != NULL ? site->failure : "");
	for (size_t i = 0; i < site->finding_count; i++)
		printf("%-14s %-32s notice      %s\n", place, site->label,
		    site->findings[i]);
	if (site->skipped != NULL && site->is_about_out)
		printf("%-14s %-32s not probed  %s\n", place, site->label,
		    site->skipped);
}

static void
print_text(const struct audit *audit, const struct counts *counts)
{
	for (size_t i = 0; i < audit->count; i++)
		print_site(audit, &audit->sites[i]);
	printf("%zu site%s probed: %zu would fail, %zu with notices; %zu row%s "
	       "not probed\n",
	    counts->probed, counts->probed == 1 ? "" : "s", counts->failing,
	    counts->soon, counts->skipped, counts->skipped == 1 ? "" : "s");
}

static json_t *
site_json(const struct audit *audit, const struct audit_site *site)
{
	json_t *notices = json_array();
	const char *status = "meets";

	for (size_t i = 0; i < site->finding_count; i++)
		json_array_append_new(notices, json_string(site->findings[i]));
	if (site->skipped != NULL)
		status = "not-probed";
	else if (site->fails)
		status = "fails";
	return json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:O?}", "file",
	    site->line == 0 ? "" : audit->file, "line", (int)site->line, "site",
	    site->label, "status", status, "detail",
	    site->skipped != NULL   ? site->skipped
	    : site->failure != NULL ? site->failure
				    : "",
	    "notices", notices, "probe", site->json);
}

static bool
print_json(const struct audit *audit, const struct counts *counts)
{
	json_t *sites = json_array(), *all;

	for (size_t i = 0; i < audit->count; i++)
		json_array_append_new(sites,
		    site_json(audit, &audit->sites[i]));
	all = json_pack("{s:o, s:{s:I, s:I, s:I, s:I}}", "sites", sites,
	    "summary", "probed", (json_int_t)counts->probed, "failing",
	    (json_int_t)counts->failing, "notices", (json_int_t)counts->soon,
	    "not_probed", (json_int_t)counts->skipped);
	if (all == NULL) {
		fprintf(stderr, "sallyport: out of memory\n");
		return false;
	}
	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
	return true;
}

/* --- the command ------------------------------------------------------------
 */

static int
wrong_usage(const char *what)
{
	fprintf(stderr, "sallyport policy audit: %s\n", what);
	policy_probe_usage(stderr);
	return TOOL_USAGE;
}

/* An exit status, or -1: go on. */
static int
take_arguments(struct arguments *out, int argc, char **argv)
{
	static const struct option words[] = {
		{ "list", required_argument, NULL, 'l' },
		{ "jobs", required_argument, NULL, 'n' },
		{ "timeout", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int letter;

	*out = (struct arguments){ NULL, AUDIT_JOBS, PROBE_TIMEOUT_S, false };
	optind = 0;
	while ((letter = getopt_long(argc, argv, "h", words, NULL)) != -1) {
		if (letter == 'l')
			out->list = optarg;
		else if (letter == 'j')
			out->json = true;
		else if (letter == 'n') {
			if (!policy_probe_number(optarg, AUDIT_JOBS_MOST,
				&out->jobs))
				return wrong_usage("--jobs: expected 1 to 64");
		} else if (letter == 's') {
			if (!policy_probe_number(optarg, PROBE_TIMEOUT_MOST_S,
				&out->timeout_s))
				return wrong_usage("--timeout: expected 1 to "
						   "300 seconds");
		} else if (letter == 'h') {
			policy_probe_usage(stdout);
			return TOOL_DONE;
		} else {
			return wrong_usage("wrong option");
		}
	}
	return optind < argc ? wrong_usage("too many arguments") : -1;
}

static int
run(struct probe_setup *setup, const struct arguments *arguments)
{
	struct audit audit = {
		.setup = setup,
		.seen = json_object(),
		.by_srv = json_object(),
		.jobs = arguments->jobs,
		.json = arguments->json,
		.options = { .timeout_ms = (int)arguments->timeout_s * 1000,
		    .stop_at_ms = &probe_stop_at_ms },
	};
	struct counts counts;
	int status = TOOL_NO;
	bool ok = arguments->list != NULL
		      ? audit_take_list(&audit, arguments->list)
		      : audit_take_table(&audit);

	if (ok && audit_run(&audit)) {
		for (size_t i = 0; i < audit.count; i++)
			find_exception(&audit.sites[i], time(NULL));
		counts = count_all(&audit);
		if (!arguments->json)
			print_text(&audit, &counts);
		else
			ok = print_json(&audit, &counts);
		if (ok && counts.failing == 0)
			status = TOOL_DONE;
	}
	audit_fini(&audit);
	return status;
}

int
policy_audit(int argc, char **argv)
{
	struct arguments arguments;
	struct probe_setup *setup;
	int status = take_arguments(&arguments, argc, argv);

	if (status >= 0)
		return status;
	probe_catch_signals();
	status = TOOL_NO;
	if (probe_setup_new(&setup)) {
		status = run(setup, &arguments);
		probe_setup_free(setup);
	}
	probe_end_by_signal();
	return status;
}
