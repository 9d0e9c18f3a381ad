/*
 * tools/cert_renew.c: "sallyport cert renew" and "tlsa": certificates that
 * stand in the configuration, before their end.
 */
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pki/cert.h"
#include "../pki/crl.h"
#include "../pki/file.h"
#include "../pki/make.h"
#include "../pki/renew.h"
#include "../policy/hex.h"
#include "cert.h"
#include "tool.h"

static bool
end_of(const char *path, time_t *out, struct reason *why)
{
	gnutls_x509_crt_t *chain;
	unsigned count;

	if (!cert_chain_read(path, &chain, &count, why))
		return false;
	*out = gnutls_x509_crt_get_expiration_time(chain[0]);
	cert_chain_free(chain, count);
	return true;
}

struct renewal {
	const struct cert_options *options;
	struct authority *authority; /* opened at the first need */
	unsigned done, failed;
};

static bool
renew(struct renewal *r, const char *chain, const char *key, struct reason *why)
{
	const struct renew_options how = { r->options->days,
		r->options->new_key };

	return (r->authority != NULL ||
		   cert_authority_open(r->options, &r->authority, why)) &&
	       authority_renew(r->authority, chain, key, &how, why);
}

static void
renew_if_due(struct renewal *r, const char *chain, const char *key)
{
	char text[CERT_TIME_SIZE];
	struct reason why;
	time_t end = 0;

	if (end_of(chain, &end, &why) &&
	    end > time(NULL) + (time_t)r->options->due * MAKE_DAY_S) {
		cert_print_time(text, end);
		printf("%s: good until %s\n", chain, text);
		return;
	}
	if (end == 0 || !renew(r, chain, key, &why) ||
	    !end_of(chain, &end, &why)) {
		r->failed++;
		tool_error(&why);
		return;
	}
	r->done++;
	cert_print_time(text, end);
	printf("%s: renewed until %s\n", chain, text);
}

/* The authority's own list of what it has taken back, if it keeps one. */
static void
renew_crl(struct renewal *r)
{
	time_t due = time(NULL) + (time_t)r->options->due * MAKE_DAY_S;
	char folder[PATH_MAX];
	struct reason why;

	if (!cert_authority_folder(r->options, folder, &why) ||
	    !crl_ends_before(folder, due))
		return;
	if ((r->authority == NULL &&
		!cert_authority_open(r->options, &r->authority, &why)) ||
	    !authority_write_crl(r->authority, r->options->due + CERT_CRL_DAYS,
		&why)) {
		r->failed++;
		tool_error(&why);
		return;
	}
	r->done++;
	printf("%s/crl.pem: renewed\n", folder);
}

static void
have_taken(struct renewal *r, const struct config *config)
{
	struct reason why, said;

	switch (cert_have_taken(config, &said)) {
	case CERT_REFUSED:
		fail(&why, said.code,
		    "the server goes on with what it had: %.200s", said.text);
		break;
	case CERT_UNKNOWN:
		why = said;
		break;
	default:
		return;
	}
	r->failed++;
	tool_error(&why);
}

static bool
is_named(const struct config_certificate *certificate,
    const struct cert_arguments *a)
{
	for (int i = 0; i < a->count; i++)
		if (strcmp(certificate->name, a->words[i]) == 0)
			return true;
	return a->count == 0;
}

static bool
names_are_known(const struct config *config, const struct cert_arguments *a,
    struct reason *why)
{
	for (int i = 0; i < a->count; i++)
		if (config_certificate(config, a->words[i]) == NULL)
			return fail(why, REASON_ABSENT,
			    "%s: no such certificate in %s", a->words[i],
			    config->path);
	return true;
}

int
cert_renew(const struct cert_arguments *a)
{
	struct renewal r = { .options = a->options };
	struct config *config;
	struct reason why;
	bool ok;

	if (!tool_config(&config, &why))
		return cert_status_of(false, &why);
	ok = names_are_known(config, a, &why);
	for (size_t i = 0; ok && i < config->certificate_count; i++) {
		const struct config_certificate *c = &config->certificates[i];
		char prefix[PATH_MAX];

		if (!is_named(c, a))
			continue;
		if (cert_acme_prefix(c, prefix))
			printf("%s: left to cert acme --renew\n", c->chain);
		else
			renew_if_due(&r, c->chain, c->key);
	}
	if (ok && a->count == 0)
		renew_crl(&r);
	if (r.done > 0 && a->options->reload)
		have_taken(&r, config);
	authority_close(r.authority);
	config_free(config);
	if (!ok)
		return cert_status_of(false, &why);
	return r.failed == 0 ? TOOL_DONE : TOOL_NO;
}

/* --- tlsa ------------------------------------------------------------------
 */

/* DANE-EE, the key, SHA-256 of it: what RFC 7672, section 3.1.1, advises. */
static void
print_records(const char *names, size_t len, const struct cert_words *ports,
    const unsigned char spki[static SPKI_OCTETS], const char *comment)
{
	char hex[2 * SPKI_OCTETS + 1];

	hex_print(hex, spki, SPKI_OCTETS);
	for (const char *at = names; at != NULL && at < names + len;
	     at += strlen(at) + 1) {
		if (strncmp(at, "dns:", 4) != 0 || at[4] == '*')
			continue;
		for (size_t i = 0; i < ports->count; i++)
			printf("_%s._tcp.%s. IN TLSA 3 1 1 %s ; %s\n",
			    ports->words[i], at + 4, hex, comment);
	}
}

static bool
print_next(const char *key_path, const char *names, size_t len,
    const struct cert_words *ports, bool make, struct reason *why)
{
	unsigned char spki[SPKI_OCTETS];
	size_t size = sizeof(spki);
	char next[PATH_MAX];
	struct pki_key key;
	bool ok;

	if (!make &&
	    (!renew_next_path(next, key_path, NULL) || access(next, F_OK) < 0))
		return true;
	if (!renew_next_key(&key, key_path, why))
		return false;
	ok = gnutls_pubkey_get_key_id(key.public_key, GNUTLS_KEYID_USE_SHA256,
		 spki, &size) >= 0 ||
	     fail(why, REASON_INTERNAL, "%s: no key identifier", key_path);
	if (ok)
		print_records(names, len, ports, spki, "next key");
	pki_key_free(&key);
	return ok;
}

static bool
tlsa(const struct config_certificate *certificate,
    const struct cert_words *ports, bool make_next, struct reason *why)
{
	unsigned char spki[SPKI_OCTETS];
	gnutls_x509_crt_t *chain;
	char *names = NULL;
	unsigned count;
	size_t len = 0;
	bool ok;

	if (!cert_chain_read(certificate->chain, &chain, &count, why))
		return false;
	ok = cert_spki(chain[0], spki, why) &&
	     cert_names(chain[0], &names, &len, why);
	cert_chain_free(chain, count);
	if (ok) {
		print_records(names, len, ports, spki, "present key");
		ok = print_next(certificate->key, names, len, ports, make_next,
		    why);
	}
	free(names);
	return ok;
}

static bool
has_word(const struct cert_words *list, const char *word)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->words[i], word) == 0)
			return true;
	return false;
}

/* Of the listeners, unless others are given. */
static void
find_ports(const struct config *config, struct cert_words *ports)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *l = &config->listeners[i];

		for (size_t j = 0; j < l->address_count; j++) {
			const char *port = strrchr(l->addresses[j], ':');

			if (port != NULL && !has_word(ports, port + 1) &&
			    ports->count < CERT_WORDS_MAX)
				ports->words[ports->count++] = port + 1;
		}
	}
}

int
cert_tlsa(const struct cert_arguments *a)
{
	struct cert_words ports = a->options->ports;
	struct config *config;
	struct reason why;
	bool ok;

	if (!tool_config(&config, &why))
		return cert_status_of(false, &why);
	if (ports.count == 0)
		find_ports(config, &ports);
	ok = names_are_known(config, a, &why);
	for (size_t i = 0; ok && i < config->certificate_count; i++) {
		const struct config_certificate *c = &config->certificates[i];

		if ((c->roles & CERTIFICATE_SERVER) != 0 && is_named(c, a))
			ok = tlsa(c, &ports, a->options->next, &why);
	}
	config_free(config);
	return cert_status_of(ok, &why);
}
