/* tools/device_server.c: where a device can log in, and where it reads. */
#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../pki/cert.h"
#include "../server/files.h"
#include "device.h"

enum { IMAPS = 993, IMAP = 143, POP3 = 110 };

static bool
is_host(const char *host)
{
	unsigned char address[16];
	size_t len = strspn(host, "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");

	return inet_pton(AF_INET6, host, address) == 1 ||
	       (len > 0 && host[len] == '\0' && host[0] != '-' &&
		   host[0] != '.');
}

bool
device_incoming(struct device_server *out, const char *text, struct reason *why)
{
	bool is_bracketed = text[0] == '[';
	const char *host = is_bracketed ? text + 1 : text;
	size_t len = strcspn(host, is_bracketed ? "]" : ":");
	const char *rest = host + len;
	bool ok = len <= DEVICE_HOST_MAX;

	*out = (struct device_server){ .port = IMAPS };
	if (is_bracketed && ok)
		ok = *rest++ == ']';
	if (ok && *rest != '\0')
		ok = *rest == ':' && tool_port(rest + 1, &out->port);
	if (ok)
		memcpy(out->host, host, len);
	if (!ok || !is_host(out->host))
		return fail(why, REASON_SYNTAX,
		    "--incoming: \"%.80s\": expected HOST[:PORT]", text);
	out->implicit_tls = out->port != IMAP && out->port != POP3;
	return true;
}

static void
add_server(struct device_card *card, const char *host, const char *address,
    bool implicit_tls)
{
	struct device_server server = { .implicit_tls = implicit_tls };
	const char *colon = strrchr(address, ':');

	if (colon == NULL || !tool_port(colon + 1, &server.port) ||
	    card->server_count == DEVICE_SERVERS_MAX)
		return;
	for (size_t i = 0; i < card->server_count; i++)
		if (card->servers[i].port == server.port &&
		    card->servers[i].implicit_tls == implicit_tls)
			return;
	strncpy(server.host, host, DEVICE_HOST_MAX);
	card->servers[card->server_count++] = server;
}

static bool
lets_in(const struct config_listener *listener, bool by_certificate)
{
	if ((listener->backends & BACKEND_STORE) == 0)
		return false;
	if (!by_certificate)
		return (listener->mechanisms &
			   (MECHANISMS_SCRAM | MECHANISM_PLAIN |
			       MECHANISM_LOGIN)) != 0;
	return listener->ask_client_cert &&
	       (listener->implicit_external ||
		   (listener->mechanisms & MECHANISM_EXTERNAL) != 0);
}

bool
device_servers(struct device_card *card, const struct config *config,
    bool by_certificate, struct reason *why)
{
	/* Implicit TLS is to be preferred: RFC 8314, section 3. */
	static const enum listener_kind kinds[] = { LISTENER_SUBMISSIONS,
		LISTENER_SUBMISSION };

	for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
		for (size_t i = 0; i < config->listener_count; i++) {
			const struct config_listener *l = &config->listeners[i];

			if (l->kind != kinds[k] || !lets_in(l, by_certificate))
				continue;
			for (size_t a = 0; a < l->address_count; a++)
				add_server(card, config->hostname,
				    l->addresses[a],
				    l->kind == LISTENER_SUBMISSIONS);
		}
	}
	if (card->server_count > 0)
		return true;
	return fail(why, REASON_ABSENT, "%s: no listener %s", config->path,
	    by_certificate ? "takes certificates of clients, expected "
			     "client-cert = ask in one"
			   : "has the store's passwords among its backends");
}

/* Did the authority issue the certificate of a listener? */
static bool
issued_a_listener(const struct config *config, gnutls_x509_crt_t ca)
{
	const struct config_certificate *certificate;
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	struct reason why;
	unsigned count;
	bool found = false;

	for (size_t i = 0; i < config->listener_count && !found; i++) {
		if (config->listeners[i].certificate_count == 0)
			continue;
		certificate = config_certificate(config,
		    config->listeners[i].certificates[0]);
		if (certificate == NULL ||
		    !files_read(certificate->chain, &pem, &why))
			continue;
		if (cert_chain_parse(&pem, &chain, &count, &why)) {
			found = gnutls_x509_crt_check_issuer(chain[0], ca) != 0;
			cert_chain_free(chain, count);
		}
		files_free(&pem);
	}
	return found;
}

bool
device_authority(struct device_card *card, const struct config *config,
    struct reason *why)
{
	char path[PATH_MAX];
	gnutls_x509_crt_t *chain;
	gnutls_datum_t pem;
	struct reason absent;
	unsigned count;
	bool ok = true;

	snprintf(path, sizeof path, "%s/tls/ca.pem", config->folder);
	if (!files_read(path, &pem, &absent))
		return absent.code == REASON_ABSENT ||
		       fail(why, absent.code, "%s", absent.text);
	if (!cert_chain_parse(&pem, &chain, &count, why)) {
		files_free(&pem);
		return false;
	}
	if (issued_a_listener(config, chain[0]))
		ok = gnutls_x509_crt_export2(chain[0], GNUTLS_X509_FMT_DER,
			 &card->authority) >= 0 ||
		     fail(why, REASON_NO_MEMORY, "%s", path);
	cert_chain_free(chain, count);
	files_free(&pem);
	return ok;
}
