/*
 * server/signer.c: the signer role.  It holds the private keys of all
 * certificates and answers "sign this with that key", nothing else.
 *
 * Who asks is told by the channel: session may use the keys of certificates
 * with role server, relay those with role client.  Both talk to strangers, so
 * a request is taken apart as if a stranger had written it; one that breaks
 * the protocol ends its channel, one that is not permitted is answered "no".
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
#include "wire.h"

enum {
	REQUEST_MAX = 256,
	ANSWER_MAX = 32 + TLS_SIGNATURE_MAX,
	CHANNELS_MAX = 4096,
	CONFIGURATIONS_MAX = 16, /* 8 live ones, and some to spare */
	EVENTS_MAX = 32,
};

/* One key of one configuration. */
struct held_key {
	struct held_key *next;
	uint32_t number;
	unsigned roles; /* bits of enum certificate_role */
	struct tls_key *key;
};

/* One thread of session or relay. */
struct asker {
	struct asker *next;
	enum role peer;
	unsigned index;
	int fd;
};

struct signer {
	int epoll;
	struct held_key *keys;
	struct asker *askers;
	unsigned asker_count;
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

/* --- keys --------------------------------------------------------------- */

static void
drop_keys(struct signer *signer, uint32_t number)
{
	struct held_key **at = &signer->keys, *key;

	while ((key = *at) != NULL) {
		if (key->number != number) {
			at = &key->next;
			continue;
		}
		*at = key->next;
		tls_key_free(key->key);
		free(key);
	}
}

static bool
hold_key(struct signer *signer, uint32_t number, unsigned roles,
    const gnutls_datum_t *pem, struct reason *why)
{
	struct held_key *key = calloc(1, sizeof(*key));

	if (key == NULL)
		return fail(why, REASON_NO_MEMORY, "signer");
	if (!tls_key_new(&key->key, pem, why)) {
		free(key);
		return false;
	}
	key->number = number;
	key->roles = roles;
	key->next = signer->keys;
	signer->keys = key;
	return true;
}

static bool
hold_keys(struct signer *signer, uint32_t number, const struct bundle *bundle,
    const struct config *config, struct reason *why)
{
	const struct config_certificate *certificate;
	struct reason because;
	enum bundle_kind kind;
	gnutls_datum_t pem;
	const char *name;
	size_t i;

	for (i = 0; bundle_entry(bundle, i, &kind, &name, &pem); i++) {
		if (kind != BUNDLE_KEY)
			continue;
		certificate = config_certificate(config, name);
		if (certificate == NULL)
			return fail(why, REASON_PROTOCOL,
			    "key for certificate %s, which the configuration "
			    "does not have",
			    name);
		if (!hold_key(signer, number, certificate->roles, &pem,
			&because))
			return fail(why, because.code, "%.60s: %.180s",
			    certificate->key, because.text);
	}
	return true;
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
	ok = hold_keys(signer, number, bundle, config, why);
	config_free(config);
	if (!ok) {
		drop_keys(signer, number);
		return false;
	}
	signer->numbers[signer->number_count++] = number;
	lock_memory();
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

	drop_keys(signer, number);
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

static const struct tls_key *
find_key(const struct signer *signer, enum certificate_role role,
    const unsigned char spki[static SPKI_OCTETS])
{
	const struct held_key *key;

	for (key = signer->keys; key != NULL; key = key->next)
		if ((key->roles & role) != 0 &&
		    memcmp(tls_key_spki(key->key), spki, SPKI_OCTETS) == 0)
			return key->key;
	return NULL;
}

/* Sign if it is permitted; *len_out is 0 if not. */
static void
sign(struct signer *signer, const struct asker *asker,
    const struct tls_sign_request *request, unsigned char *signature,
    size_t *len_out)
{
	const bool as_client = asker->peer == ROLE_RELAY;
	const struct tls_key *key;
	struct reason why = { .text = "no such key for this role" };
	size_t len = TLS_SIGNATURE_MAX;

	*len_out = 0;
	key = find_key(signer,
	    as_client ? CERTIFICATE_CLIENT : CERTIFICATE_SERVER, request->spki);
	if (key != NULL &&
	    tls_key_sign(key, as_client ? CERT_FOR_CLIENT : CERT_FOR_SERVER,
		request, signature, &len, &why)) {
		signer->signatures++;
		*len_out = len;
		return;
	}
	signer->refused++;
	log_line(SAY_WARNING, "signer", "refused=%s detail=\"%s\"",
	    as_client ? "relay" : "session", why.text);
}

/* False if the channel is to be closed. */
static bool
answer(struct signer *signer, const struct asker *asker,
    const unsigned char *packet, size_t packet_len)
{
	unsigned char out[ANSWER_MAX], signature[TLS_SIGNATURE_MAX];
	struct request request;
	struct wire_writer w;
	size_t len;

	if (!request_decode(packet, packet_len, &request)) {
		log_line(SAY_ALARM, "signer",
		    "refused=%s detail=\"packet breaks the protocol\"",
		    asker->peer == ROLE_RELAY ? "relay" : "session");
		return false;
	}
	sign(signer, asker, &request.sign, signature, &len);
	wire_writer_init(&w, out, sizeof(out));
	wire_put_u8(&w, SIGNER_SIGNED);
	wire_put_u64(&w, request.number);
	wire_put_u8(&w, len > 0);
	wire_put_bytes(&w, signature, len);
	/* One request is under way on a channel: an answer has room, unless
	 * the asker does not read. */
	return !w.failed &&
	       channel_send(asker->fd, out, w.len, -1) == CHANNEL_DONE;
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
	const struct held_key *key;
	json_int_t keys = 0;

	for (key = signer->keys; key != NULL; key = key->next)
		keys++;
	json_object_set_new(object, "keys", json_integer(keys));
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
time_left(const struct signer *signer)
{
	long long left;

	if (!signer->stopping)
		return -1;
	left = signer->stop_at_ms - now_ms();
	return left > 0 ? (int)left : 0;
}

static bool
is_over(const struct signer *signer)
{
	return signer->stopping &&
	       (signer->askers == NULL || now_ms() >= signer->stop_at_ms);
}

static void
run_events(struct signer *signer)
{
	struct epoll_event events[EVENTS_MAX];
	bool from_master = false;
	int i, n;

	n = epoll_wait(signer->epoll, events, EVENTS_MAX, time_left(signer));
	for (i = 0; i < n; i++) {
		if (events[i].data.ptr == NULL)
			from_master = true;
		else
			serve(signer, events[i].data.ptr);
	}
	/* Last: it may replace a channel that is in events. */
	if (from_master)
		role_dispatch(&handler, signer);
}

int
signer_main(void)
{
	struct signer signer = { .epoll = -1 };
	struct role_info info;

	role_start(&info);
	signer.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (signer.epoll < 0 || !watch(&signer, ROLE_MASTER_FD, NULL)) {
		log_line(SAY_ERROR, "signer", "detail=\"epoll: %s\"",
		    strerror(errno));
		return EXIT_FAILURE;
	}
	while (!is_over(&signer))
		run_events(&signer);
	while (signer.keys != NULL)
		drop_keys(&signer, signer.keys->number);
	role_say_stopped();
	return EXIT_SUCCESS;
}
