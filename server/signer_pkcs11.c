/*
 * server/signer_pkcs11.c: keys in tokens: opened, asked, opened again.
 */
#include "signer_pkcs11.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"
#include "messages.h"

enum state {
	KEY_NEW,     /* to be opened */
	KEY_OPENING, /* its process has the URL */
	KEY_OPEN,
	KEY_AWAY,    /* to be opened again at retry_at */
	KEY_REFUSED, /* the PIN was wrong: not opened again */
};

struct pkcs11_key {
	enum watched watched; /* first: see the header */
	struct pkcs11_key *next;
	unsigned holders;
	enum state state;
	bool was_away; /* said so */
	long long retry_at_ms;
	int fd;
	char *name, *url;
	struct pkcs11_url parts; /* of url */
	char pin[PIN_SIZE];
	gnutls_datum_t public;
	unsigned char spki[SPKI_OCTETS];
};

static long long
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- opening ------------------------------------------------------------ */

static void
leave_process(struct pkcs11_key *key)
{
	if (key->fd >= 0)
		close(key->fd); /* leaves the epoll set too, and ends it */
	key->fd = -1;
}

static void
say_trouble(const struct pkcs11_key *key, const char *state,
    const struct reason *why)
{
	char detail[2 * REASON_TEXT_MAX];

	log_line(SAY_ALARM, "pkcs11", "certificate=%s token=%s detail=%s",
	    key->name, state,
	    log_value(detail, sizeof(detail), why->text, strlen(why->text)));
}

/* Until it is back nothing more is said. */
static void
set_away(struct pkcs11_key *key, const struct reason *why)
{
	leave_process(key);
	key->state = KEY_AWAY;
	key->retry_at_ms = now_ms() + PKCS11_RETRY_MS;
	if (key->was_away)
		return;
	key->was_away = true;
	say_trouble(key, "away", why);
}

/* The other keys of the token have the same PIN: it is not offered for each. */
static void
set_refused(struct pkcs11_keys *keys, const struct pkcs11_key *refused,
    const struct reason *why)
{
	struct pkcs11_key *key;

	for (key = keys->first; key != NULL; key = key->next) {
		if (key->state == KEY_OPEN ||
		    strcmp(key->pin, refused->pin) != 0)
			continue;
		leave_process(key);
		key->state = KEY_REFUSED;
		say_trouble(key, "pin-refused", why);
	}
}

static void
set_open(struct pkcs11_key *key)
{
	key->state = KEY_OPEN;
	if (key->was_away)
		log_line(SAY_NOTE, "pkcs11", "certificate=%s token=back",
		    key->name);
	key->was_away = false;
}

/* A channel to a new process. */
static bool
spawn(struct pkcs11_keys *keys, struct pkcs11_key *key, struct reason *why)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = key };
	unsigned char packet = PKCS11_FORK;
	enum channel_io io;
	int ends[2];

	if (!channel_pair(ends, true, why))
		return false;
	io = channel_send(keys->spawner, &packet, sizeof(packet), ends[1]);
	close(ends[1]);
	key->fd = ends[0];
	if (io != CHANNEL_DONE)
		return fail(why, REASON_AWAY,
		    "no process for it: the one that forks them is away");
	if (epoll_ctl(keys->epoll, EPOLL_CTL_ADD, key->fd, &event) != 0)
		return fail_errno(why, "epoll");
	return true;
}

static void
open_now(struct pkcs11_keys *keys, struct pkcs11_key *key)
{
	const struct pkcs11_work work = { key->url, key->pin, key->public };
	unsigned char packet[PKCS11_OPEN_MAX];
	struct wire_writer w;
	struct reason why;
	bool ok;

	key->state = KEY_OPENING;
	wire_writer_init(&w, packet, sizeof(packet));
	pkcs11_put_open(&w, &work);
	ok = spawn(keys, key, &why) &&
	     ((!w.failed &&
		  channel_send(key->fd, w.data, w.len, -1) == CHANNEL_DONE) ||
		 fail(&why, REASON_AWAY, "its process is away"));
	explicit_bzero(packet, sizeof(packet));
	if (!ok)
		set_away(key, &why);
}

/* One at a time: if a PIN is wrong, it is wrong for one of them. */
static void
open_next(struct pkcs11_keys *keys)
{
	struct pkcs11_key *key, *due = NULL;
	const long long now = now_ms();

	for (key = keys->first; key != NULL; key = key->next) {
		if (key->state == KEY_OPENING)
			return;
		if (key->state == KEY_NEW ||
		    (key->state == KEY_AWAY && key->retry_at_ms <= now))
			due = key;
	}
	if (due != NULL)
		open_now(keys, due);
}

int
pkcs11_timers(struct pkcs11_keys *keys, long long now)
{
	const struct pkcs11_key *key;
	int left = -1;

	open_next(keys);
	for (key = keys->first; key != NULL; key = key->next) {
		long long ms = key->retry_at_ms - now;

		/* What comes back wakes us. */
		if (key->state == KEY_OPENING)
			return -1;
		if (key->state != KEY_AWAY)
			continue;
		if (left < 0 || ms < left)
			left = ms > 0 ? (int)ms : 0;
	}
	return left;
}

/* --- holding ------------------------------------------------------------ */

static bool
is_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The PIN counts, not the file that it was in. */
static bool
is_same(const struct pkcs11_key *key, const struct pkcs11_work *work,
    const struct pkcs11_url *parts)
{
	return strcmp(key->parts.key, parts->key) == 0 &&
	       is_string(key->parts.module, parts->module) &&
	       strcmp(key->pin, work->pin) == 0 &&
	       key->public.size == work->public.size &&
	       memcmp(key->public.data, work->public.data, key->public.size) ==
		   0;
}

static void
key_free(struct pkcs11_key *key)
{
	if (key == NULL)
		return;
	leave_process(key);
	explicit_bzero(key->pin, sizeof(key->pin));
	pkcs11_url_free(&key->parts);
	free(key->public.data);
	free(key->url);
	free(key->name);
	free(key);
}

static struct pkcs11_key *
key_new(const char *name, const struct pkcs11_work *work)
{
	struct pkcs11_key *key = calloc(1, sizeof(*key));

	if (key == NULL)
		return NULL;
	key->watched = WATCHED_PKCS11;
	key->fd = -1;
	key->name = strdup(name);
	key->url = strdup(work->url);
	key->public.data = malloc((size_t)work->public.size + 1);
	if (key->name == NULL || key->url == NULL || key->public.data == NULL ||
	    strlen(work->pin) >= PIN_SIZE ||
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, work->public.data,
		work->public.size, key->spki) < 0) {
		key_free(key);
		return NULL;
	}
	memcpy(key->public.data, work->public.data, work->public.size);
	key->public.size = work->public.size;
	strcpy(key->pin, work->pin);
	return key;
}

static struct pkcs11_key *
find_open(const struct pkcs11_keys *keys, const struct pkcs11_work *work,
    const struct pkcs11_url *parts)
{
	struct pkcs11_key *key = keys->first;

	while (key != NULL &&
	       (key->state != KEY_OPEN || !is_same(key, work, parts)))
		key = key->next;
	return key;
}

struct pkcs11_key *
pkcs11_hold(struct pkcs11_keys *keys, const char *name,
    const struct pkcs11_work *work, struct reason *why)
{
	struct pkcs11_url parts;
	struct pkcs11_key *key;

	if (!pkcs11_url_parse(&parts, work->url, why))
		return NULL;
	key = find_open(keys, work, &parts);
	if (key != NULL) {
		pkcs11_url_free(&parts);
		key->holders++;
		return key;
	}
	key = key_new(name, work);
	if (key == NULL) {
		pkcs11_url_free(&parts);
		fail(why, REASON_NO_MEMORY, "signer");
		return NULL;
	}
	key->parts = parts;
	key->holders = 1;
	key->next = keys->first;
	keys->first = key;
	return key;
}

void
pkcs11_release(struct pkcs11_keys *keys, struct pkcs11_key *key)
{
	struct pkcs11_key **at = &keys->first;

	if (--key->holders > 0)
		return;
	while (*at != key)
		at = &(*at)->next;
	*at = key->next;
	key_free(key);
}

const unsigned char *
pkcs11_spki(const struct pkcs11_key *key)
{
	return key->spki;
}

bool
pkcs11_is_open(const struct pkcs11_key *key)
{
	return key->state == KEY_OPEN;
}

unsigned
pkcs11_count_away(const struct pkcs11_keys *keys)
{
	const struct pkcs11_key *key;
	unsigned count = 0;

	for (key = keys->first; key != NULL; key = key->next)
		if (key->state != KEY_OPEN)
			count++;
	return count;
}

bool
pkcs11_is_opening(const struct pkcs11_keys *keys)
{
	const struct pkcs11_key *key;

	for (key = keys->first; key != NULL; key = key->next)
		if (!key->was_away &&
		    (key->state == KEY_NEW || key->state == KEY_OPENING))
			return true;
	return false;
}

/* --- asking ------------------------------------------------------------- */

bool
pkcs11_sign(struct pkcs11_key *key,
    const unsigned char tag[static PKCS11_TAG_OCTETS], enum cert_purpose side,
    const struct tls_sign_request *request, struct reason *why)
{
	unsigned char packet[PKCS11_PACKET_MAX];
	struct wire_writer w;

	if (key->state != KEY_OPEN)
		return fail(why, REASON_AWAY, "the token of %.64s is away",
		    key->name);
	wire_writer_init(&w, packet, sizeof(packet));
	pkcs11_put_sign(&w, tag, side, request);
	/* No room: as many as it holds wait for it, and give up first. */
	return channel_send(key->fd, w.data, w.len, -1) == CHANNEL_DONE ||
	       fail(why, REASON_AWAY, "the token of %.64s does not answer",
		   key->name);
}

static void
on_opened(struct pkcs11_keys *keys, struct pkcs11_key *key,
    struct wire_reader *r)
{
	struct reason why;

	if (!pkcs11_get_opened(r, &why)) {
		fail(&why, REASON_PROTOCOL, "its process breaks the protocol");
		set_away(key, &why);
	} else if (why.code == REASON_NONE) {
		set_open(key);
	} else if (why.code == REASON_AUTH) {
		set_refused(keys, key, &why);
	} else {
		set_away(key, &why);
	}
}

static void
on_signed(struct pkcs11_keys *keys, struct pkcs11_key *key,
    struct wire_reader *r)
{
	unsigned char tag[PKCS11_TAG_OCTETS], signature[TLS_SIGNATURE_MAX];
	struct reason why;
	size_t len;

	if (!pkcs11_get_signed(r, tag, signature, &len, &why)) {
		fail(&why, REASON_PROTOCOL, "its process breaks the protocol");
		set_away(key, &why);
		return;
	}
	keys->answer(keys->context, tag, signature, len, &why);
	/* Its process ends now: this is why.  What was not permitted does not
	 * end it. */
	if (len == 0 && why.code != REASON_PROTOCOL)
		set_away(key, &why);
}

void
pkcs11_event(struct pkcs11_keys *keys, struct pkcs11_key *key)
{
	unsigned char packet[PKCS11_PACKET_MAX];
	struct wire_reader r;
	struct reason why;
	enum channel_io io;
	uint8_t type;
	size_t len;

	if (key->fd < 0)
		return;
	io = channel_recv(key->fd, packet, sizeof(packet), &len, NULL);
	if (io == CHANNEL_WAIT)
		return;
	if (io != CHANNEL_DONE) {
		fail(&why, REASON_AWAY,
		    "its process ended: the module crashed, or did not answer "
		    "for %d s",
		    PKCS11_HANG_S);
		set_away(key, &why);
		return;
	}
	wire_reader_init(&r, packet, len);
	type = wire_get_u8(&r);
	if (type == PKCS11_OPENED && key->state == KEY_OPENING)
		on_opened(keys, key, &r);
	else if (type == PKCS11_SIGNED && key->state == KEY_OPEN)
		on_signed(keys, key, &r);
	else {
		fail(&why, REASON_PROTOCOL, "its process breaks the protocol");
		set_away(key, &why);
	}
}
