/*
 * tls/anchor_sets.h: sets of trust anchors that several rows name, by the
 * files they are made of; each is made once, when it is first asked for.
 *
 * Sets stay until the end, also those that could not be made.  Any thread,
 * but for init and fini.
 */
#ifndef TLS_ANCHOR_SETS_H
#define TLS_ANCHOR_SETS_H

#include <pthread.h>

#include "tls.h"

/* crl is "" for none.  NULL: they cannot be used.  Called by one thread at a
 * time. */
typedef struct tls_anchors *anchor_set_make(const void *context,
    const char *anchors, const char *crl);

struct anchor_sets {
	anchor_set_make *make;
	const void *context;
	pthread_mutex_t lock;
	struct anchor_set *first; /* under lock; only ever grows */
};

/* context is borrowed. */
void anchor_sets_init(struct anchor_sets *sets, anchor_set_make *make,
    const void *context);
void anchor_sets_fini(struct anchor_sets *sets);

/* Borrowed; NULL if it cannot be made, or without memory. */
const struct tls_anchors *anchor_sets_get(struct anchor_sets *sets,
    const char *anchors, const char *crl);
/* What one that was got is made of: borrowed; false if it is none of these. */
bool anchor_sets_files(struct anchor_sets *sets, const struct tls_anchors *made,
    const char **anchors_out, const char **crl_out);

#endif
