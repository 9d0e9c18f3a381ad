/*
 * t/fuzz/import.c: any text as another server's table.
 *
 * Beside memory errors: what is written is comments and rows that compile,
 * one a site and direction at most.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../policy/parse.h"
#include "../../policy/table.h"
#include "../../tools/policy_import.h"

static void
show(void *context, bool is_error, const char *text)
{
	(void)context;
	/* Anchors that the source names are not there. */
	if (is_error && strstr(text, "ca=") == NULL &&
	    strstr(text, "No such file") == NULL) {
		fprintf(stderr, "%s\n", text);
		abort();
	}
}

static void
check_rows(const char *text, size_t len)
{
	struct table_source source = { .path = "/etc/sites", .now = 1 };

	source.text.data = (unsigned char *)(uintptr_t)text;
	source.text.size = (unsigned)len;
	(void)table_check(&source, show, NULL);
}

static void
try_source(const uint8_t *octets, size_t len,
    void (*read)(struct import *import, const char *text, size_t len))
{
	struct import *import = import_new("table", "2099-12-31", "a \"test\"");
	char *text = NULL, *errors = NULL;
	size_t text_len = 0, errors_len = 0;
	FILE *out = open_memstream(&text, &text_len);
	FILE *err = open_memstream(&errors, &errors_len);

	assert(import != NULL && out != NULL && err != NULL);
	read(import, (const char *)octets, len);
	(void)import_print(import, out, err);
	fclose(out);
	fclose(err);
	check_rows(text, text_len);
	free(text);
	free(errors);
	import_free(import);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	try_source(octets, len, import_postfix);
	try_source(octets, len, import_sendmail);
	return 0;
}
