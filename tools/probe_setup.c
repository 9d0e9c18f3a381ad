/*
 * tools/probe_setup.c: configuration, table, trust anchors and our own
 * certificates, as a probe uses them.
 */
#include "probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pki/key.h"
#include "../pki/pkcs11.h"
#include "../policy/key.h"
#include "../server/files.h"
#include "../tls/anchor_sets.h"
#include "tool.h"

#define DEFAULT_CONFIG "/etc/sallyport/sallyport.conf"
#define SYSTEM_ANCHORS "/etc/ssl/certs/ca-certificates.crt"

enum { PORT_SUBMISSION = 587, PORT_SUBMISSIONS = 465 };

/* A certificate of ours with its key; why there is no identity. */
struct own {
	struct own *next;
	char *name;
	struct tls_key *key;
	struct pki_key token; /* what the key needs, if it is in one */
	struct tls_identity *identity;
	struct reason why;
};

struct probe_setup {
	struct policy policy;
	struct anchor_sets sets; /* have a lock of their own */
	pthread_mutex_t lock;
	struct own *own; /* under lock; only ever grows */
};

const struct policy *
probe_policy(const struct probe_setup *setup)
{
	return &setup->policy;
}

/* The names that rows use are not looked up: whether the table fits the
 * configuration is not what is asked here, and the file of the logins may be
 * closed to who asks. */
static bool
load(struct policy *policy)
{
	struct reason why;

	if (strcmp(tool_config_path, DEFAULT_CONFIG) == 0 &&
	    access(tool_config_path, F_OK) != 0) {
		fprintf(stderr,
		    "sallyport: no %s: no row speaks, and the system's trust "
		    "anchors count\n",
		    tool_config_path);
		return true;
	}
	policy->source.now = time(NULL);
	if (!tool_config(&policy->config, &why)) {
		tool_error(&why);
		return false;
	}
	policy->source.path = policy->config->sites;
	if (!files_read(policy->source.path, &policy->source.text, &why)) {
		tool_error(&why);
		return false;
	}
	return policy_open(policy);
}

/* --- trust anchors ----------------------------------------------------------
 */

const char *
probe_anchors_path(const struct probe_setup *setup, const char *anchors)
{
	const struct config *config = setup->policy.config;

	if (anchors[0] != '\0')
		return anchors;
	if (config == NULL)
		return SYSTEM_ANCHORS;
	return config->smarthost.ca != NULL ? config->smarthost.ca
					    : config->system_ca;
}

/* An absent CRL is an empty one, which is not taken for "none asked for". */
static struct tls_anchors *
anchors_make(const void *context, const char *anchors, const char *crl)
{
	const struct probe_setup *setup = context;
	gnutls_datum_t pem = { NULL, 0 }, crl_pem = { NULL, 0 };
	gnutls_datum_t absent = { (unsigned char *)"", 0 };
	struct tls_anchors *made = NULL;
	bool has_crl;

	if (!files_read(probe_anchors_path(setup, anchors), &pem, NULL))
		return NULL;
	has_crl = crl[0] != '\0' && files_read(crl, &crl_pem, NULL);
	if (!tls_anchors_new(&made, &pem,
		crl[0] == '\0' ? NULL
		: has_crl      ? &crl_pem
			       : &absent,
		NULL))
		made = NULL;
	files_free(&pem);
	files_free(&crl_pem);
	return made;
}

const struct tls_anchors *
probe_anchors(struct probe_setup *setup, const char *anchors, const char *crl)
{
	return anchor_sets_get(&setup->sets, anchors, crl);
}

/* --- the whole -------------------------------------------------------------
 */

bool
probe_setup_new(struct probe_setup **setup_out)
{
	struct probe_setup *setup = calloc(1, sizeof(*setup));
	struct reason why;

	if (setup == NULL) {
		(void)fail(&why, REASON_NO_MEMORY, "out of memory");
		tool_error(&why);
		return false;
	}
	pthread_mutex_init(&setup->lock, NULL);
	anchor_sets_init(&setup->sets, anchors_make, setup);
	if (!load(&setup->policy)) {
		probe_setup_free(setup);
		return false;
	}
	*setup_out = setup;
	return true;
}

void
probe_setup_free(struct probe_setup *setup)
{
	if (setup == NULL)
		return;
	anchor_sets_fini(&setup->sets);
	while (setup->own != NULL) {
		struct own *own = setup->own;

		setup->own = own->next;
		tls_identity_unref(own->identity);
		tls_key_free(own->key);
		pki_key_free(&own->token);
		free(own->name);
		free(own);
	}
	policy_fini(&setup->policy);
	pthread_mutex_destroy(&setup->lock);
	free(setup);
}

/* A file that is named must be there; the default's absence only means that
 * DNSSEC proves nothing here. */
bool
probe_resolver(const struct probe_setup *setup, struct resolver **resolver_out,
    struct reason *why)
{
	const struct config *config = setup->policy.config;
	struct resolver_options options = { .validate_all = false };
	const char *path = CONFIG_TRUST_ANCHOR;
	bool ok;

	if (config != NULL) {
		options.servers = config->resolvers;
		options.server_count = config->resolver_count;
		path = config->trust_anchor;
	}
	if (!files_read(path, &options.trust_anchor, why)) {
		if (config != NULL && config->trust_anchor_line != 0)
			return false;
		options.trust_anchor = (gnutls_datum_t){ NULL, 0 };
	}
	ok = resolver_new(resolver_out, &options, why);
	files_free(&options.trust_anchor);
	return ok;
}

/* --- our own certificate ----------------------------------------------------
 */

static bool
sign(void *context, const struct tls_sign_request *request,
    unsigned char *signature, size_t *signature_len)
{
	const struct tls_key *key = context;

	return memcmp(request->spki, tls_key_spki(key), SPKI_OCTETS) == 0 &&
	       tls_key_sign(key, CERT_FOR_CLIENT, request, signature,
		   signature_len, NULL);
}

/* The key is handed over, the PIN that it may ask for stays here. */
static bool
own_token_key(struct own *own, const char *url, const gnutls_datum_t *chain,
    struct reason *why)
{
	gnutls_datum_t public = { 0 };
	bool ok = pki_key_read(&own->token, url, NULL, why) &&
		  cert_public_key(chain, &public, why) &&
		  tls_key_take(&own->key, own->token.private_key, &public, why);

	if (ok)
		own->token.private_key = NULL;
	gnutls_free(public.data);
	return ok;
}

static bool
own_key(struct own *own, const char *key, const gnutls_datum_t *chain,
    struct reason *why)
{
	gnutls_datum_t file;
	char *url;
	bool ok;

	if (pkcs11_is_url(key))
		return own_token_key(own, key, chain, why);
	if (!files_read_secret(key, &file, why))
		return false;
	url = pki_key_url_in(&file);
	ok = url != NULL ? own_token_key(own, url, chain, why)
			 : tls_key_new(&own->key, &file, why);
	free(url);
	files_wipe(&file);
	return ok;
}

static bool
own_load(struct own *own, const struct config *config, struct reason *why)
{
	const struct config_certificate *section =
	    config == NULL ? NULL : config_certificate(config, own->name);
	gnutls_datum_t pem;
	bool ok;

	if (section == NULL || (section->roles & CERTIFICATE_CLIENT) == 0)
		return fail(why, REASON_ABSENT,
		    "no such certificate for clients");
	if (!files_read(section->chain, &pem, why))
		return false;
	if (!own_key(own, section->key, &pem, why)) {
		files_free(&pem);
		return false;
	}
	ok = tls_identity_new(&own->identity, &pem, CERT_FOR_CLIENT, sign,
	    own->key, why);
	files_free(&pem);
	if (ok && !tls_identity_fits(own->identity)) {
		tls_identity_unref(own->identity);
		own->identity = NULL;
		return fail(why, REASON_CERT_PURPOSE, "it lacks clientAuth");
	}
	return ok;
}

static struct own *
own_add(struct probe_setup *setup, const char *name)
{
	struct own *own = calloc(1, sizeof(*own));

	if (own == NULL)
		return NULL;
	own->name = strdup(name);
	if (own->name == NULL) {
		free(own);
		return NULL;
	}
	(void)own_load(own, setup->policy.config, &own->why);
	own->next = setup->own;
	setup->own = own;
	return own;
}

struct tls_identity *
probe_identity(struct probe_setup *setup, const char *name, struct reason *why)
{
	struct tls_identity *identity = NULL;
	struct own *own;

	(void)fail(why, REASON_NO_MEMORY, "out of memory");
	pthread_mutex_lock(&setup->lock);
	own = setup->own;
	while (own != NULL && strcmp(own->name, name) != 0)
		own = own->next;
	if (own == NULL)
		own = own_add(setup, name);
	if (own != NULL) {
		identity = own->identity;
		*why = own->why;
	}
	pthread_mutex_unlock(&setup->lock);
	return identity;
}

/* --- which site -------------------------------------------------------------
 */

/* Where ":PORT" begins, or NULL: an IPv6 address has it behind brackets. */
static const char *
port_of(const char *text)
{
	const char *colon = strrchr(text, ':');

	if (colon == NULL || colon == text)
		return NULL;
	return strchr(text, ':') == colon || colon[-1] == ']' ? colon : NULL;
}

bool
probe_target(struct probe_target *out, const struct probe_setup *setup,
    const char *text, struct reason *why)
{
	const struct config *config = setup->policy.config;
	const char *colon = port_of(text);
	size_t len = colon == NULL ? strlen(text) : (size_t)(colon - text);
	char shown[128], literal[64];
	struct address address;
	bool has_port = colon != NULL;

	probe_escape(shown, sizeof(shown), text, strlen(text));
	memset(out, 0, sizeof(*out));
	out->port = PORT_SUBMISSION;
	if (has_port && !tool_port(colon + 1, &out->port))
		return fail(why, REASON_RANGE,
		    "%.100s: no port, expected 1 to 65535 behind the colon",
		    shown);
	(void)snprintf(literal, sizeof(literal), "%.*s",
	    (int)(len < sizeof(literal) ? len : sizeof(literal) - 1), text);
	out->is_address =
	    len < sizeof(literal) && address_parse(&address, literal);
	if (out->is_address)
		address_print(&address, out->host);
	else if (!host_normalise(out->host, text, len))
		return fail(why, REASON_SYNTAX,
		    "%.100s: no site to connect to, expected HOST or "
		    "HOST:PORT",
		    shown);
	if (config != NULL && config->smarthost.port == 0 && !has_port &&
	    strcmp(out->host, config->smarthost.host) == 0)
		return fail(why, REASON_SYNTAX,
		    "%.100s: found by its SRV records, expected one of its "
		    "hosts as HOST:PORT",
		    shown);
	if (config != NULL && strcmp(out->host, config->smarthost.host) == 0 &&
	    (!has_port || out->port == config->smarthost.port)) {
		out->port = config->smarthost.port;
		out->implicit_tls = config->smarthost.implicit_tls;
	} else {
		out->implicit_tls = out->port == PORT_SUBMISSIONS;
	}
	return true;
}
