/* tls/anchor_sets.c: sets of trust anchors by the files they are made of. */
#include "anchor_sets.h"

#include <stdlib.h>
#include <string.h>

struct anchor_set {
	struct anchor_set *next;
	char *anchors, *crl;
	struct tls_anchors *made;
};

void
anchor_sets_init(struct anchor_sets *sets, anchor_set_make *make,
    const void *context)
{
	*sets = (struct anchor_sets){ .make = make, .context = context };
	pthread_mutex_init(&sets->lock, NULL);
}

static void
set_free(struct anchor_set *set)
{
	free(set->anchors);
	free(set->crl);
	tls_anchors_free(set->made);
	free(set);
}

void
anchor_sets_fini(struct anchor_sets *sets)
{
	while (sets->first != NULL) {
		struct anchor_set *set = sets->first;

		sets->first = set->next;
		set_free(set);
	}
	pthread_mutex_destroy(&sets->lock);
}

static struct anchor_set *
add(struct anchor_sets *sets, const char *anchors, const char *crl)
{
	struct anchor_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->anchors = strdup(anchors);
	set->crl = strdup(crl);
	if (set->anchors == NULL || set->crl == NULL) {
		set_free(set);
		return NULL;
	}
	set->made = sets->make(sets->context, anchors, crl);
	set->next = sets->first;
	sets->first = set;
	return set;
}

const struct tls_anchors *
anchor_sets_get(struct anchor_sets *sets, const char *anchors, const char *crl)
{
	const struct tls_anchors *made;
	struct anchor_set *set;

	pthread_mutex_lock(&sets->lock);
	set = sets->first;
	while (set != NULL && (strcmp(set->anchors, anchors) != 0 ||
				  strcmp(set->crl, crl) != 0))
		set = set->next;
	if (set == NULL)
		set = add(sets, anchors, crl);
	made = set != NULL ? set->made : NULL;
	pthread_mutex_unlock(&sets->lock);
	return made;
}

bool
anchor_sets_files(struct anchor_sets *sets, const struct tls_anchors *made,
    const char **anchors_out, const char **crl_out)
{
	struct anchor_set *set;

	pthread_mutex_lock(&sets->lock);
	set = sets->first;
	while (set != NULL && set->made != made)
		set = set->next;
	pthread_mutex_unlock(&sets->lock);
	if (set == NULL)
		return false;
	*anchors_out = set->anchors;
	*crl_out = set->crl;
	return true;
}
