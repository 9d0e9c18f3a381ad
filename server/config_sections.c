/*
 * server/config_sections.c: smarthost, token and certificates of
 * sallyport.conf.
 */
#include "config_parse.h"

#include <stdlib.h>

#include "config_value.h"

bool
parse_smarthost(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	cfg_opt_t *opt = cfg_getopt(cfg, "smarthost");
	char host[254];
	uint16_t port;
	bool srv;
	cfg_t *sec;

	if (!p->has_smarthost)
		return parse_fail(p, p->last_line,
		    "no smarthost, expected a section smarthost { address = "
		    "\"HOST:PORT\" }");
	sec = cfg_opt_getnsec(opt, 0);
	if (cfg_size(sec, "address") == 0)
		return parse_fail(p, sec->line,
		    "smarthost: no address, expected address = \"HOST:PORT\"");
	value_next_hop(cfg_getstr(sec, "address"), host, &port, &srv);
	if (srv && cfg_size(sec, "tls") > 0)
		return parse_fail(p, sec->line,
		    "smarthost: tls beside srv:DOMAIN, expected none: the SRV "
		    "records tell");
	if (!parse_store(p, sec, &config_sections[SECTION_SMARTHOST], c))
		return false;
	if (cfg_size(sec, "tls") == 0)
		c->smarthost.implicit_tls = port == 465;
	if (port == 0 && !srv)
		port = c->smarthost.implicit_tls ? 465 : 587;
	c->smarthost.port = port;
	c->smarthost.line = (unsigned)sec->line;
	c->smarthost.host = parse_own_string(p->owner, host);
	return c->smarthost.host != NULL || parse_no_memory(p);
}

/* Whose tokens, for whom, and how they are checked. */
static bool
check_token(struct parse *p, const struct config *c, int line)
{
	if ((c->token.keys == NULL) == (c->token.introspection == NULL))
		return parse_fail(p, line,
		    "token: expected either keys = \"FILE\" or introspection = "
		    "\"https://...\"");
	if (c->token.keys != NULL &&
	    (c->token.issuer == NULL || c->token.audience == NULL))
		return parse_fail(p, line,
		    "token: no %s, expected issuer and audience with keys",
		    c->token.issuer == NULL ? "issuer" : "audience");
	if (c->token.keys != NULL &&
	    (c->token.login != NULL || c->token.ca != NULL))
		return parse_fail(p, line,
		    "token: %s, expected it with introspection only",
		    c->token.login != NULL ? "introspection-login"
					   : "introspection-ca");
	if (c->token.introspection != NULL && c->token.login == NULL)
		return parse_fail(p, line,
		    "token: no introspection-login, expected the file of "
		    "CLIENT-ID:SECRET");
	return true;
}

bool
parse_token(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	const char **list;
	cfg_t *sec;

	if (!p->has_token)
		return true;
	sec = cfg_getnsec(cfg, "token", 0);
	if (!parse_store(p, sec, &config_sections[SECTION_TOKEN], c))
		return false;
	c->token.line = (unsigned)sec->line;
	if (c->token.realm_count == 0) {
		list = parse_own(p->owner, calloc(1, sizeof(*list)));
		if (list == NULL)
			return parse_no_memory(p);
		list[0] = c->realm;
		c->token.realms = list;
		c->token.realm_count = 1;
	}
	return check_token(p, c, sec->line);
}

bool
parse_certificates(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	size_t count = cfg_size(cfg, "certificate");
	struct config_certificate *list =
	    parse_own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return parse_no_memory(p);
	for (size_t i = 0; i < count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "certificate", (unsigned)i);
		struct config_certificate *one = &list[i];

		one->line = (unsigned)sec->line;
		one->name = parse_own_string(p->owner, cfg_title(sec));
		if (one->name == NULL)
			return parse_no_memory(p);
		if (!parse_store(p, sec, &config_sections[SECTION_CERTIFICATE],
			one))
			return false;
		if (one->chain == NULL || one->key == NULL)
			return parse_fail(p, sec->line,
			    "certificate %s: no %s, expected %s = \"FILE\"",
			    one->name, one->chain == NULL ? "chain" : "key",
			    one->chain == NULL ? "chain" : "key");
		if (one->ocsp != NULL && (one->roles & CERTIFICATE_SERVER) == 0)
			return parse_fail(p, sec->line,
			    "certificate %s: ocsp with role client, expected "
			    "it with role server or both",
			    one->name);
	}
	c->certificates = list;
	c->certificate_count = count;
	return true;
}
