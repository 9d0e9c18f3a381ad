/*
 * tools/cert_check.c: "sallyport cert check": the certificates, keys and trust
 * anchors that sallyport.conf names.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../pki/cert.h"
#include "../server/files.h"
#include "../tls/tls.h"
#include "cert.h"
#include "tool.h"

enum { SOON_S = 30 * 86400 };

struct check {
	unsigned problems;
};

__attribute__((format(printf, 3, 4))) static void
problem(struct check *check, const char *path, const char *format, ...)
{
	va_list ap;

	check->problems++;
	printf("%s: ", path);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
}

static void
check_dates(struct check *check, const char *path, gnutls_x509_crt_t crt)
{
	time_t now = time(NULL);
	time_t from = gnutls_x509_crt_get_activation_time(crt);
	time_t until = gnutls_x509_crt_get_expiration_time(crt);
	char text[CERT_TIME_SIZE];

	if (until < now) {
		cert_print_time(text, until);
		problem(check, path, "expired %s", text);
	} else if (from > now) {
		cert_print_time(text, from);
		problem(check, path, "not valid before %s", text);
	} else if (until - now < SOON_S) {
		cert_print_time(text, until);
		printf("%s: warning: expires %s\n", path, text);
	}
}

static void
check_purposes(struct check *check,
    const struct config_certificate *certificate, gnutls_x509_crt_t crt)
{
	if ((certificate->roles & CERTIFICATE_SERVER) != 0 &&
	    cert_purpose(crt, CERT_FOR_SERVER) != PURPOSE_YES)
		problem(check, certificate->chain,
		    "not meant for servers, expected serverAuth in its "
		    "extended key usage");
	if ((certificate->roles & CERTIFICATE_CLIENT) != 0 &&
	    cert_purpose(crt, CERT_FOR_CLIENT) != PURPOSE_YES)
		problem(check, certificate->chain,
		    "not meant for clients, expected clientAuth in its "
		    "extended key usage");
}

static void
check_names(struct check *check, const struct config_certificate *certificate,
    gnutls_x509_crt_t crt)
{
	struct reason why;
	char *names = NULL;
	size_t len = 0;

	if (!cert_names(crt, &names, &len, &why))
		problem(check, certificate->chain, "%s", why.text);
	else if (names == NULL &&
		 (certificate->roles & CERTIFICATE_SERVER) != 0)
		problem(check, certificate->chain,
		    "no name, expected a subjectAltName: the common name "
		    "does not count");
	free(names);
}

static void
check_chain(struct check *check, const struct config_certificate *certificate,
    const gnutls_datum_t *pem)
{
	gnutls_x509_crt_t *chain;
	struct reason why;
	unsigned i, count;

	if (!cert_chain_parse(pem, &chain, &count, &why)) {
		problem(check, certificate->chain, "%s", why.text);
		return;
	}
	for (i = 0; i < count; i++)
		check_dates(check, certificate->chain, chain[i]);
	check_purposes(check, certificate, chain[0]);
	check_names(check, certificate, chain[0]);
	cert_chain_free(chain, count);
}

static void
check_key(struct check *check, const struct config_certificate *certificate,
    const gnutls_datum_t *chain_pem)
{
	gnutls_datum_t pem;
	struct tls_key *key;
	struct reason why;

	if (!files_read_secret(certificate->key, &pem, &why)) {
		check->problems++;
		printf("%s\n", why.text);
		return;
	}
	if (!tls_key_new(&key, &pem, &why)) {
		problem(check, certificate->key, "%s", why.text);
	} else {
		tls_key_free(key);
		if (!cert_matches_key(chain_pem, &pem, &why))
			problem(check, certificate->key, "%s", why.text);
	}
	files_wipe(&pem);
}

static void
check_certificate(struct check *check,
    const struct config_certificate *certificate)
{
	gnutls_datum_t pem;
	struct reason why;

	if (!files_read(certificate->chain, &pem, &why)) {
		check->problems++;
		printf("%s\n", why.text);
		return;
	}
	check_chain(check, certificate, &pem);
	check_key(check, certificate, &pem);
	files_free(&pem);
}

static void
check_anchors(struct check *check, const char *path)
{
	struct tls_anchors *anchors;
	gnutls_datum_t pem;
	struct reason why;

	if (path == NULL)
		return;
	if (!files_read(path, &pem, &why)) {
		check->problems++;
		printf("%s\n", why.text);
		return;
	}
	if (tls_anchors_new(&anchors, &pem, NULL, &why))
		tls_anchors_free(anchors);
	else
		problem(check, path, "%s", why.text);
	files_free(&pem);
}

int
cert_check(void)
{
	struct check check = { 0 };
	struct config *config;
	struct reason why;
	size_t i;

	if (!tool_config(&config, &why)) {
		tool_error(&why);
		return TOOL_NO;
	}
	for (i = 0; i < config->certificate_count; i++)
		check_certificate(&check, &config->certificates[i]);
	for (i = 0; i < config->listener_count; i++)
		check_anchors(&check, config->listeners[i].client_ca);
	check_anchors(&check,
	    config->smarthost.ca ? config->smarthost.ca : config->system_ca);
	config_free(config);
	if (check.problems == 0)
		printf("no problem found\n");
	return check.problems == 0 ? TOOL_DONE : TOOL_NO;
}
