/*
 * server/prepare_routes.c: the table of routes, compiled for those who ask it.
 */
#include "prepare_internal.h"

#include <limits.h>
#include <stdio.h>

#include "../policy/routes.h"
#include "files.h"

static void
report_routes(void *context, bool is_error, const char *text)
{
	struct work *w = context;

	w->options->report(w->options->context, is_error, text);
}

static bool
routes_are_whole(const char *path)
{
	struct routes *routes;

	if (!routes_open(&routes, path, true, NULL))
		return false;
	routes_close(routes);
	return true;
}

/* At start what was in force before is better than no server; a reload keeps
 * what is in force. */
static void
use_last(struct work *w, const char *folder, const char *trouble)
{
	char text[1024];

	if (!w->options->last_table ||
	    !work_last_good(folder, "routes", routes_are_whole,
		w->prepared->routes)) {
		work_report(w, true, "%s", trouble);
		return;
	}
	snprintf(text, sizeof(text),
	    "%.700s; the last good routes %s are in force", trouble,
	    w->prepared->routes);
	work_report_alarm(w, text);
}

static void
compile(struct work *w, const struct routes_source *source, const char *folder)
{
	struct reason why;

	if (w->options->only_check) {
		if (!routes_check(source, report_routes, w))
			w->failed = true;
		return;
	}
	if (!routes_compile(source, folder, w->prepared->routes, report_routes,
		w, &why))
		use_last(w, folder, why.text);
}

void
work_routes(struct work *w)
{
	struct routes_source source = { .path = w->config->routes };
	char folder[PATH_MAX], text[PATH_MAX + 512];
	struct reason why;

	if (w->config->routes == NULL)
		return;
	snprintf(folder, sizeof(folder), "%s/run/tables", w->config->state);
	if (files_read(source.path, &source.text, &why)) {
		compile(w, &source, folder);
		files_free(&source.text);
	} else {
		snprintf(text, sizeof(text), "%s: routes: %s", w->config->path,
		    why.text);
		if (w->options->only_check)
			work_report(w, true, "%s", text);
		else
			use_last(w, folder, text);
	}
	if (w->prepared->routes[0] == '\0')
		return;
	work_add(w, ROLE_SESSION, BUNDLE_ROUTES, w->prepared->routes, NULL);
	work_add(w, ROLE_RELAY, BUNDLE_ROUTES, w->prepared->routes, NULL);
}
