/*
 * server/helper_sasl.h: what the Kerberos library is told by the environment.
 */
#ifndef SERVER_HELPER_SASL_H
#define SERVER_HELPER_SASL_H

#include <stdbool.h>

#include "config.h"

/*
 * In a process of its own: where the key table (config->keytab, not NULL) and
 * the replay cache are.  The latter lies in the state folder, where only the
 * helpers' user can put files: elsewhere anybody could, and lock all out.
 */
bool helper_sasl_environment(const struct config *config);

#endif
