/*
 * server/prepare_staple.c: OCSP responses for our certificates.
 */
#include "prepare_internal.h"

#include <stdio.h>
#include <time.h>

/* Without one only clients that were told to expect one stay away. */
static void
report_missing(struct work *w, const struct config_certificate *c,
    bool is_demanded, const char *what)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s:%u: certificate %s: ocsp: %s",
	    w->config->path, c->line, c->name, what);
	if (is_demanded)
		work_report(w, true, "%s", text);
	else
		work_report_alarm(w, text);
}

static void
prepare_staple(struct work *w, const struct config_certificate *c,
    const gnutls_datum_t *chain)
{
	struct staple *staple;
	struct reason why;

	if (c->ocsp == NULL) {
		if (staple_is_demanded(chain))
			work_report(w, true,
			    "%s:%u: certificate %s: %s: demands a stapled OCSP "
			    "response (must-staple), expected ocsp = \"FILE\"",
			    w->config->path, c->line, c->name, c->chain);
		return;
	}
	staple = staples_add(&w->prepared->staples, c->name, c->ocsp, chain);
	if (staple == NULL)
		work_report(w, true, "out of memory");
	else if (!staple_read(staple, time(NULL), &why))
		report_missing(w, c, staple->is_demanded, why.text);
}

/* After the certificates: those that could be read are in the bundle. */
void
work_staples(struct work *w)
{
	for (size_t i = 0; i < w->config->certificate_count; i++) {
		const struct config_certificate *c =
		    &w->config->certificates[i];
		gnutls_datum_t chain;

		if ((c->roles & CERTIFICATE_SERVER) != 0 &&
		    bundle_find(w->bundle[ROLE_SESSION], BUNDLE_CHAIN, c->name,
			&chain))
			prepare_staple(w, c, &chain);
	}
}
