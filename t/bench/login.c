/*
 * t/bench/login.c: logs in as fast as asked and says how long it took.
 *
 * login PORT SESSIONS THREADS MECHANISM FIRST COUNT [each] [CERT KEY]
 *
 * SESSIONS connections with implicit TLS are made by THREADS threads: EHLO,
 * AUTH, QUIT, and no message.  MECHANISM none leaves AUTH out: what remains is
 * the floor.  The names are those that users.c makes, drawn at random from
 * COUNT of them from number FIRST on, or with each one after the other; their
 * password is the first line of standard input.
 * Prints: logins, seconds, median and 99th percentile of milliseconds from the
 * AUTH command to its last reply.
 *
 * All these users have one salt, so that a password is derived once and not at
 * each login: what this program spends is to be small.
 */
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "users.h"
#include "wire.h"

enum { KEY = 32, LINE_MOST = 1024, BINDING_MOST = 64 };

enum way { WAY_NONE, WAY_PLAIN, WAY_SCRAM, WAY_SCRAM_PLUS, WAY_EXTERNAL };

static const char *const ways[] = { "none", "PLAIN", "SCRAM-SHA-256",
	"SCRAM-SHA-256-PLUS", "EXTERNAL" };

static struct {
	uint16_t port;
	unsigned sessions, threads, first, count;
	enum way way;
	bool each;
	char password[256];
} plan;

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;
static atomic_uint next_session;
static double *auth_ms;

/* What a salt and an iteration count make of the password, derived once. */
static struct {
	pthread_mutex_t lock;
	char parameters[256]; /* "s=...,i=..." */
	unsigned char client[KEY], stored[KEY], server[KEY];
} derived = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

/* Appends; out has room. */
static char *
base64(char *out, const void *octets, size_t len)
{
	const gnutls_datum_t data = { (void *)(uintptr_t)octets,
		(unsigned)len };
	gnutls_datum_t text;

	if (gnutls_base64_encode2(&data, &text) < 0)
		errx(1, "base64");
	memcpy(out, text.data, text.size);
	gnutls_free(text.data);
	return out + text.size;
}

/* Octets of the base64 text after "334 ", with a NUL after them. */
static size_t
challenge(struct wire *w, char out[static LINE_MOST])
{
	char *line = wire_line(w);
	gnutls_datum_t text, octets;
	size_t len;

	if (line == NULL || strncmp(line, "334 ", 4) != 0)
		errx(1, "AUTH: %s", line == NULL ? "closed" : line);
	text.data = (unsigned char *)line + 4;
	text.size = (unsigned)strcspn(line + 4, "\r");
	if (gnutls_base64_decode2(&text, &octets) < 0 ||
	    octets.size >= LINE_MOST)
		errx(1, "challenge: %s", line);
	memcpy(out, octets.data, octets.size);
	len = octets.size;
	out[len] = '\0';
	gnutls_free(octets.data);
	return len;
}

static void
hmac(const unsigned char key[static KEY], const char *text,
    unsigned char out[static KEY])
{
	if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, KEY, text, strlen(text),
		out) < 0)
		errx(1, "HMAC");
}

/* For a server's first message "r=...,s=...,i=...". */
static void
derive(const char *first)
{
	const char *parameters = strstr(first, ",s=") + 1;
	const char *count = strstr(parameters, ",i=");
	gnutls_datum_t text = { (void *)(uintptr_t)(parameters + 2),
		(unsigned)(count - parameters - 2) };
	gnutls_datum_t password = { (void *)plan.password,
		(unsigned)strlen(plan.password) };
	unsigned char salted[KEY];
	gnutls_datum_t salt;

	if (strcmp(derived.parameters, parameters) == 0)
		return;
	if (gnutls_base64_decode2(&text, &salt) < 0 ||
	    gnutls_pbkdf2(GNUTLS_MAC_SHA256, &password, &salt,
		(unsigned)atoi(count + 3), salted, KEY) < 0)
		errx(1, "PBKDF2: %s", first);
	gnutls_free(salt.data);
	hmac(salted, "Client Key", derived.client);
	hmac(salted, "Server Key", derived.server);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, derived.client, KEY,
	    derived.stored);
	snprintf(derived.parameters, sizeof derived.parameters, "%s",
	    parameters);
}

/* The client's proof, and the server's signature that it has to answer with. */
static void
prove(const char *first, const char *message, unsigned char proof[static KEY],
    unsigned char signature[static KEY])
{
	pthread_mutex_lock(&derived.lock);
	derive(first);
	hmac(derived.stored, message, proof);
	for (int i = 0; i < KEY; i++)
		proof[i] ^= derived.client[i];
	hmac(derived.server, message, signature);
	pthread_mutex_unlock(&derived.lock);
}

/* RFC 5802, section 5.1, attribute c. */
static char *
binding(struct wire *w, char *out)
{
	char input[BINDING_MOST] = "n,,";
	size_t len = 3;
	gnutls_datum_t octets;

	if (plan.way == WAY_SCRAM_PLUS) {
		len = (size_t)sprintf(input, "p=tls-exporter,,");
		if (gnutls_session_channel_binding(w->tls,
			GNUTLS_CB_TLS_EXPORTER, &octets) < 0)
			errx(1, "channel binding");
		memcpy(input + len, octets.data, octets.size);
		len += octets.size;
		gnutls_free(octets.data);
	}
	return base64(out, input, len);
}

static void
say_line(struct wire *w, char *line, char *end)
{
	*end++ = '\r';
	*end++ = '\n';
	wire_write(w, line, (size_t)(end - line));
}

static void
scram(struct wire *w, const char *name)
{
	static atomic_uint nonces;
	char bare[128], first[LINE_MOST], final[LINE_MOST];
	char message[3 * LINE_MOST], line[2 * LINE_MOST], expected[64] = "v=";
	unsigned char proof[KEY], signature[KEY];
	char *at;

	snprintf(bare, sizeof bare, "n=%s,r=bench%u", name,
	    atomic_fetch_add(&nonces, 1));
	snprintf(first, sizeof first, "%s%s",
	    plan.way == WAY_SCRAM_PLUS ? "p=tls-exporter,," : "n,,", bare);
	at = line + sprintf(line, "AUTH %s ", ways[plan.way]);
	say_line(w, line, base64(at, first, strlen(first)));
	challenge(w, first);
	at = binding(w, stpcpy(final, "c="));
	sprintf(at, ",%.*s", (int)strcspn(first, ","), first);
	snprintf(message, sizeof message, "%s,%s,%s", bare, first, final);
	prove(first, message, proof, signature);
	at = stpcpy(final + strlen(final), ",p=");
	*base64(at, proof, KEY) = '\0';
	say_line(w, line, base64(line, final, strlen(final)));
	*base64(expected + 2, signature, KEY) = '\0';
	challenge(w, first);
	if (strcmp(first, expected) != 0)
		errx(1, "the server's signature is wrong");
	wire_say(w, "\r\n");
}

static void
plain(struct wire *w, const char *name)
{
	char octets[512], line[LINE_MOST];
	int len = snprintf(octets, sizeof octets, "%c%s%c%s", 0, name, 0,
	    plan.password);

	say_line(w, line,
	    base64(stpcpy(line, "AUTH PLAIN "), octets, (size_t)len));
}

static void
authenticate(struct wire *w, unsigned user)
{
	char name[USER_NAME_SIZE];

	user_name(user, name);
	switch (plan.way) {
	case WAY_NONE:
		return;
	case WAY_PLAIN:
		plain(w, name);
		break;
	case WAY_SCRAM:
	case WAY_SCRAM_PLUS:
		scram(w, name);
		break;
	case WAY_EXTERNAL:
		wire_say(w, "AUTH EXTERNAL =\r\n");
		break;
	}
	expect(w, 235, ways[plan.way]);
}

static void
start(struct wire *w)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(plan.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	w->start = w->end = 0;
	w->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&to, sizeof to) != 0)
		err(1, "connect");
	wire_nodelay(w->fd);
	gnutls_init(&w->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	gnutls_priority_set(w->tls, priority);
	gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_handshake_set_timeout(w->tls, 0);
	gnutls_transport_set_int(w->tls, w->fd);
	if (!wire_handshake(w))
		errx(1, "handshake");
	expect(w, 220, "greeting");
}

/* The same users in each run: a fixed mixing function (splitmix64). */
static unsigned
user_of(unsigned session)
{
	uint64_t x = (session + 1) * UINT64_C(0x9e3779b97f4a7c15);

	if (plan.each)
		return plan.first + session % plan.count;
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return plan.first + (unsigned)((x ^ x >> 31) % plan.count);
}

static void *
run(void *arg)
{
	struct wire *w = malloc(sizeof *w);
	double began;
	unsigned n;

	(void)arg;
	while ((n = atomic_fetch_add(&next_session, 1)) < plan.sessions) {
		start(w);
		wire_say(w, "EHLO bench.example\r\n");
		expect(w, 250, "EHLO");
		began = now_ms();
		authenticate(w, user_of(n));
		auth_ms[n] = now_ms() - began;
		wire_say(w, "QUIT\r\n");
		expect(w, 221, "QUIT");
		wire_close(w);
	}
	free(w);
	return NULL;
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
	int i = 7;

	if (argc < 7 ||
	    fgets(plan.password, sizeof plan.password, stdin) == NULL)
		errx(2, "usage: login PORT SESSIONS THREADS MECHANISM FIRST "
			"COUNT [each] [CERT KEY] < password");
	plan.password[strcspn(plan.password, "\n")] = '\0';
	plan.port = (uint16_t)atoi(argv[1]);
	plan.sessions = (unsigned)atoi(argv[2]);
	plan.threads = (unsigned)atoi(argv[3]);
	while (strcmp(ways[plan.way], argv[4]) != 0)
		if (++plan.way == sizeof ways / sizeof ways[0])
			errx(2, "%s: no mechanism of this program", argv[4]);
	plan.first = (unsigned)atoi(argv[5]);
	plan.count = (unsigned)atoi(argv[6]);
	plan.each = argc > i && strcmp(argv[i], "each") == 0;
	i += plan.each;
	if (argc == i + 2 && gnutls_certificate_set_x509_key_file(credentials,
				 argv[i], argv[i + 1], GNUTLS_X509_FMT_PEM) < 0)
		errx(2, "%s: no certificate", argv[i]);
	if (plan.threads < 1 || plan.threads > 256 || plan.count < 1 ||
	    plan.sessions < 1)
		errx(2, "1 to 256 threads, at least one user and session");
}

int
main(int argc, char **argv)
{
	pthread_t threads[256];
	double began;
	unsigned i;

	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_priority_init(&priority, "NORMAL", NULL);
	read_plan(argc, argv);
	auth_ms = calloc(plan.sessions, sizeof *auth_ms);
	began = now_ms();
	for (i = 0; i < plan.threads; i++)
		pthread_create(&threads[i], NULL, run, NULL);
	for (i = 0; i < plan.threads; i++)
		pthread_join(threads[i], NULL);
	began = now_ms() - began;
	qsort(auth_ms, plan.sessions, sizeof *auth_ms, by_size);
	printf("%u %.3f %.3f %.3f\n", plan.sessions, began / 1e3,
	    auth_ms[plan.sessions / 2], auth_ms[plan.sessions * 99 / 100]);
	return 0;
}
