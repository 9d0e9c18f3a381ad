/*
 * tools/user_check.c: "sallyport user check": who would answer for a name.
 *
 * The same decisions as the auth role makes (server/auth_decide.c and
 * auth_judge.c), listener by listener.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "../auth/legacy.h"
#include "user.h"

enum { MECHANISMS_MD5 = MECHANISM_CRAM_MD5 | MECHANISM_DIGEST_MD5 };

struct check {
	const struct config *config;
	const char *name;
	bool is_known; /* the store has entry */
	struct entry entry;
	bool has_owner; /* a device's, and the store has it */
	struct entry owner;
	int64_t now;
	bool somebody; /* would answer */
	json_t *answers;
};

struct found {
	struct entry *entry;
	bool *is_there;
};

static bool
take_entry(void *context, const struct entry *entry)
{
	const struct found *found = context;

	*found->entry = *entry;
	*found->is_there = true;
	return true;
}

static bool
is_pam_realm(const struct check *check)
{
	const struct config *config = check->config;

	for (size_t i = 0; i < config->pam_realm_count; i++)
		if (strcasecmp(config->pam_realms[i],
			name_realm(check->name)) == 0)
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

/* What forbids a device its owner's entry has, or not. */
static const char *
owner_objection(const struct check *check)
{
	char name[NAME_SIZE];

	if (check->entry.owner[0] == '\0')
		return NULL;
	if (!check->has_owner)
		return "its owner is not there";
	if (!check->owner.enabled)
		return "its owner is disabled";
	if (check->owner.until != 0 && check->now >= check->owner.until)
		return "its owner's time is over";
	for (size_t i = 0; i < check->owner.device_count; i++)
		if (entry_device_name(check->owner.name,
			check->owner.devices[i], name) &&
		    strcmp(name, check->name) == 0)
			return NULL;
	return "its owner does not list it";
}

/* NULL: whoever proves it, by this mechanism, is let in. */
static const char *
entry_objection(const struct check *check, unsigned mechanism)
{
	const unsigned bound = MECHANISMS_BOUND | MECHANISM_EXTERNAL;

	if (!check->entry.enabled)
		return "disabled";
	if (check->entry.until != 0 && check->now >= check->entry.until)
		return "its time is over";
	if ((check->entry.binding_required ||
		(check->has_owner && check->owner.binding_required)) &&
	    (mechanism & bound) == 0)
		return "channel binding is required";
	return owner_objection(check);
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

/* NULL: the store's entry can be logged in with by this mechanism. */
static const char *
store_objection(const struct check *check, unsigned mechanism)
{
	const struct entry *e = &check->entry;
	const char *why = entry_objection(check, mechanism);

	if (why != NULL)
		return why;
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

static const char *
pam_objection(const struct check *check, const struct config_listener *listener,
    unsigned mechanism)
{
	bool stored =
	    check->is_known && (listener->backends & BACKEND_STORE) != 0;
	const char *why = NULL;

	if (stored && has_password(&check->entry) && !listener->pam_first)
		return "the store has this name and decides";
	/* It says what he may whom PAM knows. */
	if (stored)
		why = entry_objection(check, mechanism);
	if (why != NULL)
		return why;
	if (!is_pam_realm(check))
		return "the realm is not assigned to PAM";
	return mechanism == MECHANISM_PLAIN || mechanism == MECHANISM_LOGIN
		   ? NULL
		   : "PAM needs the password";
}

static const char *
kerberos_objection(const struct check *check, unsigned mechanism)
{
	const struct config *config = check->config;

	for (size_t i = 0; i < config->kerberos_realm_count; i++)
		if (strcasecmp(config->kerberos_realms[i],
			name_realm(check->name)) == 0)
			return check->is_known
				   ? entry_objection(check, mechanism)
				   : NULL;
	return "no realm of Kerberos has this name";
}

/* What the token has to say is for its issuer to say. */
static const char *
token_objection(const struct check *check,
    const struct config_listener *listener, unsigned mechanism)
{
	const struct config *config = check->config;
	bool stored =
	    check->is_known && (listener->backends & BACKEND_STORE) != 0;

	for (size_t i = 0; i < config->token.realm_count; i++)
		if (strcasecmp(config->token.realms[i],
			name_realm(check->name)) == 0)
			return stored ? entry_objection(check, mechanism)
				      : NULL;
	return "no issuer of tokens can vouch for the realm";
}

static const char *
objection(const struct check *check, const struct config_listener *listener,
    unsigned backend, unsigned mechanism)
{
	if (mechanism == MECHANISM_EXTERNAL && !listener->ask_client_cert)
		return "clients are not asked for a certificate here";
	if (backend == BACKEND_PAM)
		return pam_objection(check, listener, mechanism);
	if (backend == BACKEND_KERBEROS)
		return kerberos_objection(check, mechanism);
	if (backend == BACKEND_TOKEN)
		return token_objection(check, listener, mechanism);
	return check->is_known ? store_objection(check, mechanism)
			       : "the store has no such name";
}

/* Is the day past after which who has entry, or none, may not practise what
 * mechanism does? */
static bool
is_day_past(const struct check *check, const struct entry *entry,
    unsigned mechanism)
{
	const struct config *config = check->config;
	int64_t until =
	    entry != NULL ? entry->legacy_until : ENTRY_LEGACY_AS_CONFIGURED;

	if (until == ENTRY_LEGACY_AS_CONFIGURED)
		until = config->legacy_until;
	/* Which TLS it would come by nobody knows. */
	return until != 0 && check->now >= until &&
	       (legacy_practices(mechanism_name(mechanism), 13) &
		   config->legacy) != 0;
}

static bool
is_over(const struct check *check, const struct config_listener *listener,
    unsigned mechanism)
{
	bool stored =
	    check->is_known && (listener->backends & BACKEND_STORE) != 0;

	return is_day_past(check, stored ? &check->entry : NULL, mechanism) ||
	       (stored && check->has_owner &&
		   is_day_past(check, &check->owner, mechanism));
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
		why = objection(check, listener, backend, bit);
		if (why == NULL && is_over(check, listener, bit))
			why = "an old way to log in, and its day is over";
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
	    "known", (int)check->is_known, "answers", (int)check->somebody,
	    "backends", check->answers);
	char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text != NULL)
		printf("%s\n", text);
	free(text);
	json_decref(object);
}

static bool
look_up(struct user_access *access, const char *name, struct entry *out,
    bool *is_there, struct reason *why)
{
	struct found found = { out, is_there };
	struct entry entry = { 0 };
	bool ok;

	snprintf(entry.name, sizeof entry.name, "%s", name);
	ok = user_access_ask(access, CONTROL_USER_FIND, &entry, take_entry,
	    &found, why);
	explicit_bzero(&entry, sizeof entry);
	return ok;
}

static bool
look_up_both(struct check *check, struct reason *why)
{
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, check->config, why))
		return false;
	ok = look_up(access, check->name, &check->entry, &check->is_known, why);
	if (ok && check->entry.owner[0] != '\0')
		ok = look_up(access, check->entry.owner, &check->owner,
		    &check->has_owner, why);
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
	bool ok = look_up_both(&check, &why);
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
