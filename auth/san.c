/* auth/san.c: names in certificates that a login may be bound to, as text. */
#include "san.h"

#include <stdio.h>
#include <string.h>

/* Host names have the grammar of realms; some write the root's dot. */
static bool
host_parse(char out[static NAME_REALM_MAX + 1], const char *text)
{
	char host[NAME_REALM_MAX + 2];
	size_t len = strlen(text);

	if (len >= sizeof host)
		return false;
	strcpy(host, text);
	if (len > 1 && host[len - 1] == '.')
		host[len - 1] = '\0';
	return name_realm_parse(out, host, NULL);
}

/* RFC 5321's Local-part: a quoted one is compared as it is written. */
static bool
is_local(const char *local, size_t len)
{
	if (len == 0 || len > NAME_LOCAL_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (local[i] <= ' ' || local[i] > '~')
			return false;
	return true;
}

bool
san_parse(char out[static ENTRY_SAN_MAX + 1], const char *text,
    struct reason *why)
{
	char host[NAME_REALM_MAX + 1], made[8 + NAME_SIZE] = "";
	const char *at;

	if (strncmp(text, "dns:", 4) == 0) {
		if (host_parse(host, text + 4))
			snprintf(made, sizeof made, "dns:%s", host);
	} else if (strncmp(text, "email:", 6) == 0) {
		at = strrchr(text, '@');
		if (at != NULL && is_local(text + 6, (size_t)(at - text - 6)) &&
		    host_parse(host, at + 1))
			snprintf(made, sizeof made, "%.*s@%s", (int)(at - text),
			    text, host);
	}
	if (made[0] == '\0' || strlen(made) > ENTRY_SAN_MAX)
		return fail(why, REASON_SYNTAX,
		    "\"%.64s\": expected dns:HOST or email:MAILBOX", text);
	strcpy(out, made);
	return true;
}
