/*
 * server/config_listener.c: the listeners of sallyport.conf.
 */
#include "config_parse.h"

#include <stdlib.h>
#include <string.h>

#include "config_value.h"

/* Without certificates = { ... }: the first that is for servers. */
static bool
standard_certificate(struct parse *p, struct config_listener *l)
{
	const struct config *c = &p->owner->config;
	const char **list;

	for (size_t i = 0; i < c->certificate_count; i++) {
		if ((c->certificates[i].roles & CERTIFICATE_SERVER) == 0)
			continue;
		list = parse_own(p->owner, calloc(1, sizeof(*list)));
		if (list == NULL)
			return parse_no_memory(p);
		list[0] = c->certificates[i].name;
		l->certificates = list;
		l->certificate_count = 1;
		return true;
	}
	return parse_fail(p, (int)l->line,
	    "listener %s: no certificate, expected a section certificate NAME "
	    "{ ... role = server }",
	    l->name);
}

static bool
check_certificates(struct parse *p, const struct config_listener *l)
{
	for (size_t i = 0; i < l->certificate_count; i++) {
		const struct config_certificate *one =
		    config_certificate(&p->owner->config, l->certificates[i]);

		if (one == NULL)
			return parse_fail(p, (int)l->line,
			    "listener %s: certificate %s, expected the name "
			    "of a certificate section",
			    l->name, l->certificates[i]);
		if ((one->roles & CERTIFICATE_SERVER) == 0)
			return parse_fail(p, (int)l->line,
			    "listener %s: certificate %s has role client, "
			    "expected server or both",
			    l->name, one->name);
	}
	return true;
}

static bool
standard_addresses(struct parse *p, struct config_listener *l)
{
	static const char *const plain[] = { "0.0.0.0:587", "[::]:587" };
	static const char *const implicit[] = { "0.0.0.0:465", "[::]:465" };

	(void)p;
	l->addresses = l->kind == LISTENER_SUBMISSIONS ? implicit : plain;
	l->address_count = 2;
	return true;
}

static void
remove_unserved(const struct config *c, struct config_listener *l,
    bool is_default)
{
	unsigned served = 0;

	/* PAM is given a password; it has no verifier to give SCRAM. */
	if ((l->backends & (BACKEND_STORE | BACKEND_PAM)) != 0)
		served |= MECHANISM_PLAIN | MECHANISM_LOGIN;
	if ((l->backends & BACKEND_STORE) != 0)
		served |= MECHANISM_EXTERNAL | MECHANISMS_SCRAM |
			  MECHANISM_DIGEST_MD5 | MECHANISM_CRAM_MD5;
	if ((l->backends & BACKEND_KERBEROS) != 0 && c->keytab != NULL)
		served |= MECHANISM_GSSAPI;
	if ((l->backends & BACKEND_TOKEN) != 0)
		served |= MECHANISMS_TOKEN;
	l->unserved = l->mechanisms & ~served;
	/* Nobody has asked for what few have. */
	if (is_default)
		l->unserved &= ~(unsigned)MECHANISMS_TOKEN;
	l->mechanisms &= served;
}

/* Do both know passwords, and PAM stands before the store? */
static bool
is_pam_first(const struct config_listener *l, cfg_t *sec)
{
	const unsigned both = BACKEND_STORE | BACKEND_PAM;
	unsigned i = 0;

	if ((l->backends & both) != both)
		return false;
	while (strcmp(cfg_getnstr(sec, "backends", i), "store") != 0 &&
	       strcmp(cfg_getnstr(sec, "backends", i), "pam") != 0)
		i++;
	return strcmp(cfg_getnstr(sec, "backends", i), "pam") == 0;
}

static bool
store_listener(struct parse *p, cfg_t *sec, struct config_listener *l)
{
	l->line = (unsigned)sec->line;
	l->name = parse_own_string(p->owner, cfg_title(sec));
	if (l->name == NULL)
		return parse_no_memory(p);
	if (cfg_size(sec, "kind") == 0)
		return parse_fail(p, sec->line,
		    "listener %s: no kind, expected kind = submission or "
		    "submissions",
		    l->name);
	if (!parse_store(p, sec, &config_sections[SECTION_LISTENER], l))
		return false;
	if (l->address_count == 0 && !standard_addresses(p, l))
		return false;
	if (l->certificate_count == 0 && !standard_certificate(p, l))
		return false;
	if (!check_certificates(p, l))
		return false;
	if (l->client_crl != NULL && l->client_ca == NULL)
		return parse_fail(p, sec->line,
		    "listener %s: client-crl without client-ca, expected the "
		    "authorities whose lists these are",
		    l->name);
	l->pam_first = is_pam_first(l, sec);
	remove_unserved(&p->owner->config, l, cfg_size(sec, "mechanisms") == 0);
	if ((l->backends & BACKEND_TOKEN) != 0 &&
	    p->owner->config.token.line == 0)
		return parse_fail(p, sec->line,
		    "listener %s: backend token, expected a section token",
		    l->name);
	if (l->mechanisms == 0)
		return parse_fail(p, sec->line,
		    "listener %s: no mechanism that its backends can serve, "
		    "expected PLAIN or LOGIN, or backend store",
		    l->name);
	return true;
}

static bool
has_port_0(const char *address)
{
	return strcmp(strrchr(address, ':'), ":0") == 0;
}

/* How often address stands in l's list. */
static size_t
count_address(const struct config_listener *l, const char *address)
{
	size_t count = 0;

	for (size_t i = 0; i < l->address_count; i++)
		if (strcmp(l->addresses[i], address) == 0)
			count++;
	return count;
}

/* The same address twice can only be a mistake. */
static bool
check_addresses(struct parse *p, const struct config_listener *l)
{
	const struct config *c = &p->owner->config;

	for (size_t k = 0; k < l->address_count; k++) {
		size_t count = 0;

		for (size_t i = 0; i < c->listener_count; i++)
			count +=
			    count_address(&c->listeners[i], l->addresses[k]);
		if (count > 1 && !has_port_0(l->addresses[k]))
			return parse_fail(p, (int)l->line,
			    "listener %s: address %s, expected each address "
			    "once among all listeners",
			    l->name, l->addresses[k]);
	}
	return true;
}

bool
parse_listeners(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	size_t count = cfg_size(cfg, "listener");
	struct config_listener *list =
	    parse_own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return parse_no_memory(p);
	if (count == 0)
		return parse_fail(p, p->last_line,
		    "no listener, expected a section listener NAME { kind = "
		    "submission }");
	for (size_t i = 0; i < count; i++)
		if (!store_listener(p,
			cfg_getnsec(cfg, "listener", (unsigned)i), &list[i]))
			return false;
	c->listeners = list;
	c->listener_count = count;
	for (size_t i = 0; i < count; i++)
		if (!check_addresses(p, &list[i]))
			return false;
	return true;
}
