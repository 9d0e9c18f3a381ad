/*
 * tools/probe_words.c: what a probe found, as words for a person and for JSON
 * alike.
 */
#include "probe.h"

#include <stdio.h>

void
probe_escape(char *out, size_t size, const char *text, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < len && at + 5 <= size; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c < 0x7f)
			out[at++] = (char)c;
		else
			at +=
			    (size_t)snprintf(out + at, size - at, "\\x%02x", c);
	}
	if (size > 0)
		out[at] = '\0';
}

const char *
probe_chain_word(enum chain_state state)
{
	static const char *const words[] = {
		[CHAIN_UNCHECKED] = "no usable trust anchors",
		[CHAIN_GOOD] = "good",
		[CHAIN_UNTRUSTED] = "untrusted",
		[CHAIN_SELF_SIGNED] = "self-signed",
		[CHAIN_EXPIRED] = "expired",
		[CHAIN_NOT_YET_VALID] = "not yet valid",
		[CHAIN_REVOKED] = "revoked",
		[CHAIN_REVOCATION_UNKNOWN] = "revocation unknown",
		[CHAIN_UNSTAPLED] = "no good staple",
		[CHAIN_WEAK] = "weak",
		[CHAIN_BAD] = "bad",
	};

	return words[state];
}

const char *
probe_purpose_word(const struct probe *probe)
{
	static const char *const words[] = {
		[PURPOSE_UNKNOWN] = "no certificate",
		[PURPOSE_YES] = "serverAuth",
		[PURPOSE_OTHER] = "without serverAuth",
		[PURPOSE_NONE] = "no extended key usage",
	};

	return words[probe->facts.purpose];
}

const char *
probe_dane_word(const struct probe *probe)
{
	static const char *const words[] = {
		[DANE_UNCHECKED] = "unchecked",
		[DANE_GOOD] = "good",
		[DANE_NONE] = "none",
		[DANE_MISMATCH] = "mismatch",
		[DANE_FAILED] = "failed",
	};

	return words[probe->facts.dane];
}

long long
probe_days(const struct probe *probe, long long then)
{
	long long left = then - (long long)probe->now;

	return left >= 0 ? left / 86400 : -((-left + 86399) / 86400);
}
