/*
 * server/bounce_address.c: addresses in a notification (RFC 3464, section
 * 2.3; RFC 6533, section 3).
 */
#include "bounce_internal.h"

#include <string.h>

#include "smtp_utf8.h"

void
bounce_put_ascii(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		fputc(c < 0x20 || c >= 0x7f ? '?' : c, out);
	}
}

bool
bounce_is_utf8(const struct bounce *bounce, const char *path)
{
	return bounce->original->smtputf8 && utf8_has_high(slice_of(path)) &&
	       smtp_is_utf8_path(path);
}

bool
bounce_is_global(const struct bounce *bounce)
{
	return bounce_is_utf8(bounce, bounce->original->reverse_path);
}

void
bounce_put_path(FILE *out, const struct bounce *bounce, const char *path)
{
	if (bounce_is_utf8(bounce, path))
		fputs(path, out);
	else
		bounce_put_ascii(out, path);
}

void
bounce_put_typed(FILE *out, const struct bounce *bounce, const char *path)
{
	char xtext[UTF8_XTEXT_SIZE];

	if (!bounce_is_utf8(bounce, path)) {
		fputs("rfc822; ", out);
		bounce_put_ascii(out, path);
		return;
	}
	fputs("utf-8; ", out);
	if (!bounce_is_global(bounce) && utf8_xtext_encode(path, xtext))
		fputs(xtext, out);
	else
		fputs(path, out);
}

/* As it was before it was written as xtext (RFC 3461, section 6.3): that of a
 * spool whose writer cannot be trusted may be anything. */
static void
put_xtext(FILE *out, const char *name, struct slice type, struct slice xtext)
{
	char text[SMTP_ORCPT_MAX + 1];

	if (xtext.len <= SMTP_ORCPT_MAX && smtp_xtext_decode(xtext, text))
		fprintf(out, "%s: %.*s%s%s\r\n", name, (int)type.len, type.at,
		    type.len > 0 ? "; " : "", text);
}

/* RFC 6533, section 3: the address itself where UTF-8 goes, else the form that
 * is ASCII. */
static bool
put_utf8_orcpt(FILE *out, const struct bounce *bounce, struct slice address)
{
	char path[SMTP_ORCPT_MAX + 1], xtext[UTF8_XTEXT_SIZE];

	if (!utf8_address_decode(address, path))
		return false;
	if (!bounce_is_global(bounce) && utf8_xtext_encode(path, xtext))
		fprintf(out, "Original-Recipient: utf-8; %s\r\n", xtext);
	else
		fprintf(out, "Original-Recipient: utf-8; %s\r\n", path);
	return true;
}

void
bounce_put_original(FILE *out, const struct bounce *bounce, const char *orcpt)
{
	struct slice type, xtext;

	if (orcpt == NULL || !smtp_is_orcpt(slice_of(orcpt)))
		return;
	smtp_split_orcpt(slice_of(orcpt), &type, &xtext);
	if (!slice_is(type, "utf-8") || !put_utf8_orcpt(out, bounce, xtext))
		put_xtext(out, "Original-Recipient", type, xtext);
}

void
bounce_put_envid(FILE *out, const char *envid)
{
	put_xtext(out, "Original-Envelope-Id", slice_of(""), slice_of(envid));
}
