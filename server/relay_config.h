/*
 * server/relay_config.h: one numbered configuration as the relay uses it.
 *
 * Made by the main thread, never changed afterwards but for trust anchor sets
 * that are put together when first asked for.  Counted: workers and kept
 * connections hold references.
 */
#ifndef SERVER_RELAY_CONFIG_H
#define SERVER_RELAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "../policy/reason.h"
#include "../policy/routes.h"
#include "../policy/table.h"
#include "../tls/tls.h"
#include "bundle.h"
#include "config.h"
#include "route.h"

struct relay_config;

/*
 * root as in struct role_info; nothing of bundle is kept.  can_try: the calling
 * thread can ask the signer: client certificates are tried in a handshake
 * (server/relay_trial.h) first.
 */
bool relay_config_new(struct relay_config **config_out, uint32_t number,
    const struct bundle *bundle, const char *root, bool can_try,
    struct reason *why);
struct relay_config *relay_config_ref(struct relay_config *config);
/* The last one says ROLE_UNUSED. */
void relay_config_unref(struct relay_config *config);

/* Nothing new may begin on it, and kept connections are to be closed. */
void relay_config_retire(struct relay_config *config);
bool relay_config_is_retired(const struct relay_config *config);

uint32_t relay_config_number(const struct relay_config *config);
const struct config *relay_config_conf(const struct relay_config *config);
/* NULL: no table, encrypt for all. */
const struct table *relay_config_table(const struct relay_config *config);

/* NULL: all mail goes to the smarthost. */
const struct routes *relay_config_routes(const struct relay_config *config);

/* The certificate section of that name as a client identity, or NULL: there is
 * none, or it lacks clientAuth and must not be shown. */
struct tls_identity *relay_config_identity(const struct relay_config *config,
    const char *name);

/* The trust anchors of that path ("": the default set) with the CRL of that
 * path ("": none).  NULL if there is no such file or it does not parse: then
 * nothing chains to it.  Lives as long as config.  Threads: any. */
const struct tls_anchors *relay_config_anchors(struct relay_config *config,
    const char *anchors, const char *crl);
/* The paths that set was asked for by; false if it is none of config's.  They
 * live as long as config.  Threads: any. */
bool relay_config_anchor_paths(struct relay_config *config,
    const struct tls_anchors *set, const char **anchors_out,
    const char **crl_out);

/* Does that next hop offer CHUNKING (RFC 3030) and then not know it?  Told once
 * for each hop, and kept as long as config.  Threads: any. */
bool relay_config_is_without_chunking(struct relay_config *config,
    const struct next_hop *hop);
/* It does; true if that is news. */
bool relay_config_without_chunking(struct relay_config *config,
    const struct next_hop *hop);

/* Places and addresses of next hops that failed lately
 * (server/upstream_shun.h); lives as long as config. */
struct shunned;
struct shunned *relay_config_shunned(struct relay_config *config);

/* True once: for what an operator must hear about once per configuration, not
 * once per message.  Threads: any. */
bool relay_config_first_trouble(struct relay_config *config);

#endif
