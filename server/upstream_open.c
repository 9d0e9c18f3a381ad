/*
 * server/upstream_open.c: from a next hop to a connection that serves: its
 * places in their order, the addresses of each in a race.
 *
 * A place or address that does not serve is followed by the next; what a place
 * was refused for is logged, and asked of the next one alike.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "signer_client.h"
#include "upstream_opening.h"
#include "upstream_race.h"
#include "upstream_shun.h"

enum {
	SIGNER_AWAY_MS = 5000,
	SIGNER_LOOK_MS = 50,
	/* No further address is tried after so many of the longest waits for a
	 * greeting. */
	OPENING_GREETINGS = 2,
};

/* What could not be used while there is more to try; the last failure is the
 * caller's to tell. */
static void
log_given_up(const struct opening *o)
{
	char site[NEXT_HOP_TEXT], target[OPENING_TARGET];
	char text[LOG_LINE_MAX / 2];
	const char *said = o->failure->text;

	log_line(SAY_WARNING, "connect",
	    "site=%s%s remote=%s result=next status=%s text=%s",
	    next_hop_print(o->hop, site), opening_target(o, target),
	    o->failure->remote, o->failure->status,
	    log_value(text, sizeof(text), said, strlen(said)));
}

/* A handshake with our certificate needs the signer; while it is restarted the
 * connection is not begun. */
static bool
signer_is_there(const struct upstream_thread *thread,
    const struct relay_config *config, const struct demand *demand,
    struct upstream_failure *failure)
{
	int left = SIGNER_AWAY_MS;

	if (demand->cert == NULL ||
	    relay_config_identity(config, demand->cert) == NULL)
		return true;
	while (!signer_client_alive(thread->index)) {
		if (left <= 0 || atomic_load(thread->stop_at_ms) != 0) {
			upstream_fail(failure, "4.3.0", "signer is away");
			return false;
		}
		poll(NULL, 0, SIGNER_LOOK_MS);
		left -= SIGNER_LOOK_MS;
	}
	return true;
}

/* Asked once a place, before its first address is tried. */
static bool
ask_tlsa(struct opening *o)
{
	free(o->tlsa);
	o->tlsa = NULL;
	if (!judgement_wants_dane(o->judgement))
		return true;
	o->tlsa = malloc(sizeof(*o->tlsa));
	if (o->tlsa == NULL) {
		upstream_fail(o->failure, "4.3.0", "out of memory");
		return false;
	}
	/* RFC 7673, section 3.1: TLSA records of a host that nobody proves to
	 * be meant say nothing. */
	if (o->place->by_srv && !o->place->proved)
		tlsa_answer_init(o->tlsa, LOOKUP_NONE,
		    "DNSSEC does not prove the SRV record");
	else
		upstream_tlsa(o->thread, &o->place->at, o->tlsa);
	return true;
}

static bool
is_late(const struct opening *o)
{
	return upstream_now_ms() >= o->late_at;
}

/* --- what failed lately comes last ---------------------------------------- */

static void
address_text(const struct opening *o, const struct sockaddr_storage *address,
    char out[static SHUN_TEXT])
{
	char literal[64];

	opening_remote(address, literal, sizeof(literal));
	snprintf(out, SHUN_TEXT, "%s %u", literal, o->place->at.port);
}

static void
shun_address(struct opening *o, size_t index, bool failed)
{
	struct shunned *shunned = relay_config_shunned(o->config);
	char text[SHUN_TEXT];

	address_text(o, &o->addresses[index], text);
	if (failed)
		shun(shunned, text, upstream_now_ms());
	else
		shun_no_more(shunned, text);
}

static void
shun_place(struct opening *o, bool failed)
{
	struct shunned *shunned = relay_config_shunned(o->config);
	char text[NEXT_HOP_TEXT];

	next_hop_print(&o->place->at, text);
	if (failed)
		shun(shunned, text, upstream_now_ms());
	else
		shun_no_more(shunned, text);
}

static void
addresses_order(struct opening *o, struct sockaddr_storage *addresses,
    size_t count)
{
	struct sockaddr_storage late[UPSTREAM_ADDRESSES];
	size_t kept = 0, lates = 0;
	char text[SHUN_TEXT];

	race_order(addresses, count);
	for (size_t i = 0; i < count; i++) {
		address_text(o, &addresses[i], text);
		if (is_shunned(relay_config_shunned(o->config), text,
			upstream_now_ms()))
			late[lates++] = addresses[i];
		else
			addresses[kept++] = addresses[i];
	}
	memcpy(addresses + kept, late, lates * sizeof(*late));
}

static void
places_order(struct opening *o, struct upstream_place *places, size_t count)
{
	struct upstream_place late[UPSTREAM_PLACES];
	size_t kept = 0, lates = 0;
	char text[NEXT_HOP_TEXT];

	for (size_t i = 0; i < count; i++) {
		next_hop_print(&places[i].at, text);
		if (is_shunned(relay_config_shunned(o->config), text,
			upstream_now_ms()))
			late[lates++] = places[i];
		else
			places[kept++] = places[i];
	}
	memcpy(places + kept, late, lates * sizeof(*late));
}

/* --- one after the other -------------------------------------------------- */

/* One of several addresses that cannot be connected to. */
static void
on_no_connection(void *context, size_t index, const struct reason *why)
{
	struct opening *o = context;

	opening_remote(&o->addresses[index], o->failure->remote,
	    sizeof(o->failure->remote));
	upstream_fail(o->failure, "4.4.1", "%s[%s]: connect: %s",
	    o->place->at.host, o->failure->remote, why->text);
	shun_address(o, index, true);
}

static enum open_end
open_race(struct opening *o, struct race *race)
{
	enum open_end end;
	struct reason why;
	size_t index;
	int fd;

	o->judgement->made = false;
	if (!race_connect(race, opening_timeout_ms(o), on_no_connection, o, &fd,
		&index, &why)) {
		on_no_connection(o, index, &why);
		return OPEN_NEXT;
	}
	o->clear = false;
	end = opening_address(o, &o->addresses[index], fd);
	if (end == OPEN_CLEAR)
		end = opening_address(o, &o->addresses[index], -1);
	if (end == OPEN_DONE || end == OPEN_NEXT)
		shun_address(o, index, end == OPEN_NEXT);
	return end;
}

static enum open_end
open_place(struct opening *o)
{
	struct sockaddr_storage addresses[UPSTREAM_ADDRESSES];
	enum open_end end = OPEN_NEXT;
	struct race race;
	size_t count = 0;

	o->judgement->made = false;
	o->failure->remote[0] = '\0';
	if (!upstream_addresses(o->thread, &o->place->at, addresses, &count,
		o->failure))
		return OPEN_NEXT;
	if (!ask_tlsa(o))
		return OPEN_OVER;
	addresses_order(o, addresses, count);
	race_init(&race, addresses, count, o->thread->stop_at_ms);
	o->addresses = addresses;
	do {
		end = open_race(o, &race);
		if (end == OPEN_NEXT && race_has_more(&race))
			log_given_up(o);
	} while (end == OPEN_NEXT && race_has_more(&race) && !is_late(o));
	return end;
}

bool
upstream_open(struct upstream **upstream_out,
    const struct upstream_thread *thread, struct relay_config *config,
    const struct next_hop *hop, struct judgement *judgement,
    struct upstream_failure *failure)
{
	struct upstream_place places[UPSTREAM_PLACES];
	const long long greeting =
	    1000 *
	    (long long)relay_config_conf(config)->relay_timeout.greeting_s;
	struct opening o = {
		.thread = thread,
		.config = config,
		.hop = hop,
		.judgement = judgement,
		.failure = failure,
		.late_at = upstream_now_ms() + OPENING_GREETINGS * greeting,
	};
	enum open_end end = OPEN_NEXT;
	size_t count = 0;

	judgement->made = false;
	failure->remote[0] = '\0';
	if (!signer_is_there(thread, config, judgement_base(judgement),
		failure) ||
	    !upstream_places(thread, hop, places, &count, failure))
		return false;
	places_order(&o, places, count);
	for (size_t i = 0; i < count; i++) {
		o.place = &places[i];
		end = open_place(&o);
		if (end != OPEN_OVER && o.place->by_srv)
			shun_place(&o, end != OPEN_DONE);
		if ((end != OPEN_NEXT && end != OPEN_PLACE) || is_late(&o))
			break;
		if (i + 1 < count)
			log_given_up(&o);
	}
	free(o.tlsa);
	if (end != OPEN_DONE)
		return false;
	*upstream_out = o.up;
	return true;
}
