/*
 * server/prepare_certificate.c: our own certificates and their keys.
 */
#include "prepare_internal.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <time.h>

#include "../pki/cert.h"
#include "files.h"

enum { WARN_SECONDS = 14 * 86400 };

static void
check_purpose(struct work *w, const struct config_certificate *c,
    gnutls_x509_crt_t crt)
{
	static const struct {
		unsigned role;
		enum cert_purpose purpose;
		const char *word;
	} wanted[] = {
		{ CERTIFICATE_SERVER, CERT_FOR_SERVER, "serverAuth" },
		{ CERTIFICATE_CLIENT, CERT_FOR_CLIENT, "clientAuth" },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		if ((c->roles & wanted[i].role) == 0 ||
		    cert_purpose(crt, wanted[i].purpose) == PURPOSE_YES)
			continue;
		if (wanted[i].role == CERTIFICATE_CLIENT)
			w->lacks_client[c - w->config->certificates] = true;
		work_report(w, false,
		    "%s:%u: certificate %s: %s: its extended key usage lacks "
		    "%s",
		    w->config->path, c->line, c->name, c->chain,
		    wanted[i].word);
	}
}

static void
check_dates(struct work *w, const struct config_certificate *c,
    gnutls_x509_crt_t crt)
{
	time_t now = time(NULL);
	time_t last = gnutls_x509_crt_get_expiration_time(crt);

	if (last < now)
		work_report(w, false, "%s:%u: certificate %s: %s: expired",
		    w->config->path, c->line, c->name, c->chain);
	else if (last - now < WARN_SECONDS)
		work_report(w, false,
		    "%s:%u: certificate %s: %s: expires in %lld days",
		    w->config->path, c->line, c->name, c->chain,
		    (long long)(last - now) / 86400);
	else if (gnutls_x509_crt_get_activation_time(crt) > now)
		work_report(w, false,
		    "%s:%u: certificate %s: %s: not yet valid", w->config->path,
		    c->line, c->name, c->chain);
}

static void
check_chain(struct work *w, const struct config_certificate *c,
    const gnutls_datum_t *chain)
{
	gnutls_x509_crt_t *crts;
	struct reason why;
	unsigned count;

	if (!cert_chain_parse(chain, &crts, &count, &why)) {
		work_report(w, true, "%s:%u: certificate %s: %s: %s",
		    w->config->path, c->line, c->name, c->chain, why.text);
		return;
	}
	check_purpose(w, c, crts[0]);
	check_dates(w, c, crts[0]);
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(crts[i]);
	gnutls_free(crts);
}

static void
prepare_certificate(struct work *w, const struct config_certificate *c)
{
	gnutls_datum_t chain = { NULL, 0 }, key = { NULL, 0 };
	struct reason why;
	char use[96];

	if (!files_read(c->chain, &chain, &why) ||
	    !files_read_secret(c->key, &key, &why)) {
		work_report(w, true, "%s:%u: certificate %s: %s",
		    w->config->path, c->line, c->name, why.text);
	} else if (!cert_matches_key(&chain, &key, &why)) {
		work_report(w, true, "%s:%u: certificate %s: %s and %s: %s",
		    w->config->path, c->line, c->name, c->chain, c->key,
		    why.text);
	} else {
		check_chain(w, c, &chain);
		snprintf(use, sizeof(use), "certificate %s", c->name);
		endings_add(&w->prepared->endings, &chain, c->chain, use);
		work_add(w, ROLE_SIGNER, BUNDLE_KEY, c->name, &key);
		if ((c->roles & CERTIFICATE_SERVER) != 0)
			work_add(w, ROLE_SESSION, BUNDLE_CHAIN, c->name,
			    &chain);
		if ((c->roles & CERTIFICATE_CLIENT) != 0)
			work_add(w, ROLE_RELAY, BUNDLE_CHAIN, c->name, &chain);
	}
	files_free(&chain);
	files_wipe(&key);
}

void
work_certificates(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++)
		prepare_certificate(w, &w->config->certificates[i]);
}

/* The relay shows no certificate that is not for clients. */
void
work_unshown(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++) {
		const struct config_certificate *c =
		    &w->config->certificates[i];
		char text[1024];

		if (!w->named[i] || !w->lacks_client[i])
			continue;
		snprintf(text, sizeof(text),
		    "%s:%u: certificate %s: %s: rows of %s have it in cert=, "
		    "but it lacks clientAuth: it is not shown",
		    w->config->path, c->line, c->name, c->chain,
		    w->config->sites);
		work_report_alarm(w, text);
	}
}
