/*
 * tools/cert_server.c: a running server is asked to read its files anew.
 */
#include <stdio.h>
#include <unistd.h>

#include "../server/control.h"
#include "../server/messages.h"
#include "cert.h"

static void
ignore(void *context, const char *octets, size_t len)
{
	(void)context;
	(void)octets;
	(void)len;
}

static enum cert_taken
reload(const struct config *config, struct reason *why)
{
	const unsigned char request = CONTROL_RELOAD;
	bool ok;
	int fd;

	if (!control_connect(config->state, "master", &fd, why))
		return why->code == REASON_AWAY ? CERT_NO_SERVER : CERT_UNKNOWN;
	ok = control_ask(fd, &request, 1, ignore, NULL, why);
	close(fd);
	if (ok)
		return CERT_TAKEN;
	switch (why->code) {
	case REASON_AWAY:
	case REASON_TIMEOUT:
	case REASON_PROTOCOL:
		return CERT_UNKNOWN;
	default:
		return CERT_REFUSED;
	}
}

enum cert_taken
cert_have_taken(const struct config *config, struct reason *why)
{
	struct reason said;
	enum cert_taken taken = reload(config, &said);

	switch (taken) {
	case CERT_TAKEN:
		printf("the server has taken it\n");
		break;
	case CERT_NO_SERVER:
		printf("no server is running that would take it\n");
		break;
	case CERT_REFUSED:
		*why = said;
		break;
	case CERT_UNKNOWN:
		fail(why, said.code,
		    "whether the server has taken it is not known: %.180s",
		    said.text);
		break;
	}
	return taken;
}

bool
cert_server_is_well(const struct config *config, struct reason *why)
{
	struct reason refusal;

	if (reload(config, &refusal) != CERT_REFUSED)
		return true;
	return fail(why, refusal.code,
	    "the server refuses what is there already: %.200s", refusal.text);
}
