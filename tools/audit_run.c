/*
 * tools/audit_run.c: probing many sites at once, and what each probe comes to.
 *
 * The threads share the number of the next site; a site belongs to the thread
 * that took it.  The main thread draws the progress bar.
 */
#include "audit.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cert.h"
#include "probe_signal.h"
#include "tool.h"

enum { BAR_CELLS = 30, BAR_MS = 200 };

/* Descriptors: of us all, and of a job with its resolver; libunbound ends the
 * program where it lacks one. */
enum { DESCRIPTORS = 64, DESCRIPTORS_JOB = 48 };

struct work {
	struct audit *audit;
	atomic_size_t next, done;
	atomic_uint running;
};

struct worker {
	struct work *work;
	struct resolver *resolver;
	pthread_t thread;
};

void
audit_find(struct audit_site *site, const char *format, ...)
{
	char *text;
	va_list ap;
	int n;

	if (site->finding_count == AUDIT_FINDINGS)
		return;
	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n >= 0)
		site->findings[site->finding_count++] = text;
}

/* --- one site ---------------------------------------------------------------
 */

static char *
failure_of(const struct probe *probe)
{
	const struct decision *decision = &probe->enforced;
	char detail[4 * REASON_TEXT_MAX];
	char *text;
	int n;

	probe_escape(detail, sizeof(detail), decision->detail,
	    strlen(decision->detail));
	if (!probe->judged)
		n = asprintf(&text, "not reached: %s", probe->why);
	else
		n = asprintf(&text, "%s asked by %s, %s reached: %s%s%s",
		    level_word(decision->asked), decision->rows,
		    level_word(decision->reached), reason_word(decision->code),
		    detail[0] == '\0' ? "" : ": ", detail);
	return n < 0 ? NULL : text;
}

/* The first of the chain to end. */
static void
find_end(struct audit_site *site, const struct probe *probe)
{
	const struct probe_certificate *first = NULL;
	char when[CERT_TIME_SIZE];

	for (size_t i = 0; i < probe->certificate_count; i++)
		if (first == NULL ||
		    probe->certificates[i].until < first->until)
			first = &probe->certificates[i];
	if (first == NULL ||
	    first->until - (long long)probe->now > AUDIT_SOON_S)
		return;
	cert_print_time(when, (time_t)first->until);
	if (first->until < (long long)probe->now)
		audit_find(site, "certificate %s ended %.10s", first->subject,
		    when);
	else
		audit_find(site, "certificate %s ends %.10s, %lld days left",
		    first->subject, when, probe_days(probe, first->until));
}

static void
take_probe(struct audit *audit, struct audit_site *site,
    const struct probe *probe)
{
	site->probed = true;
	site->fails = !probe_would_be_met(probe);
	if (site->fails)
		site->failure = failure_of(probe);
	find_end(site, probe);
	if (probe->ocsp.state == OCSP_REVOKED)
		audit_find(site, "the stapled OCSP response says: revoked");
	else if (probe->must_staple && probe->ocsp.state != OCSP_GOOD)
		audit_find(site,
		    "a stapled OCSP response is demanded by the "
		    "certificate: %s",
		    ocsp_word(probe->ocsp.state));
	if (probe->connected && probe->ungreeted[0] != '\0')
		audit_find(site, "EHLO was not answered: %s", probe->ungreeted);
	if (audit->json)
		site->json = probe_json(probe);
}

static void *
worker_main(void *context)
{
	struct worker *worker = context;
	struct work *work = worker->work;
	struct audit *audit = work->audit;
	size_t i;

	while (atomic_load(&probe_stop_at_ms) == 0 &&
	       (i = atomic_fetch_add(&work->next, 1)) < audit->count) {
		struct audit_site *site = &audit->sites[i];
		struct probe *probe;

		if (site->skipped == NULL) {
			probe = probe_run(audit->setup, worker->resolver,
			    &site->target, &audit->options);
			if (probe != NULL)
				take_probe(audit, site, probe);
			else
				site->fails = true; /* out of memory */
			probe_free(probe);
		}
		atomic_fetch_add(&work->done, 1);
	}
	atomic_fetch_sub(&work->running, 1);
	return NULL;
}

/* --- all of them ------------------------------------------------------------
 */

static void
draw_bar(const struct work *work)
{
	size_t count = work->audit->count;
	size_t done = atomic_load(&work->done);
	size_t cells = count == 0 ? BAR_CELLS : done * BAR_CELLS / count;
	char bar[BAR_CELLS + 1];

	for (size_t i = 0; i < BAR_CELLS; i++)
		bar[i] = i < cells ? '#' : '.';
	bar[BAR_CELLS] = '\0';
	fprintf(stderr, "\r[%s] %zu of %zu", bar, done, count);
}

/* The line is taken away again: what is printed next begins at its start. */
static void
watch(const struct work *work)
{
	bool bar = isatty(STDERR_FILENO) == 1;

	while (atomic_load(&work->running) > 0) {
		if (bar)
			draw_bar(work);
		usleep(bar ? BAR_MS * 1000 : BAR_MS * 100);
	}
	if (bar)
		fprintf(stderr, "\r%*s\r", BAR_CELLS + 40, "");
}

/* As many jobs as may have descriptors; at least one. */
static unsigned
jobs_affordable(unsigned wanted)
{
	rlim_t need = DESCRIPTORS + (rlim_t)wanted * DESCRIPTORS_JOB;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
		return wanted;
	limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= need)
		return wanted;
	if (limit.rlim_cur < DESCRIPTORS + 2 * DESCRIPTORS_JOB)
		return 1;
	return (unsigned)((limit.rlim_cur - DESCRIPTORS) / DESCRIPTORS_JOB);
}

/* libunbound's contexts are made before there are threads. */
static bool
resolvers_new(const struct audit *audit, struct worker *workers, unsigned count,
    struct reason *why)
{
	for (unsigned i = 0; i < count; i++)
		if (!probe_resolver(audit->setup, &workers[i].resolver, why))
			return false;
	return true;
}

static bool
run(struct work *work, struct worker *workers, unsigned count,
    struct reason *why)
{
	unsigned started = 0;

	if (!resolvers_new(work->audit, workers, count, why))
		return false;
	for (; started < count; started++) {
		struct worker *worker = &workers[started];

		worker->work = work;
		atomic_fetch_add(&work->running, 1);
		if (pthread_create(&worker->thread, NULL, worker_main,
			worker) != 0) {
			atomic_fetch_sub(&work->running, 1);
			break;
		}
	}
	watch(work);
	for (unsigned i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	return started > 0 ||
	       fail(why, REASON_NO_MEMORY, "no thread could be started");
}

bool
audit_run(struct audit *audit)
{
	struct worker workers[AUDIT_JOBS_MOST] = { 0 };
	struct work work = { .audit = audit };
	unsigned count = audit->jobs;
	struct reason why;
	bool ok;

	if (count > audit->count)
		count = audit->count > 0 ? (unsigned)audit->count : 1;
	count = jobs_affordable(count);
	json_object_seed(0); /* before there are threads */
	ok = run(&work, workers, count, &why);
	for (unsigned i = 0; i < count; i++)
		if (workers[i].resolver != NULL)
			resolver_free(workers[i].resolver);
	if (!ok)
		tool_error(&why);
	return ok && atomic_load(&probe_stop_at_ms) == 0;
}
