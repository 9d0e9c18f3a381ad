/*
 * policy/cover.c: networks whose every address a more specific row speaks for.
 *
 * Such a row can never decide, and whoever wrote it believes that it does.
 */
#include "records.h"

#include <string.h>

/* Where keys and values have what is asked for here: key.c, row.c. */
enum { KEY_DIRECTION, KEY_KIND, KEY_PREFIX, KEY_ADDRESS_AT };
enum { VALUE_DIRECTIONS = 9, VALUE_LEVEL = 11 };

static size_t
key_size(const unsigned char *key)
{
	return KEY_ADDRESS_AT + (key[KEY_KIND] == '4' ? 4 : 16);
}

static unsigned
bits_of(const unsigned char *key)
{
	return key[KEY_KIND] == '4' ? 32 : 128;
}

/* An exception ends, and level none is as if absent where clients come in. */
static bool
always_speaks(const struct records *records, const unsigned char *key)
{
	size_t len;
	const unsigned char *value =
	    records_find(records, key, key_size(key), &len);

	return value != NULL && value[VALUE_LEVEL] != LEVEL_MAY &&
	       !(value[VALUE_LEVEL] == LEVEL_NONE && key[KEY_DIRECTION] == 'i');
}

static bool is_covered(const struct records *records, const unsigned char *key);

/* No deeper than a prefix is long, and no wider than there are rows. */
static bool
halves_are_covered(const struct records *records, const unsigned char *key)
{
	unsigned prefix = key[KEY_PREFIX];
	unsigned char half[KEY_ADDRESS_AT + 16];

	if (prefix >= bits_of(key))
		return false;
	memcpy(half, key, key_size(key));
	half[KEY_PREFIX]++;
	if (!is_covered(records, half))
		return false;
	half[KEY_ADDRESS_AT + prefix / 8] |=
	    (unsigned char)(0x80 >> prefix % 8);
	return is_covered(records, half);
}

static bool
is_covered(const struct records *records, const unsigned char *key)
{
	return always_speaks(records, key) || halves_are_covered(records, key);
}

/* Clients have addresses; next hops have names, too. */
static bool
any_is_covered(const struct records *records, char direction)
{
	unsigned char four[KEY_ADDRESS_AT + 16] = { 0, '4' };
	unsigned char six[KEY_ADDRESS_AT + 16] = { 0, '6' };

	four[KEY_DIRECTION] = six[KEY_DIRECTION] = (unsigned char)direction;
	return direction == 'i' && is_covered(records, four) &&
	       is_covered(records, six);
}

static bool
never_decides(const struct records *records, const unsigned char *key,
    char direction)
{
	unsigned char other[KEY_ADDRESS_AT + 16];

	switch (key[KEY_KIND]) {
	case '4':
	case '6':
		memcpy(other, key, key_size(key));
		other[KEY_DIRECTION] = (unsigned char)direction;
		return halves_are_covered(records, other);
	case '*':
		return any_is_covered(records, direction);
	default:
		return false;
	}
}

bool
record_never_decides(const struct records *records, const unsigned char *key,
    const unsigned char *value)
{
	if (value[VALUE_DIRECTIONS] != DIRECTION_BOTH)
		return never_decides(records, key, (char)key[KEY_DIRECTION]);
	return key[KEY_DIRECTION] == 'o' && never_decides(records, key, 'o') &&
	       never_decides(records, key, 'i');
}
