/*
 * t/fuzz/routes.c: lines of the table of routes.
 *
 * A row that parses prints to one that parses to the same text.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../policy/routes.h"
#include "../../policy/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	static char text[LINE_MAX_OCTETS], again[LINE_MAX_OCTETS];
	struct route route;
	struct reason why;

	if (route_parse(&route, (const char *)octets, len, &why) != ROUTE_ROW)
		return 0;
	route_print(&route, text, sizeof(text));
	assert(route_parse(&route, text, strlen(text), &why) == ROUTE_ROW);
	route_print(&route, again, sizeof(again));
	assert(strcmp(text, again) == 0);
	return 0;
}
