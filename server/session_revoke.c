/*
 * server/session_revoke.c: ends the sessions of a login.
 *
 * What auth takes away it says in AUTH_CHANGED.  The session's grant is read
 * here by a thread that does not own the session: it is published once, does
 * not change, and lives while the session is in its generation's list.
 */
#include <string.h>

#include "log.h"
#include "session.h"

struct revocation {
	const char *login;
	unsigned sessions;
};

static void
revoke_if(struct session *s, void *context)
{
	const struct grant *grant = atomic_load(&s->grant);
	struct revocation *revocation = context;

	if (grant == NULL || !grant_is_of(grant, revocation->login))
		return;
	revocation->sessions++;
	session_revoke(s);
}

void
sessions_revoke(const char *login, const char *text)
{
	struct revocation revocation = { login, 0 };
	char user[600], detail[600];

	generations_visit(revoke_if, &revocation);
	log_line(SAY_NOTE, "revoked", "user=%s sessions=%u detail=%s",
	    login[0] != '\0'
		? log_value(user, sizeof user, login, strlen(login))
		: "*",
	    revocation.sessions,
	    log_value(detail, sizeof detail, text, strlen(text)));
}
