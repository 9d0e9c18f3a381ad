/*
 * server/auth_judge.c: what forbids a login whose client has proved, or may yet
 * prove, who it is.
 *
 * With SCRAM it is asked twice: at the end, and before the server's signature
 * goes out, which would tell a thief that his password is right.  Not before:
 * what is asked of the store would show in the time that the salt takes.
 */
#include <string.h>

#include "../auth/legacy.h"
#include "auth_dialogue.h"
#include "config_value.h"

static bool
is_bound(const struct dialogue *d)
{
	return (d->mechanism & (MECHANISMS_BOUND | MECHANISM_EXTERNAL)) != 0;
}

static bool
is_near(const struct entry *entry, const char *client)
{
	for (size_t i = 0; i < entry->network_count; i++)
		if (network_has(&entry->networks[i], client))
			return true;
	return entry->network_count == 0;
}

/* What the client would have to do instead of these. */
static const char *
remedy_for(unsigned practices)
{
	bool tls = (practices & LEGACY_TLS_1_2) != 0;

	if ((practices & LEGACY_UNBOUND) != 0)
		return tls ? "TLS 1.3 and SCRAM-SHA-256-PLUS"
			   : "SCRAM-SHA-256-PLUS";
	if ((practices & ~(unsigned)LEGACY_TLS_1_2) != 0)
		return tls ? "TLS 1.3, and SCRAM-SHA-256 or PLAIN"
			   : "SCRAM-SHA-256 or PLAIN";
	return "TLS 1.3";
}

/* Is this old way of logging in over for who has entry, or none? */
static bool
is_over(struct dialogue *d, const struct entry *entry, int64_t now,
    char text[static DIALOGUE_TEXT])
{
	const struct config *config = d->config->config;
	int64_t until =
	    entry != NULL ? entry->legacy_until : ENTRY_LEGACY_AS_CONFIGURED;
	unsigned practices =
	    legacy_practices(mechanism_name(d->mechanism), d->tls_version) &
	    config->legacy;
	char words[LEGACY_TEXT], date[VALUE_END];

	if (until == ENTRY_LEGACY_AS_CONFIGURED)
		until = config->legacy_until;
	if (practices == 0 || until == 0 || now < until)
		return false;
	d->refused = practices;
	legacy_print(practices, words);
	value_end_print(until, date);
	snprintf(text, DIALOGUE_TEXT, "%s: not taken after %s, expected %s",
	    words, date, remedy_for(practices));
	return true;
}

/* Does what the store has of one name, if anything, forbid the login? */
static bool
is_forbidden(struct dialogue *d, const struct entry *entry, int64_t now,
    char text[static DIALOGUE_TEXT])
{
	const char *denial = NULL;

	if (entry != NULL && !entry->enabled)
		denial = "disabled";
	else if (entry != NULL && entry->until != 0 && now >= entry->until)
		denial = "its time is over";
	else if (entry != NULL && !is_near(entry, d->client))
		denial = "not from this network";
	else if (!is_bound(d) && entry != NULL && entry->binding_required)
		denial = "channel binding is required";
	else if (!is_bound(d) &&
		 config_requires_binding(d->config->config, d->client))
		denial = "channel binding is required from this network";
	if (denial == NULL)
		return is_over(d, entry, now, text);
	strcpy(text, denial);
	return true;
}

/* Does device call itself after owner, with a label that owner has? */
static bool
is_device_of(const struct entry *device, const struct entry *owner)
{
	char name[NAME_SIZE];

	for (size_t i = 0; i < owner->device_count; i++)
		if (entry_device_name(owner->name, owner->devices[i], name) &&
		    strcmp(name, device->name) == 0)
			return true;
	return false;
}

static enum judgement
judge_device(struct dialogue *d, const struct entry *device, int64_t now,
    struct entry *owner, char text[static DIALOGUE_TEXT])
{
	char owners[DIALOGUE_TEXT];
	const char *denial = NULL;

	if (device->owner[0] == '\0') {
		denial = "a device of nobody";
	} else {
		switch (backend_look_up(d, device->owner, owner)) {
		case LOOK_FAILED:
			return JUDGED_UNKNOWN;
		case LOOK_ABSENT:
			denial = "its owner is no user";
			break;
		case LOOK_THERE:
			/* Devices have none. */
			if (owner->kind == ENTRY_DEVICE ||
			    !is_device_of(device, owner))
				denial = "its owner has no such device";
			break;
		}
	}
	if (denial != NULL) {
		strcpy(text, denial);
		return JUDGED_DENIED;
	}
	if (!is_forbidden(d, owner, now, owners))
		return JUDGED_ALLOWED;
	snprintf(text, DIALOGUE_TEXT, "its owner: %.180s", owners);
	return JUDGED_DENIED;
}

static enum judgement
judge(struct dialogue *d, const struct entry *entry, int64_t now,
    struct entry *owner_out, char text[static DIALOGUE_TEXT])
{
	owner_out->name[0] = '\0';
	if (is_forbidden(d, entry, now, text))
		return JUDGED_DENIED;
	if (entry == NULL ||
	    (entry->owner[0] == '\0' && entry->kind != ENTRY_DEVICE))
		return JUDGED_ALLOWED;
	return judge_device(d, entry, now, owner_out, text);
}

/* The entry of whom others vouch for.  They may not mind how he spells himself,
 * and what is limited or disabled as "alice" must not get by as "ALICE". */
static enum look
look_up_spelt(struct dialogue *d, const char *name, struct entry *out)
{
	enum look look = backend_look_up(d, name, out);
	char lower[NAME_SIZE];
	size_t i;

	if (look != LOOK_ABSENT || d->change != 0)
		return look;
	for (i = 0; name[i] != '\0'; i++)
		lower[i] = name[i] >= 'A' && name[i] <= 'Z'
			       ? (char)(name[i] - 'A' + 'a')
			       : name[i];
	lower[i] = '\0';
	return strcmp(lower, name) != 0 ? backend_look_up(d, lower, out) : look;
}

enum judgement
dialogue_judge(struct dialogue *d, const char *name, int64_t now,
    struct entry *entry_out, struct entry *owner_out,
    char text[static DIALOGUE_TEXT])
{
	enum look look = LOOK_ABSENT;

	memset(entry_out, 0, sizeof *entry_out);
	memset(owner_out, 0, sizeof *owner_out);
	if ((d->listener->backends & BACKEND_STORE) != 0)
		look = look_up_spelt(d, name, entry_out);
	if (look == LOOK_FAILED)
		return JUDGED_UNKNOWN;
	if (d->change != 0 && entry_out->change != d->change) {
		strcpy(text, "changed during the exchange");
		return JUDGED_DENIED;
	}
	return judge(d, look == LOOK_THERE ? entry_out : NULL, now, owner_out,
	    text);
}
