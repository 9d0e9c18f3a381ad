/* server/grant.c: what a login may do, as auth tells the session. */
#include "grant.h"

#include <stdlib.h>
#include <string.h>

static bool
copy(char **out, size_t *len_out, const void *octets, size_t len)
{
	if (len == 0)
		return true;
	*out = malloc(len);
	if (*out == NULL)
		return false;
	memcpy(*out, octets, len);
	*len_out = len;
	return true;
}

void
grant_fini(struct grant *grant)
{
	free(grant->rights);
	free(grant->owner_rights);
	memset(grant, 0, sizeof *grant);
}

void
grant_free(struct grant *grant)
{
	if (grant != NULL)
		grant_fini(grant);
	free(grant);
}

bool
grant_is_of(const struct grant *grant, const char *login)
{
	return login[0] == '\0' || strcmp(grant->login, login) == 0 ||
	       strcmp(grant->owner, login) == 0;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

bool
grant_make(struct grant *out, const char *login, const struct entry *entry,
    const struct entry *owner)
{
	memset(out, 0, sizeof *out);
	memccpy(out->login, login, '\0', sizeof out->login - 1);
	if (entry == NULL)
		return true;
	out->rate = entry->rate;
	out->until = entry->until;
	if (!copy(&out->rights, &out->rights_len, entry->rights,
		entry->rights_len))
		return false;
	if (owner == NULL)
		return true;
	strcpy(out->owner, owner->name);
	out->owner_rate = owner->rate;
	out->until = earlier(entry->until, owner->until);
	if (copy(&out->owner_rights, &out->owner_rights_len, owner->rights,
		owner->rights_len))
		return true;
	grant_fini(out);
	return false;
}

void
grant_put(struct wire_writer *w, const struct grant *grant)
{
	wire_put_string(w, grant->login);
	wire_put_string(w, grant->owner);
	wire_put_bytes(w, grant->rights, grant->rights_len);
	wire_put_bytes(w, grant->owner_rights, grant->owner_rights_len);
	wire_put_u32(w, grant->rate);
	wire_put_u32(w, grant->owner_rate);
	wire_put_u64(w, (uint64_t)grant->until);
}

static bool
get_rights(struct wire_reader *r, char **out, size_t *len_out)
{
	gnutls_datum_t octets = wire_get_bytes(r, ENTRY_RIGHTS_MAX);

	if (octets.size > 0 && octets.data[octets.size - 1] != '\0')
		return false;
	return copy(out, len_out, octets.data, octets.size);
}

bool
grant_get(struct wire_reader *r, struct grant *out)
{
	struct grant g = { 0 };
	bool ok;

	wire_get_string(r, g.login, sizeof g.login);
	wire_get_string(r, g.owner, sizeof g.owner);
	ok = get_rights(r, &g.rights, &g.rights_len) &&
	     get_rights(r, &g.owner_rights, &g.owner_rights_len);
	g.rate = wire_get_u32(r);
	g.owner_rate = wire_get_u32(r);
	g.until = (int64_t)wire_get_u64(r);
	if (!ok || r->failed || g.login[0] == '\0' || g.until < 0) {
		grant_fini(&g);
		return false;
	}
	*out = g;
	return true;
}
