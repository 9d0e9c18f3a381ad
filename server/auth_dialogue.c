/*
 * server/auth_dialogue.c: the session role's exchanges, from AUTH_START to
 * AUTH_RESULT: what is asked when, and of which exchange.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "auth_dialogue.h"
#include "auth_legacy.h"
#include "channel.h"
#include "log.h"

enum {
	PACKETS_A_TURN = 64,
	BINDING_OCTETS = 32,
	IDENTITIES_OCTETS_MAX = AUTH_IDENTITIES_MAX * SPKI_OCTETS,
	MECHANISM_SIZE = 32,
	LISTENER_SIZE = 256,
	RESULT_MAX = 1024 + GRANT_OCTETS_MAX,
};

static struct dialogue **
find_place(struct auth_role *role, uint64_t number)
{
	struct dialogue **at = &role->dialogues[number % AUTH_BUCKETS];

	while (*at != NULL && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

void
dialogue_end(struct dialogue *d)
{
	struct auth_role *role = d->role;
	struct dialogue **at = find_place(role, d->number);

	*at = d->next;
	role->dialogue_count--;
	timer_clear(&role->timers, &d->timer);
	helper_forget(d);
	exchange_free(d->exchange);
	free(d->challenge.data);
	free(d->identities);
	grant_fini(&d->grant);
	auth_config_release(role, d->config);
	explicit_bzero(d, sizeof *d);
	free(d);
	auth_role_idle(role);
}

static enum channel_io
say_result(struct auth_role *role, uint64_t number, enum auth_result result,
    const char *login, const char *text, const struct grant *grant)
{
	unsigned char packet[RESULT_MAX];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_RESULT);
	wire_put_u64(&w, number);
	wire_put_u8(&w, (uint8_t)result);
	wire_put_string(&w, login);
	wire_put_string(&w, text);
	if (result == AUTH_GRANTED)
		grant_put(&w, grant);
	if (w.failed || role->session.fd < 0)
		return CHANNEL_FAILED;
	return channel_send(role->session.fd, packet, w.len, -1);
}

/* No exchange comes of it. */
static void
say_refused(struct auth_role *role, uint64_t number, enum auth_result result,
    const char *text)
{
	say_result(role, number, result, "", text, NULL);
}

void
dialogue_send_result(struct dialogue *d)
{
	struct auth_role *role = d->role;
	enum channel_io io;

	if (token_explain(d))
		return;
	io = say_result(role, d->number, d->result, d->login, d->text,
	    &d->grant);
	if (io == CHANNEL_WAIT) {
		timer_set(&role->timers, &d->timer,
		    auth_now_ms() + AUTH_RETRY_MS);
		return;
	}
	if (d->result == AUTH_GRANTED)
		role->granted++;
	else
		role->denied++;
	dialogue_end(d);
}

static void
send_challenge(struct dialogue *d)
{
	struct auth_role *role = d->role;
	gnutls_datum_t challenge = d->exchange != NULL
				       ? exchange_challenge(d->exchange)
				       : d->challenge;
	unsigned char packet[16 + EXCHANGE_RESPONSE_MAX];
	struct wire_writer w;
	enum channel_io io;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_CHALLENGE);
	wire_put_u64(&w, d->number);
	wire_put_bytes(&w, challenge.data, challenge.size);
	if (w.failed) {
		dialogue_decide(d, AUTH_MALFORMED, "challenge over the bound");
		return;
	}
	io = channel_send(role->session.fd, packet, w.len, -1);
	if (io == CHANNEL_WAIT) {
		d->state = DIALOGUE_UNSENT;
		timer_set(&role->timers, &d->timer,
		    auth_now_ms() + AUTH_RETRY_MS);
		return;
	}
	d->state = DIALOGUE_CLIENT;
	timer_set(&role->timers, &d->timer, auth_now_ms() + AUTH_LIFETIME_MS);
}

void
dialogue_challenge(struct dialogue *d, gnutls_datum_t octets)
{
	free(d->challenge.data);
	d->challenge.size = octets.size;
	d->challenge.data = malloc((size_t)octets.size + 1);
	if (d->challenge.data == NULL) {
		dialogue_decide(d, AUTH_UNAVAILABLE, "out of memory");
		return;
	}
	memcpy(d->challenge.data, octets.data, octets.size);
	/* After the secret was given, a challenge is DIGEST-MD5's rspauth:
	 * the secret was right. */
	if (!d->has_secret || dialogue_may_sign(d, d->name))
		send_challenge(d);
}

static void
dialogue_fire(void *owner)
{
	struct dialogue *d = owner;

	switch (d->state) {
	case DIALOGUE_CLIENT:
		d->asked_ms = auth_now_ms() + 1;
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the client took too long");
		return;
	case DIALOGUE_UNSENT:
		send_challenge(d);
		return;
	case DIALOGUE_HELPER:
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    d->foreign != 0 ? "too many old hashes are being checked"
				    : "the helper did not answer");
		return;
	case DIALOGUE_DECIDED:
		dialogue_send_result(d);
		return;
	}
}

/* Somebody is between us and the client, or a stranger says so: he can at
 * will, and gets one alarm an hour. */
static void
log_downgrade(struct dialogue *d, const char *text)
{
	struct auth_role *role = d->role;
	int64_t now = auth_now_ms();
	bool first = now >= role->downgrade_quiet_until_ms;

	if (first)
		role->downgrade_quiet_until_ms = now + AUTH_ALARM_MS;
	log_line(first ? SAY_ALARM : SAY_WARNING, "auth",
	    "client=%s listener=%s result=downgrade detail=\"%s\"", d->client,
	    d->listener->name, text);
}

struct dialogue *
dialogue_find(struct auth_role *role, uint64_t number)
{
	return *find_place(role, number);
}

static enum exchange_step
take_step(struct dialogue *d, const gnutls_datum_t *response,
    struct reason *why)
{
	enum exchange_step step = exchange_step(d->exchange, response, why);

	strcpy(d->name, exchange_name(d->exchange));
	strcpy(d->claimed, exchange_claimed(d->exchange));
	return step;
}

static void
dialogue_step(struct dialogue *d, const gnutls_datum_t *response)
{
	struct reason why = { 0 };
	const char *name;

	if (d->exchange == NULL) {
		if ((d->mechanism & MECHANISMS_TOKEN) != 0)
			token_step(d, response);
		else
			sasl_step(d, response);
		return;
	}
	switch (take_step(d, response, &why)) {
	case EXCHANGE_CHALLENGE:
		name = exchange_signed(d->exchange);
		if (name == NULL || dialogue_may_sign(d, name))
			send_challenge(d);
		return;
	case EXCHANGE_PASSWORD:
		dialogue_check_password(d);
		return;
	case EXCHANGE_PROVED:
		dialogue_prove(d, d->name);
		return;
	case EXCHANGE_DOWNGRADE:
		log_downgrade(d, why.text);
		dialogue_decide(d, AUTH_DENIED, why.text);
		return;
	case EXCHANGE_DENIED:
		dialogue_decide(d, AUTH_DENIED, why.text);
		return;
	case EXCHANGE_MALFORMED:
		dialogue_decide(d, AUTH_MALFORMED, why.text);
		return;
	case EXCHANGE_TROUBLE:
		dialogue_decide(d, AUTH_UNAVAILABLE, why.text);
		return;
	}
}

/* What AUTH_START says. */
struct start {
	uint64_t number;
	uint32_t configuration;
	char listener[LISTENER_SIZE];
	char mechanism[MECHANISM_SIZE];
	char client[INET6_ADDRSTRLEN];
	bool has_initial;
	gnutls_datum_t initial, binding, identities;
	unsigned tls_version;
};

static bool
is_address(const char *text)
{
	unsigned char address[16];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static bool
read_start(struct wire_reader *r, struct start *start)
{
	uint8_t has_initial;

	start->number = wire_get_u64(r);
	start->configuration = wire_get_u32(r);
	if (!wire_get_string(r, start->listener, sizeof start->listener) ||
	    !wire_get_string(r, start->mechanism, sizeof start->mechanism) ||
	    !wire_get_string(r, start->client, sizeof start->client))
		return false;
	has_initial = wire_get_u8(r);
	start->has_initial = has_initial == 1;
	start->initial = wire_get_bytes(r, EXCHANGE_RESPONSE_MAX);
	start->binding = wire_get_bytes(r, BINDING_OCTETS);
	start->identities = wire_get_bytes(r, IDENTITIES_OCTETS_MAX);
	start->tls_version = wire_get_u8(r);
	return wire_reader_done(r) && has_initial <= 1 &&
	       (start->binding.size == 0 ||
		   start->binding.size == BINDING_OCTETS) &&
	       start->identities.size % SPKI_OCTETS == 0 &&
	       /* Never outside TLS, whatever the session believes. */
	       (start->tls_version == 12 || start->tls_version == 13) &&
	       is_address(start->client);
}

/* 0: it is not offered here. */
static unsigned
find_mechanism(const struct config_listener *listener, const char *mechanism)
{
	return listener->mechanisms & mechanism_by_name(mechanism);
}

static bool
keep_identities(struct dialogue *d, const struct start *start,
    struct reason *why)
{
	if (start->identities.size == 0)
		return true;
	d->identities = malloc(start->identities.size);
	if (d->identities == NULL)
		return fail(why, REASON_NO_MEMORY, "SASL exchange");
	memcpy(d->identities, start->identities.data, start->identities.size);
	d->identity_count = start->identities.size / SPKI_OCTETS;
	return true;
}

/* A dialogue for start; NULL and the result to give if there is none. */
static struct dialogue *
dialogue_new(struct auth_role *role, const struct start *start,
    enum auth_result *result_out, struct reason *why)
{
	struct auth_config *config =
	    auth_config_find(role, start->configuration);
	const struct config_listener *listener =
	    config != NULL ? config_listener(config->config, start->listener)
			   : NULL;
	unsigned mechanism;
	struct dialogue *d;

	*result_out = AUTH_UNAVAILABLE;
	if (listener == NULL || role->dialogue_count >= AUTH_DIALOGUES_MAX) {
		fail(why, REASON_RANGE,
		    listener == NULL ? "no such configuration or listener"
				     : "too many exchanges");
		return NULL;
	}
	mechanism = find_mechanism(listener, start->mechanism);
	if (mechanism == 0) {
		*result_out = AUTH_NO_MECHANISM;
		fail(why, REASON_ABSENT, "mechanism is not offered here");
		return NULL;
	}
	d = calloc(1, sizeof *d);
	if (d == NULL) {
		fail(why, REASON_NO_MEMORY, "SASL exchange");
		return NULL;
	}
	struct exchange_options options = {
		.mechanism = start->mechanism,
		.default_realm = config->config->realm,
		/* A listener without -PLUS has offered none, and must not take
		 * a client's "y" for a downgrade. */
		.binding = (listener->mechanisms & MECHANISMS_BOUND) != 0
			       ? start->binding
			       : (gnutls_datum_t){ NULL, 0 },
		.scram = backend_scram,
		.external =
		    start->identities.size > 0 ? backend_external : NULL,
		.context = d,
	};
	d->role = role;
	if (!keep_identities(d, start, why) ||
	    ((mechanism & MECHANISMS_HELPED) == 0 &&
		!exchange_new(&d->exchange, role->sasl, &options, why))) {
		free(d->identities);
		free(d);
		return NULL;
	}
	d->number = start->number;
	d->config = config;
	d->listener = listener;
	strcpy(d->client, start->client);
	d->tls_version = start->tls_version;
	d->mechanism = (enum mechanism)mechanism;
	d->timer.fire = dialogue_fire;
	d->timer.owner = d;
	config->users++;
	return d;
}

static void
answer_start(struct auth_role *role, struct wire_reader *r)
{
	struct start start = { 0 };
	struct reason why = { 0 };
	enum auth_result result;
	struct dialogue **place, *d;

	if (!read_start(r, &start)) {
		log_line(SAY_ALARM, "protocol", "peer=session packet=start");
		say_refused(role, start.number, AUTH_UNAVAILABLE,
		    "broken request");
		return;
	}
	place = find_place(role, start.number);
	if (*place != NULL) {
		log_line(SAY_ALARM, "protocol",
		    "peer=session packet=start detail=\"number in use\"");
		return;
	}
	d = dialogue_new(role, &start, &result, &why);
	if (d == NULL) {
		say_refused(role, start.number, result, why.text);
		return;
	}
	*place = d;
	role->dialogue_count++;
	d->asked = 1;
	d->asked_ms = auth_now_ms() + 1; /* never answered early */
	dialogue_step(d, start.has_initial ? &start.initial : NULL);
}

static void
answer_step(struct auth_role *role, struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);
	gnutls_datum_t response = wire_get_bytes(r, EXCHANGE_RESPONSE_MAX);
	struct dialogue *d;

	if (!wire_reader_done(r)) {
		log_line(SAY_ALARM, "protocol", "peer=session packet=step");
		say_refused(role, number, AUTH_UNAVAILABLE, "broken request");
		return;
	}
	d = *find_place(role, number);
	if (d == NULL) {
		say_refused(role, number, AUTH_UNAVAILABLE, "no such exchange");
		return;
	}
	/* A helper that could not wait longer has ended it meanwhile. */
	if (d->state == DIALOGUE_DECIDED)
		return;
	if (d->state != DIALOGUE_CLIENT) {
		log_line(SAY_ALARM, "protocol",
		    "peer=session packet=step detail=\"out of turn\"");
		return;
	}
	timer_clear(&role->timers, &d->timer);
	d->asked_ms = auth_now_ms() + 1; /* never answered early */
	if (++d->asked > EXCHANGE_STEPS_MAX)
		dialogue_decide(d, AUTH_MALFORMED, "too many responses");
	else
		dialogue_step(d, &response);
}

static void
answer_abort(struct auth_role *role, struct wire_reader *r)
{
	uint64_t number = wire_get_u64(r);
	struct dialogue *d = *find_place(role, number);

	if (wire_reader_done(r) && d != NULL)
		dialogue_end(d);
}

/* A password that crossed in clear, or would have: RFC 8314's enemy counts as a
 * guess of the source. */
static void
answer_in_clear(struct auth_role *role, struct wire_reader *r)
{
	char client[INET6_ADDRSTRLEN];
	struct guess guess = { .client = client,
		.name = "",
		.now_ms = auth_now_ms(),
		.delay_ms = role->failure_delay_ms,
		.free = role->free_failures };

	if (!wire_get_string(r, client, sizeof client) ||
	    !wire_reader_done(r) || !is_address(client)) {
		log_line(SAY_ALARM, "protocol", "peer=session packet=clear");
		return;
	}
	guess_failed(role->guesses, &guess);
}

/* What a login was seen to practise, and by which program. */
static void
answer_seen(struct auth_role *role, struct wire_reader *r)
{
	char login[NAME_SIZE], program[AUTH_PROGRAM_MAX + 1];
	char client[INET6_ADDRSTRLEN];
	uint32_t practices;

	if (wire_get_string(r, login, sizeof login) &&
	    wire_get_string(r, program, sizeof program) &&
	    wire_get_string(r, client, sizeof client)) {
		practices = wire_get_u32(r);
		if (wire_reader_done(r) &&
		    auth_legacy_seen(role, login, program, client, practices))
			return;
	}
	log_line(SAY_ALARM, "protocol", "peer=session packet=seen");
}

/* Only what waits for its time: the others ask the store yet. */
void
auth_dialogue_changed(struct auth_role *role, const char *login)
{
	for (size_t i = 0; i < AUTH_BUCKETS; i++)
		for (struct dialogue *d = role->dialogues[i]; d != NULL;
		     d = d->next)
			if (d->state == DIALOGUE_DECIDED &&
			    d->result == AUTH_GRANTED &&
			    (strcmp(d->grant.login, login) == 0 ||
				strcmp(d->grant.owner, login) == 0))
				dialogue_take_back(d,
				    "changed during the exchange");
}

/* What the session may ask; more octets are a breach of the protocol.  When
 * and how often is for the state of each exchange to say. */
static const struct request {
	void (*answer)(struct auth_role *role, struct wire_reader *r);
	size_t longest;
} requests[] = {
	[AUTH_START - AUTH_START] = { answer_start,
	    EXCHANGE_RESPONSE_MAX + IDENTITIES_OCTETS_MAX + 1024 },
	[AUTH_STEP - AUTH_START] = { answer_step, EXCHANGE_RESPONSE_MAX + 64 },
	[AUTH_ABORT - AUTH_START] = { answer_abort, 16 },
	[AUTH_IN_CLEAR - AUTH_START] = { answer_in_clear, 64 },
	[AUTH_SEEN - AUTH_START] = { answer_seen, 512 },
};

static void
answer(struct auth_role *role, const unsigned char *packet, size_t len)
{
	unsigned type = (unsigned)packet[0] - AUTH_START;
	struct wire_reader r;

	if (type >= sizeof requests / sizeof requests[0] ||
	    len > requests[type].longest) {
		log_line(SAY_ALARM, "protocol",
		    "peer=session packet=%u octets=%zu", packet[0], len);
		return;
	}
	wire_reader_init(&r, packet + 1, len - 1);
	requests[type].answer(role, &r);
}

static void
end_all(struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_BUCKETS; i++)
		while (role->dialogues[i] != NULL)
			dialogue_end(role->dialogues[i]);
}

static void
session_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	static unsigned char packet[CHANNEL_PACKET_MAX];
	enum channel_io io;
	size_t len;

	(void)events;
	for (int i = 0; i < PACKETS_A_TURN && watch->fd >= 0; i++) {
		io = channel_recv(watch->fd, packet, sizeof packet, &len, NULL);
		if (io == CHANNEL_WAIT)
			return;
		if (io != CHANNEL_DONE) {
			auth_watch_close(role, watch);
			end_all(role);
			return;
		}
		answer(role, packet, len);
		explicit_bzero(packet, len);
	}
}

void
auth_dialogue_session(struct auth_role *role, int fd)
{
	end_all(role);
	auth_changed_forget(role);
	auth_watch_set(role, &role->session, fd, session_ready);
}
