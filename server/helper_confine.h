/*
 * server/helper_confine.h: what a process may do in which a library meets the
 * octets of strangers.
 */
#ifndef SERVER_HELPER_CONFINE_H
#define SERVER_HELPER_CONFINE_H

#include <stdbool.h>

#include "config.h"

/*
 * For good, and for whatever the process starts: no sockets, no programs; no
 * files either, or with_kerberos (config->keytab is then set) those that a
 * server's side of Kerberos needs, and the environment that names them.
 */
bool helper_confine(const struct config *config, bool with_kerberos,
    struct reason *why);

/*
 * For one that asks over the network: it reads what the resolver and its
 * libraries need, and runs no programs.
 */
bool helper_confine_files(const struct config *config, struct reason *why);

#endif
