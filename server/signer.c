/*
 * server/signer.c: the signer role.  It holds the private keys of all
 * certificates and answers "sign this with that key", nothing else.
 *
 * Who asks is told by the channel: session may use the keys of certificates
 * with role server, relay those with role client.  Both talk to strangers, so
 * a request is taken apart as if a stranger had written it; one that breaks
 * the protocol ends its channel, one that is not permitted is answered "no".
 *
 * Keys in tokens are with processes of their own (server/signer_pkcs11.h),
 * which are asked in turn; nobody else waits for them.
 *
 * One thread, one epoll set.  All configurations that were prepared and not
 * retired count: a connection may be on an earlier one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../tls/tls.h"
#include "bundle.h"
#include "channel.h"
#include "config.h"
#include "log.h"
#include "role.h"
#include "signer_keys.h"
#include "wire.h"

enum {
	REQUEST_MAX = 256,
	ANSWER_MAX = 32 + TLS_SIGNATURE_MAX,
	CHANNELS_MAX = 4096,
	CONFIGURATIONS_MAX = 16, /* 8 live ones, and some to spare */
	EVENTS_MAX = 32,
	/* What a reload waits for keys in tokens; less than the master does. */
	OPENING_MS = (PKCS11_HANG_S + 5) * 1000,
};

/* One thread of session or relay. */
struct asker {
	enum watched watched; /* first */
	struct asker *next;
	uint64_t serial; /* of no other in this process's life */
	enum role peer;
	unsigned index;
	int fd;
};

struct signer {
	int epoll;
	struct signer_keys keys;
	struct asker *askers;
	unsigned asker_count;
	uint64_t last_serial;
	uint32_t numbers[CONFIGURATIONS_MAX];
	unsigned number_count;
	uint64_t signatures, refused;
	bool stopping;
	long long stop_at_ms;
};

static long long
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Keeps keys out of the swap as far as the limit on locked memory allows;
 * future pages are not asked for, lest an allocation fail later. */
static void
lock_memory(void)
{
	static bool said;

	if (mlockall(MCL_CURRENT) == 0 || said)
		return;
	said = true;
	log_line(SAY_NOTE, "signer",
	    "memory=unlocked detail=\"%s: keys may reach the swap\"",
	    strerror(errno));
}

static bool run_events(struct signer *signer, int ms);

/*
 * Who prepares next tries the keys.  A token that is not there is no reason to
 * refuse: the master has asked it before it gave us the number, so that it is
 * one that went away, or we are one that was restarted.
 */
static void
wait_for_tokens(struct signer *signer)
{
	const long long until = now_ms() + OPENING_MS;
	struct epoll_event master = { .events = 0, .data.ptr = NULL };

	if (!pkcs11_is_opening(&signer->keys.tokens))
		return;
	epoll_ctl(signer->epoll, EPOLL_CTL_MOD, ROLE_MASTER_FD, &master);
	while (pkcs11_is_opening(&signer->keys.tokens) && now_ms() < until)
		run_events(signer, (int)(until - now_ms()));
	master.events = EPOLLIN;
	epoll_ctl(signer->epoll, EPOLL_CTL_MOD, ROLE_MASTER_FD, &master);
}

static void
forget_number(struct signer *signer, uint32_t number)
{
	unsigned i;

	for (i = 0; i < signer->number_count; i++)
		if (signer->numbers[i] == number) {
			signer->numbers[i] =
			    signer->numbers[--signer->number_count];
			return;
		}
}

static bool
prepare(void *self, uint32_t number, const struct bundle *bundle,
    struct reason *why)
{
	struct signer *signer = self;
	struct config *config;
	gnutls_datum_t text;
	const char *path;
	enum bundle_kind kind;
	size_t i;
	bool ok;

	if (signer->number_count == CONFIGURATIONS_MAX)
		return fail(why, REASON_RANGE,
		    "signer holds %d configurations already",
		    CONFIGURATIONS_MAX);
	for (i = 0; bundle_entry(bundle, i, &kind, &path, &text); i++)
		if (kind == BUNDLE_CONF)
			break;
	if (!bundle_entry(bundle, i, &kind, &path, &text))
		return fail(why, REASON_PROTOCOL, "no configuration text");
	if (!config_parse(&config, path, (const char *)text.data, text.size,
		why))
		return false;
	ok = signer_keys_hold(&signer->keys, number, bundle, config, why);
	config_free(config);
	if (!ok) {
		signer_keys_drop(&signer->keys, number);
		return false;
	}
	signer->numbers[signer->number_count++] = number;
	lock_memory();
	wait_for_tokens(signer);
	return true;
}

/* Every prepared number counts: nothing to choose. */
static void
commit(void *self, uint32_t number)
{
	(void)self;
	(void)number;
}

static void
retire(void *self, uint32_t number)
{
	struct signer *signer = self;

	signer_keys_drop(&signer->keys, number);
	forget_number(signer, number);
	role_say_unused(number);
}

/* --- requests ------------------------------------------------------------ */

struct request {
	uint64_t number;
	struct tls_sign_request sign;
};

static bool
request_decode(const unsigned char *packet, size_t len, struct request *out)
{
	struct wire_reader r;
	gnutls_datum_t input;
	uint8_t type, is_data;

	memset(out, 0, sizeof(*out));
	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	out->number = wire_get_u64(&r);
	out->sign.algorithm = wire_get_u32(&r);
	is_data = wire_get_u8(&r);
	wire_get_raw(&r, out->sign.spki, SPKI_OCTETS);
	input = wire_get_bytes(&r, TLS_SIGN_INPUT_MAX);
	if (!wire_reader_done(&r) || type != SIGNER_SIGN || is_data > 1)
		return false;
	out->sign.is_data = is_data != 0;
	out->sign.input_len = input.size;
	memcpy(out->sign.input, input.data, input.size);
	return true;
}

/* False if the channel is to be closed. */
static bool
say_signed(struct signer *signer, const struct asker *asker, uint64_t number,
    const unsigned char *signature, size_t len, const struct reason *why)
{
	unsigned char out[ANSWER_MAX];
	struct wire_writer w;

	if (len > 0) {
		signer->signatures++;
	} else {
		signer->refused++;
		log_line(SAY_WARNING, "signer", "refused=%s detail=\"%s\"",
		    asker->peer == ROLE_RELAY ? "relay" : "session", why->text);
	}
	wire_writer_init(&w, out, sizeof(out));
	wire_put_u8(&w, SIGNER_SIGNED);
	wire_put_u64(&w, number);
	wire_put_u8(&w, len > 0);
	wire_put_bytes(&w, signature, len);
	/* One request is under way on a channel: an answer has room, unless
	 * the asker does not read. */
	return !w.failed &&
	       channel_send(asker->fd, out, w.len, -1) == CHANNEL_DONE;
}

static bool
ask_token(const struct held_key *key, const struct asker *asker,
    enum cert_purpose side, const struct request *request, struct reason *why)
{
	unsigned char tag[PKCS11_TAG_OCTETS];
	struct wire_writer w;

	wire_writer_init(&w, tag, sizeof(tag));
	wire_put_u64(&w, asker->serial);
	wire_put_u64(&w, request->number);
	return pkcs11_sign(key->token, tag, side, &request->sign, why);
}

/* Of a token; who asked may be gone.  One that does not read will close its
 * channel itself. */
static void
token_answer(void *self, const unsigned char tag[static PKCS11_TAG_OCTETS],
    const unsigned char *signature, size_t len, const struct reason *why)
{
	struct signer *signer = self;
	struct asker *asker = signer->askers;
	struct wire_reader r;
	uint64_t serial, number;

	wire_reader_init(&r, tag, PKCS11_TAG_OCTETS);
	serial = wire_get_u64(&r);
	number = wire_get_u64(&r);
	while (asker != NULL && asker->serial != serial)
		asker = asker->next;
	if (asker != NULL)
		say_signed(signer, asker, number, signature, len, why);
}

/* Sign if it is permitted.  False if the channel is to be closed. */
static bool
sign(struct signer *signer, const struct asker *asker,
    const struct request *request)
{
	const bool as_client = asker->peer == ROLE_RELAY;
	const enum cert_purpose side =
	    as_client ? CERT_FOR_CLIENT : CERT_FOR_SERVER;
	struct reason why = { .text = "no such key for this role" };
	unsigned char signature[TLS_SIGNATURE_MAX];
	size_t len = sizeof(signature);
	const struct held_key *key = signer_keys_find(&signer->keys,
	    as_client ? CERTIFICATE_CLIENT : CERTIFICATE_SERVER,
	    request->sign.spki);

	if (key != NULL && key->token != NULL &&
	    ask_token(key, asker, side, request, &why))
		return true; /* token_answer has the rest */
	if (key == NULL || key->token != NULL ||
	    !tls_key_sign(key->key, side, &request->sign, signature, &len,
		&why))
		len = 0;
	return say_signed(signer, asker, request->number, signature, len, &why);
}

/* False if the channel is to be closed. */
static bool
answer(struct signer *signer, const struct asker *asker,
    const unsigned char *packet, size_t packet_len)
{
	struct request request;

	if (request_decode(packet, packet_len, &request))
		return sign(signer, asker, &request);
	log_line(SAY_ALARM, "signer",
	    "refused=%s detail=\"packet breaks the protocol\"",
	    asker->peer == ROLE_RELAY ? "relay" : "session");
	return false;
}

/* --- channels ------------------------------------------------------------ */

static void
drop_asker(struct signer *signer, struct asker *asker)
{
	struct asker **at = &signer->askers;

	while (*at != asker)
		at = &(*at)->next;
	*at = asker->next;
	signer->asker_count--;
	close(asker->fd); /* leaves the epoll set too */
	free(asker);
}

static struct asker *
find_asker(struct signer *signer, enum role peer, unsigned index)
{
	struct asker *asker = signer->askers;

	while (asker != NULL && (asker->peer != peer || asker->index != index))
		asker = asker->next;
	return asker;
}

/* Neither reading nor writing may hold up the other channels. */
static bool
watch(struct signer *signer, int fd, void *context)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = context };
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
	       epoll_ctl(signer->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void
peer(void *self, enum role role, unsigned index, int fd)
{
	struct signer *signer = self;
	struct asker *asker;

	asker = find_asker(signer, role, index);
	if (asker != NULL)
		drop_asker(signer, asker);
	if ((role != ROLE_SESSION && role != ROLE_RELAY) ||
	    signer->asker_count == CHANNELS_MAX ||
	    (asker = calloc(1, sizeof(*asker))) == NULL) {
		log_line(SAY_ERROR, "signer", "peer=%d index=%u refused=yes",
		    (int)role, index);
		close(fd);
		return;
	}
	asker->watched = WATCHED_ASKER;
	asker->serial = ++signer->last_serial;
	asker->peer = role;
	asker->index = index;
	asker->fd = fd;
	asker->next = signer->askers;
	signer->askers = asker;
	signer->asker_count++;
	if (!watch(signer, fd, asker)) {
		log_line(SAY_ERROR, "signer", "peer=%d index=%u detail=\"%s\"",
		    (int)role, index, strerror(errno));
		drop_asker(signer, asker);
	}
}

static void
serve(struct signer *signer, struct asker *asker)
{
	unsigned char packet[REQUEST_MAX];
	enum channel_io io;
	size_t len;

	io = channel_recv(asker->fd, packet, sizeof(packet), &len, NULL);
	if (io == CHANNEL_WAIT)
		return;
	if (io != CHANNEL_DONE || !answer(signer, asker, packet, len))
		drop_asker(signer, asker);
}

/* --- the role ------------------------------------------------------------ */

/* Handshakes under way may still need us: go when nobody is left to ask. */
static void
stop(void *self, uint32_t ms)
{
	struct signer *signer = self;

	signer->stopping = true;
	signer->stop_at_ms = now_ms() + ms;
}

static void
status(void *self, json_t *object)
{
	const struct signer *signer = self;
	unsigned away, count = signer_keys_count(&signer->keys, &away);

	json_object_set_new(object, "keys", json_integer((json_int_t)count));
	json_object_set_new(object, "away", json_integer((json_int_t)away));
	json_object_set_new(object, "configurations",
	    json_integer((json_int_t)signer->number_count));
	json_object_set_new(object, "channels",
	    json_integer((json_int_t)signer->asker_count));
	json_object_set_new(object, "signatures",
	    json_integer((json_int_t)signer->signatures));
	json_object_set_new(object, "refused",
	    json_integer((json_int_t)signer->refused));
}

static const struct role_handler handler = {
	.prepare = prepare,
	.commit = commit,
	.retire = retire,
	.peer = peer,
	.stop = stop,
	.status = status,
};

/* How long epoll may sleep; -1 for as long as it likes. */
static int
time_left(struct signer *signer)
{
	int left = pkcs11_timers(&signer->keys.tokens, now_ms());
	long long until_stop;

	if (!signer->stopping)
		return left;
	until_stop = signer->stop_at_ms - now_ms();
	if (until_stop <= 0)
		return 0;
	return left < 0 || until_stop < left ? (int)until_stop : left;
}

static bool
is_over(const struct signer *signer)
{
	return signer->stopping &&
	       (signer->askers == NULL || now_ms() >= signer->stop_at_ms);
}

/* What there is to do within ms (-1: at any time).  Is there a packet of the
 * master? */
static bool
run_events(struct signer *signer, int ms)
{
	struct epoll_event events[EVENTS_MAX];
	bool from_master = false;
	int i, n, left = time_left(signer);

	if (left < 0 || (ms >= 0 && ms < left))
		left = ms;
	n = epoll_wait(signer->epoll, events, EVENTS_MAX, left);
	for (i = 0; i < n; i++) {
		enum watched *watched = events[i].data.ptr;

		if (watched == NULL)
			from_master = true;
		else if (*watched == WATCHED_ASKER)
			serve(signer, events[i].data.ptr);
		else
			pkcs11_event(&signer->keys.tokens, events[i].data.ptr);
	}
	return from_master;
}

/* Before the signer is confined: modules need what it gives up. */
static int token_spawner = -1;

static void
start_spawner(const struct confinement *c)
{
	token_spawner = pkcs11_spawner(c);
}

int
signer_main(void)
{
	struct signer signer = { .epoll = -1 };
	struct role_info info;

	role_start_after(&info, start_spawner);
	signer.epoll = epoll_create1(EPOLL_CLOEXEC);
	signer.keys.tokens = (struct pkcs11_keys){ .spawner = token_spawner,
		.epoll = signer.epoll,
		.answer = token_answer,
		.context = &signer };
	if (signer.epoll < 0 || !watch(&signer, ROLE_MASTER_FD, NULL)) {
		log_line(SAY_ERROR, "signer", "detail=\"epoll: %s\"",
		    strerror(errno));
		return EXIT_FAILURE;
	}
	/* Last: a packet may replace a channel that has an event. */
	while (!is_over(&signer))
		if (run_events(&signer, -1))
			role_dispatch(&handler, &signer);
	signer_keys_free(&signer.keys);
	role_say_stopped();
	return EXIT_SUCCESS;
}
