/*
 * server/trial.c: both ends of a handshake in one thread.
 */
#include "trial.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STEPS_MOST = 100 /* of a handshake; it takes about five */ };

static bool
has_failed(enum tls_io io)
{
	return io == TLS_IO_FAILED || io == TLS_IO_TRUNCATED ||
	       io == TLS_IO_EOF;
}

/* Either waits for the other only. */
static bool
shake_hands(struct tls_session *ours, struct tls_session *theirs,
    struct reason *why)
{
	enum tls_io here = TLS_IO_READ, there = TLS_IO_READ;

	for (unsigned i = 0; i < STEPS_MOST; i++) {
		if (there != TLS_IO_DONE)
			there = tls_session_handshake(theirs, why);
		if (has_failed(there))
			return false;
		if (here != TLS_IO_DONE)
			here = tls_session_handshake(ours, why);
		if (has_failed(here))
			return false;
		if (here == TLS_IO_DONE && there == TLS_IO_DONE)
			return true;
	}
	return fail(why, REASON_HANDSHAKE_FAILED, "it does not come to an end");
}

static void
note_shown(struct tls_session *ours, struct tls_session *theirs,
    struct trial_shown *out)
{
	struct facts facts;

	tls_session_facts(theirs, CERT_FOR_SERVER, &facts);
	memcpy(out->server, facts.spki, SPKI_OCTETS);
	tls_session_facts(ours, CERT_FOR_CLIENT, &facts);
	out->by_client = facts.peer_cert;
	memcpy(out->client, facts.spki, SPKI_OCTETS);
}

static bool
handshake_over(const int ends[static 2], struct tls_server *server,
    const struct tls_connect_options *options, bool ask,
    struct trial_shown *shown_out, struct reason *why)
{
	struct tls_session *ours = NULL, *theirs = NULL;
	bool ok = tls_session_accept(&ours, server, ends[0], ask, why) &&
		  tls_session_connect(&theirs, options, ends[1], why) &&
		  shake_hands(ours, theirs, why);

	if (ok)
		note_shown(ours, theirs, shown_out);
	tls_session_free(theirs);
	tls_session_free(ours);
	return ok;
}

bool
trial_handshake(struct tls_server *server,
    const struct tls_connect_options *options, bool ask,
    struct trial_shown *shown_out, struct reason *why)
{
	int ends[2];
	bool ok;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		ends) < 0)
		return fail_errno(why, "trial handshake");
	ok = handshake_over(ends, server, options, ask, shown_out, why);
	close(ends[0]);
	close(ends[1]);
	return ok;
}
