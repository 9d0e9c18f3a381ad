/*
 * tools/policy_probe.c: "sallyport policy probe": one site, for a person at a
 * terminal or as JSON.
 */
#include "policy.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../policy/key.h"
#include "cert.h"
#include "probe.h"
#include "probe_signal.h"
#include "tool.h"

enum { SOON_DAYS = 30 };

struct arguments {
	const char *site, *address;
	const char *tls; /* "implicit", "starttls", or NULL: by port */
	unsigned timeout_s;
	bool json;
};

/* --- text -------------------------------------------------------------------
 */

static bool
has_colour(void)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (none == NULL || none[0] == '\0') &&
	       term != NULL && strcmp(term, "dumb") != 0;
}

static const char *
colour(const char *code)
{
	return has_colour() ? code : "";
}

static const char *
mark(bool good)
{
	return colour(good ? "\033[32m" : "\033[31m");
}

static const char *
plain(void)
{
	return colour("\033[0m");
}

static void
print_label(const char *label)
{
	printf("  %-12s ", label);
}

static void
print_line(const char *label, const char *text)
{
	if (text[0] == '\0')
		return;
	print_label(label);
	printf("%s\n", text);
}

static void
print_tried(const struct probe *probe)
{
	for (size_t i = 0; i < probe->tried_count; i++) {
		const struct probe_tried *tried = &probe->tried[i];

		print_label("address");
		printf("%s%s%s\n", tried->address,
		    tried->outcome[0] == '\0' ? "" : ": ", tried->outcome);
	}
}

static void
print_tls(const struct probe *probe)
{
	const struct facts *facts = &probe->facts;

	print_label("TLS");
	if (facts->tls)
		printf("TLS 1.%d, %s%s%s, %u bits\n",
		    facts->version == 13 ? 3 : 2, facts->suite,
		    facts->group[0] == '\0' ? "" : ", ", facts->group,
		    facts->bits);
	else
		printf("none: %s\n", facts->why_not_text[0] == '\0'
					 ? "not tried"
					 : facts->why_not_text);
}

static void
print_validity(const struct probe *probe, const struct probe_certificate *one)
{
	char from[CERT_TIME_SIZE], until[CERT_TIME_SIZE];
	long long left = probe_days(probe, one->until);

	cert_print_time(from, (time_t)one->from);
	cert_print_time(until, (time_t)one->until);
	print_label("  valid");
	printf("%.10s to %.10s, %s", from, until,
	    left < SOON_DAYS ? colour("\033[33m") : "");
	if (one->from > (long long)probe->now)
		printf("not yet valid");
	else if (left < 0)
		printf("expired");
	else
		printf("%lld day%s left", left, left == 1 ? "" : "s");
	printf("%s\n", left < SOON_DAYS ? plain() : "");
}

static void
print_certificates(const struct probe *probe)
{
	for (size_t i = 0; i < probe->certificate_count; i++) {
		const struct probe_certificate *one = &probe->certificates[i];

		print_label(i == 0 ? "certificate" : "sent with");
		printf("%s\n",
		    one->subject[0] == '\0' ? "(no subject)" : one->subject);
		print_line("  issuer", one->issuer);
		print_validity(probe, one);
		print_label("  key");
		printf("%s, signed with %s\n", one->key, one->signature);
		print_label("  pin");
		printf("pin=%s\n", one->pin);
	}
	if (probe->facts.tls && probe->certificate_count == 0)
		print_line("certificate", probe->facts.peer_cert
					      ? "one that cannot be read"
					      : "none");
}

static void
print_names(const struct probe *probe)
{
	const char *name = probe->names;

	if (probe->certificate_count == 0)
		return;
	print_label("names");
	if (*name == '\0')
		printf("none in the subjectAltName");
	for (; *name != '\0'; name += strlen(name) + 1)
		printf("%s%s", name == probe->names ? "" : " ", name);
	printf("%s\n", probe->names_cut ? " ..." : "");
}

static void
print_trust(const struct probe *probe)
{
	if (probe->certificate_count == 0)
		return;
	print_label("purpose");
	printf("%s%s%s\n", mark(probe->facts.purpose == PURPOSE_YES),
	    probe_purpose_word(probe), plain());
	for (size_t i = 0; i < probe->set_count; i++) {
		const struct probe_set *set = &probe->sets[i];

		print_label(i == 0 ? "chain" : "");
		printf("%s%s%s, by %s%s%s\n", mark(set->state == CHAIN_GOOD),
		    probe_chain_word(set->state), plain(), set->path,
		    set->crl[0] == '\0' ? "" : " and ", set->crl);
	}
}

static void
print_ocsp(const struct probe *probe)
{
	const struct ocsp *ocsp = &probe->ocsp;
	char when[CERT_TIME_SIZE];

	if (probe->certificate_count == 0)
		return;
	print_label("OCSP");
	if (ocsp->state == OCSP_ABSENT)
		printf("nothing stapled");
	else
		printf("%s%s%s", ocsp_word(ocsp->state),
		    ocsp->text[0] == '\0' ? "" : ": ", ocsp->text);
	if (ocsp->this_update != (time_t)-1) {
		cert_print_time(when, ocsp->this_update);
		printf(", of %s", when);
	}
	if (ocsp->next_update != (time_t)-1) {
		cert_print_time(when, ocsp->next_update);
		printf(" to %s", when);
	}
	if (probe->must_staple)
		printf("%s", ocsp->state == OCSP_ABSENT
				 ? ", though the certificate demands it"
				 : ", demanded by the certificate");
	printf("\n");
}

static void
print_dane(const struct probe *probe)
{
	print_label("DANE");
	printf("%s", probe_dane_word(probe));
	if (probe->tlsa_count > 0)
		printf(", %zu TLSA record%s", probe->tlsa_count,
		    probe->tlsa_count == 1 ? "" : "s");
	printf("%s%s\n", probe->facts.dane_text[0] == '\0' ? "" : ": ",
	    probe->facts.dane_text);
}

static void
print_extensions(const struct probe *probe)
{
	const char *at = probe->keywords, *end;
	bool first = true;

	print_label(probe->facts.tls ? "in TLS" : "in clear");
	if (!probe->greeted)
		printf("%sEHLO was not answered%s%s%s", mark(false), plain(),
		    probe->ungreeted[0] == '\0' ? "" : ": ", probe->ungreeted);
	for (; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		printf("%s%.*s", first ? "" : ", ", (int)(end - at), at);
		first = false;
	}
	printf("\n");
}

/* --- the row and the decision -----------------------------------------------
 */

struct row_wanted {
	const struct probe *probe;
	const char *file;
	bool is_both;
};

static bool
print_row(void *context, unsigned line, const char *text)
{
	const struct row_wanted *wanted = context;

	if (line != wanted->probe->demand->rows[0].line)
		return true;
	print_label("row");
	printf("%s:%u: %s\n", wanted->file, line, text);
	return false;
}

static void
print_decision(const char *label, const struct decision *decision)
{
	char record[2048];

	(void)decision_print(decision, record, sizeof(record));
	print_label(label);
	printf("%s\n", record);
}

static void
print_judgement(const struct probe *probe, const struct policy *policy)
{
	struct row_wanted wanted = { .probe = probe,
		.file = policy->source.path };
	bool met = probe_is_met(probe);

	if (probe->demand == NULL || !probe->judged)
		return;
	if (policy->table == NULL || probe->demand->rows[0].line == 0)
		print_line("row", "none speaks: encrypt");
	else
		(void)table_each(policy->table, print_row, &wanted, NULL);
	print_decision("decision", &probe->decision);
	if (probe->enforced.verdict != probe->decision.verdict ||
	    probe->enforced.asked != probe->decision.asked)
		print_decision("if enforced", &probe->enforced);
	print_label("level");
	printf("%s asked, %s reached: %s%s%s\n",
	    level_word(probe->decision.asked),
	    level_word(probe->decision.reached), mark(met),
	    met ? "met" : "not met", plain());
}

/* Whether it is about what comes in, too, a demand does not say. */
static bool
find_both(void *context, unsigned line, const char *text)
{
	struct row_wanted *wanted = context;

	if (line != wanted->probe->demand->rows[0].line)
		return true;
	text += strcspn(text, " ");
	wanted->is_both = strncmp(text, " both ", 6) == 0;
	return false;
}

/* Who pastes it has to know what goes: the line it would stand in place of, and
 * what that asks beyond it. */
static void
print_strongest_heading(const struct probe *probe, const struct policy *policy)
{
	const struct demand_row *row = &probe->demand->rows[0];
	size_t key = strcspn(probe->strongest, " ");
	struct row_wanted wanted = { .probe = probe };

	printf("\nThe strongest row it passes today");
	if (row->line != 0 && strlen(row->site) == key &&
	    memcmp(row->site, probe->strongest, key) == 0) {
		(void)table_each(policy->table, find_both, &wanted, NULL);
		printf(", in place of line %u%s", row->line,
		    wanted.is_both ? " (make that one \"in\")" : "");
	}
	for (size_t i = 0; i < probe->lost_count; i++)
		printf("%s%s", i == 0 ? "; it gives up " : ", ",
		    probe->lost[i]);
	printf(":\n");
}

static void
print_strongest(const struct probe *probe, const struct policy *policy)
{
	if (probe->strongest[0] != '\0') {
		print_strongest_heading(probe, policy);
		printf("%s\n", probe->strongest);
	}
	if (probe->way_count > 0)
		printf("\nIn the way of a stronger one:\n");
	for (size_t i = 0; i < probe->way_count; i++)
		printf("  %s\n", probe->ways[i]);
}

static void
print_probe(const struct probe *probe, const struct policy *policy)
{
	const struct probe_target *target = &probe->target;
	bool six = strchr(target->host, ':') != NULL;

	printf("%s%s%s:%u, %s\n", six ? "[" : "", target->host, six ? "]" : "",
	    target->port, target->implicit_tls ? "implicit TLS" : "STARTTLS");
	print_tried(probe);
	if (!probe->connected) {
		print_label("result");
		printf("%snot reached%s: %s\n", mark(false), plain(),
		    probe->why);
		return;
	}
	print_line("greeting", probe->greeting);
	print_line("STARTTLS", probe->starttls);
	print_tls(probe);
	print_line("we showed", probe->identity);
	print_certificates(probe);
	print_names(probe);
	print_trust(probe);
	print_ocsp(probe);
	print_dane(probe);
	print_extensions(probe);
	print_judgement(probe, policy);
	print_strongest(probe, policy);
}

/* --- the command ------------------------------------------------------------
 */

void
policy_probe_usage(FILE *to)
{
	fprintf(to,
	    "usage: sallyport [-c FILE] policy probe HOST[:PORT]\n"
	    "           [--tls implicit|starttls] [--address ADDR]\n"
	    "           [--timeout S] [--json]\n"
	    "       sallyport [-c FILE] policy audit [--list FILE] [--jobs N]\n"
	    "           [--timeout S] [--json]\n\n"
	    "probe connects as the relay would and shows what there is; audit "
	    "does so for\nall sites of the table, or of FILE (- is standard "
	    "input).  Port 587 and STARTTLS\nunless said otherwise, implicit "
	    "TLS for 465.  --timeout is for the lookup and for\neach address, "
	    "%d seconds if not given.\nExit status: 0 the row that speaks is "
	    "met (audit: all would be), 1 not, 2 wrong\nusage.\n",
	    PROBE_TIMEOUT_S);
}

static int
wrong_usage(const char *what)
{
	fprintf(stderr, "sallyport policy probe: %s\n", what);
	policy_probe_usage(stderr);
	return TOOL_USAGE;
}

bool
policy_probe_number(const char *text, unsigned most, unsigned *out)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtoul(text, &end, 10);
	if (*end != '\0' || value == 0 || value > most)
		return false;
	*out = (unsigned)value;
	return true;
}

/* An exit status, or -1: go on. */
static int
take_arguments(struct arguments *out, int argc, char **argv)
{
	static const struct option words[] = {
		{ "tls", required_argument, NULL, 't' },
		{ "address", required_argument, NULL, 'a' },
		{ "timeout", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct address address;
	int letter;

	*out = (struct arguments){ .timeout_s = PROBE_TIMEOUT_S };
	optind = 0;
	while ((letter = getopt_long(argc, argv, "h", words, NULL)) != -1) {
		if (letter == 't')
			out->tls = optarg;
		else if (letter == 'a')
			out->address = optarg;
		else if (letter == 'j')
			out->json = true;
		else if (letter == 's') {
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
	if (argc - optind != 1)
		return wrong_usage("expected one HOST or HOST:PORT");
	out->site = argv[optind];
	if (out->tls != NULL && strcmp(out->tls, "implicit") != 0 &&
	    strcmp(out->tls, "starttls") != 0)
		return wrong_usage("--tls: expected implicit or starttls");
	if (out->address != NULL && !address_parse(&address, out->address))
		return wrong_usage("--address: expected an address literal");
	return -1;
}

static int
print_result(const struct probe *probe, const struct policy *policy, bool json)
{
	json_t *object;

	if (!json) {
		print_probe(probe, policy);
	} else {
		object = probe_json(probe);
		if (object == NULL) {
			fprintf(stderr, "sallyport: out of memory\n");
			return TOOL_NO;
		}
		json_dumpf(object, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(object);
	}
	return probe_is_met(probe) ? TOOL_DONE : TOOL_NO;
}

static int
run(struct probe_setup *setup, const struct arguments *arguments)
{
	struct probe_options options = {
		.address = arguments->address,
		.timeout_ms = (int)arguments->timeout_s * 1000,
		.stop_at_ms = &probe_stop_at_ms,
	};
	struct resolver *resolver;
	struct probe_target target;
	struct probe *probe;
	struct reason why;
	int status = TOOL_NO;

	if (!probe_target(&target, setup, arguments->site, &why)) {
		tool_error(&why);
		return TOOL_USAGE;
	}
	if (arguments->tls != NULL)
		target.implicit_tls = strcmp(arguments->tls, "implicit") == 0;
	if (!probe_resolver(setup, &resolver, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	probe = probe_run(setup, resolver, &target, &options);
	if (probe == NULL)
		fprintf(stderr, "sallyport: out of memory\n");
	else if (atomic_load(&probe_stop_at_ms) == 0)
		status =
		    print_result(probe, probe_policy(setup), arguments->json);
	probe_free(probe);
	resolver_free(resolver);
	return status;
}

int
policy_probe(int argc, char **argv)
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
