/*
 * server/config.c: sallyport.conf, parsed and checked.
 *
 * libconfuse reads the syntax; every value reaches it as a string and is
 * judged here, by the row of the table below that names it, while the line is
 * still known.  server/config_scan.c has refused before what libconfuse lets
 * pass in silence.
 */
#include "config.h"

#include <assert.h>
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_scan.h"
#include "config_table.h"
#include "config_value.h"

enum {
	CONFIG_OCTETS_MAX = 1024 * 1024,
	SECTIONS_MAX = 64, /* listeners, certificates */
	LIST_MAX = 64,
};

/* A config and what it owns. */
struct owner {
	struct config config; /* first: config_free gets its address */
	void **owned;
	size_t owned_count, owned_capacity;
};

/* One run of config_parse; libconfuse's callbacks carry no context. */
struct parse {
	struct owner *owner;
	const char *path;
	struct reason *why;
	bool failed;
	bool has_smarthost, has_token;
	int last_line;
	int alarm_command_line;
};

static _Thread_local struct parse *parse_now;

/* The first failure counts; libconfuse may report more after it. */
static bool parse_fail(struct parse *p, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool
parse_fail(struct parse *p, int line, const char *format, ...)
{
	char text[REASON_TEXT_MAX];
	va_list ap;

	if (p->failed)
		return false;
	p->failed = true;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return fail(p->why, REASON_SYNTAX, "%s:%d: %s", p->path, line, text);
}

static void on_error(cfg_t *cfg, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));

static void
on_error(cfg_t *cfg, const char *format, va_list ap)
{
	char text[REASON_TEXT_MAX];

	vsnprintf(text, sizeof(text), format, ap);
	parse_fail(parse_now, cfg->line, "%s", text);
}

static void *
own(struct owner *owner, void *data)
{
	if (data == NULL)
		return NULL;
	if (owner->owned_count == owner->owned_capacity) {
		size_t capacity = owner->owned_capacity * 2 + 32;
		void **more =
		    reallocarray(owner->owned, capacity, sizeof(*more));

		if (more == NULL) {
			free(data);
			return NULL;
		}
		owner->owned = more;
		owner->owned_capacity = capacity;
	}
	owner->owned[owner->owned_count++] = data;
	return data;
}

static const char *
own_string(struct owner *owner, const char *text)
{
	return own(owner, strdup(text));
}

/* path counted from folder; "." and ".." are left to the kernel. */
static const char *
own_path(struct owner *owner, const char *folder, const char *path)
{
	char *s;

	if (path[0] == '/')
		return own_string(owner, path);
	if (asprintf(&s, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
		path) < 0)
		return NULL;
	return own(owner, s);
}

static void
store_number(void *base, const struct field *o, uint64_t v)
{
	unsigned char *at = (unsigned char *)base + o->offset;

	if (o->size == sizeof(bool)) {
		bool b = v != 0;

		memcpy(at, &b, sizeof(b));
	} else if (o->size == sizeof(unsigned)) {
		unsigned u = (unsigned)v;

		memcpy(at, &u, sizeof(u));
	} else if (o->size == sizeof(uint64_t)) {
		memcpy(at, &v, sizeof(v));
	}
}

static const struct section *
section_of(const cfg_t *cfg)
{
	for (size_t i = 1; i < SECTIONS; i++)
		if (strcmp(cfg->name, config_sections[i].name) == 0)
			return &config_sections[i];
	return &config_sections[SECTION_TOP];
}

static const struct field *
option_of(const cfg_t *cfg, const char *name)
{
	const struct section *s = section_of(cfg);

	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->fields[i].name, name) == 0)
			return &s->fields[i];
	return NULL;
}

/* Called after each value of an option, and once more at a list's end. */
static int
on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	struct parse *p = parse_now;
	const struct field *o = option_of(cfg, opt->name);
	unsigned count = cfg_opt_size(opt);
	char text[320];
	const char *value;

	if (o == NULL)
		return -1;
	if (count == 0)
		return 0;
	if (o->type == T_COMMAND)
		p->alarm_command_line = cfg->line;
	if (count > LIST_MAX) {
		parse_fail(p, cfg->line, "%s: expected at most %d values",
		    opt->name, LIST_MAX);
		return -1;
	}
	value = cfg_opt_getnstr(opt, count - 1);
	if (strcmp(o->name, "trust-anchor") == 0)
		p->owner->config.trust_anchor_line = (unsigned)cfg->line;
	if (strcmp(o->name, "keytab") == 0)
		p->owner->config.keytab_line = (unsigned)cfg->line;
	if (field_is_valid(o, value))
		return 0;
	field_expected(o, text, sizeof(text));
	parse_fail(p, cfg->line, "%s: \"%.64s\", expected %s", opt->name, value,
	    text);
	return -1;
}

/* Called at a section's closing brace. */
static int
on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	struct parse *p = parse_now;
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);

	if (cfg_opt_size(opt) > SECTIONS_MAX) {
		parse_fail(p, cfg->line, "%s: expected at most %d of them",
		    opt->name, SECTIONS_MAX);
		return -1;
	}
	if ((opt->flags & CFGF_TITLE) == 0) {
		if (strcmp(opt->name, "token") == 0)
			p->has_token = true;
		else
			p->has_smarthost = true;
		return 0;
	}
	if (!value_is_name(cfg_title(sec))) {
		parse_fail(p, cfg->line,
		    "%s \"%.64s\": expected a name of letters, digits, - and "
		    "_, at most 63",
		    opt->name, cfg_title(sec));
		return -1;
	}
	return 0;
}

/* Fill opts (zeroed, one more than count) for libconfuse. */
static void
fill_options(cfg_opt_t *opts, const struct section *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct field *o = &s->fields[i];
		cfg_opt_t one = CFG_STR(NULL, NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST(NULL, NULL, CFGF_NODEFAULT);

		opts[i] = o->type >= T_ADDRESSES ? list : one;
		opts[i].name = o->name;
		opts[i].validcb = on_value;
	}
}

/* Room for the fields of any section, its subsections, and an end. */
enum { OPTIONS_MAX = 64 };

static cfg_t *
read_syntax(struct parse *p, const char *text)
{
	cfg_opt_t opts[SECTIONS][OPTIONS_MAX];
	cfg_t *cfg;

	assert(config_sections[SECTION_TOP].count + SECTIONS < OPTIONS_MAX);
	memset(opts, 0, sizeof(opts));
	for (size_t i = 0; i < SECTIONS; i++)
		fill_options(opts[i], &config_sections[i]);
	for (size_t i = 1; i < SECTIONS; i++) {
		cfg_opt_t sec = CFG_SEC(NULL, NULL, CFGF_NONE);

		sec.name = config_sections[i].name;
		sec.subopts = opts[i];
		sec.flags = config_sections[i].titled
				? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES
				: CFGF_NODEFAULT;
		sec.validcb = on_section;
		opts[SECTION_TOP][config_sections[SECTION_TOP].count + i - 1] =
		    sec;
	}
	cfg = cfg_init(opts[SECTION_TOP], CFGF_NONE);
	if (cfg == NULL) {
		fail(p->why, REASON_NO_MEMORY, "%s", p->path);
		return NULL;
	}
	cfg_set_error_function(cfg, on_error);
	if (cfg_parse_buf(cfg, text) == CFG_SUCCESS && !p->failed)
		return cfg;
	parse_fail(p, cfg->line,
	    "syntax error, expected NAME = VALUE or a section");
	cfg_free(cfg);
	return NULL;
}

static bool
no_memory(struct parse *p)
{
	return fail(p->why, REASON_NO_MEMORY, "%s", p->path);
}

static bool
store_list(struct parse *p, const struct field *o, cfg_opt_t *opt, void *base)
{
	size_t count = cfg_opt_size(opt);
	unsigned char *at = (unsigned char *)base + o->offset;
	const char **list = own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return no_memory(p);
	for (size_t i = 0; i < count; i++) {
		const char *text = cfg_opt_getnstr(opt, (unsigned)i);

		/* The first word of a command is the program's path. */
		list[i] =
		    o->type == T_COMMAND && i == 0
			? own_path(p->owner, p->owner->config.folder, text)
			: own_string(p->owner, text);
		if (list[i] == NULL)
			return no_memory(p);
	}
	memcpy(at, &list, sizeof(list));
	/* By convention the count follows the list. */
	memcpy(at + sizeof(list), &count, sizeof(count));
	return true;
}

static void
store_bits(const struct field *o, cfg_opt_t *opt, void *base)
{
	uint64_t bits = 0, bit;

	if (cfg_opt_size(opt) == 0) {
		for (const struct word *w = o->words; w->word != NULL; w++)
			if (strstr(o->standard, w->word) != NULL)
				bits |= w->value;
	}
	for (unsigned i = 0; i < cfg_opt_size(opt); i++)
		if (field_number(o, cfg_opt_getnstr(opt, i), &bit))
			bits |= bit;
	store_number(base, o, bits);
}

static bool
store_one(struct parse *p, const struct field *o, const char *text, void *base)
{
	const char *s;
	uint64_t number;

	switch (o->type) {
	case T_HOST:
	case T_NAME:
	case T_PATH:
	case T_MAILBOX:
	case T_STRING:
	case T_ENDPOINT:
		s = o->type == T_PATH
			? own_path(p->owner, p->owner->config.folder, text)
			: own_string(p->owner, text);
		if (s == NULL)
			return no_memory(p);
		memcpy((unsigned char *)base + o->offset, &s, sizeof(s));
		return true;
	case T_HOST_PORT:
		return true; /* store_smarthost's */
	default:
		if (field_number(o, text, &number))
			store_number(base, o, number);
		return true;
	}
}

/* All options of one section into base. */
static bool
store(struct parse *p, cfg_t *cfg, const struct section *s, void *base)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct field *o = &s->fields[i];
		cfg_opt_t *opt = cfg_getopt(cfg, o->name);
		const char *text = o->standard;

		if (o->type == T_BITS) {
			store_bits(o, opt, base);
			continue;
		}
		if (o->type >= T_ADDRESSES) {
			if (!store_list(p, o, opt, base))
				return false;
			continue;
		}
		if (cfg_opt_size(opt) > 0)
			text = cfg_opt_getnstr(opt, 0);
		if (text != NULL && !store_one(p, o, text, base))
			return false;
	}
	return true;
}

static bool
store_smarthost(struct parse *p, cfg_t *cfg)
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
	if (!store(p, sec, &config_sections[SECTION_SMARTHOST], c))
		return false;
	if (cfg_size(sec, "tls") == 0)
		c->smarthost.implicit_tls = port == 465;
	if (port == 0 && !srv)
		port = c->smarthost.implicit_tls ? 465 : 587;
	c->smarthost.port = port;
	c->smarthost.line = (unsigned)sec->line;
	c->smarthost.host = own_string(p->owner, host);
	return c->smarthost.host != NULL || no_memory(p);
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

static bool
store_token(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	const char **list;
	cfg_t *sec;

	if (!p->has_token)
		return true;
	sec = cfg_getnsec(cfg, "token", 0);
	if (!store(p, sec, &config_sections[SECTION_TOKEN], c))
		return false;
	c->token.line = (unsigned)sec->line;
	if (c->token.realm_count == 0) {
		list = own(p->owner, calloc(1, sizeof(*list)));
		if (list == NULL)
			return no_memory(p);
		list[0] = c->realm;
		c->token.realms = list;
		c->token.realm_count = 1;
	}
	return check_token(p, c, sec->line);
}

static bool
store_certificates(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	size_t count = cfg_size(cfg, "certificate");
	struct config_certificate *list =
	    own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return no_memory(p);
	for (size_t i = 0; i < count; i++) {
		cfg_t *sec = cfg_getnsec(cfg, "certificate", (unsigned)i);
		struct config_certificate *one = &list[i];

		one->line = (unsigned)sec->line;
		one->name = own_string(p->owner, cfg_title(sec));
		if (one->name == NULL)
			return no_memory(p);
		if (!store(p, sec, &config_sections[SECTION_CERTIFICATE], one))
			return false;
		if (one->chain == NULL || one->key == NULL)
			return parse_fail(p, sec->line,
			    "certificate %s: no %s, expected %s = \"FILE\"",
			    one->name, one->chain == NULL ? "chain" : "key",
			    one->chain == NULL ? "chain" : "key");
	}
	c->certificates = list;
	c->certificate_count = count;
	return true;
}

/* Without certificates = { ... }: the first that is for servers. */
static bool
standard_certificate(struct parse *p, struct config_listener *l)
{
	const struct config *c = &p->owner->config;
	const char **list;

	for (size_t i = 0; i < c->certificate_count; i++) {
		if ((c->certificates[i].roles & CERTIFICATE_SERVER) == 0)
			continue;
		list = own(p->owner, calloc(1, sizeof(*list)));
		if (list == NULL)
			return no_memory(p);
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
	l->name = own_string(p->owner, cfg_title(sec));
	if (l->name == NULL)
		return no_memory(p);
	if (cfg_size(sec, "kind") == 0)
		return parse_fail(p, sec->line,
		    "listener %s: no kind, expected kind = submission or "
		    "submissions",
		    l->name);
	if (!store(p, sec, &config_sections[SECTION_LISTENER], l))
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

static bool
store_listeners(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;
	size_t count = cfg_size(cfg, "listener");
	struct config_listener *list =
	    own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return no_memory(p);
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

/* The host name without its first label where two labels remain. */
static const char *
standard_realm(const char *hostname)
{
	const char *dot = strchr(hostname, '.');

	return dot != NULL && strchr(dot + 1, '.') != NULL ? dot + 1 : hostname;
}

static bool
store_realms(struct parse *p)
{
	struct config *c = &p->owner->config;
	const char **list;

	if (c->realm == NULL)
		c->realm = standard_realm(c->hostname);
	if (c->keytab != NULL && c->kerberos_realm_count == 0)
		return parse_fail(p, (int)c->keytab_line,
		    "keytab without kerberos-realms, expected kerberos-realms "
		    "= { \"EXAMPLE.ORG\" }: the realms whose principals are "
		    "logins");
	if (c->pam_realm_count > 0)
		return true;
	list = own(p->owner, calloc(1, sizeof(*list)));
	if (list == NULL)
		return no_memory(p);
	list[0] = c->realm;
	c->pam_realms = list;
	c->pam_realm_count = 1;
	return true;
}

static bool
store_networks(struct parse *p)
{
	struct config *c = &p->owner->config;
	struct network *networks = own(p->owner,
	    calloc(c->require_binding_count + 1, sizeof *networks));

	if (networks == NULL)
		return no_memory(p);
	/* Each has been parsed before, on its line. */
	for (size_t i = 0; i < c->require_binding_count; i++)
		if (!network_parse(&networks[i], c->require_binding[i], p->why))
			return false;
	c->require_binding_networks = networks;
	return true;
}

static bool
store_all(struct parse *p, cfg_t *cfg)
{
	struct config *c = &p->owner->config;

	if (!store(p, cfg, &config_sections[SECTION_TOP], c))
		return false;
	c->alarm_command_line = (unsigned)p->alarm_command_line;
	if (c->hostname == NULL)
		return parse_fail(p, p->last_line,
		    "no hostname, expected hostname = \"mail.example.org\"");
	if (c->retry_most_s < c->retry_first_s)
		return parse_fail(p, p->last_line,
		    "retry-most is %u s, expected at least retry-first, %u s",
		    c->retry_most_s, c->retry_first_s);
	return store_realms(p) && store_networks(p) &&
	       store_smarthost(p, cfg) && store_token(p, cfg) &&
	       store_certificates(p, cfg) && store_listeners(p, cfg);
}

/* path and its folder. */
static bool
store_path(struct parse *p, const char *path)
{
	struct config *c = &p->owner->config;
	const char *slash = strrchr(path, '/');

	c->path = own_string(p->owner, path);
	if (slash == NULL)
		c->folder = own_string(p->owner, ".");
	else if (slash == path)
		c->folder = own_string(p->owner, "/");
	else
		c->folder =
		    own(p->owner, strndup(path, (size_t)(slash - path)));
	return (c->path != NULL && c->folder != NULL) || no_memory(p);
}

bool
config_parse(struct config **config_out, const char *path, const char *text,
    size_t len, struct reason *why)
{
	struct reason unused;
	struct parse p = { .path = path, .why = why == NULL ? &unused : why };
	cfg_t *cfg = NULL;
	bool ok = false;
	char *clean = NULL;

	p.owner = calloc(1, sizeof(*p.owner));
	if (p.owner == NULL)
		return no_memory(&p);
	parse_now = &p;
	if (store_path(&p, path))
		clean = config_scan(path, text, len, &p.last_line, p.why);
	if (clean != NULL)
		cfg = read_syntax(&p, clean);
	free(clean);
	if (cfg != NULL)
		ok = store_all(&p, cfg);
	cfg_free(cfg);
	parse_now = NULL;
	if (ok)
		*config_out = &p.owner->config;
	else
		config_free(&p.owner->config);
	return ok;
}

static bool
read_all(int fd, const char *path, char **text_out, size_t *len_out,
    struct reason *why)
{
	char *text = malloc(CONFIG_OCTETS_MAX + 1);
	size_t len = 0;
	ssize_t got;

	if (text == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", path);
	for (;;) {
		got = read(fd, text + len, CONFIG_OCTETS_MAX + 1 - len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		len += (size_t)got;
	}
	if (got < 0) {
		free(text);
		return fail_errno(why, "%s", path);
	}
	*text_out = text;
	*len_out = len;
	return true;
}

bool
config_load(struct config **config_out, const char *path, struct reason *why)
{
	char absolute[PATH_MAX], *text = NULL;
	size_t len = 0;
	bool ok;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail_errno(why, "%s", path);
	if (realpath(path, absolute) == NULL) {
		close(fd);
		return fail_errno(why, "%s", path);
	}
	ok = read_all(fd, path, &text, &len, why);
	close(fd);
	if (!ok)
		return false;
	ok = config_parse(config_out, absolute, text, len, why);
	free(text);
	return ok;
}

void
config_free(struct config *config)
{
	struct owner *owner = (struct owner *)config;

	if (config == NULL)
		return;
	for (size_t i = 0; i < owner->owned_count; i++)
		free(owner->owned[i]);
	free(owner->owned);
	free(owner);
}

const struct config_certificate *
config_certificate(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->certificate_count; i++)
		if (strcmp(config->certificates[i].name, name) == 0)
			return &config->certificates[i];
	return NULL;
}

const struct config_listener *
config_listener(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->listener_count; i++)
		if (strcmp(config->listeners[i].name, name) == 0)
			return &config->listeners[i];
	return NULL;
}

void
config_withhold(struct config *config, unsigned mechanisms)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		/* Ours to change: see store_listeners. */
		struct config_listener *l =
		    (struct config_listener *)(uintptr_t)&config->listeners[i];

		l->mechanisms &= ~mechanisms;
	}
}

unsigned
mechanism_by_name(const char *name)
{
	for (unsigned bit = 1; bit <= MECHANISM_LOGIN; bit <<= 1) {
		const char *other = mechanism_name(bit);

		if (other != NULL && strcasecmp(name, other) == 0)
			return bit;
	}
	return 0;
}

bool
config_requires_binding(const struct config *config, const char *address)
{
	for (size_t i = 0; i < config->require_binding_count; i++)
		if (network_has(&config->require_binding_networks[i], address))
			return true;
	return false;
}

bool
config_can_verify_clients(const struct config *config, bool by_name,
    bool has_anchors)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];

		if ((l->ask_client_cert || !by_name) &&
		    (l->client_ca != NULL || has_anchors))
			return true;
	}
	return false;
}
