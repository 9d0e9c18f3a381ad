/*
 * t/unit/submission_parts.c: header fields in UTF-8 inside a message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../server/submission_parts.h"

#include <cmocka.h>

#define HEAD "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

static const struct {
	const char *what, *message;
	bool has_utf8;
} rows[] = {
	{ "nothing", "", false },
	{ "ASCII", HEAD "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n",
	    false },
	{ "a file's name",
	    HEAD "--b\r\nContent-Type: text/plain; name=\xc3\xbc\r\n\r\n",
	    true },
	{ "in a folded line",
	    HEAD "--b\r\nContent-Disposition: attachment;\r\n"
		 "\tfilename=\"\xc3\xbc\"\r\n",
	    true },
	{ "of the second part",
	    HEAD "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"
		 "--b\r\ncontent-DESCRIPTION: \xc3\xbc\r\n",
	    true },
	{ "in a field before the Content field",
	    HEAD "--b\r\nX-Y: \xc3\xbc\r\nContent-Type: text/plain\r\n", true },
	{ "behind it",
	    HEAD "--b\r\nContent-Type: text/plain\r\nX-Y: \xc3\xbc\r\n", true },
	{ "after a part without fields",
	    HEAD "--b\r\n--b\r\nContent-Description: \xc3\xbc\r\n", true },
	{ "text of a part",
	    HEAD "--b\r\nContent-Type: text/plain\r\n\r\n\xc3\xbc\r\n", false },
	{ "text that looks like a field",
	    HEAD "--b\r\n\r\nContent-Type: \xc3\xbc\r\n", false },
	{ "a signature", "\r\n-- \r\nJ\xc3\xbcrgen\r\nContent-Type: x\r\n",
	    false },
	{ "a signature that looks like fields",
	    "\r\n-- \r\nTel: 1\r\nOrt: M\xc3\xbcnchen\r\n", false },
	{ "a boundary itself", HEAD "--\xc3\xbc\r\nContent-Type: x\r\n\r\n",
	    false },
	{ "one dash", "\r\n-b\r\nContent-Type: \xc3\xbc\r\n", false },
	{ "a name that is too short", "--b\r\nContent-: \xc3\xbc\r\n", false },
	{ "a line that is no field ends it",
	    "--b\r\nContent-Type: x\r\nno field\r\nX-Y: \xc3\xbc\r\n", false },
	{ "an earlier part's Content field does not count",
	    "--b\r\nContent-Type: x\r\n--b\r\nX-Y: \xc3\xbc\r\n\r\n", false },
};

static void
fields_are_found_however_they_are_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t len = strlen(rows[i].message);

		for (size_t cut = 0; cut <= len; cut++) {
			struct submission_parts parts = { 0 };

			submission_parts_look(&parts, rows[i].message, cut);
			submission_parts_look(&parts, rows[i].message + cut,
			    len - cut);
			if (parts.has_utf8 != rows[i].has_utf8)
				fail_msg("%s, cut at %zu", rows[i].what, cut);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_found_however_they_are_cut),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
