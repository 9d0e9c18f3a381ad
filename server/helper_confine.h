/*
 * server/helper_confine.h: what a process may do in which GNU SASL meets the
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

#endif
