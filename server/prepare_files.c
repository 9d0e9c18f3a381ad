/*
 * server/prepare_files.c: which files a reload is worth while for.
 */
#include "prepare_internal.h"

/* What roles were given of this kind goes by its path. */
static bool
note_bundle(struct watch_list *files, const struct bundle *bundle)
{
	enum bundle_kind kind;
	gnutls_datum_t octets;
	const char *name;
	bool ok = true;

	for (size_t i = 0; ok && bundle_entry(bundle, i, &kind, &name, &octets);
	     i++)
		if (kind == BUNDLE_ANCHORS || kind == BUNDLE_CRL)
			ok = watch_list_add(files, name);
	return ok;
}

static bool
note_certificates(struct watch_list *files, const struct config *c)
{
	for (size_t i = 0; i < c->certificate_count; i++)
		if (!watch_list_add(files, c->certificates[i].chain) ||
		    !watch_list_add(files, c->certificates[i].key) ||
		    !watch_list_add(files, c->certificates[i].ocsp))
			return false;
	return true;
}

/* Those that cannot be read are in no bundle. */
static bool
note_listeners(struct watch_list *files, const struct config *c)
{
	for (size_t i = 0; i < c->listener_count; i++)
		if (!watch_list_add(files, c->listeners[i].client_ca) ||
		    !watch_list_add(files, c->listeners[i].client_crl))
			return false;
	return true;
}

/* Not the configuration itself, nor tables: an editor saves those half done. */
void
work_files(struct work *w)
{
	const struct config *c = w->config;
	struct watch_list *files = w->options->files;

	if (files == NULL || !c->watch_files)
		return;
	if (!note_certificates(files, c) || !note_listeners(files, c) ||
	    !watch_list_add(files,
		c->smarthost.ca != NULL ? c->smarthost.ca : c->system_ca) ||
	    !watch_list_add(files, c->token.keys) ||
	    !watch_list_add(files, c->token.ca) ||
	    !note_bundle(files, w->bundle[ROLE_SESSION]) ||
	    !note_bundle(files, w->bundle[ROLE_RELAY]))
		work_report(w, true, "out of memory");
}
