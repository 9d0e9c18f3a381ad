/* auth/network.c: the networks that a login may come from. */
#include "network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Family 0: it is no address. */
static struct network
of_address(const char *text)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct network n = { 0 };

	if (inet_pton(AF_INET, text, n.address) == 1) {
		n.family = 4;
		n.bits = 32;
	} else if (inet_pton(AF_INET6, text, n.address) == 1) {
		n.family = 6;
		n.bits = 128;
	}
	if (n.family == 6 && memcmp(n.address, mapped, sizeof mapped) == 0) {
		memcpy(n.address, n.address + 12, 4);
		memset(n.address + 4, 0, 12);
		n.family = 4;
		n.bits = 32;
	}
	return n;
}

static bool
agrees(const unsigned char *a, const unsigned char *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 &&
	       (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

static bool
is_clean(const struct network *network)
{
	for (unsigned i = 0; i < 8 * sizeof network->address; i++)
		if (i >= network->bits &&
		    (network->address[i / 8] & 0x80 >> i % 8) != 0)
			return false;
	return true;
}

bool
network_is_valid(const struct network *network)
{
	if (network->family != 4 && network->family != 6)
		return false;
	return network->bits <= (network->family == 4 ? 32 : 128) &&
	       is_clean(network);
}

bool
network_parse(struct network *out, const char *text, struct reason *why)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct network n = { 0 };
	char *end;

	if (len < sizeof address) {
		memcpy(address, text, len);
		address[len] = '\0';
		n = of_address(address);
	}
	if (slash != NULL && n.family != 0) {
		unsigned long bits = strtoul(slash + 1, &end, 10);

		if (slash[1] < '0' || slash[1] > '9' || *end != '\0' ||
		    bits > n.bits)
			n.family = 0;
		n.bits = (unsigned char)bits;
	}
	if (n.family == 0)
		return fail(why, REASON_SYNTAX,
		    "\"%.64s\": expected an address or a network such as "
		    "192.0.2.0/24",
		    text);
	if (!is_clean(&n))
		return fail(why, REASON_SYNTAX,
		    "\"%.64s\": the address has bits beyond the prefix", text);
	*out = n;
	return true;
}

void
network_print(const struct network *network, char out[static NETWORK_TEXT])
{
	char address[INET6_ADDRSTRLEN] = "?";

	inet_ntop(network->family == 4 ? AF_INET : AF_INET6, network->address,
	    address, sizeof address);
	snprintf(out, NETWORK_TEXT, "%s/%u", address, network->bits);
}

bool
network_has(const struct network *network, const char *address)
{
	struct network n = of_address(address);

	return n.family == network->family && n.family != 0 &&
	       agrees(n.address, network->address, network->bits);
}
