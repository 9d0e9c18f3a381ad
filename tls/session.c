/*
 * tls/session.c: one TLS connection, from the first octet to close_notify.
 */
#include "internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"

enum { RECORD_OCTETS_MAX = 16384 }; /* RFC 8446, 5.1 */

/* --- making one ------------------------------------------------------- */

/* Lower case, no trailing dot; false for what is no host name. */
static bool
normalise_sni(char *name)
{
	size_t i, len = strlen(name);

	if (len > 0 && name[len - 1] == '.')
		name[--len] = '\0';
	for (i = 0; i < len; i++) {
		if (name[i] >= 'A' && name[i] <= 'Z')
			name[i] = (char)(name[i] - 'A' + 'a');
		if (!((name[i] >= 'a' && name[i] <= 'z') ||
			(name[i] >= '0' && name[i] <= '9') || name[i] == '-' ||
			name[i] == '.'))
			return false;
	}
	return len > 0 && len <= TLS_NAME_MAX;
}

static char *
read_sni(gnutls_session_t gnutls)
{
	char name[TLS_NAME_MAX + 3] = "";
	size_t size = sizeof(name) - 1;
	unsigned type;

	if (gnutls_server_name_get(gnutls, name, &size, &type, 0) < 0 ||
	    type != GNUTLS_NAME_DNS || !normalise_sni(name))
		return NULL;
	return strdup(name);
}

/* A client that is asked to say hello once more comes here twice. */
static int
on_client_hello(gnutls_session_t gnutls, unsigned type, unsigned when,
    unsigned incoming, const gnutls_datum_t *hello)
{
	struct tls_session *session = gnutls_session_get_ptr(gnutls);

	(void)type;
	(void)when;
	(void)incoming;
	session->suite_keys = tls_hello_keys(hello);
	return 0;
}

/* After its extensions were read. */
static int
after_client_hello(gnutls_session_t gnutls)
{
	struct tls_session *session = gnutls_session_get_ptr(gnutls);

	free(session->sni);
	session->sni = read_sni(gnutls);
	return 0;
}

static bool
refused(struct reason *why, int rc)
{
	return fail(why,
	    rc == GNUTLS_E_MEMORY_ERROR ? REASON_NO_MEMORY : REASON_INTERNAL,
	    "TLS session: %s", gnutls_strerror(rc));
}

static struct tls_session *
session_new(unsigned flags, unsigned min, int fd, struct reason *why)
{
	const struct tls_library *library = tls_library(why);
	struct tls_session *session;
	int rc;

	if (library == NULL)
		return NULL;
	session = calloc(1, sizeof(*session));
	if (session == NULL) {
		fail(why, REASON_NO_MEMORY, "TLS session");
		return NULL;
	}
	rc = gnutls_init(&session->gnutls,
	    flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	if (rc >= 0)
		rc = gnutls_priority_set(session->gnutls,
		    tls_library_priority(library, min));
	if (rc >= 0)
		rc = gnutls_credentials_set(session->gnutls,
		    GNUTLS_CRD_CERTIFICATE, library->credentials);
	if (rc < 0) {
		refused(why, rc);
		tls_session_free(session);
		return NULL;
	}
	gnutls_session_set_ptr(session->gnutls, session);
	gnutls_handshake_set_timeout(session->gnutls, 0);
	gnutls_handshake_set_max_packet_length(session->gnutls,
	    TLS_HANDSHAKE_OCTETS_MAX);
	gnutls_transport_set_int(session->gnutls, fd);
	return session;
}

bool
tls_session_accept(struct tls_session **session_out, struct tls_server *server,
    int fd, bool ask_certificate, struct reason *why)
{
	const gnutls_datum_t smtp = { (unsigned char *)"smtp", 4 };
	gnutls_datum_t ticket_key = { server->ticket_key,
		TLS_TICKET_KEY_OCTETS };
	struct tls_session *session;
	int rc;

	session = session_new(GNUTLS_SERVER, server->min, fd, why);
	if (session == NULL)
		return false;
	session->server = tls_server_ref(server);
	gnutls_handshake_set_hook_function(session->gnutls,
	    GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_PRE, on_client_hello);
	gnutls_handshake_set_post_client_hello_function(session->gnutls,
	    after_client_hello);
	gnutls_certificate_server_set_request(session->gnutls,
	    ask_certificate ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_IGNORE);
	/* With a list of our authorities some clients show nothing. */
	gnutls_certificate_send_x509_rdn_sequence(session->gnutls, 1);
	/* Who speaks ALPN, but not of SMTP, was steered here (ALPACA). */
	rc = gnutls_alpn_set_protocols(session->gnutls, &smtp, 1,
	    GNUTLS_ALPN_MANDATORY);
	/* A ticket would let in again who once showed a certificate, and
	 * keep out who did not have it then. */
	if (rc >= 0 && server->has_tickets && !ask_certificate)
		rc = gnutls_session_ticket_enable_server(session->gnutls,
		    &ticket_key);
	if (rc < 0) {
		tls_session_free(session);
		return refused(why, rc);
	}
	*session_out = session;
	return true;
}

bool
tls_session_connect(struct tls_session **session_out,
    const struct tls_connect_options *options, int fd, struct reason *why)
{
	struct tls_session *session;
	int rc = 0;

	session = session_new(GNUTLS_CLIENT | GNUTLS_NO_TICKETS, options->min,
	    fd, why);
	if (session == NULL)
		return false;
	if (options->identity != NULL)
		session->identity = tls_identity_ref(options->identity);
	if (options->pk != GNUTLS_PK_UNKNOWN || options->only != 0)
		rc = tls_library_restrict(session->gnutls, options->pk,
		    options->only);
	if (rc >= 0 && options->sni != NULL)
		rc = gnutls_server_name_set(session->gnutls, GNUTLS_NAME_DNS,
		    options->sni, strlen(options->sni));
	if (rc < 0) {
		tls_session_free(session);
		return refused(why, rc);
	}
	*session_out = session;
	return true;
}

void
tls_session_free(struct tls_session *session)
{
	if (session == NULL)
		return;
	if (session->gnutls != NULL)
		gnutls_deinit(session->gnutls);
	/* Only now: GnuTLS used them until here. */
	if (session->server != NULL)
		tls_server_unref(session->server);
	else
		tls_identity_unref(session->identity);
	free(session->sni);
	free(session->names);
	free(session);
}

/* --- the handshake ---------------------------------------------------- */

static enum tls_io
what_to_wait_for(const struct tls_session *session)
{
	return gnutls_record_get_direction(session->gnutls) ? TLS_IO_WRITE
							    : TLS_IO_READ;
}

/* What alert the peer sent, where that is why. */
static void
explain(struct tls_session *session, int rc, enum reason_code code,
    const char *what, struct reason *why)
{
	const char *alert = NULL;

	if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
		alert =
		    gnutls_alert_get_name(gnutls_alert_get(session->gnutls));
	if (alert != NULL)
		fail(why, code, "%s: the peer sent the alert \"%s\"", what,
		    alert);
	else
		fail(why, code, "%s: %s", what, gnutls_strerror(rc));
}

static enum reason_code
handshake_reason(struct tls_session *session, int rc)
{
	if (rc == GNUTLS_E_PK_SIGN_FAILED)
		return REASON_AWAY; /* our signer's doing, not the peer's */
	if (rc == GNUTLS_E_MEMORY_ERROR)
		return REASON_NO_MEMORY;
	if (rc == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
	    (rc == GNUTLS_E_FATAL_ALERT_RECEIVED &&
		gnutls_alert_get(session->gnutls) == GNUTLS_A_PROTOCOL_VERSION))
		return REASON_PROTOCOL_TOO_OLD;
	return REASON_HANDSHAKE_FAILED;
}

static enum tls_io
handshake_failed(struct tls_session *session, int rc, struct reason *why)
{
	explain(session, rc, handshake_reason(session, rc), "TLS handshake",
	    why);
	if (rc != GNUTLS_E_FATAL_ALERT_RECEIVED)
		gnutls_alert_send_appropriate(session->gnutls, rc);
	session->failed = true;
	return TLS_IO_FAILED;
}

/* Without it a man in the middle can have two sessions with one secret
 * (RFC 7627, section 1), and there is no channel binding. */
static bool
has_own_secret(const struct tls_session *session)
{
	return gnutls_protocol_get_version(session->gnutls) == GNUTLS_TLS1_3 ||
	       gnutls_session_ext_master_secret_status(session->gnutls) != 0;
}

static enum tls_io
handshake_done(struct tls_session *session, struct reason *why)
{
	if (!has_own_secret(session)) {
		fail(why, REASON_HANDSHAKE_FAILED,
		    "TLS handshake: TLS 1.2 without extended master secret");
		gnutls_alert_send(session->gnutls, GNUTLS_AL_FATAL,
		    GNUTLS_A_HANDSHAKE_FAILURE);
		session->failed = true;
		return TLS_IO_FAILED;
	}
	session->done = true;
	session->idle_wakeups = 0;
	return TLS_IO_DONE;
}

static bool
is_busy_for_nothing(struct tls_session *session, struct reason *why)
{
	if (++session->idle_wakeups < TLS_IDLE_WAKEUPS_MAX)
		return false;
	fail(why, REASON_PROTOCOL,
	    "TLS: the peer sends records that carry no data");
	session->failed = true;
	return true;
}

enum tls_io
tls_session_handshake(struct tls_session *session, struct reason *why)
{
	int rc;

	assert(!session->done);
	for (;;) {
		rc = gnutls_handshake(session->gnutls);
		if (rc == GNUTLS_E_SUCCESS)
			return handshake_done(session, why);
		if (gnutls_error_is_fatal(rc))
			return handshake_failed(session, rc, why);
		if (is_busy_for_nothing(session, why))
			return TLS_IO_FAILED;
		if (rc == GNUTLS_E_AGAIN)
			return what_to_wait_for(session);
	}
}

/* --- application data ------------------------------------------------- */

static enum tls_io
io_failed(struct tls_session *session, int rc, const char *what,
    struct reason *why)
{
	session->failed = true;
	if (rc == GNUTLS_E_PREMATURE_TERMINATION) {
		fail(why, REASON_PROTOCOL,
		    "%s: the peer closed without close_notify", what);
		return TLS_IO_TRUNCATED;
	}
	explain(session, rc, REASON_PROTOCOL, what, why);
	return TLS_IO_FAILED;
}

/* RFC 5746, 4.5 and 5: a server or client that does not renegotiate. */
static enum tls_io
refuse_renegotiation(struct tls_session *session, struct reason *why)
{
	gnutls_alert_send(session->gnutls, GNUTLS_AL_WARNING,
	    GNUTLS_A_NO_RENEGOTIATION);
	session->failed = true;
	fail(why, REASON_PROTOCOL, "TLS: the peer asked for renegotiation");
	return TLS_IO_FAILED;
}

enum tls_io
tls_session_read(struct tls_session *session, void *out, size_t capacity,
    size_t *got_out, struct reason *why)
{
	ssize_t rc;

	assert(session->done && capacity > 0);
	*got_out = 0;
	for (;;) {
		rc = gnutls_record_recv(session->gnutls, out, capacity);
		if (rc > 0) {
			*got_out = (size_t)rc;
			session->idle_wakeups = 0;
			return TLS_IO_DONE;
		}
		if (rc == 0)
			return TLS_IO_EOF;
		if (rc == GNUTLS_E_REHANDSHAKE)
			return refuse_renegotiation(session, why);
		if (gnutls_error_is_fatal((int)rc))
			return io_failed(session, (int)rc, "TLS read", why);
		if (is_busy_for_nothing(session, why))
			return TLS_IO_FAILED;
		/* Data may be there all the same (after a key update): the
		 * caller's level-triggered wait returns at once then. */
		if (rc == GNUTLS_E_AGAIN)
			return what_to_wait_for(session);
	}
}

/*
 * Finish the record that GnuTLS has taken.  It says only now how many octets
 * that were: the peer may have asked for smaller records (RFC 8449).
 */
static ssize_t
send_queued(struct tls_session *session)
{
	ssize_t rc = gnutls_record_send(session->gnutls, NULL, 0);

	if (rc >= 0)
		session->queued = false;
	return rc;
}

enum tls_io
tls_session_write(struct tls_session *session, const void *data, size_t len,
    size_t *put_out, struct reason *why)
{
	const unsigned char *octets = data;
	size_t put = 0, piece;
	ssize_t rc;

	assert(session->done);
	*put_out = 0;
	while (session->queued || put < len) {
		piece = len - put;
		if (piece > RECORD_OCTETS_MAX)
			piece = RECORD_OCTETS_MAX;
		if (session->queued)
			rc = send_queued(session);
		else
			rc = gnutls_record_send(session->gnutls, octets + put,
			    piece);
		if (rc >= 0) {
			put += (size_t)rc < piece ? (size_t)rc : piece;
			*put_out = put;
			continue;
		}
		if (gnutls_error_is_fatal((int)rc))
			return io_failed(session, (int)rc, "TLS write", why);
		session->queued = true;
		if (rc == GNUTLS_E_AGAIN)
			return what_to_wait_for(session);
	}
	return TLS_IO_DONE;
}

bool
tls_session_pending(const struct tls_session *session)
{
	return gnutls_record_check_pending(session->gnutls) > 0;
}

void
tls_session_bye(struct tls_session *session)
{
	if (session->done && !session->failed)
		gnutls_bye(session->gnutls, GNUTLS_SHUT_WR);
}

bool
tls_session_binding(struct tls_session *session,
    unsigned char out[static TLS_BINDING_OCTETS])
{
	gnutls_datum_t binding = { 0 };
	bool ok;

	if (!session->done || gnutls_session_channel_binding(session->gnutls,
				  GNUTLS_CB_TLS_EXPORTER, &binding) < 0)
		return false;
	ok = binding.size == TLS_BINDING_OCTETS;
	if (ok)
		memcpy(out, binding.data, TLS_BINDING_OCTETS);
	gnutls_free(binding.data);
	return ok;
}

const char *
tls_session_sni(const struct tls_session *session)
{
	return session->sni;
}
