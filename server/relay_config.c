/*
 * server/relay_config.c: from a bundle to what the workers ask for.
 */
#include "relay_config.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tls/anchor_sets.h"
#include "log.h"
#include "relay_trial.h"
#include "role.h"
#include "signer_client.h"
#include "upstream_shun.h"

enum { UNCHUNKED_MOST = 256 };

/* A file of the bundle, copied: its PEM is parsed once per CRL it is used
 * with. */
struct pem {
	struct pem *next;
	char *name;
	gnutls_datum_t octets;
};

struct client_identity {
	struct client_identity *next;
	char *name;
	struct tls_identity *made;
};

struct relay_config {
	atomic_uint refs;
	atomic_bool retired;
	atomic_bool troubled; /* relay_config_first_trouble was true */
	uint32_t number;
	struct config *conf;
	struct table *table;
	struct routes *routes;
	struct pem *anchor_files, *crl_files;
	struct client_identity *identities;
	struct anchor_sets sets; /* have a lock of their own */
	pthread_mutex_t lock;
	/* Next hops without CHUNKING, guarded by lock; once the room is used
	 * up, all are. */
	struct next_hop *unchunked;
	size_t unchunked_count;
	struct shunned shunned; /* has a lock of its own */
};

static void
pems_free(struct pem *pem)
{
	while (pem != NULL) {
		struct pem *next = pem->next;

		free(pem->name);
		free(pem->octets.data);
		free(pem);
		pem = next;
	}
}

static void
identities_free(struct client_identity *identity)
{
	while (identity != NULL) {
		struct client_identity *next = identity->next;

		free(identity->name);
		if (identity->made != NULL)
			tls_identity_unref(identity->made);
		free(identity);
		identity = next;
	}
}

static void
relay_config_free(struct relay_config *config)
{
	anchor_sets_fini(&config->sets);
	identities_free(config->identities);
	pems_free(config->anchor_files);
	pems_free(config->crl_files);
	if (config->table != NULL)
		table_close(config->table);
	routes_close(config->routes);
	if (config->conf != NULL)
		config_free(config->conf);
	free(config->unchunked);
	pthread_mutex_destroy(&config->lock);
	shunned_fini(&config->shunned);
	free(config);
}

struct relay_config *
relay_config_ref(struct relay_config *config)
{
	atomic_fetch_add(&config->refs, 1);
	return config;
}

void
relay_config_unref(struct relay_config *config)
{
	uint32_t number;

	if (config == NULL || atomic_fetch_sub(&config->refs, 1) != 1)
		return;
	number = config->number;
	relay_config_free(config);
	role_say_unused(number);
}

void
relay_config_retire(struct relay_config *config)
{
	atomic_store(&config->retired, true);
}

bool
relay_config_is_retired(const struct relay_config *config)
{
	return atomic_load(&config->retired);
}

uint32_t
relay_config_number(const struct relay_config *config)
{
	return config->number;
}

const struct config *
relay_config_conf(const struct relay_config *config)
{
	return config->conf;
}

const struct table *
relay_config_table(const struct relay_config *config)
{
	return config->table;
}

const struct routes *
relay_config_routes(const struct relay_config *config)
{
	return config->routes;
}

struct tls_identity *
relay_config_identity(const struct relay_config *config, const char *name)
{
	for (struct client_identity *i = config->identities; i != NULL;
	     i = i->next)
		if (strcmp(i->name, name) == 0)
			return tls_identity_fits(i->made) ? i->made : NULL;
	return NULL;
}

static const gnutls_datum_t *
pem_find(const struct pem *pem, const char *name)
{
	for (; pem != NULL; pem = pem->next)
		if (strcmp(pem->name, name) == 0)
			return &pem->octets;
	return NULL;
}

/* An absent CRL file becomes an empty one, which tls_anchors_new does not take
 * for "no CRL asked for". */
static struct tls_anchors *
anchors_make(const void *context, const char *anchors, const char *crl)
{
	const struct relay_config *config = context;
	static const gnutls_datum_t absent = { (unsigned char *)"", 0 };
	const gnutls_datum_t *anchors_pem, *crl_pem = NULL;
	struct tls_anchors *made = NULL;
	struct reason why;

	anchors_pem = pem_find(config->anchor_files, anchors);
	if (anchors_pem == NULL)
		return NULL;
	if (crl[0] != '\0') {
		crl_pem = pem_find(config->crl_files, crl);
		if (crl_pem == NULL)
			crl_pem = &absent;
	}
	if (!tls_anchors_new(&made, anchors_pem, crl_pem, &why)) {
		log_line(SAY_ERROR, "anchors", "file=%s crl=%s reason=%s",
		    anchors, crl, reason_word(why.code));
		return NULL;
	}
	return made;
}

const struct tls_anchors *
relay_config_anchors(struct relay_config *config, const char *anchors,
    const char *crl)
{
	return anchor_sets_get(&config->sets, anchors, crl);
}

bool
relay_config_anchor_paths(struct relay_config *config,
    const struct tls_anchors *set, const char **anchors_out,
    const char **crl_out)
{
	return anchor_sets_files(&config->sets, set, anchors_out, crl_out);
}

bool
relay_config_first_trouble(struct relay_config *config)
{
	return !atomic_exchange(&config->troubled, true);
}

static bool
no_memory(struct reason *why)
{
	return fail(why, REASON_NO_MEMORY, "relay configuration");
}

static bool
take_conf(struct relay_config *config, const char *name,
    const gnutls_datum_t *octets, struct reason *why)
{
	if (config->conf != NULL)
		return fail(why, REASON_PROTOCOL, "two configurations");
	return config_parse(&config->conf, name, (const char *)octets->data,
	    octets->size, why);
}

static bool
table_path(char out[static PATH_MAX], const char *root, const char *name,
    struct reason *why)
{
	int n;

	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
		return fail(why, REASON_PROTOCOL,
		    "table's name, expected a plain file name");
	n = snprintf(out, PATH_MAX, "%s/tables/%s", root, name);
	return (n >= 0 && n < PATH_MAX) ||
	       fail(why, REASON_RANGE, "table's path too long");
}

static bool
take_table(struct relay_config *config, const char *root, const char *name,
    struct reason *why)
{
	char path[PATH_MAX];

	if (config->table != NULL)
		return fail(why, REASON_PROTOCOL, "two site tables");
	return table_path(path, root, name, why) &&
	       table_open(&config->table, path, true, why);
}

static bool
take_routes(struct relay_config *config, const char *root, const char *name,
    struct reason *why)
{
	char path[PATH_MAX];

	if (config->routes != NULL)
		return fail(why, REASON_PROTOCOL, "two tables of routes");
	return table_path(path, root, name, why) &&
	       routes_open(&config->routes, path, true, why);
}

static bool
take_identity(struct relay_config *config, const char *name,
    const gnutls_datum_t *octets, struct reason *why)
{
	struct client_identity *identity = calloc(1, sizeof(*identity));

	if (identity == NULL)
		return no_memory(why);
	identity->name = strdup(name);
	if (identity->name == NULL) {
		free(identity);
		return no_memory(why);
	}
	if (!tls_identity_new(&identity->made, octets, CERT_FOR_CLIENT,
		signer_sign, NULL, why)) {
		identities_free(identity);
		return false;
	}
	identity->next = config->identities;
	config->identities = identity;
	/* Where a row names it, the master has raised the alarm. */
	if (!tls_identity_fits(identity->made))
		log_line(SAY_WARNING, "certificate",
		    "name=%s reason=%s detail=\"lacks clientAuth, will not be"
		    " shown upstream\"",
		    name, reason_word(REASON_CERT_PURPOSE));
	return true;
}

static bool
take_pem(struct pem **list, const char *name, const gnutls_datum_t *octets,
    struct reason *why)
{
	struct pem *pem = calloc(1, sizeof(*pem));

	if (pem == NULL)
		return no_memory(why);
	pem->name = strdup(name);
	pem->octets.data = malloc(octets->size + 1);
	if (pem->name == NULL || pem->octets.data == NULL) {
		pems_free(pem);
		return no_memory(why);
	}
	memcpy(pem->octets.data, octets->data, octets->size);
	pem->octets.data[octets->size] = '\0';
	pem->octets.size = octets->size;
	pem->next = *list;
	*list = pem;
	return true;
}

static bool
take_entry(struct relay_config *config, const char *root, enum bundle_kind kind,
    const char *name, const gnutls_datum_t *octets, struct reason *why)
{
	switch (kind) {
	case BUNDLE_CONF:
		return take_conf(config, name, octets, why);
	case BUNDLE_TABLE:
		return take_table(config, root, name, why);
	case BUNDLE_ROUTES:
		return take_routes(config, root, name, why);
	case BUNDLE_CHAIN:
		return take_identity(config, name, octets, why);
	case BUNDLE_ANCHORS:
		return take_pem(&config->anchor_files, name, octets, why);
	case BUNDLE_CRL:
		return take_pem(&config->crl_files, name, octets, why);
	case BUNDLE_WITHHELD:
	case BUNDLE_KEY:
	case BUNDLE_UPSTREAM:
	case BUNDLE_TOKEN_KEYS:
	case BUNDLE_TOKEN_LOGIN:
	case BUNDLE_TRUST_ANCHOR:
	case BUNDLE_PUBLIC:
	case BUNDLE_PIN:
		break;
	}
	return fail(why, REASON_PROTOCOL,
	    "relay was sent what it must not have");
}

/* Trust anchors that do not parse refuse the reload. */
static bool
anchors_check(struct relay_config *config, struct reason *why)
{
	for (struct pem *p = config->anchor_files; p != NULL; p = p->next)
		if (relay_config_anchors(config, p->name, "") == NULL)
			return fail(why, REASON_CERT_BAD,
			    "%s: expected trust anchors in PEM",
			    p->name[0] == '\0' ? "smarthost's ca" : p->name);
	return true;
}

/* Those that will be shown. */
static bool
identities_try(const struct relay_config *config, struct reason *why)
{
	struct relay_trial *trial = NULL;
	bool ok = true;

	if (config->identities == NULL)
		return true;
	if (!relay_trial_new(&trial, why))
		return false;
	for (struct client_identity *i = config->identities; i != NULL && ok;
	     i = i->next)
		if (tls_identity_fits(i->made))
			ok = relay_trial_identity(trial, i->name, i->made, why);
	relay_trial_free(trial);
	return ok;
}

bool
relay_config_new(struct relay_config **config_out, uint32_t number,
    const struct bundle *bundle, const char *root, bool can_try,
    struct reason *why)
{
	struct relay_config *config = calloc(1, sizeof(*config));
	gnutls_datum_t octets;
	enum bundle_kind kind;
	const char *name;

	if (config == NULL)
		return no_memory(why);
	atomic_init(&config->refs, 1);
	atomic_init(&config->retired, false);
	atomic_init(&config->troubled, false);
	pthread_mutex_init(&config->lock, NULL);
	anchor_sets_init(&config->sets, anchors_make, config);
	shunned_init(&config->shunned);
	config->number = number;
	for (size_t i = 0; bundle_entry(bundle, i, &kind, &name, &octets); i++)
		if (!take_entry(config, root, kind, name, &octets, why))
			goto failed;
	if (config->conf == NULL) {
		fail(why, REASON_PROTOCOL, "bundle without configuration");
		goto failed;
	}
	if (!anchors_check(config, why) ||
	    (can_try && !identities_try(config, why)))
		goto failed;
	*config_out = config;
	return true;
failed:
	relay_config_free(config);
	return false;
}

static bool
is_unchunked(const struct relay_config *config, const struct next_hop *hop)
{
	for (size_t i = 0; i < config->unchunked_count; i++)
		if (next_hop_same(&config->unchunked[i], hop))
			return true;
	return config->unchunked_count == UNCHUNKED_MOST;
}

struct shunned *
relay_config_shunned(struct relay_config *config)
{
	return &config->shunned;
}

bool
relay_config_is_without_chunking(struct relay_config *config,
    const struct next_hop *hop)
{
	bool is;

	pthread_mutex_lock(&config->lock);
	is = is_unchunked(config, hop);
	pthread_mutex_unlock(&config->lock);
	return is;
}

bool
relay_config_without_chunking(struct relay_config *config,
    const struct next_hop *hop)
{
	bool is_news = false;

	pthread_mutex_lock(&config->lock);
	if (config->unchunked == NULL)
		config->unchunked =
		    calloc(UNCHUNKED_MOST, sizeof(*config->unchunked));
	if (config->unchunked != NULL && !is_unchunked(config, hop)) {
		config->unchunked[config->unchunked_count++] = *hop;
		is_news = true;
	}
	pthread_mutex_unlock(&config->lock);
	return is_news;
}
