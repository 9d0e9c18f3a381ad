/*
 * t/bench/sink.c: a smarthost that counts messages and throws them away.
 *
 * sink CERT KEY CLIENT-CA PORT: listens on loopback, prints the port, speaks
 * STARTTLS, demands a client certificate, offers PIPELINING, 8BITMIME and
 * SIZE.  For each line on standard input it prints messages, connections and
 * full handshakes so far; at end of file it ends.  One thread a connection.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>

#include "wire.h"

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;
static atomic_ulong messages, connections, handshakes;

static bool
start_tls(struct wire *w)
{
	unsigned status;

	gnutls_init(&w->tls, GNUTLS_SERVER | GNUTLS_NO_SIGNAL);
	gnutls_priority_set(w->tls, priority);
	gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_certificate_server_set_request(w->tls, GNUTLS_CERT_REQUIRE);
	gnutls_handshake_set_timeout(w->tls, 0);
	gnutls_transport_set_int(w->tls, w->fd);
	if (!wire_handshake(w))
		return false;
	if (gnutls_session_is_resumed(w->tls) == 0)
		atomic_fetch_add(&handshakes, 1);
	return gnutls_certificate_verify_peers2(w->tls, &status) == 0 &&
	       status == 0;
}

static bool
take_message(struct wire *w)
{
	const char *line;

	do {
		line = wire_line(w);
		if (line == NULL)
			return false;
	} while (line[0] != '.' || line[1] != '\r');
	atomic_fetch_add(&messages, 1);
	return true;
}

/* Replies to what came together go out together. */
static bool
converse(struct wire *w)
{
	char reply[16384];
	size_t len = 0;
	const char *line, *say;

	while ((line = wire_line(w)) != NULL) {
		if (strncasecmp(line, "EHLO", 4) == 0)
			say = w->tls != NULL ? "250-sink\r\n250-PIPELINING\r\n"
					       "250-8BITMIME\r\n250 SIZE\r\n"
					     : "250-sink\r\n250 STARTTLS\r\n";
		else if (strncasecmp(line, "STARTTLS", 8) == 0)
			return wire_say(w, "220 go\r\n") && start_tls(w) &&
			       converse(w);
		else if (strncasecmp(line, "DATA", 4) == 0)
			say = "354 go\r\n";
		else
			say = "250 2.0.0 ok\r\n";
		len += (size_t)snprintf(reply + len, sizeof reply - len, "%s",
		    say);
		if (strcmp(say, "354 go\r\n") == 0) {
			if (!wire_write(w, reply, len) || !take_message(w))
				return false;
			len = (size_t)snprintf(reply, sizeof reply,
			    "250 2.0.0 ok\r\n");
		}
		if (w->start == w->end || len > sizeof reply - 256) {
			if (!wire_write(w, reply, len))
				return false;
			len = 0;
		}
	}
	return true;
}

static void *
serve(void *arg)
{
	struct wire *w = arg;

	if (wire_say(w, "220 sink\r\n"))
		converse(w);
	wire_close(w);
	free(w);
	return NULL;
}

static void *
count(void *arg)
{
	char line[64];

	(void)arg;
	while (fgets(line, sizeof line, stdin) != NULL) {
		printf("%lu %lu %lu\n", atomic_load(&messages),
		    atomic_load(&connections), atomic_load(&handshakes));
		fflush(stdout);
	}
	exit(0);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof at;
	pthread_t thread;
	struct wire *w;
	int listener;

	if (argc != 5)
		errx(2, "usage: sink CERT KEY CLIENT-CA PORT");
	at.sin_port = htons((uint16_t)atoi(argv[4]));
	gnutls_certificate_allocate_credentials(&credentials);
	if (gnutls_certificate_set_x509_key_file(credentials, argv[1], argv[2],
		GNUTLS_X509_FMT_PEM) < 0 ||
	    gnutls_certificate_set_x509_trust_file(credentials, argv[3],
		GNUTLS_X509_FMT_PEM) < 1)
		errx(1, "certificates");
	gnutls_priority_init(&priority, "NORMAL", NULL);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 ||
	    bind(listener, (struct sockaddr *)&at, sizeof at) != 0 ||
	    listen(listener, 1024) != 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		err(1, "listen");
	printf("%u\n", ntohs(at.sin_port));
	fflush(stdout);
	pthread_create(&thread, NULL, count, NULL);
	for (;;) {
		w = calloc(1, sizeof *w);
		if (w == NULL)
			err(1, "memory");
		w->fd = accept(listener, NULL, NULL);
		if (w->fd < 0)
			err(1, "accept");
		atomic_fetch_add(&connections, 1);
		wire_nodelay(w->fd);
		if (pthread_create(&thread, NULL, serve, w) != 0)
			errx(1, "thread");
		pthread_detach(thread);
	}
}
