/*
 * auth/entry_json.h: the lists of an entry as JSON (RFC 8259), for the export
 * and for the tools.
 *
 * New references; NULL, or a list that lacks some, without memory or if a value
 * is none that JSON can have.
 */
#ifndef AUTH_ENTRY_JSON_H
#define AUTH_ENTRY_JSON_H

#include <jansson.h>

#include "entry.h"

json_t *entry_keys_json(const struct entry *entry);     /* "sha256:HEX" */
json_t *entry_sans_json(const struct entry *entry);     /* {ca, name} */
json_t *entry_rights_json(const struct entry *entry);   /* patterns */
json_t *entry_networks_json(const struct entry *entry); /* ADDRESS/BITS */
json_t *entry_devices_json(const struct entry *entry);  /* labels */

#endif
