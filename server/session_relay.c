/*
 * server/session_relay.c: the session role's channel to the relay.
 *
 * Going out: what is on stable storage, and decisions about clients.  Coming
 * in: what next hops have proved.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "log.h"
#include "proof.h"
#include "session.h"
#include "session_link.h"
#include "session_proof.h"
#include "wire.h"

enum {
	READ_MOST = 16,    /* packets before the channel is armed again */
	CLOSED_MOST = 256, /* segments a relay may be behind */
	TOLD_SLOTS = 4096,
	TOLD_S = 900, /* a pass is told again: the relay may wait for it */
	DECIDED_MAX = 8192,
	ENDS_SOON_S = 30 * 86400,
};

struct relay_link {
	struct watch watch;
	pthread_mutex_t lock;
	uint64_t start_id;
	struct proofs *proofs;
	int fd; /* -1: relay is away */
	bool has_position, behind;
	uint32_t segment; /* the latest position */
	uint64_t end;
	size_t closed_count; /* closed segments not told yet */
	struct {
		uint32_t segment;
		uint64_t end;
	} closed[CLOSED_MOST];

	/* Without the lock: what the relay was told last of a site and what
	 * was asked of it, as a hash with TOLD_PASS as the lowest bit; 0:
	 * nothing.  Two in one slot only make us say more than is needed. */
	atomic_uint_least64_t told[TOLD_SLOTS];
	atomic_ulong dropped;
};

enum { TOLD_PASS = 1 };

struct relay_link *
relay_link_new(uint64_t start_id, struct proofs *proofs)
{
	struct relay_link *link = calloc(1, sizeof *link);

	if (link == NULL)
		return NULL;
	link->watch.kind = WATCH_RELAY;
	pthread_mutex_init(&link->lock, NULL);
	link->fd = -1;
	link->start_id = start_id;
	link->proofs = proofs;
	return link;
}

void
relay_link_free(struct relay_link *link)
{
	if (link == NULL)
		return;
	if (link->fd >= 0)
		close(link->fd);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

/* Under the lock, all down to catch_up. */

/* Closing takes it off the epoll set. */
static void
hang_up(struct relay_link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
}

static bool
send_packet(struct relay_link *link, const struct wire_writer *w)
{
	enum channel_io io;

	if (link->fd < 0 || w->failed)
		return false;
	io = channel_send(link->fd, w->data, w->len, -1);
	if (io == CHANNEL_CLOSED || io == CHANNEL_FAILED)
		hang_up(link);
	return io == CHANNEL_DONE;
}

static bool
notify(struct relay_link *link, uint8_t type, uint32_t segment, uint64_t end)
{
	unsigned char packet[32];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, type);
	wire_put_u64(&w, link->start_id);
	wire_put_u32(&w, segment);
	wire_put_u64(&w, end);
	return send_packet(link, &w);
}

/* Closed segments first: they are older than the position. */
static void
catch_up(struct relay_link *link)
{
	size_t told = 0;

	while (told < link->closed_count &&
	       notify(link, SPOOL_CLOSED, link->closed[told].segment,
		   link->closed[told].end))
		told++;
	link->closed_count -= told;
	memmove(link->closed, link->closed + told,
	    link->closed_count * sizeof link->closed[0]);
	if (link->closed_count == 0 && link->behind && link->has_position)
		link->behind =
		    !notify(link, SPOOL_COMMITTED, link->segment, link->end);
}

void
relay_link_committed(void *self, uint32_t segment, uint64_t end, bool closed)
{
	struct relay_link *link = self;

	pthread_mutex_lock(&link->lock);
	if (!closed) {
		link->has_position = link->behind = true;
		link->segment = segment;
		link->end = end;
	} else if (link->closed_count < CLOSED_MOST) {
		link->closed[link->closed_count].segment = segment;
		link->closed[link->closed_count].end = end;
		link->closed_count++;
	}
	catch_up(link);
	pthread_mutex_unlock(&link->lock);
}

static bool
arm(struct relay_link *link, int operation)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLONESHOT,
		.data.ptr = link,
	};

	return epoll_ctl(server.epoll, operation, link->fd, &event) == 0;
}

/* A relay whose proofs cannot be read still takes our notices. */
static void
replace_channel(struct relay_link *link, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	hang_up(link);
	link->fd = fd;
	link->behind = true;
	if (!arm(link, EPOLL_CTL_ADD))
		log_line(SAY_ERROR, "relay-channel", "detail=\"epoll: %s\"",
		    strerror(errno));
}

void
relay_link_set(struct relay_link *link, int fd, struct spool *spool)
{
	uint32_t segment;
	uint64_t end;
	size_t i;

	pthread_mutex_lock(&link->lock);
	replace_channel(link, fd);
	pthread_mutex_unlock(&link->lock);
	for (i = 0; i < TOLD_SLOTS; i++)
		atomic_store(&link->told[i], 0);
	if (spool == NULL)
		return;
	spool_position(spool, &segment, &end);
	pthread_mutex_lock(&link->lock);
	/* What the committer has told us meanwhile is newer. */
	if (!link->has_position) {
		link->has_position = true;
		link->segment = segment;
		link->end = end;
	}
	catch_up(link);
	pthread_mutex_unlock(&link->lock);
}

void
relay_link_tick(struct relay_link *link)
{
	pthread_mutex_lock(&link->lock);
	catch_up(link);
	pthread_mutex_unlock(&link->lock);
}

/* False: the packet is not one the relay may send. */
static bool
take_packet(struct relay_link *link, const void *packet, size_t len)
{
	struct wire_reader r;

	wire_reader_init(&r, packet, len);
	return wire_get_u8(&r) == SITE_PROOF && proofs_take(link->proofs, &r);
}

/* One that sends nonsense is not listened to any more, and nothing it said
 * counts: then nothing is known, and deliveries decide.  Our notices are
 * still worth sending, as mail waits for them. */
static void
stop_listening(struct relay_link *link)
{
	log_line(SAY_ERROR, "relay-channel",
	    "detail=\"a packet that is none\"");
	proofs_forget(link->proofs);
}

void
relay_link_read(struct relay_link *link)
{
	unsigned char packet[CHANNEL_PACKET_MAX];
	enum channel_io io = CHANNEL_DONE;
	bool good = true;
	unsigned i;
	size_t len;

	pthread_mutex_lock(&link->lock);
	for (i = 0; i < READ_MOST && link->fd >= 0 && good; i++) {
		io = channel_recv(link->fd, packet, sizeof packet, &len, NULL);
		if (io != CHANNEL_DONE)
			break;
		good = take_packet(link, packet, len);
	}
	if (!good || io == CHANNEL_FAILED)
		stop_listening(link);
	else if (io == CHANNEL_CLOSED)
		hang_up(link);
	else if (link->fd >= 0)
		arm(link, EPOLL_CTL_MOD);
	pthread_mutex_unlock(&link->lock);
}

/* FNV-1a. */
static uint64_t
hash_text(uint64_t hash, const char *text)
{
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 1099511628211u;
	return hash;
}

/*
 * One word for the site, what was asked, and the time.  A pass of the rows that
 * speak when it connects says nothing about those that speak at MAIL: each is
 * told for itself.
 */
static uint64_t
site_hash(const struct decision *decision)
{
	uint64_t hash = hash_text(14695981039346656037u, decision->site);

	hash = (hash ^ (unsigned)decision->asked) * 1099511628211u;
	hash = hash_text(hash, decision->rows);
	for (size_t i = 0; i < SPKI_OCTETS && decision->peer_not_after != 0;
	     i++)
		hash = (hash ^ decision->peer_spki[i]) * 1099511628211u;
	return (hash ^ (uint64_t)(time(NULL) / TOLD_S)) * 1099511628211u;
}

static bool
is_refusal(const struct decision *decision)
{
	return decision->verdict == VERDICT_TEMPORARY ||
	       decision->verdict == VERDICT_PERMANENT;
}

/* The relay warns ahead of it. */
static bool
certificate_ends_soon(const struct decision *decision)
{
	return decision->peer_not_after != 0 &&
	       decision->peer_not_after - time(NULL) <= ENDS_SOON_S;
}

/* Passes of rows that name no site of their own say nothing new. */
static bool
matters(const struct relay_link *link, const struct decision *decision,
    uint64_t state)
{
	if (decision->observed_count > 0 || is_refusal(decision))
		return true;
	return (decision->names_one_site || certificate_ends_soon(decision)) &&
	       atomic_load(&link->told[state / 2 % TOLD_SLOTS]) != state;
}

static bool
send_decision(struct relay_link *link, const struct decision *decision)
{
	unsigned char packet[DECIDED_MAX];
	struct wire_writer w;
	bool sent;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, SITE_DECIDED);
	decision_put(&w, decision);
	pthread_mutex_lock(&link->lock);
	sent = send_packet(link, &w);
	pthread_mutex_unlock(&link->lock);
	return sent;
}

void
relay_link_decided(struct relay_link *link, const struct decision *decision)
{
	uint64_t state = site_hash(decision) & ~(uint64_t)TOLD_PASS;
	bool sent;

	if (!is_refusal(decision))
		state |= TOLD_PASS;
	if (!matters(link, decision, state))
		return;
	sent = send_decision(link, decision);
	if (!sent)
		atomic_fetch_add(&link->dropped, 1);
	if (decision->names_one_site || certificate_ends_soon(decision))
		atomic_store(&link->told[state / 2 % TOLD_SLOTS],
		    sent ? state : 0);
}

unsigned long
relay_link_dropped(const struct relay_link *link)
{
	return atomic_load(&link->dropped);
}
