/*
 * tools/route_table.h: the configuration's table of routes, for what a tool
 * explains: as a start or a reload would put it in force.
 */
#ifndef TOOLS_ROUTE_TABLE_H
#define TOOLS_ROUTE_TABLE_H

#include "../policy/routes.h"

/* Compile aside and open; the caller closes it.  Errors of rows go to tell with
 * context, trouble besides into why. */
bool route_table_open(struct routes **routes_out,
    const struct routes_source *source, table_report tell, void *context,
    struct reason *why);

/* The same of a file by its path; NULL: there is no table, *routes_out is NULL
 * then.  Errors are told on stderr. */
bool route_table_load(struct routes **routes_out, const char *path,
    struct reason *why);

#endif
