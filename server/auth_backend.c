/*
 * server/auth_backend.c: the credential store, as a session's exchanges ask it.
 */
#include <string.h>
#include <time.h>

#include "auth_dialogue.h"
#include "log.h"

enum { FOREIGN_DEADLINE_MS = 30000 }; /* of a check that waits for others */

enum look
backend_look_up(struct dialogue *d, const char *name, struct entry *out)
{
	struct store *store = auth_store(d->role);
	struct reason why = { 0 };

	memset(out, 0, sizeof *out);
	if (store == NULL)
		return LOOK_FAILED;
	if (store_get(store, name, out, &why))
		return LOOK_THERE;
	if (why.code == REASON_ABSENT)
		return LOOK_ABSENT;
	log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
	    reason_word(why.code), why.text);
	return LOOK_FAILED;
}

static void
show(const struct verifier *v, struct exchange_scram *out)
{
	out->iterations = v->iterations;
	out->salt_len = v->salt_len;
	memcpy(out->salt, v->salt, v->salt_len);
	memcpy(out->stored, v->stored, VERIFIER_KEY_MAX);
	memcpy(out->server, v->server, VERIFIER_KEY_MAX);
}

/* SCRAM's verifier of a name, or what a client cannot tell from one: what is
 * shown to strangers is drawn for everybody, since that takes its time. */
bool
backend_scram(void *context, enum verifier_hash hash, const char *name,
    struct exchange_scram *out)
{
	struct dialogue *d = context;
	struct store *store = auth_store(d->role);
	struct verifier fake;
	struct entry entry;
	struct reason why;

	if (store == NULL)
		return false;
	memset(out, 0, sizeof *out);
	if (!store_fake(store, hash, name, d->config->config->scram_iterations,
		&fake, &why))
		return false;
	show(&fake, out);
	if (!store_get(store, name, &entry, &why)) {
		if (why.code == REASON_ABSENT)
			return true;
		log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
		return false;
	}
	if (entry.verifiers[hash].present && entry.verifiers[hash].has_keys) {
		d->change = entry.change;
		show(&entry.verifiers[hash], out);
		out->has_keys = true; /* who may log in is judged later */
	}
	explicit_bzero(&entry, sizeof entry);
	return true;
}

/* Two entries claim one certificate, by its key and by a name, or by two names.
 * Who has it can ask at will: one alarm an hour. */
static void
log_ambiguous(struct dialogue *d, const char *one, const char *other)
{
	struct auth_role *role = d->role;
	int64_t now = auth_now_ms();
	bool first = now >= role->ambiguous_quiet_until_ms;
	char a[NAME_SIZE * 4], b[NAME_SIZE * 4];

	if (first)
		role->ambiguous_quiet_until_ms = now + AUTH_ALARM_MS;
	log_line(first ? SAY_ALARM : SAY_WARNING, "auth",
	    "client=%s listener=%s result=ambiguous user=%s other=%s "
	    "detail=\"one certificate is bound to both, and lets neither in\"",
	    d->client, d->listener->name,
	    log_value(a, sizeof a, one, strlen(one)),
	    log_value(b, sizeof b, other, strlen(other)));
}

/* The one entry that is bound to what the client's certificate is known by: ""
 * if there is none, or more than one.  False if the store cannot tell. */
static bool
find_bound(struct dialogue *d, struct store *store,
    char name_out[static NAME_SIZE], struct reason *why)
{
	char name[NAME_SIZE];

	name_out[0] = '\0';
	for (size_t i = 0; i < d->identity_count; i++) {
		if (!store_find_key(store, d->identities[i], name, why)) {
			if (why->code == REASON_ABSENT)
				continue;
			return false;
		}
		if (name_out[0] != '\0' && strcmp(name, name_out) != 0) {
			log_ambiguous(d, name_out, name);
			name_out[0] = '\0';
			return true;
		}
		strcpy(name_out, name);
	}
	return true;
}

/* Whose is the certificate that the client has shown in TLS? */
bool
backend_external(void *context, char name_out[static NAME_SIZE])
{
	struct dialogue *d = context;
	struct store *store = auth_store(d->role);
	struct entry entry;
	struct reason why;

	name_out[0] = '\0';
	if (store == NULL)
		return false;
	if (find_bound(d, store, name_out, &why)) {
		if (name_out[0] == '\0')
			return true;
		if (store_get(store, name_out, &entry, &why)) {
			d->change = entry.change;
			explicit_bzero(&entry, sizeof entry);
			return true;
		}
	}
	name_out[0] = '\0'; /* what leads nowhere is nobody's */
	if (why.code == REASON_ABSENT)
		return true;
	log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
	    reason_word(why.code), why.text);
	return false;
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

static bool
has_verifier(const struct entry *entry)
{
	return entry->verifiers[VERIFIER_SHA_256].present ||
	       entry->verifiers[VERIFIER_SHA_1].present;
}

/* Whether it is enabled or not is asked once the password is known to be
 * right. */
static void
ask_foreign(struct dialogue *d, const struct entry *entry)
{
	struct auth_role *role = d->role;
	const struct config *config = d->config->config;

	if (strlen(exchange_password(d->exchange)) > PASSWORD_MAX) {
		dialogue_decide(d, AUTH_DENIED, "wrong password");
		return;
	}
	if (!auth_foreign_ask(role, d->number, ++role->foreign_serial,
		entry->foreign, exchange_password(d->exchange),
		config->scram_iterations)) {
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "too many old hashes are being checked");
		return;
	}
	d->foreign = role->foreign_serial;
	d->change = entry->change;
	d->state = DIALOGUE_HELPER;
	timer_set(&role->timers, &d->timer,
	    auth_now_ms() + FOREIGN_DEADLINE_MS);
}

bool
backend_check_password(struct dialogue *d)
{
	struct store *store = auth_store(d->role);
	bool is_over = true;
	struct entry entry;
	struct reason why;

	if (store == NULL) {
		dialogue_decide(d, AUTH_UNAVAILABLE, "the store is not open");
		return true;
	}
	if (!store_get(store, d->name, &entry, &why)) {
		if (why.code == REASON_ABSENT) {
			derive_in_vain(d);
			return false;
		}
		log_line(SAY_ALARM, "store", "reason=%s detail=\"%s\"",
		    reason_word(why.code), why.text);
		dialogue_decide(d, AUTH_UNAVAILABLE,
		    "the store cannot be read");
		return true;
	}
	if (entry.foreign[0] != '\0') {
		ask_foreign(d, &entry);
	} else if (!has_verifier(&entry)) {
		/* It says what somebody may whom others vouch for. */
		derive_in_vain(d);
		is_over = false;
	} else if (!password_fits(d->role, &entry,
		       exchange_password(d->exchange))) {
		dialogue_decide(d, AUTH_DENIED, "wrong password");
	} else {
		d->change = entry.change;
		dialogue_prove(d, entry.name);
	}
	explicit_bzero(&entry, sizeof entry);
	return is_over;
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

	if (store == NULL || !store_get(store, d->name, &entry, &why)) {
		if (store != NULL && why.code == REASON_ABSENT)
			dialogue_decide(d, AUTH_DENIED,
			    "changed during the exchange");
		else
			dialogue_decide(d, AUTH_UNAVAILABLE,
			    "the store cannot be read");
		return;
	}
	if (entry.change != d->change) {
		/* Perhaps another login has just replaced the hash. */
		dialogue_check_again(d);
	} else if (!answer->matches) {
		dialogue_decide(d, AUTH_DENIED, "wrong password");
	} else {
		if (entry.enabled)
			replace_foreign(d->role, &entry, answer);
		d->change = entry.change;
		dialogue_prove(d, entry.name);
	}
	explicit_bzero(&entry, sizeof entry);
}

void
auth_dialogue_foreign(struct auth_role *role,
    const struct auth_foreign_answer *answer)
{
	struct dialogue *d = dialogue_find(role, answer->number);

	if (d == NULL || d->foreign == 0 || d->foreign != answer->serial)
		return;
	d->foreign = 0;
	decide_foreign(d, answer);
}
