/*
 * server/auth_dialogue.c: the session role's exchanges, from AUTH_START to
 * AUTH_RESULT.
 *
 * A success is answered at once, every failure at a fixed time after the
 * client's last octets came, whatever failed: an unknown name, a wrong
 * password and a disabled user look alike.  An answer that is late for that
 * time goes out at its next whole multiple.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "auth_role.h"
#include "channel.h"
#include "log.h"

enum {
	HELPER_GRACE_MS = 2000,      /* beyond the helpers' own deadline */
	HELPER_PASSWORD_MAX = 512,   /* PAM_MAX_RESP_SIZE */
	FOREIGN_DEADLINE_MS = 30000, /* of a check that waits for others */
	PACKETS_A_TURN = 64,
	BINDING_OCTETS = 32,
	MECHANISM_SIZE = 32,
	LISTENER_SIZE = 256,
	RESULT_TEXT = 200,
};

enum dialogue_state {
	DIALOGUE_CLIENT,  /* the client has a challenge to answer */
	DIALOGUE_UNSENT,  /* a challenge waits for room in the channel */
	DIALOGUE_HELPER,  /* a helper is at it, or a hash is being checked */
	DIALOGUE_DECIDED, /* the result waits for its time */
};

struct dialogue {
	struct dialogue *next; /* in its bucket */
	struct auth_role *role;
	uint64_t number;
	enum dialogue_state state;
	struct auth_config *config;
	const struct config_listener *listener;
	struct exchange *exchange;
	struct auth_helper_call *call; /* NULL: no helper is at it */
	uint64_t foreign; /* serial of a hash being checked; 0: none */
	struct timer timer;
	int64_t asked_ms; /* when the client's last octets came */
	unsigned asked;   /* requests so far */
	uint64_t change;  /* of the entry whose verifiers were used */
	unsigned char key[SPKI_OCTETS]; /* that the client proved in TLS */
	bool is_guess; /* a password may be; a certificate's key is not */
	char client[INET6_ADDRSTRLEN];
	enum auth_result result;
	char login[NAME_SIZE];
	char text[RESULT_TEXT];
};

static struct dialogue **
find_place(struct auth_role *role, uint64_t number)
{
	struct dialogue **at = &role->dialogues[number % AUTH_BUCKETS];

	while (*at != NULL && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

/* An answer of the helpers for it will find nobody. */
static void
forget_helper(struct dialogue *d)
{
	if (d->call != NULL)
		d->call->serial = 0;
	d->call = NULL;
	d->foreign = 0;
}

static void
dialogue_end(struct dialogue *d)
{
	struct auth_role *role = d->role;
	struct dialogue **at = find_place(role, d->number);

	*at = d->next;
	role->dialogue_count--;
	timer_clear(&role->timers, &d->timer);
	forget_helper(d);
	exchange_free(d->exchange);
	auth_config_release(role, d->config);
	explicit_bzero(d, sizeof *d);
	free(d);
	auth_role_idle(role);
}

static enum channel_io
say_result(struct auth_role *role, uint64_t number, enum auth_result result,
    const char *login, const char *text)
{
	unsigned char packet[1024];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_RESULT);
	wire_put_u64(&w, number);
	wire_put_u8(&w, (uint8_t)result);
	wire_put_string(&w, login);
	wire_put_string(&w, text);
	if (w.failed || role->session.fd < 0)
		return CHANNEL_FAILED;
	return channel_send(role->session.fd, packet, w.len, -1);
}

/* The result's time has come. */
static void
send_result(struct dialogue *d)
{
	struct auth_role *role = d->role;
	enum channel_io io =
	    say_result(role, d->number, d->result, d->login, d->text);

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

/* The first multiple of the delay since the request that is not past. */
static int64_t
failure_due(const struct dialogue *d)
{
	int64_t delay = d->config->config->auth_failure_delay_ms;
	int64_t spent = auth_now_ms() - d->asked_ms;

	if (delay <= 0)
		return d->asked_ms + spent;
	return d->asked_ms +
	       (spent <= delay ? delay : (spent + delay - 1) / delay * delay);
}

/* When the answer is due, by what has failed before.  Who would have to wait
 * too long is sent away, right or wrong. */
static int64_t
weigh_guess(struct dialogue *d)
{
	const struct config *config = d->config->config;
	char name[NAME_SIZE];
	const struct guess guess = { .client = d->client,
		.name = name,
		.now_ms = d->asked_ms,
		.delay_ms = config->auth_failure_delay_ms,
		.free = config->auth_free_failures };
	struct guess_answer answer = { .at_ms = d->asked_ms };
	int64_t due = d->result == AUTH_GRANTED ? d->asked_ms : failure_due(d);

	/* However it was spelled, it is one name. */
	if (!name_parse(name, d->login, config->realm, NULL))
		snprintf(name, sizeof name, "%s", d->login);
	if (d->result == AUTH_GRANTED)
		answer = guess_granted(d->role->guesses, &guess);
	else if (d->result == AUTH_DENIED)
		answer = guess_failed(d->role->guesses, &guess);
	if (answer.refuse) {
		d->result = AUTH_UNAVAILABLE;
		strcpy(d->text, "too many failed logins lately");
		return failure_due(d);
	}
	return answer.at_ms > due ? answer.at_ms : due;
}

static void
decide(struct dialogue *d, enum auth_result result, const char *text)
{
	int64_t due;
	const char *name = exchange_name(d->exchange);

	forget_helper(d);
	d->state = DIALOGUE_DECIDED;
	d->result = result;
	strncpy(d->login, *name != '\0' ? name : exchange_claimed(d->exchange),
	    sizeof d->login - 1);
	strncpy(d->text, text, sizeof d->text - 1);
	/* Name and password are of no further use. */
	exchange_free(d->exchange);
	d->exchange = NULL;
	if (d->is_guess)
		due = weigh_guess(d);
	else
		due = result == AUTH_GRANTED ? d->asked_ms : failure_due(d);
	if (d->result == AUTH_GRANTED && due <= auth_now_ms())
		send_result(d);
	else
		timer_set(&d->role->timers, &d->timer, due);
}

static void
send_challenge(struct dialogue *d)
{
	struct auth_role *role = d->role;
	gnutls_datum_t challenge = exchange_challenge(d->exchange);
	unsigned char packet[16 + EXCHANGE_RESPONSE_MAX];
	struct wire_writer w;
	enum channel_io io;

	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, AUTH_CHALLENGE);
	wire_put_u64(&w, d->number);
	wire_put_bytes(&w, challenge.data, challenge.size);
	if (w.failed) {
		decide(d, AUTH_MALFORMED, "challenge over the bound");
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

static void
dialogue_fire(void *owner)
{
	struct dialogue *d = owner;

	switch (d->state) {
	case DIALOGUE_CLIENT:
		d->asked_ms = auth_now_ms() + 1;
		decide(d, AUTH_UNAVAILABLE, "the client took too long");
		return;
	case DIALOGUE_UNSENT:
		send_challenge(d);
		return;
	case DIALOGUE_HELPER:
		decide(d, AUTH_UNAVAILABLE,
		    d->foreign != 0 ? "too many old hashes are being checked"
				    : "the helper did not answer");
		return;
	case DIALOGUE_DECIDED:
		send_result(d);
		return;
	}
}

/* SCRAM's verifier of a name, or what a client cannot tell from one. */
static bool
give_scram(void *context, enum verifier_hash hash, const char *name,
    struct exchange_scram *out)
{
	struct dialogue *d = context;
	struct store *store = auth_store(d->role);
	const struct verifier *v;
	struct entry entry;
	struct reason why;

	if (store == NULL)
		return false;
	memset(out, 0, sizeof *out);
	if (!store_get(store, name, &entry, &why)) {
		if (why.code != REASON_ABSENT) {
			log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
			    reason_word(why.code), why.text);
			return false;
		}
		memset(&entry, 0, sizeof entry);
	}
	v = &entry.verifiers[hash];
	if (v->present && v->has_keys) {
		d->change = entry.change;
		out->iterations = v->iterations;
		out->salt_len = v->salt_len;
		memcpy(out->salt, v->salt, v->salt_len);
		out->has_keys = entry.enabled;
		memcpy(out->stored, v->stored, VERIFIER_KEY_MAX);
		memcpy(out->server, v->server, VERIFIER_KEY_MAX);
		explicit_bzero(&entry, sizeof entry);
		return true;
	}
	explicit_bzero(&entry, sizeof entry);
	out->salt_len = VERIFIER_SALT_OCTETS;
	return store_fake(store, hash, name,
	    d->config->config->scram_iterations, out->salt, &out->iterations,
	    &why);
}

/* Whose is the certificate's key that the client proved in TLS? */
static bool
give_external(void *context, char name_out[static NAME_SIZE])
{
	struct dialogue *d = context;
	struct store *store = auth_store(d->role);
	struct entry entry;
	struct reason why;

	name_out[0] = '\0';
	if (store == NULL)
		return false;
	if (store_find_key(store, d->key, name_out, &why) &&
	    store_get(store, name_out, &entry, &why)) {
		d->change = entry.change;
		explicit_bzero(&entry, sizeof entry);
		return true;
	}
	if (why.code == REASON_ABSENT)
		return true;
	log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
	    reason_word(why.code), why.text);
	return false;
}

/* The client has proved itself with a verifier that was good a moment ago. */
static void
decide_proved(struct dialogue *d)
{
	struct store *store = auth_store(d->role);
	struct entry entry = { 0 };
	struct reason why = { 0 };

	if (store == NULL ||
	    (!store_get(store, exchange_name(d->exchange), &entry, &why) &&
		why.code != REASON_ABSENT)) {
		decide(d, AUTH_UNAVAILABLE, "the store cannot be read");
		return;
	}
	if (why.code != REASON_NONE || !entry.enabled ||
	    entry.change != d->change)
		decide(d, AUTH_DENIED, "changed during the exchange");
	else
		decide(d, AUTH_GRANTED, "");
	explicit_bzero(&entry, sizeof entry);
}

static bool
password_fits(struct auth_role *role, const struct entry *entry,
    const char *password)
{
	int64_t now = auth_now_ms();
	int h = entry->verifiers[VERIFIER_SHA_256].present ? VERIFIER_SHA_256
							   : VERIFIER_SHA_1;

	if (cache_has(role->cache, entry->name, entry->change, password, now))
		return true;
	if (!verifier_matches(&entry->verifiers[h], (enum verifier_hash)h,
		password))
		return false;
	cache_add(role->cache, entry->name, entry->change, password, now);
	return true;
}

/* A name that is not there costs what a wrong password costs: the time others
 * have to wait meanwhile must not tell them apart. */
static void
derive_in_vain(const struct dialogue *d)
{
	const struct verifier none = { .present = true,
		.has_keys = true,
		.iterations = d->config->config->scram_iterations,
		.salt_len = VERIFIER_SALT_OCTETS };

	(void)verifier_matches(&none, VERIFIER_SHA_256,
	    exchange_password(d->exchange));
}

/* Whether it is enabled or not is asked once the password is known to be
 * right. */
static void
ask_foreign(struct dialogue *d, const struct entry *entry)
{
	struct auth_role *role = d->role;
	const struct config *config = d->config->config;

	if (strlen(exchange_password(d->exchange)) > PASSWORD_MAX) {
		decide(d, AUTH_DENIED, "wrong password");
		return;
	}
	if (!auth_foreign_ask(role, d->number, ++role->foreign_serial,
		entry->foreign, exchange_password(d->exchange),
		config->scram_iterations)) {
		decide(d, AUTH_UNAVAILABLE,
		    "too many old hashes are being checked");
		return;
	}
	d->foreign = role->foreign_serial;
	d->change = entry->change;
	d->state = DIALOGUE_HELPER;
	timer_set(&role->timers, &d->timer,
	    auth_now_ms() + FOREIGN_DEADLINE_MS);
}

/* True if the store has decided, for or against, or cannot be asked, or a hash
 * is being checked for it. */
static bool
ask_store(struct dialogue *d)
{
	struct store *store = auth_store(d->role);
	struct entry entry;
	struct reason why;

	if (store == NULL) {
		decide(d, AUTH_UNAVAILABLE, "the store is not open");
		return true;
	}
	if (!store_get(store, exchange_name(d->exchange), &entry, &why)) {
		if (why.code == REASON_ABSENT) {
			derive_in_vain(d);
			return false;
		}
		log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
		decide(d, AUTH_UNAVAILABLE, "the store cannot be read");
		return true;
	}
	if (entry.foreign[0] != '\0')
		ask_foreign(d, &entry);
	else if (!password_fits(d->role, &entry,
		     exchange_password(d->exchange)))
		decide(d, AUTH_DENIED, "wrong password");
	else if (!entry.enabled)
		decide(d, AUTH_DENIED, "disabled");
	else
		decide(d, AUTH_GRANTED, "");
	explicit_bzero(&entry, sizeof entry);
	return true;
}

static bool
is_pam_realm(const struct config *config, const char *realm)
{
	for (size_t i = 0; i < config->pam_realm_count; i++)
		if (strcasecmp(config->pam_realms[i], realm) == 0)
			return true;
	return false;
}

static enum channel_io
send_check(struct dialogue *d, uint64_t serial)
{
	const struct config *config = d->config->config;
	const char *password = exchange_password(d->exchange);
	unsigned char packet[2048];
	char local[NAME_LOCAL_MAX + 1];
	struct wire_writer w;
	enum channel_io io;

	name_local(exchange_name(d->exchange), local);
	wire_writer_init(&w, packet, sizeof packet);
	wire_put_u8(&w, HELPER_CHECK);
	wire_put_u64(&w, serial);
	wire_put_string(&w, config->pam_service);
	wire_put_string(&w, local);
	wire_put_bytes(&w, password, strlen(password));
	wire_put_string(&w, d->client);
	wire_put_u32(&w, config->helper_deadline_ms);
	io = w.failed || d->role->helpers.fd < 0
		 ? CHANNEL_FAILED
		 : channel_send(d->role->helpers.fd, packet, w.len, -1);
	explicit_bzero(packet, sizeof packet);
	return io;
}

static void
ask_helper(struct dialogue *d)
{
	struct auth_role *role = d->role;
	struct auth_helper_call *call = NULL;

	for (size_t i = 0; call == NULL && i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == 0)
			call = &role->calls[i];
	if (strlen(exchange_password(d->exchange)) > HELPER_PASSWORD_MAX) {
		decide(d, AUTH_DENIED, "password too long for PAM");
		return;
	}
	/* A serial of our own: an answer must not fit another attempt that
	 * has been given the same number. */
	if (call == NULL ||
	    send_check(d, ++role->helper_serial) != CHANNEL_DONE) {
		decide(d, AUTH_UNAVAILABLE, "the helpers are away or busy");
		return;
	}
	call->serial = role->helper_serial;
	call->dialogue = d;
	d->call = call;
	d->state = DIALOGUE_HELPER;
	timer_set(&role->timers, &d->timer,
	    auth_now_ms() + d->config->config->helper_deadline_ms +
		HELPER_GRACE_MS);
}

/* Name and password of PLAIN or LOGIN: the backends in their order. */
static void
decide_password(struct dialogue *d)
{
	unsigned backends = d->listener->backends;

	if ((backends & BACKEND_STORE) != 0 && ask_store(d))
		return;
	if ((backends & BACKEND_PAM) != 0 &&
	    is_pam_realm(d->config->config,
		name_realm(exchange_name(d->exchange))))
		ask_helper(d);
	else
		decide(d, AUTH_DENIED, "unknown user");
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

/* One change on stable storage: the hash goes, the verifiers come. */
static void
replace_foreign(struct auth_role *role, struct entry *entry,
    const struct auth_foreign_answer *answer)
{
	char name[NAME_SIZE * 4];
	struct reason why = { 0 };
	bool ok = answer->has_verifiers;

	log_value(name, sizeof name, entry->name, strlen(entry->name));
	if (ok) {
		memcpy(entry->verifiers, answer->verifiers,
		    sizeof entry->verifiers);
		explicit_bzero(entry->foreign, sizeof entry->foreign);
		entry->changed = time(NULL);
		ok = store_put(role->store, entry, &why);
	}
	if (ok)
		log_line(SAY_NOTE, "user",
		    "action=replace-hash user=%s result=ok", name);
	else
		log_line(SAY_WARNING, "user",
		    "action=replace-hash user=%s result=failed reason=%s", name,
		    reason_word(
			why.code != REASON_NONE ? why.code : REASON_SYNTAX));
}

/* The password was checked against the hash that the entry had then. */
static void
decide_foreign(struct dialogue *d, const struct auth_foreign_answer *answer)
{
	struct store *store = auth_store(d->role);
	struct entry entry;
	struct reason why = { 0 };

	if (store == NULL ||
	    !store_get(store, exchange_name(d->exchange), &entry, &why)) {
		if (store != NULL && why.code == REASON_ABSENT)
			decide(d, AUTH_DENIED, "changed during the exchange");
		else
			decide(d, AUTH_UNAVAILABLE, "the store cannot be read");
		return;
	}
	if (entry.change != d->change) {
		/* Perhaps another login has just replaced the hash. */
		decide_password(d);
	} else if (!answer->matches) {
		decide(d, AUTH_DENIED, "wrong password");
	} else if (!entry.enabled) {
		decide(d, AUTH_DENIED, "disabled");
	} else {
		replace_foreign(d->role, &entry, answer);
		decide(d, AUTH_GRANTED, "");
	}
	explicit_bzero(&entry, sizeof entry);
}

void
auth_dialogue_foreign(struct auth_role *role,
    const struct auth_foreign_answer *answer)
{
	struct dialogue *d = *find_place(role, answer->number);

	if (d == NULL || d->foreign == 0 || d->foreign != answer->serial)
		return;
	d->foreign = 0;
	decide_foreign(d, answer);
}

static void
dialogue_step(struct dialogue *d, const gnutls_datum_t *response)
{
	struct reason why = { 0 };

	switch (exchange_step(d->exchange, response, &why)) {
	case EXCHANGE_CHALLENGE:
		send_challenge(d);
		return;
	case EXCHANGE_PASSWORD:
		decide_password(d);
		return;
	case EXCHANGE_PROVED:
		decide_proved(d);
		return;
	case EXCHANGE_DOWNGRADE:
		log_downgrade(d, why.text);
		decide(d, AUTH_DENIED, why.text);
		return;
	case EXCHANGE_DENIED:
		decide(d, AUTH_DENIED, why.text);
		return;
	case EXCHANGE_MALFORMED:
		decide(d, AUTH_MALFORMED, why.text);
		return;
	case EXCHANGE_TROUBLE:
		decide(d, AUTH_UNAVAILABLE, why.text);
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
	gnutls_datum_t initial, binding, spki;
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
	start->spki = wire_get_bytes(r, BINDING_OCTETS);
	start->tls_version = wire_get_u8(r);
	return wire_reader_done(r) && has_initial <= 1 &&
	       (start->binding.size == 0 ||
		   start->binding.size == BINDING_OCTETS) &&
	       (start->spki.size == 0 || start->spki.size == BINDING_OCTETS) &&
	       /* Never outside TLS, whatever the session believes. */
	       (start->tls_version == 12 || start->tls_version == 13) &&
	       is_address(start->client);
}

static bool
is_allowed(const struct config_listener *listener, const char *mechanism)
{
	for (unsigned bit = 1; bit <= MECHANISM_LOGIN; bit <<= 1)
		if ((listener->mechanisms & bit) != 0 &&
		    strcasecmp(mechanism_name(bit), mechanism) == 0)
			return true;
	return false;
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
	struct dialogue *d;

	*result_out = AUTH_UNAVAILABLE;
	if (listener == NULL || role->dialogue_count >= AUTH_DIALOGUES_MAX) {
		fail(why, REASON_RANGE,
		    listener == NULL ? "no such configuration or listener"
				     : "too many exchanges");
		return NULL;
	}
	if (!is_allowed(listener, start->mechanism)) {
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
		.scram = give_scram,
		.external = start->spki.size > 0 ? give_external : NULL,
		.context = d,
	};
	if (start->spki.size > 0)
		memcpy(d->key, start->spki.data, SPKI_OCTETS);
	d->role = role;
	if (!exchange_new(&d->exchange, role->sasl, &options, why)) {
		free(d);
		return NULL;
	}
	d->number = start->number;
	d->config = config;
	d->listener = listener;
	strcpy(d->client, start->client);
	d->is_guess = strcasecmp(start->mechanism,
			  mechanism_name(MECHANISM_EXTERNAL)) != 0;
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
		say_result(role, start.number, AUTH_UNAVAILABLE, "",
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
		say_result(role, start.number, result, "", why.text);
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
		say_result(role, number, AUTH_UNAVAILABLE, "",
		    "broken request");
		return;
	}
	d = *find_place(role, number);
	if (d == NULL) {
		say_result(role, number, AUTH_UNAVAILABLE, "",
		    "no such exchange");
		return;
	}
	if (d->state != DIALOGUE_CLIENT) {
		log_line(SAY_ALARM, "protocol",
		    "peer=session packet=step detail=\"out of turn\"");
		return;
	}
	timer_clear(&role->timers, &d->timer);
	d->asked_ms = auth_now_ms() + 1; /* never answered early */
	if (++d->asked > EXCHANGE_STEPS_MAX)
		decide(d, AUTH_MALFORMED, "too many responses");
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

/* What the session may ask; more octets are a breach of the protocol.  When
 * and how often is for the state of each exchange to say. */
static const struct request {
	void (*answer)(struct auth_role *role, struct wire_reader *r);
	size_t longest;
} requests[] = {
	[AUTH_START - AUTH_START] = { answer_start,
	    EXCHANGE_RESPONSE_MAX + 1024 },
	[AUTH_STEP - AUTH_START] = { answer_step, EXCHANGE_RESPONSE_MAX + 64 },
	[AUTH_ABORT - AUTH_START] = { answer_abort, 16 },
	[AUTH_IN_CLEAR - AUTH_START] = { answer_in_clear, 64 },
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
	auth_watch_set(role, &role->session, fd, session_ready);
}

static struct dialogue *
find_call(const struct auth_role *role, uint64_t serial)
{
	for (size_t i = 0; serial != 0 && i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial == serial)
			return role->calls[i].dialogue;
	return NULL;
}

static void
helper_answered(struct auth_role *role, const unsigned char *packet, size_t len)
{
	struct wire_reader r;
	struct dialogue *d;
	char text[RESULT_TEXT];
	uint64_t serial;
	uint8_t answered;

	wire_reader_init(&r, packet, len);
	if (wire_get_u8(&r) != HELPER_ANSWER) {
		log_line(SAY_ALARM, "protocol", "peer=helpers");
		return;
	}
	serial = wire_get_u64(&r);
	answered = wire_get_u8(&r);
	if (!wire_get_string(&r, text, sizeof text) || !wire_reader_done(&r)) {
		log_line(SAY_ALARM, "protocol", "peer=helpers");
		return;
	}
	d = find_call(role, serial);
	if (d == NULL)
		return;
	if (answered == HELPER_YES)
		decide(d, AUTH_GRANTED, "");
	else
		decide(d,
		    answered == HELPER_NO ? AUTH_DENIED : AUTH_UNAVAILABLE,
		    text);
}

static void
helpers_gone(struct auth_role *role)
{
	for (size_t i = 0; i < AUTH_HELPERS_MAX; i++)
		if (role->calls[i].serial != 0)
			decide(role->calls[i].dialogue, AUTH_UNAVAILABLE,
			    "the helpers went away");
}

static void
helpers_ready(struct auth_role *role, struct auth_watch *watch, uint32_t events)
{
	unsigned char packet[1024];
	enum channel_io io;
	size_t len;

	(void)events;
	for (int i = 0; i < PACKETS_A_TURN && watch->fd >= 0; i++) {
		io = channel_recv(watch->fd, packet, sizeof packet, &len, NULL);
		if (io == CHANNEL_WAIT)
			return;
		if (io != CHANNEL_DONE) {
			auth_watch_close(role, watch);
			helpers_gone(role);
			return;
		}
		helper_answered(role, packet, len);
	}
}

void
auth_dialogue_helpers(struct auth_role *role, int fd)
{
	helpers_gone(role);
	auth_watch_set(role, &role->helpers, fd, helpers_ready);
}
