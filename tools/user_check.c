/*
 * tools/user_check.c: "sallyport user check": who would answer for a name.
 *
 * The same decisions as server/auth_decide.c and server/auth_judge.c make,
 * listener by listener, but for what is only known once a client is there: its
 * network, and its version of TLS.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "../auth/legacy.h"
#include "../server/config_value.h"
#include "user.h"

enum { MECHANISMS_MD5 = MECHANISM_CRAM_MD5 | MECHANISM_DIGEST_MD5 };

struct check {
	const struct config *config;
	const char *name;
	struct entry entry; /* without a name: the store has none */
	struct entry owner; /* of a device; the same */
	int64_t now;
	bool somebody; /* would answer */
	json_t *answers;
	char text[128]; /* an objection, until the next one */
};

static bool
is_known(const struct check *check)
{
	return check->entry.name[0] != '\0';
}

/* Does the listener ask the store, and has that the name? */
static bool
is_stored(const struct check *check, const struct config_listener *listener)
{
	return is_known(check) && (listener->backends & BACKEND_STORE) != 0;
}

static bool
is_realm_of(const struct check *check, const char *const *realms, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(realms[i], name_realm(check->name)) == 0)
			return true;
	return false;
}

/* One that PLAIN and LOGIN show. */
static bool
has_password(const struct entry *entry)
{
	return entry->verifiers[VERIFIER_SHA_256].present ||
	       entry->verifiers[VERIFIER_SHA_1].present ||
	       entry->foreign[0] != '\0';
}

/* Is this old way of logging in over for who has entry, or none? */
static const char *
end_of_legacy(struct check *check, const struct entry *entry,
    unsigned mechanism)
{
	const struct config *config = check->config;
	int64_t until =
	    entry != NULL ? entry->legacy_until : ENTRY_LEGACY_AS_CONFIGURED;
	char date[VALUE_END];

	if (until == ENTRY_LEGACY_AS_CONFIGURED)
		until = config->legacy_until;
	/* As if all clients had the newest TLS. */
	if ((legacy_practices(mechanism_name(mechanism), 13) &
		config->legacy) == 0 ||
	    until == 0 || check->now < until)
		return NULL;
	value_end_print(until, date);
	snprintf(check->text, sizeof check->text,
	    "an old way, not taken after %s", date);
	return check->text;
}

/* Does what the store has of one name, if anything, forbid the login? */
static const char *
entry_objection(struct check *check, const struct entry *entry,
    unsigned mechanism)
{
	const unsigned bound = MECHANISMS_BOUND | MECHANISM_EXTERNAL;

	if (entry != NULL && !entry->enabled)
		return "disabled";
	if (entry != NULL && entry->until != 0 && check->now >= entry->until)
		return "its time is over";
	if (entry != NULL && entry->binding_required &&
	    (mechanism & bound) == 0)
		return "channel binding is required";
	return end_of_legacy(check, entry, mechanism);
}

/* Does it call itself after its owner, with a label that he has? */
static bool
is_listed(const struct check *check)
{
	char name[NAME_SIZE];

	for (size_t i = 0; i < check->owner.device_count; i++)
		if (entry_device_name(check->owner.name,
			check->owner.devices[i], name) &&
		    strcmp(name, check->name) == 0)
			return true;
	return false;
}

static const char *
device_objection(struct check *check, unsigned mechanism)
{
	char owners[sizeof check->text];
	const char *why;

	if (check->entry.owner[0] == '\0')
		return "a device of nobody";
	if (check->owner.name[0] == '\0')
		return "its owner is no user";
	if (check->owner.kind == ENTRY_DEVICE || !is_listed(check))
		return "its owner has no such device";
	why = entry_objection(check, &check->owner, mechanism);
	if (why == NULL)
		return NULL;
	snprintf(owners, sizeof owners, "%s", why);
	snprintf(check->text, sizeof check->text, "its owner: %.*s",
	    (int)sizeof check->text - 16, owners);
	return check->text;
}

/* NULL: whoever proves it, by this mechanism, is let in. */
static const char *
judge(struct check *check, const struct config_listener *listener,
    unsigned mechanism)
{
	const struct entry *entry =
	    is_stored(check, listener) ? &check->entry : NULL;
	const char *why = entry_objection(check, entry, mechanism);

	if (why != NULL || entry == NULL ||
	    (entry->owner[0] == '\0' && entry->kind != ENTRY_DEVICE))
		return why;
	return device_objection(check, mechanism);
}

static const char *
scram_objection(const struct entry *e, unsigned mechanism)
{
	bool is_sha_1 = mechanism == MECHANISM_SCRAM_SHA_1 ||
			mechanism == MECHANISM_SCRAM_SHA_1_PLUS;

	if (e->foreign[0] != '\0')
		return "its foreign hash waits for a PLAIN or LOGIN login";
	return e->verifiers[is_sha_1 ? VERIFIER_SHA_1 : VERIFIER_SHA_256]
		       .present
		   ? NULL
		   : "no verifier of that hash";
}

/* NULL: the store's entry has what this mechanism needs. */
static const char *
store_objection(const struct check *check, unsigned mechanism)
{
	const struct entry *e = &check->entry;

	if (!is_known(check))
		return "the store has no such name";
	if (mechanism == MECHANISM_EXTERNAL)
		return e->key_count + e->san_count > 0
			   ? NULL
			   : "no certificate is bound to it";
	if ((mechanism & MECHANISMS_SCRAM) != 0)
		return scram_objection(e, mechanism);
	if ((mechanism & MECHANISMS_MD5) != 0)
		return e->has_legacy ? NULL : "no legacy secret";
	return has_password(e) ? NULL : "no password";
}

/* An entry without password says what he may whom PAM knows. */
static const char *
pam_objection(const struct check *check, const struct config_listener *listener)
{
	const struct config *config = check->config;

	if (is_stored(check, listener) && has_password(&check->entry) &&
	    !listener->pam_first)
		return "the store has this name and decides";
	return is_realm_of(check, config->pam_realms, config->pam_realm_count)
		   ? NULL
		   : "the realm is not assigned to PAM";
}

/* What forbids it of what the backend knows, if anything.  What a ticket or a
 * token has to say is for its issuer to say. */
static const char *
backend_objection(const struct check *check,
    const struct config_listener *listener, unsigned backend,
    unsigned mechanism)
{
	const struct config *config = check->config;

	if (mechanism == MECHANISM_EXTERNAL && !listener->ask_client_cert)
		return "clients are not asked for a certificate here";
	if (backend == BACKEND_PAM)
		return pam_objection(check, listener);
	if (backend == BACKEND_KERBEROS)
		return is_realm_of(check, config->kerberos_realms,
			   config->kerberos_realm_count)
			   ? NULL
			   : "no realm of Kerberos has this name";
	if (backend == BACKEND_TOKEN)
		return is_realm_of(check, config->token.realms,
			   config->token.realm_count)
			   ? NULL
			   : "no issuer of tokens can vouch for the realm";
	return store_objection(check, mechanism);
}

/* Add what backend says to the mechanisms of wanted that the listener offers,
 * if it offers any. */
static void
check_backend(struct check *check, const struct config_listener *listener,
    const char *word, unsigned backend, unsigned wanted)
{
	json_t *can = json_array(), *cannot = json_object();

	for (unsigned bit = 1; bit <= MECHANISM_LOGIN; bit <<= 1) {
		const char *why;

		if ((listener->mechanisms & wanted & bit) == 0)
			continue;
		why = backend_objection(check, listener, backend, bit);
		if (why == NULL)
			why = judge(check, listener, bit);
		if (why == NULL)
			json_array_append_new(can,
			    json_string(mechanism_name(bit)));
		else
			json_object_set_new(cannot, mechanism_name(bit),
			    json_string(why));
	}
	check->somebody |= json_array_size(can) > 0;
	if (json_array_size(can) + json_object_size(cannot) == 0) {
		json_decref(can);
		json_decref(cannot);
		return;
	}
	json_array_append_new(check->answers,
	    json_pack("{s:s, s:s, s:b, s:o, s:o}", "listener", listener->name,
		"backend", word, "answers", json_array_size(can) > 0,
		"mechanisms", can, "not", cannot));
}

static void
check_listener(struct check *check, const struct config_listener *listener)
{
	const unsigned passwords = MECHANISM_PLAIN | MECHANISM_LOGIN;

	if (listener->pam_first)
		check_backend(check, listener, "pam", BACKEND_PAM, passwords);
	if ((listener->backends & BACKEND_STORE) != 0) {
		check_backend(check, listener, "certificate", BACKEND_STORE,
		    MECHANISM_EXTERNAL);
		check_backend(check, listener, "store", BACKEND_STORE,
		    MECHANISMS_SCRAM | MECHANISMS_MD5 | passwords);
	}
	if ((listener->backends & BACKEND_KERBEROS) != 0)
		check_backend(check, listener, "kerberos", BACKEND_KERBEROS,
		    MECHANISM_GSSAPI);
	if ((listener->backends & BACKEND_TOKEN) != 0)
		check_backend(check, listener, "token", BACKEND_TOKEN,
		    MECHANISMS_TOKEN);
	if ((listener->backends & BACKEND_PAM) != 0 && !listener->pam_first)
		check_backend(check, listener, "pam", BACKEND_PAM, passwords);
}

/* One line a backend, and one for each different objection. */
static void
print_answer(json_t *answer)
{
	json_t *can = json_object_get(answer, "mechanisms"), *each;
	json_t *cannot = json_object_get(answer, "not"), *reason;
	const char *mechanism, *before = "";
	size_t i;

	printf(
	    "%s: %s:", json_string_value(json_object_get(answer, "listener")),
	    json_string_value(json_object_get(answer, "backend")));
	json_array_foreach(can, i, each) printf(" %s", json_string_value(each));
	if (json_array_size(can) == 0)
		printf(" no");
	json_object_foreach(cannot, mechanism, reason)
	{
		bool same = strcmp(before, json_string_value(reason)) == 0;

		if (same)
			printf(", %s", mechanism);
		else
			printf("\n    not by %s", mechanism);
		before = json_string_value(reason);
		/* The reason comes behind the last of those it is for. */
		void *next = json_object_iter_next(cannot,
		    json_object_key_to_iter(mechanism));

		if (next == NULL ||
		    strcmp(json_string_value(json_object_iter_value(next)),
			before) != 0)
			printf(": %s", before);
	}
	printf("\n");
}

static void
print_json(const struct check *check)
{
	json_t *object = json_pack("{s:s, s:b, s:b, s:O}", "name", check->name,
	    "known", (int)is_known(check), "answers", (int)check->somebody,
	    "backends", check->answers);
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text != NULL)
		printf("%s\n", text);
	free(text);
	json_decref(object);
}

static bool
look_up(struct check *check, struct reason *why)
{
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, check->config, why))
		return false;
	ok = user_access_find(access, check->name, &check->entry, why);
	if (ok && check->entry.owner[0] != '\0')
		ok = user_access_find(access, check->entry.owner, &check->owner,
		    why);
	user_access_close(access);
	return ok;
}

enum tool_status
user_check(const struct config *config, const char *name, bool json)
{
	struct check check = { .config = config,
		.name = name,
		.now = time(NULL),
		.answers = json_array() };
	struct reason why = { 0 };
	bool ok = look_up(&check, &why);
	json_t *each;
	size_t i;

	if (!ok) {
		tool_error(&why);
	} else {
		for (i = 0; i < config->listener_count; i++)
			check_listener(&check, &config->listeners[i]);
		if (json)
			print_json(&check);
		else
			json_array_foreach(check.answers, i, each)
			    print_answer(each);
	}
	json_decref(check.answers);
	explicit_bzero(&check.entry, sizeof check.entry);
	explicit_bzero(&check.owner, sizeof check.owner);
	return ok && check.somebody ? TOOL_DONE : TOOL_NO;
}
