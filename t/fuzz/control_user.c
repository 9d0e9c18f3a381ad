/*
 * t/fuzz/control_user.c: requests at the auth role's control socket, hostile.
 *
 * What is taken must be an entry that comes back from its octets.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../auth/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_entry(const struct entry *entry, bool with_keys)
{
	unsigned char octets[ENTRY_OCTETS_MAX], again[ENTRY_OCTETS_MAX];
	size_t len = entry_encode(entry, with_keys, octets), n;
	struct entry decoded;
	struct reason why = { 0 };

	assert(len <= ENTRY_OCTETS_MAX);
	assert(entry_decode(&decoded, octets, len, &why));
	n = entry_encode(&decoded, with_keys, again);
	assert(n == len && memcmp(octets, again, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Exactly as long as it is said to be. */
	unsigned char *octets = malloc(size + 1);
	enum control_user_verb verb;
	struct reason why = { 0 };
	struct entry entry;

	if (octets == NULL)
		return 0;
	memcpy(octets, data, size);
	if (!control_user_decode(octets, size, &verb, &entry, &why)) {
		assert(why.code != REASON_NONE && why.text[0] != '\0');
	} else if (!control_user_is_bare(verb)) {
		check_entry(&entry, true);
		check_entry(&entry, false);
	}
	free(octets);
	return 0;
}
