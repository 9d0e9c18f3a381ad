/*
 * tools/probe_weaker.c: what the row that speaks asks and the offered one
 * would not: nobody shall paste a weaker row without knowing.
 */
#include "probe.h"

#include <string.h>

/* As it stands there, or, of a host, under a .suffix. */
static bool
has(const char *list, const char *wanted)
{
	size_t len = strlen(wanted), one;

	for (; *list != '\0'; list += one + 1) {
		one = strlen(list);
		if (strcmp(list, wanted) == 0 ||
		    (list[0] == '.' && one < len &&
			strcmp(wanted + len - one, list) == 0))
			return true;
	}
	return false;
}

/* Would the offered list let in what the one that speaks does not? */
static bool
lets_in_more(const char *offered, const char *speaking)
{
	if (speaking == NULL)
		return false;
	if (offered == NULL)
		return true;
	for (; *offered != '\0'; offered += strlen(offered) + 1)
		if (!has(speaking, offered))
			return true;
	return false;
}

static void
give_up(struct probe *probe, bool does, const char *what)
{
	if (does && probe->lost_count < PROBE_LOST)
		probe->lost[probe->lost_count++] = what;
}

static void
compare_chains(struct probe *probe, const struct demand *offered)
{
	const struct demand *speaking = probe->demand;
	int old = speaking->rows[0].anchors, new = offered->rows[0].anchors;

	if (old < 0)
		return;
	if (new < 0) {
		give_up(probe, true, "the chain");
		return;
	}
	give_up(probe, strcmp(speaking->anchor[old], offered->anchor[new]) != 0,
	    speaking->anchor[old][0] == '\0' ? "the default trust anchors"
					     : "ca=");
	give_up(probe,
	    speaking->crl[old][0] != '\0' &&
		strcmp(speaking->crl[old], offered->crl[new]) != 0,
	    "crl=");
}

void
probe_compare(struct probe *probe, const struct demand *offered)
{
	const struct demand_row *old = &probe->demand->rows[0];
	const struct demand_row *new = &offered->rows[0];

	probe->lost_count = 0;
	give_up(probe, new->level < old->level, level_word(old->level));
	/* It says all: in clear nothing else can be asked. */
	if (new->level < LEVEL_ENCRYPT)
		return;
	if (old->level >= LEVEL_VERIFY)
		compare_chains(probe, offered);
	give_up(probe, lets_in_more(new->match, old->match), "the name");
	give_up(probe, lets_in_more(new->pins, old->pins), "pin=");
	give_up(probe, lets_in_more(new->issuers, old->issuers), "issuer=");
	give_up(probe, lets_in_more(new->orgs, old->orgs), "org=");
	give_up(probe, new->min < old->min, "min=");
	give_up(probe, new->bits < old->bits, "bits=");
	give_up(probe, old->dane && !new->dane, "dane");
}
