/*
 * tools/route_table.c: the configuration's table of routes, for what a tool
 * explains.
 */
#include "route_table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../server/files.h"

bool
route_table_open(struct routes **routes_out, const struct routes_source *source,
    table_report tell, void *context, struct reason *why)
{
	const char *base = getenv("TMPDIR");
	char folder[PATH_MAX], path[PATH_MAX + MAP_NAME], name[MAP_NAME];
	bool ok;

	(void)snprintf(folder, sizeof(folder), "%s/sallyport-route-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");
	if (mkdtemp(folder) == NULL)
		return fail_errno(why, "%s", folder);
	ok = routes_compile(source, folder, name, tell, context, why);
	if (ok) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
		ok = routes_open(routes_out, path, false, why);
		(void)unlink(path);
	}
	(void)rmdir(folder);
	return ok;
}

static void
tell_stderr(void *context, bool is_error, const char *text)
{
	(void)context;
	(void)is_error;
	fprintf(stderr, "%s\n", text);
}

bool
route_table_load(struct routes **routes_out, const char *path,
    struct reason *why)
{
	struct routes_source source = { .path = path };
	bool ok;

	*routes_out = NULL;
	if (path == NULL)
		return true;
	if (!files_read(path, &source.text, why))
		return false;
	ok = route_table_open(routes_out, &source, tell_stderr, NULL, why);
	files_free(&source.text);
	return ok;
}
