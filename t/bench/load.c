/*
 * t/bench/load.c: submits messages as fast as asked and says how long it took.
 *
 * load PORT SESSIONS MESSAGES SIZE THREADS [implicit] [resume] [idle]
 *
 * SESSIONS connections are made by THREADS threads; each logs in by AUTH PLAIN
 * with the initial response on standard input's first line and submits
 * MESSAGES messages of SIZE octets.  resume: a thread resumes its earlier
 * TLS session.  idle: all connections are kept open, READY is printed, and
 * end of file on standard input ends it.
 * Prints: messages, seconds, median and 99th percentile of milliseconds a
 * session.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "wire.h"

static struct {
	uint16_t port;
	unsigned sessions, messages, threads;
	size_t size;
	bool implicit, resume, idle;
	char login[512]; /* AUTH PLAIN line */
	char *message;
	size_t message_len;
} plan;

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;
static atomic_uint next_session;
static double *session_ms;

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
expect(struct wire *w, int code, const char *what)
{
	int got = wire_reply(w);

	if (got != code)
		errx(1, "%s: reply %d, expected %d", what, got, code);
}

static void
start_tls(struct wire *w, gnutls_datum_t *ticket)
{
	gnutls_init(&w->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	gnutls_priority_set(w->tls, priority);
	gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_handshake_set_timeout(w->tls, 0);
	gnutls_transport_set_int(w->tls, w->fd);
	if (ticket->data != NULL)
		gnutls_session_set_data(w->tls, ticket->data, ticket->size);
	if (!wire_handshake(w))
		errx(1, "handshake");
}

static void
log_in(struct wire *w, gnutls_datum_t *ticket)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(plan.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	w->tls = NULL;
	w->start = w->end = 0;
	w->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&to, sizeof to) != 0)
		err(1, "connect");
	wire_nodelay(w->fd);
	if (plan.implicit) {
		start_tls(w, ticket);
		expect(w, 220, "greeting");
	} else {
		expect(w, 220, "greeting");
		wire_say(w, "EHLO bench.example\r\n");
		expect(w, 250, "EHLO");
		wire_say(w, "STARTTLS\r\n");
		expect(w, 220, "STARTTLS");
		start_tls(w, ticket);
	}
	wire_say(w, "EHLO bench.example\r\n");
	expect(w, 250, "EHLO");
	wire_say(w, plan.login);
	expect(w, 235, "AUTH");
}

static void
submit(struct wire *w)
{
	wire_say(w, "MAIL FROM:<alice@example.org>\r\n"
		    "RCPT TO:<bob@example.net>\r\nDATA\r\n");
	expect(w, 250, "MAIL");
	expect(w, 250, "RCPT");
	expect(w, 354, "DATA");
	wire_write(w, plan.message, plan.message_len);
	expect(w, 250, "message");
}

static void
keep_ticket(struct wire *w, gnutls_datum_t *ticket)
{
	if (!plan.resume || ticket->data != NULL)
		return;
	gnutls_session_get_data2(w->tls, ticket);
}

static void *
run(void *arg)
{
	struct wire *w = malloc(sizeof *w);
	gnutls_datum_t ticket = { 0 };
	unsigned i, n;
	double began;

	(void)arg;
	while ((n = atomic_fetch_add(&next_session, 1)) < plan.sessions) {
		began = now_ms();
		log_in(w, &ticket);
		if (plan.idle)
			continue; /* left open on purpose */
		for (i = 0; i < plan.messages; i++)
			submit(w);
		keep_ticket(w, &ticket);
		wire_say(w, "QUIT\r\n");
		expect(w, 221, "QUIT");
		wire_close(w);
		session_ms[n] = now_ms() - began;
	}
	free(w);
	return NULL;
}

static void
make_message(void)
{
	static const char head[] = "From: <alice@example.org>\r\n"
				   "To: <bob@example.net>\r\n"
				   "Subject: bench\r\n"
				   "Date: Sat, 21 Nov 2026 00:00:00 +0000\r\n"
				   "Message-ID: <bench@example.org>\r\n\r\n";
	static const char line[] = "The quick brown fox jumps over the lazy "
				   "dog and into the spool of the\r\n";
	char *at = plan.message = malloc(plan.size + sizeof head + 256);

	at = stpcpy(at, head);
	while ((size_t)(at - plan.message) < plan.size)
		at = stpcpy(at, line);
	at = stpcpy(at, ".\r\n");
	plan.message_len = (size_t)(at - plan.message);
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
read_plan(int argc, char **argv)
{
	char response[400];
	int i;

	if (argc < 6 || fgets(response, sizeof response, stdin) == NULL)
		errx(2, "usage: load PORT SESSIONS MESSAGES SIZE THREADS "
			"[implicit] [resume] [idle] < initial-response");
	response[strcspn(response, "\n")] = '\0';
	snprintf(plan.login, sizeof plan.login, "AUTH PLAIN %s\r\n", response);
	plan.port = (uint16_t)atoi(argv[1]);
	plan.sessions = (unsigned)atoi(argv[2]);
	plan.messages = (unsigned)atoi(argv[3]);
	plan.size = (size_t)atol(argv[4]);
	plan.threads = (unsigned)atoi(argv[5]);
	for (i = 6; i < argc; i++) {
		plan.implicit |= strcmp(argv[i], "implicit") == 0;
		plan.resume |= strcmp(argv[i], "resume") == 0;
		plan.idle |= strcmp(argv[i], "idle") == 0;
	}
}

int
main(int argc, char **argv)
{
	pthread_t threads[256];
	double began;
	unsigned i;

	read_plan(argc, argv);
	if (plan.threads < 1 || plan.threads > 256)
		errx(2, "1 to 256 threads");
	make_message();
	session_ms = calloc(plan.sessions, sizeof *session_ms);
	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_priority_init(&priority, "NORMAL", NULL);
	began = now_ms();
	for (i = 0; i < plan.threads; i++)
		pthread_create(&threads[i], NULL, run, NULL);
	for (i = 0; i < plan.threads; i++)
		pthread_join(threads[i], NULL);
	if (plan.idle) {
		printf("READY\n");
		fflush(stdout);
		while (getchar() != EOF)
			;
		return 0;
	}
	qsort(session_ms, plan.sessions, sizeof *session_ms, by_size);
	printf("%u %.3f %.3f %.3f\n", plan.sessions * plan.messages,
	    (now_ms() - began) / 1e3, session_ms[plan.sessions / 2],
	    session_ms[plan.sessions * 99 / 100]);
	return 0;
}
