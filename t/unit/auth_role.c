/*
 * t/unit/auth_role.c: the auth role as its peers see it: a real process,
 * spoken to by packets, honest ones and others.
 */
#include <gsasl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../auth/control.h"
#include "../../auth/legacy.h"
#include "../../auth/store.h"
#include "../../server/bundle.h"
#include "../../server/channel.h"
#include "../../server/control.h"
#include "../../server/grant.h"
#include "../../server/legacy_book.h"
#include "../../server/role.h"
#include "../../server/wire.h"

/* After policy/reason.h: it has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { DELAY_MS = 200, PATIENCE_MS = 5000, NOBODY = 65534 };

static const char conf[] =
    "hostname = \"mail.example.org\"\n"
    "realm = \"example.org\"\n"
    "upstream = \"upstream\"\n"
    "auth-failure-delay = \"200ms\"\n"
    "auth-free-failures = 20\n"
    "smarthost { address = \"smtp.isp.example:465\" tls = implicit }\n"
    "listener store { kind = submissions addresses = { \"127.0.0.1:465\" }\n"
    "  certificates = { \"server\" }\n"
    "  mechanisms = { \"SCRAM-SHA-256\", \"PLAIN\" } }\n"
    "listener both { kind = submissions addresses = { \"127.0.0.1:466\" }\n"
    "  certificates = { \"server\" } backends = { \"store\", \"pam\" } }\n"
    "listener turned { kind = submissions addresses = { \"127.0.0.1:469\" }\n"
    "  certificates = { \"server\" } backends = { \"pam\", \"store\" } }\n"
    "keytab = \"keytab\" kerberos-realms = { \"EXAMPLE.ORG\" }\n"
    "listener old { kind = submissions addresses = { \"127.0.0.1:467\" }\n"
    "  certificates = { \"server\" } backends = { \"store\", \"kerberos\" }\n"
    "  mechanisms = { \"GSSAPI\", \"DIGEST-MD5\", \"CRAM-MD5\" } }\n"
    "token { issuer = \"i\" audience = \"a\" keys = \"k\" scope = smtp }\n"
    "listener tokens { kind = submissions addresses = { \"127.0.0.1:468\" }\n"
    "  certificates = { \"server\" } backends = { \"store\", \"token\" }\n"
    "  mechanisms = { \"OAUTHBEARER\", \"XOAUTH2\" } }\n"
    "certificate server { chain = \"c.pem\" key = \"c.key\" role = server }\n"
    "end = true\n";

static const char upstream[] = "isp PLAIN relay secret\n"
			       "tok XOAUTH2 relay file:token\n";

static struct {
	char folder[64];
	pid_t pid;
	int master, session, helpers, relay;
	uint64_t number;
	/* Of the certificate that AUTH_START speaks of. */
	const unsigned char *identities;
	size_t identities_len;
} t;

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The next packet; its length, 0 if none comes in time, -1 at the end. */
static int
receive(int fd, unsigned char *packet, size_t size, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	return channel_recv(fd, packet, size, &len, NULL) == CHANNEL_DONE
		   ? (int)len
		   : -1;
}

static void
give_peer(enum role role, int *fd_out)
{
	unsigned char packet[8];
	struct wire_writer w;
	int ends[2];

	assert_true(channel_pair(ends, false, NULL));
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_PEER);
	wire_put_u8(&w, (uint8_t)role);
	wire_put_u16(&w, 0);
	assert_int_equal(channel_send(t.master, packet, w.len, ends[1]),
	    CHANNEL_DONE);
	close(ends[1]);
	*fd_out = ends[0];
}

static void
prepare(uint32_t number)
{
	gnutls_datum_t text = { (void *)(uintptr_t)conf, sizeof conf - 1 };
	gnutls_datum_t logins = { (void *)(uintptr_t)upstream,
		sizeof upstream - 1 };
	struct bundle *bundle = bundle_new();
	unsigned char packet[512];
	struct wire_writer w;
	int fd;

	assert_true(
	    bundle_add(bundle, BUNDLE_CONF, "/x/sallyport.conf", &text, NULL));
	assert_true(
	    bundle_add(bundle, BUNDLE_UPSTREAM, "/x/upstream", &logins, NULL));
	assert_true(bundle_seal(bundle, &fd, NULL));
	bundle_free(bundle);
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_PREPARE);
	wire_put_u32(&w, number);
	assert_int_equal(channel_send(t.master, packet, w.len, fd),
	    CHANNEL_DONE);
	close(fd);
}

static void
commit(uint32_t number)
{
	unsigned char packet[8];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_COMMIT);
	wire_put_u32(&w, number);
	assert_int_equal(channel_send(t.master, packet, w.len, -1),
	    CHANNEL_DONE);
}

/* A key of ones is hers, one of twos and a name are the server's. */
static bool
put_bound(struct store *store)
{
	struct entry person = { .name = "key@example.org",
		.enabled = true,
		.key_count = 1 };
	struct entry peer = { .name = "peer@example.org",
		.enabled = true,
		.key_count = 1,
		.san_count = 1,
		.sans = { { .name = "dns:peer.example" } } };

	memset(person.keys[0], 1, SPKI_OCTETS);
	memset(peer.keys[0], 2, SPKI_OCTETS);
	memset(peer.sans[0].ca, 3, SPKI_OCTETS);
	return store_put(store, &person, NULL) && store_put(store, &peer, NULL);
}

/* The role, as the master would start it, but never as root. */
static void
start(void)
{
	unsigned char packet[1024];
	struct wire_writer w;
	int ends[2], log[2];

	assert_true(channel_pair(ends, false, NULL));
	assert_int_equal(pipe(log), 0);
	t.pid = fork();
	if (t.pid == 0) {
		if (geteuid() == 0 &&
		    (setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
			setresuid(NOBODY, NOBODY, NOBODY) < 0))
			_exit(1);
		/* Out of the way of 3 and 4 first. */
		dup2(ends[1], 100);
		dup2(log[1], 101);
		dup2(100, ROLE_MASTER_FD);
		dup2(101, ROLE_LOG_FD);
		for (int fd = 5; fd < 128; fd++)
			close(fd);
		auth_main();
		_exit(1);
	}
	close(ends[1]);
	close(log[1]);
	close(log[0]);
	t.master = ends[0];
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_HELLO);
	wire_put_u8(&w, ROLE_AUTH);
	wire_put_u8(&w, 0);
	wire_put_u16(&w, 1);
	wire_put_u64(&w, 1);
	wire_put_string(&w, t.folder);
	wire_put_string(&w, "");
	wire_put_string(&w, "mail.example.org");
	assert_int_equal(channel_send(t.master, packet, w.len, -1),
	    CHANNEL_DONE);
	assert_int_equal(receive(t.master, packet, sizeof packet, PATIENCE_MS),
	    1);
	assert_int_equal(packet[0], ROLE_READY);
}

/* Logins with the right password that something else forbids. */
static bool
put_forbidden(struct store *store, struct entry *entry)
{
	struct entry e;

	entry->enabled = false;
	strcpy(entry->name, "off@example.org");
	if (!store_put(store, entry, NULL))
		return false;
	entry->enabled = true;
	e = *entry;
	strcpy(e.name, "over@example.org");
	e.until = 1;
	if (!store_put(store, &e, NULL))
		return false;
	e = *entry;
	strcpy(e.name, "far@example.org");
	e.network_count = 1;
	if (!network_parse(&e.networks[0], "198.51.100.0/24", NULL) ||
	    !store_put(store, &e, NULL))
		return false;
	e = *entry;
	strcpy(e.name, "bound@example.org");
	e.binding_required = true;
	if (!store_put(store, &e, NULL))
		return false;
	e = *entry;
	strcpy(e.name, "old@example.org");
	e.legacy_until = 1;
	if (!store_put(store, &e, NULL))
		return false;
	e = *entry;
	strcpy(e.name, "gone+phone@example.org");
	strcpy(e.owner, "gone@example.org");
	e.kind = ENTRY_DEVICE;
	if (!store_put(store, &e, NULL))
		return false;
	e = *entry;
	/* Others say who they are. */
	memset(e.verifiers, 0, sizeof e.verifiers);
	strcpy(e.name, "wanda@example.org");
	e.rate = 7;
	if (!store_put(store, &e, NULL))
		return false;
	strcpy(e.name, "offwanda@example.org");
	e.enabled = false;
	return store_put(store, &e, NULL);
}

static int
make_store(void)
{
	struct entry entry = { .name = "alice@example.org", .enabled = true };
	char path[128];
	struct store *store;

	strcpy(t.folder, "/tmp/auth_role.XXXXXX");
	if (mkdtemp(t.folder) == NULL || chmod(t.folder, 0755) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/store", t.folder);
	if (mkdir(path, 0700) < 0)
		return -1;
	strcat(path, "/users.kch");
	entry.has_legacy = true;
	strcpy(entry.legacy, "pencil");
	if (!verifier_make(entry.verifiers, "pencil", 4096, NULL) ||
	    !store_create(path, NULL) || !store_open(&store, path, NULL) ||
	    !store_put(store, &entry, NULL) || !put_bound(store))
		return -1;
	if (!put_forbidden(store, &entry))
		return -1;
	strcpy(entry.name, "bob@example.org");
	entry.enabled = true;
	entry.has_legacy = false;
	if (!store_put(store, &entry, NULL))
		return -1;
	store_close(store);
	if (geteuid() != 0)
		return 0;
	if (chown(path, NOBODY, NOBODY) < 0)
		return -1;
	path[strlen(path) - strlen("/users.kch")] = '\0';
	return chown(path, NOBODY, NOBODY);
}

static int
setup_prepared(void **state)
{
	unsigned char packet[512];

	(void)state;
	if (make_store() < 0)
		return -1;
	start();
	prepare(1);
	assert_true(receive(t.master, packet, sizeof packet, PATIENCE_MS) > 0);
	assert_int_equal(packet[0], ROLE_PREPARED);
	give_peer(ROLE_SESSION, &t.session);
	give_peer(ROLE_HELPERS, &t.helpers);
	give_peer(ROLE_RELAY, &t.relay);
	return 0;
}

static int
setup(void **state)
{
	if (setup_prepared(state) != 0)
		return -1;
	commit(1);
	return 0;
}

static int
teardown(void **state)
{
	char command[128];
	int status;

	(void)state;
	/* The master's end closes: the role ends at once. */
	close(t.master);
	close(t.session);
	close(t.helpers);
	close(t.relay);
	if (waitpid(t.pid, &status, 0) != t.pid || WIFSIGNALED(status))
		return -1;
	snprintf(command, sizeof command, "rm -rf %s", t.folder);
	return system(command);
}

struct start {
	uint32_t configuration;
	const char *listener, *mechanism, *client;
	uint8_t tls_version;
};

static const struct start usual = { 1, "store", "PLAIN", "192.0.2.1", 13 };

static size_t
write_start(unsigned char *packet, size_t size, uint64_t number,
    const struct start *s, const void *initial, size_t initial_len)
{
	struct wire_writer w;

	wire_writer_init(&w, packet, size);
	wire_put_u8(&w, AUTH_START);
	wire_put_u64(&w, number);
	wire_put_u32(&w, s->configuration);
	wire_put_string(&w, s->listener);
	wire_put_string(&w, s->mechanism);
	wire_put_string(&w, s->client);
	wire_put_u8(&w, initial != NULL);
	wire_put_bytes(&w, initial, initial_len);
	wire_put_bytes(&w, NULL, 0);
	wire_put_bytes(&w, t.identities, t.identities_len);
	wire_put_u8(&w, s->tls_version);
	assert_false(w.failed);
	return w.len;
}

static uint64_t
ask_as(uint64_t number, const struct start *s, const void *initial,
    size_t initial_len)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	size_t len =
	    write_start(packet, sizeof packet, number, s, initial, initial_len);

	assert_int_equal(channel_send(t.session, packet, len, -1),
	    CHANNEL_DONE);
	return number;
}

#define ask(s, text) ask_as(++t.number, s, text, sizeof(text) - 1)

static void
step(uint64_t number, const void *octets, size_t len)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_STEP);
	wire_put_u64(&w, number);
	wire_put_bytes(&w, octets, len);
	assert_int_equal(channel_send(t.session, packet, w.len, -1),
	    CHANNEL_DONE);
}

static void
abandon(uint64_t number)
{
	unsigned char packet[16];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_ABORT);
	wire_put_u64(&w, number);
	assert_int_equal(channel_send(t.session, packet, w.len, -1),
	    CHANNEL_DONE);
}

static char login[512], text[512];

/* With the last AUTH_GRANTED. */
static uint32_t granted_rate;

/* The result for number; -1: something else came, or nothing; challenged: a
 * challenge. */
static int
result_or(uint64_t number, int challenged)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct grant grant;
	struct wire_reader r;
	int len = receive(t.session, packet, sizeof packet, PATIENCE_MS);
	int got;

	if (len <= 0)
		return -1;
	if (packet[0] == AUTH_CHALLENGE)
		return challenged;
	wire_reader_init(&r, packet, (size_t)len);
	if (wire_get_u8(&r) != AUTH_RESULT || wire_get_u64(&r) != number)
		return -1;
	got = wire_get_u8(&r);
	wire_get_string(&r, login, sizeof login);
	wire_get_string(&r, text, sizeof text);
	if (got == AUTH_GRANTED) {
		if (!grant_get(&r, &grant))
			return -1;
		assert_string_equal(grant.login, login);
		granted_rate = grant.rate;
		grant_fini(&grant);
	}
	return wire_reader_done(&r) ? got : -1;
}

static int
result(uint64_t number)
{
	return result_or(number, -1);
}

static bool
challenge(uint64_t number, char *out, size_t size)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	int len = receive(t.session, packet, sizeof packet, PATIENCE_MS);
	gnutls_datum_t octets;

	if (len <= 0)
		return false;
	wire_reader_init(&r, packet, (size_t)len);
	if (wire_get_u8(&r) != AUTH_CHALLENGE || wire_get_u64(&r) != number)
		return false;
	octets = wire_get_bytes(&r, size - 1);
	memcpy(out, octets.data, octets.size);
	out[octets.size] = '\0';
	return wire_reader_done(&r);
}

static bool
is_silent(int fd, int ms)
{
	unsigned char packet[CHANNEL_PACKET_MAX];

	return receive(fd, packet, sizeof packet, ms) == 0;
}

static void
test_granted_at_once(void **state)
{
	(void)state;
	/* The second time from the cache. */
	for (int i = 0; i < 2; i++) {
		int64_t begun = now_ms();

		assert_int_equal(result(ask(&usual, "\0alice\0pencil")),
		    AUTH_GRANTED);
		assert_string_equal(login, "alice@example.org");
		assert_true(now_ms() - begun < DELAY_MS);
	}
}

/* What the session says a certificate is known by. */
static void
test_identities(void **state)
{
	static unsigned char none[SPKI_OCTETS], person[SPKI_OCTETS],
	    peer[SPKI_OCTETS], name[SPKI_OCTETS], other[SPKI_OCTETS];
	static const struct {
		const char *what;
		const unsigned char *of[3];
		int result;
		const char *login;
	} rows[] = {
		{ "a key", { person }, AUTH_GRANTED, "key@example.org" },
		{ "a name", { none, name }, AUTH_GRANTED, "peer@example.org" },
		{ "a name after others", { none, other, name }, AUTH_GRANTED,
		    "peer@example.org" },
		{ "key and name of one", { peer, name }, AUTH_GRANTED,
		    "peer@example.org" },
		{ "key and name of two", { person, name }, AUTH_DENIED, "" },
		{ "name and key of two", { name, person }, AUTH_DENIED, "" },
		{ "nobody's", { none, other }, AUTH_DENIED, "" },
	};
	struct start s = usual;
	unsigned char ca[SPKI_OCTETS],
	    octets[(AUTH_IDENTITIES_MAX + 1) * SPKI_OCTETS] = { 0 };

	(void)state;
	memset(person, 1, sizeof person);
	memset(peer, 2, sizeof peer);
	memset(ca, 3, sizeof ca);
	entry_san_id(ca, "dns:peer.example", name);
	entry_san_id(ca, "dns:other.example", other);
	s.listener = "both";
	s.mechanism = "EXTERNAL";
	t.identities = octets;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = 0;
		int got;

		for (; n < 3 && rows[i].of[n] != NULL; n++)
			memcpy(octets + n * SPKI_OCTETS, rows[i].of[n],
			    SPKI_OCTETS);
		t.identities_len = n * SPKI_OCTETS;
		got = result(ask(&s, ""));
		if (got != rows[i].result || strcmp(login, rows[i].login) != 0)
			fail_msg("%s: %d \"%s\"", rows[i].what, got, login);
	}
	t.identities_len = SPKI_OCTETS + 1;
	assert_int_equal(result(ask(&s, "")), AUTH_UNAVAILABLE);
	t.identities_len = sizeof octets;
	assert_int_equal(result(ask(&s, "")), AUTH_UNAVAILABLE);
	memset(octets, 0, sizeof octets);
	memset(octets, 1, SPKI_OCTETS);
	t.identities_len = sizeof octets - SPKI_OCTETS;
	assert_int_equal(result(ask(&s, "")), AUTH_GRANTED);
	t.identities_len = 0;
}

/* A session may be ahead of the master that restarted us. */
static void
test_granted_before_commit(void **state)
{
	(void)state;
	assert_int_equal(result(ask(&usual, "\0alice\0pencil")), AUTH_GRANTED);
}

static void
test_denied_in_time(void **state)
{
	static const struct {
		const char *what, *initial;
		size_t len;
	} rows[] = {
		{ "wrong password", "\0alice\0pencils", 14 },
		{ "unknown user", "\0zoe\0pencil", 11 },
		{ "disabled, right password", "\0off\0pencil", 11 },
		{ "disabled, wrong password", "\0off\0pencils", 12 },
		{ "its time is over", "\0over\0pencil", 12 },
		{ "not from this network", "\0far\0pencil", 11 },
		{ "channel binding is required", "\0bound\0pencil", 13 },
		{ "a device whose owner is gone", "\0gone+phone\0pencil", 18 },
		{ "another realm", "\0alice@x.org\0pencil", 19 },
		{ "acting as another", "off\0alice\0pencil", 16 },
		{ "no name", "\0a b\0pencil", 11 },
		{ "empty name", "\0\0pencil", 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int64_t begun = now_ms(), spent;
		int got = result(
		    ask_as(++t.number, &usual, rows[i].initial, rows[i].len));

		spent = now_ms() - begun;
		if (got != AUTH_DENIED)
			fail_msg("%s: result %d", rows[i].what, got);
		if (spent < DELAY_MS || spent > DELAY_MS * 2)
			fail_msg("%s: after %d ms", rows[i].what, (int)spent);
	}
}

/* The last reply of SCRAM-SHA-256 as user with the right password: a challenge,
 * which is the server's signature, or how it ended. */
enum { SIGNED = 100 };

static int
scram(const char *user)
{
	static const struct start start = { 1, "store", "SCRAM-SHA-256",
		"192.0.2.1", 12 };
	char got[512], *out;
	uint64_t number;
	Gsasl_session *session;
	Gsasl *library;
	size_t len;
	int ended;

	assert_int_equal(gsasl_init(&library), GSASL_OK);
	assert_int_equal(gsasl_client_start(library, "SCRAM-SHA-256", &session),
	    GSASL_OK);
	gsasl_property_set(session, GSASL_AUTHID, user);
	gsasl_property_set(session, GSASL_PASSWORD, "pencil");
	assert_int_equal(gsasl_step(session, NULL, 0, &out, &len),
	    GSASL_NEEDS_MORE);
	number = ask_as(++t.number, &start, out, len);
	gsasl_free(out);
	assert_true(challenge(number, got, sizeof got));
	assert_int_equal(gsasl_step(session, got, strlen(got), &out, &len),
	    GSASL_NEEDS_MORE);
	step(number, out, len);
	gsasl_free(out);
	ended = result_or(number, SIGNED);
	gsasl_finish(session);
	gsasl_done(library);
	if (ended == SIGNED)
		step(number, "", 0);
	return ended == SIGNED && result(number) == AUTH_GRANTED ? SIGNED
								 : ended;
}

/* A thief with the right password learns nothing from the server's signature
 * either: it comes only with a yes. */
static void
test_denied_scram(void **state)
{
	static const struct {
		const char *user, *text;
	} rows[] = {
		{ "off", "disabled" },
		{ "over", "its time is over" },
		{ "far", "not from this network" },
		{ "bound", "channel binding is required" },
		{ "old", "tls1.2: not taken after 1970-01-01T00:00:01Z, "
			 "expected TLS 1.3" },
		{ "gone+phone", "its owner is no user" },
	};

	(void)state;
	assert_int_equal(scram("alice"), SIGNED);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int64_t begun = now_ms(), spent;
		int got = scram(rows[i].user);

		spent = now_ms() - begun;
		if (got != AUTH_DENIED)
			fail_msg("%s: result %d", rows[i].user, got);
		if (spent < DELAY_MS || spent > DELAY_MS * 2)
			fail_msg("%s: after %d ms", rows[i].user, (int)spent);
		assert_string_equal(text, rows[i].text);
	}
}

static void
test_refused(void **state)
{
	static const struct {
		const char *what;
		struct start start;
		int result;
	} rows[] = {
		{ "LOGIN is not offered there",
		    { 1, "store", "LOGIN", "192.0.2.1", 13 },
		    AUTH_NO_MECHANISM },
		{ "no such mechanism",
		    { 1, "store", "CRAM-MD5", "192.0.2.1", 13 },
		    AUTH_NO_MECHANISM },
		{ "outside TLS", { 1, "store", "PLAIN", "192.0.2.1", 0 },
		    AUTH_UNAVAILABLE },
		{ "no such configuration",
		    { 2, "store", "PLAIN", "192.0.2.1", 13 },
		    AUTH_UNAVAILABLE },
		{ "no such listener", { 1, "other", "PLAIN", "192.0.2.1", 13 },
		    AUTH_UNAVAILABLE },
		{ "a name for an address",
		    { 1, "store", "PLAIN", "localhost", 13 },
		    AUTH_UNAVAILABLE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		int got = result(ask(&rows[i].start, "\0alice\0pencil"));

		if (got != rows[i].result)
			fail_msg("%s: result %d", rows[i].what, got);
	}
	assert_int_equal(result(ask(&usual, "\0alice")), AUTH_MALFORMED);
}

static void
test_dialogue(void **state)
{
	char got[512];
	uint64_t number = ask_as(++t.number, &usual, NULL, 0);

	(void)state;
	assert_true(challenge(number, got, sizeof got));
	assert_string_equal(got, "");
	/* The number is taken: this asks nothing. */
	ask_as(number, &usual, "\0alice\0pencil", 13);
	assert_true(is_silent(t.session, 100));
	step(number, "\0alice\0pencil", 13);
	assert_int_equal(result(number), AUTH_GRANTED);
	/* It is over. */
	step(number, "\0alice\0pencil", 13);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	number = ask_as(++t.number, &usual, NULL, 0);
	assert_true(challenge(number, got, sizeof got));
	abandon(number);
	step(number, "\0alice\0pencil", 13);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	/* Nothing is said about a result that nobody waits for. */
	number = ask(&usual, "\0alice\0wrong");
	abandon(number);
	assert_true(is_silent(t.session, DELAY_MS * 2));
	/* A step while the answer is being held back asks nothing. */
	number = ask(&usual, "\0alice\0wrong");
	step(number, "\0alice\0pencil", 13);
	assert_int_equal(result(number), AUTH_DENIED);
	assert_true(is_silent(t.session, DELAY_MS * 2));
}

static void
test_unknown_salt(void **state)
{
	static const struct start scram = { 1, "store", "SCRAM-SHA-256",
		"192.0.2.1", 13 };
	char first[512], second[512], known[512], *at;
	uint64_t number;

	(void)state;
	number = ask(&scram, "n,,n=zoe,r=abc");
	assert_true(challenge(number, first, sizeof first));
	abandon(number);
	number = ask(&scram, "n,,n=zoe,r=abc");
	assert_true(challenge(number, second, sizeof second));
	abandon(number);
	number = ask(&scram, "n,,n=alice,r=abc");
	assert_true(challenge(number, known, sizeof known));
	abandon(number);
	/* But for the nonce they are the same, and look like a known one. */
	assert_non_null(at = strstr(first, ",s="));
	assert_string_equal(at, strstr(second, ",s="));
	assert_int_equal(strcspn(at + 3, ","),
	    strcspn(strstr(known, ",s=") + 3, ","));
	assert_non_null(strstr(first, ",i="));
}

/* Cut short, too long, of no known type: none of it ends the role. */
static void
test_broken_packets(void **state)
{
	unsigned char packet[CHANNEL_PACKET_MAX], drop[1024];
	size_t len = write_start(packet, sizeof packet, ++t.number, &usual,
	    "\0alice\0pencil", 13);

	(void)state;
	for (size_t cut = 1; cut < len; cut++)
		assert_int_equal(channel_send(t.session, packet, cut, -1),
		    CHANNEL_DONE);
	packet[len] = 0;
	channel_send(t.session, packet, len + 1, -1);
	memset(packet, 0xff, sizeof packet);
	for (unsigned type = 0; type < 256; type++) {
		packet[0] = (unsigned char)type;
		channel_send(t.session, packet, 40, -1);
		while (receive(t.session, drop, sizeof drop, 0) > 0) {
			/* Only refusals. */
			assert_int_equal(drop[0], AUTH_RESULT);
			assert_int_equal(drop[9], AUTH_UNAVAILABLE);
		}
	}
	packet[0] = AUTH_STEP;
	channel_send(t.session, packet, sizeof packet, -1);
	usleep(50000);
	while (receive(t.session, drop, sizeof drop, 50) > 0)
		assert_int_equal(drop[9], AUTH_UNAVAILABLE);
	assert_int_equal(result(ask(&usual, "\0alice\0pencil")), AUTH_GRANTED);
}

static const struct start with_pam = { 1, "both", "PLAIN", "192.0.2.1", 12 };

struct check {
	uint64_t serial;
	char user[64], password[64], client[64];
};

static bool
get_check(struct check *c)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	gnutls_datum_t password;
	int len = receive(t.helpers, packet, sizeof packet, PATIENCE_MS);

	if (len <= 0)
		return false;
	memset(c, 0, sizeof *c);
	wire_reader_init(&r, packet, (size_t)len);
	if (wire_get_u8(&r) != HELPER_CHECK)
		return false;
	c->serial = wire_get_u64(&r);
	if (wire_get_u32(&r) != 1 || wire_get_u32(&r) == 0)
		return false; /* configuration, deadline */
	wire_get_string(&r, c->user, sizeof c->user);
	password = wire_get_bytes(&r, sizeof c->password - 1);
	memcpy(c->password, password.data, password.size);
	wire_get_string(&r, c->client, sizeof c->client);
	return wire_reader_done(&r);
}

static void
answer_check(uint64_t serial, enum helper_answer answer)
{
	unsigned char packet[64];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_ANSWER);
	wire_put_u64(&w, serial);
	wire_put_u8(&w, (uint8_t)answer);
	wire_put_string(&w, "said PAM");
	assert_int_equal(channel_send(t.helpers, packet, w.len, -1),
	    CHANNEL_DONE);
}

static void
test_helpers(void **state)
{
	static const int results[] = { [HELPER_YES] = AUTH_GRANTED,
		[HELPER_NO] = AUTH_DENIED,
		[HELPER_MALFORMED] = AUTH_MALFORMED,
		[HELPER_TROUBLE] = AUTH_UNAVAILABLE,
		[HELPER_DEADLINE] = AUTH_UNAVAILABLE };
	struct check c;
	uint64_t number;

	(void)state;
	/* A user of the store is never asked of PAM. */
	assert_int_equal(result(ask(&with_pam, "\0alice\0wrong")), AUTH_DENIED);
	assert_true(is_silent(t.helpers, 0));
	/* Nor a realm that is not PAM's. */
	assert_int_equal(result(ask(&with_pam, "\0peter@x.org\0pan")),
	    AUTH_DENIED);
	assert_true(is_silent(t.helpers, 0));
	for (int a = HELPER_YES; a <= HELPER_DEADLINE; a++) {
		number = ask(&with_pam, "\0peter\0pan");
		assert_true(get_check(&c));
		assert_string_equal(c.user, "peter");
		assert_string_equal(c.password, "pan");
		assert_string_equal(c.client, "192.0.2.1");
		answer_check(c.serial + 1, HELPER_YES); /* nobody's */
		answer_check(c.serial, (enum helper_answer)a);
		assert_int_equal(result(number), results[a]);
	}
	/* Other logins go on while a helper is at it. */
	number = ask(&with_pam, "\0peter\0pan");
	assert_true(get_check(&c));
	assert_int_equal(result(ask(&with_pam, "\0alice\0pencil")),
	    AUTH_GRANTED);
	/* Given up, and begun anew under the same number: the answer for the
	 * one must not be taken for the other's. */
	abandon(number);
	ask_as(number, &with_pam, "\0wendy\0guess", 12);
	answer_check(c.serial, HELPER_YES);
	assert_true(get_check(&c));
	assert_string_equal(c.user, "wendy");
	assert_true(is_silent(t.session, 100));
	answer_check(c.serial, HELPER_NO);
	assert_int_equal(result(number), AUTH_DENIED);
}

/* PAM is asked first, and refuses for itself alone. */
static void
test_pam_before_store(void **state)
{
	static const struct start turned = { 1, "turned", "PLAIN", "192.0.2.1",
		13 };
	static const struct {
		const char *response;
		size_t len;
		enum helper_answer pam;
		int result;
		const char *text;
	} rows[] = {
		{ "\0alice\0other", 12, HELPER_YES, AUTH_GRANTED, "" },
		{ "\0alice\0pencil", 13, HELPER_NO, AUTH_GRANTED, "" },
		{ "\0alice\0wrong", 12, HELPER_NO, AUTH_DENIED,
		    "wrong password" },
		{ "\0nobody\0wrong", 13, HELPER_NO, AUTH_DENIED, "said PAM" },
		{ "\0off\0pencil", 11, HELPER_NO, AUTH_DENIED, "disabled" },
		{ "\0off\0other", 10, HELPER_YES, AUTH_DENIED, "disabled" },
		{ "\0alice\0pencil", 13, HELPER_TROUBLE, AUTH_UNAVAILABLE,
		    "said PAM" },
		{ "\0alice\0pencil", 13, HELPER_DEADLINE, AUTH_UNAVAILABLE,
		    "said PAM" },
	};
	char longest[700] = "\0alice\0";
	struct check c;
	uint64_t number;
	int64_t begun;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begun = now_ms();
		number =
		    ask_as(++t.number, &turned, rows[i].response, rows[i].len);
		assert_true(get_check(&c));
		assert_true(is_silent(t.session, 0));
		answer_check(c.serial, rows[i].pam);
		assert_int_equal(result(number), rows[i].result);
		assert_string_equal(text, rows[i].text);
		assert_true(rows[i].result == AUTH_GRANTED ||
			    now_ms() - begun >= DELAY_MS);
		/* Once each. */
		assert_true(is_silent(t.helpers, 0));
	}
	/* What PAM is not asked for is the store's to say. */
	memset(longest + 7, 'x', sizeof longest - 7);
	number = ask_as(++t.number, &turned, longest, sizeof longest);
	assert_int_equal(result(number), AUTH_DENIED);
	number = ask(&turned, "\0alice@x.org\0pencil");
	assert_int_equal(result(number), AUTH_DENIED);
	assert_string_equal(text, "unknown user");
	assert_true(is_silent(t.helpers, 0));
}

/* Who would not be told whether it was right is told so without a check. */
static void
test_shut_out(void **state)
{
	static const struct start near = { 1, "turned", "PLAIN", "192.0.2.9",
		13 };
	static const struct start far = { 1, "turned", "PLAIN", "198.51.100.9",
		13 };
	struct check c;
	uint64_t number;
	int64_t begun;

	(void)state;
	/* Answers for more than half a minute. */
	for (int i = 0; i < 40; i++)
		abandon(ask(&near, "\0guess@x.org\0wrong"));
	for (int right = 0; right < 2; right++) {
		begun = now_ms();
		number = right ? ask(&near, "\0alice\0pencil")
			       : ask(&near, "\0alice\0wrong");
		assert_int_equal(result(number), AUTH_UNAVAILABLE);
		assert_string_equal(text, "too many failed logins lately");
		assert_true(now_ms() - begun >= DELAY_MS);
		assert_true(is_silent(t.helpers, 0));
	}
	/* Others are checked. */
	number = ask(&far, "\0alice\0pencil");
	assert_true(get_check(&c));
	answer_check(c.serial, HELPER_NO);
	assert_int_equal(result(number), AUTH_GRANTED);
}

/* Whom others vouch for may have an entry that says what he may. */
static void
test_entry_without_credential(void **state)
{
	struct check c;
	uint64_t number;
	int64_t begun;

	(void)state;
	assert_int_equal(result(ask(&usual, "\0wanda\0pan")), AUTH_DENIED);
	number = ask(&with_pam, "\0wanda\0pan");
	assert_true(get_check(&c));
	assert_string_equal(c.user, "wanda");
	answer_check(c.serial, HELPER_YES);
	assert_int_equal(result(number), AUTH_GRANTED);
	assert_int_equal(granted_rate, 7);
	/* Without one he may what everybody may. */
	number = ask(&with_pam, "\0peter\0pan");
	assert_true(get_check(&c));
	answer_check(c.serial, HELPER_YES);
	assert_int_equal(result(number), AUTH_GRANTED);
	assert_int_equal(granted_rate, 0);
	begun = now_ms();
	number = ask(&with_pam, "\0offwanda\0pan");
	assert_true(get_check(&c));
	answer_check(c.serial, HELPER_YES);
	assert_int_equal(result(number), AUTH_DENIED);
	assert_string_equal(text, "disabled");
	assert_true(now_ms() - begun >= DELAY_MS);
}

/* An answer that comes late goes out at a whole multiple of the delay. */
static void
test_late_failure(void **state)
{
	int64_t begun = now_ms(), spent;
	uint64_t number = ask(&with_pam, "\0peter\0pan");
	struct check c;

	(void)state;
	assert_true(get_check(&c));
	usleep((DELAY_MS + DELAY_MS / 2) * 1000);
	answer_check(c.serial, HELPER_NO);
	assert_int_equal(result(number), AUTH_DENIED);
	spent = now_ms() - begun;
	assert_true(spent >= 2 * DELAY_MS && spent < 3 * DELAY_MS);
}

static void
test_helpers_go(void **state)
{
	uint64_t number = ask(&with_pam, "\0peter\0pan");
	struct check c;

	(void)state;
	assert_true(get_check(&c));
	close(t.helpers);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(result(ask(&with_pam, "\0peter\0pan")),
	    AUTH_UNAVAILABLE);
	give_peer(ROLE_HELPERS, &t.helpers);
	number = ask(&with_pam, "\0peter\0pan");
	assert_true(get_check(&c));
	answer_check(c.serial, HELPER_YES);
	assert_int_equal(result(number), AUTH_GRANTED);
}

/* A helper's exchange: its serial, 0 if that is not what came. */
static uint64_t
get_exchange(const char *mechanism)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	char got[64] = "";
	struct wire_reader r;
	uint64_t serial;
	int len = receive(t.helpers, packet, sizeof packet, PATIENCE_MS);

	wire_reader_init(&r, packet, len > 0 ? (size_t)len : 0);
	if (wire_get_u8(&r) != HELPER_EXCHANGE)
		return 0;
	serial = wire_get_u64(&r);
	if (wire_get_u32(&r) != 1 || wire_get_u32(&r) == 0)
		return 0; /* configuration, deadline */
	wire_get_string(&r, got, sizeof got);
	assert_string_equal(got, mechanism);
	wire_get_u8(&r);
	wire_get_bytes(&r, 64);
	return wire_reader_done(&r) ? serial : 0;
}

/* What the helper says: one or two strings. */
static void
helper_say(enum message type, uint64_t serial, const char *one, const char *two)
{
	unsigned char packet[1024];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, (uint8_t)type);
	wire_put_u64(&w, serial);
	wire_put_string(&w, one);
	if (two != NULL)
		wire_put_string(&w, two);
	assert_int_equal(channel_send(t.helpers, packet, w.len, -1),
	    CHANNEL_DONE);
}

/* What auth says in an exchange: its type; octets as a string. */
static int
helper_hear(uint64_t serial, char *out, size_t size)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	gnutls_datum_t octets;
	int type, len = receive(t.helpers, packet, sizeof packet, PATIENCE_MS);

	wire_reader_init(&r, packet, len > 0 ? (size_t)len : 0);
	type = wire_get_u8(&r);
	assert_true(wire_get_u64(&r) == serial);
	out[0] = '\0';
	if (type == HELPER_ABORT)
		return wire_reader_done(&r) ? type : -1;
	octets = wire_get_bytes(&r, size - 1);
	memcpy(out, octets.data, octets.size);
	out[octets.size] = '\0';
	return wire_reader_done(&r) ? type : -1;
}

static const struct start with_cram = { 1, "old", "cram-md5", "192.0.2.1", 13 };
static const struct start with_digest = { 1, "old", "DIGEST-MD5", "192.0.2.1",
	13 };
static const struct start with_gssapi = { 1, "old", "GSSAPI", "192.0.2.1", 13 };

/* Challenge and response pass through; the secret is given for one name. */
static void
test_guarded(void **state)
{
	uint64_t serial, number = ask_as(++t.number, &with_cram, NULL, 0);
	char got[64];

	(void)state;
	serial = get_exchange("CRAM-MD5");
	assert_true(serial != 0);
	helper_say(HELPER_CHALLENGE, serial, "<1@localhost>", NULL);
	assert_true(challenge(number, got, sizeof got));
	assert_string_equal(got, "<1@localhost>");
	step(number, "alice x", 7);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_STEP);
	assert_string_equal(got, "alice x");
	helper_say(HELPER_NEED_SECRET, serial, "alice", NULL);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_SECRET);
	assert_string_equal(got, "pencil");
	helper_say(HELPER_PROVED, serial, "alice", "");
	assert_int_equal(result(number), AUTH_GRANTED);
	assert_string_equal(login, "alice@example.org");
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* The client gives up, and the helper may go. */
	number = ask_as(++t.number, &with_cram, NULL, 0);
	serial = get_exchange("CRAM-MD5");
	helper_say(HELPER_CHALLENGE, serial, "<2@localhost>", NULL);
	assert_true(challenge(number, got, sizeof got));
	abandon(number);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* Server first: nobody is bothered. */
	assert_int_equal(result(ask(&with_cram, "alice x")), AUTH_MALFORMED);
	assert_true(is_silent(t.helpers, 0));
}

/* A helper in a stranger's hands: whom can it make us believe he is? */
static void
test_guarded_lies(void **state)
{
	static const struct {
		const char *what;
		const struct start *start;
		const char *asks; /* for the secret of; NULL: does not */
		const char *authid, *authzid;
		int result;
	} rows[] = {
		{ "the one asked for", &with_cram, "alice", "alice", "",
		    AUTH_GRANTED },
		{ "spelled otherwise", &with_digest, "alice",
		    "alice@EXAMPLE.org", "", AUTH_GRANTED },
		{ "as herself", &with_digest, "alice", "alice",
		    "alice@example.org", AUTH_GRANTED },
		{ "another than the one asked for", &with_cram, "alice", "bob",
		    "", AUTH_DENIED },
		{ "an unmarked one", &with_cram, "bob", "bob", "",
		    AUTH_DENIED },
		{ "a disabled one", &with_cram, "off", "off", "", AUTH_DENIED },
		{ "an unknown one", &with_cram, "zoe", "zoe", "", AUTH_DENIED },
		{ "no name", &with_cram, "a b", "a b", "", AUTH_DENIED },
		{ "acting as another", &with_digest, "alice", "alice", "bob",
		    AUTH_DENIED },
		{ "nobody was asked for", &with_cram, NULL, "alice", "",
		    AUTH_UNAVAILABLE },
		{ "a principal", &with_gssapi, NULL, "alice@EXAMPLE.ORG", "",
		    AUTH_GRANTED },
		{ "one who is not in the store", &with_gssapi, NULL,
		    "zoe@EXAMPLE.ORG", "zoe", AUTH_GRANTED },
		{ "a disabled principal", &with_gssapi, NULL, "off@EXAMPLE.ORG",
		    "", AUTH_DENIED },
		{ "another's realm", &with_gssapi, NULL, "alice@OTHER.ORG", "",
		    AUTH_DENIED },
		{ "the realm in another case", &with_gssapi, NULL,
		    "alice@example.org", "", AUTH_DENIED },
		{ "an instance", &with_gssapi, NULL, "alice/admin@EXAMPLE.ORG",
		    "", AUTH_DENIED },
		{ "an escaped one", &with_gssapi, NULL, "alice\\@x@EXAMPLE.ORG",
		    "", AUTH_DENIED },
		{ "two realms", &with_gssapi, NULL,
		    "alice@EXAMPLE.ORG@EXAMPLE.ORG", "", AUTH_DENIED },
		{ "one that SASLprep changes", &with_gssapi, NULL,
		    "al\302\255ice@EXAMPLE.ORG", "", AUTH_DENIED },
		{ "no realm", &with_gssapi, NULL, "alice", "", AUTH_DENIED },
		{ "no name", &with_gssapi, NULL, "@EXAMPLE.ORG", "",
		    AUTH_DENIED },
		{ "a principal acting as another", &with_gssapi, NULL,
		    "alice@EXAMPLE.ORG", "bob", AUTH_DENIED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t number = ask_as(++t.number, rows[i].start, NULL, 0);
		uint64_t serial = get_exchange(rows[i].start == &with_cram
						   ? "CRAM-MD5"
						   : rows[i].start->mechanism);
		char got[64];

		assert_true(serial != 0);
		if (rows[i].asks != NULL) {
			helper_say(HELPER_NEED_SECRET, serial, rows[i].asks,
			    NULL);
			assert_int_equal(helper_hear(serial, got, sizeof got),
			    HELPER_SECRET);
			/* The same for all, but only alice's is hers. */
			assert_true(got[0] != '\0');
			assert_int_equal(strcmp(got, "pencil") == 0,
			    strcmp(rows[i].asks, "alice") == 0);
		}
		helper_say(HELPER_PROVED, serial, rows[i].authid,
		    rows[i].authzid);
		if (result(number) != rows[i].result)
			fail_msg("%s: \"%s\"", rows[i].what, text);
		assert_int_equal(helper_hear(serial, got, sizeof got),
		    HELPER_ABORT);
	}
}

/* What a helper may not say ends its exchange, and nothing else. */
static void
test_guarded_protocol(void **state)
{
	uint64_t serial, number = ask_as(++t.number, &with_cram, NULL, 0);
	struct check c;
	char got[64];

	(void)state;
	serial = get_exchange("CRAM-MD5");
	answer_check(serial, HELPER_YES); /* that is PAM's */
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* A second name's secret. */
	number = ask_as(++t.number, &with_cram, NULL, 0);
	serial = get_exchange("CRAM-MD5");
	helper_say(HELPER_NEED_SECRET, serial, "bob", NULL);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_SECRET);
	helper_say(HELPER_NEED_SECRET, serial, "alice", NULL);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* One while Kerberos is asked. */
	number = ask_as(++t.number, &with_gssapi, NULL, 0);
	serial = get_exchange("GSSAPI");
	helper_say(HELPER_NEED_SECRET, serial, "alice", NULL);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* Out of turn: the client has not answered yet. */
	number = ask_as(++t.number, &with_cram, NULL, 0);
	serial = get_exchange("CRAM-MD5");
	helper_say(HELPER_CHALLENGE, serial, "<1@localhost>", NULL);
	assert_true(challenge(number, got, sizeof got));
	helper_say(HELPER_NEED_SECRET, serial, "alice", NULL);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* PAM's helper proves nobody else. */
	number = ask(&with_pam, "\0peter\0pan");
	assert_true(get_check(&c));
	helper_say(HELPER_PROVED, c.serial, "alice", "");
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	/* A cut packet. */
	number = ask_as(++t.number, &with_cram, NULL, 0);
	serial = get_exchange("CRAM-MD5");
	helper_say(HELPER_PROVED, serial, "alice", NULL);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	assert_int_equal(result(ask(&usual, "\0alice\0pencil")), AUTH_GRANTED);
}

/* A new session role: what the old one asked is nobody's. */
static void
test_session_goes(void **state)
{
	char got[64];
	uint64_t number = ask_as(++t.number, &usual, NULL, 0);

	(void)state;
	assert_true(challenge(number, got, sizeof got));
	close(t.session);
	give_peer(ROLE_SESSION, &t.session);
	step(number, "\0alice\0pencil", 13);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(result(ask(&usual, "\0alice\0pencil")), AUTH_GRANTED);
}

/* The role's control socket. */
static void
give_control(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	unsigned char type = MASTER_CONTROL;
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/control", t.folder);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(un.sun_path, sizeof un.sun_path, "%s/control/auth", t.folder);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(channel_send(t.master, &type, 1, fd), CHANNEL_DONE);
	close(fd);
}

static void
take_data(void *context, const char *octets, size_t len)
{
	(void)context;
	assert_non_null(octets);
	assert_true(len > 0);
}

static bool
user(enum control_user_verb verb, const struct entry *entry)
{
	unsigned char packet[CONTROL_USER_PACKET_MAX];
	size_t len = control_user_encode(packet, CONTROL_USER, verb, entry);
	bool ok;
	int fd;

	assert_true(control_connect(t.folder, "auth", &fd, NULL));
	ok = control_ask(fd, packet, len, take_data, NULL, NULL);
	close(fd);
	return ok;
}

/* The next AUTH_CHANGED within ms, "LOGIN ACTION"; "-": none. */
static const char *
changed(int ms)
{
	static char line[NAME_SIZE + 64];
	unsigned char packet[1024];
	char action[64], name[NAME_SIZE];
	struct wire_reader r;
	int len = receive(t.session, packet, sizeof packet, ms);

	if (len <= 0)
		return "-";
	wire_reader_init(&r, packet, (size_t)len);
	if (wire_get_u8(&r) != AUTH_CHANGED ||
	    !wire_get_string(&r, name, sizeof name) ||
	    !wire_get_string(&r, action, sizeof action) ||
	    !wire_reader_done(&r))
		return "?";
	snprintf(line, sizeof line, "%s %s", name, action);
	return line;
}

static void
test_changed(void **state)
{
	struct entry alice = { .name = "alice@example.org", .enabled = true };
	struct entry zoe = { .name = "zoe@example.org", .enabled = true };
	struct entry key = alice, limited, server, gone = zoe;

	(void)state;
	give_control();
	assert_true(verifier_make(alice.verifiers, "pencil", 4096, NULL));
	memcpy(zoe.verifiers, alice.verifiers, sizeof zoe.verifiers);
	memset(key.keys[key.key_count++], 7, SPKI_OCTETS);
	server = key;
	strcpy(server.name, "server@example.org");
	server.keys[0][0] = 8;
	limited = alice;
	limited.rate = 100;
	strcpy(gone.name, "gone@example.org");
	/* Its own order: each row begins with what the last has left. */
	const struct {
		const char *what;
		enum control_user_verb verb;
		const struct entry *entry;
		bool ok;
		const char *told;
	} rows[] = {
		{ "a new password", CONTROL_USER_SET, &alice, true,
		    "alice@example.org passwd" },
		{ "nothing new", CONTROL_USER_ENABLE, &alice, true, "-" },
		{ "disabled", CONTROL_USER_DISABLE, &alice, true,
		    "alice@example.org disable" },
		{ "disabled already", CONTROL_USER_DISABLE, &alice, true,
		    "alice@example.org disable" },
		{ "enabled", CONTROL_USER_ENABLE, &alice, true, "-" },
		{ "another key", CONTROL_USER_BIND, &key, true, "-" },
		{ "a key less", CONTROL_USER_UNBIND, &key, true,
		    "alice@example.org unbind" },
		{ "a key that is not there", CONTROL_USER_UNBIND, &key, false,
		    "-" },
		{ "only looked at", CONTROL_USER_SHOW, &alice, true, "-" },
		{ "somebody new", CONTROL_USER_ADD, &zoe, true, "-" },
		{ "somebody new, whom others may vouch for", CONTROL_USER_ADD,
		    &server, true, "server@example.org add" },
		{ "there already", CONTROL_USER_ADD, &zoe, false, "-" },
		{ "removed", CONTROL_USER_REMOVE, &zoe, true,
		    "zoe@example.org remove" },
		{ "removed once more", CONTROL_USER_REMOVE, &zoe, false,
		    "zoe@example.org remove" },
		{ "of nobody", CONTROL_USER_SET, &gone, false, "-" },
		{ "replaced by the same", CONTROL_USER_REPLACE, &alice, true,
		    "-" },
		{ "replaced with a limit", CONTROL_USER_REPLACE, &limited, true,
		    "alice@example.org replace" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *told;

		if (user(rows[i].verb, rows[i].entry) != rows[i].ok)
			fail_msg("%s: it %s", rows[i].what,
			    rows[i].ok ? "failed" : "was done");
		/* What is told is there before the tool's answer. */
		told = changed(0);
		if (strcmp(told, rows[i].told) != 0)
			fail_msg("%s: \"%s\"", rows[i].what, told);
	}
}

/* The session reads nothing for a while: no name is lost, or all are meant. */
static void
test_changed_without_room(void **state)
{
	enum { MANY = 2000 };
	struct entry entry = { .enabled = true };
	bool told[MANY] = { false };
	const char *line = "";
	int i, last = -1;

	(void)state;
	give_control();
	for (i = 0; i < MANY; i++) {
		snprintf(entry.name, sizeof entry.name, "u%d@x.org", i);
		assert_false(user(CONTROL_USER_REMOVE, &entry));
	}
	while (strcmp(line = changed(1000), " many changes") != 0) {
		assert_int_equal(sscanf(line, "u%d@x.org remove", &i), 1);
		assert_int_equal(i, last + 1);
		told[last = i] = true;
	}
	assert_true(told[0]);
	assert_false(told[MANY - 1]);
	/* And then it goes on as before. */
	assert_string_equal(changed(50), "-");
	assert_false(user(CONTROL_USER_REMOVE, &entry));
	assert_string_equal(changed(0), "u1999@x.org remove");
	/* A few are kept until there is room.  */
	for (i = 0; i <= last + 20; i++) {
		snprintf(entry.name, sizeof entry.name, "u%d@x.org", i);
		assert_false(user(CONTROL_USER_REMOVE, &entry));
	}
	for (i = 0; i <= last + 20; i++) {
		line = changed(1000);
		snprintf(entry.name, sizeof entry.name, "u%d@x.org remove", i);
		assert_string_equal(line, entry.name);
	}
}

/* A right password that had to wait for others' wrong ones. */
static void
test_changed_before_told(void **state)
{
	struct entry alice = { .name = "alice@example.org", .enabled = true };
	unsigned char packet[1024];
	uint64_t number, last = 0;

	(void)state;
	give_control();
	for (int i = 0; i < 23; i++)
		last = ask(&usual, "\0alice\0guess");
	/* Beyond 20 they take their time, one after another. */
	for (int i = 0; i < 22; i++)
		assert_true(
		    receive(t.session, packet, sizeof packet, PATIENCE_MS) > 0);
	number = ask(&usual, "\0alice\0pencil");
	assert_true(is_silent(t.session, DELAY_MS));
	assert_true(user(CONTROL_USER_DISABLE, &alice));
	assert_string_equal(changed(0), "alice@example.org disable");
	assert_int_equal(result(last), AUTH_DENIED);
	assert_int_equal(result(number), AUTH_DENIED);
	assert_string_equal(text, "changed during the exchange");
}

static void
seen(const char *name, const char *program, const char *client,
    uint32_t practices)
{
	unsigned char packet[1024];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_SEEN);
	wire_put_string(&w, name);
	wire_put_string(&w, program);
	wire_put_string(&w, client);
	wire_put_u32(&w, practices);
	assert_int_equal(channel_send(t.session, packet, w.len, -1),
	    CHANNEL_DONE);
}

static void
take_text(void *context, const char *octets, size_t len)
{
	char **all = context;
	size_t had = *all != NULL ? strlen(*all) : 0;

	*all = realloc(*all, had + len + 1);
	assert_non_null(*all);
	memcpy(*all + had, octets, len + 1);
}

/* What the role says of old practices, without times; borrowed. */
static const char *
legacy(void)
{
	static char rows[4096];
	const unsigned char request = CONTROL_LEGACY;
	char *all = NULL, *at, practices[LEGACY_TEXT];
	struct legacy_book *book;
	struct reason why;
	int fd;

	/* What was sent before has been read. */
	assert_int_equal(result(ask(&usual, "\0alice\0pencil")), AUTH_GRANTED);
	assert_true(control_connect(t.folder, "auth", &fd, NULL));
	assert_true(control_ask(fd, &request, 1, take_text, &all, &why));
	close(fd);
	assert_true(legacy_book_parse(&book, all, strlen(all), &why));
	free(all);
	at = rows;
	*at = '\0';
	for (const struct legacy_row *row = NULL;
	     (row = legacy_book_next(book, row)) != NULL;) {
		legacy_print(row->practices, practices);
		at += sprintf(at, "%s|%s|%s|%s|%ju\n", row->login, row->program,
		    practices, row->client, (uintmax_t)row->count);
	}
	legacy_book_free(book);
	return rows;
}

/* SIGTERM of the master, and the same once more. */
static void
restart(void)
{
	unsigned char packet[512];
	struct wire_writer w;
	int status;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_STOP);
	wire_put_u32(&w, 1000);
	assert_int_equal(channel_send(t.master, packet, w.len, -1),
	    CHANNEL_DONE);
	assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
	assert_int_equal(status, 0);
	close(t.master);
	close(t.session);
	close(t.helpers);
	close(t.relay);
	start();
	prepare(1);
	assert_true(receive(t.master, packet, sizeof packet, PATIENCE_MS) > 0);
	assert_int_equal(packet[0], ROLE_PREPARED);
	give_peer(ROLE_SESSION, &t.session);
	give_peer(ROLE_HELPERS, &t.helpers);
	give_peer(ROLE_RELAY, &t.relay);
	commit(1);
}

static void
test_legacy(void **state)
{
	static const char wanted[] =
	    "bob@example.org|Pine|tls1.2|2001:db8::1|1\n"
	    "alice@example.org|Mutt/2|tls1.2 login|192.0.2.2|2\n"
	    "old@example.org||tls1.2|192.0.2.1|1\n";
	static const struct start old = { 1, "store", "PLAIN", "192.0.2.1",
		12 };
	char path[128], aside[160];
	struct stat st;
	FILE *f;

	(void)state;
	give_control();
	assert_string_equal(legacy(), "");
	seen("alice@example.org", "Mutt/2", "192.0.2.1",
	    LEGACY_LOGIN | LEGACY_TLS_1_2);
	seen("bob@example.org", "Pine", "2001:db8::1", LEGACY_TLS_1_2);
	seen("alice@example.org", "Mutt/2", "192.0.2.2",
	    LEGACY_LOGIN | LEGACY_TLS_1_2);
	/* None of these is what an honest session says. */
	seen("alice", "Mutt/2", "192.0.2.2", LEGACY_LOGIN);
	seen("alice@example.org", "Mutt/2", "localhost", LEGACY_LOGIN);
	seen("alice@example.org", "Mutt/2", "192.0.2.2", 0);
	seen("alice@example.org", "Mutt/2", "192.0.2.2", 1024);
	/* Refused for its practice: the right password counts, no other. */
	assert_int_equal(result(ask(&old, "\0old\0guess")), AUTH_DENIED);
	assert_int_equal(result(ask(&old, "\0old\0pencil")), AUTH_DENIED);
	assert_string_equal(legacy(), wanted);
	/* It outlives the role, readable for nobody else. */
	restart();
	snprintf(path, sizeof path, "%s/control/auth", t.folder);
	unlink(path);
	snprintf(path, sizeof path, "%s/control", t.folder);
	rmdir(path);
	give_control();
	assert_string_equal(legacy(), wanted);
	snprintf(path, sizeof path, "%s/store/legacy.json", t.folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Damaged, it stops nothing. */
	f = fopen(path, "a");
	assert_non_null(f);
	fputs("x", f);
	fclose(f);
	restart();
	snprintf(aside, sizeof aside, "%s.damaged", path);
	assert_int_equal(stat(aside, &st), 0);
	assert_int_not_equal(stat(path, &st), 0);
	snprintf(path, sizeof path, "%s/control/auth", t.folder);
	unlink(path);
	snprintf(path, sizeof path, "%s/control", t.folder);
	rmdir(path);
	give_control();
	assert_string_equal(legacy(), "");
}

/* LOGIN_START; the type of the answer, and its octets. */
static const struct start with_token = { 1, "tokens", "oauthbearer",
	"192.0.2.1", 13 };
static const struct start with_xoauth2 = { 1, "tokens", "XOAUTH2", "192.0.2.1",
	13 };

/* The question about a token that auth asks; 0: it asks none. */
static uint64_t
get_token_question(const char *token)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	gnutls_datum_t octets;
	uint64_t serial;
	int len = receive(t.helpers, packet, sizeof packet, PATIENCE_MS);

	wire_reader_init(&r, packet, len > 0 ? (size_t)len : 0);
	if (wire_get_u8(&r) != HELPER_TOKEN)
		return 0;
	serial = wire_get_u64(&r);
	if (wire_get_u32(&r) != 1 || wire_get_u32(&r) == 0)
		return 0; /* configuration, deadline */
	octets = wire_get_bytes(&r, 8192);
	assert_int_equal(octets.size, strlen(token));
	assert_memory_equal(octets.data, token, octets.size);
	assert_int_equal(wire_get_bytes(&r, 8192).size, 0); /* the login */
	return wire_reader_done(&r) ? serial : 0;
}

static uint64_t
ask_token(const struct start *start, const char *message)
{
	return ask_as(++t.number, start, message, strlen(message));
}

/* The client is told why, at the time of failures, and then that. */
static void
test_token(void **state)
{
	char got[256];
	uint64_t serial,
	    number = ask_token(&with_token, "n,,\1auth=Bearer t.o.k\1\1");
	int64_t begun;

	(void)state;
	serial = get_token_question("t.o.k");
	assert_true(serial != 0);
	helper_say(HELPER_PROVED, serial, "alice@EXAMPLE.org", "");
	assert_int_equal(result(number), AUTH_GRANTED);
	assert_string_equal(login, "alice@example.org");
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);

	begun = now_ms();
	number = ask_token(&with_token, "n,a=bob,\1auth=Bearer bad\1\1");
	serial = get_token_question("bad");
	answer_check(serial, HELPER_NO);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	assert_true(challenge(number, got, sizeof got));
	assert_true(now_ms() - begun >= DELAY_MS);
	assert_string_equal(got,
	    "{\"status\":\"invalid_token\",\"scope\":\"smtp\"}");
	begun = now_ms();
	step(number, "\1", 1);
	assert_int_equal(result(number), AUTH_DENIED);
	assert_true(now_ms() - begun < DELAY_MS);
	assert_string_equal(login, "bob@example.org");

	number = ask_as(++t.number, &with_xoauth2, NULL, 0);
	assert_true(challenge(number, got, sizeof got));
	assert_string_equal(got, "");
	step(number, "user=bob\1auth=Bearer bad\1\1", 26);
	serial = get_token_question("bad");
	answer_check(serial, HELPER_NO);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	assert_true(challenge(number, got, sizeof got));
	assert_string_equal(got,
	    "{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"smtp\"}");
	step(number, "", 0);
	assert_int_equal(result(number), AUTH_DENIED);
}

/* Whom can a helper, or a token, make us believe it is? */
static void
test_token_lies(void **state)
{
	static const struct {
		const char *what, *message, *says;
		bool is_granted;
	} rows[] = {
		{ "whom the token names", "user=\1auth=Bearer t\1\1", "alice",
		    true },
		{ "claimed otherwise spelled",
		    "user=alice@EXAMPLE.org\1auth=Bearer t\1\1", "alice",
		    true },
		{ "one who is not in the store", "user=\1auth=Bearer t\1\1",
		    "zoe", true },
		{ "another than claimed", "user=bob\1auth=Bearer t\1\1",
		    "alice", false },
		{ "another case than claimed", "user=Alice\1auth=Bearer t\1\1",
		    "alice", false },
		{ "a disabled one", "user=\1auth=Bearer t\1\1", "off", false },
		{ "another's realm", "user=\1auth=Bearer t\1\1",
		    "alice@other.example", false },
		{ "a realm beneath ours", "user=\1auth=Bearer t\1\1",
		    "alice@sub.example.org", false },
		{ "no name", "user=\1auth=Bearer t\1\1", "", false },
		{ "a name with a blank", "user=\1auth=Bearer t\1\1", "a b",
		    false },
	};
	char got[256];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t number = ask_token(&with_xoauth2, rows[i].message);
		uint64_t serial = get_token_question("t");

		assert_true(serial != 0);
		helper_say(HELPER_PROVED, serial, rows[i].says, "");
		if (!rows[i].is_granted) {
			assert_true(challenge(number, got, sizeof got));
			step(number, "", 0);
		}
		if (result(number) !=
		    (int)(rows[i].is_granted ? AUTH_GRANTED : AUTH_DENIED))
			fail_msg("%s: \"%s\"", rows[i].what, text);
		assert_int_equal(helper_hear(serial, got, sizeof got),
		    HELPER_ABORT);
	}
}

static void
test_token_protocol(void **state)
{
	char got[256];
	uint64_t serial, number;

	(void)state;
	/* Nobody is bothered with what is no message or claims no name. */
	assert_int_equal(result(ask_token(&with_token, "n,,\1auth=x\1\1")),
	    AUTH_MALFORMED);
	number = ask_token(&with_xoauth2, "user=a b\1auth=Bearer t\1\1");
	assert_true(challenge(number, got, sizeof got));
	step(number, "", 0);
	assert_int_equal(result(number), AUTH_DENIED);
	assert_true(is_silent(t.helpers, 0));
	/* A helper says who it is, not yes; and asks for no secrets. */
	number = ask_token(&with_token, "n,,\1auth=Bearer t\1\1");
	serial = get_token_question("t");
	answer_check(serial, HELPER_YES);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	number = ask_token(&with_token, "n,,\1auth=Bearer t\1\1");
	serial = get_token_question("t");
	helper_say(HELPER_NEED_SECRET, serial, "alice", NULL);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* Trouble is no refusal: nothing is explained. */
	number = ask_token(&with_token, "n,,\1auth=Bearer t\1\1");
	serial = get_token_question("t");
	answer_check(serial, HELPER_TROUBLE);
	assert_int_equal(result(number), AUTH_UNAVAILABLE);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* The client leaves while it is asked. */
	number = ask_token(&with_token, "n,,\1auth=Bearer t\1\1");
	serial = get_token_question("t");
	abandon(number);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	/* Or after it was told why: nobody waits for the result. */
	number = ask_token(&with_token, "n,,\1auth=Bearer t\1\1");
	serial = get_token_question("t");
	answer_check(serial, HELPER_NO);
	assert_int_equal(helper_hear(serial, got, sizeof got), HELPER_ABORT);
	assert_true(challenge(number, got, sizeof got));
	abandon(number);
	assert_true(is_silent(t.session, 50));
}

static int
log_in(const char *name, const char *offered, uint8_t tls, unsigned char *out,
    size_t size)
{
	unsigned char packet[1024];
	struct wire_writer w;
	int len;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, LOGIN_START);
	wire_put_u64(&w, ++t.number);
	wire_put_u32(&w, 1);
	wire_put_string(&w, name);
	wire_put_string(&w, offered);
	wire_put_string(&w, "smtp.isp.example");
	wire_put_bytes(&w, NULL, 0);
	wire_put_u8(&w, tls);
	assert_int_equal(channel_send(t.relay, packet, w.len, -1),
	    CHANNEL_DONE);
	len = receive(t.relay, out, size, PATIENCE_MS);
	return len > 9 ? out[0] : -1;
}

static void
test_upstream(void **state)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	struct wire_reader r;
	gnutls_datum_t octets;
	char mechanism[32];

	(void)state;
	assert_int_equal(log_in("isp", "PLAIN", 0, packet, sizeof packet),
	    LOGIN_FAILED);
	assert_int_equal(log_in("isp", "LOGIN", 1, packet, sizeof packet),
	    LOGIN_FAILED);
	assert_int_equal(log_in("other", "PLAIN", 1, packet, sizeof packet),
	    LOGIN_FAILED);
	assert_int_equal(log_in("isp", "LOGIN PLAIN", 1, packet, sizeof packet),
	    LOGIN_SEND);
	wire_reader_init(&r, packet + 1, sizeof packet - 1);
	assert_int_equal(wire_get_u64(&r), t.number);
	assert_true(wire_get_string(&r, mechanism, sizeof mechanism));
	assert_string_equal(mechanism, "PLAIN");
	assert_int_equal(wire_get_u8(&r), 1);
	octets = wire_get_bytes(&r, 100);
	assert_int_equal(octets.size, 13);
	assert_memory_equal(octets.data, "\0relay\0secret", 13);
	assert_int_equal(wire_get_u8(&r), 1); /* complete */
}

/* Begin a login by token; the number of auth's question to the master. */
static uint64_t
want_token(void)
{
	unsigned char packet[512];
	char name[65];
	struct wire_writer w;
	struct wire_reader r;
	uint64_t serial;
	int len;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, LOGIN_START);
	wire_put_u64(&w, ++t.number);
	wire_put_u32(&w, 1);
	wire_put_string(&w, "tok");
	wire_put_string(&w, "XOAUTH2");
	wire_put_string(&w, "smtp.isp.example");
	wire_put_bytes(&w, NULL, 0);
	wire_put_u8(&w, 1);
	assert_int_equal(channel_send(t.relay, packet, w.len, -1),
	    CHANNEL_DONE);
	len = receive(t.master, packet, sizeof packet, PATIENCE_MS);
	assert_true(len > 0);
	assert_int_equal(packet[0], ROLE_WANTS_TOKEN);
	wire_reader_init(&r, packet + 1, (size_t)len - 1);
	serial = wire_get_u64(&r);
	assert_int_equal(wire_get_u32(&r), 1);
	assert_true(wire_get_string(&r, name, sizeof name));
	assert_string_equal(name, "tok");
	assert_true(wire_reader_done(&r));
	return serial;
}

static void
give_token(uint64_t serial, int fd, const char *why)
{
	unsigned char packet[512];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, MASTER_TOKEN);
	wire_put_u64(&w, serial);
	wire_put_string(&w, why);
	assert_int_equal(channel_send(t.master, packet, w.len, fd),
	    CHANNEL_DONE);
}

/* What the relay is told; the message, or why there is none, is in out. */
static int
told_relay(char out[static 512])
{
	unsigned char packet[1024];
	char mechanism[32];
	struct wire_reader r;
	gnutls_datum_t octets;
	int len = receive(t.relay, packet, sizeof packet, PATIENCE_MS);

	assert_true(len > 0);
	wire_reader_init(&r, packet + 1, (size_t)len - 1);
	assert_int_equal(wire_get_u64(&r), t.number);
	if (packet[0] == LOGIN_SEND) {
		assert_true(wire_get_string(&r, mechanism, sizeof mechanism));
		assert_int_equal(wire_get_u8(&r), 1);
	}
	octets = wire_get_bytes(&r, 511);
	memcpy(out, octets.data, octets.size);
	out[octets.size] = '\0';
	return packet[0];
}

static void
test_upstream_token(void **state)
{
	static const char message[] = "user=relay\1auth=Bearer abc\1\1";
	char out[512];
	uint64_t serial;
	int ends[2];

	(void)state;
	/* In pieces; and whoever passed the pipe still holds it. */
	serial = want_token();
	assert_int_equal(pipe(ends), 0);
	give_token(serial, ends[0], "");
	assert_int_equal(write(ends[1], "ab", 2), 2);
	assert_int_equal(receive(t.relay, (unsigned char *)out, sizeof out, 50),
	    0);
	assert_int_equal(write(ends[1], "c\nmore\n", 7), 7);
	assert_int_equal(told_relay(out), LOGIN_SEND);
	assert_string_equal(out, message);
	close(ends[1]);
	/* No second answer to one question. */
	give_token(serial, ends[0], "");
	give_token(serial, -1, "no such file");
	close(ends[0]);

	serial = want_token();
	give_token(serial, -1, "no such file");
	assert_int_equal(told_relay(out), LOGIN_FAILED);
	assert_string_equal(out, "token: no such file");

	/* The end comes before a line's end: that is one too. */
	serial = want_token();
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "abc", 3), 3);
	close(ends[1]);
	give_token(serial, ends[0], "");
	assert_int_equal(told_relay(out), LOGIN_SEND);
	assert_string_equal(out, message);
	close(ends[0]);

	/* Nothing at all. */
	serial = want_token();
	assert_int_equal(pipe(ends), 0);
	close(ends[1]);
	give_token(serial, ends[0], "");
	assert_int_equal(told_relay(out), LOGIN_FAILED);
	assert_non_null(strstr(out, "no token in the first line"));
	close(ends[0]);
}

/* The store cannot be had: a reload that needs it is refused, by name. */
static void
test_no_store(void **state)
{
	unsigned char packet[1024];
	char path[128], refusal[512];
	struct wire_reader r;
	int len;

	(void)state;
	assert_int_equal(make_store(), 0);
	snprintf(path, sizeof path, "%s/store/users.kch", t.folder);
	assert_int_equal(chmod(path, 0644), 0);
	start();
	prepare(7);
	len = receive(t.master, packet, sizeof packet, PATIENCE_MS);
	assert_true(len > 0);
	assert_int_equal(packet[0], ROLE_REFUSED);
	wire_reader_init(&r, packet + 1, (size_t)len - 1);
	assert_int_equal(wire_get_u32(&r), 7);
	assert_true(wire_get_string(&r, refusal, sizeof refusal));
	assert_non_null(strstr(refusal, "mode 644, expected 600"));
	t.session = t.helpers = t.relay = -1;
	assert_int_equal(teardown(NULL), 0);
}

#define role_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		role_test(test_identities),
		cmocka_unit_test_setup_teardown(test_granted_before_commit,
		    setup_prepared, teardown),
		role_test(test_granted_at_once),
		role_test(test_denied_in_time),
		role_test(test_denied_scram),
		role_test(test_refused),
		role_test(test_dialogue),
		role_test(test_unknown_salt),
		role_test(test_broken_packets),
		role_test(test_helpers),
		role_test(test_pam_before_store),
		role_test(test_shut_out),
		role_test(test_entry_without_credential),
		role_test(test_late_failure),
		role_test(test_helpers_go),
		role_test(test_guarded),
		role_test(test_guarded_lies),
		role_test(test_guarded_protocol),
		role_test(test_session_goes),
		role_test(test_changed),
		role_test(test_changed_without_room),
		role_test(test_changed_before_told),
		role_test(test_legacy),
		role_test(test_token),
		role_test(test_token_lies),
		role_test(test_token_protocol),
		role_test(test_upstream),
		role_test(test_upstream_token),
		cmocka_unit_test(test_no_store),
	};

	signal(SIGPIPE, SIG_IGN);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
