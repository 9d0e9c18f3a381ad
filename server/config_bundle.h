/*
 * server/config_bundle.h: a role's configuration, out of its bundle.
 */
#ifndef SERVER_CONFIG_BUNDLE_H
#define SERVER_CONFIG_BUNDLE_H

#include "bundle.h"
#include "config.h"

/* sallyport.conf as it was sent, without the mechanisms that the master
 * withholds. */
bool config_from_bundle(struct config **config_out, const struct bundle *bundle,
    struct reason *why);

#endif
