/*
 * server/upstream_address.c: from a next hop's name to socket addresses.
 */
#include "upstream_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "messages.h"

static bool
address_literal(const char *host, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		return true;
	}
	return false;
}

static bool
address_read(struct wire_reader *r, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *four = (struct sockaddr_in *)out;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
	uint8_t family = wire_get_u8(r);

	memset(out, 0, sizeof(*out));
	if (family == 4) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return wire_get_raw(r, &four->sin_addr, 4);
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return family == 6 && wire_get_raw(r, &six->sin6_addr, 16);
}

/*
 * No server is reached by these; some reach this machine itself (0.0.0.0), or
 * what runs it (169.254.169.254), and DNS must not send us there.  Loopback
 * stays: a smarthost may be on this machine, and TLS tells it apart.
 */
static bool
is_usable_four(uint32_t address)
{
	return address >> 24 != 0 &&                /* "this host" */
	       address >> 16 != (169 << 8 | 254) && /* link-local */
	       address >> 28 < 14;                  /* multicast, reserved */
}

static bool
is_usable(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct in6_addr *six =
	    &((const struct sockaddr_in6 *)address)->sin6_addr;
	uint32_t mapped;

	if (address->ss_family == AF_INET)
		return is_usable_four(ntohl(four->sin_addr.s_addr));
	memcpy(&mapped, &six->s6_addr[12], sizeof(mapped));
	if (IN6_IS_ADDR_V4MAPPED(six))
		return is_usable_four(ntohl(mapped));
	return !IN6_IS_ADDR_UNSPECIFIED(six) && !IN6_IS_ADDR_MULTICAST(six) &&
	       !IN6_IS_ADDR_LINKLOCAL(six);
}

static size_t
drop_unusable(struct sockaddr_storage *addresses, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (is_usable(&addresses[i]))
			addresses[kept++] = addresses[i];
	return kept;
}

static bool
answer_read(struct wire_reader *r, const struct next_hop *hop,
    struct sockaddr_storage *out, size_t *count_out,
    struct upstream_failure *failure)
{
	char text[REASON_TEXT_MAX];
	uint8_t answer = wire_get_u8(r);
	uint8_t secure = wire_get_u8(r);
	uint8_t count = wire_get_u8(r);

	(void)secure;
	if (count > UPSTREAM_ADDRESSES)
		r->failed = true;
	for (uint8_t i = 0; i < count && !r->failed; i++)
		if (!address_read(r, hop->port, &out[i]))
			r->failed = true;
	if (!wire_get_string(r, text, sizeof(text)) || !wire_reader_done(r) ||
	    (answer == LOOKUP_FOUND && count == 0)) {
		upstream_fail(failure, "4.3.0",
		    "%s: malformed answer of the lookup role", hop->host);
		return false;
	}
	if (answer == LOOKUP_FOUND) {
		*count_out = drop_unusable(out, count);
		if (*count_out > 0)
			return true;
		upstream_fail(failure, "4.4.4",
		    "%s: has no address that a server can have", hop->host);
		return false;
	}
	if (answer == LOOKUP_NONE)
		upstream_fail(failure, "4.4.4",
		    "%s: no such host, or it has"
		    " no address",
		    hop->host);
	else
		upstream_fail(failure, "4.4.3", "%s: lookup failed: %s",
		    hop->host, text);
	return false;
}

bool
upstream_addresses(const struct upstream_thread *thread,
    const struct next_hop *hop, struct sockaddr_storage *out, size_t *count_out,
    struct upstream_failure *failure)
{
	unsigned char packet[512], answer[2048];
	struct wire_writer w;
	struct wire_reader r;
	struct reason why;
	uint64_t number;
	uint8_t type;

	if (address_literal(hop->host, hop->port, out)) {
		*count_out = 1;
		return true;
	}
	number = call_number(thread->lookup);
	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, LOOKUP_ADDRESSES);
	wire_put_u64(&w, number);
	wire_put_string(&w, hop->host);
	if (!call_ask(thread->lookup, &w, true, number, answer, sizeof(answer),
		TIMEOUT_LOOKUP, &type, &r, &why)) {
		upstream_fail(failure, "4.4.3", "%s: lookup: %s", hop->host,
		    why.text);
		return false;
	}
	if (type != LOOKUP_ANSWER) {
		upstream_fail(failure, "4.3.0",
		    "%s: malformed answer of the lookup role", hop->host);
		return false;
	}
	return answer_read(&r, hop, out, count_out, failure);
}
