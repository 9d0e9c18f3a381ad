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

#include "../pki/pkcs11.h"
#include "config_parse.h"
#include "config_scan.h"
#include "config_value.h"

enum {
	CONFIG_OCTETS_MAX = 1024 * 1024,
	SECTIONS_MAX = 64, /* listeners, certificates */
	LIST_MAX = 64,
};

static _Thread_local struct parse *parse_now;

bool
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

void *
parse_own(struct owner *owner, void *data)
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

const char *
parse_own_string(struct owner *owner, const char *text)
{
	return parse_own(owner, strdup(text));
}

/* path counted from folder; "." and ".." are left to the kernel. */
static const char *
parse_own_path(struct owner *owner, const char *folder, const char *path)
{
	char *s;

	if (path[0] == '/')
		return parse_own_string(owner, path);
	if (asprintf(&s, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
		path) < 0)
		return NULL;
	return parse_own(owner, s);
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
	struct pkcs11_url url;
	struct reason why;
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
	/* Where a PIN may stand by mistake is not repeated. */
	if (o->type == T_KEY && pkcs11_is_url(value) &&
	    !pkcs11_url_parse(&url, value, &why))
		parse_fail(p, cfg->line, "%s: %s", opt->name, why.text);
	else
		parse_fail(p, cfg->line, "%s: \"%.64s\", expected %s",
		    opt->name, value, text);
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

bool
parse_no_memory(struct parse *p)
{
	return fail(p->why, REASON_NO_MEMORY, "%s", p->path);
}

static bool
store_list(struct parse *p, const struct field *o, cfg_opt_t *opt, void *base)
{
	size_t count = cfg_opt_size(opt);
	unsigned char *at = (unsigned char *)base + o->offset;
	const char **list =
	    parse_own(p->owner, calloc(count + 1, sizeof(*list)));

	if (list == NULL)
		return parse_no_memory(p);
	for (size_t i = 0; i < count; i++) {
		const char *text = cfg_opt_getnstr(opt, (unsigned)i);

		/* The first word of a command is the program's path. */
		list[i] = o->type == T_COMMAND && i == 0
			      ? parse_own_path(p->owner,
				    p->owner->config.folder, text)
			      : parse_own_string(p->owner, text);
		if (list[i] == NULL)
			return parse_no_memory(p);
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
	case T_KEY:
	case T_MAILBOX:
	case T_STRING:
	case T_ENDPOINT:
		s = o->type == T_PATH ||
			    (o->type == T_KEY && !pkcs11_is_url(text))
			? parse_own_path(p->owner, p->owner->config.folder,
			      text)
			: parse_own_string(p->owner, text);
		if (s == NULL)
			return parse_no_memory(p);
		memcpy((unsigned char *)base + o->offset, &s, sizeof(s));
		return true;
	case T_HOST_PORT:
		return true; /* parse_smarthost's */
	default:
		if (field_number(o, text, &number))
			store_number(base, o, number);
		return true;
	}
}

/* All options of one section into base. */
bool
parse_store(struct parse *p, cfg_t *cfg, const struct section *s, void *base)
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
	list = parse_own(p->owner, calloc(1, sizeof(*list)));
	if (list == NULL)
		return parse_no_memory(p);
	list[0] = c->realm;
	c->pam_realms = list;
	c->pam_realm_count = 1;
	return true;
}

static bool
store_networks(struct parse *p)
{
	struct config *c = &p->owner->config;
	struct network *networks = parse_own(p->owner,
	    calloc(c->require_binding_count + 1, sizeof *networks));

	if (networks == NULL)
		return parse_no_memory(p);
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

	if (!parse_store(p, cfg, &config_sections[SECTION_TOP], c))
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
	       parse_smarthost(p, cfg) && parse_token(p, cfg) &&
	       parse_certificates(p, cfg) && parse_listeners(p, cfg);
}

/* path and its folder. */
static bool
store_path(struct parse *p, const char *path)
{
	struct config *c = &p->owner->config;
	const char *slash = strrchr(path, '/');

	c->path = parse_own_string(p->owner, path);
	if (slash == NULL)
		c->folder = parse_own_string(p->owner, ".");
	else if (slash == path)
		c->folder = parse_own_string(p->owner, "/");
	else
		c->folder =
		    parse_own(p->owner, strndup(path, (size_t)(slash - path)));
	return (c->path != NULL && c->folder != NULL) || parse_no_memory(p);
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
		return parse_no_memory(&p);
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
