/*
 * server/lookup_context.h: libunbound, set up as a configuration says.
 */
#ifndef SERVER_LOOKUP_CONTEXT_H
#define SERVER_LOOKUP_CONTEXT_H

#include <unbound.h>

#include "lookup_resolver.h"

/*
 * A context that answers asynchronously by a thread of its own.  anchor: what
 * it says has to be proved from there; NULL: nothing is validated.  To be
 * freed by ub_ctx_delete.  Threads: one at a time, whatever the context.
 */
bool lookup_context_new(struct ub_ctx **ub_out,
    const struct resolver_options *options, const gnutls_datum_t *anchor,
    struct reason *why);

#endif
