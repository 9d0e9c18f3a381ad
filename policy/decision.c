/*
 * policy/decision.c: the record of a decision as text, the same everywhere.
 */
#include "decide.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *
version_word(unsigned version)
{
	switch (version) {
	case 0:
		return "none";
	case 12:
		return "TLS1.2";
	case 13:
		return "TLS1.3";
	default:
		return "older";
	}
}

const char *
verdict_word(enum verdict verdict)
{
	static const char *const words[] = {
		[VERDICT_PASS] = "pass",
		[VERDICT_OBSERVED] = "observed",
		[VERDICT_TEMPORARY] = "refuse-temporary",
		[VERDICT_PERMANENT] = "refuse-permanent",
	};

	return (unsigned)verdict < COUNT(words) ? words[verdict] : "?";
}

/* Strangers chose parts of it: printable ASCII alone, one line. */
static void
escape(const char *text, char *out, size_t size)
{
	size_t len = 0;

	for (; *text != '\0' && len + 5 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			out[len++] = '\\';
			out[len++] = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			len += (size_t)snprintf(out + len, size - len,
			    "\\x%02x", c);
		} else {
			out[len++] = (char)c;
		}
	}
	out[len] = '\0';
}

static size_t
printed(int wanted, size_t size)
{
	if (wanted < 0 || size == 0)
		return 0;
	return (size_t)wanted < size ? (size_t)wanted : size - 1;
}

size_t
decision_print_asked(const struct decision *decision, char *out, size_t size)
{
	char site[300];

	escape(decision->site, site, sizeof(site));
	return printed(snprintf(out, size,
			   "direction=%s site=%s row=%s asked=%s",
			   decision->side == SIDE_IN ? "in" : "out", site,
			   decision->rows, level_word(decision->asked)),
	    size);
}

size_t
decision_print(const struct decision *decision, char *out, size_t size)
{
	const char *result = reason_result_type(decision->code);
	char asked[640], detail[2 * REASON_TEXT_MAX];

	(void)decision_print_asked(decision, asked, sizeof(asked));
	escape(decision->detail, detail, sizeof(detail));
	return printed(
	    snprintf(out, size,
		"%s reached=%s verdict=%s reason=%s%s%s tls=%s%s%s%s%s%s%s%s",
		asked, level_word(decision->reached),
		verdict_word(decision->verdict), reason_word(decision->code),
		result[0] == '\0' ? "" : " result=", result,
		version_word(decision->version),
		decision->suite[0] == '\0' ? "" : " suite=", decision->suite,
		decision->ended[0] == '\0' ? "" : " ended=", decision->ended,
		detail[0] == '\0' ? "" : " detail=\"", detail,
		detail[0] == '\0' ? "" : "\""),
	    size);
}

enum { REPLY_OCTETS = 200 };

size_t
decision_reply(const struct decision *decision, char *out, size_t size)
{
	const char *result = reason_result_type(decision->code);
	char detail[REASON_TEXT_MAX], site[128];

	if (size > REPLY_OCTETS + 1)
		size = REPLY_OCTETS + 1;
	escape(decision->detail, detail, sizeof(detail));
	escape(decision->site, site, sizeof(site));
	return printed(
	    snprintf(out, size,
		"TLS policy for %s: %s asked, %s reached: %s (row %.40s%s%s)"
		"%s%s",
		site, level_word(decision->asked),
		level_word(decision->reached), reason_word(decision->code),
		decision->rows, result[0] == '\0' ? "" : ", ", result,
		detail[0] == '\0' ? "" : ": ", detail),
	    size);
}
