/* server/config_bundle.c: a role's configuration, out of its bundle. */
#include "config_bundle.h"

bool
config_from_bundle(struct config **config_out, const struct bundle *bundle,
    struct reason *why)
{
	struct config *config = NULL;
	enum bundle_kind kind;
	gnutls_datum_t octets;
	const char *name;
	unsigned withheld = 0;

	for (size_t i = 0; bundle_entry(bundle, i, &kind, &name, &octets);
	     i++) {
		if (kind == BUNDLE_WITHHELD)
			withheld |= mechanism_by_name(name);
		if (kind == BUNDLE_CONF && config == NULL &&
		    !config_parse(&config, name, (const char *)octets.data,
			octets.size, why))
			return false;
	}
	if (config == NULL)
		return fail(why, REASON_PROTOCOL, "no sallyport.conf was sent");
	config_withhold(config, withheld);
	*config_out = config;
	return true;
}
